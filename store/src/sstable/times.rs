//! Reading a tenant's columns of times, and the dense chunks that use them.
//!
//! Not here: caches of blocks; which chunks are wanted.

use super::block::{BLOCK_HEADER_BYTES, BlockRef};
use super::directory::TimesBlock;
use crate::bytes::{Damaged, Input};
use crate::chunk::dense::{Ask, Decoder};
use crate::chunk::fast;
use crate::chunk::times::Times;
use crate::chunk::{Chunk, ChunkHead, DIFFERENCE};
use crate::error::Result;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// What one read has decoded of columns is forgotten at this size.
const DECODED_BYTES_MAX: usize = 16 << 20;

/// Loads a block of times, header included.
pub(crate) type Load<'a> = dyn Fn(BlockRef) -> Result<Arc<Vec<u8>>> + 'a;

/// Decodes dense chunks of one tenant's part of a file.
pub(crate) struct DenseReader<'a> {
    load: &'a Load<'a>,
    path: &'a str,
    blocks: &'a [TimesBlock],
    columns: HashMap<u32, Arc<Times>, FixedState>,
    columns_bytes: usize,
    decoder: Decoder,
}

impl std::fmt::Debug for DenseReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DenseReader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<'a> DenseReader<'a> {
    /// For the tenant with these blocks of times in the file at `path`.
    pub(crate) fn new(path: &'a str, blocks: &'a [TimesBlock], load: &'a Load<'a>) -> Self {
        let (columns, columns_bytes) = (HashMap::default(), 0);
        Self { load, path, blocks, columns, columns_bytes, decoder: Decoder::default() }
    }

    /// The times of a dense chunk.
    pub(crate) fn times(&mut self, head: &ChunkHead) -> Result<Arc<Times>> {
        let times = match self.columns.get(&head.column) {
            Some(times) => Arc::clone(times),
            None => self.load_column(head.column)?,
        };
        let ends = times.ends();
        if times.len() != head.count as usize || ends != Some((head.first_ms, head.last_ms)) {
            return Err(Damaged("a chunk is unlike its times").at(self.path, 0));
        }
        Ok(times)
    }

    fn load_column(&mut self, number: u32) -> Result<Arc<Times>> {
        let mut first = 0_u32;
        for TimesBlock { block, columns } in self.blocks {
            let index = number.checked_sub(first).filter(|index| index < columns);
            first = first.saturating_add(*columns);
            let Some(index) = index else { continue };
            let bytes = (self.load)(*block)?;
            let payload = bytes.get(BLOCK_HEADER_BYTES..).unwrap_or(&[]);
            let times = column(payload, index, self.decoder.buffers());
            let times = Arc::new(times.map_err(|damaged| damaged.at(self.path, block.offset))?);
            if self.columns_bytes > DECODED_BYTES_MAX {
                self.columns.clear();
                self.columns_bytes = 0;
            }
            self.columns_bytes += times.memory_bytes();
            self.columns.insert(number, Arc::clone(&times));
            return Ok(times);
        }
        Err(Damaged("a column of times is missing").at(self.path, 0))
    }

    /// Decodes the samples of a dense chunk at `places`, which its times gave. A difference needs
    /// the chunk before it in the partition to be the one that was decoded before, at the same
    /// places.
    pub(crate) fn decode(
        &mut self,
        head: &ChunkHead,
        bytes: &[u8],
        places: Range<usize>,
        values: &mut Vec<f64>,
        starts: &mut Vec<i64>,
    ) -> Result<(), Damaged> {
        let is_difference = head.encoding == DIFFERENCE;
        let ask = Ask { count: head.count as usize, places, is_difference };
        self.decoder.decode(bytes, &ask, values, starts)
    }

    /// A chunk in the fast encoding; all chunks of a partition come one after the other.
    pub(crate) fn thaw(&mut self, head: &ChunkHead, bytes: &[u8]) -> Result<Chunk> {
        if !head.is_dense() {
            self.decoder.forget();
            return Ok(Chunk { head: *head, bytes: bytes.into() });
        }
        let times = self.times(head)?;
        let (mut at, mut values, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let all = 0..times.len();
        let decoded = self.decode(head, bytes, all.clone(), &mut values, &mut starts);
        decoded.map_err(|damaged| damaged.at(self.path, 0))?;
        times.extend(all, &mut at);
        starts.resize(at.len(), 0);
        let mut encoder = fast::Encoder::default();
        for ((at, value), start) in at.iter().zip(&values).zip(&starts) {
            encoder.push(*at, *value, *start);
        }
        let chunk = encoder.seal(head.revision);
        chunk.ok_or_else(|| Damaged("a chunk holds no sample").at(self.path, 0))
    }
}

/// The column at an index of a block's payload.
fn column(
    payload: &[u8],
    index: u32,
    buffers: &mut crate::chunk::pages::Buffers,
) -> Result<Times, Damaged> {
    let mut input = Input::new(payload);
    for _ in 0..index {
        input.uvarint()?;
        let len = input.count(1)?;
        input.take(len)?;
    }
    let count = usize::try_from(input.uvarint()?).unwrap_or(usize::MAX);
    let len = input.count(1)?;
    Times::read(input.take(len)?, count, buffers)
}
