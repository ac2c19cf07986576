//! What a question is going to read of several sstables, said ahead to a disk that is far away: a round trip
//! then serves all of them, and not one each.
//!
//! It is a guess: what is not said is read when it is needed, what is not needed does no harm.
//!
//! Not here: what is near already (`cache.rs`, and the disk).

use super::directory::TenantPart;
use super::reader::Source;
use super::tables::Table;
use crate::cache::Part;
use crate::disk::{Disk, FileRange};
use crate::manifest::{self, SstableMeta};
use crate::select::Query;
use model::{TenantId, Text};
use std::sync::Arc;

/// So many files are said at once.
pub(super) const FILES: usize = 8;
/// Of a partition's chunks so much is said.
const CHUNK_BYTES: u64 = 512 << 10;
/// Header and footer are at most so long.
const EDGE_BYTES: u64 = 512;

/// What the opening of some files reads.
pub(super) fn of_opening(disk: &dyn Disk, metas: &[&SstableMeta]) {
    let mut ranges = Vec::with_capacity(2 * metas.len());
    for meta in metas {
        let path = manifest::sstable_path(meta.id);
        let end = meta.file_bytes.saturating_sub(EDGE_BYTES);
        ranges.push(FileRange { path: path.clone(), offset: 0, len: EDGE_BYTES });
        ranges.push(FileRange { path, offset: end, len: EDGE_BYTES });
    }
    disk.fetch(&ranges);
}

/// What a question about a tenant, and a metric if it names one, reads of some files: first where their
/// directories are, then what those say.
pub(super) fn of_scan(
    disk: &dyn Disk,
    tables: &[&Arc<Table>],
    (tenant, metric): (&TenantId, Option<&Text>),
    query: &Query,
) {
    let asked = || {
        let sources = tables.iter().filter_map(|table| table.source());
        sources.filter(|source| {
            let sstable = source.sstable;
            sstable.tenants.binary_search(tenant).is_ok()
                && metric.is_none_or(|metric| sstable.may_hold(tenant, metric))
        })
    };
    let mut ranges = Vec::new();
    for source in asked().filter(|source| !source.cache.holds((source.id, Part::Directory))) {
        let at = source.sstable.directory_at();
        let path = source.sstable.path.clone();
        ranges.push(FileRange { path, offset: at.offset, len: at.len });
    }
    say(disk, &mut ranges);
    for source in asked() {
        // What is wrong is said when it is needed.
        let Ok(directory) = source.directory() else { continue };
        if let Some((index, part)) = directory.tenant(tenant) {
            of_part(&source, (index, part), metric, query, &mut ranges);
        }
    }
    say(disk, &mut ranges);
}

fn of_part(
    source: &Source<'_>,
    (index, part): (usize, &TenantPart),
    metric: Option<&Text>,
    query: &Query,
    ranges: &mut Vec<FileRange>,
) {
    let path = || source.sstable.path.clone();
    if !source.cache.holds((source.id, Part::Symbols(index))) {
        let at = part.symbols;
        ranges.push(FileRange { path: path(), offset: at.offset, len: at.len });
    }
    let Some(metric) = metric else { return };
    for entry in part.partitions.get(part.metric(metric)).unwrap_or_default() {
        let at = entry.block;
        let is_near = source.cache.holds((source.id, Part::Partition(at.offset)));
        if !is_near && query.overlaps(entry.min_ms, entry.max_ms) {
            // Its chunks lie behind it.
            let len = at.len.saturating_add(CHUNK_BYTES);
            ranges.push(FileRange { path: path(), offset: at.offset, len });
        }
    }
}

fn say(disk: &dyn Disk, ranges: &mut Vec<FileRange>) {
    if !ranges.is_empty() {
        disk.fetch(&std::mem::take(ranges));
    }
}
