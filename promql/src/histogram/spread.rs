//! Mean and variance, each observation taken for the middle of its bucket.

use super::FloatHistogram;
use crate::math::kahan::Kahan;

impl FloatHistogram {
    /// The mean of observations.
    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.count
    }

    /// The variance of observations: the geometric mean stands for an exponential bucket, zero for
    /// the zero bucket, the arithmetic mean for a custom one.
    pub(crate) fn variance(&self) -> f64 {
        let mean = self.mean();
        let mut squares = Kahan::default();
        for bucket in self.buckets().filter(|bucket| bucket.count != 0.0) {
            let middle = if self.is_custom() {
                (bucket.upper + bucket.lower) / 2.0
            } else if bucket.spans_zero() {
                0.0
            } else {
                (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
            };
            let distance = middle - mean;
            squares.add(bucket.count * distance * distance);
        }
        squares.total() / self.count
    }
}
