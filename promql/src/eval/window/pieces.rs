//! Long windows: gone through piece by piece, so that an evaluation that is to stop stops soon.

use super::Windows;

/// So many values are gone through without a look at the stop signal: less than a millisecond.
const PIECE: usize = 1 << 16;

impl Windows<'_> {
    /// Says that `items` were worked on; whether the evaluation is to stop.
    pub(super) fn stops(&self, items: usize) -> bool {
        self.budget.is_some_and(|budget| budget.tick(items).is_err())
    }

    /// A window's values, piece by piece. When the evaluation is to stop the rest is left out: the
    /// caller looks afterwards.
    pub(super) fn pieces<'v, T>(&'v self, values: &'v [T]) -> impl Iterator<Item = &'v [T]> + 'v {
        let mut is_first = true;
        let goes_on = move |piece: &&[T]| std::mem::take(&mut is_first) || !self.stops(piece.len());
        values.chunks(PIECE).take_while(goes_on)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::windows;
    use super::*;
    use crate::eval::budget::Budget;
    use crate::eval::params::{Cancel, Limits};

    #[test]
    fn a_long_window_is_left_when_the_evaluation_is_to_stop() {
        let values = vec![1.0; 3 * PIECE + 7];
        let whole = windows(0, 0, 1, 1);
        assert_eq!(whole.pieces(&values).map(<[f64]>::len).sum::<usize>(), values.len());
        assert_eq!(whole.pieces(&values[..0]).count(), 0);
        let stopped = Cancel::default().with_deadline(|| true);
        let budget = Budget::new(Limits::default(), &stopped);
        let left = Windows { budget: Some(&budget), ..whole };
        assert_eq!(left.pieces(&values).count(), 1, "what has begun is done");
    }
}
