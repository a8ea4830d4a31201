//! What can only be seen from inside: which index a query uses.

#[path = "../../tests/postgres/database.rs"]
mod database;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};

use super::{PostgresSettings, PostgresStore};
use crate::sql::{keys, seed};
use database::{TestDatabase, run_on};

/// The steps that the server takes for a query of so many values, whatever they are.
async fn plan(url: &str, query: &str, values: usize) -> String {
    let mut connection = PgConnection::connect(url).await.expect("the server answers");
    let nulls = vec!["NULL"; values].join(", ");
    let settings = "SET plan_cache_mode = force_generic_plan";
    for statement in [settings, &format!("PREPARE asked AS {query}")] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect(statement);
    }
    let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE asked({nulls})"));
    let rows = sqlx::raw_sql(explain).fetch_all(&mut connection).await.expect("the query is understood");
    rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
}

/// Enough of everything that the server reads no table whole where it need not: for each of a thousand accounts one
/// key, and twenty lines.
const ROWS: &str = "\
    INSERT INTO accounts (id, email, email_key, created_at_us, rolling_anchor_us) \
    SELECT n::text, '', n::text, 0, 0 FROM generate_series(1, 1000) AS n; \
    INSERT INTO keys (id, account, lineage, hash, prefix, last_four, created_at_us, scopes, read_only, ip_allow, ip_deny) \
    SELECT n::text, n::text, n::text, sha256(n::text::bytea), '', '', 0, '[]', FALSE, '[]', '[]' \
    FROM generate_series(1, 1000) AS n; \
    INSERT INTO usage_lines SELECT n, 'calls', n, 'n', n, (n % 1000)::text, (n % 1000)::text, 'r', '2xx', 0, 1, 1, 0, 1, \
    1, 0 FROM generate_series(1, 20000) AS n; \
    INSERT INTO usage_hours SELECT account, id, key, route, status, 1, 0, 1, 1, 0, id FROM usage_lines; \
    INSERT INTO usage_periods SELECT account, id, id + 1, key, 1, 1, 0, 0, 0 FROM usage_lines; \
    ANALYZE";

#[tokio::test]
async fn hot_queries_search_an_index_and_scan_no_table() {
    let Some(database) = TestDatabase::make("").await else { return };
    PostgresStore::open(PostgresSettings::new(&*database.url)).await.expect("it opens").close().await;
    run_on(&database.url, ROWS).await;
    // Where the account has few keys, its own index serves a key's queries as well: the server chooses.
    let cases: [(&str, usize, &[&str]); 9] = [
        (keys::FIND, 1, &["keys_hash", "accounts_pkey"]),
        (seed::ACCOUNT_DEBITS_BY_LINE, 3, &["usage_lines_account"]),
        (seed::ACCOUNT_DEBITS_BY_HOUR, 5, &["usage_lines_account", "usage_hours_pkey"]),
        (seed::KEY_DEBITS_BY_LINE, 4, &[]),
        (seed::KEY_DEBITS_BY_HOUR, 6, &[]),
        (seed::ACCOUNT_PERIODS, 1, &["usage_periods_pkey"]),
        (seed::KEY_PERIODS, 2, &[]),
        (seed::ACCOUNT_USED, 3, &["usage_periods_pkey"]),
        (seed::KEY_USED, 4, &[]),
    ];
    for (query, values, indexes) in cases {
        let plan = plan(&database.url, query, values).await;
        for index in indexes {
            assert!(plan.contains(index), "{index} is not used:\n{plan}");
        }
        assert!(query == keys::FIND || plan.contains("(account = $1)"), "{plan}");
        assert!(!plan.contains("Seq Scan"), "{plan}");
    }
}
