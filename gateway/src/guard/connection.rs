//! One client's connection: its socket, the bytes read ahead, and where the current request's
//! body stands.
//!
//! Owns what may be read as the body: the proxy reads through [`Connection::poll_body`], which
//! gives it the bytes of the current body and no others. What a client sends early waits here
//! until its turn. Owns the write buffer and the limits on a slow reader too.
//!
//! Deliberately knows nothing of heads, answers and keep-alive: [`serve`](super::serve) does.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use pingora::protocols::SocketDigest;
use pingora::protocols::l4::socket::SocketAddr as PingoraAddress;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use super::body::{BodyTracker, Framing};
use super::pace::Pace;
use super::request::Shared;
use super::settings::GuardSettings;
use super::{Rejection, Transport};

/// How much is read at a time outside a body.
const READ_BYTES: usize = 4 * 1024;
/// What is written in smaller pieces waits for a flush or for this many bytes, so that a header
/// and a short body leave in one packet.
const WRITE_BUFFER_BYTES: usize = 2 * 1024;
/// A connection at rest keeps no read buffer larger than this.
const IDLE_BUFFER_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Connection<S> {
    io: S,
    settings: Arc<GuardSettings>,
    shared: Arc<Shared>,
    digest: Arc<SocketDigest>,
    pub(super) peer: SocketAddr,
    /// What was read and has not had its turn.
    pub(super) unread: BytesMut,
    body: BodyTracker,
    body_pace: Pace,
    /// Whether the client has closed its side.
    pub(super) ended: bool,
    write_buffer: BytesMut,
    write_pace: Pace,
    write_stall: Option<Pin<Box<Sleep>>>,
    /// The status of the answer begun to the current request, informational ones left out.
    pub(super) answered: Option<u16>,
}

impl<S: Transport> Connection<S> {
    pub(super) fn new(io: S, peer: SocketAddr, settings: Arc<GuardSettings>, shared: Arc<Shared>) -> Self {
        let digest = SocketDigest::from_raw_fd(io.as_raw_fd());
        // The address is known from the accept; without this the proxy would ask the kernel.
        let known = digest.peer_addr.set(Some(PingoraAddress::Inet(peer)));
        debug_assert!(known.is_ok(), "a new digest has no address yet");
        Self {
            io,
            settings,
            shared,
            digest: Arc::new(digest),
            peer,
            unread: BytesMut::new(),
            body: BodyTracker::default(),
            body_pace: Pace::default(),
            ended: false,
            write_buffer: BytesMut::new(),
            write_pace: Pace::default(),
            write_stall: None,
            answered: None,
        }
    }

    pub(super) fn digest(&self) -> &Arc<SocketDigest> {
        &self.digest
    }

    pub(super) fn raw_fd(&self) -> i32 {
        self.io.as_raw_fd()
    }

    /// Makes ready for a request whose head was taken and whose body comes next.
    pub(super) fn begin_request(&mut self, framing: Framing) {
        self.body = BodyTracker::new(framing);
        self.body_pace = Pace::default();
        self.write_pace = Pace::default();
        self.answered = None;
    }

    /// Whether the current request's body has passed whole.
    pub(super) fn body_is_done(&self) -> bool {
        self.body.is_done()
    }

    /// Reads more bytes, whatever they belong to. 0 when the client has closed its side.
    pub(super) async fn read_more(&mut self) -> io::Result<usize> {
        self.unread.reserve(READ_BYTES);
        let count = self.io.read_buf(&mut self.unread).await?;
        self.ended |= count == 0;
        Ok(count)
    }

    /// Gives back memory that a connection at rest has no use for.
    pub(super) fn rest(&mut self) {
        if self.unread.is_empty() && self.unread.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.unread = BytesMut::new();
        }
    }

    /// Reads bytes of the current body into `buffer`. Past its end this waits until the client
    /// closes its side, as the proxy expects of a read between body and answer.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.body.is_done() {
            return self.poll_end(cx);
        }
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let start = buffer.filled().len();
        if self.unread.is_empty() {
            match Pin::new(&mut self.io).poll_read(cx, buffer) {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    self.body_pace.wait(Instant::now);
                    return Poll::Pending;
                }
            }
        } else {
            let count = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread[..count]);
            self.unread.advance(count);
        }
        let count = buffer.filled().len() - start;
        if count == 0 {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.accept_body(buffer, start, count))
    }

    /// Keeps in `buffer` what belongs to the body, and puts the rest back.
    fn accept_body(&mut self, buffer: &mut ReadBuf<'_>, start: usize, count: usize) -> io::Result<()> {
        let advance = self.body.advance(&buffer.filled()[start..]);
        if advance.consumed < count {
            self.put_back(&buffer.filled()[start + advance.consumed..]);
            buffer.set_filled(start + advance.consumed);
        }
        if let Some(violation) = advance.violation {
            // Sound bytes before it still go on; the next read comes back here for the error.
            if advance.consumed == 0 {
                return Err(self.fail(violation));
            }
        } else if !self.body_pace.moved(count, self.settings.minimum_rate, Instant::now) {
            return Err(self.fail(Rejection::request_timeout("The request body came too slowly")));
        }
        Ok(())
    }

    /// Puts bytes back in front of what is unread.
    fn put_back(&mut self, bytes: &[u8]) {
        let later = self.unread.split();
        self.unread.extend_from_slice(bytes);
        self.unread.unsplit(later);
    }

    fn fail(&self, rejection: Rejection) -> io::Error {
        let error = io::Error::new(io::ErrorKind::InvalidData, rejection.clone());
        *self.shared.failure.lock() = Some(rejection);
        error
    }

    /// Ready when the client closes its side. What it sends instead is its next request, which
    /// waits; nothing more is read then, so a client cannot fill memory by sending ahead.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            if !self.unread.is_empty() {
                return Poll::Pending;
            }
            if ready!(pin!(self.read_more()).poll(cx))? > 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.note_answer(bytes);
        if self.write_buffer.len() + bytes.len() <= WRITE_BUFFER_BYTES {
            self.write_buffer.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        loop {
            let slices = [io::IoSlice::new(&self.write_buffer), io::IoSlice::new(bytes)];
            let written = Pin::new(&mut self.io).poll_write_vectored(cx, &slices);
            let written = ready!(self.check_write(cx, written))?;
            let buffered = self.write_buffer.len().min(written);
            self.write_buffer.advance(buffered);
            if written > buffered {
                return Poll::Ready(Ok(written - buffered));
            }
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.write_buffer.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.write_buffer);
            let written = ready!(self.check_write(cx, written))?;
            self.write_buffer.advance(written);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Holds a write to the limits on slow readers.
    fn check_write(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let slow = || io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly");
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => {
                self.write_stall = None;
                if !self.write_pace.moved(count, self.settings.minimum_rate, Instant::now) {
                    return Poll::Ready(Err(slow()));
                }
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.write_pace.wait(Instant::now);
                let timeout = self.settings.write_timeout;
                let stall = self.write_stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                ready!(stall.as_mut().poll(cx));
                self.write_stall = None;
                Poll::Ready(Err(slow()))
            }
        }
    }

    /// Reads the status off the first bytes of an answer: the proxy writes a header in one piece.
    fn note_answer(&mut self, bytes: &[u8]) {
        if self.answered.is_none() {
            let digits = bytes.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
            self.answered = digits
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| digits.parse().ok())
                .filter(|status| *status >= 200);
        }
    }

    /// Writes an answer of the guard's own, then closes this side.
    pub(super) async fn answer(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush().await?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = std::future::poll_fn(|cx| self.poll_write(cx, rest)).await?;
            rest = &rest[count..];
        }
        self.flush().await
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Closes the sending side, and throws away what the client still sends until it closes too or
    /// `bytes_max` were thrown away. Without this the kernel would reset the connection, and the
    /// client might never read its answer.
    pub(super) async fn drain_and_close(&mut self, bytes_max: usize) -> io::Result<()> {
        self.io.shutdown().await?;
        self.unread.clear();
        let mut drained = 0;
        while drained < bytes_max {
            let count = self.read_more().await?;
            if count == 0 {
                break;
            }
            drained += count;
            self.unread.clear();
        }
        Ok(())
    }
}
