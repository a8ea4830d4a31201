//! `/admin/v1/accounts`: list, show, make, set the plan, ban, delete.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;
use tollgate_domain::{Account, AccountId, Ban, Timestamp, entitlement};
use tollgate_store::{Change, CreateAccount, NewAccount};
use utoipa::ToSchema;

use super::account_named;
use crate::context::{Context, Shared, audit_line, random};
use crate::inputs;
use crate::page::PageView;
use crate::problem::{Problem, ProblemCode};
use crate::request::{Body, OptionalBody, Parameters, Segment};
use crate::standing::{self, QuotaView};
use crate::views::AccountView;

/// An account with what takes more than its own record to tell.
#[derive(Serialize, ToSchema)]
#[schema(as = AccountDetail)]
struct AccountDetail {
    #[serde(flatten)]
    account: AccountView,
    /// Null without a plan.
    quota: Option<QuotaView>,
    /// Keys that count against the plan's `max_keys`.
    keys: u64,
}

/// An account to be made.
#[derive(ToSchema)]
#[schema(as = NewAccountRequest, example = json!({ "email": "grace@example.com", "name": "Grace", "plan": "pro" }))]
#[expect(dead_code, reason = "it describes what is read")]
struct NewAccountSchema {
    #[schema(format = "email", min_length = 3, max_length = 254)]
    email: String,
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// The plan it is put on; it holds whatever a subscription says.
    plan: Option<String>,
}

/// The plan an account is put on.
#[derive(ToSchema)]
#[schema(as = PlanRequest, example = json!({ "plan": "team" }))]
#[expect(dead_code, reason = "it describes what is read")]
struct PlanSchema {
    /// The plan's name; null lifts the operator's plan.
    #[schema(required)]
    plan: Option<String>,
    /// When the operator's plan ends by itself; left out, it holds until lifted.
    #[schema(format = DateTime)]
    until: Option<String>,
}

/// Why an account is banned.
#[derive(ToSchema)]
#[schema(as = BanRequest, example = json!({ "reason": "chargeback" }))]
#[expect(dead_code, reason = "it describes what is read")]
struct BanSchema {
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// Nothing.
#[derive(ToSchema)]
#[schema(as = EmptyRequest, example = json!({}))]
pub(super) struct EmptySchema {}

/// An account that was deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletedAccount)]
struct DeletedView {
    id: String,
    deleted_at: String,
    /// Keys that ended with it.
    keys: usize,
}

/// Accounts in order of creation, or the one with an e-mail.
#[utoipa::path(
    get, path = "/admin/v1/accounts", tag = "accounts", operation_id = "operator_list_accounts",
    params(
        ("email" = Option<String>, Query, description = "Only the account with this e-mail."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Entries of a page.", minimum = 1, maximum = 200),
    ),
    responses((status = 200, body = PageView<AccountView>)),
)]
pub(super) async fn list(
    State(context): State<Context>,
    mut query: Parameters,
) -> Result<Json<PageView<AccountView>>, Problem> {
    let limit = query.page_limit();
    let cursor = query.cursor::<AccountId>();
    let email = query.take("email", inputs::email);
    query.finish()?;
    let (policy, now) = (context.policy(), context.now());
    if let Some(email) = email {
        let found = context.store().account_by_email(&email).await?;
        let items = found.iter().map(|account| AccountView::new(account, &policy.plans, now)).collect();
        return Ok(Json(PageView::new(items, None)));
    }
    let page = context.store().accounts(cursor, limit).await?;
    let next = page.items.last().filter(|_| page.has_more).map(|account| account.id.to_string());
    let items = page.items.iter().map(|account| AccountView::new(account, &policy.plans, now)).collect();
    Ok(Json(PageView::new(items, next)))
}

/// One account.
#[utoipa::path(
    get, path = "/admin/v1/accounts/{account}", tag = "accounts", operation_id = "operator_show_account",
    params(("account" = String, Path, description = "The account's id or e-mail.")),
    responses((status = 200, body = AccountDetail)),
)]
pub(super) async fn show(State(context): State<Context>, Segment(account): Segment) -> Result<Response, Problem> {
    let account = account_named(&context, &account).await?;
    detail(&context, &account).await
}

/// Makes an account.
#[utoipa::path(
    post, path = "/admin/v1/accounts", tag = "accounts", operation_id = "operator_create_account",
    request_body = NewAccountSchema,
    responses((status = 201, body = AccountDetail, headers(("location" = String, description = "Where the account is shown.")))),
)]
pub(super) async fn create(State(context): State<Context>, Body(mut fields): Body) -> Result<Response, Problem> {
    let policy = context.policy();
    let email = fields.required_text("email", inputs::email);
    let name = fields.text("name", inputs::name);
    let plan = fields.text("plan", |text| inputs::plan(text, &policy.plans));
    let email = fields.finish(&["email", "name", "plan"], email)?;
    let now = context.now();
    let audit = audit_line("account.create", now, json!({ "plan": plan.as_ref().map(ToString::to_string) }));
    let new = NewAccount { id: AccountId::new(now, random()?), email, name, assigned_plan: plan, created_at: now };
    match context.store().create_account(&new, &audit).await? {
        CreateAccount::Created(account) => {
            context.publish(&[Change::Account(account.id)]).await;
            let location = HeaderValue::from_str(&format!("/admin/v1/accounts/{}", account.id));
            let location = location.expect("ids are visible ASCII");
            let answer = detail(&context, &account).await?;
            Ok((StatusCode::CREATED, [(LOCATION, location)], answer).into_response())
        }
        CreateAccount::Exists(account) => Err(Problem::new(
            ProblemCode::AccountExists,
            "There is an account with this e-mail; change its plan with `tollgate accounts set-plan`",
        )
        .with("account", account.id.to_string())),
    }
}

/// Sets the operator's plan, or lifts it with null.
#[utoipa::path(
    put, path = "/admin/v1/accounts/{account}/plan", tag = "accounts", operation_id = "operator_set_plan",
    params(("account" = String, Path, description = "The account's id or e-mail.")),
    request_body = PlanSchema,
    responses((status = 200, body = AccountDetail)),
)]
pub(super) async fn set_plan(
    State(context): State<Context>,
    Segment(account): Segment,
    Body(mut fields): Body,
) -> Result<Response, Problem> {
    let (policy, now) = (context.policy(), context.now());
    if !fields.contains("plan") {
        fields.refuse("plan", "`plan` is missing: send a plan's name, or null to lift the operator's plan");
    }
    let lifts = fields.contains("plan") && !fields.has("plan");
    let plan = fields.text("plan", |text| inputs::plan(text, &policy.plans));
    let until = fields.text("until", |text| later(text, now));
    if until.is_some() && lifts {
        fields.refuse("until", "`until` goes with a plan: lifting an operator's plan is at once");
    }
    fields.finish(&["plan", "until"], Some(()))?;
    let account = account_named(&context, &account).await?;
    let facts = json!({
        "from": account.assigned_plan.as_ref().map(ToString::to_string),
        "to": plan.as_ref().map(ToString::to_string),
        "until": until.map(|until| until.to_string()),
    });
    let audit = audit_line("account.set_plan", now, facts);
    let changed = context.store().assign_plan(account.id, plan.as_ref(), until, &audit).await?;
    changed_account(&context, changed).await
}

/// An instant in the future.
fn later(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    match inputs::instant(text)? {
        at if at > now => Ok(at),
        at => Err(format!("{at} has passed; a plan ends in the future")),
    }
}

/// Bans an account; its keys are refused from now on.
#[utoipa::path(
    post, path = "/admin/v1/accounts/{account}/ban", tag = "accounts", operation_id = "operator_ban_account",
    params(("account" = String, Path, description = "The account's id or e-mail.")),
    request_body = Option<BanSchema>,
    responses((status = 200, body = AccountDetail)),
)]
pub(super) async fn ban(
    State(context): State<Context>,
    Segment(account): Segment,
    OptionalBody(mut fields): OptionalBody,
) -> Result<Response, Problem> {
    let reason = fields.text("reason", inputs::reason);
    fields.finish(&["reason"], Some(()))?;
    let account = account_named(&context, &account).await?;
    let now = context.now();
    let audit = audit_line("account.ban", now, json!({ "reason": reason }));
    let ban = Ban { at: now, reason };
    let changed = context.store().set_ban(account.id, Some(&ban), &audit).await?;
    changed_account(&context, changed).await
}

/// Lifts a ban.
#[utoipa::path(
    post, path = "/admin/v1/accounts/{account}/unban", tag = "accounts", operation_id = "operator_unban_account",
    params(("account" = String, Path, description = "The account's id or e-mail.")),
    request_body = Option<EmptySchema>,
    responses((status = 200, body = AccountDetail)),
)]
pub(super) async fn unban(
    State(context): State<Context>,
    Segment(account): Segment,
    OptionalBody(fields): OptionalBody,
) -> Result<Response, Problem> {
    fields.finish(&[], Some(()))?;
    let account = account_named(&context, &account).await?;
    let audit = audit_line("account.unban", context.now(), json!({}));
    let changed = context.store().set_ban(account.id, None, &audit).await?;
    changed_account(&context, changed).await
}

/// Deletes an account: its keys end, its e-mail and name are erased, its usage stays in the ledger.
#[utoipa::path(
    delete, path = "/admin/v1/accounts/{account}", tag = "accounts", operation_id = "operator_delete_account",
    params(("account" = String, Path, description = "The account's id or e-mail.")),
    responses((status = 200, body = DeletedView)),
)]
pub(super) async fn remove(State(context): State<Context>, Segment(account): Segment) -> Result<Response, Problem> {
    let account = account_named(&context, &account).await?;
    let now = context.now();
    let audit = audit_line("account.delete", now, json!({}));
    let Some((account, keys)) = context.store().delete_account(account.id, now, &audit).await? else {
        return Err(gone());
    };
    let mut changes = vec![Change::Account(account.id)];
    changes.extend(keys.iter().map(|key| Change::Key(key.hashed.hash)));
    context.publish(&changes).await;
    let answer = DeletedView { id: account.id.to_string(), deleted_at: now.to_string(), keys: keys.len() };
    Ok(Json(answer).into_response())
}

/// Publishes a change of an account and answers with it.
async fn changed_account(shared: &Shared, changed: Option<Account>) -> Result<Response, Problem> {
    let account = changed.ok_or_else(gone)?;
    shared.publish(&[Change::Account(account.id)]).await;
    detail(shared, &account).await
}

fn gone() -> Problem {
    Problem::not_found("The account was deleted meanwhile")
}

async fn detail(shared: &Shared, account: &Account) -> Result<Response, Problem> {
    let (policy, now) = (shared.policy(), shared.now());
    let entitlement = entitlement(account, &policy.plans, now);
    let standing = standing::of_account(shared, account, None, &entitlement, now).await?;
    let keys = crate::keys::active(shared, account.id).await?;
    let account = AccountView::new(account, &policy.plans, now);
    Ok(Json(AccountDetail { account, quota: standing.map(|standing| standing.quota), keys }).into_response())
}
