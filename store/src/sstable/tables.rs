//! The live sstables.

use super::ahead::{self, Reads};
use super::reader::{Source, Sstable};
use super::scan::Scan;
use super::window::Window;
use crate::cache::Cache;
use crate::config::Config;
use crate::disk::Disk;
use crate::engine::{OpenReport, Stats};
use crate::error::{Error, Result};
use crate::manifest::{self, SstableMeta, State};
use crate::select::{Gather, Query};
use model::read::Estimate;
use model::{DayBucket, METRIC_NAME, TenantId, Text};
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

/// A snapshot of what is live.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    disk: Arc<dyn Disk>,
    list: Vec<Arc<Table>>,
    cache: Arc<Cache>,
}

/// Visits what each table has of a tenant, if it may hold what is asked for.
fn for_each_scan(
    disk: &dyn Disk,
    tables: &[&Arc<Table>],
    tenant: &TenantId,
    (query, reads): (&Query, Reads),
    mut visit: impl FnMut(Scan<'_>) -> Result<()>,
) -> Result<()> {
    let metric_matchers = query.matchers.iter().filter(|m| *m.name == *METRIC_NAME);
    let metric = metric_matchers.filter_map(|matcher| matcher.equal_to()).next();
    for (at, table) in tables.iter().enumerate() {
        if at % ahead::FILES == 0 && disk.is_far() {
            let next = tables.get(at..).unwrap_or_default();
            let next = next.get(..ahead::FILES).unwrap_or(next);
            ahead::of_scan(disk, next, (tenant, metric), (query, reads));
        }
        let meta = &table.meta;
        let hides = query.clip.of_file(meta.retention_version);
        let source = table.state.as_ref().map_err(Clone::clone)?.source();
        let may_hold = source.sstable.tenants.binary_search(tenant).is_ok()
            && metric.is_none_or(|metric| source.sstable.may_hold(tenant, metric));
        if !may_hold {
            continue;
        }
        let directory = source.directory()?;
        let Some((index, part)) = directory.tenant(tenant) else { continue };
        let symbols = source.symbols(index, part)?;
        visit(Scan::new(&source, query, (index, part), &symbols).hiding(&hides))?;
    }
    Ok(())
}

/// A file that is no longer live.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(crate) path: String,
    /// What readers that came before hold on to.
    opened: Weak<Opened>,
}

impl Retired {
    /// A file that no reader opens.
    pub(crate) fn unheld(path: String) -> Self {
        Self { path, opened: Weak::new() }
    }

    /// Whether a reader may still open it.
    pub(crate) fn is_held(&self) -> bool {
        self.opened.strong_count() > 0
    }
}

/// A live sstable, or why it cannot be read.
#[derive(Debug)]
pub(super) struct Table {
    meta: SstableMeta,
    state: Result<Arc<Opened>>,
}

/// A file that was opened. It stays the same one when something is said anew of it, so that who holds
/// it by what was said before holds the file.
#[derive(Debug)]
struct Opened {
    sstable: Sstable,
    id: u64,
    cache: Arc<Cache>,
}

impl Table {
    fn sstable(&self) -> Result<&Sstable, &Error> {
        self.state.as_ref().map(|opened| &opened.sstable)
    }

    /// To read from, if it could be opened.
    pub(super) fn source(&self) -> Option<Source<'_>> {
        self.state.as_ref().ok().map(|opened| opened.source())
    }
}

impl Opened {
    fn source(&self) -> Source<'_> {
        Source { sstable: &self.sstable, id: self.id, cache: &self.cache }
    }
}

/// Nobody reads the file any more, and no later file has its number.
impl Drop for Opened {
    fn drop(&mut self) {
        self.cache.forget(self.id);
    }
}

/// Opens the file that the manifest means, and no other one under its name, however sound. Its hash
/// is for who reads all of it: the scrub, and `verify.rs`.
fn open(disk: &dyn Disk, meta: &SstableMeta) -> Result<Sstable> {
    let path = manifest::sstable_path(meta.id);
    let (table, directory) = Sstable::open(disk, &path)?;
    let window = Window { first_day: meta.window_first_day, days: meta.window_days };
    let (mut series, mut samples, mut partitions) = (0, 0, 0);
    for entry in directory.tenants.iter().flat_map(|part| &part.partitions) {
        series += entry.series;
        samples += entry.samples;
        partitions += 1;
    }
    let found = (table.reader().file_bytes(), directory.window, series, samples, partitions);
    let meant = (meta.file_bytes, window, meta.series, meta.samples, meta.partitions);
    match found == meant {
        true => Ok(table),
        false => Err(Error::corrupt(&path, 0, "a sound file, but not the one that is meant")),
    }
}

impl Tables {
    /// Opens all that the manifest names. One that is damaged is reported, and refuses the reads
    /// that would need it: an answer without its samples would be wrong.
    ///
    /// # Errors
    /// Of a file of which nothing is known: it is of a later release, nobody answered, or there were no
    /// more files to be opened.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        state: &State,
        config: &Config,
        report: &mut OpenReport,
    ) -> Result<Self> {
        let cache = Arc::new(Cache::new(config.cache_bytes_max));
        let mut tables = Self { disk, list: Vec::new(), cache };
        let metas: Vec<&SstableMeta> = state.sstables.values().collect();
        for (at, meta) in metas.iter().enumerate() {
            if at % ahead::FILES == 0 && tables.disk.is_far() {
                let next = metas.get(at..).unwrap_or_default();
                ahead::of_opening(&*tables.disk, next.get(..ahead::FILES).unwrap_or(next));
            }
            let path = manifest::sstable_path(meta.id);
            let state = match open(&*tables.disk, meta) {
                Ok(sstable) => Ok(tables.opened(meta.id, sstable)),
                // Of a file that nobody was let see nothing is known: it is asked for again.
                Err(error @ (Error::NewerFormat { .. } | Error::Unreachable { .. })) => {
                    return Err(error);
                }
                Err(error) if error.is_exhausted() => return Err(error),
                Err(error) => {
                    let error = match tables.disk.len(&path)? {
                        None => Error::corrupt(&path, 0, "it is missing"),
                        Some(_) if matches!(error, Error::Io { .. }) => {
                            Error::corrupt(&path, 0, format!("it cannot be opened: {error}"))
                        }
                        Some(_) => error,
                    };
                    report.sstables_damaged.push((path, error.clone()));
                    Err(error)
                }
            };
            tables.list.push(Arc::new(Table { meta: (*meta).clone(), state }));
        }
        report.sstables = tables.list.len() as u64;
        Ok(tables)
    }

    /// These tables without the removed and with the added ones.
    pub(crate) fn replace(&self, removed: &[u64], added: &[SstableMeta]) -> Result<Self> {
        let mut tables = self.clone();
        tables.list.retain(|table| !removed.contains(&table.meta.id));
        for meta in added {
            let state = Ok(self.opened(meta.id, open(&*self.disk, meta)?));
            tables.list.push(Arc::new(Table { meta: meta.clone(), state }));
        }
        Ok(tables)
    }

    /// These tables with something else said of files that stay as they are.
    pub(crate) fn moved(&self, metas: &[SstableMeta]) -> Self {
        let mut tables = self.clone();
        for table in &mut tables.list {
            if let Some(meta) = metas.iter().find(|meta| meta.id == table.meta.id) {
                *table = Arc::new(Table { meta: meta.clone(), state: table.state.clone() });
            }
        }
        tables
    }

    fn opened(&self, id: u64, sstable: Sstable) -> Arc<Opened> {
        Arc::new(Opened { sstable, id, cache: Arc::clone(&self.cache) })
    }

    /// The tables of these numbers, for when they are no longer live.
    pub(crate) fn retired(&self, ids: &[u64]) -> Vec<Retired> {
        let gone = self.list.iter().filter(|table| ids.contains(&table.meta.id));
        let retired = |table: &Arc<Table>| Retired {
            path: manifest::sstable_path(table.meta.id),
            opened: table.state.as_ref().map_or_else(|_| Weak::new(), Arc::downgrade),
        };
        gone.map(retired).collect()
    }

    /// A live table that could be opened.
    pub(crate) fn readable(&self, id: u64) -> Option<(&SstableMeta, &Sstable)> {
        let table = self.list.iter().find(|table| table.meta.id == id)?;
        table.sstable().ok().map(|sstable| (&table.meta, sstable))
    }

    /// Hands the large partitions of each table to `visit`, with their bytes there.
    pub(crate) fn large_parts(&self, mut visit: impl FnMut(&TenantId, &Text, DayBucket, u64)) {
        for sstable in self.list.iter().filter_map(|table| table.sstable().ok()) {
            for (tenant, metric, day, bytes) in &sstable.large {
                if let Some(tenant) = sstable.tenants.get(*tenant) {
                    visit(tenant, metric, *day, *bytes);
                }
            }
        }
    }

    /// Whether a live table is at this path.
    pub(crate) fn has_path(&self, path: &str) -> bool {
        self.list.iter().any(|table| manifest::sstable_path(table.meta.id) == path)
    }

    /// What the manifest says of each.
    pub(crate) fn metas(&self) -> Vec<SstableMeta> {
        self.list.iter().map(|table| table.meta.clone()).collect()
    }

    /// Whether a table that can be read may hold one of these metrics of a tenant; `None` is any.
    pub(crate) fn may_hold_any<'m>(
        &self,
        id: u64,
        tenant: &TenantId,
        metrics: Option<impl Iterator<Item = &'m Text>>,
    ) -> bool {
        let Some(table) = self.list.iter().find(|table| table.meta.id == id) else { return false };
        let Ok(sstable) = table.sstable() else { return false };
        sstable.tenants.binary_search(tenant).is_ok()
            && metrics
                .is_none_or(|mut metrics| metrics.any(|metric| sstable.may_hold(tenant, metric)))
    }

    /// Adds the matching series of all tables.
    pub(crate) fn collect(
        &self,
        tenant: &TenantId,
        query: &Query,
        gather: &mut Gather,
    ) -> Result<()> {
        let tables = self.asked(query);
        query.sources.set(tables.len() + 1);
        gather.count_sstables(tables.len());
        for_each_scan(&*self.disk, &tables, tenant, (query, Reads::Series), |mut scan| {
            scan.run(gather)
        })
    }

    /// Adds what the tables are likely to hold of a selection.
    pub(crate) fn estimate(
        &self,
        tenant: &TenantId,
        query: &Query,
        estimate: &mut Estimate,
    ) -> Result<()> {
        for_each_scan(&*self.disk, &self.asked(query), tenant, (query, Reads::Sizes), |mut scan| {
            scan.estimate(estimate)
        })
    }

    /// The tables that may hold what is asked for, in the order of their times, so that most series
    /// grow at their end.
    fn asked(&self, query: &Query) -> Vec<&Arc<Table>> {
        let is_asked = |table: &&Arc<Table>| {
            let meta = &table.meta;
            let hides = query.clip.of_file(meta.retention_version);
            query.overlaps(meta.min_timestamp_ms, meta.max_timestamp_ms)
                && meta.max_timestamp_ms >= hides.nothing_before_ms()
        };
        let mut tables: Vec<&Arc<Table>> = self.list.iter().filter(is_asked).collect();
        tables.sort_by_key(|table| (table.meta.min_timestamp_ms, table.meta.id));
        tables
    }

    /// Adds the metrics of a tenant.
    ///
    /// # Errors
    /// If a table cannot be read that may hold some.
    pub(crate) fn metrics_held(&self, tenant: &TenantId, held: &mut BTreeSet<Text>) -> Result<()> {
        for table in &self.list {
            let source = table.state.as_ref().map_err(Clone::clone)?.source();
            if source.sstable.tenants.binary_search(tenant).is_err() {
                continue;
            }
            let directory = source.directory()?;
            let parts = directory.tenant(tenant).into_iter();
            let entries = parts.flat_map(|(_, part)| &part.partitions);
            held.extend(entries.map(|entry| entry.metric.clone()));
        }
        Ok(())
    }

    /// Each with the tenants in it; `None` if it cannot be read.
    pub(crate) fn with_tenants(&self) -> impl Iterator<Item = (&SstableMeta, Option<&[TenantId]>)> {
        self.list.iter().map(|table| {
            let tenants = table.sstable().ok().map(|sstable| &*sstable.tenants);
            (&table.meta, tenants)
        })
    }

    /// The tenants of all tables that can be read.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        let readable = self.list.iter().filter_map(|table| table.sstable().ok());
        readable.flat_map(|sstable| sstable.tenants.iter().cloned()).collect()
    }

    /// Counts them.
    pub(crate) fn count(&self, stats: &mut Stats) {
        stats.sstables = self.list.len() as u64;
        let cache = self.cache.stats();
        stats.cache_bytes = cache.bytes;
        stats.cache_hits_total = cache.hits;
        stats.cache_misses_total = cache.misses;
        for table in &self.list {
            stats.sstable_bytes += table.meta.file_bytes;
            stats.sstable_samples += table.meta.samples;
        }
    }
}
