//! Some nodes, one account, and a network between them and who keeps the count: with delays, losses, pauses and deaths.
//! Whatever is admitted is written down with the instant it was decided at.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tollgate_domain::limit::{Debit, LimitSet, Outcome};
use tollgate_domain::{AccountId, Period, Timestamp};
use tollgate_limiter::lease::{LeaseEntry, LeaseSettings, Leases};
use tollgate_limiter::protocol::{LeaseAsk, LeaseReply, LeaseServer, LeaseVerdict};
use tollgate_limiter::{LimiterDown, Subject};

use crate::arbiter::Arbiter;
use crate::world::{NOWHERE, NodeId, Place, World};

/// Redis's clock when the world begins: 2026-03-01T00:00:00Z.
pub(crate) const REDIS_BEGAN_US: i64 = 1_772_323_200_000_000;
/// How long an ask waits for its answer.
pub(crate) const TIMEOUT_US: i64 = 20_000;
/// How long leases last in these tests.
pub(crate) const TTL_US: i64 = 500_000;

/// How the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// One way, at least and at most.
    pub(crate) delay_us: (i64, i64),
    /// In a thousand, of requests and of answers alike.
    pub(crate) lost: u64,
    /// In a thousand: held up beyond the timeout, but not lost.
    pub(crate) late: u64,
}

impl Weather {
    pub(crate) const FAIR: Self = Self { delay_us: (200, 600), lost: 0, late: 0 };
    pub(crate) const FOUL: Self = Self { delay_us: (200, 4_000), lost: 60, late: 60 };
}

/// What was admitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    /// When it was decided: here, or by whoever keeps the count. World time.
    pub(crate) at_us: i64,
    pub(crate) units: u64,
    pub(crate) period: Period,
}

#[derive(Default)]
struct Log {
    admissions: Vec<Admission>,
    commands: u64,
    /// Units of calls that were debited by whoever keeps the count, and those whose nodes have heard of it.
    costs_debited: u64,
    costs_heard: u64,
    /// When the last ask was sent that was answered.
    answered_us: i64,
    is_cut: bool,
}

/// What all nodes share.
pub(crate) struct Shared<A> {
    pub(crate) world: World,
    pub(crate) arbiter: Mutex<A>,
    weather: Mutex<Weather>,
    log: Mutex<Log>,
}

/// One node's way to whoever keeps the count.
pub(crate) struct Link<A> {
    shared: Arc<Shared<A>>,
    node: NodeId,
    /// When Redis decided the calls of answers that arrived just now: their callers are told the same instant.
    decided: Arc<Mutex<Vec<(i64, i64)>>>,
}

type Slot = Arc<Mutex<Option<LeaseReply>>>;

impl<A: Arbiter> Link<A> {
    fn delay(&self, weather: Weather) -> i64 {
        let (least, most) = weather.delay_us;
        let spread = u64::try_from(most - least + 1).expect("most is not below least");
        let usual = least + i64::try_from(self.shared.world.random(spread)).expect("small");
        let is_late = self.shared.world.random(1_000) < weather.late;
        if is_late { usual + 3 * TIMEOUT_US } else { usual }
    }

    /// Carries the ask over and the answer back, in its own time, whether or not anybody still waits.
    fn carry(&self, ask: &LeaseAsk<'_>) -> Slot {
        let slot = Slot::default();
        let weather = *self.shared.weather.lock();
        let (there_us, back_us) = (self.delay(weather), self.delay(weather));
        let is_cut = self.shared.log.lock().is_cut;
        if is_cut || self.shared.world.random(1_000) < weather.lost {
            return slot;
        }
        let answer_is_lost = self.shared.world.random(1_000) < weather.lost;
        let (shared, node, limits, place) = (Arc::clone(&self.shared), self.node, ask.limits.clone(), slot.clone());
        let (subject, period, serial, session, epoch) = (ask.subject, ask.period, ask.serial, ask.session, ask.epoch);
        let (spent_total, spent_in, last_spend) = (ask.spent_total, ask.spent_in, ask.last_spend);
        let (keep, cost, want, reports_only) = (ask.keep, ask.cost, ask.want, ask.reports_only);
        self.shared.world.spawn(NOWHERE, async move {
            shared.world.sleep(there_us).await;
            let limits = &limits;
            let ask = LeaseAsk {
                subject,
                limits,
                period,
                serial,
                session,
                epoch,
                spent_total,
                spent_in,
                last_spend,
                keep,
                cost,
                want,
                reports_only,
            };
            let redis_now_us = REDIS_BEGAN_US + shared.world.now_us();
            let reply = shared.arbiter.lock().lease(node, &ask, redis_now_us);
            if matches!(reply.verdict, LeaseVerdict::Granted { .. }) {
                shared.log.lock().costs_debited += cost;
            }
            shared.world.sleep(back_us).await;
            if !answer_is_lost {
                *place.lock() = Some(reply);
            }
        });
        slot
    }
}

impl<A: Arbiter> LeaseServer for Link<A> {
    async fn lease(&self, ask: LeaseAsk<'_>) -> Result<LeaseReply, LimiterDown> {
        self.shared.log.lock().commands += 1;
        let (cost, slot) = (ask.cost, self.carry(&ask));
        let world = &self.shared.world;
        let sent_us = world.now_us();
        let gives_up_us = sent_us + TIMEOUT_US;
        loop {
            if let Some(reply) = slot.lock().take() {
                self.shared.log.lock().answered_us = sent_us;
                if cost > 0 && matches!(reply.verdict, LeaseVerdict::Granted { .. }) {
                    let decided_us = reply.redis_now.as_micros() - REDIS_BEGAN_US;
                    self.decided.lock().push((world.now_us(), decided_us));
                    self.shared.log.lock().costs_heard += cost;
                }
                return Ok(reply);
            }
            if world.now_us() >= gives_up_us {
                return Err(LimiterDown);
            }
            world.sleep(50).await;
        }
    }
}

/// One node and its entry of the account.
pub(crate) struct Node<A: Arbiter> {
    shared: Arc<Shared<A>>,
    pub(crate) id: NodeId,
    pub(crate) leases: Leases<Link<A>, Place>,
    pub(crate) entry: Arc<LeaseEntry>,
    decided: Arc<Mutex<Vec<(i64, i64)>>>,
}

impl<A: Arbiter> Clone for Node<A> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            id: self.id,
            leases: self.leases.clone(),
            entry: Arc::clone(&self.entry),
            decided: Arc::clone(&self.decided),
        }
    }
}

impl<A: Arbiter> Node<A> {
    /// One call; what is admitted is written down.
    pub(crate) async fn call(&self, limits: &LimitSet, period: Period, cost: u64) -> Result<Outcome, LimiterDown> {
        let outcome = self.leases.debit(&self.entry, &Debit { limits, key: None, meter: None, period, cost }).await?;
        if let (Outcome::Admitted(admitted), true) = (&outcome, cost > 0) {
            let now_us = self.shared.world.now_us();
            let mut decided = self.decided.lock();
            let at_redis = decided.iter().position(|(heard_us, _)| *heard_us == now_us);
            let at_us = at_redis.map_or(now_us, |index| decided.swap_remove(index).1);
            self.shared.log.lock().admissions.push(Admission { at_us, units: cost, period: admitted.period });
        }
        Ok(outcome)
    }
}

/// The nodes and all around them.
pub(crate) struct Fleet<A: Arbiter> {
    pub(crate) shared: Arc<Shared<A>>,
    pub(crate) nodes: Vec<Node<A>>,
}

impl<A: Arbiter> Fleet<A> {
    pub(crate) fn new(seed: u64, nodes: usize, weather: Weather) -> Self {
        let world = World::new(seed);
        let shared = Arc::new(Shared {
            world,
            arbiter: Mutex::new(A::new(TTL_US)),
            weather: Mutex::new(weather),
            log: Mutex::default(),
        });
        let mut fleet = Self { shared, nodes: Vec::new() };
        for id in 0..nodes {
            let node = fleet.make_node(id);
            fleet.nodes.push(node);
        }
        fleet
    }

    /// A fleet whose account is seeded and has used nothing.
    pub(crate) fn seeded(seed: u64, nodes: usize, weather: Weather, limits: &LimitSet) -> Self {
        let fleet = Self::new(seed, nodes, weather);
        fleet.shared.arbiter.lock().seed(limits, month(0), 0, REDIS_BEGAN_US);
        fleet
    }

    /// A node dies, and another begins in its place.
    pub(crate) fn replace(&mut self, node: usize) {
        let id = self.nodes[node].id;
        self.shared.world.kill(id);
        let place = self.make_node(id + 100);
        self.nodes[node] = place;
    }

    fn make_node(&mut self, id: NodeId) -> Node<A> {
        let decided = Arc::default();
        let link = Link { shared: Arc::clone(&self.shared), node: id, decided: Arc::clone(&decided) };
        let began_us = -1_000_003 * i64::try_from(id + 1).expect("a few");
        let place = Place { world: self.shared.world.clone(), node: id, clock_began_us: began_us };
        let leases = Leases::new(link, place, LeaseSettings::default());
        let tending = leases.clone();
        self.shared.world.spawn(id, async move { tending.run().await });
        let subject = subject();
        let entry = Arc::new(LeaseEntry::new(subject));
        Node { shared: Arc::clone(&self.shared), id, leases, entry, decided }
    }

    pub(crate) fn world(&self) -> &World {
        &self.shared.world
    }

    /// Runs something on a node.
    pub(crate) fn on<F: Future<Output = ()> + Send + 'static>(
        &self,
        node: usize,
        work: impl FnOnce(Node<A>, World) -> F,
    ) {
        let node = self.nodes[node].clone();
        let id = node.id;
        self.shared.world.spawn(id, work(node, self.shared.world.clone()));
    }

    /// A client of a node that calls again when it is answered and has rested about so long.
    pub(crate) fn client(&self, node: usize, limits: &LimitSet, rest_us: i64, until_us: i64) {
        let limits = limits.clone();
        self.on(node, move |node, world| async move {
            while world.now_us() < until_us {
                world.sleep(world.spread(rest_us)).await;
                drop(node.call(&limits, month(0), 1).await);
            }
        });
    }

    /// So many calls of a node at once.
    pub(crate) fn burst(&self, node: usize, limits: &LimitSet, period: Period, cost: u64, calls: usize) {
        for _ in 0..calls {
            let limits = limits.clone();
            self.on(node, move |node, _| async move { drop(node.call(&limits, period, cost).await) });
        }
    }

    /// One call, now, and what it is answered.
    pub(crate) fn call(&self, node: usize, limits: &LimitSet, cost: u64) -> Result<Outcome, LimiterDown> {
        let (limits, answer) = (limits.clone(), Arc::new(Mutex::new(None)));
        let place = Arc::clone(&answer);
        self.on(node, move |node, _| async move {
            let outcome = node.call(&limits, month(0), cost).await;
            *place.lock() = Some(outcome);
        });
        let give_up_us = self.shared.world.now_us() + 10 * TTL_US;
        while self.shared.world.now_us() < give_up_us {
            self.pass(0);
            if let Some(outcome) = answer.lock().take() {
                return outcome;
            }
            self.pass(50);
        }
        panic!("a call was never answered");
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, micros: i64) {
        self.shared.world.run_until(self.shared.world.now_us() + micros);
    }

    /// Units of calls that were debited by whoever keeps the count, but whose callers never heard of it.
    pub(crate) fn unheard(&self) -> u64 {
        let log = self.shared.log.lock();
        log.costs_debited - log.costs_heard
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        *self.shared.weather.lock() = weather;
    }

    /// Nothing gets through any more, until it does again.
    pub(crate) fn cut(&self, is_cut: bool) {
        self.shared.log.lock().is_cut = is_cut;
    }

    pub(crate) fn commands(&self) -> u64 {
        self.shared.log.lock().commands
    }

    /// When the last ask was sent that was answered.
    pub(crate) fn answered_us(&self) -> i64 {
        self.shared.log.lock().answered_us
    }

    /// What was admitted, in order of time.
    pub(crate) fn admissions(&self) -> Vec<Admission> {
        let mut admissions = self.shared.log.lock().admissions.clone();
        admissions.sort_by_key(|admission| admission.at_us);
        admissions
    }

    pub(crate) fn admitted(&self) -> u64 {
        self.shared.log.lock().admissions.iter().map(|admission| admission.units).sum()
    }

    pub(crate) fn quota_used(&self) -> Option<u64> {
        let now_us = self.now_at_redis_us();
        self.shared.arbiter.lock().quota_used(now_us)
    }

    pub(crate) fn outstanding(&self) -> u64 {
        let now_us = self.now_at_redis_us();
        self.shared.arbiter.lock().outstanding(now_us)
    }

    pub(crate) fn now_at_redis_us(&self) -> i64 {
        REDIS_BEGAN_US + self.shared.world.now_us()
    }
}

impl<A: Arbiter> Drop for Fleet<A> {
    fn drop(&mut self) {
        self.shared.world.end();
    }
}

/// The one account there is.
pub(crate) fn subject() -> Subject {
    Subject::Account(AccountId::new(Timestamp::EPOCH, [7; 10]))
}

/// The period of so many months of thirty days after the first.
pub(crate) fn month(after: i64) -> Period {
    let length_us = 30 * tollgate_domain::DAY_US;
    let start = Timestamp::from_micros(REDIS_BEGAN_US + after * length_us);
    Period { start, end: start + length_us }
}
