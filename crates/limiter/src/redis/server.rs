//! Redis as the limiter sees it: a debit, a lease, a seed, a settling, a charge, each one script call.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tollgate_domain::limit::{
    AccountState, Answer, Charged, Debit, LimitLabel, LimitSet, Outcome, Refused, Seed, Spending, WindowState,
};
use tollgate_domain::{NodeId, Period, Timestamp};

use super::RedisSettings;
use super::connection::Source;
use super::link::{Arguments, Call, Late, Link};
use super::protocol::{LeaseAsk, LeaseReply, LeaseServer, LeaseVerdict};
use super::scripts::{self, SCRIPTS};
use super::subjects::{Entry, Own, Subjects};
use super::wire::{self, Head, Packed, Reply, Verdict};
use crate::limiter::{Health, LimiterDown, Subject};

/// How far back a late report may refill, in lease times.
const CLIP_TTLS: i64 = 4;
/// How long a charge that found no state is remembered, so that an older seed is not believed.
const CHARGE_KEPT_US: i64 = 300_000_000;

/// The state's keeper, as all calls of a limiter share it.
pub(super) struct Server {
    link: Arc<Link>,
    subjects: Subjects,
    node: NodeId,
    ttl_us: i64,
    /// Where calls bring the time, the last that one has brought: for tests on one trace.
    callers_clock: Option<AtomicI64>,
    nodes: AtomicU64,
    last_epoch: AtomicU64,
}

impl Server {
    pub(super) fn new(
        source: &Source,
        settings: &RedisSettings,
        ttl: Option<Duration>,
        is_callers_clock: bool,
    ) -> Self {
        let ttl_us = ttl.map_or(0, |ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX / CLIP_TTLS));
        Self {
            link: Link::new(source, settings),
            subjects: Subjects::new(&settings.prefix),
            node: settings.node,
            ttl_us,
            callers_clock: is_callers_clock.then(AtomicI64::default),
            nodes: AtomicU64::new(1),
            last_epoch: AtomicU64::new(0),
        }
    }

    pub(super) fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    pub(super) fn nodes(&self) -> u64 {
        self.nodes.load(Ordering::Relaxed)
    }

    pub(super) fn set_nodes(&self, count: usize) {
        self.nodes.store(u64::try_from(count).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    pub(super) fn health(&self) -> Health {
        let (commands, failures) = self.link.counts();
        let breaker = self.link.breaker();
        Health { is_down: breaker.is_open(), outages: breaker.outages(), commands, failures, ..Health::default() }
    }

    /// A number that no other state has: this run's random bits, and a count.
    fn epoch(&self) -> u64 {
        const BITS: u64 = (1 << 53) - 1;
        let count = self.last_epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let random = u64::try_from(self.node.as_u128() & u128::from(BITS)).unwrap_or(0);
        (random ^ count.wrapping_mul(0x9e37_79b9_7f4a_7c15)) & BITS
    }

    fn head(&self, subject: Subject, limits: &LimitSet, period: Period, units: i64, now: Option<Timestamp>) -> Head {
        Head {
            units,
            period,
            is_look: false,
            begins_fresh: matches!(subject, Subject::Client(_)),
            epoch: self.epoch(),
            kept_us: wire::kept_us(subject, limits, period, now.unwrap_or(period.start)),
            clip_us: CLIP_TTLS * self.ttl_us,
            now: self.callers_clock.as_ref().map(|clock| callers_time(clock, now)),
        }
    }

    pub(super) async fn debit(
        &self,
        entry: &Entry,
        debit: &Debit<'_>,
        now: Timestamp,
        is_look: bool,
    ) -> Result<Outcome, LimiterDown> {
        let head = self.head(entry.subject, debit.limits, debit.period, units(debit.cost), Some(now));
        let mut rest = vec![Head { is_look, ..head }.packed(), wire::limits(debit.limits)];
        if let Some((id, limits)) = debit.key {
            rest.extend([wire::own_field(Own::Key(id)), wire::limits(limits)]);
        }
        if let Some((id, quota)) = debit.meter {
            rest.extend([wire::own_field(Own::Meter(id)), wire::limits(&LimitSet { quota, ..LimitSet::default() })]);
        }
        let late = (!is_look && debit.cost > 0).then(|| {
            let own = [debit.key.map(|(id, _)| Own::Key(id)), debit.meter.map(|(id, _)| Own::Meter(id))];
            undo(entry, head, own, |reply| matches!(reply.verdict, Verdict::Admitted))
        });
        let bytes = self.call(&SCRIPTS.debit, entry, rest, late).await?;
        let reply = Reply::read(&bytes, debit.limits, debit.key.map(|(_, own)| own), debit.meter.is_some());
        let reply = reply.ok_or_else(|| unreadable(&bytes))?;
        Ok(self.outcome(entry, debit, reply))
    }

    fn outcome(&self, entry: &Entry, debit: &Debit<'_>, reply: Reply) -> Outcome {
        let Reply { verdict, now, behind_us, outstanding, flag: shared_refuses, shared, own, meter, .. } = reply;
        let Some(shared) = shared else {
            entry.missing(verdict == Verdict::Gone);
            return Outcome::Unseeded;
        };
        let own_quota = debit.key.zip(own.as_ref()).map(|((id, _), own)| (Own::Key(id), own.quota));
        let meter_quota = debit.meter.zip(meter).map(|((id, _), meter)| (Own::Meter(id), meter));
        entry.found(Some(&shared), own_quota.into_iter().chain(meter_quota));
        let is_admitted = verdict == Verdict::Admitted;
        match debit.outcome(&Answer { is_admitted, now, behind_us, shared, own, meter }) {
            Outcome::Refused(refused) if outstanding > 0 && shared_refuses => {
                Outcome::Refused(while_leased(refused, self.ttl_us))
            }
            outcome => outcome,
        }
    }

    pub(super) async fn seed(
        &self,
        entry: &Entry,
        debit: &Debit<'_>,
        seed: &Seed,
        now: Timestamp,
    ) -> Result<bool, LimiterDown> {
        let head = self.head(entry.subject, debit.limits, debit.period, 0, Some(now));
        let mut position = Packed::default();
        position.unsigned(seed.ledger_position);
        // A ledger that was not asked for the key's own tells nothing of it: it stays without state. Nor for a meter.
        let own = debit.key.zip(seed.key.as_ref()).filter(|((id, _), (seeded, _))| id == seeded);
        let meter = debit.meter.zip(seed.meter.as_ref()).filter(|((id, _), (seeded, _))| id == seeded);
        let mut rest = vec![head.packed(), wire::limits(debit.limits), position.0];
        rest.push(own.map(|((id, _), _)| wire::own_field(Own::Key(id))).unwrap_or_default());
        rest.push(own.map(|((_, limits), _)| wire::limits(limits)).unwrap_or_default());
        rest.push(meter.map(|((id, _), _)| wire::own_field(Own::Meter(id))).unwrap_or_default());
        rest.push(meter.map(|(_, (_, told))| told_quota(0, told, debit.period)).unwrap_or_default());
        // The domain works out from the ledger what has been counted; the script only puts it where something is missing.
        let mut told = AccountState::default();
        told.seed(debit, seed, now);
        for (key, bucket, windows) in told.rates() {
            let (limits, spending) = match (key, own) {
                (None, _) => (debit.limits, &seed.account),
                (Some(_), Some(((_, limits), (_, spending)))) => (limits, spending),
                (Some(_), None) => continue,
            };
            rest.push(told_quota(bucket.map_or(0, |bucket| bucket.level()), spending, debit.period));
            rest.extend(limits.windows.iter().map(|spec| {
                windows
                    .iter()
                    .find(|window| window.length() == spec.length)
                    .map_or_else(Vec::new, |window| told_slices(window, now))
            }));
        }
        let answer = self.call(&SCRIPTS.seed, entry, rest, None).await?;
        Ok(answer.first() == Some(&1))
    }

    pub(super) async fn settle(
        &self,
        entry: &Entry,
        of: Charged,
        period: Period,
        units: i64,
    ) -> Result<bool, LimiterDown> {
        let head = self.head(entry.subject, &LimitSet::default(), period, units, None);
        let mut rest = vec![head.packed()];
        rest.extend(wire::charged_fields(of));
        let answer = self.call(&SCRIPTS.settle, entry, rest, None).await?;
        Ok(answer.first() == Some(&1))
    }

    pub(super) async fn charge(
        &self,
        subject: Subject,
        of: Charged,
        period: Period,
        units: i64,
        position: u64,
    ) -> Result<(), LimiterDown> {
        let head = Head { kept_us: CHARGE_KEPT_US, ..self.head(subject, &LimitSet::default(), period, units, None) };
        let mut place = Packed::default();
        place.unsigned(position);
        let entry = self.subjects.apart(subject);
        let mut rest = vec![head.packed(), place.0];
        rest.extend(wire::charged_fields(of));
        self.call(&SCRIPTS.charge, &entry, rest, None).await?;
        Ok(())
    }

    async fn call(
        &self,
        script: &'static scripts::Source,
        entry: &Entry,
        rest: Vec<Vec<u8>>,
        late: Option<Late>,
    ) -> Result<Vec<u8>, LimiterDown> {
        let arguments = Arguments { key: Arc::clone(&entry.key), rest };
        self.link.call(Call { script, arguments }, late).await
    }

    pub(super) async fn lease(&self, ask: LeaseAsk<'_>) -> Result<LeaseReply, LimiterDown> {
        let entry = self.subjects.open(ask.subject);
        let head = self.head(ask.subject, ask.limits, ask.period, units(ask.cost), None);
        let mut told = Packed::default();
        told.unsigned(ask.serial).unsigned(ask.session);
        match ask.epoch {
            Some(epoch) => told.unsigned(epoch),
            None => told.signed(-1),
        };
        told.unsigned(ask.spent_total).period(ask.spent_in).time(ask.last_spend).unsigned(ask.keep).unsigned(ask.want);
        told.signed(self.ttl_us).flag(ask.reports_only);
        let rest = vec![head.packed(), wire::limits(ask.limits), wire::node_field(self.node), told.0];
        // Where the lease goes on, the node's next ask tells Redis that this cost was never spent. Where this ask has
        // ended it, no ask will.
        let late = (ask.cost > 0)
            .then(|| undo(&entry, head, [None, None], |reply| reply.verdict == Verdict::Admitted && reply.flag));
        let bytes = self.call(&SCRIPTS.lease, &entry, rest, late).await?;
        let reply =
            if ask.reports_only { Reply::read_head(&bytes) } else { Reply::read(&bytes, ask.limits, None, false) };
        let reply = reply.ok_or_else(|| unreadable(&bytes))?;
        let verdict = match reply.verdict {
            Verdict::Admitted => LeaseVerdict::Granted { spare: reply.granted },
            Verdict::Refused => LeaseVerdict::Refused,
            Verdict::Overtaken => LeaseVerdict::Overtaken,
            Verdict::Gone | Verdict::Incomplete => LeaseVerdict::Unseeded,
        };
        if verdict == LeaseVerdict::Unseeded {
            entry.missing(reply.verdict == Verdict::Gone);
        } else {
            entry.found(reply.shared.as_ref(), None);
        }
        Ok(LeaseReply {
            verdict,
            epoch: reply.epoch,
            kept: reply.kept,
            redis_now: reply.now,
            reading: reply.shared.unwrap_or_else(|| wire::nothing_read(ask.period)),
            outstanding_others: reply.outstanding,
        })
    }
}

/// The server as leases ask it.
pub(super) struct Served(pub(super) Arc<Server>);

impl LeaseServer for Served {
    async fn lease(&self, ask: LeaseAsk<'_>) -> Result<LeaseReply, LimiterDown> {
        self.0.lease(ask).await
    }
}

/// What is done when an answer comes that nobody waits for: quota that it took is given back.
fn undo(entry: &Entry, head: Head, own: [Option<Own>; 2], is_taken: fn(&Reply) -> bool) -> Late {
    let state_key = Arc::clone(&entry.key);
    Box::new(move |bytes| {
        // Only what stands before the readings is looked at.
        let reply = Reply::read_head(bytes)?;
        is_taken(&reply).then(|| {
            let mut rest = vec![Head { units: -head.units, ..head }.packed(), wire::ACCOUNT_FIELD];
            rest.extend(own.into_iter().flatten().map(wire::own_field));
            Call { script: &SCRIPTS.settle, arguments: Arguments { key: state_key, rest } }
        })
    })
}

/// While leases are out, quota that is used up may come back with them: the refusal is one of rate, and a lease's time
/// to live is the least to wait. What is a key's own or a meter's is never leased: where it is spent, it stays so.
fn while_leased(refused: Refused, ttl_us: i64) -> Refused {
    let by = match refused.by {
        LimitLabel::Quota => LimitLabel::Burst,
        other => other,
    };
    Refused { by, wait_us: refused.wait_us.max(ttl_us), ..refused }
}

/// The time that a call brings, or else the last that one has brought.
fn callers_time(clock: &AtomicI64, now: Option<Timestamp>) -> Timestamp {
    if let Some(now) = now {
        clock.store(now.as_micros(), Ordering::Relaxed);
    }
    Timestamp::from_micros(clock.load(Ordering::Relaxed))
}

fn units(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

fn unreadable(bytes: &[u8]) -> LimiterDown {
    tracing::error!(bytes = bytes.len(), "the limiter's script gave an answer that cannot be read");
    LimiterDown
}

/// A level and a quota as a seed tells them.
fn told_quota(level: u64, spending: &Spending, period: Period) -> Vec<u8> {
    let (period, used) = spending.quota.map_or((period, 0), |quota| (quota.period, quota.used));
    let mut packed = Packed::default();
    packed.unsigned(level).period(period).unsigned(used);
    packed.0
}

/// A window's slices as a seed tells them: how long ago, and how much.
fn told_slices(window: &WindowState, now: Timestamp) -> Vec<u8> {
    let mut packed = Packed::default();
    for slice in window.slices().filter(|slice| slice.units > 0) {
        packed.signed((now - slice.newest).max(0)).unsigned(slice.units);
    }
    packed.0
}
