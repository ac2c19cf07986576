//! The text of a histogram: `{count:4, sum:5.5, [-0.001,0.001]:1, (0.5,1]:3}`.

use super::{BucketView, FloatHistogram};
use crate::math::format::general;
use std::fmt;

impl fmt::Display for BucketView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.has_lower { '[' } else { '(' };
        let close = if self.has_upper { ']' } else { ')' };
        let (lower, upper) = (general(self.lower), general(self.upper));
        write!(f, "{open}{lower},{upper}{close}:{}", general(self.count))
    }
}

/// Buckets that hold nothing are left out.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", general(self.count), general(self.sum))?;
        let zero = (self.zero_count != 0.0).then(|| self.zero_bucket());
        let all = self.negative_views().rev().chain(zero).chain(self.positive_views());
        for bucket in all.filter(|bucket| bucket.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}
