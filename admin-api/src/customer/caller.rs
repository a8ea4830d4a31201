//! Who calls the customer's side, and how that is proven: an API key, a session, or a token of the backend's own.
//!
//! Nothing a proxy before us may have said about the caller is believed. What a caller may see is decided where it is
//! shown; here it is only said whose it is, and that a write whose proof is a cookie was meant by whoever holds it.

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tollgate_domain::{Account, AccountId, Key, Refusal, Timestamp};
use tollgate_identity::InvalidToken;
use tollgate_store::{Change, Identified, SubjectAccount};

use super::cookies::{self, SESSION_COOKIE};
use super::credential;
use super::proofs;
use crate::context::{Context, Shared, random};
use crate::inputs;
use crate::problem::{Problem, ProblemCode};

/// Carries the proof that a write was meant.
pub(crate) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// Whoever has proven whose account it speaks for. The account may be without a plan; as an extractor, it is not banned.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) account: Account,
    pub(crate) proof: Proof,
}

/// What was proven with.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// An API key: it opens what a key's holder may see, no more.
    Key(Box<Key>),
    /// A session, by its cookie.
    Session {
        /// What a write must carry.
        csrf_token: String,
        /// Until when.
        expires_at: Timestamp,
    },
    /// A token of the backend's own.
    Token {
        /// What a write must carry where the token came in a cookie.
        csrf_token: String,
        /// Until when.
        expires_at: Timestamp,
        /// Whether a cookie carried it.
        by_cookie: bool,
    },
}

impl Proof {
    /// What a write must carry, where the proof is one that a browser adds by itself.
    fn csrf_token(&self) -> Option<&str> {
        match self {
            Self::Session { csrf_token, .. } | Self::Token { csrf_token, by_cookie: true, .. } => Some(csrf_token),
            Self::Key(_) | Self::Token { .. } => None,
        }
    }
}

impl FromRequestParts<Context> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Problem> {
        Self::identified(parts, context).await?.unless_banned()
    }
}

impl Caller {
    /// Whoever calls, banned or not.
    async fn identified(parts: &mut Parts, context: &Context) -> Result<Self, Problem> {
        // A layer before the handler may have asked already.
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let caller = proven(context, parts).await?.ok_or_else(|| credential::missing_key(context))?;
        let is_write = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&parts.method);
        if let Some(expected) = caller.proof.csrf_token().filter(|_| is_write) {
            require_csrf(&parts.headers, expected)?;
        }
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }

    fn unless_banned(self) -> Result<Self, Problem> {
        if self.account.ban.is_some() { Err(account_disabled()) } else { Ok(self) }
    }
}

/// Whoever signed in, by a session or a token of the backend's own; a key is not enough.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn(pub(crate) Caller);

impl FromRequestParts<Context> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Problem> {
        let Payer(caller) = Payer::from_request_parts(parts, context).await?;
        caller.unless_banned().map(Self)
    }
}

/// Whoever signed in, also where an operator banned the account: who still pays must see what for, and may end it.
#[derive(Clone, Debug)]
pub(crate) struct Payer(pub(crate) Caller);

impl FromRequestParts<Context> for Payer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Problem> {
        let caller = match Caller::identified(parts, context).await {
            Ok(caller) => caller,
            Err(problem) if problem.code() == ProblemCode::MissingKey => return Err(sign_in_needed()),
            Err(problem) => return Err(problem),
        };
        match caller.proof {
            Proof::Key(_) => Err(Problem::new(
                ProblemCode::NotAllowed,
                "An API key does not open this; sign in with a mailed link (POST /v1/session/link) or the backend's own token",
            )),
            _ => Ok(Self(caller)),
        }
    }
}

/// The answer to somebody whose account an operator has banned.
pub(super) fn account_disabled() -> Problem {
    Problem::new(ProblemCode::AccountDisabled, Refusal::AccountDisabled.detail())
}

fn sign_in_needed() -> Problem {
    let detail = "Sign in first, with a mailed link (POST /v1/session/link) or the backend's own token";
    Problem::new(ProblemCode::SignInNeeded, detail).with_challenge(Shared::sign_in_challenge())
}

/// Everything that was sent, looked at in order of strength: what a person put there counts before what a browser adds
/// by itself. `None` when nothing was sent that could be believed.
///
/// # Errors
/// Something was put there that proves nothing, two proofs name different accounts, or the store does not answer.
async fn proven(shared: &Shared, parts: &Parts) -> Result<Option<Caller>, Problem> {
    let by_key = match credential::sent_key(shared, parts)? {
        Some(hash) => Some(by_key(shared, &hash).await?),
        None => None,
    };
    let by_bearer = match bearer_token(shared, parts) {
        Some(token) => Some(by_token(shared, &token, false).await?),
        None => None,
    };
    let by_session = match cookies::value_of(&parts.headers, SESSION_COOKIE) {
        Some(cookie) => by_session(shared, cookie).await?,
        None => None,
    };
    // A browser sends cookies that are stale or meant for the backend: alone they are told why, beside a proof not.
    let by_cookie = match token_cookie(shared, &parts.headers) {
        Some(token) => match by_token(shared, token, true).await {
            Ok(caller) => Some(caller),
            Err(problem) if problem.code() == ProblemCode::InvalidToken => {
                if by_key.is_none() && by_bearer.is_none() && by_session.is_none() {
                    return Err(problem);
                }
                None
            }
            Err(problem) => return Err(problem),
        },
        None => None,
    };
    let mut callers = [by_bearer, by_session, by_cookie, by_key].into_iter().flatten();
    let Some(strongest) = callers.next() else { return Ok(None) };
    if callers.any(|other| other.account.id != strongest.account.id) {
        let detail = "This request proves two different accounts; send one proof only";
        return Err(Problem::new(ProblemCode::BadRequest, detail));
    }
    Ok(Some(strongest))
}

async fn by_key(shared: &Shared, hash: &tollgate_domain::KeyHash) -> Result<Caller, Problem> {
    let found = shared.store().find_key(hash).await?;
    let found = found.filter(|found| found.key.state(shared.now()).works() && found.account.deleted_at.is_none());
    let found = found.ok_or_else(|| credential::invalid_key(shared))?;
    Ok(Caller { account: found.account, proof: Proof::Key(Box::new(found.key)) })
}

async fn by_session(shared: &Shared, cookie: &str) -> Result<Option<Caller>, Problem> {
    let Some(id) = proofs::session_of_cookie(shared, cookie).await? else { return Ok(None) };
    let Some((session, account)) = shared.store().session(&id.hash(), shared.now()).await? else { return Ok(None) };
    let csrf_token = proofs::csrf_of_session(shared, &id).await?;
    Ok(Some(Caller { account, proof: Proof::Session { csrf_token, expires_at: session.expires_at } }))
}

/// The token of an `Authorization: Bearer` whose value is not meant as a key, where tokens are believed at all.
fn bearer_token(shared: &Shared, parts: &Parts) -> Option<String> {
    shared.deps.verifier.as_ref()?;
    let values = parts.headers.get_all(AUTHORIZATION).iter();
    let mut tokens = values
        .filter_map(|value| credential::bearer(value.as_bytes()))
        .filter(|token| !credential::is_meant_as_key(shared, token));
    tokens.next().map(|token| String::from_utf8_lossy(token).into_owned())
}

fn token_cookie<'h>(shared: &Shared, headers: &'h HeaderMap) -> Option<&'h str> {
    shared.deps.verifier.as_ref()?;
    let name = shared.deps.settings.auth.jwt.as_ref()?.cookie.as_deref()?;
    cookies::value_of(headers, name)
}

async fn by_token(shared: &Shared, token: &str, by_cookie: bool) -> Result<Caller, Problem> {
    let Some(verifier) = &shared.deps.verifier else { return Err(Problem::internal("tokens are not believed here")) };
    let now = shared.now();
    let identity = verifier.verify(token, now).await.map_err(refused_token)?;
    let expires_at = identity.expires_at;
    let account = account_of(shared, identity).await?;
    let csrf_token = proofs::csrf_of_token(shared, token).await?;
    Ok(Caller { account, proof: Proof::Token { csrf_token, expires_at, by_cookie } })
}

fn refused_token(error: InvalidToken) -> Problem {
    if error.is_temporary() {
        return Problem::new(ProblemCode::StoreUnavailable, error.to_string()).retry_soon();
    }
    invalid_token(error.to_string())
}

fn invalid_token(detail: impl Into<String>) -> Problem {
    let challenge = HeaderValue::from_static("Bearer realm=\"api\", error=\"invalid_token\"");
    Problem::new(ProblemCode::InvalidToken, detail).with_challenge(challenge)
}

/// The account of a verified token, made when it is seen first.
async fn account_of(shared: &Shared, identity: tollgate_identity::Identity) -> Result<Account, Problem> {
    let Some(email) = identity.email.as_deref().and_then(|email| inputs::email(email).ok()) else {
        return Err(invalid_token("The token names no e-mail address, which an account needs"));
    };
    let now = shared.now();
    let local_part = email.split_once('@').map(|(local, _)| local);
    let name = identity.name.as_deref().and_then(inputs::name_cut);
    let name = name.or_else(|| local_part.and_then(inputs::name_cut));
    let who = Identified {
        subject: identity.subject,
        email,
        email_verified: identity.email_verified,
        name,
        account_id_if_new: AccountId::new(now, random()?),
        at: now,
    };
    let audit = crate::context::audit_line_of("token", "account.identify", now, serde_json::json!({}));
    match shared.store().identify(&who, &audit).await? {
        SubjectAccount::Known(account) => Ok(account),
        SubjectAccount::Joined(account) | SubjectAccount::Created(account) => {
            shared.publish(&[Change::Account(account.id)]).await;
            Ok(account)
        }
        SubjectAccount::EmailTaken => {
            let detail = "Another account has this token's e-mail, and the token does not prove that both are the same person's; sign in with a mailed link";
            Err(Problem::new(ProblemCode::EmailNotVerified, detail))
        }
    }
}

/// Exactly one header with exactly this token; compared in constant time.
fn require_csrf(headers: &HeaderMap, expected: &str) -> Result<(), Problem> {
    let mut sent = headers.get_all(CSRF_HEADER).iter();
    let matches = match (sent.next(), sent.next()) {
        (Some(sent), None) => proofs::same(sent.as_bytes(), expected.as_bytes()),
        _ => false,
    };
    if matches {
        return Ok(());
    }
    let detail = "A write by cookie carries `x-csrf-token`, the `csrf_token` of GET /v1/session";
    Err(Problem::new(ProblemCode::Csrf, detail))
}
