//! Rows that no version writes: an error that names table, column and row, never a panic or a guess.

use tollgate_domain::{HOUR_US, Period, Timestamp};
use tollgate_store::{AuditQuery, SeedQuery, SqliteStore, Store, StoreError};

use crate::{account_id, fill, folder, key_hash, open, run};

/// What a read of everything says.
async fn read_all(store: &SqliteStore) -> Result<(), StoreError> {
    store.find_key(&key_hash()).await?;
    store.keys(None, None, 10).await?;
    store.accounts(None, 10).await?;
    store.audit(&AuditQuery { limit: 10, ..AuditQuery::default() }).await?;
    let period = Period::calendar_month(Timestamp::EPOCH);
    for resolution_us in [1, HOUR_US] {
        let since = Timestamp::from_micros(-HOUR_US);
        store.seed(&SeedQuery { account: account_id(), key: None, since, resolution_us, period }).await?;
    }
    store.quota_used(account_id(), None, period).await?;
    store.reserve_idempotency("scope", "key", "hash", Timestamp::EPOCH).await?;
    store.take_limiter_state().await?;
    Ok(())
}

/// A statement that writes nonsense, and the table and column the error must name.
const NONSENSE: [(&str, &str, &str); 23] = [
    ("UPDATE accounts SET id = 'acc_1'", "accounts", "id"),
    ("UPDATE accounts SET created_at_us = 'yesterday'", "accounts", "created_at_us"),
    ("UPDATE accounts SET assigned_plan = 'no plan!'", "accounts", "assigned_plan"),
    ("UPDATE accounts SET email = x'ff'", "accounts", "email"),
    ("UPDATE accounts SET subscription_start_us = 5", "accounts", "subscription_end_us"),
    ("UPDATE accounts SET subscription_start_us = 5, subscription_end_us = 5", "accounts", "subscription_end_us"),
    ("UPDATE keys SET id = 'key'", "keys", "id"),
    ("UPDATE keys SET account = id", "keys", "account"),
    ("UPDATE keys SET scopes = '[\"a b\"]'", "keys", "scopes"),
    ("UPDATE keys SET scopes = 'events'", "keys", "scopes"),
    ("UPDATE keys SET ip_allow = '[\"10.0.0.0/99\"]'", "keys", "ip_allow"),
    ("UPDATE keys SET ip_deny = '{}'", "keys", "ip_deny"),
    ("UPDATE keys SET superseded_by = 'key_0000000000000000000000'", "keys", "grace_until_us"),
    ("UPDATE keys SET grace_until_us = 5", "keys", "grace_until_us"),
    ("UPDATE keys SET cap = -1", "keys", "cap"),
    ("UPDATE keys SET bucket_burst = 5", "keys", "bucket_micros"),
    ("UPDATE keys SET bucket_tokens = 2, bucket_micros = 4, bucket_burst = 5", "keys", "bucket_micros"),
    ("UPDATE keys SET expires_at_us = 1.5", "keys", "expires_at_us"),
    ("UPDATE audit SET detail = 'not JSON'", "audit", "detail"),
    ("UPDATE audit SET account = 'nobody'", "audit", "account"),
    ("UPDATE usage_periods SET period_start_us = 'x'", "usage_periods", "period_start_us"),
    ("UPDATE idempotency SET status = 99999", "idempotency", "status"),
    ("UPDATE limiter_state SET state = x'ff'", "limiter_state", "state"),
];

/// Rows that tables have only after some use.
const USE: &str = "\
    INSERT INTO usage_lines (kind, at_us, account, key, period_start_us, period_end_us, calls, calls_unenforced, \
    units_debited, units_charged, units_refunded) \
    SELECT 'calls', 0, account, id, 0, 2678400000000, 1, 0, 1, 1, 0 FROM keys; \
    INSERT INTO usage_periods SELECT account, 0, 2678400000000, id, 1, 1, 0, 0, 0 FROM keys; \
    INSERT INTO idempotency VALUES ('scope', 'key', 'hash', 0, 200, 'null', FALSE); \
    INSERT INTO limiter_state VALUES ('subject', 'state')";

#[tokio::test]
async fn a_row_that_no_version_writes_is_named() {
    for (statement, table, column) in NONSENSE {
        let (_folder, path) = folder();
        let store = open(&path).await;
        fill(&store).await;
        run(&path, USE).await;
        read_all(&store).await.expect("nothing is wrong yet");
        run(&path, "INSERT INTO limiter_state VALUES ('subject', 'state')").await;
        run(&path, statement).await;
        let error = read_all(&store).await.expect_err(statement);
        let StoreError::Corrupt { table: said_table, column: said_column, row } = &error else {
            panic!("{statement}: {error:?}");
        };
        assert_eq!((*said_table, *said_column), (table, column), "{statement}");
        assert!(!row.is_empty() && row != "?", "{statement}: the row is named: {row}");
    }
}

#[tokio::test]
async fn what_sums_would_hide_is_refused_by_the_tables() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    fill(&store).await;
    run(&path, USE).await;
    let mut connection = crate::connect(&path).await;
    for statement in [
        "UPDATE keys SET hash = x'00'",
        "UPDATE usage_lines SET units_debited = -1",
        "UPDATE usage_lines SET units_charged = -1",
        "UPDATE usage_periods SET units_charged = -1",
        "UPDATE usage_periods SET units_refunded = -1",
        "INSERT INTO usage_hours VALUES ('a', 0, 'k', 'r', '2xx', 1, 0, -1, 1, 0, 0)",
    ] {
        let error = sqlx::query(statement).execute(&mut connection).await.expect_err(statement);
        assert!(error.to_string().contains("CHECK constraint failed"), "{statement}: {error}");
    }
}
