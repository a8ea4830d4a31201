//! A wire between two processes, to be cut: it passes bytes on, keeps them back, or breaks.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Bytes carried at once.
const CARRIED_BYTES: usize = 16 * 1024;

/// A relay in front of a server, until it is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    wire: Wire,
    streams: Vec<TcpStream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// Bytes pass.
    Whole,
    /// Connections stay and can be made, and nothing passes: what a network does that drops every packet.
    Silent,
    /// Connections break, and new ones with them.
    Cut,
    /// It is gone for good.
    Gone,
}

impl Link {
    /// A wire to this server.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Mutex::new(State { wire: Wire::Whole, streams: Vec::new() });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                match served.lock().wire {
                    Wire::Gone => return,
                    // Dropping it closes it.
                    Wire::Cut => drop(stream),
                    Wire::Whole | Wire::Silent => {
                        let shared = Arc::clone(&served);
                        thread::spawn(move || shared.join(stream, server));
                    }
                }
            }
        });
        Self { address, shared }
    }

    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing pass from now on; what is sent meanwhile arrives once the wire is whole again.
    pub fn silence(&self) {
        self.shared.set(Wire::Silent);
    }

    /// Breaks every connection, and each that is tried.
    pub fn cut(&self) {
        self.shared.set(Wire::Cut);
    }

    /// Makes it whole again.
    pub fn mend(&self) {
        self.shared.set(Wire::Whole);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.set(Wire::Gone);
        // Wakes the accepting thread, so that it sees it.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, wire: Wire) {
        let mut state = self.lock();
        state.wire = wire;
        if matches!(wire, Wire::Cut | Wire::Gone) {
            for stream in state.streams.drain(..) {
                // One that has ended already is as good.
                drop(stream.shutdown(Shutdown::Both));
            }
        }
        self.changed.notify_all();
    }

    /// Waits while nothing may pass. False when the connection is to end.
    fn passes(&self) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_while(state, |state| state.wire == Wire::Silent);
        waited.unwrap_or_else(PoisonError::into_inner).wire == Wire::Whole
    }

    fn join(&self, near: TcpStream, server: SocketAddr) {
        if !self.passes() {
            return;
        }
        let Ok(far) = TcpStream::connect(server) else { return };
        let ends = [near.try_clone(), far.try_clone()];
        self.lock().streams.extend(ends.into_iter().flatten());
        let (Ok(near_again), Ok(far_again)) = (near.try_clone(), far.try_clone()) else { return };
        // Nodes wait for answers in Redis; nothing here may add to a wait.
        drop((near.set_nodelay(true), far.set_nodelay(true)));
        thread::scope(|scope| {
            scope.spawn(move || self.carry(near, far));
            self.carry(far_again, near_again);
        });
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = vec![0; CARRIED_BYTES];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if !self.passes() || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        for end in [from, to] {
            drop(end.shutdown(Shutdown::Both));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::Backend;
    use crate::http::{Connection, Request};

    #[test]
    fn bytes_pass_wait_while_it_is_silent_and_break_with_it() {
        let backend = Backend::start();
        let link = Link::to(backend.address());
        let mut connection = Connection::open(link.address());
        let request = Request::get("/a");
        assert_eq!(connection.send(&request).expect("an answer").status, 200);
        link.silence();
        connection.write(&request.bytes(link.address())).expect("written");
        assert!(!connection.is_closed_within(Duration::from_millis(200)));
        assert_eq!(backend.count(), 1, "nothing passed");
        link.mend();
        assert_eq!(connection.read_answer(false).expect("what waited arrives").status, 200);
        link.cut();
        assert!(connection.send(&request).is_err(), "it is broken");
        let refused = Connection::try_open(link.address()).and_then(|mut open| open.send(&request));
        assert!(refused.is_err(), "and so are new ones");
        link.mend();
        assert_eq!(Connection::open(link.address()).send(&request).expect("an answer").status, 200);
    }
}
