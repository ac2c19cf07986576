//! Quantiles, fractions, spread and trimming of native histograms.

use super::histogram::{Bucket, Hist};
use super::numbers::Kahan;

/// What observations that are not a number did to a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Skewed,
    Result,
    Excluded,
}

impl Bucket {
    /// The share of the bucket below a value in it.
    fn below(&self, value: f64, is_linear: bool) -> f64 {
        if is_linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let log = |value: f64| value.abs().log2();
        let (lower, upper, at) = (log(self.lower), log(self.upper), log(value));
        if value > 0.0 {
            (at - lower) / (upper - lower)
        } else {
            1.0 - (at - upper) / (lower - upper)
        }
    }

    /// With one side of zero only, if there is nothing on the other.
    fn one_sided(mut self, of: &Hist) -> Self {
        if of.negative.is_empty() && !of.positive.is_empty() {
            self.lower = 0.0;
        } else if of.positive.is_empty() && !of.negative.is_empty() {
            self.upper = 0.0;
        }
        self
    }
}

pub(super) fn quantile(q: f64, of: &Hist) -> (f64, Effect) {
    let plain = |value| (value, Effect::None);
    if q < 0.0 {
        return plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return plain(f64::INFINITY);
    }
    if of.count == 0.0 || q.is_nan() {
        return plain(f64::NAN);
    }
    let is_forward = of.sum.is_nan() || q < 0.5;
    let mut all = of.all();
    if !is_forward {
        all.reverse();
    }
    let mut rank = if is_forward { q * of.count } else { (1.0 - q) * of.count };
    let mut bucket = Bucket { lower: 0.0, upper: 0.0, count: 0.0 };
    let mut count = 0.0;
    let mut rest = all.iter();
    for next in rest.by_ref() {
        bucket = *next;
        count += next.count;
        if next.count != 0.0 && count >= rank {
            break;
        }
    }
    if of.is_custom() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return plain(bucket.upper);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return plain(bucket.lower);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        bucket = bucket.one_sided(of);
    }
    count = if count > of.count { of.count } else { count };
    if count < rank {
        return if of.sum.is_nan() { (f64::NAN, Effect::Result) } else { plain(bucket.upper) };
    }
    rank = if is_forward { rank - (count - bucket.count) } else { count - rank };
    let mut is_skewed = false;
    if of.sum.is_nan() {
        // Upstream counts the rest with the bucket that it goes on to interpolate in.
        for next in rest {
            bucket = *next;
            count += next.count;
        }
        is_skewed = count < of.count;
    }
    let effect = if is_skewed { Effect::Skewed } else { Effect::None };
    let share = rank / bucket.count;
    let Bucket { lower, upper, .. } = bucket;
    if of.is_custom() || (lower <= 0.0 && upper >= 0.0) {
        return (lower + (upper - lower) * share, effect);
    }
    let (from, to) = (lower.abs().log2(), upper.abs().log2());
    let value = match lower > 0.0 {
        true => (from + (to - from) * share).exp2(),
        false => -(to + (from - to) * (1.0 - share)).exp2(),
    };
    (value, effect)
}

pub(super) fn fraction(lower: f64, upper: f64, of: &Hist) -> (f64, Effect) {
    if of.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, Effect::None);
    }
    if lower >= upper {
        return (0.0, Effect::None);
    }
    let in_buckets: f64 = of.all().iter().map(|bucket| bucket.count).sum();
    let is_excluded = of.sum.is_nan() && in_buckets < of.count;
    let most = if of.sum.is_nan() { in_buckets } else { of.count };
    let rank = |value| {
        let rank = rank_of(value, of).unwrap_or(most);
        if rank > most { most } else { rank }
    };
    let effect = if is_excluded { Effect::Excluded } else { Effect::None };
    ((rank(upper) - rank(lower)) / of.count, effect)
}

/// How many observations lie below a value; `None`: all.
fn rank_of(value: f64, of: &Hist) -> Option<f64> {
    let mut rank = 0.0;
    for mut bucket in of.all() {
        let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if is_zero {
            bucket = bucket.one_sided(of);
        }
        if bucket.lower >= value {
            return Some(rank);
        }
        if bucket.upper > value {
            let is_linear = of.is_custom() || is_zero;
            if is_linear && bucket.lower == f64::NEG_INFINITY {
                return Some(bucket.count);
            }
            return Some(rank + bucket.count * bucket.below(value, is_linear));
        }
        rank += bucket.count;
    }
    None
}

/// The mean squared distance of the buckets' middles from the mean.
pub(super) fn variance(of: &Hist) -> f64 {
    let mean = of.sum / of.count;
    let mut sum = Kahan::default();
    for Bucket { lower, upper, count } in of.all() {
        if count == 0.0 {
            continue;
        }
        let middle = match () {
            () if of.is_custom() => (upper + lower) / 2.0,
            () if lower <= 0.0 && upper >= 0.0 => 0.0,
            () if upper < 0.0 => -(upper * lower).sqrt(),
            () => (upper * lower).sqrt(),
        };
        let delta = middle - mean;
        sum.add(count * delta * delta);
    }
    sum.total() / of.count
}

/// Keeps what lies below (`is_upper`) or above a bound.
pub(super) fn trim(mut of: Hist, bound: f64, is_upper: bool) -> Hist {
    let is_custom = of.is_custom();
    let (mut count, mut sum) = (0.0, 0.0);
    let mut is_cut = false;
    let mut keep = |have: &mut f64, (kept, middle): (f64, f64)| {
        count += kept;
        sum += middle * kept;
        is_cut |= *have != kept;
        *have = kept;
    };
    let bounds = |of: &Hist, index: i32, is_positive: bool| {
        let one = |index| of.upper(index);
        let (lower, upper) = (one(index - 1), one(index));
        if is_positive { (lower, upper) } else { (-upper, -lower) }
    };
    let layout = of.clone();
    for (is_positive, buckets) in [(true, &mut of.positive), (false, &mut of.negative)] {
        for (index, have) in buckets.iter_mut().filter(|(_, have)| **have != 0.0) {
            let (lower, upper) = bounds(&layout, *index, is_positive);
            let bucket = Bucket { lower, upper, count: *have };
            keep(have, kept(bucket, bound, is_upper, is_positive, is_custom));
        }
    }
    if of.zero > 0.0 {
        let has = |buckets: &std::collections::BTreeMap<i32, f64>| {
            buckets.values().any(|count| *count != 0.0)
        };
        let sides = (has(&layout.negative), has(&layout.positive));
        let kept = zero_kept(&layout, bound, is_upper, sides);
        keep(&mut of.zero, kept);
    }
    if !is_cut {
        return of;
    }
    (of.count, of.sum) = (count, sum);
    of.compact()
}

/// How much of a bucket is kept, and the middle of that.
fn kept(
    bucket: Bucket,
    bound: f64,
    is_upper: bool,
    is_positive: bool,
    is_custom: bool,
) -> (f64, f64) {
    let Bucket { lower, upper, count } = bucket;
    let middle = |lower, upper| middle(lower, upper, is_positive, is_custom);
    let (is_all, is_some) = match is_upper {
        true => (upper <= bound, lower < bound),
        false => (lower >= bound, upper > bound),
    };
    if is_all {
        return (count, middle(lower, upper));
    }
    if !is_some {
        return (0.0, 0.0);
    }
    if lower == f64::NEG_INFINITY || upper == f64::INFINITY {
        return endless(bucket, bound, is_upper);
    }
    let below = match () {
        () if bound <= lower => 0.0,
        () if bound >= upper => count,
        () => count * bucket.below(bound, is_custom),
    };
    if is_upper { (below, middle(lower, bound)) } else { (count - below, middle(bound, upper)) }
}

/// Of a bucket without an end: nothing is known of where its observations lie.
fn endless(Bucket { lower, upper, count }: Bucket, bound: f64, is_upper: bool) -> (f64, f64) {
    let finite = |value: f64| if value.is_infinite() { 0.0 } else { value };
    if lower == f64::NEG_INFINITY {
        let is_finite = upper != f64::INFINITY;
        return match is_upper {
            true if bound >= upper => (count, 0.0),
            true if bound > 0.0 && upper > 0.0 && is_finite => (count * bound / upper, bound / 2.0),
            true if upper <= 0.0 => (count, bound),
            false if bound <= lower => (count, 0.0),
            false if bound >= 0.0 && upper > bound && is_finite => {
                (count * (1.0 - bound / upper), (bound + upper) / 2.0)
            }
            _ => (0.0, finite(upper)),
        };
    }
    if !is_upper && bound >= lower { (count, bound) } else { (0.0, finite(lower)) }
}

fn zero_kept(
    of: &Hist,
    bound: f64,
    is_upper: bool,
    (has_negative, has_positive): (bool, bool),
) -> (f64, f64) {
    let lower = if has_positive && !has_negative { 0.0 } else { -of.threshold };
    let upper = if has_negative && !has_positive { 0.0 } else { of.threshold };
    let all = (of.zero, (lower + upper) / 2.0);
    let none = (0.0, 0.0);
    match is_upper {
        true if bound <= lower => none,
        true if bound >= upper => all,
        true => (of.zero * ((bound - lower) / (upper - lower)), (lower + bound) / 2.0),
        false if bound <= lower => all,
        false if bound >= upper => none,
        false => (of.zero * ((upper - bound) / (upper - lower)), (bound + upper) / 2.0),
    }
}

fn middle(lower: f64, upper: f64, is_positive: bool, is_linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        _ if is_linear => (lower + upper) / 2.0,
        _ if is_positive => (lower * upper).abs().sqrt(),
        _ => -(lower * upper).abs().sqrt(),
    }
}
