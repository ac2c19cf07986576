//! Operators that fold one column after the other into a group's: sum, avg, min, max, count,
//! group, stddev, stdvar. Within a step, series come in the order of the vector.

use crate::ast::AggregateOp;
use crate::eval::error::EvalError;
use crate::eval::value::{ABSENT, is_absent};
use crate::math::kahan::{Kahan, Mean};

/// A group's column while series are added.
#[derive(Debug)]
pub(super) enum Column {
    /// The one series of a sum or a mean, `None` until it is there.
    One { op: AggregateOp, values: Option<Vec<f64>> },
    /// The sum, `None` until there is a value.
    Sum(Vec<Option<Kahan>>),
    /// The mean.
    Avg(Vec<Option<Mean>>),
    /// The least or greatest.
    Extreme { greatest: bool, values: Vec<f64> },
    /// How many.
    Count(Vec<f64>),
    /// 1 if there is any.
    Group(Vec<f64>),
    /// The variance or its root.
    Variance { root: bool, values: Vec<Option<Spread>> },
}

/// Welford's running variance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    count: f64,
    mean: f64,
    square: f64,
}

impl Spread {
    fn new(first: f64) -> Self {
        // What is not finite has no distance from its mean, and poisons all that follow.
        Self { count: 1.0, mean: first, square: if first.is_finite() { 0.0 } else { f64::NAN } }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.square += delta * (value - self.mean);
    }
}

impl Column {
    /// A column of `len` steps without a value.
    pub(super) fn new(op: AggregateOp, len: usize) -> Result<Self, EvalError> {
        Ok(match op {
            AggregateOp::Sum | AggregateOp::Avg => Self::One { op, values: None },
            AggregateOp::Min => Self::Extreme { greatest: false, values: vec![ABSENT; len] },
            AggregateOp::Max => Self::Extreme { greatest: true, values: vec![ABSENT; len] },
            AggregateOp::Count => Self::Count(vec![0.0; len]),
            AggregateOp::Group => Self::Group(vec![ABSENT; len]),
            AggregateOp::Stddev => Self::Variance { root: true, values: vec![None; len] },
            AggregateOp::Stdvar => Self::Variance { root: false, values: vec![None; len] },
            _ => return Err(EvalError::internal("this operator does not fold")),
        })
    }

    /// Adds a series.
    pub(super) fn add(&mut self, column: &[f64]) {
        if let Self::One { values: values @ None, .. } = self {
            *values = Some(column.to_vec());
            return;
        }
        self.widen(column.len());
        match self {
            Self::One { .. } => {}
            Self::Sum(values) => fold(values, column, Kahan::new, Kahan::add),
            Self::Avg(values) => fold(values, column, Mean::new, Mean::add),
            Self::Variance { values, .. } => fold(values, column, Spread::new, Spread::add),
            Self::Extreme { greatest, values } => {
                let beats = |new: f64, old: f64| if *greatest { old < new } else { old > new };
                for (old, new) in values.iter_mut().zip(column) {
                    // The absent marker is a NaN too: the first value replaces it.
                    if !is_absent(*new) && (beats(*new, *old) || old.is_nan()) {
                        *old = *new;
                    }
                }
            }
            Self::Count(values) => {
                for (count, value) in values.iter_mut().zip(column) {
                    *count += f64::from(u8::from(!is_absent(*value)));
                }
            }
            Self::Group(values) => {
                for (group, value) in values.iter_mut().zip(column) {
                    if !is_absent(*value) {
                        *group = 1.0;
                    }
                }
            }
        }
    }

    /// The memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        fn of<T>(values: &[T]) -> u64 {
            size_of_val(values) as u64
        }
        match self {
            Self::One { values, .. } => of(values.as_deref().unwrap_or_default()),
            Self::Sum(values) => of(values),
            Self::Avg(values) => of(values),
            Self::Variance { values, .. } => of(values),
            Self::Extreme { values, .. } | Self::Count(values) | Self::Group(values) => of(values),
        }
    }

    /// Makes room for sums of several series.
    fn widen(&mut self, len: usize) {
        let Self::One { op, values } = self else { return };
        let values = values.take();
        *self = match op {
            AggregateOp::Avg => Self::Avg(vec![None; len]),
            _ => Self::Sum(vec![None; len]),
        };
        if let Some(values) = values {
            self.add(&values);
        }
    }

    /// Adds the series that were added to another column of the same operator.
    pub(super) fn absorb(&mut self, other: Self) {
        match other {
            Self::One { values, .. } => {
                if let Some(values) = values {
                    self.add(&values);
                }
            }
            Self::Extreme { values, .. } | Self::Group(values) => self.add(&values),
            Self::Sum(from) => {
                self.widen(from.len());
                if let Self::Sum(into) = self {
                    merge(into, from, Kahan::merge);
                }
            }
            Self::Avg(from) => {
                self.widen(from.len());
                if let Self::Avg(into) = self {
                    merge(into, from, Mean::merge);
                }
            }
            // Their digits depend on the order: they are folded at once.
            Self::Variance { .. } => {}
            Self::Count(from) => {
                if let Self::Count(into) = self {
                    into.iter_mut().zip(from).for_each(|(into, from)| *into += from);
                }
            }
        }
    }

    /// Counts something that is no float at this step; true if it does count.
    pub(super) fn count(&mut self, step: usize) -> bool {
        match self {
            Self::Count(values) => values[step] += 1.0,
            Self::Group(values) => values[step] = 1.0,
            _ => return false,
        }
        true
    }

    /// Whether a sum or a mean has a value at this step.
    pub(super) fn has(&self, step: usize) -> bool {
        match self {
            Self::One { values: Some(values), .. } => !is_absent(values[step]),
            Self::Sum(values) => values[step].is_some(),
            Self::Avg(values) => values[step].is_some(),
            _ => false,
        }
    }

    /// The group's values, at `len` steps.
    pub(super) fn finish(self, len: usize) -> Vec<f64> {
        match self {
            Self::One { values, .. } => {
                let mut values = values.unwrap_or_else(|| vec![ABSENT; len]);
                let present = values.iter_mut().filter(|value| !is_absent(**value));
                // As a sum of one value: there is no zero below zero.
                present.for_each(|value| *value += 0.0);
                values
            }
            Self::Sum(values) => finish(values, Kahan::total),
            Self::Avg(values) => finish(values, Mean::value),
            Self::Variance { root, values } => finish(values, |spread| {
                let variance = spread.square / spread.count;
                if root { variance.sqrt() } else { variance }
            }),
            Self::Extreme { values, .. } | Self::Group(values) => values,
            Self::Count(values) => {
                values.into_iter().map(|count| if count == 0.0 { ABSENT } else { count }).collect()
            }
        }
    }
}

fn fold<T>(
    states: &mut [Option<T>],
    column: &[f64],
    first: impl Fn(f64) -> T,
    add: impl Fn(&mut T, f64),
) {
    for (state, value) in states.iter_mut().zip(column) {
        if is_absent(*value) {
            continue;
        }
        match state {
            Some(state) => add(state, *value),
            None => *state = Some(first(*value)),
        }
    }
}

fn merge<T>(into: &mut [Option<T>], from: Vec<Option<T>>, merge: impl Fn(&mut T, T)) {
    for (into, from) in into.iter_mut().zip(from) {
        match (into.as_mut(), from) {
            (Some(into), Some(from)) => merge(into, from),
            (None, from) => *into = from,
            (Some(_), None) => {}
        }
    }
}

fn finish<T>(states: Vec<Option<T>>, value: impl Fn(T) -> f64) -> Vec<f64> {
    states.into_iter().map(|state| state.map_or(ABSENT, &value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(op: AggregateOp, columns: &[[f64; 2]]) -> Vec<f64> {
        let mut column = Column::new(op, 2).unwrap();
        columns.iter().for_each(|values| column.add(values));
        column.finish(2)
    }

    #[test]
    fn each_operator_folds_what_is_there() {
        let columns = [[1.0, ABSENT], [5.0, ABSENT], [f64::NAN, ABSENT]];
        assert!(folded(AggregateOp::Sum, &columns)[0].is_nan());
        assert_eq!(folded(AggregateOp::Max, &columns)[0], 5.0);
        assert_eq!(folded(AggregateOp::Min, &columns)[0], 1.0);
        assert_eq!(folded(AggregateOp::Count, &columns)[0], 3.0);
        assert_eq!(folded(AggregateOp::Group, &columns)[0], 1.0);
        assert_eq!(folded(AggregateOp::Avg, &columns[..2])[0], 3.0);
        assert_eq!(folded(AggregateOp::Stdvar, &columns[..2])[0], 4.0);
        assert_eq!(folded(AggregateOp::Stddev, &columns[..2])[0], 2.0);
        for op in [AggregateOp::Sum, AggregateOp::Max, AggregateOp::Count, AggregateOp::Avg] {
            assert!(is_absent(folded(op, &columns)[1]), "{op:?} of nothing is nothing");
        }
    }

    #[test]
    fn columns_of_parts_come_together_as_if_there_had_been_one() {
        use AggregateOp::{Avg, Count, Group, Max, Min, Sum};
        let columns = [[1.0, ABSENT], [5.0, -0.0], [ABSENT, ABSENT], [2.5, f64::NAN], [-4.0, 1e9]];
        for op in [Sum, Avg, Min, Max, Count, Group] {
            for cut in 0..=columns.len() {
                let mut parts = [&columns[..cut], &columns[cut..]].map(|part| {
                    let mut column = Column::new(op, 2).unwrap();
                    part.iter().for_each(|values| column.add(values));
                    column
                });
                let more = std::mem::replace(&mut parts[1], Column::new(op, 2).unwrap());
                parts[0].absorb(more);
                let [of_parts, _] = parts.map(|column| column.finish(2));
                for (is, expected) in of_parts.iter().zip(folded(op, &columns)) {
                    let both_nan = is.is_nan() && expected.is_nan();
                    assert!(both_nan || (is - expected).abs() < 1e-12, "{op:?} at {cut}: {is}");
                    assert_eq!(is_absent(*is), is_absent(expected), "{op:?} at {cut}");
                }
            }
        }
    }

    #[test]
    fn only_nan_makes_a_maximum_of_nan() {
        assert!(folded(AggregateOp::Max, &[[f64::NAN; 2], [f64::NAN; 2]])[0].is_nan());
        assert!(folded(AggregateOp::Stdvar, &[[f64::INFINITY; 2], [1.0; 2]])[0].is_nan());
    }
}
