//! Bulk load: samples from elsewhere become sstables without passing through log and head.
//!
//! They are gathered in a head of their own, which is written out whenever it holds too many bytes
//! or when whoever imports says that a window is complete. Nothing of it can be read until one edit
//! of the manifest, at the end, makes all files live at once; an import that ends without unlinks
//! them, and a crash before leaves files that the next start removes.
//!
//! # Invariants
//! - The same samples in the same order make the same files, and a file that is live already is not
//!   made live again, unless rules of before still hide some of it. So an import that is repeated
//!   changes nothing; one that is repeated in other pieces is joined away (DESIGN.md D4).
//!
//! Not here: where the samples come from (the crate `import`).

use super::delete;
use super::flush::Written;
use super::{AppendLimits, Engine, seconds};
use crate::bytes::runs;
use crate::error::{Error, Result};
use crate::head::series::Takes;
use crate::head::{self, Tenant};
use crate::manifest::{self, SstableMeta};
use crate::record;
use crate::retention::Retentions;
use crate::tombstone::Touching;
use model::exemplar::SeriesExemplars;
use model::mutation::{MetricMetadata, Mutation};
use model::read::MetadataQuery;
use model::{
    Context, Exemplar, HistogramSample, LabelSet, METRIC_NAME, MatchOp, Matcher, Principal,
    RequestId, Sample, SeriesRef, TenantId, TimeRange, TimestampMs,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Files are written when more bytes of samples than this are in memory.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Or when so many series are.
const SERIES_MAX: u64 = 4_000_000;
/// Samples between two looks at the memory.
const LOOK_SAMPLES: u64 = 1 << 16;
/// A histogram counts as so many samples more: it may take 64 KiB.
const HISTOGRAM_LOOK: u64 = 63;
/// So many exemplars are imported at most: the newest.
const EXEMPLARS_MAX: usize = 100_000;
/// The metadata of so many metrics is imported at most.
const METADATA_MAX: usize = 100_000;
/// So many go into one record of the log.
const RECORD_EXEMPLARS: usize = 1_000;
/// So many bytes of metadata go into one: far from what a record may have.
const RECORD_METADATA_BYTES: usize = 4 << 20;

/// What is the same for all samples of an import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Whose they are.
    pub tenant: TenantId,
    /// Their revision: raised when they replace what was deleted.
    pub revision: u32,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Samples that were taken.
    pub samples: u64,
    /// Samples that were older than the retention, and left out.
    pub samples_expired: u64,
    /// Samples of those that were taken that a delete hides.
    pub samples_hidden: u64,
    /// Metrics whose metadata was not known.
    pub metadata: u64,
    /// Exemplars that were not known.
    pub exemplars: u64,
    /// Exemplars that were older than the retention, and left out.
    pub exemplars_expired: u64,
    /// The revision that the samples have.
    pub revision: u32,
    /// Files that are live now.
    pub sstables: u64,
    /// Their bytes.
    pub sstable_bytes: u64,
    /// Files that were live already, byte for byte.
    pub sstables_known: u64,
}

/// An import that has begun.
#[derive(Debug)]
pub struct Import<'a> {
    engine: &'a Engine,
    options: ImportOptions,
    now: TimestampMs,
    gathered: Arc<Tenant>,
    /// Samples since the last look.
    unseen: u64,
    metadata: BTreeMap<String, MetricMetadata>,
    /// The oldest first.
    exemplars: BTreeSet<(Exemplar, LabelSet)>,
    written: Vec<SstableMeta>,
    is_published: bool,
    /// What deletes hide of the tenant, and up to which of them.
    deleted: Option<(u64, Touching)>,
    /// What is kept how long: when it changes meanwhile, files are as from before the change.
    rules: Arc<Retentions>,
    report: ImportReport,
}

impl Engine {
    /// Begins an import. Nothing is read or written yet.
    #[must_use]
    pub fn import(&self, options: ImportOptions, now: TimestampMs) -> Import<'_> {
        let report = ImportReport { revision: options.revision, ..ImportReport::default() };
        Import {
            gathered: Arc::new(self.empty_head(&options.tenant)),
            engine: self,
            options,
            now,
            unseen: 0,
            metadata: BTreeMap::new(),
            exemplars: BTreeSet::new(),
            written: Vec::new(),
            is_published: false,
            deleted: None,
            rules: Arc::clone(&self.retention.read()),
            report,
        }
    }

    /// The lowest revision whose samples no delete of the tenant hides: one more than the highest
    /// that its deletes hide, 0 without one. As an import does not change it, an import that is
    /// repeated has the same revision again.
    #[must_use]
    pub fn seen_revision(&self, tenant: &TenantId) -> u32 {
        let manifest = self.manifest.lock();
        let stones = manifest.state().tombstones.values().filter(|stone| stone.tenant == *tenant);
        stones.map(|stone| stone.revision_max.saturating_add(1)).max().unwrap_or(0)
    }

    fn empty_head(&self, tenant: &TenantId) -> Tenant {
        Tenant::new(tenant.clone(), &self.parts.cluster_name, self.parts.generation_seed)
    }
}

impl Import<'_> {
    /// Adds samples of one series, in any order; their revision becomes the import's.
    ///
    /// # Errors
    /// What the disk says: sometimes files are written.
    pub fn samples(&mut self, labels: &LabelSet, samples: &[Sample]) -> Result<()> {
        let (revision, from) = (self.options.revision, self.first_kept_ms(labels));
        let kept = samples.iter().filter(|sample| sample.timestamp_ms >= from);
        let kept: Vec<Sample> = kept.map(|sample| Sample { revision, ..*sample }).collect();
        self.count_hidden(labels, kept.iter().map(|sample| sample.timestamp_ms));
        self.take(labels, samples.len(), kept.len(), |head, number, now_s| {
            head.replay(revision, now_s).push(number, &kept);
        })
    }

    /// Adds native histograms of one series, in any order; their revision becomes the import's.
    ///
    /// # Errors
    /// What the disk says: sometimes files are written.
    pub fn histograms(&mut self, labels: &LabelSet, samples: &[HistogramSample]) -> Result<()> {
        let (revision, from) = (self.options.revision, self.first_kept_ms(labels));
        let kept = samples.iter().filter(|sample| sample.timestamp_ms >= from);
        let revised = |sample: &HistogramSample| HistogramSample { revision, ..sample.clone() };
        let kept: Vec<HistogramSample> = kept.map(revised).collect();
        self.count_hidden(labels, kept.iter().map(|sample| sample.timestamp_ms));
        self.unseen += kept.len() as u64 * HISTOGRAM_LOOK;
        self.take(labels, samples.len(), kept.len(), |head, number, now_s| {
            head.replay(revision, now_s).push_histograms(number, &kept);
        })
    }

    /// The first moment of the series that its retention does not hide.
    fn first_kept_ms(&self, labels: &LabelSet) -> i64 {
        let rules = self.rules.in_force(&self.options.tenant);
        let retention = rules.of(|name| labels.get(name).map_or("", |value| value));
        retention.first_kept_ms(self.now)
    }

    /// Counts the samples that a delete hides; whether they are written does not matter to readers.
    fn count_hidden(&mut self, labels: &LabelSet, times: impl Iterator<Item = i64>) {
        let tombstones = self.engine.tombstones.read();
        let through = tombstones.through();
        // Once, and not for each series: there may be very many.
        let held = self.deleted.take().filter(|(held, _)| *held == through);
        let (_, touching) = self.deleted.insert(held.unwrap_or_else(|| {
            (through, tombstones.touching(&self.options.tenant, i64::MIN, i64::MAX))
        }));
        drop(tombstones);
        if touching.is_empty() {
            return;
        }
        let hidden = touching.hidden(|name| labels.get(name).map_or("", |value| value));
        let ranges = hidden.ranges(self.options.revision);
        let is_hidden = |at: &i64| ranges.iter().any(|(start, end)| (*start..*end).contains(at));
        self.report.samples_hidden += times.filter(is_hidden).count() as u64;
    }

    /// Pushes what was kept of the `given` samples into the series.
    fn take(
        &mut self,
        labels: &LabelSet,
        given: usize,
        kept: usize,
        push: impl FnOnce(&Tenant, u32, u32),
    ) -> Result<()> {
        self.report.samples_expired += (given - kept) as u64;
        if kept == 0 {
            return Ok(());
        }
        let now_s = seconds(self.now);
        let number = match self.gathered.find_or_insert(labels, AppendLimits::NONE, now_s) {
            Ok(number) => number,
            Err(_) => {
                // Without limits only a shard that is full refuses; an empty one does not.
                self.write()?;
                let again = self.gathered.find_or_insert(labels, AppendLimits::NONE, now_s);
                again.map_err(|_| Error::BadMutation)?
            }
        };
        push(&self.gathered, number, now_s);
        self.report.samples += kept as u64;
        self.unseen += kept as u64;
        if self.unseen >= LOOK_SAMPLES {
            self.unseen = 0;
            let bytes: u64 = self.gathered.shards().map(|shard| shard.sample_bytes).sum();
            if bytes > MEMORY_BYTES_MAX || self.gathered.series().0 > SERIES_MAX {
                self.write()?;
            }
        }
        Ok(())
    }

    /// Adds an exemplar of one series. The newest are kept: as they live in memory, too many of
    /// them would push out each other.
    pub fn exemplar(&mut self, labels: &LabelSet, exemplar: Exemplar) {
        if exemplar.timestamp_ms < self.first_kept_ms(labels) {
            self.report.exemplars_expired += 1;
            return;
        }
        self.exemplars.insert((exemplar, labels.clone()));
        if self.exemplars.len() > EXEMPLARS_MAX {
            self.exemplars.pop_first();
        }
    }

    /// Adds what a metric means. What the store knows of it already is kept.
    pub fn metadata(&mut self, entry: MetricMetadata) {
        if self.metadata.len() < METADATA_MAX {
            self.metadata.insert(entry.metric.to_string(), entry);
        }
    }

    /// Writes what is in memory: to be called when a window is complete, so that it becomes one
    /// file. It becomes live with all others.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&mut self) -> Result<()> {
        self.engine.settle()?;
        // A writer like any other: the reserve is not for it.
        let bytes = self.gathered.shards().map(|shard| shard.sample_bytes).sum();
        if bytes > 0 {
            self.engine.check_free(bytes)?;
        }
        let empty = Arc::new(self.engine.empty_head(&self.options.tenant));
        let full = std::mem::replace(&mut self.gathered, empty);
        let tombstones = Arc::clone(&self.engine.tombstones.read());
        let tenant = &self.options.tenant;
        let deleted = tombstones.touching(tenant, i64::MIN, i64::MAX);
        let listed = head::flush::list(&full, Takes::Newest, deleted, self.rules.in_force(tenant));
        let trusted = self.engine.trusted(self.now);
        let Written { sstables: mut written, samples_expired, .. } =
            self.engine.write_sstables(vec![listed], trusted, self.now)?;
        self.report.samples -= samples_expired;
        self.report.samples_expired += samples_expired;
        for meta in &mut written {
            meta.retention_version = self.rules.version;
            meta.tombstones_through = tombstones.through();
        }
        self.written.extend(written);
        Ok(())
    }

    /// Samples taken so far.
    #[must_use]
    pub fn report(&self) -> ImportReport {
        self.report
    }

    /// Makes all samples live, at once. When this returns they are on disk.
    ///
    /// # Errors
    /// What the disk says; then all of them are live or none, and nobody knows which.
    pub fn publish(&mut self) -> Result<()> {
        if self.is_published {
            return Ok(());
        }
        self.write()?;
        let live = self.engine.manifest.lock().state().sstables.clone();
        let is_same = |a: &SstableMeta, b: &SstableMeta| {
            (a.file_hash, a.file_bytes, a.window_first_day, a.window_days, a.retention_class)
                == (b.file_hash, b.file_bytes, b.window_first_day, b.window_days, b.retention_class)
        };
        // Of a stale file the rules of before hide some, and the pass purges it.
        let stale = self.engine.stale_ids();
        let is_known = |meta: &SstableMeta| {
            live.values().any(|one| !stale.contains(&one.id) && is_same(one, meta))
        };
        let (known, mut new): (Vec<_>, Vec<_>) = self.written.drain(..).partition(is_known);
        self.engine.let_go(known.iter().map(|meta| manifest::sstable_path(meta.id)));
        let published = self.make_live(&mut new);
        // Also when it failed: nobody knows whether it is live then.
        self.engine.versions.mark_whole(&self.options.tenant);
        published?;
        self.report.sstables = new.len() as u64;
        self.report.sstable_bytes = new.iter().map(|meta| meta.file_bytes).sum();
        self.report.sstables_known = known.len() as u64;
        self.is_published = true;
        Ok(())
    }

    /// [Publishes](Self::publish) the samples if that is not done, and then writes metadata and
    /// exemplars. When this returns all is on disk.
    ///
    /// # Errors
    /// What the disk says; then some metadata and exemplars may be missing.
    pub fn finish(mut self) -> Result<ImportReport> {
        self.publish()?;
        self.report.metadata = self.write_metadata()?;
        self.report.exemplars = self.write_exemplars()?;
        Ok(self.report)
    }

    fn make_live(&self, new: &mut [SstableMeta]) -> Result<()> {
        let Self { engine, options: ImportOptions { tenant, revision }, .. } = self;
        let _one = engine.flushing.lock();
        let rules = Arc::clone(&engine.retention.read());
        let (version, mut edits) = engine.first_rules(std::slice::from_ref(tenant), &rules);
        if rules.in_force(tenant) == self.rules.in_force(tenant) {
            new.iter_mut().for_each(|meta| meta.retention_version = version);
        }
        let revision = [(tenant.clone(), *revision)];
        edits.extend(delete::revisions(&revision, engine.manifest.lock().state()));
        engine.publish(new, &[], &edits)
    }

    /// Lets go of what was written.
    ///
    /// # Errors
    /// What the disk says; then a later job or the next start does it.
    pub fn abandon(self) -> Result<()> {
        let engine = self.engine;
        drop(self);
        engine.remove_retired().map(drop)
    }

    /// Writes the metadata of metrics that have none, by the log.
    fn write_metadata(&mut self) -> Result<u64> {
        let tenant = &self.options.tenant;
        let known = self.engine.metadata(tenant, &MetadataQuery { metric: None });
        for entry in known {
            self.metadata.remove(&*entry.metric);
        }
        let news: Vec<MetricMetadata> = std::mem::take(&mut self.metadata).into_values().collect();
        for some in runs(&news, usize::MAX, RECORD_METADATA_BYTES, record::metadata_bytes) {
            let mut mutation = self.mutation();
            mutation.metadata = some.to_vec();
            self.engine.append(&mutation, AppendLimits::NONE, self.now)?;
            // One by one: what waits for the log is bounded.
            self.engine.sync().map_err(|failed| failed.error)?;
        }
        Ok(news.len() as u64)
    }

    /// Writes the exemplars that are not known, by the log, as if they had just come in; returns how
    /// many are there now that were not. The head keeps no more of a series than it would of a sender.
    fn write_exemplars(&mut self) -> Result<u64> {
        if self.exemplars.is_empty() {
            return Ok(0);
        }
        let before = self.exemplars_held()?;
        for known in &before {
            for exemplar in &known.exemplars {
                self.exemplars.remove(&(exemplar.clone(), known.labels.clone()));
            }
        }
        let news: Vec<(Exemplar, LabelSet)> =
            std::mem::take(&mut self.exemplars).into_iter().collect();
        for some in news.chunks(RECORD_EXEMPLARS) {
            let mut mutation = self.mutation();
            let mut indexes: BTreeMap<&LabelSet, u32> = BTreeMap::new();
            for (exemplar, labels) in some {
                let next = u32::try_from(indexes.len()).unwrap_or(u32::MAX);
                let index = *indexes.entry(labels).or_insert(next);
                if index == next {
                    mutation.end_series(SeriesRef::Labels(labels.clone()));
                }
                mutation.exemplars.push((index, exemplar.clone()));
            }
            self.engine.append(&mutation, AppendLimits::NONE, self.now)?;
            self.engine.sync().map_err(|failed| failed.error)?;
        }
        let count = |held: &[SeriesExemplars]| -> usize {
            held.iter().map(|series| series.exemplars.len()).sum()
        };
        Ok(count(&self.exemplars_held()?).saturating_sub(count(&before)) as u64)
    }

    fn exemplars_held(&self) -> Result<Vec<SeriesExemplars>> {
        let every = [vec![Matcher::new(METRIC_NAME, MatchOp::NotEqual, "")]];
        self.engine.exemplars(&self.options.tenant, &every, TimeRange::ALL, self.now)
    }

    /// A mutation of whoever imports.
    fn mutation(&self) -> Mutation {
        Mutation::empty(Arc::new(Context {
            tenant: self.options.tenant.clone(),
            principal: Principal::System,
            request_id: RequestId(0),
            timeout_ms: 0,
            ring_version: 0,
            now: self.now,
        }))
    }
}

/// What was written and did not become live goes, however the import ends.
impl Drop for Import<'_> {
    fn drop(&mut self) {
        let written = self.written.drain(..);
        self.engine.let_go(written.map(|meta| manifest::sstable_path(meta.id)));
    }
}

#[cfg(test)]
mod tests;
