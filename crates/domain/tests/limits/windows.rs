//! Sliding windows: never more than the limit, and no refusal more than 1/256 of the length too long.

use proptest::prelude::*;
use tollgate_domain::limit::{AccountState, LimitLabel, SLICES, SLICES_MAX};
use tollgate_domain::{MINUTE_US, SECOND_US, Unit};

use crate::judge::{Spent, assert_window_holds, exact_log_admits_at};
use crate::trace::{Rules, START_US, Verdict, at, call, calls, cases, debit, endless, window_length, window_rules};

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn no_window_ever_holds_more_than_its_limit(windows in window_rules(), calls in calls(150)) {
        let limits = Rules::only_windows(&windows).limits();
        let mut state = AccountState::fresh(&limits, endless(), at(START_US));
        let mut now_us = START_US;
        let mut spent = Vec::new();
        for (gap_us, cost) in calls {
            now_us += gap_us;
            if debit(&mut state, &call(&limits, endless(), cost), now_us).0.is_admitted() {
                spent.push(Spent { at_us: now_us, units: cost });
            }
        }
        for (limit, length) in windows {
            assert_window_holds(&spent, limit, length.micros());
        }
    }

    #[test]
    fn a_refusal_lasts_at_most_a_256th_of_the_window_too_long(
        limit in 1_u64..=30,
        length in window_length(),
        calls in calls(150),
    ) {
        let limits = Rules::only_windows(&[(limit, length)]).limits();
        let mut state = AccountState::fresh(&limits, endless(), at(START_US));
        let mut now_us = START_US;
        let mut spent: Vec<Spent> = Vec::new();
        for (gap_us, cost) in calls {
            now_us += gap_us;
            let exact = exact_log_admits_at(&spent, limit, length.micros(), cost, now_us);
            match debit(&mut state, &call(&limits, endless(), cost), now_us).0 {
                Verdict::Admitted { .. } => spent.push(Spent { at_us: now_us, units: cost }),
                Verdict::Refused { by, wait_us } => {
                    prop_assert_eq!(by, LimitLabel::Window(length));
                    match exact {
                        Some(at_us) => prop_assert!(
                            (at_us..=at_us + length.micros() / SLICES).contains(&(now_us + wait_us)),
                            "told to come at {}, an exact log has room at {}", now_us + wait_us, at_us
                        ),
                        None => prop_assert!(cost > limit),
                    }
                }
            }
        }
    }

    #[test]
    fn a_window_never_holds_more_slices_than_it_is_cut_into(
        length in window_length(),
        offset_us in 0_i64..MINUTE_US,
        step_us in 1_i64..SECOND_US / 64,
    ) {
        let limits = Rules::only_windows(&[(u64::from(u32::MAX), length)]).limits();
        let start_us = START_US + offset_us;
        let mut state = AccountState::fresh(&limits, endless(), at(start_us));
        let step_us = (step_us * length.micros() / SECOND_US).max(1);
        for number in 0..600 {
            debit(&mut state, &call(&limits, endless(), 1), start_us + number * step_us);
            let slices = state.rates().next().map_or(0, |(_, _, windows)| windows[0].slices().count());
            prop_assert!(slices <= SLICES_MAX, "{} slices", slices);
        }
    }
}

#[test]
fn two_full_windows_never_meet_at_an_edge() {
    let limits = Rules::only_windows(&[(10, Unit::Minute)]).limits();
    let mut state = AccountState::fresh(&limits, endless(), at(START_US));
    let mut admitted_at = |now_us: i64| {
        (0..10).filter(|_| debit(&mut state, &call(&limits, endless(), 1), now_us).0.is_admitted()).count()
    };
    assert_eq!(admitted_at(START_US + MINUTE_US - 1), 10);
    assert_eq!(admitted_at(START_US + MINUTE_US), 0);
    assert_eq!(admitted_at(START_US + 2 * MINUTE_US - 2), 0);
    assert_eq!(admitted_at(START_US + 2 * MINUTE_US - 1), 10);
}
