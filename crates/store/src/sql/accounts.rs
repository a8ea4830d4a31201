//! The table of accounts. Keys and ledger of an account are other modules'.

use tollgate_domain::{Account, AccountId, Ban, Key, PlanName, Timestamp};

use super::database::{Connection, Query, query};
use super::fault::raced;
use super::row::{AccountRow, account_columns};
use super::{audit, keys, outbox};
use crate::error::StoreError;
use crate::record::{Change, ImportedAccount, NewAccount, NewAudit, Page};
use crate::store::CreateAccount;

/// What e-mail addresses are compared by.
fn email_key(email: &str) -> String {
    email.to_lowercase()
}

fn of_id(id: AccountId) -> Query {
    query(concat!("SELECT ", account_columns!(), " FROM accounts a WHERE a.id = $1")).bind(id.to_string())
}

fn of_email(email: &str) -> Query {
    let text =
        concat!("SELECT ", account_columns!(), " FROM accounts a WHERE a.email_key = $1 AND a.deleted_at_us IS NULL");
    query(text).bind(email_key(email))
}

async fn found(connection: &mut Connection, query: Query) -> Result<Option<Account>, StoreError> {
    let row = query.fetch_optional(connection).await?;
    row.map(|row| AccountRow(&row).try_into()).transpose()
}

pub(super) async fn by_id(connection: &mut Connection, id: AccountId) -> Result<Option<Account>, StoreError> {
    found(connection, of_id(id)).await
}

/// The account, as it stays until the transaction ends: nobody else makes, rotates or deletes anything of it.
pub(super) async fn hold(connection: &mut Connection, id: AccountId) -> Result<Option<Account>, StoreError> {
    found(connection, of_id(id).locking()).await
}

pub(super) async fn by_email(connection: &mut Connection, email: &str) -> Result<Option<Account>, StoreError> {
    found(connection, of_email(email)).await
}

/// As [`hold`], by e-mail.
pub(super) async fn hold_by_email(connection: &mut Connection, email: &str) -> Result<Option<Account>, StoreError> {
    found(connection, of_email(email).locking()).await
}

pub(super) async fn list(
    connection: &mut Connection,
    after: Option<AccountId>,
    limit: u32,
) -> Result<Page<Account>, StoreError> {
    let rows = query(concat!(
        "SELECT ",
        account_columns!(),
        " FROM accounts a WHERE a.deleted_at_us IS NULL AND a.id > $1 ORDER BY a.id LIMIT $2"
    ))
    .bind(after.map(|id| id.to_string()).unwrap_or_default())
    .bind(i64::from(limit) + 1)
    .fetch_all(connection)
    .await?;
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
pub(super) async fn insert(connection: &mut Connection, account: &Account) -> Result<bool, StoreError> {
    let stored = query(
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
    .await?;
    Ok(stored > 0)
}

pub(super) async fn create(
    connection: &mut Connection,
    new: &NewAccount,
    audit: &NewAudit,
) -> Result<CreateAccount, StoreError> {
    if let Some(existing) = by_email(connection, &new.email).await? {
        return Ok(CreateAccount::Exists(existing));
    }
    let account = fresh(new);
    if !insert(connection, &account).await? {
        return Err(raced());
    }
    audit::append(connection, audit, Some(new.id), None).await?;
    outbox::append(connection, &[Change::Account(new.id)], audit.at).await?;
    Ok(CreateAccount::Created(account))
}

pub(super) async fn assign_plan(
    connection: &mut Connection,
    id: AccountId,
    plan: Option<&PlanName>,
    audit: &NewAudit,
) -> Result<Option<Account>, StoreError> {
    let changed = store_plan(connection, id, plan).await?;
    told(connection, id, changed, audit).await
}

/// How many accounts it changed: one, or none where there is no such account.
pub(super) async fn store_plan(
    connection: &mut Connection,
    id: AccountId,
    plan: Option<&PlanName>,
) -> Result<u64, StoreError> {
    let changed = query("UPDATE accounts SET assigned_plan = $2 WHERE id = $1 AND deleted_at_us IS NULL")
        .bind(id.to_string())
        .bind(plan.map(PlanName::as_str))
        .execute(connection)
        .await?;
    Ok(changed)
}

pub(super) async fn set_rolling_anchor(
    connection: &mut Connection,
    id: AccountId,
    anchor: Timestamp,
) -> Result<(), StoreError> {
    query("UPDATE accounts SET rolling_anchor_us = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(anchor.as_micros())
        .execute(connection)
        .await?;
    Ok(())
}

/// Adds what a line of a file tells of an account; what it leaves out stays as it is.
pub(super) async fn add_facts(
    connection: &mut Connection,
    id: AccountId,
    line: &ImportedAccount,
) -> Result<(), StoreError> {
    query(
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
    .await?;
    Ok(())
}

pub(super) async fn set_ban(
    connection: &mut Connection,
    id: AccountId,
    ban: Option<&Ban>,
    audit: &NewAudit,
) -> Result<Option<Account>, StoreError> {
    let changed =
        query("UPDATE accounts SET banned_at_us = $2, ban_reason = $3 WHERE id = $1 AND deleted_at_us IS NULL")
            .bind(id.to_string())
            .bind(ban.map(|ban| ban.at.as_micros()))
            .bind(ban.and_then(|ban| ban.reason.as_deref()))
            .execute(connection)
            .await?;
    told(connection, id, changed, audit).await
}

/// The account as a change left it, with the change in the audit trail; `None` where there was none to change.
async fn told(
    connection: &mut Connection,
    id: AccountId,
    changed: u64,
    audit: &NewAudit,
) -> Result<Option<Account>, StoreError> {
    if changed == 0 {
        return Ok(None);
    }
    audit::append(connection, audit, Some(id), None).await?;
    outbox::append(connection, &[Change::Account(id)], audit.at).await?;
    by_id(connection, id).await
}

pub(super) async fn delete(
    connection: &mut Connection,
    id: AccountId,
    at: Timestamp,
    audit: &NewAudit,
) -> Result<Option<(Account, Vec<Key>)>, StoreError> {
    let Some(account) = hold(connection, id).await?.filter(|account| account.deleted_at.is_none()) else {
        return Ok(None);
    };
    let keys = keys::hold_all(connection, id).await?;
    query("UPDATE accounts SET email = '', email_key = '', name = NULL, deleted_at_us = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(at.as_micros())
        .execute(connection)
        .await?;
    keys::revoke_all(connection, id, at).await?;
    audit::append(connection, audit, Some(id), None).await?;
    let mut changes = vec![Change::Account(id)];
    changes.extend(keys.iter().map(|key| Change::Key(key.hashed.hash)));
    outbox::append(connection, &changes, audit.at).await?;
    Ok(Some((account, keys)))
}
