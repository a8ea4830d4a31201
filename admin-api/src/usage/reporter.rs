//! Who reports usage: the backend with the operator's or the service token, or a customer with a key.

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tollgate_domain::{Account, Key};

use crate::context::{Context, Shared};
use crate::customer::{Caller, Proof};
use crate::problem::{Problem, ProblemCode};

/// Whoever sent events, once it has proven who it is.
#[derive(Clone, Debug)]
pub(super) enum Reporter {
    /// It may report for every account and on every meter.
    Backend,
    /// It may report for its own account, and only on meters that customers report themselves.
    Customer(Box<(Account, Key)>),
}

impl FromRequestParts<Context> for Reporter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Problem> {
        // The layer before the handler may have asked already.
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let reporter = Self::proven(parts, context).await?;
        parts.extensions.insert(reporter.clone());
        Ok(reporter)
    }
}

impl Reporter {
    /// Whose repeated requests are told apart from whose.
    pub(super) fn scope(&self) -> String {
        match self {
            Self::Backend => "backend".into(),
            Self::Customer(caller) => caller.0.id.to_string(),
        }
    }

    async fn proven(parts: &mut Parts, context: &Context) -> Result<Self, Problem> {
        if bearer(&parts.headers).is_some_and(|token| is_backends(context, token)) {
            return Ok(Self::Backend);
        }
        let caller = Caller::from_request_parts(parts, context).await?;
        match caller.proof {
            Proof::Key(key) => Ok(Self::Customer(Box::new((caller.account, *key)))),
            Proof::Session { .. } | Proof::Token { .. } => Err(Problem::new(
                ProblemCode::NotAllowed,
                "Usage is reported by the backend with its token, or with an API key; not by somebody signed in",
            )),
        }
    }
}

/// The token of the one `Authorization` of the scheme `Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Whether it is the operator's or the service token. Both are compared in any case, each in constant time.
fn is_backends(shared: &Shared, sent: &[u8]) -> bool {
    let service = &shared.deps.settings.usage.service_token;
    let is_service = service.as_ref().is_some_and(|token| equal(token.reveal().as_bytes(), sent));
    shared.deps.token.matches(sent) | is_service
}

/// Hashed first, so that the time tells neither how much is right nor how long it is.
fn equal(token: &[u8], sent: &[u8]) -> bool {
    let (token, sent): ([u8; 32], [u8; 32]) = (Sha256::digest(token).into(), Sha256::digest(sent).into());
    token.ct_eq(&sent).into()
}
