//! Which series of the head are in a query's shard.
//!
//! Series that came together are neighbours here and share most of their labels, so a series' hash is
//! that of the one before it but for the labels that differ.

use super::symbols::Symbols;
use crate::select::Query;
use model::QueryShard;
use model::query_shard::{pair_hash, text_hash};

/// Tells the series of a query's shard, one after the other.
#[derive(Debug)]
pub(super) struct ShardFilter {
    shard: QueryShard,
    /// By symbol, once it was asked for.
    hashes: Vec<Option<u64>>,
    /// The ids of the series before, and its hash.
    ids: Vec<u32>,
    hash: u64,
}

impl ShardFilter {
    /// The filter for a tenant's series; `None` if every series is in.
    pub(super) fn new(query: &Query, symbols: &Symbols) -> Option<Self> {
        let (shard, hashes) = (query.shard, vec![None; symbols.len()]);
        (!shard.is_all()).then_some(Self { shard, hashes, ids: Vec::new(), hash: 0 })
    }

    /// Whether the series of these ids (`symbols::LabelIds`) is in the shard.
    pub(super) fn holds(&mut self, ids: &[u32], symbols: &Symbols) -> bool {
        let names = ids.first().and_then(|shape| symbols.shapes().get(*shape as usize));
        let names = names.map_or(&[][..], |names| names);
        if self.ids.first() != ids.first() || self.ids.len() != ids.len() {
            // Nothing in the place of each value.
            self.ids.clear();
            self.ids.extend(ids.first());
            self.ids.resize(ids.len(), u32::MAX);
            self.hash = 0;
        }
        for (index, name) in names.iter().enumerate() {
            let (Some(before), Some(now)) = (self.ids.get(index + 1), ids.get(index + 1)) else {
                break;
            };
            let (before, now) = (*before, *now);
            if before != now {
                let lost = if before == u32::MAX { 0 } else { self.pair(*name, before, symbols) };
                let won = self.pair(*name, now, symbols);
                self.hash = self.hash.wrapping_sub(lost).wrapping_add(won);
                self.ids[index + 1] = now;
            }
        }
        self.shard.holds_hash(self.hash)
    }

    fn pair(&mut self, name: u32, value: u32, symbols: &Symbols) -> u64 {
        let mut hash = |symbol: u32| {
            let hash = || symbols.texts().get(symbol as usize).map_or(0, |text| text_hash(text));
            match self.hashes.get_mut(symbol as usize) {
                Some(known) => *known.get_or_insert_with(hash),
                None => hash(),
            }
        };
        pair_hash(hash(name), hash(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::read::{SelectBounds, Selection, Wanted};
    use model::{LabelSet, TimeRange};

    #[test]
    fn a_series_is_in_its_shard_whatever_series_came_before() {
        let mut symbols = Symbols::new(7);
        let sets: Vec<LabelSet> = (0..400_u32)
            .map(|n| {
                let mut pairs =
                    vec![("__name__", format!("m{}", n % 3)), ("cpu", (n / 7).to_string())];
                if n % 5 == 0 {
                    pairs.push(("le", n.to_string()));
                }
                if n % 11 < 5 {
                    pairs.push(("zone", "a".to_owned()));
                }
                LabelSet::from_pairs(pairs).unwrap()
            })
            .collect();
        let ids: Vec<_> = sets.iter().map(|labels| symbols.intern_labels(labels)).collect();
        for index in 0..3 {
            let shard = QueryShard { index, count: 3 };
            let selection = Selection {
                matchers: Vec::new(),
                range: TimeRange::ALL,
                days: None,
                shard,
                bounds: SelectBounds::NONE,
                wanted: Wanted::ALL,
            };
            let query = Query::of_selection(&selection).unwrap().unwrap();
            let mut filter = ShardFilter::new(&query, &symbols).unwrap();
            for (labels, ids) in sets.iter().zip(&ids) {
                assert_eq!(filter.holds(ids, &symbols), shard.holds(labels), "{labels}");
            }
        }
    }
}
