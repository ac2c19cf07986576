//! Versions: has anything changed in a tenant's range of time? Asked by whoever keeps answers.
//!
//! Each write marks the two-hour blocks that its samples lie in; an import, a delete and a change of
//! the retention mark everything of their tenant. A version is a hash of the marks in a range.
//!
//! # Invariants
//! - What changes an answer is marked after reads see it and before it is acknowledged. So an answer
//!   that was read after its version was asked for is right as long as the version stays the same.
//! - A version says nothing across two starts of a store, nor from one store to another.
//! - [`CHANGES`] is the version of a range that the clock alone may change: retention hides a part.
//! - A tenant has at most [`BLOCKS_MAX`] marks; beyond it they become one mark for everything.

use super::Engine;
use hashbrown::HashMap;
use model::{TenantId, TimeRange, TimestampMs};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The version of a range whose answers must not be kept.
pub const CHANGES: u64 = 0;

/// How long a block is.
const BLOCK_MS: i64 = 2 * 60 * 60 * 1_000;

/// How many blocks of a tenant have a mark of their own: 22 years.
const BLOCKS_MAX: usize = 100_000;

/// What has changed since the start.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// A leaf.
    marks: Mutex<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    /// Counts up with every mark, so no mark is made twice.
    last: u64,
    /// The mark of all tenants.
    everything: u64,
    /// The mark of all blocks of those that are not among `tenants`.
    others: u64,
    tenants: HashMap<TenantId, OfTenant>,
}

#[derive(Debug)]
struct OfTenant {
    /// The mark of all blocks.
    whole: u64,
    /// Blocks with their marks, ascending. Many a tenant has one.
    blocks: Vec<(i64, u64)>,
}

impl OfTenant {
    fn new(whole: u64) -> Self {
        Self { whole, blocks: Vec::new() }
    }

    /// Marks blocks, which ascend.
    fn mark(&mut self, touched: &BTreeSet<i64>, mark: u64) {
        let held = self.blocks.len();
        for block in touched {
            match self.blocks[..held].binary_search_by_key(block, |(block, _)| *block) {
                Ok(index) => self.blocks[index].1 = mark,
                Err(_) => {
                    if self.blocks.is_empty() {
                        self.blocks.reserve_exact(touched.len());
                    }
                    self.blocks.push((*block, mark));
                }
            }
        }
        // New ones are newer, mostly; else these are two runs, which are merged.
        if self.blocks.len() > held {
            self.blocks.sort_by_key(|(block, _)| *block);
        }
    }

    /// The blocks of a range, with their marks.
    fn of(&self, range: RangeInclusive<i64>) -> &[(i64, u64)] {
        let first = self.blocks.partition_point(|(block, _)| block < range.start());
        let end = self.blocks.partition_point(|(block, _)| block <= range.end());
        self.blocks.get(first..end).unwrap_or_default()
    }
}

impl Versions {
    /// Marks the blocks that samples of these times lie in.
    pub(super) fn mark(&self, tenant: &TenantId, times_ms: &[i64]) {
        let mut touched = BTreeSet::new();
        let mut block = i64::MIN..i64::MIN;
        for at in times_ms {
            if !block.contains(at) {
                let index = at.div_euclid(BLOCK_MS);
                let start = index.saturating_mul(BLOCK_MS);
                block = start..start.saturating_add(BLOCK_MS);
                touched.insert(index);
            }
        }
        if touched.is_empty() {
            return;
        }
        let mut marks = self.marks.lock();
        marks.last += 1;
        let mark = marks.last;
        let new = OfTenant::new(marks.others);
        let of = marks.tenants.entry_ref(tenant).or_insert(new);
        of.mark(&touched, mark);
        if of.blocks.len() > BLOCKS_MAX {
            *of = OfTenant::new(mark);
        }
    }

    /// Marks everything that a tenant has.
    pub(super) fn mark_whole(&self, tenant: &TenantId) {
        let mut marks = self.marks.lock();
        marks.last += 1;
        let whole = marks.last;
        marks.tenants.insert(tenant.clone(), OfTenant::new(whole));
    }

    /// Marks everything.
    pub(super) fn mark_everything(&self) {
        let mut marks = self.marks.lock();
        marks.last += 1;
        marks.everything = marks.last;
        marks.tenants.clear();
    }

    /// Forgets the marks of tenants, which change their versions, and those of all that have none.
    pub(super) fn forget(&self, tenants: &[TenantId]) {
        let mut marks = self.marks.lock();
        marks.last += 1;
        marks.others = marks.last;
        for tenant in tenants {
            marks.tenants.remove(tenant);
        }
        marks.tenants.shrink_to_fit();
    }

    /// The hash of all marks in a range; never [`CHANGES`].
    fn of(&self, tenant: &TenantId, range: TimeRange, seed: u64) -> u64 {
        let marks = self.marks.lock();
        let of = marks.tenants.get(tenant);
        let whole = of.map_or(marks.others, |of| of.whole);
        let mut bytes = [marks.everything.to_le_bytes(), whole.to_le_bytes()].concat();
        if let Some(of) = of.filter(|_| !range.is_empty()) {
            let last_ms = range.end.0.saturating_sub(1);
            let blocks = range.start.0.div_euclid(BLOCK_MS)..=last_ms.div_euclid(BLOCK_MS);
            for (block, mark) in of.of(blocks) {
                bytes.extend(block.to_le_bytes());
                bytes.extend(mark.to_le_bytes());
            }
        }
        drop(marks);
        xxh3_64_with_seed(&bytes, seed).max(CHANGES + 1)
    }
}

impl Engine {
    /// The version of each range at `now`: as long as it is the same, reading the range gives the
    /// same samples, whatever the selection. [`CHANGES`] of a range that retention reaches into.
    #[must_use]
    pub fn versions(&self, tenant: &TenantId, ranges: &[TimeRange], now: TimestampMs) -> Vec<u64> {
        let shown_ms = self.retention.read().clip(tenant, now).all_shown_from_ms();
        let seed = self.parts.generation_seed;
        let version = |range: &TimeRange| match range.start.0 < shown_ms {
            true => CHANGES,
            false => self.versions.of(tenant, *range, seed),
        };
        ranges.iter().map(version).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, mutation, open, tenant, up, write};
    use super::*;
    use crate::retention::RetentionConfig;
    use crate::sim::SimDisk;
    use model::retention::{Retention, RetentionRules};
    use model::{DeleteRequest, Matcher, SeriesRef};
    use std::collections::BTreeMap;

    const HOUR_MS: i64 = 3_600_000;

    fn hours(first: i64, end: i64) -> TimeRange {
        TimeRange { start: TimestampMs(first * HOUR_MS), end: TimestampMs(end * HOUR_MS) }
    }

    fn write_at(engine: &Engine, name: &str, moments: &[i64]) {
        let mut m = mutation(name);
        m.push(SeriesRef::Labels(up("a")), moments.iter().map(|at| (*at, 1.0)));
        write(engine, &m);
    }

    fn versions(engine: &Engine, name: &str) -> Vec<u64> {
        let ranges = [hours(0, 2), hours(1, 3), hours(2, 4), hours(100, 102), TimeRange::ALL];
        engine.versions(&tenant(name), &ranges, NOW)
    }

    /// Which of two answers differ.
    fn changed(before: &[u64], after: &[u64]) -> Vec<bool> {
        before.iter().zip(after).map(|(a, b)| a != b).collect()
    }

    #[test]
    fn a_write_changes_the_ranges_that_touch_its_blocks_and_no_other_tenant() {
        let (engine, _) = open(&SimDisk::new(1));
        let (before, other) = (versions(&engine, "t"), versions(&engine, "u"));
        write_at(&engine, "t", &[3 * HOUR_MS]);
        let after = versions(&engine, "t");
        assert_eq!(changed(&before, &after), [false, true, true, false, true]);
        assert_eq!(versions(&engine, "u"), other);
        write_at(&engine, "t", &[3 * HOUR_MS]);
        assert_eq!(changed(&after, &versions(&engine, "t")), [false, true, true, false, true]);
        let last = versions(&engine, "t");
        write_at(&engine, "t", &[-1, 2 * HOUR_MS, 0, 101 * HOUR_MS, 1]);
        assert_eq!(changed(&last, &versions(&engine, "t")), [true; 5]);
    }

    #[test]
    fn flush_and_compaction_change_no_version_and_a_delete_changes_all_of_its_tenant() {
        let (engine, _) = open(&SimDisk::new(1));
        write_at(&engine, "t", &[1]);
        let before = versions(&engine, "t");
        engine.flush(NOW).unwrap();
        assert_eq!(versions(&engine, "t"), before);
        let other = versions(&engine, "u");
        let request = DeleteRequest {
            matcher_sets: vec![vec![Matcher::equal("__name__", "up")]],
            range: hours(0, 1),
            revision_max: 0,
        };
        engine.delete(&tenant("t"), &request, NOW).unwrap();
        assert_eq!(changed(&before, &versions(&engine, "t")), [true; 5]);
        assert_eq!(versions(&engine, "u"), other);
    }

    #[test]
    fn an_import_changes_all_versions_of_its_tenant() {
        let (engine, _) = open(&SimDisk::new(1));
        let before = versions(&engine, "t");
        let options = crate::engine::ImportOptions { tenant: tenant("t"), revision: 0 };
        let mut import = engine.import(options, NOW);
        let one = model::Sample { timestamp_ms: 1, value: 1.0, start_timestamp_ms: 0, revision: 0 };
        import.samples(&up("a"), &[one]).unwrap();
        assert_eq!(versions(&engine, "t"), before, "nothing of it can be read yet");
        import.finish().unwrap();
        assert_eq!(changed(&before, &versions(&engine, "t")), [true; 5]);
    }

    #[test]
    fn what_retention_reaches_into_has_no_version() {
        let (engine, _) = open(&SimDisk::new(1));
        let default = RetentionRules::all(Retention::from_ms(10 * HOUR_MS.unsigned_abs()));
        let config = RetentionConfig { default, tenants: BTreeMap::new() };
        engine.set_retention(&config, NOW).unwrap();
        let at = |ms: i64| TimeRange { start: NOW.minus_ms(ms), end: NOW };
        let ranges = [at(10 * HOUR_MS + 1), at(10 * HOUR_MS)];
        let [hidden, shown] = engine.versions(&tenant("t"), &ranges, NOW)[..] else {
            panic!("two")
        };
        assert_eq!(hidden, CHANGES);
        assert_ne!(shown, CHANGES);
    }

    #[test]
    fn marks_are_bounded_and_none_is_forgotten() {
        let versions = Versions::default();
        let t = tenant("t");
        let first = versions.of(&t, hours(0, 2), 7);
        for block in 0..=i64::try_from(BLOCKS_MAX).unwrap() {
            versions.mark(&t, &[(block + 10) * BLOCK_MS]);
        }
        assert_eq!(versions.marks.lock().tenants[&t].blocks.len(), 0);
        assert_ne!(versions.of(&t, hours(0, 2), 7), first, "more than has changed may be told");
        assert_ne!(versions.of(&t, hours(0, 2), 8), versions.of(&t, hours(0, 2), 7));
    }
}
