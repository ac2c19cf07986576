//! The numbers of series of an earlier generation, and those of this one.
//!
//! Numbers come in runs, in definitions and in records, so they lie in pages.

use crate::head::NUMBER_STEP;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Numbers in one page: as a damaged or hostile definition may need one for itself, 256 bytes.
const PAGE: u32 = 64;
const NONE: u32 = u32::MAX;

/// Old number -> new number.
#[derive(Debug)]
pub(super) struct Renumbering {
    pages: Vec<[u32; PAGE as usize]>,
    /// Which numbers a page has -> its place.
    places: HashMap<u32, usize, RandomState>,
    /// The page asked for last.
    last: (u32, usize),
}

impl Default for Renumbering {
    fn default() -> Self {
        // No page has this name.
        Self { pages: Vec::new(), places: HashMap::default(), last: (NONE, 0) }
    }
}

/// A number's page, and its place there: neighbours in a shard are neighbours here.
fn place_of(number: u32) -> (u32, usize) {
    let (shard, local) = (number % NUMBER_STEP, number / NUMBER_STEP);
    ((local / PAGE) * NUMBER_STEP + shard, (local % PAGE) as usize)
}

impl Renumbering {
    pub(super) fn insert(&mut self, old: u32, new: u32) {
        let (name, at) = place_of(old);
        let pages = &mut self.pages;
        let place = *self.places.entry(name).or_insert_with(|| {
            pages.push([NONE; PAGE as usize]);
            pages.len() - 1
        });
        if let Some(page) = pages.get_mut(place) {
            page[at] = new;
        }
    }

    /// The new number of an old one.
    #[inline]
    pub(super) fn get(&mut self, old: u32) -> Option<u32> {
        let (name, at) = place_of(old);
        if self.last.0 != name {
            self.last = (name, *self.places.get(&name)?);
        }
        self.pages.get(self.last.1).map(|page| page[at]).filter(|new| *new != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_number_is_found_as_it_was_told_last(
            told in prop::collection::vec((prop_oneof![0_u32..3000, any::<u32>()], 0_u32..9), 0..200),
            asked in prop::collection::vec(prop_oneof![0_u32..3000, any::<u32>()], 0..50),
        ) {
            let (mut found, mut expected) = (Renumbering::default(), BTreeMap::new());
            for (old, new) in &told {
                prop_assert_eq!(found.get(*old), expected.get(old).copied());
                found.insert(*old, *new);
                expected.insert(*old, *new);
            }
            for old in told.iter().map(|(old, _)| old).chain(&asked) {
                prop_assert_eq!(found.get(*old), expected.get(old).copied());
            }
            prop_assert!(found.pages.len() <= told.len());
        }
    }
}
