//! Conversions between floats and integers, each with its rule for what does not fit.

/// Milliseconds as seconds.
pub(crate) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// Toward zero; what does not fit is kept at the border, NaN is 0.
#[expect(clippy::cast_possible_truncation, reason = "that is what this function is for")]
pub(crate) fn to_i64(value: f64) -> i64 {
    value as i64
}

/// Toward zero; what does not fit, NaN too, is the greatest integer. Go makes the least one of it,
/// and counting seconds from there its calendar wraps around to the last moment there is.
pub(crate) fn to_moment(value: f64) -> i64 {
    if value.is_nan() || value < -9_223_372_036_854_775_808.0 { i64::MAX } else { to_i64(value) }
}

/// Toward zero; below zero and NaN are 0.
pub(crate) fn to_index(value: f64) -> usize {
    usize::try_from(to_i64(value)).unwrap_or(0)
}
