//! What can only be seen from inside: which index a query uses.

#[path = "../../tests/postgres/database.rs"]
mod database;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};
use tollgate_domain::{AccountId, DAY_US, Period, Timestamp};

use super::{PostgresSettings, PostgresStore};
use crate::customers::{GroupBy, HistoryQuery, Step};
use crate::sql::{
    accounts, billed, differences, events, export, history, inbox, keys, meter_sends, notices, openings, prune,
    requests, seed, sign_in, subscriptions, uses,
};
use database::{TestDatabase, run_on};

/// The steps that the server takes for a query of so many values, whatever they are.
async fn plan(url: &str, query: &str, values: usize) -> String {
    let mut connection = PgConnection::connect(url).await.expect("the server answers");
    let nulls = if values == 0 { String::new() } else { format!("({})", vec!["NULL"; values].join(", ")) };
    let settings = "SET plan_cache_mode = force_generic_plan";
    for statement in [settings, &format!("PREPARE asked AS {query}")] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect(statement);
    }
    let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE asked{nulls}"));
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
    INSERT INTO usage_lines SELECT 20000 + n, 'event', n, NULL, NULL, (n % 1000)::text, '', NULL, NULL, 0, 1, 1, 0, 0, 1, 0, \
    'tokens', n::text FROM generate_series(1, 20000) AS n; \
    INSERT INTO usage_events SELECT account, event, key, at_us, at_us, '{}', '{}', 'null' FROM usage_lines \
    WHERE event IS NOT NULL; \
    INSERT INTO usage_dimensions SELECT account, id, 'model', 'small', at_us FROM usage_events; \
    INSERT INTO links SELECT sha256(id::bytea), 'sign_in', '', id, NULL, at_us, at_us FROM usage_events; \
    INSERT INTO sessions SELECT hash, email_key, created_at_us, expires_at_us FROM links; \
    INSERT INTO notices SELECT at_us, account, 'quota_used', '', 75, '', at_us, 'null', at_us, TRUE, \
    CASE WHEN at_us % 100 = 0 THEN at_us END, 0, FALSE, NULL, 0 FROM usage_events; \
    INSERT INTO request_log SELECT id, 'n', account, key, at_us, 'r', 'GET', '/', 200, 1, 1, NULL, NULL, NULL \
    FROM usage_events; \
    UPDATE keys SET expires_at_us = id::bigint; UPDATE accounts SET subject = id; \
    UPDATE accounts SET stripe_customer = id, billed_since_us = 5 WHERE id::bigint % 10 = 0; \
    INSERT INTO subscriptions SELECT id, id, id, '{}' FROM accounts; \
    INSERT INTO webhook_inbox SELECT event, (at_us % 9)::text, (at_us % 300)::text, '', account, at_us, at_us, '{}', \
    CASE WHEN at_us % 100 = 0 THEN 'pending' WHEN at_us % 100 = 1 THEN 'dead' ELSE 'done' END, 0, at_us, at_us, NULL \
    FROM usage_lines WHERE event IS NOT NULL; \
    INSERT INTO period_openings SELECT account, '', at_us, at_us + 1, 0, 1 FROM usage_events; \
    INSERT INTO meter_sends SELECT id, account, account, '', 'e', at_us, at_us + 1, 0, 1, 1, at_us, 0, \
    CASE WHEN at_us % 100 = 0 THEN 'pending' ELSE 'sent' END, NULL, 0, at_us, NULL, NULL FROM usage_events; \
    UPDATE usage_periods SET newest_us = period_start_us; \
    ANALYZE";

/// A history of an account's events by a dimension, and one of everything.
fn histories() -> [String; 2] {
    [GroupBy::Dimension("model".into()), GroupBy::Route].map(|group_by| {
        let asked = HistoryQuery {
            account: AccountId::new(Timestamp::EPOCH, [1; 10]),
            from: Timestamp::EPOCH,
            to: Timestamp::EPOCH,
            step: Step::Day,
            group_by,
            meter: None,
            key: None,
            route: None,
            dimensions: [].into(),
        };
        let span = Period { start: asked.from, end: asked.to };
        history::statement(&asked, span, DAY_US, 100).text().to_owned()
    })
}

/// What billing asks, and indexes that it is to be searched by.
const BILLING: [(&str, &[&str]); 19] = [
    (inbox::DUE, &["webhook_inbox_due"]),
    (inbox::DUE_OF, &["webhook_inbox_due_subject"]),
    (inbox::PENDING, &["webhook_inbox_"]),
    (inbox::DEAD, &["webhook_inbox_dead"]),
    (inbox::PRUNED.last, &["webhook_inbox_settled"]),
    (inbox::PRUNED.delete, &["webhook_inbox_settled"]),
    (subscriptions::OF_CUSTOMER, &["accounts_stripe_customer", "subscriptions_account"]),
    (subscriptions::DELETED_OF_CUSTOMER, &["accounts_stripe_customer"]),
    (inbox::RECEIVE, &["accounts_stripe_customer", "accounts_pkey"]),
    (subscriptions::BILLED, &["accounts_billed"]),
    (openings::OVERLAPPING, &["usage_periods_pkey"]),
    (openings::SINCE, &["usage_lines_account"]),
    (billed::UNTOLD, &["usage_periods_newest", "meter_sends_number", "usage_lines_account", "usage_lines_imported"]),
    (billed::PERIODS, &["meter_sends_number", "usage_lines_account"]),
    (meter_sends::TO_FOLD, &["meter_sends_ended"]),
    (meter_sends::DUE, &["meter_sends_due"]),
    (meter_sends::OF_PERIOD, &["meter_sends_number"]),
    (meter_sends::BETWEEN, &["meter_sends_at"]),
    (differences::ACCOUNTS, &["accounts_pkey"]),
];

#[tokio::test]
async fn queries_search_an_index_and_scan_no_table() {
    let Some(database) = TestDatabase::make("").await else { return };
    PostgresStore::open(PostgresSettings::new(&*database.url)).await.expect("it opens").close().await;
    run_on(&database.url, ROWS).await;
    let [by_dimension, by_route] = histories();
    // Where an index is not named, more than one may serve: the server chooses.
    let cases: [(&str, &[&str]); 33] = [
        (keys::FIND, &["keys_hash", "accounts_pkey", "subscriptions_account"]),
        (seed::ACCOUNT_DEBITS_BY_LINE, &["usage_lines_account", "(account = $1)"]),
        (seed::ACCOUNT_DEBITS_BY_HOUR, &["usage_lines_account", "usage_hours_pkey", "(account = $1)"]),
        (seed::KEY_DEBITS_BY_LINE, &["(account = $1)"]),
        (seed::KEY_DEBITS_BY_HOUR, &["(account = $1)"]),
        (seed::NEWEST_HOUR, &["usage_hours_pkey", "(account = $1)"]),
        (seed::ACCOUNT_PERIODS, &["usage_periods_pkey", "(account = $1)"]),
        (seed::KEY_PERIODS, &["(account = $1)"]),
        (seed::ACCOUNT_USED, &["usage_periods_pkey", "(account = $1)"]),
        (seed::KEY_USED, &["(account = $1)"]),
        (accounts::OF_SUBJECT, &["accounts_subject"]),
        (keys::EXPIRING, &[]),
        (sign_in::LINKS_SENT, &["links_email"]),
        (sign_in::TAKE_LINK, &["links_pkey"]),
        (sign_in::SESSION, &["sessions_pkey", "accounts_pkey"]),
        (events::KNOWN, &["usage_events_pkey"]),
        (&by_dimension, &["usage_lines_event", "usage_dimensions_pkey"]),
        (&by_route, &["usage_hours_pkey"]),
        (history::FIRST_HOUR, &["usage_hours_pkey"]),
        (history::LAST_HOUR, &["usage_hours_pkey"]),
        (export::ALL, &["usage_hours_hour"]),
        (export::ALL_AFTER, &["usage_hours_hour"]),
        (export::ACCOUNT, &["usage_hours_pkey"]),
        (export::ACCOUNT_AFTER, &["usage_hours_pkey"]),
        (export::LINES, &["usage_lines_account"]),
        (uses::PAGE_END, &["usage_periods_newest"]),
        (uses::CHANGED, &["usage_periods_newest"]),
        (requests::FIND, &["request_log_pkey"]),
        (notices::DUE[0], &["notices_mail"]),
        (prune::REQUESTS.delete, &["request_log_at"]),
        (prune::DIMENSIONS.delete, &["usage_dimensions_at"]),
        (prune::BEFORE_HOUR, &["usage_hours_hour"]),
        (prune::OF_HOUR, &["usage_hours_hour"]),
    ];
    for (query, expected) in cases.into_iter().chain(BILLING) {
        let values = (1..20).rev().find(|number| query.contains(&format!("${number}"))).unwrap_or(0);
        let has_list = query.contains("IN {list}");
        let query = query.replace("IN {list}", &format!("= ANY(${})", values + 1));
        let values = values + usize::from(has_list);
        let plan = plan(&database.url, &query, values).await;
        for part in expected {
            assert!(plan.contains(part), "{part} is not in the plan of {query}:\n{plan}");
        }
        assert!(!plan.contains("Seq Scan"), "{query}:\n{plan}");
    }
}
