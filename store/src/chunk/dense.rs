//! The dense encoding: the values of a chunk without their times, in pages of 512.
//!
//! | byte | what |
//! |---|---|
//! | bits 0–1 | 0 constant, 1 integers, 2 floats, 3 fast pages |
//! | bit 2 | start timestamps follow: length (varint), a column of `times.rs` |
//! | bit 3 | of integers: values that are none follow: count, then for each the gap to the one before (varints) and its bits |
//!
//! *Constant*: an exponent and a zigzag mantissa, or 255 and eight bytes. *Integers*: an exponent,
//! the odd values, `ints.rs`. *Floats*: `pages.rs`. *Fast pages*: each coded as in `fast.rs` with
//! 0, 1, 2 … for times; the lengths of all but the last come first.
//!
//! Integers may be *differences* to those of the chunk before, sample by sample: buckets of a
//! histogram count those of their neighbour too. The table of chunks says so, not the chunk.
//!
//! # Invariants
//! - Decoding gives every bit back.
//! - A page is decoded without those before it.
//!
//! Not here: times (`times.rs`); which chunks are neighbours (`sstable/dense.rs`).

mod decimals;
mod presence;
#[cfg(test)]
mod tests;

pub(crate) use decimals::Decimals;
pub(crate) use presence::odd_values;

use super::decimal;
use super::fast;
use super::ints;
use super::pages::{self, Buffers, Model};
use super::times;
use crate::bytes::{Damaged, Input, put_ivarint, put_uvarint};
use model::column::Known;
use std::ops::Range;

/// The most samples of a dense chunk.
pub(crate) const SAMPLES_MAX: usize = times::COLUMN_LEN_MAX;

const METHOD: u8 = 0b11;
const CONSTANT: u8 = 0;
const INTEGERS: u8 = 1;
const FLOATS: u8 = 2;
const FAST_PAGES: u8 = 3;
const HAS_STARTS: u8 = 0b100;
const HAS_ODD: u8 = 0b1000;
/// In the place of an exponent: eight bytes follow.
const RAW: u8 = 255;

/// pco's level: on the workloads measured, higher ones cost twice the time and save nothing.
pub(crate) const LEVEL: usize = 4;

/// A chunk that was coded.
#[derive(Debug)]
pub(crate) struct Coded {
    pub(crate) bytes: Vec<u8>,
    /// Whether its integers are differences to those of the chunk before.
    pub(crate) is_difference: bool,
    /// Its integers, which the next chunk may be a difference to.
    pub(crate) decimals: Option<Decimals>,
}

/// Codes values, at least one and at most [`SAMPLES_MAX`], and their starts: as many, or none.
/// `before` are the integers of a neighbour with the same times.
pub(crate) fn encode(values: &[f64], starts: &[i64], before: Option<&Decimals>) -> Coded {
    let mut prefix = Vec::new();
    if starts.iter().any(|start| *start != 0) {
        let mut column = Vec::new();
        times::put(starts, LEVEL, &mut column);
        put_uvarint(&mut prefix, column.len() as u64);
        prefix.extend_from_slice(&column);
    }
    let flags = if prefix.is_empty() { 0 } else { HAS_STARTS };
    let whole = |method: u8, body: &[u8]| {
        let mut bytes = vec![method | flags];
        bytes.extend_from_slice(&prefix);
        bytes.extend_from_slice(body);
        bytes
    };
    if let Some(body) = constant(values) {
        let bytes = whole(CONSTANT, &body);
        return Coded { bytes, is_difference: false, decimals: None };
    }
    let decimals = Decimals::of(values);
    let mut best = Best::default();
    if let Some(decimals) = &decimals {
        let method = if decimals.odd.is_empty() { INTEGERS } else { INTEGERS | HAS_ODD };
        best.offer(method, false, decimals.encode(&decimals.mantissas));
        let before = before.filter(|before| before.exponent == decimals.exponent);
        if let Some(differences) = before.and_then(|before| decimals.minus(before)) {
            best.offer(method, true, decimals.encode(&differences));
        }
    }
    let moves = values.windows(2).filter(|two| two[0].to_bits() != two[1].to_bits()).count();
    if values.len() <= 64 || moves < values.len() / 8 {
        best.offer(FAST_PAGES, false, Some(fast_pages(values)));
    }
    if best.body.as_ref().is_none_or(|body| body.len() > values.len() * 5) {
        best.offer(FLOATS, false, floats(values));
    }
    if best.body.is_none() {
        best.offer(FAST_PAGES, false, Some(fast_pages(values)));
    }
    let Best { method, is_difference, body } = best;
    let bytes = whole(method, &body.unwrap_or_default());
    let decimals = decimals.filter(|_| method & METHOD == INTEGERS);
    Coded { bytes, is_difference, decimals }
}

/// The shortest form so far.
#[derive(Default)]
struct Best {
    method: u8,
    is_difference: bool,
    body: Option<Vec<u8>>,
}

impl Best {
    fn offer(&mut self, method: u8, is_difference: bool, body: Option<Vec<u8>>) {
        let Some(body) = body else { return };
        if self.body.as_ref().is_none_or(|best| body.len() < best.len()) {
            *self = Self { method, is_difference, body: Some(body) };
        }
    }
}

fn constant(values: &[f64]) -> Option<Vec<u8>> {
    let first = values.first()?;
    if values.iter().any(|value| value.to_bits() != first.to_bits()) {
        return None;
    }
    let mut body = Vec::new();
    match decimal::smallest(*first) {
        Some((exponent, mantissa)) => {
            body.push(exponent);
            put_ivarint(&mut body, mantissa);
        }
        None => {
            body.push(RAW);
            body.extend_from_slice(&first.to_bits().to_le_bytes());
        }
    }
    Some(body)
}

fn floats(values: &[f64]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    pages::put(values, Model::Floats, LEVEL, &mut body)?;
    Some(body)
}

fn fast_pages(values: &[f64]) -> Vec<u8> {
    let (mut body, mut out) = (Vec::new(), Vec::new());
    let mut pages = values.chunks(pages::PAGE).peekable();
    while let Some(page) = pages.next() {
        let mut encoder = fast::Encoder::default();
        for (time, value) in (0..).zip(page) {
            encoder.push(time, *value, 0);
        }
        let Some(chunk) = encoder.seal(0) else { continue };
        if pages.peek().is_some() {
            put_uvarint(&mut out, chunk.bytes.len() as u64);
        }
        body.extend_from_slice(&chunk.bytes);
    }
    out.extend_from_slice(&body);
    out
}

/// Decodes chunks, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffers: Buffers,
    /// The integers of the chunk before: of these of its pages.
    integers: Vec<i64>,
    held: Option<Held>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    count: usize,
    pages: Range<usize>,
    exponent: u8,
}

/// What is asked of a chunk.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// How many samples the chunk has.
    pub(crate) count: usize,
    /// Which of them are wanted.
    pub(crate) places: Range<usize>,
    /// Whether its integers are differences to those of the chunk that was decoded before.
    pub(crate) is_difference: bool,
}

impl Decoder {
    /// Decodes a chunk. The wanted values are appended, and their starts if it has any: `starts`
    /// then grows by as many. Tells what is known of the values.
    pub(crate) fn decode(
        &mut self,
        bytes: &[u8],
        ask: &Ask,
        values: &mut Vec<f64>,
        starts: &mut Vec<i64>,
    ) -> Result<Known, Damaged> {
        let Ask { count, ref places, is_difference } = *ask;
        if count == 0 || count > SAMPLES_MAX || places.start > places.end || places.end > count {
            return Err(Damaged("a chunk's count is out of range"));
        }
        let mut input = Input::new(bytes);
        let flags = input.u8()?;
        if flags & HAS_STARTS != 0 {
            let len = input.count(1)?;
            let column = times::read(input.take(len)?, count, &mut self.buffers)?;
            starts.extend_from_slice(&column[places.clone()]);
        }
        let held = self.held.take();
        values.reserve(places.len());
        match flags & METHOD {
            INTEGERS => {
                let before = held.filter(|_| is_difference);
                self.integers(&mut input, flags, ask, before, values)
            }
            _ if is_difference => Err(Damaged("a chunk has no integers to be differences")),
            CONSTANT => {
                let value = match input.u8()? {
                    RAW => f64::from_bits(input.u64()?),
                    exponent if exponent > decimal::EXPONENT_MAX => return Err(BAD_EXPONENT),
                    exponent => decimal::float(input.ivarint()?, exponent),
                };
                values.resize(values.len() + places.len(), value);
                Ok(if value.is_nan() { Known::Nothing } else { Known::Ascends })
            }
            FLOATS => {
                let rest = input.take(input.len())?;
                let range = pages::pages_of(places);
                pages::read::<f64>(rest, count, range, &mut self.buffers, |page, floats| {
                    let at = pages::page_range(page, count);
                    values.extend_from_slice(&floats[within(places, &at)]);
                })?;
                Ok(Known::Nothing)
            }
            _ => read_fast_pages(&mut input, count, places, values).map(|()| Known::Nothing),
        }
    }

    fn integers(
        &mut self,
        input: &mut Input<'_>,
        flags: u8,
        ask: &Ask,
        before: Option<Held>,
        values: &mut Vec<f64>,
    ) -> Result<Known, Damaged> {
        let Ask { count, ref places, is_difference } = *ask;
        let exponent = input.u8()?;
        if exponent > decimal::EXPONENT_MAX {
            return Err(BAD_EXPONENT);
        }
        let odd = if flags & HAS_ODD != 0 { read_odd(input, count)? } else { Vec::new() };
        let pages = pages::pages_of(places);
        let held = Held { count, pages: pages.clone(), exponent };
        if is_difference && before.as_ref() != Some(&held) {
            return Err(Damaged("a chunk is a difference to one that is not there"));
        }
        let rest = input.take(input.len())?;
        let Self { buffers, integers, .. } = self;
        let (base, mut done) = (values.len(), 0);
        let mut convert = |page: usize, integers: &[i64]| {
            let wanted = within(places, &pages::page_range(page, count));
            decimal::extend_floats(integers.get(wanted).unwrap_or(&[]), exponent, values);
        };
        let ascends = if is_difference {
            ints::read(rest, count, pages, buffers, |page, differences| {
                let integers = integers.get_mut(done..done + differences.len()).unwrap_or_default();
                for (integer, difference) in integers.iter_mut().zip(differences) {
                    *integer = integer.wrapping_add(*difference);
                }
                done += differences.len();
                convert(page, integers);
            })?;
            false
        } else {
            integers.clear();
            ints::read(rest, count, pages, buffers, |page, of_page| {
                integers.extend_from_slice(of_page);
                convert(page, of_page);
            })?
        };
        if values.len() - base != places.len() {
            return Err(Damaged("a chunk has fewer integers than its head says"));
        }
        for (index, bits) in odd.iter().filter(|(index, _)| places.contains(index)) {
            values[base + index - places.start] = f64::from_bits(*bits);
        }
        self.held = Some(held);
        Ok(match odd.is_empty() {
            true if ascends => Known::Ascends,
            true => Known::NoNan,
            false => Known::Nothing,
        })
    }
}

const BAD_EXPONENT: Damaged = Damaged("a chunk has an exponent out of range");

/// The part of `at` that is in `places`, counted from where `at` begins.
fn within(places: &Range<usize>, at: &Range<usize>) -> Range<usize> {
    let start = places.start.clamp(at.start, at.end);
    let end = places.end.clamp(start, at.end);
    start - at.start..end - at.start
}

fn read_odd(input: &mut Input<'_>, count: usize) -> Result<Vec<(usize, u64)>, Damaged> {
    let len = input.count(9)?;
    let (mut odd, mut next) = (Vec::with_capacity(len), 0_usize);
    for _ in 0..len {
        let gap = usize::try_from(input.uvarint()?).unwrap_or(usize::MAX);
        let index = next.saturating_add(gap);
        if index >= count {
            return Err(Damaged("a value lies beyond its chunk"));
        }
        next = index + 1;
        odd.push((index, input.u64()?));
    }
    Ok(odd)
}

fn read_fast_pages(
    input: &mut Input<'_>,
    count: usize,
    places: &Range<usize>,
    values: &mut Vec<f64>,
) -> Result<(), Damaged> {
    let pages = pages::pages_of(&(0..count)).len();
    let lens = (1..pages).map(|_| input.count(1)).collect::<Result<Vec<_>, _>>()?;
    let wanted = pages::pages_of(places);
    for page in 0..wanted.end.min(pages) {
        let len = lens.get(page).copied().unwrap_or(input.len());
        let bytes = input.take(len)?;
        if page < wanted.start {
            continue;
        }
        let at = pages::page_range(page, count);
        let inside = within(places, &at);
        let len = u32::try_from(at.len()).unwrap_or(0);
        let mut index = 0;
        fast::decode(bytes, 0, len, |_, value, _| {
            if index >= inside.start {
                values.push(value);
            }
            index += 1;
            index < inside.end
        })?;
    }
    Ok(())
}
