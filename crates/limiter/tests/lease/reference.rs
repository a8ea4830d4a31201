//! The other side of the leases in plain Rust: what the scripts in Redis do, with the time given from outside.
//!
//! It does its sums in its own way, so that a mistake in the domain's or the scripts' does not hide behind the same one.

use std::collections::{BTreeMap, VecDeque};

use tollgate_domain::limit::{Bucket, BucketState, LimitSet, QuotaState, Reading, WindowReading};
use tollgate_domain::{Period, Timestamp, Unit};
use tollgate_limiter::protocol::{DEAD_AFTER_US, LeaseAsk, LeaseReply, LeaseVerdict};

use crate::arbiter::Arbiter;
use crate::world::NodeId;

/// The level is kept above the burst for at most so many lease lifetimes.
const CLIP_TTLS: i64 = 4;
const SLICES: i64 = 256;

/// A bucket whose level is not cut off at its burst at once: a spend that is reported late is taken from what the
/// bucket held when it was made.
#[derive(Clone, Debug)]
struct VirtualBucket {
    spec: Bucket,
    level: i128,
    at_us: i64,
}

impl VirtualBucket {
    fn capacity(&self) -> i128 {
        i128::from(self.spec.burst()) * i128::from(self.spec.micros())
    }

    fn refill(&mut self, now_us: i64, clip_us: i64) {
        self.level += i128::from(now_us - self.at_us) * i128::from(self.spec.tokens());
        self.level = self.level.min(self.capacity() + i128::from(clip_us) * i128::from(self.spec.tokens()));
        self.at_us = now_us;
    }

    fn change(&mut self, spec: Bucket) {
        if self.spec != spec {
            let level = self.usual();
            self.level = level * i128::from(spec.micros()) / i128::from(self.spec.micros());
            self.spec = spec;
            self.level = self.level.min(self.capacity());
        }
    }

    fn usual(&self) -> i128 {
        self.level.min(self.capacity())
    }

    fn spend(&mut self, units: u64, at_us: i64) {
        let refilled_since = i128::from((self.at_us - at_us).max(0)) * i128::from(self.spec.tokens());
        let level =
            self.level.min(self.capacity() + refilled_since) - i128::from(units) * i128::from(self.spec.micros());
        // Below zero only by what was granted under a larger burst.
        self.level = level.max(0);
    }
}

#[derive(Clone, Debug)]
struct SlicedWindow {
    length: Unit,
    /// Newest call and units, oldest first.
    slices: VecDeque<(i64, u64)>,
}

impl SlicedWindow {
    fn total(&self) -> u64 {
        self.slices.iter().map(|(_, units)| units).sum()
    }

    fn leave(&mut self, now_us: i64) {
        while self.slices.front().is_some_and(|(newest_us, _)| now_us - newest_us >= self.length.micros()) {
            self.slices.pop_front();
        }
    }

    fn spend(&mut self, units: u64, at_us: i64) {
        let slice_us = self.length.micros() / SLICES;
        match self.slices.back_mut() {
            Some((newest_us, held)) if *newest_us / slice_us >= at_us / slice_us => {
                *held += units;
                *newest_us = at_us.max(*newest_us);
            }
            _ => self.slices.push_back((at_us, units)),
        }
    }

    /// When so many units have left it.
    fn freed_at(&self, units: u64) -> Option<i64> {
        let mut freed = 0;
        self.slices.iter().find_map(|(newest_us, held)| {
            freed += held;
            (freed >= units).then(|| newest_us + self.length.micros())
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    serial: u64,
    session: u64,
    seen_total: u64,
    outstanding: u64,
    expires_us: i64,
    presumed: u64,
    presumed_us: i64,
    period: Period,
}

#[derive(Clone, Debug)]
struct State {
    epoch: u64,
    now_us: i64,
    bucket: Option<VirtualBucket>,
    windows: Vec<SlicedWindow>,
    quota: QuotaState,
    leases: BTreeMap<NodeId, Lease>,
}

/// One account as Redis keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    ttl_us: i64,
    state: Option<State>,
    epochs: u64,
}

impl State {
    fn outstanding(&self) -> u64 {
        self.leases.values().map(|lease| lease.outstanding).sum()
    }

    fn available(&self, limits: &LimitSet) -> u64 {
        let level = self.bucket.as_ref().map(|bucket| bucket.usual() / i128::from(bucket.spec.micros()));
        let windows = self.windows.iter().zip(&limits.windows);
        let windows = windows.map(|(window, spec)| i128::from(spec.limit) - i128::from(window.total()));
        let quota = limits.quota.limit.map(|limit| i128::from(limit) - i128::from(self.quota.used));
        let least = level.into_iter().chain(windows).chain(quota).min().unwrap_or(1 << 53);
        u64::try_from((least - i128::from(self.outstanding())).max(0)).expect("bounded")
    }

    fn spend_rates(&mut self, units: u64, at_us: i64) {
        if units > 0 {
            self.bucket.iter_mut().for_each(|bucket| bucket.spend(units, at_us));
            self.windows.iter_mut().for_each(|window| window.spend(units, at_us));
        }
    }

    fn charge(&mut self, period: Period, units: i128) {
        if self.quota.period.overlaps(&period) {
            self.quota.used = u64::try_from((i128::from(self.quota.used) + units).max(0)).expect("bounded");
        }
    }

    fn advance(&mut self, now_us: i64, ttl_us: i64) {
        self.now_us = self.now_us.max(now_us);
        let now_us = self.now_us;
        self.bucket.iter_mut().for_each(|bucket| bucket.refill(now_us, CLIP_TTLS * ttl_us));
        let mut ends: Vec<(i64, NodeId)> = self.leases.iter().map(|(node, lease)| (lease.expires_us, *node)).collect();
        ends.sort_unstable();
        for (expires_us, node) in ends {
            let mut lease = self.leases[&node];
            if lease.outstanding > 0 && expires_us <= now_us {
                self.spend_rates(lease.outstanding, expires_us);
                self.charge(lease.period, i128::from(lease.outstanding));
                lease.presumed += lease.outstanding;
                (lease.presumed_us, lease.outstanding) = (expires_us, 0);
            }
            if lease.presumed > 0 && now_us - lease.presumed_us >= DEAD_AFTER_US {
                self.charge(lease.period, -i128::from(lease.presumed));
                lease.presumed = 0;
            }
            self.leases.insert(node, lease);
        }
        self.windows.iter_mut().for_each(|window| window.leave(now_us));
    }

    /// False where a limit has no state.
    fn adopt(&mut self, limits: &LimitSet, period: Period) -> bool {
        let find = |length| self.windows.iter().find(|known| known.length == length).cloned();
        let windows: Option<Vec<_>> = limits.windows.iter().map(|window| find(window.length)).collect();
        let (Some(windows), true) = (windows, self.bucket.is_some() || limits.bucket.is_none()) else { return false };
        self.windows = windows;
        self.bucket = self.bucket.take().filter(|_| limits.bucket.is_some());
        if let (Some(bucket), Some(spec)) = (&mut self.bucket, limits.bucket) {
            bucket.change(spec);
        }
        if period != self.quota.period && period.end > self.quota.period.start {
            if !period.overlaps(&self.quota.period) {
                self.quota.used = 0;
            }
            self.quota.period = period;
        }
        true
    }

    /// Takes a report over. How much of what is kept still stands, and what stays presumed.
    fn report(&mut self, lease: Option<Lease>, ask: &LeaseAsk<'_>) -> (u64, u64) {
        let is_valid =
            |lease: &Lease| lease.session == ask.session && ask.epoch.is_none_or(|epoch| epoch == self.epoch);
        let Some(lease) = lease.filter(is_valid) else { return (0, 0) };
        let told = i128::from(ask.spent_total) - i128::from(lease.seen_total);
        if lease.presumed > 0 {
            let heard = u64::try_from(told.max(0)).expect("bounded");
            let presumed = ask.keep.min(lease.presumed.saturating_sub(heard));
            self.charge(ask.spent_in, told - i128::from(lease.presumed) + i128::from(presumed));
            return (0, presumed);
        }
        let spent = u64::try_from(told.clamp(0, i128::from(lease.outstanding))).expect("bounded");
        self.spend_rates(spent, ask.last_spend.as_micros().min(self.now_us));
        self.charge(ask.spent_in, told);
        (if ask.keep + spent <= lease.outstanding { ask.keep } else { 0 }, 0)
    }

    fn reading(&self, limits: &LimitSet, refused: Option<u64>) -> Reading {
        let now = Timestamp::from_micros(self.now_us);
        let level = |bucket: &VirtualBucket| u64::try_from(bucket.usual().max(0)).expect("bounded");
        let window = |(window, spec): (&SlicedWindow, &tollgate_domain::limit::Window)| {
            let total = window.total();
            let wanted = refused.unwrap_or(spec.limit.saturating_sub(total) + 1);
            let excess = (total + wanted).saturating_sub(spec.limit);
            let room_at = if excess == 0 { Some(self.now_us) } else { window.freed_at(excess) };
            WindowReading { total, room_at: room_at.map(Timestamp::from_micros) }
        };
        Reading {
            bucket: self.bucket.as_ref().map(|bucket| BucketState::with_level(bucket.spec, level(bucket), now)),
            windows: self.windows.iter().zip(&limits.windows).map(window).collect(),
            quota: self.quota,
        }
    }
}

impl Reference {
    fn answer(&mut self, node: NodeId, ask: &LeaseAsk<'_>, now_us: i64) -> LeaseReply {
        let ttl_us = self.ttl_us;
        let Some(state) = &mut self.state else { return void(LeaseVerdict::Unseeded, ask) };
        state.advance(now_us, ttl_us);
        let known = state.leases.get(&node).copied();
        if known.is_some_and(|lease| ask.serial <= lease.serial) {
            return void(LeaseVerdict::Overtaken, ask);
        }
        if !ask.reports_only && !state.adopt(ask.limits, ask.period) {
            return void(LeaseVerdict::Unseeded, ask);
        }
        let (kept, presumed) = state.report(known, ask);
        let mut lease = Lease {
            serial: ask.serial,
            session: ask.session,
            seen_total: ask.spent_total,
            outstanding: kept,
            expires_us: state.now_us + ttl_us,
            presumed,
            presumed_us: known.map_or(0, |lease| lease.presumed_us),
            period: state.quota.period,
        };
        state.leases.insert(node, lease);
        let nodes = state.leases.iter().filter(|(other, lease)| **other != node && lease.outstanding > 0).count() + 1;
        let available = state.available(ask.limits);
        let verdict = if ask.reports_only {
            LeaseVerdict::Granted { spare: 0 }
        } else if ask.cost > available {
            LeaseVerdict::Refused
        } else {
            let share = (available - ask.cost) * 3 / (4 * u64::try_from(nodes).expect("a few"));
            let wished = if presumed > 0 { 0 } else { ask.want.saturating_sub(ask.cost) };
            LeaseVerdict::Granted { spare: wished.min(share) }
        };
        if let LeaseVerdict::Granted { spare } = verdict {
            state.spend_rates(ask.cost, state.now_us);
            state.charge(state.quota.period, i128::from(ask.cost));
            lease.seen_total += ask.cost;
            lease.outstanding += spare;
        }
        state.leases.insert(node, lease);
        if lease.outstanding == 0 && lease.presumed == 0 {
            state.leases.remove(&node);
        }
        let refused = (verdict == LeaseVerdict::Refused).then_some(ask.cost);
        LeaseReply {
            verdict,
            epoch: state.epoch,
            kept,
            redis_now: Timestamp::from_micros(state.now_us),
            reading: state.reading(ask.limits, refused),
            outstanding_others: state.outstanding() - lease.outstanding,
        }
    }
}

/// An answer in which only the verdict means anything.
fn void(verdict: LeaseVerdict, ask: &LeaseAsk<'_>) -> LeaseReply {
    let quota = QuotaState { period: ask.period, used: 0, ledger_position: 0 };
    let reading = Reading { bucket: None, windows: std::iter::empty().collect(), quota };
    LeaseReply { verdict, epoch: 0, kept: 0, redis_now: Timestamp::EPOCH, reading, outstanding_others: 0 }
}

impl Arbiter for Reference {
    fn new(ttl_us: i64) -> Self {
        Self { ttl_us, state: None, epochs: 0 }
    }

    fn lease(&mut self, node: NodeId, ask: &LeaseAsk<'_>, now_us: i64) -> LeaseReply {
        self.answer(node, ask, now_us)
    }

    fn seed(&mut self, limits: &LimitSet, period: Period, used: u64, now_us: i64) {
        self.epochs += 1;
        let full = |spec: Bucket| VirtualBucket {
            spec,
            level: i128::from(spec.burst()) * i128::from(spec.micros()),
            at_us: now_us,
        };
        let empty = |length| SlicedWindow { length, slices: VecDeque::new() };
        self.state = Some(State {
            epoch: self.epochs,
            now_us,
            bucket: limits.bucket.map(full),
            windows: limits.windows.iter().map(|window| empty(window.length)).collect(),
            quota: QuotaState { period, used, ledger_position: 0 },
            leases: BTreeMap::new(),
        });
    }

    fn flush(&mut self) {
        self.state = None;
    }

    fn quota_used(&mut self, now_us: i64) -> Option<u64> {
        let ttl_us = self.ttl_us;
        self.state.as_mut().map(|state| {
            state.advance(now_us, ttl_us);
            state.quota.used
        })
    }

    fn outstanding(&mut self, now_us: i64) -> u64 {
        let ttl_us = self.ttl_us;
        self.state.as_mut().map_or(0, |state| {
            state.advance(now_us, ttl_us);
            state.outstanding()
        })
    }
}
