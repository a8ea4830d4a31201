//! What every answer has in common: a request id, the body of a problem, caching rules, and a handler that runs to
//! its end though its client has gone.

use std::fmt::Write as _;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::context::random;
use crate::problem::Problem;

/// Names a request in answers and logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from the caller, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The outermost layer: numbers the request, writes problems and logs their causes, once.
pub(crate) async fn finish(request: Request, next: Next) -> Response {
    let request_id = request_id(request.headers());
    let method = request.method().clone();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        if let Some(cause) = problem.cause() {
            tracing::error!(%request_id, %method, code = problem.code().as_str(), cause, "a call to the control plane failed");
        }
        problem.write(&request_id, &mut response);
    }
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let request_id = HeaderValue::from_str(&request_id).expect("request ids are visible ASCII");
    headers.insert(REQUEST_ID, request_id);
    response
}

/// Runs the handler apart from the connection, so that a client that hangs up cannot stop it between the store's
/// commit and the news of it, and a panic costs this request only.
pub(crate) async fn run_to_the_end(request: Request, next: Next) -> Response {
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => Problem::internal(format!("the handler ended early: {error}")).into_response(),
    }
}

/// The id a proxy before us gave, where it is a plain word; a new one otherwise.
fn request_id(headers: &HeaderMap) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    if let Some(given) = given
        && (1..=REQUEST_ID_BYTES_MAX).contains(&given.len())
        && given.bytes().all(is_plain)
    {
        return given.to_owned();
    }
    // An id that is all zeros still leads to the log line; a caller without one would be worse off.
    let bytes = random::<16>().unwrap_or_default();
    bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}
