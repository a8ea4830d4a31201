//! The same random trace through the domain's model and through the limiter: every answer is the same.

use proptest::prelude::*;
use proptest::test_runner::Config;
use tollgate_domain::limit::{AccountState, Charged, Debit, LimitSet, Quota, Seed, Spending};
use tollgate_domain::{DAY_US, HOUR_US, Period, SECOND_US, Timestamp, Unit};
use tollgate_limiter::{Handle, InProcess, Limiter};

use crate::support::{account, at, bucket, key, limiter, meter, ready, used, window};

#[derive(Clone, Debug)]
enum Step {
    Call { plan: usize, key: Option<u8>, is_metered: bool, cost: u64 },
    Settle { of: Charged, units: i64 },
    Charge { of: Charged, units: i64 },
    Peek { plan: usize, is_metered: bool },
    Sweep,
    Pass { micros: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let by = || proptest::option::of(1_u8..3);
    let of = || {
        let calls = by().prop_map(|number| Charged::Calls { key: number.map(key) });
        prop_oneof![2 => calls, 1 => Just(Charged::Meter(meter("tokens")))]
    };
    let step = prop_oneof![
        10 => (0_usize..3, by(), proptest::bool::ANY, 0_u64..4)
            .prop_map(|(plan, key, is_metered, cost)| Step::Call { plan, key, is_metered, cost }),
        2 => (of(), -4_i64..9).prop_map(|(of, units)| Step::Settle { of, units }),
        1 => (of(), -5_i64..5).prop_map(|(of, units)| Step::Charge { of, units }),
        1 => (0_usize..3, proptest::bool::ANY).prop_map(|(plan, is_metered)| Step::Peek { plan, is_metered }),
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
    fn call(&mut self, debit: &Debit<'_>) {
        let expected = self.model.debit(debit, self.now);
        assert_eq!(ready(self.limiter.debit(&self.handle, debit, self.now)), Ok(expected.clone()));
        if expected == tollgate_domain::limit::Outcome::Unseeded {
            let key = debit.key.map(|(id, _)| (id, Spending::default()));
            let meter = debit.meter.map(|(id, _)| (id, Spending::default()));
            let seed = Seed { since: self.now + -HOUR_US, key, meter, ..used(0) };
            self.model.seed(debit, &seed, self.now);
            let ticket = self.limiter.ticket();
            assert_eq!(ready(self.limiter.seed(&self.handle, ticket, debit, &seed, self.now)), Ok(true));
            let expected = self.model.debit(debit, self.now);
            assert_eq!(ready(self.limiter.debit(&self.handle, debit, self.now)), Ok(expected));
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 300, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_limiter_answers_as_the_model_does(steps in steps()) {
        let (plans, own) = (plans(), bucket(30, Unit::Minute, 6));
        let tokens = (meter("tokens"), Quota { limit: Some(25) });
        let limiter = limiter(1);
        let handle = limiter.open(account(1));
        let mut both = Both { model: AccountState::default(), limiter, handle, now: at(0) };
        for step in steps {
            match step {
                Step::Call { plan, key: number, is_metered, cost } => {
                    let (key, meter) = (number.map(|number| (key(number), &own)), is_metered.then_some(tokens));
                    both.call(&Debit { limits: &plans[plan], key, meter, period: day_of(both.now), cost });
                }
                Step::Settle { of, units } => {
                    let period = day_of(both.now);
                    let expected = both.model.settle(of, period, units);
                    prop_assert_eq!(ready(both.limiter.settle(&both.handle, of, period, units)), Ok(expected));
                }
                Step::Charge { of, units } => {
                    both.model.charge(of, day_of(both.now), units, 1);
                    ready(both.limiter.charge(account(1), of, day_of(both.now), units, 1)).expect("it answers");
                }
                Step::Peek { plan, is_metered } => {
                    let meter = is_metered.then_some(tokens);
                    let debit = Debit { limits: &plans[plan], key: None, meter, period: day_of(both.now), cost: 1 };
                    let expected = both.model.clone().debit(&debit, both.now);
                    let peeked = ready(both.limiter.peek(account(1), &debit, both.now)).expect("it answers");
                    prop_assert_eq!(peeked.unwrap_or(tollgate_domain::limit::Outcome::Unseeded), expected);
                }
                Step::Sweep => {
                    both.limiter.sweep(both.now);
                    both.model.forget_unused(both.now + -DAY_US, both.now);
                }
                Step::Pass { micros } => both.now = both.now + micros,
            }
        }
    }
}
