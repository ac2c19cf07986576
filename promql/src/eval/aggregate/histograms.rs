//! The histograms of a group, step by step: their sum or mean, and what keeps them from having one.

use crate::annotations::Operation;
use crate::eval::error::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::value::{Point, Series, is_absent};
use crate::histogram::{Averaged, FloatHistogram, Merged, MixedBuckets, Summed};
use crate::span::Span;
use model::histogram::ResetHint;
use std::sync::Arc;

/// What to make of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    Sum,
    Avg,
}

#[derive(Clone, Debug)]
enum State {
    Sum(Box<Summed>),
    Avg(Box<Averaged>),
    /// A float came first: there will be no answer.
    AfterFloat,
    /// Exponential and custom ones met: there will be no answer, whatever comes.
    Incompatible,
}

/// One step of a group.
#[derive(Clone, Debug)]
struct Step {
    state: State,
    saw_reset: bool,
    saw_no_reset: bool,
}

/// A group's histograms while series are added.
#[derive(Debug)]
pub(super) struct Histograms {
    fold: Fold,
    steps: Vec<Option<Step>>,
}

impl Histograms {
    pub(super) fn new(fold: Fold, len: usize) -> Self {
        Self { fold, steps: vec![None; len] }
    }

    /// Whether floats of this step do not count any more.
    pub(super) fn is_incompatible(&self, step: usize) -> bool {
        let state = self.steps[step].as_ref().map(|step| &step.state);
        matches!(state, Some(State::Incompatible))
    }

    /// Adds a series' histograms. `had_float` says at which steps the group had a float before.
    pub(super) fn add(
        &mut self,
        ctx: &Evaluator<'_>,
        series: &Series,
        span: Span,
        had_float: impl Fn(usize) -> bool,
    ) -> Result<(), EvalError> {
        for (at, histogram) in series.histogram_steps() {
            ctx.budget.tick(1)?;
            let fold = self.fold;
            let is_first = self.steps[at].is_none();
            let step = self.steps[at].get_or_insert_with(|| Step {
                state: if had_float(at) { State::AfterFloat } else { start(fold, histogram) },
                saw_reset: false,
                saw_no_reset: false,
            });
            let merged = match &mut step.state {
                State::AfterFloat | State::Incompatible => continue,
                _ if is_first => Ok(Merged::default()),
                State::Sum(sum) => sum.add(histogram),
                State::Avg(mean) => mean.add(histogram),
            };
            step.saw_reset |= histogram.hint == ResetHint::Yes;
            step.saw_no_reset |= histogram.hint == ResetHint::No;
            match merged {
                Ok(merged) if merged.bounds_differed => {
                    ctx.note(|notes| notes.bounds_differed(Operation::Aggregation, span));
                }
                Ok(_) => {}
                Err(MixedBuckets) => {
                    let about = crate::annotations::AboutHistograms::MixedBuckets;
                    ctx.note(|notes| notes.about(about, series.labels.metric_name(), span));
                    step.state = State::Incompatible;
                }
            }
        }
        Ok(())
    }

    /// The group's histograms; where there are floats too there is nothing, in either column.
    pub(super) fn finish(
        self,
        ctx: &Evaluator<'_>,
        span: Span,
        floats: &mut [f64],
    ) -> Result<Vec<Point>, EvalError> {
        let mut points = Vec::with_capacity(self.steps.len());
        for (step, float) in self.steps.into_iter().zip(floats) {
            let Some(step) = step else {
                points.push(None);
                continue;
            };
            if !is_absent(*float) {
                *float = crate::eval::value::ABSENT;
                ctx.note(|notes| notes.mixed_in_aggregation(span));
                points.push(None);
                continue;
            }
            let mut histogram = match step.state {
                State::Sum(sum) => sum.total(),
                State::Avg(mean) => mean.mean(),
                State::AfterFloat | State::Incompatible => {
                    points.push(None);
                    continue;
                }
            };
            if step.saw_reset && step.saw_no_reset {
                ctx.note(|notes| notes.hints_conflict(Operation::Aggregation, span));
            }
            histogram.compact();
            ctx.budget.take_bytes(histogram.bytes())?;
            points.push(Some(Arc::new(histogram)));
        }
        Ok(points)
    }
}

fn start(fold: Fold, first: &FloatHistogram) -> State {
    match fold {
        Fold::Sum => State::Sum(Box::new(Summed::new(first.clone()))),
        Fold::Avg => State::Avg(Box::new(Averaged::new(first.clone()))),
    }
}
