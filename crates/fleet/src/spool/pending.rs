//! What a spool knows of its batches: which wait to be sent, which to be stored, when to look after them. In memory;
//! the files themselves are elsewhere.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use tollgate_domain::{AccountId, NodeId};

use super::folder::{Claim, Name};
use crate::backoff::doubled;

/// How long after a batch was sent it is looked after, at first and at most.
const LOOK_FIRST: Duration = Duration::from_secs(10);
const LOOK_MOST: Duration = Duration::from_mins(5);
/// How often a batch that still stands in the stream is left there before it is sent again all the same.
const LOOKS_MAX: u32 = 12;

/// A batch that is not known to be stored.
#[derive(Debug)]
struct Batch {
    name: Name,
    bytes: u64,
    /// Whom it counts, in order; unknown of another run's.
    accounts: Option<Box<[AccountId]>>,
    since: Instant,
    /// How old it was then.
    age: Duration,
    sent: Option<Sent>,
}

/// Where a batch stands in the stream.
#[derive(Debug)]
struct Sent {
    entry: String,
    look_at: Instant,
    looks: u32,
}

/// A batch that has been in the stream for long.
#[derive(Debug)]
pub(super) struct Overdue {
    pub(super) number: u64,
    pub(super) entry: String,
    /// Whether it is to be sent again wherever it stands.
    pub(super) is_given_up: bool,
}

/// The batches by number: they are numbered as they come.
#[derive(Debug, Default)]
pub(super) struct Pending {
    batches: BTreeMap<u64, Batch>,
    numbers: HashMap<Name, u64>,
    unsent: BTreeSet<u64>,
    claims: HashMap<NodeId, Claim>,
    next: u64,
    bytes: u64,
    reserved: u64,
    bytes_sent: u64,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes that stand in the stream.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    pub(super) fn contains(&self, name: Name) -> bool {
        self.numbers.contains_key(&name)
    }

    /// Keeps room for a batch that is being written; false when there is none.
    pub(super) fn reserve(&mut self, bytes: u64, bytes_max: u64) -> bool {
        let fits = self.bytes.saturating_add(self.reserved).saturating_add(bytes) <= bytes_max;
        if fits {
            self.reserved += bytes;
        }
        fits
    }

    pub(super) fn release(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    pub(super) fn add(
        &mut self,
        name: Name,
        bytes: u64,
        accounts: Option<Box<[AccountId]>>,
        since: Instant,
        age: Duration,
    ) {
        if self.contains(name) {
            return;
        }
        let number = self.next;
        self.next += 1;
        self.bytes += bytes;
        self.numbers.insert(name, number);
        self.unsent.insert(number);
        self.batches.insert(number, Batch { name, bytes, accounts, since, age, sent: None });
    }

    pub(super) fn owns(&self, node: NodeId) -> bool {
        self.claims.contains_key(&node)
    }

    pub(super) fn adopt(&mut self, claim: Claim, node: NodeId) {
        self.claims.insert(node, claim);
    }

    /// Claims on runs that have no batches any more.
    pub(super) fn take_idle_claims(&mut self) -> Vec<Claim> {
        let busy: BTreeSet<NodeId> = self.numbers.keys().map(|name| name.node).collect();
        let idle: Vec<NodeId> = self.claims.keys().filter(|node| !busy.contains(node)).copied().collect();
        idle.iter().filter_map(|node| self.claims.remove(node)).collect()
    }

    /// The number of the oldest batch; the highest number when there is none.
    pub(super) fn oldest(&self) -> u64 {
        self.batches.first_key_value().map_or(u64::MAX, |(number, _)| *number)
    }

    /// The number of the newest batch ever added.
    pub(super) fn newest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// The number of the newest batch that counts this account, or may.
    pub(super) fn newest_of(&self, account: AccountId) -> Option<u64> {
        let may_count =
            |batch: &Batch| batch.accounts.as_ref().is_none_or(|known| known.binary_search(&account).is_ok());
        self.batches.iter().rev().find(|(_, batch)| may_count(batch)).map(|(number, _)| *number)
    }

    pub(super) fn oldest_age(&self, now: Instant) -> Duration {
        let ages = self.batches.values().map(|batch| batch.age + now.saturating_duration_since(batch.since));
        ages.max().unwrap_or_default()
    }

    /// The oldest batches that are to be sent, up to so many bytes, but at least one.
    pub(super) fn to_send(&self, bytes_max: u64) -> Vec<(u64, Name)> {
        let mut bytes = 0_u64;
        let batches = self.unsent.iter().filter_map(|number| Some((*number, self.batches.get(number)?)));
        let fitting = batches.take_while(|(_, batch)| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(batch.bytes.max(1));
            is_first || bytes <= bytes_max
        });
        fitting.map(|(number, batch)| (number, batch.name)).collect()
    }

    /// Notes where a batch stands in the stream. Returns whether it had been sent before.
    pub(super) fn sent(&mut self, number: u64, entry: String, now: Instant) {
        if let Some(batch) = self.batches.get_mut(&number)
            && self.unsent.remove(&number)
        {
            self.bytes_sent += batch.bytes;
            batch.sent = Some(Sent { entry, look_at: now + LOOK_FIRST, looks: 0 });
        }
    }

    /// Notes that a batch is to be sent again.
    pub(super) fn unsend(&mut self, number: u64) {
        if let Some(batch) = self.batches.get_mut(&number)
            && batch.sent.take().is_some()
        {
            self.bytes_sent = self.bytes_sent.saturating_sub(batch.bytes);
            self.unsent.insert(number);
        }
    }

    /// Batches that were sent so long ago that they are to be looked after.
    pub(super) fn overdue(&self, now: Instant, count_max: usize) -> Vec<Overdue> {
        let overdue = self.batches.iter().filter_map(|(number, batch)| {
            let sent = batch.sent.as_ref().filter(|sent| sent.look_at <= now)?;
            Some(Overdue { number: *number, entry: sent.entry.clone(), is_given_up: sent.looks >= LOOKS_MAX })
        });
        overdue.take(count_max).collect()
    }

    /// Notes that a batch still stands in the stream: it is looked after again later.
    pub(super) fn still_there(&mut self, number: u64, now: Instant) {
        if let Some(sent) = self.batches.get_mut(&number).and_then(|batch| batch.sent.as_mut()) {
            sent.looks += 1;
            sent.look_at = now + doubled(LOOK_FIRST, LOOK_MOST, sent.looks);
        }
    }

    /// Looks after everything soon: the stream may have been lost.
    pub(super) fn look_soon(&mut self, at: Instant) {
        for sent in self.batches.values_mut().filter_map(|batch| batch.sent.as_mut()) {
            sent.look_at = sent.look_at.min(at);
        }
    }

    /// Takes a batch out; whether it was there.
    pub(super) fn remove(&mut self, name: Name) -> bool {
        let Some(number) = self.numbers.remove(&name) else { return false };
        self.unsent.remove(&number);
        if let Some(batch) = self.batches.remove(&number) {
            self.bytes = self.bytes.saturating_sub(batch.bytes);
            if batch.sent.is_some() {
                self.bytes_sent = self.bytes_sent.saturating_sub(batch.bytes);
            }
        }
        true
    }

    /// Runs of which batches wait to be stored.
    pub(super) fn nodes(&self) -> BTreeSet<NodeId> {
        self.numbers.keys().map(|name| name.node).collect()
    }

    /// Whether any batch stands in the stream.
    pub(super) fn has_sent(&self) -> bool {
        self.batches.len() > self.unsent.len()
    }

    /// Whether any batch is to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use tollgate_domain::Timestamp;

    use super::*;

    fn name(sequence: u64) -> Name {
        Name { node: NodeId::new(Timestamp::EPOCH, [1; 10]), sequence }
    }

    fn account(number: u64) -> AccountId {
        AccountId::new(Timestamp::from_secs(i64::try_from(number).expect("few")), [7; 10])
    }

    #[test]
    fn an_account_waits_for_its_own_batches_and_for_those_that_may_be() {
        let mut pending = filled(3);
        assert_eq!(pending.newest_of(account(2)), Some(1));
        assert_eq!(pending.newest_of(account(9)), None);
        pending.add(name(4), 10, None, Instant::now(), Duration::ZERO);
        assert_eq!(pending.newest_of(account(9)), Some(3), "nobody knows whom another run's batch counts");
    }

    fn filled(count: u64) -> Pending {
        let mut pending = Pending::default();
        for sequence in 1..=count {
            pending.add(name(sequence), 10, Some([account(sequence)].into()), Instant::now(), Duration::ZERO);
        }
        pending
    }

    #[test]
    fn batches_go_out_oldest_first_and_within_the_bound() {
        let mut pending = filled(5);
        let sequences = |pending: &Pending, bytes| -> Vec<u64> {
            pending.to_send(bytes).into_iter().map(|(_, name)| name.sequence).collect()
        };
        assert_eq!(sequences(&pending, 25), [1, 2]);
        assert_eq!(sequences(&pending, 0), [1], "one always goes, however large");
        pending.sent(0, "1-0".into(), Instant::now());
        assert_eq!((sequences(&pending, 100), pending.bytes_sent()), (vec![2, 3, 4, 5], 10));
        pending.unsend(0);
        assert_eq!((sequences(&pending, 20), pending.bytes_sent()), (vec![1, 2], 0));
        assert!(pending.remove(name(1)) && !pending.remove(name(1)));
        assert_eq!((pending.len(), pending.bytes(), pending.oldest()), (4, 40, 1));
    }

    #[test]
    fn the_bound_counts_what_is_being_written() {
        let mut pending = filled(2);
        assert!(pending.reserve(10, 30));
        assert!(!pending.reserve(1, 30));
        pending.release(10);
        assert!(pending.reserve(1, 30));
    }

    #[test]
    fn a_batch_is_looked_after_later_and_later_and_given_up_in_the_end() {
        let mut pending = filled(1);
        let start = Instant::now();
        pending.sent(0, "1-0".into(), start);
        let mut at = start;
        let mut waits = Vec::new();
        while waits.len() < 8 {
            let before = at;
            while pending.overdue(at, 9).is_empty() {
                at += Duration::from_secs(1);
            }
            waits.push(at.duration_since(before).as_secs());
            pending.still_there(0, at);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
        for _ in 0..4 {
            pending.still_there(0, at);
        }
        assert!(pending.overdue(at + LOOK_MOST, 9).iter().all(|overdue| overdue.is_given_up));
        pending.look_soon(at);
        assert_eq!(pending.overdue(at, 9).len(), 1);
    }

    #[test]
    fn a_claim_ends_with_its_last_batch() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = super::super::folder::Folder::open(place.path()).expect("it can be made");
        let node = name(1).node;
        let mut pending = filled(1);
        pending.adopt(folder.claim(node).expect("locks work").expect("it is free"), node);
        assert!(pending.take_idle_claims().is_empty());
        pending.remove(name(1));
        assert_eq!(pending.take_idle_claims().len(), 1);
        assert!(!pending.owns(node));
    }
}
