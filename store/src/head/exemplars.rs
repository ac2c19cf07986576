//! Exemplars in the head: how many are held, which go first, and what a flush lets go of.
//!
//! They stay beside their series' samples, through flushes, until one of these:
//! - there are too many: of a tenant the oldest eighth goes, of a series the older half, thinned to a
//!   few a minute first;
//! - they are deleted, or older than their series is kept: the next flush lets go of them, before
//!   its checkpoint is written;
//! - nothing was received of their series for as long as it takes to be idle: they leave with it.
//!
//! The first and the last are losses and counted.
//!
//! # Invariants
//! - Letting go of some costs as much as there are, for an eighth of them: whatever the limit is, and
//!   however many series have none.
//! - A tenant holds no more than its limit, whosever they are, but for the moment in which the oldest
//!   are let go of.
//!
//! Not here: how many a tenant may have (`AppendLimits`), what hides them (`engine/exemplars.rs`).

use super::series::Series;
use super::shard::Shard;
use super::symbols::{LabelIds, Symbols};
use super::{Tenant, local_of, shard_of};
use model::exemplar::{self, SeriesExemplars};
use model::matcher::CompiledMatcher;
use model::{Exemplar, LabelSet, TimeRange};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Exemplars that were let go of though nobody wanted them gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// For newer ones.
    pub(crate) limit: u64,
    /// With a series that was idle.
    pub(crate) idle: u64,
}

/// Also without a limit a tenant has no more: they lie in memory.
const TENANT_MAX: u64 = 1_000_000;

/// When there are too many, such a part more than need be goes at once.
const SPARE_SHARE: u64 = 8;

/// How many a tenant has.
#[derive(Debug, Default)]
pub(crate) struct Count {
    /// No less than there are: what goes in another way is noticed when they seem too many.
    at_most: AtomicU64,
    /// Held by who lets go of some. Comes before the shards.
    one: Mutex<()>,
}

impl Tenant {
    /// Adds an exemplar of a series, of a tenant that may have `max` of them.
    pub(crate) fn push_exemplar(&self, number: u32, now_s: u32, max: u64, exemplar: &Exemplar) {
        let Some(shard) = self.shards.get(shard_of(number)) else { return };
        let more = shard.lock().push_exemplar(local_of(number), now_s, exemplar);
        let max = max.min(TENANT_MAX);
        if more > 0 && self.exemplars.at_most.fetch_add(more, Ordering::Relaxed) + more > max {
            self.keep_newest_exemplars(max);
        }
    }

    /// Lets go of the oldest if there are more than `max`.
    fn keep_newest_exemplars(&self, max: u64) {
        let _one = self.exemplars.one.lock();
        let at_most = &self.exemplars.at_most;
        let believed = at_most.load(Ordering::Relaxed);
        // What is added meanwhile may be counted twice, and never not at all.
        let count: u64 = self.shards().map(|shard| shard.exemplars).sum();
        at_most.fetch_add(count.wrapping_sub(believed), Ordering::Relaxed);
        if count <= max {
            return;
        }
        let mut times = Vec::new();
        self.shards().for_each(|shard| shard.push_exemplar_times(&mut times));
        let kept = usize::try_from(max - max / SPARE_SHARE).unwrap_or(usize::MAX);
        let Some(last_gone) = times.len().saturating_sub(kept).checked_sub(1) else { return };
        let (older, border, _) = times.select_nth_unstable(last_gone);
        let border = *border;
        // Of those at the border so many go, whosever they are.
        let mut at_border = last_gone + 1 - older.iter().filter(|at| **at < border).count();
        for mut shard in self.shards() {
            let gone = shard.let_go_up_to(border, &mut at_border);
            at_most.fetch_sub(gone, Ordering::Relaxed);
        }
    }

    /// The exemplars of some series, with their numbers.
    pub(crate) fn exemplars_of(&self, numbers: impl Iterator<Item = u32>) -> Vec<(u32, Exemplar)> {
        let mut all = Vec::new();
        for number in numbers {
            let Some(shard) = self.shards.get(shard_of(number)) else { continue };
            let shard = shard.lock();
            let own = shard.get(local_of(number)).map_or(&[][..], |series| series.exemplars());
            all.extend(own.iter().map(|exemplar| (number, exemplar.clone())));
        }
        all
    }

    /// The exemplars in `range` of the series that match all of one of the sets, ascending by
    /// labels.
    pub(crate) fn exemplars(
        &self,
        sets: &[Vec<CompiledMatcher>],
        range: TimeRange,
    ) -> Vec<SeriesExemplars> {
        let symbols = self.symbols.read();
        let mut found = Vec::new();
        for shard in self.shards() {
            for series in shard.series_with_exemplars() {
                let labels = labels_of(&symbols, &series.labels);
                let is_match = |m: &CompiledMatcher| {
                    m.matches(labels.get(&m.name).map_or("", |value| &**value))
                };
                let inside = |e: &&Exemplar| (range.start.0..range.end.0).contains(&e.timestamp_ms);
                if sets.iter().any(|set| set.iter().all(is_match)) {
                    let own = series.exemplars().iter().filter(inside);
                    let mut exemplars: Vec<Exemplar> = own.cloned().collect();
                    exemplar::thin(&mut exemplars);
                    found.push(SeriesExemplars { labels, exemplars });
                }
            }
        }
        found.retain(|series| !series.exemplars.is_empty());
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }

    /// Keeps the exemplars at moments that `is_kept` says yes to, by their series' labels.
    pub(crate) fn retain_exemplars<K: Fn(i64) -> bool>(&self, is_kept: impl Fn(&LabelSet) -> K) {
        let symbols = self.symbols.read();
        for mut shard in self.shards() {
            shard.retain_exemplars(&symbols, &is_kept);
        }
    }
}

/// The labels of a series.
fn labels_of(symbols: &Symbols, ids: &LabelIds) -> LabelSet {
    let text = |id: u32| symbols.text(id).clone();
    let pairs = symbols.pairs(ids).map(|(name, value)| (text(name), text(value)));
    // The pairs of a series come from a label set.
    LabelSet::from_pairs(pairs).unwrap_or_default()
}

impl Shard {
    /// Returns by how many there are more, whatever went for it of the same series.
    fn push_exemplar(&mut self, local: u32, now_s: u32, exemplar: &Exemplar) -> u64 {
        let Some(series) = self.get_mut(local) else { return 0 };
        let (more, gone) = series.push_exemplar(exemplar);
        series.received_s = series.received_s.max(now_s);
        self.exemplars = self.exemplars + more - gone;
        self.exemplars_lost.limit += gone;
        if more > 0 {
            self.with_exemplars.insert(local);
        }
        more
    }

    /// Appends the time of each.
    fn push_exemplar_times(&self, times: &mut Vec<i64>) {
        let all = self.series_with_exemplars().flat_map(|series| series.exemplars());
        times.extend(all.map(|exemplar| exemplar.timestamp_ms));
    }

    /// The series that hold some, in order of arrival.
    fn series_with_exemplars(&self) -> impl Iterator<Item = &Series> {
        self.with_exemplars.iter().filter_map(|local| self.get(*local))
    }

    /// Hands each series that holds some to `visit`, which returns how many went; returns how many
    /// went in all.
    fn thin_exemplars(&mut self, mut visit: impl FnMut(&mut Series) -> u64) -> u64 {
        let mut gone = 0;
        let mut left = std::mem::take(&mut self.with_exemplars);
        left.retain(|local| {
            let Some(series) = self.get_mut(*local) else { return false };
            gone += visit(series);
            !series.exemplars().is_empty()
        });
        self.with_exemplars = left;
        self.exemplars -= gone;
        gone
    }

    /// Lets go of all that are older than `border`, and of no more than so many at it; returns how
    /// many went.
    fn let_go_up_to(&mut self, border: i64, at_border: &mut usize) -> u64 {
        let gone = self.thin_exemplars(|series| {
            series.retain_exemplars(|exemplar| {
                if exemplar.timestamp_ms != border || *at_border == 0 {
                    return exemplar.timestamp_ms >= border;
                }
                *at_border -= 1;
                false
            })
        });
        self.exemplars_lost.limit += gone;
        gone
    }

    fn retain_exemplars<K: Fn(i64) -> bool>(
        &mut self,
        symbols: &Symbols,
        is_kept: &impl Fn(&LabelSet) -> K,
    ) {
        self.thin_exemplars(|series| {
            let is_kept = is_kept(&labels_of(symbols, &series.labels));
            series.retain_exemplars(|exemplar| is_kept(exemplar.timestamp_ms))
        });
    }
}
