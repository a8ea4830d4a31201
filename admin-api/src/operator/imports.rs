//! `/admin/v1/import/*`: existing keys and accounts, taken over all or none.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::json;
use tollgate_domain::{AccountId, KeyId};
use tollgate_store::{ImportReport, ImportedAccount, ImportedKey};
use utoipa::ToSchema;

use crate::context::{Context, Shared, audit_line, random};
use crate::import_rows::{AccountRowsSchema, KeyRowsSchema, account_rows, key_rows};
use crate::problem::Problem;
use crate::request::Body;

/// What an import did.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportReport)]
pub(super) struct ImportView {
    rows: usize,
    accounts_created: u64,
    accounts_updated: u64,
    keys_created: u64,
    /// Keys that were there already; left as they are.
    keys_known: u64,
}

/// Takes keys over by their hashes, with what they have used.
#[utoipa::path(
    post, path = "/admin/v1/import/keys", tag = "imports", operation_id = "operator_import_keys",
    request_body = KeyRowsSchema,
    responses((status = 200, body = ImportView)),
)]
pub(super) async fn keys(State(context): State<Context>, Body(fields): Body) -> Result<Json<ImportView>, Problem> {
    let policy = context.policy();
    let now = context.now();
    let rows = key_rows(fields, &policy.plans, now)?;
    let mut account_ids: HashMap<String, AccountId> = HashMap::new();
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        let fresh_id = AccountId::new(now, random()?);
        let account_id_if_new = *account_ids.entry(row.email.to_lowercase()).or_insert(fresh_id);
        keys.push(ImportedKey {
            id: KeyId::new(now, random()?),
            hash: row.hash,
            email: row.email,
            account_id_if_new,
            plan: row.plan,
            name: row.name,
            revoked: row.revoked,
            cap: row.cap,
            used: row.used,
            cycle_start: row.cycle_start,
            expires_at: row.expires_at,
        });
    }
    let audit = audit_line("import.keys", now, json!({ "rows": keys.len() }));
    let report = context.store().import_keys(&keys, &policy.plans, now, &audit).await?;
    Ok(done(&context, keys.len(), &report).await)
}

/// Takes accounts over.
#[utoipa::path(
    post, path = "/admin/v1/import/accounts", tag = "imports", operation_id = "operator_import_accounts",
    request_body = AccountRowsSchema,
    responses((status = 200, body = ImportView)),
)]
pub(super) async fn accounts(State(context): State<Context>, Body(fields): Body) -> Result<Json<ImportView>, Problem> {
    let policy = context.policy();
    let now = context.now();
    let rows = account_rows(fields, &policy.plans)?;
    let mut accounts = Vec::with_capacity(rows.len());
    for row in rows {
        accounts.push(ImportedAccount {
            id: AccountId::new(now, random()?),
            email: row.email,
            name: row.name,
            plan: row.plan,
            stripe_customer: row.stripe_customer,
            stripe_subscription: row.stripe_subscription,
        });
    }
    let audit = audit_line("import.accounts", now, json!({ "rows": accounts.len() }));
    let report = context.store().import_accounts(&accounts, now, &audit).await?;
    Ok(done(&context, accounts.len(), &report).await)
}

async fn done(shared: &Shared, rows: usize, report: &ImportReport) -> Json<ImportView> {
    shared.publish(&report.changes).await;
    Json(ImportView {
        rows,
        accounts_created: report.accounts_created,
        accounts_updated: report.accounts_updated,
        keys_created: report.keys_created,
        keys_known: report.keys_known,
    })
}
