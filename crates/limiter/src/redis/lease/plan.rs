//! What a step of a lease's state leads to: an ask to be sent, and what callers and the background are to do.

use tollgate_domain::limit::{LimitSet, Outcome};
use tollgate_domain::{Period, Timestamp};

use crate::limiter::Subject;
use crate::redis::protocol::LeaseAsk;

/// An ask that is on its way, or about to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) flight: u64,
    pub(super) sent_us: i64,
    pub(super) forgets: u32,
    pub(super) period: Period,
    pub(super) session: u64,
    pub(super) epoch: Option<u64>,
    pub(super) spent_total: u64,
    pub(super) spent_in: Period,
    pub(super) last_spend: Timestamp,
    pub(super) keep: u64,
    pub(super) cost: u64,
    pub(super) want: u64,
    pub(super) reports_only: bool,
}

impl Plan {
    pub(super) fn ask<'a>(&self, subject: Subject, limits: &'a LimitSet) -> LeaseAsk<'a> {
        LeaseAsk {
            subject,
            limits,
            period: self.period,
            serial: self.flight,
            session: self.session,
            epoch: self.epoch,
            spent_total: self.spent_total,
            spent_in: self.spent_in,
            last_spend: self.last_spend,
            keep: self.keep,
            cost: self.cost,
            want: self.want,
            reports_only: self.reports_only,
        }
    }
}

/// What became of a call within this node.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most calls are done at once, and a box would cost them an allocation")]
pub(super) enum Step {
    /// It is decided.
    Done(Outcome),
    /// An ask is on its way: wait until this one is over, and try again.
    Wait(u64),
    /// Redis must be asked first, by the caller.
    Ask(Plan),
    /// It would have to be asked, and has just left the ask that the caller waited for unanswered.
    Down,
}

/// What a held entry needs when it is looked at.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives for a moment, a few times a second and lease")]
pub(super) enum Tend {
    /// Nothing; it leaves the schedule.
    Nothing,
    /// To be looked at again then.
    Later(i64),
    /// To be renewed under these limits, or reported and given back.
    Ask(Plan, LimitSet),
}
