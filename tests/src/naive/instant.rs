//! Functions of one number.

use std::f64::consts::PI;

/// What the function `name` makes of a number; `None` if it is no such function.
pub(super) fn apply(name: &str, value: f64) -> Option<f64> {
    Some(match name {
        "abs" => value.abs(),
        "ceil" => value.ceil(),
        "floor" => value.floor(),
        "exp" => value.exp(),
        "sqrt" => value.sqrt(),
        "ln" => value.ln(),
        "log2" => value.log2(),
        "log10" => value.log10(),
        "sin" => value.sin(),
        "cos" => value.cos(),
        "tan" => value.tan(),
        "asin" => value.asin(),
        "acos" => value.acos(),
        "atan" => value.atan(),
        "sinh" => value.sinh(),
        "cosh" => value.cosh(),
        "tanh" => value.tanh(),
        "asinh" => value.asinh(),
        "acosh" => value.acosh(),
        "atanh" => value.atanh(),
        "rad" => value * PI / 180.0,
        "deg" => value * 180.0 / PI,
        "sgn" if value > 0.0 => 1.0,
        "sgn" if value < 0.0 => -1.0,
        "sgn" => value,
        _ => return None,
    })
}

/// The moment a number stands for, in seconds. Go makes the least integer of what none can hold, and
/// counting from there wraps around to the last moment there is.
pub(super) fn seconds(value: f64) -> i64 {
    if value.is_nan() || value.abs() >= 9_223_372_036_854_775_808.0 {
        return i64::MAX;
    }
    #[expect(clippy::cast_possible_truncation, reason = "its range is checked above")]
    let seconds = value as i64;
    seconds
}

/// To the nearest multiple, up from the middle.
pub(super) fn round(value: f64, to: f64) -> f64 {
    let inverse = 1.0 / to;
    (value * inverse + 0.5).floor() / inverse
}
