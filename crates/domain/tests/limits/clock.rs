//! Clocks that are late or set back: nothing is given twice, nothing goes below zero.

use proptest::prelude::*;
use tollgate_domain::limit::{AccountState, LimitLabel, LimitSet, Seed};
use tollgate_domain::{HOUR_US, Period, Rate, SECOND_US, Unit};

use crate::judge::{Spent, assert_bucket_holds, assert_window_holds};
use crate::restart::{Line, spending};
use crate::trace::{BucketRule, Rules, START_US, Verdict, at, call, calls, cases, cost, debit, gap_us, hour_of, rules};

/// How late a reader of the clock may be and still be taken for one.
const LATE_US_MAX: i64 = 10 * SECOND_US;

/// What the clock does between two calls besides going on.
fn jump_us() -> impl Strategy<Value = i64> {
    prop_oneof![
        12 => Just(0_i64),
        2 => 1_i64..=LATE_US_MAX,
        1 => LATE_US_MAX..=2 * HOUR_US,
        1 => Just(HOUR_US),
    ]
}

/// Calls as gap, cost and jump.
fn jumpy_calls() -> impl Strategy<Value = Vec<(i64, u64, i64)>> {
    proptest::collection::vec((gap_us(), cost(), jump_us()), 1..=100)
}

/// Charged per period at most the quota, and no period comes back once the next has begun.
fn assert_no_quota_given_twice(charged: &[(Period, u64)], limit: u64) {
    for (index, (period, _)) in charged.iter().enumerate() {
        let used: u64 = charged[..=index].iter().filter(|other| other.0 == *period).map(|other| other.1).sum();
        assert!(used <= limit, "{used} units charged in {period:?}");
        assert!(index == 0 || charged[index - 1].0 <= *period, "a period came back");
    }
}

fn rebuilt(limits: &LimitSet, lines: &[Line], clock_us: i64) -> AccountState {
    let mut lines = lines.to_vec();
    lines.sort_by_key(|line| line.0);
    let since_us = clock_us - limits.lookback_us();
    let seed = Seed {
        since: at(since_us),
        account: spending(&lines, since_us, i64::MAX),
        key: None,
        meter: None,
        ledger_position: 0,
    };
    let mut state = AccountState::default();
    state.seed(&call(limits, hour_of(clock_us), 1), &seed, at(clock_us));
    state
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn setting_the_clock_back_lets_no_more_in_than_true_time_allows(
        rules in rules(),
        calls in jumpy_calls(),
        restarts in proptest::collection::vec(0_u8..20, 100),
    ) {
        let limits = rules.limits();
        let mut state = AccountState::fresh(&limits, hour_of(START_US), at(START_US));
        let (mut true_us, mut clock_us) = (START_US, START_US);
        let (mut spent, mut lines, mut charged) = (Vec::new(), Vec::new(), Vec::new());
        for ((gap_us, cost, back_us), restart) in calls.into_iter().zip(restarts) {
            true_us += gap_us;
            clock_us += gap_us - back_us;
            if restart == 0 {
                state = rebuilt(&limits, &lines, clock_us);
            }
            let (verdict, standing) = debit(&mut state, &call(&limits, hour_of(clock_us), cost), clock_us);
            prop_assert!(standing.iter().all(|limit| limit.remaining <= limit.limit && limit.reset_us >= 0));
            if let Verdict::Admitted { period } = verdict && cost > 0 {
                spent.push(Spent { at_us: true_us, units: cost });
                lines.push((clock_us, cost, period));
                charged.push((period, cost));
            }
        }
        if let Some(bucket) = rules.bucket {
            assert_bucket_holds(&spent, bucket.rate, bucket.burst);
        }
        for (limit, length) in &rules.windows {
            assert_window_holds(&spent, *limit, length.micros());
        }
        assert_no_quota_given_twice(&charged, rules.quota.unwrap_or(u64::MAX));
    }

    #[test]
    fn a_clock_that_jumps_either_way_gives_no_quota_twice(
        rules in rules(),
        calls in proptest::collection::vec((gap_us(), cost(), -2 * HOUR_US..=2 * HOUR_US), 1..=100),
    ) {
        let limits = rules.limits();
        let mut state = AccountState::fresh(&limits, hour_of(START_US), at(START_US));
        let mut clock_us = START_US;
        let mut charged = Vec::new();
        for (gap_us, cost, jump_us) in calls {
            clock_us += gap_us + jump_us;
            let (verdict, standing) = debit(&mut state, &call(&limits, hour_of(clock_us), cost), clock_us);
            prop_assert!(standing.iter().all(|limit| limit.remaining <= limit.limit && limit.reset_us >= 0));
            match verdict {
                Verdict::Admitted { period } if cost > 0 => charged.push((period, cost)),
                Verdict::Admitted { .. } => {}
                Verdict::Refused { wait_us, .. } => prop_assert!(wait_us > 0),
            }
        }
        assert_no_quota_given_twice(&charged, rules.quota.unwrap_or(u64::MAX));
    }

    #[test]
    fn callers_that_read_the_clock_too_early_gain_nothing_by_it(
        rules in rules(),
        calls in calls(120),
        late_us in proptest::collection::vec(prop_oneof![Just(0_i64), 0..=LATE_US_MAX], 120),
    ) {
        let limits = rules.limits();
        let mut state = AccountState::fresh(&limits, hour_of(START_US), at(START_US));
        let (mut true_us, mut newest_us) = (START_US, START_US);
        let mut spent = Vec::new();
        for ((gap_us, cost), late_us) in calls.into_iter().zip(late_us) {
            true_us += gap_us;
            let read_us = true_us - late_us;
            newest_us = newest_us.max(read_us);
            if debit(&mut state, &call(&limits, hour_of(read_us), cost), read_us).0.is_admitted() {
                spent.push(Spent { at_us: newest_us, units: cost });
            }
        }
        if let Some(bucket) = rules.bucket {
            assert_bucket_holds(&spent, bucket.rate, bucket.burst);
        }
        for (limit, length) in &rules.windows {
            assert_window_holds(&spent, *limit, length.micros());
        }
    }
}

#[test]
fn a_caller_with_an_early_reading_is_told_a_wait_by_its_own_clock() {
    let rules = [
        (Rules::only_bucket(BucketRule { rate: Rate { count: 60, per: Unit::Minute }, burst: 5 }), LimitLabel::Burst),
        (Rules::only_windows(&[(5, Unit::Minute)]), LimitLabel::Window(Unit::Minute)),
        (Rules::only_quota(5), LimitLabel::Quota),
    ];
    for (rules, label) in rules {
        let limits = rules.limits();
        let mut state = AccountState::fresh(&limits, hour_of(START_US), at(START_US));
        assert!(debit(&mut state, &call(&limits, hour_of(START_US), 5), START_US + 9 * SECOND_US).0.is_admitted());
        let read_us = START_US + SECOND_US;
        let verdict = debit(&mut state, &call(&limits, hour_of(read_us), 1), read_us).0;
        let Verdict::Refused { by, wait_us } = verdict else { panic!("{verdict:?}") };
        assert_eq!(by, label);
        for (when_us, admitted) in [(read_us + wait_us - 1, false), (read_us + wait_us, true)] {
            let mut alone = state.clone();
            let verdict = debit(&mut alone, &call(&limits, hour_of(when_us), 1), when_us).0;
            assert_eq!(verdict.is_admitted(), admitted, "{label} at {when_us}");
        }
    }
}

#[test]
fn a_ledger_written_before_the_clock_was_set_back_does_not_hold_the_bucket_back() {
    let rule = BucketRule { rate: Rate { count: 60, per: Unit::Minute }, burst: 10 };
    let limits = Rules { windows: vec![(100, Unit::Minute)], ..Rules::only_bucket(rule) }.limits();
    let mut state = rebuilt(&limits, &[(START_US + HOUR_US, 8, hour_of(START_US))], START_US);
    let mut remaining = |now_us| {
        debit(&mut state, &call(&limits, hour_of(now_us), 0), now_us)
            .1
            .iter()
            .map(|limit| limit.remaining)
            .collect::<Vec<_>>()
    };
    assert_eq!(remaining(START_US), [2, 92]);
    assert_eq!(remaining(START_US + 3 * SECOND_US), [5, 92]);
    assert_eq!(remaining(START_US + 60 * SECOND_US), [10, 100]);
}

#[test]
fn after_the_clock_was_set_back_windows_empty_and_buckets_fill_from_then_on() {
    let rate = Rate { count: 3, per: Unit::Minute };
    for rules in [Rules::only_windows(&[(3, Unit::Minute)]), Rules::only_bucket(BucketRule { rate, burst: 3 })] {
        let limits = rules.limits();
        let mut state = AccountState::fresh(&limits, hour_of(START_US), at(START_US));
        let mut is_admitted = |now_us| debit(&mut state, &call(&limits, hour_of(START_US), 3), now_us).0.is_admitted();
        assert!(is_admitted(START_US));
        assert!(!is_admitted(START_US - HOUR_US));
        assert!(!is_admitted(START_US - HOUR_US + 60 * SECOND_US - 1));
        assert!(is_admitted(START_US - HOUR_US + 60 * SECOND_US));
    }
}

#[test]
fn a_limit_seeded_at_an_early_reading_does_not_fill_for_the_time_between() {
    let before = Rules::only_quota(100).limits();
    let rate = Rate { count: 60, per: Unit::Minute };
    let after =
        Rules { windows: vec![(20, Unit::Minute)], ..Rules::only_bucket(BucketRule { rate, burst: 10 }) }.limits();
    let period = hour_of(START_US);
    let mut state = AccountState::fresh(&before, period, at(START_US));
    let newest_us = START_US + 9 * SECOND_US;
    assert!(debit(&mut state, &call(&before, period, 8), newest_us).0.is_admitted());
    // The ledger has the call at the early clock's time, which is when it was counted there.
    let (read_us, since_us) = (START_US, START_US - after.lookback_us());
    let seed = Seed {
        since: at(since_us),
        account: spending(&[(read_us, 8, period)], since_us, read_us),
        key: None,
        meter: None,
        ledger_position: 0,
    };
    state.seed(&call(&after, period, 1), &seed, at(read_us));
    let remaining = |state: &mut AccountState, now_us| {
        let standing = debit(state, &call(&after, period, 0), now_us).1;
        standing.iter().map(|limit| limit.remaining).collect::<Vec<_>>()
    };
    assert_eq!(remaining(&mut state, read_us), [2, 12]);
    assert_eq!(remaining(&mut state, newest_us), [2, 12]);
    assert_eq!(remaining(&mut state, newest_us + SECOND_US), [3, 12]);
    assert_eq!(remaining(&mut state, newest_us + 60 * SECOND_US - 1), [10, 12]);
}
