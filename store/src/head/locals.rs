//! Where the series of a shard are in memory, by their local numbers.
//!
//! A number is never given again, so most of them are of series that left. They lie in pages; one
//! of which all series have left takes next to no room.
//!
//! # Invariants
//! - Numbers ascend; one that was removed stays without a slot.

use super::slots::grow_from_one;

/// Numbers in one page.
const PAGE: usize = 1024;
/// No slot.
const NONE: u32 = u32::MAX;

/// Local number -> slot.
#[derive(Debug, Default)]
pub(crate) struct Locals {
    /// All but the last are full, or empty because all their series have left.
    pages: Vec<Page>,
}

#[derive(Debug, Default)]
struct Page {
    slots: Vec<u32>,
    /// How many of them are none.
    removed: usize,
}

impl Locals {
    /// One more than the highest number.
    pub(crate) fn end(&self) -> u32 {
        let full = self.pages.len().saturating_sub(1) * PAGE;
        let end = full + self.pages.last().map_or(0, |last| last.slots.len());
        u32::try_from(end).unwrap_or(u32::MAX)
    }

    /// The slot of a number.
    #[inline]
    pub(crate) fn get(&self, local: u32) -> Option<u32> {
        let slots = &self.pages.get(local as usize / PAGE)?.slots;
        slots.get(local as usize % PAGE).copied().filter(|slot| *slot != NONE)
    }

    /// All slots, by their numbers.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        let slots = self.pages.iter().flat_map(|page| &page.slots);
        slots.copied().filter(|slot| *slot != NONE)
    }

    /// Gives the next number, which is [`Locals::end`], to a slot.
    pub(crate) fn push(&mut self, slot: u32) {
        match self.pages.last_mut() {
            Some(last) if last.slots.len() < PAGE => last.slots.push(slot),
            _ => {
                // The page before takes no more.
                self.leave_last();
                grow_from_one(&mut self.pages);
                self.pages.push(Page { slots: vec![slot], removed: 0 });
            }
        }
    }

    /// The number has no slot any more.
    pub(crate) fn remove(&mut self, local: u32) {
        let index = local as usize / PAGE;
        let is_last = index + 1 == self.pages.len();
        let Some(page) = self.pages.get_mut(index) else { return };
        if let Some(slot) = page.slots.get_mut(local as usize % PAGE).filter(|slot| **slot != NONE)
        {
            *slot = NONE;
            page.removed += 1;
            if page.removed == PAGE && !is_last {
                *page = Page::default();
            }
        }
    }

    /// The last page stays while numbers are given out of it.
    fn leave_last(&mut self) {
        if let Some(last) = self.pages.last_mut().filter(|last| last.removed == PAGE) {
            *last = Page::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_number_has_its_slot_until_it_is_removed_and_pages_of_nothing_go() {
        let (mut locals, mut held) = (Locals::default(), BTreeMap::new());
        for number in 0..20_000_u32 {
            assert_eq!(locals.end(), number);
            locals.push(number * 3);
            held.insert(number, number * 3);
            // All but each five thousandth leave, some at once and some later.
            let gone = if number % 3 == 0 { number } else { number.saturating_sub(1500) };
            if gone % 5_000 != 7 {
                locals.remove(gone);
                held.remove(&gone);
            }
        }
        let slots: Vec<u32> = held.values().copied().collect();
        assert_eq!(locals.slots().collect::<Vec<_>>(), slots);
        assert!((0..20_100).all(|number| locals.get(number) == held.get(&number).copied()));
        let room: usize = locals.pages.iter().map(|page| page.slots.len()).sum();
        assert!(room <= 8 * PAGE && held.len() < 4 * PAGE, "{room}");
    }
}
