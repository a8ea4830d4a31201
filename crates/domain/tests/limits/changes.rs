//! Changed limits: the level is kept up to the new burst and fills at the new rate; windows and quota keep their use.

use proptest::prelude::*;
use tollgate_domain::limit::{AccountState, LimitKind, LimitLabel};
use tollgate_domain::{Rate, Unit};

use crate::judge::{Refilling, Spent, assert_changing_bucket_holds, held};
use crate::trace::{BucketRule, Rules, START_US, at, bucket_rule, call, cases, cost, debit, endless, gap_us};

const LENGTHS: [Unit; 2] = [Unit::Second, Unit::Minute];

/// Plans that limit the same things, each by other numbers.
fn plans() -> impl Strategy<Value = Vec<Rules>> {
    let plan = (bucket_rule(), 0_u64..=40, 0_u64..=40, 0_u64..=80).prop_map(|(bucket, second, minute, quota)| Rules {
        bucket: Some(bucket),
        windows: vec![(second, LENGTHS[0]), (minute, LENGTHS[1])],
        quota: Some(quota),
    });
    proptest::collection::vec(plan, 2..=4)
}

/// Calls as plan, gap and cost; a plan holds for a few calls, or for one.
fn calls() -> impl Strategy<Value = Vec<(usize, i64, u64)>> {
    proptest::collection::vec((0_usize..12, gap_us(), cost()), 1..=120)
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn changing_limits_gives_nothing_away(plans in plans(), calls in calls()) {
        let mut state = AccountState::fresh(&plans[0].limits(), endless(), at(START_US));
        let mut now_us = START_US;
        let mut plan = &plans[0];
        let mut spent: Vec<Spent> = Vec::new();
        let (mut under_burst, mut rates) = (Vec::new(), Vec::new());
        for (choice, gap_us, cost) in calls {
            now_us += gap_us;
            plan = plans.get(choice).unwrap_or(plan);
            let BucketRule { rate, burst } = plan.bucket.expect("every plan has one");
            rates.push(Refilling { from_us: now_us, rate });
            let limits = plan.limits();
            if debit(&mut state, &call(&limits, endless(), cost), now_us).0.is_admitted() && cost > 0 {
                spent.push(Spent { at_us: now_us, units: cost });
                under_burst.push((Spent { at_us: now_us, units: cost }, burst));
                for (limit, length) in &plan.windows {
                    prop_assert!(held(&spent, length.micros(), now_us) <= u128::from(*limit));
                }
                let used: u64 = spent.iter().map(|spent| spent.units).sum();
                prop_assert!(used <= plan.quota.expect("every plan has one"));
            }
        }
        assert_changing_bucket_holds(&under_burst, &rates);
    }

    #[test]
    fn a_changed_limit_keeps_the_level_up_to_the_new_burst_and_all_use(plans in plans(), calls in calls()) {
        let mut state = AccountState::fresh(&plans[0].limits(), endless(), at(START_US));
        let mut now_us = START_US;
        let mut limits = plans[0].limits();
        for (choice, gap_us, cost) in calls {
            now_us += gap_us;
            let before = debit(&mut state, &call(&limits, endless(), cost), now_us).1;
            if let Some(plan) = plans.get(choice) {
                limits = plan.limits();
            }
            let after = debit(&mut state, &call(&limits, endless(), 0), now_us).1;
            for (before, after) in before.iter().zip(&after) {
                prop_assert_eq!(before.label, after.label);
                if after.label == LimitLabel::Burst {
                    prop_assert_eq!(after.remaining, before.remaining.min(after.limit));
                } else {
                    prop_assert_eq!(after.used, before.used);
                    prop_assert_eq!(after.remaining, after.limit.saturating_sub(after.used));
                }
            }
        }
    }
}

#[test]
fn an_upgrade_fills_at_the_new_rate_from_now_and_does_not_fill_the_bucket() {
    let slow = Rules::only_bucket(BucketRule { rate: Rate { count: 60, per: Unit::Minute }, burst: 10 }).limits();
    let fast = Rules::only_bucket(BucketRule { rate: Rate { count: 100, per: Unit::Second }, burst: 50 }).limits();
    let mut state = AccountState::fresh(&slow, endless(), at(START_US));
    assert!(debit(&mut state, &call(&slow, endless(), 10), START_US).0.is_admitted());
    let mut remaining =
        |limits, after_us| debit(&mut state, &call(limits, endless(), 0), START_US + after_us).1[0].remaining;
    assert_eq!(remaining(&slow, 3_000_000), 3);
    assert_eq!(remaining(&fast, 3_000_000), 3);
    assert_eq!(remaining(&fast, 3_100_000), 13);
    assert_eq!(remaining(&fast, 9_000_000), 50);
    assert_eq!(remaining(&slow, 9_000_000), 10);
}

#[test]
fn after_a_downgrade_below_what_is_used_calls_are_refused_until_enough_has_left() {
    let large = Rules { windows: vec![(20, Unit::Minute)], quota: Some(100), ..Rules::default() }.limits();
    let small = Rules { windows: vec![(5, Unit::Minute)], quota: Some(10), ..Rules::default() }.limits();
    let mut state = AccountState::fresh(&large, endless(), at(START_US));
    assert!(debit(&mut state, &call(&large, endless(), 15), START_US).0.is_admitted());
    let (verdict, standing) = debit(&mut state, &call(&small, endless(), 1), START_US);
    assert!(!verdict.is_admitted());
    let figures: Vec<_> = standing.iter().map(|limit| (limit.label.kind(), limit.used, limit.remaining)).collect();
    assert_eq!(figures, [(LimitKind::Rate, 15, 0), (LimitKind::Quota, 15, 0)]);
}
