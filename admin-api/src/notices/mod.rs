//! What customers are told without asking: how much of a quota is used, and that a key expires soon; and what is thrown
//! away because its time is over. All of it runs beside the requests, from the ledger alone.
//!
//! Any number of processes may run this on one store: a notice is kept once for its account, kind and period, and is
//! given to one process at a time to be delivered. What one process remembers only saves it questions.

mod delivery;
mod message;
mod prune;
mod thresholds;
mod watch;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::watch as channel;
use tollgate_config::{Live, Settings};
use tollgate_domain::Clock;
use tollgate_store::{AdminStore, Channel, StoreError};

use crate::mail::Mailer;

pub use webhook::{WebhookFailed, WebhookPost};

/// How long a pass for notices rests before the next.
const IDLE: Duration = Duration::from_secs(10);
/// How long a pass rests that found the store gone.
const ON_ERROR: Duration = Duration::from_secs(30);
/// How long what is under way may take to end once told to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long the throwing away of what is old rests.
const PRUNE_IDLE: Duration = Duration::from_hours(1);

/// What the work beside the requests is made of.
pub struct BackgroundDeps {
    /// Notices, use, keys.
    pub store: Arc<dyn AdminStore>,
    /// The policy in force.
    pub live: Arc<Live>,
    /// The settings this process started with.
    pub settings: Arc<Settings>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Mails notices; `None` without `[mail]`, then none are mailed.
    pub mailer: Option<Arc<dyn Mailer>>,
    /// Posts notices to `usage.notice_webhook`; nothing is posted without both.
    pub webhook: Option<Arc<dyn WebhookPost>>,
}

/// How the work went so far, for metrics.
#[derive(Debug, Default)]
pub struct BackgroundStats {
    /// Notices that were kept to be delivered.
    pub notices: AtomicU64,
    /// Deliveries that succeeded, by mail and webhook.
    pub delivered: AtomicU64,
    /// Deliveries that failed and are tried again.
    pub failed: AtomicU64,
    /// Deliveries that were given up.
    pub given_up: AtomicU64,
    /// Rows that were thrown away.
    pub pruned: AtomicU64,
}

/// The work beside the requests.
pub struct Background {
    deps: BackgroundDeps,
    stats: Arc<BackgroundStats>,
    seen: tokio::sync::Mutex<watch::Seen>,
    /// Wakes deliveries that rest.
    kept: tokio::sync::Notify,
}

impl Background {
    /// Made of these parts; nothing runs yet.
    pub fn new(deps: BackgroundDeps) -> Self {
        Self { deps, stats: Arc::default(), seen: tokio::sync::Mutex::default(), kept: tokio::sync::Notify::new() }
    }

    /// How the work went so far.
    pub fn stats(&self) -> &Arc<BackgroundStats> {
        &self.stats
    }

    /// Runs until `stop` turns true. It does not end by itself and cannot fail for good: what does not work is tried
    /// again. What is under way when it is told to stop has some seconds to end.
    pub async fn run(&self, stop: channel::Receiver<bool>) {
        // Apart from each other: a webhook that hangs must hold up neither mail nor what is new.
        futures::join!(
            self.repeat(Work::Watch, stop.clone()),
            self.repeat(Work::Deliver(Channel::Mail), stop.clone()),
            self.repeat(Work::Deliver(Channel::Webhook), stop.clone()),
            self.repeat(Work::Prune, stop),
        );
    }

    /// One pass: what is new is kept as a notice, what is due is delivered.
    ///
    /// # Errors
    /// The store does not answer; the next pass goes on.
    pub async fn notify_once(&self) -> Result<(), StoreError> {
        self.watch_once().await?;
        self.deliver(Channel::Mail).await?;
        self.deliver(Channel::Webhook).await
    }

    /// Does one kind of work again and again until told to stop.
    async fn repeat(&self, work: Work, mut stop: channel::Receiver<bool>) {
        loop {
            let passed = {
                let passing = self.pass(work);
                tokio::pin!(passing);
                tokio::select! {
                    passed = &mut passing => passed,
                    () = stopped(&mut stop) => match tokio::time::timeout(STOP_GRACE, passing).await {
                        Ok(passed) => passed,
                        Err(_elapsed) => return,
                    },
                }
            };
            let rest = match passed {
                Ok(()) if work == Work::Prune => PRUNE_IDLE,
                Ok(()) => IDLE,
                Err(error) => {
                    tracing::warn!(%error, ?work, "notices and the throwing away of old rows wait: the store failed");
                    ON_ERROR
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                // There is something new to deliver.
                () = self.kept.notified(), if matches!(work, Work::Deliver(_)) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    async fn pass(&self, work: Work) -> Result<(), StoreError> {
        match work {
            Work::Watch => self.watch_once().await,
            Work::Deliver(channel) => self.deliver(channel).await,
            Work::Prune => self.prune_all().await,
        }
    }
}

/// What is done again and again, each apart from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Keeps notices of what is new.
    Watch,
    /// Delivers what is due.
    Deliver(Channel),
    /// Throws away what is old.
    Prune,
}

/// Returns once told to stop; a sender that is gone says so, too.
async fn stopped(stop: &mut channel::Receiver<bool>) {
    let _seen = stop.wait_for(|stop| *stop).await;
}
