//! Walks the tree.

use super::data::Data;
use super::histogram::Hist;
use super::notes::Notes;
use super::value::{
    Failure, Matrix, Series, Val, Value, Vector, collect, drop_reserved, fail, merged,
};
use model::sample::HistogramSample;
use model::{LabelSet, SeriesColumns};
use promql::ast::{Call, Edges, Expr, Sign, Unary};
use promql::{EvalParams, Evaluation, InstantSample, Value as Answer, ValueType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One evaluation.
#[derive(Debug)]
pub(super) struct Naive<'a> {
    pub(super) data: &'a Data,
    pub(super) text: &'a str,
    pub(super) params: &'a EvalParams,
    pub(super) notes: Notes,
    /// How many functions around here want count and sum of histograms only …
    pub(super) totals_wanted: u32,
    /// … and how many things around here need their buckets all the same.
    pub(super) buckets_wanted: u32,
    /// Where the range ends that is evaluated: at its last step, or between that and the next.
    pub(super) end_ms: i64,
}

/// What is inside of parentheses.
pub(super) fn bare(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    expr
}

/// Functions whose result depends on the time even if their arguments do not.
const OF_TIME: &[&str] = &[
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
];

/// Whether `@` or constants make the value the same at every step: it is evaluated at the first
/// step only, so nothing in it can depend on there being others.
pub(super) fn is_fixed(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::Vector(node) => node.at.is_some(),
        Expr::Matrix(node) => node.vector.at.is_some(),
        Expr::Subquery(node) => node.at.is_some(),
        Expr::Aggregation(node) => is_fixed(&node.expr),
        Expr::Unary(node) => is_fixed(&node.expr),
        Expr::Paren(node) => is_fixed(&node.expr),
        Expr::Binary(node) => {
            is_fixed(&node.first) && node.links.iter().all(|link| is_fixed(&link.rhs))
        }
        Expr::Call(node) => is_fixed_call(node),
    }
}

fn is_fixed_call(node: &Call) -> bool {
    let name = node.function.name;
    let are_args_fixed = node.args.iter().all(is_fixed);
    if name == "timestamp" {
        return are_args_fixed && matches!(bare(&node.args[0]), Expr::Vector(_));
    }
    are_args_fixed && !OF_TIME.contains(&name)
}

impl<'a> Naive<'a> {
    pub(super) fn new(data: &'a Data, text: &'a str, params: &'a EvalParams) -> Self {
        let end_ms = if params.step_ms == 0 { params.start_ms } else { params.end_ms };
        let (totals_wanted, buckets_wanted) = (0, 0);
        Self { data, text, params, notes: Notes::default(), totals_wanted, buckets_wanted, end_ms }
    }

    pub(super) fn is_late(&self) -> bool {
        self.params.delayed_name_removal
    }

    /// The vectors of all steps as series. At one instant, a range that ends where it begins, equal
    /// labels stay apart until the end if names go then.
    pub(super) fn collect(&self, vectors: Vec<(i64, Vector)>) -> Result<Matrix, Failure> {
        let is_instant = vectors.first().is_some_and(|(time, _)| *time == self.end_ms);
        collect(vectors, is_instant && self.is_late())
    }

    /// Takes the name away, or marks it as to be taken away at the end.
    pub(super) fn drop_name(&self, labels: &mut LabelSet) {
        if !self.is_late() {
            drop_reserved(labels);
        }
    }

    /// The value of an expression at each of the steps.
    pub(super) fn eval(&mut self, expr: &Expr, steps: &[i64]) -> Result<Value, Failure> {
        if self.end_ms != steps[0] && is_fixed(expr) {
            let once = self.up_to(steps[0], expr, &steps[..1])?;
            return Ok(repeated(once, steps));
        }
        match expr {
            Expr::Number(node) => Ok(Value::Scalar(vec![node.value; steps.len()])),
            Expr::String(node) => Ok(Value::Text(node.text().into_owned())),
            Expr::Vector(node) => Ok(Value::Vector(self.selector(node, steps)?)),
            Expr::Matrix(_) | Expr::Subquery(_) => fail("a range vector stands alone"),
            Expr::Call(node) => self.call(node, steps),
            Expr::Aggregation(node) => Ok(Value::Vector(self.aggregation(node, steps)?)),
            Expr::Binary(node) => self.chain(node, node.links.len(), steps),
            Expr::Unary(node) => self.unary(node, steps),
            Expr::Paren(node) => self.eval(&node.expr, steps),
        }
    }

    /// The value at each of the steps of a range that ends at `end_ms`.
    pub(super) fn up_to(
        &mut self,
        end_ms: i64,
        expr: &Expr,
        steps: &[i64],
    ) -> Result<Value, Failure> {
        let outside = std::mem::replace(&mut self.end_ms, end_ms);
        let value = self.eval(expr, steps);
        self.end_ms = outside;
        value
    }

    pub(super) fn vector(&mut self, expr: &Expr, steps: &[i64]) -> Result<Matrix, Failure> {
        match self.eval(expr, steps)? {
            Value::Vector(matrix) => Ok(matrix),
            other => fail(format!("no vector: {other:?}")),
        }
    }

    pub(super) fn scalar(&mut self, expr: &Expr, steps: &[i64]) -> Result<Vec<f64>, Failure> {
        match self.eval(expr, steps)? {
            Value::Scalar(values) => Ok(values),
            other => fail(format!("no scalar: {other:?}")),
        }
    }

    fn unary(&mut self, node: &Unary, steps: &[i64]) -> Result<Value, Failure> {
        let value = self.eval(&node.expr, steps)?;
        if node.sign == Sign::Plus {
            return Ok(value);
        }
        match value {
            Value::Scalar(values) => Ok(Value::Scalar(values.iter().map(|value| -value).collect())),
            Value::Vector(mut matrix) => {
                for series in &mut matrix {
                    self.drop_name(&mut series.labels);
                    series.drop_name = true;
                    series.points.values_mut().for_each(|value| *value = negated(value));
                }
                Ok(Value::Vector(if self.is_late() { matrix } else { merged(matrix)? }))
            }
            Value::Text(text) => Ok(Value::Text(text)),
        }
    }

    /// The whole query.
    pub(super) fn answer(mut self, expr: &Expr) -> Result<Evaluation, Failure> {
        let steps = steps(self.params);
        let value = match bare(expr) {
            inner @ (Expr::Matrix(_) | Expr::Subquery(_)) => self.whole_windows(inner, &steps)?,
            _ => {
                let value = self.eval(expr, &steps)?;
                self.finished(value, expr, &steps)?
            }
        };
        let (warnings, infos) = self.notes.texts(self.text);
        Ok(Evaluation { value, warnings, infos })
    }

    fn finished(&self, value: Value, expr: &Expr, steps: &[i64]) -> Result<Answer, Failure> {
        let time = steps[0];
        let is_instant = self.params.step_ms == 0;
        Ok(match value {
            Value::Text(text) => Answer::String { timestamp_ms: time, text },
            Value::Scalar(values) if is_instant => {
                Answer::Scalar { timestamp_ms: time, value: values[0] }
            }
            Value::Scalar(values) => {
                let points =
                    steps.iter().copied().zip(values.into_iter().map(Val::Float)).collect();
                let series = Series { labels: LabelSet::default(), drop_name: false, points };
                Answer::Matrix(vec![columns(series)])
            }
            Value::Vector(mut matrix) => {
                if self.is_late() {
                    matrix.iter_mut().filter(|of| of.drop_name).for_each(|series| {
                        drop_reserved(&mut series.labels);
                    });
                    matrix = merged(matrix)?;
                }
                if is_instant {
                    let sample = |series: Series| {
                        let value = series.points.values().next()?;
                        Some(instant_sample(series.labels, time, value))
                    };
                    return Ok(Answer::Vector(matrix.into_iter().filter_map(sample).collect()));
                }
                debug_assert_eq!(expr.value_type(), ValueType::Vector);
                sorted(matrix)
            }
        })
    }

    /// The samples of a range vector itself.
    fn whole_windows(&mut self, expr: &Expr, steps: &[i64]) -> Result<Answer, Failure> {
        let vector = self.range_vector(expr, steps)?;
        let is_late = self.is_late();
        let mut matrix = Matrix::new();
        for mut series in vector.series {
            let mut window = series.windows.remove(0);
            if vector.edges != Edges::Plain {
                if !window.histograms.is_empty() {
                    let modifier =
                        if vector.edges == Edges::Anchored { "anchored" } else { "smoothed" };
                    return fail(format!("{modifier} modifier is not supported with histograms"));
                }
                super::rate::extend(&mut window, vector.edges);
            }
            if series.drop_name && is_late {
                drop_reserved(&mut series.labels);
            }
            let floats = window.points.iter().map(|point| (point.time, Val::Float(point.value)));
            let histograms = window.histograms.iter();
            let histograms =
                histograms.map(|point| (point.time, Val::Histogram(Arc::clone(&point.value))));
            let points: BTreeMap<i64, Val> = floats.chain(histograms).collect();
            if !points.is_empty() {
                matrix.push(Series { labels: series.labels, drop_name: false, points });
            }
        }
        Ok(sorted(if is_late { merged(matrix)? } else { matrix }))
    }
}

fn negated(value: &Val) -> Val {
    match value {
        Val::Float(value) => Val::Float(-value),
        Val::Histogram(of) => Val::histogram(Hist::clone(of).mul(-1.0)),
    }
}

fn instant_sample(labels: LabelSet, timestamp_ms: i64, value: &Val) -> InstantSample {
    let (value, histogram) = match value {
        Val::Float(value) => (*value, None),
        Val::Histogram(of) => (f64::NAN, Some(Arc::new(of.stored()))),
    };
    InstantSample { labels, timestamp_ms, value, histogram }
}

fn sorted(mut matrix: Matrix) -> Answer {
    matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
    Answer::Matrix(matrix.into_iter().map(columns).collect())
}

fn columns(series: Series) -> SeriesColumns {
    let mut columns = SeriesColumns { labels: series.labels, ..SeriesColumns::default() };
    for (time, value) in series.points {
        match value {
            Val::Float(value) => columns.floats.push(time, value),
            Val::Histogram(of) => columns.histograms.push_sample(HistogramSample {
                timestamp_ms: time,
                histogram: Arc::new(of.stored()),
                start_timestamp_ms: 0,
                revision: 0,
            }),
        }
    }
    columns
}

fn steps(params: &EvalParams) -> Vec<i64> {
    if params.step_ms == 0 {
        return vec![params.start_ms];
    }
    let count = (params.end_ms - params.start_ms) / params.step_ms;
    (0..=count).map(|index| params.start_ms + index * params.step_ms).collect()
}

/// The value of the first step at all steps.
pub(super) fn repeated(once: Value, steps: &[i64]) -> Value {
    match once {
        Value::Scalar(values) => Value::Scalar(vec![values[0]; steps.len()]),
        Value::Text(text) => Value::Text(text),
        Value::Vector(mut matrix) => {
            for series in &mut matrix {
                let value = series.points.values().next().expect("a series has a sample").clone();
                series.points = steps.iter().map(|time| (*time, value.clone())).collect();
            }
            Value::Vector(matrix)
        }
    }
}
