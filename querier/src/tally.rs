//! How many samples each step of a query looks at, as Prometheus counts them: of an instant selector
//! the newest of each series, of a range selector all. Through a subquery a step looks at every
//! sample that an inner step looks at. What comes out of the cache is not looked at.

use model::read::Selection;
use model::sample::is_stale;
use model::{QueryShard, SeriesColumns, TimeRange};
use promql::{EvalParams, Leaf};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Counts samples by step.
#[derive(Debug)]
pub(crate) struct Tally {
    start_ms: i64,
    step_ms: i64,
    leaves: Vec<Leaf>,
    // A leaf; what is counted is added under it in one go.
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    by_step: Vec<u64>,
    /// Selectors that `@` holds, and the parts of their series that were counted: each once.
    held: HashSet<(usize, QueryShard)>,
}

impl Tally {
    /// For a query with these selectors.
    pub(crate) fn new(params: &EvalParams, leaves: Vec<Leaf>) -> Self {
        let EvalParams { start_ms, end_ms, .. } = *params;
        let step_ms = params.step_ms.max(1);
        let steps = end_ms.saturating_sub(start_ms) / step_ms + 1;
        let by_step = vec![0; usize::try_from(steps).unwrap_or(0)];
        let counted = Mutex::new(Counted { by_step, held: HashSet::new() });
        Self { start_ms, step_ms, leaves, counted }
    }

    /// Counts what was fetched for the steps whose windows lie in it.
    pub(crate) fn add(&self, selection: &Selection, series: &[SeriesColumns]) {
        let mine = |(_, leaf): &(usize, &Leaf)| leaf.matchers == selection.matchers;
        for (index, leaf) in self.leaves.iter().enumerate().filter(mine) {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            if leaf.step_ms == 0 && !counted.held.insert((index, selection.shard)) {
                continue;
            }
            for of in series {
                add_series(leaf, selection.range, of, &mut counted.by_step);
            }
        }
    }

    /// The steps with their counts.
    pub(crate) fn into_steps(self) -> Vec<(i64, u64)> {
        let counted = self.counted.into_inner().unwrap_or_else(PoisonError::into_inner);
        let moments = (0..).map(|step: i64| self.start_ms + step * self.step_ms);
        moments.zip(counted.by_step).collect()
    }
}

fn add_series(leaf: &Leaf, range: TimeRange, series: &SeriesColumns, by_step: &mut [u64]) {
    let samples = alive(series, leaf.takes_all);
    let until = |end_ms: i64| samples.partition_point(|(at, _)| *at <= end_ms);
    let sum = |first: usize, end: usize| samples[first..end].iter().map(|(_, weight)| weight).sum();
    let count = |end_ms: i64| -> u64 {
        let open_ms = end_ms.saturating_sub(leaf.back_ms);
        if open_ms.saturating_add(1) < range.start.0 || end_ms >= range.end.0 {
            return 0;
        }
        let (first, end) = (until(open_ms), until(end_ms));
        match leaf.takes_all {
            true => sum(first, end),
            false => sum(end.saturating_sub(1).max(first), end),
        }
    };
    if leaf.step_ms == 0 {
        let each = count(leaf.first_end_ms);
        by_step.iter_mut().for_each(|of_step| *of_step += each);
        return;
    }
    let mut end_ms = leaf.first_end_ms;
    for of_step in by_step {
        *of_step += count(end_ms);
        end_ms = end_ms.saturating_add(leaf.step_ms);
    }
}

/// The samples with their weights, ascending in time. A stale marker ends a series: it weighs
/// nothing where only the newest counts, and is not there where all do.
fn alive(series: &SeriesColumns, takes_all: bool) -> Vec<(i64, u64)> {
    let floats = series.floats.timestamps_ms.iter().zip(&series.floats.values);
    let floats = floats.map(|(at, value)| (*at, u64::from(!is_stale(*value))));
    let histograms = series.histograms.timestamps_ms.iter().zip(&series.histograms.values);
    let histograms = histograms.map(|(at, one)| {
        let weight = one.samples();
        (*at, if one.is_stale() { 0 } else { weight })
    });
    let mut all: Vec<(i64, u64)> = floats.chain(histograms).collect();
    all.retain(|(_, weight)| !takes_all || *weight > 0);
    if !series.histograms.is_empty() {
        all.sort_by_key(|(at, _)| *at);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::sample::stale_marker;
    use model::{Column, Matcher, TimestampMs, read::SelectBounds};

    fn steps(text: &str, range: std::ops::Range<i64>, times: usize) -> Vec<u64> {
        let expr = promql::parse(text, promql::ParseOptions::ALL).unwrap();
        let params = EvalParams { lookback_ms: 25, ..EvalParams::range(100, 140, 20) };
        let leaves = promql::leaves(promql::Query { text, expr: &expr }, &params).unwrap();
        let tally = Tally::new(&params, leaves);
        let mut floats = Column::default();
        for (at, value) in [(70, 1.0), (80, 2.0), (90, 3.0), (100, 4.0), (110, stale_marker())] {
            floats.push(at, value);
        }
        let selection = Selection {
            matchers: vec![Matcher::equal("__name__", "up")],
            range: TimeRange { start: TimestampMs(range.start), end: TimestampMs(range.end) },
            days: None,
            shard: QueryShard::ALL,
            bounds: SelectBounds::NONE,
            wanted: model::read::Wanted::ALL,
        };
        let series = [SeriesColumns { floats, ..SeriesColumns::default() }];
        (0..times).for_each(|_| tally.add(&selection, &series));
        let counted = tally.into_steps();
        assert_eq!(counted.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [100, 120, 140]);
        counted.into_iter().map(|(_, count)| count).collect()
    }

    #[test]
    fn steps_count_what_they_look_at() {
        assert_eq!(steps("up", 0..200, 1), [1, 0, 0], "from 110 on it is stale");
        assert_eq!(steps("sum_over_time(up[30ms])", 0..200, 1), [3, 1, 0]);
        assert_eq!(steps("up - up offset 20ms", 0..200, 1), [2, 1, 0]);
        assert_eq!(steps("up @ 0.1", 0..200, 2), [1, 1, 1], "what is held counts once a step");
        assert_eq!(steps("other", 0..200, 1), [0, 0, 0]);
        assert_eq!(steps("sum_over_time(up[30ms])", 90..200, 1), [0, 1, 0], "not all of it is in");
    }
}
