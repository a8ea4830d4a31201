//! Takes all that Stripe says of a customer in place of what was known, in one transaction: subscriptions, link, quota,
//! events, trail, news. Reading it from Stripe is others', and so is what follows from it for a call.

use std::collections::BTreeMap;

use tollgate_domain::{Account, Period, PlanTable, Subscription, Timestamp, entitlement};

use super::database::Connection;
use super::subscriptions::{self, Reading};
use super::{accounts, audit, inbox, openings, outbox};
use crate::billing::{Applied, CustomerFacts};
use crate::error::StoreError;
use crate::record::{Change, NewAudit};

pub(super) async fn facts(
    connection: &mut Connection,
    facts: &CustomerFacts,
    plans: &PlanTable,
    audit: &NewAudit,
) -> Result<Applied, StoreError> {
    let found = accounts::hold(connection, facts.account).await?;
    let Some(before) = found.filter(|account| account.deleted_at.is_none()) else {
        return Ok(Applied::NoAccount);
    };
    match &before.stripe_customer {
        Some(known) if *known == facts.customer => {}
        Some(known) => return Ok(Applied::OtherCustomer { customer: known.clone() }),
        None => {
            if let Some(owner) = subscriptions::other_owner(connection, before.id, &facts.customer).await? {
                return Ok(Applied::OtherAccount(owner));
            }
        }
    }
    taken(connection, before, facts, plans, audit).await
}

/// As [`facts`], once they are known to be this account's.
async fn taken(
    connection: &mut Connection,
    before: Account,
    facts: &CustomerFacts,
    plans: &PlanTable,
    audit: &NewAudit,
) -> Result<Applied, StoreError> {
    let (id, now) = (before.id, audit.at);
    let told: BTreeMap<&str, &Subscription> = facts.subscriptions.iter().map(|facts| (&*facts.id, facts)).collect();
    let after = Account {
        stripe_customer: Some(facts.customer.clone()),
        subscriptions: told.values().map(|facts| (*facts).clone()).collect(),
        ..before.clone()
    };
    let mut changed = Vec::new();
    if after != before {
        changed.push(Change::Account(id));
        if after.subscriptions != before.subscriptions {
            let others = subscriptions::replace(connection, id, &facts.customer, &told).await?;
            changed.extend(others.into_iter().map(Change::Account));
        }
        audit::append(connection, audit, Some(id), None).await?;
    }
    let known = subscriptions::reading(connection, id).await?;
    let made = told.values().map(|facts| facts.created_at).min();
    let billed_since = known.billed_since.into_iter().chain(made).min();
    let (mut changes, unpaid_opening) = match opening(&before, &after, plans, now) {
        Opening { period, moved } if moved || known.unpaid_opening == Some(period.start) => {
            if facts.paid_periods.contains(&period.start) {
                (openings::credit(connection, id, period, audit).await?, None)
            } else {
                (Vec::new(), Some(period.start))
            }
        }
        // The one that is open was not opened early: what is kept of an earlier one means nothing any more.
        Opening { .. } => (Vec::new(), None),
    };
    // A gateway is to find the old period's quota given back when it moves on to the new one.
    changes.extend(changed);
    let reading = Reading { billed_since, unpaid_opening };
    subscriptions::note_reading(connection, id, &facts.customer, now, &reading).await?;
    inbox::settle(connection, &facts.settled, Some(id), now).await?;
    outbox::append(connection, &changes, now).await?;
    Ok(Applied::Applied { before, after, changes })
}

/// The quota period that is open now.
struct Opening {
    period: Period,
    /// Whether what is told of the account moved it on from an earlier one that is not over.
    moved: bool,
}

fn opening(before: &Account, after: &Account, plans: &PlanTable, now: Timestamp) -> Opening {
    let open = |account: &Account| entitlement(account, plans, now).period_basis(account).period_at(now);
    let (old, period) = (open(before), open(after));
    Opening { period, moved: old.start < period.start && old.overlaps(&period) }
}
