//! When which entry is to be looked at next. Only entries that hold something stand in it, so what it costs follows
//! the live leases, not the accounts.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::entry::LeaseEntry;

/// Entries that come due within the same slot share a list.
const SLOT_US: i64 = 8_192;

/// Entries by the time they come due.
///
/// An entry may stand in it more than once: the state's own due time says which of them counts.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    slots: Mutex<BTreeMap<i64, Vec<Arc<LeaseEntry>>>>,
}

impl Schedule {
    /// Due at this monotonic time, or up to a slot later.
    pub(super) fn add(&self, entry: Arc<LeaseEntry>, due_us: i64) {
        let slot = due_us.div_euclid(SLOT_US) + 1;
        self.slots.lock().entry(slot).or_default().push(entry);
    }

    /// Takes up to so many of the entries that are due.
    pub(super) fn take_due(&self, now_us: i64, most: usize) -> Vec<Arc<LeaseEntry>> {
        let mut due = Vec::new();
        let mut slots = self.slots.lock();
        while due.len() < most
            && let Some(mut first) = slots.first_entry()
            && *first.key() <= now_us.div_euclid(SLOT_US)
        {
            let list = first.get_mut();
            due.extend(list.drain(list.len().saturating_sub(most - due.len())..));
            if list.is_empty() {
                first.remove();
            }
        }
        due
    }

    /// Takes everything.
    pub(super) fn take_all(&self) -> Vec<Arc<LeaseEntry>> {
        std::mem::take(&mut *self.slots.lock()).into_values().flatten().collect()
    }

    /// Units that all entries hold unspent.
    pub(super) fn units(&self) -> u64 {
        let mut entries: Vec<_> = self.slots.lock().values().flatten().cloned().collect();
        entries.sort_unstable_by_key(Arc::as_ptr);
        entries.dedup_by_key(|entry| Arc::as_ptr(entry));
        entries.iter().map(|entry| entry.units_left()).sum()
    }
}
