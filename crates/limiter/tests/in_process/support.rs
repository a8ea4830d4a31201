//! What the tests share: limits, subjects, and waiting for an answer that is there at once.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tollgate_domain::limit::{Bucket, Charged, Debit, LimitSet, Outcome, Quota, QuotaUse, Seed, Spending, Window};
use tollgate_domain::{AccountId, DAY_US, KeyId, MeterId, MeterName, Period, Rate, Timestamp, Unit};
use tollgate_limiter::{Handle, InProcess, InProcessSettings, Limiter, Subject};

/// When the tests begin: 2026-03-01T00:00:00Z.
pub(crate) const START_US: i64 = 1_772_323_200_000_000;

/// The quota of calls, of keys without a cap of their own.
pub(crate) const CALLS: Charged = Charged::Calls { key: None };

pub(crate) fn at(after_us: i64) -> Timestamp {
    Timestamp::from_micros(START_US + after_us)
}

pub(crate) fn month() -> Period {
    Period { start: at(0), end: at(31 * DAY_US) }
}

/// The in-process limiter never waits.
pub(crate) fn ready<T>(answer: impl Future<Output = T>) -> T {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the in-process limiter waited"),
    }
}

pub(crate) fn account(number: u32) -> Subject {
    let [a, b, c, d] = number.to_be_bytes();
    Subject::Account(AccountId::new(at(0), [0, 0, 0, 0, 0, 0, a, b, c, d]))
}

pub(crate) fn client(number: u32) -> Subject {
    Subject::Client(0x2001_0db8_0000_0000_0000_0000_0000_0000 | u128::from(number) << 64)
}

pub(crate) fn meter(name: &str) -> MeterId {
    MeterName::new(name).expect("a good name").id()
}

pub(crate) fn key(number: u8) -> KeyId {
    KeyId::new(at(0), [number; 10])
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

pub(crate) fn one(limits: &LimitSet) -> Debit<'_> {
    Debit { limits, key: None, meter: None, period: month(), cost: 1 }
}

/// What a ledger tells of a subject that has used so much of its quota, and nothing lately.
pub(crate) fn used(units: u64) -> Seed {
    let quota = Some(QuotaUse { period: month(), used: units });
    let spending = Spending { debits: Vec::new(), quota };
    Seed { since: Timestamp::EPOCH, account: spending, key: None, meter: None, ledger_position: 0 }
}

pub(crate) fn limiter(clients_max: usize) -> InProcess {
    InProcess::new(InProcessSettings { clients_max, ..InProcessSettings::default() })
}

/// A handle of an account that has never called.
pub(crate) fn seeded(limiter: &InProcess, subject: Subject, limits: &LimitSet) -> Handle {
    let handle = limiter.open(subject);
    let ticket = limiter.ticket();
    assert!(ready(limiter.seed(&handle, ticket, &one(limits), &used(0), at(0))).expect("it answers"));
    handle
}

pub(crate) fn debit(limiter: &InProcess, handle: &Handle, debit: &Debit<'_>, after_us: i64) -> Outcome {
    ready(limiter.debit(handle, debit, at(after_us))).expect("it answers")
}

pub(crate) fn is_admitted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Admitted(_))
}

/// How many of so many calls at one instant are let in.
pub(crate) fn admitted(limiter: &InProcess, handle: &Handle, limits: &LimitSet, calls: usize, after_us: i64) -> usize {
    (0..calls).filter(|_| is_admitted(&debit(limiter, handle, &one(limits), after_us))).count()
}

/// Units of quota used as a peek shows them; the quota must have a limit and stand last.
pub(crate) fn quota_used(limiter: &InProcess, subject: Subject, limits: &LimitSet, after_us: i64) -> Option<u64> {
    let nothing = Debit { cost: 0, ..one(limits) };
    match ready(limiter.peek(subject, &nothing, at(after_us))).expect("it answers")? {
        Outcome::Admitted(admitted) => admitted.standing.last().map(|standing| standing.used),
        other => panic!("a call for nothing is admitted, not {other:?}"),
    }
}
