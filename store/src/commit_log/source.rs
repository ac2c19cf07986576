//! Finds records in a segment's file, whose bytes may be anything.

use super::frame::{RECORD_HEADER_BYTES, RECORD_MAGIC, RecordHeader};
use crate::disk::{Disk, DiskReader};
use crate::error::Result;
use std::sync::Arc;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes looked at before it is said that there are only zeros.
const ROOM_PIECE_BYTES: usize = 4 << 10;

/// A segment read through a window that moves forward.
pub(super) struct Source {
    reader: Arc<dyn DiskReader>,
    pub(super) file_bytes: u64,
    window: Vec<u8>,
    window_offset: u64,
    /// Where the payload of the last record found lies in the window.
    payload: std::ops::Range<usize>,
}

impl Source {
    pub(super) fn open(disk: &dyn Disk, path: &str) -> Result<Self> {
        let reader = disk.open(path)?;
        let file_bytes = reader.file_bytes();
        Ok(Self { reader, file_bytes, window: Vec::new(), window_offset: 0, payload: 0..0 })
    }

    /// The bytes from `offset` on: `len` of them, or `None` if the file ends before.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>> {
        let left = self.file_bytes.saturating_sub(offset);
        if left < len as u64 {
            return Ok(None);
        }
        let end = offset + len as u64;
        let window_end = self.window_offset + self.window.len() as u64;
        if offset < self.window_offset || end > window_end {
            // Bounded by what the file has, and by the longest record or one chunk.
            let wanted = len.max(CHUNK_BYTES);
            let bytes = usize::try_from(left).map_or(wanted, |left| left.min(wanted));
            self.window.resize(bytes, 0);
            self.window_offset = offset;
            self.reader.read_at(offset, &mut self.window)?;
        }
        let from = usize::try_from(offset - self.window_offset).unwrap_or(usize::MAX);
        Ok(self.window.get(from..from.saturating_add(len)))
    }

    /// The record at `offset` and the offset behind it, if it is whole, of `start` if that is
    /// known, and not over the limit.
    pub(super) fn record_at(
        &mut self,
        offset: u64,
        start: Option<u64>,
        bytes_max: u64,
    ) -> Result<Option<(RecordHeader, u64)>> {
        let Some(header) = self.bytes(offset, RECORD_HEADER_BYTES)?.and_then(RecordHeader::decode)
        else {
            return Ok(None);
        };
        let payload_bytes = u64::from(header.payload_bytes);
        if payload_bytes > bytes_max || start.is_some_and(|start| start != header.start) {
            return Ok(None);
        }
        let whole = RECORD_HEADER_BYTES.saturating_add(header.payload_bytes as usize);
        let Some(record) = self.bytes(offset, whole)? else {
            return Ok(None);
        };
        if crc32c::crc32c(&record[RECORD_HEADER_BYTES..]) != header.payload_checksum {
            return Ok(None);
        }
        let from = usize::try_from(offset - self.window_offset).unwrap_or(usize::MAX);
        self.payload = from.saturating_add(RECORD_HEADER_BYTES)..from.saturating_add(whole);
        Ok(Some((header, offset + whole as u64)))
    }

    /// Whether there is nothing but zeros from `offset` to the end: room for what was never written.
    pub(super) fn is_room(&mut self, mut offset: u64) -> Result<bool> {
        while offset < self.file_bytes {
            let left = usize::try_from(self.file_bytes - offset).unwrap_or(usize::MAX);
            let len = left.min(ROOM_PIECE_BYTES);
            let piece = self.bytes(offset, len)?;
            if piece.is_none_or(|piece| piece.iter().any(|byte| *byte != 0)) {
                return Ok(false);
            }
            offset += len as u64;
        }
        Ok(true)
    }

    /// The payload of the record found last.
    pub(super) fn payload(&self) -> &[u8] {
        self.window.get(self.payload.clone()).unwrap_or_default()
    }

    /// Where the next record may begin, from `offset` on; the file's end if nowhere.
    pub(super) fn next_magic(&mut self, mut offset: u64) -> Result<u64> {
        loop {
            let left = self.file_bytes.saturating_sub(offset);
            let len = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            let file_bytes = self.file_bytes;
            let Some(chunk) = self.bytes(offset, len)?.filter(|_| len >= RECORD_MAGIC.len()) else {
                return Ok(file_bytes);
            };
            let found = chunk.windows(RECORD_MAGIC.len()).position(|four| four == RECORD_MAGIC);
            match found {
                Some(index) => return Ok(offset + index as u64),
                // The last three bytes may begin a magic that the next chunk ends.
                None => offset += (len - (RECORD_MAGIC.len() - 1)) as u64,
            }
        }
    }
}
