//! The fast encoding: a byte or less for most samples, appended one by one.
//!
//! The state is the last time, the last step, the last value, its decimal mantissa and exponent.
//! A sample is a code byte with operands, after as many prefixes as it needs:
//!
//! | code | operands | the sample |
//! |---|---|---|
//! | `00..3f` | – | the last value again, `code + 1` times, each a step later |
//! | `40..7f` | – | mantissa + unzigzag(low 6 bits) |
//! | `80..9f` | 1 byte | mantissa + unzigzag(low 5 bits, then the byte) |
//! | `a0..af` | 2 bytes | mantissa + unzigzag(low 4 bits, then the bytes) |
//! | `b0..b7` | 3 bytes | mantissa + unzigzag(low 3 bits, then the bytes) |
//! | `b8` | zigzag varint | mantissa + it |
//! | `c0..e3` | n bytes | last bits XOR (the bytes shifted left by s bytes); see [`xor_code`] |
//! | `e8` prefix | zigzag varint | the step is longer by it, from this sample on |
//! | `e9` prefix | 1 byte | the exponent from now on; the mantissa is the last value's, or 0 |
//! | `ea` prefix | zigzag varint | the start timestamp is later by it, from this sample on |
//!
//! A new chunk begins with the last time at the chunk's first, step 0, value 0, exponent 0.
//!
//! # Invariants
//! - Decoding what was encoded gives every bit back: NaN payloads, the sign of zero, any times.
//! - Decoding stops after `count` samples, so bytes can only name as many as their head says.

mod columns;
#[cfg(test)]
mod tests;

pub(crate) use columns::{Columns, decode_columns};

use super::decimal;
use super::grown::Grown;
use super::{Chunk, ChunkHead, FAST};
use crate::bytes::{Damaged, Input, put_ivarint, unzigzag, zigzag};
use model::Sample;

const RUN_MAX: u8 = 0x3f;
const SMALL: u8 = 0x40;
const MEDIUM: u8 = 0x80;
const LARGE: u8 = 0xa0;
const LARGER: u8 = 0xb0;
const VARINT: u8 = 0xb8;
const XOR: u8 = 0xc0;
const XOR_LAST: u8 = 0xe3;
const STEP: u8 = 0xe8;
const EXPONENT: u8 = 0xe9;
const START: u8 = 0xea;

/// After so many floats in a row that are no decimal, exponents are searched only now and then.
const MISSES_MAX: u8 = 4;

/// A chunk that grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encoder {
    bytes: Grown,
    first_ms: i64,
    last_ms: i64,
    step_ms: i64,
    last_bits: u64,
    mantissa: i64,
    start_ms: i64,
    count: u32,
    exponent: u8,
    misses: u8,
    /// Whether the last byte is a run's code.
    in_run: bool,
}

impl Encoder {
    /// How many samples it holds.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The first sample's time; meaningless without a sample.
    pub(crate) fn first_ms(&self) -> i64 {
        self.first_ms
    }

    /// The last sample's time; meaningless without a sample.
    pub(crate) fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// The last sample.
    pub(crate) fn last(&self, revision: u32) -> Option<Sample> {
        let (timestamp_ms, value) = (self.last_ms, f64::from_bits(self.last_bits));
        let start_timestamp_ms = self.start_ms;
        let last = Sample { timestamp_ms, value, start_timestamp_ms, revision };
        (self.count > 0).then_some(last)
    }

    /// Whether the last sample had these bits and start.
    pub(crate) fn ends_with(&self, value: f64, start_ms: i64) -> bool {
        self.last_bits == value.to_bits() && self.start_ms == start_ms
    }

    /// The bytes it holds on to.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds a sample. Its time has to be after the last one's.
    #[inline]
    pub(crate) fn push(&mut self, timestamp_ms: i64, value: f64, start_ms: i64) {
        let bits = value.to_bits();
        if self.count == 0 {
            (self.first_ms, self.last_ms, self.step_ms) = (timestamp_ms, timestamp_ms, 0);
        }
        // Times may be anything: differences wrap around, here and when decoding.
        let step = timestamp_ms.wrapping_sub(self.last_ms);
        let regular = step == self.step_ms && start_ms == self.start_ms;
        self.last_ms = timestamp_ms;
        self.count += 1;
        if regular
            && bits == self.last_bits
            && self.in_run
            && let Some(run) = self.bytes.last_mut().filter(|run| **run < RUN_MAX)
        {
            *run += 1;
            return;
        }
        self.push_slow(step, bits, start_ms);
    }

    fn push_slow(&mut self, step: i64, bits: u64, start_ms: i64) {
        if step != self.step_ms {
            self.bytes.push(STEP);
            put_ivarint(&mut self.bytes, step.wrapping_sub(self.step_ms));
            self.step_ms = step;
        }
        if start_ms != self.start_ms {
            self.bytes.push(START);
            put_ivarint(&mut self.bytes, start_ms.wrapping_sub(self.start_ms));
            self.start_ms = start_ms;
        }
        self.in_run = bits == self.last_bits;
        if self.in_run {
            self.bytes.push(0);
            return;
        }
        match self.decimal(f64::from_bits(bits)) {
            Some(mantissa) => self.push_mantissa(mantissa),
            None => push_xor(&mut self.bytes, bits ^ self.last_bits),
        }
        self.last_bits = bits;
    }

    /// The value's mantissa, under another exponent if that helps.
    fn decimal(&mut self, value: f64) -> Option<i64> {
        if let Some(mantissa) = decimal::mantissa(value, self.exponent) {
            self.misses = 0;
            return Some(mantissa);
        }
        if self.misses >= MISSES_MAX && !self.count.is_multiple_of(64) {
            return None;
        }
        let Some((exponent, mantissa)) = decimal::smallest(value) else {
            self.misses = self.misses.saturating_add(1);
            return None;
        };
        self.misses = 0;
        self.bytes.extend_from_slice(&[EXPONENT, exponent]);
        self.exponent = exponent;
        self.mantissa = rebased(self.last_bits, exponent);
        Some(mantissa)
    }

    fn push_mantissa(&mut self, mantissa: i64) {
        let zigzag = zigzag(mantissa.wrapping_sub(self.mantissa));
        self.mantissa = mantissa;
        let [b0, b1, b2, b3, ..] = zigzag.to_le_bytes();
        match zigzag {
            0..=0x3f => self.bytes.push(SMALL | b0),
            0x40..=0x1fff => self.bytes.extend_from_slice(&[MEDIUM | b1, b0]),
            0x2000..=0xf_ffff => self.bytes.extend_from_slice(&[LARGE | b2, b0, b1]),
            0x10_0000..=0x7ff_ffff => self.bytes.extend_from_slice(&[LARGER | b3, b0, b1, b2]),
            _ => {
                self.bytes.push(VARINT);
                put_ivarint(&mut self.bytes, unzigzag(zigzag));
            }
        }
    }

    /// Ends the chunk and begins the next; `None` if there is no sample.
    pub(crate) fn seal(&mut self, revision: u32) -> Option<Chunk> {
        let done = std::mem::take(self);
        (done.count > 0).then(|| Chunk { head: done.head(revision), bytes: done.bytes.into() })
    }

    /// Its samples but the first so many.
    pub(crate) fn without_first(&self, skipped: u32) -> Self {
        without_first(self.bytes(), self.first_ms, self.count, skipped)
    }

    /// Its samples so far, coded.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// What is known of it; the times are meaningless without a sample.
    pub(crate) fn head(&self, revision: u32) -> ChunkHead {
        let Self { first_ms, last_ms, count, .. } = *self;
        ChunkHead { encoding: FAST, revision, count, first_ms, last_ms, column: 0 }
    }
}

/// A chunk that grows, out of the samples of another but the first so many.
pub(crate) fn without_first(bytes: &[u8], first_ms: i64, count: u32, skipped: u32) -> Encoder {
    let mut rest = Encoder::default();
    if skipped < count {
        let mut index = 0;
        // What was coded here is read without fail.
        let _ = decode(bytes, first_ms, count, |timestamp_ms, value, start_ms| {
            index += 1;
            if index > skipped {
                rest.push(timestamp_ms, value, start_ms);
            }
            true
        });
    }
    rest
}

/// The mantissa that a new exponent begins with.
fn rebased(last_bits: u64, exponent: u8) -> i64 {
    decimal::mantissa(f64::from_bits(last_bits), exponent).unwrap_or(0)
}

/// The codes of XOR, for `skip` zero bytes at the low end and `len` bytes that follow: counted
/// through by `skip` from 0 to 7, and in each by `len` from 1 to 8 − `skip`.
fn xor_code(skip: u8, len: u8) -> u8 {
    XOR + XOR_BASE[usize::from(skip & 7)] + len - 1
}

const XOR_BASE: [u8; 8] = [0, 8, 15, 21, 26, 30, 33, 35];

fn push_xor(out: &mut Grown, xor: u64) {
    let skip = xor.trailing_zeros().min(63) / 8;
    let len = 8 - skip - xor.leading_zeros().min(63) / 8;
    let [skip_byte, ..] = skip.to_le_bytes();
    let [len_byte, ..] = len.to_le_bytes();
    out.push(xor_code(skip_byte, len_byte));
    let bytes = xor.to_le_bytes();
    let (start, len) = (usize::from(skip_byte), usize::from(len_byte));
    out.extend_from_slice(bytes.get(start..start + len).unwrap_or(&[]));
}

fn read_xor(input: &mut Input<'_>, code: u8) -> Result<u64, Damaged> {
    let index = code - XOR;
    let skip = XOR_BASE.iter().rposition(|base| *base <= index).unwrap_or(0);
    let len = usize::from(index - XOR_BASE[skip] + 1);
    let mut bytes = [0; 8];
    let taken = input.take(len)?;
    for (to, from) in bytes.iter_mut().skip(skip).zip(taken) {
        *to = *from;
    }
    Ok(u64::from_le_bytes(bytes))
}

/// Hands `count` samples to `visit` as (time, value, start), until it returns `false`.
pub(crate) fn decode(
    bytes: &[u8],
    first_ms: i64,
    count: u32,
    mut visit: impl FnMut(i64, f64, i64) -> bool,
) -> Result<(), Damaged> {
    let mut input = Input::new(bytes);
    let (mut time, mut step, mut start) = (first_ms, 0_i64, 0_i64);
    let (mut value, mut mantissa, mut exponent) = (0.0_f64, 0_i64, 0_u8);
    let mut left = count;
    while left > 0 {
        let code = input.u8()?;
        if code <= RUN_MAX {
            let run = u32::from(code) + 1;
            if run > left {
                return Err(Damaged("a chunk holds more samples than it says"));
            }
            left -= run;
            for _ in 0..run {
                time = time.wrapping_add(step);
                if !visit(time, value, start) {
                    return Ok(());
                }
            }
            continue;
        }
        match code {
            ..XOR => {
                mantissa = mantissa.wrapping_add(read_difference(&mut input, code)?);
                value = decimal::float(mantissa, exponent);
            }
            XOR..=XOR_LAST => {
                value = f64::from_bits(value.to_bits() ^ read_xor(&mut input, code)?);
            }
            STEP => {
                step = step.wrapping_add(input.ivarint()?);
                continue;
            }
            START => {
                start = start.wrapping_add(input.ivarint()?);
                continue;
            }
            EXPONENT => {
                exponent = input.u8()?;
                if exponent > decimal::EXPONENT_MAX {
                    return Err(Damaged("a chunk has an exponent out of range"));
                }
                mantissa = rebased(value.to_bits(), exponent);
                continue;
            }
            _ => return Err(Damaged("a chunk has an unknown code")),
        }
        left -= 1;
        time = time.wrapping_add(step);
        if !visit(time, value, start) {
            return Ok(());
        }
    }
    Ok(())
}

#[inline]
fn read_difference(input: &mut Input<'_>, code: u8) -> Result<i64, Damaged> {
    let zigzag = match code {
        ..MEDIUM => u64::from(code - SMALL),
        MEDIUM..LARGE => u64::from(code - MEDIUM) << 8 | u64::from(input.u8()?),
        LARGE..LARGER => {
            let [b0, b1] = input.array()?;
            u64::from(u32::from_le_bytes([b0, b1, code - LARGE, 0]))
        }
        LARGER..VARINT => {
            let [b0, b1, b2] = input.array()?;
            u64::from(u32::from_le_bytes([b0, b1, b2, code - LARGER]))
        }
        VARINT => input.uvarint()?,
        _ => return Err(Damaged("a chunk has an unknown code")),
    };
    Ok(unzigzag(zigzag))
}
