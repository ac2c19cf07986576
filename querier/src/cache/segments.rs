//! Where a range of steps is cut, and how its parts are put together again.

use model::time::DAY_MS;
use model::{Column, HistogramColumn, LabelSet, SeriesColumns};
use promql::EvalParams;
use std::cmp::Ordering;
use std::ops::RangeInclusive;

/// Segments are so long at least: as long as the blocks that versions tell apart.
const SEGMENT_MS: i64 = 2 * 60 * 60 * 1_000;

/// A segment has so many steps at least, so that looking at it costs less than evaluating it.
const SEGMENT_STEPS_MIN: i64 = 16;

/// Queries over more than this have segments of a day.
const LONG_MS: i64 = 4 * DAY_MS;

/// Moments beyond it are nobody's data, and sums of such times might overflow.
const MOMENT_MAX_MS: i64 = 1 << 52;

/// Some steps of a query that lie between two borders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// How many segments lie between 1970 and it.
    pub(super) index: i64,
    /// The steps that are wanted: the first and the last.
    pub(super) wanted: RangeInclusive<i64>,
    /// The steps that lie between the borders: the first and the last.
    pub(super) whole: RangeInclusive<i64>,
}

/// The length of a query's segments, and the segments, ascending, none without a step; `None` if
/// its times are nobody's.
pub(super) fn cut(params: &EvalParams) -> Option<(i64, Vec<Segment>)> {
    let EvalParams { start_ms, end_ms, step_ms, .. } = *params;
    let moments = -MOMENT_MAX_MS..=MOMENT_MAX_MS;
    if !moments.contains(&start_ms) || !moments.contains(&end_ms) || step_ms <= 0 {
        return None;
    }
    let base_ms = if end_ms - start_ms > LONG_MS { DAY_MS } else { SEGMENT_MS };
    let steps_ms = step_ms.checked_mul(SEGMENT_STEPS_MIN).filter(|ms| *ms <= MOMENT_MAX_MS)?;
    let length_ms = (steps_ms + base_ms - 1) / base_ms * base_ms;
    let last_ms = start_ms + (end_ms - start_ms) / step_ms * step_ms;
    let mut segments = Vec::new();
    for index in start_ms.div_euclid(length_ms)..=last_ms.div_euclid(length_ms) {
        let (from_ms, to_ms) = (index * length_ms, (index + 1) * length_ms - 1);
        let first = from_ms + (start_ms - from_ms).rem_euclid(step_ms);
        let last = to_ms - (to_ms - start_ms).rem_euclid(step_ms);
        let wanted = first.max(start_ms)..=last.min(last_ms);
        segments.push(Segment { index, wanted, whole: first..=last });
    }
    Some((length_ms, segments))
}

/// The samples of these steps; series without one are left out.
pub(super) fn between(series: &[SeriesColumns], steps: &RangeInclusive<i64>) -> Vec<SeriesColumns> {
    let mut cut = Vec::new();
    for of in series {
        let place = |times: &[i64]| {
            let first = times.partition_point(|at| at < steps.start());
            first..times.partition_point(|at| at <= steps.end()).max(first)
        };
        let (at, of_floats) = (place(&of.floats.timestamps_ms), &of.floats);
        let floats = Column {
            timestamps_ms: of_floats.timestamps_ms[at.clone()].to_vec().into(),
            values: of_floats.values[at].to_vec(),
            ..Column::default()
        };
        let (at, of_histograms) = (place(&of.histograms.timestamps_ms), &of.histograms);
        let histograms = HistogramColumn {
            timestamps_ms: of_histograms.timestamps_ms[at.clone()].to_vec(),
            values: of_histograms.values[at].to_vec(),
            ..HistogramColumn::default()
        };
        if !floats.is_empty() || !histograms.is_empty() {
            cut.push(SeriesColumns { labels: of.labels.clone(), floats, histograms });
        }
    }
    cut
}

/// Puts series behind those of earlier steps. Both ascend by labels, and so does what they become.
pub(super) fn join(earlier: Vec<SeriesColumns>, later: Vec<SeriesColumns>) -> Vec<SeriesColumns> {
    if earlier.is_empty() {
        return later;
    }
    let mut joined = Vec::with_capacity(earlier.len().max(later.len()));
    let (mut earlier, mut later) = (earlier.into_iter(), later.into_iter());
    let (mut a, mut b) = (earlier.next(), later.next());
    loop {
        match (a, b) {
            (Some(mut first), Some(second)) => match order(&first.labels, &second.labels) {
                Ordering::Equal => {
                    first.floats.append(second.floats);
                    first.histograms.append(second.histograms);
                    joined.push(first);
                    (a, b) = (earlier.next(), later.next());
                }
                Ordering::Less => {
                    joined.push(first);
                    (a, b) = (earlier.next(), Some(second));
                }
                Ordering::Greater => {
                    joined.push(second);
                    (a, b) = (Some(first), later.next());
                }
            },
            (one, other) => {
                joined.extend(one.or(other));
                joined.extend(earlier);
                joined.extend(later);
                return joined;
            }
        }
    }
}

/// The order of labels; those that are shared are not looked at.
fn order(a: &LabelSet, b: &LabelSet) -> Ordering {
    if a == b { Ordering::Equal } else { a.cmp(b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn steps_are_cut_at_fixed_times_whatever_the_range() {
        let params = EvalParams::range(HOUR_MS + 7, 5 * HOUR_MS, 60_000);
        let (length_ms, segments) = cut(&params).unwrap();
        assert_eq!(length_ms, 2 * HOUR_MS);
        let [first, second, third] = &segments[..] else { panic!("{segments:?}") };
        assert_eq!((first.index, second.index, third.index), (0, 1, 2));
        assert_eq!(first.whole, 7..=2 * HOUR_MS - 60_000 + 7);
        assert_eq!(first.wanted, HOUR_MS + 7..=2 * HOUR_MS - 60_000 + 7);
        assert_eq!(second.wanted, 2 * HOUR_MS + 7..=4 * HOUR_MS - 60_000 + 7);
        assert_eq!(
            (&second.wanted, third.wanted.end()),
            (&second.whole, &(5 * HOUR_MS - 60_000 + 7))
        );
        let steps = |s: &Segment| (s.wanted.end() - s.wanted.start()) / 60_000 + 1;
        assert_eq!(segments.iter().map(steps).sum::<i64>(), 4 * 60);
    }

    #[test]
    fn each_step_is_in_one_segment_and_none_is_empty() {
        for start_ms in [-90_000_007, -1, 0, 59_999, 1_700_000_000_123] {
            for step_ms in [1, 999, 15_000, 600_000, 7_200_000, 90_000_000] {
                let end_ms = start_ms + 333 * step_ms + step_ms / 2;
                let params = EvalParams::range(start_ms, end_ms, step_ms);
                let (_, segments) = cut(&params).unwrap();
                let mut next = start_ms;
                for Segment { wanted, whole, .. } in &segments {
                    assert_eq!(*wanted.start(), next);
                    assert!(wanted.start() <= wanted.end());
                    assert!(whole.start() <= wanted.start() && wanted.end() <= whole.end());
                    assert_eq!((wanted.end() - next) % step_ms, 0);
                    next = wanted.end() + step_ms;
                }
                assert_eq!(next, start_ms + 334 * step_ms, "{start_ms} {step_ms}");
            }
        }
    }

    #[test]
    fn times_that_are_nobodys_are_not_cut() {
        assert!(cut(&EvalParams::range(i64::MIN, i64::MIN + 5, 1)).is_none());
        assert!(cut(&EvalParams::range(0, 1, i64::MAX)).is_none());
    }

    fn series(name: &str, times_ms: &[i64]) -> SeriesColumns {
        let mut floats = Column::default();
        times_ms.iter().for_each(|at| floats.push(*at, 1.0));
        let labels = LabelSet::from_pairs([("a", name)]).unwrap();
        SeriesColumns { labels, floats, ..SeriesColumns::default() }
    }

    #[test]
    fn what_was_cut_is_joined_again() {
        let all =
            [series("1", &[1, 2]), series("2", &[1]), series("3", &[2]), series("4", &[1, 3])];
        let parts = [1..=1, 2..=2, 3..=3].map(|steps| between(&all, &steps));
        assert_eq!(parts[1].len(), 2);
        assert_eq!(parts.into_iter().fold(Vec::new(), join), all);
    }
}
