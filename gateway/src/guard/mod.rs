//! The guard: what stands between a client's socket and the proxy.
//!
//! Every request's raw bytes are read and judged here before anything else believes them: the
//! framing, the target, `Host`, the method, the sizes and the deadlines. What passes goes to the
//! proxy in one canonical form, byte for byte what the judge saw; what does not is answered here
//! and the connection closed. The proxy's own, more lenient parsers never decide anything.
//!
//! Modules, from pure to wired: [`target`], [`head`] and [`body`] hold the rules; `connection` and
//! `stream` hold a socket and lend it to the proxy; `serve` is the loop over a connection's
//! requests. The guard knows no route, no key and no limit of a plan.

mod answer;
mod authority;
pub mod body;
mod connection;
mod fields;
pub mod head;
mod observer;
mod pace;
mod rejection;
mod request;
mod scan;
mod serve;
mod settings;
mod stream;
pub mod target;

use std::fmt;
use std::os::fd::AsRawFd;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub use body::Framing;
pub use observer::{GuardObserver, RejectedRequest, RenderedAnswer};
pub use pace::MinimumRate;
pub use rejection::{ALLOWED_METHODS, Rejection};
pub use request::GuardedRequest;
pub(crate) use serve::{Guard, until_true};
pub use settings::GuardSettings;

/// What a connection runs over. TCP now; TLS joins as a second implementation.
pub(crate) trait Transport:
    AsyncRead + AsyncWrite + AsRawFd + fmt::Debug + Send + Sync + Unpin + 'static
{
}

impl Transport for TcpStream {}
