//! Calls of functions.

use super::eval::{Naive, bare};
use super::instant::{apply, round, seconds};
use super::numbers::{go_max, go_min, percent_g};
use super::select::{RangeSeries, RangeVector, Window};
use super::value::{Failure, Matrix, Sample, Series, Value, Vector, at, collect, distinct, fail};
use super::{dates, labels, over_time, rate};
use model::{LabelSet, METRIC_NAME, MatchOp, Matcher};
use promql::ValueType;
use promql::ast::{Call, Edges, Expr};
use std::cmp::Ordering;

impl Naive<'_> {
    pub(super) fn call(&mut self, node: &Call, steps: &[i64]) -> Result<Value, Failure> {
        let name = node.function.name;
        if let Some(value) = self.constant(name) {
            return Ok(Value::Scalar(vec![value; steps.len()]));
        }
        if let Some(values) = self.scalars(node, steps)? {
            return Ok(Value::Scalar(values));
        }
        if node.function.args.contains(&ValueType::Matrix) {
            return Ok(Value::Vector(self.over_windows(node, steps)?));
        }
        let matrix = match name {
            "label_replace" => labels::replace(self, node, steps)?,
            "label_join" => labels::join(self, node, steps)?,
            "info" => self.info(node, steps)?,
            _ => self.over_vectors(node, steps)?,
        };
        Ok(Value::Vector(matrix))
    }

    /// Functions of the query alone.
    fn constant(&self, name: &str) -> Option<f64> {
        let (start_ms, end_ms) = (self.params.start_ms, self.params.end_ms);
        Some(match name {
            "pi" => std::f64::consts::PI,
            "start" => start_ms as f64 / 1000.0,
            "end" => end_ms as f64 / 1000.0,
            "range" => (end_ms - start_ms) as f64 / 1000.0,
            "step" if start_ms == end_ms => 0.0,
            "step" => self.params.step_ms as f64 / 1000.0,
            _ => return None,
        })
    }

    /// Functions that answer a scalar.
    fn scalars(&mut self, node: &Call, steps: &[i64]) -> Result<Option<Vec<f64>>, Failure> {
        Ok(Some(match node.function.name {
            "time" => steps.iter().map(|time| *time as f64 / 1000.0).collect(),
            "scalar" => {
                let matrix = self.vector(bare(&node.args[0]), steps)?;
                let of = |time: &i64| match &at(&matrix, *time)[..] {
                    [one] => one.value,
                    _ => f64::NAN,
                };
                steps.iter().map(of).collect()
            }
            name @ ("max_of" | "min_of") => {
                let a = self.scalar(bare(&node.args[0]), steps)?;
                let b = self.scalar(bare(&node.args[1]), steps)?;
                let pick = if name == "max_of" { go_max } else { go_min };
                a.iter().zip(&b).map(|(a, b)| pick(*a, *b)).collect()
            }
            _ => return Ok(None),
        }))
    }

    /// Functions of instant vectors, step by step.
    fn over_vectors(&mut self, node: &Call, steps: &[i64]) -> Result<Matrix, Failure> {
        let name = node.function.name;
        if let ("timestamp" | "start_timestamp", Expr::Vector(selector)) =
            (name, bare(&node.args.first().unwrap_or(&Expr::String(no_text()))))
        {
            return self.timestamps(node, selector, steps);
        }
        let mut args = Vec::new();
        for arg in &node.args {
            args.push(self.eval(bare(arg), steps)?);
        }
        if name.starts_with("sort") && steps.len() > 1 {
            let text =
                "sort is ineffective for range queries since results are always ordered by labels";
            self.notes.warn(text, node.span);
        }
        let mut vectors = Vec::new();
        for (index, time) in steps.iter().enumerate() {
            let mut vector = Vector::new();
            let mut scalars = Vec::new();
            for arg in &args {
                match arg {
                    Value::Vector(matrix) => vector = at(matrix, *time),
                    Value::Scalar(values) => scalars.push(values[index]),
                    Value::Text(_) => {}
                }
            }
            vectors.push((*time, self.step(node, *time, vector, &scalars)?));
        }
        collect(vectors, self.is_late())
    }

    /// A function at one step: of the vector and the scalars among its arguments.
    fn step(
        &mut self,
        node: &Call,
        time: i64,
        vector: Vector,
        scalars: &[f64],
    ) -> Result<Vector, Failure> {
        let name = node.function.name;
        if dates::part(name, 0).is_some() {
            if node.args.is_empty() {
                let value = dates::part(name, time / 1000).unwrap_or(f64::NAN);
                let labels = LabelSet::default();
                return Ok(vec![Sample { labels, drop_name: false, value }]);
            }
            let part = |value| dates::part(name, seconds(value)).unwrap_or(f64::NAN);
            return Ok(self.mapped(vector, part));
        }
        if apply(name, 0.0).is_some() {
            return Ok(self.mapped(vector, |value| apply(name, value).unwrap_or(f64::NAN)));
        }
        let scalar = |index: usize| scalars.get(index).copied();
        Ok(match name {
            "vector" => {
                let value = scalar(0).unwrap_or(f64::NAN);
                vec![Sample { labels: LabelSet::default(), drop_name: false, value }]
            }
            "round" => self.mapped(vector, |value| round(value, scalar(0).unwrap_or(1.0))),
            "clamp" | "clamp_min" | "clamp_max" => {
                let (min, max) = match name {
                    "clamp_min" => (scalars[0], f64::INFINITY),
                    "clamp_max" => (f64::NEG_INFINITY, scalars[0]),
                    _ => (scalars[0], scalars[1]),
                };
                if max < min {
                    return Ok(Vector::new());
                }
                self.mapped(vector, |value| go_max(min, go_min(max, value)))
            }
            "timestamp" => self.mapped(vector, |_| time as f64 / 1000.0),
            "absent" if vector.is_empty() => {
                let labels = absent_labels(bare(&node.args[0]));
                vec![Sample { labels, drop_name: false, value: 1.0 }]
            }
            "sort" => sorted(vector, |a, b| a.partial_cmp(&b)),
            "sort_desc" => sorted(vector, |a, b| b.partial_cmp(&a)),
            "sort_by_label" => labels::sorted(node, vector, false),
            "sort_by_label_desc" => labels::sorted(node, vector, true),
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                self.buckets(node, time, vector, scalars)?
            }
            // Functions of native histograms, and start timestamps of what has none.
            _ => Vector::new(),
        })
    }

    fn mapped(&self, mut vector: Vector, of: impl Fn(f64) -> f64) -> Vector {
        for sample in &mut vector {
            self.drop_name(&mut sample.labels);
            sample.drop_name = true;
            sample.value = of(sample.value);
        }
        vector
    }

    /// `timestamp(selector)`: when the sample was taken.
    fn timestamps(
        &mut self,
        node: &Call,
        selector: &promql::ast::VectorSelector,
        steps: &[i64],
    ) -> Result<Matrix, Failure> {
        if node.function.name != "timestamp" {
            return Ok(Matrix::new());
        }
        let offset_ms = self.duration(&selector.offset, false)?;
        let mut vectors = Vec::new();
        for time in steps {
            let mut vector = Vector::new();
            for stored in self.data.select(&selector.matchers) {
                let moment = self.moment(selector.at, offset_ms, *time);
                let Some(point) = self.latest(stored, moment) else { continue };
                let mut labels = stored.labels.clone();
                self.drop_name(&mut labels);
                vector.push(Sample { labels, drop_name: true, value: point.time as f64 / 1000.0 });
            }
            vectors.push((*time, vector));
        }
        collect(vectors, self.is_late())
    }

    /// Functions of range vectors, series by series.
    fn over_windows(&mut self, node: &Call, steps: &[i64]) -> Result<Matrix, Failure> {
        let name = node.function.name;
        let is_matrix = |arg: &&Expr| arg.value_type() == ValueType::Matrix;
        let Some(arg) = node.args.iter().find(is_matrix) else { return fail("no range vector") };
        let vector = self.range_vector(arg, steps)?;
        let mut scalars = Vec::new();
        for arg in node.args.iter().filter(|arg| !is_matrix(arg)) {
            scalars.push(self.scalar(bare(arg), steps)?);
        }
        check_edges(name, vector.edges)?;
        if name == "absent_over_time" {
            return Ok(absent_over_time(node, &vector, steps));
        }
        let is_name_kept = matches!(name, "last_over_time" | "first_over_time");
        let mut matrix = Matrix::new();
        for series in &vector.series {
            let drop_name = series.drop_name || !is_name_kept;
            let mut labels = series.labels.clone();
            if drop_name {
                self.drop_name(&mut labels);
            }
            let mut out = Series { labels, drop_name, points: [].into() };
            for (index, time) in steps.iter().enumerate() {
                let scalars: Vec<f64> = scalars.iter().map(|values| values[index]).collect();
                let window = &series.windows[index];
                if window.points.is_empty() {
                    continue;
                }
                if let Some(value) = self.window(node, &vector, window, *time, &scalars)? {
                    out.points.insert(*time, value);
                }
            }
            if !out.points.is_empty() {
                matrix.push(out);
                self.check_counter(node, series);
            }
        }
        if self.is_late() { Ok(matrix) } else { distinct(matrix) }
    }

    fn check_counter(&mut self, node: &Call, series: &RangeSeries) {
        let metric = series.labels.metric_name();
        let suffixes = ["_total", "_sum", "_count", "_bucket"];
        let is_counter = suffixes.iter().any(|suffix| metric.ends_with(suffix));
        let is_asked = matches!(node.function.name, "rate" | "increase");
        if is_asked && !metric.is_empty() && !is_counter {
            let text = format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \
                 {metric:?}"
            );
            self.notes.inform(text, blamed(node));
        }
    }

    /// A function of a window.
    fn window(
        &mut self,
        node: &Call,
        vector: &RangeVector,
        window: &Window,
        time: i64,
        scalars: &[f64],
    ) -> Result<Option<f64>, Failure> {
        let points = &window.points[..];
        let (range_ms, edges) = (vector.range_ms, vector.edges);
        let rate = |is_counter, is_rate| match edges {
            Edges::Plain => rate::rate(window, range_ms, is_counter, is_rate),
            _ => rate::extended_rate(window, edges, range_ms, is_counter, is_rate),
        };
        let values = || points.iter().map(|point| point.value).collect::<Vec<f64>>();
        Ok(match node.function.name {
            "rate" => rate(true, true),
            "increase" => rate(true, false),
            "delta" => rate(false, false),
            "irate" => rate::instant(points, true),
            "idelta" => rate::instant(points, false),
            "changes" => rate::anchored(window, edges).map(over_time::changes),
            "resets" => rate::anchored(window, edges).map(over_time::resets),
            "deriv" if points.len() < 2 => None,
            "deriv" => Some(over_time::line(points, points[0].time).0),
            "predict_linear" if points.len() < 2 => None,
            "predict_linear" => {
                let (slope, here) = over_time::line(points, time);
                Some(slope * scalars[0] + here)
            }
            "double_exponential_smoothing" => {
                over_time::smoothing(&values(), scalars[0], scalars[1])?
            }
            "quantile_over_time" => {
                let q = scalars[0];
                if !(0.0..=1.0).contains(&q) {
                    let q = percent_g(q);
                    let text = format!("quantile value should be between 0 and 1, got {q}");
                    self.notes.warn(text, blamed(node));
                }
                Some(super::numbers::quantile(q, values()))
            }
            name => over_time::simple(name, points),
        })
    }
}

/// The place of what a function of windows complains about: its first argument. Upstream has put the
/// result in the place of a subquery by then, and that is nowhere.
fn blamed(node: &Call) -> promql::Span {
    match bare(&node.args[0]) {
        Expr::Subquery(_) => promql::Span::new(0, 0),
        first => first.span(),
    }
}

fn no_text() -> promql::ast::StringLiteral {
    promql::ast::StringLiteral { bytes: Vec::new(), span: promql::Span::default() }
}

fn check_edges(name: &str, edges: Edges) -> Result<(), Failure> {
    let (modifier, safe): (&str, &[&str]) = match edges {
        Edges::Plain => return Ok(()),
        Edges::Anchored => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
        Edges::Smoothed => ("smoothed", &["delta", "increase", "rate"]),
    };
    if safe.contains(&name) {
        return Ok(());
    }
    let safe = safe.join(", ");
    fail(format!("{modifier} modifier can only be used with: {safe} - not with {name}"))
}

/// By value, NaN last, equal ones as they were.
fn sorted(mut vector: Vector, compare: impl Fn(f64, f64) -> Option<Ordering>) -> Vector {
    vector.sort_by(|a, b| match (a.value.is_nan(), b.value.is_nan()) {
        (false, false) => compare(a.value, b.value).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    });
    vector
}

/// The labels that a selector states with `=`, once each.
fn absent_labels(expr: &Expr) -> LabelSet {
    let matchers: &[Matcher] = match expr {
        Expr::Vector(node) => &node.matchers,
        Expr::Matrix(node) => &node.vector.matchers,
        _ => &[],
    };
    let mut labels = LabelSet::default();
    let mut stated: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| &*matcher.name != METRIC_NAME) {
        if matcher.op == MatchOp::Equal && !stated.contains(&&*matcher.name) {
            labels.set(matcher.name.clone(), matcher.value.clone());
            stated.push(&matcher.name);
        } else {
            labels.remove(&matcher.name);
        }
    }
    labels
}

fn absent_over_time(node: &Call, vector: &RangeVector, steps: &[i64]) -> Matrix {
    let is_absent =
        |index: usize| vector.series.iter().all(|series| series.windows[index].points.is_empty());
    let absent = steps.iter().enumerate().filter(|(index, _)| is_absent(*index));
    let points: std::collections::BTreeMap<i64, f64> =
        absent.map(|(_, time)| (*time, 1.0)).collect();
    if points.is_empty() {
        return Matrix::new();
    }
    let labels = absent_labels(bare(&node.args[0]));
    vec![Series { labels, drop_name: true, points }]
}
