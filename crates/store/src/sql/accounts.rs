//! The table of accounts. Keys and ledger of an account are other modules'.

use std::collections::BTreeSet;

use tollgate_domain::{Account, AccountId, Ban, Key, PlanName, Timestamp};

use super::database::{Connection, Query, query};
use super::fault::raced;
use super::row::{AccountRow, Fields, account_columns};
use super::{audit, events, inbox, keys, notices, outbox, requests, sign_in, subscriptions};
use crate::customers::{AccountPatch, Identified, SubjectAccount, UpdateAccount};
use crate::error::StoreError;
use crate::record::{Change, ImportedAccount, NewAccount, NewAudit, Page};
use crate::store::CreateAccount;

/// What e-mail addresses are compared by.
pub(super) fn email_key(email: &str) -> String {
    email.to_lowercase()
}

fn of_id(id: AccountId) -> Query {
    query(concat!("SELECT ", account_columns!(), " FROM accounts a WHERE a.id = $1")).bind(id.to_string())
}

/// The one query on the way of a call with a token of the backend's own.
pub(crate) const OF_SUBJECT: &str = concat!(
    "SELECT a.email_unproven, ",
    account_columns!(),
    " FROM accounts a WHERE a.subject = $1 AND a.deleted_at_us IS NULL"
);

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

/// The account of a token's subject, where the token tells nothing new of it.
pub(super) async fn known(connection: &mut Connection, who: &Identified) -> Result<Option<Account>, StoreError> {
    let known = by_subject(connection, &who.subject).await?;
    Ok(known.filter(|known| !known.is_vouched_for_by(who)).map(|known| known.account))
}

/// An account, and whether nobody but a token that did not vouch for it says that its address is its owner's.
struct OfSubject {
    account: Account,
    is_unproven: bool,
}

impl OfSubject {
    /// Whether the token proves an address that was not.
    fn is_vouched_for_by(&self, who: &Identified) -> bool {
        self.is_unproven && who.email_verified && email_key(&who.email) == email_key(&self.account.email)
    }
}

async fn by_subject(connection: &mut Connection, subject: &str) -> Result<Option<OfSubject>, StoreError> {
    let row = query(OF_SUBJECT).bind(subject).fetch_optional(connection).await?;
    row.map(|row| {
        let is_unproven = Fields::of("accounts", &["account_id"], &row).get("email_unproven")?;
        Ok(OfSubject { account: AccountRow(&row).try_into()?, is_unproven })
    })
    .transpose()
}

/// The account, as it stays until the transaction ends: nobody else makes, rotates or deletes anything of it.
pub(super) async fn hold(connection: &mut Connection, id: AccountId) -> Result<Option<Account>, StoreError> {
    found(connection, of_id(id).locking()).await
}

pub(super) async fn by_email(connection: &mut Connection, email: &str) -> Result<Option<Account>, StoreError> {
    found(connection, of_email(email)).await
}

/// Those of these accounts that were deleted. All of them stay as they are until the transaction ends.
pub(super) async fn hold_deleted(
    connection: &mut Connection,
    ids: &BTreeSet<AccountId>,
) -> Result<BTreeSet<AccountId>, StoreError> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let mut deleted = BTreeSet::new();
    for ids in connection.chunks(&ids) {
        let rows = query("SELECT id, deleted_at_us FROM accounts WHERE id IN {list} ORDER BY id")
            .bind_list(ids.to_vec())
            .locking()
            .fetch_all(connection)
            .await?;
        for row in &rows {
            let fields = Fields::of("accounts", &["id"], row);
            if fields.get::<Option<i64>>("deleted_at_us")?.is_some() {
                deleted.insert(fields.parse("id", |text| text.parse().ok())?);
            }
        }
    }
    Ok(deleted)
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
        subject: None,
        created_at: new.created_at,
        assigned_plan: new.assigned_plan.clone(),
        ban: None,
        deleted_at: None,
        rolling_anchor: new.created_at,
        assigned_until: None,
        stripe_customer: None,
        stripe_subscription: None,
        subscriptions: Vec::new(),
    }
}

/// Whether it was stored: false where its e-mail or its subject is taken.
pub(super) async fn insert(connection: &mut Connection, account: &Account) -> Result<bool, StoreError> {
    let stored = query(
        "INSERT INTO accounts (id, email, email_key, name, created_at_us, assigned_plan, rolling_anchor_us, \
         stripe_customer, stripe_subscription, subject) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT DO NOTHING",
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
    .bind(&account.subject)
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

/// The account of a token's subject, which joins or makes one where it is new.
pub(super) async fn identify(
    connection: &mut Connection,
    who: &Identified,
    audit: &NewAudit,
) -> Result<SubjectAccount, StoreError> {
    if let Some(known) = by_subject(connection, &who.subject).await? {
        if known.is_vouched_for_by(who) {
            prove(connection, &known.account, audit).await?;
        }
        return Ok(SubjectAccount::Known(known.account));
    }
    if who.email_verified {
        release(connection, &who.email, audit).await?;
    }
    let subject = Some(who.subject.clone());
    let (id, outcome) = match hold_by_email(connection, &who.email).await? {
        // One that has a subject already is that one's, whoever was given the address since.
        Some(account) if !who.email_verified || account.subject.is_some() => return Ok(SubjectAccount::EmailTaken),
        Some(account) => {
            query("UPDATE accounts SET subject = $2 WHERE id = $1")
                .bind(account.id.to_string())
                .bind(&who.subject)
                .execute(connection)
                .await?;
            (account.id, SubjectAccount::Joined(Account { subject, ..account }))
        }
        None => {
            let new = NewAccount {
                id: who.account_id_if_new,
                email: who.email.clone(),
                name: who.name.clone(),
                assigned_plan: None,
                created_at: who.at,
            };
            let account = Account { subject, ..fresh(&new) };
            if !insert(connection, &account).await? {
                return Err(raced());
            }
            query("UPDATE accounts SET email_unproven = $2 WHERE id = $1")
                .bind(account.id.to_string())
                .bind(!who.email_verified)
                .execute(connection)
                .await?;
            (account.id, SubjectAccount::Created(account))
        }
    };
    audit::append(connection, audit, Some(id), None).await?;
    outbox::append(connection, &[Change::Account(id)], audit.at).await?;
    Ok(outcome)
}

/// An account goes by its own address, if no other does that was shown to be its owner's.
async fn prove(connection: &mut Connection, account: &Account, audit: &NewAudit) -> Result<(), StoreError> {
    let holder = hold_by_email(connection, &account.email).await?.filter(|holder| holder.id != account.id);
    if holder.is_some() && !release(connection, &account.email, audit).await? {
        return Ok(());
    }
    query("UPDATE accounts SET email_key = $2, email_unproven = FALSE WHERE id = $1")
        .bind(account.id.to_string())
        .bind(email_key(&account.email))
        .execute(connection)
        .await?;
    audit::append(connection, audit, Some(account.id), None).await
}

/// Takes an address from an account that goes by it only because a token said so, without vouching for it. The account
/// stays as it is otherwise, and shows the address, but nobody finds it by that any more. Whether there was one.
async fn release(connection: &mut Connection, email: &str, audit: &NewAudit) -> Result<bool, StoreError> {
    // An id is no address, and nobody else's.
    let row = query(
        "UPDATE accounts SET email_key = id WHERE email_key = $1 AND deleted_at_us IS NULL AND email_unproven \
         RETURNING id",
    )
    .bind(email_key(email))
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(false) };
    let id: AccountId = Fields::of("accounts", &["id"], &row).parse("id", |text| text.parse().ok())?;
    let released = NewAudit { action: "account.email_released", detail: serde_json::json!({}), ..audit.clone() };
    audit::append(connection, &released, Some(id), None).await?;
    outbox::append(connection, &[Change::Account(id)], audit.at).await?;
    Ok(true)
}

/// The account of an address that its owner has just proven, made of `new` where nobody has shown before that the address
/// is another account's.
pub(super) async fn of_proven(
    connection: &mut Connection,
    email: &str,
    new: Option<&NewAccount>,
    audit: &NewAudit,
) -> Result<Option<CreateAccount>, StoreError> {
    let Some(new) = new else {
        let known = hold_by_email(connection, email).await?;
        let Some(known) = known else { return Ok(None) };
        let is_proven = is_proven(connection, known.id).await?;
        return Ok(is_proven.then_some(CreateAccount::Exists(known)));
    };
    release(connection, email, audit).await?;
    create(connection, new, audit).await.map(Some)
}

/// Whether somebody has shown that the account's address is its owner's.
pub(super) async fn is_proven(connection: &mut Connection, id: AccountId) -> Result<bool, StoreError> {
    let row = query("SELECT id, email_unproven FROM accounts WHERE id = $1 AND deleted_at_us IS NULL")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(false) };
    let is_unproven: bool = Fields::of("accounts", &["id"], &row).get("email_unproven")?;
    Ok(!is_unproven)
}

pub(super) async fn update(
    connection: &mut Connection,
    id: AccountId,
    patch: &AccountPatch,
    audit: &NewAudit,
) -> Result<UpdateAccount, StoreError> {
    let Some(account) = hold(connection, id).await?.filter(|account| account.deleted_at.is_none()) else {
        return Ok(UpdateAccount::NoAccount);
    };
    if *patch == AccountPatch::default() {
        return Ok(UpdateAccount::Updated(account));
    }
    if let Some(email) = &patch.email {
        let holder = by_email(connection, email).await?.filter(|holder| holder.id != id);
        if holder.is_some() && !release(connection, email, audit).await? {
            return Ok(UpdateAccount::EmailTaken);
        }
        query("UPDATE accounts SET email = $2, email_key = $3, email_unproven = FALSE WHERE id = $1")
            .bind(id.to_string())
            .bind(email)
            .bind(email_key(email))
            .execute(connection)
            .await?;
    }
    query("UPDATE accounts SET name = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(patch.name.as_ref().unwrap_or(&account.name))
        .execute(connection)
        .await?;
    match told(connection, id, 1, audit).await? {
        Some(updated) => Ok(UpdateAccount::Updated(updated)),
        None => Ok(UpdateAccount::NoAccount),
    }
}

pub(super) async fn assign_plan(
    connection: &mut Connection,
    id: AccountId,
    plan: Option<&PlanName>,
    until: Option<Timestamp>,
    audit: &NewAudit,
) -> Result<Option<Account>, StoreError> {
    let changed = store_plan(connection, id, plan, until).await?;
    told(connection, id, changed, audit).await
}

/// How many accounts it changed: one, or none where there is no such account.
pub(super) async fn store_plan(
    connection: &mut Connection,
    id: AccountId,
    plan: Option<&PlanName>,
    until: Option<Timestamp>,
) -> Result<u64, StoreError> {
    let changed =
        query("UPDATE accounts SET assigned_plan = $2, assigned_until_us = $3 WHERE id = $1 AND deleted_at_us IS NULL")
            .bind(id.to_string())
            .bind(plan.map(PlanName::as_str))
            .bind(plan.and(until).map(Timestamp::as_micros))
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
         assigned_until_us = CASE WHEN $3 IS NULL THEN assigned_until_us END, \
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
    let holder = by_email(connection, &account.email).await?;
    // An address that it only claimed is another's, and so is what was mailed there.
    let email = holder.is_some_and(|holder| holder.id == id).then_some(&*account.email);
    query(
        "UPDATE accounts SET email = '', email_key = '', name = NULL, subject = NULL, deleted_at_us = $2 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(at.as_micros())
    .execute(connection)
    .await?;
    // It may have reported a million events, and is not to stay because of them.
    connection.be_patient().await?;
    sign_in::erase(connection, id, email).await?;
    notices::erase(connection, id).await?;
    events::erase(connection, id).await?;
    requests::erase(connection, id).await?;
    subscriptions::erase(connection, id).await?;
    inbox::erase(connection, id, account.stripe_customer.as_deref()).await?;
    keys::revoke_all(connection, id, at).await?;
    keys::erase(connection, id).await?;
    audit::append(connection, audit, Some(id), None).await?;
    let mut changes = vec![Change::Account(id)];
    changes.extend(keys.iter().map(|key| Change::Key(key.hashed.hash)));
    outbox::append(connection, &changes, audit.at).await?;
    Ok(Some((account, keys)))
}
