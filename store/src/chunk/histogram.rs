//! Chunks of histograms: the first in full, those behind it by what changed.
//!
//! The state is the last time, the last step, the last start and the last histogram. A sample is
//!
//! | bytes | what |
//! |---|---|
//! | 1 | bit 0: in full; bit 1: the start changes |
//! | zigzag | how much longer the step is than the one before |
//! | zigzag | if bit 1: how much later the start is |
//! | | in full: its canonical bytes (`model::histogram`) |
//! | varint | else: the bits of the sum XOR those before, their bytes swapped |
//! | | then count, zero count, positive, negative buckets: zigzags of the differences of integers, or of floats as of the sum |
//!
//! A sample is in full if it is the first, or if anything but sum and counts is not as before. A new
//! chunk begins with the last time at the chunk's first, step 0, start 0.
//!
//! # Invariants
//! - Decoding what was encoded gives every bit back.
//! - A chunk has at most [`SAMPLES_MAX`] samples, so that a reader of one decodes few others.

use super::{Chunk, ChunkHead, HISTOGRAM};
use crate::bytes::{Damaged, Input, put_ivarint, put_uvarint};
use model::histogram::Counts;
use model::{Histogram, HistogramSample};
use std::sync::Arc;

/// A chunk of histograms is cut at so many samples.
pub(crate) const SAMPLES_MAX: u32 = 120;

const IN_FULL: u8 = 1;
const NEW_START: u8 = 2;

/// A chunk that grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
    first_ms: i64,
    last_ms: i64,
    step_ms: i64,
    start_ms: i64,
    count: u32,
    last: Option<Arc<Histogram>>,
}

impl Encoder {
    /// How many samples there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// What is coded so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The last sample's time.
    pub(crate) fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// The memory it holds.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.last.as_ref().map_or(0, |last| last.bytes())
    }

    /// Whether the last sample is this one but for its time, bit for bit.
    pub(crate) fn ends_with(&self, sample: &HistogramSample) -> bool {
        self.start_ms == sample.start_timestamp_ms
            && self.last.as_ref().is_some_and(|last| *last == sample.histogram)
    }

    /// Adds a sample, which has to be later than the last one.
    pub(crate) fn push(&mut self, sample: &HistogramSample) {
        let (at, start) = (sample.timestamp_ms, sample.start_timestamp_ms);
        if self.count == 0 {
            (self.first_ms, self.last_ms) = (at, at);
        }
        let before = self.last.as_deref().filter(|last| is_alike(last, &sample.histogram));
        let in_full = if before.is_none() { IN_FULL } else { 0 };
        let new_start = if start == self.start_ms { 0 } else { NEW_START };
        self.bytes.push(in_full | new_start);
        let step = at.wrapping_sub(self.last_ms);
        put_ivarint(&mut self.bytes, step.wrapping_sub(self.step_ms));
        if new_start != 0 {
            put_ivarint(&mut self.bytes, start.wrapping_sub(self.start_ms));
        }
        match before {
            None => sample.histogram.put_canonical(&mut self.bytes),
            Some(before) => put_difference(&mut self.bytes, before, &sample.histogram),
        }
        (self.last_ms, self.step_ms, self.start_ms) = (at, step, start);
        self.last = Some(Arc::clone(&sample.histogram));
        self.count += 1;
    }

    /// What is known of the chunk so far.
    pub(crate) fn head(&self, revision: u32) -> ChunkHead {
        let (count, first_ms, last_ms) = (self.count, self.first_ms, self.last_ms);
        ChunkHead { encoding: HISTOGRAM, revision, count, first_ms, last_ms, column: 0 }
    }

    /// A copy of the chunk so far; `None` without a sample.
    pub(crate) fn copy(&self, revision: u32) -> Option<Chunk> {
        let chunk = || Chunk { head: self.head(revision), bytes: self.bytes.as_slice().into() };
        (self.count > 0).then(chunk)
    }

    /// Takes the chunk out; `None` without a sample.
    pub(crate) fn seal(&mut self, revision: u32) -> Option<Chunk> {
        let chunk = self.copy(revision);
        *self = Self::default();
        chunk
    }
}

/// Codes histograms that ascend in time, share a revision and lie in one day.
pub(crate) fn chunks(samples: &[HistogramSample]) -> Vec<Chunk> {
    let code = |samples: &[HistogramSample]| {
        let mut encoder = Encoder::default();
        samples.iter().for_each(|sample| encoder.push(sample));
        encoder.seal(samples.first()?.revision)
    };
    samples.chunks(SAMPLES_MAX as usize).filter_map(code).collect()
}

/// Whether two differ in sum and counts only.
fn is_alike(a: &Histogram, b: &Histogram) -> bool {
    let bits = |values: &[f64], others: &[f64]| {
        let mut pairs = values.iter().zip(others);
        values.len() == others.len() && pairs.all(|(a, b)| a.to_bits() == b.to_bits())
    };
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.reset_hint == b.reset_hint
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && bits(&a.custom_values, &b.custom_values)
        && std::mem::discriminant(&a.counts) == std::mem::discriminant(&b.counts)
}

fn put_difference(out: &mut Vec<u8>, before: &Histogram, now: &Histogram) {
    let put_float = |out: &mut Vec<u8>, before: f64, now: f64| {
        put_uvarint(out, (before.to_bits() ^ now.to_bits()).swap_bytes());
    };
    put_float(out, before.sum, now.sum);
    match (&before.counts, &now.counts) {
        (
            Counts::Integer { count: c, zero_count: z, positive: p, negative: n },
            Counts::Integer { count, zero_count, positive, negative },
        ) => {
            let before = [c, z].into_iter().chain(p).chain(n);
            let now = [count, zero_count].into_iter().chain(positive).chain(negative);
            let step = |(b, n): (&u64, &u64)| n.wrapping_sub(*b).cast_signed();
            before.zip(now).map(step).for_each(|step| put_ivarint(out, step));
        }
        (
            Counts::Float { count: c, zero_count: z, positive: p, negative: n },
            Counts::Float { count, zero_count, positive, negative },
        ) => {
            let before = [c, z].into_iter().chain(p).chain(n);
            let now = [count, zero_count].into_iter().chain(positive).chain(negative);
            before.zip(now).for_each(|(b, n)| put_float(out, *b, *n));
        }
        _ => {}
    }
}

/// Hands each of `count` histograms to `visit` until it returns `false`: time, start, what it says.
pub(crate) fn decode(
    bytes: &[u8],
    first_ms: i64,
    count: u32,
    mut visit: impl FnMut(i64, i64, &Histogram) -> bool,
) -> Result<(), Damaged> {
    if count > SAMPLES_MAX {
        return Err(Damaged("a chunk has too many histograms"));
    }
    let mut input = Input::new(bytes);
    let (mut at, mut step, mut start) = (first_ms, 0_i64, 0_i64);
    let mut last: Option<Histogram> = None;
    for _ in 0..count {
        let flags = input.u8()?;
        if flags & !(IN_FULL | NEW_START) != 0 {
            return Err(Damaged("a histogram has unknown flags"));
        }
        step = step.wrapping_add(input.ivarint()?);
        let next = at.wrapping_add(step);
        if last.is_some() && next <= at {
            return Err(Damaged("a chunk's times do not ascend"));
        }
        at = next;
        if flags & NEW_START != 0 {
            start = start.wrapping_add(input.ivarint()?);
        }
        let now = match last.as_mut().filter(|_| flags & IN_FULL == 0) {
            Some(now) => {
                read_difference(&mut input, now)?;
                now
            }
            None if flags & IN_FULL != 0 => last.insert(read_histogram(&mut input)?),
            None => return Err(Damaged("a chunk does not begin with a whole histogram")),
        };
        if !visit(at, start, now) {
            break;
        }
    }
    Ok(())
}

/// Reads the canonical bytes of a histogram.
pub(crate) fn read_histogram(input: &mut Input<'_>) -> Result<Histogram, Damaged> {
    input.with_rest(|rest| Histogram::read_canonical(rest).map_err(|bad| Damaged(bad.0)))
}

fn read_difference(input: &mut Input<'_>, now: &mut Histogram) -> Result<(), Damaged> {
    let mut float = |value: &mut f64| {
        *value = f64::from_bits(value.to_bits() ^ input.uvarint()?.swap_bytes());
        Ok(())
    };
    float(&mut now.sum)?;
    match &mut now.counts {
        Counts::Integer { count, zero_count, positive, negative } => {
            for place in [count, zero_count].into_iter().chain(positive).chain(negative) {
                *place = place.wrapping_add(input.ivarint()?.cast_unsigned());
            }
            Ok(())
        }
        Counts::Float { count, zero_count, positive, negative } => {
            [count, zero_count].into_iter().chain(positive).chain(negative).try_for_each(float)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use model::histogram::{ResetHint, Span};
    use proptest::prelude::*;

    /// A few layouts, of either flavour, with any counts.
    pub(crate) fn histogram() -> impl Strategy<Value = Histogram> {
        let float = prop_oneof![any::<u64>().prop_map(f64::from_bits), Just(1.0)];
        (0_u32..3, any::<bool>(), float, prop::collection::vec(any::<u64>(), 5)).prop_map(
            |(length, is_float, sum, n)| {
                let buckets = n[..length as usize].to_vec();
                let floats = |ints: &[u64]| ints.iter().map(|n| f64::from_bits(*n)).collect();
                Histogram {
                    sum,
                    reset_hint: if length == 1 { ResetHint::Yes } else { ResetHint::No },
                    positive_spans: vec![Span { offset: -3, length }],
                    counts: match is_float {
                        false => Counts::Integer {
                            count: n[3],
                            zero_count: n[4],
                            positive: buckets,
                            negative: vec![],
                        },
                        true => Counts::Float {
                            count: f64::from_bits(n[3]),
                            zero_count: 0.5,
                            positive: floats(&buckets),
                            negative: vec![],
                        },
                    },
                    ..Histogram::stale()
                }
            },
        )
    }

    pub(crate) fn samples() -> impl Strategy<Value = Vec<HistogramSample>> {
        let one = (0_i64..40_000, histogram(), prop_oneof![Just(0_i64), any::<i64>()]);
        prop::collection::vec(one, 1..30).prop_map(|mut list| {
            list.sort_by_key(|one| one.0);
            list.dedup_by_key(|one| one.0);
            let sample = |(timestamp_ms, histogram, start_timestamp_ms)| {
                let (histogram, revision) = (Arc::new(histogram), 3);
                HistogramSample { timestamp_ms, histogram, start_timestamp_ms, revision }
            };
            list.into_iter().map(sample).collect()
        })
    }

    fn decoded(chunk: &Chunk) -> Result<Vec<HistogramSample>, Damaged> {
        let mut out = Vec::new();
        let revision = chunk.head.revision;
        chunk.head.decode_histograms(&chunk.bytes, |timestamp_ms, start, histogram| {
            let (start_timestamp_ms, histogram) = (start, Arc::new(histogram.clone()));
            out.push(HistogramSample { timestamp_ms, histogram, start_timestamp_ms, revision });
            true
        })?;
        Ok(out)
    }

    proptest! {
        #[test]
        fn a_chunk_gives_every_histogram_back(samples in samples()) {
            let chunks = chunks(&samples);
            let all: Vec<_> = chunks.iter().flat_map(|c| decoded(c).unwrap()).collect();
            prop_assert_eq!(all, samples);
        }

        #[test]
        fn any_bytes_are_histograms_or_refused(
            samples in samples(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
        ) {
            let mut chunk = chunks(&samples).remove(0);
            let mut bytes = chunk.bytes.to_vec();
            let index = at.index(bytes.len());
            bytes[index] = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            chunk.bytes = bytes.into();
            if let Ok(samples) = decoded(&chunk) {
                prop_assert!(samples.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms));
            }
        }
    }

    #[test]
    fn a_histogram_whose_layout_stays_takes_a_byte_or_two_a_bucket() {
        let of = |n: u64| {
            let positive: Vec<u64> = (0..20).map(|bucket| n * bucket).collect();
            let count = positive.iter().sum();
            Arc::new(Histogram {
                positive_spans: vec![Span { offset: 0, length: 20 }],
                sum: 1.5,
                counts: Counts::Integer { count, zero_count: 0, positive, negative: vec![] },
                ..Histogram::stale()
            })
        };
        let samples: Vec<_> = (0..120_u32)
            .map(|n| HistogramSample {
                timestamp_ms: i64::from(n) * 15_000,
                histogram: of(u64::from(n)),
                start_timestamp_ms: 0,
                revision: 0,
            })
            .collect();
        let chunks = chunks(&samples);
        assert_eq!(chunks.len(), 1);
        assert!(chunks[0].bytes.len() < 120 * 30, "{} bytes", chunks[0].bytes.len());
    }

    #[test]
    fn the_format_is_the_documented_one() {
        let of = |timestamp_ms, n: u64, start_timestamp_ms| HistogramSample {
            timestamp_ms,
            histogram: Arc::new(Histogram {
                positive_spans: vec![Span { offset: -1, length: 2 }],
                sum: 1.5,
                counts: Counts::Integer {
                    count: 2 + n,
                    zero_count: 0,
                    positive: vec![1, 1 + n],
                    negative: vec![],
                },
                ..Histogram::stale()
            }),
            start_timestamp_ms,
            revision: 0,
        };
        let chunk = chunks(&[of(1000, 0, 400), of(2000, 3, 400)]).remove(0);
        let documented = crate::bytes::documented("a chunk of histograms");
        assert_eq!(crate::bytes::dump(&chunk.bytes), documented);
    }
}
