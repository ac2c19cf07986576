//! `count_over_time`, `changes`, `resets`, and what is at the window's ends.

use super::{Samples, Windows, edges};
use crate::math::convert::seconds;

/// `count_over_time`
pub(crate) fn count(samples: &Samples<'_>, windows: &Windows, out: &mut [f64]) -> usize {
    windows.slide(&samples.times_ms, |window| {
        out[window.step] = (window.end - window.first) as f64;
    })
}

/// `present_over_time`, and what `absent_over_time` asks of each series.
pub(crate) fn present(samples: &Samples<'_>, windows: &Windows, out: &mut [f64]) -> usize {
    windows.slide(&samples.times_ms, |window| out[window.step] = 1.0)
}

/// Which sample of a window, and what of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    /// The last; else the first.
    pub(crate) last: bool,
    /// Its time instead of its value.
    pub(crate) time: bool,
}

/// `first_over_time`, `last_over_time`, `ts_of_first_over_time`, `ts_of_last_over_time`
pub(crate) fn pick(samples: &Samples<'_>, windows: &Windows, want: Pick, out: &mut [f64]) -> usize {
    windows.slide(&samples.times_ms, |window| {
        let index = if want.last { window.end - 1 } else { window.first };
        out[window.step] =
            if want.time { seconds(samples.times_ms[index]) } else { samples.values[index] };
    })
}

/// `changes`: how often the value differs from the one before; from NaN to NaN it does not.
pub(crate) fn changes(samples: &Samples<'_>, windows: &Windows, out: &mut [f64]) -> usize {
    let differ = |old: f64, new: f64| old != new && !(old.is_nan() && new.is_nan());
    events(samples, windows, differ, out)
}

/// `resets`: how often the value drops.
pub(crate) fn resets(samples: &Samples<'_>, windows: &Windows, out: &mut [f64]) -> usize {
    events(samples, windows, |old, new| new < old, out)
}

/// How often two neighbours in the window make an event.
fn events(
    samples: &Samples<'_>,
    windows: &Windows,
    is_event: impl Fn(f64, f64) -> bool,
    out: &mut [f64],
) -> usize {
    // How many events there are up to each sample.
    let mut until = Vec::with_capacity(samples.values.len());
    let mut count = 0_u32;
    until.push(count);
    let later = samples.values.get(1..).unwrap_or_default();
    for (old, new) in samples.values.iter().zip(windows.pieces(later).flatten()) {
        count += u32::from(is_event(*old, *new));
        until.push(count);
    }
    if until.len() <= later.len() {
        return 0; // It is to stop.
    }
    windows.slide(&samples.times_ms, |window| {
        if let Some(first) = edges::first_that_counts(&samples.times_ms, windows, window) {
            out[window.step] = f64::from(until[window.end - 1] - until[first]);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::windows;
    use super::*;
    use std::borrow::Cow;

    #[test]
    fn events_are_counted_between_samples_of_the_window_only() {
        let samples = Samples {
            times_ms: vec![0, 1, 2, 3].into(),
            values: Cow::Owned(vec![5.0, 1.0, f64::NAN, f64::NAN]),
            ascends: false,
        };
        let mut out = [0.0; 4];
        changes(&samples, &windows(0, 3, 1, 2), &mut out);
        assert_eq!(out, [0.0, 1.0, 1.0, 0.0]);
        resets(&samples, &windows(0, 3, 1, 2), &mut out);
        assert_eq!(out, [0.0, 1.0, 0.0, 0.0]);
    }
}
