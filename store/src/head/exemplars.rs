//! Exemplars in the head: how many are held, which go first, and what a flush lets go of.
//!
//! They stay beside their series' samples, through flushes, until one of these:
//! - there are too many: of a tenant the oldest half go, of a series the older half, thinned to a few
//!   a minute first;
//! - they are deleted, or older than their series is kept: the next flush lets go of them, before
//!   its checkpoint is written;
//! - nothing was received of their series for as long as it takes to be idle: they leave with it.
//!
//! The first and the last are losses and counted.
//!
//! # Invariants
//! - A shard holds no more than its share of the tenant's exemplars.
//!
//! Not here: how many a tenant may have (`AppendLimits`), what hides them (`engine/exemplars.rs`).

use super::series::EXEMPLAR_BYTES;
use super::shard::Shard;
use super::symbols::{LabelIds, Symbols};
use super::{SHARDS, Tenant, local_of, shard_of};
use model::exemplar::{self, SeriesExemplars};
use model::matcher::CompiledMatcher;
use model::{Exemplar, LabelSet, TimeRange};

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

impl Tenant {
    /// Adds an exemplar of a series, of a tenant that may have `max` of them.
    pub(crate) fn push_exemplar(&self, number: u32, now_s: u32, max: u64, exemplar: &Exemplar) {
        if let Some(shard) = self.shards.get(shard_of(number)) {
            let max = max.min(TENANT_MAX).div_ceil(u64::from(SHARDS));
            shard.lock().push_exemplar(local_of(number), now_s, max, exemplar);
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
            for series in shard.iter().filter(|series| !series.exemplars().is_empty()) {
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
    fn push_exemplar(&mut self, local: u32, now_s: u32, max: u64, exemplar: &Exemplar) {
        let Some(series) = self.get_mut(local) else { return };
        let (more, gone) = series.push_exemplar(exemplar);
        series.received_s = series.received_s.max(now_s);
        self.exemplars = self.exemplars + more - gone;
        self.exemplars_lost.limit += gone;
        self.sample_bytes += more * EXEMPLAR_BYTES as u64;
        if self.exemplars > max {
            self.keep_newest(max / 2);
        }
    }

    /// Lets go of all exemplars but the newest `count`.
    fn keep_newest(&mut self, count: u64) {
        let all = self.slots.iter_mut();
        let mut times: Vec<i64> =
            all.flat_map(|series| series.exemplars().iter().map(|e| e.timestamp_ms)).collect();
        let excess = times.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        let Some(last_gone) = excess.checked_sub(1) else { return };
        let (older, border, _) = times.select_nth_unstable(last_gone);
        let border = *border;
        // Of those at the border so many go, whosever they are.
        let mut at_border = excess - older.iter().filter(|at| **at < border).count();
        let mut gone = 0;
        for series in self.slots.iter_mut() {
            gone += series.retain_exemplars(|exemplar| {
                if exemplar.timestamp_ms != border || at_border == 0 {
                    return exemplar.timestamp_ms >= border;
                }
                at_border -= 1;
                false
            });
        }
        self.exemplars -= gone;
        self.exemplars_lost.limit += gone;
    }

    fn retain_exemplars<K: Fn(i64) -> bool>(
        &mut self,
        symbols: &Symbols,
        is_kept: &impl Fn(&LabelSet) -> K,
    ) {
        if self.exemplars == 0 {
            return;
        }
        let mut gone = 0;
        for series in self.slots.iter_mut().filter(|series| !series.exemplars().is_empty()) {
            let is_kept = is_kept(&labels_of(symbols, &series.labels));
            gone += series.retain_exemplars(|exemplar| is_kept(exemplar.timestamp_ms));
        }
        self.exemplars -= gone;
    }
}
