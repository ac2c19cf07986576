//! Unified compaction: which sstables of one lot to merge, and where to cut what comes out.
//!
//! Sstables are sorted into *levels* by *density*: bytes per share of the token space. In a level
//! those that overlap are counted; a level that has its threshold of them is due. It follows
//! Cassandra's `UnifiedCompactionStrategy`, `Controller` and `ShardManagerNoDisks`, in whole
//! numbers: a density is bytes for the whole space, rounded down, which changes no comparison.
//!
//! # Invariants
//! - Each decision is made from scratch: nothing is remembered between two.
//! - A pick takes the oldest by last sample first, and skips none that is older.
//! - An sstable with few partitions has at least their share of the space, so that it does not look
//!   dense because two tokens lie close to each other.
//! - The flush size is a setting: small late flushes do not move the levels. It is a lower bound:
//!   `F` sstables of a level make one of the next wherever the levels begin, so it only matters that
//!   they do not begin above what a flush writes (docs/adr/0006).
//!
//! In one point it differs: a level below its threshold does not compete, so that with several
//! scaling parameters (`T8,N`) a level with many sstables below its threshold holds up no other.
//!
//! Not here: windows (`window.rs`); what overlaps (`overlap.rs`); expired sstables, which a strict
//! window drops as a whole.

use super::decision::Candidate;
use super::overlap::{self, Bucket};
use super::scaling::Scaling;
use super::space::Space;
use crate::config::CompactionConfig;
use model::Token;

/// The most levels.
const LEVELS_MAX: usize = 32;
/// The most doublings of the base number of shards.
const SHARD_DOUBLINGS_MAX: u32 = 20;
/// Sstables with fewer partitions have at least these partitions' share of the space.
const PARTITIONS_FEW: u64 = 100;
/// Sstables that span less than 2⁻⁴⁸ of the space are treated likewise.
const SPAN_FEW_SHIFT: u32 = 48;

/// What UCS decides with.
#[derive(Clone, Debug)]
pub struct Ucs<'a> {
    /// Sizes.
    pub config: &'a CompactionConfig,
    /// The scaling parameters.
    pub scaling: &'a Scaling,
    /// What the node owns.
    pub space: &'a Space,
}

/// What to merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The level it was picked from.
    pub level: usize,
    /// How many of the level's sstables overlap at most.
    pub overlap: usize,
    /// Positions in the list of candidates, oldest first.
    pub inputs: Vec<usize>,
}

impl Ucs<'_> {
    /// The pick among sstables of one lot; those that are compacting are passed over. `known` is how
    /// many partitions the lot has at least. `chance` chooses among buckets that are equally due,
    /// uniformly if it is uniform itself.
    #[must_use]
    pub fn pick(&self, candidates: &[&Candidate], known: u64, chance: u64) -> Option<Pick> {
        let mut best: Option<(Vec<Bucket>, Pick)> = None;
        for (level, members) in self.levels(candidates, known).iter().enumerate() {
            let spans: Vec<_> = members.iter().map(|&item| span(candidates[item])).collect();
            let threshold = usize_of(self.scaling.threshold(level));
            let mut due = overlap::buckets(&overlap::overlap_sets(&spans), threshold);
            let Some(most) = due.iter().map(|bucket| bucket.max_overlap).max() else { continue };
            if best.as_ref().is_some_and(|(_, best)| best.overlap >= most) {
                continue;
            }
            due.retain(|bucket| bucket.max_overlap == most);
            best = Some((due, Pick { level, overlap: most, inputs: members.clone() }));
        }
        let (mut due, found) = best?;
        let count = u64::try_from(due.len()).unwrap_or(u64::MAX);
        let chosen = due.swap_remove(usize::try_from(chance % count).unwrap_or(0));
        let age = |item: &usize| {
            let candidate = candidates[found.inputs[*item]];
            (candidate.max_ms, candidate.id)
        };
        let mut order: Vec<usize> = chosen.items().into_iter().collect();
        order.sort_unstable_by_key(age);
        let inputs = match self.pick_size(found.level, chosen.max_overlap) {
            Some(limit) => overlap::take_within(&order, &chosen.sets, limit),
            None => order,
        };
        let inputs = inputs.into_iter().map(|item| found.inputs[item]).collect();
        Some(Pick { inputs, ..found })
    }

    /// How many of `count` overlapping sstables are merged; `None` for all.
    fn pick_size(&self, level: usize, count: usize) -> Option<usize> {
        let fanout = |level| usize_of(self.scaling.fanout(level));
        let most = fanout(level).max(self.config.sstables_max);
        if count <= fanout(level) {
            return None;
        }
        if count <= fanout(level).saturating_mul(fanout(level + 1)) || most == fanout(level) {
            return (count > most).then_some(most);
        }
        let limit = most.min(count);
        let (mut size, mut next, mut above) = (0, fanout(level), level);
        while size == 0 || next <= limit {
            size = next;
            above += 1;
            next = next.saturating_mul(fanout(above));
        }
        // Levelled: all that would reach that level go there.
        Some(if self.scaling.parameter(level) < 0 { size * (limit / size) } else { size })
    }

    /// The sstables that are not compacting, by level: positions in the list.
    #[must_use]
    pub fn levels(&self, candidates: &[&Candidate], known: u64) -> Vec<Vec<usize>> {
        let bounds = self.level_bounds();
        let mut levels = Vec::new();
        for (item, candidate) in candidates.iter().enumerate() {
            if candidate.is_compacting {
                continue;
            }
            let density =
                self.density(candidate.bytes, span(candidate), candidate.partitions, known);
            let level = bounds.partition_point(|&bound| bound <= density).min(LEVELS_MAX - 1);
            if levels.len() <= level {
                levels.resize(level + 1, Vec::new());
            }
            levels[level].push(item);
        }
        levels
    }

    /// The density that each level stays below.
    #[must_use]
    pub fn level_bounds(&self) -> Vec<u128> {
        // flush × (1 − 0.9 / F) × F, the size of the base times its fanout.
        let flush = u128::from(self.config.flush_bytes.max(1 << 20));
        let mut bound = flush * (u128::from(self.scaling.fanout(0)) * 10 - 9) / 10;
        let mut bounds = vec![bound];
        for level in 1..LEVELS_MAX {
            bound = bound.saturating_mul(u128::from(self.scaling.fanout(level)));
            bounds.push(bound);
        }
        bounds
    }

    /// Bytes for the whole space, if all of it were as full as this. `known` is how many partitions
    /// the lot has at least.
    #[must_use]
    pub fn density(&self, bytes: u64, span: (u64, u64), partitions: u64, known: u64) -> u128 {
        let space = self.space.tokens();
        let mut tokens = self.space.tokens_within(span.0, span.1);
        if partitions < PARTITIONS_FEW || tokens < space >> SPAN_FEW_SHIFT {
            let share = space * u128::from(partitions) / u128::from(known.max(1));
            tokens = tokens.max(share.min(space));
        }
        // At most 2⁶⁴ × 2⁶³: bytes of files are below 2⁶³.
        u128::from(bytes).saturating_mul(space) / tokens.max(1)
    }

    /// Where the output of merging these is cut: only within what they span.
    #[must_use]
    pub fn output_boundaries(&self, inputs: &[&Candidate], known: u64) -> Vec<Token> {
        let bytes = inputs.iter().map(|input| input.bytes).fold(0, u64::saturating_add);
        let partitions = inputs.iter().map(|input| input.partitions).fold(0, u64::saturating_add);
        let first = inputs.iter().map(|input| input.token_first).min().unwrap_or(0);
        let last = inputs.iter().map(|input| input.token_last).max().unwrap_or(0);
        let density = self.density(bytes, (first, last), partitions, known);
        let mut boundaries = self.space.boundaries(self.shards(density));
        boundaries.retain(|token| first < token.0 && token.0 <= last);
        boundaries
    }

    /// Into how many shards the space is cut for sstables of this density.
    #[must_use]
    pub fn shards(&self, density: u128) -> u64 {
        let config = self.config;
        let (least, target) =
            (u128::from(config.sstable_bytes_min), u128::from(config.sstable_bytes));
        let base = u64::from(config.base_shards.max(1));
        if least > 0 && density / least < u128::from(base) {
            // A power of two, so that its boundaries are among those of the base.
            return highest_one(density / least).min(base & base.wrapping_neg());
        }
        let target = target.max(1) * u128::from(base);
        let doublings = match config.growth_permille {
            1000.. => 0,
            // Rounded at the square root: 2 d² ≥ (2ᵏ t b)².
            0 => doublings(|k| {
                let bound = target.saturating_mul(1 << k);
                let scaled = density.checked_mul(density).and_then(|square| square.checked_mul(2));
                scaled.is_none_or(|scaled| scaled >= bound.saturating_mul(bound))
            }),
            permille => {
                let split = 1.0 - f64::from(permille) / 1000.0;
                let power = (density as f64 / target as f64).log2() * split + 0.5;
                doublings(|k| power >= f64::from(k))
            }
        };
        base << doublings
    }
}

/// How many partitions sstables of one lot have together at least: those of sstables apart from
/// each other are different ones.
#[must_use]
pub fn known_partitions(candidates: &[&Candidate]) -> u64 {
    let spans: Vec<_> = candidates.iter().map(|c| (span(c), c.partitions)).collect();
    overlap::heaviest_apart(&spans)
}

/// What is merged if all is: each list overlaps in itself and with no other. Positions, oldest
/// first; those that are compacting are passed over.
#[must_use]
pub fn major(candidates: &[&Candidate]) -> Vec<Vec<usize>> {
    let free: Vec<usize> =
        (0..candidates.len()).filter(|&item| !candidates[item].is_compacting).collect();
    let spans: Vec<_> = free.iter().map(|&item| span(candidates[item])).collect();
    let buckets = overlap::buckets(&overlap::overlap_sets(&spans), 1);
    let inputs = buckets.iter().map(|bucket| {
        let mut items: Vec<usize> = bucket.items().into_iter().map(|item| free[item]).collect();
        items.sort_unstable_by_key(|&item| (candidates[item].max_ms, candidates[item].id));
        items
    });
    inputs.collect()
}

/// The tokens it spans, both ends included.
pub(crate) fn span(candidate: &Candidate) -> (u64, u64) {
    (candidate.token_first, candidate.token_last.max(candidate.token_first))
}

/// The largest number for which `holds`, which holds for all below it; at most
/// [`SHARD_DOUBLINGS_MAX`].
fn doublings(holds: impl Fn(u32) -> bool) -> u32 {
    (1..=SHARD_DOUBLINGS_MAX).take_while(|&k| holds(k)).last().unwrap_or(0)
}

/// The largest power of two that is not above `number`; 1 for 0.
fn highest_one(number: u128) -> u64 {
    1_u64.checked_shl(number.max(1).ilog2()).unwrap_or(1 << 63)
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
