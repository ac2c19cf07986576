//! Selectors: which samples an instant or a window sees.

use super::data::{HPoint, Newest, Point, Stored, is_end, is_stale};
use super::eval::{Naive, bare};
use super::histogram::Hist;
use super::value::{Failure, Matrix, Series, Val, Value, fail};
use model::LabelSet;
use model::histogram::ResetHint;
use promql::ast::{At, Edges, Expr, MatrixSelector, Subquery, VectorSelector};
use promql::duration::{Duration, DurationExpr, DurationKind, DurationOp};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The samples of a series that a function sees at a step.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Without stale markers; if the edges are extended, from and to a lookback outside.
    pub(super) points: Vec<Point>,
    pub(super) histograms: Vec<HPoint>,
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
        let refused = |why: &str| fail(format!("{}:{}: {why}", expr.span.start, expr.span.end));
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
                    let place = format!("{}:{}", expr.span.start, rhs.span.end);
                    let rhs = self.seconds(rhs)?;
                    value = match op {
                        DurationOp::Div if rhs == 0.0 => {
                            return fail(format!("{place}: division by zero"));
                        }
                        DurationOp::Mod if rhs == 0.0 => {
                            return fail(format!("{place}: modulo by zero"));
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
    pub(super) fn latest(&self, of: &Stored, moment: i64) -> Option<Newest> {
        let newest = of.newest(moment - self.params.lookback_ms, moment)?;
        (!is_end(&newest.2)).then_some(newest)
    }

    /// Evaluates something that needs the buckets of histograms.
    pub(super) fn with_buckets<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        self.buckets_wanted += 1;
        let value = f(self);
        self.buckets_wanted -= 1;
        value
    }

    /// A series as a selector sees it. Where only count and sum of histograms are wanted, upstream
    /// leaves the buckets away and finds resets beforehand, between the samples after `first`.
    fn visible<'s>(&self, stored: &'s Stored, first: i64) -> Cow<'s, Stored> {
        if self.totals_wanted == 0 || self.buckets_wanted > 0 {
            return Cow::Borrowed(stored);
        }
        let mut seen = stored.clone();
        let mut before: Option<&Hist> = None;
        for (of, point) in stored.histograms.iter().zip(&mut seen.histograms) {
            let mut hint = of.value.hint;
            if is_stale(of.value.sum) {
                continue;
            }
            if let (ResetHint::Unknown, Some(before)) = (hint, before) {
                let is_reset = of.value.is_reset_after(before);
                hint = if is_reset { ResetHint::Yes } else { ResetHint::No };
            }
            before = (of.time > first).then_some(&*of.value);
            let Hist { schema, count, sum, .. } = *of.value;
            point.value = Arc::new(Hist { schema, count, sum, hint, ..Hist::default() });
        }
        Cow::Owned(seen)
    }

    /// `name{…}` at each step.
    pub(super) fn selector(
        &mut self,
        node: &VectorSelector,
        steps: &[i64],
    ) -> Result<Matrix, Failure> {
        let offset_ms = self.duration(&node.offset, false)?;
        let mut matrix = Matrix::new();
        let data = self.data;
        let first = self.moment(node.at, offset_ms, steps[0]) - self.params.lookback_ms;
        for stored in data.select(&node.matchers) {
            let stored = &*self.visible(stored, first);
            let mut points = BTreeMap::new();
            for time in steps {
                let moment = self.moment(node.at, offset_ms, *time);
                let value = match node.edges {
                    Edges::Smoothed => self.smoothed(stored, moment, node.span),
                    _ => self.latest(stored, moment).map(|newest| newest.2),
                };
                points.extend(value.map(|value| (*time, value)));
            }
            matrix.push(Series { labels: stored.labels.clone(), drop_name: false, points });
        }
        matrix.retain(|series| !series.points.is_empty());
        Ok(matrix)
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
            seen((&stored.floats, &stored.histograms), (start - before, end + after), (start, end))
        };
        let first = self.moment(node.vector.at, offset_ms, steps[0]) - range_ms - before;
        let of = |stored: &Stored| RangeSeries {
            labels: stored.labels.clone(),
            drop_name: false,
            windows: {
                let stored = &*self.visible(stored, first);
                steps.iter().map(|time| window(stored, *time)).collect()
            },
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
            false => match self.with_buckets(|naive| naive.up_to(last, &node.expr, &inner))? {
                Value::Vector(matrix) => matrix,
                other => return fail(format!("no vector: {other:?}")),
            },
        };
        let of = |series: Series| {
            let (mut floats, mut histograms) = (Vec::new(), Vec::new());
            for (time, value) in &series.points {
                let (time, start) = (*time, 0);
                match value {
                    Val::Float(value) => floats.push(Point { time, start, value: *value }),
                    Val::Histogram(of) => {
                        // What a subquery leaves out may hide a reset, or show one twice.
                        let mut of = Hist::clone(of);
                        if of.hint != ResetHint::Gauge {
                            of.hint = ResetHint::Unknown;
                        }
                        histograms.push(HPoint { time, start, value: Arc::new(of) });
                    }
                }
            }
            let window = |end: &i64| {
                let range = (end - range_ms, *end);
                seen((&floats, &histograms), range, range)
            };
            let windows = ends.iter().map(window).collect();
            RangeSeries { labels: series.labels, drop_name: series.drop_name, windows }
        };
        let series = matrix.into_iter().map(of).collect();
        Ok(RangeVector { range_ms, edges: Edges::Plain, series })
    }
}

/// The samples after `from`, up to `to`, without stale markers, as the window of a range.
pub(super) fn seen(
    (floats, histograms): (&[Point], &[HPoint]),
    (from, to): (i64, i64),
    (start, end): (i64, i64),
) -> Window {
    let is_in = |time: i64| time > from && time <= to;
    let points = floats.iter().filter(|point| is_in(point.time) && !is_stale(point.value));
    let histograms =
        histograms.iter().filter(|point| is_in(point.time) && !is_stale(point.value.sum));
    Window {
        points: points.copied().collect(),
        histograms: histograms.cloned().collect(),
        start,
        end,
    }
}

/// The value at `time` on the line through two samples; a counter that fell started from 0.
pub(super) fn between(a: Point, b: Point, time: i64, is_counter: bool) -> f64 {
    let from = if is_counter && b.value < a.value { 0.0 } else { a.value };
    from + (b.value - from) * (time - a.time) as f64 / (b.time - a.time) as f64
}
