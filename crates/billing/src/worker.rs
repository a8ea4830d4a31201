//! The worker: takes events that are due, customer by customer, has each customer read afresh, and puts what follows in
//! force. It may be killed at any point: an event is settled in the transaction that writes what it brought.

mod failure;
mod heed;

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Mutex, MutexGuard, watch};
use tollgate_domain::Timestamp;
use tollgate_store::StoreError;

use crate::{Billing, BillingError};

pub(crate) use failure::Failure;
use heed::Heeded;
pub use heed::Refreshed;

/// How many due events are looked at at once.
const BATCH: u32 = 500;
/// How many customers are read at once.
const AT_ONCE: usize = 8;
/// How long the worker rests when nothing is due. What another process takes in wakes nobody here.
const IDLE: Duration = Duration::from_millis(300);
/// How long it rests when the store failed.
const ON_ERROR: Duration = Duration::from_secs(2);
/// How long it first rests when Stripe cannot be asked, and how long at most.
const AWAY: Duration = Duration::from_secs(1);
const AWAY_MOST: Duration = Duration::from_secs(30);
/// How long what is under way may take to end once told to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Locks by customer. Two customers may share one: they only wait for each other.
pub(crate) struct Turns([Mutex<()>; 64]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl Turns {
    async fn of(&self, customer: &str) -> MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(customer);
        let turns = u64::try_from(self.0.len()).expect("a handful of locks");
        self.0[usize::try_from(hash % turns).expect("less than a handful")].lock().await
    }
}

/// What a pass of the worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worked {
    /// Customers that were looked at.
    pub customers: usize,
    /// Events that were settled for good.
    pub settled: usize,
    /// Customers of which it failed.
    pub failed: usize,
    /// Whether Stripe could not be asked, so that the rest was left for later.
    pub is_stripe_away: bool,
    /// Whether another process does the work.
    pub is_elsewhere: bool,
}

/// What was done of the work.
enum Step {
    /// It was looked for whose events are due.
    Due(VecDeque<String>),
    /// One's were heeded.
    Heeded(Heeded),
    /// Another process does the work.
    Elsewhere,
}

impl Billing {
    /// Works off what is due, and ends when nothing is, or when another process does the work.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn work_once(&self) -> Result<Worked, BillingError> {
        let (_keep, stop) = watch::channel(false);
        self.work(&stop).await
    }

    /// Works until told to stop.
    pub(crate) async fn run_worker(&self, mut stop: watch::Receiver<bool>) {
        let mut away = AWAY;
        loop {
            let worked = {
                let until = stop.clone();
                let working = self.work(&until);
                tokio::pin!(working);
                tokio::select! {
                    worked = &mut working => worked,
                    () = stopped(&mut stop) => match tokio::time::timeout(STOP_GRACE, working).await {
                        Ok(worked) => worked,
                        Err(_elapsed) => return,
                    },
                }
            };
            let rest = match worked {
                Ok(worked) if worked.is_stripe_away => {
                    let rest = away;
                    away = (away * 2).min(AWAY_MOST);
                    rest
                }
                Ok(_) => {
                    away = AWAY;
                    IDLE
                }
                Err(BillingError::Lost) => IDLE,
                Err(error) => {
                    tracing::warn!(%error, "what Stripe told waits: the store failed");
                    ON_ERROR
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                // There is something new; but where Stripe is away it would not be of use.
                () = self.wake.notified(), if rest == IDLE => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    /// Nothing but what is in `busy` is waited for: what is in it holds connections and turns, and must go on.
    async fn work(&self, stop: &watch::Receiver<bool>) -> Result<Worked, BillingError> {
        let mut worked = Worked::default();
        let mut queue = VecDeque::new();
        let mut in_work = HashSet::new();
        let mut busy: FuturesUnordered<BoxFuture<'_, Result<Step, BillingError>>> = FuturesUnordered::new();
        let (mut is_drained, mut is_looking) = (false, false);
        let mut away_in_a_row = 0;
        loop {
            let may_begin = !*stop.borrow() && !worked.is_stripe_away && !worked.is_elsewhere;
            if may_begin && queue.is_empty() && !is_drained && !is_looking {
                is_looking = true;
                busy.push(self.due_subjects(in_work.clone()).boxed());
            }
            while may_begin
                && in_work.len() < AT_ONCE
                && let Some(subject) = queue.pop_front()
            {
                in_work.insert(String::clone(&subject));
                busy.push(self.heed_subject(subject).boxed());
            }
            if busy.is_empty() {
                return Ok(worked);
            }
            let step = tokio::select! {
                biased;
                Some(step) = busy.next() => step?,
                () = self.wake.notified() => {
                    is_drained = false;
                    continue;
                }
            };
            match step {
                Step::Elsewhere => worked.is_elsewhere = true,
                Step::Due(due) => {
                    is_looking = false;
                    is_drained = due.is_empty();
                    queue = due;
                }
                Step::Heeded(heeded) => {
                    in_work.remove(&heeded.subject);
                    worked.customers += 1;
                    worked.settled += heeded.settled;
                    worked.failed += usize::from(heeded.has_failed);
                    away_in_a_row = if heeded.is_stripe_away { away_in_a_row + 1 } else { 0 };
                    worked.is_stripe_away |= away_in_a_row >= AT_ONCE;
                    // More may have come of this one meanwhile.
                    is_drained = false;
                }
            }
        }
    }

    /// Whose events are due, the longest due first, without those who are in work.
    async fn due_subjects(&self, in_work: HashSet<String>) -> Result<Step, BillingError> {
        if self.fence().await?.is_none() {
            return Ok(Step::Elsewhere);
        }
        let due = self.deps.store.due_events(self.deps.clock.now(), BATCH).await?;
        let mut seen = in_work;
        let subjects = due.into_iter().map(|due| due.event.subject);
        Ok(Step::Due(subjects.filter(|subject| seen.insert(subject.clone())).collect()))
    }

    /// Looks how the inbox stands, for metrics.
    pub(crate) async fn look(&self) -> Result<(), StoreError> {
        let state = self.deps.store.inbox_state().await?;
        let stats = &self.stats;
        stats.pending.store(state.pending, Relaxed);
        stats.dead_waiting.store(state.dead, Relaxed);
        stats.oldest_pending_us.store(state.oldest_pending.map_or(0, Timestamp::as_micros), Relaxed);
        Ok(())
    }
}

/// Returns once told to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could tell it is gone: then nobody does any more.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
