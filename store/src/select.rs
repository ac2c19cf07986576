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
use crate::chunk::fast::Columns;
use crate::chunk::times::Times;
use crate::chunk::{ChunkHead, HISTOGRAM};
use crate::engine::READ_SSTABLES_WARN;
use crate::error::{Error, Result};
use crate::merge::{self, Run};
use crate::retention::Clip;
use crate::tombstone::Touching;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use model::matcher::CompiledMatcher;
use model::query_shard::{pairs_hash, text_hash};
use model::read::{LabelQuery, SelectBounds, Selection};
use model::time::DAY_MS;
use model::{
    Column, DayBucket, HistogramSample, LabelSet, LabelTable, Matcher, QueryShard, Sample,
    SeriesColumns, Text, TimeRange,
};
use std::cell::Cell;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

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
    /// Only series of this part; for samples only.
    pub(crate) shard: QueryShard,
    /// What the tenant's retention hides.
    pub(crate) clip: Clip,
    /// How many sources may hold samples of one series.
    pub(crate) sources: Cell<usize>,
}

/// Makes matchers ready to be asked.
pub(crate) fn compile<'a>(
    matchers: impl IntoIterator<Item = &'a Matcher>,
) -> Result<Vec<CompiledMatcher>> {
    let bad = |matcher: &Matcher, detail: String| Error::BadMatcher {
        matcher: matcher.to_string(),
        detail,
    };
    matchers.into_iter().map(|m| m.compile().map_err(|error| bad(m, error.to_string()))).collect()
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
        let (want, clip, sources) = (Want::Samples, Clip::default(), Cell::new(1));
        let shard = selection.shard;
        let query = Self { matchers, want, start_ms, end_ms, spans, shard, clip, sources };
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
        let (spans, clip, sources) = (Vec::new(), Clip::default(), Cell::new(1));
        let shard = QueryShard::ALL;
        Ok(Some(Self { matchers, want, start_ms, end_ms, spans, shard, clip, sources }))
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
        let (matchers, clip, sources) = (Vec::new(), Clip::default(), self.sources.clone());
        Self { matchers, want, start_ms, end_ms, spans, shard: self.shard, clip, sources }
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
        let Some((first_ms, last_ms)) = times.ends() else { return 0..0 };
        if self.spans.is_empty() {
            return times.places(self.start_ms, self.end_ms);
        }
        // Spans are whole days, or what is left of them behind some moment: a day has one at most.
        let next = self.spans.partition_point(|(_, end)| *end <= first_ms);
        match self.spans.get(next) {
            Some((start, end)) if *start <= last_ms => {
                times.places(self.start_ms.max(*start), self.end_ms.min(*end))
            }
            _ => 0..0,
        }
    }

    /// Adds the wanted samples of a chunk to the last run, or to one of its own.
    pub(crate) fn decode(
        &self,
        head: &ChunkHead,
        bytes: &[u8],
        runs: &mut Vec<Run>,
    ) -> Result<(), Damaged> {
        if head.encoding == HISTOGRAM {
            return self.decode_histograms(head, bytes, runs);
        }
        let run = merge::run_for(head, runs);
        let Run { column: Column { timestamps_ms, values, .. }, starts, .. } = run;
        let before = timestamps_ms.len();
        if timestamps_ms.capacity() == before {
            let room = self.room(head, bytes);
            timestamps_ms.reserve_exact(room);
            values.reserve_exact(room);
        }
        if self.spans.is_empty() {
            let (start_ms, end_ms) = (self.start_ms, self.end_ms);
            let mut columns = Columns { timestamps_ms, values, starts, start_ms, end_ms };
            // It sees to it that times ascend.
            head.decode_columns(bytes, &mut columns)?;
        } else {
            head.decode(bytes, |at, value, start| {
                if self.keeps(at) {
                    timestamps_ms.push(at);
                    values.push(value);
                    if start != 0 || !starts.is_empty() {
                        starts.resize(values.len() - 1, 0);
                        starts.push(start);
                    }
                }
                at < self.end_ms
            })?;
            if !timestamps_ms[before..].is_sorted_by(|a, b| a < b) {
                return Err(Damaged("a chunk's times do not ascend"));
            }
        }
        if timestamps_ms.is_empty() && run.histograms.is_empty() {
            runs.pop();
        }
        Ok(())
    }

    /// Adds the wanted histograms of a chunk to the last run, or to one of its own.
    fn decode_histograms(
        &self,
        head: &ChunkHead,
        bytes: &[u8],
        runs: &mut Vec<Run>,
    ) -> Result<(), Damaged> {
        let mut wanted = Vec::new();
        head.decode_histograms(bytes, |timestamp_ms, start_timestamp_ms, histogram| {
            if self.keeps(timestamp_ms) {
                let (histogram, revision) = (Arc::new(histogram.clone()), head.revision);
                wanted.push(HistogramSample {
                    timestamp_ms,
                    histogram,
                    start_timestamp_ms,
                    revision,
                });
            }
            timestamp_ms < self.end_ms
        })?;
        match runs.last_mut() {
            _ if wanted.is_empty() => {}
            Some(run) if run.revision == head.revision => run.histograms.append(&mut wanted),
            _ => runs.push(Run { histograms: wanted, revision: head.revision, ..Run::default() }),
        }
        Ok(())
    }

    /// Room for a series' samples in all sources, by what one chunk says of its step.
    fn room(&self, head: &ChunkHead, bytes: &[u8]) -> usize {
        // A sample is a byte at least, but for a run's; so a head cannot ask for the moon.
        let len = (head.count as usize).min(bytes.len().saturating_mul(64));
        let span = u64::try_from(head.last_ms.saturating_sub(head.first_ms)).unwrap_or(0);
        let from = self.start_ms.max(head.first_ms);
        let wanted = u64::try_from(self.end_ms.saturating_sub(from)).unwrap_or(0);
        let steps = u64::from(head.count).saturating_sub(1);
        let by_time = match wanted.saturating_mul(steps).checked_div(span) {
            Some(count) => usize::try_from(count).unwrap_or(usize::MAX).saturating_add(2),
            None => len,
        };
        by_time.min(len.saturating_mul(self.sources.get()))
    }

    /// Whether a chunk holds a sample that is asked for.
    pub(crate) fn is_present(&self, head: &ChunkHead, bytes: &[u8]) -> Result<bool, Damaged> {
        let mut found = [head.first_ms, head.last_ms].iter().any(|at| self.keeps(*at));
        if !found {
            head.times(bytes, |at| {
                found = self.keeps(at);
                !found && at < self.end_ms
            })?;
        }
        Ok(found)
    }

    /// Adds late samples as a run for each revision.
    pub(crate) fn add_late(
        &self,
        late: Vec<Sample>,
        histograms: Vec<HistogramSample>,
        runs: &mut Vec<Run>,
    ) {
        let chunks = merge::chunks_of(late).into_iter();
        for chunk in chunks.chain(merge::histogram_chunks_of(histograms)) {
            // What was coded a moment ago is decoded without fail.
            let _ = self.decode(&chunk.head, &chunk.bytes, runs);
        }
    }
}

/// Tells the series of a query's shard, by symbols of one source.
#[derive(Debug)]
pub(crate) struct ShardFilter {
    shard: QueryShard,
    /// By symbol; 0 is not known yet.
    hashes: Vec<u64>,
}

impl ShardFilter {
    /// The filter for `len` symbols; `None` if every series is in.
    pub(crate) fn new(query: &Query, len: usize) -> Option<Self> {
        let shard = query.shard;
        (!shard.is_all()).then(|| Self { shard, hashes: vec![0; len] })
    }

    /// Whether the series of these name and value symbols is in the shard.
    pub(crate) fn holds(
        &mut self,
        pairs: impl Iterator<Item = (u32, u32)>,
        texts: &[Text],
    ) -> bool {
        let mut hash = |symbol: u32| match self.hashes.get_mut(symbol as usize) {
            Some(0) => {
                let hash = texts.get(symbol as usize).map_or(0, |text| text_hash(text));
                self.hashes[symbol as usize] = hash;
                hash
            }
            Some(hash) => *hash,
            None => 0,
        };
        self.shard.holds_hash(pairs_hash(pairs.map(|(name, value)| (hash(name), hash(value)))))
    }
}

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
    hasher: FixedState,
    /// If texts are wanted and not series: the label whose values, or `None` for the names.
    values_of: Option<Text>,
    /// Whether texts are wanted and not series.
    wants_texts: bool,
    /// What is deleted.
    tombstones: Touching,
    /// Of a series only that it has a sample is kept.
    only_presence: bool,
    /// For each text whether it is one of those, by its series.
    marked: Vec<bool>,
    /// Those that were found otherwise, ascending in each list.
    lists: Vec<Vec<Text>>,
    /// The most that are wanted.
    texts_max: usize,
    /// In how many sstables each partition was looked at; `None` if there are few anyway.
    sstables: Option<HashMap<(Text, DayBucket), u32, FixedState>>,
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
            wants_texts: false,
            tombstones: Touching::default(),
            only_presence: false,
            marked: Vec::new(),
            lists: Vec::new(),
            texts_max: usize::MAX,
            sstables: None,
        }
    }

    /// From now on what these hide is left out.
    pub(crate) fn hide(&mut self, tombstones: Touching, want: Want) {
        self.tombstones = tombstones;
        self.only_presence = want != Want::Samples;
    }

    /// Nothing found yet of the values of a label, or of the names of all; the first so many are
    /// wanted.
    pub(crate) fn of_texts(values_of: Option<Text>, texts_max: usize) -> Self {
        Self { values_of, wants_texts: true, texts_max, ..Self::new(SelectBounds::NONE) }
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
        if self.may_hide_any() { Want::Samples } else { query.want }
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
        let len = |runs: &[Run]| runs.iter().map(|run| run.len() as u64).sum::<u64>();
        let hash = self.hasher.hash_one(key);
        let found = self.find(hash, key);
        let mut runs =
            found.map_or_else(Vec::new, |index| std::mem::take(&mut self.series[index].runs));
        let before = len(&runs);
        decode(&mut runs)?;
        self.cut(key, &mut runs);
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
        if self.samples > self.bounds.samples_max.saturating_mul(2) {
            return Err(Error::TooManySamples { samples_max: self.bounds.samples_max });
        }
        Ok(())
    }

    /// Adds a series of which nobody wants the samples.
    ///
    /// # Errors
    /// If there are more series than the reader can bear.
    pub(crate) fn add_present(&mut self, key: &[u32]) -> Result<()> {
        let hash = self.hasher.hash_one(key);
        if self.find(hash, key).is_none() {
            self.insert(hash, key)?;
        }
        Ok(())
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

    /// The series, ascending by labels.
    ///
    /// # Errors
    /// If there are more samples than the reader can bear.
    pub(crate) fn finish(mut self) -> Result<Vec<SeriesColumns>> {
        self.rank_texts();
        let mut series = std::mem::take(&mut self.series);
        let (texts, keys) = (std::mem::take(&mut self.texts), std::mem::take(&mut self.keys));
        series.sort_by(|a, b| keys[a.key_start..a.key_end].cmp(&keys[b.key_start..b.key_end]));
        let table = LabelTable::new(texts, keys);
        let mut answer = Vec::with_capacity(series.len());
        let mut samples = 0_u64;
        for Gathered { key_start, key_end, runs } in series {
            let mut columns = merge::columns_of(runs);
            let floats = &mut columns.floats;
            if floats.timestamps_ms.capacity() > 2 * floats.len() + 16 {
                // There was room for more than came.
                floats.timestamps_ms.shrink_to_fit();
                floats.values.shrink_to_fit();
            }
            samples += (floats.len() + columns.histograms.len()) as u64;
            if samples > self.bounds.samples_max {
                return Err(Error::TooManySamples { samples_max: self.bounds.samples_max });
            }
            let labels = labels_of(&table, key_start..key_end);
            answer.push(SeriesColumns { labels, ..columns });
        }
        Ok(answer)
    }

    /// The label sets found, ascending.
    pub(crate) fn finish_labels(mut self) -> Vec<LabelSet> {
        self.rank_texts();
        let (texts, keys) = (self.texts, self.keys);
        let mut series: Vec<Range<usize>> =
            self.series.iter().map(|held| held.key_start..held.key_end).collect();
        series.sort_unstable_by(|a, b| keys[a.clone()].cmp(&keys[b.clone()]));
        let table = LabelTable::new(texts, keys);
        series.into_iter().map(|key| labels_of(&table, key)).collect()
    }

    /// The wanted names or values, ascending.
    pub(crate) fn finish_texts(self) -> Vec<Text> {
        let mut texts = self.lists.concat();
        let marked = self.texts.into_iter().zip(self.marked);
        texts.extend(marked.filter_map(|(text, marked)| marked.then_some(text)));
        texts.sort();
        texts.dedup();
        texts.truncate(self.texts_max);
        texts
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

/// The labels of a key.
fn labels_of(table: &Arc<LabelTable>, key: Range<usize>) -> LabelSet {
    // Only a file that others made has a key that is no label set.
    table.row(key.clone()).unwrap_or_else(|| table.any_row(key).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::TimestampMs;

    /// The question for these days of a range.
    fn query(days: Option<&[i32]>, start_ms: i64, end_ms: i64) -> Query {
        let range = TimeRange { start: TimestampMs(start_ms), end: TimestampMs(end_ms) };
        let days = days.map(|days| days.iter().copied().map(DayBucket).collect());
        let bounds = SelectBounds::NONE;
        let selection =
            Selection { matchers: Vec::new(), range, days, shard: model::QueryShard::ALL, bounds };
        Query::of_selection(&selection).unwrap().unwrap()
    }

    /// A scrape every ten minutes of one day.
    fn times_of(day: i64) -> Vec<i64> {
        (0..144).map(|number| day * DAY_MS + number * 600_000).collect()
    }

    #[test]
    fn the_places_of_a_day_are_those_of_the_moments_that_are_asked_for() {
        let (start, end) = (DAY_MS + 3_600_000, 6 * DAY_MS - 3_600_001);
        let (all, some) = (query(None, start, end), query(Some(&[1, 2, 4, 5]), start, end));
        let behind = |query: &Query, first: i64| query.without(&[(i64::MIN, first)]);
        let mut queries = Vec::new();
        for first in [start, 2 * DAY_MS, 2 * DAY_MS + 1, 4 * DAY_MS + 600_000, 5 * DAY_MS - 1, end]
        {
            queries.extend([behind(&all, first), behind(&some, first)]);
        }
        queries.extend([all, some]);
        for query in &queries {
            for day in 0..8 {
                let moments = times_of(day);
                let expected: Vec<usize> =
                    (0..moments.len()).filter(|index| query.keeps(moments[*index])).collect();
                let regular = Times::Regular { first_ms: moments[0], step_ms: 600_000, len: 144 };
                for times in [regular, Times::Listed(moments.into())] {
                    let found: Vec<usize> = query.places(&times).collect();
                    assert_eq!(found, expected, "day {day} of {query:?}");
                }
            }
        }
    }
}
