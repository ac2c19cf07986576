//! The primitives of peer frames: little-endian, varints (LEB128), zigzag for signed numbers.
//!
//! # Invariants
//! - Reading trusts no byte: it never panics, and never reserves more places than the bytes that
//!   are left could fill.

use model::{Histogram, LabelSet, Text};
use std::collections::HashMap;

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad peer frame: {what}")]
pub struct DecodeError {
    /// Which part is bad, and how.
    pub what: &'static str,
}

/// A bad part.
pub(crate) fn bad<T>(what: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError { what })
}

/// Appends to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) out: Vec<u8>,
}

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(crate) fn u64_fixed(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, mut value: u64) {
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.out.push(low | 0x80);
            value >>= 7;
        }
        let [low, ..] = value.to_le_bytes();
        self.out.push(low);
    }

    pub(crate) fn len(&mut self, value: usize) {
        self.u64(value as u64);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.u64((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Each as the difference to the one before; wraps, so that every number can follow every other.
    pub(crate) fn deltas(&mut self, numbers: &[i64]) {
        let mut before = 0_i64;
        for number in numbers {
            self.i64(number.wrapping_sub(before));
            before = *number;
        }
    }

    pub(crate) fn floats(&mut self, values: &[f64]) {
        self.out.reserve(values.len() * 8);
        values.iter().for_each(|value| self.u64_fixed(value.to_bits()));
    }
}

/// Walks over bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// That nothing is left.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.left.is_empty() { Ok(()) } else { bad("bytes after its end") }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.left.split_at_checked(len) {
            Some((taken, left)) => {
                self.left = left;
                Ok(taken)
            }
            None => bad("cut short"),
        }
    }

    /// The canonical bytes of a histogram.
    pub(crate) fn histogram(&mut self) -> Result<Histogram, DecodeError> {
        Histogram::read_canonical(&mut self.left).or(bad("not a histogram"))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N)?;
        taken.try_into().or(bad("cut short"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn u64_fixed(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        bad("a number is too long")
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.u64()?.try_into().or(bad("a number is too large"))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        let raw = self.u64()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    pub(crate) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.i64()?.try_into().or(bad("a number is too large"))
    }

    /// How many items follow, each of which takes at least `item_bytes_min` bytes.
    pub(crate) fn count(&mut self, item_bytes_min: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        let possible = self.left.len() / item_bytes_min.max(1);
        if count > possible { bad("a count is larger than the frame") } else { Ok(count) }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.count(1)?;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).or(bad("a text is not UTF-8"))
    }

    pub(crate) fn list<T>(
        &mut self,
        item_bytes_min: usize,
        item: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(item_bytes_min)?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub(crate) fn deltas(&mut self, count: usize) -> Result<Vec<i64>, DecodeError> {
        if count > self.left.len() {
            return bad("a count is larger than the frame");
        }
        let mut before = 0_i64;
        let mut numbers = Vec::with_capacity(count);
        for _ in 0..count {
            before = before.wrapping_add(self.i64()?);
            numbers.push(before);
        }
        Ok(numbers)
    }

    pub(crate) fn floats(&mut self, count: usize) -> Result<Vec<f64>, DecodeError> {
        let bytes = self.take(count.saturating_mul(8))?;
        let (whole, _) = bytes.as_chunks::<8>();
        Ok(whole.iter().map(|eight| f64::from_bits(u64::from_le_bytes(*eight))).collect())
    }
}

/// Writes each distinct text once, and label sets as numbers into that list.
#[derive(Debug, Default)]
pub(crate) struct SymbolWriter<'a> {
    numbers: HashMap<&'a str, usize>,
    order: Vec<&'a str>,
}

impl<'a> SymbolWriter<'a> {
    pub(crate) fn of(sets: impl Iterator<Item = &'a LabelSet>) -> Self {
        let mut symbols = Self::default();
        for (name, value) in sets.flat_map(LabelSet::iter) {
            symbols.add(name);
            symbols.add(value);
        }
        symbols
    }

    fn add(&mut self, text: &'a str) {
        let next = self.order.len();
        self.numbers.entry(text).or_insert_with(|| {
            self.order.push(text);
            next
        });
    }

    pub(crate) fn write_table(&self, out: &mut Writer) {
        out.len(self.order.len());
        self.order.iter().for_each(|text| out.text(text));
    }

    pub(crate) fn write_set(&self, out: &mut Writer, labels: &LabelSet) {
        out.len(labels.len());
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            let number = self.numbers.get(&**text).copied();
            assert!(number.is_some(), "the table was made of all label sets");
            out.len(number.unwrap_or_default());
        }
    }
}

/// The table that a [`SymbolWriter`] wrote.
#[derive(Debug)]
pub(crate) struct SymbolTable {
    texts: Vec<Text>,
}

impl SymbolTable {
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { texts: from.list(1, |r| Ok(Text::from(r.text()?)))? })
    }

    pub(crate) fn read_set(&self, from: &mut Reader<'_>) -> Result<LabelSet, DecodeError> {
        let pairs = from.list(2, |r| Ok((self.symbol(r)?, self.symbol(r)?)))?;
        let count = pairs.len();
        match LabelSet::from_pairs(pairs) {
            Ok(labels) if labels.len() == count => Ok(labels),
            _ => bad("a label set has an empty value or a name twice"),
        }
    }

    fn symbol(&self, from: &mut Reader<'_>) -> Result<Text, DecodeError> {
        let number = usize::try_from(from.u64()?).unwrap_or(usize::MAX);
        self.texts.get(number).cloned().map_or_else(|| bad("an unknown symbol"), Ok)
    }
}
