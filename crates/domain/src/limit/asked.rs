//! All counters that one call is debited from: what keys share, what its key has of its own, and its meter.
//!
//! They are asked and debited together; finding them and telling the time is the account's state's.

use super::counters::{Counters, Scope, quota_standing, quota_wait_us};
use super::quota::QuotaState;
use super::spec::{LimitSet, Quota};
use super::standing::{LimitLabel, Standing};
use crate::time::Timestamp;

/// The counters of a call, each with its limits, brought to now.
pub(super) struct Asked<'a> {
    pub(super) shared: (&'a mut Counters, &'a LimitSet),
    pub(super) own: Option<(&'a mut Counters, &'a LimitSet)>,
    pub(super) meter: Option<(&'a mut QuotaState, Quota)>,
}

impl Asked<'_> {
    /// The limit that such a call would have to wait for longest, and how long; `None` where it passes.
    pub(super) fn longest_wait(&self, cost: u64, now: Timestamp) -> Option<(LimitLabel, i64)> {
        let mut longest: Option<(LimitLabel, i64)> = None;
        let mut keep_longest = |label, wait_us| {
            if wait_us > 0 && longest.is_none_or(|(_, longest_us)| wait_us > longest_us) {
                longest = Some((label, wait_us));
            }
        };
        self.shared.0.waits(self.shared.1, cost, now, Scope::Account, &mut keep_longest);
        if let Some((own, limits)) = &self.own {
            own.waits(limits, cost, now, Scope::Key, &mut keep_longest);
        }
        if let Some((meter, Quota { limit: Some(limit) })) = &self.meter
            && let Some(wait_us) = quota_wait_us(meter, cost, *limit, now)
        {
            keep_longest(LimitLabel::Meter, wait_us);
        }
        longest
    }

    /// Debits all of them.
    pub(super) fn take(&mut self, cost: u64, now: Timestamp) {
        self.shared.0.take(cost, now);
        if let Some((own, _)) = &mut self.own {
            own.take(cost, now);
        }
        if let Some((meter, _)) = &mut self.meter {
            meter.used = meter.used.saturating_add(cost);
        }
    }

    /// How each limit stands. `asked` is the cost of a refused call, zero for an admitted one.
    pub(super) fn standing(&self, asked: u64, now: Timestamp) -> Standing {
        let mut standing = Standing::new();
        self.shared.0.standing(self.shared.1, asked, now, Scope::Account, &mut standing);
        if let Some((own, limits)) = &self.own {
            own.standing(limits, asked, now, Scope::Key, &mut standing);
        }
        if let Some((meter, Quota { limit: Some(limit) })) = &self.meter {
            standing.push(quota_standing(meter, *limit, now, LimitLabel::Meter));
        }
        standing
    }
}
