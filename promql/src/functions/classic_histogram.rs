//! Quantiles and fractions of classic histograms: series whose `le` label is the upper bound of what
//! they count.

use super::Args;
use crate::annotations::Forced;
use crate::eval::{ABSENT, EvalError, Scalar, Series, is_absent};
use crate::span::Span;
use model::LabelSet;
use std::collections::HashMap;

const BUCKET_LABEL: &str = "le";
/// Counts that differ less than this, relative to their sum, are taken for equal.
const SAME: f64 = 1e-12;
/// The least positive normal float.
const MIN_NORMAL: f64 = f64::MIN_POSITIVE;

/// One bucket at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    bound: f64,
    /// How many observations lie at or below the bound.
    count: f64,
}

/// The buckets of one histogram: bounds ascending, and the series that hold the counts.
pub(super) struct Histogram {
    /// The labels without `le`.
    pub(super) labels: LabelSet,
    buckets: Vec<(f64, usize)>,
}

impl Histogram {
    /// The series that hold its buckets.
    pub(super) fn series(&self) -> impl Iterator<Item = usize> + '_ {
        self.buckets.iter().map(|(_, index)| *index)
    }
}

/// Puts buckets together that differ in `le` only. Series without a usable `le` are left out.
pub(super) fn histograms(args: &Args<'_>, vector: &[Series], span: Span) -> Vec<Histogram> {
    let mut histograms: Vec<Histogram> = Vec::new();
    let mut places: HashMap<LabelSet, usize> = HashMap::new();
    for (index, series) in vector.iter().enumerate() {
        if series.values.iter().all(|value| is_absent(*value)) {
            continue;
        }
        let le = series.labels.value(BUCKET_LABEL);
        let Some(bound) = parse_bound(le) else {
            let late = args.ctx.params.delayed_name_removal;
            let name = if late { series.labels.metric_name() } else { "" };
            args.ctx.note(|notes| notes.bad_bucket_label(name, le, span));
            continue;
        };
        let mut labels = series.labels.clone();
        labels.remove(BUCKET_LABEL);
        let place = *places.entry(labels).or_insert_with_key(|labels| {
            histograms.push(Histogram { labels: labels.clone(), buckets: Vec::new() });
            histograms.len() - 1
        });
        histograms[place].buckets.push((bound, index));
    }
    for histogram in &mut histograms {
        histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    histograms
}

/// A bound as Go reads floats; what is out of range is no bound. Hexadecimal is not read.
fn parse_bound(text: &str) -> Option<f64> {
    let bound: f64 = text.parse().ok()?;
    let says_infinite = text.bytes().any(|byte| byte.eq_ignore_ascii_case(&b'i'));
    (bound.is_finite() || bound.is_nan() || says_infinite).then_some(bound)
}

/// The buckets that are there at a step, those of one bound added up.
fn gather(histogram: &Histogram, vector: &[Series], step: usize, buckets: &mut Vec<Bucket>) {
    buckets.clear();
    for (bound, index) in &histogram.buckets {
        let count = vector[*index].values[step];
        if is_absent(count) {
            continue;
        }
        match buckets.last_mut() {
            Some(last) if last.bound == *bound => last.count += count,
            _ => buckets.push(Bucket { bound: *bound, count }),
        }
    }
}

/// The quantile at each step. That buckets had to be lifted is told once a step, whichever quantile
/// it came up with first.
pub(super) fn quantile_of(
    args: &Args<'_>,
    histogram: &Histogram,
    vector: &[Series],
    q: &Scalar,
    (span, told): (Span, &mut [bool]),
) -> Result<Series, EvalError> {
    let mut values = vec![ABSENT; args.grid.len];
    args.ctx.budget.take_column(args.grid.len)?;
    let mut buckets = Vec::with_capacity(histogram.buckets.len());
    for (step, value) in values.iter_mut().enumerate() {
        args.ctx.budget.tick(histogram.buckets.len())?;
        gather(histogram, vector, step, &mut buckets);
        if buckets.is_empty() {
            continue;
        }
        let (quantile, lifted) = bucket_quantile(q.at(step), &mut buckets);
        *value = quantile;
        if let Some((bounds, diff_max)) = lifted
            && !std::mem::replace(&mut told[step], true)
        {
            let late = args.ctx.params.delayed_name_removal;
            let name = if late { histogram.labels.metric_name() } else { "" };
            let ms = args.grid.at(step);
            let forced = Forced { buckets: bounds, diff_max, times_ms: (ms, ms), samples: 1 };
            args.ctx.note(|notes| notes.forced_monotonicity(name, span, forced));
        }
    }
    Ok(Series::floats(histogram.labels.clone(), false, values))
}

/// The share of observations between two bounds at each step.
pub(super) fn fraction_of(
    args: &Args<'_>,
    histogram: Histogram,
    vector: &[Series],
    (lower, upper): (&Scalar, &Scalar),
) -> Result<Series, EvalError> {
    let mut values = vec![ABSENT; args.grid.len];
    args.ctx.budget.take_column(args.grid.len)?;
    let mut buckets = Vec::with_capacity(histogram.buckets.len());
    for (step, value) in values.iter_mut().enumerate() {
        args.ctx.budget.tick(histogram.buckets.len())?;
        gather(&histogram, vector, step, &mut buckets);
        if !buckets.is_empty() {
            *value = bucket_fraction(lower.at(step), upper.at(step), &mut buckets);
        }
    }
    Ok(Series::floats(histogram.labels, false, values))
}

/// The lowest and highest bound of buckets that had to be lifted, and the greatest lift.
type Lifted = Option<((f64, f64), f64)>;

/// The `q`-quantile of ascending buckets, linear within a bucket.
fn bucket_quantile(q: f64, buckets: &mut [Bucket]) -> (f64, Lifted) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return (f64::NAN, None);
    }
    let lifted = make_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, lifted);
    }
    let rank = q * observations;
    let at = first_reaching(&buckets[..last], rank);
    (within(buckets, at, rank), lifted)
}

/// The first bucket whose count reaches the rank, by halving as upstream does; counts may be NaN.
fn first_reaching(buckets: &[Bucket], rank: f64) -> usize {
    // Which places it looks at is part of the answer, so not `partition_point`.
    let (mut low, mut high) = (0, buckets.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if buckets[middle].count >= rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

fn within(buckets: &[Bucket], at: usize, mut rank: f64) -> f64 {
    if at == buckets.len() - 1 {
        return buckets[at - 1].bound;
    }
    let Bucket { bound, mut count } = buckets[at];
    let mut start = 0.0;
    if at == 0 {
        if bound <= 0.0 {
            return bound;
        }
    } else {
        start = buckets[at - 1].bound;
        count -= buckets[at - 1].count;
        rank -= buckets[at - 1].count;
    }
    start + (bound - start) * (rank / count)
}

/// Counts may not decrease. What differs by rounding only is smoothed silently; a real decrease is
/// lifted and reported.
fn make_monotonic(buckets: &mut [Bucket]) -> Lifted {
    let (mut low, mut high, mut diff_max) = (f64::INFINITY, f64::NEG_INFINITY, 0.0_f64);
    let mut is_lifted = false;
    let (first, rest) = buckets.split_first_mut()?;
    let mut before = first.count;
    for bucket in rest {
        if bucket.count == before {
            continue;
        }
        if nearly_equal(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            is_lifted = true;
            low = low.min(bucket.bound);
            high = high.max(bucket.bound);
            diff_max = diff_max.max(before - bucket.count);
            bucket.count = before;
        } else {
            before = bucket.count;
        }
    }
    is_lifted.then_some(((low, high), diff_max))
}

fn nearly_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let magnitude = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || magnitude < MIN_NORMAL {
        return difference < SAME * MIN_NORMAL;
    }
    difference / magnitude.min(f64::MAX) < SAME
}

/// The share of observations between two bounds.
fn bucket_fraction(lower: f64, upper: f64, buckets: &mut [Bucket]) -> f64 {
    let Some(last) = buckets.last() else { return f64::NAN };
    if last.bound != f64::INFINITY {
        return f64::NAN;
    }
    let count = last.count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank = |value| {
        rank_at(value, buckets).map_or(count, |rank| if rank > count { count } else { rank })
    };
    (rank(upper) - rank(lower)) / count
}

/// How many observations lie below `value`; `None` if it lies above all bounds.
fn rank_at(value: f64, buckets: &[Bucket]) -> Option<f64> {
    let mut rank = 0.0;
    let mut lower = if buckets.first().is_some_and(|first| first.bound <= 0.0) {
        f64::NEG_INFINITY
    } else {
        0.0
    };
    for bucket in buckets {
        if lower >= value {
            return Some(rank);
        }
        if bucket.bound > value {
            // A bucket without a lower end cannot be cut: all of it counts.
            if lower == f64::NEG_INFINITY {
                return Some(bucket.count);
            }
            return Some(rank + (bucket.count - rank) * (value - lower) / (bucket.bound - lower));
        }
        rank = bucket.count;
        lower = bucket.bound;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[(f64, f64)]) -> Vec<Bucket> {
        counts.iter().map(|(bound, count)| Bucket { bound: *bound, count: *count }).collect()
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn a_bound_is_a_number_in_range() {
        assert_eq!(parse_bound("+Inf"), Some(INF));
        assert_eq!(parse_bound("1e3"), Some(1000.0));
        for bad in ["", "1e400", "1x", " 1", "Hello World"] {
            assert_eq!(parse_bound(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_quantile_is_linear_within_its_bucket() {
        let counts = [(1.0, 10.0), (2.0, 30.0), (INF, 40.0)];
        let of = |q| bucket_quantile(q, &mut buckets(&counts)).0;
        assert_eq!(of(0.5), 1.5);
        assert_eq!(of(0.125), 0.5, "from zero, as the lowest bound lies above it");
        assert_eq!(of(0.99), 2.0, "the highest finite bound");
        assert!(of(f64::NAN).is_nan());
        assert!(bucket_quantile(0.5, &mut buckets(&[(1.0, 1.0)])).0.is_nan());
        assert!(bucket_quantile(0.5, &mut buckets(&[(1.0, 0.0), (INF, 0.0)])).0.is_nan());
        assert_eq!(bucket_quantile(0.1, &mut buckets(&[(-1.0, 5.0), (INF, 9.0)])).0, -1.0);
    }

    #[test]
    fn a_decrease_is_lifted_and_reported_rounding_is_not() {
        let mut counts = buckets(&[(1.0, 10.0), (2.0, 8.0), (3.0, 10.0 - 1e-13), (INF, 20.0)]);
        assert_eq!(make_monotonic(&mut counts), Some(((2.0, 2.0), 2.0)));
        assert_eq!(counts[1].count, 10.0);
        assert_eq!(counts[2].count, 10.0);
    }

    #[test]
    fn a_fraction_is_between_two_ranks() {
        let counts = [(1.0, 10.0), (2.0, 30.0), (INF, 40.0)];
        let of = |lower, upper| bucket_fraction(lower, upper, &mut buckets(&counts));
        assert_eq!(of(1.0, 2.0), 0.5);
        assert_eq!(of(f64::NEG_INFINITY, INF), 1.0);
        assert_eq!(of(0.5, 1.5), 0.375);
        assert_eq!(of(2.0, 1.0), 0.0);
    }

    /// What Prometheus 3.5.3 answers.
    #[test]
    fn a_count_that_is_no_number_turns_the_search_as_it_does_upstream() {
        let some = [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (4.0, 10.0), (5.0, f64::NAN), (INF, 20.0)];
        for q in [0.25, 0.4, 0.5] {
            assert_eq!(bucket_quantile(q, &mut buckets(&some)).0, 5.0, "{q}");
        }
    }
}
