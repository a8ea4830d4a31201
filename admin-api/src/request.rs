//! Reading requests strictly: path segments, query parameters, JSON bodies. Every refusal is a problem.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::IntoResponse;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::Value;

use crate::fields::{Fields, shown};
use crate::problem::{FieldError, Problem, ProblemCode};
use crate::strict_json;

/// How long a whole body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);
/// Entries a page of a list has if the caller names no number.
const PAGE_DEFAULT: u32 = 50;
/// Entries a page may have.
const PAGE_MAX: u32 = 200;

/// The one parameter of a path, percent-decoded.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(segment) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(ProblemCode::BadRequest, "The path is no UTF-8 text once percent-decoded"))?;
        Ok(Self(segment))
    }
}

/// A body as it came, whole, within the limit in force and within a minute.
pub(crate) async fn whole_body(request: Request) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &()));
    match read.await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = "The body is too large: at most 1 MiB, or 64 MiB for an import";
            Err(Problem::new(ProblemCode::BodyTooLarge, detail))
        }
        Ok(Err(_)) => Err(Problem::new(ProblemCode::BadRequest, "The body ended before it was whole")),
        Err(_elapsed) => Err(Problem::new(ProblemCode::RequestTimeout, "The body did not arrive within a minute")),
    }
}

/// A JSON object that must be there.
pub(crate) struct Body(pub(crate) Fields);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        json(request, false).await.and_then(Fields::of).map(Self)
    }
}

/// A JSON object that may be left out: then it has no fields.
pub(crate) struct OptionalBody(pub(crate) Fields);

impl<S: Send + Sync> FromRequest<S> for OptionalBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        json(request, true).await.and_then(Fields::of).map(Self)
    }
}

async fn json(request: Request, may_be_empty: bool) -> Result<Value, Problem> {
    let declared = request.headers().get(CONTENT_TYPE).cloned();
    let is_json = declared.as_ref().is_some_and(|value| is_json(value.as_bytes()));
    if declared.is_some() && !is_json {
        return Err(unsupported());
    }
    let body = whole_body(request).await?;
    if body.is_empty() && may_be_empty {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    if !is_json {
        return Err(unsupported());
    }
    strict_json::parse(&body)
        .map_err(|error| Problem::new(ProblemCode::MalformedJson, format!("The body is not JSON: {error}")))
}

fn unsupported() -> Problem {
    Problem::new(ProblemCode::UnsupportedMediaType, "Send the body as `Content-Type: application/json`")
}

fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json")
}

/// Query parameters, taken one after another; what is left at the end is unknown.
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(ProblemCode::BadRequest, "The query cannot be read as names and values"))?;
        Ok(Self { pairs, errors: Vec::new() })
    }
}

impl Parameters {
    /// Takes a parameter, read by `read`. One that stands there twice is refused.
    pub(crate) fn take<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let mut values = self.pairs.extract_if(.., |(key, _)| key == name).map(|(_, value)| value);
        let value = values.next()?;
        let is_repeated = values.count() > 0;
        let read = if is_repeated { Err(format!("`{name}` stands there more than once")) } else { read(&value) };
        match read {
            Ok(value) => Some(value),
            Err(detail) => {
                self.refuse(name, detail);
                None
            }
        }
    }

    /// Takes every parameter whose name begins with `prefix`, by the rest of its name; one that stands there twice is
    /// refused.
    pub(crate) fn take_prefixed<T>(
        &mut self,
        prefix: &str,
        read: impl Fn(&str, &str) -> Result<T, String>,
    ) -> BTreeMap<String, T> {
        let names: BTreeSet<String> =
            self.pairs.iter().map(|(name, _)| name).filter(|name| name.starts_with(prefix)).cloned().collect();
        let mut taken = BTreeMap::new();
        for name in names {
            let rest = name[prefix.len()..].to_owned();
            if let Some(value) = self.take(&name, |value| read(&rest, value)) {
                taken.insert(rest, value);
            }
        }
        taken
    }

    /// Leaves a parameter out that is not this call's business, such as the one that carries an API key.
    pub(crate) fn ignore(&mut self, name: &str) {
        self.pairs.retain(|(known, _)| known != name);
    }

    /// Takes `limit`: how many entries a page has.
    pub(crate) fn page_limit(&mut self) -> u32 {
        let read = |text: &str| {
            text.parse::<u32>()
                .ok()
                .filter(|limit| (1..=PAGE_MAX).contains(limit))
                .ok_or_else(|| format!("`{}` is not a number from 1 to {PAGE_MAX}", shown(text)))
        };
        self.take("limit", read).unwrap_or(PAGE_DEFAULT)
    }

    /// Takes `cursor`: the `next_cursor` of the page before.
    pub(crate) fn cursor<T: std::str::FromStr>(&mut self) -> Option<T> {
        let unknown = |text: &str| format!("`{}` is not a `next_cursor` of this list", shown(text));
        self.take("cursor", |text| text.parse::<T>().map_err(|_| unknown(text)))
    }

    /// Refuses what was not taken.
    ///
    /// # Errors
    /// Everything that was wrong with the query.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            self.refuse(&shown(&name), format!("`{}` is not a parameter of this call", shown(&name)));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(self.errors)) }
    }

    /// Says what is wrong with a parameter.
    pub(crate) fn refuse(&mut self, name: &str, detail: String) {
        self.errors.push(FieldError { parameter: Some(name.into()), detail, ..FieldError::default() });
    }
}

/// What no route answers.
pub(crate) async fn unknown_path() -> impl IntoResponse {
    Problem::not_found("There is nothing at this path")
}

/// What a route answers to a method it does not have.
pub(crate) async fn unknown_method() -> impl IntoResponse {
    Problem::new(ProblemCode::MethodNotAllowed, "This path does not have this method, see the Allow header")
}
