//! Bulk load: samples from elsewhere become sstables without passing through log and head.
//!
//! They are gathered in a head of their own, which is written out whenever it holds too many bytes
//! or when whoever imports says that a window is complete. Nothing of it can be read until one edit
//! of the manifest, at the end, makes all files live at once; a crash before leaves files that the
//! next start removes.
//!
//! # Invariants
//! - The same samples in the same order make the same files, and a file that is live already is not
//!   made live again. So an import that is repeated changes nothing; one that is repeated in other
//!   pieces is joined away (DESIGN.md D4).
//!
//! Not here: where the samples come from (the crate `import`).

use super::delete;
use super::flush::Written;
use super::{AppendLimits, Engine, seconds};
use crate::error::{Error, Result};
use crate::head::series::Takes;
use crate::head::{self, Tenant};
use crate::manifest::{self, SstableMeta};
use crate::retention::Retentions;
use model::mutation::{MetricMetadata, Mutation};
use model::read::MetadataQuery;
use model::{Context, LabelSet, Principal, RequestId, Sample, TenantId, TimestampMs};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Files are written when more bytes of samples than this are in memory.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Or when so many series are.
const SERIES_MAX: u64 = 4_000_000;
/// Samples between two looks at the memory.
const LOOK_SAMPLES: u64 = 1 << 16;

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
    /// Metrics whose metadata was not known.
    pub metadata: u64,
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
    written: Vec<SstableMeta>,
    /// What is kept how long: when it changes meanwhile, files are as from before the change.
    rules: Arc<Retentions>,
    report: ImportReport,
}

impl Engine {
    /// Begins an import. Nothing is read or written yet.
    #[must_use]
    pub fn import(&self, options: ImportOptions, now: TimestampMs) -> Import<'_> {
        Import {
            gathered: Arc::new(self.empty_head(&options.tenant)),
            engine: self,
            options,
            now,
            unseen: 0,
            metadata: BTreeMap::new(),
            written: Vec::new(),
            rules: Arc::clone(&self.retention.read()),
            report: ImportReport::default(),
        }
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
        let revision = self.options.revision;
        let rules = self.rules.in_force(&self.options.tenant);
        let retention = rules.of(|name| labels.get(name).map_or("", |value| value));
        let from = retention.first_kept_ms(self.now);
        let keeps = |sample: &&Sample| sample.timestamp_ms >= from;
        let kept = samples.iter().filter(keeps).count() as u64;
        self.report.samples_expired += samples.len() as u64 - kept;
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
        let revised = samples.iter().filter(keeps).map(|s| Sample { revision, ..*s });
        self.gathered.push(number, now_s, revised);
        self.report.samples += kept;
        self.unseen += kept;
        if self.unseen >= LOOK_SAMPLES {
            self.unseen = 0;
            let bytes: u64 = self.gathered.shards().map(|shard| shard.sample_bytes).sum();
            if bytes > MEMORY_BYTES_MAX || self.gathered.series().0 > SERIES_MAX {
                self.write()?;
            }
        }
        Ok(())
    }

    /// Adds what a metric means. What the store knows of it already is kept.
    pub fn metadata(&mut self, entry: MetricMetadata) {
        if self.metadata.len() < self.engine.config.metadata_max {
            self.metadata.insert(entry.metric.to_string(), entry);
        }
    }

    /// Writes what is in memory: to be called when a window is complete, so that it becomes one
    /// file. It becomes live with all others.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&mut self) -> Result<()> {
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

    /// Makes all of it live, at once. When this returns it is on disk.
    ///
    /// # Errors
    /// What the disk says; then nothing of it is live.
    pub fn finish(mut self) -> Result<ImportReport> {
        self.write()?;
        let live = self.engine.manifest.lock().state().sstables.clone();
        let is_same = |a: &SstableMeta, b: &SstableMeta| {
            (a.file_hash, a.file_bytes, a.window_first_day, a.window_days, a.retention_class)
                == (b.file_hash, b.file_bytes, b.window_first_day, b.window_days, b.retention_class)
        };
        let (known, mut new): (Vec<_>, Vec<_>) =
            self.written.drain(..).partition(|meta| live.values().any(|one| is_same(one, meta)));
        for meta in &known {
            self.engine.parts.disk.unlink(&manifest::sstable_path(meta.id))?;
        }
        let published = self.publish(&mut new);
        // Also when it failed: nobody knows whether it is live then.
        self.engine.versions.mark_whole(&self.options.tenant);
        published?;
        self.report.sstables = new.len() as u64;
        self.report.sstable_bytes = new.iter().map(|meta| meta.file_bytes).sum();
        self.report.sstables_known = known.len() as u64;
        self.report.metadata = self.write_metadata()?;
        Ok(self.report)
    }

    fn publish(&self, new: &mut [SstableMeta]) -> Result<()> {
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
    /// What the disk says; then the next start does it.
    pub fn abandon(self) -> Result<()> {
        for meta in &self.written {
            self.engine.parts.disk.unlink(&manifest::sstable_path(meta.id))?;
        }
        Ok(())
    }

    /// Writes the metadata of metrics that have none, by the log.
    fn write_metadata(&mut self) -> Result<u64> {
        let tenant = &self.options.tenant;
        let known = self.engine.metadata(tenant, &MetadataQuery { metric: None });
        for entry in known {
            self.metadata.remove(&*entry.metric);
        }
        if self.metadata.is_empty() {
            return Ok(0);
        }
        let mut mutation = Mutation::empty(Arc::new(Context {
            tenant: tenant.clone(),
            principal: Principal::System,
            request_id: RequestId(0),
            timeout_ms: 0,
            ring_version: 0,
            now: self.now,
        }));
        mutation.metadata = std::mem::take(&mut self.metadata).into_values().collect();
        let written = mutation.metadata.len() as u64;
        self.engine.append(&mutation, AppendLimits::NONE, self.now)?;
        self.engine.sync().map_err(|failed| failed.error)?;
        Ok(written)
    }
}

#[cfg(test)]
mod tests;
