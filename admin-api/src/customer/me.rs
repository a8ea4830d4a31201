//! `/v1/me` and `/v1/quota`: who the caller is, and what is left.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::json;
use tollgate_domain::{Account, Key, Plan, entitlement};
use tollgate_store::{AccountPatch, Change, LinkPurpose, UpdateAccount};
use utoipa::ToSchema;

use super::links::Post;
use super::sender::Sender;
use super::{Caller, Proof, SignedIn};
use crate::context::{Context, Shared, audit_line_of};
use crate::inputs;
use crate::problem::{Problem, ProblemCode};
use crate::request::Body;
use crate::standing::{self, LimitView, MeterView, QuotaView};
use crate::views::display_name;

/// The caller.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Me)]
pub(super) struct MeView {
    /// The account's id.
    account: String,
    email: String,
    /// A new address that a link was mailed to; it takes effect when that is opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pending_email: Option<String>,
    name: Option<String>,
    /// Null without a plan.
    plan: Option<PlanNameView>,
    /// Null without a plan.
    quota: Option<QuotaView>,
    /// The key that was sent; null for whoever has signed in.
    key: Option<OwnKeyView>,
}

/// A plan by its names.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanName)]
struct PlanNameView {
    name: String,
    display_name: String,
    /// Whether it includes the API at all.
    api: bool,
}

impl PlanNameView {
    fn new(plan: &Plan) -> Self {
        Self { name: plan.name.to_string(), display_name: display_name(plan), api: plan.api }
    }
}

/// A key as its holder sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnKey)]
struct OwnKeyView {
    id: String,
    name: Option<String>,
    masked: String,
    /// `active` or `in_grace`.
    state: &'static str,
    expires_at: Option<String>,
}

/// What the caller's plan has and what is left of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaAnswer)]
pub(super) struct QuotaAnswer {
    /// Null without a plan.
    plan: Option<PlanNameView>,
    features: Vec<String>,
    /// Whether every limit would let a call of one unit pass.
    allowed: bool,
    limits: Vec<LimitView>,
    /// The plan's meters by name.
    meters: BTreeMap<String, MeterView>,
}

/// What of an account is changed. What is left out stays.
#[derive(ToSchema)]
#[schema(as = MeRequest, example = json!({ "name": "Ada Lovelace" }))]
#[expect(dead_code, reason = "it describes what is read")]
pub(super) struct MeSchema {
    /// What the account is called; null takes the name away.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// A new address; a link is mailed to it, and it takes effect when that is opened.
    #[schema(nullable = false, format = "email", min_length = 3, max_length = 254)]
    email: Option<String>,
}

/// Who the caller is.
#[utoipa::path(
    get, path = "/v1/me", tag = "account", operation_id = "show_me",
    responses((status = 200, body = MeView)),
    security(("api_key" = []), ("session" = []), ("token" = [])),
)]
pub(super) async fn me(State(context): State<Context>, caller: Caller) -> Result<Json<MeView>, Problem> {
    let Caller { account, proof } = caller;
    let key = match &proof {
        Proof::Key(key) => Some(&**key),
        Proof::Session { .. } | Proof::Token { .. } => None,
    };
    view(&context, account, key, None).await.map(Json)
}

/// Changes what the account is called, at once, or its address, once that is proven.
#[utoipa::path(
    patch, path = "/v1/me", tag = "account", operation_id = "change_me",
    request_body = MeSchema,
    responses(
        (status = 200, body = MeView),
        (status = 429, body = Problem, description = "Too many links were asked for from one address within an hour."),
    ),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn change(
    State(context): State<Context>,
    SignedIn(caller): SignedIn,
    sender: Sender,
    Body(mut fields): Body,
) -> Result<Json<MeView>, Problem> {
    let renamed = fields.contains("name");
    let name = fields.text("name", inputs::name);
    if fields.contains("email") && !fields.has("email") {
        fields.refuse("email", "an account cannot be without an e-mail; leave the field out to keep it");
    }
    let email = fields.text("email", inputs::email);
    fields.finish(&["name", "email"], Some(()))?;
    let mut account = caller.account;
    let new_email = match email {
        Some(email) if email.to_lowercase() == account.email.to_lowercase() => {
            // One's own needs no proof, unless a token said so and nobody has proven it yet.
            let is_proven = context.store().has_proven_email(account.id).await?;
            Some(email).filter(|_| !is_proven)
        }
        email => email,
    };
    // Before anything is changed: either all of a request is done or nothing.
    let post = match &new_email {
        Some(_) => Some(Post::of(&context, sender).await?),
        None => None,
    };
    if renamed {
        account = rename(&context, &account, name).await?;
    }
    if let (Some(post), Some(email)) = (post, new_email.clone()) {
        let (context, id) = (context.clone(), account.id);
        tokio::spawn(async move { post.mail_link(&context, LinkPurpose::NewEmail, email, Some(id)).await });
    }
    view(&context, account, None, new_email).await.map(Json)
}

async fn rename(shared: &Shared, account: &Account, name: Option<String>) -> Result<Account, Problem> {
    let patch = AccountPatch { name: Some(name), ..AccountPatch::default() };
    let audit = audit_line_of("customer", "account.update", shared.now(), json!({ "changed": ["name"] }));
    match shared.store().update_account(account.id, &patch, &audit).await? {
        UpdateAccount::Updated(account) => {
            shared.publish(&[Change::Account(account.id)]).await;
            Ok(account)
        }
        UpdateAccount::NoAccount => Err(Problem::new(ProblemCode::SignInNeeded, "The account was deleted meanwhile")
            .with_challenge(Shared::sign_in_challenge())),
        UpdateAccount::EmailTaken => Err(Problem::internal("a name is taken for an e-mail")),
    }
}

async fn view(
    shared: &Shared,
    account: Account,
    key: Option<&Key>,
    pending_email: Option<String>,
) -> Result<MeView, Problem> {
    let (policy, now) = (shared.policy(), shared.now());
    let entitlement = entitlement(&account, &policy.plans, now);
    let standing = standing::of_account(shared, &account, None, &entitlement, now).await?;
    let own_key = |key: &Key| OwnKeyView {
        id: key.id.to_string(),
        state: key.state(now).as_str(),
        name: key.name.clone(),
        masked: key.hashed.masked.to_string(),
        expires_at: key.superseded.map(|superseded| superseded.grace_until).or(key.expires_at).map(|at| at.to_string()),
    };
    Ok(MeView {
        account: account.id.to_string(),
        email: account.email,
        pending_email,
        name: account.name,
        plan: entitlement.plan().map(|plan| PlanNameView::new(plan)),
        quota: standing.map(|standing| standing.quota),
        key: key.map(own_key),
    })
}

/// What is left, limit by limit.
#[utoipa::path(
    get, path = "/v1/quota", tag = "account", operation_id = "show_quota",
    responses((status = 200, body = QuotaAnswer)),
    security(("api_key" = []), ("session" = []), ("token" = [])),
)]
pub(super) async fn quota(State(context): State<Context>, caller: Caller) -> Result<Json<QuotaAnswer>, Problem> {
    let Caller { account, proof } = caller;
    let key = match &proof {
        Proof::Key(key) => Some(&**key),
        Proof::Session { .. } | Proof::Token { .. } => None,
    };
    let (policy, now) = (context.policy(), context.now());
    let entitlement = entitlement(&account, &policy.plans, now);
    let standing = standing::of_account(&context, &account, key, &entitlement, now).await?;
    let (limits, meters) = standing.map(|standing| (standing.limits, standing.meters)).unwrap_or_default();
    let allowed = entitlement.has_access() && limits.iter().all(LimitView::is_allowed);
    Ok(Json(QuotaAnswer {
        plan: entitlement.plan().map(|plan| PlanNameView::new(plan)),
        features: entitlement.plan().map(|plan| plan.features.iter().cloned().collect()).unwrap_or_default(),
        allowed,
        limits,
        meters,
    }))
}
