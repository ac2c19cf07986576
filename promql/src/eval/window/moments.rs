//! The moments of a series' samples, and what windows over them have been worked out.
//!
//! Series that were scraped together share their moments, and which samples a window holds is told
//! by moments alone. So the windows of one series are kept for those behind it.
//!
//! # Invariants
//! - What is kept belongs to moments that are kept with it: that two are the same is seen by where
//!   they are in memory, and nothing else can come to be there.

use super::{Window, Windows};
use crate::math::convert::seconds;
use model::Timestamps;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::{Deref, Range};
use std::rc::Rc;

/// A part of a column's moments, in milliseconds since 1970, ascending.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    of: Timestamps,
    range: Range<usize>,
}

impl Moments {
    /// The moments at these places of a column.
    pub(crate) fn within(of: &Timestamps, range: Range<usize>) -> Self {
        Self { of: of.clone(), range }
    }

    /// Where they are in memory: the same place is the same moments as long as one of them lives.
    fn place(&self) -> (usize, Range<usize>) {
        (self.of.place(), self.range.clone())
    }

    /// The moments as a column of their own.
    pub(crate) fn into_timestamps(self) -> Timestamps {
        match self.range == (0..self.of.len()) {
            true => self.of,
            false => self.iter().copied().collect(),
        }
    }
}

impl Deref for Moments {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        self.of.get(self.range.clone()).unwrap_or(&[])
    }
}

impl From<Vec<i64>> for Moments {
    fn from(moments: Vec<i64>) -> Self {
        let range = 0..moments.len();
        Self { of: moments.into(), range }
    }
}

/// How a window is longer than the time between its first and last sample, as far as that follows
/// from moments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stretch {
    /// The seconds from the window's start to its first sample, as far as they are extrapolated.
    pub(crate) to_start: f64,
    /// The seconds from the last sample to the window's end, likewise.
    pub(crate) to_end: f64,
    /// The seconds from the first sample to the last.
    pub(crate) sampled: f64,
    /// By how much the window is longer.
    pub(crate) factor: f64,
    /// The same, by the seconds of the window.
    pub(crate) per_second: f64,
}

impl Stretch {
    /// To the edge if that is near, else by half the samples' distance.
    fn new(times_ms: &[i64], range_ms: i64, window: Window) -> Self {
        let len = window.end - window.first;
        if len < 2 {
            return Self::default();
        }
        let (first_ms, last_ms) = (times_ms[window.first], times_ms[window.end - 1]);
        let mut to_start = seconds(first_ms.saturating_sub(window.end_ms.saturating_sub(range_ms)));
        let mut to_end = seconds(window.end_ms.saturating_sub(last_ms));
        let sampled = seconds(last_ms.saturating_sub(first_ms));
        let spacing = sampled / ((len - 1) as f64);
        let threshold = spacing * 1.1;
        if to_start >= threshold {
            to_start = spacing / 2.0;
        }
        if to_end >= threshold {
            to_end = spacing / 2.0;
        }
        let factor = (sampled + to_start + to_end) / sampled;
        Self { to_start, to_end, sampled, factor, per_second: factor / seconds(range_ms) }
    }

    /// By how much the window is longer if no more than this is before its first sample.
    pub(crate) fn limited(&self, to_start: f64) -> f64 {
        match to_start < self.to_start {
            true => (self.sampled + to_start + self.to_end) / self.sampled,
            false => self.factor,
        }
    }
}

/// So many windows are kept, of some hundred targets' moments or of one: a few megabytes. Those over
/// more steps, which only subqueries have, are found anew for each series.
const KEPT_MAX: usize = 1 << 16;

/// So many windows are worked through between two looks at the budget.
const WORK: usize = 1_024;

/// Moments that belong to one series are held by what was fetched and by its samples, and will not be
/// asked for again.
const HOLDERS_OF_ONE: usize = 2;

/// The windows over some moments.
#[derive(Debug, Default)]
struct Slots {
    moments: Moments,
    /// Those with samples in them or around them, in order.
    windows: Vec<Window>,
    /// One for each window, once they were asked for.
    stretches: OnceCell<Vec<Stretch>>,
    /// The most samples of a window.
    most: usize,
}

/// The windows that were found, by their moments.
#[derive(Debug, Default)]
pub(crate) struct KnownSlots {
    slots: HashMap<(usize, Range<usize>), Rc<Slots>>,
    /// How many windows they hold.
    windows: usize,
}

impl KnownSlots {
    fn get(&self, moments: &Moments) -> Option<Rc<Slots>> {
        self.slots.get(&moments.place()).map(Rc::clone)
    }

    fn keep(&mut self, slots: &Rc<Slots>) {
        self.windows += slots.windows.len();
        if self.windows > KEPT_MAX {
            self.slots.clear();
            self.windows = slots.windows.len();
        }
        self.slots.insert(slots.moments.place(), Rc::clone(slots));
    }
}

impl Windows<'_> {
    /// The windows over these moments. When the evaluation is to stop there may be too few: the
    /// caller looks afterwards.
    fn slots(&self, moments: &Moments) -> Rc<Slots> {
        if let Some(known) = self.known.borrow().get(moments) {
            if let Some(budget) = self.budget {
                // Whoever is to stop finds it out: the caller asks again.
                let _ = budget.tick(self.grid.len);
            }
            return known;
        }
        let is_shared = moments.of.holders() > HOLDERS_OF_ONE;
        let mut slots = Slots { moments: moments.clone(), ..Slots::default() };
        let (most, is_done) = self.walk(moments, |window| slots.windows.push(window));
        slots.most = most;
        let slots = Rc::new(slots);
        if is_done && is_shared {
            self.known.borrow_mut().keep(&slots);
        }
        slots
    }

    /// Calls `each` for every window with samples in it or around it, in order; answers the most
    /// samples of one. When the evaluation is to stop it ends early: the caller looks afterwards.
    pub(crate) fn slide(&self, moments: &Moments, mut each: impl FnMut(Window)) -> usize {
        if self.grid.len > KEPT_MAX {
            return self.walk(moments, each).0;
        }
        let slots = self.slots(moments);
        for window in &slots.windows {
            // Finding a window takes no time; going through its samples may.
            if self.stops(window.end - window.first) {
                break;
            }
            each(*window);
        }
        slots.most
    }

    /// The same, with how each window is stretched, for those who look at its ends only.
    pub(crate) fn slide_stretched(
        &self,
        moments: &Moments,
        mut each: impl FnMut(Window, &Stretch),
    ) -> usize {
        if self.grid.len > KEPT_MAX {
            // Not a second copy of the caller's loop.
            let each: &mut dyn FnMut(Window, &Stretch) = &mut each;
            let stretch = |window| Stretch::new(moments, self.range_ms, window);
            return self.walk(moments, |window| each(window, &stretch(window))).0;
        }
        let slots = self.slots(moments);
        let stretches = slots.stretches.get_or_init(|| {
            let stretch = |window: &Window| Stretch::new(moments, self.range_ms, *window);
            slots.windows.iter().map(stretch).collect()
        });
        for (windows, stretches) in slots.windows.chunks(WORK).zip(stretches.chunks(WORK)) {
            if self.stops(windows.len()) {
                break;
            }
            windows.iter().zip(stretches).for_each(|(window, stretch)| each(*window, stretch));
        }
        slots.most
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::windows;
    use super::*;

    #[test]
    fn a_window_is_open_on_its_left() {
        let mut seen = Vec::new();
        let moments = Moments::from(vec![0, 10, 20, 30]);
        let windows = windows(20, 40, 10, 20);
        let most = windows.slide(&moments, |window| seen.push((window.step, window.range())));
        assert_eq!(seen, [(0, 1..3), (1, 2..4), (2, 3..4)]);
        assert_eq!(most, 2);
    }

    #[test]
    fn windows_are_those_of_the_moments_asked_for_whatever_was_asked_before() {
        let shared = Timestamps::from(vec![0, 10, 20, 30]);
        let asked = [
            Moments::within(&shared, 0..4),
            Moments::within(&shared, 2..4),
            Moments::from(vec![39]),
        ];
        let windows = windows(20, 40, 10, 20);
        for index in [1, 0, 0, 2, 1, 1, 2, 0] {
            let (mut expected, mut seen) = (Vec::new(), Vec::new());
            windows.walk(&asked[index], |window| expected.push((window.step, window.range())));
            windows.slide(&asked[index], |window| seen.push((window.step, window.range())));
            assert_eq!(seen, expected);
        }
    }
}
