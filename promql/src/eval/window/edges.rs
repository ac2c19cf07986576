//! Windows with edges of their own: `anchored` takes the last sample before the window as its left
//! edge, `smoothed` draws lines through the samples around both edges.
//!
//! Samples up to the lookback outside of the window take part; nothing is extrapolated.

use super::rate::Slope;
use super::{Samples, Window, Windows};
use crate::ast::Edges;
use crate::math::convert::seconds;

/// The functions that may be used with such windows, as an error names them.
pub(crate) fn allowed(edges: Edges) -> &'static [&'static str] {
    match edges {
        Edges::Plain => &[],
        Edges::Anchored => &["changes", "delta", "increase", "rate", "resets"],
        Edges::Smoothed => &["delta", "increase", "rate"],
    }
}

/// The modifier's name.
pub(crate) fn modifier(edges: Edges) -> &'static str {
    match edges {
        Edges::Plain => "",
        Edges::Anchored => "anchored",
        Edges::Smoothed => "smoothed",
    }
}

/// A window's samples, and those of them that its edges are made of.
struct Edge<'s> {
    times_ms: &'s [i64],
    values: &'s [f64],
    first: usize,
    last: usize,
    start_ms: i64,
    end_ms: i64,
    is_smoothed: bool,
}

/// The samples that a window's edges are made of: the first and the last of them. `None` if nothing
/// lies behind the left edge.
pub(super) fn ends(
    times_ms: &[i64],
    (start_ms, end_ms): (i64, i64),
    edges: Edges,
) -> Option<(usize, usize)> {
    let mut last = times_ms.len().checked_sub(1)?;
    let first = times_ms[..last].partition_point(|time| *time <= start_ms).saturating_sub(1);
    if edges == Edges::Smoothed {
        last = times_ms[..last].partition_point(|time| *time < end_ms);
    }
    (times_ms[last] > start_ms).then_some((first, last))
}

impl<'s> Edge<'s> {
    /// `None` if nothing lies behind the left edge.
    fn new(
        times_ms: &'s [i64],
        values: &'s [f64],
        (start_ms, end_ms): (i64, i64),
        edges: Edges,
    ) -> Option<Self> {
        let is_smoothed = edges == Edges::Smoothed;
        let (first, last) = ends(times_ms, (start_ms, end_ms), edges)?;
        Some(Self { times_ms, values, first, last, start_ms, end_ms, is_smoothed })
    }

    fn left(&self, is_counter: bool) -> f64 {
        if self.is_smoothed && self.times_ms[self.first] < self.start_ms {
            return self.line(self.first, self.start_ms, is_counter);
        }
        self.values[self.first]
    }

    fn right(&self, is_counter: bool) -> f64 {
        if self.is_smoothed && self.last > 0 && self.times_ms[self.last] > self.end_ms {
            return self.line(self.last - 1, self.end_ms, is_counter);
        }
        self.values[self.last]
    }

    /// The value at `at_ms` of the line from the sample at `index` to the next.
    fn line(&self, index: usize, at_ms: i64, is_counter: bool) -> f64 {
        let ends = (self.values[index], self.values[index + 1]);
        line((self.times_ms[index], self.times_ms[index + 1]), ends, at_ms, is_counter)
    }

    /// The indices of the samples inside, those at the edges left out.
    fn inside(&self) -> std::ops::Range<usize> {
        let first = self.first + usize::from(self.times_ms[self.first] <= self.start_ms);
        let end = self.last + usize::from(self.times_ms[self.last] < self.end_ms);
        first..end.max(first)
    }
}

/// Where the line between two samples is at `at_ms`. After a reset a counter has started from zero.
pub(crate) fn line(times_ms: (i64, i64), values: (f64, f64), at_ms: i64, is_counter: bool) -> f64 {
    let from = if is_counter && values.1 < values.0 { 0.0 } else { values.0 };
    let part = at_ms.saturating_sub(times_ms.0) as f64;
    from + (values.1 - from) * part / times_ms.1.saturating_sub(times_ms.0) as f64
}

/// `rate`, `increase`, `delta`: from edge to edge.
pub(crate) fn change(
    samples: &Samples<'_>,
    windows: &Windows,
    slope: Slope,
    out: &mut [f64],
) -> usize {
    windows.slide(&samples.times_ms, |window| {
        let (step, bounds) = (window.step, bounds(windows, window));
        let (times_ms, values) =
            (&samples.times_ms[window.range()], &samples.values[window.range()]);
        if let Some(change) = float_change(times_ms, values, bounds, windows.edges, slope) {
            out[step] = if slope.is_rate { change / seconds(windows.range_ms) } else { change };
        }
    })
}

/// The change from edge to edge; `None` if there is nothing to tell it from.
pub(super) fn float_change(
    times_ms: &[i64],
    values: &[f64],
    bounds: (i64, i64),
    edges: Edges,
    slope: Slope,
) -> Option<f64> {
    let edge = Edge::new(times_ms, values, bounds, edges)?;
    if edge.is_smoothed && edge.times_ms[edge.first] > edge.end_ms {
        return None;
    }
    let (left, right) = (edge.left(slope.is_counter), edge.right(slope.is_counter));
    let mut change = right - left;
    if slope.is_counter {
        change += resets(left, &edge.values[edge.inside()], right);
    }
    Some(change)
}

fn bounds(windows: &Windows, window: Window) -> (i64, i64) {
    (window.end_ms.saturating_sub(windows.range_ms), window.end_ms)
}

fn edge_of<'s>(samples: &'s Samples<'_>, windows: &Windows, window: Window) -> Option<Edge<'s>> {
    let (bounds, range) = (bounds(windows, window), window.range());
    Edge::new(&samples.times_ms[range.clone()], &samples.values[range], bounds, windows.edges)
}

/// What drops on the way from edge to edge have hidden.
fn resets(left: f64, inside: &[f64], right: f64) -> f64 {
    let mut hidden = 0.0;
    let mut before = left;
    for value in inside.iter().chain([&right]) {
        if *value < before {
            hidden += before;
        }
        before = *value;
    }
    hidden
}

/// The samples that a window is answered with when it is the result itself: an edge at each end
/// and what lies between.
pub(crate) fn extended(samples: &Samples<'_>, windows: &Windows) -> (Vec<i64>, Vec<f64>) {
    let mut found = (Vec::new(), Vec::new());
    windows.slide(&samples.times_ms, |window| {
        let Some(edge) = edge_of(samples, windows, window) else { return };
        let inside = edge.inside();
        found.0.push(edge.start_ms);
        found.0.extend_from_slice(&edge.times_ms[inside.clone()]);
        found.0.push(edge.end_ms);
        found.1.push(edge.left(false));
        found.1.extend_from_slice(&edge.values[inside]);
        found.1.push(edge.right(false));
    });
    found
}

/// The first sample that counts in a window: the last one at or before its left edge if it is
/// anchored. `None` if nothing lies behind that edge.
pub(crate) fn first_that_counts(
    times_ms: &[i64],
    windows: &Windows,
    window: Window,
) -> Option<usize> {
    if windows.edges != Edges::Anchored {
        return Some(window.first);
    }
    let start_ms = window.end_ms.saturating_sub(windows.range_ms);
    let before = times_ms[window.range()].partition_point(|time| *time <= start_ms);
    if window.first + before >= window.end {
        return None;
    }
    Some(window.first + before.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::super::tests::windows;
    use super::*;
    use crate::eval::value::{ABSENT, is_absent};
    use std::borrow::Cow;

    const INCREASE: Slope = Slope { is_counter: true, is_rate: false };

    fn increase(edges: Edges, end_ms: i64) -> f64 {
        let samples = Samples {
            times_ms: vec![0, 10_000, 20_000, 30_000].into(),
            values: Cow::Owned(vec![0.0, 10.0, 4.0, 14.0]),
            ascends: false,
        };
        let windows = Windows { edges, outside_ms: 60_000, ..windows(end_ms, end_ms, 1, 20_000) };
        let mut out = [ABSENT];
        change(&samples, &windows, INCREASE, &mut out);
        out[0]
    }

    #[test]
    fn edges_are_the_sample_before_or_a_line_through_the_samples_around() {
        // From 5 s to 25 s, with a reset from 10 to 4 at 20 s.
        assert_eq!(increase(Edges::Anchored, 25_000), 14.0, "0 to 10, then 4 after the reset");
        assert_eq!(
            increase(Edges::Smoothed, 25_000),
            14.0,
            "5 to 10, 4, and half of the way to 14"
        );
        assert!(is_absent(increase(Edges::Anchored, 60_000)), "nothing lies in the window");
    }
}
