//! What the guard and the listener tell the rest of the gateway, and what they ask of it.
//!
//! The guard decides and closes; how a refusal reads, how it is counted and logged is decided by
//! the one [`GuardObserver`]. Calls come from the connections' own tasks and must not block.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::Rejection;

/// A request that the guard refuses.
#[derive(Debug)]
pub struct RejectedRequest<'a> {
    /// The address of the connection's other end.
    pub peer: SocketAddr,
    /// Why it is refused.
    pub rejection: &'a Rejection,
    /// The method as received, where it can be told.
    pub method: Option<&'a str>,
    /// The path as received, without the query, where it can be told. Not canonical.
    pub path: Option<&'a str>,
    /// The value of `Origin`, where it can be told, for the CORS headers of the refusal.
    pub origin: Option<&'a str>,
    /// How long the request was being received.
    pub elapsed: Duration,
}

/// The answer to a rejected request. The guard adds `Content-Length`, `Connection: close` and, to
/// a 405, `Allow`.
#[derive(Debug, Clone, Default)]
pub struct RenderedAnswer {
    /// The fields of the answer, its `Content-Type` among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body. Left out in the answer to a HEAD.
    pub body: Bytes,
}

/// Receives what happens before and around the proxy.
pub trait GuardObserver: Send + Sync + 'static {
    /// A request is refused; the status is the rejection's. Counts and logs it, and returns what
    /// the client reads.
    fn rejected(&self, request: &RejectedRequest<'_>) -> RenderedAnswer;

    /// The proxy refused by itself, while parsing, what the guard had let pass, with an answer of
    /// this status and no body. No phase of the proxy ran.
    fn refused_unseen(&self, peer: SocketAddr, status: u16);

    /// Handling a connection panicked. The connection is closed; other connections go on.
    fn panicked(&self, message: &str);

    /// A connection is open. Answered by one [`GuardObserver::connection_closed`].
    fn connection_opened(&self, peer: SocketAddr);

    /// An open connection is closed.
    fn connection_closed(&self, peer: SocketAddr);

    /// A connection was closed at once because `max_connections` were open.
    fn connection_refused(&self, peer: SocketAddr);

    /// A listener could not accept; it goes on after a pause.
    fn accept_failed(&self, error: &std::io::Error);
}
