//! Meters: to the unit, each by itself, settled either way, and nothing of a call where one of them refuses.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tollgate_domain::limit::{AccountState, Charged, Debit, LimitLabel, Outcome, Quota, QuotaUse, Seed, Spending};
use tollgate_domain::{HOUR_US, MeterId, Period};

use crate::trace::{
    BucketRule, CALLS, Rules, START_US, Verdict, at, call, cases, debit, endless, hour_of, key_id, meter,
};

const NAMES: [&str; 2] = ["tokens", "images"];

/// What is counted: calls, or one of the meters.
type Unit = Option<usize>;

#[derive(Clone, Debug)]
enum Step {
    Call {
        meter: Unit,
        cost: u64,
    },
    /// Corrects what a call was charged, which is the so manieth of the latest.
    Settle {
        nth: usize,
        of: Unit,
        units: i64,
    },
    Charge {
        of: Unit,
        units: i64,
    },
    Limit {
        of: Unit,
        units: u64,
    },
    Pass {
        micros: i64,
    },
}

fn unit() -> impl Strategy<Value = Unit> {
    proptest::option::weighted(0.75, 0_usize..2)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (unit(), 0_u64..=6).prop_map(|(meter, cost)| Step::Call { meter, cost }),
        4 => (0_usize..6, unit(), -9_i64..=9).prop_map(|(nth, of, units)| Step::Settle { nth, of, units }),
        2 => (unit(), -9_i64..=20).prop_map(|(of, units)| Step::Charge { of, units }),
        1 => (unit(), 0_u64..=40).prop_map(|(of, units)| Step::Limit { of, units }),
        2 => (0_i64..=HOUR_US / 2).prop_map(|micros| Step::Pass { micros }),
        1 => (0_i64..=3 * HOUR_US).prop_map(|micros| Step::Pass { micros }),
    ];
    proptest::collection::vec(step, 1..=150)
}

fn charged(of: Unit) -> Charged {
    of.map_or(CALLS, |index| Charged::Meter(meter(NAMES[index])))
}

fn seed_of(id: MeterId, used: Option<QuotaUse>, ledger_position: u64) -> Seed {
    let told = Spending { debits: Vec::new(), quota: used };
    Seed { since: at(i64::MIN), account: Spending::default(), key: None, meter: Some((id, told)), ledger_position }
}

/// An account that has called nothing yet, with both meters.
fn unused(period: Period) -> AccountState {
    let limits = Rules::default().limits();
    let mut state = AccountState::fresh(&limits, period, at(START_US));
    for name in NAMES {
        let metered = Debit { meter: Some((meter(name), Quota::default())), ..call(&limits, period, 0) };
        state.seed(&metered, &seed_of(meter(name), None, 0), at(START_US));
    }
    state
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn calls_and_meters_are_kept_to_the_unit_each_by_itself(steps in steps()) {
        let mut state = unused(hour_of(START_US));
        let mut limits: BTreeMap<Unit, u64> = BTreeMap::from([(None, 60), (Some(0), 20), (Some(1), 15)]);
        let mut now_us = START_US;
        let mut admitted: Vec<Period> = Vec::new();
        // Used in each period, as one would add it up by hand.
        let mut ledger: BTreeMap<(Unit, Period), i64> = BTreeMap::new();
        for step in steps {
            let period = hour_of(now_us);
            match step {
                Step::Pass { micros } => now_us += micros,
                Step::Limit { of, units } => drop(limits.insert(of, units)),
                Step::Charge { of, units } => {
                    state.charge(charged(of), period, units, 1);
                    let used = ledger.entry((of, period)).or_default();
                    *used = (*used + units).max(0);
                }
                Step::Settle { nth, of, units } => {
                    let Some(charged_in) = admitted.iter().rev().nth(nth) else { continue };
                    state.settle(charged(of), *charged_in, units);
                    let used = ledger.entry((of, *charged_in)).or_default();
                    *used = (*used + units).max(0);
                }
                Step::Call { meter: by, cost } => {
                    let shared = Rules::only_quota(limits[&None]).limits();
                    let meter = by.map(|index| (meter(NAMES[index]), Quota { limit: Some(limits[&by]) }));
                    let (verdict, standing) =
                        debit(&mut state, &Debit { meter, ..call(&shared, period, cost) }, now_us);
                    let units = i64::try_from(cost).expect("a small number");
                    let fits = |of: Unit| {
                        let used = ledger.get(&(of, period)).copied().unwrap_or_default();
                        cost == 0 || used + units <= limits[&of].cast_signed()
                    };
                    let expected = if !fits(None) {
                        Some(LimitLabel::Quota)
                    } else if !fits(by) {
                        Some(LimitLabel::Meter)
                    } else {
                        None
                    };
                    match (verdict, expected) {
                        (Verdict::Admitted { period: charged_in }, None) => {
                            prop_assert_eq!(charged_in, period);
                            admitted.push(period);
                            for of in std::iter::once(None).chain(by.map(Some)) {
                                *ledger.entry((of, period)).or_default() += units;
                            }
                        }
                        (Verdict::Refused { by, wait_us }, Some(expected)) => {
                            prop_assert_eq!((by, wait_us), (expected, period.end.as_micros() - now_us));
                        }
                        unexpected => prop_assert!(false, "{:?}", unexpected),
                    }
                    let told: Vec<_> = standing.iter().map(|limit| (limit.label, limit.used.cast_signed())).collect();
                    let used = |of| ledger.get(&(of, period)).copied().unwrap_or_default();
                    let mut counted = vec![(LimitLabel::Quota, used(None))];
                    counted.extend(by.map(|_| (LimitLabel::Meter, used(by))));
                    prop_assert_eq!(told, counted);
                }
            }
        }
    }
}

#[test]
fn a_call_that_any_limit_refuses_debits_none() {
    let rate = tollgate_domain::Rate { count: 1, per: tollgate_domain::Unit::Hour };
    let bucket = |burst| Rules { bucket: Some(BucketRule { rate, burst }), ..Rules::default() };
    for (rules, tokens, by) in [
        (Rules { quota: Some(9), ..bucket(5) }, Some(9), LimitLabel::Burst),
        (Rules { quota: Some(5), ..bucket(9) }, Some(9), LimitLabel::Quota),
        (Rules { quota: Some(9), ..bucket(9) }, Some(5), LimitLabel::Meter),
        (Rules { quota: Some(5), ..bucket(9) }, None, LimitLabel::Quota),
    ] {
        let limits = rules.limits();
        let mut state = AccountState::fresh(&limits, endless(), at(START_US));
        let one = Debit { meter: Some((meter("tokens"), Quota { limit: tokens })), ..call(&limits, endless(), 5) };
        state.seed(&one, &seed_of(meter("tokens"), None, 0), at(START_US));
        let before = debit(&mut state, &Debit { cost: 0, ..one }, START_US);
        let Verdict::Refused { by: refuses, .. } = debit(&mut state, &Debit { cost: 6, ..one }, START_US).0 else {
            panic!("six are more than {by} allows");
        };
        assert_eq!(refuses, by);
        assert_eq!(debit(&mut state, &Debit { cost: 0, ..one }, START_US), before, "{by}");
        let (verdict, standing) = debit(&mut state, &one, START_US);
        assert!(verdict.is_admitted(), "{by}");
        assert!(standing.iter().all(|limit| limit.used == 5), "{by}: {standing:?}");
    }
}

#[test]
fn a_settling_may_pass_the_limit_and_the_next_call_waits_for_the_period() {
    let limits = Rules::only_quota(100).limits();
    let mut state = unused(hour_of(START_US));
    let one =
        Debit { meter: Some((meter("tokens"), Quota { limit: Some(10) })), ..call(&limits, hour_of(START_US), 1) };
    assert!(debit(&mut state, &one, START_US).0.is_admitted());
    state.settle(Charged::Meter(meter("tokens")), hour_of(START_US), 1_233);
    let (verdict, standing) = debit(&mut state, &one, START_US + 1);
    assert_eq!(verdict, Verdict::Refused { by: LimitLabel::Meter, wait_us: HOUR_US - 1 });
    assert_eq!((standing[1].used, standing[1].remaining, standing[0].used), (1_234, 0, 1));
    let next = Debit { period: hour_of(START_US + HOUR_US), ..one };
    let (verdict, standing) = debit(&mut state, &next, START_US + HOUR_US);
    assert!(verdict.is_admitted());
    assert_eq!(standing[1].used, 1);
    // What a call of the last period took is told late: that period is over.
    state.settle(Charged::Meter(meter("tokens")), hour_of(START_US), 9);
    assert_eq!(debit(&mut state, &next, START_US + HOUR_US).1[1].used, 2);
}

#[test]
fn a_meter_without_state_asks_for_it_and_goes_on_from_what_the_ledger_tells() {
    let limits = Rules::only_quota(100).limits();
    let period = hour_of(START_US);
    let mut state = AccountState::fresh(&limits, period, at(START_US));
    let one = Debit { meter: Some((meter("tokens"), Quota { limit: Some(10) })), ..call(&limits, period, 1) };
    assert_eq!(state.debit(&one, at(START_US)), Outcome::Unseeded);
    let other = seed_of(meter("images"), None, 7);
    state.seed(&one, &other, at(START_US));
    assert_eq!(state.debit(&one, at(START_US)), Outcome::Unseeded, "the ledger was asked for another one");
    let told = seed_of(meter("tokens"), Some(QuotaUse { period, used: 8 }), 7);
    state.seed(&one, &told, at(START_US));
    state.seed(&one, &seed_of(meter("tokens"), None, 9), at(START_US));
    let used = |state: &mut AccountState| debit(state, &Debit { cost: 0, ..one }, START_US).1[1].used;
    assert_eq!(used(&mut state), 8, "what is counted stays");
    state.charge(Charged::Meter(meter("tokens")), period, 3, 7);
    assert_eq!(used(&mut state), 8, "the ledger had it when it was read");
    state.charge(Charged::Meter(meter("tokens")), period, 1, 8);
    assert_eq!(used(&mut state), 9);
    assert_eq!(debit(&mut state, &call(&limits, period, 0), START_US).1[0].used, 0, "calls are counted apart");
    assert!(debit(&mut state, &one, START_US).0.is_admitted());
    assert!(!debit(&mut state, &one, START_US).0.is_admitted());
}

#[test]
fn a_meter_that_nothing_limits_is_counted_and_not_told() {
    let limits = Rules::only_quota(100).limits();
    let mut state = unused(endless());
    let counted = Debit { meter: Some((meter("tokens"), Quota::default())), ..call(&limits, endless(), 7) };
    let (verdict, standing) = debit(&mut state, &counted, START_US);
    assert!(verdict.is_admitted());
    assert_eq!(standing.len(), 1);
    let limited = Debit { meter: Some((meter("tokens"), Quota { limit: Some(10) })), cost: 0, ..counted };
    assert_eq!(debit(&mut state, &limited, START_US).1[1].used, 7, "a plan that limits it goes on from there");
}

#[test]
fn only_meters_that_nobody_has_called_since_are_forgotten() {
    let limits = Rules::only_quota(100).limits();
    let mut state = unused(endless());
    let by = |name| Debit { meter: Some((meter(name), Quota::default())), ..call(&limits, endless(), 1) };
    assert!(debit(&mut state, &by("tokens"), START_US + HOUR_US).0.is_admitted());
    state.forget_unused(at(START_US + 1), at(START_US + HOUR_US));
    assert_eq!(state.debit(&by("images"), at(START_US + HOUR_US)), Outcome::Unseeded);
    assert!(debit(&mut state, &by("tokens"), START_US + HOUR_US).0.is_admitted());
}

#[test]
fn units_of_calls_and_of_meters_are_charged_in_one_period() {
    let limits = Rules::only_quota(100).limits();
    let (last, next) = (hour_of(START_US), hour_of(START_US + HOUR_US));
    let mut state = AccountState::fresh(&limits, next, at(START_US + HOUR_US));
    let own = Rules::only_quota(5).limits();
    // The clock was set back behind the period that is open; meter and key are seeded from the ledger of the last one.
    let one = Debit {
        key: Some((key_id(1), &own)),
        meter: Some((meter("tokens"), Quota { limit: Some(10) })),
        ..call(&limits, last, 1)
    };
    let told = Spending { debits: Vec::new(), quota: Some(QuotaUse { period: last, used: 4 }) };
    let seed = Seed { key: Some((key_id(1), told.clone())), ..seed_of(meter("tokens"), told.quota, 0) };
    state.seed(&one, &seed, at(START_US));
    let (verdict, standing) = debit(&mut state, &one, START_US);
    assert_eq!(verdict, Verdict::Admitted { period: next });
    assert_eq!(standing.iter().map(|limit| limit.used).collect::<Vec<_>>(), [1, 1, 1]);
    state.settle(Charged::Meter(meter("tokens")), next, -1);
    state.settle(Charged::Calls { key: Some(key_id(1)) }, next, -1);
    let (_, standing) = debit(&mut state, &Debit { cost: 0, ..one }, START_US);
    assert_eq!(standing.iter().map(|limit| limit.used).collect::<Vec<_>>(), [0, 0, 0]);
}
