//! Whose key a request carries. The rules are the gateway's: the header, `Authorization: Bearer` where its value
//! is meant as a key, the query parameter where one is switched on; two different keys are refused.

use axum::extract::Query;
use http::header::AUTHORIZATION;
use http::request::Parts;
use tollgate_domain::{KeyHash, KeyShape, Refusal};

use crate::context::Shared;
use crate::problem::{Problem, ProblemCode};

/// The hash of the key that was sent, if any was.
///
/// # Errors
/// What was sent opens nothing, whatever the store holds.
pub(super) fn sent_key(shared: &Shared, parts: &Parts) -> Result<Option<KeyHash>, Problem> {
    let keys = shared.keys();
    let shape_of = |text: &[u8]| KeyShape::of(text, &keys.prefix, &keys.also_accept);
    let mut sent: Vec<Vec<u8>> =
        parts.headers.get_all(shared.key_header()).iter().map(|value| value.as_bytes().to_vec()).collect();
    for value in parts.headers.get_all(AUTHORIZATION) {
        let token = bearer(value.as_bytes()).filter(|token| is_meant_as_key(shared, token));
        sent.extend(token.map(<[u8]>::to_vec));
    }
    if let Some(name) = keys.query.as_deref() {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::new(ProblemCode::BadRequest, "The query cannot be read as names and values"))?;
        sent.extend(pairs.0.into_iter().filter(|(key, _)| key == name).map(|(_, value)| value.into_bytes()));
    }
    let Some((first, others)) = sent.split_first() else { return Ok(None) };
    if others.iter().any(|other| other != first) {
        return Err(invalid_key(shared));
    }
    shared.hasher.hash_of_shape(shape_of(first), first).map(Some).ok_or_else(|| invalid_key(shared))
}

/// Whether a bearer token has the shape of a key, or begins as ours do.
pub(super) fn is_meant_as_key(shared: &Shared, token: &[u8]) -> bool {
    let keys = shared.keys();
    let begins_as_ours = token.strip_prefix(keys.prefix.as_str().as_bytes()).is_some_and(|rest| rest.starts_with(b"_"));
    begins_as_ours || KeyShape::of(token, &keys.prefix, &keys.also_accept) != KeyShape::Malformed
}

/// The token of an `Authorization` value of the scheme `Bearer`.
pub(super) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

pub(super) fn missing_key(shared: &Shared) -> Problem {
    let problem = Problem::new(ProblemCode::MissingKey, format!("Missing {}", shared.key_header()));
    let problem = problem.with_challenge(shared.key_challenge.clone());
    match &shared.signup_url {
        Some(url) => problem.with("signup_url", url.as_str()),
        None => problem,
    }
}

pub(super) fn invalid_key(shared: &Shared) -> Problem {
    Problem::new(ProblemCode::InvalidKey, Refusal::InvalidKey.detail())
        .with_status(shared.invalid_key_status())
        .with_challenge(shared.key_challenge.clone())
}
