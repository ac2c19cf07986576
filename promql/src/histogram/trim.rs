//! `</` and `>/`: a histogram without the observations above, or below, a value. What is cut out
//! of a bucket, and the sum of what is left, are estimates.

use super::{BucketView, FloatHistogram};

/// Which observations stay.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Keep {
    Below(f64),
    Above(f64),
}

/// Count and mean of the observations that stay in a bucket.
type Kept = (f64, f64);

impl FloatHistogram {
    /// Keeps what lies below `value`.
    pub(crate) fn trim_upper(&mut self, value: f64) {
        self.trim(Keep::Below(value));
    }

    /// Keeps what lies above `value`.
    pub(crate) fn trim_lower(&mut self, value: f64) {
        self.trim(Keep::Above(value));
    }

    fn trim(&mut self, keep: Keep) {
        let is_custom = self.is_custom();
        let mut total = Total::default();
        let positive = kept(self.positive_views(), keep, (true, is_custom), &mut total);
        let negative = kept(self.negative_views(), keep, (false, is_custom), &mut total);
        let is_filled = |counts: &[f64]| counts.iter().any(|count| *count != 0.0);
        let signs = (is_filled(self.positive.counts()), is_filled(self.negative.counts()));
        if self.zero_count > 0.0 {
            let kept = kept_of_zero(self.zero_bucket(), keep, signs);
            total.add(self.zero_count, kept);
            self.zero_count = kept.0;
        }
        if total.is_cut {
            self.positive.counts_mut().copy_from_slice(&positive);
            self.negative.counts_mut().copy_from_slice(&negative);
            (self.count, self.sum) = (total.count, total.sum);
            self.compact();
        }
    }
}

/// What is left of all buckets.
#[derive(Debug, Default)]
struct Total {
    count: f64,
    sum: f64,
    is_cut: bool,
}

impl Total {
    fn add(&mut self, before: f64, (count, mean): Kept) {
        self.count += count;
        self.sum += mean * count;
        self.is_cut |= count != before;
    }
}

/// What stays of each bucket of one sign.
fn kept(
    buckets: impl Iterator<Item = BucketView>,
    keep: Keep,
    (is_positive, is_custom): (bool, bool),
    total: &mut Total,
) -> Vec<f64> {
    let mut counts = Vec::new();
    for bucket in buckets {
        if bucket.count == 0.0 {
            counts.push(bucket.count);
            continue;
        }
        let (is_whole, is_part) = match keep {
            Keep::Below(value) => (bucket.upper <= value, bucket.lower < value),
            Keep::Above(value) => (bucket.lower >= value, bucket.upper > value),
        };
        if is_whole {
            let mean = middle(bucket.lower, bucket.upper, is_positive, is_custom);
            total.add(bucket.count, (bucket.count, mean));
            counts.push(bucket.count);
        } else if is_part {
            let part = kept_of(bucket, keep, is_positive, is_custom);
            total.add(bucket.count, part);
            counts.push(part.0);
        } else {
            // Even what counts nothing measurable has been cut.
            total.is_cut = true;
            counts.push(0.0);
        }
    }
    counts
}

fn kept_of(bucket: BucketView, keep: Keep, is_positive: bool, is_custom: bool) -> Kept {
    if bucket.lower == f64::NEG_INFINITY {
        return kept_of_lowest(bucket, keep);
    }
    if bucket.upper == f64::INFINITY {
        // How far its observations reach is not known: what may be cut is.
        return match keep {
            Keep::Above(value) if value >= bucket.lower => (bucket.count, value),
            _ => (0.0, zero_if_infinite(bucket.lower)),
        };
    }
    let below = |value: f64| {
        if value <= bucket.lower {
            0.0
        } else if value >= bucket.upper {
            bucket.count
        } else {
            bucket.count * bucket.share_below(value, is_custom)
        }
    };
    match keep {
        Keep::Below(value) => (below(value), middle(bucket.lower, value, is_positive, is_custom)),
        Keep::Above(value) => {
            (bucket.count - below(value), middle(value, bucket.upper, is_positive, is_custom))
        }
    }
}

/// Of the bucket that has no lower end. If it ends above zero it is taken to begin there.
fn kept_of_lowest(bucket: BucketView, keep: Keep) -> Kept {
    let upper = bucket.upper;
    let ends_above_zero = upper.is_finite() && upper > 0.0;
    match keep {
        Keep::Below(value) if value >= upper => (bucket.count, 0.0),
        Keep::Below(value) if value > 0.0 && ends_above_zero => {
            (bucket.count * value / upper, value / 2.0)
        }
        Keep::Below(value) if upper <= 0.0 => (bucket.count, value),
        Keep::Above(value) if value <= bucket.lower => (bucket.count, 0.0),
        Keep::Above(value) if value >= 0.0 && upper > value && upper.is_finite() => {
            (bucket.count * (1.0 - value / upper), (value + upper) / 2.0)
        }
        _ => (0.0, zero_if_infinite(upper)),
    }
}

/// Of the zero bucket, which lies on the side that has buckets, if only one has.
fn kept_of_zero(zero: BucketView, keep: Keep, signs: (bool, bool)) -> Kept {
    let (mut lower, mut upper) = (zero.lower, zero.upper);
    match signs {
        (true, false) => lower = 0.0,
        (false, true) => upper = 0.0,
        _ => {}
    }
    let (from, to) = match keep {
        Keep::Below(value) if value <= lower => return (0.0, 0.0),
        Keep::Above(value) if value >= upper && value > lower => return (0.0, 0.0),
        Keep::Below(value) if value >= upper => (lower, upper),
        Keep::Above(value) if value <= lower => (lower, upper),
        Keep::Below(value) => (lower, value),
        Keep::Above(value) => (value, upper),
    };
    if (from, to) == (lower, upper) {
        return (zero.count, (lower + upper) / 2.0);
    }
    (zero.count * ((to - from) / (upper - lower)), (from + to) / 2.0)
}

/// The mean of what lies between two values.
fn middle(lower: f64, upper: f64, is_positive: bool, is_custom: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => return 0.0,
        (true, false) => return if upper > 0.0 { upper / 2.0 } else { upper },
        (false, true) => return lower,
        (false, false) => {}
    }
    if is_custom {
        return (lower + upper) / 2.0;
    }
    let mean = (lower * upper).abs().sqrt();
    if is_positive { mean } else { -mean }
}

fn zero_if_infinite(value: f64) -> f64 {
    if value.is_infinite() { 0.0 } else { value }
}
