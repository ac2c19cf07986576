//! The cache of range queries: what was worked out for a stretch of steps is not worked out again
//! as long as nothing that it was read from has changed.
//!
//! The steps of a query are cut into *segments* at fixed times. With each segment's answer stands
//! the version of everything that the segment reads (`promql::reads`), asked for before it was read.
//! A segment is taken from the cache only if that version, asked for again, is the same. So late
//! samples, deletes, imports and a changed retention are seen at once, and no time to live is
//! needed. Segments that are not there are evaluated, neighbours in one go.
//!
//! # Invariants
//! - An answer with the cache is the answer without it, its annotations too.
//! - A segment is kept under a version that is older than all that was read for it: a write that
//!   races with the reading makes it useless, never stale.
//! - What cannot be told apart by segments is not kept: errors, annotations of several segments at
//!   once, numbers that annotations add up, hints of histograms.
//!
//! Not here: which queries may be cut (`splittable.rs`), where (`segments.rs`), what is kept
//! (`extents.rs`), where versions come from (`select.rs`).

mod extents;
mod notes;
mod segments;
mod splittable;

pub use extents::{Cache, CacheMetrics};
pub use splittable::refusal;

use crate::run::bytes_of;
use crate::source::VersionAsk;
use extents::{Extent, Key};
use model::read::{Estimate, Selection};
use model::{SeriesColumns, TenantId};
use notes::Notes;
use promql::{
    Cancel, EvalError, EvalParams, Evaluation, Query, Read, SeriesSource, SourceError, Value,
};
use segments::{Segment, between, cut, join};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wire::replica::RANGES_MAX;

/// A source that can tell whether it has changed.
pub trait VersionedSource: SeriesSource {
    /// The version of each: as long as it is the same, a selection of these matchers and this range
    /// gives the same. 0 may change at any time. `None` if versions cannot be had.
    fn versions(&self, asks: &[VersionAsk]) -> Option<Vec<u64>>;

    /// Takes memory for so many bytes of what was kept.
    ///
    /// # Errors
    /// [`SourceError`] if it is not there.
    fn reserve(&self, bytes: u64) -> Result<(), SourceError> {
        let _ = bytes;
        Ok(())
    }

    /// An evaluation begins: what was selected before is let go, and counts towards no limit any more.
    fn begin(&self) {}
}

/// What is asked of the cache.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// Whose series.
    pub tenant: &'q TenantId,
    /// The query.
    pub query: Query<'q>,
    /// A range of steps, and how to evaluate them.
    pub params: &'q EvalParams,
    /// When to stop.
    pub cancel: &'q Cancel,
}

/// How much of an answer came from the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Into how many segments the query was cut; 0 if it was evaluated as if there was no cache.
    pub segments: usize,
    /// How many of them were there.
    pub hits: usize,
}

/// Answers a query, as much of it as can be out of the cache, if there is one.
///
/// # Errors
/// As [`promql::evaluate`].
pub fn answer(
    cache: Option<&Cache>,
    source: &dyn VersionedSource,
    question: Question<'_>,
) -> Result<(Evaluation, Share), EvalError> {
    match cache.and_then(|cache| Plan::new(cache, source, question)) {
        Some(plan) => plan.answer(),
        None => {
            let Question { query, params, cancel, .. } = question;
            Ok((promql::evaluate(source, query, params, cancel)?, Share::default()))
        }
    }
}

/// How much of the answer is there now; `None` if the query is not cut, or has no versions.
pub fn look(cache: &Cache, source: &dyn VersionedSource, question: Question<'_>) -> Option<Share> {
    let plan = Plan::new(cache, source, question)?;
    let both = plan.segments.iter().zip(&plan.versions);
    let is_there = |(segment, version): &(&Segment, &Option<u64>)| {
        cache.has(&plan.key(segment), **version, &segment.wanted)
    };
    Some(Share { segments: plan.segments.len(), hits: both.filter(is_there).count() })
}

/// A query that is cut.
struct Plan<'q> {
    cache: &'q Cache,
    source: &'q dyn VersionedSource,
    question: Question<'q>,
    length_ms: i64,
    segments: Vec<Segment>,
    /// Of each segment; `None` where it may change at any time.
    versions: Vec<Option<u64>>,
    /// Whether the reset hints of histograms can be seen in the answer.
    shows_hints: bool,
}

impl<'q> Plan<'q> {
    /// `None` if the query cannot be cut, or versions cannot be had.
    fn new(
        cache: &'q Cache,
        source: &'q dyn VersionedSource,
        question: Question<'q>,
    ) -> Option<Self> {
        let Question { query, params, .. } = question;
        if cache.is_off() || refusal(query.expr, params).is_some() {
            return None;
        }
        let (length_ms, segments) = cut(params)?;
        let (mut asks, mut ends, mut shows_hints) = (Vec::new(), Vec::new(), false);
        for segment in &segments {
            let (start_ms, end_ms) = (*segment.whole.start(), *segment.whole.end());
            let whole = EvalParams { start_ms, end_ms, ..params.clone() };
            for Read { matchers, range, shows_hints: shows, .. } in
                promql::reads(query, &whole).ok()?
            {
                shows_hints |= shows;
                asks.push(VersionAsk { matchers, range });
            }
            ends.push(asks.len());
        }
        if asks.is_empty() || asks.len() > RANGES_MAX {
            return None;
        }
        let versions = source.versions(&asks).filter(|all| all.len() == asks.len())?;
        let mut start = 0;
        let of_segment = ends.into_iter().map(|end| {
            let of = &versions[std::mem::replace(&mut start, end)..end];
            let mut hash = DefaultHasher::new();
            of.hash(&mut hash);
            (!of.contains(&0)).then(|| hash.finish())
        });
        let versions = of_segment.collect();
        Some(Self { cache, source, question, length_ms, segments, versions, shows_hints })
    }

    fn answer(&self) -> Result<(Evaluation, Share), EvalError> {
        let found: Vec<Option<Arc<Extent>>> = self
            .segments
            .iter()
            .zip(&self.versions)
            .map(|(segment, version)| self.cache.get(&self.key(segment), *version, &segment.wanted))
            .collect();
        let share = Share { segments: found.len(), hits: found.iter().flatten().count() };
        let kept: u64 = found.iter().flatten().map(|extent| bytes_of(&extent.series)).sum();
        self.source.reserve(kept)?;
        let is_apart = self.cache.is_apart(&self.key_of_all());
        let (mut series, mut notes) = (Vec::new(), Notes::default());
        let mut next = 0;
        while next < found.len() {
            if let Some(extent) = &found[next] {
                series = join(series, between(&extent.series, &self.segments[next].wanted));
                notes.add(&extent.notes);
                next += 1;
                continue;
            }
            let missing = found[next..].iter().take_while(|extent| extent.is_none()).count();
            let run = next..next + if is_apart { 1 } else { missing };
            let is_all = run.len() == found.len();
            next = run.end;
            let (evaluation, is_plain) = self.evaluate(&run)?;
            match self.kept(run, evaluation, is_plain) {
                Ok((more, said)) => {
                    series = join(series, more);
                    notes.add(&said);
                }
                Err(evaluation) if is_all => return Ok((evaluation, share)),
                Err(_) => return self.evaluate_all(),
            }
        }
        let samples: u64 = series.iter().map(SeriesColumns::samples).sum();
        match notes.into_texts() {
            Some((warnings, infos)) if samples <= self.question.params.limits.samples_max => {
                let value = Value::Matrix(series);
                Ok((Evaluation { value, warnings, infos }, share))
            }
            // The evaluation says it in its own words.
            _ => self.evaluate_all(),
        }
    }

    /// Keeps what can be kept of a run of segments. Gives the evaluation back if it says something
    /// that cannot be put together with what other segments say.
    fn kept(
        &self,
        run: Range<usize>,
        evaluation: Evaluation,
        is_plain: bool,
    ) -> Result<(Vec<SeriesColumns>, Notes), Evaluation> {
        let Evaluation { value: Value::Matrix(series), warnings, infos } = &evaluation else {
            return Err(evaluation);
        };
        let notes = Notes::new(warnings, infos);
        if !is_plain || notes.are_tallies() {
            return Err(evaluation);
        }
        if run.len() > 1 && !notes.is_empty() {
            // Which segment it is said of is not known: next time each is evaluated by itself.
            self.cache.set_apart(self.key_of_all());
        } else {
            for at in run {
                let (segment, version) = (&self.segments[at], self.versions[at]);
                let part = between(series, &segment.wanted);
                let steps = segment.wanted.clone();
                self.cache.put(self.key(segment), version, Extent::new(steps, part, notes.clone()));
            }
        }
        match evaluation.value {
            Value::Matrix(series) => Ok((series, notes)),
            value => Err(Evaluation { value, ..evaluation }),
        }
    }

    /// The answer over the steps of a run, and whether it may be kept.
    fn evaluate(&self, run: &Range<usize>) -> Result<(Evaluation, bool), EvalError> {
        let (first, last) = (&self.segments[run.start], &self.segments[run.end - 1]);
        let (start_ms, end_ms) = (*first.wanted.start(), *last.wanted.end());
        let params = EvalParams { start_ms, end_ms, ..self.question.params.clone() };
        let (evaluation, seen) = evaluate(self.source, self.question, &params)?;
        Ok((evaluation, seen.is_plain(self.shows_hints)))
    }

    fn evaluate_all(&self) -> Result<(Evaluation, Share), EvalError> {
        let evaluation = evaluate(self.source, self.question, self.question.params)?.0;
        Ok((evaluation, Share { segments: self.segments.len(), hits: 0 }))
    }

    fn key(&self, segment: &Segment) -> Key {
        Key { segment: Some(segment.index), ..self.key_of_all() }
    }

    fn key_of_all(&self) -> Key {
        let Question { tenant, query, params, .. } = self.question;
        Key {
            tenant: tenant.clone(),
            text: query.text.into(),
            segment: None,
            length_ms: self.length_ms,
            step_ms: params.step_ms,
            phase_ms: params.start_ms.rem_euclid(params.step_ms),
            lookback_ms: params.lookback_ms,
            subquery_step_ms: params.subquery_step_ms,
            flags: [params.use_start_timestamps, params.type_and_unit_labels],
        }
    }
}

/// What was fetched that makes an answer more than the sum of its steps.
#[derive(Debug, Default)]
struct Seen {
    histograms: AtomicBool,
    reserved: AtomicBool,
}

impl Seen {
    /// Whether segments of this answer may stand alone. A histogram's reset hint depends on how far
    /// back was read. Series that differ in type or unit only are refused where both are dropped,
    /// even if they are never there at the same time.
    fn is_plain(&self, shows_hints: bool) -> bool {
        let histograms = self.histograms.load(Ordering::Relaxed);
        !(shows_hints && histograms || self.reserved.load(Ordering::Relaxed))
    }
}

fn evaluate(
    source: &dyn VersionedSource,
    question: Question<'_>,
    params: &EvalParams,
) -> Result<(Evaluation, Seen), EvalError> {
    source.begin();
    let watched = Watched { source, seen: Seen::default() };
    let evaluation = promql::evaluate(&watched, question.query, params, question.cancel)?;
    Ok((evaluation, watched.seen))
}

/// A source whose answers are looked at.
struct Watched<'a> {
    source: &'a dyn VersionedSource,
    seen: Seen,
}

impl SeriesSource for Watched<'_> {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesColumns>, SourceError> {
        let series = self.source.select(selection)?;
        let is_reserved = |of: &SeriesColumns| {
            of.labels.get("__type__").is_some() || of.labels.get("__unit__").is_some()
        };
        if series.iter().any(|of| !of.histograms.is_empty()) {
            self.seen.histograms.store(true, Ordering::Relaxed);
        }
        if series.iter().any(is_reserved) {
            self.seen.reserved.store(true, Ordering::Relaxed);
        }
        Ok(series)
    }

    fn estimate(&self, selection: &Selection) -> Result<Estimate, SourceError> {
        self.source.estimate(selection)
    }

    fn begin_shards(&self) -> Result<(), SourceError> {
        self.source.begin_shards()
    }
}
