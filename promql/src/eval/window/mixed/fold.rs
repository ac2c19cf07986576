//! `sum_over_time`, `avg_over_time` of histograms.

use super::{About, Answer, View};
use crate::annotations::{AboutHistograms, Operation};
use crate::histogram::{Averaged, FloatHistogram, Merged, MixedBuckets, Summed};
use crate::math::kahan::{Kahan, Mean};
use model::histogram::ResetHint;

/// `sum_over_time`
pub(super) fn sum(about: &About<'_>, view: &View<'_>) -> Answer {
    let of_floats = |values: &[f64]| {
        let mut sum = Kahan::default();
        values.iter().for_each(|value| sum.add(*value));
        if sum.sum.is_infinite() { sum.sum } else { sum.total() }
    };
    fold(about, view, of_floats, Summed::new, Summed::add, Summed::total)
}

/// `avg_over_time`
pub(super) fn avg(about: &About<'_>, view: &View<'_>) -> Answer {
    let of_floats = |values: &[f64]| {
        let Some((first, rest)) = values.split_first() else { return f64::NAN };
        let mut mean = Mean::new(*first);
        rest.iter().for_each(|value| mean.add(*value));
        mean.value()
    };
    fold(about, view, of_floats, Averaged::new, Averaged::add, Averaged::mean)
}

fn fold<T>(
    about: &About<'_>,
    view: &View<'_>,
    of_floats: impl Fn(&[f64]) -> f64,
    start: impl Fn(FloatHistogram) -> T,
    add: impl Fn(&mut T, &FloatHistogram) -> Result<Merged, MixedBuckets>,
    finish: impl Fn(T) -> FloatHistogram,
) -> Answer {
    if view.has_both() {
        about.note(AboutHistograms::MixedWithFloats);
        return Answer::None;
    }
    let Some((first, rest)) = view.histograms.split_first() else {
        return Answer::Float(of_floats(view.floats));
    };
    let mut state = start((**first).clone());
    let mut have_bounds_differed = false;
    for histogram in rest {
        match add(&mut state, histogram) {
            Ok(merged) => have_bounds_differed |= merged.bounds_differed,
            Err(MixedBuckets) => {
                about.note(AboutHistograms::MixedBuckets);
                return Answer::None;
            }
        }
    }
    let has = |hint| view.histograms.iter().any(|histogram| histogram.hint == hint);
    if has(ResetHint::Yes) && has(ResetHint::No) {
        about.ctx.note(|notes| notes.hints_conflict(Operation::Aggregation, about.span));
    }
    about.note_bounds(have_bounds_differed, Operation::Aggregation);
    Answer::Histogram(finish(state))
}
