//! What to do next in a whole store: windows by their state, the most urgent first.
//!
//! A window of a class is *open* until some time after its end; then it is *sealed* by one
//! compaction of all it has, in the dense encoding. What comes late lies beside the sealed
//! sstables as *deltas*, which are merged among themselves. If they weigh enough the window is
//! sealed once more. When its retention is over it is dropped unread.
//!
//! The order: drops, which cost nothing and give space back; open windows, the most overlap first;
//! seals, the newest window first; deltas, the most overlap first; second seals. `twcs` has its own
//! order for all but the drops.
//!
//! # Invariants
//! - A decision names sstables of one class and window, and none that is compacting.
//! - Same input, same decision: no clock, chance or memory of its own.
//! - Sealed sstables are rewritten by a seal only, never because of a few deltas.
//! - The order in which the candidates come changes nothing.
//!
//! Not here: carrying a decision out; tombstones and changed retentions, which others decide.

use super::decision::{Candidate, Decision, Encoding, Lot, Plan, Reason};
use super::scaling::{Scaling, Strategy};
use super::space::Space;
use super::twcs::{self, Sized, Thresholds};
use super::ucs::{self, Pick, Ucs};
use crate::config::CompactionConfig;
use crate::manifest::{RetentionClass, Stage};
use model::{TimestampMs, Token};
use std::cmp::Reverse;
use std::collections::BTreeMap;

const DAY_MS: i64 = 86_400_000;
/// The first day of 2000: what lies before it is one window (DESIGN.md D18).
const YEAR_2000: i32 = 10_957;

/// What is so at the moment of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The time.
    pub now: TimestampMs,
    /// Chooses among what is equally due; uniform over all numbers.
    pub chance: u64,
    /// The retention classes by number; one that is missing keeps for ever.
    pub classes: &'a BTreeMap<u32, RetentionClass>,
}

/// Decides which sstables to merge and which to drop.
#[derive(Clone, Debug)]
pub struct Decider {
    config: CompactionConfig,
    scaling: Scaling,
    /// For deltas, whatever the strategy: low thresholds would rewrite each late byte many times.
    delta_scaling: Scaling,
    space: Space,
}

/// Sstables of one class and window, oldest first by number.
type Members<'a> = Vec<&'a Candidate>;

/// What a window is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    ToSeal,
    Sealed,
    ToReseal,
}

impl Decider {
    /// A decider for these settings and what the node owns.
    #[must_use]
    pub fn new(config: CompactionConfig, space: Space) -> Self {
        let scaling = config.scaling();
        Self { config, scaling, delta_scaling: Scaling::tiered(8), space }
    }

    /// The next step.
    #[must_use]
    pub fn decide(&self, candidates: &[Candidate], moment: &Moment<'_>) -> Decision {
        let lots = lots(candidates);
        if let Some(ids) = lots.iter().find_map(|(lot, all)| self.expired(*lot, all, moment)) {
            return Decision::Drop { ids, reason: Reason::Expired };
        }
        let plan = match self.config.strategy {
            Strategy::Twcs => self.by_time_window(&lots, moment.now),
            Strategy::Ucs | Strategy::Stcs | Strategy::Lcs => self.by_state(&lots, moment),
        };
        plan.map_or(Decision::Rest, Decision::Compact)
    }

    /// One compaction for each window that is not one sealed run yet, the newest first, however
    /// open it is. A window with an sstable that is compacting is left out: ask again.
    #[must_use]
    pub fn seal_plan(&self, candidates: &[Candidate]) -> Vec<Plan> {
        let lots = lots(candidates);
        let newest_first = lots.values().rev().filter(|all| !is_one_sealed_run(all));
        newest_first.filter_map(|all| self.seal(all, Reason::Requested)).collect()
    }

    /// Where Cassandra cuts a flush of this many bytes into one window: for the simulator. Ours are
    /// far below what is cut, and stay whole.
    #[must_use]
    pub fn flush_boundaries(&self, bytes: u64) -> Vec<Token> {
        match self.config.strategy {
            Strategy::Twcs => Vec::new(),
            _ => self.space.boundaries(self.ucs(&self.scaling).shards(u128::from(bytes))),
        }
    }

    fn ucs<'a>(&'a self, scaling: &'a Scaling) -> Ucs<'a> {
        Ucs { config: &self.config, scaling, space: &self.space }
    }

    fn by_state(&self, lots: &BTreeMap<Lot, Members<'_>>, moment: &Moment<'_>) -> Option<Plan> {
        let states: Vec<(State, &Members<'_>)> =
            lots.iter().map(|(lot, all)| (self.state(*lot, all, moment.now), all)).collect();
        let of = |wanted: State| {
            let found = states.iter().rev().filter(move |(state, _)| *state == wanted);
            found.map(|(_, all)| *all)
        };
        // The first of the newest: `max_by_key` would take the last.
        let crowded = |state, reason| {
            let picks = of(state).filter_map(|all| self.merge(all, reason, moment.chance));
            picks.min_by_key(|(pick, _)| Reverse(pick.overlap)).map(|(_, plan)| plan)
        };
        let seal = |state, reason| of(state).find_map(|all| self.seal(all, reason));
        crowded(State::Open, Reason::Open)
            .or_else(|| seal(State::ToSeal, Reason::Seal))
            .or_else(|| crowded(State::Sealed, Reason::Delta))
            .or_else(|| seal(State::ToReseal, Reason::Reseal))
    }

    fn state(&self, lot: Lot, all: &Members<'_>, now: TimestampMs) -> State {
        let seal_ms = end_ms(lot).saturating_add(self.config.seal_delay_ms);
        let reseal_ms = end_ms(lot).saturating_add(self.config.reseal_delay_ms);
        if now.0 < seal_ms {
            return State::Open;
        }
        // A seal that was asked for while the window was open is not the last one.
        let is_sealed = |candidate: &&&Candidate| candidate.stage == Stage::Sealed;
        let is_closed = all.iter().filter(is_sealed).any(|c| c.created_ms >= seal_ms);
        if !is_closed && !is_one_sealed_run(all) {
            return State::ToSeal;
        }
        let bytes = |wanted: bool| -> u128 {
            let found = all.iter().filter(|c| (c.stage == Stage::Sealed) == wanted);
            found.map(|c| u128::from(c.bytes)).sum()
        };
        let (sealed, late) = (bytes(true), bytes(false));
        let percent = u128::from(self.config.reseal_percent);
        let is_worth = percent > 0 && late > 0 && late * 100 >= percent * sealed;
        let is_first = all.iter().filter(is_sealed).all(|c| c.created_ms < reseal_ms);
        if now.0 >= reseal_ms && is_worth && is_first { State::ToReseal } else { State::Sealed }
    }

    /// UCS among the sstables that are not sealed.
    fn merge(&self, all: &Members<'_>, reason: Reason, chance: u64) -> Option<(Pick, Plan)> {
        let known = ucs::known_partitions(all);
        let unsealed: Members<'_> =
            all.iter().copied().filter(|c| c.stage != Stage::Sealed).collect();
        let is_delta = reason == Reason::Delta;
        let ucs = self.ucs(if is_delta { &self.delta_scaling } else { &self.scaling });
        let pick = ucs.pick(&unsealed, known, chance)?;
        let inputs: Members<'_> = pick.inputs.iter().map(|&item| unsealed[item]).collect();
        let encoding = if is_delta { Encoding::Dense } else { Encoding::Fast };
        let plan = Plan {
            inputs: inputs.iter().map(|input| input.id).collect(),
            boundaries: ucs.output_boundaries(&inputs, known),
            encoding,
            stage: Stage::Compacted,
            reason,
        };
        Some((pick, plan))
    }

    /// All of a window into one sealed run; `None` while part of it is compacting.
    fn seal(&self, all: &Members<'_>, reason: Reason) -> Option<Plan> {
        if all.iter().any(|candidate| candidate.is_compacting) {
            return None;
        }
        let mut inputs = all.clone();
        inputs.sort_unstable_by_key(|input| (input.max_ms, input.id));
        let boundaries = match self.config.strategy {
            Strategy::Twcs => Vec::new(),
            _ => {
                let known = ucs::known_partitions(all);
                self.ucs(&self.scaling).output_boundaries(&inputs, known)
            }
        };
        Some(Plan {
            inputs: inputs.iter().map(|input| input.id).collect(),
            boundaries,
            encoding: Encoding::Dense,
            stage: Stage::Sealed,
            reason,
        })
    }

    /// The rule of `twcs.rs`, class by class.
    fn by_time_window(&self, lots: &BTreeMap<Lot, Members<'_>>, now: TimestampMs) -> Option<Plan> {
        let mut classes: Vec<u32> = lots.keys().map(|lot| lot.class).collect();
        classes.sort_unstable();
        classes.dedup();
        let plans = classes.iter().filter_map(|class| self.time_window_of(*class, lots, now));
        plans.max_by_key(|(lot, _)| *lot).map(|(_, plan)| plan)
    }

    fn time_window_of(
        &self,
        class: u32,
        lots: &BTreeMap<Lot, Members<'_>>,
        now: TimestampMs,
    ) -> Option<(Lot, Plan)> {
        let of_class = lots.iter().filter(|(lot, _)| lot.class == class);
        let seen = of_class.clone().map(|(lot, _)| *lot).filter(|lot| start_ms(*lot) <= now.0);
        // With nothing but the future there is no old window.
        let seen = seen.max().unwrap_or(Lot { first_day: i32::MIN, days: 0, class });
        let windows: Vec<(Lot, Vec<Sized>)> = of_class
            .map(|(lot, all)| {
                let free = all.iter().filter(|candidate| !candidate.is_compacting);
                (*lot, free.map(|c| Sized { id: c.id, bytes: c.bytes }).collect())
            })
            .collect();
        let (min, max) = (self.config.twcs_threshold_min, self.config.twcs_threshold_max);
        let (lot, ids) = twcs::newest_bucket(&windows, Thresholds { min, max }, seen)?;
        let all = lots.get(&lot)?;
        let is_old = lot < seen;
        let mut inputs: Members<'_> = all.iter().copied().filter(|c| ids.contains(&c.id)).collect();
        inputs.sort_unstable_by_key(|input| (input.max_ms, input.id));
        let is_whole = is_old && inputs.len() == all.len();
        let plan = Plan {
            inputs: inputs.iter().map(|input| input.id).collect(),
            boundaries: Vec::new(),
            encoding: if is_old { Encoding::Dense } else { Encoding::Fast },
            stage: if is_whole { Stage::Sealed } else { Stage::Compacted },
            reason: if is_old { Reason::Seal } else { Reason::Open },
        };
        Some((lot, plan))
    }

    /// What of a window can be unlinked, if its retention is over.
    fn expired(&self, lot: Lot, all: &Members<'_>, moment: &Moment<'_>) -> Option<Vec<u64>> {
        let kept = moment.classes.get(&lot.class).map_or(0, |class| class.retention.as_ms());
        if kept == 0 {
            return None;
        }
        let kept = i64::try_from(kept).unwrap_or(i64::MAX);
        let kept = kept.saturating_add(self.config.drop_delay_ms);
        if end_ms(lot).saturating_add(kept) >= moment.now.0 {
            return None;
        }
        let free = all.iter().filter(|candidate| !candidate.is_compacting);
        let ids: Vec<u64> = free.map(|candidate| candidate.id).collect();
        (!ids.is_empty()).then_some(ids)
    }
}

/// How many sstables of one window a read of one partition opens at most, over all windows.
#[must_use]
pub fn read_amplification(candidates: &[Candidate]) -> usize {
    let lots = lots(candidates);
    lots.values().map(|all| overlap(all)).max().unwrap_or(0)
}

fn overlap(all: &Members<'_>) -> usize {
    let spans: Vec<_> = all.iter().map(|candidate| ucs::span(candidate)).collect();
    super::overlap::max_overlap(&spans)
}

fn is_one_sealed_run(all: &Members<'_>) -> bool {
    all.iter().all(|candidate| candidate.stage == Stage::Sealed) && overlap(all) <= 1
}

fn lots(candidates: &[Candidate]) -> BTreeMap<Lot, Members<'_>> {
    let mut lots: BTreeMap<Lot, Members<'_>> = BTreeMap::new();
    for candidate in candidates {
        lots.entry(candidate.lot).or_default().push(candidate);
    }
    lots.values_mut().for_each(|all| all.sort_unstable_by_key(|candidate| candidate.id));
    lots
}

/// The first moment of a window.
fn start_ms(lot: Lot) -> i64 {
    if lot.days == 0 { i64::MIN } else { i64::from(lot.first_day) * DAY_MS }
}

/// The first moment after a window.
fn end_ms(lot: Lot) -> i64 {
    match lot.days {
        0 => i64::from(YEAR_2000) * DAY_MS,
        days => (i64::from(lot.first_day) + i64::from(days)) * DAY_MS,
    }
}

#[cfg(test)]
mod tests;
