//! Which series a run of raw label bytes is: so that known labels are never parsed again.
//!
//! A sender sends its series in the same order each time. So each entry remembers the length and a
//! keyed 128-bit hash of its labels as sent, and which entry followed it (its *successor*). At the
//! next series, as many bytes are hashed as the predicted entry has; on a match nothing is parsed
//! and no table is probed. On a miss the labels are passed by their lengths, hashed, and looked up.
//!
//! # Invariants
//! - An entry stands for labels that passed validation. Its number on a replica is of the
//!   generation that is kept with that replica's column, or [`UNKNOWN`].
//! - An entry that was touched in this epoch or the one before is never evicted. Evictions are
//!   counted: whoever holds entry numbers across a lock looks whether the count is still the same.
//! - At most `entries_max` entries; what finds no room goes through uncached.
//!
//! Not here: locks (`tenant.rs`), parsing and checking labels (`validate.rs`).

use hashbrown::HashTable;
use model::Text;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use xxhash_rust::xxh3::xxh3_128_with_secret;

/// No entry: the series is not in the cache.
pub(crate) const UNCACHED: u32 = u32::MAX;
/// No number: the replica has not told one.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// An entry that was not touched for so many epochs may go.
const IDLE_EPOCHS: u32 = 4;
/// The length of an epoch.
const EPOCH_NS: u64 = 900 * 1_000_000_000;

/// The epoch of a moment.
pub(crate) fn epoch_at(monotonic_ns: u64) -> u32 {
    // It begins late enough that "so many epochs ago" is never below zero.
    u32::try_from(monotonic_ns / EPOCH_NS + 2 * u64::from(IDLE_EPOCHS)).unwrap_or(u32::MAX)
}

/// Hashes raw labels under a key that senders do not know.
#[derive(Clone)]
pub(crate) struct LabelHasher {
    secret: [u8; 192],
}

impl std::fmt::Debug for LabelHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LabelHasher")
    }
}

/// The keyed hash of the raw labels of a series.
pub(crate) type LabelHash = u128;

impl LabelHasher {
    /// A hasher whose key comes from `random`, which is asked again and again.
    pub(crate) fn new(mut random: impl FnMut() -> u64) -> Self {
        let mut secret = [0; 192];
        for chunk in secret.chunks_exact_mut(8) {
            chunk.copy_from_slice(&random().to_le_bytes());
        }
        Self { secret }
    }

    #[inline]
    pub(crate) fn hash(&self, raw: &[u8]) -> LabelHash {
        xxh3_128_with_secret(raw, &self.secret)
    }
}

/// The half of a hash that the table is probed by.
fn probe(hash: LabelHash) -> u64 {
    let low = hash.to_le_bytes();
    u64::from_le_bytes([low[0], low[1], low[2], low[3], low[4], low[5], low[6], low[7]])
}

#[derive(Debug)]
struct Entry {
    // Two halves, so that an entry needs no 16-byte alignment.
    hash_low: u64,
    hash_high: u64,
    raw_len: u32,
    metric: u32,
    successor: AtomicU32,
    epoch: AtomicU32,
}

impl Entry {
    fn is(&self, hash: LabelHash) -> bool {
        let bytes = hash.to_le_bytes();
        let (low, high) = bytes.split_at(8);
        self.hash_low.to_le_bytes() == low && self.hash_high.to_le_bytes() == high
    }
}

#[derive(Debug)]
struct Metric {
    name: Text,
    entries: u32,
    /// Day and replica set of the last look-up: the day in the upper half, the set and 1 below.
    route: AtomicU64,
}

/// The numbers that one replica gave.
#[derive(Debug, Default)]
struct Numbers {
    generation: u64,
    by_entry: Vec<u32>,
}

/// The series of one tenant.
#[derive(Debug)]
pub(crate) struct SeriesCache {
    entries: Vec<Entry>,
    free: Vec<u32>,
    table: HashTable<u32>,
    metrics: Vec<Metric>,
    free_metrics: Vec<u32>,
    metric_places: HashMap<Text, u32>,
    numbers: Vec<Numbers>,
    entries_max: usize,
    swept_at: u32,
    evictions: u64,
}

impl SeriesCache {
    /// Without an entry, for `replicas` replicas.
    pub(crate) fn new(replicas: usize, entries_max: usize) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            table: HashTable::new(),
            metrics: Vec::new(),
            free_metrics: Vec::new(),
            metric_places: HashMap::new(),
            numbers: (0..replicas).map(|_| Numbers::default()).collect(),
            entries_max: entries_max.min(UNCACHED as usize - 1),
            swept_at: 0,
            evictions: 0,
        }
    }

    /// How many series are known.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// How often entries were evicted: entry numbers from before another count mean nothing now.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// The entry that followed `entry` the last time, and the length of its raw labels.
    #[inline]
    pub(crate) fn predict(&self, entry: u32) -> Option<(u32, usize)> {
        let successor = self.entry(entry)?.successor.load(Relaxed);
        Some((successor, self.entry(successor)?.raw_len as usize))
    }

    /// Whether `entry` has this hash; if so it counts as used in `epoch`.
    #[inline]
    pub(crate) fn confirm(&self, entry: u32, hash: LabelHash, epoch: u32) -> bool {
        match self.entry(entry) {
            Some(known) if known.is(hash) => {
                touch(known, epoch);
                true
            }
            _ => false,
        }
    }

    /// The entry with this hash; it counts as used in `epoch`.
    pub(crate) fn find(&self, hash: LabelHash, epoch: u32) -> Option<u32> {
        let is_it = |place: &u32| self.entry(*place).is_some_and(|entry| entry.is(hash));
        let place = *self.table.find(probe(hash), is_it)?;
        if let Some(entry) = self.entry(place) {
            touch(entry, epoch);
        }
        Some(place)
    }

    /// Remembers that `successor` came after `entry`.
    #[inline]
    pub(crate) fn follow(&self, entry: u32, successor: u32) {
        if let Some(known) = self.entry(entry)
            && known.successor.load(Relaxed) != successor
        {
            known.successor.store(successor, Relaxed);
        }
    }

    /// The entry for labels that passed validation, a new one if need be; [`UNCACHED`] when the
    /// cache is full of series that are in use.
    pub(crate) fn insert(
        &mut self,
        hash: LabelHash,
        raw_len: u32,
        metric: &Text,
        epoch: u32,
    ) -> u32 {
        if let Some(place) = self.find(hash, epoch) {
            return place;
        }
        if self.free.is_empty() && self.entries.len() == self.entries.capacity() {
            self.sweep(epoch);
        }
        if self.len() >= self.entries_max {
            return UNCACHED;
        }
        let bytes = hash.to_le_bytes();
        let half = |at: usize| {
            let mut half = [0; 8];
            half.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(half)
        };
        let entry = Entry {
            hash_low: half(0),
            hash_high: half(8),
            raw_len,
            metric: self.metric(metric),
            successor: AtomicU32::new(UNCACHED),
            epoch: AtomicU32::new(epoch),
        };
        let place = self.place(entry);
        let entries = &self.entries;
        self.table.insert_unique(probe(hash), place, |place| entries[*place as usize].hash_low);
        place
    }

    fn place(&mut self, entry: Entry) -> u32 {
        if let Some(place) = self.free.pop() {
            self.entries[place as usize] = entry;
            return place;
        }
        let place = u32::try_from(self.entries.len()).unwrap_or(UNCACHED);
        self.entries.push(entry);
        for numbers in &mut self.numbers {
            numbers.by_entry.push(UNKNOWN);
        }
        place
    }

    fn metric(&mut self, name: &Text) -> u32 {
        if let Some(place) = self.metric_places.get(name) {
            self.metrics[*place as usize].entries += 1;
            return *place;
        }
        let metric = Metric { name: name.clone(), entries: 1, route: AtomicU64::new(0) };
        let place = match self.free_metrics.pop() {
            Some(place) => {
                self.metrics[place as usize] = metric;
                place
            }
            None => {
                self.metrics.push(metric);
                u32::try_from(self.metrics.len() - 1).unwrap_or(UNCACHED)
            }
        };
        self.metric_places.insert(name.clone(), place);
        place
    }

    /// Evicts what was not used for [`IDLE_EPOCHS`], at most once an epoch.
    fn sweep(&mut self, epoch: u32) {
        if self.swept_at == epoch {
            return;
        }
        self.swept_at = epoch;
        let (entries, free) = (&self.entries, &mut self.free);
        let before = free.len();
        self.table.retain(|place| {
            let used_at = entries[*place as usize].epoch.load(Relaxed);
            let is_idle = used_at.saturating_add(IDLE_EPOCHS) <= epoch;
            if is_idle {
                free.push(*place);
            }
            !is_idle
        });
        let evicted: Vec<u32> = self.free[before..].to_vec();
        self.evictions += u64::from(!evicted.is_empty());
        for place in evicted {
            self.forget(place as usize);
        }
    }

    fn forget(&mut self, place: usize) {
        for numbers in &mut self.numbers {
            numbers.by_entry[place] = UNKNOWN;
        }
        let metric_place = self.entries[place].metric;
        let metric = &mut self.metrics[metric_place as usize];
        metric.entries -= 1;
        if metric.entries == 0 {
            self.metric_places.remove(&metric.name);
            self.free_metrics.push(metric_place);
        }
    }

    /// The replica set of the entry's metric on `day`, from `look_up` unless it is remembered.
    pub(crate) fn route(&self, entry: u32, day: i32, look_up: impl FnOnce(&str) -> u32) -> u32 {
        let Some(metric) =
            self.entry(entry).and_then(|entry| self.metrics.get(entry.metric as usize))
        else {
            return look_up("");
        };
        let known = metric.route.load(Relaxed);
        let (low, high) = (known & u64::from(u32::MAX), known >> 32);
        let day_bits = u64::from(day.cast_unsigned());
        if let Ok(set) = u32::try_from(low)
            && set != 0
            && high == day_bits
        {
            return set - 1;
        }
        let set = look_up(&metric.name);
        metric.route.store(day_bits << 32 | (u64::from(set) + 1), Relaxed);
        set
    }

    /// The generation of a replica's numbers and the numbers by entry.
    pub(crate) fn numbers(&self, slot: usize) -> (u64, &[u32]) {
        self.numbers.get(slot).map_or((0, &[]), |numbers| (numbers.generation, &*numbers.by_entry))
    }

    /// Keeps a number that a replica told.
    pub(crate) fn learn(&mut self, slot: usize, generation: u64, entry: u32, number: u32) {
        let Some(numbers) = self.numbers.get_mut(slot) else { return };
        if numbers.generation != generation {
            numbers.by_entry.fill(UNKNOWN);
            numbers.generation = generation;
        }
        if let Some(known) = numbers.by_entry.get_mut(entry as usize) {
            *known = number;
        }
    }

    /// Forgets the numbers of a replica, if they are still of `generation`.
    pub(crate) fn forget_numbers(&mut self, slot: usize, generation: u64) {
        if let Some(numbers) = self.numbers.get_mut(slot)
            && numbers.generation == generation
        {
            numbers.by_entry.fill(UNKNOWN);
            numbers.generation = 0;
        }
    }

    #[inline]
    fn entry(&self, entry: u32) -> Option<&Entry> {
        self.entries.get(entry as usize)
    }
}

#[inline]
fn touch(entry: &Entry, epoch: u32) {
    if entry.epoch.load(Relaxed) != epoch {
        entry.epoch.store(epoch, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries_max: usize) -> SeriesCache {
        SeriesCache::new(1, entries_max)
    }

    fn add(cache: &mut SeriesCache, hash: u128, epoch: u32) -> u32 {
        cache.insert(hash << 64 | hash, 10, &format!("m{}", hash % 3).into(), epoch)
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 32);
    }

    #[test]
    fn two_entries_that_share_half_of_a_hash_stay_two() {
        let mut cache = cache(10);
        let first = cache.insert(1 << 64 | 7, 10, &"m".into(), 9);
        let second = cache.insert(2 << 64 | 7, 10, &"m".into(), 9);
        assert_ne!(first, second);
        assert_eq!(cache.find(1 << 64 | 7, 9), Some(first));
        assert_eq!(cache.find(2 << 64 | 7, 9), Some(second));
        assert_eq!(cache.find(3 << 64 | 7, 9), None);
    }

    #[test]
    fn the_successor_is_what_followed_last() {
        let mut cache = cache(10);
        let (a, b, c) = (add(&mut cache, 1, 9), add(&mut cache, 2, 9), add(&mut cache, 3, 9));
        assert_eq!(cache.predict(a), None);
        cache.follow(a, b);
        cache.follow(a, c);
        assert_eq!(cache.predict(a), Some((c, 10)));
    }

    #[test]
    fn a_full_cache_takes_nothing_new_while_all_of_it_is_in_use() {
        let mut cache = cache(4);
        for hash in 0..4 {
            assert_ne!(add(&mut cache, hash, 9), UNCACHED);
        }
        assert_eq!(add(&mut cache, 4, 9), UNCACHED);
        assert_eq!(cache.len(), 4);
        assert_eq!(cache.find(4 << 64 | 4, 9), None);
    }

    #[test]
    fn what_was_idle_for_long_makes_room_and_is_counted() {
        let mut cache = cache(4);
        for hash in 0..4 {
            add(&mut cache, hash, 9);
        }
        cache.learn(0, 5, 1, 77);
        assert!(cache.find(2 << 64 | 2, 12).is_some());
        let before = cache.evictions();

        assert_ne!(add(&mut cache, 9, 13), UNCACHED);
        assert_eq!(cache.len(), 2);
        assert_ne!(cache.evictions(), before);
        assert_eq!(cache.find(1 << 64 | 1, 13), None);
        assert_eq!(cache.numbers(0).1[1], UNKNOWN);
        assert!(cache.find(2 << 64 | 2, 13).is_some());
    }

    #[test]
    fn a_metric_without_an_entry_is_forgotten() {
        let mut cache = cache(4);
        for hash in 0..4 {
            add(&mut cache, hash, 9);
        }
        add(&mut cache, 7, 20);
        assert_eq!(cache.metric_places.len(), 1);
    }

    #[test]
    fn numbers_of_another_generation_replace_all_of_the_old_ones() {
        let mut cache = cache(4);
        let (a, b) = (add(&mut cache, 1, 9), add(&mut cache, 2, 9));
        cache.learn(0, 5, a, 70);
        cache.learn(0, 5, b, 71);
        cache.learn(0, 6, b, 1);
        assert_eq!(cache.numbers(0), (6, &[UNKNOWN, 1][..]));
    }

    #[test]
    fn a_route_is_looked_up_once_a_day() {
        let mut cache = cache(4);
        let entry = add(&mut cache, 1, 9);
        let asked = |day: i32, answer: u32| {
            let mut was_asked = false;
            let set = cache.route(entry, day, |_| {
                was_asked = true;
                answer
            });
            (was_asked, set)
        };
        assert_eq!(asked(-1, 4), (true, 4));
        assert_eq!(asked(-1, 5), (false, 4));
        assert_eq!(asked(2, 6), (true, 6));
    }
}
