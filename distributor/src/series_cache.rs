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
//! - What was evicted is at once nobody's: no hash is its, it predicts nothing, and whoever gets its place
//!   gets nothing else of it. Entries that it followed still name its place.
//! - At most `entries_max` entries; what finds no room goes through uncached.
//!
//! Not here: locks (`tenant.rs`), parsing and checking labels (`validate.rs`).

use crate::label_hash::LabelHash;
use hashbrown::HashTable;
use model::Text;
use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// No entry: the series is not in the cache.
pub(crate) const UNCACHED: u32 = u32::MAX;
/// No number: the replica has not told one.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// The length of a place that is free: no body is as long.
const FREE_LEN: u32 = u32::MAX;

/// Room for so many entries is made at first,
const ROOM_MIN: usize = 2;
/// and twice of it until there is this; then as much again, or an eighth.
const ROOM_DOUBLES_MAX: usize = 1024;

/// An entry that was not touched for so many epochs may go.
const IDLE_EPOCHS: u32 = 4;
/// The length of an epoch.
const EPOCH_NS: u64 = 900 * 1_000_000_000;

/// The epoch of a moment.
pub(crate) fn epoch_at(monotonic_ns: u64) -> u32 {
    // It begins late enough that "so many epochs ago" is never below zero.
    u32::try_from(monotonic_ns / EPOCH_NS + 2 * u64::from(IDLE_EPOCHS)).unwrap_or(u32::MAX)
}

/// What becomes of a series whenever it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate(u32);

impl Fate {
    /// It is written.
    pub(crate) const GOES_ON: Self = Self(0);
    /// The tenant's rules drop it.
    pub(crate) const DROPPED: Self = Self(1);
}

#[derive(Debug)]
struct Entry {
    // The hash in pieces: whole, its padding would make the entry a quarter larger.
    hash_parts: (u64, u64),
    raw_len: u32,
    metric: u32,
    successor: AtomicU32,
    epoch: AtomicU32,
}

impl Entry {
    /// What is at a place that nobody has.
    fn free() -> Self {
        Self {
            hash_parts: (0, 0),
            raw_len: FREE_LEN,
            metric: UNCACHED,
            successor: AtomicU32::new(UNCACHED),
            epoch: AtomicU32::new(0),
        }
    }

    #[inline]
    fn hash(&self) -> LabelHash {
        LabelHash::of_parts(self.hash_parts.0, self.hash_parts.1, self.raw_len)
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
    /// What becomes of each entry's series; empty as long as nothing was told, and then all go on.
    fates: Vec<Fate>,
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
            fates: Vec::new(),
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

    /// Forgets every series, and gives back what they took.
    pub(crate) fn clear(&mut self) {
        let evictions = self.evictions + 1;
        *self = Self { evictions, ..Self::new(self.numbers.len(), self.entries_max) };
    }

    /// The entry that followed `entry` the last time, and the length of its raw labels.
    #[inline]
    pub(crate) fn predict(&self, entry: u32) -> Option<(u32, usize)> {
        let successor = self.entry(entry)?.successor.load(Relaxed);
        let raw_len = self.entry(successor)?.raw_len;
        (raw_len != FREE_LEN).then_some((successor, raw_len as usize))
    }

    /// Whether `entry` has this hash; if so it counts as used in `epoch`.
    #[inline]
    pub(crate) fn confirm(&self, entry: u32, hash: LabelHash, epoch: u32) -> bool {
        match self.entry(entry) {
            Some(known) if known.raw_len != FREE_LEN && known.hash() == hash => {
                touch(known, epoch);
                true
            }
            _ => false,
        }
    }

    /// The entry with this hash; it counts as used in `epoch`.
    pub(crate) fn find(&self, hash: LabelHash, epoch: u32) -> Option<u32> {
        let is_it = |place: &u32| self.entry(*place).is_some_and(|entry| entry.hash() == hash);
        let place = *self.table.find(hash.probe(), is_it)?;
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
    pub(crate) fn insert(&mut self, hash: LabelHash, metric: &Text, epoch: u32) -> u32 {
        if let Some(place) = self.find(hash, epoch) {
            return place;
        }
        let must_grow = self.free.is_empty() && self.entries.len() == self.entries.capacity();
        if must_grow || self.len() >= self.entries_max {
            self.sweep(epoch);
        }
        if self.len() >= self.entries_max {
            return UNCACHED;
        }
        let entry = Entry {
            hash_parts: hash.parts(),
            raw_len: hash.len(),
            metric: self.metric(metric),
            successor: AtomicU32::new(UNCACHED),
            epoch: AtomicU32::new(epoch),
        };
        let place = self.place(entry);
        let entries = &self.entries;
        self.table
            .insert_unique(hash.probe(), place, |place| entries[*place as usize].hash().probe());
        place
    }

    fn place(&mut self, entry: Entry) -> u32 {
        if let Some(place) = self.free.pop() {
            self.entries[place as usize] = entry;
            self.forget_what_was_told(place as usize);
            return place;
        }
        let place = u32::try_from(self.entries.len()).unwrap_or(UNCACHED);
        if self.entries.len() == self.entries.capacity() {
            // Doubling would leave a third of the room unused: it ends early. A tenant of many has few
            // series.
            let held = self.entries.len();
            let more = (held / 8).max(held.clamp(ROOM_MIN, ROOM_DOUBLES_MAX));
            self.entries.reserve_exact(more);
            self.numbers.iter_mut().for_each(|numbers| numbers.by_entry.reserve_exact(more));
        }
        self.entries.push(entry);
        for numbers in &mut self.numbers {
            numbers.by_entry.push(UNKNOWN);
        }
        place
    }

    fn metric(&mut self, name: &Text) -> u32 {
        // Mostly that of the series before.
        let last = self.entries.last().map(|last| last.metric);
        let is_it = |place: &u32| {
            let held = self.metrics.get(*place as usize);
            held.is_some_and(|held| held.entries > 0 && held.name == *name)
        };
        let place = last.filter(is_it).or_else(|| self.metric_places.get(name).copied());
        if let Some(place) = place {
            self.metrics[place as usize].entries += 1;
            return place;
        }
        let metric = Metric { name: name.clone(), entries: 1, route: AtomicU64::new(0) };
        let place = match self.free_metrics.pop() {
            Some(place) => {
                self.metrics[place as usize] = metric;
                place
            }
            None => {
                if self.metrics.is_empty() {
                    self.metrics.reserve_exact(1);
                }
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

    /// What replicas and rules said of the series at a place.
    fn forget_what_was_told(&mut self, place: usize) {
        for numbers in &mut self.numbers {
            numbers.by_entry[place] = UNKNOWN;
        }
        if let Some(fate) = self.fates.get_mut(place) {
            *fate = Fate::GOES_ON;
        }
    }

    fn forget(&mut self, place: usize) {
        self.forget_what_was_told(place);
        let metric_place = mem::replace(&mut self.entries[place], Entry::free()).metric;
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

    /// Keeps what becomes of an entry's series.
    pub(crate) fn decide(&mut self, entry: u32, fate: Fate) {
        let place = entry as usize;
        if place >= self.entries.len() || (fate == Fate::GOES_ON && place >= self.fates.len()) {
            return;
        }
        if place >= self.fates.len() {
            self.fates.resize(self.entries.len(), Fate::GOES_ON);
        }
        self.fates[place] = fate;
    }

    /// What becomes of an entry's series.
    #[inline]
    pub(crate) fn fate(&self, entry: u32) -> Fate {
        self.fates.get(entry as usize).copied().unwrap_or(Fate::GOES_ON)
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
mod tests;
