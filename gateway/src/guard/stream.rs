//! The stream the proxy reads a request's body from and writes its answer to.
//!
//! Owns the loan of a connection to the proxy: whatever becomes of the proxy's session (it ends,
//! fails, panics), dropping the stream brings the connection home, and the guard decides how to go
//! on. The proxy's own shutdown is therefore only a flush.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Transport;
use super::connection::Connection;

/// Where a lent connection returns to.
pub(super) type Home<S> = Arc<Mutex<Option<Box<Connection<S>>>>>;

/// A connection lent to the proxy for one request.
pub(super) struct GuardedStream<S: Transport> {
    /// There from the loan until the drop.
    connection: Option<Box<Connection<S>>>,
    home: Home<S>,
}

impl<S: Transport> GuardedStream<S> {
    pub(super) fn lend(connection: Box<Connection<S>>, home: &Home<S>) -> Self {
        Self { connection: Some(connection), home: Arc::clone(home) }
    }

    fn connection(&self) -> &Connection<S> {
        self.connection.as_ref().expect("a stream holds its connection until it is dropped")
    }

    fn connection_mut(&mut self) -> &mut Connection<S> {
        self.connection.as_mut().expect("a stream holds its connection until it is dropped")
    }
}

impl<S: Transport> Drop for GuardedStream<S> {
    fn drop(&mut self) {
        *self.home.lock() = self.connection.take();
    }
}

impl<S: Transport> fmt::Debug for GuardedStream<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No bytes of the request: the proxy puts this into its log lines.
        write!(formatter, "GuardedStream({})", self.connection().peer)
    }
}

impl<S: Transport> AsyncRead for GuardedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection_mut().poll_body(cx, buffer)
    }
}

impl<S: Transport> AsyncWrite for GuardedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.connection_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[async_trait]
impl<S: Transport> Shutdown for GuardedStream<S> {
    async fn shutdown(&mut self) {
        // A failure shows again when the guard closes the connection.
        let _flushed = self.connection_mut().flush().await;
    }
}

impl<S: Transport> UniqueID for GuardedStream<S> {
    fn id(&self) -> UniqueIDType {
        self.connection().raw_fd()
    }
}

impl<S: Transport> GetSocketDigest for GuardedStream<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(self.connection().digest()))
    }
}

impl<S: Transport> GetTimingDigest for GuardedStream<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S: Transport> GetProxyDigest for GuardedStream<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl<S: Transport> Ssl for GuardedStream<S> {}

#[async_trait]
impl<S: Transport> Peek for GuardedStream<S> {}
