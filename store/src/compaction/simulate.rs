//! What a strategy costs: plays flushes against the decider, in numbers instead of files.
//!
//! Sstables are bytes spread evenly over their tokens, and nothing is dropped by a merge. After
//! each flush decisions are carried out until the decider rests.
//!
//! Not here: time. What a merge takes, and what is read meanwhile, is for benchmarks.

use super::decision::{Candidate, Decision, Encoding, Lot, Plan};
use super::overlap;
use super::space::Space;
use super::ucs::span;
use super::window::{Decider, Moment, read_amplification};
use crate::config::CompactionConfig;
use crate::manifest::Stage;
use model::TimestampMs;
use std::collections::BTreeMap;

const DAY_MS: i64 = 86_400_000;
/// The window that is flushed to.
const LOT: Lot = Lot { first_day: 20_000, days: 1, class: 0 };
/// Many, so that no sstable counts as one of few partitions.
const PARTITIONS: u64 = 1 << 40;

/// What is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many flushes into the open window.
    pub flushes: u64,
    /// The size of each, in bytes.
    pub flush_bytes: u64,
    /// Whether the window then closes, with a first flush into the next one.
    pub is_closed: bool,
    /// How many flushes then come late.
    pub late_flushes: u64,
    /// The size of each, in bytes.
    pub late_bytes: u64,
}

/// What it cost. Bytes are of the one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Flushed while the window was open.
    pub flushed_bytes: u64,
    /// Written by compactions until the window was sealed.
    pub compacted_bytes: u64,
    /// Flushed late.
    pub late_flushed_bytes: u64,
    /// Written by compactions since.
    pub late_compacted_bytes: u64,
    /// The most sstables that a read of one partition opened, with compaction at rest.
    pub overlap_max: usize,
    /// The most bytes on disk at once: a compaction's inputs go when its outputs are whole.
    pub space_max_bytes: u64,
    /// Compactions.
    pub compactions: u64,
    /// Sstables at the end.
    pub sstables: usize,
}

impl Cost {
    /// Thousandths of bytes written for each byte flushed, the flush itself with it.
    #[must_use]
    pub fn write_amplification_permille(&self) -> u64 {
        let flushed = u128::from(self.flushed_bytes) + u128::from(self.late_flushed_bytes);
        let compacted = u128::from(self.compacted_bytes) + u128::from(self.late_compacted_bytes);
        u64::try_from((flushed + compacted) * 1000 / flushed.max(1)).unwrap_or(u64::MAX)
    }
}

struct Run {
    decider: Decider,
    space: Space,
    sstables: Vec<Candidate>,
    next_id: u64,
    now: i64,
    cost: Cost,
    written_bytes: u64,
}

/// Plays `load` against the strategy of `config`.
#[must_use]
pub fn run(load: &Load, config: &CompactionConfig) -> Cost {
    let mut run = Run::new(config);
    for _ in 0..load.flushes {
        run.flush(LOT, load.flush_bytes);
        run.settle();
    }
    run.cost.flushed_bytes = load.flushes.saturating_mul(load.flush_bytes);
    if load.is_closed {
        // The next window is seen, and the time of the seal has come.
        run.now += DAY_MS + config.seal_delay_ms;
        run.flush(Lot { first_day: LOT.first_day + 1, ..LOT }, load.flush_bytes);
        run.settle();
    }
    run.cost.compacted_bytes = run.written_bytes;
    for _ in 0..load.late_flushes {
        run.now += DAY_MS / 24;
        run.flush(LOT, load.late_bytes);
        run.settle();
    }
    run.cost.late_flushed_bytes = load.late_flushes.saturating_mul(load.late_bytes);
    run.cost.late_compacted_bytes = run.written_bytes - run.cost.compacted_bytes;
    run.cost.sstables = run.sstables.iter().filter(|sstable| sstable.lot == LOT).count();
    run.cost
}

impl Run {
    fn new(config: &CompactionConfig) -> Self {
        let space = Space::default();
        Self {
            decider: Decider::new(config.clone(), space.clone()),
            space,
            sstables: Vec::new(),
            next_id: 1,
            now: i64::from(LOT.first_day) * DAY_MS,
            cost: Cost::default(),
            written_bytes: 0,
        }
    }

    fn flush(&mut self, lot: Lot, bytes: u64) {
        let boundaries = self.decider.flush_boundaries(bytes);
        let whole = Candidate {
            id: 0,
            lot,
            bytes,
            token_first: 0,
            token_last: u64::MAX,
            partitions: PARTITIONS,
            min_ms: self.now,
            max_ms: self.now,
            created_ms: self.now,
            stage: Stage::Flushed,
            is_compacting: false,
        };
        let firsts: Vec<u64> = boundaries.iter().map(|token| token.0).collect();
        self.write(&[whole], &firsts, Stage::Flushed);
    }

    /// Carries out decisions until there is none.
    fn settle(&mut self) {
        let classes = BTreeMap::new();
        loop {
            let chance = self.next_id;
            let moment = Moment { now: TimestampMs(self.now), chance, classes: &classes };
            match self.decider.decide(&self.sstables, &moment) {
                Decision::Rest => break,
                Decision::Compact(plan) => self.compact(&plan),
                Decision::Drop { ids, .. } => {
                    self.sstables.retain(|sstable| !ids.contains(&sstable.id));
                }
            }
        }
        self.cost.overlap_max = self.cost.overlap_max.max(read_amplification(&self.sstables));
    }

    fn compact(&mut self, plan: &Plan) {
        let (inputs, others): (Vec<Candidate>, Vec<Candidate>) =
            self.sstables.drain(..).partition(|sstable| plan.inputs.contains(&sstable.id));
        self.sstables = others;
        let firsts: Vec<u64> = plan.boundaries.iter().map(|token| token.0).collect();
        let bytes: u64 = inputs.iter().map(|input| input.bytes).sum();
        self.write(&inputs, &firsts, plan.stage);
        debug_assert!(plan.stage == Stage::Compacted || plan.encoding == Encoding::Dense);
        let live: u64 = self.sstables.iter().map(|sstable| sstable.bytes).sum();
        self.cost.space_max_bytes = self.cost.space_max_bytes.max(live + bytes);
        if inputs.iter().all(|input| input.lot == LOT) {
            self.written_bytes += bytes;
            self.cost.compactions += 1;
        }
    }

    /// Writes `inputs`, of one window, into sstables cut at these tokens.
    fn write(&mut self, inputs: &[Candidate], firsts: &[u64], stage: Stage) {
        let Some(any) = inputs.first() else { return };
        let mut bytes: u64 = inputs.iter().map(|input| input.bytes).sum();
        let mut from = inputs.iter().map(|input| input.token_first).min().unwrap_or(0);
        let end = inputs.iter().map(|input| input.token_last).max().unwrap_or(u64::MAX);
        let lasts = firsts.iter().map(|first| first - 1).chain([end]);
        for (index, last) in lasts.enumerate() {
            let shares = inputs.iter().map(|input| share(&self.space, input, (from, last)));
            // What rounding left over goes to the last one.
            let share: u64 = if index == firsts.len() { bytes } else { shares.sum() };
            bytes -= share;
            self.sstables.push(Candidate {
                id: self.next_id,
                bytes: share,
                token_first: from,
                token_last: last,
                max_ms: inputs.iter().map(|input| input.max_ms).max().unwrap_or(any.max_ms),
                created_ms: self.now,
                stage,
                ..any.clone()
            });
            self.next_id += 1;
            from = last.saturating_add(1);
        }
        let live: u64 = self.sstables.iter().map(|sstable| sstable.bytes).sum();
        self.cost.space_max_bytes = self.cost.space_max_bytes.max(live);
    }
}

/// How many bytes of an sstable lie within these tokens.
fn share(space: &Space, sstable: &Candidate, within: (u64, u64)) -> u64 {
    let (first, last) = span(sstable);
    let cut = (first.max(within.0), last.min(within.1));
    if overlap::max_overlap(&[(first, last), within]) < 2 {
        return 0;
    }
    let whole = space.tokens_within(first, last).max(1);
    let part = u128::from(sstable.bytes) * space.tokens_within(cut.0, cut.1) / whole;
    u64::try_from(part).unwrap_or(sstable.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compaction::scaling::Strategy;

    const MIB: u64 = 1 << 20;

    /// The defaults of Cassandra, which the tables of 2.1 are for.
    fn cassandra(scaling: &str) -> CompactionConfig {
        CompactionConfig {
            scaling_parameters: scaling.parse().unwrap(),
            sstable_bytes: 1024 * MIB,
            sstable_bytes_min: 100 * MIB,
            flush_bytes: 100 * MIB,
            // The window stays open however long it takes.
            ..CompactionConfig::default()
        }
    }

    fn open(flushes: u64, mib: u64) -> Load {
        let flush_bytes = mib * MIB;
        Load { flushes, flush_bytes, is_closed: false, late_flushes: 0, late_bytes: 0 }
    }

    /// Whether `found` is within 5 % of `wanted`.
    fn is_near(found: u64, wanted: u64) -> bool {
        found.abs_diff(wanted) * 20 <= wanted
    }

    /// Write amplification in tenths and overlap of 2.1, for T4, T8, N, L4 and L10.
    fn table(flushes: u64, rows: [(u64, usize); 5]) {
        for (scaling, (tenths, overlap)) in ["T4", "T8", "N", "L4", "L10"].iter().zip(rows) {
            let cost = run(&open(flushes, 100), &cassandra(scaling));
            let found = cost.write_amplification_permille();
            assert!(is_near(found, tenths * 100), "{scaling} {flushes}: {found} {cost:?}");
            assert_eq!(cost.overlap_max, overlap, "{scaling} {flushes}: {cost:?}");
        }
    }

    #[test]
    fn golden_table_of_64_flushes() {
        table(64, [(40, 9), (30, 14), (70, 6), (78, 3), (93, 2)]);
        let cost = run(&open(64, 100), &cassandra("T4"));
        assert_eq!((cost.sstables, cost.compacted_bytes), (4, 3 * 6400 * MIB));
    }

    #[test]
    fn golden_table_of_256_flushes() {
        table(256, [(50, 12), (30, 17), (90, 8), (100, 4), (119, 3)]);
    }

    #[test]
    fn golden_table_of_1024_flushes() {
        table(1024, [(60, 15), (40, 22), (110, 10), (123, 5), (170, 3)]);
    }

    #[test]
    fn golden_twcs_in_its_window_with_the_close() {
        let config = CompactionConfig { strategy: Strategy::Twcs, ..CompactionConfig::default() };
        for (flushes, mib, tenths) in
            [(12, 200, 30), (24, 100, 37), (96, 25, 47), (144, 100, 49), (1440, 8, 64)]
        {
            let load = Load { is_closed: true, ..open(flushes, mib) };
            let found = run(&load, &config).write_amplification_permille();
            assert!(is_near(found, tenths * 100), "{flushes} x {mib}: {found}");
        }
    }

    #[test]
    fn golden_windows_with_t8_cost_2_67_with_their_seal_and_with_t4_3_0() {
        for (scaling, permille) in [("T8", 2_666), ("T4", 3_000)] {
            let load = Load { is_closed: true, ..open(12, 100) };
            let cost = run(&load, &cassandra(scaling));
            assert_eq!(cost.write_amplification_permille(), permille, "{scaling}");
            assert_eq!(cost.sstables, 4, "one sealed run in four shards");
        }
    }

    /// A day of 100,000 series: 4 million samples a flush.
    fn day_of_a() -> Load {
        Load { is_closed: true, ..open(145, 6) }
    }

    #[test]
    fn flushes_of_a_few_mib_go_through_the_levels_and_are_not_rewritten_by_each_merge() {
        for (scaling, most) in [("T8", 3_900), ("T4", 4_900)] {
            let config = CompactionConfig {
                scaling_parameters: scaling.parse().unwrap(),
                ..CompactionConfig::default()
            };
            let of_base = |flush_bytes| {
                let config = CompactionConfig { flush_bytes, ..config.clone() };
                run(&day_of_a(), &config).write_amplification_permille()
            };
            assert!(of_base(config.flush_bytes) <= most, "{scaling}");
            // Wherever the levels begin below the flush, it is about the same; above, it is not.
            for base in [MIB, 2 * MIB, 3 * MIB, 6 * MIB] {
                assert!(of_base(base) <= most + 50, "{scaling} {base}");
            }
            assert!(of_base(100 * MIB) > 2 * most, "{scaling}");
        }
    }

    #[test]
    fn levels_that_begin_now_here_and_now_there_come_to_rest() {
        let decider = |flush_bytes| {
            Decider::new(
                CompactionConfig { flush_bytes, ..CompactionConfig::default() },
                Space::default(),
            )
        };
        for seed in 1..40_u64 {
            let mut run = Run::new(&CompactionConfig::default());
            for flush in 0..60 {
                // From 0.5 to 64 MiB, one after the other at random.
                run.decider = decider(MIB << (flush * seed % 8));
                run.flush(LOT, (MIB / 2) << ((flush ^ seed).wrapping_mul(0x9e37_79b9) >> 7 & 7));
                run.settle();
            }
            let mut settle = |flush_bytes| {
                let before = run.cost.compactions;
                run.decider = decider(flush_bytes);
                run.settle();
                run.cost.compactions - before
            };
            let rounds = (0..20).take_while(|_| settle(4 * MIB) + settle(100 * MIB) > 0).count();
            assert!(rounds <= 2, "seed {seed}: {rounds} rounds");
        }
    }

    fn late_trickle() -> Load {
        Load { is_closed: true, late_flushes: 24, late_bytes: MIB, ..open(24, 100) }
    }

    #[test]
    fn golden_late_trickle_into_a_sealed_window_rewrites_45_mib() {
        for strategy in [Strategy::Ucs, Strategy::Stcs, Strategy::Lcs] {
            let config = CompactionConfig { strategy, ..CompactionConfig::default() };
            let cost = run(&late_trickle(), &config);
            assert_eq!(cost.late_compacted_bytes, 45 * MIB, "{strategy} {cost:?}");
            assert!(cost.late_compacted_bytes <= 3 * cost.late_flushed_bytes);
        }
    }

    #[test]
    fn golden_late_trickle_costs_twcs_57900_mib() {
        let config = CompactionConfig { strategy: Strategy::Twcs, ..CompactionConfig::default() };
        let cost = run(&late_trickle(), &config);
        assert!(is_near(cost.late_compacted_bytes / MIB, 57_900), "{cost:?}");
        assert_eq!(cost.sstables, 1);
    }

    #[test]
    fn late_data_that_weighs_a_tenth_is_sealed_once_and_no_second_time() {
        let load = Load { late_flushes: 48, late_bytes: 20 * MIB, ..late_trickle() };
        let cost = run(&load, &CompactionConfig::default());
        let never = CompactionConfig { reseal_percent: 0, ..CompactionConfig::default() };
        let without = run(&load, &never);
        assert!(without.late_compacted_bytes <= 3 * without.late_flushed_bytes, "{without:?}");
        let once = cost.late_compacted_bytes.saturating_sub(without.late_compacted_bytes);
        assert!((2_000 * MIB..=2_880 * MIB).contains(&once), "{cost:?} {without:?}");
    }
}
