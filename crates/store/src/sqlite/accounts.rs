//! The table of accounts. Keys and ledger of an account are other modules'.

use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{Executor, SqlitePool};
use tollgate_domain::{Account, AccountId, Ban, Key, PlanName, Timestamp};

use super::audit;
use super::fault::failed;
use super::keys;
use super::row::{AccountRow, account_columns};
use crate::error::StoreError;
use crate::record::{ImportedAccount, NewAccount, NewAudit, Page};
use crate::store::CreateAccount;

/// What e-mail addresses are compared by.
fn email_key(email: &str) -> String {
    email.to_lowercase()
}

pub(super) async fn by_id(
    executor: impl Executor<'_, Database = Sqlite>,
    id: AccountId,
) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query(concat!("SELECT ", account_columns!(), " FROM accounts a WHERE a.id = $1"))
        .bind(id.to_string())
        .fetch_optional(executor)
        .await
        .map_err(failed)?;
    row.map(|row| AccountRow(&row).try_into()).transpose()
}

pub(super) async fn by_email(
    executor: impl Executor<'_, Database = Sqlite>,
    email: &str,
) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query(concat!(
        "SELECT ",
        account_columns!(),
        " FROM accounts a WHERE a.email_key = $1 AND a.deleted_at_us IS NULL"
    ))
    .bind(email_key(email))
    .fetch_optional(executor)
    .await
    .map_err(failed)?;
    row.map(|row| AccountRow(&row).try_into()).transpose()
}

pub(super) async fn list(pool: &SqlitePool, after: Option<AccountId>, limit: u32) -> Result<Page<Account>, StoreError> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        account_columns!(),
        " FROM accounts a WHERE a.deleted_at_us IS NULL AND a.id > $1 ORDER BY a.id LIMIT $2"
    ))
    .bind(after.map(|id| id.to_string()).unwrap_or_default())
    .bind(i64::from(limit) + 1)
    .fetch_all(pool)
    .await
    .map_err(failed)?;
    page(rows.iter().map(|row| AccountRow(row).try_into()), limit)
}

/// The page of a query that was asked for one row more than the page holds.
pub(super) fn page<T>(
    rows: impl ExactSizeIterator<Item = Result<T, StoreError>>,
    limit: u32,
) -> Result<Page<T>, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > limit;
    Ok(Page { items: rows.take(limit).collect::<Result<_, _>>()?, has_more })
}

/// An account before any operator, subscription or import has touched it.
pub(super) fn fresh(new: &NewAccount) -> Account {
    Account {
        id: new.id,
        email: new.email.clone(),
        name: new.name.clone(),
        created_at: new.created_at,
        assigned_plan: new.assigned_plan.clone(),
        ban: None,
        deleted_at: None,
        rolling_anchor: new.created_at,
        subscription_period: None,
        stripe_customer: None,
        stripe_subscription: None,
    }
}

/// Whether it was stored: false where its e-mail is taken.
pub(super) async fn insert(connection: &mut SqliteConnection, account: &Account) -> Result<bool, StoreError> {
    let stored = sqlx::query(
        "INSERT INTO accounts (id, email, email_key, name, created_at_us, assigned_plan, rolling_anchor_us, \
         stripe_customer, stripe_subscription) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (email_key) WHERE deleted_at_us IS NULL DO NOTHING",
    )
    .bind(account.id.to_string())
    .bind(&account.email)
    .bind(email_key(&account.email))
    .bind(&account.name)
    .bind(account.created_at.as_micros())
    .bind(account.assigned_plan.as_ref().map(PlanName::as_str))
    .bind(account.rolling_anchor.as_micros())
    .bind(&account.stripe_customer)
    .bind(&account.stripe_subscription)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(stored.rows_affected() > 0)
}

pub(super) async fn create(
    connection: &mut SqliteConnection,
    new: &NewAccount,
    audit: &NewAudit,
) -> Result<CreateAccount, StoreError> {
    if let Some(existing) = by_email(&mut *connection, &new.email).await? {
        return Ok(CreateAccount::Exists(existing));
    }
    let account = fresh(new);
    insert(connection, &account).await?;
    audit::append(connection, audit, Some(new.id), None).await?;
    Ok(CreateAccount::Created(account))
}

pub(super) async fn assign_plan(
    connection: &mut SqliteConnection,
    id: AccountId,
    plan: Option<&PlanName>,
    audit: &NewAudit,
) -> Result<Option<Account>, StoreError> {
    let changed = store_plan(connection, id, plan).await?;
    told(connection, id, changed, audit).await
}

/// How many accounts it changed: one, or none where there is no such account.
pub(super) async fn store_plan(
    connection: &mut SqliteConnection,
    id: AccountId,
    plan: Option<&PlanName>,
) -> Result<u64, StoreError> {
    let changed = sqlx::query("UPDATE accounts SET assigned_plan = $2 WHERE id = $1 AND deleted_at_us IS NULL")
        .bind(id.to_string())
        .bind(plan.map(PlanName::as_str))
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(changed.rows_affected())
}

pub(super) async fn set_rolling_anchor(
    connection: &mut SqliteConnection,
    id: AccountId,
    anchor: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE accounts SET rolling_anchor_us = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(anchor.as_micros())
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Adds what a line of a file tells of an account; what it leaves out stays as it is.
pub(super) async fn add_facts(
    connection: &mut SqliteConnection,
    id: AccountId,
    line: &ImportedAccount,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE accounts SET name = COALESCE($2, name), assigned_plan = COALESCE($3, assigned_plan), \
         stripe_customer = COALESCE($4, stripe_customer), \
         stripe_subscription = COALESCE($5, stripe_subscription) WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(&line.name)
    .bind(line.plan.as_ref().map(PlanName::as_str))
    .bind(&line.stripe_customer)
    .bind(&line.stripe_subscription)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) async fn set_ban(
    connection: &mut SqliteConnection,
    id: AccountId,
    ban: Option<&Ban>,
    audit: &NewAudit,
) -> Result<Option<Account>, StoreError> {
    let changed =
        sqlx::query("UPDATE accounts SET banned_at_us = $2, ban_reason = $3 WHERE id = $1 AND deleted_at_us IS NULL")
            .bind(id.to_string())
            .bind(ban.map(|ban| ban.at.as_micros()))
            .bind(ban.and_then(|ban| ban.reason.as_deref()))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    told(connection, id, changed.rows_affected(), audit).await
}

/// The account as a change left it, with the change in the audit trail; `None` where there was none to change.
async fn told(
    connection: &mut SqliteConnection,
    id: AccountId,
    changed: u64,
    audit: &NewAudit,
) -> Result<Option<Account>, StoreError> {
    if changed == 0 {
        return Ok(None);
    }
    audit::append(connection, audit, Some(id), None).await?;
    by_id(connection, id).await
}

pub(super) async fn delete(
    connection: &mut SqliteConnection,
    id: AccountId,
    at: Timestamp,
    audit: &NewAudit,
) -> Result<Option<(Account, Vec<Key>)>, StoreError> {
    let Some(account) = by_id(&mut *connection, id).await?.filter(|account| account.deleted_at.is_none()) else {
        return Ok(None);
    };
    let keys = keys::of_account(connection, id).await?;
    sqlx::query("UPDATE accounts SET email = '', email_key = '', name = NULL, deleted_at_us = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(at.as_micros())
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    keys::revoke_all(connection, id, at).await?;
    audit::append(connection, audit, Some(id), None).await?;
    Ok(Some((account, keys)))
}
