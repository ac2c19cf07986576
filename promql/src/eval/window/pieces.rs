//! Long windows: gone through piece by piece, so that an evaluation that is to stop stops soon.

use super::Windows;
use crate::eval::budget::PIECE;
use std::cmp::Ordering;

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

    /// Puts values into order. When the evaluation is to stop they are left in none: the caller
    /// looks afterwards.
    pub(super) fn sort<T: Copy>(&self, values: &mut [T], order: impl Fn(&T, &T) -> Ordering) {
        for piece in values.chunks_mut(PIECE) {
            piece.sort_unstable_by(&order);
            if self.stops(piece.len()) {
                return;
            }
        }
        let mut merged = Vec::new();
        let mut sorted = PIECE;
        while sorted < values.len() {
            for pair in values.chunks_mut(2 * sorted).filter(|pair| pair.len() > sorted) {
                merged.clear();
                let (left, right) = pair.split_at(sorted);
                if !self.merge(left, right, &mut merged, &order) {
                    return;
                }
                pair.copy_from_slice(&merged);
            }
            sorted *= 2;
        }
    }

    /// Appends the values of two sorted lists in their order; whether it came to its end.
    fn merge<T: Copy>(
        &self,
        mut left: &[T],
        mut right: &[T],
        into: &mut Vec<T>,
        order: impl Fn(&T, &T) -> Ordering,
    ) -> bool {
        while let ([first, rest @ ..], [second, others @ ..]) = (left, right) {
            if order(second, first).is_lt() {
                into.push(*second);
                right = others;
            } else {
                into.push(*first);
                left = rest;
            }
            if into.len().is_multiple_of(PIECE) && self.stops(PIECE) {
                return false;
            }
        }
        into.extend_from_slice(left);
        into.extend_from_slice(right);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::windows;
    use super::*;
    use crate::eval::budget::Budget;
    use crate::eval::params::{Cancel, Limits};

    #[test]
    fn a_long_window_is_put_into_order_by_pieces_and_left_when_it_is_to_stop() {
        let whole = windows(0, 0, 1, 1);
        for len in [0, 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE + 3] {
            let values: Vec<u64> =
                (0..len as u64).map(|n| n.wrapping_mul(7_919) % 10_007).collect();
            let (mut expected, mut have) = (values.clone(), values);
            expected.sort_unstable();
            whole.sort(&mut have, u64::cmp);
            assert_eq!(have, expected, "{len}");
        }
        let stopped = Cancel::default().with_deadline(|| true);
        let budget = Budget::new(Limits::default(), &stopped);
        let left = Windows { budget: Some(&budget), ..whole };
        let mut values: Vec<u64> = (0..3 * PIECE as u64).rev().collect();
        left.sort(&mut values, u64::cmp);
        assert_eq!(values[PIECE], 2 * PIECE as u64 - 1, "the second piece was not looked at");
    }

    #[test]
    fn a_long_window_is_is_left_when_the_evaluation_is_to_stop() {
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
