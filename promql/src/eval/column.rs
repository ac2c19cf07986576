//! Loops over columns.

use super::budget::{Budget, PIECE};
use super::error::EvalError;
use super::value::{Series, is_absent};

/// Replaces each value that is there; `f` knows the step. A NaN of any bits stays a value: `f` may turn the
/// sign of one into that of what is absent.
pub(crate) fn map(
    budget: &Budget<'_>,
    values: &mut [f64],
    f: impl Fn(usize, f64) -> f64,
) -> Result<(), EvalError> {
    for (piece, values) in values.chunks_mut(PIECE).enumerate() {
        budget.tick(values.len())?;
        for (step, value) in (piece * PIECE..).zip(values) {
            if !is_absent(*value) {
                let new = f(step, *value);
                *value = if is_absent(new) { f64::NAN } else { new };
            }
        }
    }
    Ok(())
}

/// At which steps something is there.
#[derive(Clone, Debug)]
pub(crate) struct Steps {
    words: Vec<u64>,
}

impl Steps {
    /// None of `len` steps.
    pub(crate) fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)] }
    }

    /// Adds a step.
    pub(crate) fn put(&mut self, step: usize) {
        self.words[step / 64] |= 1 << (step % 64);
    }

    /// Adds the steps at which the series has a sample.
    pub(crate) fn add(&mut self, series: &Series) {
        for (word, chunk) in self.words.iter_mut().zip(series.values.chunks(64)) {
            for (bit, value) in chunk.iter().enumerate() {
                *word |= u64::from(!is_absent(*value)) << bit;
            }
        }
        for (step, _) in series.histogram_steps() {
            self.put(step);
        }
    }

    /// Whether the step is one of them.
    #[inline]
    pub(crate) fn has(&self, step: usize) -> bool {
        self.words[step / 64] >> (step % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::params::{Cancel, Limits};
    use crate::eval::value::ABSENT;

    #[test]
    fn a_nan_with_the_bits_of_absence_under_another_sign_stays_a_value() {
        let going = Cancel::default();
        let mut values = [-ABSENT, ABSENT, 1.0];
        map(&Budget::new(Limits::default(), &going), &mut values, |_, value| -value).unwrap();
        assert!(values[0].is_nan() && !is_absent(values[0]));
        assert!(is_absent(values[1]));
        assert_eq!(values[2], -1.0);
    }
}
