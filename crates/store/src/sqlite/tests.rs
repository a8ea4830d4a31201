//! What can only be seen from inside: which index a query uses, and how the connections are set.

use sqlx::{AssertSqlSafe, Row as _};
use tollgate_domain::{AccountId, DAY_US, KeyId, Period, Timestamp};

use super::SqliteStore;
use crate::billing::{EventQuery, EventState};
use crate::customers::{GroupBy, HistoryQuery, Step};
use crate::sql::{
    accounts, billed, differences, events, export, history, inbox, keys, meter_sends, notices, openings, prune,
    requests, seed, sign_in, subscriptions, uses,
};

/// A query, and the searches that it is to be made of.
type Case = (&'static str, &'static [&'static str]);

/// What reads the ledger.
const LEDGER: [Case; 18] = [
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
    (seed::NEWEST_HOUR, &["SEARCH usage_hours USING INDEX sqlite_autoindex_usage_hours_1 (account=? AND hour_us>?)"]),
    (
        seed::ACCOUNT_PERIODS,
        &["SEARCH usage_periods USING INDEX sqlite_autoindex_usage_periods_1 (account=? AND meter=?)"],
    ),
    (seed::KEY_PERIODS, &["SEARCH usage_periods USING INDEX usage_periods_key (account=? AND key=? AND meter=?)"]),
    (
        seed::ACCOUNT_USED,
        &[
            "SEARCH usage_periods USING INDEX sqlite_autoindex_usage_periods_1 (account=? AND meter=? AND period_start_us<?)",
        ],
    ),
    (
        seed::KEY_USED,
        &["SEARCH usage_periods USING INDEX usage_periods_key (account=? AND key=? AND meter=? AND period_start_us<?)"],
    ),
    (
        history::FIRST_HOUR,
        &[
            "SEARCH usage_hours USING COVERING INDEX sqlite_autoindex_usage_hours_1 (account=? AND hour_us>? AND hour_us<?)",
        ],
    ),
    (
        history::LAST_HOUR,
        &[
            "SEARCH usage_hours USING COVERING INDEX sqlite_autoindex_usage_hours_1 (account=? AND hour_us>? AND hour_us<?)",
        ],
    ),
    (export::ALL, &["SEARCH usage_hours USING INDEX usage_hours_hour (hour_us>? AND hour_us<?)"]),
    (export::ALL_AFTER, &["SEARCH usage_hours USING INDEX usage_hours_hour ((hour_us,account)>(?,?) AND hour_us<?)"]),
    (
        export::ACCOUNT,
        &["SEARCH usage_hours USING INDEX sqlite_autoindex_usage_hours_1 (account=? AND hour_us>? AND hour_us<?)"],
    ),
    (
        export::ACCOUNT_AFTER,
        &["SEARCH usage_hours USING INDEX sqlite_autoindex_usage_hours_1 (account=? AND hour_us>? AND hour_us<?)"],
    ),
    (export::LINES, &["SEARCH usage_lines USING INDEX usage_lines_account (account=? AND at_us>? AND at_us<?)"]),
    (uses::PAGE_END, &["SEARCH usage_periods USING INDEX usage_periods_newest (newest_us>?)"]),
    (
        uses::CHANGED,
        &[
            "SEARCH usage_periods USING INDEX usage_periods_newest (newest_us>? AND newest_us<?)",
            "SEARCH u USING INDEX sqlite_autoindex_usage_periods_1 (account=? AND meter=? AND period_start_us<?)",
        ],
    ),
];

/// What is about keys, people, and what is thrown away.
const REST: [Case; 20] = [
    (
        keys::FIND,
        &[
            "SEARCH k USING INDEX keys_hash (hash=?)",
            "SEARCH a USING INDEX sqlite_autoindex_accounts_1 (id=?)",
            "SEARCH s USING INDEX subscriptions_account (account=?)",
        ],
    ),
    (accounts::OF_SUBJECT, &["SEARCH a USING INDEX accounts_subject (subject=?)"]),
    (keys::EXPIRING, &["SEARCH k USING INDEX keys_expiring (expires_at_us>? AND expires_at_us<?)"]),
    (sign_in::LINKS_SENT, &["SEARCH links USING COVERING INDEX links_email (email_key=? AND created_at_us>?)"]),
    (sign_in::TAKE_LINK, &["SEARCH links USING INDEX sqlite_autoindex_links_1 (hash=?)"]),
    (
        sign_in::SESSION,
        &[
            "SEARCH s USING INDEX sqlite_autoindex_sessions_1 (hash=?)",
            "SEARCH a USING INDEX sqlite_autoindex_accounts_1 (id=?)",
        ],
    ),
    (events::KNOWN, &["SEARCH usage_events USING INDEX sqlite_autoindex_usage_events_1 (account=? AND id=?)"]),
    (requests::FIND, &["SEARCH request_log USING INDEX sqlite_autoindex_request_log_1 (request=?)"]),
    (notices::DUE[0], &["SEARCH notices USING COVERING INDEX notices_mail (mail_due_us>? AND mail_due_us<?)"]),
    (notices::DUE[1], &["SEARCH notices USING COVERING INDEX notices_webhook (webhook_due_us>? AND webhook_due_us<?)"]),
    (prune::REQUESTS.last, &["SEARCH request_log USING COVERING INDEX request_log_at (at_us<?)"]),
    (prune::REQUESTS.delete, &["SEARCH request_log USING INDEX request_log_at (at_us<?)"]),
    (prune::DIMENSIONS.last, &["SEARCH usage_dimensions USING COVERING INDEX usage_dimensions_at (at_us<?)"]),
    (prune::DIMENSIONS.delete, &["SEARCH usage_dimensions USING INDEX usage_dimensions_at (at_us<?)"]),
    (prune::LINKS.delete, &["SEARCH links USING INDEX links_expires (expires_at_us<?)"]),
    (prune::SESSIONS.delete, &["SEARCH sessions USING INDEX sessions_expires (expires_at_us<?)"]),
    (prune::NOTICES.delete, &["SEARCH notices USING INDEX notices_created (created_at_us<?)"]),
    (prune::LAST_HOUR, &["SEARCH usage_hours USING COVERING INDEX usage_hours_hour (hour_us<?)"]),
    (prune::BEFORE_HOUR, &["SEARCH usage_hours USING INDEX usage_hours_hour (hour_us<?)"]),
    (prune::OF_HOUR, &["SEARCH usage_hours USING INDEX usage_hours_hour (hour_us=? AND account<?)"]),
];

/// What billing asks.
const BILLING: [Case; 19] = [
    (inbox::DUE, &["SEARCH webhook_inbox USING INDEX webhook_inbox_due (due_us<?)"]),
    (inbox::DUE_OF, &["SEARCH webhook_inbox USING INDEX webhook_inbox_due_subject (subject=? AND due_us<?)"]),
    (inbox::PENDING, &[]),
    (inbox::DEAD, &[]),
    (inbox::PRUNED.last, &["SEARCH webhook_inbox USING COVERING INDEX webhook_inbox_settled (settled_at_us<?)"]),
    (inbox::PRUNED.delete, &["SEARCH webhook_inbox USING INDEX webhook_inbox_settled (settled_at_us<?)"]),
    (subscriptions::OF_CUSTOMER, &["SEARCH a USING INDEX accounts_stripe_customer (stripe_customer=?)"]),
    (subscriptions::DELETED_OF_CUSTOMER, &["SEARCH a USING INDEX accounts_stripe_customer (stripe_customer=?)"]),
    (inbox::RECEIVE, &["SEARCH a USING INDEX accounts_stripe_customer (stripe_customer=?)"]),
    (subscriptions::BILLED, &["SEARCH a USING INDEX accounts_billed (id>?)"]),
    (openings::OVERLAPPING, &["SEARCH usage_periods USING INDEX usage_periods_key (account=?)"]),
    (openings::SINCE, &["SEARCH usage_lines USING INDEX usage_lines_account (account=? AND at_us>?)"]),
    (
        billed::UNTOLD,
        &[
            "SEARCH usage_periods USING INDEX usage_periods_newest (newest_us>?)",
            "SEARCH a USING INDEX sqlite_autoindex_accounts_1 (id=?)",
            "SEARCH u USING INDEX sqlite_autoindex_usage_periods_1 \
             (account=? AND meter=? AND period_start_us=? AND period_end_us=?)",
            "SEARCH l USING INDEX usage_lines_account (account=? AND at_us>? AND at_us<?)",
            "SEARCH i USING INDEX usage_lines_imported (account=? AND meter=? AND period_start_us=? AND period_end_us=?)",
            "SEARCH s USING INDEX meter_sends_number (account=? AND meter=? AND period_start_us=? AND period_end_us=?)",
            "SEARCH s USING COVERING INDEX meter_sends_pending \
             (account=? AND meter=? AND period_start_us=? AND period_end_us=?)",
        ],
    ),
    (billed::PERIODS, &["SEARCH a USING INDEX sqlite_autoindex_accounts_1 (id=?)"]),
    (meter_sends::TO_FOLD, &["SEARCH meter_sends USING INDEX meter_sends_ended (period_end_us<?)"]),
    (meter_sends::DUE, &["SEARCH meter_sends USING INDEX meter_sends_due (due_us<?)"]),
    (meter_sends::OF_PERIOD, &[]),
    (
        meter_sends::BETWEEN,
        &["SEARCH meter_sends USING INDEX meter_sends_at (account=? AND meter=? AND at_us>? AND at_us<?)"],
    ),
    (differences::ACCOUNTS, &["SEARCH accounts USING COVERING INDEX sqlite_autoindex_accounts_1 (id>?)"]),
];

/// A list of events of each kind, and how it is searched.
fn lists() -> Vec<(String, &'static str)> {
    let by = |state, kind: Option<&str>, account, before| {
        let asked = EventQuery { state, kind: kind.map(Into::into), account, before };
        inbox::listing(&asked, 100).text().to_owned()
    };
    let account = Some(AccountId::new(Timestamp::EPOCH, [1; 10]));
    let before = Some((Timestamp::EPOCH, "evt_1".to_owned()));
    vec![
        (
            by(None, None, None, before.clone()),
            "SEARCH webhook_inbox USING INDEX webhook_inbox_received ((received_at_us,id)<(?,?))",
        ),
        (
            by(Some(EventState::Dead), None, None, before),
            "SEARCH webhook_inbox USING INDEX webhook_inbox_dead ((received_at_us,id)<(?,?))",
        ),
        (by(None, Some("invoice.paid"), None, None), "SEARCH webhook_inbox USING INDEX webhook_inbox_kind (kind=?)"),
        (by(None, None, account, None), "SEARCH webhook_inbox USING INDEX webhook_inbox_account (account=?)"),
    ]
}

/// A history of each kind, and how it is searched.
fn histories() -> Vec<(String, &'static str)> {
    let by = |group_by, key, dimensions: &[&str]| {
        let asked = HistoryQuery {
            account: AccountId::new(Timestamp::EPOCH, [1; 10]),
            from: Timestamp::EPOCH,
            to: Timestamp::EPOCH,
            step: Step::Day,
            group_by,
            meter: None,
            key,
            route: None,
            dimensions: dimensions.iter().map(|name| ((*name).into(), "value".into())).collect(),
        };
        let span = Period { start: asked.from, end: asked.to };
        history::statement(&asked, span, DAY_US, 100).text().to_owned()
    };
    let of_account = "SEARCH l USING INDEX sqlite_autoindex_usage_hours_1 (account=? AND hour_us>? AND hour_us<?)";
    let of_key = "SEARCH l USING INDEX usage_hours_key (account=? AND key=? AND hour_us>? AND hour_us<?)";
    let of_events = "SEARCH l USING COVERING INDEX usage_lines_event (account=? AND at_us>? AND at_us<?)";
    let grouped =
        "SEARCH d USING INDEX sqlite_autoindex_usage_dimensions_1 (account=? AND event=? AND name=?) LEFT-JOIN";
    let filtered = "SEARCH f EXISTS USING INDEX sqlite_autoindex_usage_dimensions_1 (account=? AND event=? AND name=?)";
    let key = Some(KeyId::new(Timestamp::EPOCH, [1; 10]));
    vec![
        (by(GroupBy::Nothing, None, &[]), of_account),
        (by(GroupBy::Key, None, &[]), of_account),
        (by(GroupBy::Route, None, &[]), of_account),
        (by(GroupBy::Status, key, &[]), of_key),
        (by(GroupBy::Dimension("model".into()), None, &[]), of_events),
        (by(GroupBy::Dimension("model".into()), None, &[]), grouped),
        (by(GroupBy::Key, None, &["model", "region"]), of_events),
        (by(GroupBy::Key, None, &["model", "region"]), filtered),
    ]
}

/// Scans of what a query makes itself.
const PUT_TOGETHER: [&str; 5] = ["SCAN debits", "SCAN chain", "SCAN c", "SCAN hours", "SCAN CONSTANT ROW"];
/// Scans of indexes that hold only what is counted.
const COUNTED: [&str; 2] = [
    "SCAN webhook_inbox USING COVERING INDEX webhook_inbox_pending",
    "SCAN webhook_inbox USING COVERING INDEX webhook_inbox_dead",
];

/// The steps `SQLite` takes for a query.
async fn plan(store: &SqliteStore, query: &str) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
        .fetch_all(&store.backend.reader)
        .await
        .expect("the query is understood");
    rows.iter().map(|row| row.get("detail")).collect()
}

#[tokio::test]
async fn queries_search_an_index_and_scan_no_table() {
    let store = SqliteStore::open_in_memory().await.expect("memory opens");
    let fixed =
        LEDGER.into_iter().chain(REST).chain(BILLING).map(|(query, searches)| (query.to_owned(), searches.to_vec()));
    let histories = histories().into_iter().chain(lists()).map(|(query, search)| (query, vec![search]));
    for (query, searches) in fixed.chain(histories) {
        let steps = plan(&store, &query.replace("{list}", "($2)")).await;
        for search in searches {
            assert!(steps.iter().any(|step| step == search), "{search} is not among {steps:#?} of {query}");
        }
        // What is put together in the query itself may be read whole.
        let may_be_whole = |step: &str| PUT_TOGETHER.contains(&step) || COUNTED.contains(&step);
        let scans: Vec<_> = steps.iter().filter(|step| step.starts_with("SCAN ") && !may_be_whole(step)).collect();
        assert!(scans.is_empty(), "{scans:#?} of {query}");
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
