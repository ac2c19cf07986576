//! What an operator makes of two samples of which at least one is a histogram, and what there is
//! to say about it.

use crate::annotations::{Annotations, Operation};
use crate::ast::BinaryOp;
use crate::eval::column::Steps;
use crate::eval::evaluator::Evaluator;
use crate::histogram::{FloatHistogram, Merged, MixedBuckets};
use crate::span::Span;
use model::histogram::ResetHint;
use std::sync::Arc;

/// A sample of either kind.
#[derive(Clone, Copy)]
pub(super) enum Operand<'a> {
    Float(f64),
    Histogram(&'a Arc<FloatHistogram>),
}

impl Operand<'_> {
    fn kind(self) -> &'static str {
        match self {
            Self::Float(_) => "float",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// What comes of two samples.
pub(super) enum Element {
    /// A new histogram.
    Histogram(FloatHistogram),
    /// Whether a comparison holds.
    Compared(bool),
    /// Nothing: they do not go together.
    Failed,
}

/// Something to say about two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The operator does not work on these kinds.
    Kinds(&'static str, &'static str),
    /// Exponential and custom buckets.
    Buckets,
    /// A reset and none.
    Hints(Operation),
    /// Different custom values.
    Bounds(Operation),
}

impl Note {
    fn tell(self, notes: &mut Annotations, op: BinaryOp, span: Span) {
        match self {
            Self::Kinds(left, right) => notes.incompatible_types(left, op.as_str(), right, span),
            Self::Buckets => notes.incompatible_buckets(op.as_str(), span),
            Self::Hints(operation) => notes.hints_conflict(operation, span),
            Self::Bounds(operation) => notes.bounds_differed(operation, span),
        }
    }
}

/// Applies an arithmetic operator, a comparison or a trim.
pub(super) fn apply(
    op: BinaryOp,
    left: Operand<'_>,
    right: Operand<'_>,
) -> (Element, Option<Note>) {
    use Operand::{Float, Histogram};
    let changed = |histogram: &FloatHistogram, change: &dyn Fn(&mut FloatHistogram)| {
        let mut histogram = histogram.clone();
        change(&mut histogram);
        (Element::Histogram(histogram), None)
    };
    match (op, left, right) {
        (BinaryOp::Mul, Histogram(histogram), Float(factor))
        | (BinaryOp::Mul, Float(factor), Histogram(histogram)) => changed(histogram, &|of| {
            of.scale(factor);
            of.compact();
        }),
        (BinaryOp::Div, Histogram(histogram), Float(by)) => changed(histogram, &|of| {
            of.divide(by);
            of.compact();
        }),
        (BinaryOp::TrimUpper, Histogram(histogram), Float(value)) => {
            changed(histogram, &|of| of.trim_upper(value))
        }
        (BinaryOp::TrimLower, Histogram(histogram), Float(value)) => {
            changed(histogram, &|of| of.trim_lower(value))
        }
        (BinaryOp::Add, Histogram(left), Histogram(right)) => {
            let mut sum = FloatHistogram::clone(left);
            let merged = sum.add(right);
            finished(sum, merged, Operation::Addition)
        }
        (BinaryOp::Sub, Histogram(left), Histogram(right)) => {
            let mut difference = FloatHistogram::clone(left);
            let merged = difference.sub(right);
            let difference = difference.with_hint(ResetHint::Gauge);
            finished(difference, merged, Operation::Subtraction)
        }
        (BinaryOp::Equal, Histogram(left), Histogram(right)) => {
            (Element::Compared(left.same(right)), None)
        }
        (BinaryOp::NotEqual, Histogram(left), Histogram(right)) => {
            (Element::Compared(!left.same(right)), None)
        }
        _ => (Element::Failed, Some(Note::Kinds(left.kind(), right.kind()))),
    }
}

fn finished(
    mut histogram: FloatHistogram,
    merged: Result<Merged, MixedBuckets>,
    operation: Operation,
) -> (Element, Option<Note>) {
    match merged {
        Err(MixedBuckets) => (Element::Failed, Some(Note::Buckets)),
        // A warning is an error to upstream: there is no result beside it.
        Ok(merged) if merged.hints_conflict => (Element::Failed, Some(Note::Hints(operation))),
        Ok(merged) => {
            histogram.compact();
            let note = merged.bounds_differed.then_some(Note::Bounds(operation));
            (Element::Histogram(histogram), note)
        }
    }
}

/// What there is to say, of each step only the last.
#[derive(Debug, Default)]
pub(super) struct StepNotes {
    by_step: Vec<Option<Note>>,
}

impl StepNotes {
    /// Says something at a step.
    pub(super) fn put(&mut self, step: usize, note: Note) {
        if self.by_step.len() <= step {
            self.by_step.resize(step + 1, None);
        }
        self.by_step[step] = Some(note);
    }

    /// Tells the evaluation.
    pub(super) fn tell(&self, ctx: &Evaluator<'_>, op: BinaryOp, span: Span) {
        let mut told = Vec::new();
        for note in self.by_step.iter().flatten() {
            if !told.contains(note) {
                told.push(*note);
                ctx.note(|notes| note.tell(notes, op, span));
            }
        }
    }
}

/// The steps at which something has failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Failed(Option<Steps>);

impl Failed {
    pub(super) fn put(&mut self, step: usize, len: usize) {
        self.0.get_or_insert_with(|| Steps::none(len)).put(step);
    }

    pub(super) fn has(&self, step: usize) -> bool {
        self.0.as_ref().is_some_and(|steps| steps.has(step))
    }
}
