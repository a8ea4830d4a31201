//! Finds a key's record: in Redis first, then in the store, whose answer it leaves in Redis for the next gateway.
//!
//! Redis has a tight bound here: a request waits. When it is away, a miss costs the store's answer and nothing else,
//! but for one caller now and then who tries whether Redis is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tollgate_domain::{Account, AccountId, Key, KeyHash};
use tollgate_store::{KeyRecords, KeyWithAccount, Store, StoreError};

use super::{Looked, Places, Token, UNKNOWN};
use crate::backoff::Gate;
use crate::error::FleetError;
use crate::link::FleetLink;
use crate::record;

/// How long Redis is left alone after it did not answer, at first and at most.
const SHUT_FIRST: Duration = Duration::from_millis(250);
const SHUT_MOST: Duration = Duration::from_secs(2);
/// Records on their way into Redis at a time; what comes on top is not put there.
const FILLS_MAX: usize = 32;

/// How the cache behaves.
#[derive(Clone, Copy, Debug)]
pub struct CacheSettings {
    /// The longest that a miss waits for Redis before it asks the store.
    pub bound: Duration,
    /// How long a record stays in Redis. Changes reach it at once; this only bounds its memory.
    pub kept_for: Duration,
    /// How long Redis remembers that a key is unknown.
    pub unknown_for: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            bound: Duration::from_millis(50),
            kept_for: Duration::from_hours(1),
            unknown_for: Duration::from_secs(10),
        }
    }
}

/// What the cache did, for metrics.
#[derive(Debug, Default)]
pub struct CacheStats {
    /// Keys that Redis knew, as existing or not.
    pub hits: AtomicU64,
    /// Keys that Redis did not know.
    pub misses: AtomicU64,
    /// Keys for which Redis did not answer in time.
    pub failures: AtomicU64,
    /// Keys for which Redis was not asked, as it had just failed.
    pub skipped: AtomicU64,
}

/// The records of keys, read through Redis.
pub struct CachedKeys {
    inner: Arc<Inner>,
}

struct Inner {
    places: Places,
    store: Arc<dyn Store>,
    settings: CacheSettings,
    gate: Gate,
    fills: Semaphore,
    stats: CacheStats,
}

impl CachedKeys {
    /// A cache before this store.
    pub fn new(link: Arc<FleetLink>, store: Arc<dyn Store>, settings: CacheSettings) -> Self {
        let inner = Inner {
            places: Places::new(link),
            store,
            settings,
            gate: Gate::new(SHUT_FIRST, SHUT_MOST),
            fills: Semaphore::new(FILLS_MAX),
            stats: CacheStats::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What it did so far.
    pub fn stats(&self) -> &CacheStats {
        &self.inner.stats
    }
}

/// What Redis says about a key and its account.
enum Answer {
    Whole(Option<Box<KeyWithAccount>>),
    /// Not all is there; what may be put where.
    Partial {
        key: Option<Token>,
        account: Option<Token>,
    },
}

#[async_trait]
impl KeyRecords for CachedKeys {
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyWithAccount>, StoreError> {
        let inner = &self.inner;
        let Some(attempt) = inner.gate.may_try() else {
            inner.stats.skipped.fetch_add(1, Ordering::Relaxed);
            return inner.store.find_key(hash).await;
        };
        let answer = inner.ask(hash).await;
        match answer {
            Ok(Answer::Whole(found)) => {
                inner.gate.succeeded();
                inner.stats.hits.fetch_add(1, Ordering::Relaxed);
                Ok(found.map(|found| *found))
            }
            Ok(Answer::Partial { key, account }) => {
                inner.gate.succeeded();
                inner.stats.misses.fetch_add(1, Ordering::Relaxed);
                let found = inner.store.find_key(hash).await?;
                self.leave_in_redis(*hash, found.as_ref(), key, account);
                Ok(found)
            }
            Err(_already_logged) => {
                inner.gate.failed(attempt);
                inner.stats.failures.fetch_add(1, Ordering::Relaxed);
                inner.store.find_key(hash).await
            }
        }
    }
}

impl CachedKeys {
    /// Puts what was read into Redis while the request goes on. What does not get there is found in the store again.
    fn leave_in_redis(
        &self,
        hash: KeyHash,
        found: Option<&KeyWithAccount>,
        key: Option<Token>,
        account: Option<Token>,
    ) {
        let inner = Arc::clone(&self.inner);
        let found = found.cloned();
        tokio::spawn(async move {
            let Ok(_permit) = inner.fills.try_acquire() else { return };
            // A failure is noted by the link; the place then stays empty.
            let _filled = inner.fill(&hash, found, key, account).await;
        });
    }
}

impl Inner {
    async fn ask(&self, hash: &KeyHash) -> Result<Answer, FleetError> {
        let until = Instant::now() + self.settings.bound;
        let left = || until.saturating_duration_since(Instant::now());
        let name = self.places.names().key_record(hash);
        let text = match self.places.look(&name, left()).await? {
            Looked::Missing(token) => return Ok(Answer::Partial { key: Some(token), account: None }),
            Looked::Found(text) if text == UNKNOWN => return Ok(Answer::Whole(None)),
            Looked::Found(text) => text,
        };
        let Some(key) = record::read_key(hash, &text) else {
            let token = self.places.begin_one(&name, left()).await?;
            return Ok(Answer::Partial { key: Some(token), account: None });
        };
        self.ask_account(key, left()).await
    }

    async fn ask_account(&self, key: Key, bound: Duration) -> Result<Answer, FleetError> {
        let name = self.places.names().account_record(key.account);
        let token = match self.places.look(&name, bound).await? {
            Looked::Missing(token) => token,
            Looked::Found(text) => match record::read_account(&text) {
                Some(account) => return Ok(Answer::Whole(Some(Box::new(KeyWithAccount { key, account })))),
                None => self.places.begin_one(&name, bound).await?,
            },
        };
        Ok(Answer::Partial { key: None, account: Some(token) })
    }

    async fn fill(
        &self,
        hash: &KeyHash,
        found: Option<KeyWithAccount>,
        key: Option<Token>,
        account: Option<Token>,
    ) -> Result<(), FleetError> {
        let CacheSettings { kept_for, unknown_for, .. } = self.settings;
        let name = self.places.names().key_record(hash);
        let Some(found) = found else {
            if let Some(token) = key {
                self.places.fill(&name, &token, UNKNOWN, unknown_for).await?;
            }
            return Ok(());
        };
        if let Some(token) = &key {
            self.places.fill(&name, token, &record::write_key(&found.key), kept_for).await?;
        }
        match account {
            Some(token) => self.fill_account(&found.account, &token).await,
            // The account was read before its place was asked for, so it cannot be put there: it is read again.
            None => self.read_account_again(found.account.id).await,
        }
    }

    async fn fill_account(&self, account: &Account, token: &Token) -> Result<(), FleetError> {
        let name = self.places.names().account_record(account.id);
        self.places.fill(&name, token, &record::write_account(account), self.settings.kept_for).await.map(|_| ())
    }

    async fn read_account_again(&self, id: AccountId) -> Result<(), FleetError> {
        let name = self.places.names().account_record(id);
        let Looked::Missing(token) = self.places.look(&name, self.settings.bound).await? else { return Ok(()) };
        let Ok(Some(account)) = self.store.account(id).await else { return Ok(()) };
        self.fill_account(&account, &token).await
    }
}
