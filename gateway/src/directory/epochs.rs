//! Counts what has happened to accounts, many accounts to a slot, so that a decision learns with one load whether what
//! it remembers of a key still holds.
//!
//! Two things can have happened. A *change* makes what is remembered wrong: it is forgotten. A *resync*, after
//! changes may have been missed, makes it doubtful: it is read again before it is believed, and is still better than
//! nothing where no store answers.

use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_domain::AccountId;

/// How many slots there are. Whoever shares one with a changed account is read anew; the table is small enough to stay
/// in the processor's cache, so that asking it costs a decision nothing.
const SLOTS: usize = 4096;
/// Resyncs are counted above the changes.
const RESYNC: u64 = 1 << 40;

/// A slot, and what it had counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch {
    slot: u32,
    count: u64,
}

/// What has happened since an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// Nothing.
    Nothing,
    /// The account, or one that shares its slot, was changed.
    Change,
    /// Changes may have been missed, so often.
    Resyncs(u64),
}

/// The table.
pub(super) struct Epochs(Box<[AtomicU64]>);

impl Epochs {
    pub(super) fn new() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }

    /// The state of an account's slot. To be taken before the record is read that it is to judge.
    pub(super) fn of(&self, account: AccountId) -> Epoch {
        let slot = slot_of(account);
        Epoch { slot, count: self.0[slot as usize].load(Ordering::Acquire) }
    }

    /// Whether nothing has happened since.
    pub(super) fn holds(&self, epoch: Epoch) -> bool {
        self.0[epoch.slot as usize].load(Ordering::Acquire) == epoch.count
    }

    pub(super) fn since(&self, epoch: Epoch) -> Since {
        let passed = self.0[epoch.slot as usize].load(Ordering::Acquire).wrapping_sub(epoch.count);
        match (passed % RESYNC, passed / RESYNC) {
            (0, 0) => Since::Nothing,
            (0, resyncs) => Since::Resyncs(resyncs),
            (_, _) => Since::Change,
        }
    }

    pub(super) fn change(&self, account: AccountId) {
        self.0[slot_of(account) as usize].fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn resync(&self) {
        for slot in &self.0 {
            slot.fetch_add(RESYNC, Ordering::AcqRel);
        }
    }
}

fn slot_of(account: AccountId) -> u32 {
    u32::try_from(account.as_u128() % SLOTS as u128).expect("a remainder of 4096 fits")
}

#[cfg(test)]
mod tests {
    use tollgate_domain::Timestamp;

    use super::*;

    #[test]
    fn a_change_is_told_from_a_resync_and_both_from_nothing() {
        let id = |last: u8| AccountId::new(Timestamp::EPOCH, [0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        let (account, other) = (id(7), id(8));
        let epochs = Epochs::new();
        let epoch = epochs.of(account);
        assert!(epochs.holds(epoch) && epochs.since(epoch) == Since::Nothing);
        epochs.change(other);
        assert!(epochs.holds(epoch), "another slot");
        epochs.resync();
        epochs.resync();
        assert!(!epochs.holds(epoch));
        assert_eq!(epochs.since(epoch), Since::Resyncs(2));
        epochs.change(account);
        assert_eq!(epochs.since(epoch), Since::Change);
        assert_eq!(epochs.since(epochs.of(account)), Since::Nothing);
    }
}
