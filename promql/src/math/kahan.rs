//! Neumaier's compensated sum, step by step as Prometheus does it: no fused multiply-add, no
//! reordering, and the compensation is dropped once the sum is infinite.

/// A running sum and its compensation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Kahan {
    /// The sum so far, without the compensation.
    pub(crate) sum: f64,
    /// What the sum lost by rounding.
    pub(crate) compensation: f64,
}

impl Kahan {
    /// A sum that starts at `sum`.
    pub(crate) fn new(sum: f64) -> Self {
        Self { sum, compensation: 0.0 }
    }

    /// Adds `value`.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - total) + value;
        } else {
            self.compensation += (value - total) + self.sum;
        }
        self.sum = total;
    }

    /// Adds the sum of other values.
    #[inline]
    pub(crate) fn merge(&mut self, other: Self) {
        self.add(other.sum);
        if !self.sum.is_infinite() {
            self.compensation += other.compensation;
        }
    }

    /// The sum with its compensation.
    #[inline]
    pub(crate) fn total(self) -> f64 {
        self.sum + self.compensation
    }
}

/// A mean that is a plain sum divided by the count until that sum would overflow, and moves on as
/// an incremental mean from there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    sum: Kahan,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// The mean of one value.
    #[inline]
    pub(crate) fn new(first: f64) -> Self {
        Self { sum: Kahan::new(first), count: 1.0, incremental: false }
    }

    /// Takes `value` into the mean.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.sum;
            next.add(value);
            if !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            self.incremental = true;
            self.sum.sum /= self.count - 1.0;
            self.sum.compensation /= self.count - 1.0;
        }
        let weight = (self.count - 1.0) / self.count;
        self.sum.sum *= weight;
        self.sum.compensation *= weight;
        self.sum.add(value / self.count);
    }

    /// Takes the mean of other values into the mean.
    pub(crate) fn merge(&mut self, other: Self) {
        let count = self.count + other.count;
        let mut sum = self.sum;
        sum.merge(other.sum);
        if self.incremental || other.incremental || sum.sum.is_infinite() {
            let weigh = |mean: Self| {
                let weight = if mean.incremental { mean.count / count } else { 1.0 / count };
                Kahan { sum: mean.sum.sum * weight, compensation: mean.sum.compensation * weight }
            };
            sum = weigh(*self);
            sum.merge(weigh(other));
            self.incremental = true;
        }
        (self.sum, self.count) = (sum, count);
    }

    /// The mean of what was added.
    #[inline]
    pub(crate) fn value(self) -> f64 {
        if self.incremental {
            return self.sum.total();
        }
        self.sum.sum / self.count + self.sum.compensation / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = Kahan::default();
        values.iter().for_each(|value| sum.add(*value));
        sum.total()
    }

    fn mean(values: &[f64]) -> f64 {
        let mut mean = Mean::new(values[0]);
        values[1..].iter().for_each(|value| mean.add(*value));
        mean.value()
    }

    #[test]
    fn what_rounding_loses_comes_back() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn sums_and_means_of_parts_are_those_of_all() {
        let inf = f64::INFINITY;
        let lists: [&[f64]; 7] = [
            &[1.0, 1e100, 1.0, -1e100],
            &[f64::MAX, f64::MAX, f64::MAX],
            &[1.0, 2.0, 6.0],
            &[inf, 1.0, 2.0],
            &[1.0, inf, -inf],
            &[1.0, f64::NAN, 2.0],
            &[f64::MAX, -f64::MAX, f64::MAX, f64::MAX],
        ];
        let is_near = |a: f64, b: f64| (a - b).abs() <= a.abs() * 1e-15;
        let same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan() || is_near(a, b);
        for values in lists {
            for cut in 1..values.len() {
                let (left, right) = values.split_at(cut);
                let of = |part: &[f64]| {
                    let (mut sum, mut mean) = (Kahan::default(), Mean::new(part[0]));
                    part.iter().for_each(|value| sum.add(*value));
                    part[1..].iter().for_each(|value| mean.add(*value));
                    (sum, mean)
                };
                let ((mut all, mut means), (more, mean_of_more)) = (of(left), of(right));
                all.merge(more);
                means.merge(mean_of_more);
                assert!(same(all.total(), sum(values)), "{values:?} at {cut}: {all:?}");
                assert!(same(means.value(), mean(values)), "{values:?} at {cut}: {means:?}");
            }
        }
    }

    #[test]
    fn a_mean_does_not_overflow_where_the_sum_would() {
        assert_eq!(mean(&[f64::MAX, f64::MAX]), f64::MAX);
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(mean(&[f64::INFINITY, 1.0]), f64::INFINITY);
    }
}
