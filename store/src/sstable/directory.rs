//! The directory of an sstable: its tenants, and for each the symbols and the partitions.

use super::block::BlockRef;
use super::window::Window;
use crate::bytes::{Damaged, Input, put_ivarint, put_text, put_uvarint};
use model::{DayBucket, TenantId, Text, Token};
use std::ops::Range;

/// What an sstable holds, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) retention_class: u32,
    pub(crate) window: Window,
    /// Ascending by name.
    pub(crate) tenants: Vec<TenantPart>,
}

/// What a tenant has in an sstable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TenantPart {
    pub(crate) tenant: TenantId,
    pub(crate) symbols: BlockRef,
    /// The blocks of its columns of times, by number.
    pub(crate) times: Vec<TimesBlock>,
    /// Ascending by (metric, day, depth, shard).
    pub(crate) partitions: Vec<PartitionEntry>,
}

/// A block of columns of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimesBlock {
    pub(crate) block: BlockRef,
    /// How many columns are in it.
    pub(crate) columns: u32,
}

/// A partition, and where it is: its own block, and behind it the blocks of its chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionEntry {
    pub(crate) metric: Text,
    pub(crate) day: DayBucket,
    pub(crate) depth: u8,
    pub(crate) shard: u16,
    pub(crate) token: Token,
    pub(crate) block: BlockRef,
    pub(crate) series: u64,
    pub(crate) samples: u64,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
}

impl Directory {
    /// Its payload.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_uvarint(&mut out, u64::from(self.retention_class));
        put_ivarint(&mut out, i64::from(self.window.first_day));
        put_uvarint(&mut out, u64::from(self.window.days));
        put_uvarint(&mut out, self.tenants.len() as u64);
        for part in &self.tenants {
            put_text(&mut out, part.tenant.as_str());
            put_ref(&mut out, part.symbols);
            put_uvarint(&mut out, part.times.len() as u64);
            for times in &part.times {
                put_ref(&mut out, times.block);
                put_uvarint(&mut out, u64::from(times.columns));
            }
            put_uvarint(&mut out, part.partitions.len() as u64);
            part.partitions.iter().for_each(|partition| partition.put(&mut out));
        }
        out
    }

    /// Reads a payload.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Damaged> {
        let mut input = Input::new(payload);
        let retention_class = input.uvarint32()?;
        let first_day = day(input.ivarint()?)?.0;
        let window = Window { first_day, days: input.uvarint32()? };
        let tenants = (0..input.count(5)?).map(|_| TenantPart::read(&mut input));
        let tenants = tenants.collect::<Result<Vec<_>, Damaged>>()?;
        let ascends = tenants.is_sorted_by(|a, b| a.tenant < b.tenant)
            && tenants.iter().all(|part| part.partitions.is_sorted_by(|a, b| a.key() < b.key()));
        match ascends && input.is_empty() {
            true => Ok(Self { retention_class, window, tenants }),
            false => Err(Damaged("a directory is not in order")),
        }
    }

    /// What a tenant has here.
    pub(crate) fn tenant(&self, id: &TenantId) -> Option<(usize, &TenantPart)> {
        let index = self.tenants.binary_search_by(|part| part.tenant.cmp(id)).ok()?;
        self.tenants.get(index).map(|part| (index, part))
    }

    /// About how many bytes it takes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.tenants
            .iter()
            .map(|part| 100 + part.times.len() * 24 + part.partitions.len() * 160)
            .sum()
    }
}

fn day(number: i64) -> Result<DayBucket, Damaged> {
    i32::try_from(number).map(DayBucket).map_err(|_| Damaged("a day is out of range"))
}

fn put_ref(out: &mut Vec<u8>, at: BlockRef) {
    put_uvarint(out, at.offset);
    put_uvarint(out, at.len);
}

fn read_ref(input: &mut Input<'_>) -> Result<BlockRef, Damaged> {
    Ok(BlockRef { offset: input.uvarint()?, len: input.uvarint()? })
}

impl TenantPart {
    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let tenant = TenantId::parse(input.text()?);
        let tenant = tenant.map_err(|_| Damaged("not a tenant's name"))?;
        let symbols = read_ref(input)?;
        let times = (0..input.count(3)?)
            .map(|_| Ok(TimesBlock { block: read_ref(input)?, columns: input.uvarint32()? }));
        let times = times.collect::<Result<_, _>>()?;
        let partitions = (0..input.count(18)?).map(|_| PartitionEntry::read(input));
        let partitions = partitions.collect::<Result<_, _>>()?;
        Ok(Self { tenant, symbols, times, partitions })
    }

    /// Which partitions are of a metric.
    pub(crate) fn metric(&self, metric: &str) -> Range<usize> {
        let start = self.partitions.partition_point(|entry| *entry.metric < *metric);
        let rest = self.partitions.get(start..).unwrap_or(&[]);
        start..start + rest.partition_point(|entry| *entry.metric == *metric)
    }
}

impl PartitionEntry {
    fn key(&self) -> (&str, DayBucket, u8, u16) {
        (&self.metric, self.day, self.depth, self.shard)
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_text(out, &self.metric);
        put_ivarint(out, i64::from(self.day.0));
        out.push(self.depth);
        put_uvarint(out, u64::from(self.shard));
        out.extend_from_slice(&self.token.0.to_le_bytes());
        put_ref(out, self.block);
        put_uvarint(out, self.series);
        put_uvarint(out, self.samples);
        put_ivarint(out, self.min_ms);
        put_uvarint(out, self.max_ms.wrapping_sub(self.min_ms).cast_unsigned());
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let metric = input.text()?.into();
        let day = day(input.ivarint()?)?;
        let depth = input.u8()?;
        let shard =
            u16::try_from(input.uvarint()?).map_err(|_| Damaged("a shard is out of range"))?;
        let token = Token(input.u64()?);
        let block = read_ref(input)?;
        let (series, samples, min_ms) = (input.uvarint()?, input.uvarint()?, input.ivarint()?);
        let max_ms = min_ms.wrapping_add(input.uvarint()?.cast_signed());
        Ok(Self { metric, day, depth, shard, token, block, series, samples, min_ms, max_ms })
    }
}
