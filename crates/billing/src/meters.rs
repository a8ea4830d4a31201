//! Metered use, from the ledger to whoever bills it: each unit once, in its period.
//!
//! The store plans what is to be told, one row a call, from what the ledger holds and what was planned before. Here each
//! row is tried under its identifier until it is known to have arrived, or is known never to. Before a row is tried that
//! is noted, so that a process that dies in between leaves a row that the next one tries again under the same identifier.
//! An identifier protects for a day: what is older is asked for first. How sums compare is `reconcile`'s.

mod place;
mod sink;
mod step;

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::sync::watch;
use tollgate_domain::{DAY_US, HOUR_US, MINUTE_US, Timestamp};
use tollgate_store::{Fence, Fenced, MeterSend, SendOutcome, StoreError};

pub use sink::{MeterEvent, MeterSink, NoMeters, StripeMeters, TellError};

pub(crate) use place::{FOLDED_AFTER_US, is_too_old, minutes};

use crate::stats::{add, count};
use crate::worker::stopped;
use crate::{Billing, BillingError};
use step::{Decision, decide, event, outcome, unanswered};

/// Sends that are planned in one transaction.
const PLAN_BATCH: u32 = 500;
/// Sends that one pass plans, and tells: half a minute's, after which what is due by then comes first again.
const PASS_SENDS_MAX: u64 = 4_000;
/// Sends that are noted, told and settled together.
const CHUNK: u32 = 128;
/// Calls under way at a time.
const CALLS_AT_ONCE: usize = 16;
/// How long a full chunk takes at least: two hundred calls a second, where Stripe takes a thousand of everybody's.
const CHUNK_TAKES: Duration = Duration::from_millis(5 * CHUNK as u64);
/// What most passes look back over for use that changed: use comes minutes late while a gateway catches up.
const LOOK_BACK_US: i64 = HOUR_US;
/// What some look back over: use that a gateway kept while it was cut off comes as of when it was counted.
pub(crate) const LOOK_FAR_BACK_US: i64 = 65 * DAY_US;
/// How often the longer look is taken.
const LOOK_FAR_EVERY_US: i64 = 15 * MINUTE_US;

/// How long a period that goes on waits at most before more of its use is told: what is used first is told at once, and
/// an account that calls all day takes some hundred rows and calls, not ten times as many.
const REST_US: i64 = 5 * MINUTE_US;

/// How long Stripe keeps the invoice of a period that ended as a draft, on which late use still gets.
const DRAFT_US: i64 = HOUR_US;
/// How long the loop rests between passes, and after one that left something to do at once.
const IDLE: Duration = Duration::from_mins(1);
const BUSY: Duration = Duration::from_millis(200);
/// How long it rests after a pass that could not tell everything: as long as a send waits after a first failure.
const AGAIN: Duration = Duration::from_secs(15);
/// How long it rests where another process works on billing, which may have ended.
const STANDBY: Duration = Duration::from_secs(2);

/// What a pass over metered use did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterPass {
    /// Sends that were planned.
    pub planned: u64,
    /// Sends that arrived.
    pub sent: u64,
    /// Sends that are tried again later.
    pub retried: u64,
    /// Sends that were given up.
    pub given_up: u64,
    /// Whether more is to be done at once.
    pub has_more: bool,
}

/// What is remembered between passes. Forgetting it costs one longer look.
#[derive(Debug)]
pub(crate) struct MeterMemory {
    /// When the longer look was last taken, in microseconds since the epoch.
    looked_far_us: AtomicI64,
}

impl Default for MeterMemory {
    fn default() -> Self {
        Self { looked_far_us: AtomicI64::new(i64::MIN) }
    }
}

impl Billing {
    /// Whoever bills use, by the settings.
    pub(crate) fn meter_sink(&self) -> Box<dyn MeterSink> {
        if self.deps.stripe.meters.is_empty() {
            return Box::new(NoMeters);
        }
        Box::new(StripeMeters::new(self.api.clone(), &self.deps.stripe))
    }

    /// Tells of metered use until told to stop, while this is the process that works on billing.
    pub(crate) async fn run_meters(&self, mut stop: watch::Receiver<bool>) {
        if self.deps.stripe.meters.is_empty() {
            return;
        }
        let mut rest = BUSY;
        loop {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stopped(&mut stop) => return,
            }
            // Given up anywhere, a pass leaves nothing that the next one does not find.
            let passed = tokio::select! {
                passed = self.meter_if_working() => passed,
                () = stopped(&mut stop) => return,
            };
            rest = match passed {
                Ok(Some(pass)) if pass.has_more => BUSY,
                Ok(Some(pass)) if pass.retried > 0 => AGAIN,
                Ok(Some(_)) => IDLE,
                Ok(None) | Err(BillingError::Lost) => STANDBY,
                Err(error) => {
                    tracing::warn!(%error, "metered use waits: the store failed");
                    IDLE
                }
            };
        }
    }

    /// One pass; none where another process works on billing.
    async fn meter_if_working(&self) -> Result<Option<MeterPass>, BillingError> {
        match self.fence().await? {
            Some(fence) => self.meter_once(fence, self.deps.clock.now()).await.map(Some),
            None => Ok(None),
        }
    }

    /// Plans what is to be told of metered use, and tells what is due; to be called every minute or so, and again at once
    /// where more is left. Nothing is lost or told twice by a call that is given up at any point.
    ///
    /// # Errors
    /// The store does not answer, or another process works on billing. What Stripe does not answer or refuses is noted
    /// with its send.
    pub async fn meter_once(&self, fence: Fence, now: Timestamp) -> Result<MeterPass, BillingError> {
        self.meter_with(&*self.meter_sink(), fence, now).await
    }

    pub(crate) async fn meter_with(
        &self,
        sink: &dyn MeterSink,
        mut fence: Fence,
        now: Timestamp,
    ) -> Result<MeterPass, BillingError> {
        let mut pass = MeterPass::default();
        if sink.billed().is_empty() {
            return Ok(pass);
        }
        self.plan_use(sink, fence, now, &mut pass).await?;
        let mut has_waited = false;
        while pass.sent + pass.retried + pass.given_up < PASS_SENDS_MAX {
            let now = self.deps.clock.now().max(now);
            let due = self.deps.store.due_sends(now, CHUNK).await?;
            if due.is_empty() && !has_waited {
                return Ok(pass);
            }
            // A chunk may take longer than a lease lasts, where Stripe hangs.
            fence = self.fence().await?.ok_or(BillingError::Lost)?;
            if due.is_empty() {
                has_waited = false;
                self.look_far_next();
                self.plan_use(sink, fence, now, &mut pass).await?;
                continue;
            }
            let pace = tokio::time::sleep(if due.len() == CHUNK as usize { CHUNK_TAKES } else { Duration::ZERO });
            let (chunk, ()) = futures::join!(self.tell_chunk(sink, fence, due, now), pace);
            let chunk = chunk?;
            self.count_chunk(&chunk, &mut pass);
            // What was used in a period while a send of it waited is planned once that has arrived: it may be long ago.
            has_waited |= chunk.settled.iter().any(|(send, _)| send.attempts > 0);
            if chunk.answers.are_in_vain() {
                return Ok(pass);
            }
        }
        pass.has_more = true;
        Ok(pass)
    }

    /// Has the next pass take the longer look.
    pub(crate) fn look_far_next(&self) {
        self.meters.looked_far_us.store(i64::MIN, Relaxed);
    }

    async fn plan_use(
        &self,
        sink: &dyn MeterSink,
        fence: Fence,
        now: Timestamp,
        pass: &mut MeterPass,
    ) -> Result<(), BillingError> {
        let looked_far = Timestamp::from_micros(self.meters.looked_far_us.load(Relaxed));
        let looks_far = now.micros_since(looked_far) >= LOOK_FAR_EVERY_US || looked_far > now;
        let since = now.plus_micros(if looks_far { -LOOK_FAR_BACK_US } else { -LOOK_BACK_US });
        while pass.planned < PASS_SENDS_MAX {
            let planned = self.deps.store.plan_sends(fence, sink.billed(), since, now, REST_US, PLAN_BATCH).await?;
            let planned = self.unless_lost(planned).await?;
            pass.planned += planned;
            if planned < u64::from(PLAN_BATCH) {
                if looks_far {
                    self.meters.looked_far_us.store(now.as_micros(), Relaxed);
                }
                return Ok(());
            }
        }
        pass.has_more = true;
        Ok(())
    }

    /// What was written, unless another process has taken the lease.
    pub(crate) async fn unless_lost<T>(&self, fenced: Fenced<T>) -> Result<T, BillingError> {
        match fenced {
            Fenced::Done(written) => Ok(written),
            Fenced::Lost => {
                self.lost().await;
                Err(BillingError::Lost)
            }
        }
    }

    /// Tells sends that are due, and settles them.
    async fn tell_chunk(
        &self,
        sink: &dyn MeterSink,
        fence: Fence,
        due: Vec<MeterSend>,
        now: Timestamp,
    ) -> Result<Chunk, BillingError> {
        let store = &*self.deps.store;
        let mut chunk = Chunk::default();
        let mut to_tell = Vec::new();
        let decisions = due.into_iter().map(|send| async move {
            let decision = decide(store, sink, &send, now).await?;
            Ok::<_, StoreError>((send, decision))
        });
        for decided in stream::iter(decisions).buffer_unordered(CALLS_AT_ONCE).collect::<Vec<_>>().await {
            match decided? {
                (send, Decision::Tell(at)) => to_tell.push((send, at)),
                (send, Decision::Settle(outcome)) => chunk.settled.push((send, outcome)),
                (send, Decision::Unanswered(error)) => {
                    chunk.answers.add(error.is_about_stripe());
                    let outcome = unanswered(&send, &error, now);
                    chunk.settled.push((send, outcome));
                }
            }
        }
        let tries: Vec<_> = to_tell.iter().map(|(send, at)| (send.identifier.clone(), *at)).collect();
        if !tries.is_empty() {
            let noted = store.note_tries(fence, &tries, now).await?;
            self.unless_lost(noted).await?;
        }
        let calls = to_tell.into_iter().map(|(send, at)| async move {
            let told = sink.tell(&event(&send, at)).await;
            (send, told)
        });
        for (send, told) in stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).collect::<Vec<_>>().await {
            chunk.answers.add(told.as_ref().is_err_and(TellError::is_about_stripe));
            let outcome = outcome(&send, told, now);
            chunk.settled.push((send, outcome));
        }
        let rows: Vec<_> =
            chunk.settled.iter().map(|(send, outcome)| (send.identifier.clone(), outcome.clone())).collect();
        let settled = store.settle_sends(fence, &rows, now).await?;
        self.unless_lost(settled).await?;
        Ok(chunk)
    }

    fn count_chunk(&self, chunk: &Chunk, pass: &mut MeterPass) {
        for (send, outcome) in &chunk.settled {
            match outcome {
                SendOutcome::Sent => {
                    pass.sent += 1;
                    self.stats.meter_units_sent.fetch_add(send.units, Relaxed);
                    if self.deps.clock.now().micros_since(send.period.end) > DRAFT_US {
                        let MeterSend { account, period, units, .. } = send;
                        tracing::warn!(%account, end = %period.end, units, "metered use came too late for its invoice");
                    }
                }
                SendOutcome::Retry { .. } => pass.retried += 1,
                SendOutcome::Failed { note } => {
                    pass.given_up += 1;
                    count(&self.stats.meter_given_up);
                    let (account, send) = (&send.account, &send.identifier);
                    tracing::error!(%account, send, note, "metered use is not billed: it was given up");
                }
            }
        }
        // One line for all: where Stripe is away, they all say the same.
        let notes = chunk.settled.iter().filter_map(|(_, outcome)| match outcome {
            SendOutcome::Retry { note, .. } => Some(note),
            SendOutcome::Sent | SendOutcome::Failed { .. } => None,
        });
        if let Some(note) = notes.clone().next() {
            let sends = notes.count();
            add(&self.stats.meter_failed, sends);
            tracing::warn!(sends, note, "metered use was not told and is told again later");
        }
    }
}

/// What became of sends that were told together.
#[derive(Default)]
struct Chunk {
    settled: Vec<(MeterSend, SendOutcome)>,
    answers: Answers,
}

/// Whether Stripe answers at all.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    asked: u32,
    in_vain: u32,
}

impl Answers {
    fn add(&mut self, is_in_vain: bool) {
        self.asked += 1;
        self.in_vain += u32::from(is_in_vain);
    }

    /// Nothing that was asked got an answer of its own, so that the next would get none either.
    fn are_in_vain(self) -> bool {
        self.asked > 0 && self.asked == self.in_vain
    }
}

#[cfg(test)]
pub(crate) mod tests;
