//! Leased limiting, the node's side: units are taken from an account's limits ahead of need, spent here without a word
//! to Redis, reported and given back.
//!
//! What stands here is who waits for whom: one ask of a subject at a time, renewals and give-backs in the background.
//! The steps themselves are `state`'s, what a node and Redis say to each other is [`super::protocol`]'s, and whether
//! Redis answers is the [`LeaseServer`]'s to find out.

mod demand;
mod entry;
mod known;
mod plan;
mod refusal;
mod schedule;
mod settings;
mod state;
mod surroundings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tollgate_domain::limit::{Debit, LimitSet, Outcome};

pub use entry::LeaseEntry;
pub use settings::LeaseSettings;
pub use surroundings::{Surroundings, Tokio, Work};

use super::protocol::LeaseServer;
use crate::limiter::LimiterDown;
use plan::{Plan, Step, Tend};
use schedule::Schedule;
use settings::Times;
use state::State;

/// How often the entries that hold something are looked through for some that are due.
const LOOK_EVERY_US: u64 = 10_000;
/// Asks in the background that may be on their way at a time; all beyond wait for their turn.
const BACKGROUND_MAX: usize = 512;
/// How often closing goes through what is still held: an ask that was on its way may have brought something.
const CLOSING_TRIES: usize = 3;

/// The leases of one node.
#[derive(Debug)]
pub struct Leases<S, E> {
    shared: Arc<Shared<S, E>>,
}

impl<S, E> Clone for Leases<S, E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

#[derive(Debug)]
struct Shared<S, E> {
    server: S,
    surroundings: E,
    times: Times,
    last_serial: AtomicU64,
    schedule: Schedule,
    in_background: AtomicUsize,
    background_done: Notify,
}

impl<S: LeaseServer, E: Surroundings> Leases<S, E> {
    /// Leases of a node that holds none yet. [`Self::run`] must run beside its calls.
    pub fn new(server: S, surroundings: E, settings: LeaseSettings) -> Self {
        let shared = Shared {
            server,
            surroundings,
            times: Times::of(settings),
            last_serial: AtomicU64::new(0),
            schedule: Schedule::default(),
            in_background: AtomicUsize::new(0),
            background_done: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Debits a call that has no limits of its key's own and no meter: from what is held here, where that is enough,
    /// without waiting.
    ///
    /// # Errors
    /// [`LimiterDown`] where Redis had to be asked and did not answer.
    pub async fn debit(&self, entry: &Arc<LeaseEntry>, debit: &Debit<'_>) -> Result<Outcome, LimiterDown> {
        let mut waited_for = None;
        loop {
            // Made before the state is looked at, so that it hears of an ask that is over the moment after.
            let asked = entry.asked.notified();
            let step = self.shared.step(entry, &mut entry.state.lock(), debit, waited_for);
            match step {
                Step::Done(outcome) => return Ok(outcome),
                Step::Down => return Err(LimiterDown),
                Step::Ask(plan) => return self.shared.ask(entry, &plan, debit.limits).await?.ok_or(LimiterDown),
                Step::Wait(flight) => {
                    let _waiting = Waiting::new(entry, debit.cost);
                    asked.await;
                    waited_for = Some(flight);
                }
            }
        }
    }

    /// Renews, reports and gives back what is due, for ever. It is to run by itself; ending it ends only that.
    pub async fn run(&self) {
        loop {
            self.shared.surroundings.sleep(LOOK_EVERY_US).await;
            self.tend();
        }
    }

    /// One look at what is due.
    pub fn tend(&self) {
        let shared = &self.shared;
        let room = BACKGROUND_MAX.saturating_sub(shared.in_background.load(Ordering::Relaxed));
        for entry in shared.schedule.take_due(shared.surroundings.monotonic_us(), room) {
            self.tend_entry(entry, false);
        }
    }

    /// Tells the server at once what was spent of a lease, and gives the rest back: for whoever looks at the shared count
    /// right after.
    pub async fn report(&self, entry: &Arc<LeaseEntry>) {
        let shared = &self.shared;
        let now_us = shared.surroundings.monotonic_us();
        let tend = entry.state.lock().tend(|| shared.serial(), now_us, true, &shared.times);
        match tend {
            Tend::Nothing => {}
            Tend::Later(due_us) => shared.schedule.add(Arc::clone(entry), due_us),
            // Whoever looks sees what there is.
            Tend::Ask(plan, limits) => drop(shared.ask(entry, &plan, &limits).await),
        }
    }

    fn tend_entry(&self, entry: Arc<LeaseEntry>, is_closing: bool) {
        let shared = &self.shared;
        let now_us = shared.surroundings.monotonic_us();
        let tend = entry.state.lock().tend(|| shared.serial(), now_us, is_closing, &shared.times);
        match tend {
            Tend::Nothing => {}
            Tend::Later(due_us) => shared.schedule.add(entry, due_us),
            Tend::Ask(plan, limits) => shared.ask_in_background(entry, plan, limits),
        }
    }

    /// Gives back everything at once. To be called when no call will come any more; it waits for the answers.
    pub async fn close(&self) {
        let shared = &self.shared;
        for _ in 0..CLOSING_TRIES {
            for entry in shared.schedule.take_all() {
                while shared.in_background.load(Ordering::Acquire) >= BACKGROUND_MAX {
                    shared.wait_for_background(BACKGROUND_MAX).await;
                }
                self.tend_entry(entry, true);
            }
            shared.wait_for_background(1).await;
        }
    }

    /// Units held unspent, of all subjects. It looks at every live lease.
    pub fn units_held(&self) -> u64 {
        self.shared.schedule.units()
    }
}

impl<S: LeaseServer, E: Surroundings> Shared<S, E> {
    /// The next ask's number.
    fn serial(&self) -> u64 {
        self.last_serial.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Decides a call here, or plans what must happen first. A lease that runs low or out is seen to on the way.
    fn step(
        self: &Arc<Self>,
        entry: &Arc<LeaseEntry>,
        state: &mut State,
        debit: &Debit<'_>,
        waited_for: Option<u64>,
    ) -> Step {
        // Read under the lock: the later the reading, the less can have passed before it is used.
        let now_us = self.surroundings.monotonic_us();
        let step = state.debit(debit, waited_for, || self.serial(), now_us, &self.times);
        if matches!(step, Step::Done(Outcome::Admitted(_))) {
            if let Some((plan, limits)) = state.renewal(|| self.serial(), now_us, &self.times) {
                self.ask_in_background(Arc::clone(entry), plan, limits);
            } else if state.has_run_out() {
                self.look_later(entry, state, now_us);
            }
        }
        step
    }

    fn look_later(&self, entry: &Arc<LeaseEntry>, state: &mut State, now_us: i64) {
        if let Some(due_us) = state.plan_look(now_us, &self.times) {
            self.schedule.add(Arc::clone(entry), due_us);
        }
    }

    fn ask_in_background(self: &Arc<Self>, entry: Arc<LeaseEntry>, plan: Plan, limits: LimitSet) {
        let shared = Arc::clone(self);
        shared.in_background.fetch_add(1, Ordering::Relaxed);
        self.surroundings.spawn(Box::pin(async move {
            // What an ask in the background leads to stands in the state; nobody hears its answer.
            drop(shared.ask(&entry, &plan, &limits).await);
            shared.in_background.fetch_sub(1, Ordering::Release);
            shared.background_done.notify_waiters();
        }));
    }

    async fn wait_for_background(&self, fewer_than: usize) {
        loop {
            let done = self.background_done.notified();
            if self.in_background.load(Ordering::Acquire) < fewer_than {
                return;
            }
            done.await;
        }
    }

    /// Asks, and takes the answer over. `None` where the answer was no use.
    async fn ask(
        &self,
        entry: &Arc<LeaseEntry>,
        plan: &Plan,
        limits: &LimitSet,
    ) -> Result<Option<Outcome>, LimiterDown> {
        let mut flight = Flight { shared: self, entry, plan, limits, is_over: false };
        let reply = self.server.lease(plan.ask(entry.subject(), limits)).await;
        flight.is_over = true;
        let mut state = entry.state.lock();
        let now_us = self.surroundings.monotonic_us();
        let outcome = match reply {
            Ok(reply) => Ok(state.answered(plan, limits, &reply, now_us, &self.times)),
            Err(down) => {
                state.failed(plan, limits, now_us, &self.times);
                Err(down)
            }
        };
        self.look_later(entry, &mut state, now_us);
        drop(state);
        entry.asked.notify_waiters();
        outcome
    }
}

/// An ask on its way. Where its caller goes away, the answer is never heard, and others must not wait for it.
struct Flight<'a, S: LeaseServer, E: Surroundings> {
    shared: &'a Shared<S, E>,
    entry: &'a Arc<LeaseEntry>,
    plan: &'a Plan,
    limits: &'a LimitSet,
    is_over: bool,
}

impl<S: LeaseServer, E: Surroundings> Drop for Flight<'_, S, E> {
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.entry.state.lock();
            state.abandoned(self.plan, self.limits);
            self.shared.look_later(self.entry, &mut state, self.shared.surroundings.monotonic_us());
            drop(state);
            self.entry.asked.notify_waiters();
        }
    }
}

/// A caller that waits for another's ask, which asks for its units as well.
struct Waiting<'a> {
    entry: &'a LeaseEntry,
    units: u64,
}

impl<'a> Waiting<'a> {
    fn new(entry: &'a LeaseEntry, units: u64) -> Self {
        entry.state.lock().wait(units);
        Self { entry, units }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.entry.state.lock().wait_no_more(self.units);
    }
}
