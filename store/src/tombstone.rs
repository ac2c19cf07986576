//! Tombstones: what is deleted, ready to be asked by every read, flush and compaction.
//!
//! A tombstone hides each sample of its range, up to a revision, of the series that its matchers
//! match, whenever the sample arrives. The manifest's list is the truth; here it is indexed by
//! time: one that spans at most [`DAYS_MAX`] days stands at each of its (tenant, day)s, a longer
//! one at its tenant (DESIGN.md D18). So one that lies apart from a read costs it nothing.
//!
//! Whoever has samples asks in three steps: which tombstones *touch* the range ([`Touching`]), what
//! they hide of a series ([`Hidden`]: once for a series, not for each sample), and which samples go.
//!
//! # Invariants
//! - A snapshot never changes: a read sees a delete whole or not at all.
//! - What one tombstone hides stays hidden while it lives: only one that covers it takes its place,
//!   or time goes over it (`engine/forget.rs`).
//!
//! Not here: how they get to the disk (`manifest.rs`) and to other replicas (`wire`).

pub(crate) mod cut;

use crate::chunk::{Chunk, HISTOGRAM, histogram};
use crate::compaction::cut::normalized;
use crate::error::Result;
use crate::merge::Run;
use crate::select;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use model::matcher::CompiledMatcher;
use model::time::DAY_MS;
use model::{HistogramSample, METRIC_NAME, Matcher, Sample, TenantId, Text, TimeRange, Tombstone};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One that spans more days stands at its tenant.
const DAYS_MAX: i64 = 32;

/// All tombstones of a store, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombstones {
    tenants: HashMap<TenantId, Arc<OfTenant>, RandomState>,
    /// The highest number among them; 0 without one.
    through: u64,
}

/// A tombstone whose matchers are compiled.
#[derive(Debug)]
struct Armed {
    id: u64,
    stone: Arc<Tombstone>,
    matchers: Vec<CompiledMatcher>,
    /// The only metric names that can match; `None` if they are not a list.
    metrics: Option<Vec<Text>>,
}

/// The tombstones of one tenant.
#[derive(Debug, Default)]
struct OfTenant {
    stones: BTreeMap<u64, Arc<Armed>>,
    by_day: BTreeMap<i64, Vec<Arc<Armed>>>,
    long: Vec<Arc<Armed>>,
}

impl Armed {
    fn new(id: u64, stone: &Arc<Tombstone>) -> Result<Self> {
        let matchers = select::compile(&stone.matchers)?;
        let on_name = matchers.iter().filter(|matcher| *matcher.name == *METRIC_NAME);
        let metrics = on_name.filter_map(CompiledMatcher::literals).min_by_key(Vec::len);
        Ok(Self { id, stone: Arc::clone(stone), matchers, metrics })
    }

    fn range(&self) -> (i64, i64) {
        (self.stone.range.start.0, self.stone.range.end.0)
    }

    /// Its days, first and last; `None` if they are too many.
    fn days(&self) -> Option<(i64, i64)> {
        let (start, end) = self.range();
        let (first, last) = (day(start), day(end.saturating_sub(1)));
        (last - first < DAYS_MAX).then_some((first, last))
    }

    fn overlaps(&self, start_ms: i64, end_ms: i64) -> bool {
        let (start, end) = self.range();
        start < end_ms && start_ms < end
    }

    fn may_match_metric(&self, metric: &str) -> bool {
        let on_name = || self.matchers.iter().filter(|matcher| *matcher.name == *METRIC_NAME);
        on_name().all(|matcher| matcher.matches(metric))
    }
}

fn day(at: i64) -> i64 {
    at.div_euclid(DAY_MS)
}

impl Tombstones {
    /// The tombstones of a manifest.
    ///
    /// # Errors
    /// [`Error::BadMatcher`]: a matcher cannot be compiled.
    pub(crate) fn new(stones: &BTreeMap<u64, Arc<Tombstone>>) -> Result<Self> {
        let mut by_tenant: BTreeMap<TenantId, Vec<Arc<Armed>>> = BTreeMap::new();
        for (id, stone) in stones {
            let armed = Arc::new(Armed::new(*id, stone)?);
            by_tenant.entry(stone.tenant.clone()).or_default().push(armed);
        }
        let through = stones.keys().next_back().copied().unwrap_or(0);
        let tenants = by_tenant.into_iter();
        let tenants = tenants.map(|(tenant, stones)| (tenant, Arc::new(OfTenant::new(stones))));
        Ok(Self { tenants: tenants.collect(), through })
    }

    /// These without the removed and with the added ones.
    ///
    /// # Errors
    /// As [`Tombstones::new`].
    pub(crate) fn replace(&self, removed: &[u64], added: &[(u64, Arc<Tombstone>)]) -> Result<Self> {
        let mut all = self.clone();
        let mut news: BTreeMap<TenantId, Vec<Arc<Armed>>> = BTreeMap::new();
        for (id, stone) in added {
            let armed = Arc::new(Armed::new(*id, stone)?);
            news.entry(stone.tenant.clone()).or_default().push(armed);
            all.through = all.through.max(*id);
        }
        let is_removed = |stone: &Arc<Armed>| removed.contains(&stone.id);
        for (tenant, held) in &self.tenants {
            let added = news.remove(tenant).unwrap_or_default();
            if added.is_empty() && !held.stones.values().any(is_removed) {
                continue;
            }
            let kept = held.stones.values().filter(|stone| !is_removed(stone)).cloned();
            let stones: Vec<Arc<Armed>> = kept.chain(added).collect();
            match stones.is_empty() {
                true => drop(all.tenants.remove(tenant)),
                false => drop(all.tenants.insert(tenant.clone(), Arc::new(OfTenant::new(stones)))),
            }
        }
        for (tenant, stones) in news {
            all.tenants.insert(tenant, Arc::new(OfTenant::new(stones)));
        }
        Ok(all)
    }

    /// The highest number there ever was among them: a file to which all were applied is clean up
    /// to it.
    pub(crate) fn through(&self) -> u64 {
        self.through
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tenants.values().map(|tenant| tenant.stones.len()).sum()
    }

    /// Those of a tenant that touch `[start_ms, end_ms)`.
    pub(crate) fn touching(&self, tenant: &TenantId, start_ms: i64, end_ms: i64) -> Touching {
        let held = self.tenants.get(tenant);
        held.map_or_else(Touching::default, |held| held.touching(start_ms, end_ms))
    }

    /// Those of a tenant with a number above `through` that touch `[start_ms, end_ms)` and were asked
    /// for before a moment.
    pub(crate) fn touching_above(
        &self,
        tenant: &TenantId,
        through: u64,
        (start_ms, end_ms): (i64, i64),
        created_before_ms: i64,
    ) -> Touching {
        let Some(held) = self.tenants.get(tenant) else { return Touching::default() };
        let above = held.stones.range(through.saturating_add(1)..).map(|(_, stone)| stone);
        let near = above.filter(|stone| {
            stone.overlaps(start_ms, end_ms) && stone.stone.created.0 < created_before_ms
        });
        Touching::new(near.cloned().collect())
    }

    /// Those of a tenant whose range ends at or before a moment: their numbers and ends.
    pub(crate) fn ended_by(&self, tenant: &TenantId, end_max_ms: i64) -> Vec<(u64, i64)> {
        let held = self.tenants.get(tenant).into_iter().flat_map(|held| &held.stones);
        held.map(|(id, stone)| (*id, stone.range().1))
            .filter(|(_, end)| *end <= end_max_ms)
            .collect()
    }

    /// The tenants that have one.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.tenants.keys()
    }
}

impl OfTenant {
    fn new(stones: Vec<Arc<Armed>>) -> Self {
        let mut all = Self::default();
        for stone in stones {
            match stone.days() {
                None => all.long.push(Arc::clone(&stone)),
                Some((first, last)) => {
                    for day in first..=last {
                        all.by_day.entry(day).or_default().push(Arc::clone(&stone));
                    }
                }
            }
            all.stones.insert(stone.id, stone);
        }
        all
    }

    fn touching(&self, start_ms: i64, end_ms: i64) -> Touching {
        if start_ms >= end_ms {
            return Touching::default();
        }
        let days = self.by_day.range(day(start_ms)..=day(end_ms.saturating_sub(1)));
        let near = days.flat_map(|(_, stones)| stones).chain(&self.long);
        let mut stones: Vec<Arc<Armed>> =
            near.filter(|stone| stone.overlaps(start_ms, end_ms)).cloned().collect();
        stones.sort_by_key(|stone| stone.id);
        stones.dedup_by_key(|stone| stone.id);
        Touching::new(stones)
    }
}

/// The tombstones that a question about some range has to look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touching {
    by_metric: HashMap<Text, Vec<Arc<Armed>>, RandomState>,
    /// Those whose metric names are not a list.
    any_metric: Vec<Arc<Armed>>,
    len: usize,
}

impl Touching {
    fn new(stones: Vec<Arc<Armed>>) -> Self {
        let mut touching = Self { len: stones.len(), ..Self::default() };
        for stone in stones {
            match &stone.metrics {
                None => touching.any_metric.push(stone),
                Some(metrics) => {
                    for metric in metrics {
                        let held = touching.by_metric.entry(metric.clone()).or_default();
                        held.push(Arc::clone(&stone));
                    }
                }
            }
        }
        touching
    }

    /// Whether nothing is hidden.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Leaves out those that cannot match one of these metrics.
    pub(crate) fn only_metric(&mut self, metric: &str) {
        self.by_metric.retain(|name, _| **name == *metric);
        self.any_metric.retain(|stone| stone.may_match_metric(metric));
        self.len = self.any_metric.len() + self.by_metric.values().map(Vec::len).sum::<usize>();
    }

    /// The metrics that can be meant; `None` if that is not a list.
    pub(crate) fn metrics(&self) -> Option<impl Iterator<Item = &Text>> {
        self.any_metric.is_empty().then(|| self.by_metric.keys())
    }

    fn of_metric<'a>(&'a self, metric: &str) -> impl Iterator<Item = &'a Arc<Armed>> {
        let named = self.by_metric.get(metric).map_or(&[][..], |stones| stones);
        named.iter().chain(&self.any_metric)
    }

    /// Whether a sample of this metric in `[first_ms, last_ms]` may be hidden.
    pub(crate) fn may_cut(&self, metric: &str, first_ms: i64, last_ms: i64) -> bool {
        let end_ms = last_ms.saturating_add(1);
        self.of_metric(metric)
            .any(|stone| stone.overlaps(first_ms, end_ms) && stone.may_match_metric(metric))
    }

    /// What is hidden of the series whose label of a name has the value that `value_of` gives; a
    /// missing label has the empty value.
    pub(crate) fn hidden<'v>(&self, value_of: impl Fn(&str) -> &'v str) -> Hidden {
        let mut spans = Vec::new();
        for stone in self.of_metric(value_of(METRIC_NAME)) {
            if stone.matchers.iter().all(|matcher| matcher.matches(value_of(&matcher.name))) {
                let (start_ms, end_ms) = stone.range();
                spans.push(Span { start_ms, end_ms, revision_max: stone.stone.revision_max });
            }
        }
        Hidden { spans }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start_ms: i64,
    end_ms: i64,
    revision_max: u32,
}

/// What is hidden of one series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hidden {
    spans: Vec<Span>,
}

impl Hidden {
    /// Whether nothing is.
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Hides also what another one hides.
    pub(crate) fn add(&mut self, other: Self) {
        self.spans.extend(other.spans);
    }

    /// Hides also `[start, end)`, of whatever revision.
    pub(crate) fn add_span(&mut self, (start_ms, end_ms): (i64, i64)) {
        self.spans.push(Span { start_ms, end_ms, revision_max: u32::MAX });
    }

    /// The ranges `[start, end)` in which samples of a revision are hidden: ascending and apart.
    pub(crate) fn ranges(&self, revision: u32) -> Vec<(i64, i64)> {
        let hiding = self.spans.iter().filter(|span| revision <= span.revision_max);
        normalized(hiding.map(|span| (span.start_ms, span.end_ms)).collect())
    }

    /// Takes what is hidden out of a run.
    pub(crate) fn cut_run(&self, run: &mut Run) {
        let times = &run.column.timestamps_ms;
        let ends = times.first().zip(times.last());
        let ranges = self.ranges(run.revision);
        let touches_floats = ends.is_some_and(|(first, last)| overlaps(&ranges, *first, *last));
        if touches_floats || (!run.histograms.is_empty() && !ranges.is_empty()) {
            run.retain(|at| !contains(&ranges, at));
        }
    }

    /// A chunk without what is hidden of it; `None` if nothing is left.
    pub(crate) fn cut_chunk(&self, chunk: Chunk) -> Option<Chunk> {
        let head = chunk.head;
        let ranges = self.ranges(head.revision);
        if !overlaps(&ranges, head.first_ms, head.last_ms) {
            return Some(chunk);
        }
        if ranges.iter().any(|(start, end)| *start <= head.first_ms && head.last_ms < *end) {
            return None;
        }
        if head.encoding == HISTOGRAM {
            return cut_histograms(chunk, &ranges);
        }
        let mut kept = Vec::with_capacity(head.count as usize);
        let decoded = head.decode(&chunk.bytes, |timestamp_ms, value, start_timestamp_ms| {
            if !contains(&ranges, timestamp_ms) {
                let revision = head.revision;
                kept.push(Sample { timestamp_ms, value, start_timestamp_ms, revision });
            }
            true
        });
        match decoded {
            Ok(()) => Chunk::of(&kept),
            // Bytes in memory are what was coded; whoever reads them back says if they are not.
            Err(_) => Some(chunk),
        }
    }
}

/// A chunk of histograms without those in the ranges; `None` if nothing is left.
fn cut_histograms(chunk: Chunk, ranges: &[(i64, i64)]) -> Option<Chunk> {
    let head = chunk.head;
    let mut encoder = histogram::Encoder::default();
    let decoded = head.decode_histograms(&chunk.bytes, |timestamp_ms, start, histogram| {
        if !contains(ranges, timestamp_ms) {
            encoder.push(&HistogramSample {
                timestamp_ms,
                histogram: Arc::new(histogram.clone()),
                start_timestamp_ms: start,
                revision: head.revision,
            });
        }
        true
    });
    match decoded {
        Ok(()) => encoder.seal(head.revision),
        // As of floats.
        Err(_) => Some(chunk),
    }
}

/// Whether one of the ranges has a moment of `[first, last]`.
fn overlaps(ranges: &[(i64, i64)], first: i64, last: i64) -> bool {
    let next = ranges.partition_point(|(_, end)| *end <= first);
    ranges.get(next).is_some_and(|(start, _)| *start <= last)
}

/// Whether one of the ranges has this moment.
fn contains(ranges: &[(i64, i64)], at: i64) -> bool {
    overlaps(ranges, at, at)
}

/// What a change of the set of tombstones is: new ones that nobody covers, and old ones that the new
/// ones cover.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) added: Vec<Tombstone>,
    pub(crate) removed: Vec<u64>,
}

/// Decides what becomes of the set when `news` come to it.
pub(crate) fn join(held: &BTreeMap<u64, Arc<Tombstone>>, news: Vec<Tombstone>) -> Change {
    let mut change = Change::default();
    // Replicas tell each other all they have: what is the same is seen without a comparison.
    type Key<'a> = (&'a TenantId, &'a [Matcher], TimeRange, u32);
    fn key(stone: &Tombstone) -> Key<'_> {
        (&stone.tenant, &stone.matchers, stone.range, stone.revision_max)
    }
    let known: HashSet<Key<'_>, RandomState> = held.values().map(|old| key(old)).collect();
    for new in news.into_iter().filter(|new| !known.contains(&key(new))) {
        let is_empty = TimeRange::is_empty(new.range);
        let is_covered = held.values().any(|old| old.covers(&new))
            || change.added.iter().any(|other| other.covers(&new));
        if !is_empty && !is_covered {
            change.added.retain(|other| !new.covers(other));
            change.added.push(new);
        }
    }
    let covered = |old: &Tombstone| change.added.iter().any(|new| new.covers(old));
    change.removed = held.iter().filter(|(_, old)| covered(old)).map(|(id, _)| *id).collect();
    change
}

#[cfg(test)]
mod tests;
