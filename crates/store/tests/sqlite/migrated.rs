//! Databases as the version before customers left them, and what must be the same in this one. How one is made and opened
//! is the databases' own.

use tollgate_domain::{AccountId, HOUR_US, KeyId, Period, Timestamp};
use tollgate_store::{AdminStore, GroupBy, HistoryQuery, QuotaUsed, SeedQuery, Step};

/// The number of the schema before.
pub(crate) const BEFORE: i64 = 4;

fn account() -> AccountId {
    AccountId::new(Timestamp::EPOCH, [1; 10])
}

fn key() -> KeyId {
    KeyId::new(Timestamp::EPOCH, [2; 10])
}

fn period() -> Period {
    Period::calendar_month(Timestamp::EPOCH)
}

/// An account with one key; 500 lines of calls in 50 hours and what was imported; their sums; and a change that nobody has
/// been told of.
pub(crate) fn rows() -> String {
    let (account, key, Period { start, end }) = (account(), key(), period());
    let (start, end) = (start.as_micros(), end.as_micros());
    let hash = "0123456789abcdef0123456789abcdef";
    let mut rows = vec![format!(
        "INSERT INTO accounts (id, email, email_key, created_at_us, rolling_anchor_us) \
         VALUES ('{account}', 'A@example.com', 'a@example.com', 0, 0); \
         INSERT INTO keys (id, account, lineage, hash, prefix, last_four, created_at_us, scopes, read_only, ip_allow, ip_deny) \
         VALUES ('{key}', '{account}', '{key}', CAST('{hash}' AS HASH), '', '', 0, '[]', FALSE, '[]', '[]'); \
         INSERT INTO outbox (created_at_us, kind, account, key, period_start_us, period_end_us, units, position) \
         VALUES (0, 'usage', '{account}', '{key}', {start}, {end}, 38, 501);"
    )];
    for line in 0..500_i64 {
        let at = line / 10 * HOUR_US + line;
        let hour = line / 10 * HOUR_US;
        let (route, status) = (["events", "reports"][usize::from(line % 2 == 0)], "2xx");
        rows.push(format!(
            "INSERT INTO usage_lines (id, kind, at_us, node, sequence, account, key, route, status, period_start_us, \
             period_end_us, calls, calls_unenforced, units_debited, units_charged, units_refunded) VALUES ({}, 'calls', \
             {at}, 'n', {line}, '{account}', '{key}', '{route}', '{status}', {start}, {end}, 1, 0, 2, 3, 1); \
             INSERT INTO usage_hours (account, hour_us, key, route, status, calls, calls_unenforced, units_debited, \
             units_charged, units_refunded, newest_us) VALUES ('{account}', {hour}, '{key}', '{route}', '{status}', 1, 0, \
             2, 3, 1, {at}) ON CONFLICT (account, hour_us, key, route, status) DO UPDATE SET calls = usage_hours.calls + \
             1, units_debited = usage_hours.units_debited + 2, units_charged = usage_hours.units_charged + 3, \
             units_refunded = usage_hours.units_refunded + 1, newest_us = excluded.newest_us;",
            line + 1
        ));
    }
    rows.push(format!(
        "INSERT INTO usage_lines (id, kind, at_us, account, key, period_start_us, period_end_us, calls, calls_unenforced, \
         units_debited, units_charged, units_refunded) \
         VALUES (501, 'imported', 7, '{account}', '{key}', {start}, {end}, 0, 0, 0, 38, 0); \
         INSERT INTO usage_periods (account, period_start_us, period_end_us, key, calls, units_charged, units_refunded, \
         first_us, newest_us) VALUES ('{account}', {start}, {end}, '{key}', 500, 1538, 500, 0, {});",
        49 * HOUR_US + 499
    ));
    rows.join(" ")
}

/// That every sum is as it was, and that it goes on from there.
pub(crate) async fn check(store: &dyn AdminStore) {
    let used = store.quota_used(account(), Some(key()), period()).await.expect("the store answers");
    assert_eq!(used, QuotaUsed { account: 1_038, key: 1_038, calls: 500 });
    for resolution_us in [1, HOUR_US] {
        let query = SeedQuery {
            account: account(),
            key: Some(key()),
            meter: None,
            since: Timestamp::EPOCH,
            resolution_us,
            period: period(),
        };
        let seed = store.seed(&query).await.expect("the store answers");
        assert_eq!(seed.ledger_position, 501);
        for spending in [&seed.account, &seed.key.expect("it was asked for").1] {
            assert_eq!(spending.debits.iter().map(|debited| debited.units).sum::<u64>(), 1_000);
            assert_eq!(spending.quota.expect("units were charged").used, 1_038);
        }
    }
    for group_by in [GroupBy::Nothing, GroupBy::Route, GroupBy::Key, GroupBy::Status] {
        let asked = HistoryQuery {
            account: account(),
            from: Timestamp::EPOCH,
            to: period().end,
            step: Step::Hour,
            group_by,
            meter: None,
            key: None,
            route: None,
            dimensions: [].into(),
        };
        let told = store.history(&asked, 10_000).await.expect("the store answers");
        let sums = told
            .iter()
            .fold((0, 0, 0), |sums, row| (sums.0 + row.calls, sums.1 + row.units, sums.2 + row.units_refunded));
        assert_eq!(sums, (500, 1_038, 500), "what was imported is told as well");
    }
    let lines = store.lines(account(), Timestamp::EPOCH, period().end, None, 1_000).await.expect("the store answers");
    assert_eq!(lines.len(), 501);
    assert!(lines.iter().all(|line| line.meter.is_none() && line.key == Some(key())));
    let known = store.outbox(10).await.expect("the store answers");
    let change = tollgate_store::Change::Usage {
        account: account(),
        of: tollgate_domain::Charged::Calls { key: Some(key()) },
        period: period(),
        units: 38,
        position: 501,
    };
    assert_eq!(known.iter().map(|entry| entry.change).collect::<Vec<_>>(), [change]);
    let found = store.account_by_email("a@EXAMPLE.com").await.expect("the store answers").expect("it is there");
    assert_eq!((found.id, found.subject), (account(), None));
}
