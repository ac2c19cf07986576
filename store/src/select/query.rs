//! A question, ready to be asked of a source: which series, and which moments.
//!
//! # Invariants
//! - Spans ascend and lie apart, and each is whole days, or what is left of them behind a moment.
//!
//! Not here: what a chunk gives to it (`decode.rs`).

mod decode;

use super::{Want, compile};
use crate::chunk::times::Times;
use crate::error::Result;
use crate::retention::Clip;
use model::matcher::CompiledMatcher;
use model::read::{LabelQuery, LabelWant, Selection, Wanted};
use model::time::DAY_MS;
use model::{Matcher, QueryShard, TimeRange};
use std::cell::Cell;
use std::ops::Range;

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
    /// Only series of this part; not for names and values.
    pub(crate) shard: QueryShard,
    /// What the tenant's retention hides.
    pub(crate) clip: Clip,
    /// What of the series is looked at.
    pub(crate) wanted: Wanted,
    /// How many sources may hold samples of one series.
    pub(crate) sources: Cell<usize>,
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
        let wanted = selection.wanted.clone();
        let query = Self { matchers, want, start_ms, end_ms, spans, shard, clip, wanted, sources };
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
        let shard = match query.want {
            LabelWant::SeriesPart(shard) => shard,
            _ => QueryShard::ALL,
        };
        let wanted = Wanted::ALL;
        Ok(Some(Self { matchers, want, start_ms, end_ms, spans, shard, clip, wanted, sources }))
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
        let (shard, wanted) = (self.shard, self.wanted.clone());
        Self { matchers, want, start_ms, end_ms, spans, shard, clip, wanted, sources }
    }

    /// Whether the range is longer than a dashboard's, which shows a day and windows before it: what
    /// such a scan reads is not kept.
    pub(crate) fn is_long(&self) -> bool {
        self.end_ms.saturating_sub(self.start_ms) > 2 * DAY_MS
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::read::SelectBounds;
    use model::{DayBucket, TimestampMs};

    /// The question for these days of a range.
    fn query(days: Option<&[i32]>, start_ms: i64, end_ms: i64) -> Query {
        let range = TimeRange { start: TimestampMs(start_ms), end: TimestampMs(end_ms) };
        let days = days.map(|days| days.iter().copied().map(DayBucket).collect());
        let bounds = SelectBounds::NONE;
        let selection = Selection {
            matchers: Vec::new(),
            range,
            days,
            shard: model::QueryShard::ALL,
            bounds,
            wanted: model::read::Wanted::ALL,
        };
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
