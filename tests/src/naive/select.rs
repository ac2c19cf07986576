//! Selectors: which samples an instant or a window sees.

use super::data::{Point, Stored, is_stale};
use super::eval::{Naive, bare};
use super::value::{Failure, Matrix, Series, Value, fail};
use model::LabelSet;
use promql::ast::{At, Edges, Expr, MatrixSelector, Subquery, VectorSelector};
use promql::duration::{Duration, DurationExpr, DurationKind, DurationOp};
use promql::line_column;

/// The samples of a series that a function sees at a step.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Without stale markers; if the edges are extended, from and to a lookback outside.
    pub(super) points: Vec<Point>,
    /// Samples after it are in the window …
    pub(super) start: i64,
    /// … up to and at this.
    pub(super) end: i64,
}

/// A series of a range vector.
#[derive(Clone, Debug)]
pub(super) struct RangeSeries {
    pub(super) labels: LabelSet,
    pub(super) drop_name: bool,
    /// One for each step.
    pub(super) windows: Vec<Window>,
}

/// A range vector.
#[derive(Clone, Debug)]
pub(super) struct RangeVector {
    pub(super) range_ms: i64,
    pub(super) edges: Edges,
    pub(super) series: Vec<RangeSeries>,
}

impl Naive<'_> {
    /// The milliseconds of a duration, above zero if it has to be.
    pub(super) fn duration(&self, of: &Duration, is_positive: bool) -> Result<i64, Failure> {
        let expr = match of {
            Duration::Fixed(ms) => return Ok(*ms),
            Duration::Expr(expr) => expr,
        };
        let place = |at| line_column(self.text, at);
        let refused = |why: &str| fail(format!("{}: parse error: {why}", place(expr.span.start)));
        let seconds = self.seconds(expr)?;
        if !seconds.is_finite() {
            return refused("duration is NaN or infinite");
        }
        if is_positive && seconds <= 0.0 {
            return refused("duration must be greater than 0");
        }
        if seconds.abs() > 9_223_372_036.854_776 {
            return refused("duration is out of range");
        }
        #[expect(clippy::cast_possible_truncation, reason = "toward zero, as upstream")]
        let ms = (seconds * 1000.0) as i64;
        Ok(ms)
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64, Failure> {
        let start = |expr: &DurationExpr| line_column(self.text, expr.span.start);
        Ok(match &expr.kind {
            DurationKind::Number { value, .. } => *value,
            DurationKind::Step => self.params.step_ms as f64 / 1000.0,
            DurationKind::Range => (self.params.end_ms - self.params.start_ms) as f64 / 1000.0,
            DurationKind::MinOf(two) => {
                super::numbers::go_min(self.seconds(&two[0])?, self.seconds(&two[1])?)
            }
            DurationKind::MaxOf(two) => {
                super::numbers::go_max(self.seconds(&two[0])?, self.seconds(&two[1])?)
            }
            DurationKind::Minus(of) => -self.seconds(of)?,
            DurationKind::Paren(of) => self.seconds(of)?,
            DurationKind::Chain { first, links } => {
                let mut value = self.seconds(first)?;
                for (op, rhs) in links {
                    let rhs = self.seconds(rhs)?;
                    value = match op {
                        DurationOp::Div if rhs == 0.0 => {
                            return fail(format!("{}: parse error: division by zero", start(expr)));
                        }
                        DurationOp::Mod if rhs == 0.0 => {
                            return fail(format!("{}: parse error: modulo by zero", start(expr)));
                        }
                        DurationOp::Add => value + rhs,
                        DurationOp::Sub => value - rhs,
                        DurationOp::Mul => value * rhs,
                        DurationOp::Div => value / rhs,
                        DurationOp::Mod => value % rhs,
                        DurationOp::Pow => value.powf(rhs),
                    };
                }
                value
            }
        })
    }

    /// The moment a selector looks at when the evaluation is at `time`.
    pub(super) fn moment(&self, at: Option<At>, offset_ms: i64, time: i64) -> i64 {
        let base = match at {
            None => time,
            Some(At::Time(time)) => time,
            Some(At::Start) => self.params.start_ms,
            Some(At::End) => self.params.end_ms,
        };
        base - offset_ms
    }

    /// The sample a series has at a moment, if it is not stale.
    pub(super) fn latest(&self, of: &Stored, moment: i64) -> Option<Point> {
        let is_seen = |p: &&Point| p.time <= moment && p.time > moment - self.params.lookback_ms;
        let point = of.points.iter().rev().find(is_seen)?;
        (!is_stale(point.value)).then_some(*point)
    }

    /// `name{…}` at each step.
    pub(super) fn selector(&self, node: &VectorSelector, steps: &[i64]) -> Result<Matrix, Failure> {
        let offset_ms = self.duration(&node.offset, false)?;
        let mut matrix = Matrix::new();
        for stored in self.data.select(&node.matchers) {
            let value = |time: i64| {
                let moment = self.moment(node.at, offset_ms, time);
                match node.edges {
                    Edges::Smoothed => self.smoothed(stored, moment),
                    _ => self.latest(stored, moment).map(|point| point.value),
                }
            };
            let points = steps.iter().filter_map(|time| Some((*time, value(*time)?))).collect();
            matrix.push(Series { labels: stored.labels.clone(), drop_name: false, points });
        }
        matrix.retain(|series| !series.points.is_empty());
        Ok(matrix)
    }

    /// The value on the line between the samples before and after a moment; if there is none after
    /// it, the one before.
    fn smoothed(&self, of: &Stored, moment: i64) -> Option<f64> {
        let lookback_ms = self.params.lookback_ms;
        let points = seen(&of.points, moment - lookback_ms, moment + lookback_ms);
        let after = points.iter().find(|point| point.time >= moment);
        let before = points.iter().rev().find(|point| point.time < moment);
        match (before, after) {
            (_, Some(after)) if after.time == moment => Some(after.value),
            (Some(before), Some(after)) => Some(between(*before, *after, moment, false)),
            (Some(before), None) => Some(before.value),
            (None, _) => None,
        }
    }

    /// A range vector: a range selector or a subquery.
    pub(super) fn range_vector(
        &mut self,
        expr: &Expr,
        steps: &[i64],
    ) -> Result<RangeVector, Failure> {
        match bare(expr) {
            Expr::Matrix(node) => self.range_selector(node, steps),
            Expr::Subquery(node) => self.subquery(node, steps),
            other => fail(format!("no range vector: {other:?}")),
        }
    }

    fn range_selector(&self, node: &MatrixSelector, steps: &[i64]) -> Result<RangeVector, Failure> {
        let range_ms = self.duration(&node.range, true)?;
        let offset_ms = self.duration(&node.vector.offset, false)?;
        let edges = node.vector.edges;
        let (before, after) = match edges {
            Edges::Plain => (0, 0),
            Edges::Anchored => (self.params.lookback_ms, 0),
            Edges::Smoothed => (self.params.lookback_ms, self.params.lookback_ms),
        };
        let window = |stored: &Stored, time: i64| {
            let end = self.moment(node.vector.at, offset_ms, time);
            let start = end - range_ms;
            Window { points: seen(&stored.points, start - before, end + after), start, end }
        };
        let of = |stored: &Stored| RangeSeries {
            labels: stored.labels.clone(),
            drop_name: false,
            windows: steps.iter().map(|time| window(stored, *time)).collect(),
        };
        let series = self.data.select(&node.vector.matchers).into_iter().map(of).collect();
        Ok(RangeVector { range_ms, edges, series })
    }

    /// Evaluates at the multiples of the step from the first window's start to the last one's end.
    fn subquery(&mut self, node: &Subquery, steps: &[i64]) -> Result<RangeVector, Failure> {
        let range_ms = self.duration(&node.range, true)?;
        let offset_ms = self.duration(&node.offset, false)?;
        let step_ms = match &node.step {
            Some(step) => self.duration(step, true)?,
            None => self.params.subquery_step_ms,
        };
        if step_ms == 0 {
            return fail("a subquery's step is below a millisecond");
        }
        let ends: Vec<i64> =
            steps.iter().map(|time| self.moment(node.at, offset_ms, *time)).collect();
        let (first, last) = (ends[0] - range_ms, ends[ends.len() - 1]);
        let mut time = step_ms * (first / step_ms);
        if time <= first {
            time += step_ms;
        }
        let mut inner = Vec::new();
        while time <= last {
            inner.push(time);
            time += step_ms;
        }
        let matrix = match inner.is_empty() {
            true => Matrix::new(),
            false => match self.eval(&node.expr, &inner)? {
                Value::Vector(matrix) => matrix,
                other => return fail(format!("no vector: {other:?}")),
            },
        };
        let of = |series: Series| {
            let points: Vec<Point> = series
                .points
                .iter()
                .map(|(time, value)| Point { time: *time, value: *value })
                .collect();
            let window = |end: &i64| {
                let start = end - range_ms;
                Window { points: seen(&points, start, *end), start, end: *end }
            };
            let windows = ends.iter().map(window).collect();
            RangeSeries { labels: series.labels, drop_name: series.drop_name, windows }
        };
        let series = matrix.into_iter().map(of).collect();
        Ok(RangeVector { range_ms, edges: Edges::Plain, series })
    }
}

/// The samples after `start`, up to `end`, without stale markers.
fn seen(points: &[Point], start: i64, end: i64) -> Vec<Point> {
    let is_in = |point: &&Point| point.time > start && point.time <= end && !is_stale(point.value);
    points.iter().filter(is_in).copied().collect()
}

/// The value at `time` on the line through two samples; a counter that fell started from 0.
pub(super) fn between(a: Point, b: Point, time: i64, is_counter: bool) -> f64 {
    let from = if is_counter && b.value < a.value { 0.0 } else { a.value };
    from + (b.value - from) * (time - a.time) as f64 / (b.time - a.time) as f64
}
