//! What an evaluation has in memory, against its limits; and the points where it may stop.
//!
//! Samples are counted as Prometheus counts them: the samples that exist, of everything that is
//! alive at one time. Bytes are those of our columns, present or not.

use crate::eval::error::EvalError;
use crate::eval::params::{Cancel, Limits};
use crate::eval::value::{Val, samples_of};
use std::cell::Cell;

/// Items between two looks at the stop signal.
const TICKS: u64 = 1_024;
/// Loops over columns work on so many items between two looks: less than a millisecond.
pub(crate) const PIECE: usize = 1 << 16;

/// What an evaluation has in memory.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    limits: Limits,
    cancel: &'a Cancel,
    samples: Cell<u64>,
    bytes: Cell<u64>,
    /// Bytes of what is kept aside, whatever node is evaluated.
    held: Cell<u64>,
    /// What of the bytes is taken from the memory of all evaluations; never less than they are.
    reserved: Cell<u64>,
    ticks: Cell<u64>,
}

/// Memory is reserved in pieces of so many bytes.
const PIECE_BYTES: u64 = 64 << 10;

/// What was in memory at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    samples: u64,
    bytes: u64,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(limits: Limits, cancel: &'a Cancel) -> Self {
        let zero = || Cell::new(0);
        let (samples, bytes, held, reserved, ticks) = (zero(), zero(), zero(), zero(), zero());
        Self { limits, cancel, samples, bytes, held, reserved, ticks }
    }

    /// What may still be used.
    pub(crate) fn left(&self) -> Limits {
        Limits {
            samples_max: self.limits.samples_max.saturating_sub(self.samples.get()),
            bytes_max: self
                .limits
                .bytes_max
                .saturating_sub(self.bytes.get().saturating_add(self.held.get())),
            ..self.limits
        }
    }

    /// The stop signal.
    pub(crate) fn cancel(&self) -> &'a Cancel {
        self.cancel
    }

    /// Says that `items` were worked on; looks at the stop signal now and then.
    pub(crate) fn tick(&self, items: usize) -> Result<(), EvalError> {
        let ticks = self.ticks.get() + items as u64 + 1;
        if ticks < TICKS {
            self.ticks.set(ticks);
            return Ok(());
        }
        self.ticks.set(0);
        self.cancel.check()
    }

    /// Looks at the stop signal.
    pub(crate) fn check(&self) -> Result<(), EvalError> {
        self.cancel.check()
    }

    /// Takes memory for columns of so many values.
    pub(crate) fn take_column(&self, len: usize) -> Result<(), EvalError> {
        self.take_bytes((len as u64).saturating_mul(8))?;
        self.tick(len)
    }

    /// A column of so many equal values.
    pub(crate) fn column(&self, value: f64, len: usize) -> Result<Vec<f64>, EvalError> {
        self.column_of(std::iter::repeat_n(value, len))
    }

    /// A column of these values. Whoever leaves meanwhile does not wait for gigabytes.
    pub(crate) fn column_of(
        &self,
        mut values: impl ExactSizeIterator<Item = f64>,
    ) -> Result<Vec<f64>, EvalError> {
        let len = values.len();
        self.take_column(len)?;
        let mut column = Vec::with_capacity(len);
        while column.len() < len {
            let piece = PIECE.min(len - column.len());
            column.extend(values.by_ref().take(piece));
            self.tick(piece)?;
        }
        Ok(column)
    }

    /// Takes memory for texts or anything else.
    pub(crate) fn take_bytes(&self, bytes: u64) -> Result<(), EvalError> {
        let bytes = self.bytes.get().saturating_add(bytes);
        let with_held = bytes.saturating_add(self.held.get());
        if with_held > self.limits.bytes_max {
            return Err(EvalError::TooManyBytes(self.limits.bytes_max));
        }
        self.reserve(with_held)?;
        self.bytes.set(bytes);
        Ok(())
    }

    /// Keeps so many bytes aside.
    pub(crate) fn hold(&self, bytes: u64) -> Result<(), EvalError> {
        self.held.set(self.held.get().saturating_add(bytes));
        self.take_bytes(0)
    }

    /// What was kept aside is so no longer.
    pub(crate) fn let_go(&self, bytes: u64) {
        self.held.set(self.held.get().saturating_sub(bytes));
    }

    /// Sees to it that so many bytes are taken from the memory of all evaluations.
    fn reserve(&self, bytes: u64) -> Result<(), EvalError> {
        let reserved = self.reserved.get();
        let (Some(meter), true) = (self.cancel.meter(), bytes > reserved) else { return Ok(()) };
        let more = (bytes - reserved).next_multiple_of(PIECE_BYTES);
        if !meter.reserve(more) {
            return Err(EvalError::OutOfMemory(more));
        }
        self.reserved.set(reserved + more);
        Ok(())
    }

    /// Takes so many samples into the count.
    pub(crate) fn take_samples(&self, count: u64) -> Result<(), EvalError> {
        let samples = self.samples.get().saturating_add(count);
        self.samples.set(samples);
        self.fits(0)
    }

    /// Has from now on what was taken elsewhere.
    pub(crate) fn adopt(&self, mut kept: Kept<'_>) {
        let bytes = if self.cancel.meter().is_some() { std::mem::take(&mut kept.bytes) } else { 0 };
        self.reserved.set(self.reserved.get().saturating_add(bytes));
    }

    /// Whether so many samples more would fit.
    pub(crate) fn fits(&self, more: u64) -> Result<(), EvalError> {
        let samples = self.samples.get().saturating_add(more);
        if samples > self.limits.samples_max {
            return Err(EvalError::TooManySamples);
        }
        if let Some(meter) = self.cancel.meter() {
            meter.see_samples(samples);
        }
        Ok(())
    }

    /// Whether so many steps are ones that a query may ask for: a series that is there at each of
    /// them has to fit.
    pub(crate) fn check_steps(&self, len: usize) -> Result<(), EvalError> {
        if len as u64 > self.limits.samples_max {
            return Err(EvalError::TooManySamples);
        }
        if len as u64 > self.limits.bytes_max / 8 {
            return Err(EvalError::TooManyBytes(self.limits.bytes_max));
        }
        Ok(())
    }

    /// What is in memory now.
    pub(crate) fn mark(&self) -> Mark {
        Mark { samples: self.samples.get(), bytes: self.bytes.get() }
    }

    /// After a node's evaluation: its inputs are gone, its result is there.
    pub(crate) fn settle(&self, before: Mark, result: &Val) -> Result<(), EvalError> {
        let samples = match result {
            Val::Vector(vector) => samples_of(vector),
            Val::Scalar(scalar) => scalar.distinct().len() as u64,
            Val::Text(_) => 0,
        };
        // For a moment the inputs and the result are in memory together.
        self.fits(samples)?;
        self.samples.set(before.samples.saturating_add(samples));
        let bytes = before.bytes.saturating_add(result.bytes());
        self.reserve(bytes.saturating_add(self.held.get()))?;
        self.bytes.set(bytes);
        Ok(())
    }
}

/// Bytes of the memory of all evaluations; given back when dropped.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    cancel: &'a Cancel,
    bytes: u64,
}

impl<'a> Kept<'a> {
    /// Takes them.
    pub(crate) fn new(cancel: &'a Cancel, bytes: u64) -> Result<Self, EvalError> {
        match cancel.meter() {
            Some(meter) if !meter.reserve(bytes) => Err(EvalError::OutOfMemory(bytes)),
            _ => Ok(Self { cancel, bytes }),
        }
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if let Some(meter) = self.cancel.meter() {
            meter.release(self.bytes);
        }
    }
}

impl Drop for Budget<'_> {
    fn drop(&mut self) {
        if let Some(meter) = self.cancel.meter() {
            meter.release(self.reserved.get());
        }
    }
}
