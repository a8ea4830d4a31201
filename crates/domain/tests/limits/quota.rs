//! Quota: to the unit, per period, refunds into the period they were charged in and never below zero.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tollgate_domain::limit::{AccountState, LimitLabel, QuotaUse, Seed, Spending};
use tollgate_domain::{HOUR_US, MINUTE_US, Period, PeriodBasis, QuotaPeriod, Timestamp};

use crate::trace::{CALLS, Rules, START_US, Verdict, at, call, cases, debit, endless, given_back, hour_of};

#[derive(Clone, Debug)]
enum Step {
    Call {
        cost: u64,
    },
    /// Gives back units of the admitted call with this number, counted from the newest.
    Refund {
        back: usize,
        units: u64,
    },
    Charge {
        units: u64,
    },
    Limit {
        units: u64,
    },
    Pass {
        micros: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_u64..=6).prop_map(|cost| Step::Call { cost }),
        3 => (0_usize..6, 0_u64..=9).prop_map(|(back, units)| Step::Refund { back, units }),
        1 => (0_u64..=20).prop_map(|units| Step::Charge { units }),
        1 => (0_u64..=40).prop_map(|units| Step::Limit { units }),
        2 => (0_i64..=HOUR_US / 2).prop_map(|micros| Step::Pass { micros }),
        1 => (0_i64..=3 * HOUR_US).prop_map(|micros| Step::Pass { micros }),
    ];
    proptest::collection::vec(step, 1..=150)
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn quota_is_kept_to_the_unit_through_refunds_charges_changes_and_periods(steps in steps()) {
        let mut limit = 20;
        let mut state = AccountState::fresh(&Rules::only_quota(limit).limits(), hour_of(START_US), at(START_US));
        let mut now_us = START_US;
        let mut admitted: Vec<Period> = Vec::new();
        // Used in each period, as one would add it up by hand.
        let mut ledger: BTreeMap<Period, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Pass { micros } => now_us += micros,
                Step::Limit { units } => limit = units,
                Step::Charge { units } => {
                    state.charge(CALLS, hour_of(now_us), i64::try_from(units).expect("a small number"), 1);
                    *ledger.entry(hour_of(now_us)).or_default() += units;
                }
                Step::Refund { back, units } => {
                    if let Some(period) = admitted.iter().rev().nth(back) {
                        state.settle(CALLS, *period, given_back(units));
                        let used = ledger.get_mut(period).expect("a call was charged there");
                        *used = used.saturating_sub(units);
                    }
                }
                Step::Call { cost } => {
                    let limits = Rules::only_quota(limit).limits();
                    let used = ledger.entry(hour_of(now_us)).or_default();
                    let fits = cost == 0 || *used + cost <= limit;
                    let (verdict, standing) = debit(&mut state, &call(&limits, hour_of(now_us), cost), now_us);
                    prop_assert_eq!(verdict.is_admitted(), fits, "{} used of {}, cost {}", used, limit, cost);
                    if let Verdict::Refused { by, wait_us } = verdict {
                        prop_assert_eq!((by, wait_us), (LimitLabel::Quota, hour_of(now_us).end.as_micros() - now_us));
                    } else {
                        *used += cost;
                        admitted.push(hour_of(now_us));
                    }
                    prop_assert_eq!(standing[0].used, *used);
                    prop_assert_eq!(standing[0].remaining, limit.saturating_sub(*used));
                }
            }
        }
    }
}

#[test]
fn a_refund_leaves_bucket_and_windows_as_they_are() {
    let rules = Rules { windows: vec![(5, tollgate_domain::Unit::Minute)], quota: Some(5), ..Rules::default() };
    let limits = rules.limits();
    let mut state = AccountState::fresh(&limits, endless(), at(START_US));
    assert!(debit(&mut state, &call(&limits, endless(), 5), START_US).0.is_admitted());
    state.settle(CALLS, endless(), -5);
    let (_, standing) = debit(&mut state, &call(&limits, endless(), 0), START_US);
    assert_eq!(standing.iter().map(|limit| limit.used).collect::<Vec<_>>(), [5, 0]);
}

#[test]
fn a_late_caller_neither_reopens_the_last_period_nor_starts_the_next_one_twice() {
    let limits = Rules::only_quota(3).limits();
    let (last, next) = (hour_of(START_US), hour_of(START_US + HOUR_US));
    let mut state = AccountState::fresh(&limits, last, at(START_US));
    let mut admitted =
        |period: Period, after_us: i64| match debit(&mut state, &call(&limits, period, 1), START_US + after_us).0 {
            Verdict::Admitted { period } => Some(period),
            Verdict::Refused { .. } => None,
        };
    assert_eq!(admitted(last, HOUR_US - 1), Some(last));
    assert_eq!(admitted(next, HOUR_US), Some(next));
    assert_eq!(admitted(last, HOUR_US - 1), Some(next));
    assert_eq!(admitted(next, HOUR_US + 1), Some(next));
    assert_eq!(admitted(next, HOUR_US + 2), None);
    assert_eq!(admitted(last, HOUR_US - 1), None);
}

#[test]
fn what_is_charged_before_a_periods_first_call_counts_in_it() {
    let limits = Rules::only_quota(10).limits();
    let mut state = AccountState::fresh(&limits, hour_of(START_US), at(START_US));
    assert!(debit(&mut state, &call(&limits, hour_of(START_US), 9), START_US).0.is_admitted());
    let next_us = START_US + HOUR_US + MINUTE_US;
    state.charge(CALLS, hour_of(next_us), 8, 1);
    assert!(!debit(&mut state, &call(&limits, hour_of(next_us), 3), next_us).0.is_admitted());
    assert!(debit(&mut state, &call(&limits, hour_of(next_us), 2), next_us).0.is_admitted());
}

#[test]
fn a_changed_definition_carries_the_open_periods_use_over() {
    let basis = |definition| PeriodBasis {
        definition,
        subscription: None,
        rolling_anchor: Timestamp::parse("2026-01-10T06:30:00Z").expect("a time"),
    };
    let limits = Rules::only_quota(10).limits();
    let start_us = Timestamp::parse("2026-03-05").expect("a day").as_micros();
    let definitions = [QuotaPeriod::Billing, QuotaPeriod::Calendar, QuotaPeriod::Rolling30Days];
    for from in definitions {
        for to in definitions {
            let (old, new) = (basis(from).period_at(at(start_us)), basis(to).period_at(at(start_us)));
            let mut state = AccountState::fresh(&limits, old, at(start_us));
            assert!(debit(&mut state, &call(&limits, old, 7), start_us).0.is_admitted());
            let (verdict, standing) = debit(&mut state, &call(&limits, new, 4), start_us);
            assert!(!verdict.is_admitted(), "{from:?} to {to:?}");
            assert_eq!(standing[0].used, 7, "{from:?} to {to:?}");
            // A call of before the change is given back although the period has another shape now.
            state.settle(CALLS, old, -1);
            assert!(debit(&mut state, &call(&limits, new, 4), start_us).0.is_admitted(), "{from:?} to {to:?}");
            let after_us = new.end.as_micros();
            let later = basis(to).period_at(at(after_us));
            assert!(debit(&mut state, &call(&limits, later, 10), after_us).0.is_admitted(), "{from:?} to {to:?}");
        }
    }
}

#[test]
fn an_entry_that_the_seed_has_told_is_not_charged_again() {
    let limits = Rules::only_quota(100).limits();
    let period = hour_of(START_US);
    let quota = Some(QuotaUse { period, used: 40 });
    let seed = Seed {
        since: at(0),
        account: Spending { debits: Vec::new(), quota },
        key: None,
        meter: None,
        ledger_position: 7,
    };
    let mut state = AccountState::default();
    state.seed(&call(&limits, period, 1), &seed, at(START_US));
    state.charge(CALLS, period, 40, 7);
    assert_eq!(state.quota().map(|quota| quota.used), Some(40), "the ledger had it when it was read");
    state.charge(CALLS, period, 5, 8);
    state.charge(CALLS, period, -2, 9);
    assert_eq!(state.quota().map(|quota| quota.used), Some(43), "what came later is news");
}
