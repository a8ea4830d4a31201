//! What a limiter is seeded with: debits in time, and the open period's use.

use std::sync::Arc;

use tollgate_domain::limit::{Debited, QuotaUse, Seed, Spending};
use tollgate_domain::{HOUR_US, Period, SECOND_US, Timestamp, UsageLine};
use tollgate_store::{SeedQuery, Store};

use crate::fixture::{account_id, april, at, batch, calls, hour, key_id, march, meter, store_new};

crate::backend::on_every_backend! {
    an_account_without_a_past_has_an_empty_seed,
    debits_are_grouped_at_their_newest_time_oldest_first,
    debits_before_the_lookback_are_left_out,
    old_hours_are_summed_and_new_ones_are_not,
    a_key_and_its_account_are_told_apart,
    the_newest_period_is_the_open_one,
    a_call_that_outlived_its_period_does_not_reopen_it,
    a_changed_definition_carries_the_open_periods_use_over,
    calls_that_cost_nothing_charge_nothing,
}

fn query(since: Timestamp, resolution_us: i64) -> SeedQuery {
    SeedQuery { account: account_id(1), key: None, meter: None, since, resolution_us, period: march() }
}

async fn debits(store: &dyn Store, since: Timestamp, resolution_us: i64) -> Vec<(Timestamp, u64)> {
    let seed = store.seed(&query(since, resolution_us)).await.expect("the store answers");
    assert_eq!(seed.since, since);
    seed.account.debits.iter().map(|debited| (debited.at, debited.units)).collect()
}

fn in_period(line: UsageLine, period: Period) -> UsageLine {
    UsageLine { key: tollgate_domain::UsageKey { period, ..line.key }, ..line }
}

async fn quota(store: &dyn Store) -> Option<QuotaUse> {
    store.seed(&query(hour(-1), 1)).await.expect("the store answers").account.quota
}

async fn an_account_without_a_past_has_an_empty_seed(store: Arc<dyn Store>) {
    let query = SeedQuery { key: Some(key_id(1)), meter: Some(meter("tokens")), ..query(at(0), 1) };
    let empty = Spending::default();
    let expected = Seed {
        since: at(0),
        account: empty.clone(),
        key: Some((key_id(1), empty.clone())),
        meter: Some((meter("tokens").id(), empty)),
        ledger_position: 0,
    };
    assert_eq!(store.seed(&query).await.expect("the store answers"), expected);
}

async fn debits_are_grouped_at_their_newest_time_oldest_first(store: Arc<dyn Store>) {
    for (sequence, (secs, units)) in [(100, 1), (11, 2), (19, 4), (9, 8), (20, 16)].into_iter().enumerate() {
        store_new(&*store, &batch(sequence as u64 + 1, at(secs), vec![calls(1, 1, units)])).await;
    }
    let exact = [(9, 8), (11, 2), (19, 4), (20, 16), (100, 1)].map(|(secs, units)| (at(secs), units));
    assert_eq!(debits(&*store, at(0), 1).await, exact);
    let tens = [(9, 8), (19, 6), (20, 16), (100, 1)].map(|(secs, units)| (at(secs), units));
    assert_eq!(debits(&*store, at(0), 10 * SECOND_US).await, tens);
    assert_eq!(debits(&*store, at(0), 0).await, exact, "a resolution of nothing groups nothing");
}

async fn debits_before_the_lookback_are_left_out(store: Arc<dyn Store>) {
    for secs in [10_i64, 20, 30] {
        store_new(&*store, &batch(secs.unsigned_abs(), at(secs), vec![calls(1, 1, 1)])).await;
    }
    assert_eq!(debits(&*store, at(20), 1).await, [(at(20), 1), (at(30), 1)]);
    assert_eq!(debits(&*store, at(31), 1).await, []);
}

async fn old_hours_are_summed_and_new_ones_are_not(store: Arc<dyn Store>) {
    let times = [(0, 10), (0, 50), (1, 20), (1, 30), (4, 0), (4, 40), (5, 1), (5, 2)];
    for (sequence, (hours, minutes)) in (1..).zip(times) {
        let end = hour(hours).plus_micros(minutes * 60 * SECOND_US);
        store_new(&*store, &batch(sequence, end, vec![calls(1, 1, 1), calls(1, 2, 1)])).await;
    }
    let minute = |hours: i64, minutes: i64| hour(hours).plus_micros(minutes * 60 * SECOND_US);
    // Slots of five hours begin at 8:00, 13:00 and 18:00 UTC; the start is at noon.
    let five_hours = debits(&*store, hour(-10), 5 * HOUR_US).await;
    let newest = [(minute(4, 0), 2), (minute(4, 40), 2), (minute(5, 1), 2), (minute(5, 2), 2)];
    let with_newest = |older: &[(Timestamp, u64)]| [older, &newest].concat();
    assert_eq!(five_hours, with_newest(&[(minute(0, 50), 4), (minute(1, 30), 4)]));
    // Slots of an hour and a half begin at noon: the second hour lies in two of them.
    let shared_hour = debits(&*store, hour(-10), 3 * HOUR_US / 2).await;
    assert_eq!(shared_hour, with_newest(&[(minute(0, 50), 4), (minute(1, 30), 4)]), "no group is longer than a slot");
    let hourly = debits(&*store, minute(0, 30), HOUR_US).await;
    assert_eq!(
        hourly,
        with_newest(&[(minute(0, 50), 2), (minute(1, 30), 4)]),
        "the first hour counts from the lookback's start"
    );
}

async fn a_key_and_its_account_are_told_apart(store: Arc<dyn Store>) {
    store_new(&*store, &batch(1, at(10), vec![calls(1, 1, 3), calls(1, 2, 4), calls(2, 1, 100)])).await;
    store_new(&*store, &batch(2, hour(9), vec![calls(1, 2, 8)])).await;
    let quota = |used| Some(QuotaUse { period: march(), used });
    for resolution_us in [1, HOUR_US] {
        let query = SeedQuery { key: Some(key_id(1)), ..query(at(0), resolution_us) };
        let account = Spending {
            debits: vec![Debited { at: at(10), units: 7 }, Debited { at: hour(9), units: 8 }],
            quota: quota(15),
        };
        let key = Spending { debits: vec![Debited { at: at(10), units: 3 }], quota: quota(3) };
        let expected = Seed { since: at(0), account, key: Some((key_id(1), key)), meter: None, ledger_position: 4 };
        assert_eq!(store.seed(&query).await.expect("the store answers"), expected);
    }
}

async fn the_newest_period_is_the_open_one(store: Arc<dyn Store>) {
    store_new(&*store, &batch(1, at(10), vec![calls(1, 1, 3)])).await;
    assert_eq!(quota(&*store).await, Some(QuotaUse { period: march(), used: 3 }));
    store_new(&*store, &batch(2, april().start, vec![in_period(calls(1, 1, 5), april())])).await;
    assert_eq!(quota(&*store).await, Some(QuotaUse { period: april(), used: 5 }));
}

async fn a_call_that_outlived_its_period_does_not_reopen_it(store: Arc<dyn Store>) {
    store_new(&*store, &batch(1, april().start, vec![in_period(calls(1, 1, 5), april())])).await;
    let late = april().start.plus_micros(SECOND_US);
    store_new(&*store, &batch(2, late, vec![calls(1, 1, 3)])).await;
    assert_eq!(quota(&*store).await, Some(QuotaUse { period: april(), used: 5 }));
}

async fn a_changed_definition_carries_the_open_periods_use_over(store: Arc<dyn Store>) {
    let billing = Period { start: hour(100), end: hour(840) };
    assert!(billing.overlaps(&march()) && billing.overlaps(&april()));
    store_new(&*store, &batch(1, hour(50), vec![calls(1, 1, 3)])).await;
    store_new(&*store, &batch(2, hour(101), vec![in_period(calls(1, 1, 5), billing)])).await;
    assert_eq!(quota(&*store).await, Some(QuotaUse { period: billing, used: 8 }));
    let next = Period { start: billing.end, end: hour(1_580) };
    store_new(&*store, &batch(3, hour(841), vec![in_period(calls(1, 1, 2), next)])).await;
    assert_eq!(quota(&*store).await, Some(QuotaUse { period: next, used: 2 }));
}

async fn calls_that_cost_nothing_charge_nothing(store: Arc<dyn Store>) {
    let mut free = calls(1, 1, 0);
    free.tally.calls = 9;
    store_new(&*store, &batch(1, at(10), vec![free])).await;
    let seed = store.seed(&query(hour(-1), 1)).await.expect("the store answers");
    assert_eq!(seed.account, Spending::default());
}
