//! The head, our memtable: the newest samples of each tenant, by series.
//!
//! A tenant's series are spread over *head shards* by target, so a scrape stays together. A
//! series' number is its shard in the low bits and its order of arrival in the shard above them.
//!
//! # Locks
//! The tenant's symbols come before a shard; no two shards are locked at once; the counts of series
//! per metric and the metadata are leaves.
//!
//! # Invariants
//! - A number is given once in a tenant's generation.
//! - Known series are never refused.
//!
//! Not here: the commit log (`engine.rs`), reading (`select.rs`).

mod define;
mod exemplars;
pub(crate) mod flush;
mod locals;
pub(crate) mod metadata;
mod postings;
mod query_shard;
mod read;
mod replay;
pub(crate) mod series;
pub(crate) mod shard;
mod shards;
mod slots;
pub(crate) mod symbols;

use crate::engine::AppendLimits;
use define::{Begun, Rows};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use metadata::Metadata;
use model::mutation::{Mutation, SeriesRefusal};
use model::sample::SampleKind;
use model::series::tenant_salt;
use model::{HistogramSample, LabelSet, Sample, SeriesRef, TenantId, Text};

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockWriteGuard};
use series::Identity;
use shard::{IdleBefore, Shard};
use shards::Shards;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use symbols::{LabelIds, Renumber, Symbols};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const SHARD_BITS: u32 = 4;
const SHARDS: u32 = 1 << SHARD_BITS;
/// The step from a series' number to its neighbour's.
pub(crate) const NUMBER_STEP: u32 = SHARDS;
/// Stands for a series that was refused.
pub(crate) const REFUSED: u32 = u32::MAX;
/// The highest local number; one less than fits, so that [`REFUSED`] is no series.
const LOCAL_MAX: u32 = (u32::MAX >> SHARD_BITS) - 1;

/// So many texts without a series stay in any case.
const DEAD_SYMBOLS_MIN: usize = 4096;
/// So many series must have left before texts without a series are looked for.
const DROPPED_MIN: u64 = 1024;

/// The head of one tenant.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    salt: u64,
    /// Names this life of the tenant's numbers.
    pub(crate) generation: u64,
    /// Guards the label strings. Comes before the shards.
    pub(crate) symbols: RwLock<Symbols>,
    shards: Shards,
    /// Metric name -> series. A leaf.
    per_metric: Mutex<HashMap<u32, u64, FixedState>>,
    /// A leaf.
    pub(crate) metadata: Mutex<Metadata>,
    exemplars: exemplars::Count,
    series: AtomicU64,
    series_created: AtomicU64,
    /// Series that have left since texts without a series were looked for.
    dropped: AtomicU64,
    /// No sample that ever came has a higher revision.
    revision_max: AtomicU32,
}

/// A definition that a record carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) number: u32,
    pub(crate) labels: LabelIds,
    /// Whether an earlier record with it is on disk, so that this is the last one.
    pub(crate) is_last: bool,
}

/// A mutation whose series are numbers.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// For each series its number, or [`REFUSED`].
    pub(crate) numbers: Vec<u32>,
    /// For series that were sent by labels: index and number.
    pub(crate) named: Vec<(u32, u32)>,
    pub(crate) refused: Vec<(u32, SeriesRefusal)>,
    pub(crate) carried: Vec<Carried>,
}

fn shard_of(number: u32) -> usize {
    (number % SHARDS) as usize
}

fn local_of(number: u32) -> u32 {
    number / SHARDS
}

fn number_of(shard: usize, local: u32) -> u32 {
    local * SHARDS + u32::try_from(shard).unwrap_or(0)
}

/// The generation of a tenant that is made with this seed.
pub(crate) fn generation(id: &TenantId, seed: u64) -> u64 {
    xxh3_64_with_seed(id.as_str().as_bytes(), seed).max(1)
}

impl Tenant {
    /// A tenant without a series.
    pub(crate) fn new(id: TenantId, cluster_name: &str, seed: u64) -> Self {
        let generation = generation(&id, seed);
        Self {
            salt: tenant_salt(cluster_name, &id),
            id,
            generation,
            symbols: RwLock::new(Symbols::new(generation)),
            shards: Shards::new(generation),
            per_metric: Mutex::new(HashMap::with_hasher(FixedState::with_seed(generation))),
            metadata: Mutex::default(),
            exemplars: exemplars::Count::default(),
            series: AtomicU64::new(0),
            series_created: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            revision_max: AtomicU32::new(0),
        }
    }

    /// No sample of this head has a higher revision.
    pub(crate) fn revision_max(&self) -> u32 {
        self.revision_max.load(Ordering::Acquire)
    }

    /// The shards that are there, one after the other; never lock two.
    pub(crate) fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|(_, shard)| shard.lock())
    }

    /// How many series there are, and how many there ever were in this generation.
    pub(crate) fn series(&self) -> (u64, u64) {
        (self.series.load(Ordering::Relaxed), self.series_created.load(Ordering::Relaxed))
    }

    /// Finds or makes the series of a mutation; `None` if a number is not known.
    pub(crate) fn resolve(
        &self,
        mutation: &Mutation,
        limits: AppendLimits,
        synced: u64,
        now_s: u32,
    ) -> Option<Resolved> {
        let mut resolved =
            Resolved { numbers: vec![REFUSED; mutation.series.len()], ..Resolved::default() };
        self.resolve_numbers(mutation, synced, &mut resolved)?;
        if mutation.series.iter().any(|rows| matches!(rows.series, SeriesRef::Labels(_))) {
            self.resolve_labels(mutation, limits, synced, now_s, &mut resolved);
        }
        // A series that occurs twice in the mutation is carried once.
        resolved.carried.sort_by_key(|carried| carried.number);
        resolved.carried.dedup_by_key(|carried| carried.number);
        Some(resolved)
    }

    fn resolve_numbers(&self, mutation: &Mutation, synced: u64, out: &mut Resolved) -> Option<()> {
        let mut held: Option<(usize, MutexGuard<'_, Shard>)> = None;
        for (index, rows) in mutation.series.iter().enumerate() {
            let SeriesRef::Number(number) = rows.series else { continue };
            let shard = lock_next(&self.shards, &mut held, shard_of(number))?;
            let carries = shard.carries(local_of(number), synced)?;
            if let Some(is_last) = carries {
                let labels = shard.get(local_of(number))?.labels.clone();
                out.carried.push(Carried { number, labels, is_last });
            }
            out.numbers[index] = number;
        }
        Some(())
    }

    fn resolve_labels(
        &self,
        mutation: &Mutation,
        limits: AppendLimits,
        synced: u64,
        now_s: u32,
        out: &mut Resolved,
    ) {
        let mut table = Rows::new(self.salt);
        for (index, rows) in mutation.series.iter().enumerate() {
            let SeriesRef::Labels(labels) = &rows.series else { continue };
            let sent_as = u32::try_from(index).unwrap_or(u32::MAX);
            match self.find_or_insert_in(&mut table, labels, limits, now_s) {
                Ok(number) => {
                    out.numbers[index] = number;
                    out.named.push((sent_as, number));
                    let shard = self.shards.get_or_make(shard_of(number)).lock();
                    let Some(Some(is_last)) = shard.carries(local_of(number), synced) else {
                        continue;
                    };
                    let Some(series) = shard.get(local_of(number)) else { continue };
                    out.carried.push(Carried { number, labels: series.labels.clone(), is_last });
                }
                Err(refusal) => out.refused.push((sent_as, refusal)),
            }
        }
    }

    /// The number of a label set, which gets one if it has none.
    pub(crate) fn find_or_insert(
        &self,
        labels: &LabelSet,
        limits: AppendLimits,
        now_s: u32,
    ) -> Result<u32, SeriesRefusal> {
        self.find_or_insert_in(&mut Rows::new(self.salt), labels, limits, now_s)
    }

    /// As [`Tenant::find_or_insert`], of one of many. While there are `rows` nobody numbers texts anew.
    fn find_or_insert_in<'l>(
        &self,
        rows: &mut Rows<'l>,
        labels: &'l LabelSet,
        limits: AppendLimits,
        now_s: u32,
    ) -> Result<u32, SeriesRefusal> {
        let Begun { fingerprint, target } = rows.begin(labels);
        let index = self.shard_of_target(target);
        let known = || {
            let symbols = self.symbols.read();
            let shard = self.shards.get(index)?;
            let local = shard.lock().find(fingerprint, labels, &symbols);
            local.map(|local| number_of(index, local))
        };
        if let Some(number) = known() {
            return Ok(number);
        }
        // Before its texts are kept: those of a series that is refused would stay.
        if let Err(refusal) = self.may_admit(labels, limits) {
            // Somebody may have been faster, and taken the last place for it.
            return known().ok_or(refusal);
        }
        let mut symbols = self.symbols.write();
        let ids = rows.ids(labels, &mut symbols);
        let symbols = RwLockWriteGuard::downgrade(symbols);
        let mut shard = self.shards.get_or_make(index).lock();
        // Somebody may have been faster.
        if let Some(local) = shard.find_ids(fingerprint, &ids) {
            return Ok(number_of(index, local));
        }
        let metric = symbols.metric(&ids).unwrap_or(u32::MAX);
        self.admit(metric, limits)?;
        let who = Identity { fingerprint, target, labels: ids };
        match shard.insert(who, &symbols, LOCAL_MAX, now_s) {
            Some(local) => Ok(number_of(index, local)),
            None => {
                self.dismiss(metric);
                Err(SeriesRefusal::SeriesLimit { limit: u64::from(LOCAL_MAX) })
            }
        }
    }

    /// The index of the shard of a target.
    fn shard_of_target(&self, target: u64) -> usize {
        (target >> 32) as usize % SHARDS as usize
    }

    /// Whether the limits let a new series in as things stand.
    fn may_admit(&self, labels: &LabelSet, limits: AppendLimits) -> Result<(), SeriesRefusal> {
        if self.series.load(Ordering::Relaxed) >= limits.series_max {
            return Err(SeriesRefusal::SeriesLimit { limit: limits.series_max });
        }
        if limits.series_per_metric_max == u64::MAX {
            return Ok(());
        }
        let metric = self.symbols.read().get(labels.metric_name());
        let count = metric.and_then(|metric| self.per_metric.lock().get(&metric).copied());
        if count.unwrap_or(0) >= limits.series_per_metric_max {
            return Err(SeriesRefusal::MetricSeriesLimit { limit: limits.series_per_metric_max });
        }
        Ok(())
    }

    /// Counts a new series, if the limits let it in.
    fn admit(&self, metric: u32, limits: AppendLimits) -> Result<(), SeriesRefusal> {
        let mut per_metric = self.per_metric.lock();
        if self.series.load(Ordering::Relaxed) >= limits.series_max {
            return Err(SeriesRefusal::SeriesLimit { limit: limits.series_max });
        }
        let count = per_metric.entry(metric).or_insert(0);
        if *count >= limits.series_per_metric_max {
            return Err(SeriesRefusal::MetricSeriesLimit { limit: limits.series_per_metric_max });
        }
        *count += 1;
        self.series.fetch_add(1, Ordering::Relaxed);
        self.series_created.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The metrics with so many series or more, and how many each has.
    pub(crate) fn metrics_of(&self, series_min: u64) -> Vec<(Text, u64)> {
        if self.series().0 < series_min {
            return Vec::new();
        }
        let symbols = self.symbols.read();
        let per_metric = self.per_metric.lock();
        let large = per_metric.iter().filter(|(_, series)| **series >= series_min);
        let named = large.filter(|(metric, _)| (**metric as usize) < symbols.len());
        named.map(|(metric, series)| (symbols.text(*metric).clone(), *series)).collect()
    }

    fn dismiss(&self, metric: u32) {
        let mut per_metric = self.per_metric.lock();
        self.series.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = per_metric.get_mut(&metric) {
            *count -= 1;
            if *count == 0 {
                per_metric.remove(&metric);
            }
        }
    }

    /// Adds the samples of a mutation whose record is `ticket`; returns (samples, late ones).
    pub(crate) fn apply(
        &self,
        mutation: &Mutation,
        resolved: &Resolved,
        ticket: u64,
        now_s: u32,
        exemplars_max: u64,
    ) -> (u64, u64) {
        self.revision_max.fetch_max(mutation.revision, Ordering::AcqRel);
        let (mut samples, mut late) = (0, 0);
        let mut held: Option<(usize, MutexGuard<'_, Shard>)> = None;
        let mut start = 0;
        for (rows, number) in mutation.series.iter().zip(&resolved.numbers) {
            let range = start..rows.sample_end as usize;
            start = range.end;
            if *number == REFUSED {
                continue;
            }
            let Some(shard) = lock_next(&self.shards, &mut held, shard_of(*number)) else {
                continue;
            };
            samples += range.len() as u64;
            late += match mutation.kind {
                SampleKind::Float => {
                    shard.push(local_of(*number), now_s, samples_of(mutation, range))
                }
                SampleKind::Histogram => {
                    let histograms = histograms_of(mutation, range);
                    shard.push_histograms(local_of(*number), now_s, histograms)
                }
            };
        }
        drop(held);
        for (series, exemplar) in &mutation.exemplars {
            match resolved.numbers.get(*series as usize) {
                None | Some(&REFUSED) => {}
                Some(number) => self.push_exemplar(*number, now_s, exemplars_max, exemplar),
            }
        }
        let mut held: Option<(usize, MutexGuard<'_, Shard>)> = None;
        for carried in &resolved.carried {
            if let Some(shard) = lock_next(&self.shards, &mut held, shard_of(carried.number)) {
                shard.carried(local_of(carried.number), ticket, carried.is_last);
            }
        }
        (samples, late)
    }

    /// The definitions of all series, shard by shard: numbers and label ids.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = Vec<(u32, LabelIds)>> {
        self.shards.iter().map(|(index, shard)| {
            shard.lock().iter().map(|s| (number_of(index, s.local), s.labels.clone())).collect()
        })
    }

    /// Lets go of what was taken and of idle series, and returns how many series left. `gate` is
    /// closed for a moment for each shard: nobody holds the number of a series that leaves.
    pub(crate) fn release(&self, idle: IdleBefore, gate: &RwLock<()>) -> u64 {
        let mut count = 0;
        for (_, shard) in self.shards.iter() {
            let _alone = gate.write();
            let symbols = self.symbols.read();
            let dropped = shard.lock().release(idle, &symbols);
            for ids in &dropped {
                self.dismiss(symbols.metric(ids).unwrap_or(u32::MAX));
            }
            count += dropped.len() as u64;
        }
        let dropped = self.dropped.fetch_add(count, Ordering::Relaxed) + count;
        if dropped >= DROPPED_MIN.max(self.series().0 / 4) {
            self.dropped.store(0, Ordering::Relaxed);
            if self.has_dead_symbols() {
                self.renumber(gate);
            }
        }
        count
    }

    /// Whether there are more texts without a series than with one, or more sets of names.
    fn has_dead_symbols(&self) -> bool {
        let symbols = self.symbols.read();
        let mut texts = vec![false; symbols.len()];
        let mut shapes = vec![false; symbols.shapes().len()];
        for shard in self.shards() {
            for series in shard.iter() {
                let shape = series.labels.first().and_then(|shape| shapes.get_mut(*shape as usize));
                shape.into_iter().for_each(|is_alive| *is_alive = true);
                for (name, value) in symbols.pairs(&series.labels) {
                    texts[name as usize] = true;
                    texts[value as usize] = true;
                }
            }
        }
        let are_mostly_dead = |alive: &[bool]| {
            let living = alive.iter().filter(|is_alive| **is_alive).count();
            alive.len() - living > living.max(DEAD_SYMBOLS_MIN)
        };
        are_mostly_dead(&texts) || are_mostly_dead(&shapes)
    }

    /// Lets go of texts without a series. `gate` is closed meanwhile: nobody holds ids of labels.
    fn renumber(&self, gate: &RwLock<()>) {
        let _alone = gate.write();
        let mut symbols = self.symbols.write();
        let mut renumber = Renumber::new(&symbols);
        for mut shard in self.shards() {
            shard.renumber(&mut renumber);
        }
        let mut per_metric = self.per_metric.lock();
        // Metrics are counted for series that are there; those without a name stay so.
        let counts: Vec<(u32, u64)> = per_metric.drain().collect();
        let counts = counts.into_iter();
        per_metric.extend(counts.map(|(old, count)| (renumber.get(old).unwrap_or(old), count)));
        per_metric.shrink_to_fit();
        *symbols = renumber.finish();
    }
}

/// The shard at `index`, locked; the one before is let go first.
fn lock_next<'a, 'h>(
    shards: &'a Shards,
    held: &'h mut Option<(usize, MutexGuard<'a, Shard>)>,
    index: usize,
) -> Option<&'h mut Shard> {
    if held.as_ref().is_none_or(|(have, _)| *have != index) {
        *held = None;
        *held = Some((index, shards.get(index)?.lock()));
    }
    held.as_mut().map(|(_, shard)| &mut **shard)
}

/// The samples of a mutation at some indexes; none where its columns end early.
fn samples_of(
    mutation: &Mutation,
    range: std::ops::Range<usize>,
) -> impl Iterator<Item = Sample> + '_ {
    let timestamps = mutation.timestamps_ms.get(range.clone()).unwrap_or(&[]);
    let values = mutation.values.get(range.clone()).unwrap_or(&[]);
    let starts = mutation.start_timestamps_ms.get(range).unwrap_or(&[]);
    timestamps.iter().zip(values).enumerate().map(|(index, (timestamp_ms, value))| Sample {
        timestamp_ms: *timestamp_ms,
        value: *value,
        start_timestamp_ms: starts.get(index).copied().unwrap_or(0),
        revision: mutation.revision,
    })
}

/// The histograms of a mutation at some indexes; none where its columns end early.
fn histograms_of(
    mutation: &Mutation,
    range: std::ops::Range<usize>,
) -> impl Iterator<Item = HistogramSample> + '_ {
    let timestamps = mutation.timestamps_ms.get(range.clone()).unwrap_or(&[]);
    let histograms = mutation.histograms.get(range.clone()).unwrap_or(&[]);
    let starts = mutation.start_timestamps_ms.get(range).unwrap_or(&[]);
    timestamps.iter().zip(histograms).enumerate().map(|(index, (timestamp_ms, histogram))| {
        HistogramSample {
            timestamp_ms: *timestamp_ms,
            histogram: Arc::clone(histogram),
            start_timestamp_ms: starts.get(index).copied().unwrap_or(0),
            revision: mutation.revision,
        }
    })
}
