//! Integers of a chunk: each page as its base, and differences as small unsigned numbers.
//!
//! *Order 0*: a number is the minimum plus a word times the factor. *Order 1*: it is the number
//! before plus that; the first of a page counts from the page's base. All sums wrap around.
//!
//! Not here: the entropy coder (`pages.rs`).

use super::pages::{self, Buffers, Model, PAGE};
use crate::bytes::{Damaged, Input, put_ivarint, put_uvarint};
use pco::data_types::Number;
use std::ops::Range;

/// How wide a word is: 0 none, all are the minimum; else 2^(n + 3) bits.
const WIDTH: u8 = 0b11;
const IS_ORDER_1: u8 = 0b100;
const HAS_FACTOR: u8 = 0b1000;

/// Appends integers, at least one. `None` if they cannot be coded; then `out` is as it was.
pub(crate) fn put(numbers: &[i64], level: usize, out: &mut Vec<u8>) -> Option<()> {
    let before = out.len();
    let as_differences = !falls_upwards(numbers) && is_better_as_differences(numbers);
    let differences = as_differences.then(|| differences(numbers));
    let terms = differences.as_deref().unwrap_or(numbers);
    let min = terms.iter().copied().min()?;
    let mut words: Vec<u64> =
        terms.iter().map(|term| term.wrapping_sub(min).cast_unsigned()).collect();
    let factor = greatest_factor(&words);
    if factor > 1 {
        words.iter_mut().for_each(|word| *word /= factor);
    }
    let width = match words.iter().copied().max()? {
        0 => 0,
        1..=0xffff => 1,
        0x1_0000..=0xffff_ffff => 2,
        _ => 3,
    };
    let order = if differences.is_some() { IS_ORDER_1 } else { 0 };
    out.push(width | order | if factor > 1 { HAS_FACTOR } else { 0 });
    put_ivarint(out, min);
    if factor > 1 {
        put_uvarint(out, factor);
    }
    if differences.is_some() {
        let mut base_before = 0;
        for page in pages::pages_of(&(0..numbers.len())) {
            let base = base(numbers, page, min);
            put_ivarint(out, base.wrapping_sub(base_before));
            base_before = base;
        }
    }
    let done = match width {
        0 => Some(()),
        1 => put_words::<u16>(&words, level, out),
        2 => put_words::<u32>(&words, level, out),
        _ => pages::put(&words, Model::Plain, level, out),
    };
    if done.is_none() {
        out.truncate(before);
    }
    done
}

fn put_words<T: Number + TryFrom<u64> + Default>(
    words: &[u64],
    level: usize,
    out: &mut Vec<u8>,
) -> Option<()> {
    let words: Vec<T> = words.iter().map(|word| T::try_from(*word).unwrap_or_default()).collect();
    pages::put(&words, Model::Plain, level, out)
}

/// The number before a page; before the first one, such that its difference is the minimum.
fn base(numbers: &[i64], page: usize, min: i64) -> i64 {
    match (page * PAGE).checked_sub(1) {
        Some(before) => numbers[before],
        None => numbers[0].wrapping_sub(min),
    }
}

/// Each number's difference to the one before. The first has none: it gets the least of the
/// others, which costs nothing.
fn differences(numbers: &[i64]) -> Vec<i64> {
    let mut terms = Vec::with_capacity(numbers.len());
    terms.push(0);
    terms.extend(numbers.windows(2).map(|two| two[1].wrapping_sub(two[0])));
    terms[0] = terms.get(1..).and_then(|rest| rest.iter().copied().min()).unwrap_or(0);
    terms
}

/// Whether a number is less than the one before and its difference to it wraps around to one that is not:
/// by their differences the numbers would ascend.
fn falls_upwards(numbers: &[i64]) -> bool {
    numbers.windows(2).any(|two| two[1] < two[0] && two[1].wrapping_sub(two[0]) >= 0)
}

/// Whether differences are shorter than the numbers counted from their middle.
fn is_better_as_differences(numbers: &[i64]) -> bool {
    let (Some(min), Some(max)) = (numbers.iter().min(), numbers.iter().max()) else {
        return false;
    };
    let middle = min.wrapping_add((max.wrapping_sub(*min).cast_unsigned() / 2).cast_signed());
    let bits = |distance: i64| 64 - distance.unsigned_abs().leading_zeros();
    let (mut plain, mut as_differences) = (0_u64, 0_u64);
    for two in numbers.windows(2) {
        plain += u64::from(bits(two[1].wrapping_sub(middle)));
        as_differences += u64::from(bits(two[1].wrapping_sub(two[0])));
    }
    as_differences < plain
}

/// The greatest number that divides all words.
fn greatest_factor(words: &[u64]) -> u64 {
    let mut factor = 0;
    for word in words {
        let (mut a, mut b) = (factor, *word);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        factor = a;
        if factor == 1 {
            break;
        }
    }
    factor
}

/// Decodes the pages of `range` out of all of `bytes`, which hold `count` integers; `visit` gets each
/// page's number and its integers. Answers whether it is known, of what [`put`] wrote, that none is less
/// than the one before.
pub(crate) fn read(
    bytes: &[u8],
    count: usize,
    range: Range<usize>,
    buffers: &mut Buffers,
    mut visit: impl FnMut(usize, &[i64]),
) -> Result<bool, Damaged> {
    let mut input = Input::new(bytes);
    let flags = input.u8()?;
    let min = input.ivarint()?;
    let factor = if flags & HAS_FACTOR != 0 { input.uvarint()? } else { 1 };
    let pages = pages::pages_of(&(0..count));
    let mut bases = Vec::new();
    if flags & IS_ORDER_1 != 0 {
        let mut base = 0_i64;
        for _ in pages.clone() {
            base = base.wrapping_add(input.ivarint()?);
            bases.push(base);
        }
    }
    let form = Form { min, factor, bases: (flags & IS_ORDER_1 != 0).then_some(&bases) };
    let rest = input.take(input.len())?;
    let ascends = min >= 0 && flags & IS_ORDER_1 != 0;
    match flags & WIDTH {
        0 => {
            for page in range.start..range.end.min(pages.end) {
                let words = [0_u16; PAGE];
                form.of(page, &words[..pages::page_range(page, count).len()], &mut visit);
            }
        }
        1 => form.read::<u16>(rest, count, range, buffers, &mut visit)?,
        2 => form.read::<u32>(rest, count, range, buffers, &mut visit)?,
        _ => form.read::<u64>(rest, count, range, buffers, &mut visit)?,
    }
    Ok(ascends)
}

/// How words become numbers.
struct Form<'a> {
    min: i64,
    factor: u64,
    /// Of each page; if the order is 1.
    bases: Option<&'a Vec<i64>>,
}

impl Form<'_> {
    fn read<T: Number + Default + Into<u64>>(
        &self,
        bytes: &[u8],
        count: usize,
        range: Range<usize>,
        buffers: &mut Buffers,
        visit: &mut impl FnMut(usize, &[i64]),
    ) -> Result<(), Damaged> {
        pages::read::<T>(bytes, count, range, buffers, |page, words| self.of(page, words, visit))
    }

    /// Hands the integers of a page's words on.
    fn of<T: Copy + Into<u64>>(
        &self,
        page: usize,
        words: &[T],
        visit: &mut impl FnMut(usize, &[i64]),
    ) {
        let (min, factor) = (self.min, self.factor.cast_signed());
        let term = |word: &T| {
            let word: u64 = (*word).into();
            min.wrapping_add(word.cast_signed().wrapping_mul(factor))
        };
        let mut integers = [0; PAGE];
        let into = integers.iter_mut().zip(words);
        match self.bases {
            None => into.for_each(|(integer, word)| *integer = term(word)),
            Some(bases) => {
                let mut number = bases.get(page).copied().unwrap_or(0);
                into.for_each(|(integer, word)| {
                    number = number.wrapping_add(term(word));
                    *integer = number;
                });
            }
        }
        visit(page, integers.get(..words.len()).unwrap_or(&integers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![
            4 => -5_i64..50, 1 => any::<i64>(), 1 => (0_i64..9).prop_map(|n| n * 4096),
        ];
        let counter = prop::collection::vec(step.clone(), 1..1300).prop_map(|steps| {
            let sum = |sum: &mut i64, step| {
                *sum = sum.wrapping_add(step);
                Some(*sum)
            };
            steps.into_iter().scan(0_i64, sum).collect()
        });
        prop_oneof![
            counter,
            prop::collection::vec(step, 1..600),
            prop::collection::vec(Just(7_i64), 1..600)
        ]
    }

    #[test]
    fn numbers_that_fall_from_the_highest_to_the_lowest_are_not_known_to_ascend() {
        let numbers = [3_960_218_484_700_430_059, 9_223_372_036_854_775_770, i64::MIN];
        let mut bytes = Vec::new();
        put(&numbers, 8, &mut bytes).unwrap();
        let mut back = Vec::new();
        let visit = |_, integers: &[i64]| back.extend_from_slice(integers);
        assert!(!read(&bytes, 3, 0..1, &mut Buffers::default(), visit).unwrap());
        assert_eq!(back, numbers);
    }

    proptest! {
        #[test]
        fn any_pages_come_back(numbers in numbers(), start in 0_usize..3, len in 0_usize..4) {
            let mut bytes = Vec::new();
            put(&numbers, 8, &mut bytes).unwrap();
            let mut back = Vec::new();
            let ascends = read(&bytes, numbers.len(), start..start + len, &mut Buffers::default(), |page, integers| {
                assert_eq!(page, start + back.len() / PAGE);
                back.extend_from_slice(integers);
            }).unwrap();
            prop_assert!(!ascends || back.is_sorted());
            let climbs = numbers.iter().all(|number| number.unsigned_abs() < 1 << 52) && numbers.is_sorted() && numbers.len() > 300;
            prop_assert!(ascends || !climbs || numbers[0] == numbers[numbers.len() - 1]);
            let wanted = (start * PAGE).min(numbers.len())..((start + len) * PAGE).min(numbers.len());
            prop_assert_eq!(&back[..], &numbers[wanted]);
        }

        #[test]
        fn any_bytes_are_integers_or_refused(mut bytes: Vec<u8>, width in 0_u8..16, count in 0_usize..2000) {
            bytes.insert(0, width);
            let mut back = Vec::new();
            let _ = read(&bytes, count, 0..9, &mut Buffers::default(), |_, integers| back.extend_from_slice(integers));
            prop_assert!(back.len() <= count);
        }
    }
}
