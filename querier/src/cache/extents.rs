//! What the cache keeps: answers of segments; those that were not asked for longest go first.
//!
//! # Invariants
//! - All that is kept weighs at most what the cache was made for.
//! - An extent is found only under the version that it was kept with, and only if it has all steps
//!   that are wanted; one with annotations only if it has no others.
//! - An extent holds on to nothing that is not weighed: its labels are its own.

use super::notes::Notes;
use model::{LabelSet, SeriesColumns, TenantId, Timestamps};
use prometheus::{IntCounter, IntGauge, Registry};
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a look-up takes beside its key's text: two keys, two entries and an extent.
const ENTRY_BYTES: usize = 600;

/// What a series takes beside its labels and samples.
const SERIES_BYTES: usize = 250;

/// What a label takes beside its name and value.
const LABEL_BYTES: usize = 64;

/// Everything that a segment's answer depends on beside the data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) tenant: TenantId,
    /// The text as it was sent: annotations name places in it.
    pub(super) text: Arc<str>,
    /// `None` is about the query, whatever its segments.
    pub(super) segment: Option<i64>,
    pub(super) length_ms: i64,
    pub(super) step_ms: i64,
    pub(super) phase_ms: i64,
    pub(super) lookback_ms: i64,
    pub(super) subquery_step_ms: i64,
    /// The experiments of the engine that change answers of queries that are cut.
    pub(super) flags: [bool; 2],
}

/// The answer over some steps.
#[derive(Debug)]
pub(super) struct Extent {
    steps: RangeInclusive<i64>,
    /// Ascending by labels, none without a sample.
    pub(super) series: Vec<SeriesColumns>,
    pub(super) notes: Notes,
}

impl Extent {
    pub(super) fn new(
        steps: RangeInclusive<i64>,
        mut series: Vec<SeriesColumns>,
        notes: Notes,
    ) -> Self {
        let mut moments = Timestamps::default();
        for of in &mut series {
            // Series that are there at the same steps share them.
            if moments == of.floats.timestamps_ms {
                of.floats.timestamps_ms = moments.clone();
            } else {
                moments = of.floats.timestamps_ms.clone();
            }
            // The labels of a selector's series are places in a table of all that was fetched.
            let pairs = of.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
            of.labels = LabelSet::from_ordered(pairs.collect());
        }
        Self { steps, series, notes }
    }

    /// What it takes in memory with its key, about.
    fn bytes(&self, key: &Key) -> u64 {
        let mut before = &Timestamps::default();
        let mut moments = 0;
        for of in &self.series {
            let own = &of.floats.timestamps_ms;
            moments += if own.is_same(before) { 0 } else { 8 * own.len() };
            before = own;
        }
        let of_series = |of: &SeriesColumns| {
            let label = |(name, value): (&model::Text, &model::Text)| name.len() + value.len();
            let labels: usize = of.labels.iter().map(|pair| label(pair) + LABEL_BYTES).sum();
            let buckets: usize = of.histograms.values.iter().map(|one| one.bytes()).sum();
            SERIES_BYTES + labels + 8 * of.floats.len() + 16 * of.histograms.len() + buckets
        };
        let series: usize = self.series.iter().map(of_series).sum();
        (ENTRY_BYTES + key.text.len() + self.notes.bytes() + moments + series) as u64
    }
}

/// What the cache tells about itself.
#[derive(Clone, Debug)]
pub struct CacheMetrics {
    /// Segments that were there.
    pub hits: IntCounter,
    /// Segments that were not there, or of another version.
    pub misses: IntCounter,
    /// Segments that made room for others.
    pub evictions: IntCounter,
    /// What all segments weigh.
    pub bytes: IntGauge,
}

impl CacheMetrics {
    /// Metrics in a registry.
    ///
    /// # Errors
    /// If it has some of these names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("cumae_querier_cache_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let bytes = IntGauge::new("cumae_querier_cache_bytes", "Memory of cached answers.")?;
        registry.register(Box::new(bytes.clone()))?;
        Ok(Self {
            hits: counter("hits_total", "Segments of range queries that were cached.")?,
            misses: counter("misses_total", "Segments that were not cached, or have changed.")?,
            evictions: counter("evictions_total", "Cached segments that made room for others.")?,
            bytes,
        })
    }
}

/// Answers of segments.
#[derive(Debug)]
pub struct Cache {
    bytes_max: u64,
    metrics: CacheMetrics,
    // A leaf; held for a few instructions, but for the room that a new extent needs.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: u64,
    uses: u64,
    extents: HashMap<Arc<Key>, Entry>,
    /// By the last use, the oldest first.
    by_use: BTreeMap<u64, Arc<Key>>,
}

#[derive(Debug)]
struct Entry {
    used: u64,
    bytes: u64,
    version: u64,
    extent: Arc<Extent>,
}

impl Cache {
    /// A cache of so many bytes; 0 keeps nothing.
    #[must_use]
    pub fn new(bytes_max: u64, metrics: CacheMetrics) -> Self {
        Self { bytes_max, metrics, kept: Mutex::default() }
    }

    pub(super) fn is_off(&self) -> bool {
        self.bytes_max == 0
    }

    /// The answer of a segment, if what is kept is of this version and has the wanted steps.
    pub(super) fn get(
        &self,
        key: &Key,
        version: Option<u64>,
        wanted: &RangeInclusive<i64>,
    ) -> Option<Arc<Extent>> {
        let found = version.and_then(|version| self.lock().get(key, version, wanted));
        let outcome = if found.is_some() { &self.metrics.hits } else { &self.metrics.misses };
        outcome.inc();
        found
    }

    /// Whether the answer of a segment is there; that it was asked for does not count.
    pub(super) fn has(
        &self,
        key: &Key,
        version: Option<u64>,
        wanted: &RangeInclusive<i64>,
    ) -> bool {
        let kept = self.lock();
        let entry = kept.extents.get(key);
        version.is_some_and(|version| entry.is_some_and(|entry| entry.is(version, wanted)))
    }

    /// Keeps the answer of a segment; what was kept under its key goes. Without a version nothing
    /// is kept.
    pub(super) fn put(&self, key: Key, version: Option<u64>, extent: Extent) {
        let Some(version) = version else { return };
        let bytes = extent.bytes(&key);
        // One answer may not push out everything else.
        if bytes > self.bytes_max / 8 {
            return;
        }
        let (extent, key) = (Arc::new(extent), Arc::new(key));
        let mut kept = self.lock();
        kept.remove(&key);
        kept.uses += 1;
        kept.bytes += bytes;
        let used = kept.uses;
        kept.by_use.insert(used, Arc::clone(&key));
        kept.extents.insert(key, Entry { used, bytes, version, extent });
        while kept.bytes > self.bytes_max {
            let Some((_, oldest)) = kept.by_use.pop_first() else { break };
            kept.remove(&oldest);
            self.metrics.evictions.inc();
        }
        self.metrics.bytes.set(i64::try_from(kept.bytes).unwrap_or(i64::MAX));
    }

    /// Whether the segments of a query are to be evaluated one by one.
    pub(super) fn is_apart(&self, of_all: &Key) -> bool {
        self.lock().get(of_all, 0, &(0..=0)).is_some()
    }

    /// From now on the segments of a query are evaluated one by one.
    pub(super) fn set_apart(&self, of_all: Key) {
        let mark = Extent::new(i64::MIN..=i64::MAX, Vec::new(), Notes::default());
        self.put(of_all, Some(0), mark);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is(&self, version: u64, wanted: &RangeInclusive<i64>) -> bool {
        let Extent { steps, notes, .. } = &*self.extent;
        let has_steps = steps.start() <= wanted.start() && steps.end() >= wanted.end();
        // Which of its steps an annotation is about, nobody knows.
        self.version == version && has_steps && (notes.is_empty() || steps == wanted)
    }
}

impl Kept {
    fn get(
        &mut self,
        key: &Key,
        version: u64,
        wanted: &RangeInclusive<i64>,
    ) -> Option<Arc<Extent>> {
        let (key, entry) = self.extents.get_key_value(key)?;
        if !entry.is(version, wanted) {
            return None;
        }
        let key = Arc::clone(key);
        let entry = self.extents.get_mut(&key)?;
        self.uses += 1;
        self.by_use.remove(&entry.used);
        self.by_use.insert(self.uses, key);
        entry.used = self.uses;
        Some(Arc::clone(&entry.extent))
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.extents.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Column;

    fn cache(bytes_max: u64) -> Cache {
        Cache::new(bytes_max, CacheMetrics::new(&Registry::new()).unwrap())
    }

    fn key(segment: i64, text: &str) -> Key {
        Key {
            tenant: TenantId::parse("t").unwrap(),
            text: text.into(),
            segment: Some(segment),
            length_ms: 1,
            step_ms: 1,
            phase_ms: 0,
            lookback_ms: 1,
            subquery_step_ms: 1,
            flags: [false; 2],
        }
    }

    fn extent(steps: RangeInclusive<i64>, samples: i64) -> Extent {
        let mut floats = Column::default();
        (0..samples).for_each(|at| floats.push(at, 1.0));
        let labels = LabelSet::from_pairs([("a", "b")]).unwrap();
        let series = vec![SeriesColumns { labels, floats, ..SeriesColumns::default() }];
        Extent::new(steps, series, Notes::default())
    }

    #[test]
    fn an_extent_is_found_under_its_version_with_steps_that_it_has() {
        let cache = cache(1 << 20);
        cache.put(key(1, "up"), Some(7), extent(10..=20, 3));
        assert!(cache.get(&key(1, "up"), Some(7), &(10..=20)).is_some());
        assert!(cache.get(&key(1, "up"), Some(7), &(12..=13)).is_some());
        for (key, version, steps) in [
            (key(1, "up"), Some(8), 10..=20),
            (key(1, "up"), None, 10..=20),
            (key(1, "up"), Some(7), 9..=20),
            (key(1, "up"), Some(7), 10..=21),
            (key(2, "up"), Some(7), 10..=20),
            (key(1, "down"), Some(7), 10..=20),
            (Key { flags: [true, false], ..key(1, "up") }, Some(7), 10..=20),
            (Key { lookback_ms: 2, ..key(1, "up") }, Some(7), 10..=20),
            (Key { tenant: TenantId::parse("u").unwrap(), ..key(1, "up") }, Some(7), 10..=20),
        ] {
            assert!(cache.get(&key, version, &steps).is_none(), "{key:?} {version:?} {steps:?}");
        }
        assert_eq!((cache.metrics.hits.get(), cache.metrics.misses.get()), (2, 9));
        cache.put(key(3, "up"), None, extent(10..=20, 3));
        assert!(cache.get(&key(3, "up"), None, &(10..=20)).is_none());
    }

    #[test]
    fn what_was_not_asked_for_longest_makes_room_and_one_answer_takes_an_eighth_at_most() {
        let one = extent(0..=9, 100).bytes(&key(0, "up"));
        let cache = cache(10 * one);
        for segment in 0..10 {
            cache.put(key(segment, "up"), Some(1), extent(0..=9, 100));
        }
        assert!(cache.get(&key(0, "up"), Some(1), &(0..=9)).is_some());
        cache.put(key(10, "up"), Some(1), extent(0..=9, 100));
        assert!(cache.get(&key(0, "up"), Some(1), &(0..=9)).is_some());
        assert!(cache.get(&key(1, "up"), Some(1), &(0..=9)).is_none());
        assert_eq!(cache.metrics.bytes.get().unsigned_abs(), 10 * one);
        assert_eq!(cache.metrics.evictions.get(), 1);
        cache.put(key(10, "up"), Some(2), extent(0..=9, 100));
        assert_eq!(cache.metrics.bytes.get().unsigned_abs(), 10 * one, "the old one goes");
        cache.put(key(11, "up"), Some(1), extent(0..=9, 10_000));
        assert!(cache.get(&key(11, "up"), Some(1), &(0..=9)).is_none(), "too heavy");
    }

    #[test]
    fn series_of_the_same_steps_share_them_and_weigh_less() {
        let all = |name: &str, first: i64| {
            let floats = Column {
                timestamps_ms: (first..first + 100).collect(),
                values: vec![1.0; 100],
                ..Column::default()
            };
            let labels = LabelSet::from_pairs([("a", name)]).unwrap();
            SeriesColumns { labels, floats, ..SeriesColumns::default() }
        };
        let extent = |series| Extent::new(0..=999, series, Notes::default());
        let same = extent(vec![all("1", 0), all("2", 0), all("3", 0)]);
        let other = extent(vec![all("1", 0), all("2", 1), all("3", 2)]);
        assert!(same.series[2].floats.timestamps_ms.is_same(&same.series[0].floats.timestamps_ms));
        let key = key(0, "up");
        assert_eq!(other.bytes(&key) - same.bytes(&key), 2 * 8 * 100);
    }

    #[test]
    fn labels_that_are_places_in_a_table_do_not_keep_the_table() {
        let table = model::LabelTable::new(vec!["a".into(), "b".into()], vec![0, 1]);
        let labels = table.row(0..2).unwrap();
        let series = SeriesColumns { labels, ..SeriesColumns::default() };
        let kept = Extent::new(0..=0, vec![series], Notes::default());
        assert_eq!(kept.series[0].labels.value("a"), "b");
        assert_eq!(Arc::strong_count(&table), 1);
    }
}
