//! Rows that no version writes: an error that names table, column and row.

use tollgate_store::{AuditQuery, PostgresStore, Store, StoreError};

use crate::database::{TestDatabase, run_on};
use crate::{fill, key_hash, open};

async fn read_all(store: &PostgresStore) -> Result<(), StoreError> {
    store.find_key(&key_hash()).await?;
    store.accounts(None, 10).await?;
    store.audit(&AuditQuery { limit: 10, ..AuditQuery::default() }).await?;
    store.outbox(10).await?;
    store.reserve_idempotency("scope", "key", "hash", tollgate_domain::Timestamp::EPOCH).await?;
    Ok(())
}

#[tokio::test]
async fn a_row_that_no_version_writes_is_named() {
    for (statement, table, column) in [
        ("UPDATE accounts SET assigned_plan = 'no plan!'", "accounts", "assigned_plan"),
        ("INSERT INTO subscriptions SELECT 'sub_1', id, 'cus_1', '{}' FROM accounts", "subscriptions", "facts"),
        ("UPDATE keys SET scopes = '[\"a b\"]'", "keys", "scopes"),
        ("UPDATE keys SET ip_allow = '[\"10.0.0.0/99\"]'", "keys", "ip_allow"),
        ("UPDATE keys SET cap = -1", "keys", "cap"),
        ("UPDATE keys SET bucket_burst = 5", "keys", "bucket_micros"),
        ("UPDATE audit SET detail = 'not JSON'", "audit", "detail"),
        ("UPDATE outbox SET kind = 'song'", "outbox", "kind"),
        ("UPDATE outbox SET account = NULL WHERE kind = 'account'", "outbox", "account"),
        ("INSERT INTO idempotency VALUES ('scope', 'key', 'hash', 0, 99999, 'null', FALSE)", "idempotency", "status"),
    ] {
        let Some(database) = TestDatabase::make("").await else { return };
        let store = open(&database.url).await;
        fill(&store).await;
        run_on(&database.url, statement).await;
        let error = read_all(&store).await.expect_err(statement);
        let StoreError::Corrupt { table: said_table, column: said_column, row } = &error else {
            panic!("{statement}: {error:?}");
        };
        assert_eq!((*said_table, *said_column), (table, column), "{statement}");
        assert!(!row.is_empty() && row != "?", "{statement}: the row is named: {row}");
    }
}
