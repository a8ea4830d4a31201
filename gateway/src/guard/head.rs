//! Judges the raw head of a request and brings it to the one form the proxy may see.
//!
//! Owns every rule about a head: the method allow-list, the form of the target, `Host`, the
//! framing of the body, and which fields are stripped. The rules stand here and nowhere else;
//! what passes is read the same way by the proxy and by any upstream.
//!
//! Deliberately pure: bytes in, a verdict out. Routing, keys and limits come later and read the
//! canonical head.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use bytes::BytesMut;
use httparse::{Header, Request, Status};

use super::Rejection;
use super::authority::{is_host, split_absolute_form};
use super::body::Framing;
use super::fields::{self, Fields};
use super::target::{canonical_path, check_query};

/// How many header fields a request may have; the proxy's own parser allows as many.
const FIELDS_MAX: usize = 256;
/// The longest target the URI type behind the proxy carries.
const TARGET_BYTES_MAX: usize = 65_534;

/// A head that was judged fit to pass, in its one form.
#[derive(Debug, PartialEq, Eq)]
pub struct CanonicalHead {
    /// How the request's body is framed.
    pub framing: Framing,
    /// Whether the request came as HTTP/1.0.
    pub http_10: bool,
    /// Whether the client asks to close the connection after the answer.
    pub close: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The head to use in place of the raw one, or `None` where that is canonical already.
    pub rewritten: Option<BytesMut>,
}

/// Judges one whole head: the request line, the fields, and the empty line that ends them.
///
/// # Errors
///
/// A [`Rejection`] with status 400, 405 or 431.
pub fn judge(head: &[u8]) -> Result<CanonicalHead, Rejection> {
    let mut headers = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut headers) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Rejection::bad_request("The head is not one whole head")),
        Err(error) => return Err(unreadable(error)),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Rejection::bad_request("The request line is incomplete"));
    };
    check_line_ends(head)?;
    check_method(method)?;
    let target = canonical_target(target)?;
    let fields = fields::judge(request.headers, version == 0)?;
    if fields.host.is_none_or(|host| !is_host(host)) {
        return Err(Rejection::bad_request("Host is missing or invalid"));
    }
    let unchanged = target.authority.is_none() && !target.rewritten && !fields.rewrite;
    let rewritten = (!unchanged).then(|| write_head(head.len(), method, &target, version, request.headers, &fields));
    Ok(CanonicalHead {
        framing: fields.framing,
        http_10: version == 0,
        close: fields.close,
        expects_continue: fields.expects_continue,
        rewritten,
    })
}

fn unreadable(error: httparse::Error) -> Rejection {
    Rejection::bad_request(match error {
        httparse::Error::TooManyHeaders => {
            return Rejection::headers_too_large("The request has too many header fields");
        }
        httparse::Error::HeaderName => "A header field's name is invalid",
        httparse::Error::HeaderValue => "A header field's value is invalid",
        httparse::Error::Version => "The HTTP version is not supported",
        _ => "The request line is invalid",
    })
}

/// The parser takes a bare line feed for a line's end; nothing else here does.
fn check_line_ends(head: &[u8]) -> Result<(), Rejection> {
    let bare = |feed: usize| feed == 0 || head[feed - 1] != b'\r';
    if memchr::memchr_iter(b'\n', head).any(bare) {
        return Err(Rejection::bad_request("A line ends in a bare line feed"));
    }
    Ok(())
}

fn check_method(method: &str) -> Result<(), Rejection> {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => Ok(()),
        _ => Err(Rejection::method_not_allowed()),
    }
}

/// A target in origin form, and the authority that an absolute form named.
struct Target<'a> {
    path: Cow<'a, str>,
    /// With its `?`, or empty.
    query: &'a str,
    authority: Option<&'a str>,
    /// Whether the path differs from the one received.
    rewritten: bool,
}

fn canonical_target(target: &str) -> Result<Target<'_>, Rejection> {
    if memchr::memchr(b'#', target.as_bytes()).is_some() {
        return Err(Rejection::bad_request("The request target has a fragment"));
    }
    let (authority, rest) = if target.starts_with('/') {
        (None, target)
    } else {
        let Some((authority, rest)) = split_absolute_form(target) else {
            return Err(Rejection::bad_request("The request target is neither a path nor an http URL"));
        };
        if !is_host(authority.as_bytes()) {
            return Err(Rejection::bad_request("The request target's authority is invalid"));
        }
        (Some(authority), rest)
    };
    let (path, query) = match rest.find('?') {
        Some(mark) => rest.split_at(mark),
        None => (rest, ""),
    };
    if let Some(query) = query.strip_prefix('?') {
        check_query(query)?;
    }
    // An absolute form may leave its path out; an origin form never can.
    let path = if path.is_empty() { "/" } else { path };
    let canonical = canonical_path(path)?;
    // Escaping may have made it longer than it came.
    if canonical.len() + query.len() > TARGET_BYTES_MAX {
        return Err(Rejection::bad_request("The request target is too long"));
    }
    Ok(Target { rewritten: canonical != path, path: canonical, query, authority })
}

fn write_head(
    size_hint: usize,
    method: &str,
    target: &Target<'_>,
    version: u8,
    headers: &[Header<'_>],
    fields: &Fields<'_>,
) -> BytesMut {
    // A path grows at most threefold, where it holds octets that must be escaped.
    let mut head = BytesMut::with_capacity(size_hint + 128);
    let mut put = |parts: &[&[u8]]| {
        for part in parts {
            head.extend_from_slice(part);
        }
    };
    let version = if version == 0 { " HTTP/1.0\r\n" } else { " HTTP/1.1\r\n" };
    put(&[method.as_bytes(), b" ", target.path.as_bytes(), target.query.as_bytes(), version.as_bytes()]);
    for header in headers {
        if fields.strips(header.name) {
            continue;
        }
        // RFC 9112 3.2.2: the absolute form's authority replaces Host.
        let value = match target.authority {
            Some(authority) if header.name.eq_ignore_ascii_case("host") => authority.as_bytes(),
            _ => header.value,
        };
        put(&[header.name.as_bytes(), b": ", value, b"\r\n"]);
    }
    if let Some(connection) = fields.connection.as_deref().filter(|kept| !kept.is_empty()) {
        put(&[b"Connection: ", connection.as_bytes(), b"\r\n"]);
    }
    put(&[b"\r\n"]);
    head
}

#[cfg(test)]
mod tests;
