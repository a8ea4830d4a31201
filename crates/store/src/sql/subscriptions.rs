//! The table of subscriptions, and which account is which customer's. What a subscription gives is the domain's.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::{Account, AccountId, Subscription, Timestamp};

use super::accounts::{self, page};
use super::database::{Connection, Lock, query};
use super::insert::{Insert, Kind};
use super::row::{AccountRow, Fields, account_columns};
use super::{audit, outbox};
use crate::billing::Linked;
use crate::error::StoreError;
use crate::record::{Change, NewAudit, Page};
use crate::subscription_form::SubscriptionForm;

const SUBSCRIPTIONS: Insert = Insert {
    table: "subscriptions",
    columns: &[("id", Kind::Text), ("account", Kind::Text), ("customer", Kind::Text), ("facts", Kind::Text)],
    on_conflict: "",
};

/// Puts these in place of all that was known of the account or of the customer. Other accounts that had the customer
/// before have less now: which they are.
pub(super) async fn replace(
    connection: &mut Connection,
    account: AccountId,
    customer: &str,
    subscriptions: &BTreeMap<&str, &Subscription>,
) -> Result<BTreeSet<AccountId>, StoreError> {
    erase(connection, account).await?;
    let left = query("DELETE FROM subscriptions WHERE customer = $1 RETURNING account, id")
        .bind(customer)
        .fetch_all(connection)
        .await?;
    let others = left.iter().map(|row| {
        let fields = Fields::of("subscriptions", &["id"], row);
        fields.parse("account", |text| text.parse().ok())
    });
    let others = others.collect::<Result<_, _>>()?;
    let rows: Vec<_> = subscriptions.iter().collect();
    SUBSCRIPTIONS
        .rows(connection, &rows, |(id, facts)| {
            let form = serde_json::to_string(&SubscriptionForm::from(**facts)).expect("texts and numbers are JSON");
            [(**id).into(), account.to_string().into(), customer.into(), form.into()]
        })
        .await?;
    Ok(others)
}

pub(super) async fn erase(connection: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    query("DELETE FROM subscriptions WHERE account = $1").bind(account.to_string()).execute(connection).await?;
    Ok(())
}

/// Whose a customer is. Imported accounts may share one: then the oldest's.
pub(crate) const OF_CUSTOMER: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM accounts a WHERE a.stripe_customer = $1 AND a.deleted_at_us IS NULL ORDER BY a.id LIMIT 1"
);

pub(super) async fn of_customer(connection: &mut Connection, customer: &str) -> Result<Option<Account>, StoreError> {
    let row = query(OF_CUSTOMER).bind(customer).fetch_optional(connection).await?;
    row.map(|row| AccountRow(&row).try_into()).transpose()
}

pub(crate) const DELETED_OF_CUSTOMER: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM accounts a WHERE a.stripe_customer = $1 AND a.deleted_at_us IS NOT NULL ORDER BY a.id DESC LIMIT 1"
);

pub(super) async fn deleted_of_customer(
    connection: &mut Connection,
    customer: &str,
) -> Result<Option<Account>, StoreError> {
    let row = query(DELETED_OF_CUSTOMER).bind(customer).fetch_optional(connection).await?;
    row.map(|row| AccountRow(&row).try_into()).transpose()
}

/// Takes the turn to link, and tells whether the customer is another account's.
pub(super) async fn other_owner(
    connection: &mut Connection,
    account: AccountId,
    customer: &str,
) -> Result<Option<AccountId>, StoreError> {
    connection.lock(Lock::Customers).await?;
    let owner = of_customer(connection, customer).await?.map(|owner| owner.id);
    Ok(owner.filter(|owner| *owner != account))
}

pub(super) async fn link(
    connection: &mut Connection,
    id: AccountId,
    customer: &str,
    audit: &NewAudit,
) -> Result<Linked, StoreError> {
    let Some(account) = accounts::hold(connection, id).await?.filter(|account| account.deleted_at.is_none()) else {
        return Ok(Linked::NoAccount);
    };
    match &account.stripe_customer {
        Some(known) if known == customer => return Ok(Linked::Linked(account)),
        Some(known) => return Ok(Linked::OtherCustomer { customer: known.clone() }),
        None => {}
    }
    if let Some(owner) = other_owner(connection, id, customer).await? {
        return Ok(Linked::OtherAccount(owner));
    }
    query("UPDATE accounts SET stripe_customer = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(customer)
        .execute(connection)
        .await?;
    audit::append(connection, audit, Some(id), None).await?;
    outbox::append(connection, &[Change::Account(id)], audit.at).await?;
    Ok(Linked::Linked(Account { stripe_customer: Some(customer.into()), ..account }))
}

/// What is kept of an account beside what Stripe says of its subscriptions.
pub(super) struct Reading {
    /// From when on its use is billed: when its first subscription was made.
    pub(super) billed_since: Option<Timestamp>,
    /// The beginning of the open quota period, if what opened it is still to be paid.
    pub(super) unpaid_opening: Option<Timestamp>,
}

pub(super) async fn reading(connection: &mut Connection, id: AccountId) -> Result<Reading, StoreError> {
    let row = query("SELECT billed_since_us, unpaid_opening_us FROM accounts WHERE id = $1")
        .bind(id.to_string())
        .fetch_one(connection)
        .await?;
    let fields = Fields::of("accounts", &[], &row);
    Ok(Reading {
        billed_since: fields.timestamp_optional("billed_since_us")?,
        unpaid_opening: fields.timestamp_optional("unpaid_opening_us")?,
    })
}

/// Notes that an account was read, whose it is, and what is kept of it.
pub(super) async fn note_reading(
    connection: &mut Connection,
    id: AccountId,
    customer: &str,
    at: Timestamp,
    reading: &Reading,
) -> Result<(), StoreError> {
    query(
        "UPDATE accounts SET stripe_customer = $2, stripe_read_at_us = $3, billed_since_us = $4, \
         unpaid_opening_us = $5 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(customer)
    .bind(at.as_micros())
    .bind(reading.billed_since.map(Timestamp::as_micros))
    .bind(reading.unpaid_opening.map(Timestamp::as_micros))
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) const BILLED: &str = concat!(
    "SELECT a.stripe_read_at_us, ",
    account_columns!(),
    " FROM accounts a WHERE a.deleted_at_us IS NULL \
     AND (a.stripe_customer IS NOT NULL OR a.stripe_subscription IS NOT NULL) AND a.id > $1 ORDER BY a.id LIMIT $2"
);

pub(super) async fn billed(
    connection: &mut Connection,
    after: Option<AccountId>,
    limit: u32,
) -> Result<Page<(Account, Option<Timestamp>)>, StoreError> {
    let rows = query(BILLED)
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(limit) + 1)
        .fetch_all(connection)
        .await?;
    let rows = rows.iter().map(|row| {
        let read_at = Fields::of("accounts", &["account_id"], row).timestamp_optional("stripe_read_at_us")?;
        Ok((Account::try_from(AccountRow(row))?, read_at))
    });
    page(rows, limit)
}
