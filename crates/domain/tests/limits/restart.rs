//! Restarts: rebuilt from the ledger, an account is never allowed more than before, and loses nothing of its quota;
//! saved and restored, it goes on as if it had never stopped.

use proptest::prelude::*;
use tollgate_domain::limit::{
    AccountState, Debit, Debited, LimitLabel, LimitSet, Outcome, QuotaUse, SLICES, Seed, Spending,
};
use tollgate_domain::{Period, SECOND_US};

use crate::judge::{Spent, assert_bucket_holds, assert_window_holds, exact_log_admits_at};
use crate::trace::{Rules, START_US, Verdict, at, call, calls, cases, debit, hour_of, key_id, rules};

/// The ledger's lines are as long as this; a line's time is its end.
const LINE_US: i64 = SECOND_US;

/// A line of the ledger as it was debited: when, how much, in which period.
pub(crate) type Line = (i64, u64, Period);

/// What a ledger tells: merged lines since an instant, each at its end, none later than it was written.
pub(crate) fn spending(lines: &[Line], since_us: i64, written_us: i64) -> Spending {
    let mut debits: Vec<Debited> = Vec::new();
    for (at_us, units, _) in lines {
        let end = at((at_us.div_euclid(LINE_US) * LINE_US + LINE_US).min(written_us));
        match debits.last_mut() {
            Some(last) if last.at == end => last.units += units,
            _ => debits.push(Debited { at: end, units: *units }),
        }
    }
    debits.retain(|debited| debited.at >= at(since_us));
    let quota = lines.iter().map(|(_, _, period)| *period).max().map(|newest| QuotaUse {
        period: newest,
        used: lines.iter().filter(|(_, _, period)| period.overlaps(&newest)).map(|(_, units, _)| units).sum(),
    });
    Spending { debits, quota }
}

/// An account whose one key has limits of its own, and what the ledger has of it.
struct Rebuilt<'a> {
    limits: &'a LimitSet,
    own: &'a LimitSet,
    state: AccountState,
    lines: Vec<Line>,
}

impl<'a> Rebuilt<'a> {
    fn demand(&self, cost: u64, now_us: i64) -> Debit<'a> {
        Debit { limits: self.limits, key: Some((key_id(1), self.own)), meter: None, period: hour_of(now_us), cost }
    }

    fn restart(&mut self, now_us: i64) {
        let since_us = now_us - self.limits.lookback_us().max(self.own.lookback_us());
        let spending = spending(&self.lines, since_us, now_us);
        let seed = Seed {
            since: at(since_us),
            account: spending.clone(),
            key: Some((key_id(1), spending)),
            meter: None,
            ledger_position: 0,
        };
        self.state = AccountState::default();
        assert_eq!(self.state.debit(&self.demand(1, now_us), at(now_us)), Outcome::Unseeded);
        self.state.seed(&self.demand(1, now_us), &seed, at(now_us));
    }

    fn call(&mut self, cost: u64, now_us: i64) -> Verdict {
        let demand = self.demand(cost, now_us);
        let verdict = debit(&mut self.state, &demand, now_us).0;
        if let Verdict::Admitted { period } = verdict
            && cost > 0
        {
            self.lines.push((now_us, cost, period));
        }
        verdict
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn an_account_rebuilt_from_the_ledger_is_never_allowed_more(
        shared in rules(),
        own in rules(),
        calls in calls(100),
        restarts in proptest::collection::vec(0_u8..12, 100),
    ) {
        let (limits, own_limits) = (shared.limits(), own.limits());
        let mut account =
            Rebuilt { limits: &limits, own: &own_limits, state: AccountState::default(), lines: Vec::new() };
        let mut now_us = START_US;
        account.restart(now_us);
        for ((gap_us, cost), restart) in calls.into_iter().zip(restarts) {
            now_us += gap_us;
            if restart == 0 {
                account.restart(now_us);
            }
            let used: u64 = account.lines.iter().filter(|line| line.2 == hour_of(now_us)).map(|line| line.1).sum();
            let verdict = account.call(cost, now_us);
            let fits = cost == 0 || [shared.quota, own.quota].iter().flatten().all(|limit| used + cost <= *limit);
            prop_assert!(fits || !verdict.is_admitted());
            if let Verdict::Refused { by: LimitLabel::Quota | LimitLabel::KeyQuota, .. } = verdict {
                prop_assert!(!fits, "refused by quota at {} used and a cost of {}", used, cost);
            }
        }
        let spent: Vec<Spent> =
            account.lines.iter().map(|(at_us, units, _)| Spent { at_us: *at_us, units: *units }).collect();
        for rules in [&shared, &own] {
            if let Some(bucket) = rules.bucket {
                assert_bucket_holds(&spent, bucket.rate, bucket.burst);
            }
            for (limit, length) in &rules.windows {
                assert_window_holds(&spent, *limit, length.micros());
            }
        }
    }

    #[test]
    fn a_rebuilt_window_refuses_no_longer_than_the_ledger_is_coarse(
        limit in 1_u64..=20,
        length in crate::trace::window_length(),
        calls in calls(80),
        restarts in proptest::collection::vec(0_u8..10, 80),
    ) {
        let (limits, none) = (Rules::only_windows(&[(limit, length)]).limits(), LimitSet::default());
        let mut account = Rebuilt { limits: &limits, own: &none, state: AccountState::default(), lines: Vec::new() };
        let mut now_us = START_US;
        account.restart(now_us);
        for ((gap_us, cost), restart) in calls.into_iter().zip(restarts) {
            now_us += gap_us;
            if restart == 0 {
                account.restart(now_us);
            }
            let spent: Vec<Spent> =
                account.lines.iter().map(|(at_us, units, _)| Spent { at_us: *at_us, units: *units }).collect();
            let exact = exact_log_admits_at(&spent, limit, length.micros(), cost, now_us);
            if let (Verdict::Refused { wait_us, .. }, Some(at_us)) = (account.call(cost, now_us), exact) {
                let latest_us = at_us + length.micros() / SLICES + LINE_US;
                prop_assert!(now_us + wait_us <= latest_us, "{} instead of {}", now_us + wait_us, at_us);
            }
        }
    }

    #[test]
    fn an_account_saved_and_restored_goes_on_as_if_it_had_never_stopped(
        rules in rules(),
        before in calls(60),
        pause_us in crate::trace::gap_us(),
        after in calls(60),
    ) {
        let limits = rules.limits();
        let mut running = AccountState::fresh(&limits, hour_of(START_US), at(START_US));
        let mut now_us = START_US;
        let mut lines: Vec<Line> = Vec::new();
        for (gap_us, cost) in before {
            now_us += gap_us;
            if let Verdict::Admitted { period } = debit(&mut running, &call(&limits, hour_of(now_us), cost), now_us).0 {
                lines.push((now_us, cost, period));
            }
        }
        let mut restored = AccountState::default();
        for (key, bucket, windows) in running.rates() {
            restored.restore_rates(key, bucket, windows.to_vec(), running.seen());
        }
        now_us += pause_us;
        let demand = call(&limits, hour_of(now_us), 1);
        prop_assert_eq!(restored.debit(&demand, at(now_us)), Outcome::Unseeded);
        let seed = Seed { since: at(now_us), account: spending(&lines, now_us, now_us), key: None, meter: None, ledger_position: 0 };
        restored.seed(&demand, &seed, at(now_us));
        for (gap_us, cost) in after {
            now_us += gap_us;
            let demand = call(&limits, hour_of(now_us), cost);
            prop_assert_eq!(debit(&mut restored, &demand, now_us), debit(&mut running, &demand, now_us));
        }
    }
}

#[test]
fn seeding_again_changes_nothing_that_is_counted() {
    let limits = Rules { windows: vec![(9, tollgate_domain::Unit::Hour)], quota: Some(9), ..Rules::default() }.limits();
    let period = hour_of(START_US);
    let mut state = AccountState::fresh(&limits, period, at(START_US));
    assert!(debit(&mut state, &call(&limits, period, 4), START_US).0.is_admitted());
    let before = state.clone();
    let quota = Some(QuotaUse { period, used: 0 });
    let seed = Seed {
        since: at(0),
        account: Spending { debits: Vec::new(), quota },
        key: None,
        meter: None,
        ledger_position: 0,
    };
    state.seed(&call(&limits, period, 1), &seed, at(START_US));
    assert_eq!(state, before);
}

#[test]
fn an_account_of_which_the_ledger_knows_too_little_begins_empty() {
    let rate = tollgate_domain::Rate { count: 60, per: tollgate_domain::Unit::Minute };
    let limits = Rules::only_bucket(crate::trace::BucketRule { rate, burst: 60 }).limits();
    for (known_us, remaining) in [(0, 0), (20 * SECOND_US, 20), (limits.lookback_us(), 60)] {
        let seed = Seed {
            since: at(START_US - known_us),
            account: Spending::default(),
            key: None,
            meter: None,
            ledger_position: 0,
        };
        let mut state = AccountState::default();
        let demand = call(&limits, hour_of(START_US), 0);
        state.seed(&demand, &seed, at(START_US));
        assert_eq!(debit(&mut state, &demand, START_US).1[0].remaining, remaining, "{known_us} us known");
    }
}

#[test]
fn a_plan_that_gains_a_limit_learns_its_past_from_the_ledger() {
    let (before, after) =
        (Rules::only_quota(100), Rules { windows: vec![(10, tollgate_domain::Unit::Hour)], ..Rules::only_quota(100) });
    let period = hour_of(START_US);
    let mut state = AccountState::fresh(&before.limits(), period, at(START_US));
    assert!(debit(&mut state, &call(&before.limits(), period, 8), START_US).0.is_admitted());
    let limits = after.limits();
    let now_us = START_US + SECOND_US;
    assert_eq!(state.debit(&call(&limits, period, 1), at(now_us)), Outcome::Unseeded);
    let since_us = now_us - limits.lookback_us();
    let seed = Seed {
        since: at(since_us),
        account: spending(&[(START_US, 8, period)], since_us, now_us),
        key: None,
        meter: None,
        ledger_position: 0,
    };
    state.seed(&call(&limits, period, 1), &seed, at(now_us));
    assert!(!debit(&mut state, &call(&limits, period, 3), now_us).0.is_admitted());
    assert!(debit(&mut state, &call(&limits, period, 2), now_us).0.is_admitted());
}
