//! The functions of the language: names, argument types, what they return. Evaluates nothing.

use crate::ast::ValueType;
use ValueType::{Matrix, Scalar, String, Vector};

/// How many arguments a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// As many as there are argument types.
    Exact,
    /// The last may be missing.
    LastOptional,
    /// The last may be missing or occur up to this many times.
    UpTo(usize),
    /// The last may be missing or occur any number of times.
    AnyNumber,
}

/// A function of the language.
#[derive(Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments; the last one's is that of all further ones.
    pub args: &'static [ValueType],
    /// How many arguments it takes.
    pub arity: Arity,
    /// What it returns.
    pub returns: ValueType,
    /// Whether it needs the experimental functions switched on.
    pub experimental: bool,
}

impl Signature {
    /// The fewest arguments it takes.
    #[must_use]
    pub fn args_min(&self) -> usize {
        match self.arity {
            Arity::Exact => self.args.len(),
            _ => self.args.len() - 1,
        }
    }

    /// The most arguments it takes, if there is a limit.
    #[must_use]
    pub fn args_max(&self) -> Option<usize> {
        match self.arity {
            Arity::Exact | Arity::LastOptional => Some(self.args.len()),
            Arity::UpTo(times) => Some(self.args.len() - 1 + times),
            Arity::AnyNumber => None,
        }
    }
}

/// The function called `name`, if there is one.
#[must_use]
pub fn signature(name: &str) -> Option<&'static Signature> {
    let index = SIGNATURES.binary_search_by(|have| have.name.cmp(name)).ok()?;
    SIGNATURES.get(index)
}

const fn exact(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Signature {
    Signature { name, args, arity: Arity::Exact, returns, experimental: false }
}

const fn vector(name: &'static str) -> Signature {
    exact(name, &[Vector], Vector)
}

const fn over_time(name: &'static str) -> Signature {
    exact(name, &[Matrix], Vector)
}

const fn date(name: &'static str) -> Signature {
    with(Arity::LastOptional, vector(name))
}

const fn with(arity: Arity, signature: Signature) -> Signature {
    Signature { arity, ..signature }
}

const fn experimental(signature: Signature) -> Signature {
    Signature { experimental: true, ..signature }
}

/// Every function, ascending by name.
pub static SIGNATURES: &[Signature] = &[
    vector("abs"),
    vector("absent"),
    over_time("absent_over_time"),
    vector("acos"),
    vector("acosh"),
    vector("asin"),
    vector("asinh"),
    vector("atan"),
    vector("atanh"),
    over_time("avg_over_time"),
    vector("ceil"),
    over_time("changes"),
    exact("clamp", &[Vector, Scalar, Scalar], Vector),
    exact("clamp_max", &[Vector, Scalar], Vector),
    exact("clamp_min", &[Vector, Scalar], Vector),
    vector("cos"),
    vector("cosh"),
    over_time("count_over_time"),
    date("day_of_month"),
    date("day_of_week"),
    date("day_of_year"),
    date("days_in_month"),
    vector("deg"),
    over_time("delta"),
    over_time("deriv"),
    experimental(exact("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector)),
    experimental(exact("end", &[], Scalar)),
    vector("exp"),
    over_time("first_over_time"),
    vector("floor"),
    vector("histogram_avg"),
    vector("histogram_count"),
    exact("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    exact("histogram_quantile", &[Scalar, Vector], Vector),
    experimental(with(
        Arity::UpTo(9),
        exact("histogram_quantiles", &[Vector, String, Scalar, Scalar], Vector),
    )),
    vector("histogram_stddev"),
    vector("histogram_stdvar"),
    vector("histogram_sum"),
    date("hour"),
    over_time("idelta"),
    over_time("increase"),
    experimental(with(Arity::LastOptional, exact("info", &[Vector, Vector], Vector))),
    over_time("irate"),
    with(Arity::AnyNumber, exact("label_join", &[Vector, String, String, String], Vector)),
    exact("label_replace", &[Vector, String, String, String, String], Vector),
    over_time("last_over_time"),
    vector("ln"),
    vector("log10"),
    vector("log2"),
    experimental(over_time("mad_over_time")),
    experimental(exact("max_of", &[Scalar, Scalar], Scalar)),
    over_time("max_over_time"),
    experimental(exact("min_of", &[Scalar, Scalar], Scalar)),
    over_time("min_over_time"),
    date("minute"),
    date("month"),
    exact("pi", &[], Scalar),
    exact("predict_linear", &[Matrix, Scalar], Vector),
    over_time("present_over_time"),
    exact("quantile_over_time", &[Scalar, Matrix], Vector),
    vector("rad"),
    experimental(exact("range", &[], Scalar)),
    over_time("rate"),
    over_time("resets"),
    with(Arity::LastOptional, exact("round", &[Vector, Scalar], Vector)),
    exact("scalar", &[Vector], Scalar),
    vector("sgn"),
    vector("sin"),
    vector("sinh"),
    vector("sort"),
    experimental(with(Arity::AnyNumber, exact("sort_by_label", &[Vector, String], Vector))),
    experimental(with(Arity::AnyNumber, exact("sort_by_label_desc", &[Vector, String], Vector))),
    vector("sort_desc"),
    vector("sqrt"),
    experimental(exact("start", &[], Scalar)),
    experimental(vector("start_timestamp")),
    over_time("stddev_over_time"),
    over_time("stdvar_over_time"),
    experimental(exact("step", &[], Scalar)),
    over_time("sum_over_time"),
    vector("tan"),
    vector("tanh"),
    exact("time", &[], Scalar),
    vector("timestamp"),
    experimental(over_time("ts_of_first_over_time")),
    experimental(over_time("ts_of_last_over_time")),
    experimental(over_time("ts_of_max_over_time")),
    experimental(over_time("ts_of_min_over_time")),
    exact("vector", &[Scalar], Vector),
    date("year"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_ninety_functions_in_order_and_each_is_found() {
        assert_eq!(SIGNATURES.len(), 90);
        assert!(SIGNATURES.is_sorted_by(|a, b| a.name < b.name));
        assert!(SIGNATURES.iter().all(|have| signature(have.name) == Some(have)));
        assert_eq!(SIGNATURES.iter().filter(|have| have.experimental).count(), 17);
        assert_eq!(signature("nope"), None);
    }
}
