//! Functions of instant vectors, scalars and strings.
//!
//! Functions over windows are in `eval::window`.

pub(crate) mod absent;
mod classic_histogram;
pub(crate) mod date;
pub(crate) mod info;
pub(crate) mod labels;
mod math;
mod natural;
mod rank;
mod sort;

use crate::ast::{Call, Expr};
use crate::eval::bare;
use crate::eval::column;
use crate::eval::{
    BucketsWanted, EvalError, Evaluator, Grid, Scalar, Series, Val, is_absent, sample_times,
    start_times,
};
use crate::histogram::FloatHistogram;
use crate::math::convert::seconds;
use crate::math::minmax;

/// A call whose arguments are worked out as they are needed.
pub(crate) struct Args<'a> {
    ctx: &'a Evaluator<'a>,
    node: &'a Call,
    grid: Grid,
}

impl<'a> Args<'a> {
    fn expr(&self, index: usize) -> Result<&'a Expr, EvalError> {
        let missing = || EvalError::internal("an argument is missing");
        self.node.args.get(index).map(bare).ok_or_else(missing)
    }

    fn len(&self) -> usize {
        self.node.args.len()
    }

    /// A new column.
    fn column(&self, f: impl Fn(usize) -> f64) -> Result<Vec<f64>, EvalError> {
        self.ctx.budget.column_of((0..self.grid.len).map(f))
    }

    fn vector(&self, index: usize) -> Result<Vec<Series>, EvalError> {
        self.ctx.eval_vector(self.expr(index)?, self.grid)
    }

    fn scalar(&self, index: usize) -> Result<Scalar, EvalError> {
        self.ctx.eval_scalar(self.expr(index)?, self.grid)
    }

    fn bytes(&self, index: usize) -> Result<&'a [u8], EvalError> {
        match self.expr(index)? {
            Expr::String(literal) => Ok(&literal.bytes),
            _ => Err(EvalError::internal("a string was expected")),
        }
    }

    fn text(&self, index: usize) -> Result<String, EvalError> {
        Ok(String::from_utf8_lossy(self.bytes(index)?).into_owned())
    }
}

/// Evaluates a call of a function that does not work on windows.
pub(crate) fn call(ctx: &Evaluator<'_>, node: &Call, grid: Grid) -> Result<Val, EvalError> {
    let args = Args { ctx, node, grid };
    let name = node.function.name;
    if let Some(f) = math::of_one(name) {
        return map(&args, |_, value| f(value));
    }
    if let Some(part) = date::part(name) {
        return date(&args, part);
    }
    let wanted = ctx.buckets_wanted();
    match name {
        "time" => times(&args),
        "pi" => Ok(Val::Scalar(Scalar::Same(std::f64::consts::PI))),
        "start" | "end" | "range" | "step" => Ok(Val::Scalar(query_time(&args))),
        "max_of" | "min_of" => {
            of_two(&args, if name == "max_of" { minmax::max } else { minmax::min })
        }
        "scalar" => to_scalar(&args),
        "vector" => to_vector(&args),
        "clamp" | "clamp_min" | "clamp_max" => clamp(&args),
        "round" => round(&args),
        "timestamp" => timestamp(&args),
        "absent" => absent::absent(&args).map(Val::Vector),
        "label_replace" => labels::replace(&args).map(Val::Vector),
        "label_join" => labels::join(&args).map(Val::Vector),
        "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
            sort::sort(&args).map(Val::Vector)
        }
        "info" => info::info(&args).map(Val::Vector),
        "histogram_quantile" => ctx.wanting(BucketsWanted::All, || rank::quantile(&args)),
        "histogram_quantiles" => ctx.wanting(BucketsWanted::All, || rank::quantiles(&args)),
        "histogram_fraction" => ctx.wanting(BucketsWanted::All, || rank::fraction(&args)),
        "start_timestamp" => start_timestamp(&args),
        "histogram_avg" => of_histograms(&args, BucketsWanted::None, FloatHistogram::mean),
        "histogram_count" => of_histograms(&args, BucketsWanted::None, FloatHistogram::count),
        "histogram_sum" => of_histograms(&args, BucketsWanted::None, FloatHistogram::sum),
        "histogram_stdvar" => of_histograms(&args, wanted, FloatHistogram::variance),
        "histogram_stddev" => of_histograms(&args, wanted, |of| of.variance().sqrt()),
        _ => Err(EvalError::unexecutable(format!("function {name} is not supported yet"))),
    }
}

/// Maps each float of the first argument; the name goes, and so do histograms.
fn map(args: &Args<'_>, f: impl Fn(usize, f64) -> f64) -> Result<Val, EvalError> {
    map_vector(args, args.vector(0)?, f)
}

/// A number of each float of a vector, once all arguments are evaluated, in order.
fn map_vector(
    args: &Args<'_>,
    vector: Vec<Series>,
    f: impl Fn(usize, f64) -> f64,
) -> Result<Val, EvalError> {
    let mut vector = floats_of(vector);
    for series in &mut vector {
        column::map(&args.ctx.budget, &mut series.values, &f)?;
        args.ctx.drop_name(series);
    }
    args.ctx.merge_dropped(vector).map(Val::Vector)
}

/// The vector without its histograms.
fn floats_of(mut vector: Vec<Series>) -> Vec<Series> {
    vector.retain_mut(|series| series.histograms.take().is_none() || series.is_present());
    vector
}

/// A number of each histogram; floats go.
fn of_histograms(
    args: &Args<'_>,
    wanted: BucketsWanted,
    f: impl Fn(&FloatHistogram) -> f64,
) -> Result<Val, EvalError> {
    let vector = args.ctx.wanting(wanted, || args.vector(0))?;
    let mut result = Vec::new();
    for series in vector.iter().filter(|series| series.has_histogram()) {
        args.ctx.budget.take_column(args.grid.len)?;
        let mut numbers = series.emptied();
        for (step, histogram) in series.histogram_steps() {
            numbers.values[step] = f(histogram);
        }
        // Unlike elsewhere, type and unit stay if names drop at once.
        numbers.drop_name = true;
        if !args.ctx.params.delayed_name_removal {
            numbers.labels.remove(model::METRIC_NAME);
        }
        result.push(numbers);
    }
    args.ctx.merge_dropped(result).map(Val::Vector)
}

/// Since when a selector's samples count up. Of anything else, or if starts are not looked at, that
/// is not known.
fn start_timestamp(args: &Args<'_>) -> Result<Val, EvalError> {
    let mut vector = match args.expr(0)? {
        Expr::Vector(_) if !args.ctx.params.use_start_timestamps => Vec::new(),
        Expr::Vector(node) => start_times(args.ctx, node, args.grid)?,
        _ => {
            args.vector(0)?;
            Vec::new()
        }
    };
    vector.iter_mut().for_each(|series| args.ctx.drop_name(series));
    args.ctx.merge_dropped(vector).map(Val::Vector)
}

fn times(args: &Args<'_>) -> Result<Val, EvalError> {
    args.column(|step| seconds(args.grid.at(step))).map(Scalar::Steps).map(Val::Scalar)
}

fn query_time(args: &Args<'_>) -> Scalar {
    let params = args.ctx.params;
    let window = args.ctx.times.window();
    Scalar::Same(seconds(match args.node.function.name {
        "start" => params.start_ms,
        "end" => params.end_ms,
        "range" => window.range_ms,
        _ if window.range_ms == 0 => 0,
        _ => window.step_ms,
    }))
}

fn of_two(args: &Args<'_>, f: impl Fn(f64, f64) -> f64) -> Result<Val, EvalError> {
    let (a, b) = (args.scalar(0)?, args.scalar(1)?);
    args.column(|step| f(a.at(step), b.at(step))).map(Scalar::Steps).map(Val::Scalar)
}

/// The value of the only series that is there; NaN if there is none or more than one.
fn to_scalar(args: &Args<'_>) -> Result<Val, EvalError> {
    let vector = args.vector(0)?;
    let mut found = vec![0_u8; args.grid.len];
    let mut values = args.column(|_| f64::NAN)?;
    for series in &vector {
        args.ctx.budget.tick(args.grid.len)?;
        for (step, value) in series.values.iter().enumerate() {
            if is_absent(*value) {
                continue;
            }
            values[step] = if found[step] == 0 { *value } else { f64::NAN };
            found[step] = found[step].saturating_add(1);
        }
    }
    Ok(Val::Scalar(Scalar::Steps(values)))
}

fn to_vector(args: &Args<'_>) -> Result<Val, EvalError> {
    let scalar = args.scalar(0)?;
    let values = args.column(|step| scalar.at(step))?;
    let labels = model::LabelSet::default();
    Ok(Val::Vector(vec![Series::floats(labels, false, values)]))
}

fn date(args: &Args<'_>, part: fn(i64) -> f64) -> Result<Val, EvalError> {
    if args.len() > 0 {
        return map(args, |_, value| part(crate::math::convert::to_moment(value)));
    }
    let grid = args.grid;
    // Toward zero, as upstream's integer division.
    let values = args.column(|step| part(grid.at(step) / 1000))?;
    let labels = model::LabelSet::default();
    Ok(Val::Vector(vec![Series::floats(labels, false, values)]))
}

fn clamp(args: &Args<'_>) -> Result<Val, EvalError> {
    let vector = args.vector(0)?;
    let (min, max) = match args.node.function.name {
        "clamp_min" => (args.scalar(1)?, Scalar::Same(f64::INFINITY)),
        "clamp_max" => (Scalar::Same(f64::NEG_INFINITY), args.scalar(1)?),
        _ => (args.scalar(1)?, args.scalar(2)?),
    };
    let clamped = map_vector(args, vector, |step, value| {
        let (min, max) = (min.at(step), max.at(step));
        if max < min {
            return crate::eval::ABSENT;
        }
        minmax::max(min, minmax::min(max, value))
    })?;
    Ok(match clamped {
        Val::Vector(mut vector) => {
            vector.retain(Series::is_present);
            Val::Vector(vector)
        }
        other => other,
    })
}

/// To the nearest multiple, ties up. The inverse is worked with: it rounds less.
fn round(args: &Args<'_>) -> Result<Val, EvalError> {
    let vector = args.vector(0)?;
    let nearest = if args.len() > 1 { args.scalar(1)? } else { Scalar::Same(1.0) };
    map_vector(args, vector, |step, value| {
        let inverse = 1.0 / nearest.at(step);
        (value * inverse + 0.5).floor() / inverse
    })
}

/// A selector's samples' own times; of anything else the evaluation time.
fn timestamp(args: &Args<'_>) -> Result<Val, EvalError> {
    let grid = args.grid;
    let mut vector = match args.expr(0)? {
        Expr::Vector(node) => sample_times(args.ctx, node, grid)?,
        _ => {
            let mut vector = args.vector(0)?;
            for series in &mut vector {
                column::map(&args.ctx.budget, &mut series.values, |step, _| {
                    seconds(grid.at(step))
                })?;
                let steps: Vec<usize> = series.histogram_steps().map(|(step, _)| step).collect();
                steps.into_iter().for_each(|step| series.values[step] = seconds(grid.at(step)));
                series.histograms = None;
            }
            vector
        }
    };
    vector.iter_mut().for_each(|series| args.ctx.drop_name(series));
    args.ctx.merge_dropped(vector).map(Val::Vector)
}
