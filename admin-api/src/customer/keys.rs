//! `/v1/keys`: a customer's own keys. Another's is not there.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use tollgate_domain::{Entitlement, Key, KeyId, entitlement};

use super::SignedIn;
use crate::context::{Context, Shared};
use crate::key_fields::{KeyChange, KeyChangeSchema, KeyFields, NewKeySchema, OWN_FIELDS, RotationSchema, read_grace};
use crate::keys::{self, IssuedView, key_id, no_such_key};
use crate::page::PageView;
use crate::problem::{Problem, ProblemCode};
use crate::request::{Body, OptionalBody, Parameters, Segment};
use crate::views::KeyView;

/// Who is named in the audit trail.
const CUSTOMER: &str = "customer";

/// Own keys in order of creation, in any state.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys", operation_id = "list_keys",
    params(
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Entries of a page.", minimum = 1, maximum = 200),
    ),
    responses((status = 200, body = PageView<KeyView>)),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn list(
    State(context): State<Context>,
    SignedIn(caller): SignedIn,
    mut query: Parameters,
) -> Result<Json<PageView<KeyView>>, Problem> {
    let limit = query.page_limit();
    let cursor = query.cursor::<KeyId>();
    query.finish()?;
    let page = context.store().keys(Some(caller.account.id), cursor, limit).await?;
    Ok(Json(PageView::of_keys(&page, context.now())))
}

/// Makes a key. The answer shows it, this once.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", operation_id = "create_key",
    request_body = Option<NewKeySchema>,
    responses(
        (status = 201, body = IssuedView, headers(("location" = String, description = "Where the key is shown."))),
        (status = 402, body = Problem, description = "The account's plan has no API access."),
    ),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn create(
    State(context): State<Context>,
    SignedIn(caller): SignedIn,
    OptionalBody(mut fields): OptionalBody,
) -> Result<Response, Problem> {
    let given = KeyFields::take(&mut fields, context.now());
    let given = fields.finish(OWN_FIELDS, Some(given))?;
    let entitlement = entitlement(&caller.account, &context.policy().plans, context.now());
    if !entitlement.has_access() {
        return Err(no_api_access(&context, &entitlement));
    }
    let issued = keys::make(&context, &caller.account, &entitlement, given, None, CUSTOMER).await?;
    Ok(issued.answer(&context, &caller.account, "keys"))
}

/// One own key, in any state.
#[utoipa::path(
    get, path = "/v1/keys/{key}", tag = "keys", operation_id = "show_key",
    params(("key" = String, Path, description = "The key's id.")),
    responses((status = 200, body = KeyView)),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn show(
    State(context): State<Context>,
    SignedIn(caller): SignedIn,
    Segment(key): Segment,
) -> Result<Json<KeyView>, Problem> {
    let key = own_key(&context, &caller, &key).await?;
    Ok(Json(KeyView::new(&key, context.now())))
}

/// Changes what an own key is given; what is left out stays.
#[utoipa::path(
    patch, path = "/v1/keys/{key}", tag = "keys", operation_id = "change_key",
    params(("key" = String, Path, description = "The key's id.")),
    request_body = KeyChangeSchema,
    responses((status = 200, body = KeyView), (status = 409, body = Problem, description = "The key does not work any more.")),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn change(
    State(context): State<Context>,
    SignedIn(caller): SignedIn,
    Segment(key): Segment,
    Body(fields): Body,
) -> Result<Json<KeyView>, Problem> {
    let key = own_key(&context, &caller, &key).await?;
    let asked = KeyChange::read(fields, context.now())?;
    let key = keys::change(&context, &key, asked, CUSTOMER).await?;
    Ok(Json(KeyView::new(&key, context.now())))
}

/// Puts a new key in the place of an own one, which works until its grace ends. The answer shows it, this once.
#[utoipa::path(
    post, path = "/v1/keys/{key}/rotate", tag = "keys", operation_id = "rotate_key",
    params(("key" = String, Path, description = "The key's id.")),
    request_body = Option<RotationSchema>,
    responses((status = 201, body = IssuedView, headers(("location" = String, description = "Where the key is shown.")))),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn rotate(
    State(context): State<Context>,
    SignedIn(caller): SignedIn,
    Segment(key): Segment,
    OptionalBody(fields): OptionalBody,
) -> Result<Response, Problem> {
    let old = own_key(&context, &caller, &key).await?;
    let grace_us = read_grace(fields)?;
    let issued = keys::rotate(&context, old, grace_us, CUSTOMER).await?;
    Ok(issued.answer(&context, &caller.account, ".."))
}

/// Ends an own key for good; ending it again changes nothing.
#[utoipa::path(
    delete, path = "/v1/keys/{key}", tag = "keys", operation_id = "revoke_key",
    params(("key" = String, Path, description = "The key's id.")),
    responses((status = 200, body = KeyView)),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn revoke(
    State(context): State<Context>,
    SignedIn(caller): SignedIn,
    Segment(key): Segment,
) -> Result<Json<KeyView>, Problem> {
    let key = own_key(&context, &caller, &key).await?;
    let key = keys::revoke(&context, key.id, CUSTOMER).await?;
    Ok(Json(KeyView::new(&key, context.now())))
}

/// The caller's key of this id. One that is another's is answered as one that is not there.
async fn own_key(shared: &Shared, caller: &super::Caller, id: &str) -> Result<Key, Problem> {
    let key = shared.store().key(key_id(id)?).await?;
    key.filter(|key| key.account == caller.account.id).ok_or_else(no_such_key)
}

fn no_api_access(shared: &Shared, entitlement: &Entitlement) -> Problem {
    let detail = "The account's plan has no API access, so it has no use for a key; choose another plan first";
    let problem = Problem::new(ProblemCode::UpgradeRequired, detail);
    let problem = match entitlement.plan() {
        Some(plan) => problem.with("plan", plan.name.as_str()),
        None => problem,
    };
    match &shared.deps.settings.gateway.upgrade_url {
        Some(url) => problem.with("upgrade_url", url.as_str()),
        None => problem,
    }
}
