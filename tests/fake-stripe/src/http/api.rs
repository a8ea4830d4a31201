//! One request of the API from its bytes to its answer: faults, key, idempotency, the call, the record of it.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State as Shared_};
use axum::http::{HeaderMap, HeaderValue, Method, Response, Uri, header};
use serde_json::Value;

use super::call::Call;
use super::error::ApiError;
use super::faults::FaultKind;
use super::params::Params;
use super::record::RequestRecord;
use super::routes::dispatch;
use super::server::Cut;
use crate::fake::Shared;
use crate::state::{RequestOrigin, Shape, State};

/// A request of the API as it came.
struct Asked {
    method: String,
    path: String,
    query: String,
    body: Bytes,
    key: Option<String>,
    version: Option<String>,
    idempotency_key: Option<String>,
}

impl Asked {
    fn read(method: &Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self {
            method: method.as_str().to_owned(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            body,
            key: text("authorization"),
            version: text("stripe-version"),
            idempotency_key: text("idempotency-key"),
        }
    }
}

/// An answer before it is sent.
struct Answer {
    status: u16,
    body: Value,
    request_id: String,
    version: String,
    replayed: bool,
}

/// Everything under `/v1`.
pub(crate) async fn handle(
    Shared_(shared): Shared_<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let asked = Asked::read(&method, &uri, &headers, body);
    let fault = shared.lock().fault_for(&asked.method, &asked.path);
    match fault {
        Some(FaultKind::Status(status)) => {
            let answer = shared.lock().refuse(&asked, &injected(status));
            return respond(&answer, &asked);
        }
        Some(FaultKind::Hang(time)) => {
            tokio::time::sleep(time).await;
            shared.lock().record(asked.record(0, false));
            return cut_off(&cut);
        }
        Some(FaultKind::Cut) => {
            shared.lock().record(asked.record(0, false));
            return cut_off(&cut);
        }
        Some(FaultKind::Late(_) | FaultKind::CutAfter) | None => {}
    }
    let answer = shared.lock().answer(&asked);
    shared.wake.notify_one();
    match fault {
        Some(FaultKind::Late(time)) => tokio::time::sleep(time).await,
        Some(FaultKind::CutAfter) => return cut_off(&cut),
        _ => {}
    }
    respond(&answer, &asked)
}

/// The error that an injected status comes with.
fn injected(status: u16) -> ApiError {
    let error =
        |kind: &'static str, message: &str| ApiError { kind, ..ApiError::invalid(message, None).with_status(status) };
    match status {
        401 => error("invalid_request_error", "Invalid API Key provided: sk_test_****"),
        429 => error("invalid_request_error", "Request rate limit exceeded.").with_code("rate_limit"),
        500.. => error("api_error", "An unknown error occurred."),
        _ => error("invalid_request_error", "A fault was injected."),
    }
}

fn cut_off(cut: &Cut) -> Response<Body> {
    cut.cut();
    // Nobody sees it: writing to the connection fails from now on.
    Response::new(Body::empty())
}

impl Asked {
    fn record(&self, status: u16, replayed: bool) -> RequestRecord {
        RequestRecord {
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            body: String::from_utf8_lossy(&self.body).into_owned(),
            status,
            idempotency_key: self.idempotency_key.clone(),
            version: self.version.clone(),
            replayed,
        }
    }
}

fn respond(answer: &Answer, asked: &Asked) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body.to_string()));
    *response.status_mut() =
        axum::http::StatusCode::from_u16(answer.status).unwrap_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE.as_str(), "application/json");
    set("request-id", &answer.request_id);
    set("stripe-version", &answer.version);
    if let Some(key) = &asked.idempotency_key {
        set("idempotency-key", key);
    }
    if answer.replayed {
        set("idempotent-replayed", "true");
    }
    if answer.status == 429 {
        set("retry-after", "1");
    }
    if answer.status == 400 {
        set("stripe-should-retry", "false");
    }
    response
}

impl State {
    /// Plays a call for a request, and keeps and records its answer.
    fn answer(&mut self, asked: &Asked) -> Answer {
        self.catch_up();
        if let Err(error) = self.check_key(asked.key.as_deref()) {
            return self.refuse(asked, &error);
        }
        let mut params = Params::parse(asked.query.as_bytes());
        params.read(&asked.body);
        let shape = match &asked.version {
            Some(version) => Shape::of_version(version),
            None => self.event_shape(),
        };
        let call = Call { method: asked.method.clone(), path: asked.path.clone(), params, shape };
        let key = asked.idempotency_key.as_deref().filter(|_| call.method == "POST");
        let fingerprint = format!("{} {} {}", call.method, call.path, call.params.fingerprint());
        if let Some(key) = key {
            match self.replay(key, &fingerprint) {
                Ok(None) => {}
                Ok(Some((status, body))) => return self.finish_answer(asked, status, body, true),
                Err(error) => return self.refuse(asked, &error),
            }
        }
        let id = self.random.id("req", 14);
        self.request = Some(RequestOrigin { id, idempotency_key: asked.idempotency_key.clone() });
        let (status, body) = match dispatch(self, &call) {
            Ok(value) => (200, value),
            Err(error) => (error.status, error.body()),
        };
        if let Some(key) = key {
            self.keep(key, fingerprint, status, &body);
        }
        let answer = self.finish_answer(asked, status, body, false);
        self.request = None;
        answer
    }

    fn check_key(&self, authorization: Option<&str>) -> Result<(), ApiError> {
        let unauthorized = |message: String| ApiError::invalid(message, None).with_status(401);
        let key = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let key = key.ok_or_else(|| {
            unauthorized(
                "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth \
                 (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
                    .to_owned(),
            )
        })?;
        if self.config.api_keys.iter().any(|known| known == key) {
            return Ok(());
        }
        let shown: String = key.chars().take(8).collect();
        Err(unauthorized(format!("Invalid API Key provided: {shown}****")))
    }

    fn refuse(&mut self, asked: &Asked, error: &ApiError) -> Answer {
        self.finish_answer(asked, error.status, error.body(), false)
    }

    fn finish_answer(&mut self, asked: &Asked, status: u16, body: Value, replayed: bool) -> Answer {
        self.record(asked.record(status, replayed));
        let request_id = match &self.request {
            Some(request) => request.id.clone(),
            None => self.random.id("req", 14),
        };
        let version = match &asked.version {
            Some(version) => version.clone(),
            None => self.event_shape().version().to_owned(),
        };
        Answer { status, body, request_id, version, replayed }
    }
}
