//! Calls: which function, over windows or over an instant vector.

use super::error::EvalError;
use super::evaluator::{Evaluator, bare};
use super::grid::Grid;
use super::selector::{self, RangeVector, Sink};
use super::value::{ABSENT, Scalar, Series, Val, drop_reserved, is_absent};
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
    let mut vector =
        selector::collected(ctx, |sink| each_over_windows(ctx, node, (index, arg), grid, sink))?;
    if !ctx.params.delayed_name_removal {
        let drops = vector.iter_mut().filter(|series| series.drop_name);
        drops.for_each(|series| drop_reserved(&mut series.labels));
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

/// Evaluates a call over the windows of a selector, series by series, with the names that they are to
/// lose.
pub(crate) fn each(
    ctx: &Evaluator<'_>,
    node: &Call,
    grid: Grid,
    sink: Sink<'_>,
) -> Result<(), EvalError> {
    let mut args = node.args.iter().map(bare).enumerate();
    let Some(range) = args.find(|(_, arg)| matches!(arg, Expr::Matrix(_))) else {
        return Err(EvalError::internal("this is no leaf"));
    };
    each_over_windows(ctx, node, range, grid, sink)
}

/// Whether the series of a call over windows lose their metric's name.
pub(crate) fn drops_name(node: &Call) -> bool {
    !["last_over_time", "first_over_time"].contains(&node.function.name)
}

fn each_over_windows(
    ctx: &Evaluator<'_>,
    node: &Call,
    (index, arg): (usize, &Expr),
    grid: Grid,
    sink: Sink<'_>,
) -> Result<(), EvalError> {
    let Some(range) = selector::range(ctx, arg, grid)? else {
        return Err(EvalError::internal("a range vector was expected"));
    };
    let RangeVector { series, windows } = range;
    let mut scalars = Vec::new();
    for (other, arg) in node.args.iter().enumerate() {
        if other != index {
            scalars.push(ctx.eval_scalar(bare(arg), grid)?);
        }
    }
    let name = node.function.name;
    check_edges(name, windows.edges)?;
    let kernel = match windows.edges {
        Edges::Plain => kernel(name, &scalars)?,
        _ => edge_kernel(name)?,
    };
    let work = Work { ctx, node, blamed: blamed(node, index), windows, kernel };
    let (mut asked, mut column) = (Asked::new(&scalars, grid.len), Vec::new());
    for series in series {
        let mut series = series?;
        if !mixed::knows_starts(name) {
            series.starts = Starts::default();
        }
        column = work.run(&series, column, sink)?;
        if has_params(name) {
            asked.look(&series, &work.windows);
        }
    }
    asked.finish(&work)
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

/// What is to be done with each series.
struct Work<'a, 'e> {
    ctx: &'a Evaluator<'e>,
    node: &'a Call,
    blamed: Span,
    windows: Windows<'a>,
    kernel: Kernel<'a>,
}

impl Work<'_, '_> {
    /// Works a series out, in a column that may have been another one's, and hands it on. Answers a
    /// column that is free again.
    fn run(
        &self,
        series: &RangeSeries<'_>,
        mut column: Vec<f64>,
        sink: Sink<'_>,
    ) -> Result<Vec<f64>, EvalError> {
        let (ctx, windows, name) = (self.ctx, &self.windows, self.node.function.name);
        ctx.budget.tick(series.samples.values.len())?;
        column.clear();
        column.resize(windows.grid.len, ABSENT);
        let mut result = Series::floats(series.labels.as_ref().clone(), series.drop_name, column);
        let floats_only = |out: &mut [f64]| (self.kernel)(&series.samples, windows, out);
        if series.is_plain() {
            let most = floats_only(&mut result.values);
            ctx.budget.check()?;
            ctx.budget.fits(most as u64)?;
        } else {
            let metric = series.labels.metric_name();
            let about = mixed::About { ctx, metric, span: self.blamed };
            mixed::run(&about, name, series, windows, &mut result, floats_only)?;
        }
        if !result.is_present() {
            return Ok(result.values);
        }
        if name == "rate" || name == "increase" {
            check_name(ctx, &result, self.blamed);
        }
        result.drop_name |= drops_name(self.node);
        sink(result)
    }
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

/// Whether a function's parameters are looked at where there are samples.
fn has_params(name: &str) -> bool {
    ["quantile_over_time", "double_exponential_smoothing"].contains(&name)
}

/// Where parameters were looked at, and what is wrong with them there.
struct Asked<'s> {
    scalars: &'s [Scalar],
    /// The steps at which the window of some series has a float.
    has: Vec<bool>,
    fault: Option<String>,
}

impl<'s> Asked<'s> {
    fn new(scalars: &'s [Scalar], len: usize) -> Self {
        Self { scalars, has: vec![false; len], fault: None }
    }

    fn look(&mut self, series: &RangeSeries<'_>, windows: &Windows<'_>) {
        match self.scalars {
            // One step is enough for what is the same at all of them.
            [Scalar::Same(_)] if self.has.contains(&true) => {}
            [_] => {
                windows.slide(&series.samples.times_ms, |window| self.has[window.step] = true);
            }
            // Asked where there are samples only; the first series says which fault is named.
            [level, trend] if self.fault.is_none() => {
                let mut steps = filled_steps(series, windows).into_iter();
                self.fault = steps
                    .find_map(|step| regression::smoothing_fault(level.at(step), trend.at(step)));
            }
            _ => {}
        }
    }

    fn finish(self, work: &Work<'_, '_>) -> Result<(), EvalError> {
        if let Some(fault) = self.fault {
            return Err(EvalError::Unexecutable(fault));
        }
        let [q] = self.scalars else { return Ok(()) };
        let steps = self.has.iter().enumerate().filter(|(_, has)| **has).map(|(step, _)| step);
        let at_most = if matches!(q, Scalar::Same(_)) { 1 } else { self.has.len() };
        for q in steps.take(at_most).map(|step| q.at(step)) {
            if !(0.0..=1.0).contains(&q) {
                work.ctx.note(|notes| notes.invalid_quantile(q, work.blamed));
            }
        }
        Ok(())
    }
}

/// The steps at which the window of a series has a sample of either kind.
fn filled_steps(series: &RangeSeries<'_>, windows: &Windows<'_>) -> Vec<usize> {
    let mut has = vec![false; windows.grid.len];
    let (floats_ms, histograms_ms) = (&series.samples.times_ms, &series.histograms.times_ms);
    // When the evaluation is to stop, the caller looks.
    let _ = windows.slide_both(floats_ms, histograms_ms, |both| {
        has[both.step] = true;
        Ok(())
    });
    (0..has.len()).filter(|step| has[*step]).collect()
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
