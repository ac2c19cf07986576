//! Definitions: numbers of series and their labels, as bytes that need nothing else to be read.
//!
//! Used by log records and by checkpoints. Strings stand once in front, then the shapes (lists of
//! names), then the series: the difference of the number to the one before, the shape, and of the
//! values only those that differ from the series before, if that has the same shape.
//!
//! Not here: who carries which definitions, and why (`engine.rs`).

use crate::bytes::{Damaged, Input, put_ivarint, put_text, put_uvarint};
use crate::head::symbols::Symbols;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use model::{LabelSet, LabelTable, Text};

/// Numbers in order of first use.
#[derive(Default)]
struct Locals {
    by_id: HashMap<u32, u32, FixedState>,
    ids: Vec<u32>,
}

impl Locals {
    fn of(&mut self, id: u32) -> u32 {
        *self.by_id.entry(id).or_insert_with(|| {
            self.ids.push(id);
            u32::try_from(self.ids.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

/// Appends the definitions of some series, given as number and label ids.
pub(crate) fn encode<'a>(
    out: &mut Vec<u8>,
    symbols: &Symbols,
    series: impl Iterator<Item = (u32, &'a [u32])>,
) {
    let (mut texts, mut shapes) = (Locals::default(), Locals::default());
    // Behind the texts that they refer to, but looked at once.
    let (mut rows, mut count) = (Vec::new(), 0_u64);
    let mut before: (u32, &[u32]) = (0, &[]);
    for (number, ids) in series {
        count += 1;
        let (shape, values) = ids.split_first().unwrap_or((&0, &[]));
        put_ivarint(&mut rows, i64::from(number) - i64::from(before.0));
        put_uvarint(&mut rows, u64::from(shapes.of(*shape)));
        match before.1.split_first() {
            Some((theirs, base)) if theirs == shape => {
                put_values(&mut rows, values, base, &mut texts);
            }
            _ => {
                for (name, value) in symbols.pairs(ids) {
                    texts.of(name);
                    texts.of(value);
                }
                put_values(&mut rows, values, &[], &mut texts);
            }
        }
        before = (number, ids);
    }
    put_uvarint(out, texts.ids.len() as u64);
    for id in &texts.ids {
        put_text(out, symbols.text(*id));
    }
    put_uvarint(out, shapes.ids.len() as u64);
    for id in &shapes.ids {
        let names = symbols.shapes().get(*id as usize).map_or(&[][..], |names| names);
        put_uvarint(out, names.len() as u64);
        names.iter().for_each(|name| put_uvarint(out, u64::from(texts.of(*name))));
    }
    put_uvarint(out, count);
    out.extend_from_slice(&rows);
}

/// More bytes than the definition of one series takes behind that of `before`, which is empty for the
/// first.
pub(crate) fn bytes_max(symbols: &Symbols, ids: &[u32], before: &[u32]) -> usize {
    // Each text, its length and its uses: at most five bytes a number.
    let text = |symbol: u32| symbols.text(symbol).len() + 11;
    let texts: usize = match differing(ids, before) {
        Some(values) => values.map(text).sum(),
        None => symbols.pairs(ids).map(|(name, value)| text(name) + text(value)).sum(),
    };
    // Number and shape, and which values differ.
    20 + ids.len() / 8 + texts
}

/// The values of a series that the one before has not; `None` if that is of another shape.
fn differing<'a>(ids: &'a [u32], before: &'a [u32]) -> Option<impl Iterator<Item = u32> + 'a> {
    let is_like = !ids.is_empty() && ids.first() == before.first();
    let both = ids.iter().zip(before).skip(1);
    is_like.then(|| both.filter(|(own, theirs)| own != theirs).map(|(own, _)| *own))
}

/// A bit for each value that differs from the base, then those values.
fn put_values(out: &mut Vec<u8>, values: &[u32], base: &[u32], texts: &mut Locals) {
    let bits_at = out.len();
    out.resize(bits_at + values.len().div_ceil(8), 0);
    for (index, value) in values.iter().enumerate() {
        if base.get(index) != Some(value) {
            out[bits_at + index / 8] |= 1 << (index % 8);
            put_uvarint(out, u64::from(texts.of(*value)));
        }
    }
}

/// Reads definitions and hands each to `visit`; their label sets share one table.
pub(crate) fn decode(
    input: &mut Input<'_>,
    mut visit: impl FnMut(u32, LabelSet),
) -> Result<(), Damaged> {
    let texts: Vec<&str> = (0..input.count(1)?).map(|_| input.text()).collect::<Result<_, _>>()?;
    let (texts, places) = ranked(&texts);
    let shapes: Vec<Vec<u32>> =
        (0..input.count(1)?).map(|_| read_shape(input, &places)).collect::<Result<_, _>>()?;
    let count = input.count(2)?;
    let (mut number, mut shape) = (0_i64, usize::MAX);
    let mut values: Vec<u32> = Vec::new();
    let (mut keys, mut rows) = (Vec::new(), Vec::new());
    for _ in 0..count {
        number = number.wrapping_add(input.ivarint()?);
        let next = input.uvarint32()? as usize;
        let names = shapes.get(next).ok_or(Damaged("a definition has an unknown shape"))?;
        if next != shape {
            (shape, values) = (next, vec![u32::MAX; names.len()]);
        }
        read_values(input, &places, &mut values)?;
        let start = keys.len();
        // A value that was never given is none.
        let given = names.iter().zip(&values).filter(|(_, value)| **value != u32::MAX);
        keys.extend(given.flat_map(|(name, value)| [*name, *value]));
        let number = u32::try_from(number).map_err(|_| Damaged("a number is out of range"))?;
        rows.push((number, start..keys.len()));
    }
    let table = LabelTable::new(texts, keys);
    for (number, row) in rows {
        let labels = match table.row(row.clone()) {
            Some(labels) => labels,
            None => table.any_row(row).map_err(|_| Damaged("a definition has a label twice"))?,
        };
        visit(number, labels);
    }
    Ok(())
}

/// The texts ascending, each once, and where each of the given ones is then.
fn ranked(texts: &[&str]) -> (Vec<Text>, Vec<u32>) {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_unstable_by_key(|index| texts[*index]);
    let mut places = vec![0; texts.len()];
    let mut ranked: Vec<Text> = Vec::with_capacity(texts.len());
    for index in order {
        if ranked.last().is_none_or(|last| **last != *texts[index]) {
            ranked.push(Text::from(texts[index]));
        }
        places[index] = u32::try_from(ranked.len() - 1).unwrap_or(u32::MAX);
    }
    (ranked, places)
}

fn read_text(input: &mut Input<'_>, places: &[u32]) -> Result<u32, Damaged> {
    let symbol = input.uvarint32()?;
    places.get(symbol as usize).copied().ok_or(Damaged("a symbol is out of range"))
}

fn read_shape(input: &mut Input<'_>, places: &[u32]) -> Result<Vec<u32>, Damaged> {
    (0..input.count(1)?).map(|_| read_text(input, places)).collect()
}

fn read_values(input: &mut Input<'_>, places: &[u32], values: &mut [u32]) -> Result<(), Damaged> {
    let bits = input.take(values.len().div_ceil(8))?;
    for (index, value) in values.iter_mut().enumerate() {
        if bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1) {
            *value = read_text(input, places)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels() -> impl Strategy<Value = LabelSet> {
        prop::collection::btree_map("[a-d]", "[x-z]{1,2}", 0..12)
            .prop_map(|pairs| LabelSet::from_pairs(pairs).unwrap())
    }

    proptest! {
        #[test]
        fn definitions_come_back(series in prop::collection::vec((any::<u32>(), labels()), 0..20)) {
            let mut symbols = Symbols::new(1);
            let ids: Vec<_> =
                series.iter().map(|(number, labels)| (*number, symbols.intern_labels(labels))).collect();
            let mut bytes = Vec::new();
            encode(&mut bytes, &symbols, ids.iter().map(|(number, ids)| (*number, &**ids)));
            let before = std::iter::once(&[][..]).chain(ids.iter().map(|(_, ids)| &**ids));
            let bound: usize = ids.iter().zip(before)
                .map(|((_, ids), before)| bytes_max(&symbols, ids, before))
                .sum();
            prop_assert!(bytes.len() <= 30 + bound, "{} {bound}", bytes.len());
            let mut back = Vec::new();
            let mut input = Input::new(&bytes);
            decode(&mut input, |number, labels| back.push((number, labels))).unwrap();
            prop_assert_eq!(back, series);
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_are_definitions_or_refused(bytes: Vec<u8>) {
            let _ = decode(&mut Input::new(&bytes), |_, _| ());
        }
    }
}
