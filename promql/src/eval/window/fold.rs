//! What a window's values fold into, while it slides: each value is looked at about twice, however
//! many windows it is in.
//!
//! The values are cut into segments, which are folded as they come. A queue of two stacks folds
//! segments into windows: behind `mid` one fold of all, before it for each segment the fold from
//! there to `mid`. A window that begins inside of a segment has the rest of that folded anew.
//!
//! # Invariants
//! - The order of the values is kept: a fold is combined with that of the values behind it only.
//! - Windows come in order, as [`Windows::slide`](super::Windows::slide) hands them out.

use std::ops::Range;

/// So many values of a segment at most: what is folded anew when a window begins inside.
const SEGMENT_MAX: usize = 32;

/// Some of the values, and what they fold into: alone, or with all segments up to the middle.
#[derive(Clone, Debug)]
struct Segment<T> {
    range: Range<usize>,
    fold: T,
}

/// See the module. `fold` is of the values at some places, `combine` of two folds in order.
#[derive(Debug)]
pub(crate) struct SlidingFold<T, F, C> {
    fold: F,
    combine: C,
    /// The segments before the middle, the last one first.
    front: Vec<Segment<T>>,
    /// The segments behind the middle.
    back: Vec<Segment<T>>,
    /// All of those.
    back_fold: Option<T>,
    /// Where the values begin that are in no segment.
    seen: usize,
}

impl<T: Copy, F: Fn(Range<usize>) -> T, C: Fn(T, T) -> T> SlidingFold<T, F, C> {
    /// Before the first window.
    pub(crate) fn new(fold: F, combine: C) -> Self {
        Self { fold, combine, front: Vec::new(), back: Vec::new(), back_fold: None, seen: 0 }
    }

    /// What the values of a window fold into; it has one at least.
    pub(crate) fn slide_to(&mut self, window: Range<usize>) -> T {
        self.take_in(window.clone());
        self.let_go(window.start);
        let partial = self.front.last().filter(|segment| segment.range.start < window.start);
        let front = match partial {
            Some(segment) => {
                let rest = (self.fold)(window.start..segment.range.end);
                let behind = self.front.len().checked_sub(2).and_then(|at| self.front.get(at));
                Some(behind.map_or(rest, |behind| (self.combine)(rest, behind.fold)))
            }
            None => self.front.last().map(|segment| segment.fold),
        };
        match (front, self.back_fold) {
            (Some(front), Some(back)) => (self.combine)(front, back),
            (Some(fold), None) | (None, Some(fold)) => fold,
            (None, None) => (self.fold)(window),
        }
    }

    fn take_in(&mut self, window: Range<usize>) {
        if self.seen < window.start {
            // Nothing that was seen is in this window or in a later one.
            self.front.clear();
            self.back.clear();
            (self.back_fold, self.seen) = (None, window.start);
        }
        while self.seen < window.end {
            let range = self.seen..window.end.min(self.seen + SEGMENT_MAX);
            self.seen = range.end;
            let fold = (self.fold)(range.clone());
            self.back_fold = Some(self.back_fold.map_or(fold, |all| (self.combine)(all, fold)));
            self.back.push(Segment { range, fold });
        }
    }

    /// Drops the segments before `first`. When none is left in front of the middle, that moves to
    /// the end.
    fn let_go(&mut self, first: usize) {
        while self.front.last().is_some_and(|segment| segment.range.end <= first) {
            self.front.pop();
        }
        if !self.front.is_empty() {
            return;
        }
        let mut all: Option<T> = None;
        for Segment { range, fold } in self.back.drain(..).rev() {
            if range.end <= first {
                break;
            }
            let fold = all.map_or(fold, |behind| (self.combine)(fold, behind));
            all = Some(fold);
            self.front.push(Segment { range, fold });
        }
        self.back_fold = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    proptest! {
        #[test]
        fn a_window_folds_into_its_own_values_in_order_and_none_is_folded_often(
            steps in prop::collection::vec((0_usize..90, 0_usize..90), 1..80),
        ) {
            let (mut window, mut largest) = (0..0_usize, 0);
            let folded = Cell::new(0);
            let fold = |range: Range<usize>| {
                folded.set(folded.get() + range.len());
                (range.start, range.end)
            };
            let combine = |a: (usize, usize), b: (usize, usize)| {
                assert_eq!(a.1, b.0, "neighbours in order");
                (a.0, b.1)
            };
            let mut sliding = SlidingFold::new(fold, combine);
            let mut asked = 0;
            for (first, end) in steps {
                window.end += end;
                window.start = (window.start + first).min(window.end);
                if window.is_empty() {
                    continue;
                }
                asked += 1;
                largest = largest.max(window.end);
                prop_assert_eq!(sliding.slide_to(window.clone()), (window.start, window.end));
            }
            prop_assert!(folded.get() <= largest + SEGMENT_MAX * asked);
        }
    }
}
