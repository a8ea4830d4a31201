//! What only a `PostgreSQL` server can do wrong: be elsewhere, be another version's, be shared with somebody who wants it
//! alone, go away and come back.

mod claim;
mod corrupt;
mod database;
mod migrate;
#[path = "../sqlite/migrated.rs"]
mod migrated;
mod open;
mod outage;
#[path = "../sqlite/planted.rs"]
mod planted;
mod reconcile;
mod server;

use tollgate_domain::{
    AccountId, HashedKey, IpRules, KeyHash, KeyId, KeyLimits, MaskedKey, NodeId, Period, RouteName, SECOND_US,
    StatusClass, Timestamp, UsageBatch, UsageKey, UsageLine, UsageTally,
};
use tollgate_store::{NewAccount, NewAudit, NewKey, PostgresSettings, PostgresStore, Store, StoreError};

async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(PostgresSettings::new(url)).await.expect("it opens")
}

/// The one line that refuses to open it.
async fn refusal(settings: PostgresSettings) -> StoreError {
    let error = PostgresStore::open(settings).await.expect_err("it is refused");
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line} is one line");
    assert!(!line.contains("s3cret"), "{line} names the password");
    error
}

fn audit() -> NewAudit {
    NewAudit { actor: "operator".into(), action: "test", at: Timestamp::EPOCH, detail: serde_json::Value::Null }
}

fn account_id() -> AccountId {
    AccountId::new(Timestamp::EPOCH, [1; 10])
}

fn key_hash() -> KeyHash {
    KeyHash::from_bytes([1; 32])
}

/// One account with one key.
async fn fill(store: &PostgresStore) {
    let account = NewAccount {
        id: account_id(),
        email: "owner@example.com".into(),
        name: None,
        assigned_plan: None,
        created_at: Timestamp::EPOCH,
    };
    store.create_account(&account, &audit()).await.expect("the store answers");
    let key = NewKey {
        id: KeyId::new(Timestamp::EPOCH, [1; 10]),
        account: account.id,
        hashed: HashedKey { hash: key_hash(), masked: MaskedKey::default() },
        name: None,
        created_at: Timestamp::EPOCH,
        expires_at: None,
        scopes: Vec::new(),
        read_only: false,
        ip_rules: IpRules::default(),
        limits: KeyLimits::default(),
    };
    store.create_key(&key, None, &audit()).await.expect("the store answers");
}

/// The period of every batch.
fn period() -> Period {
    Period::calendar_month(Timestamp::EPOCH)
}

/// A batch of one line of one unit.
fn batch(sequence: u64) -> UsageBatch {
    let key = UsageKey {
        account: account_id(),
        key: KeyId::new(Timestamp::EPOCH, [1; 10]),
        route: RouteName::new("events").expect("a good name"),
        status: StatusClass::Success,
        period: period(),
        meter: None,
        detached: false,
    };
    let tally = UsageTally { calls: 1, units_debited: 1, units_charged: 1, ..UsageTally::default() };
    let end = Timestamp::from_secs(sequence.try_into().expect("a small number"));
    let lines = vec![UsageLine { key, tally }];
    UsageBatch {
        node: NodeId::new(Timestamp::EPOCH, [1; 10]),
        sequence,
        start: end + -SECOND_US,
        end,
        lines,
        requests: Vec::new(),
    }
}
