//! Quantiles and fractions: observations are thought to lie evenly in their bucket, on a
//! logarithmic scale if it is exponential, else on a linear one.

use super::{BucketView, FloatHistogram};

/// What observations that are no numbers do to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NanEffect {
    /// Nothing: there are none, or they do not matter.
    None,
    /// The quantile comes out higher.
    Skewed,
    /// The quantile is among them.
    Result,
    /// They are in no fraction.
    Excluded,
}

impl FloatHistogram {
    /// The `q`-quantile, and what observations of NaN did to it.
    pub(crate) fn quantile(&self, q: f64) -> (f64, NanEffect) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, NanEffect::None);
        }
        if q > 1.0 {
            return (f64::INFINITY, NanEffect::None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, NanEffect::None);
        }
        // Whatever is NaN is in no bucket: it counts as the greatest, so ranks come from below.
        let is_upward = self.sum.is_nan() || q < 0.5;
        let rank = if is_upward { q * self.count } else { (1.0 - q) * self.count };
        if is_upward {
            self.quantile_at(rank, true, &mut self.buckets())
        } else {
            self.quantile_at(rank, false, &mut self.buckets().rev())
        }
    }

    fn quantile_at(
        &self,
        rank: f64,
        is_upward: bool,
        buckets: &mut dyn Iterator<Item = BucketView>,
    ) -> (f64, NanEffect) {
        let (mut bucket, mut count) = (NOTHING, 0.0);
        for next in &mut *buckets {
            bucket = next;
            count += next.count;
            if next.count != 0.0 && count >= rank {
                break;
            }
        }
        if self.is_custom() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, NanEffect::None);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, NanEffect::None);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            bucket = self.one_sided(bucket);
        }
        count = if count > self.count { self.count } else { count };
        if count < rank {
            if self.sum.is_nan() {
                return (f64::NAN, NanEffect::Result);
            }
            return (bucket.upper, NanEffect::None);
        }
        let into = if is_upward { rank - (count - bucket.count) } else { count - rank };
        let mut effect = NanEffect::None;
        let mut found = bucket;
        if self.sum.is_nan() {
            // Upstream looks for a count that no bucket holds, and answers from where it ends.
            for next in buckets {
                found = next;
                count += next.count;
            }
            if count < self.count {
                effect = NanEffect::Skewed;
            }
        }
        (self.inside(found, into / found.count), effect)
    }

    /// The value at this share of the bucket's width.
    fn inside(&self, bucket: BucketView, share: f64) -> f64 {
        if self.is_custom() || bucket.spans_zero() {
            return bucket.lower + (bucket.upper - bucket.lower) * share;
        }
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        if bucket.lower > 0.0 {
            (lower + (upper - lower) * share).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - share)).exp2()
        }
    }

    /// The share of observations between two values.
    pub(crate) fn fraction(&self, lower: f64, upper: f64) -> (f64, NanEffect) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, NanEffect::None);
        }
        if lower >= upper {
            return (0.0, NanEffect::None);
        }
        let mut buckets = self.buckets();
        let (mut seen, mut rank) = (0.0, 0.0);
        let (mut low, mut high) = (None, None);
        for bucket in buckets.by_ref() {
            seen += bucket.count;
            let is_zero = bucket.spans_zero();
            let bucket = if is_zero { self.one_sided(bucket) } else { bucket };
            let below = |value| self.rank_below(bucket, is_zero, rank, value);
            low = low.or_else(|| below(lower));
            high = high.or_else(|| below(upper));
            if low.is_some() && high.is_some() {
                break;
            }
            rank += bucket.count;
        }
        let (mut count, mut effect) = (self.count, NanEffect::None);
        if self.sum.is_nan() {
            count = buckets.fold(seen, |count, next| count + next.count);
            if count < self.count {
                effect = NanEffect::Excluded;
            }
        }
        let at = |rank: Option<f64>| match rank {
            Some(rank) if rank > count => count,
            Some(rank) => rank,
            None => count,
        };
        ((at(high) - at(low)) / self.count, effect)
    }

    /// How many observations lie below `value`, if it lies in the bucket or before it; `rank` are
    /// below the bucket.
    fn rank_below(&self, bucket: BucketView, is_zero: bool, rank: f64, value: f64) -> Option<f64> {
        if bucket.lower >= value {
            return Some(rank);
        }
        if bucket.upper <= value {
            return None;
        }
        let is_linear = self.is_custom() || is_zero;
        if is_linear && bucket.lower == f64::NEG_INFINITY {
            // What has no lower end cannot be cut.
            return Some(bucket.count);
        }
        Some(rank + bucket.count * bucket.share_below(value, is_linear))
    }
}

const NOTHING: BucketView =
    BucketView { lower: 0.0, upper: 0.0, has_lower: false, has_upper: false, count: 0.0 };
