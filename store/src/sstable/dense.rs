//! Sealing a partition: the chunks of each series become one dense chunk, its times a column that
//! the tenant's other series share.
//!
//! # Invariants
//! - No sample is lost or changed: of those of one moment the join of D4 keeps one, as a reader
//!   would.
//! - A chain of differences is at most [`CHAIN_MAX`] chunks long, all with the same times.
//!
//! Not here: the forms of values and times (`crate::chunk`); reading (`times.rs`).

use super::writer::Row;
use crate::bytes::{Damaged, put_uvarint};
use crate::chunk::dense::{self, Decimals};
use crate::chunk::{Chunk, ChunkHead, DENSE, DIFFERENCE, FAST, packed, times};
use crate::merge;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use model::{Sample, Text};
use xxhash_rust::xxh3::xxh3_128;

/// The most chunks that a reader must decode for one.
pub(crate) const CHAIN_MAX: u32 = 16;
/// The most columns that are remembered for being shared: 24 MB of hashes.
const REMEMBERED_MAX: usize = 1 << 20;

/// Seals partitions of one tenant.
#[derive(Debug, Default)]
pub(crate) struct DenseWriter {
    /// The symbol of `le`, and the bound that each symbol reads as.
    le: Option<u32>,
    texts: Vec<Text>,
    columns: ColumnsWriter,
}

/// The samples of one chunk to be, as columns.
#[derive(Debug, Default)]
struct Samples {
    times: Vec<i64>,
    values: Vec<f64>,
    starts: Vec<i64>,
    revision: u32,
}

/// The chunk that the next one may be a difference to.
struct Neighbour {
    others: Vec<(u32, u32)>,
    head: ChunkHead,
    decimals: Decimals,
    chain: u32,
}

impl DenseWriter {
    /// For a tenant with these label strings, ascending.
    pub(crate) fn new(texts: &[Text]) -> Self {
        let le = texts.binary_search_by(|text| (**text).cmp("le")).ok();
        let le = le.and_then(|le| u32::try_from(le).ok());
        let texts = if le.is_some() { texts.to_vec() } else { Vec::new() };
        Self { le, texts, columns: ColumnsWriter::default() }
    }

    /// Replaces the chunks of a partition's rows by dense ones. Buckets of a histogram are put in
    /// the order of their bounds; targets stay in order.
    pub(crate) fn encode(&mut self, rows: &mut [Row]) -> Result<(), Damaged> {
        self.sort_buckets(rows);
        let mut neighbour = None;
        for row in rows {
            let (others, mut kept) = (self.without_le(&row.pairs), Vec::new());
            let (floats, rest) =
                row.chunks.drain(..).partition(|chunk| chunk.head.encoding == FAST);
            for samples in samples_of(floats)? {
                kept.push(self.chunk(&samples, others.as_deref(), &mut neighbour));
            }
            let rest: Vec<Chunk> = rest;
            if !rest.is_empty() {
                // The next chunk's neighbour in the table is one of these.
                neighbour = None;
            }
            kept.extend(rest.into_iter().map(packed::pack));
            row.chunks = kept;
        }
        Ok(())
    }

    fn chunk(
        &mut self,
        samples: &Samples,
        others: Option<&[(u32, u32)]>,
        neighbour: &mut Option<Neighbour>,
    ) -> Chunk {
        let Samples { times, values, starts, revision } = samples;
        let mut head = ChunkHead {
            encoding: DENSE,
            revision: *revision,
            count: u32::try_from(times.len()).unwrap_or(u32::MAX),
            first_ms: times.first().copied().unwrap_or(0),
            last_ms: times.last().copied().unwrap_or(0),
            column: self.columns.number(times),
        };
        let before = neighbour.take().filter(|before| {
            others == Some(&before.others)
                && before.head.has_times_of(&head)
                && before.head.revision == head.revision
                && before.chain < CHAIN_MAX
        });
        let coded = dense::encode(values, starts, before.as_ref().map(|before| &before.decimals));
        let chain = match (coded.is_difference, &before) {
            (true, Some(before)) => before.chain + 1,
            _ => 1,
        };
        if coded.is_difference {
            head.encoding = DIFFERENCE;
        }
        *neighbour = match (others, coded.decimals) {
            (Some(others), Some(decimals)) => {
                Some(Neighbour { others: others.to_vec(), head, decimals, chain })
            }
            _ => None,
        };
        Chunk { head, bytes: coded.bytes.into() }
    }

    /// A series' labels without `le`; `None` if it has none.
    fn without_le(&self, pairs: &[(u32, u32)]) -> Option<Vec<(u32, u32)>> {
        let le = self.le?;
        let others: Vec<_> = pairs.iter().copied().filter(|(name, _)| *name != le).collect();
        (others.len() < pairs.len()).then_some(others)
    }

    fn sort_buckets(&self, rows: &mut [Row]) {
        let Some(le) = self.le else { return };
        if !rows.iter().any(|row| row.pairs.iter().any(|(name, _)| *name == le)) {
            return;
        }
        rows.sort_by_cached_key(|row| {
            let value = row.pairs.iter().find(|(name, _)| *name == le).map(|(_, value)| *value);
            let text = value.and_then(|value| self.texts.get(value as usize));
            let bound = text.and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
            (row.target, self.without_le(&row.pairs), Bound(bound))
        });
    }

    /// Columns of times that no block has yet, if they have this many bytes; and how many.
    pub(crate) fn take_times(&mut self, bytes_min: usize) -> Option<(Vec<u8>, u32)> {
        self.columns.take(bytes_min)
    }
}

/// A bucket's bound, in the order of numbers.
#[derive(Debug)]
struct Bound(f64);

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The samples of a series' fast chunks, joined: in pieces of one revision that ascend in time.
fn samples_of(chunks: Vec<Chunk>) -> Result<Vec<Samples>, Damaged> {
    let len = chunks.iter().map(|chunk| chunk.head.count as usize).sum();
    let is_plain = chunks.windows(2).all(|two| {
        two[0].head.revision == two[1].head.revision && two[0].head.last_ms < two[1].head.first_ms
    });
    if is_plain {
        let mut samples = Samples::with_capacity(len);
        for chunk in &chunks {
            samples.revision = chunk.head.revision;
            chunk.head.decode(&chunk.bytes, |at, value, start| {
                samples.push(at, value, start);
                true
            })?;
        }
        if samples.times.is_sorted_by(|a, b| a < b) {
            return Ok(samples.pieces());
        }
    }
    let mut joined: Vec<Sample> = Vec::with_capacity(len);
    for chunk in &chunks {
        let revision = chunk.head.revision;
        chunk.head.decode(&chunk.bytes, |timestamp_ms, value, start_timestamp_ms| {
            joined.push(Sample { timestamp_ms, value, start_timestamp_ms, revision });
            true
        })?;
    }
    merge::join(&mut joined);
    joined.sort_by_key(|sample| (sample.revision, sample.timestamp_ms));
    let mut pieces = Vec::new();
    for alike in joined.chunk_by(|a, b| a.revision == b.revision) {
        let mut samples = Samples::with_capacity(alike.len());
        samples.revision = alike[0].revision;
        for sample in alike {
            samples.push(sample.timestamp_ms, sample.value, sample.start_timestamp_ms);
        }
        pieces.extend(samples.pieces());
    }
    Ok(pieces)
}

impl Samples {
    fn with_capacity(len: usize) -> Self {
        // Heads were checked when their chunks were read, but not against their bytes.
        let len = len.min(dense::SAMPLES_MAX);
        Self {
            times: Vec::with_capacity(len),
            values: Vec::with_capacity(len),
            starts: Vec::with_capacity(len),
            revision: 0,
        }
    }

    fn push(&mut self, at: i64, value: f64, start: i64) {
        self.times.push(at);
        self.values.push(value);
        self.starts.push(start);
    }

    /// Pieces that fit a chunk.
    fn pieces(self) -> Vec<Self> {
        if self.times.is_empty() {
            return Vec::new();
        }
        if self.times.len() <= dense::SAMPLES_MAX {
            return vec![self];
        }
        let times = self.times.chunks(dense::SAMPLES_MAX);
        let others =
            self.values.chunks(dense::SAMPLES_MAX).zip(self.starts.chunks(dense::SAMPLES_MAX));
        let piece = |(times, (values, starts)): (&[i64], (&[f64], &[i64]))| Self {
            times: times.to_vec(),
            values: values.to_vec(),
            starts: starts.to_vec(),
            revision: self.revision,
        };
        times.zip(others).map(piece).collect()
    }
}

/// Numbers the distinct columns of times of a tenant, and gathers them for blocks.
#[derive(Debug, Default)]
struct ColumnsWriter {
    /// By length and a hash of 128 bits.
    numbers: HashMap<(usize, u128), u32, FixedState>,
    next: u32,
    last: Option<(Vec<i64>, u32)>,
    /// Columns that no block has yet: length in bytes, count, column.
    pending: Vec<u8>,
    pending_columns: u32,
}

impl ColumnsWriter {
    fn number(&mut self, times: &[i64]) -> u32 {
        if let Some((last, number)) = &self.last
            && *last == times
        {
            return *number;
        }
        let bytes: Vec<u8> = times.iter().flat_map(|time| time.to_le_bytes()).collect();
        let key = (times.len(), xxh3_128(&bytes));
        let number = match self.numbers.get(&key) {
            Some(number) => *number,
            None => {
                let number = self.next;
                self.next += 1;
                if self.numbers.len() < REMEMBERED_MAX {
                    self.numbers.insert(key, number);
                }
                self.put(times);
                number
            }
        };
        self.last = Some((times.to_vec(), number));
        number
    }

    fn put(&mut self, times: &[i64]) {
        let mut column = Vec::new();
        times::put(times, dense::LEVEL, &mut column);
        put_uvarint(&mut self.pending, times.len() as u64);
        put_uvarint(&mut self.pending, column.len() as u64);
        self.pending.extend_from_slice(&column);
        self.pending_columns += 1;
    }

    fn take(&mut self, bytes_min: usize) -> Option<(Vec<u8>, u32)> {
        (self.pending.len() >= bytes_min)
            .then(|| (std::mem::take(&mut self.pending), std::mem::take(&mut self.pending_columns)))
    }
}
