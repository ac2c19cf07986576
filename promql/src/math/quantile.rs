//! The quantile of a list: linear between ranks, NaN the smallest value there is.

use std::cmp::Ordering;

/// NaN first, then ascending.
pub(crate) fn nan_first(a: &f64, b: &f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
    }
}

/// The `q`-quantile of `values`, which are put into order.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if (0.0..=1.0).contains(&q) {
        values.sort_unstable_by(nan_first);
    }
    quantile_of(q, values.len(), |place| values[place])
}

/// The `q`-quantile of `len` values, of which `at` tells each by its place in their order. Below 0
/// it is -Inf, above 1 +Inf, of nothing or for a NaN it is NaN.
pub(crate) fn quantile_of(q: f64, len: usize, at: impl Fn(usize) -> f64) -> f64 {
    if len == 0 || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = len - 1;
    let rank = q * (last as f64);
    let weight = rank - rank.floor();
    let lower = super::convert::to_index(rank.floor()).min(last);
    let upper = (lower + 1).min(last);
    at(lower) * (1.0 - weight) + at(upper) * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_joined_by_a_line_and_nan_is_the_smallest() {
        assert_eq!(quantile(0.5, &mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(1.0, &mut [4.0, 1.0, f64::NAN]), 4.0);
        assert!(quantile(0.0, &mut [4.0, f64::NAN]).is_nan());
        assert_eq!(quantile(-0.1, &mut [1.0]), f64::NEG_INFINITY);
        assert_eq!(quantile(1.1, &mut [1.0]), f64::INFINITY);
        assert!(quantile(0.5, &mut []).is_nan());
    }
}
