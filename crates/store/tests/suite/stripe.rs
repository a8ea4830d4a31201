//! Plans, subscriptions and facts to test billing with. Nothing of the store is judged here.

use serde_json::json;
use tollgate_domain::{
    Account, DAY_US, Period, Plan, PlanTable, Subscription, SubscriptionItem, SubscriptionStatus, Timestamp,
};
use tollgate_store::{
    Applied, BILLING_LEASE, Billing, Change, CustomerFacts, Fence, Fenced, NewAudit, NewEvent, Outcome, Settled,
};

use crate::fixture::{account_id, at, plan};

/// So many days after the start.
pub(crate) fn day(days: i64) -> Timestamp {
    at(0).plus_micros(days * DAY_US)
}

/// Thirty days from then.
pub(crate) fn thirty_days_from(days: i64) -> Period {
    Period { start: day(days), end: day(days + 30) }
}

/// `free` is the default; `pro` and, above it, `max` are bought.
pub(crate) fn plans() -> PlanTable {
    let bought =
        |name: &str, rank| Plan { rank, stripe_prices: vec![format!("price_{name}")], ..Plan::unlimited(plan(name)) };
    PlanTable::new([Plan::unlimited(plan("free")), bought("pro", 1), bought("max", 2)], Some(plan("free")))
}

/// An active one, made when its period began.
pub(crate) fn subscription(id: &str, price: &str, period: Period) -> Subscription {
    Subscription {
        id: id.into(),
        status: SubscriptionStatus::Active,
        created_at: period.start,
        items: vec![SubscriptionItem { id: format!("si_{id}").into(), price: price.into(), period }],
        plan_price: Some(price.into()),
        failing_since: None,
        cancel_at: None,
        trial_end: None,
        withheld: None,
    }
}

/// What is said of the customer of an account; nothing of it is paid.
pub(crate) fn facts(account: u8, subscriptions: Vec<Subscription>) -> CustomerFacts {
    CustomerFacts {
        account: account_id(account),
        customer: format!("cus_{account}"),
        subscriptions,
        paid_periods: Vec::new(),
        settled: Vec::new(),
    }
}

/// The same, with the beginnings of all periods paid.
pub(crate) fn paid(facts: CustomerFacts) -> CustomerFacts {
    let items = facts.subscriptions.iter().flat_map(|subscription| &subscription.items);
    CustomerFacts { paid_periods: items.map(|item| item.period.start).collect(), ..facts }
}

pub(crate) fn read_at(at: Timestamp) -> NewAudit {
    NewAudit { actor: "stripe".into(), action: "subscription.update", at, detail: json!({ "by": "a test" }) }
}

/// The right to write, for a day from the start on.
pub(crate) async fn fence(store: &dyn Billing) -> Fence {
    let held = store.hold_lease(BILLING_LEASE, "one", at(0), day(1)).await;
    held.expect("the store answers").expect("nobody holds it")
}

/// Takes facts; the account before and after, and who must hear of it.
pub(crate) async fn take(
    store: &dyn Billing,
    fence: Fence,
    facts: &CustomerFacts,
    now: Timestamp,
) -> (Account, Account, Vec<Change>) {
    match store.apply_facts(fence, facts, &plans(), &read_at(now)).await.expect("the store answers") {
        Fenced::Done(Applied::Applied { before, after, changes }) => (before, after, changes),
        other => panic!("the facts were not taken: {other:?}"),
    }
}

/// An event of the first customer that was received then.
pub(crate) fn received(id: &str, at: Timestamp) -> NewEvent {
    NewEvent {
        id: id.into(),
        kind: "invoice.paid".into(),
        subject: "cus_1".into(),
        object: "in_1".into(),
        account: None,
        created_at: at.plus_micros(-1),
        received_at: at,
        payload: json!({ "id": id, "email": "owner1@example.com" }).to_string(),
    }
}

pub(crate) fn done(id: &str) -> Settled {
    Settled { id: id.into(), outcome: Outcome::Done { note: None } }
}
