//! Functions over the samples of a window, for every step of a series in one pass.
//!
//! A window is left-open: of `(end - range, end]`. Its first and last index only move forward, so
//! a pass costs the samples plus the steps. What can be kept while the window slides is kept; where
//! that would change digits, the window's slice is worked through again. Only sums and averages of
//! fractions over windows that overlap much may differ from upstream's, by the last digit.

pub(crate) mod count;
pub(crate) mod edges;
mod fold;
pub(crate) mod mixed;
pub(crate) mod moments;
pub(crate) mod order;
pub(crate) mod over_time;
mod pieces;
pub(crate) mod rate;
pub(crate) mod regression;

use crate::ast::Edges;
use crate::eval::budget::Budget;
use crate::eval::error::EvalError;
use crate::eval::grid::Grid;
use crate::histogram::FloatHistogram;
use crate::plan::Ends;
use model::LabelSet;
use moments::{KnownSlots, Moments, SharedSlots};
use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

/// The windows of a range vector, one for each step.
#[derive(Debug)]
pub(crate) struct Windows<'a> {
    /// The steps.
    pub(crate) grid: Grid,
    /// When they end.
    pub(crate) ends: Ends,
    /// How far each goes back.
    pub(crate) range_ms: i64,
    /// What happens at its edges.
    pub(crate) edges: Edges,
    /// How far outside of the window samples may help to find the value at an edge.
    pub(crate) outside_ms: i64,
    /// Asked now and then whether to stop.
    pub(crate) budget: Option<&'a Budget<'a>>,
    /// Those over moments that were asked for before.
    pub(crate) known: RefCell<KnownSlots>,
    /// Those that other shards have found.
    pub(crate) of_shards: Option<Arc<SharedSlots>>,
}

/// One window that holds samples: those from index `first` up to `end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The index of the step.
    pub(crate) step: usize,
    /// The first sample's index.
    pub(crate) first: usize,
    /// One past the last sample's index.
    pub(crate) end: usize,
    /// The window's right edge, in milliseconds since 1970.
    pub(crate) end_ms: i64,
}

impl Window {
    /// The indices of its samples.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.first..self.end
    }
}

impl Windows<'_> {
    /// How far samples may lie before and after a window's end.
    fn reach_ms(&self) -> (i64, i64) {
        match self.edges {
            Edges::Plain => (self.range_ms, 0),
            Edges::Anchored => (self.range_ms.saturating_add(self.outside_ms), 0),
            Edges::Smoothed => (self.range_ms.saturating_add(self.outside_ms), self.outside_ms),
        }
    }

    /// Calls `each` for every window with samples in it or around it, in order; answers the most
    /// samples of one, and whether it came to its end: not if the evaluation is to stop.
    fn walk(&self, times_ms: &[i64], mut each: impl FnMut(Window)) -> (usize, bool) {
        let (mut first, mut end, mut most) = (0, 0, 0);
        let (before_ms, after_ms) = self.reach_ms();
        for step in 0..self.grid.len {
            let end_ms = self.ends.at(step);
            let (open_ms, last_ms) =
                (end_ms.saturating_sub(before_ms), end_ms.saturating_add(after_ms));
            while end < times_ms.len() && times_ms[end] <= last_ms {
                end += 1;
            }
            while first < end && times_ms[first] <= open_ms {
                first += 1;
            }
            if first < end {
                most = most.max(end - first);
                if self.budget.is_some_and(|budget| budget.tick(end - first).is_err()) {
                    return (most, false);
                }
                each(Window { step, first, end, end_ms });
            }
        }
        (most, true)
    }
}

/// One window over floats and histograms, of which it has some.
#[derive(Clone, Debug)]
pub(crate) struct Both {
    /// The index of the step.
    pub(crate) step: usize,
    /// The indices of its floats.
    pub(crate) floats: Range<usize>,
    /// The indices of its histograms.
    pub(crate) histograms: Range<usize>,
    /// The window's right edge, in milliseconds since 1970.
    pub(crate) end_ms: i64,
}

impl Windows<'_> {
    /// Calls `each` for every window with samples of either kind in it or around it, in order.
    pub(crate) fn slide_both(
        &self,
        floats_ms: &[i64],
        histograms_ms: &[i64],
        mut each: impl FnMut(Both) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let (before_ms, after_ms) = self.reach_ms();
        let (mut floats, mut histograms) = (0..0, 0..0);
        for step in 0..self.grid.len {
            let end_ms = self.ends.at(step);
            let open_ms = end_ms.saturating_sub(before_ms);
            let last_ms = end_ms.saturating_add(after_ms);
            advance(&mut floats, floats_ms, open_ms, last_ms);
            advance(&mut histograms, histograms_ms, open_ms, last_ms);
            if floats.is_empty() && histograms.is_empty() {
                continue;
            }
            if let Some(budget) = self.budget {
                budget.tick(floats.len() + histograms.len())?;
            }
            each(Both { step, floats: floats.clone(), histograms: histograms.clone(), end_ms })?;
        }
        Ok(())
    }
}

/// Moves a window on: after `open_ms`, up to `last_ms`.
fn advance(range: &mut Range<usize>, times_ms: &[i64], open_ms: i64, last_ms: i64) {
    while times_ms.get(range.end).is_some_and(|time| *time <= last_ms) {
        range.end += 1;
    }
    while range.start < range.end && times_ms[range.start] <= open_ms {
        range.start += 1;
    }
}

/// The samples of one series, stale markers left out.
#[derive(Clone, Debug)]
pub(crate) struct Samples<'a> {
    /// When, ascending.
    pub(crate) times_ms: Moments,
    /// What.
    pub(crate) values: Cow<'a, [f64]>,
    /// Whether it is known that none is less than the one before.
    pub(crate) ascends: bool,
}

/// The native histograms of one series, stale markers left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histograms {
    /// When, ascending; never when there is a float.
    pub(crate) times_ms: Vec<i64>,
    /// What.
    pub(crate) values: Vec<Arc<FloatHistogram>>,
}

/// Since when samples count up, in milliseconds since 1970, 0 if that is not known. Empty if it is
/// not known of any, or does not matter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Starts {
    /// Of each float.
    pub(crate) floats: Vec<i64>,
    /// Of each histogram.
    pub(crate) histograms: Vec<i64>,
}

/// A series of a range vector.
#[derive(Clone, Debug)]
pub(crate) struct RangeSeries<'a> {
    /// Its labels.
    pub(crate) labels: Cow<'a, LabelSet>,
    /// Whether the metric name goes at the end of the evaluation.
    pub(crate) drop_name: bool,
    /// Its floats.
    pub(crate) samples: Samples<'a>,
    /// Its histograms.
    pub(crate) histograms: Histograms,
    /// Since when they count up.
    pub(crate) starts: Starts,
}

impl RangeSeries<'_> {
    /// Whether there is nothing but floats whose starts do not matter.
    pub(crate) fn is_plain(&self) -> bool {
        let Starts { floats, histograms } = &self.starts;
        self.histograms.values.is_empty() && floats.is_empty() && histograms.is_empty()
    }

    /// Whether there is no sample.
    pub(crate) fn is_empty(&self) -> bool {
        self.samples.values.is_empty() && self.histograms.values.is_empty()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Windows of `range_ms` that end at `start_ms`, `start_ms + step_ms`, …
    pub(crate) fn windows(
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        range_ms: i64,
    ) -> Windows<'static> {
        let grid = Grid::new(start_ms, end_ms, step_ms).unwrap();
        let ends = Ends { first_ms: start_ms, step_ms, last_ms: grid.end_ms() };
        Windows {
            grid,
            ends,
            range_ms,
            edges: Edges::Plain,
            outside_ms: 0,
            budget: None,
            known: RefCell::default(),
            of_shards: None,
        }
    }
}
