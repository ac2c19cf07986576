//! Slots: the places that series have in memory.
//!
//! They lie in pages, so that growing moves nothing and leaves at most a page of room unused; but for
//! the first, which grows as it is filled: many a tenant has few series.
//!
//! # Invariants
//! - A series stays in its slot until it is removed; then the slot may be given again.

use super::series::Series;

/// Series in one page: some 10 KiB.
const PAGE: usize = 64;

/// Series by slot.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// All but the last are full.
    pages: Vec<Vec<Option<Series>>>,
    free: Vec<u32>,
}

impl Slots {
    /// One more than the highest slot ever given.
    pub(crate) fn end(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE + last.len())
    }

    /// The series in a slot.
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&Series> {
        self.pages.get(slot as usize / PAGE)?.get(slot as usize % PAGE)?.as_ref()
    }

    /// The series in a slot.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Series> {
        self.pages.get_mut(slot as usize / PAGE)?.get_mut(slot as usize % PAGE)?.as_mut()
    }

    /// Puts a series into a slot, and returns which; `None` when there is none left.
    pub(crate) fn insert(&mut self, series: Series) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            self.pages[slot as usize / PAGE][slot as usize % PAGE] = Some(series);
            return Some(slot);
        }
        let slot = u32::try_from(self.end()).ok()?;
        if self.pages.last().is_none_or(|last| last.len() == PAGE) {
            let room = if self.pages.is_empty() { 1 } else { PAGE };
            grow_from_one(&mut self.pages);
            self.pages.push(Vec::with_capacity(room));
        }
        self.pages.last_mut()?.push(Some(series));
        Some(slot)
    }

    /// Takes a series out of its slot.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Series> {
        let held = self.pages.get_mut(slot as usize / PAGE)?.get_mut(slot as usize % PAGE)?;
        let series = held.take()?;
        self.free.push(slot);
        Some(series)
    }

    /// All series, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        self.pages.iter_mut().flatten().flatten()
    }
}

/// Makes room for the first element alone: a vector would make it for four.
pub(super) fn grow_from_one<T>(vec: &mut Vec<T>) {
    if vec.capacity() == 0 {
        vec.reserve_exact(1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::Identity;
    use super::*;
    use std::collections::BTreeMap;

    fn series(local: u32) -> Series {
        Series::new(Identity { fingerprint: 0, target: 0, labels: [0].into() }, local, 0)
    }

    #[test]
    fn a_series_stays_in_its_slot_and_a_slot_left_is_given_again() {
        let mut slots = Slots::default();
        let mut held: BTreeMap<u32, u32> = BTreeMap::new();
        for local in 0..1000 {
            let slot = slots.insert(series(local)).unwrap();
            assert_eq!(held.insert(slot, local), None);
            if local % 3 == 0 {
                let gone = slot / 2;
                let removed = slots.remove(gone).map(|series| series.local);
                assert_eq!(removed, held.remove(&gone));
            }
            assert!(held.iter().all(|(slot, local)| slots.get(*slot).unwrap().local == *local));
        }
        assert_eq!(slots.iter_mut().count(), held.len());
        assert!(slots.end() < 1000 && slots.pages.len() == slots.end().div_ceil(PAGE));
    }
}
