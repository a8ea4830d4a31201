//! `/admin/v1/audit`: who did what, newest first.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use tollgate_domain::AccountId;
use tollgate_store::{AuditEntry, AuditQuery};
use utoipa::ToSchema;

use super::account_named;
use crate::context::Context;
use crate::page::PageView;
use crate::problem::Problem;
use crate::request::Parameters;

/// One line of the trail.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditLine)]
pub(super) struct AuditView {
    sequence: i64,
    at: String,
    actor: String,
    action: String,
    account: Option<String>,
    key: Option<String>,
    /// Facts of it.
    #[schema(schema_with = crate::openapi::any_object)]
    detail: Value,
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            sequence: entry.sequence,
            at: entry.at.to_string(),
            actor: entry.actor,
            action: entry.action,
            account: entry.account.map(|id| id.to_string()),
            key: entry.key.map(|id| id.to_string()),
            detail: entry.detail,
        }
    }
}

/// The trail, of one account or of all. An account that was deleted is named by its id.
#[utoipa::path(
    get, path = "/admin/v1/audit", tag = "operation", operation_id = "operator_list_audit",
    params(
        ("account" = Option<String>, Query, description = "Only of this account, by its id or e-mail."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Entries of a page.", minimum = 1, maximum = 200),
    ),
    responses((status = 200, body = PageView<AuditView>), (status = 404, body = Problem)),
)]
pub(super) async fn list(
    State(context): State<Context>,
    mut query: Parameters,
) -> Result<Json<PageView<AuditView>>, Problem> {
    let limit = query.page_limit();
    let before = query.cursor::<i64>();
    let account = query.take("account", |text| Ok(text.to_owned()));
    query.finish()?;
    let account = match account {
        None => None,
        Some(reference) => Some(match reference.parse::<AccountId>() {
            Ok(id) => id,
            Err(_) => account_named(&context, &reference).await?.id,
        }),
    };
    // One more than the page holds tells whether another follows.
    let mut entries = context.store().audit(&AuditQuery { account, before, limit: limit + 1 }).await?;
    let page_length = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = entries.len() > page_length;
    entries.truncate(page_length);
    let next = entries.last().filter(|_| has_more).map(|entry| entry.sequence.to_string());
    Ok(Json(PageView::new(entries.into_iter().map(AuditView::from).collect(), next)))
}
