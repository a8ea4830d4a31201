//! Writes the guard's own answers as bytes, and reads what can be told of a request that is
//! refused.
//!
//! Deliberately decides nothing: what an answer says is the observer's.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use pingora::protocols::http::date::get_cached_date;

use super::observer::{GuardObserver, RejectedRequest};
use super::{ALLOWED_METHODS, Rejection};

/// Asks the observer for the answer to a rejection, and returns its bytes. `head` is what was read
/// of the request's head, empty where it is gone.
pub(super) fn render(
    observer: &dyn GuardObserver,
    peer: SocketAddr,
    head: &[u8],
    rejection: &Rejection,
    elapsed: Duration,
) -> Vec<u8> {
    let request_line = head.split(|octet| *octet == b'\r' || *octet == b'\n').next();
    let mut words = request_line.unwrap_or_default().split(|octet| *octet == b' ').map(text);
    let method = words.next().flatten();
    let target = words.next().flatten();
    let answer = observer.rejected(&RejectedRequest {
        peer,
        rejection,
        method,
        // Only a path is shown: another form may hold credentials.
        path: target.and_then(|target| target.split(['?', '#']).next()).filter(|path| path.starts_with('/')),
        origin: origin(head),
        elapsed,
    });
    let status = rejection.status;
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    };
    for (name, value) in &answer.headers {
        field(name.as_str(), value.as_bytes());
    }
    if status == 405 {
        field("allow", ALLOWED_METHODS.as_bytes());
    }
    field("date", get_cached_date().as_bytes());
    field("content-length", answer.body.len().to_string().as_bytes());
    field("connection", b"close");
    bytes.extend_from_slice(b"\r\n");
    if method != Some("HEAD") {
        bytes.extend_from_slice(&answer.body);
    }
    bytes
}

/// The value of the first `Origin` line, read leniently: the head may be one that no parser takes.
fn origin(head: &[u8]) -> Option<&str> {
    head.split(|octet| *octet == b'\n').skip(1).find_map(|line| {
        let colon = line.iter().position(|octet| *octet == b':')?;
        let (name, value) = line.split_at(colon);
        name.eq_ignore_ascii_case(b"origin").then(|| text(value[1..].trim_ascii()))?
    })
}

/// Visible ASCII, or nothing.
fn text(bytes: &[u8]) -> Option<&str> {
    let visible = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(bytes).ok().filter(|_| visible)
}
