//! Zero buckets of different widths: they come together in the wider one, or a wider one yet, so
//! that none of them ends inside of a bucket that holds something.

use super::summed::Lost;
use super::{Buckets, FloatHistogram, bound};
use crate::math::kahan::Kahan;
use std::cmp::Ordering;

impl FloatHistogram {
    /// The zero bucket if it reached `threshold` at least: its count and how far it reaches then.
    pub(super) fn widened_zero(&self, threshold: f64, lost: Option<&Lost>) -> (Kahan, f64) {
        let zero_lost = lost.map_or(0.0, |lost| lost.zero_count);
        let mut reach = threshold;
        loop {
            let mut zero = Kahan { sum: self.zero_count, compensation: zero_lost };
            if reach == self.zero_threshold {
                return (zero, reach);
            }
            let positive_lost = lost.map_or(&[][..], |lost| &lost.positive);
            let negative_lost = lost.map_or(&[][..], |lost| &lost.negative);
            reach = self.swallow(&self.positive, positive_lost, reach, &mut zero);
            let wider = self.swallow(&self.negative, negative_lost, reach, &mut zero);
            // A width that is no number reaches nowhere.
            if wider.partial_cmp(&reach) != Some(Ordering::Greater) {
                return (zero, reach);
            }
            // It reaches farther now: there may be more on the positive side.
            reach = wider;
        }
    }

    /// Adds the buckets that begin before `reach`; answers where the last one ends, if that is
    /// farther and it holds something.
    fn swallow(&self, buckets: &Buckets, lost: &[f64], reach: f64, zero: &mut Kahan) -> f64 {
        for (at, (index, count)) in buckets.iter().enumerate() {
            let lower = bound::exponential(index.saturating_sub(1), self.schema);
            if !bound::is_above(reach, lower) {
                break;
            }
            zero.add(count);
            zero.add(lost.get(at).copied().unwrap_or(0.0));
            let upper = bound::exponential(index, self.schema);
            if bound::is_above(upper, reach) {
                return if count == 0.0 { reach } else { upper };
            }
        }
        reach
    }

    /// The first place that lies beyond the zero bucket.
    pub(super) fn first_beyond_zero(&self, buckets: &Buckets) -> i32 {
        if self.is_custom() || self.zero_threshold == 0.0 {
            return i32::MIN;
        }
        let is_beyond = |index: &&i32| {
            bound::is_above(bound::exponential(**index, self.schema), self.zero_threshold)
        };
        buckets.indices().iter().find(is_beyond).copied().unwrap_or(i32::MAX)
    }

    /// Widens the zero bucket until that of `other` could have the same width; answers what the
    /// other's would count.
    pub(super) fn meet_zero(&mut self, other: &Self, mut lost: Option<&mut Lost>) -> Kahan {
        let (mut count, mut reach) = (Kahan::new(other.zero_count), other.zero_threshold);
        while reach != self.zero_threshold {
            if self.zero_threshold > reach {
                (count, reach) = other.widened_zero(self.zero_threshold, None);
            } else if reach > self.zero_threshold {
                let (zero, wider) = self.widened_zero(reach, lost.as_deref());
                self.widen_zero(zero, wider, lost.as_deref_mut());
            } else {
                // Not a number: there is no width to agree on.
                break;
            }
        }
        count
    }

    fn widen_zero(&mut self, zero: Kahan, reach: f64, mut lost: Option<&mut Lost>) {
        (self.zero_count, self.zero_threshold) = (zero.sum, reach);
        if let Some(lost) = &mut lost {
            lost.zero_count = zero.compensation;
        } else {
            self.zero_count = zero.total();
        }
        let (from, from_negative) =
            (self.first_beyond_zero(&self.positive), self.first_beyond_zero(&self.negative));
        let (positive, negative) = match lost {
            Some(lost) => (Some(&mut lost.positive), Some(&mut lost.negative)),
            None => (None, None),
        };
        self.positive.cut_before(from, positive);
        self.negative.cut_before(from_negative, negative);
    }
}
