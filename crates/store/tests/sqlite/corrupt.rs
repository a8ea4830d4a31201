//! Rows that no version writes: an error that names table, column and row, never a panic or a guess.

use tollgate_domain::{HOUR_US, MeterName, Period, Timestamp};
use tollgate_store::{
    AuditQuery, Billing, Channel, Customers, History, Housekeeping, SeedQuery, SqliteStore, Store, StoreError,
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
    read_billing(store).await
}

/// The same of what Stripe told and was told.
async fn read_billing(store: &SqliteStore) -> Result<(), StoreError> {
    let from = Timestamp::EPOCH;
    store.inbox_state().await?;
    store.inbox_event("evt_1").await?;
    store.account_of_customer("cus_1").await?;
    store.billed_accounts(None, 10).await?;
    let tokens = MeterName::new("tokens").expect("a good name");
    for meter in [None, Some(&tokens)] {
        store.sends_of(account_id(), meter, Period::calendar_month(from)).await?;
    }
    store.due_sends(Timestamp::from_micros(HOUR_US), 10).await?;
    store.hold_lease("billing", "one", from, from).await?;
    Ok(())
}

/// A statement that writes nonsense, and the table and column the error must name.
const NONSENSE: [(&str, &str, &str); 38] = [
    ("UPDATE accounts SET id = 'acc_1'", "accounts", "id"),
    ("UPDATE accounts SET created_at_us = 'yesterday'", "accounts", "created_at_us"),
    ("UPDATE accounts SET assigned_plan = 'no plan!'", "accounts", "assigned_plan"),
    ("UPDATE accounts SET email = x'ff'", "accounts", "email"),
    ("UPDATE accounts SET assigned_until_us = 'never'", "accounts", "assigned_until_us"),
    ("UPDATE accounts SET stripe_read_at_us = 'never'", "accounts", "stripe_read_at_us"),
    ("UPDATE subscriptions SET facts = '{}'", "subscriptions", "facts"),
    ("UPDATE subscriptions SET facts = replace(facts, 'active', 'asleep')", "subscriptions", "facts"),
    ("UPDATE subscriptions SET facts = replace(facts, '\"end\":9', '\"end\":1')", "subscriptions", "facts"),
    ("UPDATE webhook_inbox SET state = 'lost'", "webhook_inbox", "state"),
    ("UPDATE webhook_inbox SET attempts = -1", "webhook_inbox", "attempts"),
    ("UPDATE meter_sends SET state = 'lost'", "meter_sends", "state"),
    ("UPDATE meter_sends SET meter = 'No Meter'", "meter_sends", "meter"),
    ("UPDATE leases SET epoch = 'x'", "leases", "epoch"),
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
    INSERT INTO notices SELECT 1, id, 'quota_used', '', 75, '', 0, 'null', 0, TRUE, 0, 0, FALSE, NULL, 0 FROM accounts; \
    UPDATE accounts SET stripe_customer = 'cus_1'; \
    INSERT INTO subscriptions SELECT 'sub_1', id, 'cus_1', '{\"id\":\"sub_1\",\"status\":\"active\",\"created_at\":0,\
    \"items\":[{\"id\":\"si_1\",\"price\":\"price_1\",\"start\":1,\"end\":9}],\"plan_price\":null,\
    \"failing_since\":null,\"cancel_at\":null,\"trial_end\":null,\"withheld\":[3,\"dispute\"]}' FROM accounts; \
    INSERT INTO webhook_inbox VALUES ('evt_1', 'k', 'cus_1', 'o', NULL, 0, 0, '{}', 'pending', 0, 0, NULL, NULL); \
    INSERT INTO meter_sends SELECT 'tg_1', id, 'cus_1', 'tokens', 'e', 0, 2678400000000, 0, 5, 5, 0, 0, 'pending', NULL, 0, 0, \
    NULL, NULL FROM accounts; \
    INSERT INTO leases VALUES ('billing', 'one', 1, 9)";

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
        "UPDATE meter_sends SET units = 0",
        "INSERT INTO period_openings VALUES ('a', '', 0, 1, 0, -1)",
        "INSERT INTO usage_hours VALUES ('a', 0, '', 'k', 'r', '2xx', 1, 0, -1, 1, 0, 0)",
    ] {
        let error = sqlx::query(statement).execute(&mut connection).await.expect_err(statement);
        assert!(error.to_string().contains("CHECK constraint failed"), "{statement}: {error}");
    }
}
