//! Databases as versions before left them, and what must be the same in this one. How one is made and opened is the
//! databases' own.

use tollgate_domain::{AccountId, HOUR_US, KeyId, MeterName, Period, PlanName, Timestamp};
use tollgate_store::{AdminStore, GroupBy, HistoryQuery, QuotaUsed, SeedQuery, Step};

/// The number of the schema of this version.
pub(crate) const THIS: i64 = 6;

/// A schema that a database was left in, and what it was filled with on the way there: statements, each run once the
/// schema of its number is reached.
pub(crate) fn before() -> [(i64, Vec<(i64, String)>); 2] {
    [(4, vec![(4, rows())]), (5, vec![(4, rows()), (5, customers())])]
}

fn account() -> AccountId {
    AccountId::new(Timestamp::EPOCH, [1; 10])
}

fn key() -> KeyId {
    KeyId::new(Timestamp::EPOCH, [2; 10])
}

fn period() -> Period {
    Period::calendar_month(Timestamp::EPOCH)
}

/// What the version before billing adds: an account that was imported with its customer, subscription and plan; and use of
/// a meter.
fn customers() -> String {
    let (account, Period { start, end }) = (AccountId::new(Timestamp::EPOCH, [3; 10]), period());
    let (start, end) = (start.as_micros(), end.as_micros());
    format!(
        "INSERT INTO accounts (id, email, email_key, created_at_us, assigned_plan, rolling_anchor_us, \
         subscription_start_us, subscription_end_us, stripe_customer, stripe_subscription, subject) \
         VALUES ('{account}', 'b@example.com', 'b@example.com', 0, 'pro', 0, 1, 2, 'cus_1', 'sub_1', 'b'); \
         INSERT INTO usage_periods (account, meter, period_start_us, period_end_us, key, calls, units_charged, \
         units_refunded, first_us, newest_us) VALUES ('{account}', 'tokens', {start}, {end}, '', 1, 70, 0, 5, 5);"
    )
}

/// An account with one key; 500 lines of calls in 50 hours and what was imported; their sums; and a change that nobody has
/// been told of.
fn rows() -> String {
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
pub(crate) async fn check(store: &dyn AdminStore, schema: i64) {
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
    let page = store.billed_accounts(None, 10).await.expect("the store answers");
    if schema < 5 {
        assert_eq!(page.items, []);
        return;
    }
    let [(imported, read_at)] = &*page.items else { panic!("one was imported: {page:?}") };
    let of_stripe = (imported.stripe_customer.as_deref(), imported.stripe_subscription.as_deref());
    assert_eq!(of_stripe, (Some("cus_1"), Some("sub_1")));
    assert_eq!((imported.assigned_plan.clone(), imported.assigned_until), (PlanName::new("pro"), None));
    assert_eq!((imported.subscriptions.len(), *read_at, imported.subject.as_deref()), (0, None, Some("b")));
    let tokens = MeterName::new("tokens").expect("a good name");
    let used = store.used(imported.id, Some(&tokens), period()).await.expect("the store answers");
    assert_eq!(used, 70);
}
