//! `Idempotency-Key` on POST: a repeated request is answered with the first answer and done once.
//!
//! A request that failed changed nothing, so its key is given up again. An answer that held a secret is kept
//! without it.

use axum::Extension;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tollgate_store::{Idempotency, IdempotentAnswer};

use crate::context::{Context, Shared};
use crate::customer::{Caller, Payer, SignedIn};
use crate::problem::{Problem, ProblemCode};
use crate::request::whole_body;

/// The header that makes a POST safe to repeat.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Tells that an answer is a stored one.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Whose keys an operator's are: two scopes never meet.
const OPERATOR: &str = "operator";
/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// Largest answer that is kept, in bytes; our own are far smaller.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What is kept of an answer that holds a secret: put beside it as an extension by the handler that made it.
#[derive(Clone, Debug)]
pub(crate) struct WithoutSecret(pub(crate) Value);

/// Does an operator's POST with an `Idempotency-Key` at most once.
pub(crate) async fn of_operator(Extension(context): Extension<Context>, request: Request, next: Next) -> Response {
    answer_once(&context, OPERATOR, request, next).await
}

/// Does a POST with an `Idempotency-Key` of whoever has signed in at most once; the keys are the account's.
pub(crate) async fn of_account(Extension(context): Extension<Context>, request: Request, next: Next) -> Response {
    if !asks(&request) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let caller = SignedIn::from_request_parts(&mut parts, &context).await.map(|SignedIn(caller)| caller);
    answer_caller_once(&context, caller, Request::from_parts(parts, body), next).await
}

/// As [`of_account`], for what is open to banned accounts too.
pub(crate) async fn of_payer(Extension(context): Extension<Context>, request: Request, next: Next) -> Response {
    if !asks(&request) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let caller = Payer::from_request_parts(&mut parts, &context).await.map(|Payer(caller)| caller);
    answer_caller_once(&context, caller, Request::from_parts(parts, body), next).await
}

/// Who it is was asked before anything is kept: the answer of one account is never another's. The handler finds it again.
async fn answer_caller_once(
    shared: &Shared,
    caller: Result<Caller, Problem>,
    request: Request,
    next: Next,
) -> Response {
    match caller {
        Ok(caller) => answer_once(shared, &caller.account.id.to_string(), request, next).await,
        Err(problem) => problem.into_response(),
    }
}

/// Whether this is a POST with an `Idempotency-Key`.
pub(crate) fn asks(request: &Request) -> bool {
    request.method() == Method::POST && request.headers().contains_key(IDEMPOTENCY_KEY)
}

/// Does a POST with an `Idempotency-Key` at most once in this scope, anything else always.
pub(crate) async fn answer_once(shared: &Shared, scope: &str, request: Request, next: Next) -> Response {
    if !asks(&request) {
        return next.run(request).await;
    }
    match reserved(shared, scope, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn reserved(shared: &Shared, scope: &str, request: Request, next: Next) -> Result<Response, Problem> {
    let key = key_of(request.headers())?;
    let (mut parts, body) = request.into_parts();
    let limited = Request::from_parts(parts.clone(), body);
    let body = whole_body(limited).await?;
    let hash = hash_of(&parts.method, &parts.uri, &body);
    match shared.store().reserve_idempotency(scope, &key, &hash, shared.now()).await? {
        Idempotency::Reserved => {}
        Idempotency::InProgress => {
            return Err(Problem::in_progress("A request with this Idempotency-Key is under way; try again shortly"));
        }
        Idempotency::Mismatch => {
            let detail = "This Idempotency-Key was used for another request; take a new one for this";
            return Err(Problem::new(ProblemCode::IdempotencyMismatch, detail));
        }
        Idempotency::Done(answer) => return repeated(answer),
    }
    parts.headers.remove(IDEMPOTENCY_KEY);
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if !response.status().is_success() {
        shared.store().release_idempotency(scope, &key).await?;
        return Ok(response);
    }
    kept(shared, scope, &key, response).await
}

/// Stores the answer of a request that was done.
async fn kept(shared: &Shared, scope: &str, key: &str, response: Response) -> Result<Response, Problem> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, ANSWER_BYTES_MAX)
        .await
        .map_err(|error| Problem::internal(format!("an answer of our own cannot be read: {error}")))?;
    let (stored, held_secret) = match parts.extensions.get::<WithoutSecret>() {
        Some(WithoutSecret(stored)) => (stored.clone(), true),
        None => (serde_json::from_slice(&body).unwrap_or(Value::Null), false),
    };
    let answer = IdempotentAnswer { status: parts.status.as_u16(), body: stored, held_secret };
    // The work is done: an answer that cannot be kept is still given, or a secret would be lost for good.
    if let Err(error) = shared.store().complete_idempotency(scope, key, &answer).await {
        tracing::error!(%error, "the answer to an Idempotency-Key could not be kept; its key stays reserved");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// The answer to a request that was done before.
fn repeated(answer: IdempotentAnswer) -> Result<Response, Problem> {
    if answer.held_secret {
        let members = match answer.body {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let detail =
            "This request was done before; what it made is shown once only, and another is made by a new request";
        return Err(Problem::new(ProblemCode::AlreadyDone, detail).with_all(members));
    }
    let status = StatusCode::from_u16(answer.status)
        .map_err(|_| Problem::internal(format!("a stored answer has the status {}", answer.status)))?;
    let mut response = (status, answer.body.to_string()).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn key_of(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let key = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        _ => "",
    };
    let is_plain = key.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain || !(1..=KEY_BYTES_MAX).contains(&key.len()) {
        let detail = "An Idempotency-Key stands there once and is 1 to 255 letters, digits and signs, such as a UUID";
        return Err(Problem::new(ProblemCode::BadRequest, detail));
    }
    Ok(key.to_owned())
}

/// What makes two requests the same: method, target and body, each told from the next by its length.
fn hash_of(method: &Method, uri: &Uri, body: &Bytes) -> String {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let mut hash = Sha256::new();
    for part in [method.as_str().as_bytes(), target.as_bytes(), body] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}
