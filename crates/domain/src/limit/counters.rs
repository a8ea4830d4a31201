//! What the limits of one account, or of one key alone, have counted: advanced, asked, debited and seeded together.
//!
//! It takes the time as given: whether the clock can be believed is the account's state to judge.

use super::bucket::BucketState;
use super::quota::QuotaState;
use super::seed::{QuotaUse, Spending};
use super::spec::{LimitSet, Window};
use super::standing::{LimitLabel, LimitStanding, Standing};
use super::window::WindowState;
use crate::period::Period;
use crate::rate::Unit;
use crate::time::{DAY_US, SECOND_US, Timestamp};

/// What a refused caller is told to wait where no wait would help, such as at a rate of zero.
pub(super) const HOPELESS_WAIT_US: i64 = DAY_US;

/// Everything counted for one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) bucket: Option<BucketState>,
    pub(super) windows: Vec<WindowState>,
    pub(super) quota: Option<QuotaState>,
}

/// Whose counters they are, which is what their limits are called after.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    Account,
    Key,
}

impl Scope {
    /// Of an account, or of a key alone.
    pub(super) fn of(is_own: bool) -> Self {
        if is_own { Self::Key } else { Self::Account }
    }

    pub(super) fn burst(self) -> LimitLabel {
        match self {
            Self::Account => LimitLabel::Burst,
            Self::Key => LimitLabel::KeyBurst,
        }
    }

    pub(super) fn window(self, length: Unit) -> LimitLabel {
        match self {
            Self::Account => LimitLabel::Window(length),
            Self::Key => LimitLabel::KeyWindow(length),
        }
    }

    pub(super) fn quota(self) -> LimitLabel {
        match self {
            Self::Account => LimitLabel::Quota,
            Self::Key => LimitLabel::KeyQuota,
        }
    }
}

impl Counters {
    /// Brings every counter to now and under the limits of now; false when one has no state.
    pub(super) fn advance(&mut self, limits: &LimitSet, period: Period, now: Timestamp) -> bool {
        match (&mut self.bucket, limits.bucket) {
            (Some(bucket), Some(spec)) => bucket.advance(spec, now),
            (None, Some(_)) => return false,
            (_, None) => self.bucket = None,
        }
        if !self.windows.iter().map(WindowState::length).eq(limits.windows.iter().map(|window| window.length))
            && !self.rearrange_windows(limits)
        {
            return false;
        }
        self.windows.iter_mut().for_each(|window| window.advance(now));
        let Some(quota) = &mut self.quota else { return false };
        quota.roll(period);
        true
    }

    /// Puts the windows in the order of a changed plan, without those it no longer has.
    fn rearrange_windows(&mut self, limits: &LimitSet) -> bool {
        let find = |length| self.windows.iter().find(|known| known.length() == length).cloned();
        match limits.windows.iter().map(|window| find(window.length)).collect() {
            Some(arranged) => {
                self.windows = arranged;
                true
            }
            None => false,
        }
    }

    pub(super) fn waits(
        &self,
        limits: &LimitSet,
        cost: u64,
        now: Timestamp,
        scope: Scope,
        keep: &mut impl FnMut(LimitLabel, i64),
    ) {
        if let Some(bucket) = &self.bucket {
            keep(scope.burst(), bucket.wait_us(cost).unwrap_or(HOPELESS_WAIT_US));
        }
        for (window, spec) in self.windows.iter().zip(&limits.windows) {
            keep(scope.window(window.length()), window.wait_us(cost, spec.limit, now).unwrap_or(HOPELESS_WAIT_US));
        }
        if let (Some(quota), Some(limit)) = (&self.quota, limits.quota.limit)
            && let Some(wait_us) = quota_wait_us(quota, cost, limit, now)
        {
            keep(scope.quota(), wait_us);
        }
    }

    pub(super) fn take(&mut self, cost: u64, now: Timestamp) {
        self.bucket.iter_mut().for_each(|bucket| bucket.take(cost));
        self.windows.iter_mut().for_each(|window| window.add(cost, now));
        self.quota.iter_mut().for_each(|quota| quota.used = quota.used.saturating_add(cost));
    }

    /// Adds how each limit stands. `asked` is the cost of a refused call, zero for an admitted one.
    pub(super) fn standing(&self, limits: &LimitSet, asked: u64, now: Timestamp, scope: Scope, out: &mut Standing) {
        if let Some(bucket) = &self.bucket {
            out.push(bucket_standing(bucket, asked, scope));
        }
        for (window, spec) in self.windows.iter().zip(&limits.windows) {
            let next = if window.total() > 0 { (window.remaining(spec.limit) + 1).max(asked) } else { 0 };
            let reset_us = window.wait_us(next, spec.limit, now).unwrap_or(HOPELESS_WAIT_US);
            out.push(window_standing(scope.window(window.length()), spec, window.total(), reset_us));
        }
        if let (Some(quota), Some(limit)) = (&self.quota, limits.quota.limit) {
            out.push(quota_standing(quota, limit, now, scope.quota()));
        }
    }

    pub(super) fn rebase(&mut self, now: Timestamp) {
        self.bucket.iter_mut().for_each(|bucket| bucket.rebase(now));
        self.windows.iter_mut().for_each(|window| window.rebase(now));
    }

    /// Whether full and empty again: as good as never used, but for the quota.
    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        let refilled = self.bucket.is_none_or(|mut bucket| {
            bucket.advance(bucket.spec(), now);
            bucket.is_full()
        });
        let emptied = |window: &WindowState| {
            window.slices().last().is_none_or(|newest| now - newest.newest >= window.length().micros())
        };
        refilled && self.windows.iter().all(emptied)
    }

    pub(super) fn seed(&mut self, limits: &LimitSet, spending: &Spending, past: SeenPast, period: Period) {
        if let (None, Some(spec)) = (&self.bucket, limits.bucket) {
            // From an empty bucket: what was in it at the start is not known, and assuming tokens that were
            // spent before it would admit the burst twice. A start that lies far enough back finds it full.
            let mut bucket = BucketState::empty(spec, past.of(past.since));
            for debited in &spending.debits {
                bucket.advance(spec, past.of(debited.at));
                bucket.take(debited.units);
            }
            bucket.advance(spec, past.now);
            self.bucket = Some(bucket);
        }
        for spec in &limits.windows {
            if self.windows.iter().any(|window| window.length() == spec.length) {
                continue;
            }
            let mut window = WindowState::empty(spec.length);
            for debited in &spending.debits {
                window.add(debited.units, past.of(debited.at));
                window.advance(past.now);
            }
            self.windows.push(window);
        }
        if self.quota.is_none() {
            self.quota = Some(quota_from_ledger(spending.quota, past, period));
        }
    }
}

/// A quota as the ledger tells it.
pub(super) fn quota_from_ledger(spent: Option<QuotaUse>, past: SeenPast, period: Period) -> QuotaState {
    let (period, used) = spent.map_or((period, 0), |quota| (quota.period, quota.used));
    QuotaState { period, used, ledger_position: past.ledger_position }
}

/// How a bucket stands. `asked` is the cost of a refused call, zero for an admitted one.
pub(super) fn bucket_standing(bucket: &BucketState, asked: u64, scope: Scope) -> LimitStanding {
    let (limit, remaining) = (bucket.spec().burst(), bucket.remaining());
    let next = if remaining < limit { (remaining + 1).max(asked) } else { 0 };
    LimitStanding {
        label: scope.burst(),
        limit,
        remaining,
        used: limit - remaining,
        reset_us: bucket.wait_us(next).unwrap_or(HOPELESS_WAIT_US),
        window_secs: Some(bucket.spec().fill_secs()),
    }
}

/// How a window that holds so much stands.
pub(super) fn window_standing(label: LimitLabel, spec: &Window, total: u64, reset_us: i64) -> LimitStanding {
    LimitStanding {
        label,
        limit: spec.limit,
        remaining: spec.limit.saturating_sub(total),
        used: total,
        reset_us,
        window_secs: Some(spec.length.micros().unsigned_abs() / SECOND_US.unsigned_abs()),
    }
}

/// How a quota of this limit stands.
pub(super) fn quota_standing(quota: &QuotaState, limit: u64, now: Timestamp, label: LimitLabel) -> LimitStanding {
    LimitStanding {
        label,
        limit,
        remaining: limit.saturating_sub(quota.used),
        used: quota.used,
        reset_us: (quota.period.end - now).max(0),
        window_secs: None,
    }
}

/// How long a call of this cost has to wait for the quota; `None` when it fits.
pub(super) fn quota_wait_us(quota: &QuotaState, cost: u64, limit: u64, now: Timestamp) -> Option<i64> {
    (!quota.fits(cost, limit)).then(|| (quota.period.end - now).max(1))
}

/// How a ledger's times look to a state whose own time may be ahead of the clock's.
#[derive(Clone, Copy)]
pub(super) struct SeenPast {
    pub(super) since: Timestamp,
    pub(super) now: Timestamp,
    pub(super) ahead_us: i64,
    pub(super) ledger_position: u64,
}

impl SeenPast {
    /// A ledger's instant in the state's time. What was written before the clock was set back counts as made now:
    /// nothing lies ahead, or it would hold back the filling until the clock has caught up.
    fn of(self, at: Timestamp) -> Timestamp {
        (at + self.ahead_us).min(self.now)
    }
}
