//! From rows to one mutation per replica. Decides, and sends nothing.
//!
//! A *cut* is a row, or the part of a row that lies in one partition: rows whose samples cross a
//! day are cut there when the days may lie on different replicas.
//!
//! # Invariants
//! - Each cut goes to every replica of its set, in the order of the rows.
//! - A mutation's numbers are all of the generation it names.
//! - Floats and exemplars go in one mutation, native histograms in another behind it: a mutation's
//!   samples are of one kind.

use crate::batch::{Batch, Row};
use crate::error::Error;
use crate::extras::item_at;
use crate::gate::Seen;
use crate::refusal::Item;
use crate::resolve::position;
use crate::routing::Routing;
use crate::series_cache::{SeriesCache, UNCACHED, UNKNOWN};
use cluster::Topology;
use model::mutation::{Mutation, SeriesRows};
use model::partition::token_of;
use model::sample::SampleKind;
use model::{DayBucket, HistogramSample, LabelSet, SeriesRef, TimestampMs};
use std::ops::Range;
use std::sync::Arc;
use wire::remote_write::SampleColumns;

/// Samples of one row that go to the same replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) row: u32,
    pub(crate) set: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// How the rows of a batch are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cuts {
    /// Not at all: each row goes to set 0.
    Whole,
    /// In row order.
    Split(Vec<Cut>),
}

/// What goes where.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cuts: Cuts,
    /// The sets that have to keep something, ascending.
    pub(crate) sets: Vec<u32>,
    pub(crate) writes: Vec<ReplicaWrite>,
}

/// What one replica is asked to keep.
#[derive(Debug)]
pub(crate) struct ReplicaWrite {
    pub(crate) slot: usize,
    /// One per kind of sample; their series are the slot's cuts, in order.
    pub(crate) mutations: Vec<Mutation>,
}

/// What planning needs to know beside the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planner<'p> {
    pub(crate) routing: &'p Routing,
    pub(crate) topology: &'p Topology,
    pub(crate) now: TimestampMs,
}

impl Cuts {
    /// The cuts that go to `slot`, with their places.
    pub(crate) fn of_slot<'c>(
        &'c self,
        batch: &'c Batch,
        routing: &'c Routing,
        slot: usize,
    ) -> Box<dyn Iterator<Item = (u32, Cut)> + Send + 'c> {
        match self {
            Self::Whole => Box::new(batch.rows.iter().zip(0..).scan(0, |start, (row, place)| {
                let cut = Cut { row: place, set: 0, start: *start, end: row.sample_end };
                *start = row.sample_end;
                Some((place, cut))
            })),
            Self::Split(cuts) => Box::new(
                (0..)
                    .zip(cuts.iter().copied())
                    .filter(move |(_, cut)| routing.slots_of(cut.set).contains(&slot)),
            ),
        }
    }
}

impl Planner<'_> {
    /// Cuts the batch and makes the mutations. Numbers are used where the cache knows them.
    ///
    /// # Errors
    /// [`Error::Internal`] if labels that were valid are not any more.
    pub(crate) fn plan(&self, batch: &mut Batch, cache: &SeriesCache) -> Result<Plan, Error> {
        let cuts = self.cut(batch, cache);
        let sets = match &cuts {
            Cuts::Whole if batch.rows.is_empty() => Vec::new(),
            Cuts::Whole => vec![0],
            Cuts::Split(cuts) => {
                let mut sets: Vec<u32> = cuts.iter().map(|cut| cut.set).collect();
                sets.sort_unstable();
                sets.dedup();
                sets
            }
        };
        let mut writes = Vec::new();
        let slots = self.routing.nodes().len();
        let parsed = std::mem::take(&mut batch.parsed).into_iter();
        let mut parsed: Vec<_> = parsed.map(|(row, labels)| (row, Some(labels))).collect();
        for slot in 0..slots {
            // The last mutation gets the labels themselves; who needs them again parses again.
            let mut labels = Parsed { sets: &mut parsed, at: 0, may_take: slot + 1 == slots };
            let mutations = self.mutations(batch, &cuts, slot, Some(cache), &mut labels)?;
            if !mutations.is_empty() {
                writes.push(ReplicaWrite { slot, mutations });
            }
        }
        Ok(Plan { cuts, sets, writes })
    }

    /// What `slot` shall keep, with labels alone.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub(crate) fn mutations_by_labels(
        &self,
        batch: &Batch,
        cuts: &Cuts,
        slot: usize,
    ) -> Result<Vec<Mutation>, Error> {
        let mut labels = Parsed { sets: &mut [], at: 0, may_take: false };
        self.mutations(batch, cuts, slot, None, &mut labels)
    }

    fn mutations(
        &self,
        batch: &Batch,
        cuts: &Cuts,
        slot: usize,
        cache: Option<&SeriesCache>,
        labels: &mut Parsed<'_>,
    ) -> Result<Vec<Mutation>, Error> {
        let mut mutation = Mutation::empty(Arc::clone(&batch.context));
        let mut histograms = Mutation::empty(Arc::clone(&batch.context));
        histograms.kind = SampleKind::Histogram;
        let (generation, numbers) = cache.map_or((0, &[][..]), |cache| cache.numbers(slot));
        let mut any_number = false;
        let mut series_of = |row: &Row, place: u32| {
            let number = match row.entry {
                UNCACHED => UNKNOWN,
                entry => numbers.get(entry as usize).copied().unwrap_or(UNKNOWN),
            };
            if number != UNKNOWN {
                any_number = true;
                return Ok(SeriesRef::Number(number));
            }
            labels.of(place).map_or_else(|| labels_of(batch, place), Ok).map(SeriesRef::Labels)
        };
        let floats = batch.columns.values.len();
        let mut copied = 0;
        if matches!(cuts, Cuts::Whole) {
            mutation.series.reserve(batch.rows.len());
            mutation.timestamps_ms.extend_from_slice(&batch.columns.timestamps_ms[..floats]);
            mutation.values.extend_from_slice(&batch.columns.values);
            mutation.start_timestamps_ms.extend_from_slice(&batch.columns.start_timestamps_ms);
            copied = batch.float_rows();
            for (row, place) in batch.rows[..copied].iter().zip(0..) {
                let series = series_of(row, place)?;
                mutation.series.push(SeriesRows { series, sample_end: row.sample_end });
            }
        }
        for (_, cut) in cuts.of_slot(batch, self.routing, slot).skip(copied) {
            let series = series_of(&batch.rows[cut.row as usize], cut.row)?;
            let items = cut.start as usize..cut.end as usize;
            match item_at(batch, items.start) {
                Item::Float => push_floats(&mut mutation, series, batch, items),
                Item::Exemplar => {
                    let items = &batch.exemplars[items.start - floats..items.end - floats];
                    let index = position(mutation.series.len());
                    mutation.exemplars.extend(items.iter().map(|one| (index, one.clone())));
                    mutation.end_series(series);
                }
                Item::Histogram => {
                    let before = floats + batch.exemplars.len();
                    let items = &batch.histograms[items.start - before..items.end - before];
                    push_histograms(&mut histograms, series, items);
                }
            }
        }
        if histograms.start_timestamps_ms.iter().all(|start| *start == 0) {
            histograms.start_timestamps_ms = Vec::new();
        }
        mutation.generation = if any_number { generation } else { 0 };
        histograms.generation = mutation.generation;
        mutation.metadata = self.metadata(batch, slot);
        let mut mutations = vec![mutation, histograms];
        mutations.retain(|one| !one.series.is_empty() || !one.metadata.is_empty());
        Ok(mutations)
    }

    /// Metadata lies where the metric's samples of today lie.
    fn metadata(&self, batch: &Batch, slot: usize) -> Vec<model::mutation::MetricMetadata> {
        let lies_here = |metric: &str| {
            let set = self.set_of(batch, metric, self.now.day());
            self.routing.slots_of(set).contains(&slot)
        };
        let single = self.routing.is_single();
        let all = batch.metadata.iter();
        all.filter(|metadata| single || lies_here(&metadata.metric)).cloned().collect()
    }

    fn cut(&self, batch: &Batch, cache: &SeriesCache) -> Cuts {
        if self.routing.is_single() {
            return Cuts::Whole;
        }
        let mut cuts = Vec::with_capacity(batch.rows.len());
        let mut start = 0;
        for (row, place) in batch.rows.iter().zip(0_u32..) {
            let samples = start as usize..row.sample_end as usize;
            let days = batch.columns.timestamps_ms[samples].iter().map(|ms| TimestampMs(*ms).day());
            let first = cuts.len();
            for (day, at) in days.zip(start..) {
                let set = match row.entry {
                    UNCACHED => match labels_of(batch, place) {
                        Ok(labels) => self.set_of(batch, labels.metric_name(), day),
                        Err(_) => 0,
                    },
                    entry => cache.route(entry, day.0, |metric| self.set_of(batch, metric, day)),
                };
                match cuts[first..].last_mut() {
                    Some(Cut { set: before, end, .. }) if *before == set => *end = at + 1,
                    _ => cuts.push(Cut { row: place, set, start: at, end: at + 1 }),
                }
            }
            start = row.sample_end;
        }
        Cuts::Split(cuts)
    }

    fn set_of(&self, batch: &Batch, metric: &str, day: DayBucket) -> u32 {
        self.routing.set_of(self.topology, token_of(&batch.tenant.id, metric, day, 0, 0))
    }
}

fn push_floats(into: &mut Mutation, series: SeriesRef, batch: &Batch, items: Range<usize>) {
    let SampleColumns { timestamps_ms, values, start_timestamps_ms } = &batch.columns;
    // Either every sample has a start, 0 if unknown, or none has.
    let starts = start_timestamps_ms.get(items.clone()).unwrap_or_default();
    into.start_timestamps_ms.extend_from_slice(starts);
    into.timestamps_ms.extend_from_slice(&timestamps_ms[items.clone()]);
    into.values.extend_from_slice(&values[items]);
    into.end_series(series);
}

fn push_histograms(into: &mut Mutation, series: SeriesRef, samples: &[HistogramSample]) {
    for sample in samples {
        into.timestamps_ms.push(sample.timestamp_ms);
        into.start_timestamps_ms.push(sample.start_timestamp_ms);
        into.histograms.push(Arc::clone(&sample.histogram));
    }
    into.end_series(series);
}

/// Labels that were parsed, asked for in row order.
struct Parsed<'p> {
    sets: &'p mut [(u32, Option<LabelSet>)],
    at: usize,
    may_take: bool,
}

impl Parsed<'_> {
    fn of(&mut self, row: u32) -> Option<LabelSet> {
        while self.sets.get(self.at).is_some_and(|(before, _)| *before < row) {
            self.at += 1;
        }
        let (_, labels) = self.sets.get_mut(self.at).filter(|(found, _)| *found == row)?;
        if !self.may_take {
            return labels.clone();
        }
        self.at += 1;
        labels.take()
    }
}

/// The labels of a row: parsed already, or parsed again from the body.
fn labels_of(batch: &Batch, row: u32) -> Result<LabelSet, Error> {
    if let Ok(found) = batch.parsed.binary_search_by_key(&row, |(row, _)| *row) {
        return Ok(batch.parsed[found].1.clone());
    }
    let raw = batch.raw_labels(&batch.rows[row as usize]);
    match batch.tenant.see(raw, None)? {
        Ok(Seen::Series(labels)) => Ok(labels),
        Ok(Seen::Dropped(_)) => Err(Error::Internal("a series was dropped too late".to_owned())),
        Err(fault) => Err(Error::Internal(format!("labels became invalid: {}", fault.text))),
    }
}
