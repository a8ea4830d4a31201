//! The keys that are remembered, found by hash: bounded, and laid out so that a search reads two lines of memory.
//!
//! A bucket is a pair of such lines that are fetched together: seven entries and a byte of each one's hash, so that an
//! entry is looked at only when it is most likely the one, and where the memory stands that is read after the entry's, so
//! that both are fetched at the same time. Each hash has two buckets; the second is used while the first is full. When there is no room
//! left, an entry goes that nobody has asked for since it was last looked at. It knows nothing of what is remembered.

use std::sync::Arc;

use parking_lot::{RwLock, RwLockWriteGuard};
use tollgate_domain::KeyHash;
use tollgate_limiter::{Ahead, prefetch};

/// Each is locked by itself; the table of one is small enough to grow without holding anybody up for long.
const SHARDS: usize = 256;
/// Entries of a bucket.
const WAYS: usize = 7;
/// A shard grows when its buckets hold more than so many entries on average, so that hardly one overflows.
const ENTRIES_PER_BUCKET: usize = 4;
/// Buckets that are looked through for an entry that nobody has asked for, before one goes that somebody did.
const BUCKETS_LOOKED_THROUGH: usize = 16;
/// The tag of a place that holds nothing.
const VACANT: u8 = 0;

/// What can be remembered.
pub(super) trait Remembered {
    /// What finds it.
    fn hash(&self) -> &KeyHash;

    /// Notes that somebody asked for it.
    fn note_use(&self);

    /// Whether somebody has asked for it since this was last called.
    fn take_use(&self) -> bool;

    /// What is read after it.
    fn ahead(&self) -> Ahead;
}

/// A bounded table of entries.
pub(super) struct Table<T> {
    shards: Box<[Lane<T>]>,
    shard_bound: usize,
}

/// A shard on a line of its own: its lock is written by every reader.
#[repr(align(64))]
struct Lane<T>(RwLock<Shard<T>>);

struct Shard<T> {
    /// Their number is a power of two.
    buckets: Box<[Bucket<T>]>,
    len: usize,
}

/// Two lines of memory. What has another tag than a hash is not it.
#[repr(C, align(128))]
struct Bucket<T> {
    tags: [u8; WAYS],
    /// The way that is looked at next for an entry that can go.
    hand: u8,
    entries: [Option<Arc<T>>; WAYS],
    ahead: [Ahead; WAYS],
}

impl<T> Bucket<T> {
    /// The ways that have this tag, and rarely another one above it. All tags are compared at once, so that the
    /// processor has no branches to guess.
    fn ways_of(&self, tag: u8) -> impl Iterator<Item = usize> {
        const LOW_BITS: u64 = 0x0101_0101_0101_0101;
        const WAYS_HIGH_BITS: u64 = 0x0080_8080_8080_8080;
        let [first, second, third, fourth, fifth, sixth, seventh] = self.tags;
        let tags = u64::from_le_bytes([first, second, third, fourth, fifth, sixth, seventh, 0]);
        let differences = tags ^ (LOW_BITS * u64::from(tag));
        // The high bit of each byte that is zero; a borrow may set that of a byte above one.
        let mut equal = differences.wrapping_sub(LOW_BITS) & !differences & WAYS_HIGH_BITS;
        std::iter::from_fn(move || {
            let way = (equal != 0).then(|| equal.trailing_zeros() as usize / 8)?;
            equal &= equal - 1;
            Some(way)
        })
    }
}

/// What of a hash the table looks at. It is uniform already, so it is taken as it is.
#[derive(Clone, Copy)]
struct Place {
    shard: usize,
    first: usize,
    second: usize,
    tag: u8,
}

impl Place {
    fn of(hash: &KeyHash) -> Self {
        let word = |at: usize| {
            let bytes = hash.as_bytes()[at..at + 4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes) as usize
        };
        let bytes = hash.as_bytes();
        Self { shard: usize::from(bytes[0]) % SHARDS, first: word(1), second: word(5), tag: bytes[9].max(1) }
    }
}

impl<T: Remembered> Bucket<T> {
    fn put(&mut self, way: usize, entry: Arc<T>) {
        self.ahead[way] = entry.ahead();
        self.entries[way] = Some(entry);
    }
}

impl<T: Remembered> Table<T> {
    /// An empty table of at most about so many entries: as many for each of its shards, rounded down.
    pub(super) fn new(bound: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Lane(RwLock::new(Shard { buckets: vacant(1), len: 0 }))).collect();
        Self { shards, shard_bound: (bound / SHARDS).max(1) }
    }

    /// Has the processor fetch the line in which [`Self::get`] begins its search.
    pub(super) fn prefetch(&self, hash: &KeyHash) {
        let place = Place::of(hash);
        let shard = self.shards[place.shard].0.read();
        prefetch(&shard.buckets[shard.index(place.first)]);
    }

    /// Has the processor fetch the entry that [`Self::get`] is most likely to find, and what is read after it, once the
    /// lines it stands in are there.
    pub(super) fn prefetch_entry(&self, hash: &KeyHash) {
        let place = Place::of(hash);
        let shard = self.shards[place.shard].0.read();
        let bucket = &shard.buckets[shard.index(place.first)];
        let way = bucket.ways_of(place.tag).next();
        if let Some((way, entry)) = way.and_then(|way| Some((way, bucket.entries[way].as_deref()?))) {
            prefetch(entry);
            bucket.ahead[way].fetch();
        }
    }

    /// The entry of this hash, if it is remembered.
    pub(super) fn get(&self, hash: &KeyHash) -> Option<Arc<T>> {
        let place = Place::of(hash);
        let shard = self.shards[place.shard].0.read();
        let (bucket, way) = shard.find(hash, place)?;
        let entry = shard.buckets[bucket].entries[way].as_ref()?;
        // Before anything is written: the processor does not read ahead of a locked write.
        shard.buckets[bucket].ahead[way].fetch();
        entry.note_use();
        Some(Arc::clone(entry))
    }

    /// Remembers an entry, in place of the one of the same hash, or where there is no room, of one that is used little.
    pub(super) fn insert(&self, entry: Arc<T>) {
        let place = Place::of(entry.hash());
        let mut shard = self.write(place);
        if let Some((bucket, way)) = shard.find(entry.hash(), place) {
            shard.buckets[bucket].put(way, entry);
            return;
        }
        if shard.len >= self.shard_bound {
            shard.evict(place.first, BUCKETS_LOOKED_THROUGH);
        } else if shard.len >= shard.buckets.len() * ENTRIES_PER_BUCKET {
            shard.grow();
        }
        // Below the bound nothing is forgotten for want of a place, unless the hashes are no hashes.
        while shard.len < self.shard_bound && shard.is_full_at(place) && shard.len > shard.buckets.len() {
            shard.grow();
        }
        shard.add(place, entry);
    }

    /// Puts an entry in the place of another of the same hash, unless that one is not there any more.
    pub(super) fn replace(&self, known: &Arc<T>, by: Arc<T>) {
        let place = Place::of(known.hash());
        let mut shard = self.write(place);
        if let Some((bucket, way)) = shard.find_same(known, place) {
            shard.buckets[bucket].put(way, by);
        }
    }

    /// Forgets the entry of this hash.
    pub(super) fn remove(&self, hash: &KeyHash) {
        let place = Place::of(hash);
        let mut shard = self.write(place);
        if let Some((bucket, way)) = shard.find(hash, place) {
            shard.take(bucket, way);
        }
    }

    /// Forgets this very entry, and none that has come in its place.
    pub(super) fn remove_same(&self, known: &Arc<T>) {
        let place = Place::of(known.hash());
        let mut shard = self.write(place);
        if let Some((bucket, way)) = shard.find_same(known, place) {
            shard.take(bucket, way);
        }
    }

    /// How many entries are remembered.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().len).sum()
    }

    fn write(&self, place: Place) -> RwLockWriteGuard<'_, Shard<T>> {
        self.shards[place.shard].0.write()
    }
}

impl<T: Remembered> Shard<T> {
    fn index(&self, word: usize) -> usize {
        word & (self.buckets.len() - 1)
    }

    fn find(&self, hash: &KeyHash, place: Place) -> Option<(usize, usize)> {
        let search = |index: usize| {
            let bucket = &self.buckets[index];
            let is_it = |way: &usize| {
                bucket.entries[*way].as_deref().is_some_and(|entry| {
                    prefetch(entry);
                    entry.hash() == hash
                })
            };
            bucket.ways_of(place.tag).find(is_it).map(|way| (index, way))
        };
        search(self.index(place.first)).or_else(|| search(self.index(place.second)))
    }

    fn find_same(&self, known: &Arc<T>, place: Place) -> Option<(usize, usize)> {
        let (bucket, way) = self.find(known.hash(), place)?;
        let is_same = self.buckets[bucket].entries[way].as_ref().is_some_and(|entry| Arc::ptr_eq(entry, known));
        is_same.then_some((bucket, way))
    }

    fn is_full_at(&self, place: Place) -> bool {
        let candidates = [self.index(place.first), self.index(place.second)];
        candidates.into_iter().all(|bucket| !self.buckets[bucket].tags.contains(&VACANT))
    }

    /// Puts in an entry whose hash is not there.
    fn add(&mut self, place: Place, entry: Arc<T>) {
        let candidates = [self.index(place.first), self.index(place.second)];
        let vacancy = candidates.into_iter().find_map(|bucket| {
            let way = self.buckets[bucket].tags.iter().position(|tag| *tag == VACANT)?;
            Some((bucket, way))
        });
        let (bucket, way) = vacancy.or_else(|| self.evict(place.first, 1)).expect("a full bucket has an entry to go");
        self.buckets[bucket].tags[way] = place.tag;
        self.buckets[bucket].put(way, entry);
        self.len += 1;
    }

    /// Forgets an entry of this bucket or of the next ones: the first that nobody has asked for since it was last
    /// looked at, or else the first of all. Returns whose place is vacant now.
    fn evict(&mut self, from: usize, buckets_max: usize) -> Option<(usize, usize)> {
        let mut looked_through = 0;
        let mut first = None;
        for step in 0..self.buckets.len() {
            let index = self.index(from.wrapping_add(step));
            let bucket = &mut self.buckets[index];
            for _ in 0..WAYS {
                let way = usize::from(bucket.hand);
                bucket.hand = u8::try_from((way + 1) % WAYS).expect("a bucket has few ways");
                let Some(entry) = &bucket.entries[way] else { continue };
                if !entry.take_use() {
                    self.take(index, way);
                    return Some((index, way));
                }
                first.get_or_insert((index, way));
            }
            looked_through += 1;
            if looked_through >= buckets_max && first.is_some() {
                break;
            }
        }
        let (index, way) = first?;
        self.take(index, way);
        // Whoever takes its place is the last to be looked at.
        self.buckets[index].hand = u8::try_from((way + 1) % WAYS).expect("a bucket has few ways");
        Some((index, way))
    }

    fn take(&mut self, bucket: usize, way: usize) {
        self.buckets[bucket].tags[way] = VACANT;
        self.buckets[bucket].entries[way] = None;
        self.len -= 1;
    }

    fn grow(&mut self) {
        let larger = vacant(self.buckets.len() * 2);
        let old = std::mem::replace(&mut self.buckets, larger);
        self.len = 0;
        for entry in old.into_iter().flat_map(|bucket| bucket.entries).flatten() {
            self.add(Place::of(entry.hash()), entry);
        }
    }
}

fn vacant<T>(count: usize) -> Box<[Bucket<T>]> {
    let bucket =
        || Bucket { tags: [VACANT; WAYS], hand: 0, entries: [const { None }; WAYS], ahead: [Ahead::NOTHING; WAYS] };
    (0..count).map(|_| bucket()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Item {
        hash: KeyHash,
        used: AtomicBool,
    }

    impl Remembered for Item {
        fn hash(&self) -> &KeyHash {
            &self.hash
        }

        fn note_use(&self) {
            self.used.store(true, Ordering::Relaxed);
        }

        fn take_use(&self) -> bool {
            self.used.swap(false, Ordering::Relaxed)
        }

        fn ahead(&self) -> Ahead {
            Ahead::of(self)
        }
    }

    fn hash(number: u32) -> KeyHash {
        tollgate_domain::KeyHasher::new(None).hash(&number.to_be_bytes())
    }

    /// A hash that stands in the same buckets as every other of its kind, and has the same tag.
    fn twin(number: u8) -> KeyHash {
        let mut bytes = [7; 32];
        bytes[31] = number;
        KeyHash::from_bytes(bytes)
    }

    fn item(hash: KeyHash) -> Arc<Item> {
        Arc::new(Item { hash, used: AtomicBool::new(false) })
    }

    fn knows(table: &Table<Item>, hash: KeyHash) -> bool {
        table.get(&hash).is_some_and(|found| found.hash == hash)
    }

    #[test]
    fn every_entry_is_found_as_the_table_grows_until_it_is_removed() {
        let table = Table::new(100_000);
        for number in 0..60_000 {
            table.insert(item(hash(number)));
        }
        assert_eq!(table.len(), 60_000);
        assert!((0..60_000).all(|number| knows(&table, hash(number))), "below the bound nothing is forgotten");
        assert!((60_000..70_000).all(|number| !knows(&table, hash(number))));
        for number in 0..30_000 {
            table.remove(&hash(number));
        }
        assert!((0..60_000).all(|number| knows(&table, hash(number)) == (number >= 30_000)));
        assert_eq!(table.len(), 30_000);
    }

    #[test]
    fn the_bound_holds_and_what_is_asked_for_outlasts_what_is_not() {
        let table = Table::new(SHARDS * 100);
        for number in 0..10_000 {
            table.insert(item(hash(number)));
        }
        for number in 10_000..60_000 {
            table.insert(item(hash(number)));
            for wanted in 0..4 {
                table.get(&hash((number * 4 + wanted) % 10_000));
            }
        }
        assert!(table.len() <= SHARDS * 100);
        let kept = |numbers: std::ops::Range<u32>| numbers.filter(|number| knows(&table, hash(*number))).count();
        let (wanted, unwanted) = (kept(0..10_000), kept(10_000..60_000));
        assert!(wanted > 8_000, "of 10 000 that are asked for, {wanted} are left");
        assert!(unwanted > 10_000, "the room is used: {unwanted}");
    }

    #[test]
    fn hashes_that_share_their_buckets_are_told_apart() {
        let table = Table::new(100_000);
        for number in 0..20 {
            table.insert(item(twin(number)));
            assert!(knows(&table, twin(number)), "what was put in last is there");
        }
        let kept = (0..20).filter(|number| knows(&table, twin(*number))).count();
        assert_eq!(kept, table.len());
        assert!((WAYS..=2 * WAYS).contains(&kept), "{kept}");
    }

    #[test]
    fn an_entry_takes_the_place_of_the_very_one_it_was_made_from() {
        let table = Table::new(1_000);
        let (first, second, third) = (item(hash(1)), item(hash(1)), item(hash(1)));
        table.replace(&first, Arc::clone(&second));
        assert_eq!(table.len(), 0, "what is not there is not replaced");
        table.insert(Arc::clone(&first));
        table.replace(&first, Arc::clone(&second));
        table.replace(&first, Arc::clone(&third));
        table.remove_same(&first);
        let found = table.get(&hash(1)).expect("it is remembered");
        assert!(Arc::ptr_eq(&found, &second));
        table.insert(third);
        table.remove_same(&second);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_bucket_is_a_pair_of_lines() {
        assert_eq!((size_of::<Bucket<Item>>(), align_of::<Bucket<Item>>()), (128, 128));
    }
}
