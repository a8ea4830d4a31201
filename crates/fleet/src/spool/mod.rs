//! A gateway's side of the stream of usage: a batch is on this disk before anybody else hears of it, and stays there
//! until the control plane says that it is stored.
//!
//! Taking a batch needs neither Redis nor the database. The spool is bounded: when it is full a batch is refused, and
//! whoever counts goes on counting in memory. Nothing is dropped here, ever.

mod folder;
mod pending;
mod sender;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tollgate_domain::{AccountId, NodeId, UsageBatch};
use tollgate_store::{StoreError, UsageSink};

use crate::batch::{self, Written};
use crate::error::FleetError;
use crate::link::FleetLink;
use folder::{Claim, Folder, Name};
use pending::Pending;

/// The part of a spool's room, one in so many, beyond which batches are written without their single requests.
const REQUESTS_SHARE: u64 = 2;

/// How a spool is kept.
#[derive(Clone, Debug)]
pub struct SpoolSettings {
    /// The folder; made if it is missing. Several processes may share it.
    pub folder: PathBuf,
    /// Bytes of batches that this process keeps there, at most.
    pub bytes_max: u64,
    /// This run, as its batches name it.
    pub node: NodeId,
}

/// How a spool is doing, for metrics.
#[derive(Debug, Default)]
pub struct SpoolStats {
    /// Batches that are not known to be stored.
    pub batches: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Whether the last batch was refused: the spool is full, or its disk fails.
    pub is_refusing: AtomicBool,
    /// Batches put into the stream, repetitions included.
    pub sent: AtomicU64,
    /// Those that were put there again.
    pub resent: AtomicU64,
    /// Batches that the control plane said it has stored.
    pub stored: AtomicU64,
    /// Single requests that were left out of their batches, for want of room.
    pub requests_left_out: AtomicU64,
    /// Files that could not be read and were set aside.
    pub damaged: AtomicU64,
}

/// Takes batches of usage over and sees to it that they reach the ledger.
pub struct SpooledUsage {
    link: Arc<FleetLink>,
    folder: Folder,
    bytes_max: u64,
    node: NodeId,
    pending: Mutex<Pending>,
    /// The number of the oldest batch that is not stored; the highest there is when none is waiting.
    oldest: watch::Sender<u64>,
    wake: Notify,
    /// How many wait for what they have handed over to be stored.
    waiting: AtomicU64,
    stats: SpoolStats,
    /// Held for as long as this run lives.
    _own: Claim,
}

impl SpooledUsage {
    /// Opens the spool, and takes over what runs that are dead have left in it.
    ///
    /// # Errors
    /// The folder cannot be used, or another living process has this run's name.
    pub fn open(settings: &SpoolSettings, link: Arc<FleetLink>) -> Result<Arc<Self>, FleetError> {
        let folder = Folder::open(&settings.folder)?;
        let own = folder.claim(settings.node)?.ok_or_else(|| {
            FleetError::Settings(format!(
                "another process writes to the usage spool {} under the same name",
                settings.folder.display()
            ))
        })?;
        folder.tidy()?;
        let spool = Self {
            link,
            folder,
            bytes_max: settings.bytes_max,
            node: settings.node,
            pending: Mutex::default(),
            oldest: watch::Sender::new(u64::MAX),
            wake: Notify::new(),
            waiting: AtomicU64::new(0),
            stats: SpoolStats::default(),
            _own: own,
        };
        spool.adopt()?;
        Ok(Arc::new(spool))
    }

    /// How it is doing.
    pub fn stats(&self) -> &SpoolStats {
        &self.stats
    }

    /// The age of the oldest batch that is not known to be stored; zero when there is none.
    pub fn oldest_age(&self) -> Duration {
        self.pending.lock().oldest_age(Instant::now())
    }

    /// Takes over the batches of runs that are dead.
    fn adopt(&self) -> Result<usize, FleetError> {
        let found = self.folder.list()?;
        let mut adopted = 0;
        let mut refused = std::collections::HashSet::new();
        for batch in found {
            let node = batch.name.node;
            let is_known = {
                let pending = self.pending.lock();
                node == self.node || pending.contains(batch.name)
            };
            if is_known || refused.contains(&node) {
                continue;
            }
            if !self.pending.lock().owns(node) {
                let Some(claim) = self.folder.claim(node)? else {
                    refused.insert(node);
                    continue;
                };
                self.pending.lock().adopt(claim, node);
            }
            self.pending.lock().add(batch.name, batch.bytes, None, Instant::now(), batch.age);
            adopted += 1;
        }
        if adopted > 0 {
            tracing::info!(batches = adopted, "usage that an earlier run left in the spool is sent now");
        }
        self.publish_state();
        Ok(adopted)
    }

    /// Brings figures and waiting callers up to date.
    fn publish_state(&self) {
        let (batches, bytes, oldest) = {
            let pending = self.pending.lock();
            (pending.len() as u64, pending.bytes(), pending.oldest())
        };
        self.stats.batches.store(batches, Ordering::Relaxed);
        self.stats.bytes.store(bytes, Ordering::Relaxed);
        self.oldest.send_if_modified(|known| std::mem::replace(known, oldest) != oldest);
    }

    /// Writes a batch and takes its room. Single requests give way: they never keep the spool from taking usage.
    fn write_into_room(&self, batch: &UsageBatch) -> Result<Written, Full> {
        // The room is taken before the file is written, so that two at a time do not pass the bound together.
        let takes = |written: &Written, bytes_max| self.pending.lock().reserve(written.bytes.len() as u64, bytes_max);
        let written = batch::write(batch, batch::REQUEST_BYTES_MAX);
        if written.requests > 0 && takes(&written, self.bytes_max / REQUESTS_SHARE) {
            return Ok(written);
        }
        let bare = if written.requests > 0 { batch::write(batch, 0) } else { written };
        if takes(&bare, self.bytes_max) {
            return Ok(bare);
        }
        Err(Full { bytes: self.pending.lock().bytes(), bytes_max: self.bytes_max })
    }

    fn note_left_out(&self, count: usize) {
        if count > 0 && self.stats.requests_left_out.fetch_add(count as u64, Ordering::Relaxed) == 0 {
            tracing::warn!(count, "the log of requests has gaps from here on: there is no room for all of them");
        }
    }

    async fn write(&self, name: Name, bytes: Vec<u8>) -> Result<(), std::io::Error> {
        let folder = self.folder.clone();
        let written = tokio::task::spawn_blocking(move || folder.write(name, &bytes)).await;
        written.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }

    /// Notes whether a batch could be kept; the first one that could not is logged.
    fn refuse(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        let error = error.into();
        if !self.stats.is_refusing.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, folder = %self.folder.path().display(), "the usage spool takes no more; counting goes on in memory");
        }
        StoreError::Unavailable(error)
    }
}

/// Why a spool takes no more.
#[derive(Debug, thiserror::Error)]
#[error("the usage spool is full: {bytes} of {bytes_max} bytes wait to be stored")]
struct Full {
    bytes: u64,
    bytes_max: u64,
}

#[async_trait]
impl UsageSink for SpooledUsage {
    async fn take(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        let name = Name { node: batch.node, sequence: batch.sequence };
        if self.pending.lock().contains(name) {
            return Ok(());
        }
        let Written { bytes, requests } = self.write_into_room(batch).map_err(|full| self.refuse(full))?;
        let length = bytes.len() as u64;
        let written = self.write(name, bytes).await;
        let accounts = accounts_of(batch);
        {
            let mut pending = self.pending.lock();
            pending.release(length);
            if written.is_ok() {
                pending.add(name, length, Some(accounts), Instant::now(), Duration::ZERO);
            }
        }
        self.publish_state();
        written.map_err(|error| self.refuse(error))?;
        self.note_left_out(batch.requests.len() - requests);
        if self.stats.is_refusing.swap(false, Ordering::Relaxed) {
            tracing::info!("the usage spool takes batches again");
        }
        self.wake.notify_one();
        Ok(())
    }

    async fn settled(&self, of: Option<AccountId>) {
        let newest = match of {
            None => self.pending.lock().newest(),
            Some(account) => self.pending.lock().newest_of(account),
        };
        let mut oldest = self.oldest.subscribe();
        let _waits = Waits::begin(&self.waiting);
        self.wake.notify_one();
        // The sender lives as long as `self`.
        let _reached = oldest.wait_for(|oldest| newest.is_none_or(|newest| *oldest > newest)).await;
    }
}

/// Whom a batch counts, in order.
fn accounts_of(batch: &UsageBatch) -> Box<[AccountId]> {
    let counted = batch.lines.iter().map(|line| line.key.account);
    let accounts: std::collections::BTreeSet<AccountId> =
        counted.chain(batch.requests.iter().map(|row| row.account)).collect();
    accounts.into_iter().collect()
}

/// Counts a caller for as long as it waits, also when it gives up.
struct Waits<'a>(&'a AtomicU64);

impl<'a> Waits<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
