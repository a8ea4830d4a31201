//! Accounts, keys and batches to test with, told apart by small numbers. Nothing of the store is judged here.

use std::collections::BTreeMap;
use std::future::Future;

use serde_json::json;
use tollgate_domain::{
    Account, AccountId, HOUR_US, HashedKey, IpRules, Key, KeyHash, KeyId, KeyLimits, MaskedKey, MeterName, NodeId,
    Period, PlanName, RequestRow, RouteName, SECOND_US, StatusClass, Timestamp, UsageBatch, UsageKey, UsageLine,
    UsageTally,
};
use tollgate_store::{Change, CreateAccount, CreateKey, NewAccount, NewAudit, NewKey, Store, StoreError, UsageEvent};

/// Noon on 1 March 2026, UTC: a whole hour.
const START_SECS: i64 = 1_772_366_400;

/// So many seconds after the start.
pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(START_SECS + secs)
}

/// So many hours after the start.
pub(crate) fn hour(hours: i64) -> Timestamp {
    at(0).plus_micros(hours * HOUR_US)
}

/// March 2026, which the start lies in.
pub(crate) fn march() -> Period {
    Period::calendar_month(at(0))
}

/// April 2026.
pub(crate) fn april() -> Period {
    Period::calendar_month(march().end)
}

pub(crate) fn account_id(number: u8) -> AccountId {
    AccountId::new(at(i64::from(number)), [number; 10])
}

pub(crate) fn key_id(number: u8) -> KeyId {
    KeyId::new(at(i64::from(number)), [number; 10])
}

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::new(at(0), [number; 10])
}

pub(crate) fn hash(number: u8) -> KeyHash {
    KeyHash::from_bytes([number; 32])
}

pub(crate) fn plan(name: &str) -> PlanName {
    PlanName::new(name).expect("a good name")
}

pub(crate) fn audit(action: &'static str) -> NewAudit {
    NewAudit { actor: "operator".into(), action, at: at(0), detail: json!({ "by": "a test" }) }
}

pub(crate) fn new_account(number: u8) -> NewAccount {
    NewAccount {
        id: account_id(number),
        email: format!("owner{number}@example.com"),
        name: Some(format!("Owner {number}")),
        assigned_plan: None,
        created_at: at(0),
    }
}

pub(crate) fn new_key(number: u8, account: AccountId) -> NewKey {
    NewKey {
        id: key_id(number),
        account,
        hashed: HashedKey {
            hash: hash(number),
            masked: MaskedKey { prefix: "tg_live".into(), last_four: "abcd".into() },
        },
        name: Some(format!("key {number}")),
        created_at: at(0),
        expires_at: None,
        scopes: Vec::new(),
        read_only: false,
        ip_rules: IpRules::default(),
        limits: KeyLimits::default(),
    }
}

pub(crate) async fn make_account(store: &dyn Store, number: u8) -> Account {
    match store.create_account(&new_account(number), &audit("account.create")).await.expect("the store answers") {
        CreateAccount::Created(account) => account,
        CreateAccount::Exists(account) => panic!("{account:?} was there already"),
    }
}

pub(crate) async fn make_key(store: &dyn Store, number: u8, account: AccountId) -> Key {
    match store.create_key(&new_key(number, account), None, &audit("key.create")).await.expect("the store answers") {
        CreateKey::Created(key) => key,
        other => panic!("the key was not made: {other:?}"),
    }
}

pub(crate) fn meter(name: &str) -> MeterName {
    MeterName::new(name).expect("a good name")
}

pub(crate) fn route(name: &str) -> RouteName {
    RouteName::new(name).expect("a good name")
}

/// Calls of one unit each that succeeded.
pub(crate) fn calls(account: u8, key: u8, count: u64) -> UsageLine {
    UsageLine {
        key: UsageKey {
            account: account_id(account),
            key: key_id(key),
            route: route("events"),
            status: StatusClass::Success,
            period: march(),
            meter: None,
            detached: false,
        },
        tally: UsageTally { calls: count, units_debited: count, units_charged: count, ..UsageTally::default() },
    }
}

/// A batch of the first node that ends then, a second long.
pub(crate) fn batch(sequence: u64, end: Timestamp, lines: Vec<UsageLine>) -> UsageBatch {
    UsageBatch { node: node(1), sequence, start: end.plus_micros(-SECOND_US), end, lines, requests: Vec::new() }
}

/// A call of an account as the request log keeps it.
pub(crate) fn request(account: u8, id: &str, at: Timestamp) -> RequestRow {
    RequestRow {
        request: id.into(),
        at,
        account: account_id(account),
        key: key_id(account),
        route: route("events"),
        method: "GET".into(),
        path: "/events/1".into(),
        status: 200,
        duration_us: 1_500,
        units: 1,
        period: Some(march()),
        reason: None,
    }
}

/// Stores a batch that must be new.
pub(crate) async fn store_new(store: &dyn Store, batch: &UsageBatch) {
    assert!(store.store_batch(batch).await.expect("the store answers"), "the batch is new");
}

/// An event of an account that happened at the start.
pub(crate) fn event(account: u8, id: &str, units: &[(&str, u64)]) -> UsageEvent {
    UsageEvent {
        id: id.into(),
        account: account_id(account),
        key: None,
        meters: units.iter().map(|(name, units)| (meter(name), *units)).collect(),
        at: at(0),
        period: march(),
        dimensions: BTreeMap::new(),
        metadata: serde_json::Value::Null,
    }
}

/// What is told of, and then taken out.
pub(crate) async fn told(store: &dyn Store) -> Vec<Change> {
    let entries = store.outbox(1_000).await.expect("the store answers");
    let ids: Vec<i64> = entries.iter().map(|entry| entry.id).collect();
    store.clear_outbox(&ids).await.expect("the store answers");
    entries.into_iter().map(|entry| entry.change).collect()
}

/// Runs calls at once; what each gave.
pub(crate) async fn at_once<T, F>(count: u8, call: impl Fn(u8) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let calls: Vec<_> = (1..=count).map(|number| tokio::spawn(call(number))).collect();
    let mut given = Vec::new();
    for call in calls {
        given.push(call.await.expect("no panic").expect("the store answers"));
    }
    given
}
