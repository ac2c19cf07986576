//! An sstable, for people.

use super::{Lines, revision, since};
use crate::cache::Cache;
use crate::chunk::{Chunk, HISTOGRAM};
use crate::compaction::input::{self, Input, Series, TenantInput};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::sstable::directory::PartitionEntry;
use crate::sstable::walk::Walk;
use model::{LabelSet, Text};
use std::collections::BTreeMap;
use std::fmt;

/// What is kept of the file while it is dumped.
const CACHE_BYTES: usize = 16 << 20;

pub(super) fn inspect(disk: &dyn Disk, path: &str, lines: &mut Lines<'_>) -> Result<()> {
    let reader = disk.open(path)?;
    let mut walk = Walk::new();
    let mut blocks: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut count = |seen: crate::sstable::walk::Seen| {
        let kind = seen.kind.map_or("block of an unknown kind", |kind| kind.as_str());
        let (count, bytes) = blocks.entry(kind).or_default();
        *count += 1;
        *bytes += seen.bytes;
    };
    while walk.step(&*reader, path, u64::MAX, &mut count) > 0 {}
    let (hash, faults) = walk.finish();
    lines(format!("sstable {path} bytes {} xxh3 {hash:016x}", reader.file_bytes()));
    for (kind, (count, bytes)) in blocks {
        lines(format!("{kind}s {count} bytes {bytes}"));
    }
    for fault in faults {
        lines(fault.to_string());
    }
    let input = Input::open(disk, 0, path)?;
    let directory = &input.directory;
    let (class, window) = (directory.retention_class, directory.window);
    lines(format!("class {class} window {}+{}d", window.first_day, window.days));
    for part in &directory.tenants {
        let series: u64 = part.partitions.iter().map(|entry| entry.series).sum();
        let samples: u64 = part.partitions.iter().map(|entry| entry.samples).sum();
        let first = part.partitions.iter().map(|entry| entry.min_ms).min().unwrap_or(0);
        let last = part.partitions.iter().map(|entry| entry.max_ms).max().unwrap_or(0);
        let (tenant, partitions) = (&part.tenant, part.partitions.len());
        let line = format!(
            "tenant {tenant} partitions {partitions} series {series} samples {samples} from {first} \
             to {last}"
        );
        if !lines(line) {
            break;
        }
    }
    Ok(())
}

pub(super) fn dump(disk: &dyn Disk, path: &str, lines: &mut Lines<'_>) -> Result<()> {
    let inputs = [Input::open(disk, 0, path)?];
    let cache = Cache::new(CACHE_BYTES);
    for part in &inputs[0].directory.tenants {
        let (tenants, texts) = match input::tenant(&inputs, &cache, &part.tenant) {
            Ok(found) => found,
            Err(error) => {
                if goes_on(error, lines)? {
                    continue;
                }
                return Ok(());
            }
        };
        for tenant in &tenants {
            for entry in tenant.partitions() {
                let name = (part.tenant.as_str(), entry);
                let line = format!(
                    "partition {} {} day {} depth {} shard {}: series {} samples {}",
                    name.0,
                    entry.metric,
                    entry.day.0,
                    entry.depth,
                    entry.shard,
                    entry.series,
                    entry.samples
                );
                if !lines(line) {
                    return Ok(());
                }
                let dumped = partition(tenant, entry, &texts, lines);
                let is_on = match dumped {
                    Ok(is_on) => is_on,
                    Err(error) => goes_on(error, lines)?,
                };
                if !is_on {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// What is damaged is said, and the rest comes all the same.
fn goes_on(error: Error, lines: &mut Lines<'_>) -> Result<bool> {
    match error {
        Error::Corrupt { .. } => Ok(lines(error.to_string())),
        error => Err(error),
    }
}

fn partition(
    tenant: &TenantInput<'_>,
    entry: &PartitionEntry,
    texts: &[Text],
    lines: &mut Lines<'_>,
) -> Result<bool> {
    let (all, _) = tenant.series(entry)?;
    for Series { pairs, chunks } in all {
        let text = |number: u32| texts.get(number as usize).cloned().unwrap_or_default();
        let pairs = pairs.iter().map(|(name, value)| (text(*name), text(*value)));
        let labels = tenant.checked(entry, || {
            LabelSet::from_pairs(pairs).map_err(|_| crate::bytes::Damaged("not a label set"))
        })?;
        for chunk in chunks {
            if !tenant.checked(entry, || samples(&labels, &chunk, lines))? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn samples(
    labels: &LabelSet,
    chunk: &Chunk,
    lines: &mut Lines<'_>,
) -> Result<bool, crate::bytes::Damaged> {
    let revision = revision(chunk.head.revision);
    let mut is_on = true;
    let mut line = |at: i64, value: &dyn fmt::Display, start: i64| {
        is_on = lines(format!("{labels} {at} {value}{}{revision}", since(start)));
        is_on
    };
    match chunk.head.encoding {
        HISTOGRAM => chunk.head.decode_histograms(&chunk.bytes, |at, start, histogram| {
            line(at, &format_args!("{histogram:?}"), start)
        })?,
        _ => chunk.head.decode(&chunk.bytes, |at, value, start| line(at, &value, start))?,
    }
    Ok(is_on)
}
