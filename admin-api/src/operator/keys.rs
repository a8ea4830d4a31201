//! `/admin/v1/keys`: make, list, show, change, rotate, revoke.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tollgate_domain::{Account, AccountId, Entitlement, KeyId, Plan, PlanName, Timestamp, entitlement};
use tollgate_store::{Change, CreateAccount, NewAccount};

use super::{account_named, find_account};
use crate::context::{Context, OPERATOR, Shared, audit_line, random};
use crate::key_fields::{KeyChange, KeyChangeSchema, RotationSchema, read_grace};
use crate::key_request::{KeyRequest, KeyRequestSchema, Owner};
use crate::keys::{self, IssuedView, key_id, limit_reached, no_such_key};
use crate::page::PageView;
use crate::problem::{FieldError, Problem, ProblemCode};
use crate::request::{Body, OptionalBody, Parameters, Segment};
use crate::views::KeyView;

/// Keys in order of creation, of one account or of all.
#[utoipa::path(
    get, path = "/admin/v1/keys", tag = "keys", operation_id = "operator_list_keys",
    params(
        ("account" = Option<String>, Query, description = "Only of this account, by its id or e-mail."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Entries of a page.", minimum = 1, maximum = 200),
    ),
    responses((status = 200, body = PageView<KeyView>), (status = 404, body = Problem)),
)]
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
    let page = context.store().keys(account, cursor, limit).await?;
    Ok(Json(PageView::of_keys(&page, context.now())))
}

/// One key, in any state.
#[utoipa::path(
    get, path = "/admin/v1/keys/{key}", tag = "keys", operation_id = "operator_show_key",
    params(("key" = String, Path, description = "The key's id.")),
    responses((status = 200, body = KeyView)),
)]
pub(super) async fn show(State(context): State<Context>, Segment(key): Segment) -> Result<Json<KeyView>, Problem> {
    let key = context.store().key(key_id(&key)?).await?.ok_or_else(no_such_key)?;
    Ok(Json(KeyView::new(&key, context.now())))
}

/// Makes a key, and its account where the e-mail is new.
#[utoipa::path(
    post, path = "/admin/v1/keys", tag = "keys", operation_id = "operator_create_key",
    request_body = KeyRequestSchema,
    responses((status = 201, body = IssuedView, headers(("location" = String, description = "Where the key is shown.")))),
)]
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
    let entitlement = entitlement(&account, &policy.plans, context.now());
    refuse_other_plan(&account, request.plan.as_ref(), &entitlement)?;
    let issued = keys::make(&context, &account, &entitlement, request.key, request.bucket, OPERATOR).await?;
    Ok(issued.answer(&context, &account, "/admin/v1/keys"))
}

/// Changes what a key is given; what is left out stays.
#[utoipa::path(
    patch, path = "/admin/v1/keys/{key}", tag = "keys", operation_id = "operator_change_key",
    params(("key" = String, Path, description = "The key's id.")),
    request_body = KeyChangeSchema,
    responses((status = 200, body = KeyView), (status = 409, body = Problem, description = "The key does not work any more.")),
)]
pub(super) async fn change(
    State(context): State<Context>,
    Segment(key): Segment,
    Body(fields): Body,
) -> Result<Json<KeyView>, Problem> {
    let asked = KeyChange::read(fields, context.now())?;
    let key = context.store().key(key_id(&key)?).await?.ok_or_else(no_such_key)?;
    let key = keys::change(&context, &key, asked, OPERATOR).await?;
    Ok(Json(KeyView::new(&key, context.now())))
}

/// Puts a new key in the place of an old one, which works until its grace ends.
#[utoipa::path(
    post, path = "/admin/v1/keys/{key}/rotate", tag = "keys", operation_id = "operator_rotate_key",
    params(("key" = String, Path, description = "The key's id.")),
    request_body = Option<RotationSchema>,
    responses((status = 201, body = IssuedView, headers(("location" = String, description = "Where the key is shown.")))),
)]
pub(super) async fn rotate(
    State(context): State<Context>,
    Segment(key): Segment,
    OptionalBody(fields): OptionalBody,
) -> Result<Response, Problem> {
    let id = key_id(&key)?;
    let grace_us = read_grace(fields)?;
    let old = context.store().key(id).await?.ok_or_else(no_such_key)?;
    let account = context.store().account(old.account).await?.ok_or_else(no_such_key)?;
    let issued = keys::rotate(&context, old, grace_us, OPERATOR).await?;
    Ok(issued.answer(&context, &account, "/admin/v1/keys"))
}

/// Ends a key for good; ending it again changes nothing.
#[utoipa::path(
    delete, path = "/admin/v1/keys/{key}", tag = "keys", operation_id = "operator_revoke_key",
    params(("key" = String, Path, description = "The key's id.")),
    responses((status = 200, body = KeyView)),
)]
pub(super) async fn revoke(State(context): State<Context>, Segment(key): Segment) -> Result<Json<KeyView>, Problem> {
    let key = keys::revoke(&context, key_id(&key)?, OPERATOR).await?;
    Ok(Json(KeyView::new(&key, context.now())))
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
        Some(plan) if plan.max_keys == Some(0) => Err(limit_reached(0, 0, Some(plan))),
        _ => Ok(()),
    }
}

fn no_such_owner() -> Problem {
    Problem::invalid_fields(vec![FieldError {
        pointer: Some("#/account".into()),
        detail: "there is no such account; name it by its id (acc_…) or its e-mail".into(),
        ..FieldError::default()
    }])
}
