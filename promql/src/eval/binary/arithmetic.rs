//! What an operator makes of two floats.

use crate::ast::BinaryOp;
use std::cmp::Ordering;

/// The result of an operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    /// A number.
    Value(f64),
    /// Whether a comparison holds.
    Compared(bool),
}

/// Applies an arithmetic operator or a comparison. Trimming and set operators have no meaning for
/// floats: they never come here.
#[inline]
pub(super) fn apply(op: BinaryOp, a: f64, b: f64) -> Outcome {
    use Outcome::{Compared, Value};
    let order = a.partial_cmp(&b);
    match op {
        BinaryOp::Add => Value(a + b),
        BinaryOp::Sub => Value(a - b),
        BinaryOp::Mul => Value(a * b),
        BinaryOp::Div => Value(a / b),
        BinaryOp::Mod => Value(a % b),
        BinaryOp::Pow => Value(a.powf(b)),
        BinaryOp::Atan2 => Value(a.atan2(b)),
        BinaryOp::Equal => Compared(order == Some(Ordering::Equal)),
        BinaryOp::NotEqual => Compared(order != Some(Ordering::Equal)),
        BinaryOp::Less => Compared(order == Some(Ordering::Less)),
        BinaryOp::LessEqual => Compared(matches!(order, Some(Ordering::Less | Ordering::Equal))),
        BinaryOp::Greater => Compared(order == Some(Ordering::Greater)),
        BinaryOp::GreaterEqual => {
            Compared(matches!(order, Some(Ordering::Greater | Ordering::Equal)))
        }
        BinaryOp::TrimUpper
        | BinaryOp::TrimLower
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless => Value(f64::NAN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_comparison_but_inequality_holds_for_nan() {
        use BinaryOp::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
        for op in [Equal, Less, LessEqual, Greater, GreaterEqual] {
            assert_eq!(apply(op, f64::NAN, f64::NAN), Outcome::Compared(false), "{op:?}");
        }
        assert_eq!(apply(NotEqual, f64::NAN, f64::NAN), Outcome::Compared(true));
    }

    #[test]
    fn the_remainder_has_the_sign_of_the_dividend() {
        assert_eq!(apply(BinaryOp::Mod, -7.0, 3.0), Outcome::Value(-1.0));
        assert_eq!(apply(BinaryOp::Pow, 2.0, 10.0), Outcome::Value(1024.0));
    }
}
