//! What must hold: after each step of a process, and when all has come to rest.

use super::cassandra::PLACES;
use super::world::{SLOTS, World};

impl World {
    fn serves(&self, slot: usize, place: usize) -> bool {
        self.process(slot).is_some_and(|process| process.serves(place, self.boot(slot)))
    }

    /// Nobody else may answer for a place.
    pub(super) fn check_alone(&mut self, slot: usize, place: usize, what: &str) {
        for other in (0..SLOTS).filter(|other| *other != slot) {
            if self.violation.is_none() && self.serves(other, place) {
                self.violation = Some(format!(
                    "at {} ms {slot} {what} of place {place}, for which {other} answers",
                    self.now
                ));
            }
        }
    }

    /// All that a process would answer now: it alone, and nothing acknowledged missing.
    pub(super) fn check(&mut self, slot: usize) {
        self.look_at_sealed();
        for place in (0..PLACES).filter(|place| self.serves(slot, *place)).collect::<Vec<_>>() {
            self.check_alone(slot, place, "answers");
            let missing = self.missing(slot, place, self.acknowledged[place]);
            if self.violation.is_none() && missing != 0 {
                self.violation = Some(format!(
                    "at {} ms {slot} answers for place {place} without acknowledged {missing:b}",
                    self.now
                ));
            }
        }
    }

    fn look_at_sealed(&mut self) {
        if !self.is_sealed_known {
            self.sealed = self.cassandra.sealed();
            self.is_sealed_known = true;
        }
    }

    /// Which of some samples a process would not show.
    fn missing(&self, slot: usize, place: usize, samples: u64) -> u64 {
        let remembers = self.process(slot).map_or(0, |process| process.remembers(place));
        samples & !(remembers | self.sealed[place])
    }

    /// Which process answers for a place.
    pub(super) fn server(&self, place: usize) -> Option<usize> {
        (0..SLOTS).find(|slot| self.serves(*slot, place))
    }

    /// How many samples stand in journals and are shown by nobody, though nobody may know of them.
    pub(super) fn forgotten(&mut self) -> u32 {
        self.look_at_sealed();
        let journaled = self.cassandra.journaled();
        let of = |place: usize| match self.server(place) {
            Some(slot) => self.missing(slot, place, journaled[place]).count_ones(),
            None => journaled[place].count_ones(),
        };
        (0..PLACES).map(of).sum()
    }
}
