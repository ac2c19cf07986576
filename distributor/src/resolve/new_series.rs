//! The new series of a request, as rows of one table.
//!
//! The labels of a scrape's series differ in few: most pieces of a series are, byte for byte, those of
//! the one before, and are neither decoded nor checked nor looked up again.
//!
//! # Invariants
//! - What gets in is *plain*: every label has a name and a value, is UTF-8 and within the tenant's
//!   bounds, one of them is the metric's name, and names ascend. All others, and what is wrong with them,
//!   are for `gate.rs` to say, one by one; nothing is kept of them.
//! - Of a series no more labels are held than the bounds allow: in 2.0 a label is two bytes.

use crate::label_hash::LabelHasher;
use crate::resolve::position;
use crate::validate::LabelBounds;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use model::{LabelTable, METRIC_NAME, Text};
use std::ops::Range;
use std::sync::Arc;
use wire::remote_write::{Piece, RawLabels};

/// Where `__name__` is among the texts.
const METRIC_NAME_AT: u32 = 0;

/// A table in the making.
pub(super) struct NewSeries<'b> {
    hasher: &'b LabelHasher,
    bounds: LabelBounds,
    /// In order of first use, each with a hash that senders cannot foresee.
    texts: Vec<(u64, &'b str)>,
    by_text: HashTable<u32>,
    /// Name, value, name, value …: places among the texts.
    keys: Vec<u32>,
    /// The labels of the series before, and of the one that is read.
    before: Vec<Label<'b>>,
    labels: Vec<Label<'b>>,
}

#[derive(Clone, Copy)]
struct Label<'b> {
    piece: Piece<'b>,
    name: &'b str,
    name_at: u32,
    value_at: u32,
    bytes: u64,
}

/// A series that was added.
pub(super) struct Added {
    pub(super) keys: Range<usize>,
    /// Of its names and values.
    pub(super) bytes: u64,
}

impl<'b> NewSeries<'b> {
    /// Without a series.
    pub(super) fn new(hasher: &'b LabelHasher, bounds: LabelBounds) -> Self {
        let mut new = Self {
            hasher,
            bounds,
            texts: Vec::new(),
            by_text: HashTable::new(),
            keys: Vec::new(),
            before: Vec::new(),
            labels: Vec::new(),
        };
        new.place(METRIC_NAME);
        new
    }

    /// Adds a series; `None` if it is not plain.
    pub(super) fn push(&mut self, raw: RawLabels<'b>) -> Option<Added> {
        let known = self.texts.len();
        let added = self.try_push(raw);
        if added.is_none() {
            self.forget_from(known);
        }
        added
    }

    fn try_push(&mut self, raw: RawLabels<'b>) -> Option<Added> {
        self.labels.clear();
        let (mut theirs, mut bytes, mut has_metric) = (0, 0, false);
        for piece in raw.pieces() {
            let piece = piece.ok()?;
            let label = match self.before.get(theirs) {
                Some(label) if label.piece == piece => {
                    theirs += 1;
                    *label
                }
                _ => self.read(raw, piece, &mut theirs)?,
            };
            bytes += label.bytes;
            let ascends = self.labels.last().is_none_or(|last| last.name < label.name);
            if !ascends || !self.bounds.allow(self.labels.len() as u64 + 1, bytes) {
                return None;
            }
            has_metric |= label.name_at == METRIC_NAME_AT;
            self.labels.push(label);
        }
        if !has_metric {
            return None;
        }
        let start = self.keys.len();
        self.keys.extend(self.labels.iter().flat_map(|label| [label.name_at, label.value_at]));
        std::mem::swap(&mut self.before, &mut self.labels);
        Some(Added { keys: start..self.keys.len(), bytes })
    }

    /// Reads a label that stands where the one before has another; `theirs` goes on behind its name.
    fn read(
        &mut self,
        raw: RawLabels<'b>,
        piece: Piece<'b>,
        theirs: &mut usize,
    ) -> Option<Label<'b>> {
        let (name, value) = raw.label(piece).ok()?;
        // Before its bytes are looked at: many may refer to one giant symbol.
        if name.is_empty() || value.is_empty() || !self.bounds.allow_label(name, value) {
            return None;
        }
        let (name, value) = (std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?);
        let rest = self.before.get(*theirs..).unwrap_or(&[]);
        *theirs += rest.iter().take_while(|label| label.name < name).count();
        let name_at = match self.before.get(*theirs) {
            Some(label) if label.name == name => {
                *theirs += 1;
                label.name_at
            }
            _ => self.place(name),
        };
        let bytes = (name.len() + value.len()) as u64;
        Some(Label { piece, name, name_at, value_at: self.place(value), bytes })
    }

    /// Where a text is, which gets a place if it has none.
    fn place(&mut self, text: &'b str) -> u32 {
        let texts = &self.texts;
        let hash = self.hasher.text(text.as_bytes());
        let is_it = |at: &u32| texts.get(*at as usize).is_some_and(|(_, held)| *held == text);
        let hash_of = |at: &u32| texts.get(*at as usize).map_or(0, |(hash, _)| *hash);
        match self.by_text.entry(hash, is_it, hash_of) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(vacant) => {
                let at = position(texts.len());
                vacant.insert(at);
                self.texts.push((hash, text));
                at
            }
        }
    }

    /// Takes the texts from a place on out again.
    fn forget_from(&mut self, known: usize) {
        for (index, (hash, _)) in self.texts.iter().enumerate().skip(known) {
            if let Ok(found) = self.by_text.find_entry(*hash, |at| *at as usize == index) {
                found.remove();
            }
        }
        self.texts.truncate(known);
    }

    /// The table, in which each series has the keys that it had.
    pub(super) fn finish(self) -> Arc<LabelTable> {
        let Self { texts, mut keys, by_text, .. } = self;
        // Not held beside what follows.
        drop(by_text);
        let text = |at: &u32| texts[*at as usize].1;
        let mut order: Vec<u32> = (0..).take(texts.len()).collect();
        order.sort_unstable_by(|a, b| text(a).cmp(text(b)));
        let mut places = vec![0; texts.len()];
        for (at, place) in order.iter().zip(0..) {
            places[*at as usize] = place;
        }
        keys.iter_mut().for_each(|key| *key = places[*key as usize]);
        LabelTable::new(order.iter().map(|at| Text::from(text(at))).collect(), keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Gate, Seen};
    use guard::{Limit, Limits};
    use proptest::prelude::*;
    use wire::remote_write::SymbolTable;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn field(out: &mut Vec<u8>, key: u8, bytes: &[u8]) {
        out.extend([key, u8::try_from(bytes.len()).unwrap()]);
        out.extend_from_slice(bytes);
    }

    /// As 1.0 has them.
    fn spelled(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut raw = Vec::new();
        for (name, value) in pairs {
            let mut label = Vec::new();
            field(&mut label, 0x0a, name);
            field(&mut label, 0x12, value);
            field(&mut raw, 0x0a, &label);
        }
        raw
    }

    /// The symbols of some series, as a 2.0 body has them, and each series' references.
    fn referred(series: &[Pairs]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut symbols: Vec<&[u8]> = vec![&b""[..]];
        let mut place = |text| {
            let found = symbols.iter().position(|held| *held == text).unwrap_or(symbols.len());
            if found == symbols.len() {
                symbols.push(text);
            }
            u8::try_from(found).unwrap()
        };
        let mut rows = Vec::new();
        for pairs in series {
            let refs: Vec<u8> =
                pairs.iter().flat_map(|(n, v)| [place(&**n), place(&**v)]).collect();
            let mut row = Vec::new();
            field(&mut row, 0x0a, &refs);
            rows.push(row);
        }
        let mut body = Vec::new();
        symbols.iter().for_each(|symbol| field(&mut body, 0x22, symbol));
        (body, rows)
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            20 => "[a-d]{1,2}".prop_map(String::into_bytes),
            1 => "[a-d]{9}".prop_map(String::into_bytes),
            1 => Just(Vec::<u8>::new()),
            1 => Just(vec![0xff_u8]),
        ]
    }

    fn pairs() -> impl Strategy<Value = Pairs> {
        let sorted = prop::collection::btree_map(text(), text(), 0..6)
            .prop_map(|pairs| pairs.into_iter().collect::<Pairs>());
        let any = prop::collection::vec((text(), text()), 0..6);
        (prop_oneof![8 => sorted, 1 => any], 0..10_u8).prop_map(|(mut pairs, named)| {
            if named > 0 {
                let metric = if named > 5 { "up" } else { "down" };
                pairs.insert(0, (METRIC_NAME.into(), metric.into()));
            }
            pairs
        })
    }

    fn limits() -> Limits {
        Limits {
            max_labels: Limit(5),
            max_label_name_bytes: Limit(8),
            max_label_value_bytes: Limit(8),
            max_labels_bytes: Limit(30),
            ..Limits::default()
        }
    }

    /// Each series by itself is what it is in the table, if it is there at all.
    fn check(raws: &[RawLabels<'_>], series: &[Pairs]) -> Result<(), TestCaseError> {
        let (limits, hasher) = (limits(), hasher());
        let gate = Gate::new(&limits);
        let mut new = NewSeries::new(&hasher, LabelBounds::of(&limits));
        let added: Vec<Option<Added>> = raws.iter().map(|raw| new.push(*raw)).collect();
        let table = new.finish();
        for ((raw, pairs), added) in raws.iter().zip(series).zip(added) {
            let alone = gate.see(*raw, &limits, None).unwrap();
            let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
            let in_table = added.map(|added| {
                assert_eq!(added.bytes, bytes as u64);
                table.row(added.keys).unwrap()
            });
            let is_sorted = pairs.is_sorted_by(|a, b| a.0 < b.0);
            let is_plain = is_sorted && pairs.iter().all(|(_, value)| !value.is_empty());
            match in_table {
                Some(labels) => prop_assert_eq!(alone, Ok(Seen::Series(labels))),
                None => prop_assert!(alone.is_err() || !is_plain, "{:?} is left out", pairs),
            }
        }
        Ok(())
    }

    fn hasher() -> LabelHasher {
        let mut seed = 0_u64;
        LabelHasher::new(|| {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            seed
        })
    }

    #[test]
    fn of_what_is_not_plain_nothing_is_kept_however_much_it_refers_to() {
        let (limits, hasher) = (Limits { max_labels: Limit(5), ..Limits::default() }, hasher());
        let body = [&b"\x22\x00"[..], b"\x22\x08__name__", b"\x22\x01a", b"\x22\x01b"].concat();
        let symbols = SymbolTable::read(&body).unwrap();
        let row = |refs: &[u8]| {
            let mut row = vec![0x0a];
            let mut len = refs.len();
            while len > 0x7f {
                row.push(len.to_le_bytes()[0] | 0x80);
                len >>= 7;
            }
            row.push(len.to_le_bytes()[0]);
            row.extend_from_slice(refs);
            row
        };
        let mut new = NewSeries::new(&hasher, LabelBounds::of(&limits));
        let rows = [row(&[2, 3].repeat(1 << 20)), row(&[2, 3]), row(&[1, 2, 2, 3, 2, 3])];
        for raw in &rows {
            assert!(new.push(RawLabels::new(raw, Some(symbols.over(&body)))).is_none());
            assert!(new.labels.capacity() < 16 && new.texts.len() == 1 && new.by_text.len() == 1);
        }
        let plain = row(&[1, 3, 2, 3]);
        assert!(new.push(RawLabels::new(&plain, Some(symbols.over(&body)))).is_some());
        assert_eq!(new.finish().texts().len(), 3);
    }

    proptest! {
        #[test]
        fn a_series_is_the_same_in_the_table_as_by_itself(
            series in prop::collection::vec((pairs(), 1..4_usize), 0..12),
        ) {
            // Some come again, as they do not in a scrape.
            let series: Vec<Pairs> =
                series.into_iter().flat_map(|(pairs, count)| vec![pairs; count]).collect();
            let spelled: Vec<Vec<u8>> = series.iter().map(|pairs| spelled(pairs)).collect();
            let raws: Vec<RawLabels<'_>> =
                spelled.iter().map(|raw| RawLabels::new(raw, None)).collect();
            check(&raws, &series)?;
            let (body, rows) = referred(&series);
            let symbols = SymbolTable::read(&body).unwrap();
            let raws: Vec<RawLabels<'_>> =
                rows.iter().map(|raw| RawLabels::new(raw, Some(symbols.over(&body)))).collect();
            check(&raws, &series)?;
        }
    }
}
