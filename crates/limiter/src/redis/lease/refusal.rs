//! What a node remembers of refusals, so that a caller who goes on asking costs Redis next to nothing.

use arrayvec::ArrayVec;
use tollgate_domain::Timestamp;
use tollgate_domain::limit::{LimitKind, LimitLabel, LimitSet, Reading, Refused, Standing};

/// How many costs are told apart.
const COSTS_MAX: usize = 4;

/// Why a call waits, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// The limit that refuses longest.
    by: LimitLabel,
    /// When the call could pass, in Redis's time, if every lease came back unspent.
    passes_at: Timestamp,
    /// Whether other nodes held units at the time, so that it may as well pass sooner or later.
    is_shared: bool,
}

impl Cause {
    /// What the limits say of such a call, nothing of others' leases counted; `None` when nothing stands against it.
    pub(super) fn find(reading: &Reading, limits: &LimitSet, cost: u64, at: Timestamp, others: u64) -> Option<Self> {
        let mut longest = None;
        reading.waits(limits, cost, at, false, |label, wait_us| {
            if wait_us > 0 && longest.is_none_or(|(_, longest_us)| wait_us > longest_us) {
                longest = Some((label, wait_us));
            }
        });
        longest.map(|(by, wait_us)| Self { by, passes_at: at + wait_us, is_shared: others > 0 })
    }

    /// Nothing but what others hold stands against the call.
    pub(super) fn held_by_others(limits: &LimitSet, at: Timestamp) -> Self {
        Self { by: rate_label(limits), passes_at: at, is_shared: true }
    }

    /// Whether it is a window that refuses: its reading tells the wait of one cost only.
    pub(super) fn is_window(&self) -> bool {
        matches!(self.by, LimitLabel::Window(_) | LimitLabel::KeyWindow(_))
    }

    /// When it could pass, in Redis's time, if every lease came back unspent.
    pub(super) fn passes_at(&self) -> Timestamp {
        self.passes_at
    }

    /// The refusal as a caller hears it. While others hold units, whether the quota is exhausted is not known.
    /// The standing is as of `at`, the wait counts from `told_at`.
    pub(super) fn refused(
        &self,
        reading: &Reading,
        limits: &LimitSet,
        cost: u64,
        at: Timestamp,
        told_at: Timestamp,
        ttl_us: i64,
    ) -> Refused {
        let remaining_us = (self.passes_at - told_at).max(1);
        let mut standing = Standing::new();
        reading.standing(limits, cost, at, false, &mut standing);
        for limit in standing.iter_mut().filter(|limit| limit.label == self.by) {
            limit.reset_us = remaining_us;
        }
        let (by, wait_us) = if self.is_shared {
            let by = if self.by.kind() == LimitKind::Quota { rate_label(limits) } else { self.by };
            (by, remaining_us.max(ttl_us))
        } else {
            (self.by, remaining_us)
        };
        Refused { by, wait_us, period: reading.quota.period, standing }
    }
}

/// What a refusal is called that is about what others hold: never the quota.
fn rate_label(limits: &LimitSet) -> LimitLabel {
    match (limits.bucket, limits.windows.first()) {
        (None, Some(window)) => LimitLabel::Window(window.length),
        _ => LimitLabel::Burst,
    }
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    cost: u64,
    /// By the monotonic clock; from then on it is worth asking again.
    until_us: i64,
    cause: Cause,
}

/// The refusals of late, one a cost.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    remembered: ArrayVec<Remembered, COSTS_MAX>,
}

impl Refusals {
    pub(super) fn remember(&mut self, cost: u64, until_us: i64, cause: Cause) {
        self.remembered.retain(|known| known.cost != cost);
        if self.remembered.is_full() {
            let soonest = (0..COSTS_MAX).min_by_key(|index| self.remembered[*index].until_us);
            soonest.map(|index| self.remembered.swap_remove(index));
        }
        self.remembered.push(Remembered { cost, until_us, cause });
    }

    pub(super) fn find(&self, cost: u64, now_us: i64) -> Option<Cause> {
        let holds = |known: &&Remembered| known.cost == cost && now_us < known.until_us;
        self.remembered.iter().find(holds).map(|known| known.cause)
    }

    pub(super) fn clear(&mut self) {
        self.remembered.clear();
    }
}
