//! Blocks, the header and the footer: what every byte of an sstable lies in.

use crate::bytes::{Damaged, Input, put_uvarint};
use crate::disk::DiskReader;
use crate::error::{Error, Result};

/// The version that this release writes, and the last one it reads.
pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 16;
pub(crate) const FOOTER_BYTES: usize = 60;
/// Length, checksum and kind, before each payload.
pub(crate) const BLOCK_HEADER_BYTES: usize = 9;

const MAGIC: [u8; 8] = *b"cumaesst";
const END_MAGIC: [u8; 8] = *b"cumaeend";

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockKind {
    Symbols = 1,
    Partition = 2,
    Chunks = 3,
    Directory = 4,
    Filter = 5,
    Times = 6,
}

impl BlockKind {
    /// The kind in a block's header, packed or not.
    pub(crate) fn of_byte(byte: u8) -> Option<Self> {
        let kinds = [
            Self::Symbols,
            Self::Partition,
            Self::Chunks,
            Self::Directory,
            Self::Filter,
            Self::Times,
        ];
        kinds.into_iter().find(|kind| *kind as u8 == byte & !IS_PACKED)
    }

    /// What a fault calls such a block.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Symbols => "symbols block",
            Self::Partition => "partition block",
            Self::Chunks => "chunks block",
            Self::Directory => "directory block",
            Self::Filter => "filter block",
            Self::Times => "times block",
        }
    }
}

/// In the kind's byte: the payload is zstd, behind the varint of its length without it.
const IS_PACKED: u8 = 0x80;
/// A smaller payload is not worth packing.
const PACKED_BYTES_MIN: usize = 400;
/// No payload that is larger is packed, so that none is unpacked.
const UNPACKED_BYTES_MAX: usize = 64 << 20;
const ZSTD_LEVEL: i32 = 3;

/// Where a block lies, its header included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockRef {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// What the end of a file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) directory: BlockRef,
    /// Empty if the file has no filter.
    pub(crate) filter: BlockRef,
}

/// A file's first bytes.
pub(crate) fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Appends a block; its payload is packed if that makes it smaller, unless it holds what is packed
/// already. `None` if the payload is 4 GiB or more.
pub(crate) fn put_block(out: &mut Vec<u8>, kind: BlockKind, payload: &[u8]) -> Option<()> {
    let packs = !matches!(kind, BlockKind::Chunks | BlockKind::Filter);
    match packs.then(|| packed(payload)).flatten() {
        Some(packed) => put_bytes(out, kind as u8 | IS_PACKED, &packed),
        None => put_bytes(out, kind as u8, payload),
    }
}

fn put_bytes(out: &mut Vec<u8>, kind: u8, payload: &[u8]) -> Option<()> {
    let len = u32::try_from(payload.len()).ok()?;
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&checksum(len, kind, payload).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(payload);
    Some(())
}

/// The packed form, if it is smaller.
fn packed(payload: &[u8]) -> Option<Vec<u8>> {
    if !(PACKED_BYTES_MIN..=UNPACKED_BYTES_MAX).contains(&payload.len()) {
        return None;
    }
    let mut packed = Vec::new();
    put_uvarint(&mut packed, payload.len() as u64);
    packed.extend(zstd::bulk::compress(payload, ZSTD_LEVEL).ok()?);
    (packed.len() < payload.len()).then_some(packed)
}

/// Replaces a packed payload of a block's bytes by what it stands for.
fn unpacked(bytes: Vec<u8>) -> Result<Vec<u8>, Damaged> {
    let is_packed = bytes.get(BLOCK_HEADER_BYTES - 1).is_some_and(|kind| kind & IS_PACKED != 0);
    let (true, Some((header, payload))) = (is_packed, bytes.split_at_checked(BLOCK_HEADER_BYTES))
    else {
        return Ok(bytes);
    };
    let mut input = Input::new(payload);
    let len = usize::try_from(input.uvarint()?).unwrap_or(usize::MAX);
    if len > UNPACKED_BYTES_MAX {
        return Err(Damaged("a packed block is too large"));
    }
    let frame = input.take(input.len())?;
    // The frame says for itself how long it is, and is not asked for more than that.
    let payload = zstd::bulk::decompress(frame, len).ok().filter(|payload| payload.len() == len);
    let payload = payload.ok_or(Damaged("a packed block cannot be unpacked"))?;
    Ok([header, &payload].concat())
}

/// The checksum covers length and kind, so no block is taken for another.
fn checksum(len: u32, kind: u8, payload: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&len.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, &[kind]), payload)
}

/// The payload of a block, out of its bytes, as it was stored.
fn payload(bytes: &[u8], kind: BlockKind) -> Result<&[u8], Damaged> {
    payload_of(bytes, kind as u8)
}

fn payload_of(bytes: &[u8], kind: u8) -> Result<&[u8], Damaged> {
    let mut input = Input::new(bytes);
    let (len, sum, found) = (input.u32()?, input.u32()?, input.u8()?);
    let payload = input.take(len as usize)?;
    if !input.is_empty() || found & !IS_PACKED != kind || sum != checksum(len, found, payload) {
        return Err(Damaged("checksum mismatch"));
    }
    Ok(payload)
}

/// Reads a block and returns its bytes, header included, checked, and unpacked.
pub(crate) fn read(
    reader: &dyn DiskReader,
    path: &str,
    at: BlockRef,
    kind: BlockKind,
) -> Result<Vec<u8>> {
    let bytes = read_range(reader, path, at)?;
    let damaged = |damaged: Damaged| {
        Error::corrupt(path, at.offset, format!("{}: {}", damaged.0, kind.as_str()))
    };
    payload(&bytes, kind).map_err(damaged)?;
    unpacked(bytes).map_err(damaged)
}

/// Reads a range that must lie in the file.
pub(crate) fn read_range(reader: &dyn DiskReader, path: &str, at: BlockRef) -> Result<Vec<u8>> {
    let beyond = || Error::corrupt(path, at.offset, "a block lies beyond the end");
    let inside = at.offset.checked_add(at.len).is_some_and(|end| end <= reader.file_bytes());
    let len = usize::try_from(at.len).ok().filter(|_| inside).ok_or_else(beyond)?;
    let mut bytes = vec![0; len];
    reader.read_at(at.offset, &mut bytes).map_err(|error| unreadable(path, at.offset, &error))?;
    Ok(bytes)
}

/// Bytes that the disk does not give are as good as wrong ones: rot is mostly a sector that cannot
/// be read. The path is the one that the manifest knows, and not that of the operating system. What was
/// not asked for, since nobody answered, is no damage.
pub(crate) fn unreadable(path: &str, offset: u64, error: &Error) -> Error {
    match error {
        Error::Unreachable { .. } => error.clone(),
        _ if error.is_exhausted() => error.clone(),
        _ => Error::corrupt(path, offset, format!("it cannot be read: {error}")),
    }
}

impl Footer {
    /// The last bytes of a file.
    pub(crate) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        bytes[..8].copy_from_slice(&self.directory.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.directory.len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.filter.offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.filter.len.to_le_bytes());
        // 32..44 are kept for later, and 0 today.
        bytes[44..48].copy_from_slice(&VERSION.to_le_bytes());
        bytes[48..56].copy_from_slice(&END_MAGIC);
        let checksum = crc32c::crc32c(&bytes[..56]);
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads header and footer of a file.
    pub(crate) fn read(reader: &dyn DiskReader, path: &str) -> Result<Self> {
        let end = reader.file_bytes();
        let minimum = (HEADER_BYTES + FOOTER_BYTES) as u64;
        if end < minimum {
            return Err(Error::corrupt(path, 0, "the file is shorter than header and footer"));
        }
        let mut first = [0; HEADER_BYTES];
        reader.read_at(0, &mut first).map_err(|error| unreadable(path, 0, &error))?;
        let offset = end - FOOTER_BYTES as u64;
        let mut last = [0; FOOTER_BYTES];
        reader.read_at(offset, &mut last).map_err(|error| unreadable(path, offset, &error))?;
        Self::check(path, &first, 0, (12, &MAGIC, 0), 8)?;
        Self::check(path, &last, offset, (56, &END_MAGIC, 48), 44)?;
        let mut input = Input::new(&last);
        let mut number = || input.u64().map_err(|damaged| damaged.at(path, offset));
        let directory = BlockRef { offset: number()?, len: number()? };
        let filter = BlockRef { offset: number()?, len: number()? };
        Ok(Self { directory, filter })
    }

    /// Checks checksum, magic and version of the header or the footer.
    fn check(
        path: &str,
        bytes: &[u8],
        offset: u64,
        (sum_at, magic, magic_at): (usize, &[u8; 8], usize),
        version_at: usize,
    ) -> Result<()> {
        let number = |at: usize| {
            bytes.get(at..at + 4).map_or(0, |four| {
                four.iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
            })
        };
        let covered = bytes.get(..sum_at).unwrap_or(&[]);
        let has_magic = bytes.get(magic_at..magic_at + 8) == Some(magic);
        if !has_magic || number(sum_at) != crc32c::crc32c(covered) {
            return Err(Error::corrupt(path, offset, "not an sstable's header or footer"));
        }
        match number(version_at) {
            found if found > VERSION => {
                Err(Error::NewerFormat { path: path.to_owned(), found, known: VERSION })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_payload_comes_back_packed_or_not(run in 0_usize..3000, tail: Vec<u8>) {
            let payload = [vec![7; run], tail].concat();
            let mut block = Vec::new();
            put_block(&mut block, BlockKind::Symbols, &payload).unwrap();
            prop_assert!(super::payload(&block, BlockKind::Symbols).is_ok());
            prop_assert_eq!(&unpacked(block).unwrap()[BLOCK_HEADER_BYTES..], &payload[..]);
        }

        #[test]
        fn any_packed_bytes_are_unpacked_or_refused(bytes: Vec<u8>, len in 0_u64..1 << 40) {
            let mut payload = Vec::new();
            put_uvarint(&mut payload, len);
            payload.extend(bytes);
            let mut block = Vec::new();
            put_bytes(&mut block, BlockKind::Times as u8 | IS_PACKED, &payload).unwrap();
            let _ = unpacked(block);
        }
    }

    #[test]
    fn a_payload_of_repetitions_is_packed_and_one_of_chunks_is_not() {
        let size = |kind| {
            let mut block = Vec::new();
            put_block(&mut block, kind, &[7; 5000]).unwrap();
            block.len()
        };
        assert!(size(BlockKind::Partition) < 100);
        assert_eq!(size(BlockKind::Chunks), 5000 + BLOCK_HEADER_BYTES);
    }
}
