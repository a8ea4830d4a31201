//! Random batches against a model that keeps every line: no unit is lost, doubled, told too early or too late.

use proptest::prelude::*;
use tollgate_domain::{HOUR_US, Period, StatusClass, Timestamp, UsageBatch, UsageKey, UsageLine, UsageTally};
use tollgate_store::SeedQuery;

use crate::backend;
use crate::fixture::{account_id, april, hour, key_id, march, node, route};

/// Minutes after the start, account, key, route, status, period, debited, refunded.
type Spent = (i64, u8, u8, bool, bool, bool, u64, u64);

fn spent() -> impl Strategy<Value = Spent> {
    (0..1_800_i64, 1..3_u8, 1..3_u8, any::<bool>(), any::<bool>(), any::<bool>(), 0..50_u64, 0..50_u64)
}

fn line(spent: &Spent) -> UsageLine {
    let (_, account, key, other_route, failed, later, units, refunded) = *spent;
    UsageLine {
        key: UsageKey {
            account: account_id(account),
            key: key_id(key),
            route: route(if other_route { "reports" } else { "events" }),
            status: if failed { StatusClass::ServerError } else { StatusClass::Success },
            period: if later { april() } else { march() },
            meter: None,
            detached: false,
        },
        tally: UsageTally {
            calls: units,
            units_debited: units,
            units_charged: units,
            units_refunded: refunded.min(units),
            calls_unenforced: 0,
        },
    }
}

fn batches(spent: &[Vec<Spent>]) -> Vec<UsageBatch> {
    let numbered = (1..).zip(spent);
    numbered
        .map(|(sequence, spent)| {
            let end = hour(0).plus_micros(spent.iter().map(|spent| spent.0).max().unwrap_or(0) * HOUR_US / 60);
            UsageBatch {
                node: node(1),
                sequence,
                start: hour(-1),
                end,
                lines: spent.iter().map(line).collect(),
                requests: Vec::new(),
            }
        })
        .collect()
}

/// Debits of an account, or of one key of it, at the times of their batches.
fn debits(batches: &[UsageBatch], query: &SeedQuery, of_key: bool) -> Vec<(Timestamp, u64)> {
    let recent = batches.iter().filter(|batch| batch.end >= query.since);
    recent
        .flat_map(|batch| batch.lines.iter().map(|line| (batch.end, line)))
        .filter(|(_, line)| line.key.account == query.account && (!of_key || Some(line.key.key) == query.key))
        .map(|(end, line)| (end, line.tally.units_debited))
        .collect()
}

fn sum_until(debits: &[(Timestamp, u64)], until: Timestamp) -> u64 {
    debits.iter().filter(|(at, _)| *at <= until).map(|(_, units)| units).sum()
}

fn check_debits(case: &str, told: &[(Timestamp, u64)], truth: &[(Timestamp, u64)], resolution_us: i64) {
    assert!(told.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{case}: oldest first");
    let total = |debits: &[(Timestamp, u64)]| debits.iter().map(|(_, units)| units).sum::<u64>();
    assert_eq!(total(told), total(truth), "{case}");
    for (at, _) in told.iter().chain(truth) {
        assert!(sum_until(told, *at) <= sum_until(truth, *at), "{case}: nothing is told before it was");
        let settled = at.plus_micros(-resolution_us);
        assert!(sum_until(truth, settled) <= sum_until(told, *at), "{case}: nothing is told a slot too late");
    }
}

fn used(batches: &[UsageBatch], query: &SeedQuery, period: Period, of_key: bool) -> u64 {
    let lines = batches.iter().flat_map(|batch| &batch.lines);
    lines
        .filter(|line| line.key.account == query.account && line.key.period == period)
        .filter(|line| !of_key || Some(line.key.key) == query.key)
        .map(|line| line.tally.units_charged - line.tally.units_refunded)
        .sum()
}

async fn check(spent: Vec<Vec<Spent>>, since_minutes: i64, resolution_minutes: i64) {
    let opened = backend::sqlite_in_memory().await.expect("memory is always there");
    let store = &*opened.store;
    let batches = batches(&spent);
    for batch in batches.iter().chain(batches.iter().step_by(2)) {
        store.store_batch(batch).await.expect("the store answers");
    }
    for (account, key) in [(1, 1), (1, 2), (2, 1), (3, 1)] {
        let query = SeedQuery {
            account: account_id(account),
            key: Some(key_id(key)),
            meter: None,
            since: hour(0).plus_micros(since_minutes * HOUR_US / 60),
            resolution_us: resolution_minutes * HOUR_US / 60,
            period: march(),
        };
        let seed = store.seed(&query).await.expect("the store answers");
        let of_key = seed.key.expect("the key was asked for").1;
        for (case, told, of_key) in [("account", &seed.account, false), ("key", &of_key, true)] {
            let told: Vec<_> = told.debits.iter().map(|debited| (debited.at, debited.units)).collect();
            check_debits(case, &told, &debits(&batches, &query, of_key), query.resolution_us);
        }
        for period in [march(), april()] {
            let told = store.quota_used(query.account, query.key, period).await.expect("the store answers");
            assert_eq!(told.account, used(&batches, &query, period, false));
            assert_eq!(told.key, used(&batches, &query, period, true));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_is_what_was_stored(
        spent in prop::collection::vec(prop::collection::vec(spent(), 0..6), 0..40),
        since_minutes in -60..1_800_i64,
        resolution_minutes in prop_oneof![1..60_i64, 60..61_i64, 61..700_i64],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(check(spent, since_minutes, resolution_minutes));
    }
}
