//! What the guard knows of a request, handed to the proxy's phases beside the request itself.
//!
//! It travels as the connection's user context: the proxy's
//! [`on_connection_reuse`](pingora::proxy::ProxyHttp::on_connection_reuse) hook, which the proxy
//! calls before `early_request_filter` for every request that passed the guard, turns it back into
//! a [`GuardedRequest`] with [`GuardedRequest::from_context`].

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use tokio::sync::watch;

use super::Rejection;
use super::body::Framing;

/// What one connection's guard and the proxy's phases tell each other.
#[derive(Debug)]
pub(super) struct Shared {
    /// Whether the current request reached the proxy's phases.
    pub(super) reached: AtomicBool,
    /// Why the current request's body was broken off.
    pub(super) failure: Mutex<Option<Rejection>>,
    /// True once the listener drains.
    pub(super) draining: watch::Receiver<bool>,
}

impl Shared {
    pub(super) fn new(draining: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Self { reached: AtomicBool::new(false), failure: Mutex::new(None), draining })
    }
}

/// What the guard knows of one request.
#[derive(Debug)]
pub struct GuardedRequest {
    /// The address of the connection's other end. Nothing forwarded is believed here.
    pub peer: SocketAddr,
    /// How the request's body is framed.
    pub framing: Framing,
    /// When the request's head was complete.
    pub received_at: Instant,
    pub(super) shared: Arc<Shared>,
}

impl GuardedRequest {
    /// Takes the request's facts out of the context that `on_connection_reuse` is given. `None`
    /// for a context that is not the guard's.
    pub fn from_context(context: Box<dyn Any + Send + Sync>) -> Option<Self> {
        let request = context.downcast::<Self>().ok()?;
        request.shared.reached.store(true, Ordering::Relaxed);
        Some(*request)
    }

    /// Why the request's body was broken off, once a read of it has failed: 400 for broken
    /// framing, 408 for a client below the minimum rate. `fail_to_proxy` may answer with it; where
    /// it writes nothing, the guard answers.
    pub fn body_failure(&self) -> Option<Rejection> {
        self.shared.failure.lock().clone()
    }

    /// Whether the listener drains, so that the connection ends with this request.
    pub fn is_draining(&self) -> bool {
        *self.shared.draining.borrow()
    }

    /// Makes an answer fit the connection it goes out on. To be called before any answer's header
    /// is written: from `response_filter`, and wherever a phase answers by itself.
    ///
    /// In a drain the answer says `Connection: close`. An HTTP/1.0 client, which knows no chunks,
    /// gets a body that ends with the connection.
    pub fn prepare_response(&self, session: &mut Session, response: &mut ResponseHeader) {
        if self.is_draining() {
            session.set_keepalive(None);
        }
        if session.req_header().version == http::Version::HTTP_10
            && response.headers.contains_key(http::header::TRANSFER_ENCODING)
        {
            response.remove_header(&http::header::TRANSFER_ENCODING);
            session.set_keepalive(None);
        }
    }
}
