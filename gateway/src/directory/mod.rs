//! Finds keys by hash: process cache first, then the store, each miss in single flight.
//!
//! What is cached is believed while changes arrive. When they do not, it is confirmed with the database every few
//! seconds, and where that does not answer either it works on for a bounded time.
//!
//! Unknown keys are remembered too, in a cache of their own, so that a flood of made-up keys neither
//! reaches the store twice nor pushes good keys out. Changes forget what they touch before the call that
//! made them returns. It decides nothing.

mod confirm;
mod entry;
mod epochs;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use tollgate_domain::limit::{Debit, LimitSet, SLICES};
use tollgate_domain::{AccountId, Clock, HOUR_US, KeyHash, MeterName, Timestamp};
use tollgate_limiter::{Limiter, LimiterDown, Subject};
use tollgate_store::{Change, ChangeSink, Feed, KeyRecords, SeedQuery, Store, StoreError};

use entry::RecordRead;
pub use entry::{AccountEntry, KeyEntry, KeyRecord};
use epochs::{Epochs, Since};
use table::Table;

use crate::metrics::Metrics;
use crate::snapshot::Snapshot;
use crate::usage::UsageRecorder;

/// Keys the process remembers at most.
const KEYS_MAX: usize = 2_000_000;
/// Unknown hashes the process remembers at most.
const UNKNOWN_MAX: usize = 100_000;
/// How long an unknown hash is believed to be unknown, in microseconds. Making a key forgets it at once.
const UNKNOWN_US: i64 = 10_000_000;
/// Reads of the store at a time; what comes beyond waits its turn.
const STORE_READS_MAX: usize = 64;
/// How long the ledger may take to tell a shared limiter an account's state before calls go on without it.
const SEED_MAX: Duration = Duration::from_secs(3);
/// Shards of the table of accounts.
const ACCOUNT_SHARDS: usize = 64;

/// A key could not be told known from unknown, or its limits' state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// No store answered.
    #[error("the key store does not answer: {0}")]
    Store(#[from] StoreError),
    /// The limiter did not answer.
    #[error(transparent)]
    Limiter(#[from] LimiterDown),
}

type AccountShard<L> = Mutex<HashMap<AccountId, std::sync::Weak<AccountEntry<L>>, RandomState>>;

/// The process's knowledge of keys and accounts.
pub struct Directory<L: Limiter> {
    store: Arc<dyn Store>,
    records: Arc<dyn KeyRecords>,
    feed: Arc<Feed>,
    stale_for_us: i64,
    limiter: Arc<L>,
    usage: Arc<UsageRecorder>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    keys: Table<KeyEntry<L>>,
    /// Keys that are being read from the store. Whoever reads one holds its place here and never fills it, so that
    /// whoever waits finds the key remembered, or else is the next to read it.
    being_read: Cache<KeyHash, ()>,
    unknown: Cache<KeyHash, Timestamp>,
    accounts: Box<[AccountShard<L>]>,
    reads: Semaphore,
    epochs: Epochs,
    /// Up to when changes had arrived before the last resync, in microseconds.
    heard_before_resync_us: AtomicI64,
    /// Until when no confirmation is tried, in microseconds.
    no_confirming_until_us: AtomicI64,
    /// Counts changes. Whoever remembers a record holds it for reading and has seen no change since the record was
    /// read, so nothing that a change has overtaken is ever remembered after it.
    changes: RwLock<u64>,
}

/// What a directory is made of.
pub struct DirectoryParts<L: Limiter> {
    /// The database: records as they are, and the ledger.
    pub store: Arc<dyn Store>,
    /// Where records are found that are not remembered.
    pub records: Arc<dyn KeyRecords>,
    /// Whether changes arrive.
    pub feed: Arc<Feed>,
    /// How long a cached key works after its last confirmation while no store answers.
    pub stale_keys_for: Duration,
    /// Keeps limits.
    pub limiter: Arc<L>,
    /// Counts usage.
    pub usage: Arc<UsageRecorder>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl<L: Limiter> Directory<L> {
    /// An empty directory over a store.
    pub fn new(parts: DirectoryParts<L>) -> Self {
        let DirectoryParts { store, records, feed, stale_keys_for, limiter, usage, metrics, clock } = parts;
        Self {
            store,
            records,
            feed,
            stale_for_us: i64::try_from(stale_keys_for.as_micros()).unwrap_or(i64::MAX),
            limiter,
            usage,
            metrics,
            clock,
            keys: Table::new(KEYS_MAX),
            being_read: Cache::new(STORE_READS_MAX),
            unknown: Cache::new(UNKNOWN_MAX),
            accounts: (0..ACCOUNT_SHARDS).map(|_| Mutex::default()).collect(),
            reads: Semaphore::new(STORE_READS_MAX),
            epochs: Epochs::new(),
            heard_before_resync_us: AtomicI64::new(i64::MIN),
            no_confirming_until_us: AtomicI64::new(i64::MIN),
            changes: RwLock::new(0),
        }
    }

    /// Hears that a key will be asked for soon, to fetch what finding it will read.
    pub fn prefetch(&self, hash: &KeyHash) {
        self.keys.prefetch(hash);
    }

    /// Hears that a key is about to be asked for, some time after [`Self::prefetch`].
    pub fn prefetch_entry(&self, hash: &KeyHash) {
        self.keys.prefetch_entry(hash);
    }

    /// The key of this hash, resolved against the snapshot's plans; `None` when there is none.
    ///
    /// # Errors
    /// It is not cached and the store does not answer.
    pub async fn find(
        &self,
        hash: &KeyHash,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Option<Arc<KeyEntry<L>>>, DirectoryError> {
        let Some(entry) = self.keys.get(hash) else {
            return self.find_uncached(hash, snapshot, now).await;
        };
        if self.epochs.holds(entry.epoch()) && self.feed.is_live(now) {
            return Ok(Some(self.current(entry, snapshot, now)));
        }
        self.find_doubtful(hash, entry, snapshot, now).await
    }

    /// The entry itself, or one resolved anew when the plan table has changed since, or when what the account is entitled
    /// to has come to its end.
    fn current(&self, entry: Arc<KeyEntry<L>>, snapshot: &Snapshot, now: Timestamp) -> Arc<KeyEntry<L>> {
        if entry.is_current(snapshot, now) {
            return entry;
        }
        let (key, owner) = (entry.key.clone(), Arc::clone(&entry.owner));
        let resolved = Arc::new(KeyEntry::resolve(key, owner, entry.read(), snapshot, now));
        // Only in place of the entry it was made from: a change may have removed that one, and another reader may
        // have remembered a newer record since.
        if entry.generation() <= snapshot.generation {
            self.keys.replace(&entry, Arc::clone(&resolved));
        }
        resolved
    }

    async fn find_uncached(
        &self,
        hash: &KeyHash,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Option<Arc<KeyEntry<L>>>, DirectoryError> {
        loop {
            if self.unknown.get(hash).is_some_and(|until| now < until) {
                return Ok(None);
            }
            let _the_only_reader = self.being_read.get_value_or_guard_async(hash).await;
            match self.keys.get(hash) {
                Some(entry) if self.epochs.since(entry.epoch()) != Since::Change => {
                    return Ok(Some(self.current(entry, snapshot, now)));
                }
                Some(stale) => self.keys.remove_same(&stale),
                None => {}
            }
            if self.unknown.get(hash).is_some_and(|until| now < until) {
                return Ok(None);
            }
            let seen = *self.changes.read();
            let permit = self.reads.acquire().await.expect("the semaphore is never closed");
            let found = self.read_record(hash, now).await;
            drop(permit);
            self.metrics.store_reads.inc();
            let found = found.inspect_err(|_| self.metrics.store_errors.inc())?;
            let unchanged = self.changes.read();
            if *unchanged != seen {
                continue;
            }
            let Some(found) = found else {
                self.unknown.insert(*hash, now + UNKNOWN_US);
                return Ok(None);
            };
            let owner = self.owner_of(found.account);
            let read = RecordRead { at: now, epoch: self.epochs.of(owner.account.id) };
            let entry = Arc::new(KeyEntry::resolve(found.key, owner, read, snapshot, now));
            self.keys.insert(Arc::clone(&entry));
            return Ok(Some(entry));
        }
    }

    /// The entry of an account that was just read: the one in use, unless a change has made it stale.
    fn owner_of(&self, account: tollgate_domain::Account) -> Arc<AccountEntry<L>> {
        let mut shard = self.shard(account.id).lock();
        if let Some(known) = shard.get(&account.id).and_then(std::sync::Weak::upgrade)
            && !known.is_stale()
            && known.account == account
        {
            return known;
        }
        let id = account.id;
        let entry = Arc::new(AccountEntry::new(account, &*self.limiter));
        if let Some(older) = shard.insert(id, Arc::downgrade(&entry)).and_then(|older| older.upgrade()) {
            older.mark_stale();
            self.epochs.change(id);
        }
        entry
    }

    fn shard(&self, account: AccountId) -> &AccountShard<L> {
        let index = usize::try_from(account.as_u128() % ACCOUNT_SHARDS as u128).expect("a remainder of 64 fits");
        &self.accounts[index]
    }

    /// Fills in the limits' missing state from the ledger, in single flight per account. `meter` is the name of the one
    /// that the debit takes from.
    ///
    /// # Errors
    /// The store or the limiter does not answer; nothing is assumed to be zero then.
    pub async fn seed(
        &self,
        entry: &KeyEntry<L>,
        debit: &Debit<'_>,
        meter: Option<&MeterName>,
    ) -> Result<(), DirectoryError> {
        let owner = &entry.owner;
        let _one_at_a_time = owner.seeding.lock().await;
        let looked = Debit { cost: 0, ..*debit };
        if let Ok(Some(_)) = self.limiter.peek(Subject::Account(owner.account.id), &looked, self.clock.now()).await {
            // Whoever went first has told it all.
            return Ok(());
        }
        if L::IN_THIS_PROCESS {
            return self.seed_from_ledger(entry, debit, meter).await;
        }
        let seeded = tokio::time::timeout(SEED_MAX, self.seed_from_ledger(entry, debit, meter)).await;
        seeded.unwrap_or_else(|_elapsed| Err(StoreError::Unavailable("the ledger takes too long".into()).into()))
    }

    async fn seed_from_ledger(
        &self,
        entry: &KeyEntry<L>,
        debit: &Debit<'_>,
        meter: Option<&MeterName>,
    ) -> Result<(), DirectoryError> {
        let owner = &entry.owner;
        // What this process has counted but not yet stored is missing from the ledger.
        self.usage.settle(owner.account.id).await;
        loop {
            let ticket = self.limiter.ticket();
            let now = self.clock.now();
            let query = SeedQuery {
                account: owner.account.id,
                key: debit.key.map(|(id, _)| id),
                meter: meter.filter(|_| debit.meter.is_some()).cloned(),
                since: now + -lookback_us(debit),
                resolution_us: resolution_us(debit),
                period: debit.period,
            };
            let permit = self.reads.acquire().await.expect("the semaphore is never closed");
            let seed = self.store.seed(&query).await;
            drop(permit);
            self.metrics.store_reads.inc();
            let seed = seed.inspect_err(|_| self.metrics.store_errors.inc())?;
            if self.limiter.seed(&owner.handle, ticket, debit, &seed, now).await? {
                return Ok(());
            }
        }
    }

    /// How many keys are remembered.
    pub fn keys_cached(&self) -> usize {
        self.keys.len()
    }

    /// Drops table entries of accounts that no key remembers any more.
    pub fn sweep(&self) {
        for shard in &self.accounts {
            shard.lock().retain(|_, entry| entry.strong_count() > 0);
        }
    }

    fn forget_account(&self, account: AccountId) {
        let known = self.shard(account).lock().remove(&account);
        if let Some(entry) = known.and_then(|entry| entry.upgrade()) {
            entry.mark_stale();
        }
        self.epochs.change(account);
    }
}

#[async_trait]
impl<L: Limiter> ChangeSink for Directory<L> {
    async fn publish(&self, change: &Change) {
        *self.changes.write() += 1;
        match *change {
            Change::Key(hash) => {
                self.unknown.remove(&hash);
                self.keys.remove(&hash);
            }
            Change::Account(account) => self.forget_account(account),
            Change::Usage { account, of, period, units, position } => {
                if let Err(error) = self.limiter.charge(Subject::Account(account), of, period, units, position).await {
                    tracing::error!(%account, %error, "usage beside the gateway could not be told to the limiter");
                }
            }
        }
    }

    async fn resync(&self) {
        *self.changes.write() += 1;
        self.heard_before_resync_us.store(self.feed.last_heard().as_micros(), Ordering::Release);
        self.unknown.clear();
        self.epochs.resync();
    }
}

fn limit_sets<'a>(debit: &'a Debit<'_>) -> impl Iterator<Item = &'a LimitSet> {
    std::iter::once(debit.limits).chain(debit.key.map(|(_, limits)| limits))
}

fn lookback_us(debit: &Debit<'_>) -> i64 {
    limit_sets(debit).map(LimitSet::lookback_us).max().unwrap_or(0)
}

/// The finest grouping that any of the limits can tell apart: a slice of the shortest window. A bucket needs every
/// batch by itself; where slices are hours long the store gives the newest ones so in any case.
fn resolution_us(debit: &Debit<'_>) -> i64 {
    let windows = limit_sets(debit).flat_map(|limits| limits.windows.iter());
    let slice_us = windows.map(|window| window.length.micros() / SLICES).min().unwrap_or(1);
    let has_bucket = limit_sets(debit).any(|limits| limits.bucket.is_some());
    if has_bucket && slice_us < HOUR_US { 1 } else { slice_us }
}
