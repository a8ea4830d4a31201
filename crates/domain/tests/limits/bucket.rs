//! The token bucket: over every interval of length t at most b + r * t, and never less than that for a caller.

use proptest::prelude::*;
use tollgate_domain::limit::{AccountState, LimitLabel};
use tollgate_domain::{MINUTE_US, Rate, SECOND_US, Unit};

use crate::judge::{Spent, assert_bucket_holds};
use crate::trace::{BucketRule, Rules, START_US, Verdict, at, bucket_rule, call, calls, cases, debit, endless};

/// A bucket counted in tokens / unit of its rate, as no reduced fraction, in numbers that cannot overflow.
struct ExactBucket {
    rule: BucketRule,
    level: i128,
    at_us: i64,
}

impl ExactBucket {
    fn per(&self) -> i128 {
        i128::from(self.rule.rate.per.micros())
    }

    fn take(&mut self, cost: u64, now_us: i64) -> bool {
        self.level += i128::from(now_us - self.at_us) * i128::from(self.rule.rate.count);
        self.level = self.level.min(i128::from(self.rule.burst) * self.per());
        self.at_us = now_us;
        let needed = i128::from(cost) * self.per();
        let has = self.level >= needed;
        if has {
            self.level -= needed;
        }
        has
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn every_interval_admits_at_most_the_burst_and_what_refilled(rule in bucket_rule(), calls in calls(120)) {
        let limits = Rules::only_bucket(rule).limits();
        let mut state = AccountState::fresh(&limits, endless(), at(START_US));
        let mut now_us = START_US;
        let mut spent = Vec::new();
        for (gap_us, cost) in calls {
            now_us += gap_us;
            if debit(&mut state, &call(&limits, endless(), cost), now_us).0.is_admitted() {
                spent.push(Spent { at_us: now_us, units: cost });
            }
        }
        assert_bucket_holds(&spent, rule.rate, rule.burst);
    }

    #[test]
    fn a_call_is_refused_only_when_the_tokens_are_not_there(rule in bucket_rule(), calls in calls(120)) {
        let limits = Rules::only_bucket(rule).limits();
        let mut state = AccountState::fresh(&limits, endless(), at(START_US));
        // A rate of zero admits nothing, so its bucket begins empty; any other begins full.
        let tokens = if rule.rate.count == 0 { 0 } else { rule.burst };
        let level = i128::from(tokens) * i128::from(rule.rate.per.micros());
        let mut exact = ExactBucket { rule, level, at_us: START_US };
        let mut now_us = START_US;
        for (gap_us, cost) in calls {
            now_us += gap_us;
            let (verdict, standing) = debit(&mut state, &call(&limits, endless(), cost), now_us);
            prop_assert_eq!(verdict.is_admitted(), exact.take(cost, now_us), "at {} with {:?}", now_us, standing);
            prop_assert_eq!(i128::from(standing[0].remaining), exact.level / exact.per());
        }
    }
}

#[test]
fn six_hundred_a_minute_with_a_burst_of_sixty_passes_sixty_and_ten_a_second() {
    let rule = BucketRule { rate: Rate { count: 600, per: Unit::Minute }, burst: 60 };
    let limits = Rules::only_bucket(rule).limits();
    let mut state = AccountState::fresh(&limits, endless(), at(START_US));
    let mut admitted_in = |from_us: i64, calls: i64, every_us: i64| {
        (0..calls)
            .filter(|call_number| {
                let now_us = from_us + call_number * every_us;
                debit(&mut state, &call(&limits, endless(), 1), now_us).0.is_admitted()
            })
            .count()
    };
    assert_eq!(admitted_in(START_US, 100, 0), 60);
    assert_eq!(admitted_in(START_US + SECOND_US, 100, 0), 10);
    assert_eq!(admitted_in(START_US + 2 * MINUTE_US, 12_000, MINUTE_US / 12_000), 60 + 599);
}

#[test]
fn a_rate_of_zero_admits_nothing_whatever_the_burst_and_however_long_one_waits() {
    let rule = BucketRule { rate: Rate { count: 0, per: Unit::Minute }, burst: 5 };
    let limits = Rules::only_bucket(rule).limits();
    let mut state = AccountState::fresh(&limits, endless(), at(START_US));
    for now_us in [START_US, START_US + MINUTE_US, START_US + 100_000 * MINUTE_US] {
        let (verdict, standing) = debit(&mut state, &call(&limits, endless(), 1), now_us);
        assert!(matches!(verdict, Verdict::Refused { by: LimitLabel::Burst, wait_us } if wait_us > 0), "{verdict:?}");
        assert_eq!((standing[0].remaining, standing[0].used), (0, 5));
    }
    assert!(debit(&mut state, &call(&limits, endless(), 0), START_US).0.is_admitted());
}
