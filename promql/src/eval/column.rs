//! Loops over columns.

use super::budget::{Budget, PIECE};
use super::error::EvalError;
use super::value::{Series, is_absent};

/// Replaces each value that is there; `f` knows the step.
pub(crate) fn map(
    budget: &Budget<'_>,
    values: &mut [f64],
    f: impl Fn(usize, f64) -> f64,
) -> Result<(), EvalError> {
    for (piece, values) in values.chunks_mut(PIECE).enumerate() {
        budget.tick(values.len())?;
        for (step, value) in (piece * PIECE..).zip(values) {
            if !is_absent(*value) {
                *value = f(step, *value);
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

    /// Whether a step is one of both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(word, other)| word & other != 0)
    }

    /// Whether the step is one of them.
    #[inline]
    pub(crate) fn has(&self, step: usize) -> bool {
        self.words[step / 64] >> (step % 64) & 1 == 1
    }
}
