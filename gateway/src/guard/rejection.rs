//! What the guard says when it refuses a request: a status, a code and one sentence.
//!
//! Deliberately knows nothing of problem+json, CORS or metrics: a
//! [`GuardObserver`](super::GuardObserver) turns a rejection into an answer.

use std::borrow::Cow;

/// The methods that may pass, as the `Allow` header lists them.
pub const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Why a request is refused before anything else has believed it.
///
/// `detail` never repeats bytes of the request: they may hold a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}: {detail}")]
pub struct Rejection {
    /// The HTTP status of the answer.
    pub status: u16,
    /// The machine-readable code of the answer.
    pub code: &'static str,
    /// One sentence for the caller, free of the request's own bytes.
    pub detail: Cow<'static, str>,
}

impl Rejection {
    /// A 400: the request cannot be read in one way only.
    pub const fn bad_request(detail: &'static str) -> Self {
        Self::new(400, "bad_request", detail)
    }

    /// A 405: the method is not on the allow-list.
    pub const fn method_not_allowed() -> Self {
        Self::new(405, "method_not_allowed", "Method not allowed")
    }

    /// A 408: the client took too long to send what it had begun.
    pub const fn request_timeout(detail: &'static str) -> Self {
        Self::new(408, "request_timeout", detail)
    }

    /// A 431: the head has too many bytes or too many fields.
    pub const fn headers_too_large(detail: &'static str) -> Self {
        Self::new(431, "headers_too_large", detail)
    }

    /// A 500: handling the request panicked before anything was answered.
    pub const fn internal_error() -> Self {
        Self::new(500, "internal_error", "Internal error")
    }

    const fn new(status: u16, code: &'static str, detail: &'static str) -> Self {
        Self { status, code, detail: Cow::Borrowed(detail) }
    }
}
