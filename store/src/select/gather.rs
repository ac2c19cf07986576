//! What several sources found, put together as they bring it: a series that several of them hold is
//! one, and what is deleted is left out.
//!
//! # Invariants
//! - Each series occurs once; its key is its label pairs, in order, as texts' numbers.
//! - No answer needs twice the memory of the largest that the reader can bear.
//!
//! Not here: the order of the answer (`finish.rs`).

mod finish;
mod moments;

use super::first::First;
use super::{Query, Want};
use crate::engine::READ_SSTABLES_WARN;
use crate::error::{Error, Result};
use crate::merge::Run;
use crate::tombstone::Touching;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use model::read::{SelectBounds, Steps, Wanted};
use model::{DayBucket, Text};
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many partitions of one read are named that came out of many sstables.
const WIDE_MAX: usize = 8;

/// What was found so far.
#[derive(Debug)]
pub(crate) struct Gather {
    bounds: SelectBounds,
    texts: Vec<Text>,
    by_text: HashTable<u32>,
    /// The keys of all series, one after the other: name, value, name, value …
    keys: Vec<u32>,
    series: Vec<Gathered>,
    by_key: HashTable<u32>,
    samples: u64,
    /// What others that answer the same question have found, too.
    together: Option<Arc<Together>>,
    hasher: FixedState,
    /// If texts are wanted and not series: the label whose values, or `None` for the names.
    values_of: Option<Text>,
    /// Whether texts are wanted and not series.
    wants_texts: bool,
    /// What is deleted.
    tombstones: Touching,
    /// What of the series is looked at.
    wanted: Wanted,
    /// Of a series only that it has a sample is kept.
    only_presence: bool,
    /// The head is asked for samples, whatever is hidden.
    asks_for_samples: bool,
    /// For each text whether it is one of those, by its series.
    marked: Vec<bool>,
    /// Those that were found otherwise, ascending in each list.
    lists: Vec<Vec<Text>>,
    /// The most that are wanted.
    texts_max: usize,
    /// If only the first series are wanted.
    first: Option<First>,
    /// In how many sstables each partition was looked at; `None` if there are few anyway.
    sstables: Option<HashMap<(Text, DayBucket), u32, FixedState>>,
}

/// What several stores that answer one question hold together: none may hold what only one of them may.
#[derive(Debug, Default)]
pub struct Together {
    samples: AtomicU64,
}

#[derive(Debug)]
struct Gathered {
    key_start: usize,
    key_end: usize,
    runs: Vec<Run>,
}

impl Gather {
    /// Nothing found yet.
    pub(crate) fn new(bounds: SelectBounds) -> Self {
        Self {
            bounds,
            texts: Vec::new(),
            by_text: HashTable::new(),
            keys: Vec::new(),
            series: Vec::new(),
            by_key: HashTable::new(),
            samples: 0,
            together: None,
            hasher: FixedState::default(),
            values_of: None,
            wants_texts: false,
            tombstones: Touching::default(),
            wanted: Wanted::ALL,
            only_presence: false,
            asks_for_samples: false,
            marked: Vec::new(),
            lists: Vec::new(),
            texts_max: usize::MAX,
            first: None,
            sstables: None,
        }
    }

    /// The bounds hold for this and all others that count there.
    pub(crate) fn count_together(&mut self, together: Arc<Together>) {
        self.together = Some(together);
    }

    /// From now on what nobody looks at is left out.
    pub(crate) fn look_at(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// The steps, if a source need not bring more than what they see: nothing is left out later.
    pub(crate) fn steps(&self) -> Option<Steps> {
        self.wanted.steps.filter(|_| !self.asks_for_samples && self.tombstones.is_empty())
    }

    /// Whether a source's samples all count, and none is left out later.
    pub(crate) fn counts_all(&self) -> bool {
        self.wanted.steps.is_none() && !self.asks_for_samples && self.tombstones.is_empty()
    }

    /// Refuses what a source would bring, before it is copied, if it is more than twice what the reader can
    /// bear: so many series, and so many samples that all count.
    ///
    /// # Errors
    /// If so.
    pub(crate) fn check(&self, series: u64, samples: u64) -> Result<()> {
        let SelectBounds { series_max, samples_max, .. } = self.bounds;
        if series > series_max.saturating_mul(2) {
            return Err(Error::TooManySeries { series_max });
        }
        match samples > samples_max.saturating_mul(2) {
            true => Err(Error::TooManySamples { samples_max }),
            false => Ok(()),
        }
    }

    /// From now on what these hide is left out.
    pub(crate) fn hide(&mut self, tombstones: Touching, want: Want) {
        self.tombstones = tombstones;
        self.only_presence = want != Want::Samples;
    }

    /// What was found so far, for [`Gather::ask_for_samples`].
    pub(crate) fn mark(&self) -> usize {
        self.lists.len()
    }

    /// What the head has added since the mark does not count: it is to be asked once more, for samples,
    /// out of which anything can be left afterwards.
    pub(crate) fn ask_for_samples(&mut self, mark: usize) {
        self.lists.truncate(mark);
        self.asks_for_samples = true;
    }

    /// Nothing found yet of the values of a label, or of the names of all; the first so many are
    /// wanted.
    pub(crate) fn of_texts(values_of: Option<Text>, texts_max: usize) -> Self {
        Self { values_of, wants_texts: true, texts_max, ..Self::new(SelectBounds::NONE) }
    }

    /// Nothing found yet of series of which only labels are wanted, of the first `max` by labels.
    pub(crate) fn of_first(max: usize) -> Self {
        Self { first: Some(First::new(max)), ..Self::new(SelectBounds::NONE) }
    }

    /// What tells a source which series are not wanted, if only the first are.
    pub(crate) fn first(&self) -> Option<First> {
        self.first.as_ref().map(|first| First::new(first.max()))
    }

    /// Whether a sample of this metric in `[first_ms, last_ms]` may be hidden. If so, a source has
    /// to [`add`](Self::add) samples, also if only labels are wanted.
    pub(crate) fn may_hide(&self, metric: &str, first_ms: i64, last_ms: i64) -> bool {
        self.tombstones.may_cut(metric, first_ms, last_ms)
    }

    /// Whether any sample at all may be hidden.
    pub(crate) fn may_hide_any(&self) -> bool {
        !self.tombstones.is_empty()
    }

    /// Says that so many sstables will be looked at.
    pub(crate) fn count_sstables(&mut self, len: usize) {
        self.sstables = (len >= READ_SSTABLES_WARN as usize).then(HashMap::default);
    }

    /// Says that a partition is looked at in one more sstable.
    pub(crate) fn touch(&mut self, metric: &Text, day: DayBucket) {
        if let Some(sstables) = &mut self.sstables {
            *sstables.entry((metric.clone(), day)).or_default() += 1;
        }
    }

    /// The partitions that were looked at in so many sstables or more, the widest few.
    pub(crate) fn take_wide(&mut self, sstables_min: u32) -> Vec<(Text, DayBucket, u32)> {
        let counted = self.sstables.take().into_iter().flatten();
        let wide = counted.filter(|(_, sstables)| *sstables >= sstables_min);
        let mut wide: Vec<_> = wide.map(|((metric, day), count)| (metric, day, count)).collect();
        wide.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| (&a.0, a.1).cmp(&(&b.0, b.1))));
        wide.truncate(WIDE_MAX);
        wide
    }

    /// What the head is asked for: if something may be hidden, its samples are looked at.
    pub(crate) fn want_of_head(&self, query: &Query) -> Want {
        match self.asks_for_samples || self.may_hide_any() {
            true => Want::Samples,
            false => query.want,
        }
    }

    /// The label whose values are wanted; `None` if it is the names.
    pub(crate) fn values_of(&self) -> Option<&Text> {
        self.values_of.as_ref()
    }

    /// Adds some of the wanted names or values, ascending.
    pub(crate) fn add_texts<'t>(&mut self, texts: impl Iterator<Item = &'t Text>) {
        self.lists.push(texts.take(self.texts_max).cloned().collect());
    }

    /// The number of a text in this answer.
    pub(crate) fn text(&mut self, text: &Text) -> u32 {
        let Self { texts, by_text, hasher, .. } = self;
        let found = by_text.entry(
            hasher.hash_one(&**text),
            |id| *texts[*id as usize] == **text,
            |id| hasher.hash_one(&*texts[*id as usize]),
        );
        *found
            .or_insert_with(|| {
                texts.push(text.clone());
                u32::try_from(texts.len() - 1).unwrap_or(u32::MAX)
            })
            .get()
    }

    /// Adds what a source holds of a series: `decode` appends to the runs of the sources before,
    /// so sources best come in the order of their times. The key is the series' label pairs, in
    /// order, as texts' numbers.
    ///
    /// # Errors
    /// What `decode` says, or if there are more series or samples than the reader can bear.
    pub(crate) fn extend(
        &mut self,
        key: &[u32],
        decode: impl FnOnce(&mut Vec<Run>) -> Result<()>,
    ) -> Result<()> {
        if self.wants_texts || self.only_presence {
            let mut runs = Vec::new();
            decode(&mut runs)?;
            self.cut(key, &mut runs);
            return match runs.is_empty() {
                true => Ok(()),
                false if self.wants_texts => {
                    self.mark_key(key);
                    Ok(())
                }
                false => self.add_present(key),
            };
        }
        let len = |runs: &[Run]| runs.iter().map(Run::samples).sum::<u64>();
        let hash = self.hasher.hash_one(key);
        let found = self.find(hash, key);
        let mut runs =
            found.map_or_else(Vec::new, |index| std::mem::take(&mut self.series[index].runs));
        let before = len(&runs);
        decode(&mut runs)?;
        self.cut(key, &mut runs);
        if let Some(steps) = &self.wanted.steps {
            runs.iter_mut().for_each(|run| run.thin(steps));
            runs.retain(|run| run.len() > 0);
        }
        let added = len(&runs).saturating_sub(before);
        match found {
            Some(index) => self.series[index].runs = runs,
            None if added > 0 => {
                let index = self.insert(hash, key)?;
                self.series[index].runs = runs;
            }
            None => {}
        }
        self.samples += added;
        // Sources may hold the same sample; whether there are too many is known after the join.
        // But no answer may need twice the memory of the largest one.
        let held = self.together.as_ref().map_or(self.samples, |together| {
            together.samples.fetch_add(added, Ordering::Relaxed).saturating_add(added)
        });
        if held > self.bounds.samples_max.saturating_mul(2) {
            return Err(Error::TooManySamples { samples_max: self.bounds.samples_max });
        }
        Ok(())
    }

    /// Adds a series of which nobody wants the samples.
    ///
    /// # Errors
    /// If there are more series than the reader can bear.
    pub(crate) fn add_present(&mut self, key: &[u32]) -> Result<()> {
        let text = |id: u32| self.texts.get(id as usize).map_or("", |text| &**text);
        if self.first.as_ref().is_some_and(|first| first.is_beyond(key, text)) {
            return Ok(());
        }
        let hash = self.hasher.hash_one(key);
        if self.find(hash, key).is_none() {
            self.insert(hash, key)?;
            self.keep_first();
        }
        Ok(())
    }

    /// Lets go of series that are not wanted, if there are many.
    fn keep_first(&mut self) {
        let Self { first, texts, keys, series, by_key, hasher, .. } = self;
        let Some(first) = first.as_mut().filter(|first| first.is_full(series.len())) else {
            return;
        };
        let mut ranges: Vec<Range<usize>> =
            series.iter().map(|held| held.key_start..held.key_end).collect();
        first.cut(keys, &mut ranges, |id| texts.get(id as usize).map_or("", |text| &**text));
        series.clear();
        by_key.clear();
        let hash_of = |held: &Gathered| hasher.hash_one(&keys[held.key_start..held.key_end]);
        for (number, key) in (0..).zip(ranges) {
            let held = Gathered { key_start: key.start, key_end: key.end, runs: Vec::new() };
            let hash = hash_of(&held);
            series.push(held);
            by_key.insert_unique(hash, number, |index: &u32| {
                series.get(*index as usize).map_or(0, hash_of)
            });
        }
    }

    /// The index of the series of a key.
    fn find(&self, hash: u64, key: &[u32]) -> Option<usize> {
        let is_it = |held: &Gathered| self.keys.get(held.key_start..held.key_end) == Some(key);
        let at = |index: &u32| self.series.get(*index as usize);
        let found = self.by_key.find(hash, |index| at(index).is_some_and(is_it));
        found.map(|index| *index as usize)
    }

    /// Adds a series that is new, and returns its index.
    fn insert(&mut self, hash: u64, key: &[u32]) -> Result<usize> {
        let Self { keys, series, by_key, hasher, .. } = self;
        if series.len() as u64 >= self.bounds.series_max {
            return Err(Error::TooManySeries { series_max: self.bounds.series_max });
        }
        let key_start = keys.len();
        keys.extend_from_slice(key);
        let index = series.len();
        series.push(Gathered { key_start, key_end: keys.len(), runs: Vec::new() });
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        by_key.insert_unique(hash, number, |index| {
            let held = series.get(*index as usize);
            held.map_or(0, |held| hasher.hash_one(&keys[held.key_start..held.key_end]))
        });
        Ok(index)
    }

    /// Takes what is deleted out of a series' runs.
    fn cut(&self, key: &[u32], runs: &mut Vec<Run>) {
        if self.tombstones.is_empty() {
            return;
        }
        let text = |id: u32| self.texts.get(id as usize).map_or("", |text| text);
        let hidden = self.tombstones.hidden(|name| {
            let mut pairs = key.chunks_exact(2);
            pairs.find(|pair| *text(pair[0]) == *name).map_or("", |pair| text(pair[1]))
        });
        if !hidden.is_empty() {
            runs.iter_mut().for_each(|run| hidden.cut_run(run));
            runs.retain(|run| run.len() > 0);
        }
    }

    /// Marks the wanted names or values of a series.
    fn mark_key(&mut self, key: &[u32]) {
        for pair in key.chunks_exact(2) {
            let text = match &self.values_of {
                None => pair[0],
                Some(name) if self.texts.get(pair[0] as usize) == Some(name) => pair[1],
                Some(_) => continue,
            } as usize;
            if self.marked.len() <= text {
                self.marked.resize(text + 1, false);
            }
            self.marked[text] = true;
        }
    }
}
