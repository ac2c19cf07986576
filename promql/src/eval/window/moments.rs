//! The moments of a series' samples, and what windows over them have been worked out.
//!
//! Series that were scraped together share their moments, and which samples a window holds is told
//! by moments alone. So the windows of one series are kept for those behind it, and for those of other
//! shards, whose moments are equal and not the same in memory.
//!
//! # Invariants
//! - What is kept belongs to moments that are kept with it: within a shard, that two are the same is seen
//!   by where they are in memory, and nothing else can come to be there; between shards they are compared.

use super::{Window, Windows};
use crate::math::convert::seconds;
use model::Timestamps;
use std::collections::HashMap;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, OnceLock};

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

/// A window of two samples or more, and how it is longer than the time between the first and the last,
/// as far as that follows from moments. Each series looks at it again, so it is short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretched {
    step: u32,
    first: u32,
    end: u32,
    /// By how much the window is longer.
    pub(crate) factor: f64,
    /// The same, by the seconds of the window.
    pub(crate) per_second: f64,
}

impl Stretched {
    /// The index of the step.
    pub(crate) fn step(&self) -> usize {
        self.step as usize
    }

    /// The indices of its samples.
    pub(crate) fn range(&self) -> Range<usize> {
        self.first as usize..self.end as usize
    }
}

/// What makes a window longer, for the few series that were zero not long ago.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    /// The seconds from the window's start to its first sample, as far as they are extrapolated.
    to_start: f64,
    /// The seconds from the last sample to the window's end, likewise.
    to_end: f64,
    /// The seconds from the first sample to the last.
    pub(crate) sampled: f64,
}

impl Stretch {
    /// To the edge if that is near, else by half the samples' distance. `None` if there is one sample.
    fn of(times_ms: &[i64], range_ms: i64, window: Window) -> Option<(Stretched, Self)> {
        let len = window.end - window.first;
        if len < 2 {
            return None;
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
        let stretch = Self { to_start, to_end, sampled };
        let [step, first, end] = [window.step, window.first, window.end]
            // Nobody has as many samples of a series, or steps, in memory.
            .map(|index| u32::try_from(index).unwrap_or(u32::MAX));
        let factor = stretch.limited(to_start);
        let per_second = factor / seconds(range_ms);
        Some((Stretched { step, first, end, factor, per_second }, stretch))
    }

    /// By how much the window is longer if no more than this is before its first sample.
    pub(crate) fn limited(&self, to_start: f64) -> f64 {
        (self.sampled + to_start.min(self.to_start) + self.to_end) / self.sampled
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
    /// One for each window of two samples or more, once they were asked for.
    stretches: OnceLock<(Vec<Stretched>, Vec<Stretch>)>,
    /// The most samples of a window.
    most: usize,
}

impl Slots {
    /// The memory that they hold on to, with stretches that may come later.
    fn bytes(&self) -> usize {
        let of_window = size_of::<Window>() + size_of::<Stretched>() + size_of::<Stretch>();
        self.windows.len() * of_window + self.moments.of.len() * size_of::<i64>()
    }
}

/// The windows that were found, by their moments.
#[derive(Debug, Default)]
pub(crate) struct KnownSlots {
    slots: HashMap<(usize, Range<usize>), (Moments, Arc<Slots>)>,
    /// How many windows they hold.
    windows: usize,
}

impl KnownSlots {
    fn get(&self, moments: &Moments) -> Option<Arc<Slots>> {
        self.slots.get(&moments.place()).map(|(_, slots)| Arc::clone(slots))
    }

    fn keep(&mut self, moments: &Moments, slots: &Arc<Slots>) {
        self.windows += slots.windows.len();
        if self.windows > KEPT_MAX {
            self.slots.clear();
            self.windows = slots.windows.len();
        }
        self.slots.insert(moments.place(), (moments.clone(), Arc::clone(slots)));
    }
}

/// So many bytes shards keep for each other, beyond what is reserved: of a hundred targets and more.
const SHARED_BYTES_MAX: usize = 8 << 20;

/// The windows that shards of one selection found: the same windows, over moments that are equal.
#[derive(Debug, Default)]
pub(crate) struct SharedSlots {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// By how many moments there are, the first and the last.
    slots: HashMap<(usize, i64, i64), Arc<Slots>>,
    /// Of all of them.
    bytes: usize,
}

impl SharedSlots {
    fn get(&self, moments: &Moments) -> Option<Arc<Slots>> {
        let found = self.found.lock().ok()?;
        let slots = found.slots.get(&Self::key(moments)?).map(Arc::clone)?;
        drop(found);
        (**moments == *slots.moments).then_some(slots)
    }

    fn keep(&self, slots: &Arc<Slots>) {
        let Some(key) = Self::key(&slots.moments) else { return };
        let Ok(mut found) = self.found.lock() else { return };
        if found.bytes + slots.bytes() <= SHARED_BYTES_MAX {
            found.bytes += slots.bytes();
            let before = found.slots.insert(key, Arc::clone(slots));
            found.bytes -= before.map_or(0, |before| before.bytes());
        }
    }

    fn key(moments: &[i64]) -> Option<(usize, i64, i64)> {
        Some((moments.len(), *moments.first()?, *moments.last()?))
    }
}

impl Windows<'_> {
    /// The windows over these moments. When the evaluation is to stop there may be too few: the
    /// caller looks afterwards.
    fn slots(&self, moments: &Moments) -> Arc<Slots> {
        if let Some(known) = self.known.borrow().get(moments) {
            if let Some(budget) = self.budget {
                // Whoever is to stop finds it out: the caller asks again.
                let _ = budget.tick(self.grid.len);
            }
            return known;
        }
        let is_shared = moments.of.holders() > HOLDERS_OF_ONE;
        let of_shards = self.of_shards.as_ref().filter(|_| is_shared);
        if let Some(known) = of_shards.and_then(|shared| shared.get(moments)) {
            self.known.borrow_mut().keep(moments, &known);
            return self.slots(moments);
        }
        let mut slots = Slots { moments: moments.clone(), ..Slots::default() };
        let (most, is_done) = self.walk(moments, |window| slots.windows.push(window));
        slots.most = most;
        let slots = Arc::new(slots);
        if is_done && is_shared {
            self.known.borrow_mut().keep(moments, &slots);
            of_shards.inspect(|shared| shared.keep(&slots));
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

    /// The same for windows of two samples or more, with how each is stretched, for those who look at its
    /// ends only.
    pub(crate) fn slide_stretched(
        &self,
        moments: &Moments,
        mut each: impl FnMut(&Stretched, &Stretch),
    ) -> usize {
        let stretch = |window| Stretch::of(moments, self.range_ms, window);
        if self.grid.len > KEPT_MAX {
            // Not a second copy of the caller's loop.
            let each: &mut dyn FnMut(&Stretched, &Stretch) = &mut each;
            let visit = |window| stretch(window).iter().for_each(|(window, how)| each(window, how));
            return self.walk(moments, visit).0;
        }
        let slots = self.slots(moments);
        let (windows, stretches) = slots
            .stretches
            .get_or_init(|| slots.windows.iter().filter_map(|window| stretch(*window)).unzip());
        for (windows, stretches) in windows.chunks(WORK).zip(stretches.chunks(WORK)) {
            if self.stops(windows.len()) {
                break;
            }
            windows.iter().zip(stretches).for_each(|(window, how)| each(window, how));
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
            assert_eq!(slid(&windows, &asked[index]), walked(&windows, &asked[index]));
        }
    }

    fn walked(windows: &Windows<'_>, moments: &Moments) -> Vec<(usize, Range<usize>)> {
        let mut seen = Vec::new();
        windows.walk(moments, |window| seen.push((window.step, window.range())));
        seen
    }

    fn slid(windows: &Windows<'_>, moments: &Moments) -> Vec<(usize, Range<usize>)> {
        let mut seen = Vec::new();
        windows.slide(moments, |window| seen.push((window.step, window.range())));
        seen
    }

    #[test]
    fn what_another_shard_found_is_taken_for_equal_moments_only() {
        let shared = Arc::new(SharedSlots::default());
        let shard = || Windows { of_shards: Some(Arc::clone(&shared)), ..windows(20, 40, 10, 20) };
        // As many, with the same ends.
        for moments in [vec![0, 10, 20, 30], vec![0, 10, 20, 30], vec![0, 1, 29, 30], vec![9, 30]] {
            let of = Timestamps::from(moments);
            let series = [0, 1, 2].map(|_| Moments::within(&of, 0..of.len()));
            let (windows, expected) = (shard(), walked(&shard(), &series[0]));
            for moments in &series {
                assert_eq!(slid(&windows, moments), expected);
            }
        }
        let slots = |shared: &SharedSlots| shared.found.lock().unwrap().slots.len();
        assert_eq!(slots(&shared), 2, "the third has the place of the first");
        let first = Moments::from(vec![0, 10, 20, 30]);
        let found = shared.get(&first);
        assert!(found.is_none(), "it is not the third");
        let bytes: usize =
            shared.found.lock().unwrap().slots.values().map(|slots| slots.bytes()).sum();
        assert_eq!(shared.found.lock().unwrap().bytes, bytes);
        for first in 0..300 {
            // A column of 40 KB each, of which two windows are looked at.
            let all = Timestamps::from((-4_999_i64 - first..=30).collect::<Vec<_>>());
            let _both = (all.clone(), all.clone());
            slid(&shard(), &Moments::within(&all, 0..all.len()));
        }
        let bytes = shared.found.lock().unwrap().bytes;
        assert!((SHARED_BYTES_MAX - 50_000..=SHARED_BYTES_MAX).contains(&bytes), "{bytes}");
    }
}
