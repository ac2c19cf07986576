//! Histograms as Prometheus codes them: in chunks, and in records of its log.
//!
//! A chunk has one layout (schema, zero threshold, spans, custom values) and then numbers only: of
//! integers the change of the change, of floats what changed in their bits. A stale marker has no
//! buckets there. A record has each histogram whole.
//!
//! That a histogram is *no* reset of the one before is not taken over: it is true of the sample
//! before it in its chunk only, and others may lie between, or that one be deleted. That it *is* a
//! reset, or no counter, is.
//!
//! # Invariants
//! - What is returned is valid; of a resolution that we do not know the next lower one is taken
//!   (`Histogram::admit`).
//! - A chunk unpacks to [`UNPACKED_BYTES_MAX`] at most.

use crate::bits::{Bits, XorFloat};
use crate::bytes::{Bad, Input};
use model::histogram::{BUCKETS_MAX, CUSTOM_BUCKETS, Counts, ResetHint, Span};
use model::sample::is_stale;
use model::{Histogram, HistogramSample};
use std::sync::Arc;

/// More than a chunk with the most samples and buckets that Prometheus writes into one.
const UNPACKED_BYTES_MAX: usize = 64 << 20;

/// What is the same for all histograms of a chunk.
#[derive(Debug)]
struct Layout {
    schema: i8,
    zero_threshold: f64,
    positive_spans: Vec<Span>,
    negative_spans: Vec<Span>,
    custom_values: Vec<f64>,
    /// How many buckets the spans have.
    positive: usize,
    negative: usize,
}

/// What the first byte of a chunk says about its first histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    Unknown,
    Reset,
    Gauge,
}

impl Header {
    fn of(byte: u8) -> Self {
        match byte >> 6 {
            0b10 => Self::Reset,
            0b11 => Self::Gauge,
            // 0b01: no reset since the chunk before, which may be gone.
            _ => Self::Unknown,
        }
    }

    fn hint(self, index: usize) -> ResetHint {
        match self {
            Self::Gauge => ResetHint::Gauge,
            Self::Reset if index == 0 => ResetHint::Yes,
            _ => ResetHint::Unknown,
        }
    }
}

/// An integer that is coded by how its change changed.
#[derive(Clone, Copy, Debug, Default)]
struct Changing {
    value: i64,
    change: i64,
}

impl Changing {
    fn starting(value: i64) -> Self {
        Self { value, change: 0 }
    }

    fn advance(&mut self, by: i64) {
        self.change = self.change.wrapping_add(by);
        self.value = self.value.wrapping_add(self.change);
    }

    fn read(&mut self, bits: &mut Bits<'_>) -> Result<(), Bad> {
        self.advance(bits.varbit()?);
        Ok(())
    }
}

/// Decodes a chunk of integer histograms; they come behind those that are there.
pub(super) fn integers(data: &[u8], out: &mut Vec<HistogramSample>) -> Result<(), Bad> {
    let Some((count, header, layout, mut bits)) = begin(data)? else { return Ok(()) };
    let mut output = Output { header, layout: &layout, index: 0, bytes: 0, out };
    let mut at = Changing::starting(bits.varbit()?);
    let mut all = Changing::starting(bits.unsigned_varbit()?.cast_signed());
    let mut zero = Changing::starting(bits.unsigned_varbit()?.cast_signed());
    let mut sum = XorFloat::new(bits.f64()?);
    let mut buckets = Vec::new();
    for _ in 0..layout.positive + layout.negative {
        buckets.push(Changing::starting(bits.varbit()?));
    }
    for index in 0..count {
        if index > 0 {
            match index {
                1 => at.advance(bits.unsigned_varbit()?.cast_signed()),
                _ => at.read(&mut bits)?,
            }
            all.read(&mut bits)?;
            zero.read(&mut bits)?;
            if !is_stale(sum.read(&mut bits)?) {
                buckets.iter_mut().try_for_each(|bucket| bucket.read(&mut bits))?;
            }
        }
        let (positive, negative) = buckets.split_at(layout.positive);
        let counts = || {
            Ok(Counts::Integer {
                count: all.value.cast_unsigned(),
                zero_count: zero.value.cast_unsigned(),
                positive: absolute(positive.iter().map(|bucket| bucket.value))?,
                negative: absolute(negative.iter().map(|bucket| bucket.value))?,
            })
        };
        output.push(at.value, sum.value(), counts)?;
    }
    Ok(())
}

/// Decodes a chunk of float histograms; they come behind those that are there.
pub(super) fn floats(data: &[u8], out: &mut Vec<HistogramSample>) -> Result<(), Bad> {
    let Some((count, header, layout, mut bits)) = begin(data)? else { return Ok(()) };
    let mut output = Output { header, layout: &layout, index: 0, bytes: 0, out };
    let mut at = Changing::starting(bits.varbit()?);
    let mut first = || bits.f64().map(XorFloat::new);
    let (mut all, mut zero, mut sum) = (first()?, first()?, first()?);
    let mut buckets = Vec::new();
    for _ in 0..layout.positive + layout.negative {
        buckets.push(first()?);
    }
    for index in 0..count {
        if index > 0 {
            at.read(&mut bits)?;
            all.read(&mut bits)?;
            zero.read(&mut bits)?;
            if !is_stale(sum.read(&mut bits)?) {
                buckets.iter_mut().try_for_each(|bucket| bucket.read(&mut bits).map(drop))?;
            }
        }
        let (positive, negative) = buckets.split_at(layout.positive);
        let counts = || {
            Ok(Counts::Float {
                count: all.value(),
                zero_count: zero.value(),
                positive: positive.iter().map(XorFloat::value).collect(),
                negative: negative.iter().map(XorFloat::value).collect(),
            })
        };
        output.push(at.value, sum.value(), counts)?;
    }
    Ok(())
}

/// The number of histograms, the header, the layout, and the bits behind; `None` if it is empty.
fn begin(data: &[u8]) -> Result<Option<(usize, Header, Layout, Bits<'_>)>, Bad> {
    let mut input = Input::new(data);
    let count = usize::from(input.u16()?);
    if count == 0 {
        return Ok(None);
    }
    let header = Header::of(input.u8()?);
    let mut bits = Bits::new(input.take(input.len())?);
    let layout = Layout::read(&mut bits)?;
    Ok(Some((count, header, layout, bits)))
}

impl Layout {
    fn read(bits: &mut Bits<'_>) -> Result<Self, Bad> {
        let zero_threshold = match bits.bits(8)? {
            0 => 0.0,
            255 => bits.f64()?,
            // Half of two to this power.
            exponent => 2_f64.powi(i32::try_from(exponent).unwrap_or_default() - 244),
        };
        let schema = schema(bits.varbit()?)?;
        let (positive_spans, positive) = Self::spans(bits)?;
        let (negative_spans, negative) = Self::spans(bits)?;
        let mut custom_values = Vec::new();
        if schema == CUSTOM_BUCKETS {
            for _ in 0..bounded(bits.unsigned_varbit()?)? {
                custom_values.push(Self::custom_value(bits)?);
            }
        }
        Ok(Self {
            schema,
            zero_threshold,
            positive_spans,
            negative_spans,
            custom_values,
            positive,
            negative,
        })
    }

    fn spans(bits: &mut Bits<'_>) -> Result<(Vec<Span>, usize), Bad> {
        let (mut spans, mut buckets) = (Vec::new(), 0);
        for _ in 0..bounded(bits.unsigned_varbit()?)? {
            let length = bounded(bits.unsigned_varbit()?)?;
            buckets = bounded((buckets + length) as u64)?;
            spans.push(span(bits.varbit()?, length as u64)?);
        }
        Ok((spans, buckets))
    }

    /// A whole number of thousandths plus one, or 0 and a float.
    fn custom_value(bits: &mut Bits<'_>) -> Result<f64, Bad> {
        match bits.unsigned_varbit()? {
            0 => bits.f64(),
            #[expect(clippy::cast_precision_loss, reason = "as it was written")]
            thousandths => Ok((thousandths - 1) as f64 / 1000.0),
        }
    }
}

/// Where the histograms of a chunk go.
struct Output<'a> {
    header: Header,
    layout: &'a Layout,
    index: usize,
    bytes: usize,
    out: &'a mut Vec<HistogramSample>,
}

impl Output<'_> {
    fn push(
        &mut self,
        timestamp_ms: i64,
        sum: f64,
        counts: impl FnOnce() -> Result<Counts, Bad>,
    ) -> Result<(), Bad> {
        let reset_hint = self.header.hint(self.index);
        self.index += 1;
        let histogram = match is_stale(sum) {
            true => Histogram { reset_hint, ..Histogram::stale() },
            false => Histogram {
                schema: self.layout.schema,
                zero_threshold: self.layout.zero_threshold,
                sum,
                reset_hint,
                positive_spans: self.layout.positive_spans.clone(),
                negative_spans: self.layout.negative_spans.clone(),
                custom_values: self.layout.custom_values.clone(),
                counts: counts()?,
            },
        };
        self.bytes += histogram.bytes();
        if self.bytes > UNPACKED_BYTES_MAX {
            return Err(Bad("a chunk unpacks to more than 64 MiB"));
        }
        self.out.push(sample(timestamp_ms, histogram)?);
        Ok(())
    }
}

/// Reads a histogram of a record.
pub(super) fn whole(
    input: &mut Input<'_>,
    timestamp_ms: i64,
    is_float: bool,
) -> Result<HistogramSample, Bad> {
    let reset_hint = match input.u8()? {
        0 | 2 => ResetHint::Unknown,
        1 => ResetHint::Yes,
        3 => ResetHint::Gauge,
        _ => return Err(Bad("no counter reset hint that is known")),
    };
    let schema = schema(input.varint()?)?;
    let zero_threshold = input.f64()?;
    let number = |input: &mut Input<'_>| match is_float {
        true => input.u64(),
        false => input.uvarint(),
    };
    let (zero_count, count) = (number(input)?, number(input)?);
    let sum = input.f64()?;
    let (positive_spans, negative_spans) = (whole_spans(input)?, whole_spans(input)?);
    let counts = if is_float {
        Counts::Float {
            count: f64::from_bits(count),
            zero_count: f64::from_bits(zero_count),
            positive: list(input, 8, Input::f64)?,
            negative: list(input, 8, Input::f64)?,
        }
    } else {
        let positive = absolute(list(input, 1, Input::varint)?)?;
        Counts::Integer {
            count,
            zero_count,
            positive,
            negative: absolute(list(input, 1, Input::varint)?)?,
        }
    };
    let custom_values = match schema {
        CUSTOM_BUCKETS => list(input, 8, Input::f64)?,
        _ => Vec::new(),
    };
    let histogram = match is_stale(sum) {
        true => Histogram { reset_hint, ..Histogram::stale() },
        false => Histogram {
            schema,
            zero_threshold,
            sum,
            reset_hint,
            positive_spans,
            negative_spans,
            custom_values,
            counts,
        },
    };
    sample(timestamp_ms, histogram)
}

fn whole_spans(input: &mut Input<'_>) -> Result<Vec<Span>, Bad> {
    list(input, 2, |input| span(input.varint()?, input.uvarint()?))
}

/// A list whose elements take `bytes_each` at least.
fn list<'a, T>(
    input: &mut Input<'a>,
    bytes_each: usize,
    read: impl Fn(&mut Input<'a>) -> Result<T, Bad>,
) -> Result<Vec<T>, Bad> {
    let len = bounded(input.uvarint()?)?;
    if len * bytes_each > input.len() {
        return Err(Bad("a length is beyond the end"));
    }
    (0..len).map(|_| read(input)).collect()
}

fn schema(number: i64) -> Result<i8, Bad> {
    i8::try_from(number).map_err(|_| Bad("a histogram's schema is unknown"))
}

fn span(offset: i64, length: u64) -> Result<Span, Bad> {
    let bad = Bad("a histogram's span is out of bounds");
    let (offset, length) = (i32::try_from(offset), u32::try_from(length));
    Ok(Span { offset: offset.map_err(|_| bad)?, length: length.map_err(|_| bad)? })
}

/// A number of buckets or of what comes with them.
fn bounded(count: u64) -> Result<usize, Bad> {
    let count = usize::try_from(count).ok().filter(|count| *count <= BUCKETS_MAX);
    count.ok_or(Bad("a histogram has too many buckets"))
}

/// Buckets out of what each has more than the one before.
fn absolute(changes: impl IntoIterator<Item = i64>) -> Result<Vec<u64>, Bad> {
    let mut count = 0_i64;
    let next = |change: i64| {
        count = count.wrapping_add(change);
        u64::try_from(count).map_err(|_| Bad("a histogram's bucket is negative"))
    };
    changes.into_iter().map(next).collect()
}

fn sample(timestamp_ms: i64, histogram: Histogram) -> Result<HistogramSample, Bad> {
    let histogram = Arc::new(histogram.admit(BUCKETS_MAX as u64).map_err(|bad| Bad(bad.0))?);
    Ok(HistogramSample { timestamp_ms, histogram, start_timestamp_ms: 0, revision: 0 })
}
