//! What can only be seen from inside: which index a query uses, and how the connections are set.

use sqlx::{AssertSqlSafe, Row as _};

use super::SqliteStore;
use crate::sql::{keys, seed};

/// The steps `SQLite` takes for a query.
async fn plan(store: &SqliteStore, query: &'static str) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
        .fetch_all(&store.backend.reader)
        .await
        .expect("the query is understood");
    rows.iter().map(|row| row.get("detail")).collect()
}

#[tokio::test]
async fn hot_queries_search_an_index_and_scan_no_table() {
    let store = SqliteStore::open_in_memory().await.expect("memory opens");
    let cases: [(&str, &[&str]); 9] = [
        (
            keys::FIND,
            &["SEARCH k USING INDEX keys_hash (hash=?)", "SEARCH a USING INDEX sqlite_autoindex_accounts_1 (id=?)"],
        ),
        (
            seed::ACCOUNT_DEBITS_BY_LINE,
            &["SEARCH usage_lines USING COVERING INDEX usage_lines_account (account=? AND at_us>?)"],
        ),
        (
            seed::ACCOUNT_DEBITS_BY_HOUR,
            &[
                "SEARCH usage_lines USING COVERING INDEX usage_lines_account (account=? AND at_us>? AND at_us<?)",
                "SEARCH usage_hours USING INDEX sqlite_autoindex_usage_hours_1 (account=? AND hour_us>? AND hour_us<?)",
                "SEARCH usage_lines USING COVERING INDEX usage_lines_account (account=? AND at_us>?)",
            ],
        ),
        (
            seed::KEY_DEBITS_BY_LINE,
            &["SEARCH usage_lines USING COVERING INDEX usage_lines_key (account=? AND key=? AND at_us>?)"],
        ),
        (
            seed::KEY_DEBITS_BY_HOUR,
            &["SEARCH usage_hours USING INDEX usage_hours_key (account=? AND key=? AND hour_us>? AND hour_us<?)"],
        ),
        (seed::ACCOUNT_PERIODS, &["SEARCH usage_periods USING INDEX sqlite_autoindex_usage_periods_1 (account=?)"]),
        (seed::KEY_PERIODS, &["SEARCH usage_periods USING INDEX usage_periods_key (account=? AND key=?)"]),
        (
            seed::ACCOUNT_USED,
            &["SEARCH usage_periods USING INDEX sqlite_autoindex_usage_periods_1 (account=? AND period_start_us<?)"],
        ),
        (
            seed::KEY_USED,
            &["SEARCH usage_periods USING INDEX usage_periods_key (account=? AND key=? AND period_start_us<?)"],
        ),
    ];
    for (query, searches) in cases {
        let steps = plan(&store, query).await;
        for search in searches {
            assert!(steps.iter().any(|step| step == search), "{search} is not among {steps:#?}");
        }
        let scans: Vec<_> = steps
            .iter()
            .filter(|step| step.starts_with("SCAN") && !["SCAN debits", "SCAN chain"].contains(&step.as_str()))
            .collect();
        assert!(scans.iter().all(|step| *step == "SCAN CONSTANT ROW"), "{scans:#?}");
    }
}

#[tokio::test]
async fn a_commit_reaches_the_disk_and_references_hold() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(&folder.path().join("tollgate.db")).await.expect("a new file opens");
    for (pragma, expected) in [
        ("PRAGMA journal_mode", "wal"),
        // 2 is FULL: every commit waits for the disk.
        ("PRAGMA synchronous", "2"),
        ("PRAGMA foreign_keys", "1"),
        ("PRAGMA busy_timeout", "5000"),
    ] {
        let row = sqlx::query(pragma).fetch_one(&store.backend.writer).await.expect("it answers");
        let text = row.try_get::<String, _>(0);
        let found = text.unwrap_or_else(|_| row.get::<i64, _>(0).to_string());
        assert_eq!(found, expected, "{pragma}");
    }
    let written = sqlx::query("DELETE FROM accounts").execute(&store.backend.reader).await;
    assert!(written.is_err(), "readers only read");
}
