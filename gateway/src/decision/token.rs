//! Calls on a `jwt` route: the token of the backend's own sign-in is found and verified, and nothing is charged.
//!
//! Token and cookie go on as they came, for the backend reads them too. It may read one where we read another, so every
//! token that a call brings must be good, and all of them the same user's.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use tollgate_config::Route;
use tollgate_domain::{Reason, Refusal, Timestamp};
use tollgate_identity::{InvalidToken, Verifier};
use tollgate_limiter::Limiter;

use super::{Call, Decided, Decider, Denial, Denied, passage};
use crate::cookie;
use crate::credential::{KeyReader, Places, bearer};

const MISSING: &str = "Missing bearer token";
const TWO_TOKENS: &str = "Two different tokens were sent in one place";
const TWO_USERS: &str = "Two tokens of different users were sent";
const NO_TEXT: &str = "Token is not a signed JWT";

/// How `jwt` routes are opened.
#[derive(Clone)]
pub struct TokenGate {
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// The cookie that may carry a token, besides `Authorization: Bearer`.
    pub cookie: Option<Box<str>>,
}

/// Why a call's tokens do not open a route.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// It brings none.
    Missing,
    /// What it brings is not good.
    Bad(Box<str>),
    /// Nobody knows: the issuer's keys are not to be had.
    Unknown,
}

impl<L: Limiter> Decider<L> {
    pub(super) async fn with_token(&self, call: &Call<'_>, route: &Arc<Route>, places: Places) -> Decided<L> {
        let verified = match &self.tokens {
            Some(gate) => gate.verify(call.headers, &self.keys, self.clock.now()).await,
            None => Err(Refused::Unknown),
        };
        let denial = match verified {
            Ok(()) => {
                self.check_body(call, route)?;
                // A key is of no use here, but it is still ours: it does not go on.
                return Ok(passage(route, places));
            }
            Err(Refused::Missing) => Denial::InvalidToken { detail: MISSING.into(), reason: Reason::NoToken },
            Err(Refused::Bad(detail)) => Denial::InvalidToken { detail, reason: Reason::BadToken },
            Err(Refused::Unknown) => Denial::Refusal(Refusal::StoreUnavailable, Reason::Unavailable),
        };
        Err(Denied::boxed(denial, Some(route)))
    }
}

impl TokenGate {
    async fn verify(&self, headers: &HeaderMap, keys: &KeyReader, now: Timestamp) -> Result<(), Refused> {
        let in_header = one_token(headers.get_all(AUTHORIZATION).iter().filter_map(|value| {
            let token = bearer(value.as_bytes())?;
            (!keys.looks_like_a_key(token)).then_some(token)
        }))?;
        let in_cookie =
            one_token(self.cookie.iter().flat_map(|name| {
                headers.get_all(COOKIE).iter().flat_map(|value| cookie::values(value.as_bytes(), name))
            }))?;
        let first = in_header.or(in_cookie).ok_or(Refused::Missing)?;
        let identity = self.verifier.verify(first, now).await.map_err(refused)?;
        let Some(other) = in_cookie.filter(|other| *other != first) else { return Ok(()) };
        let other = self.verifier.verify(other, now).await.map_err(refused)?;
        if other.subject == identity.subject { Ok(()) } else { Err(Refused::Bad(TWO_USERS.into())) }
    }
}

/// The token among these texts; the same one twice is one.
fn one_token<'a>(mut texts: impl Iterator<Item = &'a [u8]>) -> Result<Option<&'a str>, Refused> {
    let Some(first) = texts.next() else { return Ok(None) };
    if texts.any(|other| other != first) {
        return Err(Refused::Bad(TWO_TOKENS.into()));
    }
    std::str::from_utf8(first).map(Some).map_err(|_| Refused::Bad(NO_TEXT.into()))
}

fn refused(why: InvalidToken) -> Refused {
    if why.is_temporary() { Refused::Unknown } else { Refused::Bad(why.to_string().into()) }
}
