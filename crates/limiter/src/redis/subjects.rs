//! What a node remembers of a subject beside its lease: where its state lies in Redis, when it was last seen there,
//! and how its quota stood then, should Redis go away.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tollgate_domain::limit::{QuotaState, Reading};
use tollgate_domain::{KeyId, MeterId};

use super::lease::LeaseEntry;
use super::wire;
use crate::in_process;
use crate::limiter::Subject;

const SHARDS: usize = 64;
/// A handle that nobody has held for so long is forgotten.
const IDLE_AFTER: Duration = Duration::from_mins(2);
/// Redis keeps a state a day and more after its last use: one that is missing sooner was lost.
const KEPT_SURELY: Duration = Duration::from_hours(23);
/// How long a lost state is not made again, so that what every node has counted reaches the ledger first.
const LOST_FOR: Duration = Duration::from_millis(1_500);
/// Keys with limits of their own, and meters, whose quota is remembered.
const OWN_MAX: usize = 64;

/// Whose quota stands beside the account's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Key(KeyId),
    Meter(MeterId),
}

/// A subject as a node knows it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) subject: Subject,
    pub(super) key: Arc<str>,
    pub(super) lease: Arc<LeaseEntry>,
    is_gone: AtomicBool,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// When the state was last found in Redis.
    seen_at: Option<Instant>,
    /// Since when it is missing, though it should be there.
    lost_at: Option<Instant>,
    /// The account's quota, its keys' and its meters', as last seen.
    quota: Option<QuotaState>,
    own: Vec<(Own, QuotaState)>,
    /// How often it was found.
    found: u64,
    /// What is counted here while Redis is away, and how often the state had been found when it was last brought up to
    /// date with it.
    local: Option<(Option<u64>, in_process::Handle)>,
    /// When somebody was last seen to hold the handle.
    held_at: Option<Instant>,
}

impl Entry {
    pub(super) fn new(prefix: &str, subject: Subject) -> Self {
        Self {
            subject,
            key: wire::state_key(prefix, subject).into(),
            lease: Arc::new(LeaseEntry::new(subject)),
            is_gone: AtomicBool::new(false),
            memory: Mutex::default(),
        }
    }

    /// The state was found.
    pub(super) fn found(&self, shared: Option<&Reading>, own: impl IntoIterator<Item = (Own, QuotaState)>) {
        let mut memory = self.memory.lock();
        memory.seen_at = Some(Instant::now());
        memory.lost_at = None;
        memory.found += 1;
        if let Some(shared) = shared {
            memory.quota = Some(shared.quota);
        }
        for (id, quota) in own {
            memory.own.retain(|(known, _)| *known != id);
            if memory.own.len() == OWN_MAX {
                memory.own.remove(0);
            }
            memory.own.push((id, quota));
        }
    }

    /// Tells what was missing when the state was last looked for: all of it, or some limit's part.
    pub(super) fn missing(&self, is_all: bool) {
        self.is_gone.store(is_all, Ordering::Relaxed);
    }

    /// Whether a missing state is one that this node has used a moment ago: what was counted last is not in the ledger
    /// yet, so it must not be made again for a while.
    pub(super) fn is_lost(&self) -> bool {
        if !self.is_gone.load(Ordering::Relaxed) {
            return false;
        }
        let mut memory = self.memory.lock();
        if memory.seen_at.is_none_or(|seen_at| seen_at.elapsed() > KEPT_SURELY) {
            return false;
        }
        let is_lost = memory.lost_at.get_or_insert_with(Instant::now).elapsed() < LOST_FOR;
        if !is_lost {
            (memory.seen_at, memory.lost_at) = (None, None);
        }
        is_lost
    }

    /// The quota as last seen in Redis: the account's, or a key's or a meter's.
    pub(super) fn quota(&self, own: Option<Own>) -> Option<QuotaState> {
        let memory = self.memory.lock();
        match own {
            None => memory.quota,
            Some(own) => memory.own.iter().find(|(known, _)| *known == own).map(|(_, quota)| *quota),
        }
    }

    /// What is counted here while Redis is away, and whether Redis was heard since it was last asked for.
    pub(super) fn local(&self, open: impl FnOnce() -> in_process::Handle) -> (in_process::Handle, bool) {
        let mut memory = self.memory.lock();
        let found = memory.found;
        let (known, handle) = memory.local.get_or_insert_with(|| (None, open()));
        let is_stale = known.replace(found) != Some(found);
        (handle.clone(), is_stale)
    }

    /// What is counted here while Redis is away, if anything was.
    pub(super) fn counted_locally(&self) -> Option<in_process::Handle> {
        self.memory.lock().local.as_ref().map(|(_, handle)| handle.clone())
    }

    fn is_idle(entry: &Arc<Self>) -> bool {
        let is_held = Arc::strong_count(entry) > 1 || entry.lease.is_held();
        let mut memory = entry.memory.lock();
        if is_held {
            memory.held_at = None;
            return false;
        }
        memory.held_at.get_or_insert_with(Instant::now).elapsed() >= IDLE_AFTER
    }
}

type Shard = HashMap<Subject, Arc<Entry>, RandomState>;

/// The accounts that this node knows. Clients are not among them: anybody can show up under a new address, and all
/// that is counted of one lies in Redis.
#[derive(Debug)]
pub(super) struct Subjects {
    prefix: Box<str>,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

impl Subjects {
    /// None yet. Their states' names in Redis begin with the prefix.
    pub(super) fn new(prefix: &str) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { prefix: prefix.into(), hasher: RandomState::default(), shards }
    }

    /// An entry that nobody finds here.
    pub(super) fn apart(&self, subject: Subject) -> Entry {
        Entry::new(&self.prefix, subject)
    }

    fn shard(&self, subject: Subject) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(subject);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    pub(super) fn open(&self, subject: Subject) -> Arc<Entry> {
        match subject {
            Subject::Client(_) => Arc::new(self.apart(subject)),
            Subject::Account(_) => {
                Arc::clone(self.shard(subject).lock().entry(subject).or_insert_with(|| Arc::new(self.apart(subject))))
            }
        }
    }

    pub(super) fn find(&self, subject: Subject) -> Option<Arc<Entry>> {
        self.shard(subject).lock().get(&subject).cloned()
    }

    /// Forgets who has been idle. Returns how many are left.
    pub(super) fn sweep(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                let mut entries = shard.lock();
                entries.retain(|_, entry| !Entry::is_idle(entry));
                entries.len()
            })
            .sum()
    }
}
