//! Random traces and what is recorded of them.

use proptest::prelude::*;
use proptest::test_runner::Config;
use tollgate_domain::limit::{
    AccountState, Bucket, Charged, Debit, LimitLabel, LimitSet, LimitStanding, Outcome, Quota, Window,
};
use tollgate_domain::{
    DAY_US, HOUR_US, KeyId, MINUTE_US, MeterId, MeterName, Period, Rate, SECOND_US, Timestamp, Unit,
};

/// Where traces begin: 2026-03-01T00:00:00Z.
pub(crate) const START_US: i64 = 1_772_323_200_000_000;

/// The quota of calls, of keys without a cap of their own.
pub(crate) const CALLS: Charged = Charged::Calls { key: None };

/// How many traces a property is tried on.
pub(crate) fn cases(count: u32) -> Config {
    Config { cases: count, failure_persistence: None, ..Config::default() }
}

/// Units as a settling gives them back.
pub(crate) fn given_back(units: u64) -> i64 {
    -i64::try_from(units).expect("no more than can be given back")
}

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// A period that no trace leaves.
pub(crate) fn endless() -> Period {
    Period { start: at(START_US - 400 * DAY_US), end: at(START_US + 4_000 * DAY_US) }
}

/// Consecutive periods of one hour.
pub(crate) fn hour_of(now_us: i64) -> Period {
    let start = now_us.div_euclid(HOUR_US) * HOUR_US;
    Period { start: at(start), end: at(start + HOUR_US) }
}

/// A bucket as it is written in a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BucketRule {
    pub(crate) rate: Rate,
    pub(crate) burst: u64,
}

impl BucketRule {
    pub(crate) fn bucket(self) -> Bucket {
        Bucket::new(self.rate, self.burst).expect("the traces stay in bounds")
    }
}

/// All of a plan's limits as they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) bucket: Option<BucketRule>,
    pub(crate) windows: Vec<(u64, Unit)>,
    pub(crate) quota: Option<u64>,
}

impl Rules {
    pub(crate) fn limits(&self) -> LimitSet {
        LimitSet {
            bucket: self.bucket.map(BucketRule::bucket),
            windows: self.windows.iter().map(|(limit, length)| Window { limit: *limit, length: *length }).collect(),
            quota: Quota { limit: self.quota },
        }
    }

    pub(crate) fn only_bucket(bucket: BucketRule) -> Self {
        Self { bucket: Some(bucket), ..Self::default() }
    }

    pub(crate) fn only_windows(windows: &[(u64, Unit)]) -> Self {
        Self { windows: windows.to_vec(), ..Self::default() }
    }

    pub(crate) fn only_quota(quota: u64) -> Self {
        Self { quota: Some(quota), ..Self::default() }
    }
}

/// What was answered to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admitted { period: Period },
    Refused { by: LimitLabel, wait_us: i64 },
}

impl Verdict {
    pub(crate) fn is_admitted(self) -> bool {
        matches!(self, Self::Admitted { .. })
    }
}

/// Debits a state that is known to be complete.
pub(crate) fn debit(state: &mut AccountState, debit: &Debit<'_>, now_us: i64) -> (Verdict, Vec<LimitStanding>) {
    match state.debit(debit, at(now_us)) {
        Outcome::Admitted(admitted) => {
            (Verdict::Admitted { period: admitted.period }, admitted.standing.into_iter().collect())
        }
        Outcome::Refused(refused) => {
            let verdict = Verdict::Refused { by: refused.by, wait_us: refused.wait_us };
            (verdict, refused.standing.into_iter().collect())
        }
        Outcome::Unseeded => panic!("the state was complete before"),
    }
}

/// A call of an account whose keys have no limits of their own.
pub(crate) fn call(limits: &LimitSet, period: Period, cost: u64) -> Debit<'_> {
    Debit { limits, key: None, meter: None, period, cost }
}

pub(crate) fn key_id(number: u8) -> KeyId {
    KeyId::new(at(START_US), [number; 10])
}

pub(crate) fn meter(name: &str) -> MeterId {
    MeterName::new(name).expect("a good name").id()
}

pub(crate) fn unit() -> impl Strategy<Value = Unit> {
    prop_oneof![3 => Just(Unit::Second), 4 => Just(Unit::Minute), 2 => Just(Unit::Hour), 1 => Just(Unit::Day)]
}

/// Rates that are zero, odd, and many a second.
pub(crate) fn rate() -> impl Strategy<Value = Rate> {
    let count = prop_oneof![1 => Just(0), 6 => 1_u64..=120, 2 => 1_u64..=5_000, 1 => Just(999_983)];
    (count, unit()).prop_map(|(count, per)| Rate { count, per })
}

pub(crate) fn bucket_rule() -> impl Strategy<Value = BucketRule> {
    (rate(), prop_oneof![6 => 1_u64..=12, 2 => 1_u64..=400]).prop_map(|(rate, burst)| BucketRule { rate, burst })
}

pub(crate) fn window_length() -> impl Strategy<Value = Unit> {
    prop_oneof![Just(Unit::Second), Just(Unit::Minute), Just(Unit::Hour)]
}

pub(crate) fn window_rules() -> impl Strategy<Value = Vec<(u64, Unit)>> {
    let lengths = proptest::sample::subsequence(vec![Unit::Second, Unit::Minute, Unit::Hour, Unit::Day], 1..=4);
    (lengths, proptest::collection::vec(0_u64..=30, 4))
        .prop_map(|(lengths, limits)| lengths.into_iter().zip(limits).map(|(length, limit)| (limit, length)).collect())
}

pub(crate) fn rules() -> impl Strategy<Value = Rules> {
    let windows = prop_oneof![1 => Just(Vec::new()), 3 => window_rules()];
    (proptest::option::weighted(0.8, bucket_rule()), windows, proptest::option::weighted(0.8, 0_u64..=60))
        .prop_map(|(bucket, windows, quota)| Rules { bucket, windows, quota })
}

pub(crate) fn cost() -> impl Strategy<Value = u64> {
    prop_oneof![8 => Just(1_u64), 3 => 0_u64..=5, 1 => 0_u64..=40]
}

/// Time from one call to the next: none, little, and what lies about the edges of a second, a minute and an hour.
pub(crate) fn gap_us() -> impl Strategy<Value = i64> {
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

/// Calls as gap and cost.
pub(crate) fn calls(most: usize) -> impl Strategy<Value = Vec<(i64, u64)>> {
    proptest::collection::vec((gap_us(), cost()), 1..=most)
}
