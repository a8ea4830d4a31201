//! One random trace through the model, the limiter in memory and the one in Redis: equal answers to every call.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tollgate_domain::limit::{
    AccountState, Bucket, Charged, Debit, Debited, LimitSet, Outcome, Quota, QuotaUse, Seed, Spending, UNITS_MAX,
    Window,
};
use tollgate_domain::{HOUR_US, MINUTE_US, Period, Rate, SECOND_US, Timestamp, Unit};
use tollgate_limiter::{InProcess, Limiter, Mode, RedisLimiter, Topology};

use crate::private::Server;
use crate::support::{START_US, account, at, key, meter, settings};

/// Consecutive periods of one hour.
fn hour_of(now_us: i64) -> Period {
    let start = now_us.div_euclid(HOUR_US) * HOUR_US;
    Period { start: Timestamp::from_micros(start), end: Timestamp::from_micros(start + HOUR_US) }
}

fn bucket() -> impl Strategy<Value = Bucket> {
    let unit = prop_oneof![Just(Unit::Second), Just(Unit::Minute), Just(Unit::Hour), Just(Unit::Day)];
    let count = prop_oneof![1 => Just(0_u64), 6 => 1_u64..=120, 1 => Just(999_983), 1 => Just(1 << 52)];
    let burst = prop_oneof![6 => 1_u64..=12, 2 => 1_u64..=400, 1 => Just(u64::MAX)];
    (count, unit, burst).prop_map(|(count, per, burst)| {
        let rate = Rate { count, per };
        let micros = Bucket::new(rate, 1).expect("a burst of one").micros();
        Bucket::new(rate, burst.min(UNITS_MAX / micros)).expect("the largest there is")
    })
}

fn limit() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0_u64..=30, 2 => 0_u64..=400, 1 => Just(UNITS_MAX)]
}

fn limits() -> impl Strategy<Value = LimitSet> {
    let lengths = vec![Unit::Second, Unit::Minute, Unit::Hour, Unit::Day];
    let lengths = proptest::sample::subsequence(lengths, 0..=4).prop_shuffle();
    let windows = (lengths, proptest::collection::vec(limit(), 4));
    (proptest::option::weighted(0.7, bucket()), windows, proptest::option::weighted(0.7, limit())).prop_map(
        |(bucket, (lengths, limits), quota)| LimitSet {
            bucket,
            windows: lengths.into_iter().zip(limits).map(|(length, limit)| Window { limit, length }).collect(),
            quota: Quota { limit: quota },
        },
    )
}

const METERS: [&str; 2] = ["tokens", "images"];

/// What is charged: a key's calls (two has no limits of its own), or a meter's.
#[derive(Clone, Copy, Debug)]
enum Of {
    Key(usize),
    Meter(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Call {
        plan: usize,
        key: usize,
        meter: usize,
        cost: u64,
    },
    /// In the period of now or one of those before.
    Settle {
        units: i64,
        of: Of,
        periods_ago: i64,
    },
    Charge {
        units: i64,
        of: Of,
    },
}

fn of() -> impl Strategy<Value = Of> {
    prop_oneof![(0_usize..3).prop_map(Of::Key), (0_usize..2).prop_map(Of::Meter)]
}

fn own(number: usize) -> tollgate_domain::KeyId {
    key(u8::try_from(number).expect("small"))
}

fn charged(of: Of) -> Charged {
    match of {
        Of::Key(number) => Charged::Calls { key: (number < 2).then(|| own(number)) },
        Of::Meter(number) => Charged::Meter(meter(METERS[number])),
    }
}

fn step() -> impl Strategy<Value = Step> {
    // Where nothing limits the quota, all of a trace stays below 2^53, at which Redis stops counting.
    let cost = prop_oneof![8 => Just(1_u64), 3 => 0_u64..=5, 1 => 0_u64..=40, 1 => Just(1 << 45)];
    prop_oneof![
        // A plan holds for a few calls, or for one.
        24 => (0_usize..12, 0_usize..3, 0_usize..4, cost)
            .prop_map(|(plan, key, meter, cost)| Step::Call { plan, key, meter, cost }),
        3 => (-5_i64..=9, of(), prop_oneof![4 => Just(0), 1 => 1_i64..3])
            .prop_map(|(units, of, periods_ago)| Step::Settle { units, of, periods_ago }),
        2 => (-5_i64..=9, of()).prop_map(|(units, of)| Step::Charge { units, of }),
    ]
}

fn gap_us() -> impl Strategy<Value = i64> {
    let edge = (prop_oneof![Just(SECOND_US), Just(MINUTE_US), Just(HOUR_US)], -2_i64..=2);
    prop_oneof![
        4 => Just(0_i64),
        3 => 0_i64..=1_000,
        6 => 0_i64..=SECOND_US,
        4 => 0_i64..=MINUTE_US / 4,
        2 => 0_i64..=HOUR_US / 4,
        3 => edge.prop_map(|(length, off)| length + off),
    ]
}

#[derive(Clone, Debug)]
struct Trace {
    plans: Vec<LimitSet>,
    keys: [LimitSet; 2],
    meters: [Quota; 2],
    debits: Vec<(i64, u64)>,
    steps: Vec<(i64, Step)>,
}

fn trace() -> impl Strategy<Value = Trace> {
    let debits = proptest::collection::vec((0_i64..=2 * HOUR_US, 0_u64..9), 0..12);
    let plans = proptest::collection::vec(limits(), 1..=3);
    let meter = || proptest::option::weighted(0.8, limit()).prop_map(|limit| Quota { limit });
    let steps = proptest::collection::vec((gap_us(), step()), 1..=80);
    (plans, [limits(), limits()], [meter(), meter()], debits, steps)
        .prop_map(|(plans, keys, meters, debits, steps)| Trace { plans, keys, meters, debits, steps })
}

/// The three that are compared, on one account.
struct Compared<'a> {
    runtime: &'a tokio::runtime::Runtime,
    redis: &'a RedisLimiter,
    subject: u32,
    seed: Seed,
    model: AccountState,
    memory: InProcess,
}

impl Compared<'_> {
    fn call(&mut self, debit: &Debit<'_>, now: Timestamp) -> Result<(), TestCaseError> {
        let handle = self.redis.open(account(self.subject));
        let in_memory = self.memory.open(account(self.subject));
        let mut expected = self.model.debit(debit, now);
        let mut is_seeded = false;
        loop {
            let in_redis = self.runtime.block_on(self.redis.debit(&handle, debit, now)).expect("it answers");
            prop_assert_eq!(&in_redis, &expected, "Redis at {:?}", now);
            let remembered = self.runtime.block_on(self.memory.debit(&in_memory, debit, now)).expect("it answers");
            prop_assert_eq!(&remembered, &expected, "memory at {:?}", now);
            if is_seeded || expected != Outcome::Unseeded {
                return Ok(());
            }
            is_seeded = true;
            let seed = Seed {
                key: debit.key.map(|(id, _)| (id, self.seed.account.clone())),
                meter: debit.meter.map(|(id, _)| (id, self.seed.account.clone())),
                ..self.seed.clone()
            };
            self.model.seed(debit, &seed, now);
            let ticket = self.memory.ticket();
            assert!(
                self.runtime.block_on(self.memory.seed(&in_memory, ticket, debit, &seed, now)).expect("it answers")
            );
            assert!(self.runtime.block_on(self.redis.seed(&handle, 0, debit, &seed, now)).expect("it answers"));
            expected = self.model.debit(debit, now);
        }
    }

    fn change(&mut self, step: &Step, now_us: i64, position: u64) -> Result<(), TestCaseError> {
        let subject = account(self.subject);
        match *step {
            Step::Call { .. } => {}
            Step::Settle { units, of, periods_ago } => {
                let (of, period) = (charged(of), hour_of(now_us - periods_ago * HOUR_US));
                let expected = self.model.settle(of, period, units);
                let handle = self.memory.open(subject);
                let remembered = self.runtime.block_on(self.memory.settle(&handle, of, period, units));
                prop_assert_eq!(remembered, Ok(expected));
                let handle = self.redis.open(subject);
                let in_redis = self.runtime.block_on(self.redis.settle(&handle, of, period, units));
                prop_assert_eq!(in_redis, Ok(expected));
            }
            Step::Charge { units, of } => {
                let (of, period) = (charged(of), hour_of(now_us));
                self.model.charge(of, period, units, position);
                let charged = self.memory.charge(subject, of, period, units, position);
                self.runtime.block_on(charged).expect("it answers");
                let charged = self.redis.charge_shared(subject, of, period, units, position);
                self.runtime.block_on(charged).expect("it answers");
            }
        }
        Ok(())
    }
}

fn follow(
    runtime: &tokio::runtime::Runtime,
    redis: &RedisLimiter,
    subject: u32,
    trace: &Trace,
) -> Result<(), TestCaseError> {
    let mut debits: Vec<Debited> =
        trace.debits.iter().map(|(ago_us, units)| Debited { at: at(-ago_us), units: *units }).collect();
    debits.sort_by_key(|debited| debited.at);
    let quota = Some(QuotaUse { period: hour_of(START_US), used: 3 });
    let spending = Spending { debits, quota };
    let seed = Seed { since: at(-2 * HOUR_US), account: spending, key: None, meter: None, ledger_position: 1_000 };
    let (model, memory) = (AccountState::default(), InProcess::default());
    let mut compared = Compared { runtime, redis, subject, seed, model, memory };
    let (mut now_us, mut plan) = (START_US, &trace.plans[0]);
    for (number, (gap_us, step)) in trace.steps.iter().enumerate() {
        now_us += gap_us;
        let (now, period) = (Timestamp::from_micros(now_us), hour_of(now_us));
        if let Step::Call { plan: choice, key: by, meter: metered, cost } = step {
            plan = trace.plans.get(*choice).unwrap_or(plan);
            let key = trace.keys.get(*by).map(|limits| (own(*by), limits));
            let meter = trace.meters.get(*metered).map(|quota| (meter(METERS[*metered]), *quota));
            compared.call(&Debit { limits: plan, key, meter, period, cost: *cost }, now)?;
        } else {
            // Later than any seed tells of: whatever is counted once is counted in all three.
            let position = 2_000 + u64::try_from(number).expect("small");
            compared.seed.ledger_position = position;
            compared.change(step, now_us, position)?;
        }
    }
    Ok(())
}

#[test]
fn model_memory_and_redis_give_the_same_answers() {
    let Some(server) = Server::start(&[]) else { return };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let _entered = runtime.enter();
    let settings = settings(Topology::Single(server.url()), Mode::Exact, 1);
    let redis = RedisLimiter::with_callers_clock(&settings).expect("a URL");
    let mut runner = TestRunner::new(Config { cases: 80, failure_persistence: None, ..Config::default() });
    let subject = std::cell::Cell::new(0);
    let outcome = runner.run(&trace(), |trace| {
        subject.set(subject.get() + 1);
        follow(&runtime, &redis, subject.get(), &trace)
    });
    outcome.expect("equal answers");
}
