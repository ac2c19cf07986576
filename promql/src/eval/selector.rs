//! Selectors: the newest sample of each step, and the samples of windows.

use super::budget::PIECE;
use super::error::EvalError;
use super::evaluator::{BucketsWanted, Evaluator};
use super::grid::Grid;
use super::smooth;
use super::stored::Stored;
use super::value::{ABSENT, Series, Val, is_absent};
use super::window::moments::Moments;
use super::window::{Histograms, RangeSeries, Samples, Starts, Windows};
use crate::ast::{Call, Edges, Expr, MatrixSelector, Subquery, VectorSelector};
use crate::histogram::FloatHistogram;
use crate::math::convert::seconds;
use crate::plan::Ends;
use crate::print::labels_text;
use model::column::Known;
use model::histogram::ResetHint;
use model::sample::is_stale;
use model::{Column, LabelSet, SeriesColumns, Timestamps};
use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

/// Takes a series that is evaluated, and gives its column back if it is not kept.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(Series) -> Result<Vec<f64>, EvalError>;

/// An instant selector: at each step the newest sample of the lookback, unless it is stale.
pub(crate) fn instant(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
) -> Result<Val, EvalError> {
    collected(ctx, |sink| each_instant(ctx, node, grid, sink)).map(Val::Vector)
}

/// An instant selector, series by series.
pub(crate) fn each_instant(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
    sink: Sink<'_>,
) -> Result<(), EvalError> {
    if node.edges == Edges::Smoothed {
        return smooth::smoothed(ctx, node, grid, sink);
    }
    let float = |column: &Column, index: usize| column.values[index];
    let histogram = |series: &mut Series, step, of: &mut Stored<'_>, index| {
        let histogram = of.get(index);
        ctx.budget.take_bytes(histogram.bytes())?;
        series.put(step, histogram);
        Ok(())
    };
    newest(ctx, node, grid, (float, histogram), sink)
}

/// The series that something gives one by one.
pub(crate) fn collected(
    ctx: &Evaluator<'_>,
    each: impl FnOnce(Sink<'_>) -> Result<(), EvalError>,
) -> Result<Vec<Series>, EvalError> {
    let mut vector = Vec::new();
    each(&mut |series| {
        ctx.budget.take_column(series.values.len())?;
        vector.push(series);
        Ok(Vec::new())
    })?;
    Ok(vector)
}

/// `timestamp` of an instant selector: the samples' own times.
pub(crate) fn sample_times(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let float = |column: &Column, index: usize| seconds(column.timestamps_ms[index]);
    let histogram = |series: &mut Series, step: usize, of: &mut Stored<'_>, index: usize| {
        series.values[step] = seconds(of.times_ms()[index]);
        Ok(())
    };
    collected(ctx, |sink| newest(ctx, node, grid, (float, histogram), sink))
}

/// `start_timestamp` of an instant selector: since when the samples count up, 0 if that is not
/// known.
pub(crate) fn start_times(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let start = |starts: &[i64], index: usize| seconds(starts.get(index).copied().unwrap_or(0));
    let float = |column: &Column, index: usize| start(&column.start_timestamps_ms, index);
    let histogram = |series: &mut Series, step: usize, of: &mut Stored<'_>, index: usize| {
        series.values[step] = start(of.starts_ms(), index);
        Ok(())
    };
    collected(ctx, |sink| newest(ctx, node, grid, (float, histogram), sink))
}

/// The times in milliseconds of the newest samples of the info series that a call wants, of those
/// alone whose labels are `meant`: the others are not looked at.
pub(crate) fn info_times(
    ctx: &Evaluator<'_>,
    node: &Call,
    grid: Grid,
    meant: impl Fn(&LabelSet) -> bool,
) -> Result<Vec<Series>, EvalError> {
    let (ends, need) = ctx.times.info_need(node, grid)?;
    let all = ctx.series(&need.matchers, need.first_ms, need.last_ms)?;
    let fetched = all.iter().filter(|series| meant(&series.labels));
    let float = |column: &Column, index: usize| column.timestamps_ms[index] as f64;
    let histogram = |series: &mut Series, _: usize, _: &mut Stored<'_>, _: usize| {
        let labels = labels_text(&series.labels);
        let text = format!("this should be an info metric, with float samples: {labels}");
        Err(EvalError::Unexecutable(text))
    };
    let of = (fetched, ends, need.first_ms);
    collected(ctx, |sink| newest_of(ctx, of, grid, (float, histogram), sink))
}

fn newest(
    ctx: &Evaluator<'_>,
    node: &VectorSelector,
    grid: Grid,
    samples: (
        impl Fn(&Column, usize) -> f64,
        impl FnMut(&mut Series, usize, &mut Stored<'_>, usize) -> Result<(), EvalError>,
    ),
    sink: Sink<'_>,
) -> Result<(), EvalError> {
    let (ends, first_ms, last_ms) = ctx.times.vector_range(node, grid)?;
    let fetched = ctx.series(&node.matchers, first_ms, last_ms)?;
    newest_of(ctx, (fetched, ends, first_ms), grid, samples, sink)
}

fn newest_of<'s>(
    ctx: &Evaluator<'_>,
    (series, ends, first_ms): (impl IntoIterator<Item = &'s SeriesColumns>, Ends, i64),
    grid: Grid,
    (float, mut histogram): (
        impl Fn(&Column, usize) -> f64,
        impl FnMut(&mut Series, usize, &mut Stored<'_>, usize) -> Result<(), EvalError>,
    ),
    sink: Sink<'_>,
) -> Result<(), EvalError> {
    let mut column = Vec::new();
    for fetched in series {
        ctx.budget.tick(grid.len)?;
        column.clear();
        column.resize(grid.len, ABSENT);
        let mut series = Series::floats(fetched.labels.clone(), false, column);
        let mut is_found = false;
        let mut stored = Stored::new(fetched, first_ms, ctx.buckets_wanted());
        for_each_newest(ctx, fetched, ends, first_ms, grid, |step, newest| {
            is_found = true;
            match newest {
                Newest::Float(index) => series.values[step] = float(&fetched.floats, index),
                Newest::Histogram(index) => histogram(&mut series, step, &mut stored, index)?,
            }
            Ok(())
        })?;
        column = if is_found { sink(series)? } else { series.values };
    }
    Ok(())
}

/// The place of a sample in its column.
#[derive(Clone, Copy, Debug)]
enum Newest {
    Float(usize),
    Histogram(usize),
}

/// Calls `each` for every step that has a sample: the newest within the lookback, if it is no
/// stale marker.
fn for_each_newest(
    ctx: &Evaluator<'_>,
    fetched: &SeriesColumns,
    ends: Ends,
    first_ms: i64,
    grid: Grid,
    mut each: impl FnMut(usize, Newest) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let (floats, histograms) = (&fetched.floats, &fetched.histograms);
    let from = |times: &[i64]| times.partition_point(|time| *time < first_ms);
    let mut next = from(&floats.timestamps_ms);
    let mut next_histogram = from(&histograms.timestamps_ms);
    for step in 0..grid.len {
        if step % PIECE == PIECE - 1 {
            ctx.budget.check()?;
        }
        let moment = ends.at(step);
        let open_ms = moment.saturating_sub(ctx.params.lookback_ms);
        let newest = last_until(&floats.timestamps_ms, &mut next, moment);
        let newest = newest.filter(|(_, time)| *time > open_ms);
        if !histograms.is_empty() {
            let other = last_until(&histograms.timestamps_ms, &mut next_histogram, moment);
            let other = other.filter(|(_, time)| *time > open_ms);
            if let Some((index, time)) = other
                && newest.is_none_or(|(_, float_time)| float_time < time)
            {
                if !histograms.values[index].is_stale() {
                    each(step, Newest::Histogram(index))?;
                }
                continue;
            }
        }
        if let Some((index, _)) = newest
            && !is_stale(floats.values[index])
        {
            each(step, Newest::Float(index))?;
        }
    }
    Ok(())
}

/// The last place whose time is not after `moment`, and its time. `next` is where the last look
/// ended.
#[inline]
fn last_until(times_ms: &[i64], next: &mut usize, moment: i64) -> Option<(usize, i64)> {
    while times_ms.get(*next).is_some_and(|time| *time <= moment) {
        *next += 1;
    }
    let index = next.checked_sub(1)?;
    Some((index, times_ms[index]))
}

/// A range vector: every series' samples, and the windows over them.
pub(crate) struct RangeVector<'a> {
    /// The series, those without a sample left out; each is looked at as it is taken.
    pub(crate) series: Box<dyn Iterator<Item = Result<RangeSeries<'a>, EvalError>> + 'a>,
    /// The windows.
    pub(crate) windows: Windows<'a>,
}

/// The range vector of a matrix selector or subquery; `None` if the expression is neither.
pub(crate) fn range<'a>(
    ctx: &'a Evaluator<'_>,
    expr: &Expr,
    grid: Grid,
) -> Result<Option<RangeVector<'a>>, EvalError> {
    match expr {
        Expr::Matrix(node) => samples(ctx, node, grid).map(Some),
        Expr::Subquery(node) => subquery(ctx, node, grid).map(Some),
        _ => Ok(None),
    }
}

fn samples<'a>(
    ctx: &'a Evaluator<'_>,
    node: &MatrixSelector,
    grid: Grid,
) -> Result<RangeVector<'a>, EvalError> {
    let (ends, range_ms, first_ms, last_ms) = ctx.times.matrix_range(node, grid)?;
    let fetched = ctx.series(&node.vector.matchers, first_ms, last_ms)?;
    let series = fetched.iter().map(move |fetched| {
        let samples = alive_between(fetched, first_ms, last_ms);
        let histograms = histograms_between(ctx, fetched, first_ms, last_ms)?;
        let starts = starts_between(ctx, fetched, first_ms, last_ms);
        ctx.budget.tick(samples.values.len() + histograms.values.len())?;
        let labels = Cow::Borrowed(&fetched.labels);
        Ok(RangeSeries { labels, drop_name: false, samples, histograms, starts })
    });
    let is_empty = |of: &Result<RangeSeries<'_>, _>| of.as_ref().is_ok_and(RangeSeries::is_empty);
    let series = Box::new(series.filter(move |of| !is_empty(of)));
    let (edges, outside_ms) = (node.vector.edges, ctx.params.lookback_ms);
    let budget = Some(&ctx.budget);
    let (known, of_shards) = (RefCell::default(), ctx.slots_of_shards());
    let windows = Windows { grid, ends, range_ms, edges, outside_ms, budget, known, of_shards };
    Ok(RangeVector { series, windows })
}

/// The samples from `first_ms` to `last_ms`, stale markers left out.
pub(super) fn alive_between(series: &SeriesColumns, first_ms: i64, last_ms: i64) -> Samples<'_> {
    let (times, known) = (&series.floats.timestamps_ms, series.floats.known);
    // Mostly nothing else was fetched, and then there is nothing to be searched for.
    let first = match times.first() {
        Some(first) if *first < first_ms => times.partition_point(|time| *time < first_ms),
        _ => 0,
    };
    let end = match times.last() {
        Some(last) if *last > last_ms => times.partition_point(|time| *time <= last_ms).max(first),
        _ => times.len(),
    };
    let values = &series.floats.values[first..end];
    if known >= Known::NoNan || !has_stale(values) {
        let times_ms = Moments::within(times, first..end);
        return Samples {
            times_ms,
            values: Cow::Borrowed(values),
            ascends: known == Known::Ascends,
        };
    }
    let alive = times[first..end].iter().zip(values).filter(|(_, value)| !is_stale(**value));
    let (times, values): (Vec<i64>, Vec<f64>) = alive.unzip();
    Samples { times_ms: times.into(), values: Cow::Owned(values), ascends: false }
}

/// Whether there is a stale marker. Whether any of so many is a NaN is told without a branch for
/// each.
fn has_stale(values: &[f64]) -> bool {
    let batches = values.chunks(64);
    let nans = |batch: &[f64]| batch.iter().map(|value| u64::from(value.is_nan())).sum::<u64>();
    batches.into_iter().any(|batch| nans(batch) > 0 && batch.iter().any(|value| is_stale(*value)))
}

/// The histograms from `first_ms` to `last_ms`, stale markers left out.
pub(super) fn histograms_between(
    ctx: &Evaluator<'_>,
    series: &SeriesColumns,
    first_ms: i64,
    last_ms: i64,
) -> Result<Histograms, EvalError> {
    let column = &series.histograms;
    let mut histograms = Histograms::default();
    let mut stored = Stored::new(series, first_ms, ctx.buckets_wanted());
    let first = column.timestamps_ms.partition_point(|time| *time < first_ms);
    for (index, time) in column.timestamps_ms.iter().enumerate().skip(first) {
        if *time > last_ms {
            break;
        }
        if !column.values[index].is_stale() {
            let histogram = stored.get(index);
            ctx.budget.take_bytes(histogram.bytes())?;
            histograms.times_ms.push(*time);
            histograms.values.push(histogram);
        }
    }
    Ok(histograms)
}

/// Since when the samples from `first_ms` to `last_ms` count up, if that matters.
fn starts_between(
    ctx: &Evaluator<'_>,
    series: &SeriesColumns,
    first_ms: i64,
    last_ms: i64,
) -> Starts {
    let (floats, histograms) = (&series.floats, &series.histograms);
    if !ctx.params.use_start_timestamps {
        return Starts::default();
    }
    let alive = |times: &[i64], starts: &[i64], is_stale: &dyn Fn(usize) -> bool| {
        let within = |(index, _): &(usize, i64)| {
            (first_ms..=last_ms).contains(&times[*index]) && !is_stale(*index)
        };
        let starts = starts.iter().copied().enumerate().filter(within);
        starts.map(|(_, start)| start).collect::<Vec<i64>>()
    };
    let is_stale_float = |index: usize| is_stale(floats.values[index]);
    let is_stale_histogram = |index: usize| histograms.values[index].is_stale();
    Starts {
        floats: alive(&floats.timestamps_ms, &floats.start_timestamps_ms, &is_stale_float),
        histograms: alive(
            &histograms.timestamps_ms,
            &histograms.start_timestamps_ms,
            &is_stale_histogram,
        ),
    }
}

fn subquery<'a>(
    ctx: &'a Evaluator<'_>,
    node: &Subquery,
    grid: Grid,
) -> Result<RangeVector<'a>, EvalError> {
    let (inner, ends, range_ms) = ctx.times.subquery_grid(node, grid)?;
    let (edges, budget) = (Edges::Plain, Some(&ctx.budget));
    let (known, of_shards) = (RefCell::default(), None);
    let windows = Windows { grid, ends, range_ms, edges, outside_ms: 0, budget, known, of_shards };
    let series: Box<dyn Iterator<Item = _>> = match inner {
        Some(inner) => {
            let series = subquery_series(ctx, node, inner);
            Box::new(series.map_err(|error| error.in_subquery(inner.len))?)
        }
        None => Box::new(std::iter::empty()),
    };
    Ok(RangeVector { series, windows })
}

/// The series of a subquery at all of its steps; the samples of each are put together as it is taken.
fn subquery_series<'a, 'e>(
    ctx: &'a Evaluator<'e>,
    node: &Subquery,
    inner: Grid,
) -> Result<impl Iterator<Item = Result<RangeSeries<'a>, EvalError>> + use<'a, 'e>, EvalError> {
    ctx.budget.check_steps(inner.len)?;
    let vector = ctx.wanting(BucketsWanted::All, || ctx.eval_vector(&node.expr, inner))?;
    // The moments that series share, and of one series at a time its own and its values: its column
    // is there still.
    ctx.budget.take_column(inner.len.saturating_mul(3))?;
    let mut shared = None;
    Ok(vector.into_iter().map(move |of| range_series(ctx, of, inner, &mut shared)))
}

/// The moments of all steps.
fn moments_of(ctx: &Evaluator<'_>, inner: Grid) -> Result<Timestamps, EvalError> {
    let mut moments = Vec::new();
    moments.reserve_exact(inner.len);
    for first in (0..inner.len).step_by(PIECE) {
        let steps = first..inner.len.min(first + PIECE);
        ctx.budget.tick(steps.len())?;
        moments.extend(steps.map(|step| inner.at(step)));
    }
    Ok(moments.into())
}

/// What a series is to windows over its steps. Those that are there at each share their moments.
fn range_series<'a>(
    ctx: &Evaluator<'_>,
    of: Series,
    inner: Grid,
    shared: &mut Option<Timestamps>,
) -> Result<RangeSeries<'a>, EvalError> {
    let histograms = unhinted(&of, inner);
    let (labels, drop_name, column) = (Cow::Owned(of.labels), of.drop_name, of.values);
    let mut absent = 0;
    for piece in column.chunks(PIECE) {
        ctx.budget.tick(piece.len())?;
        absent += piece.iter().filter(|value| is_absent(**value)).count();
    }
    let samples = if absent == 0 {
        let all = match shared.take() {
            Some(known) => known,
            None => moments_of(ctx, inner)?,
        };
        let moments = Moments::within(shared.insert(all), 0..inner.len);
        Samples { times_ms: moments, values: Cow::Owned(column), ascends: false }
    } else {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        times.reserve_exact(column.len() - absent);
        values.reserve_exact(column.len() - absent);
        for (piece, of) in column.chunks(PIECE).enumerate() {
            ctx.budget.tick(of.len())?;
            let present = of.iter().enumerate().filter(|(_, value)| !is_absent(**value));
            let moment = |step| inner.at(piece * PIECE + step);
            times.extend(present.clone().map(|(step, _)| moment(step)));
            values.extend(present.map(|(_, value)| *value));
        }
        Samples { times_ms: times.into(), values: Cow::Owned(values), ascends: false }
    };
    Ok(RangeSeries { labels, drop_name, samples, histograms, starts: Starts::default() })
}

/// The histograms of a subquery. Their hints speak of samples that it may not have taken, or has
/// taken twice: they are forgotten, but for gauges.
fn unhinted(series: &Series, grid: Grid) -> Histograms {
    let mut histograms = Histograms::default();
    let mut last: Option<(&Arc<FloatHistogram>, Arc<FloatHistogram>)> = None;
    for (step, histogram) in series.histogram_steps() {
        let unhinted = match &last {
            Some((have, unhinted)) if Arc::ptr_eq(have, histogram) => Arc::clone(unhinted),
            _ if matches!(histogram.hint, ResetHint::Unknown | ResetHint::Gauge) => {
                Arc::clone(histogram)
            }
            _ => Arc::new(FloatHistogram::clone(histogram).with_hint(ResetHint::Unknown)),
        };
        last = Some((histogram, Arc::clone(&unhinted)));
        histograms.times_ms.push(grid.at(step));
        histograms.values.push(unhinted);
    }
    histograms
}
