//! Going on without Redis: this node's share of every limit, counted in this process.
//!
//! Each of n nodes takes an n-th, so that together they stay within the limits. What was left of a quota when Redis was
//! last heard is shared out; buckets and windows begin as if nothing had been spent, but each no larger than its share.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tollgate_domain::limit::{
    Bucket, Charged, Debit, LimitSet, Outcome, Quota, QuotaState, QuotaUse, Seed, Spending, Window,
};
use tollgate_domain::{Period, Timestamp};

use super::subjects::{Entry, Own};
use crate::in_process::InProcess;
use crate::limiter::Limiter;

/// What goes on here while Redis is away.
#[derive(Debug, Default)]
pub(super) struct Local {
    counted: InProcess,
}

impl Local {
    /// Debits a call from this node's share.
    pub(super) fn debit(&self, entry: &Entry, debit: &Debit<'_>, now: Timestamp, nodes: u64) -> Outcome {
        let (handle, is_stale) = entry.local(|| self.counted.open(entry.subject));
        let known = |own| entry.quota(own).filter(|quota| quota.period.overlaps(&debit.period));
        let quota = known(None);
        let own_quota = debit.key.and_then(|(id, _)| known(Some(Own::Key(id))));
        let meter_quota = debit.meter.and_then(|(id, _)| known(Some(Own::Meter(id))));
        let limits = share_of(debit.limits, quota, nodes);
        let own = debit.key.map(|(id, limits)| (id, share_of(limits, own_quota, nodes)));
        let share = Debit {
            limits: &limits,
            key: own.as_ref().map(|(id, limits)| (*id, limits)),
            meter: debit.meter.map(|(id, limit)| (id, share_of_quota(limit, meter_quota, nodes))),
            ..*debit
        };
        let spending = |quota: Option<QuotaState>| Spending {
            debits: Vec::new(),
            quota: quota.map(|quota| QuotaUse { period: quota.period, used: quota.used }),
        };
        let seed = || {
            let seed = Seed {
                since: Timestamp::from_micros(i64::MIN),
                account: spending(quota),
                key: debit.key.map(|(id, _)| (id, spending(own_quota))),
                meter: debit.meter.map(|(id, _)| (id, spending(meter_quota))),
                ledger_position: 0,
            };
            at_once(self.counted.seed(&handle, self.counted.ticket(), &share, &seed, now));
        };
        if is_stale && quota.is_some() {
            // Redis was heard since: quotas are again as Redis had them last. Buckets and windows go on, or each short
            // outage would give a burst away.
            handle.forget_quotas();
            seed();
        }
        let outcome = self.counted.debit_locally(&handle, &share, now);
        if outcome != Outcome::Unseeded {
            return outcome;
        }
        seed();
        self.counted.debit_locally(&handle, &share, now)
    }

    /// Corrects what a debit took here.
    pub(super) fn settle(&self, entry: &Entry, of: Charged, period: Period, units: i64) -> bool {
        let handle = entry.counted_locally();
        handle.is_some_and(|handle| self.counted.settle_locally(&handle, of, period, units))
    }

    /// Forgets who has been idle.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.counted.sweep(now);
    }
}

/// The in-process limiter never waits.
fn at_once<T>(answer: impl Future<Output = T>) -> Option<T> {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// One of so many shares of these limits: at least one of everything that is not zero.
fn share_of(limits: &LimitSet, quota: Option<QuotaState>, nodes: u64) -> LimitSet {
    let nodes = nodes.max(1);
    let windows = limits.windows.iter().map(|window| Window { limit: part(window.limit, nodes), ..*window });
    LimitSet {
        bucket: limits.bucket.map(|bucket| share_of_bucket(bucket, nodes)),
        windows: windows.collect(),
        quota: share_of_quota(limits.quota, quota, nodes),
    }
}

/// What was used when Redis was last heard, and a share of what was left then.
fn share_of_quota(limit: Quota, known: Option<QuotaState>, nodes: u64) -> Quota {
    let used = known.map_or(0, |quota| quota.used);
    Quota { limit: limit.limit.map(|limit| used.saturating_add(part(limit.saturating_sub(used), nodes.max(1)))) }
}

fn part(units: u64, nodes: u64) -> u64 {
    if units == 0 { 0 } else { (units / nodes).max(1) }
}

fn share_of_bucket(bucket: Bucket, nodes: u64) -> Bucket {
    let burst = if bucket.burst() == 0 { 0 } else { (bucket.burst() / nodes).max(1) };
    let divisor = greatest_common_divisor(bucket.tokens(), nodes).max(1);
    let slowed = bucket
        .micros()
        .checked_mul(nodes / divisor)
        .and_then(|micros| Bucket::from_parts(bucket.tokens() / divisor, micros, burst));
    // A share of a rate too slow to be counted exactly is no share of a burst either: nothing is admitted twice.
    slowed.or_else(|| Bucket::from_parts(bucket.tokens(), bucket.micros(), burst)).unwrap_or(bucket)
}

const fn greatest_common_divisor(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{Rate, Unit};

    use super::*;

    #[test]
    fn shares_of_a_rate_add_up_to_it() {
        for (count, per, burst, nodes) in [(600, Unit::Minute, 60, 3), (7, Unit::Second, 7, 4), (1, Unit::Day, 1, 5)] {
            let bucket = Bucket::new(Rate { count, per }, burst).expect("in bounds");
            let share = share_of_bucket(bucket, nodes);
            let rate = |bucket: Bucket| u128::from(bucket.tokens()) * u128::from(per.micros().unsigned_abs());
            assert_eq!(
                rate(share) * u128::from(nodes) * u128::from(bucket.micros()),
                rate(bucket) * u128::from(share.micros()),
                "{count}/{per}"
            );
            assert_eq!(share.burst(), (burst / nodes).max(1));
        }
    }

    #[test]
    fn what_is_left_of_a_quota_is_shared_out_and_nothing_stays_nothing() {
        let period = Period { start: Timestamp::EPOCH, end: Timestamp::from_secs(60) };
        let limits = |limit| LimitSet { quota: Quota { limit: Some(limit) }, ..LimitSet::default() };
        let used = |used| Some(QuotaState { period, used, ledger_position: 0 });
        for (limit, quota, expected) in [
            (100, used(40), 60),
            (100, None, 33),
            (100, used(99), 100),
            (100, used(100), 100),
            (10, used(12), 12),
            (0, None, 0),
        ] {
            assert_eq!(share_of(&limits(limit), quota, 3).quota.limit, Some(expected), "{limit} {quota:?}");
        }
    }
}
