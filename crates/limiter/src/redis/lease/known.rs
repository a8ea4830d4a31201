//! What the last answer told: the reading the headers come from, and the instant its time counts from.

use tollgate_domain::limit::{LimitSet, Outcome, Reading, Standing};
use tollgate_domain::{Period, Timestamp};

use super::refusal::Cause;
use super::settings::Times;

/// An account as Redis last told it, with this node's own spends since.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The limits it was asked under.
    pub(super) limits: LimitSet,
    /// The period it was asked for; `None` where the lease belongs to another one than the reading.
    pub(super) asked_period: Option<Period>,
    pub(super) reading: Reading,
    /// Units that other nodes held.
    pub(super) others: u64,
    /// Redis's time in the answer …
    pub(super) redis_now: Timestamp,
    /// … and when, by the monotonic clock, its ask was sent.
    pub(super) sent_us: i64,
    /// When the answer arrived.
    pub(super) heard_us: i64,
}

impl Known {
    /// A bound of Redis's time: it is never later than this at that instant.
    ///
    /// The script ran after the ask was sent, so counting from the sending adds what the ask took to get there.
    pub(super) fn at(&self, monotonic_us: i64) -> Timestamp {
        self.redis_now + (monotonic_us - self.sent_us)
    }

    /// A bound of Redis's time on the other side: it is never earlier than this at that instant.
    ///
    /// What a caller is told to wait counts from here, so that one who comes back on the dot is not too early.
    pub(super) fn not_before(&self, monotonic_us: i64) -> Timestamp {
        self.redis_now + (monotonic_us - self.heard_us)
    }

    /// Why a call was refused, and for how many microseconds from the sending it is no use to ask again.
    ///
    /// While others hold units, that is when it could pass beside all that they hold, which is as good as spent: but no
    /// longer than it takes them to give some back.
    pub(super) fn refusal(&self, cost: u64, times: &Times) -> (Cause, i64) {
        let cause = |cost| Cause::find(&self.reading, &self.limits, cost, self.redis_now, self.others);
        let wait_us = |cause: &Cause| cause.passes_at() - self.redis_now;
        match cause(cost) {
            Some(cause) if self.others == 0 => (cause, wait_us(&cause).clamp(1, times.ttl_us)),
            alone => {
                let beside = cause(cost.saturating_add(self.others));
                let beside_us = beside.as_ref().map_or(times.rest_us, wait_us).clamp(1, times.ttl_us / 4);
                (alone.unwrap_or_else(|| Cause::held_by_others(&self.limits, self.redis_now)), beside_us)
            }
        }
    }

    /// The refusal as its caller hears it.
    pub(super) fn refused(&self, cause: &Cause, cost: u64, now_us: i64, times: &Times) -> Outcome {
        let (at, told_at) = (self.at(now_us), self.not_before(now_us));
        Outcome::Refused(cause.refused(&self.reading, &self.limits, cost, at, told_at, times.ttl_us))
    }

    /// How the account stands after an admitted call.
    pub(super) fn standing(&self, at: Timestamp) -> Standing {
        let mut standing = Standing::new();
        self.reading.standing(&self.limits, 0, at, false, &mut standing);
        standing
    }
}
