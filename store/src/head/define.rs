//! Many definitions at once, as a request, a checkpoint and the log have them: their labels are rows
//! of one table, so each text is looked up once and not once a series.

use super::Tenant;
use super::symbols::{LabelIds, Symbols};
use crate::engine::AppendLimits;
use model::series::{Fingerprints, target_hash};
use model::{LabelSet, LabelTable};
use std::sync::Arc;

const UNKNOWN: u32 = u32::MAX;

/// What is known of the table whose rows come.
///
/// Symbols are those of one tenant, who must not be numbered anew meanwhile.
pub(super) struct Rows<'a> {
    fingerprints: Fingerprints<'a>,
    table: Option<&'a Arc<LabelTable>>,
    /// Place in the table -> symbol.
    symbols: Vec<u32>,
    /// The names of the last row, as places, and the number of their shape, if it has one.
    names: Vec<u32>,
    shape: Option<u32>,
    /// Where in it `job` and `instance` stand.
    target_places: Option<(usize, usize)>,
    /// The values there in the last row, as places, and the target they make.
    target: Option<((u32, u32), u64)>,
}

/// Which series, as far as its labels alone tell.
pub(super) struct Begun {
    pub(super) fingerprint: u64,
    pub(super) target: u64,
}

impl<'a> Rows<'a> {
    /// No row yet, of a tenant with this salt.
    pub(super) fn new(salt: u64) -> Self {
        Self {
            fingerprints: Fingerprints::new(salt),
            table: None,
            symbols: Vec::new(),
            names: Vec::new(),
            shape: None,
            target_places: None,
            target: None,
        }
    }

    /// Begins with a label set, which may be no row.
    pub(super) fn begin(&mut self, labels: &'a LabelSet) -> Begun {
        let fingerprint = self.fingerprints.of(labels).0;
        let target = match labels.places() {
            Some((table, keys)) => self.begin_row(labels, table, keys),
            None => target_hash(labels),
        };
        Begun { fingerprint, target }
    }

    fn begin_row(&mut self, labels: &LabelSet, table: &'a Arc<LabelTable>, keys: &[u32]) -> u64 {
        let is_first = self.table.is_none_or(|held| !Arc::ptr_eq(held, table));
        if is_first {
            self.table = Some(table);
            self.symbols.clear();
            self.symbols.resize(table.texts().len(), UNKNOWN);
        }
        let (pairs, _) = keys.as_chunks::<2>();
        if is_first || !self.names.iter().eq(pairs.iter().map(|[name, _]| name)) {
            self.begin_shape(table, pairs);
        }
        self.target_of(labels, keys)
    }

    fn begin_shape(&mut self, table: &LabelTable, pairs: &[[u32; 2]]) {
        self.names.clear();
        self.names.extend(pairs.iter().map(|[name, _]| *name));
        self.shape = None;
        let place = |wanted: &str| {
            let text = |name: &u32| table.texts().get(*name as usize);
            self.names.iter().position(|name| text(name).is_some_and(|text| **text == *wanted))
        };
        self.target_places = place("job").zip(place("instance"));
        self.target = None;
    }

    /// The ids of the label set that was begun with; new texts and shapes get numbers.
    pub(super) fn ids(&mut self, labels: &LabelSet, symbols: &mut Symbols) -> LabelIds {
        let Some((table, keys)) = labels.places() else { return symbols.intern_labels(labels) };
        let shape = match self.shape {
            Some(shape) => shape,
            None => {
                let names = 0..self.names.len();
                let names = names.map(|index| self.symbol(table, self.names[index], symbols));
                let names: Box<[u32]> = names.collect();
                *self.shape.insert(symbols.shape_of(names))
            }
        };
        let (pairs, _) = keys.as_chunks::<2>();
        let values = pairs.iter().map(|[_, value]| self.symbol(table, *value, symbols));
        std::iter::once(shape).chain(values).collect()
    }

    fn symbol(&mut self, table: &LabelTable, place: u32, symbols: &mut Symbols) -> u32 {
        // A row's places are those of its table.
        let Some(symbol) = self.symbols.get_mut(place as usize) else { return UNKNOWN };
        if *symbol == UNKNOWN
            && let Some(text) = table.texts().get(place as usize)
        {
            *symbol = symbols.intern(text);
        }
        *symbol
    }

    fn target_of(&mut self, labels: &LabelSet, keys: &[u32]) -> u64 {
        let value = |index: usize| keys.get(2 * index + 1).copied();
        let values = self.target_places.and_then(|(job, instance)| value(job).zip(value(instance)));
        match (values, self.target) {
            (Some(values), Some((held, target))) if values == held => target,
            _ => {
                let target = target_hash(labels);
                self.target = values.map(|values| (values, target));
                target
            }
        }
    }
}

impl Tenant {
    /// Finds or makes series without limits, and hands the number that came with each and its own
    /// to `defined`. Those of a shard that has 2^28 series are left out.
    pub(crate) fn define(
        &self,
        definitions: &[(u32, LabelSet)],
        now_s: u32,
        mut defined: impl FnMut(u32, u32),
    ) {
        let mut rows = Rows::new(self.salt);
        for (old, labels) in definitions {
            if let Ok(number) = self.find_or_insert_in(&mut rows, labels, AppendLimits::NONE, now_s)
            {
                defined(*old, number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::TenantId;
    use proptest::prelude::*;

    fn tenant() -> Tenant {
        Tenant::new(TenantId::parse("t").unwrap(), "c", 1)
    }

    /// The same sets as rows of one table, as far as that goes.
    fn in_table(sets: &[LabelSet]) -> Vec<LabelSet> {
        let mut texts: Vec<model::Text> =
            sets.iter().flat_map(|set| set.iter().flat_map(|(n, v)| [n, v])).cloned().collect();
        texts.sort();
        texts.dedup();
        let place = |text: &model::Text| u32::try_from(texts.binary_search(text).unwrap()).unwrap();
        let mut keys = Vec::new();
        let mut ranges = Vec::new();
        for set in sets {
            let start = keys.len();
            keys.extend(set.iter().flat_map(|(name, value)| [place(name), place(value)]));
            ranges.push(start..keys.len());
        }
        let table = LabelTable::new(texts, keys);
        ranges.into_iter().map(|range| table.row(range).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn rows_of_tables_become_the_series_that_label_sets_one_by_one_do(
            sets in prop::collection::vec(
                prop::collection::btree_map("job|instance|le|a|b", "[xyz]", 0..5), 0..40),
            cut in 0_usize..40,
        ) {
            let sets: Vec<LabelSet> =
                sets.into_iter().map(|set| LabelSet::from_pairs(set).unwrap()).collect();
            let (one, many) = (tenant(), tenant());
            let (first, second) = sets.split_at(cut.min(sets.len()));
            let mut rows: Vec<LabelSet> = in_table(first);
            rows.extend(in_table(second));
            let rows: Vec<(u32, LabelSet)> = (0..).zip(rows).collect();
            let mut numbers = Vec::new();
            many.define(&rows, 7, |old, number| numbers.push((old, number)));
            let expected = sets.iter().map(|set| {
                one.find_or_insert(set, AppendLimits::NONE, 7).unwrap()
            });
            prop_assert_eq!(numbers, (0..).zip(expected).collect::<Vec<_>>());
            prop_assert_eq!(many.series(), one.series());
            for (a, b) in one.shards().zip(many.shards()) {
                let what = |series: &super::super::series::Series| {
                    (series.fingerprint, series.target, series.local)
                };
                prop_assert!(a.iter().map(what).eq(b.iter().map(what)));
            }
        }
    }
}
