//! Several limits at once: all or nothing, the longest refusal speaks, and who obeys it gets in, no later than needed.

use proptest::prelude::*;
use tollgate_domain::limit::{AccountState, Debit, LimitSet, Seed, Spending};
use tollgate_domain::{HOUR_US, KeyId, Period, Unit};

use crate::judge::{Spent, assert_bucket_holds, assert_window_holds};
use crate::trace::{Rules, START_US, Verdict, at, cases, cost, debit, gap_us, hour_of, key_id, rules};

/// An account with two keys that have limits of their own, and calls without.
#[derive(Clone, Debug)]
struct Account {
    shared: Rules,
    keys: [Rules; 2],
}

impl Account {
    fn limits(&self) -> (LimitSet, [LimitSet; 2]) {
        (self.shared.limits(), self.keys.each_ref().map(Rules::limits))
    }
}

fn account() -> impl Strategy<Value = Account> {
    (rules(), rules(), rules()).prop_map(|(shared, first, second)| Account { shared, keys: [first, second] })
}

/// Calls as the key that makes them (two has no limits of its own), gap and cost.
fn calls() -> impl Strategy<Value = Vec<(usize, i64, u64)>> {
    proptest::collection::vec((0_usize..3, gap_us(), cost()), 1..=100)
}

fn numbered(index: usize) -> KeyId {
    key_id(u8::try_from(index).expect("three keys"))
}

fn demand(limits: &(LimitSet, [LimitSet; 2]), key: usize, period: Period, cost: u64) -> Debit<'_> {
    let own = limits.1.get(key).map(|own| (numbered(key), own));
    Debit { limits: &limits.0, key: own, period, cost }
}

/// A state in which the account and both keys have never called.
fn unused(limits: &(LimitSet, [LimitSet; 2])) -> AccountState {
    let period = hour_of(START_US);
    let mut state = AccountState::fresh(&limits.0, period, at(START_US));
    for key in 0..2 {
        let seed = Seed {
            since: at(i64::MIN),
            account: Spending::default(),
            key: Some((numbered(key), Spending::default())),
            ledger_position: 0,
        };
        state.seed(&demand(limits, key, period, 0), &seed, at(START_US));
    }
    state
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn no_limit_of_account_or_key_is_ever_passed(account in account(), calls in calls()) {
        let limits = account.limits();
        let mut state = unused(&limits);
        let mut now_us = START_US;
        let mut admitted: Vec<(usize, Spent, Period)> = Vec::new();
        for (key, gap_us, cost) in calls {
            now_us += gap_us;
            let verdict = debit(&mut state, &demand(&limits, key, hour_of(now_us), cost), now_us).0;
            if let Verdict::Admitted { period } = verdict {
                admitted.push((key, Spent { at_us: now_us, units: cost }, period));
            }
        }
        let judged = [(&account.shared, 0..=2), (&account.keys[0], 0..=0), (&account.keys[1], 1..=1)];
        for (rules, keys) in judged {
            let own: Vec<_> = admitted.iter().filter(|(key, ..)| keys.contains(key)).collect();
            let spent: Vec<Spent> = own.iter().map(|(_, spent, _)| *spent).collect();
            if let Some(bucket) = rules.bucket {
                assert_bucket_holds(&spent, bucket.rate, bucket.burst);
            }
            for (limit, length) in &rules.windows {
                assert_window_holds(&spent, *limit, length.micros());
            }
            for (_, spent, period) in &own {
                prop_assert!(period.contains(at(spent.at_us)));
                let used: u64 = own.iter().filter(|other| other.2 == *period).map(|other| other.1.units).sum();
                prop_assert!(rules.quota.is_none_or(|limit| used <= limit));
            }
        }
    }

    #[test]
    fn refused_calls_and_calls_for_nothing_leave_no_trace(account in account(), calls in calls()) {
        let limits = account.limits();
        let (mut with_all, mut with_admitted) = (unused(&limits), unused(&limits));
        let mut now_us = START_US;
        for (key, gap_us, cost) in calls {
            now_us += gap_us;
            let demand = demand(&limits, key, hour_of(now_us), cost);
            let answer = debit(&mut with_all, &demand, now_us);
            if answer.0.is_admitted() && cost > 0 {
                prop_assert_eq!(debit(&mut with_admitted, &demand, now_us), answer);
            }
        }
        for key in 0..3 {
            let nothing = demand(&limits, key, hour_of(now_us), 0);
            prop_assert_eq!(debit(&mut with_all, &nothing, now_us), debit(&mut with_admitted, &nothing, now_us));
        }
    }

    #[test]
    fn a_lone_caller_that_obeys_is_let_in_and_one_that_comes_earlier_is_not(account in account(), calls in calls()) {
        let limits = account.limits();
        let mut state = unused(&limits);
        let mut now_us = START_US;
        for (key, gap_us, cost) in calls {
            now_us += gap_us;
            let verdict = debit(&mut state, &demand(&limits, key, hour_of(now_us), cost), now_us).0;
            let Verdict::Refused { wait_us, .. } = verdict else { continue };
            prop_assert!(wait_us > 0);
            let sets = std::iter::once(&account.shared).chain(account.keys.get(key));
            let can_pass = sets.clone().all(|rules| {
                let tokens = rules.bucket.map_or(u64::MAX, |bucket| if bucket.rate.count == 0 { 0 } else { bucket.burst });
                let windows = rules.windows.iter().map(|(limit, _)| *limit).min().unwrap_or(u64::MAX);
                cost <= tokens && cost <= windows && cost <= rules.quota.unwrap_or(u64::MAX)
            });
            if can_pass {
                let when = |at_us: i64| {
                    let mut alone = state.clone();
                    debit(&mut alone, &demand(&limits, key, hour_of(at_us), cost), at_us).0.is_admitted()
                };
                prop_assert!(when(now_us + wait_us), "told to wait {} us at {}", wait_us, now_us);
                prop_assert!(!when(now_us + wait_us - 1), "told to wait {} us at {}", wait_us, now_us);
            }
        }
    }
}

#[test]
fn a_key_without_state_asks_for_it_and_debits_nothing() {
    let (shared, own) = (Rules::only_quota(5).limits(), Rules::only_quota(2).limits());
    let period = hour_of(START_US);
    let mut state = AccountState::fresh(&shared, period, at(START_US));
    let by_key = Debit { limits: &shared, key: Some((key_id(9), &own)), period, cost: 1 };
    assert_eq!(state.debit(&by_key, at(START_US)), tollgate_domain::limit::Outcome::Unseeded);
    let (_, standing) = debit(&mut state, &Debit { key: None, cost: 0, ..by_key }, START_US);
    assert_eq!(standing[0].used, 0);
}

#[test]
fn only_keys_that_are_both_unused_and_idle_are_forgotten() {
    let rules = [Rules::only_windows(&[(5, Unit::Hour)]), Rules::only_windows(&[(5, Unit::Minute)])];
    let limits = (LimitSet::default(), rules.each_ref().map(Rules::limits));
    let mut state = unused(&limits);
    for key in 0..2 {
        assert!(debit(&mut state, &demand(&limits, key, hour_of(START_US), 1), START_US).0.is_admitted());
    }
    let known = |state: &AccountState| state.rates().filter_map(|(key, ..)| key).collect::<Vec<_>>();
    let later = at(START_US + HOUR_US / 2);
    state.forget_keys(at(START_US), later);
    assert_eq!(known(&state), [numbered(0), numbered(1)], "used since");
    state.forget_keys(later, later);
    assert_eq!(known(&state), [numbered(0)], "its window is not empty yet");
    state.forget_keys(later, at(START_US + HOUR_US));
    assert_eq!(known(&state), []);
}
