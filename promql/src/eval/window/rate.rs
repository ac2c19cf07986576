//! `rate`, `increase`, `delta`, `irate`, `idelta`.

use super::{Samples, Windows};
use crate::math::convert::seconds;

/// What a slope is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slope {
    /// Whether a drop is a reset, and nothing lies below zero.
    pub(crate) is_counter: bool,
    /// Whether the answer is per second.
    pub(crate) is_rate: bool,
}

/// `rate`, `increase`, `delta`: the change over the window, extrapolated to its edges.
pub(crate) fn extrapolated(
    samples: &Samples<'_>,
    windows: &Windows,
    slope: Slope,
    out: &mut [f64],
) -> usize {
    let values = &*samples.values;
    let drops = slope.is_counter && !samples.ascends;
    let resets = if drops { resets(values) } else { Vec::new() };
    let range_s = seconds(windows.range_ms);
    let mut next_reset = 0;
    windows.slide_stretched(&samples.times_ms, |window, stretch| {
        let [first, .., last] = values[window.range()] else { return };
        let mut change = last - first;
        if !resets.is_empty() {
            let range = window.range();
            while resets.get(next_reset).is_some_and(|at| *at <= range.start) {
                next_reset += 1;
            }
            for at in resets[next_reset..].iter().take_while(|at| **at < range.end) {
                change += values[at - 1];
            }
        }
        // What has more than doubled was zero not long ago; all else was so before the window.
        let factor = match slope.is_counter && first >= 0.0 && first < 2.0 * change {
            true => {
                let limited = stretch.limited(stretch.sampled * (first / change));
                if slope.is_rate { limited / range_s } else { limited }
            }
            false if slope.is_rate => window.per_second,
            false => window.factor,
        };
        out[window.step()] = change * factor;
    })
}

/// So many neighbours are looked at without a branch for each: counters seldom drop.
const BATCH: usize = 64;

/// Where the value drops: the indices of the lower ones.
pub(crate) fn resets(values: &[f64]) -> Vec<usize> {
    let mut drops = Vec::new();
    let later = values.get(1..).unwrap_or(&[]);
    for (batch, (old, new)) in values.chunks(BATCH).zip(later.chunks(BATCH)).enumerate() {
        let pairs = || old.iter().zip(new);
        if pairs().map(|(old, new)| u64::from(new < old)).sum::<u64>() > 0 {
            let dropped = pairs().enumerate().filter(|(_, (old, new))| new < old);
            drops.extend(dropped.map(|(index, _)| batch * BATCH + index + 1));
        }
    }
    drops
}

/// Whether a counter started anew between two samples, of each its start and its time: by the
/// later one's start, if that is known and makes sense. A start at the sample before is a reset of
/// series that count from sample to sample; if that one's own start is not known, or is itself, it
/// is the way of others to say that they don't know when they began.
pub(crate) fn starts_anew((old_start, old_time): (i64, i64), (start, time): (i64, i64)) -> bool {
    if start == 0 || start >= time || start < old_time {
        return false;
    }
    start > old_time || (old_start <= old_time && old_start != 0 && old_start != old_time)
}

/// Whether a sample starts before the one before it ended, though it does not go on from it.
pub(crate) fn overlaps(old_start: i64, old_time: i64, start: i64) -> bool {
    start != 0 && start < old_time && start != old_start
}

/// `irate`, `idelta`: the change between the last two samples.
pub(crate) fn instant(
    samples: &Samples<'_>,
    windows: &Windows,
    is_rate: bool,
    out: &mut [f64],
) -> usize {
    windows.slide(&samples.times_ms, |window| {
        if window.end - window.first < 2 {
            return;
        }
        let (before, last) = (window.end - 2, window.end - 1);
        let interval_ms = samples.times_ms[last].saturating_sub(samples.times_ms[before]);
        if interval_ms == 0 {
            return;
        }
        let (old, new) = (samples.values[before], samples.values[last]);
        let change = if is_rate && new < old { new } else { new - old };
        out[window.step] = if is_rate { change / seconds(interval_ms) } else { change };
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::windows;
    use super::*;
    use crate::eval::value::{ABSENT, is_absent};
    use std::borrow::Cow;

    const RATE: Slope = Slope { is_counter: true, is_rate: true };
    const INCREASE: Slope = Slope { is_counter: true, is_rate: false };

    fn samples(step_ms: i64, values: &[f64]) -> Samples<'static> {
        let times = (0..).map(|n| n * step_ms).take(values.len()).collect::<Vec<_>>();
        Samples { times_ms: times.into(), values: Cow::Owned(values.to_vec()), ascends: false }
    }

    #[test]
    fn a_reset_counts_while_both_its_samples_are_in_the_window() {
        let samples = samples(10_000, &[0.0, 10.0, 20.0, 5.0, 15.0, 25.0]);
        let mut out = [ABSENT; 6];
        extrapolated(&samples, &windows(0, 50_000, 10_000, 30_000), INCREASE, &mut out);
        assert!(is_absent(out[0]), "one sample makes no increase");
        assert_eq!(out[3], 22.5, "10 to 20, then 5 after a reset: 15 over 20 s, stretched to 30 s");
        assert_eq!(out[5], 25.0, "5 to 25 over 20 s, stretched by the 5 s since it was zero");
    }

    #[test]
    fn a_rate_is_the_increase_per_second_of_the_range() {
        let samples = samples(10_000, &[0.0, 10.0, 20.0, 30.0]);
        let mut out = [ABSENT; 1];
        extrapolated(&samples, &windows(30_000, 30_000, 1, 30_000), RATE, &mut out);
        assert_eq!(out[0], 1.0);
    }

    #[test]
    fn an_irate_after_a_reset_is_the_new_value() {
        let samples = samples(10_000, &[10.0, 20.0, 5.0]);
        let mut out = [ABSENT; 1];
        instant(&samples, &windows(20_000, 20_000, 1, 60_000), true, &mut out);
        assert_eq!(out[0], 0.5);
        instant(&samples, &windows(20_000, 20_000, 1, 60_000), false, &mut out);
        assert_eq!(out[0], -15.0);
    }
}
