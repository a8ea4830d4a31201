//! Accepts connections up to a cap, and drains them when told to.
//!
//! Deliberately owns no runtime and no signal: it runs on the caller's runtime until the caller's
//! watch says true.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use pingora::apps::HttpServerApp;
use pingora::proxy::{HttpProxy, ProxyHttp};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout_at};

use super::bind::{BACKLOG, BoundListeners};
use crate::guard::{Guard, GuardObserver, GuardSettings, until_true};

/// How long a listener pauses when the system gives it no connection, for want of descriptors
/// mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limits of all listeners together.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// The limits of each connection.
    pub guard: GuardSettings,
    /// How many connections may be open; one more is closed at once.
    pub max_connections: usize,
    /// How long requests in flight may go on once the listener drains.
    pub drain_timeout: Duration,
}

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// How many connections were cut off when the time was over.
    pub cut_off: usize,
    /// How long the drain took.
    pub elapsed: Duration,
}

/// Serves connections until `shutdown` is true (or its sender is gone), then drains: accepts no
/// more, closes connections at rest at once, lets requests in flight finish, and returns as soon
/// as none is left, at the latest after the drain timeout.
///
/// # Panics
///
/// When called outside a Tokio runtime with I/O and time enabled, or where the runtime cannot take
/// a bound socket.
pub async fn serve<P>(
    listeners: BoundListeners,
    proxy: Arc<HttpProxy<P>>,
    observer: Arc<dyn GuardObserver>,
    settings: ListenerSettings,
    shutdown: watch::Receiver<bool>,
) -> DrainReport
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let (drain, draining) = watch::channel(*shutdown.borrow());
    let guard = Arc::new(Guard {
        proxy: Arc::clone(&proxy),
        observer: Arc::clone(&observer),
        settings: Arc::new(settings.guard),
        draining,
    });
    let open = Arc::new(AtomicUsize::new(0));
    let accepting = listeners.listeners.into_iter().map(|listener| {
        let listener = TcpListener::from_std(listener).expect("the runtime takes bound sockets");
        Acceptor {
            guard: Arc::clone(&guard),
            open: Arc::clone(&open),
            connections_max: settings.max_connections,
            connections: JoinSet::new(),
        }
        .accept(listener, shutdown.clone())
    });
    let accepted = join_all(accepting).await;

    let began = Instant::now();
    let _unheard = drain.send_replace(true);
    let deadline = began + settings.drain_timeout;
    let drained = accepted.into_iter().map(|connections| finish(connections, deadline, observer.as_ref()));
    let cut_off = join_all(drained).await.into_iter().sum();
    proxy.http_cleanup().await;
    DrainReport { cut_off, elapsed: began.elapsed() }
}

/// What becomes of the connections of one listening socket.
struct Acceptor<P> {
    guard: Arc<Guard<P>>,
    open: Arc<AtomicUsize>,
    connections_max: usize,
    connections: JoinSet<()>,
}

impl<P> Acceptor<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    /// Accepts until the shutdown. Returns the connections still open.
    async fn accept(mut self, listener: TcpListener, shutdown: watch::Receiver<bool>) -> JoinSet<()> {
        let mut stopped = pin!(until_true(shutdown));
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => break,
                Some(ended) = self.connections.join_next() => {
                    note_end(&ended, self.guard.observer.as_ref());
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer),
                    Err(error) => {
                        self.guard.observer.accept_failed(&error);
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        self.accept_waiting(listener);
        self.connections
    }

    /// Accepts who has connected already: closing the socket would reset them. The system is asked
    /// directly, for the runtime may not have heard of them yet.
    fn accept_waiting(&mut self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..BACKLOG {
            let Ok((stream, peer)) = listener.accept() else { return };
            match stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                Ok(stream) => self.admit(stream, peer),
                Err(error) => self.guard.observer.accept_failed(&error),
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.guard.observer.connection_refused(peer);
            return;
        }
        let open = OpenConnection { open: Arc::clone(&self.open), observer: Arc::clone(&self.guard.observer), peer };
        open.observer.connection_opened(peer);
        // A socket that cannot be told not to wait works all the same.
        let _set = stream.set_nodelay(true);
        let guard = Arc::clone(&self.guard);
        self.connections.spawn(async move {
            let _open = open;
            guard.serve(stream, peer).await;
        });
    }
}

/// Counts a connection for as long as it is there, however it ends.
struct OpenConnection {
    open: Arc<AtomicUsize>,
    observer: Arc<dyn GuardObserver>,
    peer: SocketAddr,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.observer.connection_closed(self.peer);
    }
}

/// Waits for connections to end. Returns how many were cut off at the deadline.
async fn finish(mut connections: JoinSet<()>, deadline: Instant, observer: &dyn GuardObserver) -> usize {
    let deadline = tokio::time::Instant::from_std(deadline);
    while let Ok(Some(ended)) = timeout_at(deadline, connections.join_next()).await {
        note_end(&ended, observer);
    }
    let cut_off = connections.len();
    connections.shutdown().await;
    cut_off
}

/// The guard isolates panics of the proxy's phases; this one was in the guard itself.
fn note_end(ended: &Result<(), JoinError>, observer: &dyn GuardObserver) {
    if let Err(error) = ended
        && error.is_panic()
    {
        observer.panicked("serving a connection panicked");
    }
}
