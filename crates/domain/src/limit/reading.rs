//! What a store elsewhere has counted of one subject, as bare numbers, and the answer that follows from them.
//!
//! Whoever counts outside of this process decides there; how long a refused caller waits and what the headers say is
//! worked out here, by the same arithmetic that serves an [`super::AccountState`].

use arrayvec::ArrayVec;

use super::bucket::BucketState;
use super::counters::{HOPELESS_WAIT_US, Scope, bucket_standing, quota_standing, quota_wait_us, window_standing};
use super::quota::QuotaState;
use super::spec::{LimitSet, WINDOWS_MAX};
use super::standing::{LimitLabel, Standing};
use super::state::{Admitted, Debit, Outcome, Refused};
use crate::time::Timestamp;

/// What a window holds, as far as an answer needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowReading {
    /// Units in it.
    pub total: u64,
    /// When the next unit fits (or the refused call, where one was refused); `None` when it never will. Not in the
    /// future where there is room.
    pub room_at: Option<Timestamp>,
}

/// The counters of one subject at an instant. Windows stand in the order of the limits they were read for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The bucket, where the limits have one.
    pub bucket: Option<BucketState>,
    /// The windows.
    pub windows: ArrayVec<WindowReading, WINDOWS_MAX>,
    /// The quota.
    pub quota: QuotaState,
}

/// What a store elsewhere answered to a demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the demand was debited.
    pub is_admitted: bool,
    /// The store's time.
    pub now: Timestamp,
    /// How much later that is than the time the caller's waits are counted from.
    pub behind_us: i64,
    /// What all keys share, after the debit.
    pub shared: Reading,
    /// What the key has of its own; stands exactly where the demand names a key's limits.
    pub own: Option<Reading>,
    /// The meter; stands exactly where the demand names one.
    pub meter: Option<QuotaState>,
}

impl Reading {
    /// Refills the bucket up to `now`. A window's slices stay until the next reading.
    pub fn advance(&mut self, now: Timestamp) {
        if let Some(bucket) = &mut self.bucket {
            let spec = bucket.spec();
            bucket.advance(spec, now.max(bucket.at()));
        }
    }

    /// Counts units that were spent of a lease since.
    pub fn take(&mut self, units: u64, limits: &LimitSet, now: Timestamp) {
        self.bucket.iter_mut().for_each(|bucket| bucket.take(units));
        for (window, spec) in self.windows.iter_mut().zip(&limits.windows) {
            if window.total == 0 && units > 0 {
                window.room_at = Some(now + spec.length.micros());
            }
            window.total = window.total.saturating_add(units);
        }
        self.quota.used = self.quota.used.saturating_add(units);
    }

    /// Every limit that such a call would have to wait for, and how long.
    pub fn waits(
        &self,
        limits: &LimitSet,
        cost: u64,
        now: Timestamp,
        is_own: bool,
        mut keep: impl FnMut(LimitLabel, i64),
    ) {
        let scope = Scope::of(is_own);
        if let Some(bucket) = &self.bucket {
            keep(scope.burst(), bucket.wait_us(cost).unwrap_or(HOPELESS_WAIT_US));
        }
        for (window, spec) in self.windows.iter().zip(&limits.windows) {
            if spec.limit.checked_sub(window.total).is_none_or(|left| cost > left) {
                keep(scope.window(spec.length), window.wait_us(now));
            }
        }
        if let Some(wait_us) = limits.quota.limit.and_then(|limit| quota_wait_us(&self.quota, cost, limit, now)) {
            keep(scope.quota(), wait_us);
        }
    }

    /// Adds how each limit stands. `asked` is the cost of a refused call, zero for an admitted one.
    pub fn standing(&self, limits: &LimitSet, asked: u64, now: Timestamp, is_own: bool, out: &mut Standing) {
        let scope = Scope::of(is_own);
        out.extend(self.bucket.as_ref().map(|bucket| bucket_standing(bucket, asked, scope)));
        for (window, spec) in self.windows.iter().zip(&limits.windows) {
            let reset_us = if window.total > 0 { window.wait_us(now) } else { 0 };
            out.push(window_standing(scope.window(spec.length), spec, window.total, reset_us));
        }
        out.extend(limits.quota.limit.map(|limit| quota_standing(&self.quota, limit, now, scope.quota())));
    }
}

impl WindowReading {
    fn wait_us(&self, now: Timestamp) -> i64 {
        self.room_at.map_or(HOPELESS_WAIT_US, |room_at| (room_at - now).max(0))
    }
}

impl Debit<'_> {
    /// The outcome of a demand that was decided elsewhere. A refusal that no limit explains (leases are out)
    /// has a wait of zero and names the bucket: whoever asked knows what else there is to wait for.
    pub fn outcome(&self, answer: &Answer) -> Outcome {
        let Answer { now, behind_us, shared, own, meter, .. } = answer;
        let asked = if answer.is_admitted { 0 } else { self.cost };
        let own = own.as_ref().zip(self.key);
        let mut standing = Standing::new();
        shared.standing(self.limits, asked, *now, false, &mut standing);
        if let Some((own, (_, limits))) = own {
            own.standing(limits, asked, *now, true, &mut standing);
        }
        let meter = meter.as_ref().zip(self.meter.and_then(|(_, quota)| quota.limit));
        standing.extend(meter.map(|(quota, limit)| quota_standing(quota, limit, *now, LimitLabel::Meter)));
        // A caller whose clock reading is behind waits that much longer by its own clock.
        for limit in standing.iter_mut().filter(|limit| limit.reset_us > 0) {
            limit.reset_us = limit.reset_us.saturating_add(*behind_us);
        }
        let period = shared.quota.period;
        if answer.is_admitted {
            return Outcome::Admitted(Admitted { period, standing });
        }
        let (mut by, mut longest_us) = (LimitLabel::Burst, 0);
        let mut keep_longest = |label, wait_us| {
            if wait_us > longest_us {
                (by, longest_us) = (label, wait_us);
            }
        };
        shared.waits(self.limits, self.cost, *now, false, &mut keep_longest);
        if let Some((own, (_, limits))) = own {
            own.waits(limits, self.cost, *now, true, &mut keep_longest);
        }
        if let Some(wait_us) = meter.and_then(|(quota, limit)| quota_wait_us(quota, self.cost, limit, *now)) {
            keep_longest(LimitLabel::Meter, wait_us);
        }
        Outcome::Refused(Refused { by, wait_us: longest_us.saturating_add(*behind_us), period, standing })
    }
}
