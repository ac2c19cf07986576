//! Reading a tenant's columns of times, and the dense chunks that use them.
//!
//! Not here: caches of blocks; which chunks are wanted.

use super::block::{BLOCK_HEADER_BYTES, BlockRef};
use super::directory::TimesBlock;
use crate::bytes::{Damaged, Input};
use crate::chunk::dense::{Ask, Decoder};
use crate::chunk::fast;
use crate::chunk::pages::Buffers;
use crate::chunk::times::Times;
use crate::chunk::{Chunk, ChunkHead, DIFFERENCE};
use crate::error::Result;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use model::Timestamps;
use model::column::Known;
use model::read::Steps;
use std::ops::Range;
use std::sync::Arc;

/// What one read has at hand of columns is forgotten at this size.
const DECODED_BYTES_MAX: usize = 16 << 20;

/// Decodes dense chunks of one tenant's part of a file.
#[derive(Debug, Default)]
pub(crate) struct DenseReader {
    columns: HashMap<u32, Arc<Times>, FixedState>,
    columns_bytes: usize,
    decoder: Decoder,
    extended: Extended,
    thinned: Thinned,
}

/// What the steps of one question see of columns of times: by where a column is in memory, which is
/// kept here, and the places in it.
type Thinned = HashMap<(usize, Range<usize>), (Arc<Times>, Arc<Seen>), FixedState>;

/// What steps see of a column of times.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The places, counted from the first wanted one.
    pub(crate) places: Vec<usize>,
    moments: Vec<i64>,
}

/// What shared moments became with those of a column behind them: by where both are in memory, and
/// the places in the column. What is named here is kept here, so that nothing else can be there.
type Extended =
    HashMap<(usize, usize, Range<usize>), (Timestamps, Arc<Times>, Timestamps), FixedState>;

/// So many of those are remembered.
const EXTENDED_MAX: usize = 1_024;

impl DenseReader {
    /// The times of a dense chunk; `load` brings a column by its number.
    pub(crate) fn times(
        &mut self,
        head: &ChunkHead,
        load: impl FnOnce(u32) -> Result<Arc<Times>>,
    ) -> Result<Arc<Times>> {
        let Some(times) = self.columns.get(&head.column) else {
            let times = load(head.column)?;
            if self.columns_bytes > DECODED_BYTES_MAX {
                self.columns.clear();
                self.columns_bytes = 0;
            }
            self.columns_bytes += times.memory_bytes();
            self.columns.insert(head.column, Arc::clone(&times));
            return Ok(times);
        };
        Ok(Arc::clone(times))
    }

    /// What the steps of a question, always the same, see of the moments at `places` of a column.
    pub(crate) fn seen(
        &mut self,
        times: &Arc<Times>,
        places: &Range<usize>,
        steps: &Steps,
    ) -> Arc<Seen> {
        let key = (Arc::as_ptr(times).addr(), places.clone());
        if let Some((_, seen)) = self.thinned.get(&key) {
            return Arc::clone(seen);
        }
        let (mut moments, mut kept) = (Vec::with_capacity(places.len()), Vec::new());
        times.extend(places.clone(), &mut moments);
        steps.pick(&moments, |place| kept.push(place));
        let moments = kept.iter().map(|place| moments[*place]).collect();
        let seen = Arc::new(Seen { places: kept, moments });
        if self.thinned.len() >= EXTENDED_MAX {
            self.thinned.clear();
        }
        self.thinned.insert(key, (Arc::clone(times), Arc::clone(&seen)));
        seen
    }

    /// Appends the moments at `places` of a column, or what is seen of them. Series that had the same
    /// moments before share those behind, too.
    pub(crate) fn extend_moments(
        &mut self,
        times: &Arc<Times>,
        (places, seen): (Range<usize>, Option<&Seen>),
        moments: &mut Timestamps,
    ) {
        let extend = |places: Range<usize>, moments: &mut Vec<i64>| match seen {
            Some(seen) => moments.extend_from_slice(&seen.moments),
            None => times.extend(places, moments),
        };
        if !moments.is_empty() && !moments.is_shared() {
            extend(places, moments.to_mut());
            return;
        }
        let before = if moments.is_empty() { 0 } else { moments.as_ptr().addr() };
        let key = (before, Arc::as_ptr(times).addr(), places.clone());
        if let Some((_, _, known)) = self.extended.get(&key) {
            *moments = known.clone();
            return;
        }
        let more = seen.map_or(places.len(), |seen| seen.moments.len());
        let mut longer = Vec::with_capacity(moments.len() + more);
        longer.extend_from_slice(moments);
        extend(places, &mut longer);
        if self.extended.len() >= EXTENDED_MAX {
            self.extended.clear();
        }
        let before = std::mem::replace(moments, longer.into());
        self.extended.insert(key, (before, Arc::clone(times), moments.clone()));
    }

    /// Decodes the samples of a dense chunk at `places`, which its times gave; tells what is known of
    /// their values. A difference needs
    /// the chunk before it in the partition to be the one that was decoded before, at the same
    /// places.
    pub(crate) fn decode(
        &mut self,
        head: &ChunkHead,
        bytes: &[u8],
        places: Range<usize>,
        values: &mut Vec<f64>,
        starts: &mut Vec<i64>,
    ) -> Result<Known, Damaged> {
        let is_difference = head.encoding == DIFFERENCE;
        if places.end > head.count as usize {
            return Err(Damaged("a chunk is unlike its times"));
        }
        let ask = Ask { count: head.count as usize, places, is_difference };
        self.decoder.decode(bytes, &ask, values, starts)
    }

    /// A chunk in the fast encoding; all chunks of a partition come one after the other.
    pub(crate) fn thaw(
        &mut self,
        head: &ChunkHead,
        times: &Times,
        bytes: &[u8],
    ) -> Result<Chunk, Damaged> {
        let (mut at, mut values, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let all = 0..check(head, times)?;
        self.decode(head, bytes, all.clone(), &mut values, &mut starts)?;
        times.extend(all, &mut at);
        starts.resize(at.len(), 0);
        let mut encoder = fast::Encoder::default();
        for ((at, value), start) in at.iter().zip(&values).zip(&starts) {
            encoder.push(*at, *value, *start);
        }
        encoder.seal(head.revision).ok_or(Damaged("a chunk holds no sample"))
    }
}

/// Whether these are the times of a chunk, and how many.
pub(crate) fn check(head: &ChunkHead, times: &Times) -> Result<usize, Damaged> {
    let fits =
        times.len() == head.count as usize && times.ends() == Some((head.first_ms, head.last_ms));
    if fits { Ok(times.len()) } else { Err(Damaged("a chunk is unlike its times")) }
}

/// The block that a column is in, and its index there.
pub(crate) fn locate(blocks: &[TimesBlock], number: u32) -> Option<(BlockRef, u32)> {
    let mut first = 0_u32;
    for TimesBlock { block, columns } in blocks {
        let index = number.checked_sub(first)?;
        if index < *columns {
            return Some((*block, index));
        }
        first = first.checked_add(*columns)?;
    }
    None
}

/// The column at an index of a block, whose header is included.
pub(crate) fn column(block: &[u8], index: u32) -> Result<Times, Damaged> {
    let mut input = Input::new(block.get(BLOCK_HEADER_BYTES..).unwrap_or(&[]));
    for _ in 0..index {
        input.uvarint()?;
        let len = input.count(1)?;
        input.take(len)?;
    }
    let count = usize::try_from(input.uvarint()?).unwrap_or(usize::MAX);
    let len = input.count(1)?;
    Times::read(input.take(len)?, count, &mut Buffers::default())
}
