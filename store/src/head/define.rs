//! Many definitions at once, as a checkpoint and the log have them: their labels are rows of one
//! table, so each text is looked up once and not once a series.

use super::symbols::Symbols;
use super::{Identity, LOCAL_MAX, Tenant, number_of};
use crate::engine::AppendLimits;
use model::series::target_hash;
use model::{LabelSet, LabelTable, SeriesId};
use std::sync::Arc;

const UNKNOWN: u32 = u32::MAX;

/// What is known of the table whose rows come.
#[derive(Default)]
struct Rows<'a> {
    table: Option<&'a Arc<LabelTable>>,
    /// Place in the table -> symbol.
    symbols: Vec<u32>,
    /// The names of the last row, as places, and the number of their shape.
    names: Vec<u32>,
    shape: u32,
    /// Where in it `job` and `instance` stand.
    target_places: Option<(usize, usize)>,
    /// The values there in the last row, as places, and the target they make.
    target: Option<((u32, u32), u64)>,
    /// The ids of the last row.
    ids: Vec<u32>,
}

impl<'a> Rows<'a> {
    /// The ids of a row.
    fn ids_of(&mut self, table: &'a Arc<LabelTable>, keys: &[u32], symbols: &mut Symbols) {
        if self.table.is_none_or(|held| !Arc::ptr_eq(held, table)) {
            *self = Self { symbols: vec![UNKNOWN; table.texts().len()], ..Self::default() };
            self.table = Some(table);
        }
        let (pairs, _) = keys.as_chunks::<2>();
        // The first row of a table has none before it.
        if self.ids.is_empty() || !self.names.iter().eq(pairs.iter().map(|[name, _]| name)) {
            self.begin_shape(table, pairs, symbols);
        }
        self.ids.clear();
        self.ids.push(self.shape);
        for [_, value] in pairs {
            let symbol = self.symbol(table, *value, symbols);
            self.ids.push(symbol);
        }
    }

    fn begin_shape(&mut self, table: &LabelTable, pairs: &[[u32; 2]], symbols: &mut Symbols) {
        self.names = pairs.iter().map(|[name, _]| *name).collect();
        let names = (0..pairs.len()).map(|index| self.symbol(table, pairs[index][0], symbols));
        let names: Box<[u32]> = names.collect();
        self.shape = symbols.shape_of(names);
        let place = |wanted: &str| {
            let text = |name: &u32| table.texts().get(*name as usize);
            self.names.iter().position(|name| text(name).is_some_and(|text| **text == *wanted))
        };
        self.target_places = place("job").zip(place("instance"));
        self.target = None;
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
        let mut rows = Rows::default();
        for (old, labels) in definitions {
            let number = match labels.places() {
                Some((table, keys)) => self.define_row(labels, (table, keys), &mut rows, now_s),
                None => self.find_or_insert(labels, AppendLimits::NONE, now_s).ok(),
            };
            if let Some(number) = number {
                defined(*old, number);
            }
        }
    }

    fn define_row<'a>(
        &self,
        labels: &LabelSet,
        (table, keys): (&'a Arc<LabelTable>, &[u32]),
        rows: &mut Rows<'a>,
        now_s: u32,
    ) -> Option<u32> {
        let fingerprint = SeriesId::of(self.salt, labels).0;
        let mut symbols = self.symbols.write();
        rows.ids_of(table, keys, &mut symbols);
        let target = rows.target_of(labels, keys);
        let index = self.shard_of_target(target);
        let mut shard = self.shards.get_or_make(index).lock();
        if let Some(local) = shard.find_ids(fingerprint, &rows.ids) {
            return Some(number_of(index, local));
        }
        let who = Identity { fingerprint, target, labels: rows.ids.as_slice().into() };
        let metric = symbols.metric(&who.labels).unwrap_or(u32::MAX);
        self.admit(metric, AppendLimits::NONE).ok()?;
        let local = shard.insert(who, &symbols, LOCAL_MAX, now_s);
        if local.is_none() {
            self.dismiss(metric);
        }
        local.map(|local| number_of(index, local))
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
