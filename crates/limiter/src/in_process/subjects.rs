//! The entries of many subjects, found by subject, in shards that are locked one at a time.
//!
//! Bounds how many there are and forgets those that nobody needs. It changes no limit's state.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};
use tollgate_domain::limit::AccountState;
use tollgate_domain::{SECOND_US, Timestamp};

use crate::limiter::Subject;

const SHARDS_MAX: usize = 256;
/// A bounded table has at least so many entries a shard, so that chance fills no shard much before the others.
const BOUND_PER_SHARD_MIN: usize = 64;
/// A sweep stops after the shard in which it has looked at so many entries.
const SWEPT_MAX: usize = 8_192;
/// A full shard is searched for what may be forgotten at most this often: a flood must not make every call search.
const MAKE_ROOM_EVERY_US: i64 = SECOND_US;
/// The share of a full shard that is freed at a time.
const ROOM_DIVISOR: usize = 16;

/// One subject and all that is counted for it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) subject: Subject,
    pub(super) state: Mutex<AccountState>,
}

impl Entry {
    fn new(subject: Subject) -> Arc<Self> {
        Arc::new(Self { subject, state: Mutex::default() })
    }
}

/// What decides whether a subject may be forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowd {
    pub(super) now: Timestamp,
    pub(super) idle_after_us: i64,
    /// Whether clients have a quota that forgetting them would give back.
    pub(super) quota_counts: bool,
}

impl Crowd {
    /// Whether forgetting this state changes no decision. An account's quota is in the ledger, a client's is not.
    pub(super) fn may_forget(&self, subject: Subject, state: &AccountState) -> bool {
        let quota = state.quota().filter(|_| self.keeps_quota(subject));
        state.is_idle(self.now) && quota.is_none_or(|quota| quota.used == 0 || quota.period.end <= self.now)
    }

    /// Whether the subject's quota is known here only.
    pub(super) fn keeps_quota(&self, subject: Subject) -> bool {
        self.quota_counts && matches!(subject, Subject::Client(_))
    }
}

#[derive(Debug)]
struct Slot {
    entry: Arc<Entry>,
    /// When a sweep first found that nobody held it; whoever opens it takes the mark away. Without a handle there is
    /// no call under way, so from then on all its usage is on its way to the ledger.
    unheld_since: Option<Timestamp>,
}

impl Slot {
    /// Nobody else holds it, and nobody can come to: handles are made under the shard's lock or from other handles.
    fn is_unheld(&self) -> bool {
        Arc::strong_count(&self.entry) == 1
    }
}

#[derive(Debug, Default)]
struct Shard {
    slots: HashTable<Slot>,
    /// What those share who found no room.
    overflow: Option<Arc<Entry>>,
    /// When it was last searched for room.
    searched_at: Option<Timestamp>,
}

/// A table of entries.
#[derive(Debug)]
pub(super) struct Subjects {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    shard_bound: usize,
    next_swept: AtomicUsize,
}

impl Subjects {
    /// A table of subjects that are known to be few enough, such as accounts.
    pub(super) fn unbounded() -> Self {
        Self::with_shards(SHARDS_MAX, usize::MAX)
    }

    /// A table of at most so many subjects, at least one.
    pub(super) fn bounded(bound: usize) -> Self {
        let shards = (bound / BOUND_PER_SHARD_MIN).clamp(1, SHARDS_MAX);
        Self::with_shards(shards, (bound / shards).max(1))
    }

    fn with_shards(shards: usize, shard_bound: usize) -> Self {
        Self {
            hasher: RandomState::default(),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            shard_bound,
            next_swept: AtomicUsize::new(0),
        }
    }

    /// The subject's entry, made if it is new; a shared one where there is no room for it.
    pub(super) fn open(&self, subject: Subject, crowd: Crowd) -> Arc<Entry> {
        let (hash, mut shard) = self.shard_of(subject);
        self.open_own(hash, &mut shard, subject, crowd)
            .unwrap_or_else(|| Arc::clone(shard.overflow.get_or_insert_with(|| Entry::new(subject))))
    }

    fn open_own(&self, hash: u64, shard: &mut Shard, subject: Subject, crowd: Crowd) -> Option<Arc<Entry>> {
        if let Some(slot) = shard.slots.find_mut(hash, |slot| slot.entry.subject == subject) {
            slot.unheld_since = None;
            return Some(Arc::clone(&slot.entry));
        }
        if shard.slots.len() >= self.shard_bound && !shard.make_room(self.shard_bound, crowd) {
            return None;
        }
        let slot = Slot { entry: Entry::new(subject), unheld_since: None };
        let entry = Arc::clone(&slot.entry);
        shard.slots.insert_unique(hash, slot, |slot| self.hasher.hash_one(slot.entry.subject));
        Some(entry)
    }

    /// The subject's entry if it has one of its own.
    pub(super) fn find(&self, subject: Subject) -> Option<Arc<Entry>> {
        let (hash, shard) = self.shard_of(subject);
        shard.slots.find(hash, |slot| slot.entry.subject == subject).map(|slot| Arc::clone(&slot.entry))
    }

    /// Puts a saved state in, unless something has been counted for the subject already, or there is no room.
    pub(super) fn restore(&self, subject: Subject, restored: AccountState, crowd: Crowd) {
        let (hash, mut shard) = self.shard_of(subject);
        if let Some(entry) = self.open_own(hash, &mut shard, subject, crowd) {
            let mut state = entry.state.lock();
            if *state == AccountState::default() {
                *state = restored;
            }
        }
    }

    /// Every entry; no shard is locked while the caller looks at its entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = Arc<Entry>> {
        self.shards.iter().flat_map(|shard| {
            let entries: Vec<_> = shard.lock().slots.iter().map(|slot| Arc::clone(&slot.entry)).collect();
            entries
        })
    }

    /// Forgets what nobody has held for long and what is idle, in the next few shards; `tidy` is shown every state
    /// that stays there. How many subjects are left in all.
    pub(super) fn sweep(&self, crowd: Crowd, tidy: impl Fn(&mut AccountState)) -> usize {
        let mut seen = 0;
        for _ in 0..self.shards.len() {
            let index = self.next_swept.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            let mut shard = self.shards[index].lock();
            seen += shard.slots.len();
            shard.sweep(crowd, &tidy);
            if shard.slots.capacity() / 4 > shard.slots.len() {
                let room = 2 * shard.slots.len();
                shard.slots.shrink_to(room, |slot| self.hasher.hash_one(slot.entry.subject));
            }
            drop(shard);
            if seen >= SWEPT_MAX {
                break;
            }
        }
        self.shards.iter().map(|shard| shard.lock().slots.len()).sum()
    }

    fn shard_of(&self, subject: Subject) -> (u64, MutexGuard<'_, Shard>) {
        let hash = self.hasher.hash_one(subject);
        // Bits that the table itself does not look at: it takes the lowest and the highest ones.
        let bits = usize::from(u16::try_from(hash >> 40 & 0xffff).expect("sixteen bits"));
        (hash, self.shards[bits % self.shards.len()].lock())
    }
}

impl Shard {
    fn sweep(&mut self, crowd: Crowd, tidy: impl Fn(&mut AccountState)) {
        self.slots.retain(|slot| {
            // A mark ahead of now comes from before the clock was set back.
            let since = slot.unheld_since.filter(|since| *since <= crowd.now).unwrap_or(crowd.now);
            slot.unheld_since = slot.is_unheld().then_some(since);
            let mut state = slot.entry.state.lock();
            tidy(&mut state);
            slot.unheld_since.is_none()
                || crowd.now - since < crowd.idle_after_us
                || !crowd.may_forget(slot.entry.subject, &state)
        });
    }

    /// Frees a share of a full shard if it can, and says whether there is room.
    fn make_room(&mut self, bound: usize, crowd: Crowd) -> bool {
        let searched_us = self.searched_at.map_or(i64::MAX, |at| (crowd.now - at).saturating_abs());
        if searched_us < MAKE_ROOM_EVERY_US {
            return false;
        }
        self.searched_at = Some(crowd.now);
        self.slots.retain(|slot| !(slot.is_unheld() && crowd.may_forget(slot.entry.subject, &slot.entry.state.lock())));
        let wanted = (bound / ROOM_DIVISOR).max(1);
        let missing = (self.slots.len() + wanted).saturating_sub(bound);
        if missing > 0 {
            self.forget_stalest(missing, crowd);
        }
        self.slots.len() < bound
    }

    /// Forgets the longest unseen, up to so many, but none that was seen lately and none in use.
    fn forget_stalest(&mut self, count: usize, crowd: Crowd) {
        let stale = |slot: &Slot| {
            let seen = slot.entry.state.lock().seen();
            (slot.is_unheld() && crowd.now - seen >= crowd.idle_after_us).then_some(seen)
        };
        let mut times: Vec<Timestamp> = self.slots.iter().filter_map(stale).collect();
        times.sort_unstable();
        let Some(newest) = times.get(..count.min(times.len())).and_then(<[_]>::last).copied() else { return };
        let mut left = count;
        self.slots.retain(|slot| {
            let goes = left > 0 && stale(slot).is_some_and(|seen| seen <= newest);
            left -= usize::from(goes);
            !goes
        });
    }
}
