//! One native histogram as remote write 1.0 and 2.0 send it: CONTRACTS.md 5.5.
//!
//! Buckets come as differences (integers) or as counts (floats) and leave as absolute counts. The
//! flavour is that of `count`; what was sent of the other one is not looked at, as upstream.
//!
//! # Invariants
//! - Each list holds at most [`BUCKETS_MAX`] places, however many were sent.
//! - Bytes that are no protobuf are an error of the whole body; a histogram that cannot be said in
//!   our words is a fault of itself alone.
//!
//! Not here: whether the histogram makes sense (`model::histogram`).

use crate::protobuf::{Cursor, ProtobufError, WireType, low32};
use model::histogram::{BUCKETS_MAX, BadHistogram, Counts, Histogram, ResetHint, Span};

/// One native histogram of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramView {
    /// When, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Since when it counts up, in milliseconds since 1970; 0 if unknown.
    pub start_timestamp_ms: i64,
    /// What, not yet known to make sense, or why it cannot be said.
    pub histogram: Result<Histogram, BadHistogram>,
}

/// A count of either flavour.
#[derive(Clone, Copy, Debug)]
enum Count {
    Integer(u64),
    Float(f64),
}

impl Default for Count {
    fn default() -> Self {
        Self::Integer(0)
    }
}

/// The fields of a histogram, as they come.
#[derive(Debug, Default)]
struct Parts {
    count: Count,
    zero_count: Count,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    positive: Side,
    negative: Side,
    reset_hint: u64,
    custom_values: Vec<f64>,
    has_too_many: bool,
}

/// The positive or the negative buckets.
#[derive(Debug, Default)]
struct Side {
    spans: Vec<Span>,
    /// Absolute, out of differences.
    integers: Vec<u64>,
    last: i64,
    is_below_zero: bool,
    floats: Vec<f64>,
}

impl HistogramView {
    pub(super) fn read(message: &[u8]) -> Result<Self, ProtobufError> {
        let mut cursor = Cursor::new(message);
        let mut parts = Parts::default();
        let (mut timestamp_ms, mut start_timestamp_ms) = (0, 0);
        while !cursor.is_empty() {
            let (number, wire_type) = cursor.key()?;
            match number {
                15 => timestamp_ms = cursor.expect_varint(number, wire_type)?.cast_signed(),
                17 => start_timestamp_ms = cursor.expect_varint(number, wire_type)?.cast_signed(),
                _ => parts.field(&mut cursor, number, wire_type)?,
            }
        }
        Ok(Self { timestamp_ms, start_timestamp_ms, histogram: parts.finish() })
    }
}

impl Parts {
    fn field(
        &mut self,
        cursor: &mut Cursor<'_>,
        number: u32,
        wire_type: WireType,
    ) -> Result<(), ProtobufError> {
        match number {
            1 => self.count = Count::Integer(cursor.expect_varint(number, wire_type)?),
            2 => self.count = Count::Float(cursor.expect_double(number, wire_type)?),
            3 => self.sum = cursor.expect_double(number, wire_type)?,
            4 => self.schema = zigzag32(cursor.expect_varint(number, wire_type)?),
            5 => self.zero_threshold = cursor.expect_double(number, wire_type)?,
            6 => self.zero_count = Count::Integer(cursor.expect_varint(number, wire_type)?),
            7 => self.zero_count = Count::Float(cursor.expect_double(number, wire_type)?),
            8 | 11 => {
                let span = span(cursor.expect_bytes(number, wire_type)?)?;
                let side = if number == 8 { &mut self.negative } else { &mut self.positive };
                push(&mut side.spans, span, &mut self.has_too_many);
            }
            9 | 12 => {
                let side = if number == 9 { &mut self.negative } else { &mut self.positive };
                side.deltas(cursor, number, wire_type, &mut self.has_too_many)?;
            }
            10 => doubles(
                cursor,
                number,
                wire_type,
                &mut self.negative.floats,
                &mut self.has_too_many,
            )?,
            13 => doubles(
                cursor,
                number,
                wire_type,
                &mut self.positive.floats,
                &mut self.has_too_many,
            )?,
            14 => self.reset_hint = cursor.expect_varint(number, wire_type)?,
            16 => {
                doubles(cursor, number, wire_type, &mut self.custom_values, &mut self.has_too_many)?
            }
            _ => cursor.skip(number, wire_type)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Histogram, BadHistogram> {
        let schema = i8::try_from(self.schema).or(Err(BadHistogram("unknown schema")))?;
        if self.has_too_many {
            return Err(BadHistogram("too many buckets"));
        }
        let counts = match self.count {
            Count::Integer(count) => {
                if self.positive.is_below_zero || self.negative.is_below_zero {
                    return Err(BadHistogram("a bucket is negative"));
                }
                let zero_count = if let Count::Integer(zero) = self.zero_count { zero } else { 0 };
                let (positive, negative) = (self.positive.integers, self.negative.integers);
                Counts::Integer { count, zero_count, positive, negative }
            }
            Count::Float(count) => {
                let zero_count = if let Count::Float(zero) = self.zero_count { zero } else { 0.0 };
                let (positive, negative) = (self.positive.floats, self.negative.floats);
                Counts::Float { count, zero_count, positive, negative }
            }
        };
        Ok(Histogram {
            schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            reset_hint: match low32(self.reset_hint) {
                1 => ResetHint::Yes,
                2 => ResetHint::No,
                3 => ResetHint::Gauge,
                _ => ResetHint::Unknown,
            },
            positive_spans: self.positive.spans,
            negative_spans: self.negative.spans,
            custom_values: self.custom_values,
            counts,
        })
    }
}

impl Side {
    /// Differences, one or a packed list.
    fn deltas(
        &mut self,
        cursor: &mut Cursor<'_>,
        number: u32,
        wire_type: WireType,
        has_too_many: &mut bool,
    ) -> Result<(), ProtobufError> {
        if wire_type != WireType::Bytes {
            let delta = cursor.expect_varint(number, wire_type)?;
            self.delta(delta, has_too_many);
            return Ok(());
        }
        let mut packed = Cursor::new(cursor.bytes()?);
        while !packed.is_empty() {
            self.delta(packed.varint()?, has_too_many);
        }
        Ok(())
    }

    fn delta(&mut self, zigzag: u64, has_too_many: &mut bool) {
        let delta = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
        match self.last.checked_add(delta) {
            Some(count) => self.last = count,
            None => self.is_below_zero = true,
        }
        match u64::try_from(self.last) {
            Ok(count) => push(&mut self.integers, count, has_too_many),
            Err(_) => self.is_below_zero = true,
        }
    }
}

/// Adds to a list that has a bound.
fn push<T>(list: &mut Vec<T>, one: T, has_too_many: &mut bool) {
    if list.len() < BUCKETS_MAX {
        list.push(one);
    } else {
        *has_too_many = true;
    }
}

/// Doubles, one or a packed list.
fn doubles(
    cursor: &mut Cursor<'_>,
    number: u32,
    wire_type: WireType,
    list: &mut Vec<f64>,
    has_too_many: &mut bool,
) -> Result<(), ProtobufError> {
    if wire_type != WireType::Bytes {
        push(list, cursor.expect_double(number, wire_type)?, has_too_many);
        return Ok(());
    }
    let mut packed = Cursor::new(cursor.bytes()?);
    while !packed.is_empty() {
        push(list, f64::from_bits(packed.fixed64()?), has_too_many);
    }
    Ok(())
}

fn span(message: &[u8]) -> Result<Span, ProtobufError> {
    let mut cursor = Cursor::new(message);
    let mut span = Span::default();
    while !cursor.is_empty() {
        let (number, wire_type) = cursor.key()?;
        match number {
            1 => span.offset = zigzag32(cursor.expect_varint(number, wire_type)?),
            2 => span.length = low32(cursor.expect_varint(number, wire_type)?),
            _ => cursor.skip(number, wire_type)?,
        }
    }
    Ok(span)
}

fn zigzag32(varint: u64) -> i32 {
    let zigzag = low32(varint);
    (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed())
}
