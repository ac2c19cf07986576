//! Selecting: what a reader asks, and what several sources found for it, put together.
//!
//! Each source (the head, an sstable) adds the series that match, named by texts, with the samples
//! it holds. A series that several sources hold is one in the end, its samples joined by D4.
//!
//! # Invariants
//! - The answer ascends by labels, each series occurs once, and each has a sample in the range.
//!
//! Not here: how a source finds its series (`head/read.rs`, `sstable/read.rs`).

use crate::bytes::Damaged;
use crate::chunk::ChunkHead;
use crate::chunk::times::Times;
use crate::error::{Error, Result};
use crate::merge::{self, Run};
use crate::retention::Clip;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use model::matcher::CompiledMatcher;
use model::read::{LabelQuery, SelectBounds, Selection};
use model::time::DAY_MS;
use model::{Column, LabelSet, Matcher, Sample, SeriesColumns, Text, TimeRange};
use std::hash::BuildHasher;
use std::ops::Range;

/// What of a series is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Its samples.
    Samples,
    /// Only that there is a sample in the range.
    Presence,
    /// Only that there may be one.
    Possibility,
}

/// A question, ready to be asked of a source.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) matchers: Vec<CompiledMatcher>,
    pub(crate) want: Want,
    /// The first moment asked for, and the one after the last.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// Only these moments, ascending and apart; empty is no such condition.
    spans: Vec<(i64, i64)>,
    /// What the tenant's retention hides.
    pub(crate) clip: Clip,
}

fn compile(matchers: &[Matcher]) -> Result<Vec<CompiledMatcher>> {
    let bad = |matcher: &Matcher, detail: String| Error::BadMatcher {
        matcher: matcher.to_string(),
        detail,
    };
    matchers.iter().map(|m| m.compile().map_err(|error| bad(m, error.to_string()))).collect()
}

impl Query {
    /// The query of a selection; `None` if no moment can match.
    pub(crate) fn of_selection(selection: &Selection) -> Result<Option<Self>> {
        let mut spans: Vec<(i64, i64)> = Vec::new();
        if let Some(days) = &selection.days {
            let mut days = days.clone();
            days.sort_unstable();
            days.dedup();
            for range in days.iter().map(|day| day.range()) {
                match spans.last_mut() {
                    Some((_, end)) if *end == range.start.0 => *end = range.end.0,
                    _ => spans.push((range.start.0, range.end.0)),
                }
            }
            if spans.is_empty() {
                return Ok(None);
            }
        }
        let matchers = compile(&selection.matchers)?;
        let TimeRange { start, end } = selection.range;
        let start_ms = spans.first().map_or(start.0, |span| span.0.max(start.0));
        let end_ms = spans.last().map_or(end.0, |span| span.1.min(end.0));
        if spans.len() == 1 {
            spans.clear();
        }
        let clip = Clip::default();
        let query = Self { matchers, want: Want::Samples, start_ms, end_ms, spans, clip };
        Ok((start_ms < end_ms).then_some(query))
    }

    /// The query of one matcher set of a label query.
    pub(crate) fn of_labels(
        query: &LabelQuery,
        matchers: &[Matcher],
        want: Want,
    ) -> Result<Option<Self>> {
        let TimeRange { start, end } = query.range;
        let (mut start_ms, mut end_ms) = (start.0, end.0);
        if query.range.is_empty() {
            return Ok(None);
        }
        if want == Want::Possibility {
            start_ms = start_ms.saturating_sub(start_ms.rem_euclid(DAY_MS));
            end_ms = end_ms.saturating_add((DAY_MS - end_ms.rem_euclid(DAY_MS)) % DAY_MS);
        }
        let matchers = compile(matchers)?;
        let (spans, clip) = (Vec::new(), Clip::default());
        Ok(Some(Self { matchers, want, start_ms, end_ms, spans, clip }))
    }

    /// The question to a series of which `hidden` spans are hidden, normalized: it has no matchers,
    /// and no other moments than the shown ones of this. Names and values are as exact as samples.
    pub(crate) fn without(&self, hidden: &[(i64, i64)]) -> Self {
        let whole = [(self.start_ms, self.end_ms)];
        let asked = if self.spans.is_empty() { &whole[..] } else { &self.spans };
        let mut spans = Vec::new();
        for (start, end) in asked {
            let mut start = *start.max(&self.start_ms);
            let end = *end.min(&self.end_ms);
            let from = hidden.partition_point(|(_, hidden_end)| *hidden_end <= start);
            for (hidden_start, hidden_end) in hidden.iter().skip(from) {
                if start < end.min(*hidden_start) {
                    spans.push((start, end.min(*hidden_start)));
                }
                start = start.max(*hidden_end);
            }
            if start < end {
                spans.push((start, end));
            }
        }
        let want = match self.want {
            Want::Samples => Want::Samples,
            Want::Presence | Want::Possibility => Want::Presence,
        };
        let start_ms = spans.first().map_or(self.end_ms, |span| span.0);
        let end_ms = spans.last().map_or(self.end_ms, |span| span.1);
        if spans.len() < 2 {
            spans.clear();
        }
        Self { matchers: Vec::new(), want, start_ms, end_ms, spans, clip: Clip::default() }
    }

    /// Whether the range is longer than a dashboard's: what such a scan reads is not kept.
    pub(crate) fn is_long(&self) -> bool {
        self.end_ms.saturating_sub(self.start_ms) > DAY_MS
    }

    /// Whether a sample of this moment is asked for.
    #[inline]
    pub(crate) fn keeps(&self, at: i64) -> bool {
        self.start_ms <= at && at < self.end_ms && (self.spans.is_empty() || self.in_spans(at))
    }

    fn in_spans(&self, at: i64) -> bool {
        let next = self.spans.partition_point(|(start, _)| *start <= at);
        next.checked_sub(1)
            .and_then(|index| self.spans.get(index))
            .is_some_and(|(_, end)| at < *end)
    }

    /// Whether a chunk may hold a sample that is asked for.
    pub(crate) fn overlaps(&self, first_ms: i64, last_ms: i64) -> bool {
        first_ms < self.end_ms && self.start_ms <= last_ms
    }

    /// Which of a column's times are asked for, if they lie in one day.
    pub(crate) fn places(&self, times: &Times) -> Range<usize> {
        let first_ms = times.ends().map_or(0, |(first_ms, _)| first_ms);
        if !self.spans.is_empty() && !self.in_spans(first_ms) {
            return 0..0;
        }
        times.places(self.start_ms, self.end_ms)
    }

    /// Adds the wanted samples of a chunk to the last run, or to one of its own.
    pub(crate) fn decode(
        &self,
        head: &ChunkHead,
        bytes: &[u8],
        runs: &mut Vec<Run>,
    ) -> Result<(), Damaged> {
        let run = merge::run_for(head, runs);
        // A sample is a byte at least, but for a run's; so a head cannot ask for the moon.
        let len = (head.count as usize).min(bytes.len().saturating_mul(64));
        let Run { column: Column { timestamps_ms, values }, starts, .. } = run;
        let before = timestamps_ms.len();
        timestamps_ms.reserve_exact(len);
        values.reserve_exact(len);
        let whole =
            self.spans.is_empty() && self.start_ms <= head.first_ms && head.last_ms < self.end_ms;
        head.decode(bytes, |at, value, start| {
            if whole || self.keeps(at) {
                timestamps_ms.push(at);
                values.push(value);
                if start != 0 || !starts.is_empty() {
                    starts.resize(values.len() - 1, 0);
                    starts.push(start);
                }
            }
            whole || at < self.end_ms
        })?;
        // Bytes with a right checksum ascend; others must not get any further.
        let ascends = timestamps_ms[before..].is_sorted_by(|a, b| a < b);
        if ascends { Ok(()) } else { Err(Damaged("a chunk's times do not ascend")) }
    }

    /// Whether a chunk holds a sample that is asked for.
    pub(crate) fn is_present(&self, head: &ChunkHead, bytes: &[u8]) -> Result<bool, Damaged> {
        let mut found = [head.first_ms, head.last_ms].iter().any(|at| self.keeps(*at));
        if !found {
            head.decode(bytes, |at, _, _| {
                found = self.keeps(at);
                !found && at < self.end_ms
            })?;
        }
        Ok(found)
    }

    /// Adds late samples as a run for each revision.
    pub(crate) fn add_late(&self, late: Vec<Sample>, runs: &mut Vec<Run>) {
        for chunk in merge::chunks_of(late) {
            // What was coded a moment ago is decoded without fail.
            let _ = self.decode(&chunk.head, &chunk.bytes, runs);
        }
    }
}

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
    hasher: FixedState,
    /// If texts are wanted and not series: the label whose values, or `None` for the names.
    values_of: Option<Text>,
    /// Those that were found, ascending in each list.
    lists: Vec<Vec<Text>>,
    /// The most that are wanted.
    texts_max: usize,
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
            hasher: FixedState::default(),
            values_of: None,
            lists: Vec::new(),
            texts_max: usize::MAX,
        }
    }

    /// Nothing found yet of the values of a label, or of the names of all; the first so many are
    /// wanted.
    pub(crate) fn of_texts(values_of: Option<Text>, texts_max: usize) -> Self {
        Self { values_of, texts_max, ..Self::new(SelectBounds::NONE) }
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

    /// Adds what a source holds of a series. The key is its label pairs, in order, as texts'
    /// numbers.
    ///
    /// # Errors
    /// If there are more series or samples than the reader can bear.
    pub(crate) fn add(&mut self, key: &[u32], mut runs: Vec<Run>) -> Result<()> {
        runs.retain(|run| !run.column.is_empty());
        if runs.is_empty() {
            return Ok(());
        }
        self.samples += runs.iter().map(|run| run.column.len() as u64).sum::<u64>();
        // Sources may hold the same sample; whether there are too many is known after the join.
        // But no answer may need twice the memory of the largest one.
        if self.samples > self.bounds.samples_max.saturating_mul(2) {
            return Err(Error::TooManySamples { samples_max: self.bounds.samples_max });
        }
        self.slot(key)?.runs.append(&mut runs);
        Ok(())
    }

    /// Adds a series of which nobody wants the samples.
    ///
    /// # Errors
    /// If there are more series than the reader can bear.
    pub(crate) fn add_present(&mut self, key: &[u32]) -> Result<()> {
        self.slot(key).map(|_| ())
    }

    /// The series of a key, which may be new.
    fn slot(&mut self, key: &[u32]) -> Result<&mut Gathered> {
        let Self { keys, series, by_key, hasher, .. } = self;
        let key_of = |held: &Gathered| keys.get(held.key_start..held.key_end);
        let hash = hasher.hash_one(key);
        let found = by_key.find(hash, |index| {
            series.get(*index as usize).and_then(key_of).is_some_and(|held| *held == *key)
        });
        let index = match found {
            Some(index) => *index as usize,
            None => {
                if series.len() as u64 >= self.bounds.series_max {
                    return Err(Error::TooManySeries { series_max: self.bounds.series_max });
                }
                let key_start = keys.len();
                keys.extend_from_slice(key);
                let index = u32::try_from(series.len()).unwrap_or(u32::MAX);
                series.push(Gathered { key_start, key_end: keys.len(), runs: Vec::new() });
                by_key.insert_unique(hash, index, |index| {
                    let held = series.get(*index as usize);
                    held.map_or(0, |held| hasher.hash_one(&keys[held.key_start..held.key_end]))
                });
                index as usize
            }
        };
        Ok(&mut series[index])
    }

    /// The series, ascending by labels.
    ///
    /// # Errors
    /// If there are more samples than the reader can bear.
    pub(crate) fn finish(mut self) -> Result<Vec<SeriesColumns>> {
        self.rank_texts();
        let mut series = std::mem::take(&mut self.series);
        let keys = &self.keys;
        series.sort_by(|a, b| keys[a.key_start..a.key_end].cmp(&keys[b.key_start..b.key_end]));
        let mut answer = Vec::with_capacity(series.len());
        let mut samples = 0_u64;
        for Gathered { key_start, key_end, runs } in series {
            let floats = merge::column_of(runs);
            samples += floats.len() as u64;
            if samples > self.bounds.samples_max {
                return Err(Error::TooManySamples { samples_max: self.bounds.samples_max });
            }
            answer.push(SeriesColumns { labels: self.labels(&keys[key_start..key_end]), floats });
        }
        Ok(answer)
    }

    /// The label sets found, ascending.
    pub(crate) fn finish_labels(mut self) -> Vec<LabelSet> {
        self.rank_texts();
        let keys = |held: &Gathered| &self.keys[held.key_start..held.key_end];
        let mut series: Vec<&[u32]> = self.series.iter().map(keys).collect();
        series.sort_unstable();
        series.into_iter().map(|key| self.labels(key)).collect()
    }

    /// The wanted names or values, ascending.
    pub(crate) fn finish_texts(self) -> Vec<Text> {
        let mut texts = self.lists.concat();
        texts.sort();
        texts.dedup();
        texts.truncate(self.texts_max);
        texts
    }

    fn labels(&self, key: &[u32]) -> LabelSet {
        let text = |id: u32| self.texts.get(id as usize).cloned().unwrap_or_default();
        let pairs = key.chunks_exact(2).map(|pair| (text(pair[0]), text(pair[1])));
        // The pairs of a key come from a label set.
        LabelSet::from_pairs(pairs).unwrap_or_default()
    }

    /// Numbers the texts by their order, so that keys compare as label sets do.
    fn rank_texts(&mut self) {
        let mut order: Vec<u32> = (0..).take(self.texts.len()).collect();
        order.sort_unstable_by(|a, b| self.texts[*a as usize].cmp(&self.texts[*b as usize]));
        let mut rank = vec![0_u32; order.len()];
        for (place, id) in (0..).zip(&order) {
            rank[*id as usize] = place;
        }
        for id in &mut self.keys {
            *id = rank[*id as usize];
        }
        self.texts = order.iter().map(|id| self.texts[*id as usize].clone()).collect();
    }
}
