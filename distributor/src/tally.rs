//! What the answers of replicas add up to, set by set and series by series. No I/O, no clock.
//!
//! A write is durable when every set it touches has its quorum. A series that some replicas refused
//! is taken when enough others took it, and refused when they cannot: a refusal is an answer.
//!
//! # Invariants
//! - A verdict never changes once it is not `Pending`.

use cluster::{Consistency, Tally, Verdict};
use model::mutation::SeriesRefusal;
use std::collections::BTreeMap;

/// The answers to one request so far.
#[derive(Clone, Debug)]
pub(crate) struct Gather {
    sets: Vec<SetState>,
    refused: BTreeMap<u32, Refused>,
}

#[derive(Clone, Debug)]
struct SetState {
    set: u32,
    slots: Vec<usize>,
    tally: Tally,
    pending: usize,
}

#[derive(Clone, Debug)]
struct Refused {
    set: u32,
    count: usize,
    why: SeriesRefusal,
}

/// A cut that a replica refused: its place, its set, and why.
pub(crate) type RefusedCut = (u32, u32, SeriesRefusal);

impl Gather {
    /// Nothing heard yet. `sets` are the sets that have to keep something, with their slots.
    pub(crate) fn new(
        level: Consistency,
        sets: impl IntoIterator<Item = (u32, Vec<usize>)>,
    ) -> Self {
        let sets = sets.into_iter().map(|(set, slots)| {
            let (tally, pending) = (Tally::new(level, slots.len()), slots.len());
            SetState { set, slots, tally, pending }
        });
        Self { sets: sets.collect(), refused: BTreeMap::new() }
    }

    /// The replica at `slot` has it on disk, but for the refused cuts.
    pub(crate) fn succeed(&mut self, slot: usize, refused: Vec<RefusedCut>) {
        for state in self.sets.iter_mut().filter(|state| state.slots.contains(&slot)) {
            state.tally.succeed();
            state.pending -= 1;
        }
        for (cut, set, why) in refused {
            self.refused.entry(cut).or_insert(Refused { set, count: 0, why }).count += 1;
        }
    }

    /// The replica at `slot` does not have it, as far as anybody knows.
    pub(crate) fn fail(&mut self, slot: usize) {
        for state in self.sets.iter_mut().filter(|state| state.slots.contains(&slot)) {
            state.tally.fail();
            state.pending -= 1;
        }
    }

    /// What it adds up to.
    pub(crate) fn verdict(&self) -> Verdict {
        let mut pending = false;
        for state in &self.sets {
            match state.tally.verdict() {
                Verdict::Satisfied => {}
                Verdict::Pending => pending = true,
                impossible @ Verdict::Impossible(_) => return impossible,
            }
        }
        pending |= self.refused.values().any(|refused| self.fate(refused).is_none());
        if pending { Verdict::Pending } else { Verdict::Satisfied }
    }

    /// The cuts that too few replicas took, and why. Final once the verdict is.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (u32, &SeriesRefusal)> {
        let is_refused = |refused: &Refused| self.fate(refused) == Some(false);
        self.refused
            .iter()
            .filter(move |(_, refused)| is_refused(refused))
            .map(|(cut, refused)| (*cut, &refused.why))
    }

    /// Whether enough replicas took it; `None` while that is open.
    fn fate(&self, refused: &Refused) -> Option<bool> {
        let state = self.sets.iter().find(|state| state.set == refused.set)?;
        let takers = state.tally.succeeded().saturating_sub(refused.count);
        let required = state.tally.required();
        if takers >= required {
            Some(true)
        } else if takers + state.pending < required {
            Some(false)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::Unavailable;

    const LIMIT: SeriesRefusal = SeriesRefusal::SeriesLimit { limit: 1 };

    fn three() -> Gather {
        Gather::new(Consistency::Quorum, [(0, vec![0, 1, 2])])
    }

    #[test]
    fn two_of_three_are_enough() {
        let mut gather = three();
        gather.succeed(2, vec![]);
        assert_eq!(gather.verdict(), Verdict::Pending);
        gather.succeed(0, vec![]);
        assert_eq!(gather.verdict(), Verdict::Satisfied);
    }

    #[test]
    fn two_dead_of_three_are_too_many_before_the_third_answers() {
        let mut gather = three();
        gather.fail(0);
        gather.fail(1);
        let unavailable = Unavailable { required: 2, alive: 1 };
        assert_eq!(gather.verdict(), Verdict::Impossible(unavailable));
    }

    #[test]
    fn every_set_needs_its_quorum() {
        let mut gather = Gather::new(Consistency::Quorum, [(0, vec![0, 1, 2]), (1, vec![1, 2, 3])]);
        gather.succeed(0, vec![]);
        gather.succeed(1, vec![]);
        assert_eq!(gather.verdict(), Verdict::Pending);
        gather.succeed(3, vec![]);
        assert_eq!(gather.verdict(), Verdict::Satisfied);
    }

    #[test]
    fn a_series_refused_by_one_of_three_is_taken_when_the_other_two_took_it() {
        let mut gather = three();
        gather.succeed(0, vec![(7, 0, LIMIT)]);
        gather.succeed(1, vec![]);
        assert_eq!(gather.verdict(), Verdict::Pending);
        gather.succeed(2, vec![]);
        assert_eq!(gather.verdict(), Verdict::Satisfied);
        assert_eq!(gather.refused().count(), 0);
    }

    #[test]
    fn a_series_refused_by_two_of_three_is_refused_without_waiting_for_the_third() {
        let mut gather = three();
        gather.succeed(0, vec![(7, 0, LIMIT)]);
        gather.succeed(1, vec![(7, 0, LIMIT)]);
        assert_eq!(gather.verdict(), Verdict::Satisfied);
        assert_eq!(gather.refused().collect::<Vec<_>>(), [(7, &LIMIT)]);
    }

    #[test]
    fn a_series_refused_by_one_while_another_is_dead_is_refused() {
        let mut gather = three();
        gather.succeed(0, vec![(7, 0, LIMIT)]);
        gather.succeed(1, vec![]);
        gather.fail(2);
        assert_eq!(gather.verdict(), Verdict::Satisfied);
        assert_eq!(gather.refused().count(), 1);
    }

    #[test]
    fn nothing_to_keep_is_kept_at_once() {
        assert_eq!(Gather::new(Consistency::All, []).verdict(), Verdict::Satisfied);
    }
}
