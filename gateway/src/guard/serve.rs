//! Serves one connection: reads each request's head, has it judged, lends the connection to the
//! proxy for what passed, and answers what did not.
//!
//! Owns the deadlines around a head, keep-alive between requests, pipelining (a request sent early
//! waits for its turn and is judged like any other), the isolation of panics and the way a
//! connection is closed. Deliberately knows no route and no key.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use futures::FutureExt;
use parking_lot::Mutex;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{HttpProxy, ProxyHttp};
use tokio::sync::watch;
use tokio::time::{Sleep, timeout, timeout_at};

use super::body::Framing;
use super::connection::Connection;
use super::head::{CanonicalHead, judge};
use super::request::{GuardedRequest, Shared};
use super::scan::{HeadBounds, HeadScanner};
use super::settings::GuardSettings;
use super::stream::{GuardedStream, Home};
use super::{GuardObserver, Rejection, Transport, answer};

/// How long and how much a client may go on sending after the last answer.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;
/// When the listener drains, a connection that has sent nothing yet may have a request on its way.
const DRAIN_GRACE: Duration = Duration::from_millis(100);
/// A body no longer than this is read to its end after an early answer, so that the connection
/// lives on; and how long that may take.
const SKIPPED_BODY_BYTES_MAX: u64 = 64 * 1024;
const SKIPPED_BODY_TIME: Duration = Duration::from_secs(2);

/// What all connections of a listener have in common.
pub(crate) struct Guard<P> {
    pub(crate) proxy: Arc<HttpProxy<P>>,
    pub(crate) observer: Arc<dyn GuardObserver>,
    pub(crate) settings: Arc<GuardSettings>,
    /// True once the listener drains.
    pub(crate) draining: watch::Receiver<bool>,
}

/// Why no head could be read.
enum NoHead {
    /// The client has gone, or rested too long.
    Closed,
    Rejected(Rejection),
}

impl From<Rejection> for NoHead {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<P> Guard<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    /// Serves requests until the connection ends.
    pub(crate) async fn serve<S: Transport>(&self, io: S, peer: SocketAddr) {
        let shared = Shared::new(self.draining.clone());
        let home: Home<S> = Arc::new(Mutex::new(None));
        let settings = Arc::clone(&self.settings);
        let connection = Connection::new(io, peer, settings, Arc::clone(&shared));
        let mut connection = Box::new(connection);
        let mut rest = pin!(tokio::time::sleep(self.settings.keepalive_timeout));
        let mut drained = pin!(until_true(self.draining.clone()));
        let mut fresh = true;
        loop {
            if connection.unread.is_empty() && !self.wait(&mut connection, fresh, rest.as_mut(), drained.as_mut()).await
            {
                return;
            }
            fresh = false;
            let began = Instant::now();
            let head = match self.read_head(&mut connection, began).await {
                Ok(bounds) => take_head(&mut connection, bounds),
                Err(NoHead::Closed) => return,
                Err(NoHead::Rejected(rejection)) => {
                    let head = connection.unread.split();
                    return self.refuse(connection, &head, &rejection, began).await;
                }
            };
            let judged = match judge(&head) {
                Ok(judged) => judged,
                Err(rejection) => return self.refuse(connection, &head, &rejection, began).await,
            };
            match self.proxy(connection, head, judged, &home, &shared).await {
                Some(kept) => connection = kept,
                None => return,
            }
        }
    }

    /// Waits for a request's first byte. False when the connection is to be closed instead.
    async fn wait<S: Transport>(
        &self,
        connection: &mut Connection<S>,
        fresh: bool,
        mut rest: Pin<&mut Sleep>,
        drained: Pin<&mut impl Future<Output = ()>>,
    ) -> bool {
        connection.rest();
        let deadline = tokio::time::Instant::now() + self.settings.keepalive_timeout;
        if !*self.draining.borrow() {
            // The timer is set anew only when it fires early, not for every request.
            let rested = async {
                loop {
                    rest.as_mut().await;
                    if rest.deadline() >= deadline {
                        return;
                    }
                    rest.as_mut().reset(deadline);
                }
            };
            tokio::select! {
                biased;
                read = connection.read_more() => return read.is_ok_and(|count| count > 0),
                () = drained => {}
                () = rested => return false,
            }
        }
        let grace = if fresh { DRAIN_GRACE } else { Duration::ZERO };
        let read = timeout(grace, connection.read_more()).await;
        matches!(read, Ok(Ok(1..)))
    }

    /// Reads on until a whole head is there, or can never be.
    async fn read_head<S: Transport>(
        &self,
        connection: &mut Connection<S>,
        began: Instant,
    ) -> Result<HeadBounds, NoHead> {
        let too_large = || Rejection::headers_too_large("The request head is too large");
        let deadline = tokio::time::Instant::from_std(began + self.settings.header_timeout);
        let mut scanner = HeadScanner::default();
        loop {
            let bounds = scanner.scan(&connection.unread)?;
            let length = bounds.map_or(connection.unread.len(), |bounds| bounds.end);
            if length > self.settings.max_header_bytes {
                return Err(too_large().into());
            }
            if let Some(bounds) = bounds {
                return Ok(bounds);
            }
            match timeout_at(deadline, connection.read_more()).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return Err(NoHead::Closed),
                Err(_) => {
                    return Err(Rejection::request_timeout("The request head took too long").into());
                }
            }
        }
    }

    /// Lends the connection to the proxy for one request. Returns it when it can serve another.
    async fn proxy<S: Transport>(
        &self,
        mut connection: Box<Connection<S>>,
        head: BytesMut,
        judged: CanonicalHead,
        home: &Home<S>,
        shared: &Arc<Shared>,
    ) -> Option<Box<Connection<S>>> {
        let received_at = Instant::now();
        connection.begin_request(judged.framing);
        shared.reached.store(false, Ordering::Relaxed);
        let request =
            GuardedRequest { peer: connection.peer, framing: judged.framing, received_at, shared: Arc::clone(shared) };
        let stream = GuardedStream::lend(connection, home);
        let mut session = ServerSession::new_http1(Box::new(stream));
        session.set_pipelined_prefix(judged.rewritten.unwrap_or(head));
        session.set_connection_user_context(Some(Box::new(request)));
        session.set_read_timeout(Some(self.settings.body_read_timeout));
        let short = matches!(judged.framing, Framing::Length(..=SKIPPED_BODY_BYTES_MAX));
        // A client that waits for `100 Continue` may never send its body after another answer.
        session.set_close_on_response_before_downstream_finish(!short || judged.expects_continue);
        session.set_total_drain_timeout(Some(SKIPPED_BODY_TIME));

        let served = self.proxy.process_new_http(session, &self.draining);
        let served = AssertUnwindSafe(served).catch_unwind().await;
        let failure = match &served {
            Ok(_) => shared.failure.lock().take(),
            Err(panic) => {
                self.observer.panicked(panic_message(panic.as_ref()));
                Some(Rejection::internal_error())
            }
        };
        // Dropping what the proxy gives back brings the connection home.
        let reusable = matches!(served, Ok(Some(_)));
        drop(served);
        let connection = home.lock().take()?;
        if let Some(rejection) = failure.filter(|_| connection.answered.is_none()) {
            self.refuse(connection, &[], &rejection, received_at).await;
            return None;
        }
        let unseen = !shared.reached.load(Ordering::Relaxed);
        if let Some(status) = connection.answered.filter(|_| unseen && !reusable) {
            self.observer.refused_unseen(connection.peer, status);
        }
        if reusable && !judged.close && !connection.ended && connection.body_is_done() {
            return Some(connection);
        }
        close(connection).await;
        None
    }

    async fn refuse<S: Transport>(
        &self,
        mut connection: Box<Connection<S>>,
        head: &[u8],
        rejection: &Rejection,
        began: Instant,
    ) {
        let observer = self.observer.as_ref();
        let bytes = answer::render(observer, connection.peer, head, rejection, began.elapsed());
        let closed = async {
            connection.answer(&bytes).await?;
            connection.drain_and_close(LINGER_BYTES).await
        };
        // A client that does not read its answer has nothing more to lose.
        let _closed = timeout(LINGER_TIME, closed).await;
    }
}

/// Closes a connection whose last answer, or what there is of it, is written.
async fn close<S: Transport>(mut connection: Box<Connection<S>>) {
    let closed = async {
        connection.flush().await?;
        if connection.ended || (connection.body_is_done() && connection.unread.is_empty()) {
            return Ok(());
        }
        connection.drain_and_close(LINGER_BYTES).await
    };
    // Whatever the client does now, the connection ends.
    let _closed = timeout(LINGER_TIME, closed).await;
}

fn take_head<S: Transport>(connection: &mut Connection<S>, bounds: HeadBounds) -> BytesMut {
    connection.unread.advance(bounds.start);
    connection.unread.split_to(bounds.end - bounds.start)
}

/// Waits until the flag is true.
pub(crate) async fn until_true(mut flag: watch::Receiver<bool>) {
    // A sender that is gone can never say stop; what it would have stopped ends with it.
    let _seen = flag.wait_for(|flag| *flag).await;
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
