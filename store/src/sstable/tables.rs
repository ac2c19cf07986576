//! The live sstables, and the decoded parts of them that the next reader will want too.

use super::block::BlockRef;
use super::directory::Directory;
use super::reader::{Scan, Sstable};
use crate::config::Config;
use crate::disk::Disk;
use crate::engine::{OpenReport, Stats};
use crate::error::{Error, Result};
use crate::manifest::{self, SstableMeta, State};
use crate::select::{Gather, Query};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::{METRIC_NAME, TenantId, Text};
use parking_lot::Mutex;
use std::sync::Arc;

/// A snapshot of what is live.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    disk: Arc<dyn Disk>,
    list: Vec<Arc<Table>>,
    cache: Arc<Cache>,
}

/// A live sstable, or why it cannot be read.
#[derive(Debug)]
struct Table {
    meta: SstableMeta,
    state: Result<Sstable>,
}

impl Tables {
    /// Opens all that the manifest names. One that is damaged is reported, and refuses the reads
    /// that would need it: an answer without its samples would be wrong.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        state: &State,
        config: &Config,
        report: &mut OpenReport,
    ) -> Result<Self> {
        let cache = Arc::new(Cache { bytes_max: config.index_cache_bytes_max, ..Cache::default() });
        let mut tables = Self { disk, list: Vec::new(), cache };
        for meta in state.sstables.values() {
            let path = manifest::sstable_path(meta.id);
            let state = match Sstable::open(&*tables.disk, &path) {
                Ok((table, _)) => Ok(table),
                Err(Error::NewerFormat { path, found, known }) => {
                    return Err(Error::NewerFormat { path, found, known });
                }
                Err(error) => {
                    report.sstables_damaged.push((path, error.clone()));
                    Err(error)
                }
            };
            tables.list.push(Arc::new(Table { meta: meta.clone(), state }));
        }
        report.sstables = tables.list.len() as u64;
        Ok(tables)
    }

    /// These tables without the removed and with the added ones.
    pub(crate) fn replace(&self, removed: &[u64], added: &[SstableMeta]) -> Result<Self> {
        let mut tables = self.clone();
        tables.list.retain(|table| !removed.contains(&table.meta.id));
        for meta in added {
            let (table, _) = Sstable::open(&*self.disk, &manifest::sstable_path(meta.id))?;
            tables.list.push(Arc::new(Table { meta: meta.clone(), state: Ok(table) }));
        }
        Ok(tables)
    }

    /// Adds the matching series of all tables.
    pub(crate) fn collect(
        &self,
        tenant: &TenantId,
        query: &Query,
        gather: &mut Gather,
    ) -> Result<()> {
        let metric_matchers = query.matchers.iter().filter(|m| *m.name == *METRIC_NAME);
        let metric = metric_matchers.filter_map(|matcher| matcher.equal_to()).next();
        for table in &self.list {
            let meta = &table.meta;
            let hides = query.clip.of_file(meta.retention_version);
            let is_over = meta.max_timestamp_ms < hides.nothing_before_ms();
            if is_over || !query.overlaps(meta.min_timestamp_ms, meta.max_timestamp_ms) {
                continue;
            }
            let sstable = table.state.as_ref().map_err(Clone::clone)?;
            let may_hold = sstable.tenants.binary_search(tenant).is_ok()
                && metric.is_none_or(|metric| sstable.may_hold(tenant, metric));
            if !may_hold {
                continue;
            }
            let reader = self.disk.open(&sstable.path)?;
            let directory = self.cache.directory(meta.id, || sstable.directory(&*reader))?;
            let Some((index, part)) = directory.tenant(tenant) else { continue };
            let read = |at: BlockRef| sstable.symbols(&*reader, at);
            let symbols = self.cache.symbols(meta.id, index, || read(part.symbols))?;
            let mut scan = Scan::new(sstable, &*reader, query, &symbols).hiding(tenant, &hides);
            scan.run(part, gather)?;
        }
        Ok(())
    }

    /// The tenants of all tables that can be read.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        let readable = self.list.iter().filter_map(|table| table.state.as_ref().ok());
        readable.flat_map(|table| table.tenants.iter().cloned()).collect()
    }

    /// Counts them.
    pub(crate) fn count(&self, stats: &mut Stats) {
        stats.sstables = self.list.len() as u64;
        for table in &self.list {
            stats.sstable_bytes += table.meta.file_bytes;
            stats.sstable_samples += table.meta.samples;
        }
    }
}

/// Decoded parts of sstables: the least lately used go when there are too many bytes.
#[derive(Debug, Default)]
struct Cache {
    bytes_max: usize,
    /// A leaf.
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    parts: HashMap<(u64, usize), Part, RandomState>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Part {
    what: Decoded,
    bytes: usize,
    used: u64,
}

#[derive(Clone, Debug)]
enum Decoded {
    Directory(Arc<Directory>),
    Symbols(Arc<[Text]>),
}

impl Cache {
    fn directory(
        &self,
        id: u64,
        load: impl FnOnce() -> Result<Directory>,
    ) -> Result<Arc<Directory>> {
        // A tenant's index is never the last number there is.
        let key = (id, usize::MAX);
        if let Some(Decoded::Directory(directory)) = self.get(key) {
            return Ok(directory);
        }
        let directory = Arc::new(load()?);
        self.put(key, Decoded::Directory(Arc::clone(&directory)), directory.memory_bytes());
        Ok(directory)
    }

    fn symbols(
        &self,
        id: u64,
        tenant: usize,
        load: impl FnOnce() -> Result<Vec<Text>>,
    ) -> Result<Arc<[Text]>> {
        let key = (id, tenant);
        if let Some(Decoded::Symbols(symbols)) = self.get(key) {
            return Ok(symbols);
        }
        let symbols: Arc<[Text]> = load()?.into();
        let bytes = symbols.iter().map(|text| text.len() + 48).sum();
        self.put(key, Decoded::Symbols(Arc::clone(&symbols)), bytes);
        Ok(symbols)
    }

    fn get(&self, key: (u64, usize)) -> Option<Decoded> {
        let mut held = self.held.lock();
        held.uses += 1;
        let now = held.uses;
        let part = held.parts.get_mut(&key)?;
        part.used = now;
        Some(part.what.clone())
    }

    fn put(&self, key: (u64, usize), what: Decoded, bytes: usize) {
        let mut held = self.held.lock();
        let used = held.uses;
        if let Some(before) = held.parts.insert(key, Part { what, bytes, used }) {
            held.bytes -= before.bytes;
        }
        held.bytes += bytes;
        while held.bytes > self.bytes_max {
            let oldest = held.parts.iter().min_by_key(|(_, part)| part.used).map(|(key, _)| *key);
            let Some(part) = oldest.and_then(|oldest| held.parts.remove(&oldest)) else { break };
            held.bytes -= part.bytes;
        }
    }
}
