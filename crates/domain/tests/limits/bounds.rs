//! Numbers at the edge of what may be counted: nothing overflows, and what is promised holds there too.

use proptest::prelude::*;
use tollgate_domain::limit::{
    AccountState, Bucket, BucketState, Debited, OutOfBounds, QuotaUse, Seed, Spending, UNITS_MAX, WindowState,
};
use tollgate_domain::{DAY_US, Period, Rate, Unit};

use crate::judge::{Spent, assert_bucket_holds, assert_window_holds};
use crate::trace::{BucketRule, CALLS, Rules, START_US, at, call, cases, debit, endless, gap_us, given_back};

fn units() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(1_u64),
        2 => Just(UNITS_MAX),
        1 => Just(UNITS_MAX - 1),
        1 => Just(UNITS_MAX + 1),
        2 => Just(UNITS_MAX / 2),
        1 => Just(u64::MAX),
        2 => any::<u64>(),
        2 => 0..=UNITS_MAX,
    ]
}

fn limit() -> impl Strategy<Value = u64> {
    prop_oneof![Just(UNITS_MAX), Just(UNITS_MAX - 1), 0..=UNITS_MAX]
}

/// The largest burst that a rate goes with, or one near it.
fn largest_bucket() -> impl Strategy<Value = BucketRule> {
    let rate = (prop_oneof![Just(1_u64), Just(999_983), Just(1_000_000), Just(UNITS_MAX)], crate::trace::unit());
    (rate, 0_u64..3).prop_map(|((count, per), below)| {
        let rate = Rate { count, per };
        let micros = Bucket::new(rate, 1).map_or(UNITS_MAX, |bucket| bucket.micros());
        BucketRule { rate, burst: (UNITS_MAX / micros).saturating_sub(below).max(1) }
    })
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn the_promises_hold_at_the_largest_numbers(
        bucket in largest_bucket(),
        window in limit(),
        quota in limit(),
        calls in proptest::collection::vec((prop_oneof![gap_us(), 0..=400 * DAY_US], units()), 1..60),
    ) {
        prop_assume!(Bucket::new(bucket.rate, bucket.burst).is_ok());
        for rules in [
            Rules { bucket: Some(bucket), ..Rules::default() },
            Rules::only_windows(&[(window, Unit::Minute)]),
            Rules::only_quota(quota),
            Rules { bucket: Some(bucket), windows: vec![(window, Unit::Day)], quota: Some(quota) },
        ] {
            let limits = rules.limits();
            let mut state = AccountState::fresh(&limits, endless(), at(START_US));
            let mut now_us = START_US;
            let mut spent = Vec::new();
            for (gap_us, cost) in &calls {
                now_us += gap_us;
                if debit(&mut state, &call(&limits, endless(), *cost), now_us).0.is_admitted() {
                    spent.push(Spent { at_us: now_us, units: *cost });
                }
            }
            if let Some(bucket) = rules.bucket {
                assert_bucket_holds(&spent, bucket.rate, bucket.burst);
            }
            for (limit, length) in &rules.windows {
                assert_window_holds(&spent, *limit, length.micros());
            }
            let used: u128 = spent.iter().map(|spent| u128::from(spent.units)).sum();
            prop_assert!(rules.quota.is_none_or(|limit| used <= u128::from(limit)));
        }
    }

    #[test]
    fn no_instant_and_no_number_a_ledger_may_hold_overflows(
        instants in proptest::collection::vec(any::<i64>(), 1..20),
        debits in proptest::collection::vec((any::<i64>(), units()), 0..20),
        used in units(),
        cost in units(),
    ) {
        let rules = Rules {
            bucket: Some(BucketRule { rate: Rate { count: 7, per: Unit::Second }, burst: 70 }),
            windows: vec![(1_000, Unit::Minute), (UNITS_MAX, Unit::Day)],
            quota: Some(u64::MAX),
        };
        let limits = rules.limits();
        let period = Period { start: at(instants[0]), end: at(instants[0]) + DAY_US };
        let mut debits: Vec<_> = debits.into_iter().map(|(micros, units)| Debited { at: at(micros), units }).collect();
        debits.sort_by_key(|debited| debited.at);
        let seed = Seed {
            since: at(i64::MIN),
            account: Spending { debits, quota: Some(QuotaUse { period, used }) },
            key: None,
            meter: None,
            ledger_position: 0,
        };
        let mut state = AccountState::default();
        for instant in instants {
            let demand = call(&limits, Period { start: at(instant), end: at(instant) + DAY_US }, cost);
            state.seed(&demand, &seed, at(instant));
            let (_, standing) = debit(&mut state, &demand, instant);
            prop_assert!(standing.iter().all(|limit| limit.remaining <= limit.limit));
            state.charge(CALLS, demand.period, i64::try_from(cost).unwrap_or(i64::MAX), 1);
            state.settle(CALLS, demand.period, given_back(cost / 2));
            state.is_idle(at(instant));
        }
    }

    #[test]
    fn a_window_that_was_overfilled_while_it_had_no_limit_empties_again(
        debits in proptest::collection::vec((0_i64..1_000_000, units()), 1..40),
        limit in 1..=UNITS_MAX,
    ) {
        let limits = Rules::only_windows(&[(limit, Unit::Minute)]).limits();
        let mut window = WindowState::empty(Unit::Minute);
        let mut now_us = START_US;
        for (gap_us, units) in debits {
            now_us += gap_us;
            window.add(units, at(now_us));
        }
        let mut state = AccountState::fresh(&limits, endless(), at(START_US));
        state.restore_rates(None, None, vec![window], at(now_us));
        now_us += Unit::Minute.micros();
        let (verdict, standing) = debit(&mut state, &call(&limits, endless(), 1), now_us);
        prop_assert!(verdict.is_admitted());
        prop_assert_eq!(standing[0].used, 1);
    }
}

#[test]
fn a_bucket_that_could_not_be_counted_exactly_is_refused() {
    let burst_max = |count, per| {
        let micros = Bucket::new(Rate { count, per }, 1).expect("a burst of one is in bounds").micros();
        UNITS_MAX / micros
    };
    for (count, per) in [(1, Unit::Second), (999_983, Unit::Minute), (1, Unit::Day), (600, Unit::Minute)] {
        let (rate, most) = (Rate { count, per }, burst_max(count, per));
        assert!(Bucket::new(rate, most).is_ok(), "{rate}");
        assert_eq!(Bucket::new(rate, most + 1), Err(OutOfBounds::Burst { burst: most + 1, rate }));
        assert!(Bucket::new(rate, u64::MAX).is_err(), "{rate}");
    }
    let rate = Rate { count: UNITS_MAX + 1, per: Unit::Second };
    assert!(Bucket::new(rate, 1).is_err());
}

#[test]
fn a_bucket_is_read_back_only_from_parts_it_can_have_been_written_as() {
    let bucket = Bucket::new(Rate { count: 600, per: Unit::Minute }, 60).expect("in bounds");
    let parts = |bucket: Bucket| (bucket.tokens(), bucket.micros(), bucket.burst());
    assert_eq!(parts(bucket), (1, 100_000, 60));
    assert_eq!(Bucket::from_parts(1, 100_000, 60), Some(bucket));
    let none = Bucket::new(Rate { count: 0, per: Unit::Day }, 3).expect("in bounds");
    assert_eq!(Bucket::from_parts(none.tokens(), none.micros(), none.burst()), Some(none));
    for (tokens, micros, burst) in [(1, 0, 1), (2, 4, 1), (1, UNITS_MAX, 2), (UNITS_MAX + 1, 1, 1), (1, 2, u64::MAX)] {
        assert_eq!(Bucket::from_parts(tokens, micros, burst), None, "{tokens}/{micros} {burst}");
    }
    assert_eq!(BucketState::with_level(bucket, u64::MAX, at(0)).level(), 6_000_000);
}

#[test]
fn a_quota_that_ends_where_numbers_end_is_not_passed_either() {
    let limits = Rules::only_quota(u64::MAX).limits();
    let mut state = AccountState::fresh(&limits, endless(), at(START_US));
    for _ in 0..2 {
        // Twice the largest signed number is two short of where unsigned ones end.
        state.charge(CALLS, endless(), i64::MAX, 1);
    }
    assert!(!debit(&mut state, &call(&limits, endless(), 2), START_US).0.is_admitted());
    assert!(debit(&mut state, &call(&limits, endless(), 1), START_US).0.is_admitted());
    assert!(!debit(&mut state, &call(&limits, endless(), 1), START_US).0.is_admitted());
}
