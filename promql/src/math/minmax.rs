//! Minimum and maximum as Go has them: the infinity that wins over every number wins over NaN too,
//! NaN wins over numbers, and -0 is less than 0.

/// The smaller one; NaN if either is, unless the other is -Inf.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if a == 0.0 && b == 0.0 {
        return if a.is_sign_negative() { a } else { b };
    }
    a.min(b)
}

/// The greater one; NaN if either is, unless the other is +Inf.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    -min(-a, -b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_wins_over_every_number() {
        assert!(min(f64::NAN, 1.0).is_nan() && max(1.0, f64::NAN).is_nan());
        assert_eq!(min(1.0, f64::INFINITY), 1.0);
        assert_eq!(min(f64::NAN, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert_eq!(max(f64::INFINITY, f64::NAN), f64::INFINITY);
        assert!(min(f64::INFINITY, f64::NAN).is_nan());
        assert!(min(0.0, -0.0).is_sign_negative() && max(-0.0, 0.0).is_sign_positive());
    }
}
