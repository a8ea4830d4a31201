//! `/v1/session`: signing in with a link's token, looking at the sign-in, ending it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;
use tollgate_domain::{Account, AccountId, Timestamp};
use tollgate_store::{AccountPatch, Change, CreateAccount, Link, LinkPurpose, NewAccount, Session, UpdateAccount};
use utoipa::ToSchema;

use super::caller::{Payer, Proof, account_disabled};
use super::cookies::{self, SESSION_COOKIE};
use super::links::Post;
use super::proofs::{self, Secret, SessionCookie};
use crate::context::{Context, Shared, audit_line_of, random};
use crate::inputs;
use crate::problem::{Problem, ProblemCode};
use crate::request::Body;

/// Who is named in the audit trail.
const CUSTOMER: &str = "customer";

/// Somebody who has signed in.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionView {
    /// The account's id.
    account: String,
    email: String,
    /// What every write by cookie carries as `x-csrf-token`.
    csrf_token: String,
    /// Until when.
    expires_at: String,
}

/// The token of a mailed link.
#[derive(ToSchema)]
#[schema(as = SignInRequest, example = json!({
    "token": "5f1d7a84db00d2fce00b31a7fc73224f5f1d7a84db00d2fce00b31a7fc73224f"
}))]
#[expect(dead_code, reason = "it describes what is read")]
pub(super) struct SignInSchema {
    /// As it stands in the link.
    token: String,
}

/// Somebody who has just signed in.
pub(super) struct Opened {
    pub(super) account: Account,
    cookie: SessionCookie,
    csrf_token: String,
    expires_at: Timestamp,
    /// How long that is from its opening.
    lasts: Duration,
}

impl Opened {
    /// `Set-Cookie` for it.
    pub(super) fn cookie(&self, headers: &HeaderMap) -> HeaderValue {
        cookies::set(&self.cookie, headers, self.lasts)
    }
}

/// Who has signed in, by cookie or by a token of the backend's own.
#[utoipa::path(
    get, path = "/v1/session", tag = "session", operation_id = "show_session",
    responses((status = 200, body = SessionView)),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn show(Payer(caller): Payer) -> Result<Json<SessionView>, Problem> {
    let (Proof::Session { csrf_token, expires_at } | Proof::Token { csrf_token, expires_at, .. }) = caller.proof else {
        return Err(Problem::internal("a key has signed in"));
    };
    Ok(Json(SessionView {
        account: caller.account.id.to_string(),
        email: caller.account.email,
        csrf_token,
        expires_at: expires_at.to_string(),
    }))
}

/// Signs in with the token of a mailed link, which is used up by that. The answer sets the cookie of the session.
#[utoipa::path(
    post, path = "/v1/session", tag = "session", operation_id = "sign_in",
    request_body = SignInSchema,
    responses(
        (status = 200, body = SessionView, headers(("set-cookie" = String, description = "The session."))),
        (status = 403, body = Problem, description = "The link is unknown, used or expired, or the account is banned and pays nothing."),
        (status = 409, body = Problem, description = "Another account has the address meanwhile."),
    ),
)]
pub(super) async fn sign_in(
    State(context): State<Context>,
    headers: HeaderMap,
    Body(mut fields): Body,
) -> Result<Response, Problem> {
    let token = fields.required_text("token", |text| Ok(text.trim().to_owned()));
    let token = fields.finish(&["token"], token)?;
    let opened = open(&context, &token).await?;
    let cookie = opened.cookie(&headers);
    let view = SessionView {
        account: opened.account.id.to_string(),
        email: opened.account.email,
        csrf_token: opened.csrf_token,
        expires_at: opened.expires_at.to_string(),
    };
    Ok(([(SET_COOKIE, cookie)], Json(view)).into_response())
}

/// Ends the session. A token of the backend's own ends where it was made.
#[utoipa::path(
    delete, path = "/v1/session", tag = "session", operation_id = "sign_out",
    responses((status = 204, description = "It has ended, and its cookie is taken away.")),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn end(
    State(context): State<Context>,
    headers: HeaderMap,
    _caller: Payer,
) -> Result<Response, Problem> {
    if let Some(cookie) = cookies::value_of(&headers, SESSION_COOKIE)
        && let Some(id) = proofs::session_of_cookie(&context, cookie).await?
    {
        context.store().end_session(&id.hash()).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookies::remove(&headers))]).into_response())
}

/// Takes a link's token and opens a session for whoever it was mailed to.
///
/// # Errors
/// The link opens nothing, or not any more; the account is banned and no customer of Stripe's; its new address is another's by now.
pub(super) async fn open(shared: &Shared, token: &str) -> Result<Opened, Problem> {
    let token = Secret::parse(token).ok_or_else(invalid_link)?;
    let now = shared.now();
    let link = shared.store().take_link(&token.hash(), now).await?.ok_or_else(invalid_link)?;
    let account = match link.purpose {
        LinkPurpose::SignIn => account_of_address(shared, &link.email).await?,
        LinkPurpose::NewEmail => with_new_address(shared, link).await?,
    };
    // Who still pays must be able to end that.
    if account.ban.is_some() && account.stripe_customer.is_none() {
        return Err(account_disabled());
    }
    let id = Secret::generate()?;
    let lasts = shared.deps.settings.portal.session;
    let expires_at = now + i64::try_from(lasts.as_micros()).unwrap_or(i64::MAX);
    let session = Session { account: account.id, created_at: now, expires_at };
    shared.store().create_session(&id.hash(), &session).await?;
    Ok(Opened {
        account,
        cookie: proofs::cookie_of_session(shared, &id).await?,
        csrf_token: proofs::csrf_of_session(shared, &id).await?,
        expires_at,
        lasts,
    })
}

/// The account of a proven address, made if it is new. One that a token made without vouching for the address is another's.
async fn account_of_address(shared: &Shared, email: &str) -> Result<Account, Problem> {
    let now = shared.now();
    let name = email.split_once('@').and_then(|(local, _)| inputs::name_cut(local));
    let new = NewAccount {
        id: AccountId::new(now, random()?),
        email: email.to_owned(),
        name,
        assigned_plan: None,
        created_at: now,
    };
    // Where nobody may make an account, the link's may have been deleted since it was mailed.
    let new = shared.deps.settings.portal.signup.then_some(&new);
    let audit = audit_line_of(CUSTOMER, "account.create", now, json!({ "plan": null }));
    match shared.store().account_of_proven(email, new, &audit).await?.ok_or_else(invalid_link)? {
        CreateAccount::Created(account) => {
            shared.publish(&[Change::Account(account.id)]).await;
            Ok(account)
        }
        CreateAccount::Exists(account) => Ok(account),
    }
}

/// The account with its new address, which the link has proven. Whoever reads mail at the old one is told.
async fn with_new_address(shared: &Shared, link: Link) -> Result<Account, Problem> {
    let id = link.account.ok_or_else(|| Problem::internal("a link for a new address names no account"))?;
    let before = shared.store().account(id).await?.filter(|account| account.deleted_at.is_none());
    let before = before.ok_or_else(invalid_link)?;
    if before.ban.is_some() {
        return Err(account_disabled());
    }
    let patch = AccountPatch { email: Some(link.email), ..AccountPatch::default() };
    let audit = audit_line_of(CUSTOMER, "account.update", shared.now(), json!({ "changed": ["email"] }));
    match shared.store().update_account(id, &patch, &audit).await? {
        UpdateAccount::Updated(account) => {
            shared.publish(&[Change::Account(id)]).await;
            if before.email.to_lowercase() != account.email.to_lowercase() {
                tell_old_address(shared, before.email);
            }
            Ok(account)
        }
        UpdateAccount::EmailTaken => Err(Problem::new(ProblemCode::EmailTaken, "Another account has this address")),
        UpdateAccount::NoAccount => Err(invalid_link()),
    }
}

fn tell_old_address(shared: &Shared, address: String) {
    // With too much under way this one is let go: the change itself stands in the audit trail.
    let Ok(post) = Post::of_ours(shared) else { return };
    tokio::spawn(async move {
        let text = "The e-mail address of your account was changed, and this address does not sign in to it any more.\n\n\
                    If that was not you, write to the operator of the API at once.\n";
        post.mail(&address, "Your e-mail address was changed", text).await;
    });
}

fn invalid_link() -> Problem {
    Problem::new(ProblemCode::InvalidLink, "This link is unknown, used or expired; ask for a new one")
}
