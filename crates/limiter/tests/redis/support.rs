//! What the tests share: limits, subjects, limiters.

use std::time::Duration;

use tollgate_domain::limit::{
    Bucket, Charged, Debit, LimitSet, LimitStanding, Outcome, Quota, QuotaUse, Seed, Spending, Window,
};
use tollgate_domain::{AccountId, DAY_US, KeyId, MeterId, MeterName, NodeId, Period, Rate, Timestamp, Unit};
use tollgate_limiter::{Limiter, Mode, RedisHandle, RedisLimiter, RedisSettings, Subject, Topology};

use crate::private::Server;

/// When the traces begin: 2026-03-01T00:00:00Z.
pub(crate) const START_US: i64 = 1_772_323_200_000_000;
/// Machines that run tests are busy; what the timeout does is tested by itself.
pub(crate) const PATIENT: Duration = Duration::from_secs(5);

/// The quota of calls, of keys without a cap of their own.
pub(crate) const CALLS: Charged = Charged::Calls { key: None };

pub(crate) fn at(after_us: i64) -> Timestamp {
    Timestamp::from_micros(START_US + after_us)
}

#[expect(clippy::disallowed_methods, reason = "Redis has a real clock, and seeds are told by one")]
pub(crate) fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp::from_micros(i64::try_from(since.as_micros()).expect("before the year 294247"))
}

pub(crate) fn long() -> Period {
    Period { start: at(-400 * DAY_US), end: at(4_000 * DAY_US) }
}

pub(crate) fn account(number: u32) -> Subject {
    let [a, b, c, d] = number.to_be_bytes();
    Subject::Account(AccountId::new(at(0), [0, 0, 0, 0, 0, 0, a, b, c, d]))
}

pub(crate) fn meter(name: &str) -> MeterId {
    MeterName::new(name).expect("a good name").id()
}

pub(crate) fn key(number: u8) -> KeyId {
    KeyId::new(at(0), [number; 10])
}

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::new(at(0), [number; 10])
}

pub(crate) fn bucket(count: u64, per: Unit, burst: u64) -> LimitSet {
    let bucket = Bucket::new(Rate { count, per }, burst).expect("in bounds");
    LimitSet { bucket: Some(bucket), ..LimitSet::default() }
}

pub(crate) fn window(limit: u64, length: Unit) -> LimitSet {
    LimitSet { windows: std::iter::once(Window { limit, length }).collect(), ..LimitSet::default() }
}

pub(crate) fn quota(limit: u64) -> LimitSet {
    LimitSet { quota: Quota { limit: Some(limit) }, ..LimitSet::default() }
}

pub(crate) fn call(limits: &LimitSet, cost: u64) -> Debit<'_> {
    Debit { limits, key: None, meter: None, period: long(), cost }
}

/// What a ledger tells of an account that has used so much of its quota, and nothing lately.
pub(crate) fn used(units: u64, ledger_position: u64) -> Seed {
    let quota = Some(QuotaUse { period: long(), used: units });
    Seed {
        since: Timestamp::from_micros(i64::MIN),
        account: Spending { debits: Vec::new(), quota },
        key: None,
        meter: None,
        ledger_position,
    }
}

pub(crate) fn settings(topology: Topology, mode: Mode, number: u8) -> RedisSettings {
    RedisSettings { timeout: PATIENT, ..RedisSettings::new(topology, mode, node(number)) }
}

pub(crate) fn exact(server: &Server) -> RedisLimiter {
    RedisLimiter::new(&settings(Topology::Single(server.url()), Mode::Exact, 1)).expect("a URL")
}

pub(crate) fn leased(server: &Server, number: u8) -> RedisLimiter {
    let mode = Mode::Leased { ttl: Duration::from_millis(500) };
    RedisLimiter::new(&settings(Topology::Single(server.url()), mode, number)).expect("a URL")
}

pub(crate) async fn seeded(limiter: &RedisLimiter, subject: Subject, limits: &LimitSet) -> RedisHandle {
    let handle = limiter.open(subject);
    let is_current = limiter.seed(&handle, limiter.ticket(), &call(limits, 1), &used(0, 0), wall_clock()).await;
    assert_eq!(is_current, Ok(true));
    handle
}

pub(crate) async fn debit(limiter: &RedisLimiter, handle: &RedisHandle, debit: &Debit<'_>) -> Outcome {
    limiter.debit(handle, debit, wall_clock()).await.expect("it answers")
}

pub(crate) fn is_admitted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Admitted(_))
}

pub(crate) async fn admitted(limiter: &RedisLimiter, handle: &RedisHandle, limits: &LimitSet, calls: usize) -> usize {
    let mut count = 0;
    for _ in 0..calls {
        count += usize::from(is_admitted(&debit(limiter, handle, &call(limits, 1)).await));
    }
    count
}

/// How the limits stand as a look shows them; `None` without a state.
pub(crate) async fn standing(
    limiter: &RedisLimiter,
    subject: Subject,
    debit: &Debit<'_>,
) -> Option<Vec<LimitStanding>> {
    let nothing = Debit { cost: 0, ..*debit };
    match limiter.peek(subject, &nothing, wall_clock()).await.expect("it answers")? {
        Outcome::Admitted(admitted) => Some(admitted.standing.into_iter().collect()),
        other => panic!("a call for nothing is admitted, not {other:?}"),
    }
}

/// Units of quota used; the account's own quota must have a limit and stand last.
pub(crate) async fn quota_used(limiter: &RedisLimiter, subject: Subject, limits: &LimitSet) -> Option<u64> {
    standing(limiter, subject, &call(limits, 0)).await.and_then(|standing| standing.last().map(|last| last.used))
}
