//! Where buckets end.

use model::histogram::CUSTOM_BUCKETS;

/// Two bounds that differ less than this, relatively, are one bound that two programs have rounded
/// differently. The finest buckets are 0.27 % wide.
const SAME: f64 = 2e-15;

/// The upper bound of an exponential bucket: 2^(index/2^schema). The last bucket for finite values
/// ends at the greatest of them; what lies above holds the infinities.
pub(super) fn exponential(index: i32, schema: i8) -> f64 {
    let exponent = f64::from(index) * f64::from(-i32::from(schema)).exp2();
    if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
}

/// The upper bound of a bucket.
pub(super) fn upper(index: i32, schema: i8, custom_values: &[f64]) -> f64 {
    if schema != CUSTOM_BUCKETS {
        return exponential(index, schema);
    }
    match usize::try_from(index) {
        Ok(index) => custom_values.get(index).copied().unwrap_or(f64::INFINITY),
        Err(_) => f64::NEG_INFINITY,
    }
}

/// The bucket of a lower resolution that this one is part of.
pub(super) fn reduced(index: i32, from: i8, to: i8) -> i32 {
    let halvings = i32::from(from).saturating_sub(i32::from(to)).clamp(0, 31);
    (index.saturating_sub(1) >> halvings).saturating_add(1)
}

/// Whether `a` lies above `b`, and not only by rounding.
pub(super) fn is_above(a: f64, b: f64) -> bool {
    a > b && (a - b > SAME * b.abs() || a.is_infinite())
}

/// The bounds that both lists have.
pub(super) fn common(a: &[f64], b: &[f64]) -> Vec<f64> {
    let (mut i, mut j, mut common) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        let (is_first_less, is_second_less) = (a[i] < b[j], b[j] < a[i]);
        if !is_first_less && !is_second_less {
            common.push(a[i]);
        }
        i += usize::from(!is_second_less);
        j += usize::from(!is_first_less);
    }
    common
}

/// Which bucket among `coarse` a bucket among `fine` becomes part of: the first that reaches as far.
pub(super) fn within(index: i32, fine: &[f64], coarse: &[f64]) -> i32 {
    let end = upper(index, CUSTOM_BUCKETS, fine);
    let place = coarse.partition_point(|bound| *bound < end);
    i32::try_from(place).unwrap_or(i32::MAX)
}
