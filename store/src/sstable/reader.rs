//! Reading an sstable: its parts, from the cache or else from the file.
//!
//! Not here: which of its series match (`scan.rs`).

use super::block::{self, BLOCK_HEADER_BYTES, BlockKind, BlockRef, Footer};
use super::columns::Partition;
use super::dictionary::{self, Dictionary};
use super::directory::{Directory, PartitionEntry, TenantPart};
use super::filter::{self, Filter};
use super::times;
use crate::bytes::{Damaged, Input};
use crate::cache::{Cache, Part};
use crate::chunk::times::Times;
use crate::disk::{Disk, DiskReader};
use crate::engine::PART_BYTES_MIN;
use crate::error::Result;
use model::{DayBucket, TenantId, Text};
use std::sync::Arc;

/// What is kept of an sstable while it is live.
#[derive(Debug)]
pub(crate) struct Sstable {
    pub(crate) path: String,
    /// Open as long as anybody reads, so that a file can be unlinked meanwhile.
    reader: Arc<dyn DiskReader>,
    footer: Footer,
    filter: Filter,
    pub(crate) tenants: Vec<TenantId>,
    /// Its large partitions: index of the tenant, metric, day, bytes.
    pub(crate) large: Vec<(usize, Text, DayBucket, u64)>,
}

impl Sstable {
    /// Opens a file: its header, footer and filter; the directory is read to see that it is whole.
    pub(crate) fn open(disk: &dyn Disk, path: &str) -> Result<(Self, Directory)> {
        let reader = disk.open(path)?;
        let footer = Footer::read(&*reader, path)?;
        let filter = match footer.filter.len {
            0 => Filter::yes(),
            _ => {
                let bytes = block::read(&*reader, path, footer.filter, BlockKind::Filter)?;
                let payload = &bytes[BLOCK_HEADER_BYTES..];
                Filter::decode(payload).map_err(|damaged| damaged.at(path, footer.filter.offset))?
            }
        };
        let (path, tenants, large) = (path.to_owned(), Vec::new(), Vec::new());
        let mut table = Self { path, reader, footer, filter, tenants, large };
        let directory = table.directory()?;
        table.tenants = directory.tenants.iter().map(|part| part.tenant.clone()).collect();
        table.large = directory.large(footer.directory.offset, PART_BYTES_MIN);
        Ok((table, directory))
    }

    /// Where its directory is.
    pub(crate) fn directory_at(&self) -> BlockRef {
        self.footer.directory
    }

    /// Its bytes, for a scrub.
    pub(crate) fn reader(&self) -> &dyn DiskReader {
        &*self.reader
    }

    /// Whether a metric of a tenant may be here.
    pub(crate) fn may_hold(&self, tenant: &TenantId, metric: &str) -> bool {
        self.filter.may_contain(filter::key(tenant, metric))
    }

    /// Reads the directory.
    fn directory(&self) -> Result<Directory> {
        let at = self.footer.directory;
        let bytes = block::read(&*self.reader, &self.path, at, BlockKind::Directory)?;
        Directory::decode(&bytes[BLOCK_HEADER_BYTES..]).map_err(|d| d.at(&self.path, at.offset))
    }
}

impl Sstable {
    /// Reads the label strings of a tenant, ascending.
    pub(crate) fn symbols(&self, at: BlockRef) -> Result<Vec<Text>> {
        let bytes = block::read(&*self.reader, &self.path, at, BlockKind::Symbols)?;
        decode_symbols(&bytes[BLOCK_HEADER_BYTES..]).map_err(|d| d.at(&self.path, at.offset))
    }
}

/// An sstable during one read.
pub(crate) struct Source<'a> {
    pub(crate) sstable: &'a Sstable,
    /// The file's number, by which the cache knows it.
    pub(crate) id: u64,
    pub(crate) cache: &'a Cache,
}

impl Source<'_> {
    fn block(&self, at: BlockRef, kind: BlockKind) -> Result<Vec<u8>> {
        block::read(&*self.sstable.reader, &self.sstable.path, at, kind)
    }

    /// Damage in the block at an offset.
    pub(crate) fn damaged(&self, offset: u64, damaged: Damaged) -> crate::Error {
        damaged.at(&self.sstable.path, offset)
    }

    pub(crate) fn directory(&self) -> Result<Arc<Directory>> {
        self.cache.get_or_load((self.id, Part::Directory), true, || {
            let directory = self.sstable.directory()?;
            let bytes = directory.memory_bytes();
            Ok((directory, bytes))
        })
    }

    /// The label strings of a tenant, ascending.
    pub(crate) fn symbols(&self, tenant: usize, part: &TenantPart) -> Result<Arc<Vec<Text>>> {
        self.cache.get_or_load((self.id, Part::Symbols(tenant)), true, || {
            let texts = self.sstable.symbols(part.symbols)?;
            let bytes = texts.iter().map(|text| text.len() + 40).sum();
            Ok((texts, bytes))
        })
    }

    /// The index of a partition. `symbols` is how many the tenant has.
    pub(crate) fn partition(
        &self,
        entry: &PartitionEntry,
        symbols: usize,
    ) -> Result<Arc<Partition>> {
        let at = entry.block;
        self.cache.get_or_load((self.id, Part::Partition(at.offset)), true, || {
            let bytes = self.block(at, BlockKind::Partition)?;
            let chunks_at = at.offset.saturating_add(at.len);
            let partition = Partition::decode(&bytes[BLOCK_HEADER_BYTES..], symbols, chunks_at)
                .map_err(|damaged| self.damaged(at.offset, damaged))?;
            let bytes = partition.memory_bytes();
            Ok((partition, bytes))
        })
    }

    /// The labels of a tenant, put together from all its partitions.
    pub(crate) fn dictionary(
        &self,
        tenant: usize,
        part: &TenantPart,
        symbols: usize,
    ) -> Result<Arc<Dictionary>> {
        self.cache.get_or_load((self.id, Part::Dictionary(tenant)), true, || {
            let mut builder = dictionary::Builder::default();
            for entry in &part.partitions {
                builder.push(&*self.partition(entry, symbols)?);
            }
            let dictionary = builder.finish();
            let bytes = dictionary.memory_bytes();
            Ok((dictionary, bytes))
        })
    }

    /// A column of times of a tenant.
    pub(crate) fn times(
        &self,
        tenant: usize,
        part: &TenantPart,
        number: u32,
        keeps: bool,
    ) -> Result<Arc<Times>> {
        self.cache.get_or_load((self.id, Part::Times(tenant, number)), keeps, || {
            let missing = Damaged("a column of times is missing");
            let (at, index) = times::locate(&part.times, number)
                .ok_or_else(|| self.damaged(part.symbols.offset, missing))?;
            let block =
                self.cache.get_or_load((self.id, Part::TimesBlock(at.offset)), keeps, || {
                    let bytes = self.block(at, BlockKind::Times)?;
                    let len = bytes.len();
                    Ok((bytes, len))
                })?;
            let times = times::column(&block, index).map_err(|d| self.damaged(at.offset, d))?;
            let bytes = times.memory_bytes();
            Ok((times, bytes))
        })
    }

    /// A block of chunks, header included.
    pub(crate) fn chunks(&self, at: BlockRef, keeps: bool) -> Result<Arc<Vec<u8>>> {
        self.cache.get_or_load((self.id, Part::Chunks(at.offset)), keeps, || {
            let bytes = self.block(at, BlockKind::Chunks)?;
            let len = bytes.len();
            Ok((bytes, len))
        })
    }
}

fn decode_symbols(payload: &[u8]) -> Result<Vec<Text>, Damaged> {
    let mut input = Input::new(payload);
    let count = input.count(2)?;
    let mut texts: Vec<Text> = Vec::with_capacity(count);
    let mut text: Vec<u8> = Vec::new();
    // A shared start is long in memory and short in the file.
    let mut bytes_left = payload.len().saturating_mul(256);
    for _ in 0..count {
        let shared = input.uvarint32()? as usize;
        if shared > text.len() {
            return Err(Damaged("a symbol shares more than there is"));
        }
        text.truncate(shared);
        let rest = input.count(1)?;
        text.extend_from_slice(input.take(rest)?);
        let too_much = Damaged("symbols are too large");
        bytes_left = bytes_left.checked_sub(text.len()).ok_or(too_much)?;
        let read = std::str::from_utf8(&text).map_err(|_| Damaged("a symbol is not UTF-8"))?;
        if texts.last().is_some_and(|before| **before >= *read) {
            return Err(Damaged("symbols are not in order"));
        }
        texts.push(read.into());
    }
    if input.is_empty() { Ok(texts) } else { Err(Damaged("symbols go on behind their end")) }
}
