//! The values of a window in their order, while it slides over a series.
//!
//! All values of the series are put into order once, so each has a rank. A window is a count at the
//! ranks of its values, kept as a Fenwick tree: a value comes, goes, and the k-th smallest is found
//! in a step for each bit of the series' length. Sorting each window anew costs its length instead.
//!
//! # Invariants
//! - Windows only move forward: neither end of one lies before that of the one before.

use super::Windows;
use crate::math::quantile::nan_first;
use std::ops::Range;

/// See the module.
#[derive(Debug)]
pub(crate) struct SlidingOrder {
    /// All values, NaN first, then ascending.
    sorted: Vec<f64>,
    /// Of each value, by its place in the series: its place in `sorted`.
    ranks: Vec<u32>,
    /// How many values of the window there are at some of the ranks, as Fenwick has it.
    counts: Vec<u32>,
    window: Range<usize>,
}

impl SlidingOrder {
    /// An empty window before the first of these values; `None` if there are more than can be
    /// counted with. The order is none when the evaluation is to stop: the caller looks afterwards.
    pub(crate) fn new(values: &[f64], windows: &Windows) -> Option<Self> {
        let len = u32::try_from(values.len()).ok()?;
        let mut order: Vec<u32> = (0..len).collect();
        windows.sort(&mut order, |a, b| nan_first(&values[*a as usize], &values[*b as usize]));
        let mut ranks = vec![0; values.len()];
        for (rank, place) in (0..len).zip(&order) {
            ranks[*place as usize] = rank;
        }
        let sorted = order.iter().map(|place| values[*place as usize]).collect();
        Some(Self { sorted, ranks, counts: vec![0; values.len() + 1], window: 0..0 })
    }

    /// Moves the window on to these places of the series.
    pub(crate) fn slide_to(&mut self, window: Range<usize>) {
        for place in self.window.end.max(window.start)..window.end {
            self.count(self.ranks[place], 1);
        }
        for place in self.window.start..window.start.min(self.window.end) {
            self.count(self.ranks[place], u32::MAX);
        }
        self.window = window;
    }

    /// The value of the window that so many come before; it has to have more.
    pub(crate) fn at(&self, mut before: usize) -> f64 {
        let mut rank = 0;
        let mut step = self.sorted.len().checked_ilog2().map_or(0, |bits| 1 << bits);
        while step > 0 {
            let there = rank + step;
            if let Some(count) = self.counts.get(there).map(|count| *count as usize)
                && count <= before
            {
                rank = there;
                before -= count;
            }
            step /= 2;
        }
        self.sorted[rank]
    }

    /// Adds to the count of a rank; `u32::MAX` takes one away.
    fn count(&mut self, rank: u32, change: u32) {
        let mut at = rank as usize + 1;
        while let Some(count) = self.counts.get_mut(at) {
            *count = count.wrapping_add(change);
            at += at & at.wrapping_neg();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::windows;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_window_is_in_the_order_it_would_have_alone(
            values in prop::collection::vec(
                prop_oneof![Just(f64::NAN), Just(-0.0), Just(1.0), any::<f64>()], 1..80),
            moves in prop::collection::vec((0_usize..20, 0_usize..20), 1..20),
        ) {
            let mut order = SlidingOrder::new(&values, &windows(0, 0, 1, 1)).unwrap();
            let (mut start, mut end) = (0, 0);
            for (first, last) in moves {
                end = (end + last).min(values.len());
                start = (start + first).min(end);
                order.slide_to(start..end);
                let mut alone = values[start..end].to_vec();
                alone.sort_by(nan_first);
                let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
                for (place, value) in alone.iter().enumerate() {
                    prop_assert!(same(order.at(place), *value), "{place} of {alone:?}");
                }
            }
        }
    }
}
