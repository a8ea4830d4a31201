//! Rows that no version writes: an error that names table, column and row, never a panic or a guess.

use tollgate_domain::{HOUR_US, Period, Timestamp};
use tollgate_store::{
    AuditQuery, Channel, Customers, History, Housekeeping, SeedQuery, SqliteStore, Store, StoreError,
};

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
        store.seed(&SeedQuery { account: account_id(), key: None, meter: None, since, resolution_us, period }).await?;
    }
    store.quota_used(account_id(), None, period).await?;
    store.reserve_idempotency("scope", "key", "hash", Timestamp::EPOCH).await?;
    store.take_limiter_state().await?;
    read_customers(store).await
}

/// The same of what customers left.
async fn read_customers(store: &SqliteStore) -> Result<(), StoreError> {
    let (from, to) = (Timestamp::EPOCH, Timestamp::from_micros(HOUR_US));
    store.session(&[1; 32], from).await?;
    store.shared_secret("csrf", &[1; 32]).await?;
    store.lines(account_id(), from, to, None, 10).await?;
    store.export(None, from, to, None, 10).await?;
    store.uses_since(from, from, 10).await?;
    store.request("req_1").await?;
    store.claim_notices(Channel::Mail, from, 0, 10).await?;
    Ok(())
}

/// A statement that writes nonsense, and the table and column the error must name.
const NONSENSE: [(&str, &str, &str); 30] = [
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
    ("UPDATE sessions SET created_at_us = 'x'", "sessions", "created_at_us"),
    ("UPDATE usage_lines SET key = 'nobody'", "usage_lines", "key"),
    ("UPDATE usage_hours SET meter = 'No Meter', units_debited = 0", "usage_hours", "meter"),
    ("UPDATE usage_periods SET meter = 'No Meter' WHERE meter <> ''", "usage_periods", "meter"),
    ("UPDATE request_log SET node = 'nowhere'", "request_log", "node"),
    ("UPDATE notices SET kind = 'song'", "notices", "kind"),
    ("UPDATE notices SET percent = -1", "notices", "percent"),
];

/// Rows that tables have only after some use.
const USE: &str = "\
    INSERT INTO usage_lines (kind, at_us, account, key, period_start_us, period_end_us, calls, calls_unenforced, \
    units_debited, units_charged, units_refunded) \
    SELECT 'calls', 0, account, id, 0, 2678400000000, 1, 0, 1, 1, 0 FROM keys; \
    INSERT INTO usage_periods SELECT account, '', 0, 2678400000000, id, 1, 1, 0, 0, 0 FROM keys; \
    INSERT INTO idempotency VALUES ('scope', 'key', 'hash', 0, 200, 'null', FALSE); \
    INSERT INTO limiter_state VALUES ('subject', 'state'); \
    INSERT INTO usage_hours SELECT account, 0, '', id, 'r', '2xx', 1, 0, 1, 1, 0, 0 FROM keys; \
    INSERT INTO usage_periods SELECT account, 'tokens', 0, 2678400000000, id, 1, 1, 0, 0, 0 FROM keys; \
    INSERT INTO sessions SELECT CAST('0123456789abcdef0123456789abcdef' AS BLOB), id, 0, 9 FROM accounts; \
    UPDATE sessions SET hash = x'0101010101010101010101010101010101010101010101010101010101010101'; \
    INSERT INTO request_log SELECT 'req_1', replace(account, 'acc_', 'node_'), account, id, 0, 'r', 'GET', '/', 200, 1, 1, \
    NULL, NULL, NULL FROM keys; \
    INSERT INTO notices SELECT 1, id, 'quota_used', '', 75, '', 0, 'null', 0, TRUE, 0, 0, FALSE, NULL, 0 FROM accounts";

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
        "UPDATE usage_lines SET meter = 'tokens'",
        "INSERT INTO usage_hours VALUES ('a', 0, 'tokens', 'k', 'r', '2xx', 1, 0, 1, 1, 0, 0)",
        "UPDATE usage_lines SET units_debited = -1",
        "UPDATE usage_lines SET units_charged = -1",
        "UPDATE usage_periods SET units_charged = -1",
        "UPDATE usage_periods SET units_refunded = -1",
        "INSERT INTO usage_hours VALUES ('a', 0, '', 'k', 'r', '2xx', 1, 0, -1, 1, 0, 0)",
    ] {
        let error = sqlx::query(statement).execute(&mut connection).await.expect_err(statement);
        assert!(error.to_string().contains("CHECK constraint failed"), "{statement}: {error}");
    }
}
