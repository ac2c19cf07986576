//! `sum_over_time`, `avg_over_time`, extremes, quantiles and deviations.

use super::fold::SlidingFold;
use super::order::SlidingOrder;
use super::{Samples, Windows};
use crate::math::convert::seconds;
use crate::math::kahan::{Kahan, Mean};
use crate::math::quantile::{nan_first, quantile_of};
use std::ops::Range;

/// Integers up to here add up without rounding.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// `sum_over_time`
pub(crate) fn sum(samples: &Samples<'_>, windows: &Windows, out: &mut [f64]) -> usize {
    let values = &*samples.values;
    if let Some(prefix) = exact_prefix_sums(values, windows) {
        return windows.slide(&samples.times_ms, |window| {
            out[window.step] = prefix[window.end] - prefix[window.first];
        });
    }
    each_sum(
        samples,
        windows,
        out,
        |sum, _| sum.total(),
        |values| {
            let mut sum = Kahan::default();
            for piece in windows.pieces(values) {
                piece.iter().for_each(|value| sum.add(*value));
            }
            if sum.sum.is_infinite() { sum.sum } else { sum.total() }
        },
    )
}

/// `avg_over_time`
pub(crate) fn avg(samples: &Samples<'_>, windows: &Windows, out: &mut [f64]) -> usize {
    if let Some(prefix) = exact_prefix_sums(&samples.values, windows) {
        return windows.slide(&samples.times_ms, |window| {
            let sum = prefix[window.end] - prefix[window.first];
            out[window.step] = sum / ((window.end - window.first) as f64);
        });
    }
    // How a sum lies in its two parts depends on where it was cut; the whole does not.
    let of_sum = |sum: Kahan, count: f64| {
        let whole = sum.total();
        let rest = (sum.sum - whole) + sum.compensation;
        whole / count + rest / count
    };
    each_sum(samples, windows, out, of_sum, |values| {
        let Some((first, rest)) = values.split_first() else { return f64::NAN };
        let mut mean = Mean::new(*first);
        for piece in windows.pieces(rest) {
            piece.iter().for_each(|value| mean.add(*value));
        }
        mean.value()
    })
}

/// The sum of some values, and how much went into it.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    sum: Kahan,
    magnitude: f64,
}

/// If what went into a sum is so many times the sum or more, its digits depend on the order.
const CANCELS: f64 = 1000.0;

/// Hands each window's sum and count to `of_sum`, if windows overlap much: upstream's last digit may
/// be another one. Otherwise, and where terms cancel each other, are no numbers or near the end of
/// them, its values go to `one_by_one`, which does it as upstream.
fn each_sum(
    samples: &Samples<'_>,
    windows: &Windows,
    out: &mut [f64],
    of_sum: impl Fn(Kahan, f64) -> f64,
    one_by_one: impl Fn(&[f64]) -> f64,
) -> usize {
    let values = &*samples.values;
    if !is_worth_sliding(samples, windows) {
        return each(samples, windows, out, one_by_one);
    }
    let fold = |range: Range<usize>| {
        let mut all = Sum::default();
        for value in &values[range] {
            all.sum.add(*value);
            all.magnitude += value.abs();
        }
        all
    };
    let combine = |mut a: Sum, b: Sum| {
        a.sum.add(b.sum.sum);
        a.sum.compensation += b.sum.compensation;
        a.magnitude += b.magnitude;
        a
    };
    let mut sliding = SlidingFold::new(fold, combine);
    windows.slide(&samples.times_ms, |window| {
        let Sum { sum, magnitude } = sliding.slide_to(window.range());
        let is_safe = magnitude < f64::MAX / 2.0 && magnitude < CANCELS * sum.total().abs();
        out[window.step] = match is_safe {
            true => of_sum(sum, window.range().len() as f64),
            false => one_by_one(&values[window.range()]),
        };
    })
}

/// The sums of the first n values, if no such sum and no difference of two is ever rounded. None
/// too if the evaluation is to stop.
fn exact_prefix_sums(values: &[f64], windows: &Windows) -> Option<Vec<f64>> {
    let mut prefix = Vec::with_capacity(values.len() + 1);
    let (mut sum, mut magnitude) = (0.0, 0.0);
    prefix.push(0.0);
    for piece in windows.pieces(values) {
        for value in piece {
            magnitude += value.abs();
            if value.trunc() != *value || !matches!(magnitude, 0.0..EXACT_MAX) {
                return None;
            }
            sum += value;
            prefix.push(sum);
        }
    }
    (prefix.len() == values.len() + 1).then_some(prefix)
}

/// Works each window's values through from its start.
fn each(
    samples: &Samples<'_>,
    windows: &Windows,
    out: &mut [f64],
    f: impl Fn(&[f64]) -> f64,
) -> usize {
    windows.slide(&samples.times_ms, |window| {
        out[window.step] = f(&samples.values[window.range()]);
    })
}

/// `stdvar_over_time`, and its root.
pub(crate) fn variance(
    samples: &Samples<'_>,
    windows: &Windows,
    root: bool,
    out: &mut [f64],
) -> usize {
    each(samples, windows, out, |values| {
        let (mut count, mut mean, mut square) = (0.0, Kahan::default(), Kahan::default());
        for value in windows.pieces(values).flatten() {
            count += 1.0;
            let delta = value - mean.total();
            mean.add(delta / count);
            square.add(delta * (value - mean.total()));
        }
        let variance = square.total() / count;
        if root { variance.sqrt() } else { variance }
    })
}

/// If each sample is in so many windows or more, to work each through is dearer than to keep what the
/// last one leaves.
const OVERLAP_WORTH: usize = 3;

fn is_worth_sliding(samples: &Samples<'_>, windows: &Windows) -> bool {
    let mut total = 0;
    windows.slide(&samples.times_ms, |window| total += window.range().len());
    total > OVERLAP_WORTH * samples.values.len()
}

/// `quantile_over_time`; `q` is asked at each step.
pub(crate) fn quantiles(
    samples: &Samples<'_>,
    windows: &Windows,
    q: impl Fn(usize) -> f64,
    out: &mut [f64],
) -> usize {
    if is_worth_sliding(samples, windows)
        && let Some(mut order) = SlidingOrder::new(&samples.values, windows)
    {
        return windows.slide(&samples.times_ms, |window| {
            order.slide_to(window.range());
            let at = |place: usize| order.at(place);
            out[window.step] = quantile_of(q(window.step), window.range().len(), at);
        });
    }
    let mut scratch = Vec::new();
    windows.slide(&samples.times_ms, |window| {
        scratch.clear();
        for piece in windows.pieces(&samples.values[window.range()]) {
            scratch.extend_from_slice(piece);
        }
        out[window.step] = quantile_in(windows, q(window.step), &mut scratch);
    })
}

/// `mad_over_time`: the median distance from the median.
pub(crate) fn mad(samples: &Samples<'_>, windows: &Windows, out: &mut [f64]) -> usize {
    each(samples, windows, out, |values| {
        if windows.pieces(values).flatten().any(|value| value.is_nan()) {
            return f64::NAN;
        }
        let mut values: Vec<f64> = windows.pieces(values).flatten().copied().collect();
        let median = quantile_in(windows, 0.5, &mut values);
        values.iter_mut().for_each(|value| *value = (*value - median).abs());
        quantile_in(windows, 0.5, &mut values)
    })
}

/// The quantile of a window's values, which are put into order.
fn quantile_in(windows: &Windows, q: f64, values: &mut [f64]) -> f64 {
    if (0.0..=1.0).contains(&q) {
        windows.sort(values, nan_first);
    }
    quantile_of(q, values.len(), |place| values[place])
}

/// Which extreme, and what of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extreme {
    /// The greatest; else the least.
    pub(crate) greatest: bool,
    /// Its time (of the last one, if it occurs often) instead of its value.
    pub(crate) time: bool,
}

/// `max_over_time`, `min_over_time`, `ts_of_max_over_time`, `ts_of_min_over_time`. NaN counts only
/// where there is nothing else.
pub(crate) fn extreme(
    samples: &Samples<'_>,
    windows: &Windows,
    want: Extreme,
    out: &mut [f64],
) -> usize {
    let values = &*samples.values;
    // Of equal ones the last has the time, and of NaN; 0 and -0 are equal, the first is shown.
    let better = |old: usize, new: usize| {
        let (a, b) = (values[old], values[new]);
        let is_beaten = if want.greatest { a < b } else { a > b };
        if is_beaten || a.is_nan() || (want.time && a == b) { new } else { old }
    };
    let fold = |mut range: Range<usize>| {
        let first = range.next().unwrap_or(range.end);
        range.fold(first, better)
    };
    let mut sliding = SlidingFold::new(fold, better);
    windows.slide(&samples.times_ms, |window| {
        let index = sliding.slide_to(window.range());
        out[window.step] = if want.time { seconds(samples.times_ms[index]) } else { values[index] };
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::windows;
    use super::*;
    use crate::eval::value::ABSENT;
    use std::borrow::Cow;

    fn samples(values: &[f64]) -> Samples<'static> {
        let times = (0..).take(values.len()).collect::<Vec<i64>>();
        Samples { times_ms: times.into(), values: Cow::Owned(values.to_vec()), ascends: false }
    }

    fn over(len: usize, f: impl Fn(&Windows, &mut [f64]) -> usize) -> Vec<f64> {
        let mut out = vec![ABSENT; len];
        let last = i64::try_from(len).unwrap() - 1;
        f(&windows(0, last, 1, 3), &mut out);
        out
    }

    #[test]
    fn sums_of_integers_slide_and_others_are_compensated() {
        let whole = samples(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(over(5, |w, out| sum(&whole, w, out)), [1.0, 3.0, 6.0, 9.0, 12.0]);
        let wild = samples(&[1.0, 1e100, -1e100, 0.5, f64::INFINITY]);
        let have = over(5, |w, out| sum(&wild, w, out));
        assert_eq!(have, [1.0, 1e100, 1.0, 0.5, f64::INFINITY]);
        assert_eq!(over(5, |w, out| avg(&whole, w, out)), [1.0, 1.5, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn extremes_skip_nan_unless_there_is_nothing_else() {
        let values = samples(&[f64::NAN, 3.0, 1.0, 2.0, 2.0]);
        let greatest = Extreme { greatest: true, time: false };
        let have = over(5, |w, out| extreme(&values, w, greatest, out));
        assert!(have[0].is_nan());
        assert_eq!(have[1..], [3.0, 3.0, 3.0, 2.0]);
        let when = Extreme { greatest: true, time: true };
        let have = over(5, |w, out| extreme(&values, w, when, out));
        assert_eq!(have[4], 0.004, "the last of two equal ones");
    }

    #[test]
    fn a_window_of_nan_has_the_last_ones_time_and_of_two_zeros_the_first_is_shown() {
        let nans = samples(&[f64::NAN; 5]);
        let when = Extreme { greatest: false, time: true };
        assert_eq!(over(5, |w, out| extreme(&nans, w, when, out))[4], 0.004);
        let zeros = samples(&[1.0, 0.0, -0.0, -0.0, 5.0]);
        let least = Extreme { greatest: false, time: false };
        let have = over(5, |w, out| extreme(&zeros, w, least, out));
        assert_eq!(
            have.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            [1.0, 0.0, 0.0, 0.0, -0.0].map(f64::to_bits)
        );
    }

    #[test]
    fn sums_of_fractions_slide_and_where_they_cancel_they_are_added_one_by_one() {
        let mut seed = model::SplitMix64::new(3);
        let mut draw = |wild: bool| {
            let unit = (seed.draw() >> 11) as f64 / (1_u64 << 53) as f64;
            if wild { (unit - 0.5) * 1e3_f64.powi((seed.draw() % 40) as i32 - 20) } else { unit }
        };
        for wild in [false, true] {
            let values: Vec<f64> = (0..300).map(|_| draw(wild)).collect();
            let all = samples(&values);
            for range in [1, 3, 40, 170, 400] {
                let windows = windows(0, 299, 1, range);
                let (mut sums, mut means) = ([ABSENT; 300], [ABSENT; 300]);
                sum(&all, &windows, &mut sums);
                avg(&all, &windows, &mut means);
                for (step, (have, mean)) in sums.iter().zip(means).enumerate() {
                    let first = (step + 1).saturating_sub(usize::try_from(range).unwrap());
                    let mut expected = Kahan::default();
                    values[first..=step].iter().for_each(|value| expected.add(*value));
                    let expected = expected.total();
                    let is_near = |have: f64, want: f64| (have - want).abs() <= 1e-14 * want.abs();
                    assert!(is_near(*have, expected), "{have} {expected} at {step} of {range}");
                    assert!(
                        is_near(mean, expected / (step - first + 1) as f64),
                        "{mean} at {step}"
                    );
                }
            }
        }
        let huge = samples(&[f64::MAX, f64::MAX, 0.5]);
        assert_eq!(over(3, |w, out| avg(&huge, w, out))[1], f64::MAX);
    }

    #[test]
    fn deviations_are_of_the_window() {
        let values = samples(&[2.0, 4.0, 6.0, 6.0]);
        let have = over(4, |w, out| variance(&values, w, false, out));
        assert_eq!(have[..2], [0.0, 1.0]);
        assert_eq!(over(4, |w, out| mad(&values, w, out)), [0.0, 1.0, 2.0, 0.0]);
        assert_eq!(over(4, |w, out| quantiles(&values, w, |_| 0.5, out)), [2.0, 3.0, 4.0, 6.0]);
    }
}
