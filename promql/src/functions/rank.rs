//! `histogram_quantile`, `histogram_quantiles`, `histogram_fraction`, over native histograms and
//! classic buckets. Where both have the same labels at one time neither is answered for.

use super::Args;
use super::classic_histogram::{Histogram, fraction_of, histograms, quantile_of};
use crate::annotations::AboutHistograms;
use crate::eval::{ABSENT, EvalError, Scalar, Series, Val, is_absent, merge};
use crate::histogram::{FloatHistogram, NanEffect};
use crate::math::format::open_metrics;
use crate::span::Span;
use model::{LabelSet, Text};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// What is asked about: series of native histograms and of buckets, and the histograms that those
/// buckets make.
struct Input {
    vector: Vec<Series>,
    classic: Vec<Histogram>,
    span: Span,
    /// Of each of those: the steps at which it was told that its buckets had to be lifted.
    told: Vec<Vec<bool>>,
}

impl Input {
    fn new(args: &Args<'_>, index: usize) -> Result<Self, EvalError> {
        let vector = args.vector(index)?;
        let span = args.expr(index)?.span();
        let classic = histograms(args, &vector, span);
        let told = vec![vec![false; args.grid.len]; classic.len()];
        let mut input = Self { vector, classic, span, told };
        input.part_kinds(args)?;
        Ok(input)
    }

    fn native(&self) -> impl Iterator<Item = &Series> {
        self.vector.iter().filter(|series| series.has_histogram())
    }

    /// Takes native and classic histograms away where they share labels and step.
    fn part_kinds(&mut self, args: &Args<'_>) -> Result<(), EvalError> {
        let native = self.vector.iter().enumerate().filter(|(_, series)| series.has_histogram());
        let places: HashMap<LabelSet, usize> =
            native.map(|(index, series)| (series.labels.clone(), index)).collect();
        for histogram in self.classic.iter().filter(|_| !places.is_empty()) {
            let Some(native) = places.get(&histogram.labels).copied() else { continue };
            args.ctx.budget.tick(args.grid.len)?;
            for step in 0..args.grid.len {
                let is_there = |index: usize| !is_absent(self.vector[index].values[step]);
                if self.vector[native].histogram(step).is_none()
                    || !histogram.series().any(is_there)
                {
                    continue;
                }
                note(args, AboutHistograms::MixedWithClassic, &histogram.labels, self.span);
                self.vector[native].erase(step);
                histogram.series().for_each(|index| self.vector[index].values[step] = ABSENT);
            }
        }
        Ok(())
    }

    /// A number of each native histogram of a series.
    fn of_native(
        &self,
        args: &Args<'_>,
        series: &Series,
        f: impl Fn(usize, &FloatHistogram) -> (f64, NanEffect),
    ) -> Result<Series, EvalError> {
        args.ctx.budget.take_column(args.grid.len)?;
        let mut numbers = series.emptied();
        numbers.drop_name = false;
        for (step, histogram) in series.histogram_steps() {
            args.ctx.budget.tick(1)?;
            let (value, effect) = f(step, histogram);
            numbers.values[step] = value;
            let about = match effect {
                NanEffect::None => continue,
                NanEffect::Skewed => AboutHistograms::QuantileIsSkewed,
                NanEffect::Result => AboutHistograms::QuantileIsNan,
                NanEffect::Excluded => AboutHistograms::FractionExcludesNan,
            };
            note(args, about, &series.labels, self.span);
        }
        Ok(numbers)
    }

    /// The quantiles of all histograms.
    fn quantiles(&mut self, args: &Args<'_>, q: &Scalar) -> Result<Vec<Series>, EvalError> {
        let mut result = Vec::new();
        for series in self.native() {
            let quantile = |step, histogram: &FloatHistogram| histogram.quantile(q.at(step));
            result.push(self.of_native(args, series, quantile)?);
        }
        for (histogram, told) in self.classic.iter().zip(&mut self.told) {
            result.push(quantile_of(args, histogram, &self.vector, q, (self.span, told))?);
        }
        Ok(result)
    }
}

/// Names that were dropped at once are not told.
fn note(args: &Args<'_>, about: AboutHistograms, labels: &LabelSet, span: Span) {
    let late = args.ctx.params.delayed_name_removal;
    let metric = if late { labels.metric_name() } else { "" };
    args.ctx.note(|notes| notes.about(about, metric, span));
}

/// `histogram_quantile`
pub(super) fn quantile(args: &Args<'_>) -> Result<Val, EvalError> {
    let q = args.scalar(0)?;
    let mut input = Input::new(args, 1)?;
    // After what the arguments have to say: of a text said twice the last place stays.
    warn_of_quantiles(args, &q, 0)?;
    finish(args, input.quantiles(args, &q)?)
}

/// `histogram_quantiles`: several at once, told apart by a label.
pub(super) fn quantiles(args: &Args<'_>) -> Result<Val, EvalError> {
    let mut input = Input::new(args, 0)?;
    let label: Text = args.text(1)?.into();
    let mut result = Vec::new();
    for index in 2..args.len() {
        let q = args.scalar(index)?;
        warn_of_quantiles(args, &q, index)?;
        for series in input.quantiles(args, &q)? {
            result.extend(labelled(args, &series, &q, &label)?);
        }
    }
    finish(args, result)
}

/// The series once for each value that the quantile takes on, which may vary from step to step.
fn labelled(
    args: &Args<'_>,
    series: &Series,
    q: &Scalar,
    label: &Text,
) -> Result<Vec<Series>, EvalError> {
    let mut distinct: Vec<Series> = Vec::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    for step in (0..args.grid.len).filter(|step| series.has(*step)) {
        let place = match places.entry(q.at(step).to_bits()) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => {
                args.ctx.budget.take_column(args.grid.len)?;
                let mut of_quantile = series.emptied();
                of_quantile.labels.set(label.clone(), open_metrics(q.at(step)));
                distinct.push(of_quantile);
                *place.insert(distinct.len() - 1)
            }
        };
        distinct[place].copy_step(step, series);
    }
    Ok(distinct)
}

/// `histogram_fraction`: the share of observations between two bounds.
pub(super) fn fraction(args: &Args<'_>) -> Result<Val, EvalError> {
    let (lower, upper) = (args.scalar(0)?, args.scalar(1)?);
    let mut input = Input::new(args, 2)?;
    let mut result = Vec::new();
    for series in input.native() {
        let fraction = |step: usize, histogram: &FloatHistogram| {
            histogram.fraction(lower.at(step), upper.at(step))
        };
        result.push(input.of_native(args, series, fraction)?);
    }
    for histogram in std::mem::take(&mut input.classic) {
        result.push(fraction_of(args, histogram, &input.vector, (&lower, &upper))?);
    }
    finish(args, result)
}

fn finish(args: &Args<'_>, mut result: Vec<Series>) -> Result<Val, EvalError> {
    result.retain(Series::is_present);
    result.iter_mut().for_each(|series| args.ctx.drop_name(series));
    if args.grid.is_instant && args.ctx.params.delayed_name_removal {
        return Ok(Val::Vector(result));
    }
    merge::same_labels(result).map(Val::Vector)
}

fn warn_of_quantiles(args: &Args<'_>, q: &Scalar, index: usize) -> Result<(), EvalError> {
    let span = args.expr(index)?.span();
    for q in q.distinct().iter().filter(|q| !(0.0..=1.0).contains(*q)) {
        args.ctx.note(|notes| notes.invalid_quantile(*q, span));
    }
    Ok(())
}
