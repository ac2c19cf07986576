//! Tombstones: which samples of a block were deleted.

use super::file::Source;
use super::rows::{Mark, Rows};
use crate::Result;
use crate::bytes::{Bad, Input};
use std::collections::HashMap;
use std::path::Path;

const MAGIC: u32 = 0x0130_BA30;

/// For each series the spans of time, both ends included, that were deleted.
#[derive(Clone, Debug, Default)]
pub(super) struct Tombstones {
    spans: HashMap<u64, Vec<(i64, i64)>>,
}

impl Tombstones {
    pub(super) fn add(&mut self, series: u64, span: (i64, i64)) {
        self.spans.entry(series).or_default().push(span);
    }

    /// Removes what was deleted of what came since.
    pub(super) fn apply(&self, series: u64, rows: &mut Rows, since: Mark) {
        let Some(spans) = self.spans.get(&series) else { return };
        let is_deleted = |at: i64| spans.iter().any(|(first, last)| *first <= at && at <= *last);
        rows.retain_since(since, |at| !is_deleted(at));
    }

    /// Reads the file of a block; a block without one has none.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if !path.is_file() {
            return Ok(Self::default());
        }
        let source = Source::open(path)?;
        let mut bytes = Vec::new();
        source.read(0, source.bytes, &mut bytes)?;
        Self::decode(&bytes).map_err(|bad| source.damaged(0, bad))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Bad> {
        let body = bytes.len().checked_sub(4).ok_or(Bad("not a tombstones file"))?;
        let (body, sum) = bytes.split_at(body);
        let mut input = Input::new(body);
        if input.u32()? != MAGIC || input.u8()? != 1 {
            return Err(Bad("not a tombstones file of version 1"));
        }
        // The sum covers the stones; older releases summed the header too.
        let stones = input.clone();
        let stones = stones.clone().take(stones.len())?;
        let sum = Input::new(sum).u32()?;
        if sum != crc32c::crc32c(stones) && sum != crc32c::crc32c(body) {
            return Err(Bad("checksum mismatch"));
        }
        let mut found = Self::default();
        while !input.is_empty() {
            let series = input.uvarint()?;
            found.add(series, (input.varint()?, input.varint()?));
        }
        Ok(found)
    }
}
