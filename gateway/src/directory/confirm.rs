//! What becomes of a cached key while it is not known to hold still: while changes do not arrive, or after some may
//! have been missed. It is confirmed with the database, one caller at a time; where that does not answer it works on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tollgate_domain::{KeyHash, Timestamp};
use tollgate_limiter::Limiter;
use tollgate_store::{Change, ChangeSink, KeyWithAccount, StoreError};

use super::entry::{KeyEntry, RecordRead};
use super::epochs::Since;
use super::{Directory, DirectoryError};
use crate::snapshot::Snapshot;

/// How old a cached key's last confirmation may be while changes do not arrive, in microseconds.
const UNCONFIRMED_US: i64 = 5_000_000;
/// How long no confirmation is tried after one that failed, in microseconds.
const NO_CONFIRMING_US: i64 = 1_000_000;
/// How long the database may take to confirm a key before the cached one is used.
const CONFIRM_MAX: Duration = Duration::from_millis(500);

impl<L: Limiter> Directory<L> {
    /// Finds a key whose cached record is not known to hold still.
    pub(super) async fn find_doubtful(
        &self,
        hash: &KeyHash,
        entry: Arc<KeyEntry<L>>,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Option<Arc<KeyEntry<L>>>, DirectoryError> {
        let Some(confirmed) = self.confirmed_at(&entry) else {
            return self.find_uncached(hash, snapshot, now).await;
        };
        let is_due = !self.epochs.holds(entry.epoch()) || now - confirmed >= UNCONFIRMED_US;
        if !is_due {
            return Ok(Some(self.current(entry, snapshot, now)));
        }
        let _one_at_a_time = entry.confirming.lock().await;
        if let Some(newer) = self.keys.get(hash).filter(|newer| !Arc::ptr_eq(newer, &entry)) {
            // Whoever went first has put a confirmed one in its place.
            return Ok(Some(self.current(newer, snapshot, now)));
        }
        match self.confirm(&entry, snapshot, now).await {
            Ok(Some(confirmed)) => Ok(Some(confirmed)),
            Ok(None) => self.find_uncached(hash, snapshot, now).await,
            Err(_) if now - confirmed < self.stale_for_us => {
                self.metrics.keys_stale.inc();
                Ok(Some(self.current(Arc::clone(&entry), snapshot, now)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// When the entry was last known to hold; `None` when it is known not to.
    fn confirmed_at(&self, entry: &KeyEntry<L>) -> Option<Timestamp> {
        let read = entry.read();
        let heard = match self.epochs.since(read.epoch) {
            Since::Change => return None,
            Since::Nothing => self.feed.last_heard(),
            Since::Resyncs(1) => Timestamp::from_micros(self.heard_before_resync_us.load(Ordering::Acquire)),
            // It was not confirmed between them.
            Since::Resyncs(_) => read.at,
        };
        Some(read.at.max(heard))
    }

    /// Asks the database whether the entry's record still holds: the entry that then stands for it, or nothing where
    /// it does not, and is forgotten.
    async fn confirm(
        &self,
        entry: &Arc<KeyEntry<L>>,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Option<Arc<KeyEntry<L>>>, StoreError> {
        if now.as_micros() < self.no_confirming_until_us.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable("it did not answer a moment ago".into()));
        }
        let (hash, account) = (entry.key.hashed.hash, entry.owner.account.id);
        let read = RecordRead { at: now, epoch: self.epochs.of(account) };
        let asked = async {
            let _permit = self.reads.acquire().await.expect("the semaphore is never closed");
            self.store.find_key(&hash).await
        };
        self.metrics.store_reads.inc();
        let answer = tokio::time::timeout(CONFIRM_MAX, asked).await;
        let answer = answer.unwrap_or_else(|_elapsed| Err(StoreError::Unavailable("it takes too long".into())));
        let found = answer.inspect_err(|_| {
            self.metrics.store_errors.inc();
            let until_us = now.as_micros().saturating_add(NO_CONFIRMING_US);
            self.no_confirming_until_us.store(until_us, Ordering::Release);
        })?;
        let holds =
            found.is_some_and(|KeyWithAccount { key, account }| key == entry.key && account == entry.owner.account);
        if !holds {
            self.publish(&Change::Key(hash)).await;
            self.publish(&Change::Account(account)).await;
            return Ok(None);
        }
        let renewed = Arc::new(KeyEntry::resolve(entry.key.clone(), Arc::clone(&entry.owner), read, snapshot, now));
        self.keys.replace(entry, Arc::clone(&renewed));
        Ok(Some(renewed))
    }

    /// The record of a key: from the nearest copy while changes arrive. When they do not, a copy may be old too, and
    /// serves only where the database does not answer.
    pub(super) async fn read_record(
        &self,
        hash: &KeyHash,
        now: Timestamp,
    ) -> Result<Option<KeyWithAccount>, StoreError> {
        if self.feed.is_live(now) {
            return self.records.find_key(hash).await;
        }
        match self.store.find_key(hash).await {
            Err(StoreError::Unavailable(_)) => self.records.find_key(hash).await,
            answer => answer,
        }
    }
}
