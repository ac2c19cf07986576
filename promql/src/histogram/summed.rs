//! Compensated sums and means of histograms: each count keeps what rounding took from it.

use super::{FloatHistogram, Merged, MixedBuckets};
use crate::math::kahan::Kahan;

/// What a sum has lost by rounding, place by place.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) zero_count: f64,
    pub(super) positive: Vec<f64>,
    pub(super) negative: Vec<f64>,
}

impl Lost {
    fn of(histogram: &FloatHistogram) -> Self {
        Self {
            positive: vec![0.0; histogram.positive.len()],
            negative: vec![0.0; histogram.negative.len()],
            ..Self::default()
        }
    }

    /// Adds to a number of the sum, and keeps what that loses.
    pub(super) fn add(
        &mut self,
        lost: impl Fn(&mut Self) -> &mut f64,
        total: &mut f64,
        value: f64,
    ) {
        let lost = lost(self);
        let mut sum = Kahan { sum: *total, compensation: *lost };
        sum.add(value);
        (*total, *lost) = (sum.sum, sum.compensation);
    }

    fn map(&mut self, f: impl Fn(f64) -> f64) {
        let totals = [&mut self.count, &mut self.sum, &mut self.zero_count];
        for value in totals.into_iter().chain(&mut self.positive).chain(&mut self.negative) {
            *value = f(*value);
        }
    }
}

/// A running sum.
#[derive(Clone, Debug)]
pub(crate) struct Summed {
    total: FloatHistogram,
    lost: Option<Lost>,
}

impl Summed {
    /// A sum that starts with a histogram.
    pub(crate) fn new(first: FloatHistogram) -> Self {
        Self { total: first, lost: None }
    }

    /// Adds a histogram.
    pub(crate) fn add(&mut self, other: &FloatHistogram) -> Result<Merged, MixedBuckets> {
        if self.total.is_custom() != other.is_custom() {
            return Err(MixedBuckets);
        }
        let total = &self.total;
        let lost = self.lost.get_or_insert_with(|| Lost::of(total));
        self.total.combine(other, 1.0, Some(lost))
    }

    fn map(&mut self, change: impl Fn(&mut FloatHistogram), f: impl Fn(f64) -> f64) {
        change(&mut self.total);
        if let Some(lost) = &mut self.lost {
            lost.map(f);
        }
    }

    /// The sum with what it had lost.
    pub(crate) fn total(self) -> FloatHistogram {
        let mut total = self.total;
        let Some(lost) = self.lost else { return total };
        total.count += lost.count;
        total.sum += lost.sum;
        total.zero_count += lost.zero_count;
        let sides = [(&mut total.positive, lost.positive), (&mut total.negative, lost.negative)];
        for (buckets, lost) in sides {
            buckets.counts_mut().iter_mut().zip(lost).for_each(|(count, lost)| *count += lost);
        }
        total
    }
}

/// A running mean: a sum that is divided in the end; if it would overflow, a mean that moves.
#[derive(Clone, Debug)]
pub(crate) struct Averaged {
    sum: Summed,
    count: f64,
    moves: bool,
}

impl Averaged {
    /// The mean of one histogram.
    pub(crate) fn new(first: FloatHistogram) -> Self {
        Self { sum: Summed::new(first), count: 1.0, moves: false }
    }

    /// Takes a histogram into the mean.
    pub(crate) fn add(&mut self, other: &FloatHistogram) -> Result<Merged, MixedBuckets> {
        self.count += 1.0;
        if !self.moves {
            if !self.sum.total.may_overflow(other) {
                return self.sum.add(other);
            }
            let before = self.sum.clone();
            let merged = self.sum.add(other)?;
            if !self.sum.total.has_overflow() {
                return Ok(merged);
            }
            self.sum = before;
            self.moves = true;
            let count = self.count - 1.0;
            self.sum.map(|total| total.divide(count), |lost| lost / count);
        }
        let weight = (self.count - 1.0) / self.count;
        self.sum.map(|total| total.scale(weight), |lost| lost * weight);
        let mut part = other.clone();
        part.divide(self.count);
        self.sum.add(&part)
    }

    /// The mean.
    pub(crate) fn mean(mut self) -> FloatHistogram {
        if !self.moves {
            let count = self.count;
            self.sum.map(|total| total.divide(count), |lost| lost / count);
        }
        self.sum.total()
    }
}

impl FloatHistogram {
    fn has_overflow(&self) -> bool {
        let totals = [self.count, self.sum, self.zero_count];
        let buckets = self.positive.counts().iter().chain(self.negative.counts());
        let all = totals.iter().chain(buckets).chain(self.custom_values.iter());
        all.copied().any(f64::is_infinite)
    }

    /// Whether adding `other` could make any count infinite, however buckets come together.
    fn may_overflow(&self, other: &Self) -> bool {
        let most = |of: &Self| {
            let totals = [of.count, of.sum, of.zero_count];
            let buckets = of.positive.counts().iter().chain(of.negative.counts());
            totals.iter().chain(buckets).fold(0.0_f64, |most, value| most.max(value.abs()))
        };
        let len = |of: &Self| (of.positive.len() + of.negative.len() + 1) as f64;
        let is_infinite = |values: &[f64]| values.iter().any(|value| value.is_infinite());
        let reach = most(self) * len(self) + most(other) * len(other);
        !reach.is_finite() || is_infinite(&self.custom_values) || is_infinite(&other.custom_values)
    }
}
