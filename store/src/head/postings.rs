//! The postings of a head shard: label pair -> the local numbers of its series.
//!
//! Most pairs of a series are those of the series before it, so the lists of that one are looked at
//! first.
//!
//! # Invariants
//! - A pair has one list, and each value of a name that has a list stands once under the name.

use crate::postings::List;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use std::hash::BuildHasher;

/// The symbols of a name and of a value.
type Pair = (u32, u32);

/// Label pair -> series.
#[derive(Debug)]
pub(super) struct Postings {
    lists: Vec<(Pair, List)>,
    by_pair: HashTable<u32>,
    /// Name -> its values.
    values: HashMap<u32, Vec<u32>, FixedState>,
    /// The lists of the series posted last, in the order of its labels.
    last: Vec<u32>,
    hasher: FixedState,
}

impl Postings {
    pub(super) fn new(hasher: FixedState) -> Self {
        Self {
            lists: Vec::new(),
            by_pair: HashTable::new(),
            values: HashMap::with_hasher(hasher.clone()),
            last: Vec::new(),
            hasher,
        }
    }

    /// The series of a pair.
    pub(super) fn get(&self, pair: Pair) -> Option<&List> {
        let found = self.by_pair.find(self.hasher.hash_one(pair), |list| {
            self.lists.get(*list as usize).is_some_and(|(held, _)| *held == pair)
        })?;
        self.lists.get(*found as usize).map(|(_, list)| list)
    }

    /// The names, each with its values.
    pub(super) fn names(&self) -> impl Iterator<Item = (u32, &[u32])> {
        self.values.iter().map(|(name, values)| (*name, values.as_slice()))
    }

    /// The values of a name.
    pub(super) fn values(&self, name: u32) -> &[u32] {
        self.values.get(&name).map_or(&[], Vec::as_slice)
    }

    /// Adds a series, whose number is above all others, to the lists of its pairs.
    pub(super) fn post(&mut self, pairs: impl Iterator<Item = Pair>, local: u32) {
        for (index, pair) in pairs.enumerate() {
            let known = self.last.get(index).copied();
            let is_it =
                |list: &u32| self.lists.get(*list as usize).is_some_and(|(held, _)| *held == pair);
            let list = match known.filter(is_it) {
                Some(list) => list,
                None => self.list_of(pair),
            };
            match self.last.get_mut(index) {
                Some(last) => *last = list,
                None => self.last.push(list),
            }
            if let Some((_, list)) = self.lists.get_mut(list as usize) {
                list.push(local);
            }
        }
    }

    /// The list of a pair, which gets one if it has none.
    fn list_of(&mut self, pair: Pair) -> u32 {
        let Self { lists, by_pair, values, hasher, .. } = self;
        let pair_of = |list: &u32| lists.get(*list as usize).map(|(pair, _)| *pair);
        let entry = by_pair.entry(
            hasher.hash_one(pair),
            |list| pair_of(list) == Some(pair),
            |list| pair_of(list).map_or(0, |pair| hasher.hash_one(pair)),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(found) => *found.get(),
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                // Numbers and symbols end before lists do: a series has fewer than 2^16 labels.
                let list = u32::try_from(lists.len()).unwrap_or(u32::MAX);
                vacant.insert(list);
                if lists.len() == lists.capacity() {
                    // There may be as many lists as series: twice the room would be felt. But there
                    // may be as many shards as series, too.
                    lists.reserve_exact((lists.len() / 8).max(lists.len().clamp(2, 16)));
                }
                lists.push((pair, List::default()));
                values.entry(pair.0).or_default().push(pair.1);
                list
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.hasher.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn a_pair_has_the_series_that_were_posted_with_it(
            series in prop::collection::vec(prop::collection::vec(0_u32..6, 0..5), 0..60),
            cleared_at in 0_usize..80,
        ) {
            let mut postings = Postings::new(FixedState::with_seed(3));
            let mut expected: BTreeMap<Pair, BTreeSet<u32>> = BTreeMap::new();
            for (local, values) in (0..).zip(&series) {
                if local as usize == cleared_at {
                    postings.clear();
                    expected.clear();
                }
                // Names differ from series to series, too.
                let shift = u32::from(values.first() == Some(&0));
                let pairs = (shift..).zip(values.iter().copied());
                postings.post(pairs.clone(), local);
                for pair in pairs {
                    expected.entry(pair).or_default().insert(local);
                }
            }
            let held = |pair| postings.get(pair).map(|list| {
                list.runs().flat_map(|(start, end)| start..end).collect::<BTreeSet<u32>>()
            });
            for name in 0..7 {
                let mut values = postings.values(name).to_vec();
                values.sort_unstable();
                let of_name = expected.keys().filter(|pair| pair.0 == name).map(|pair| pair.1);
                prop_assert_eq!(values, of_name.collect::<Vec<_>>());
                for value in 0..7 {
                    prop_assert_eq!(held((name, value)), expected.get(&(name, value)).cloned());
                }
            }
        }
    }
}
