//! Calls of functions.

use super::eval::{Naive, bare};
use super::histogram::Hist;
use super::histogram_rate::{self, About};
use super::instant::{apply, round, seconds};
use super::numbers::{go_max, go_min, percent_g};
use super::rank::variance;
use super::select::{RangeSeries, RangeVector, Window};
use super::value::{Failure, Matrix, Sample, Series, Val, Value, Vector, at, distinct, fail};
use super::{dates, labels, over_time, rate, smooth};
use model::{LabelSet, METRIC_NAME, MatchOp, Matcher};
use promql::ValueType;
use promql::ast::{Call, Edges, Expr};
use std::cmp::Ordering;
use std::sync::Arc;

impl Naive<'_> {
    pub(super) fn call(&mut self, node: &Call, steps: &[i64]) -> Result<Value, Failure> {
        let (totals, buckets) = match node.function.name {
            "histogram_count" | "histogram_sum" | "histogram_avg" => (1, 0),
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => (0, 1),
            _ => (0, 0),
        };
        self.totals_wanted += totals;
        self.buckets_wanted += buckets;
        let value = self.called(node, steps);
        self.totals_wanted -= totals;
        self.buckets_wanted -= buckets;
        value
    }

    fn called(&mut self, node: &Call, steps: &[i64]) -> Result<Value, Failure> {
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
                let of = |time: &i64| {
                    let vector = at(&matrix, *time);
                    let mut floats = vector.iter().filter_map(|sample| sample.value.float());
                    match (floats.next(), floats.next()) {
                        (Some(one), None) => one,
                        _ => f64::NAN,
                    }
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
            (name, bare(node.args.first().unwrap_or(&Expr::String(no_text()))))
        {
            return self.timestamps(node, selector, steps);
        }
        let mut args = Vec::new();
        for arg in &node.args {
            args.push(self.eval(bare(arg), steps)?);
        }
        if name.starts_with("sort") && self.end_ms != steps[0] {
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
        self.collect(vectors)
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
                return Ok(vec![Sample { labels, drop_name: false, value: Val::Float(value) }]);
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
                let value = Val::Float(scalar(0).unwrap_or(f64::NAN));
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
            "timestamp" => self.mapped_all(vector, |_| Some(time as f64 / 1000.0)),
            "absent" if vector.is_empty() => {
                let labels = absent_labels(bare(&node.args[0]));
                vec![Sample { labels, drop_name: false, value: Val::Float(1.0) }]
            }
            "sort" => sorted(vector, |a, b| a.partial_cmp(&b)),
            "sort_desc" => sorted(vector, |a, b| b.partial_cmp(&a)),
            "sort_by_label" => labels::sorted(node, vector, false),
            "sort_by_label_desc" => labels::sorted(node, vector, true),
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                self.buckets(node, time, vector, scalars)?
            }
            "histogram_count" => self.of_histograms(vector, |of| of.count),
            "histogram_sum" => self.of_histograms(vector, |of| of.sum),
            "histogram_avg" => self.of_histograms(vector, |of| of.sum / of.count),
            "histogram_stdvar" => self.of_histograms(vector, variance),
            "histogram_stddev" => self.of_histograms(vector, |of| variance(of).sqrt()),
            // Start timestamps of what has none.
            _ => Vector::new(),
        })
    }

    /// Of floats; histograms are left out.
    fn mapped(&self, vector: Vector, of: impl Fn(f64) -> f64) -> Vector {
        self.mapped_all(vector, |value| value.float().map(&of))
    }

    /// Of histograms; floats are left out. Only the name is taken away at once.
    fn of_histograms(&self, vector: Vector, f: impl Fn(&Hist) -> f64) -> Vector {
        let mut out = Vector::new();
        for mut sample in vector {
            let Val::Histogram(of) = &sample.value else { continue };
            sample.value = Val::Float(f(of));
            sample.drop_name = true;
            if !self.is_late() {
                sample.labels.remove(METRIC_NAME);
            }
            out.push(sample);
        }
        out
    }

    fn mapped_all(&self, vector: Vector, of: impl Fn(&Val) -> Option<f64>) -> Vector {
        let mut out = Vector::new();
        for mut sample in vector {
            let Some(value) = of(&sample.value) else { continue };
            self.drop_name(&mut sample.labels);
            sample.drop_name = true;
            sample.value = Val::Float(value);
            out.push(sample);
        }
        out
    }

    /// `timestamp(selector)`: when the sample was taken.
    fn timestamps(
        &mut self,
        node: &Call,
        selector: &promql::ast::VectorSelector,
        steps: &[i64],
    ) -> Result<Matrix, Failure> {
        let is_start = node.function.name == "start_timestamp";
        if is_start && !self.params.use_start_timestamps {
            return Ok(Matrix::new());
        }
        let offset_ms = self.duration(&selector.offset, false)?;
        let mut vectors = Vec::new();
        for time in steps {
            let mut vector = Vector::new();
            for stored in self.data.select(&selector.matchers) {
                let moment = self.moment(selector.at, offset_ms, *time);
                let Some((taken, start, _)) = self.latest(stored, moment) else { continue };
                let mut labels = stored.labels.clone();
                self.drop_name(&mut labels);
                let value = if is_start { start } else { taken };
                let value = Val::Float(value as f64 / 1000.0);
                vector.push(Sample { labels, drop_name: true, value });
            }
            vectors.push((*time, vector));
        }
        self.collect(vectors)
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
                let mut window = series.windows[index].clone();
                if window.points.is_empty() && window.histograms.is_empty() {
                    continue;
                }
                if !self.params.use_start_timestamps || !KNOW_STARTS.contains(&name) {
                    window.points.iter_mut().for_each(|point| point.start = 0);
                    window.histograms.iter_mut().for_each(|point| point.start = 0);
                }
                let about = About { metric: series.labels.metric_name(), span: blamed(node) };
                let shape = (vector.edges, vector.range_ms);
                if let Some(value) = self.window(name, shape, &window, about, *time, &scalars)? {
                    out.points.insert(*time, value);
                }
            }
            if !out.points.is_empty() {
                if out.points.values().any(|value| value.float().is_some()) {
                    self.check_counter(node, series);
                }
                matrix.push(out);
            }
        }
        if self.is_late() { Ok(matrix) } else { distinct(matrix) }
    }

    fn check_counter(&mut self, node: &Call, series: &RangeSeries) {
        let metric = series.labels.metric_name();
        let suffixes = ["_total", "_sum", "_count", "_bucket"];
        let is_counter = suffixes.iter().any(|suffix| metric.ends_with(suffix));
        let is_asked = matches!(node.function.name, "rate" | "increase");
        if !is_asked || metric.is_empty() {
            return;
        }
        if self.params.type_and_unit_labels {
            let kind = series.labels.value("__type__");
            if kind != "counter" && kind != "histogram" {
                let text = format!(
                    "metric might not be a counter, __type__ label is not set to \"counter\" or \
                     \"histogram\", got {kind:?}: {metric:?}"
                );
                self.notes.inform(text, blamed(node));
            }
        } else if !is_counter {
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
        name: &str,
        (edges, range_ms): (Edges, i64),
        window: &Window,
        about: About<'_>,
        time: i64,
        scalars: &[f64],
    ) -> Result<Option<Val>, Failure> {
        let (points, histograms) = (&window.points[..], &window.histograms[..]);
        let is_mixed = !points.is_empty() && !histograms.is_empty();
        let notes = &mut self.notes;
        match name {
            "rate" | "increase" | "delta" | "sum_over_time" | "avg_over_time" if is_mixed => {
                about.mixed_kinds(notes);
                return Ok(None);
            }
            "rate" | "increase" | "delta" if points.is_empty() => {
                let kind = (name != "delta", name == "rate");
                let of = match edges {
                    Edges::Plain => histogram_rate::rate(window, range_ms, kind, about, notes),
                    _ => smooth::rate(window, (edges, range_ms), kind, about, notes),
                };
                return Ok(of.map(Val::histogram));
            }
            "sum_over_time" | "avg_over_time" if points.is_empty() => {
                let is_mean = name == "avg_over_time";
                let of = histogram_rate::over_time(histograms, is_mean, about, notes);
                return Ok(of.map(Val::histogram));
            }
            "irate" | "idelta" => return Ok(self.instant_rate(window, name == "irate", about)),
            "first_over_time" | "last_over_time" => return Ok(end(window, name)),
            _ => {}
        }
        let is_rate = name == "rate";
        let value = match name {
            "rate" | "increase" | "delta" if edges != Edges::Plain => {
                rate::extended_rate(window, edges, range_ms, name != "delta", is_rate)
            }
            "rate" | "increase" | "delta" => {
                let (value, is_overlapping) =
                    rate::rate(window, range_ms, name != "delta", is_rate);
                if is_overlapping {
                    notes.overlap(about.metric, about.span);
                }
                value
            }
            "changes" => over_time::changes(window, edges),
            "resets" => over_time::resets(window, edges),
            "count_over_time" => Some((points.len() + histograms.len()) as f64),
            "present_over_time" => Some(1.0),
            "ts_of_first_over_time" | "ts_of_last_over_time" => {
                let times = points.iter().map(|point| point.time);
                let times = times.chain(histograms.iter().map(|point| point.time));
                let time = if name == "ts_of_first_over_time" { times.min() } else { times.max() };
                time.map(|time| time as f64 / 1000.0)
            }
            _ => self.of_floats(name, window, about, time, scalars)?,
        };
        Ok(value.map(Val::Float))
    }

    /// Functions that leave histograms out, and say so if there are floats beside them.
    fn of_floats(
        &mut self,
        name: &str,
        window: &Window,
        about: About<'_>,
        time: i64,
        scalars: &[f64],
    ) -> Result<Option<f64>, Failure> {
        let points = &window.points[..];
        let values = || points.iter().map(|point| point.value).collect::<Vec<f64>>();
        let value = match name {
            "deriv" | "predict_linear" if points.len() < 2 => None,
            "deriv" => Some(over_time::line(points, points[0].time).0),
            "predict_linear" => {
                let (slope, here) = over_time::line(points, time);
                Some(slope * scalars[0] + here)
            }
            "double_exponential_smoothing" => {
                over_time::smoothing(&values(), scalars[0], scalars[1])?
            }
            "quantile_over_time" if points.is_empty() => None,
            "quantile_over_time" => {
                let q = scalars[0];
                if !(0.0..=1.0).contains(&q) {
                    let q = percent_g(q);
                    let text = format!("quantile value should be between 0 and 1, got {q}");
                    self.notes.warn(text, about.span);
                }
                Some(super::numbers::quantile(q, values()))
            }
            name => over_time::simple(name, points),
        };
        if !points.is_empty() && !window.histograms.is_empty() {
            about.ignored(&mut self.notes);
        }
        Ok(value)
    }

    /// `irate` and `idelta`: the last two samples of either kind.
    fn instant_rate(&mut self, window: &Window, is_rate: bool, about: About<'_>) -> Option<Val> {
        let (floats, histograms) = (&window.points, &window.histograms);
        let mut times: Vec<(i64, bool)> = floats.iter().map(|point| (point.time, true)).collect();
        times.extend(histograms.iter().map(|point| (point.time, false)));
        times.sort_unstable();
        let [.., (_, is_first_float), (_, is_last_float)] = times[..] else { return None };
        if is_first_float != is_last_float {
            about.mixed_kinds(&mut self.notes);
            return None;
        }
        if let ([.., a, b], true) = (&floats[..], is_last_float) {
            return Some(Val::Float(rate::instant(a, b, is_rate)));
        }
        let [.., a, b] = &histograms[..] else { return None };
        histogram_rate::instant(a, b, is_rate, about, &mut self.notes).map(Val::histogram)
    }
}

/// Functions that look at start timestamps.
const KNOW_STARTS: &[&str] = &["rate", "irate", "increase", "resets"];

/// The first or the last sample of a window.
fn end(window: &Window, name: &str) -> Option<Val> {
    let is_first = name == "first_over_time";
    let (float, histogram) = match is_first {
        true => (window.points.first(), window.histograms.first()),
        false => (window.points.last(), window.histograms.last()),
    };
    let float_time = float.map(|point| point.time);
    let is_float = match (float_time, histogram.map(|point| point.time)) {
        (Some(float), Some(histogram)) => (float < histogram) == is_first,
        (float, _) => float.is_some(),
    };
    match is_float {
        true => float.map(|point| Val::Float(point.value)),
        false => histogram.map(|point| Val::Histogram(Arc::clone(&point.value))),
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

/// Floats by value, NaN last, equal ones as they were; histograms are left out.
fn sorted(mut vector: Vector, compare: impl Fn(f64, f64) -> Option<Ordering>) -> Vector {
    vector.retain(|sample| sample.value.float().is_some());
    let value = |sample: &Sample| sample.value.float().unwrap_or(f64::NAN);
    vector.sort_by(|a, b| match (value(a), value(b)) {
        (a, b) if a.is_nan() || b.is_nan() => a.is_nan().cmp(&b.is_nan()),
        (a, b) => compare(a, b).unwrap_or(Ordering::Equal),
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
    let is_absent = |index: usize| {
        vector
            .series
            .iter()
            .map(|series| &series.windows[index])
            .all(|window| window.points.is_empty() && window.histograms.is_empty())
    };
    let absent = steps.iter().enumerate().filter(|(index, _)| is_absent(*index));
    let points: std::collections::BTreeMap<i64, Val> =
        absent.map(|(_, time)| (*time, Val::Float(1.0))).collect();
    if points.is_empty() {
        return Matrix::new();
    }
    let labels = absent_labels(bare(&node.args[0]));
    vec![Series { labels, drop_name: true, points }]
}
