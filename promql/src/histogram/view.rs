//! The buckets of a histogram with their bounds, one after the other.

use super::{Buckets, FloatHistogram, bound};

/// One bucket: what lies between its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketView {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Whether the lower bound itself is counted.
    pub has_lower: bool,
    /// Whether the upper bound itself is counted.
    pub has_upper: bool,
    /// How many observations there are.
    pub count: f64,
}

impl BucketView {
    /// Which share of the bucket's width lies below `value`, which is inside of it.
    pub(super) fn share_below(&self, value: f64, is_linear: bool) -> f64 {
        if is_linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        // Exponential buckets are evenly wide on a logarithmic scale.
        let (lower, upper) = (self.lower.abs().log2(), self.upper.abs().log2());
        let at = value.abs().log2();
        if value > 0.0 {
            (at - lower) / (upper - lower)
        } else {
            1.0 - (at - upper) / (lower - upper)
        }
    }

    /// Whether zero lies in it or at its edge.
    pub(super) fn spans_zero(&self) -> bool {
        self.lower <= 0.0 && self.upper >= 0.0
    }
}

impl FloatHistogram {
    /// The buckets, ascending; the zero bucket only if it counts something. A neighbour that
    /// overlaps the zero bucket begins where that ends.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = BucketView> + '_ {
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        self.views(&self.negative, true)
            .rev()
            .map(|bucket| self.beside_zero(bucket))
            .chain(zero)
            .chain(self.views(&self.positive, false).map(|bucket| self.beside_zero(bucket)))
    }

    /// The number of observations.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.count
    }

    /// The sum of observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    pub(super) fn zero_bucket(&self) -> BucketView {
        let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
        BucketView { lower, upper, has_lower: true, has_upper: true, count: self.zero_count }
    }

    /// The buckets of one sign, beginning near zero.
    pub(super) fn views<'a>(
        &'a self,
        buckets: &'a Buckets,
        is_negative: bool,
    ) -> impl DoubleEndedIterator<Item = BucketView> + 'a {
        buckets.iter().map(move |(index, count)| self.view(index, count, is_negative))
    }

    pub(super) fn positive_views(&self) -> impl DoubleEndedIterator<Item = BucketView> + '_ {
        self.views(&self.positive, false)
    }

    pub(super) fn negative_views(&self) -> impl DoubleEndedIterator<Item = BucketView> + '_ {
        self.views(&self.negative, true)
    }

    fn view(&self, index: i32, count: f64, is_negative: bool) -> BucketView {
        let near = bound::upper(index.saturating_sub(1), self.schema, &self.custom_values);
        let far = bound::upper(index, self.schema, &self.custom_values);
        let (lower, upper) = if is_negative { (-far, -near) } else { (near, far) };
        if self.is_custom() {
            return BucketView { lower, upper, has_lower: index == 0, has_upper: true, count };
        }
        BucketView { lower, upper, has_lower: lower < 0.0, has_upper: upper > 0.0, count }
    }

    fn beside_zero(&self, mut bucket: BucketView) -> BucketView {
        if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
            bucket.lower = self.zero_threshold;
        } else if bucket.upper < 0.0 && bucket.upper > -self.zero_threshold {
            bucket.upper = -self.zero_threshold;
        }
        bucket
    }

    /// Whether there are positive and negative buckets, empty or not.
    pub(super) fn signs(&self) -> (bool, bool) {
        (!self.positive.is_empty(), !self.negative.is_empty())
    }

    /// The zero bucket of a histogram that has buckets on one side only lies on that side.
    pub(super) fn one_sided(&self, mut bucket: BucketView) -> BucketView {
        match self.signs() {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
        bucket
    }
}
