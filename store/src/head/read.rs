//! Reading the head: which series match, and copies of what they hold.
//!
//! A shard is locked while its matching series are looked up and their coded bytes copied; they
//! are decoded after that.

use super::Tenant;
use super::series::Series;
use super::shard::Shard;
use super::symbols::Symbols;
use crate::chunk::Chunk;
use crate::compaction::cut::{self, Cut, Labels};
use crate::error::Result;
use crate::merge::Run;
use crate::postings::List;
use crate::select::{Gather, Query, Want};
use model::matcher::CompiledMatcher;
use model::{Sample, Text};

/// A matcher in terms of one tenant's symbols.
struct Plan<'q> {
    matcher: &'q CompiledMatcher,
    name: Option<u32>,
    matches_empty: bool,
    /// The only symbols that match, if it is a set of literals and does not match the empty value.
    literals: Option<Vec<u32>>,
    /// For each shape, where among a series' ids the value of `name` stands; 0 is nowhere.
    places: Vec<usize>,
    /// For each symbol: not tried yet, matches, does not.
    tried: Vec<Option<bool>>,
}

/// A series that matches, and copies of its samples.
struct Hit {
    key: Vec<u32>,
    /// The question to it, if some of it is hidden.
    narrowed: Option<Query>,
    chunks: Vec<Chunk>,
    late: Vec<Sample>,
}

impl Hit {
    /// Whether it has a sample that is asked for.
    fn is_present(&self, query: &Query) -> bool {
        let query = self.narrowed.as_ref().unwrap_or(query);
        self.late.iter().any(|sample| query.keeps(sample.timestamp_ms))
            || self.chunks.iter().any(|chunk| {
                // Bytes in memory are what was coded.
                query.is_present(&chunk.head, &chunk.bytes).unwrap_or(true)
            })
    }
}

impl<'q> Plan<'q> {
    fn new(matcher: &'q CompiledMatcher, symbols: &Symbols) -> Self {
        let name = symbols.get(&matcher.name);
        let matches_empty = matcher.matches("");
        let literals = matcher
            .literals()
            .filter(|_| !matches_empty)
            .map(|texts| texts.iter().filter_map(|text| symbols.get(text)).collect());
        let place =
            |shape: &[u32]| shape.iter().position(|n| Some(*n) == name).map_or(0, |p| p + 1);
        let places = symbols.shapes().iter().map(|shape| place(shape)).collect();
        Self { matcher, name, matches_empty, literals, places, tried: vec![None; symbols.len()] }
    }

    fn matches(&mut self, ids: &[u32], symbols: &Symbols) -> bool {
        let shape = ids.first().copied().unwrap_or(0) as usize;
        match self.places.get(shape).copied().unwrap_or(0) {
            0 => self.matches_empty,
            place => {
                let symbol = ids.get(place).copied().unwrap_or(0);
                let tried = &mut self.tried[symbol as usize];
                *tried.get_or_insert_with(|| self.matcher.matches(symbols.text(symbol)))
            }
        }
    }
}

impl Tenant {
    /// Adds the series that match.
    pub(crate) fn collect(&self, query: &Query, gather: &mut Gather) -> Result<()> {
        let mut hits = Vec::new();
        let hides = query.clip.of_head();
        {
            let symbols = self.symbols.read();
            let mut plans: Vec<Plan<'_>> =
                query.matchers.iter().map(|matcher| Plan::new(matcher, &symbols)).collect();
            let none = |plan: &Plan<'_>| {
                !plan.matches_empty
                    && (plan.name.is_none() || plan.literals.as_ref().is_some_and(Vec::is_empty))
            };
            if plans.iter().any(none) {
                return Ok(());
            }
            if query.want == Want::Possibility {
                self.mark(query, &hides, &mut plans, &symbols, gather);
                return Ok(());
            }
            let mut texts = vec![u32::MAX; symbols.len()];
            for shard in self.shards() {
                let from = hits.len();
                for_each_match(&shard, query, &mut plans, &symbols, |series| {
                    hits.push(self.hit(series, query, &hides, &symbols));
                });
                drop(shard);
                for hit in &mut hits[from..] {
                    hit.key = key_of(&hit.key, &symbols, &mut texts, gather);
                }
            }
        }
        for hit in hits {
            if query.want == Want::Presence {
                if hit.is_present(query) {
                    gather.add_present(&hit.key)?;
                }
                continue;
            }
            let (key, runs) = hit.runs(query);
            gather.add(&key, runs)?;
        }
        Ok(())
    }

    /// What a matching series holds of what is asked for.
    fn hit(&self, series: &Series, query: &Query, cut: &dyn Cut, symbols: &Symbols) -> Hit {
        let narrowed = self.narrowed(series, query, cut, symbols);
        let asked = narrowed.as_ref().unwrap_or(query);
        let (chunks, late) = series.read(asked.start_ms, asked.end_ms);
        Hit { key: series.labels.to_vec(), narrowed, chunks, late }
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
}

impl Hit {
    fn runs(self, query: &Query) -> (Vec<u32>, Vec<Run>) {
        let query = self.narrowed.as_ref().unwrap_or(query);
        let mut runs = Vec::with_capacity(self.chunks.len().min(1));
        for chunk in &self.chunks {
            // Bytes in memory are what was coded.
            let _ = query.decode(&chunk.head, &chunk.bytes, &mut runs);
        }
        query.add_late(self.late, &mut runs);
        (self.key, runs)
    }
}

impl Tenant {
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
        let place = |shape: &[u32]| match name {
            // Place 0 is the shape itself, which stands for all its names.
            None => Some(0),
            Some(name) => shape.iter().position(|n| Some(*n) == name).map(|place| place + 1),
        };
        let places: Vec<Option<usize>> =
            symbols.shapes().iter().map(|shape| place(shape)).collect();
        let mut marked = vec![false; symbols.len().max(places.len())];
        for shard in self.shards() {
            for_each_match(&shard, query, plans, symbols, |series| {
                let hit = self.hit(series, query, cut, symbols);
                if hit.narrowed.is_some() && !hit.is_present(query) {
                    return;
                }
                let shape = series.labels.first().copied().unwrap_or(0) as usize;
                let id = places.get(shape).copied().flatten().and_then(|at| series.labels.get(at));
                if let Some(mark) = id.and_then(|id| marked.get_mut(*id as usize)) {
                    *mark = true;
                }
            });
        }
        let marked = (0_u32..).zip(marked).filter_map(|(id, is_marked)| is_marked.then_some(id));
        let mut texts: Vec<&Text> = match name {
            Some(_) => marked.map(|id| symbols.text(id)).collect(),
            None => {
                let shape = |id: u32| symbols.shapes().get(id as usize).map_or(&[][..], |n| n);
                marked.flat_map(shape).map(|name| symbols.text(*name)).collect()
            }
        };
        texts.sort_unstable();
        texts.dedup();
        gather.add_texts(texts.into_iter());
    }
}

/// The series' label pairs as texts of the answer.
fn key_of(ids: &[u32], symbols: &Symbols, texts: &mut [u32], gather: &mut Gather) -> Vec<u32> {
    let mut key = Vec::with_capacity(ids.len() * 2);
    for symbol in symbols.pairs(ids).flat_map(|(name, value)| [name, value]) {
        let text = &mut texts[symbol as usize];
        if *text == u32::MAX {
            *text = gather.text(symbols.text(symbol));
        }
        key.push(*text);
    }
    key
}

/// Visits the matching series of a shard: those of the shortest postings, each tried by its labels.
fn for_each_match(
    shard: &Shard,
    query: &Query,
    plans: &mut [Plan<'_>],
    symbols: &Symbols,
    mut visit: impl FnMut(&Series),
) {
    let candidates = narrowest(shard, plans);
    let mut visit_if = |series: &Series| {
        if series.may_overlap(query.start_ms, query.end_ms)
            && plans.iter_mut().all(|plan| plan.matches(&series.labels, symbols))
        {
            visit(series);
        }
    };
    match candidates {
        None => shard.iter().for_each(&mut visit_if),
        Some(locals) => {
            locals.iter().filter_map(|local| shard.get(*local)).for_each(&mut visit_if);
        }
    }
}

/// The local numbers that the most selective set of literals leaves, ascending; `None` if no
/// matcher is one.
fn narrowest(shard: &Shard, plans: &[Plan<'_>]) -> Option<Vec<u32>> {
    let lists = |plan: &Plan<'_>| {
        let (name, literals) = (plan.name?, plan.literals.as_ref()?);
        let lists: Vec<_> = literals.iter().filter_map(|v| shard.postings(name, *v)).collect();
        Some(lists)
    };
    let count = |lists: &Vec<&List>| lists.iter().map(|list| u64::from(list.count())).sum::<u64>();
    let shortest = plans.iter().filter_map(lists).min_by_key(count)?;
    let mut locals: Vec<u32> =
        shortest.iter().flat_map(|list| list.runs().flat_map(|(start, end)| start..end)).collect();
    if shortest.len() > 1 {
        locals.sort_unstable();
        locals.dedup();
    }
    Some(locals)
}
