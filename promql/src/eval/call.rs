//! Calls: which function, over windows or over an instant vector.

use super::error::EvalError;
use super::evaluator::{Evaluator, bare};
use super::grid::Grid;
use super::selector::{self, RangeVector};
use super::value::{ABSENT, Scalar, Series, Val, is_absent};
use super::window::count::{self, Pick};
use super::window::over_time::{self, Extreme};
use super::window::rate::{self, Slope};
use super::window::{RangeSeries, Samples, Starts, Windows, edges, mixed, regression};
use crate::ast::{Call, Edges, Expr};
use crate::functions;
use crate::span::Span;

/// Evaluates a call.
pub(crate) fn call(ctx: &Evaluator<'_>, node: &Call, grid: Grid) -> Result<Val, EvalError> {
    for (index, arg) in node.args.iter().enumerate() {
        let arg = bare(arg);
        if matches!(arg, Expr::Matrix(_) | Expr::Subquery(_)) {
            return over_windows(ctx, node, index, arg, grid);
        }
    }
    functions::call(ctx, node, grid)
}

fn over_windows(
    ctx: &Evaluator<'_>,
    node: &Call,
    index: usize,
    arg: &Expr,
    grid: Grid,
) -> Result<Val, EvalError> {
    let Some(range) = selector::range(ctx, arg, grid)? else {
        return Err(EvalError::internal("a range vector was expected"));
    };
    let mut scalars = Vec::new();
    for (other, arg) in node.args.iter().enumerate() {
        if other != index {
            scalars.push(ctx.eval_scalar(bare(arg), grid)?);
        }
    }
    check_edges(node.function.name, range.windows.edges)?;
    let kernel = match range.windows.edges {
        Edges::Plain => kernel(node.function.name, &scalars)?,
        _ => edge_kernel(node.function.name)?,
    };
    let mut range = range;
    if !mixed::knows_starts(node.function.name) {
        range.series.iter_mut().for_each(|series| series.starts = Starts::default());
    }
    let blamed = blamed(node, index);
    let vector = run(ctx, node, blamed, &range, &kernel)?;
    if !range.series.is_empty() {
        check_params(ctx, node.function.name, &scalars, blamed, &range)?;
    }
    if node.function.name == "absent_over_time" {
        return functions::absent::over_windows(ctx, arg, &vector, grid).map(Val::Vector);
    }
    // Unlike elsewhere, series that share labels are an error even if never there together.
    if !ctx.params.delayed_name_removal && super::merge::has_same_labels(&vector) {
        return Err(EvalError::same_labels());
    }
    Ok(Val::Vector(vector))
}

/// What is named as the place of a fault: the first argument. Upstream has replaced subqueries by
/// their results when it comes to that, and those are nowhere.
fn blamed(node: &Call, range_index: usize) -> Span {
    match node.args.first().map(bare) {
        Some(Expr::Subquery(_)) if range_index == 0 => Span::new(0, 0),
        Some(first) => first.span(),
        None => node.span,
    }
}

fn run(
    ctx: &Evaluator<'_>,
    node: &Call,
    blamed: Span,
    range: &RangeVector<'_>,
    kernel: &Kernel<'_>,
) -> Result<Vec<Series>, EvalError> {
    let name = node.function.name;
    let drops_name = name != "last_over_time" && name != "first_over_time";
    let is_counter_function = name == "rate" || name == "increase";
    let len = range.windows.grid.len;
    let mut vector = Vec::with_capacity(range.series.len());
    for series in &range.series {
        ctx.budget.tick(series.samples.values.len())?;
        let labels = series.labels.as_ref().clone();
        let mut result = Series::floats(labels, series.drop_name, vec![ABSENT; len]);
        let floats_only = |out: &mut [f64]| kernel(&series.samples, &range.windows, out);
        if series.is_plain() {
            let most = floats_only(&mut result.values);
            ctx.budget.check()?;
            ctx.budget.fits(most as u64)?;
        } else {
            let about = mixed::About { ctx, metric: series.labels.metric_name(), span: blamed };
            mixed::run(&about, name, series, &range.windows, &mut result, floats_only)?;
        }
        if !result.is_present() {
            continue;
        }
        ctx.budget.take_column(len)?;
        if is_counter_function {
            check_name(ctx, &result, blamed);
        }
        if drops_name || series.drop_name {
            ctx.drop_name(&mut result);
        }
        vector.push(result);
    }
    Ok(vector)
}

fn check_edges(name: &str, edges: Edges) -> Result<(), EvalError> {
    let allowed = edges::allowed(edges);
    let modifier = edges::modifier(edges);
    if edges == Edges::Plain || allowed.contains(&name) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(EvalError::Unexecutable(format!(
        "{modifier} modifier can only be used with: {allowed} - not with {name}"
    )))
}

/// Says so if floats do not look like a counter's.
fn check_name(ctx: &Evaluator<'_>, series: &Series, blamed: Span) {
    let name = series.labels.metric_name();
    if name.is_empty() || series.values.iter().all(|value| is_absent(*value)) {
        return;
    }
    if ctx.params.type_and_unit_labels {
        let kind = series.labels.value("__type__");
        if kind != "counter" && kind != "histogram" {
            ctx.note(|notes| notes.type_not_counter(name, kind, blamed));
        }
        return;
    }
    let is_named_so = ["_total", "_sum", "_count", "_bucket"];
    if !is_named_so.iter().any(|suffix| name.ends_with(suffix)) {
        ctx.note(|notes| notes.possible_non_counter(name, blamed));
    }
}

fn check_params(
    ctx: &Evaluator<'_>,
    name: &str,
    scalars: &[Scalar],
    blamed: Span,
    range: &RangeVector<'_>,
) -> Result<(), EvalError> {
    let len = range.windows.grid.len;
    match (name, scalars) {
        ("quantile_over_time", [q]) => {
            for step in steps_with_samples(range, q, len) {
                let q = q.at(step);
                if !(0.0..=1.0).contains(&q) {
                    ctx.note(|notes| notes.invalid_quantile(q, blamed));
                }
            }
        }
        ("double_exponential_smoothing", [level, trend]) => {
            // Asked where there are samples only; the first series says which fault is named.
            for series in &range.series {
                for step in filled_steps(series, range, len) {
                    let fault = regression::smoothing_fault(level.at(step), trend.at(step));
                    if let Some(fault) = fault {
                        return Err(EvalError::Unexecutable(fault));
                    }
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The steps at which the window of a series has a sample of either kind.
fn filled_steps(series: &RangeSeries<'_>, range: &RangeVector<'_>, len: usize) -> Vec<usize> {
    let mut has = vec![false; len];
    let (floats_ms, histograms_ms) = (&series.samples.times_ms, &series.histograms.times_ms);
    // When the evaluation is to stop, the caller looks.
    let _ = range.windows.slide_both(floats_ms, histograms_ms, |both| {
        has[both.step] = true;
        Ok(())
    });
    (0..len).filter(|step| has[*step]).collect()
}

/// The steps at which some window has a sample; one of them is enough if the scalar is constant.
fn steps_with_samples(range: &RangeVector<'_>, scalar: &Scalar, len: usize) -> Vec<usize> {
    let mut has = vec![false; len];
    for series in &range.series {
        range.windows.slide(&series.samples.times_ms, |window| has[window.step] = true);
    }
    let steps = has.iter().enumerate().filter(|(_, has)| **has).map(|(step, _)| step);
    let at_most = if matches!(scalar, Scalar::Same(_)) { 1 } else { len };
    steps.take(at_most).collect()
}

/// Fills one series' column; answers the most samples of a window.
type Kernel<'k> = Box<dyn Fn(&Samples<'_>, &Windows, &mut [f64]) -> usize + 'k>;

fn kernel<'k>(name: &str, scalars: &'k [Scalar]) -> Result<Kernel<'k>, EvalError> {
    let slope = |is_counter, is_rate| -> Kernel<'k> {
        let slope = Slope { is_counter, is_rate };
        Box::new(move |samples, windows, out| rate::extrapolated(samples, windows, slope, out))
    };
    let instant = |is_rate| -> Kernel<'k> {
        Box::new(move |samples, windows, out| rate::instant(samples, windows, is_rate, out))
    };
    let extreme = |greatest, time| -> Kernel<'k> {
        let want = Extreme { greatest, time };
        Box::new(move |samples, windows, out| over_time::extreme(samples, windows, want, out))
    };
    let pick = |last, time| -> Kernel<'k> {
        let want = Pick { last, time };
        Box::new(move |samples, windows, out| count::pick(samples, windows, want, out))
    };
    let variance = |root| -> Kernel<'k> {
        Box::new(move |samples, windows, out| over_time::variance(samples, windows, root, out))
    };
    Ok(match (name, scalars) {
        ("rate", []) => slope(true, true),
        ("increase", []) => slope(true, false),
        ("delta", []) => slope(false, false),
        ("irate", []) => instant(true),
        ("idelta", []) => instant(false),
        ("max_over_time", []) => extreme(true, false),
        ("min_over_time", []) => extreme(false, false),
        ("ts_of_max_over_time", []) => extreme(true, true),
        ("ts_of_min_over_time", []) => extreme(false, true),
        ("first_over_time", []) => pick(false, false),
        ("last_over_time", []) => pick(true, false),
        ("ts_of_first_over_time", []) => pick(false, true),
        ("ts_of_last_over_time", []) => pick(true, true),
        ("stddev_over_time", []) => variance(true),
        ("stdvar_over_time", []) => variance(false),
        ("sum_over_time", []) => Box::new(over_time::sum),
        ("avg_over_time", []) => Box::new(over_time::avg),
        ("mad_over_time", []) => Box::new(over_time::mad),
        ("count_over_time", []) => Box::new(count::count),
        ("present_over_time" | "absent_over_time", []) => Box::new(count::present),
        ("changes", []) => Box::new(count::changes),
        ("resets", []) => Box::new(count::resets),
        ("deriv", []) => Box::new(regression::deriv),
        _ => return kernel_with_scalars(name, scalars),
    })
}

fn edge_kernel(name: &str) -> Result<Kernel<'static>, EvalError> {
    let slope = match name {
        "rate" => Slope { is_counter: true, is_rate: true },
        "increase" => Slope { is_counter: true, is_rate: false },
        "delta" => Slope { is_counter: false, is_rate: false },
        _ => return kernel(name, &[]),
    };
    Ok(Box::new(move |samples, windows, out| edges::change(samples, windows, slope, out)))
}

fn kernel_with_scalars<'k>(name: &str, scalars: &'k [Scalar]) -> Result<Kernel<'k>, EvalError> {
    Ok(match (name, scalars) {
        ("quantile_over_time", [q]) => Box::new(|samples, windows, out| {
            over_time::quantiles(samples, windows, |step| q.at(step), out)
        }),
        ("predict_linear", [ahead]) => Box::new(|samples, windows, out| {
            regression::predict(samples, windows, |step| ahead.at(step), out)
        }),
        ("double_exponential_smoothing", [level, trend]) => Box::new(|samples, windows, out| {
            let factors = |step| (level.at(step), trend.at(step));
            regression::smooth(samples, windows, factors, out)
        }),
        _ => return Err(EvalError::internal(format!("no function {name} over windows"))),
    })
}
