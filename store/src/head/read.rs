//! Reading the head: which series match, and copies of what they hold.
//!
//! A shard is locked while its matching series are looked up (`read/plan.rs`) and their coded bytes
//! copied; they are decoded after that.

mod plan;

use super::Tenant;
use super::query_shard::ShardFilter;
use super::series::Series;
use super::shard::Shard;
use super::symbols::Symbols;
use crate::chunk::ChunkHead;
use crate::compaction::cut::{self, Cut, Labels};
use crate::error::Result;
use crate::merge::Run;
use crate::select::{First, Gather, Query, Want};
use model::read::{Estimate, Steps};
use model::{HistogramSample, Sample, Text};
use plan::{Plan, for_each_match};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Copies of what the matching series hold, to be decoded when no lock is held.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    series: Vec<Hit>,
    /// The keys of all, one after the other.
    keys: Vec<u32>,
    chunks: Vec<(ChunkHead, Coded)>,
    /// The bytes of open chunks.
    open: Vec<u8>,
    late: Vec<Sample>,
    late_histograms: Vec<HistogramSample>,
    /// So many samples at least are in chunks of which all is asked for.
    samples: u64,
    /// The keys of series that are known to have a sample that is asked for, if only the first series are
    /// wanted; then there are no others.
    first: Vec<Range<usize>>,
    /// How many of the series are in the answer for sure: nothing of them is left out later.
    sure: u64,
}

/// Where each part of a series ends in [`Hits`].
#[derive(Debug)]
struct Hit {
    /// The question to it, if some of it is hidden.
    narrowed: Option<Query>,
    /// Known to have a sample that is asked for.
    is_present: bool,
    /// The only one of its samples that is looked at.
    newest: Option<Sample>,
    keys_end: usize,
    chunks_end: usize,
    late_end: usize,
    late_histograms_end: usize,
}

/// The bytes of a chunk.
#[derive(Debug)]
enum Coded {
    Sealed(Arc<[u8]>),
    /// Where they are in [`Hits::open`].
    Open(Range<usize>),
}

impl Hits {
    /// How many series there are.
    #[cfg(test)]
    pub(crate) fn series(&self) -> usize {
        self.series.len() + self.first.len()
    }

    /// Copies what a series holds. The question is `narrowed` if some of it is hidden.
    fn push(
        &mut self,
        series: &Series,
        (query, narrowed): (&Query, Option<Query>),
        (want, step): (Want, Option<Steps>),
        key: impl Iterator<Item = u32>,
    ) {
        self.keys.extend(key);
        let query = narrowed.as_ref().unwrap_or(query);
        let (start_ms, end_ms) = (query.start_ms, query.end_ms);
        if let Some(steps) = step.filter(|_| narrowed.is_none())
            && let Some(newest) = series.newest_until(steps.first_ms)
            && query.keeps(newest.timestamp_ms)
        {
            let is_seen = newest.timestamp_ms > steps.first_ms.saturating_sub(steps.back_ms);
            self.sure += u64::from(is_seen);
            self.end(None, is_seen.then_some(newest), true);
            return;
        }
        if want == Want::Presence && series.has_end_in(|at| query.keeps(at)) {
            self.end(narrowed, None, true);
            return;
        }
        let (sealed, late) = series.closed();
        let sealed = sealed.filter(|chunk| chunk.head.overlaps(start_ms, end_ms));
        let first = self.chunks.len();
        self.chunks.extend(sealed.map(|c| (c.head, Coded::Sealed(Arc::clone(&c.bytes)))));
        let (histograms, late_histograms) = series.histograms();
        let open = series.open().into_iter().chain(histograms);
        for (head, bytes) in open.filter(|(head, _)| head.overlaps(start_ms, end_ms)) {
            let at = self.open.len();
            self.open.extend_from_slice(bytes);
            self.chunks.push((head, Coded::Open(at..self.open.len())));
        }
        if narrowed.is_none() {
            let own = self.chunks[first..].iter().map(|(head, _)| head);
            let whole = own.filter(|head| query.keeps(head.first_ms) && query.keeps(head.last_ms));
            self.samples += whole.map(|head| u64::from(head.count)).sum::<u64>();
        }
        let inside = |sample: &&Sample| (start_ms..end_ms).contains(&sample.timestamp_ms);
        self.late.extend(late.iter().filter(inside));
        let inside = |at: i64| (start_ms..end_ms).contains(&at);
        let late = late_histograms.iter().filter(|sample| inside(sample.timestamp_ms));
        self.late_histograms.extend(late.cloned());
        self.end(narrowed, None, false);
    }

    /// Notes a series of which only the labels are wanted, if it may be among the first.
    fn push_first(
        &mut self,
        first: &mut First,
        (series, query): (&Series, &Query),
        symbols: &Symbols,
        key: impl Iterator<Item = u32>,
    ) {
        let text = |symbol: u32| &**symbols.text(symbol);
        let start = self.keys.len();
        self.keys.extend(key);
        if first.is_beyond(&self.keys[start..], text) || !has_sample(series, query) {
            self.keys.truncate(start);
            return;
        }
        self.first.push(start..self.keys.len());
        if first.is_full(self.first.len()) {
            first.cut(&mut self.keys, &mut self.first, text);
        }
    }

    fn end(&mut self, narrowed: Option<Query>, newest: Option<Sample>, is_present: bool) {
        self.series.push(Hit {
            narrowed,
            is_present,
            newest,
            keys_end: self.keys.len(),
            chunks_end: self.chunks.len(),
            late_end: self.late.len(),
            late_histograms_end: self.late_histograms.len(),
        });
    }

    /// Adds what was copied to the answer.
    ///
    /// # Errors
    /// If there are more series or samples than the reader can bear.
    pub(crate) fn add(&self, query: &Query, gather: &mut Gather) -> Result<()> {
        for key in &self.first {
            gather.add_present(&self.keys[key.clone()])?;
        }
        let want = gather.want_of_head(query);
        let (mut key, mut chunk, mut late, mut late_histogram) = (0, 0, 0, 0);
        for hit in &self.series {
            let query = hit.narrowed.as_ref().unwrap_or(query);
            let labels = &self.keys[key..hit.keys_end];
            let chunks = &self.chunks[chunk..hit.chunks_end];
            let samples = &self.late[late..hit.late_end];
            let histograms = &self.late_histograms[late_histogram..hit.late_histograms_end];
            (key, chunk, late) = (hit.keys_end, hit.chunks_end, hit.late_end);
            late_histogram = hit.late_histograms_end;
            if want == Want::Presence {
                // Bytes in memory are what was coded.
                let is_present = |(head, coded): &(ChunkHead, Coded)| {
                    query.is_present(head, self.bytes(coded)).unwrap_or(true)
                };
                if hit.is_present
                    || chunks.iter().any(is_present)
                    || samples.iter().any(|s| query.keeps(s.timestamp_ms))
                    || histograms.iter().any(|s| query.keeps(s.timestamp_ms))
                {
                    gather.add_present(labels)?;
                }
                continue;
            }
            gather.extend(labels, |runs| {
                runs.extend(hit.newest.as_ref().map(Run::of));
                for (head, coded) in chunks {
                    // Likewise.
                    let _ = query.decode(head, self.bytes(coded), runs);
                }
                if !samples.is_empty() || !histograms.is_empty() {
                    query.add_late(samples.to_vec(), histograms.to_vec(), runs);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn bytes<'b>(&'b self, coded: &'b Coded) -> &'b [u8] {
        match coded {
            Coded::Sealed(bytes) => bytes,
            Coded::Open(range) => &self.open[range.clone()],
        }
    }
}

impl Tenant {
    /// Copies of the series that match, or marks of their labels in `gather`.
    ///
    /// # Errors
    /// If they are far more than the reader can bear: no more than that is copied.
    pub(crate) fn collect(&self, query: &Query, gather: &mut Gather) -> Result<Hits> {
        let mut hits = Hits::default();
        let symbols = self.symbols.read();
        let mut plans: Vec<Plan<'_>> =
            query.matchers.iter().map(|matcher| Plan::new(matcher, &symbols)).collect();
        if plans.iter().any(Plan::is_vain) {
            return Ok(hits);
        }
        let want = gather.want_of_head(query);
        let step = gather.steps().filter(Steps::is_one);
        let hides = query.clip.of_head();
        if want == Want::Possibility {
            self.mark(query, &hides, &mut plans, &symbols, gather);
            return Ok(hits);
        }
        let mut filter = ShardFilter::new(query, &symbols);
        let counts_all = gather.counts_all();
        let mut first = gather.first().filter(|_| want == Want::Presence);
        for shard in self.shards() {
            let mut bearable = Ok(());
            for_each_match(&shard, query, &mut plans, &symbols, |series| {
                if bearable.is_err() {
                    return;
                }
                if filter.as_mut().is_some_and(|filter| !filter.holds(&series.labels, &symbols)) {
                    return;
                }
                let key = symbols.pairs(&series.labels).flat_map(|(name, value)| [name, value]);
                let narrowed = self.narrowed(series, query, &hides, &symbols);
                if let Some(first) = &mut first {
                    let query = narrowed.as_ref().unwrap_or(query);
                    hits.push_first(first, (series, query), &symbols, key);
                    return;
                }
                let has_one = || series.has_end_in(|at| query.keeps(at));
                hits.sure += u64::from(counts_all && narrowed.is_none() && has_one());
                hits.push(series, (query, narrowed), (want, step), key);
                let samples = if counts_all { hits.samples } else { 0 };
                bearable = gather.check(hits.sure, samples);
            });
            bearable?;
        }
        let mut texts = vec![0_u32; symbols.len()];
        for symbol in &mut hits.keys {
            let text = &mut texts[*symbol as usize];
            if *text == 0 {
                *text = gather.text(symbols.text(*symbol)) + 1;
            }
            *symbol = *text - 1;
        }
        Ok(hits)
    }
}

/// An estimate looks at what so many series of a shard hold, at so many of twice as many that follow, and
/// so on: it waits for memory each time.
const LOOKED_AT: u64 = 64;

impl Tenant {
    /// Adds what is likely to match: by labels, and by what some of the series hold in the range.
    pub(crate) fn estimate(&self, query: &Query, estimate: &mut Estimate) {
        let symbols = self.symbols.read();
        let mut plans: Vec<Plan<'_>> =
            query.matchers.iter().map(|matcher| Plan::new(matcher, &symbols)).collect();
        let mut series = 0;
        for shard in self.shards() {
            // Each that is looked at stands for so many. They grow more, so that old ones, which come
            // first and may have ended, do not stand for all.
            let (mut own, mut looked, mut each) = (0_u64, 0_u64, 1_u64);
            for_each_match(&shard, query, &mut plans, &symbols, |series| {
                own += 1;
                if own % each == 0 {
                    looked += 1;
                    let likely = series.likely(query.start_ms, query.end_ms);
                    estimate.samples += likely.saturating_mul(each);
                    each <<= u32::from(looked % LOOKED_AT == 0);
                }
            });
            series += own;
        }
        estimate.series += series;
        estimate.partitions += u64::from(series > 0);
    }

    /// Adds the metrics of which there is a sample or an exemplar.
    pub(crate) fn metrics_held(&self, held: &mut BTreeSet<Text>) {
        let symbols = self.symbols.read();
        let mut metrics = BTreeSet::new();
        for shard in self.shards() {
            let series = shard.iter().filter(|series| !series.is_empty());
            metrics.extend(series.filter_map(|series| symbols.metric(&series.labels)));
        }
        held.extend(metrics.into_iter().map(|metric| symbols.text(metric).clone()));
    }

    /// The question to a series of which some is hidden.
    fn narrowed(
        &self,
        series: &Series,
        query: &Query,
        cut: &dyn Cut,
        symbols: &Symbols,
    ) -> Option<Query> {
        let metric = symbols.metric(&series.labels).map_or("", |metric| symbols.text(metric));
        if !series.days().any(|day| cut.touches(&self.id, metric, day)) {
            return None;
        }
        let pairs: Vec<(u32, u32)> = symbols.pairs(&series.labels).collect();
        let mut hidden = Vec::new();
        cut.spans(&self.id, &Labels::new(symbols.texts(), &pairs), &mut hidden);
        let hidden = cut::normalized(hidden);
        (!hidden.is_empty()).then(|| query.without(&hidden))
    }

    /// Marks the label names of matching series, or their values of the wanted name.
    fn mark(
        &self,
        query: &Query,
        cut: &dyn Cut,
        plans: &mut [Plan<'_>],
        symbols: &Symbols,
        gather: &mut Gather,
    ) {
        let name = gather.values_of().map(|name| symbols.get(name));
        let Some(wanted) = name.map_or(Some(None), |name| name.map(Some)) else { return };
        let mut marks = Marks { wanted, is_marked: vec![false; symbols.len()] };
        let is_shown = |series: &Series| match self.narrowed(series, query, cut, symbols) {
            None => series.may_overlap(query.start_ms, query.end_ms),
            Some(query) => has_sample(series, &query),
        };
        for shard in self.shards() {
            if shard.samples == 0 {
                continue;
            }
            if plans.is_empty() {
                marks.whole(&shard, &is_shown);
            } else {
                for_each_match(&shard, query, plans, symbols, |series| {
                    if !is_shown(series) {
                        return;
                    }
                    symbols.pairs(&series.labels).for_each(|(name, value)| marks.pair(name, value));
                });
            }
        }
        let marked = (0_u32..).zip(&marks.is_marked).filter(|(_, is_marked)| **is_marked);
        let mut texts: Vec<&Text> = marked.map(|(symbol, _)| symbols.text(symbol)).collect();
        texts.sort_unstable();
        gather.add_texts(texts.into_iter());
    }
}

/// Names or values that were found.
struct Marks {
    /// The name whose values are wanted; `None` if the names are.
    wanted: Option<u32>,
    /// By symbol.
    is_marked: Vec<bool>,
}

impl Marks {
    fn pair(&mut self, name: u32, value: u32) {
        let symbol = match self.wanted {
            None => name,
            Some(wanted) if wanted == name => value,
            Some(_) => return,
        };
        self.is_marked[symbol as usize] = true;
    }

    /// Marks what a shard has, by its postings: mostly the first series of a list has a sample.
    fn whole(&mut self, shard: &Shard, is_shown: &dyn Fn(&Series) -> bool) {
        let mut tried: Vec<Option<bool>> = vec![None; shard.slots_end()];
        let mut is_alive = |local: u32| {
            let tried = shard.slot(local).and_then(|slot| tried.get_mut(slot));
            let Some(tried) = tried else { return false };
            *tried.get_or_insert_with(|| shard.get(local).is_some_and(is_shown))
        };
        let mut has = |name: u32, value: u32| {
            let list = shard.postings(name, value);
            list.is_some_and(|list| list.runs().any(|(start, end)| (start..end).any(&mut is_alive)))
        };
        match self.wanted {
            Some(name) => {
                for value in shard.values(name) {
                    if !self.is_marked[*value as usize] && has(name, *value) {
                        self.is_marked[*value as usize] = true;
                    }
                }
            }
            None => {
                for (name, values) in shard.names() {
                    if !self.is_marked[name as usize] && values.iter().any(|v| has(name, *v)) {
                        self.is_marked[name as usize] = true;
                    }
                }
            }
        }
    }
}

/// Whether a series has a sample that is asked for.
fn has_sample(series: &Series, query: &Query) -> bool {
    if series.has_end_in(|at| query.keeps(at)) {
        return true;
    }
    let (sealed, _) = series.closed();
    let sealed = sealed.map(|chunk| (chunk.head, &*chunk.bytes));
    let open = series.open().into_iter().chain(series.histograms().0);
    let near = sealed.chain(open).filter(|(head, _)| query.overlaps(head.first_ms, head.last_ms));
    // Bytes in memory are what was coded.
    near.into_iter().any(|(head, bytes)| query.is_present(&head, bytes).unwrap_or(true))
}
