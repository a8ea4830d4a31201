//! Several limits at once: all or nothing, the longest refusal speaks, and who obeys it gets in, no later than needed.

use proptest::prelude::*;
use tollgate_domain::limit::{AccountState, Debit, LimitSet, Quota, Seed, Spending};
use tollgate_domain::{HOUR_US, KeyId, Period, Unit};

use crate::judge::{Spent, assert_bucket_holds, assert_window_holds};
use crate::trace::{Rules, START_US, Verdict, at, cases, cost, debit, gap_us, hour_of, key_id, meter, rules};

/// An account with two keys that have limits of their own, and calls without; and with a meter.
#[derive(Clone, Debug)]
struct Account {
    shared: Rules,
    keys: [Rules; 2],
    meter: Option<u64>,
}

/// The same as the limiter reads them.
struct Limits {
    shared: LimitSet,
    keys: [LimitSet; 2],
    meter: Quota,
}

impl Account {
    fn limits(&self) -> Limits {
        let keys = self.keys.each_ref().map(Rules::limits);
        Limits { shared: self.shared.limits(), keys, meter: Quota { limit: self.meter } }
    }
}

fn account() -> impl Strategy<Value = Account> {
    (rules(), rules(), rules(), proptest::option::weighted(0.8, 0_u64..=40))
        .prop_map(|(shared, first, second, meter)| Account { shared, keys: [first, second], meter })
}

/// Who calls: a key (two has no limits of its own), and whether what it calls is metered.
type By = (usize, bool);

/// Calls as by whom, gap and cost.
fn calls() -> impl Strategy<Value = Vec<(By, i64, u64)>> {
    proptest::collection::vec(((0_usize..3, proptest::bool::ANY), gap_us(), cost()), 1..=100)
}

fn numbered(index: usize) -> KeyId {
    key_id(u8::try_from(index).expect("three keys"))
}

fn demand(limits: &Limits, (key, is_metered): By, period: Period, cost: u64) -> Debit<'_> {
    let own = limits.keys.get(key).map(|own| (numbered(key), own));
    let meter = is_metered.then(|| (meter("tokens"), limits.meter));
    Debit { limits: &limits.shared, key: own, meter, period, cost }
}

/// A state in which the account and both keys have never called.
fn unused(limits: &Limits) -> AccountState {
    let period = hour_of(START_US);
    let mut state = AccountState::fresh(&limits.shared, period, at(START_US));
    for key in 0..2 {
        let seed = Seed {
            since: at(i64::MIN),
            account: Spending::default(),
            key: Some((numbered(key), Spending::default())),
            meter: Some((meter("tokens"), Spending::default())),
            ledger_position: 0,
        };
        state.seed(&demand(limits, (key, true), period, 0), &seed, at(START_US));
    }
    state
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn no_limit_of_account_key_or_meter_is_ever_passed(account in account(), calls in calls()) {
        let limits = account.limits();
        let mut state = unused(&limits);
        let mut now_us = START_US;
        let mut admitted: Vec<(By, Spent, Period)> = Vec::new();
        for (by, gap_us, cost) in calls {
            now_us += gap_us;
            let verdict = debit(&mut state, &demand(&limits, by, hour_of(now_us), cost), now_us).0;
            if let Verdict::Admitted { period } = verdict {
                admitted.push((by, Spent { at_us: now_us, units: cost }, period));
            }
        }
        let meter = Rules { quota: account.meter, ..Rules::default() };
        // Which keys' calls count, and whether only the metered ones do.
        let judged =
            [(&account.shared, 0..=2, false), (&account.keys[0], 0..=0, false), (&account.keys[1], 1..=1, false)];
        for (rules, keys, is_meter) in judged.into_iter().chain([(&meter, 0..=2, true)]) {
            let counts = |by: By| keys.contains(&by.0) && (by.1 || !is_meter);
            let own: Vec<_> = admitted.iter().filter(|(by, ..)| counts(*by)).collect();
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
        for (by, gap_us, cost) in calls {
            now_us += gap_us;
            let demand = demand(&limits, by, hour_of(now_us), cost);
            let answer = debit(&mut with_all, &demand, now_us);
            if answer.0.is_admitted() && cost > 0 {
                prop_assert_eq!(debit(&mut with_admitted, &demand, now_us), answer);
            }
        }
        for key in 0..3 {
            let nothing = demand(&limits, (key, true), hour_of(now_us), 0);
            prop_assert_eq!(debit(&mut with_all, &nothing, now_us), debit(&mut with_admitted, &nothing, now_us));
        }
    }

    #[test]
    fn a_lone_caller_that_obeys_is_let_in_and_one_that_comes_earlier_is_not(account in account(), calls in calls()) {
        let limits = account.limits();
        let mut state = unused(&limits);
        let mut now_us = START_US;
        for (by, gap_us, cost) in calls {
            now_us += gap_us;
            let verdict = debit(&mut state, &demand(&limits, by, hour_of(now_us), cost), now_us).0;
            let Verdict::Refused { wait_us, .. } = verdict else { continue };
            prop_assert!(wait_us > 0);
            let meter = Rules { quota: account.meter.filter(|_| by.1), ..Rules::default() };
            let sets = std::iter::once(&account.shared).chain(account.keys.get(by.0)).chain(std::iter::once(&meter));
            let can_pass = sets.clone().all(|rules| {
                let tokens = rules.bucket.map_or(u64::MAX, |bucket| if bucket.rate.count == 0 { 0 } else { bucket.burst });
                let windows = rules.windows.iter().map(|(limit, _)| *limit).min().unwrap_or(u64::MAX);
                cost <= tokens && cost <= windows && cost <= rules.quota.unwrap_or(u64::MAX)
            });
            if can_pass {
                let when = |at_us: i64| {
                    let mut alone = state.clone();
                    debit(&mut alone, &demand(&limits, by, hour_of(at_us), cost), at_us).0.is_admitted()
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
    let by_key = Debit { limits: &shared, key: Some((key_id(9), &own)), meter: None, period, cost: 1 };
    assert_eq!(state.debit(&by_key, at(START_US)), tollgate_domain::limit::Outcome::Unseeded);
    let (_, standing) = debit(&mut state, &Debit { key: None, cost: 0, ..by_key }, START_US);
    assert_eq!(standing[0].used, 0);
}

#[test]
fn only_keys_that_are_both_unused_and_idle_are_forgotten() {
    let rules = [Rules::only_windows(&[(5, Unit::Hour)]), Rules::only_windows(&[(5, Unit::Minute)])];
    let keys = rules.each_ref().map(Rules::limits);
    let limits = Limits { shared: LimitSet::default(), keys, meter: Quota::default() };
    let mut state = unused(&limits);
    for key in 0..2 {
        assert!(debit(&mut state, &demand(&limits, (key, false), hour_of(START_US), 1), START_US).0.is_admitted());
    }
    let known = |state: &AccountState| state.rates().filter_map(|(key, ..)| key).collect::<Vec<_>>();
    let later = at(START_US + HOUR_US / 2);
    state.forget_unused(at(START_US), later);
    assert_eq!(known(&state), [numbered(0), numbered(1)], "used since");
    state.forget_unused(later, later);
    assert_eq!(known(&state), [numbered(0)], "its window is not empty yet");
    state.forget_unused(later, at(START_US + HOUR_US));
    assert_eq!(known(&state), []);
}
