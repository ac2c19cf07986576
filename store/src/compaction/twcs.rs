//! Time-window compaction, exactly as Cassandra's `TimeWindowCompactionStrategy`.
//!
//! Sstables are put into windows by their *last* sample. The newest window seen is compacted by
//! similar sizes; an older one is merged whenever it has two sstables. The newest such window is
//! done first.
//!
//! Our sstables lie in one window each (DESIGN.md D5), so the window of the last sample is the
//! sstable's own, late data never hides in today's file, and a repair mixes nothing. What remains
//! different: windows of the future do not count as seen, so one sample from 2038 does not make
//! today's window an old one; without read counts, similar sizes are chosen smallest first.
//! An old window is merged with every late flush: the price of this strategy; `ucs` does not pay it.
//!
//! Not here: expired sstables (`expired.rs`); what becomes of the output (`window.rs`).

/// An sstable as the rule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sized {
    /// Its number.
    pub id: u64,
    /// Its size.
    pub bytes: u64,
}

/// The settings of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// As many of similar size are merged in the newest window.
    pub min: usize,
    /// The most that are merged at once.
    pub max: usize,
}

/// Sstables below this are of similar size.
const SMALL_BYTES: u64 = 50 << 20;

/// A unit of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 60 s.
    Minutes,
    /// 3,600 s.
    Hours,
    /// 86,400 s.
    Days,
}

/// The window of `size` units that a moment lies in: its first millisecond, and the first
/// millisecond of its last second. Windows are floor divisions, below zero too.
#[must_use]
pub fn window_bounds(unit: Unit, size: u32, timestamp_ms: i64) -> (i64, i64) {
    let unit_ms = match unit {
        Unit::Minutes => 60_000,
        Unit::Hours => 3_600_000,
        Unit::Days => 86_400_000,
    };
    let width = unit_ms * i64::from(size.max(1));
    let lower = timestamp_ms.div_euclid(width).saturating_mul(width);
    (lower, lower.saturating_add(width - 1_000))
}

/// What to merge among `windows`, each with its key and sstables, in any order. `now` is the newest
/// window seen.
#[must_use]
pub fn newest_bucket<K: Ord + Copy>(
    windows: &[(K, Vec<Sized>)],
    thresholds: Thresholds,
    now: K,
) -> Option<(K, Vec<u64>)> {
    let mut order: Vec<&(K, Vec<Sized>)> = windows.iter().collect();
    order.sort_by_key(|(key, _)| std::cmp::Reverse(*key));
    order.into_iter().find_map(|(key, sstables)| {
        let ids = if *key >= now {
            let is_enough = sstables.len() >= thresholds.min;
            is_enough.then(|| size_tiered(sstables, thresholds)).flatten()
        } else {
            let is_enough = sstables.len() >= 2;
            is_enough.then(|| smallest(sstables, thresholds.max))
        };
        ids.map(|ids| (*key, ids))
    })
}

/// The smallest ones, at most `max`.
fn smallest(sstables: &[Sized], max: usize) -> Vec<u64> {
    by_size(sstables).iter().take(max).map(|sstable| sstable.id).collect()
}

fn by_size(sstables: &[Sized]) -> Vec<Sized> {
    let mut sorted = sstables.to_vec();
    sorted.sort_unstable_by_key(|sstable| (sstable.bytes, sstable.id));
    sorted
}

/// Size-tiered compaction among sstables of one window: the smallest ones of which enough have a
/// similar size.
fn size_tiered(sstables: &[Sized], thresholds: Thresholds) -> Option<Vec<u64>> {
    let buckets = similar(sstables);
    let enough = buckets.iter().filter(|bucket| bucket.sstables.len() >= thresholds.min);
    let bucket = enough.min_by_key(|bucket| bucket.average)?;
    Some(smallest(&bucket.sstables, thresholds.max))
}

struct Bucket {
    average: u64,
    sstables: Vec<Sized>,
}

/// Groups of similar size: each within half and one and a half of the group's average as it was
/// when the sstable came, in ascending order; or small as the group is.
fn similar(sstables: &[Sized]) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::new();
    for sstable in by_size(sstables) {
        let twice = u128::from(sstable.bytes) * 2;
        let fits = |bucket: &&mut Bucket| {
            let average = u128::from(bucket.average);
            let is_near = twice > average && twice < 3 * average;
            is_near || (sstable.bytes < SMALL_BYTES && bucket.average < SMALL_BYTES)
        };
        if let Some(bucket) = buckets.iter_mut().find(fits) {
            let count = u64::try_from(bucket.sstables.len()).unwrap_or(u64::MAX - 1);
            let total = bucket.average.saturating_mul(count).saturating_add(sstable.bytes);
            bucket.average = total / (count + 1);
            bucket.sstables.push(sstable);
        } else {
            buckets.push(Bucket { average: sstable.bytes, sstables: vec![sstable] });
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const DEFAULT: Thresholds = Thresholds { min: 4, max: 32 };

    /// Sstables with these sizes in MiB; the first one's number is `first`.
    fn sstables(first: u64, sizes: &[u64]) -> Vec<Sized> {
        let sized = |(id, size): (u64, &u64)| Sized { id, bytes: size * MIB };
        (first..).zip(sizes).map(sized).collect()
    }

    #[test]
    fn golden_the_window_of_the_last_millisecond_of_2024_01_01_is_that_day() {
        // 2024-01-01T23:59:59.999Z; the upper bound is 23:59:59, included.
        let midnight = 1_704_067_200_000;
        let found = window_bounds(Unit::Days, 1, midnight + 86_399_999);
        assert_eq!(found, (midnight, midnight + 86_399_000));
        assert_eq!(window_bounds(Unit::Hours, 1, midnight + 1).1, midnight + 3_599_000);
        assert_eq!(window_bounds(Unit::Minutes, 30, midnight - 1).0, midnight - 1_800_000);
        assert_eq!(window_bounds(Unit::Days, 1, -1), (-86_400_000, -1_000));
    }

    #[test]
    fn golden_the_newest_window_needs_four_of_similar_size() {
        let newest = |sizes: &[u64]| newest_bucket(&[(7, sstables(1, sizes))], DEFAULT, 7);
        assert_eq!(newest(&[100, 100, 100]), None);
        assert_eq!(newest(&[100, 120, 90, 100]), Some((7, vec![3, 1, 4, 2])));
        assert_eq!(newest(&[100, 100, 100, 400]), None);
        // All below 50 MiB are similar; 51 MiB is not.
        assert_eq!(newest(&[1, 10, 30, 49]), Some((7, vec![1, 2, 3, 4])));
        assert_eq!(newest(&[1, 10, 30, 51]), None);
    }

    #[test]
    fn golden_similar_is_above_half_and_below_one_and_a_half_of_the_average() {
        let counts = |sizes: &[u64]| -> Vec<usize> {
            similar(&sstables(1, sizes)).iter().map(|bucket| bucket.sstables.len()).collect()
        };
        assert_eq!(counts(&[100, 149]), vec![2]);
        assert_eq!(counts(&[100, 150]), vec![1, 1]);
        // The average moves to 120, so 179 is still near it.
        assert_eq!(counts(&[100, 140, 179]), vec![3]);
        assert_eq!(counts(&[100, 140, 180]), vec![2, 1]);
    }

    #[test]
    fn golden_an_older_window_is_merged_from_two_sstables_on_smallest_32_first() {
        let old = |sizes: &[u64]| newest_bucket(&[(6, sstables(1, sizes))], DEFAULT, 7);
        assert_eq!(old(&[2400]), None);
        assert_eq!(old(&[2400, 1]), Some((6, vec![2, 1])));
        let sizes: Vec<u64> = (1..=40).rev().collect();
        let (_, ids) = old(&sizes).unwrap();
        assert_eq!(ids, (9..=40).rev().collect::<Vec<u64>>());
    }

    #[test]
    fn golden_windows_are_walked_from_the_newest_and_the_first_hit_is_the_task() {
        let windows = |newest: &[u64]| {
            [(5, sstables(1, &[9, 9])), (7, sstables(10, newest)), (6, sstables(20, &[5, 5]))]
        };
        assert_eq!(newest_bucket(&windows(&[1, 1, 1, 1]), DEFAULT, 7).unwrap().0, 7);
        assert_eq!(newest_bucket(&windows(&[1, 1, 1]), DEFAULT, 7).unwrap(), (6, vec![20, 21]));
        // A window that has been seen and is gone still makes the others old ones.
        assert_eq!(newest_bucket(&windows(&[1, 1, 1]), DEFAULT, 8).unwrap().0, 7);
    }

    #[test]
    fn at_most_the_maximum_is_merged_in_the_newest_window() {
        let many = vec![(7, sstables(1, &[100; 50]))];
        assert_eq!(newest_bucket(&many, DEFAULT, 7).unwrap().1.len(), 32);
    }
}
