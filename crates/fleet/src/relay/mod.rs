//! Carries changes from the store's outbox to the fleet: into the cache of key records, to the shared limits, into the
//! stream that every gateway reads. A row leaves the outbox when all of that is done.
//!
//! Everything is done so that doing it again changes nothing: several control planes may carry the same row. While
//! Redis is away the rows stay. What gateways do with a change is not known here.

mod vouch;

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deadpool_redis::redis::Pipeline;
use tokio::sync::{Notify, watch};
use tollgate_domain::{AccountId, Charged, Period};
use tollgate_store::{Change, ChangeSink, OutboxEntry, Store, StoreError};

use crate::backoff::Backoff;
use crate::cache::{CacheSettings, Places, Token, UNKNOWN};
use crate::error::FleetError;
use crate::link::FleetLink;
use crate::{change, record};
use vouch::Progress;

/// How often the outbox is looked at when nobody says that there is something.
const IDLE: Duration = Duration::from_millis(100);
/// How long to leave a Redis or a store alone that failed, at first and at most.
const ON_ERROR_FIRST: Duration = Duration::from_millis(100);
const ON_ERROR_MOST: Duration = Duration::from_secs(1);
/// Rows carried at a time.
const BATCH_SIZE: u32 = 512;
/// Records written anew at a time. Where more have changed, as after an import, their places are only emptied:
/// gateways find them in the store, and the changes that follow do not wait.
const WRITTEN_THROUGH_MAX: usize = 32;
/// Changes that the stream keeps, about.
const STREAM_LENGTH: usize = 100_000;
/// How long a caller waits for its change to be carried.
const PUBLISH_MAX: Duration = Duration::from_secs(1);

/// Where units go that were charged beside the gateways: the limits that all nodes share.
#[async_trait]
pub trait Charges: Send + Sync {
    /// Charges (or, negative, credits) units of calls or of a meter to a period. `position` is the entry's place in the ledger: what has been
    /// told already, or was part of a seed, is not counted again.
    ///
    /// # Errors
    /// The limits do not answer; the same charge is brought again, before any later one of the account.
    async fn charge(
        &self,
        account: AccountId,
        of: Charged,
        period: Period,
        units: i64,
        position: u64,
    ) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// What a relay did, for metrics.
#[derive(Debug, Default)]
pub struct RelayStats {
    /// Rows carried.
    pub relayed: AtomicU64,
    /// Rounds that ended before everything was carried.
    pub failures: AtomicU64,
    /// Rows that the last look at the outbox found: at most a batch.
    pub waiting: AtomicI64,
}

/// The control plane's side of the stream of changes. As a [`ChangeSink`] it returns when the change is on its way to
/// every gateway, or after a second; then it is carried later.
pub struct Relay {
    link: Arc<FleetLink>,
    places: Places,
    store: Arc<dyn Store>,
    charges: Arc<dyn Charges>,
    local: Option<Arc<dyn ChangeSink>>,
    settings: CacheSettings,
    poke: Notify,
    /// Rounds that somebody waits for.
    asked: AtomicU64,
    /// The last of them that carried everything it found.
    carried: watch::Sender<u64>,
    progress: Progress,
    stats: RelayStats,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the shared limits cannot be charged: {0}")]
    Charge(Box<dyn Error + Send + Sync>),
}

/// What became of some rows.
struct Carried {
    /// Those that can be taken out of the outbox.
    ids: Vec<i64>,
    /// Why others cannot.
    failure: Option<Box<dyn Error + Send + Sync>>,
}

impl Relay {
    /// A relay of this store's outbox. `local` is told of each published change first, without Redis: the gateway in
    /// the same process, where there is one.
    pub fn new(
        link: Arc<FleetLink>,
        store: Arc<dyn Store>,
        charges: Arc<dyn Charges>,
        local: Option<Arc<dyn ChangeSink>>,
        settings: CacheSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            places: Places::new(Arc::clone(&link)),
            link,
            store,
            charges,
            local,
            settings,
            poke: Notify::new(),
            asked: AtomicU64::new(0),
            carried: watch::Sender::new(0),
            progress: Progress::default(),
            stats: RelayStats::default(),
        })
    }

    /// What it did so far.
    pub fn stats(&self) -> &RelayStats {
        &self.stats
    }

    /// Waits until every row that is in the outbox now has been carried. The caller bounds the wait.
    pub async fn flushed(&self) {
        let round = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut carried = self.carried.subscribe();
        self.poke.notify_one();
        // The sender lives as long as `self`.
        let _reached = carried.wait_for(|done| *done >= round).await;
    }

    /// Carries changes until told to stop, and what is there then once more.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        tokio::join!(self.carry_on(stop.clone()), vouch::run(&self.link, &self.progress, stop));
    }

    async fn carry_on(&self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(ON_ERROR_FIRST, ON_ERROR_MOST);
        while !*stop.borrow() {
            let wait = self.round(&mut backoff).await;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // After a failure nobody hurries it: each try may take as long as Redis lets it.
                () = self.poke.notified(), if !backoff.is_failing() => {}
                _ = stop.changed() => break,
            }
        }
        self.round(&mut backoff).await;
    }

    /// Carries what the outbox holds; how long to wait before the next look.
    async fn round(&self, backoff: &mut Backoff) -> Duration {
        let asked = self.asked.load(Ordering::Acquire);
        let began = Instant::now();
        match self.drain().await {
            Ok(()) => {
                if backoff.succeeded() {
                    tracing::info!("changes reach the fleet again");
                }
                self.progress.is_whole_since(began);
                self.carried.send_if_modified(|done| std::mem::replace(done, asked) != asked);
                IDLE
            }
            Err(error) => {
                self.stats.failures.fetch_add(1, Ordering::Relaxed);
                if !backoff.is_failing() {
                    tracing::error!(%error, "changes do not reach the fleet; they wait in the outbox");
                }
                backoff.failed()
            }
        }
    }

    async fn drain(&self) -> Result<(), Interrupted> {
        let mut uncharged = None;
        loop {
            self.progress.look_begins();
            let rows = self.store.outbox(BATCH_SIZE).await;
            self.progress.look_ends(rows.is_err());
            let rows = rows?;
            self.stats.waiting.store(signed(rows.len()), Ordering::Relaxed);
            let Carried { ids, failure } = self.carry(&rows).await?;
            if !ids.is_empty() {
                self.store.clear_outbox(&ids).await?;
            }
            self.stats.relayed.fetch_add(ids.len() as u64, Ordering::Relaxed);
            uncharged = uncharged.or(failure);
            let is_last = rows.len() < BATCH_SIZE as usize || ids.is_empty();
            if is_last {
                self.stats.waiting.store(signed(rows.len() - ids.len()), Ordering::Relaxed);
                return uncharged.map_or(Ok(()), |failure| Err(Interrupted::Charge(failure)));
            }
        }
    }

    /// Does for some rows all that is to be done, in this order: gateways hear of a change only when what they then
    /// read is new.
    async fn carry(&self, rows: &[OutboxEntry]) -> Result<Carried, Interrupted> {
        let has_records = rows.iter().any(|row| !matches!(row.change, Change::Usage { .. }));
        self.progress.waits(has_records);
        let mut seen = HashSet::new();
        let changed: Vec<Change> = rows
            .iter()
            .map(|row| row.change)
            .filter(|change| self.place_of(change).is_some_and(|place| seen.insert(place)))
            .collect();
        let places: Vec<String> = changed.iter().filter_map(|change| self.place_of(change)).collect();
        if !places.is_empty() {
            let tokens = self.places.begin(&places).await?;
            if changed.len() <= WRITTEN_THROUGH_MAX {
                for ((change, place), token) in changed.iter().zip(&places).zip(&tokens) {
                    self.write_through(change, place, token).await?;
                }
            }
        }
        let mut uncharged = HashSet::new();
        let mut failure = None;
        let mut entries = Pipeline::new();
        let mut ids = Vec::with_capacity(rows.len());
        for row in rows {
            if let Change::Usage { account, .. } = row.change {
                // A charge that follows one that failed would make the shared limits take that one for known.
                if uncharged.contains(&account) {
                    continue;
                }
                if let Err(error) = self.charge(&row.change).await {
                    uncharged.insert(account);
                    failure = Some(error);
                    continue;
                }
            }
            entries
                .add_command(change::append(&self.link.names().changes, &change::write(&row.change), STREAM_LENGTH))
                .ignore();
            ids.push(row.id);
        }
        if !ids.is_empty() {
            self.link.pipe::<()>(&entries).await?;
        }
        self.progress.waits(false);
        Ok(Carried { ids, failure })
    }

    async fn charge(&self, change: &Change) -> Result<(), Box<dyn Error + Send + Sync>> {
        match *change {
            Change::Usage { account, of, period, units, position } => {
                self.charges.charge(account, of, period, units, position).await
            }
            Change::Key(_) | Change::Account(_) => Ok(()),
        }
    }

    fn place_of(&self, change: &Change) -> Option<String> {
        let names = self.link.names();
        match change {
            Change::Key(hash) => Some(names.key_record(hash)),
            Change::Account(account) => Some(names.account_record(*account)),
            Change::Usage { .. } => None,
        }
    }

    /// Writes a record that was read after its change, unless it has changed once more since.
    async fn write_through(&self, change: &Change, place: &str, token: &Token) -> Result<(), Interrupted> {
        let CacheSettings { kept_for, unknown_for, .. } = self.settings;
        let (text, kept_for) = match change {
            Change::Key(hash) => match self.store.find_key(hash).await? {
                Some(found) => (record::write_key(&found.key), kept_for),
                None => (UNKNOWN.to_vec(), unknown_for),
            },
            Change::Account(account) => match self.store.account(*account).await? {
                Some(account) => (record::write_account(&account), kept_for),
                None => return Ok(()),
            },
            Change::Usage { .. } => return Ok(()),
        };
        self.places.fill(place, token, &text, kept_for).await?;
        Ok(())
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[async_trait]
impl ChangeSink for Relay {
    async fn publish(&self, change: &Change) {
        if let Some(local) = &self.local {
            local.publish(change).await;
        }
        // Not carried within the bound, it is carried later: the row is in the outbox.
        let _in_time = tokio::time::timeout(PUBLISH_MAX, self.flushed()).await;
    }

    async fn resync(&self) {
        if let Some(local) = &self.local {
            local.resync().await;
        }
    }
}
