//! Counts usage in memory and hands it over in numbered batches, to the ledger or to what keeps it for the ledger.
//!
//! A request only adds to a number. A background task takes what was counted a few times a second and hands it over;
//! a batch that was not taken is brought again under its own number until it is, while counting goes on.

mod requests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tollgate_config::RequestLog;
use tollgate_domain::{AccountId, Clock, NodeId, Timestamp, UsageBatch, UsageKey, UsageLine, UsageTally};
use tollgate_store::UsageSink;

pub use requests::PendingRequests;

use crate::metrics::Metrics;

/// How often counts are handed over. A crash loses at most what was counted since the last time.
const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// How long to wait before a failed batch is sent again.
const ON_ERROR: Duration = Duration::from_millis(500);
/// Lines in one batch; what is beyond goes into the next.
const BATCH_SIZE: usize = 20_000;
/// Rows of the request log in one batch.
const ROWS_IN_BATCH: usize = 2_000;
/// How long a seed waits for the counts of its account to reach the ledger before it goes on without them.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// Shards of the counting table.
const SHARDS: usize = 64;

type Shard = Mutex<HashMap<UsageKey, UsageTally, RandomState>>;

/// Where requests are counted.
pub struct UsageRecorder {
    shards: Box<[Shard]>,
    requests: PendingRequests,
    wake: Notify,
    /// Rounds of taking counts that have begun.
    rounds_taken: AtomicU64,
    /// Rounds whose counts have all been handed over.
    rounds_handed: watch::Sender<u64>,
    sink: Arc<dyn UsageSink>,
    metrics: Arc<Metrics>,
}

impl UsageRecorder {
    /// An empty recorder whose counts go there, and with them the calls that this log keeps.
    pub fn new(sink: Arc<dyn UsageSink>, metrics: Arc<Metrics>, log: RequestLog) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            requests: PendingRequests::new(log, Arc::clone(&metrics)),
            wake: Notify::new(),
            rounds_taken: AtomicU64::new(0),
            rounds_handed: watch::Sender::new(0),
            sink,
            metrics,
        })
    }

    /// Adds what one request was counted as.
    pub fn count(&self, key: UsageKey, tally: &UsageTally) {
        self.shard(key.account).lock().entry(key).or_default().add(tally);
    }

    /// The calls that are kept one by one.
    pub fn requests(&self) -> &PendingRequests {
        &self.requests
    }

    /// Waits until what was counted for an account so far is in the ledger, at most for a bounded time.
    pub async fn settle(&self, account: AccountId) {
        let pending = self.shard(account).lock().keys().any(|key| key.account == account);
        // What is not in the table any more may be in a round that is not handed over yet; what is still in it comes
        // with the next round at the latest.
        let target = self.rounds_taken.load(Ordering::Acquire) + u64::from(pending);
        let mut rounds = self.rounds_handed.subscribe();
        let reached = async {
            if *rounds.borrow() < target {
                self.wake.notify_one();
                // The sender is this recorder's own, so it is there.
                let _round = rounds.wait_for(|handed| *handed >= target).await;
            }
            self.sink.settled(Some(account)).await;
        };
        if tokio::time::timeout(SETTLE_MAX, reached).await.is_err() {
            tracing::warn!(%account, "usage did not reach the ledger in time; limits are rebuilt without its last counts");
        }
    }

    fn shard(&self, account: AccountId) -> &Shard {
        let index = usize::try_from(account.as_u128() % SHARDS as u128).expect("a remainder of 64 fits");
        &self.shards[index]
    }

    fn take(&self) -> Vec<UsageLine> {
        self.rounds_taken.fetch_add(1, Ordering::AcqRel);
        self.shards
            .iter()
            .flat_map(|shard| std::mem::take(&mut *shard.lock()))
            .map(|(key, tally)| UsageLine { key, tally })
            .collect()
    }
}

/// Hands counts to the ledger until told to stop, then hands over the rest.
pub struct UsageFlusher {
    recorder: Arc<UsageRecorder>,
    clock: Arc<dyn Clock>,
    node: NodeId,
    sequence: u64,
    from: Timestamp,
}

impl UsageFlusher {
    /// A flusher for one run of this process.
    pub fn new(recorder: Arc<UsageRecorder>, clock: Arc<dyn Clock>, node: NodeId) -> Self {
        let from = clock.now();
        Self { recorder, clock, node, sequence: 0, from }
    }

    /// Runs until `stop` turns true and everything counted before is handed over, or until a last attempt at it has
    /// taken `patience`. Returns how many lines could not be handed over.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>, patience: Duration) -> usize {
        while !*stop.borrow() {
            tokio::select! {
                () = tokio::time::sleep(FLUSH_EVERY) => {}
                () = self.recorder.wake.notified() => {}
                _ = stop.changed() => break,
            }
            self.flush(&mut stop).await;
        }
        let lines = self.recorder.shards.iter().map(|shard| shard.lock().len()).sum::<usize>();
        // From here on nothing interrupts a retry but the end of patience.
        let mut never = watch::Sender::new(false).subscribe();
        match tokio::time::timeout(patience, self.flush(&mut never)).await {
            Ok(()) => 0,
            Err(_elapsed) => lines,
        }
    }

    async fn flush(&mut self, stop: &mut watch::Receiver<bool>) {
        // Before the counts, so that a row never stands in an earlier batch than what it was counted as.
        let mut requests = self.recorder.requests.take();
        let mut lines = self.recorder.take();
        let end = self.clock.now().max(self.from);
        while !lines.is_empty() || !requests.is_empty() {
            let lines_left = lines.split_off(lines.len().min(BATCH_SIZE));
            let requests_left = requests.split_off(requests.len().min(ROWS_IN_BATCH));
            self.sequence += 1;
            let (node, sequence, start) = (self.node, self.sequence, self.from);
            let batch = UsageBatch { node, sequence, start, end, lines, requests };
            self.hand_over(&batch, stop).await;
            (lines, requests) = (lines_left, requests_left);
        }
        self.from = end;
        self.recorder.rounds_handed.send_modify(|round| *round += 1);
    }

    /// Hands one batch over, however often it takes: under its number it counts once.
    async fn hand_over(&self, batch: &UsageBatch, stop: &mut watch::Receiver<bool>) {
        let mut failures = 0_u32;
        loop {
            match self.recorder.sink.take(batch).await {
                Ok(()) => {
                    self.recorder.metrics.usage_lines_stored.inc_by(batch.lines.len() as u64);
                    self.recorder.metrics.usage_pending.set(0);
                    if failures > 0 {
                        tracing::info!(failures, "usage is taken again");
                    }
                    return;
                }
                Err(error) => {
                    self.recorder.metrics.store_errors.inc();
                    self.recorder.metrics.usage_pending.set(i64::try_from(batch.lines.len()).unwrap_or(i64::MAX));
                    if failures == 0 {
                        tracing::error!(%error, lines = batch.lines.len(), "usage is not taken; it is kept and brought again");
                    }
                    failures = failures.saturating_add(1);
                }
            }
            // A stop does not drop the batch: the wait is cut short and the batch sent again at once.
            let stopping = *stop.borrow();
            tokio::select! {
                () = tokio::time::sleep(ON_ERROR) => {}
                _ = stop.changed(), if !stopping => {}
            }
        }
    }
}
