//! Native histograms: what one says, when it makes sense, and its canonical bytes.
//!
//! A histogram is kept as it was received: flavour, reset hint, spans and every bit of its floats.
//! The *canonical bytes* are one to one with that. They decide between two histograms (D4), and the
//! log, chunks and peers carry them. Numbers are little-endian; a *varint* has 7 bits a byte, the
//! lowest first, and a *zigzag* is `(n << 1) ^ (n >> 63)` as a varint.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | bit 0: counts are floats; bits 1–2: reset hint 0 unknown, 1 yes, 2 no, 3 gauge |
//! | 1 | schema, signed |
//! | 8 + 8 | zero threshold, sum |
//! | | positive, then negative: spans as a varint count, each a zigzag offset and a varint length |
//! | | custom values: a varint count, 8 bytes each |
//! | | count, zero count, positive, then negative buckets: varints, or 8 bytes each if floats; how many buckets there are the spans say |
//!
//! # Invariants
//! - Reading trusts no byte: what it returns has as many buckets as its spans say, at most
//!   [`BUCKETS_MAX`].
//!
//! Not here: evaluating one (`promql`), deltas as they travel in remote write (`wire`).

mod resolution;

pub use resolution::{OVER_LIMIT, SCHEMA_MAX, SCHEMA_MIN};

use crate::sample::STALE_NAN_BITS;

/// So many buckets and custom values a histogram has at most, positive and negative together.
pub const BUCKETS_MAX: usize = 8192;
/// The schema whose bounds are the custom values.
pub const CUSTOM_BUCKETS: i8 = -53;

/// What the sender says about the counter's resets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResetHint {
    /// Nothing.
    #[default]
    Unknown,
    /// The counter was reset before this sample.
    Yes,
    /// It was not.
    No,
    /// It is no counter.
    Gauge,
}

/// Consecutive buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Empty buckets before: from the end of the span before; the first counts from bucket 0.
    pub offset: i32,
    /// How many buckets there are.
    pub length: u32,
}

/// The counts of a histogram. Buckets are absolute, not differences, one per place of the spans.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields have the names that the exposition formats use")]
pub enum Counts {
    /// Of integers.
    Integer { count: u64, zero_count: u64, positive: Vec<u64>, negative: Vec<u64> },
    /// Of floats.
    Float { count: f64, zero_count: f64, positive: Vec<f64>, negative: Vec<f64> },
}

/// One native histogram.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// −4 to 8, or [`CUSTOM_BUCKETS`].
    pub schema: i8,
    /// Observations no further from 0 than this are in the zero bucket.
    pub zero_threshold: f64,
    /// The sum of observations; the stale marker ends the series.
    pub sum: f64,
    /// Whether the counter was reset.
    pub reset_hint: ResetHint,
    /// Where the positive buckets are.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets are.
    pub negative_spans: Vec<Span>,
    /// The upper bounds of custom buckets, ascending; else empty.
    pub custom_values: Vec<f64>,
    /// How many observations there are.
    pub counts: Counts,
}

/// How many samples a histogram counts as, of so many spans, buckets and custom bounds together: as
/// Prometheus counts, by the bytes that it takes there, of which a sample has 16.
#[must_use]
pub const fn samples_of(parts: u64) -> u64 {
    (168 + 8 * parts + 8) / 16
}

/// Why a histogram makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHistogram(pub &'static str);

impl std::fmt::Display for BadHistogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadHistogram {}

/// Equal to the last bit.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for Histogram {}

impl Histogram {
    /// The histogram that ends a series.
    #[must_use]
    pub fn stale() -> Self {
        Self {
            schema: 0,
            zero_threshold: 0.0,
            sum: f64::from_bits(STALE_NAN_BITS),
            reset_hint: ResetHint::Unknown,
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            custom_values: Vec::new(),
            counts: Counts::Integer {
                count: 0,
                zero_count: 0,
                positive: Vec::new(),
                negative: Vec::new(),
            },
        }
    }

    /// Whether it is a stale marker.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.sum.to_bits() == STALE_NAN_BITS
    }

    /// How many buckets it has beside the zero bucket.
    #[must_use]
    pub fn buckets(&self) -> usize {
        match &self.counts {
            Counts::Integer { positive, negative, .. } => positive.len() + negative.len(),
            Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
        }
    }

    /// About how much memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let spans = self.positive_spans.len() + self.negative_spans.len();
        size_of::<Self>() + 8 * (spans + self.custom_values.len() + self.buckets())
    }

    /// How many samples it counts as where samples are limited.
    #[must_use]
    pub fn samples(&self) -> u64 {
        let spans = self.positive_spans.len() + self.negative_spans.len();
        samples_of((spans + self.custom_values.len() + self.buckets()) as u64)
    }

    /// Whether it makes sense, by the rules of remote write.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn validate(&self) -> Result<(), BadHistogram> {
        self.check_layout()?;
        match self.schema {
            -4..=8 if self.custom_values.is_empty() => {}
            -4..=8 => return bad("custom values without custom buckets"),
            CUSTOM_BUCKETS => self.check_custom()?,
            _ => return bad("unknown schema"),
        }
        match &self.counts {
            Counts::Integer { count, zero_count, positive, negative } => {
                let mut buckets = positive.iter().chain(negative);
                let sum = buckets.try_fold(*zero_count, |sum, n| sum.checked_add(*n));
                let fits = match sum {
                    Some(sum) if self.sum.is_nan() => *count >= sum,
                    sum => sum == Some(*count),
                };
                if fits { Ok(()) } else { bad("the count is not the sum of the buckets") }
            }
            Counts::Float { count, zero_count, positive, negative } => {
                let mut all = [count, zero_count].into_iter().chain(positive).chain(negative);
                if all.any(|n| *n < 0.0) { bad("a count is negative") } else { Ok(()) }
            }
        }
    }

    fn check_custom(&self) -> Result<(), BadHistogram> {
        let (zero, negative) = match &self.counts {
            Counts::Integer { zero_count, negative, .. } => (*zero_count == 0, negative.len()),
            Counts::Float { zero_count, negative, .. } => (*zero_count == 0.0, negative.len()),
        };
        if !zero || self.zero_threshold != 0.0 {
            return bad("custom buckets with a zero bucket");
        }
        if negative > 0 || !self.negative_spans.is_empty() {
            return bad("custom buckets with negative buckets");
        }
        let values = &self.custom_values;
        if !values.iter().all(|v| v.is_finite()) || !values.is_sorted_by(|a, b| a < b) {
            return bad("custom values are not finite and strictly ascending");
        }
        let span = |span: &Span| i64::from(span.offset) + i64::from(span.length);
        let reach: i64 = self.positive_spans.iter().map(span).sum();
        let first = self.positive_spans.first().map_or(0, |span| span.offset);
        let bounds = i64::try_from(values.len()).unwrap_or(i64::MAX);
        match first >= 0 && reach <= bounds + 1 {
            true => Ok(()),
            false => bad("custom buckets reach beyond their bounds"),
        }
    }

    /// That buckets and spans fit each other, and no more of them than [`BUCKETS_MAX`].
    fn check_layout(&self) -> Result<(), BadHistogram> {
        let (positive, negative) = match &self.counts {
            Counts::Integer { positive, negative, .. } => (positive.len(), negative.len()),
            Counts::Float { positive, negative, .. } => (positive.len(), negative.len()),
        };
        let places = spanned(&self.positive_spans)? + spanned(&self.negative_spans)?;
        if places > BUCKETS_MAX || self.custom_values.len() > BUCKETS_MAX {
            return bad("too many buckets");
        }
        let fits = spanned(&self.positive_spans)? == positive
            && spanned(&self.negative_spans)? == negative;
        if fits { Ok(()) } else { bad("spans and buckets differ in number") }
    }

    /// Its canonical bytes.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + 8 * self.buckets());
        self.put_canonical(&mut out);
        out
    }

    /// Appends its canonical bytes.
    pub fn put_canonical(&self, out: &mut Vec<u8>) {
        self.put_layout(out);
        match &self.counts {
            Counts::Integer { count, zero_count, positive, negative } => {
                let all = [count, zero_count].into_iter().chain(positive).chain(negative);
                all.for_each(|n| put_varint(out, *n));
            }
            Counts::Float { count, zero_count, positive, negative } => {
                let all = [count, zero_count].into_iter().chain(positive).chain(negative);
                all.for_each(|n| put_float(out, *n));
            }
        }
    }

    /// Everything but the counts.
    fn put_layout(&self, out: &mut Vec<u8>) {
        let is_float = matches!(self.counts, Counts::Float { .. });
        let hint = match self.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Yes => 1,
            ResetHint::No => 2,
            ResetHint::Gauge => 3,
        };
        out.push(u8::from(is_float) | hint << 1);
        out.extend_from_slice(&self.schema.to_le_bytes());
        put_float(out, self.zero_threshold);
        put_float(out, self.sum);
        for spans in [&self.positive_spans, &self.negative_spans] {
            put_varint(out, spans.len() as u64);
            for span in spans {
                let offset = i64::from(span.offset);
                put_varint(out, (offset << 1).cast_unsigned() ^ (offset >> 63).cast_unsigned());
                put_varint(out, span.length.into());
            }
        }
        put_varint(out, self.custom_values.len() as u64);
        self.custom_values.iter().for_each(|value| put_float(out, *value));
    }

    /// Reads canonical bytes from the front of `from`, which is left behind them.
    ///
    /// # Errors
    /// If they are not the canonical bytes of a histogram.
    pub fn read_canonical(from: &mut &[u8]) -> Result<Self, BadHistogram> {
        let [flags, schema] = array(from)?;
        let reset_hint = match flags >> 1 {
            0 => ResetHint::Unknown,
            1 => ResetHint::Yes,
            2 => ResetHint::No,
            3 => ResetHint::Gauge,
            _ => return bad("unknown flags"),
        };
        let (zero_threshold, sum) = (float(from)?, float(from)?);
        let (positive_spans, negative_spans) = (spans(from)?, spans(from)?);
        let values = count(from, 8)?;
        let custom_values = (0..values).map(|_| float(from)).collect::<Result<_, _>>()?;
        let (positive, negative) = (spanned(&positive_spans)?, spanned(&negative_spans)?);
        let bytes_each = if flags & 1 == 0 { 1 } else { 8 };
        if positive + negative > BUCKETS_MAX || (positive + negative) * bytes_each > from.len() {
            return bad("too many buckets");
        }
        let counts = if flags & 1 == 0 {
            Counts::Integer {
                count: varint(from)?,
                zero_count: varint(from)?,
                positive: (0..positive).map(|_| varint(from)).collect::<Result<_, _>>()?,
                negative: (0..negative).map(|_| varint(from)).collect::<Result<_, _>>()?,
            }
        } else {
            Counts::Float {
                count: float(from)?,
                zero_count: float(from)?,
                positive: (0..positive).map(|_| float(from)).collect::<Result<_, _>>()?,
                negative: (0..negative).map(|_| float(from)).collect::<Result<_, _>>()?,
            }
        };
        let schema = i8::from_le_bytes([schema]);
        Ok(Self {
            schema,
            zero_threshold,
            sum,
            reset_hint,
            positive_spans,
            negative_spans,
            custom_values,
            counts,
        })
    }
}

fn bad<T>(what: &'static str) -> Result<T, BadHistogram> {
    Err(BadHistogram(what))
}

/// How many buckets there are, if the spans make sense.
fn spanned(spans: &[Span]) -> Result<usize, BadHistogram> {
    if spans.iter().skip(1).any(|span| span.offset < 0) {
        return bad("a span begins before the end of the one before");
    }
    if spans.len() > BUCKETS_MAX {
        return bad("too many spans");
    }
    let places = spans.iter().map(|span| u64::from(span.length)).sum::<u64>();
    usize::try_from(places)
        .ok()
        .filter(|n| *n <= BUCKETS_MAX)
        .ok_or(BadHistogram("too many buckets"))
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn put_float(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn array<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], BadHistogram> {
    let (taken, rest) = from.split_first_chunk().ok_or(BadHistogram("it ends early"))?;
    *from = rest;
    Ok(*taken)
}

fn float(from: &mut &[u8]) -> Result<f64, BadHistogram> {
    Ok(f64::from_bits(u64::from_le_bytes(array(from)?)))
}

/// A varint in its shortest form, so that canonical bytes are one to one with the histogram.
fn varint(from: &mut &[u8]) -> Result<u64, BadHistogram> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = array(from)?;
        let bits = u64::from(byte & 0x7f);
        if (shift == 63 && bits > 1) || (shift > 0 && byte == 0) {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bad("a number is too long")
}

/// A count of things of `bytes_each` at least, none more than could be there.
fn count(from: &mut &[u8], bytes_each: usize) -> Result<usize, BadHistogram> {
    let count = usize::try_from(varint(from)?).unwrap_or(usize::MAX);
    match count.saturating_mul(bytes_each) <= from.len() && count <= BUCKETS_MAX {
        true => Ok(count),
        false => bad("a count is too large"),
    }
}

fn spans(from: &mut &[u8]) -> Result<Vec<Span>, BadHistogram> {
    let read = |from: &mut &[u8]| {
        let offset = varint(from)?;
        let offset = (offset >> 1).cast_signed() ^ -((offset & 1).cast_signed());
        let offset = i32::try_from(offset).or(bad("an offset is too large"))?;
        let length = u32::try_from(varint(from)?).or(bad("a span is too long"))?;
        Ok(Span { offset, length })
    };
    (0..count(from, 2)?).map(|_| read(from)).collect()
}

#[cfg(test)]
mod tests;
