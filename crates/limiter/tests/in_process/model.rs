//! The same random trace through the domain's model and through the limiter: every answer is the same.

use proptest::prelude::*;
use proptest::test_runner::Config;
use tollgate_domain::limit::{AccountState, Debit, LimitSet, Quota, Seed, Spending};
use tollgate_domain::{DAY_US, HOUR_US, KeyId, Period, SECOND_US, Timestamp, Unit};
use tollgate_limiter::{Handle, InProcess, Limiter};

use crate::support::{account, at, bucket, key, limiter, ready, used, window};

#[derive(Clone, Debug)]
enum Step {
    Call { plan: usize, key: Option<u8>, cost: u64 },
    Refund { key: Option<u8>, units: u64 },
    Charge { units: i64 },
    Peek { plan: usize },
    Sweep,
    Pass { micros: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || proptest::option::of(1_u8..3);
    let step = prop_oneof![
        10 => (0_usize..3, key(), 0_u64..4).prop_map(|(plan, key, cost)| Step::Call { plan, key, cost }),
        2 => (key(), 0_u64..4).prop_map(|(key, units)| Step::Refund { key, units }),
        1 => (-5_i64..5).prop_map(|units| Step::Charge { units }),
        1 => (0_usize..3).prop_map(|plan| Step::Peek { plan }),
        1 => Just(Step::Sweep),
        4 => (0..SECOND_US).prop_map(|micros| Step::Pass { micros }),
        2 => (-HOUR_US..DAY_US).prop_map(|micros| Step::Pass { micros }),
    ];
    proptest::collection::vec(step, 1..120)
}

fn plans() -> [LimitSet; 3] {
    let large = LimitSet { windows: window(60, Unit::Minute).windows, ..bucket(600, Unit::Minute, 20) };
    [
        LimitSet { quota: Quota { limit: Some(30) }, ..bucket(60, Unit::Minute, 10) },
        LimitSet { quota: Quota { limit: Some(100) }, ..large },
        LimitSet { windows: window(5, Unit::Hour).windows, ..LimitSet::default() },
    ]
}

fn day_of(now: Timestamp) -> Period {
    let start = Timestamp::from_micros(now.as_micros().div_euclid(DAY_US) * DAY_US);
    Period { start, end: start + DAY_US }
}

/// Both sides of the comparison.
struct Both {
    model: AccountState,
    limiter: InProcess,
    handle: Handle,
    now: Timestamp,
}

impl Both {
    fn call(&mut self, limits: &LimitSet, key: Option<(KeyId, &LimitSet)>, cost: u64) {
        let debit = Debit { limits, key, period: day_of(self.now), cost };
        let expected = self.model.debit(&debit, self.now);
        assert_eq!(ready(self.limiter.debit(&self.handle, &debit, self.now)), Ok(expected.clone()));
        if expected == tollgate_domain::limit::Outcome::Unseeded {
            let seed =
                Seed { since: self.now + -HOUR_US, key: key.map(|(id, _)| (id, Spending::default())), ..used(0) };
            self.model.seed(&debit, &seed, self.now);
            let ticket = self.limiter.ticket();
            assert_eq!(ready(self.limiter.seed(&self.handle, ticket, &debit, &seed, self.now)), Ok(true));
            let expected = self.model.debit(&debit, self.now);
            assert_eq!(ready(self.limiter.debit(&self.handle, &debit, self.now)), Ok(expected));
        }
    }

    fn charge(&mut self, units: i64) {
        let period = day_of(self.now);
        self.model.charge(None, period, units, 1);
        ready(self.limiter.charge(account(1), None, period, units, 1)).expect("it answers");
    }
}

proptest! {
    #![proptest_config(Config { cases: 300, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_limiter_answers_as_the_model_does(steps in steps()) {
        let (plans, own) = (plans(), bucket(30, Unit::Minute, 6));
        let limiter = limiter(1);
        let handle = limiter.open(account(1));
        let mut both = Both { model: AccountState::default(), limiter, handle, now: at(0) };
        for step in steps {
            match step {
                Step::Call { plan, key: number, cost } => {
                    both.call(&plans[plan], number.map(|number| (key(number), &own)), cost);
                }
                Step::Refund { key: number, units } => {
                    let (id, period) = (number.map(key), day_of(both.now));
                    both.model.refund(id, period, units);
                    ready(both.limiter.refund(&both.handle, id, period, units)).expect("it answers");
                }
                Step::Charge { units } => both.charge(units),
                Step::Peek { plan } => {
                    let debit = Debit { limits: &plans[plan], key: None, period: day_of(both.now), cost: 1 };
                    let expected = both.model.clone().debit(&debit, both.now);
                    let peeked = ready(both.limiter.peek(account(1), &debit, both.now)).expect("it answers");
                    prop_assert_eq!(peeked.unwrap_or(tollgate_domain::limit::Outcome::Unseeded), expected);
                }
                Step::Sweep => {
                    both.limiter.sweep(both.now);
                    both.model.forget_keys(both.now + -DAY_US, both.now);
                }
                Step::Pass { micros } => both.now = both.now + micros,
            }
        }
    }
}
