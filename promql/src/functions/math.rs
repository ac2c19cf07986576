//! Functions of one float.

/// The function called `name`, if it maps one float to one float.
pub(super) fn of_one(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => asinh,
        "acosh" => acosh,
        "atanh" => f64::atanh,
        "rad" => |degrees| degrees * std::f64::consts::PI / 180.0,
        "deg" => |radians| radians * 180.0 / std::f64::consts::PI,
        "sgn" => sign,
        _ => return None,
    })
}

/// From here on the square of a number drowns the 1 that is added to it.
const LARGE: f64 = 268_435_456.0;

/// As the standard's, also where twice the number is no float any more.
fn asinh(value: f64) -> f64 {
    match value.abs() {
        large if large > LARGE => (large.ln() + std::f64::consts::LN_2).copysign(value),
        _ => value.asinh(),
    }
}

/// As [`asinh`].
fn acosh(value: f64) -> f64 {
    if value > LARGE { value.ln() + std::f64::consts::LN_2 } else { value.acosh() }
}

/// 1 or -1; zero and NaN stay as they are.
fn sign(value: f64) -> f64 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_have_inverses_of_hyperbolic_functions() {
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-13 * b.abs();
        for function in [asinh, acosh] {
            assert!(close(function(1.7e308), 710.419_984_073_788_1), "{}", function(1.7e308));
            // Both ways of reckoning meet.
            assert!(close(function(LARGE * 1.000_001), function(LARGE * 0.999_999) + 2e-6));
            assert_eq!(function(f64::INFINITY), f64::INFINITY);
            assert!(function(f64::NAN).is_nan());
        }
        assert!(close(asinh(-1.7e308), -asinh(1.7e308)));
        assert!(acosh(0.5).is_nan());
        assert_eq!((asinh(-0.0).to_bits(), acosh(1.0)), ((-0.0_f64).to_bits(), 0.0));
    }

    #[test]
    fn the_sign_of_nothing_is_nothing() {
        assert!(sign(f64::NAN).is_nan() && sign(-0.0).is_sign_negative());
        assert_eq!((sign(-3.0), sign(0.5)), (-1.0, 1.0));
        assert!(of_one("rate").is_none());
    }
}
