//! `/admin/v1/keys`: make, list, show, rotate, revoke. A raw key is in the answer of the call that made it and nowhere else.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tollgate_domain::{
    Account, AccountId, DAY_US, Entitlement, Key, KeyId, PlainKey, Plan, PlanName, Timestamp, entitlement,
};
use tollgate_store::{Change, CreateAccount, CreateKey, NewAccount, NewKey, RotateKey};

use super::idempotency::WithoutSecret;
use super::{account_named, find_account};
use crate::context::{Context, Shared, audit_line, random};
use crate::inputs;
use crate::key_request::{KeyRequest, Owner};
use crate::page::PageView;
use crate::problem::{FieldError, Problem, ProblemCode};
use crate::request::{Body, OptionalBody, Parameters, Segment};
use crate::views::KeyView;

/// Longest grace of a rotation.
const GRACE_DAYS_MAX: i64 = 30;

/// Keys in order of creation, of one account or of all.
pub(super) async fn list(
    State(context): State<Context>,
    mut query: Parameters,
) -> Result<Json<PageView<KeyView>>, Problem> {
    let limit = query.page_limit();
    let cursor = query.cursor::<KeyId>();
    let account = query.take("account", |text| Ok(text.to_owned()));
    query.finish()?;
    let account = match account {
        None => None,
        Some(reference) => Some(account_named(&context, &reference).await?.id),
    };
    let now = context.now();
    let page = context.store().keys(account, cursor, limit).await?;
    let next = page.items.last().filter(|_| page.has_more).map(|key| key.id.to_string());
    Ok(Json(PageView::new(page.items.iter().map(|key| KeyView::new(key, now)).collect(), next)))
}

/// One key, in any state.
pub(super) async fn show(State(context): State<Context>, Segment(key): Segment) -> Result<Json<KeyView>, Problem> {
    let key = context.store().key(key_id(&key)?).await?.ok_or_else(no_such_key)?;
    Ok(Json(KeyView::new(&key, context.now())))
}

/// Makes a key, and its account where the e-mail is new.
pub(super) async fn create(State(context): State<Context>, Body(fields): Body) -> Result<Response, Problem> {
    let policy = context.policy();
    let now = context.now();
    let request = KeyRequest::read(fields, &policy.plans, now)?;
    let found = match &request.owner {
        Owner::Email(email) => context.store().account_by_email(email).await?,
        Owner::Reference(reference) => Some(find_account(&context, reference).await?.ok_or_else(no_such_owner)?),
    };
    let account = match (found, &request.owner) {
        (Some(account), _) => account,
        (None, Owner::Email(email)) => {
            refuse_plan_without_keys(request.plan.as_ref().and_then(|name| policy.plans.get(name.as_str())))?;
            create_account(&context, email, request.plan.clone(), now).await?
        }
        (None, Owner::Reference(_)) => return Err(no_such_owner()),
    };
    let entitlement = entitlement(&account, &policy.plans);
    let plan = entitlement.plan();
    refuse_other_plan(&account, request.plan.as_ref(), &entitlement)?;
    let plain = PlainKey::generate(&context.keys().prefix, random()?);
    let new = NewKey {
        id: KeyId::new(now, random()?),
        account: account.id,
        hashed: plain.hashed(&context.hasher),
        name: request.name,
        created_at: now,
        expires_at: request.expires_at,
        scopes: request.scopes,
        read_only: request.read_only,
        ip_rules: request.ip_rules,
        limits: request.limits,
    };
    let facts =
        json!({ "masked": new.hashed.masked.to_string(), "expires_at": new.expires_at.map(|at| at.to_string()) });
    let audit = audit_line("key.create", now, facts);
    match context.store().create_key(&new, plan.and_then(|plan| plan.max_keys), &audit).await? {
        CreateKey::Created(key) => {
            // A guess at this key may be remembered as unknown.
            context.publish(&[Change::Key(key.hashed.hash)]).await;
            Ok(issued(&plain, &key, &account, &entitlement, None, now))
        }
        CreateKey::LimitReached { active } => {
            let key_limit = plan.and_then(|plan| plan.max_keys).unwrap_or(active);
            Err(key_limit_reached(active, key_limit, plan.map(AsRef::as_ref)))
        }
        CreateKey::NoAccount => Err(no_such_owner()),
        CreateKey::Duplicate => Err(Problem::internal("a new key's hash is known already")),
    }
}

/// Puts a new key in the place of an old one, which works until its grace ends.
pub(super) async fn rotate(
    State(context): State<Context>,
    Segment(key): Segment,
    OptionalBody(mut fields): OptionalBody,
) -> Result<Response, Problem> {
    let id = key_id(&key)?;
    let grace_us = fields.text("grace", |text| {
        let grace_us = inputs::duration_us(text)?;
        let fits = grace_us <= GRACE_DAYS_MAX * DAY_US;
        fits.then_some(grace_us).ok_or_else(|| format!("a grace is at most {GRACE_DAYS_MAX}d"))
    });
    fields.finish(&["grace"], Some(()))?;
    let old = context.store().key(id).await?.ok_or_else(no_such_key)?;
    let account = context.store().account(old.account).await?.ok_or_else(no_such_key)?;
    let now = context.now();
    let grace_until = now + grace_us.unwrap_or(0);
    let plain = PlainKey::generate(&context.keys().prefix, random()?);
    let new = NewKey {
        id: KeyId::new(now, random()?),
        account: old.account,
        hashed: plain.hashed(&context.hasher),
        name: old.name,
        created_at: now,
        expires_at: old.expires_at,
        scopes: old.scopes,
        read_only: old.read_only,
        ip_rules: old.ip_rules,
        limits: old.limits,
    };
    let facts = json!({ "masked": new.hashed.masked.to_string(), "grace_until": grace_until.to_string() });
    let audit = audit_line("key.rotate", now, facts);
    match context.store().rotate_key(id, &new, grace_until, &audit).await? {
        RotateKey::Rotated { new, old } => {
            context.publish(&[Change::Key(old.hashed.hash), Change::Key(new.hashed.hash)]).await;
            let entitlement = entitlement(&account, &context.policy().plans);
            Ok(issued(&plain, &new, &account, &entitlement, Some((&old, grace_until)), now))
        }
        RotateKey::NotActive(key) => {
            let state = key.state(now).as_str();
            let detail = format!(
                "The key is {}, so it cannot be rotated: rotate its successor if it has one, or make a new key",
                state.replace('_', " ")
            );
            Err(Problem::new(ProblemCode::KeyNotActive, detail).with("state", state))
        }
        RotateKey::PredecessorInGrace { grace_until } => {
            let detail = "The key's own predecessor is still in its grace, and only one may be; wait, or revoke it";
            let problem = Problem::new(ProblemCode::PredecessorInGrace, detail);
            Err(problem.with("grace_until", grace_until.to_string()))
        }
        RotateKey::NoKey => Err(no_such_key()),
    }
}

/// Ends a key for good; ending it again changes nothing.
pub(super) async fn revoke(State(context): State<Context>, Segment(key): Segment) -> Result<Json<KeyView>, Problem> {
    let id = key_id(&key)?;
    let now = context.now();
    let audit = audit_line("key.revoke", now, json!({}));
    let key = context.store().revoke_key(id, now, &audit).await?.ok_or_else(no_such_key)?;
    context.publish(&[Change::Key(key.hashed.hash)]).await;
    Ok(Json(KeyView::new(&key, now)))
}

/// The answer that shows a raw key, this once. What is kept for a repeated request has no secret.
fn issued(
    plain: &PlainKey,
    key: &Key,
    account: &Account,
    entitlement: &Entitlement,
    replaces: Option<(&Key, Timestamp)>,
    now: Timestamp,
) -> Response {
    let mut body = serde_json::to_value(KeyView::new(key, now)).expect("a view is JSON");
    body["email"] = account.email.as_str().into();
    body["plan"] = entitlement.plan().map_or(Value::Null, |plan| plan.name.as_str().into());
    if let Some((old, grace_until)) = replaces {
        body["replaces"] = json!({ "id": old.id.to_string(), "grace_until": grace_until.to_string() });
    }
    let kept = json!({ "id": key.id.to_string(), "masked": key.hashed.masked.to_string() });
    body["key"] = plain.reveal().into();
    let location = HeaderValue::from_str(&format!("/admin/v1/keys/{}", key.id)).expect("ids are visible ASCII");
    let mut response = (StatusCode::CREATED, [(LOCATION, location)], Json(body)).into_response();
    response.extensions_mut().insert(WithoutSecret(kept));
    response
}

async fn create_account(
    shared: &Shared,
    email: &str,
    plan: Option<PlanName>,
    now: Timestamp,
) -> Result<Account, Problem> {
    let audit = audit_line("account.create", now, json!({ "plan": plan.as_ref().map(ToString::to_string) }));
    let new = NewAccount {
        id: AccountId::new(now, random()?),
        email: email.into(),
        name: None,
        assigned_plan: plan,
        created_at: now,
    };
    match shared.store().create_account(&new, &audit).await? {
        CreateAccount::Created(account) => {
            shared.publish(&[Change::Account(account.id)]).await;
            Ok(account)
        }
        // Another call made it meanwhile; whether its plan is the one asked for is looked at next.
        CreateAccount::Exists(account) => Ok(account),
    }
}

/// A key is not made on the side for an account that is on another plan than the operator thinks.
fn refuse_other_plan(account: &Account, asked: Option<&PlanName>, entitlement: &Entitlement) -> Result<(), Problem> {
    let effective = entitlement.plan().map(|plan| &plan.name);
    let Some(asked) = asked.filter(|asked| Some(*asked) != effective) else { return Ok(()) };
    let on = effective.map_or_else(|| "has no plan".to_owned(), |plan| format!("is on plan `{plan}`"));
    let detail = format!(
        "The account {on}, not on `{asked}`; name the account without a plan, or change its plan first with `tollgate accounts set-plan {} {asked}`",
        account.id
    );
    Err(Problem::new(ProblemCode::OtherPlan, detail)
        .with("account", account.id.to_string())
        .with("plan", effective.map_or(Value::Null, |plan| plan.as_str().into())))
}

/// Asked before an account is made, so that a key which cannot be leaves no account behind.
fn refuse_plan_without_keys(plan: Option<&std::sync::Arc<Plan>>) -> Result<(), Problem> {
    match plan {
        Some(plan) if plan.max_keys == Some(0) => Err(key_limit_reached(0, 0, Some(plan))),
        _ => Ok(()),
    }
}

fn key_limit_reached(active: u64, max_keys: u64, plan: Option<&Plan>) -> Problem {
    let name = plan.map_or("", |plan| plan.name.as_str());
    let detail = format!(
        "The account has {active} active keys and plan `{name}` allows {max_keys}; revoke one, or change the plan"
    );
    Problem::new(ProblemCode::KeyLimitReached, detail).with("plan", name).with("limit", max_keys).with("used", active)
}

/// The text is not repeated: it may be a raw key that was put in the wrong place.
fn key_id(text: &str) -> Result<KeyId, Problem> {
    text.parse().map_err(|_| no_such_key())
}

fn no_such_key() -> Problem {
    Problem::not_found("There is no such key; name it by its id (key_…), not by the key itself")
}

fn no_such_owner() -> Problem {
    Problem::invalid_fields(vec![FieldError {
        pointer: Some("#/account".into()),
        detail: "there is no such account; name it by its id (acc_…) or its e-mail".into(),
        ..FieldError::default()
    }])
}
