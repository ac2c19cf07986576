//! Whether an answer is the expected one.

use super::case::{Case, Expectation, Expected, Mode, Text};
use super::histograms;
use super::script::POINTS_MAX;
use model::histogram::Histogram;
use model::sample::is_stale;
use model::{LabelSet, SeriesColumns};
use promql::{Evaluation, Point, SeriesDescription, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Floats differ less than this, relative to the sum of their magnitudes.
const SAME: f64 = 1e-6;

/// Whether two floats count as equal.
#[must_use]
pub(super) fn same_float(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a == b || a.is_nan() && b.is_nan() {
        return true;
    }
    let (difference, magnitude) = ((a - b).abs(), a.abs() + b.abs());
    if a == 0.0 || b == 0.0 || magnitude < f64::MIN_POSITIVE {
        return difference < SAME * f64::MIN_POSITIVE;
    }
    difference / magnitude.min(f64::MAX) < SAME
}

/// Whether a failure is the expected one.
pub(super) fn failure(case: &Case, error: &str) -> Result<(), String> {
    for line in &case.expectations {
        if let Expectation::Fail(Some(text)) = line
            && !text.matches(error)
        {
            return Err(format!("another error was expected than: {error}"));
        }
    }
    Ok(())
}

/// Whether warnings and infos are the expected ones.
pub(super) fn annotations(case: &Case, have: &Evaluation) -> Result<(), String> {
    let (mut warnings, mut infos) = (Vec::new(), Vec::new());
    for line in &case.expectations {
        match line {
            Expectation::Warn(text) => warnings.push(text),
            Expectation::Info(text) => infos.push(text),
            Expectation::NoWarn if !have.warnings.is_empty() => {
                return Err(format!("no warning was expected: {:?}", have.warnings));
            }
            Expectation::NoInfo if !have.infos.is_empty() => {
                return Err(format!("no info was expected: {:?}", have.infos));
            }
            _ => {}
        }
    }
    texts("warning", &warnings, &have.warnings)?;
    texts("info", &infos, &have.infos)
}

fn texts(what: &str, expected: &[&Option<Text>], have: &[String]) -> Result<(), String> {
    if expected.is_empty() {
        return Ok(());
    }
    if have.is_empty() {
        return Err(format!("a {what} was expected"));
    }
    let matches =
        |want: &Option<Text>, text: &str| want.as_ref().is_none_or(|want| want.matches(text));
    for want in expected {
        if !have.iter().any(|text| matches(want, text)) {
            return Err(format!("the {what} {want:?} was expected, not {have:?}"));
        }
    }
    match have.iter().find(|text| !expected.iter().any(|want| matches(want, text))) {
        Some(text) => Err(format!("unexpected {what} {text:?}")),
        None => Ok(()),
    }
}

/// Whether the value is the expected one.
pub(super) fn value(case: &Case, have: &Value) -> Result<(), String> {
    match (&case.expected, have) {
        (Expected::Scalar(want), Value::Scalar { value, .. }) if same_float(*want, *value) => {
            Ok(())
        }
        (Expected::Text(want), Value::String { text, .. }) if want == text => Ok(()),
        (Expected::Series(want), Value::Vector(have)) => {
            let value = |sample: &promql::InstantSample| match &sample.histogram {
                Some(histogram) => Sample::Histogram(Arc::clone(histogram)),
                None => Sample::Float(sample.value),
            };
            let have: Vec<(&LabelSet, Sample)> =
                have.iter().map(|sample| (&sample.labels, value(sample))).collect();
            vector(want, &have, case.is_ordered)
        }
        (Expected::Series(want), Value::Matrix(have)) => match case.mode {
            Mode::Range(from, _, step) => matrix(want, have, from, step),
            Mode::Instant(_) => Err("a matrix was not expected".into()),
        },
        (Expected::RangeVector(from, step, want), Value::Matrix(have)) => {
            matrix(want, have, *from, *step)
        }
        (want, have) => Err(format!("expected {want:?}, got {have:?}")),
    }
}

/// Whether the vector is the expected one.
pub(super) fn vector(
    want: &[SeriesDescription],
    have: &[(&LabelSet, Sample)],
    is_ordered: bool,
) -> Result<(), String> {
    if want.len() != have.len() {
        return Err(format!("{} series expected, got {have:?}", want.len()));
    }
    for (position, (labels, value)) in have.iter().enumerate() {
        let Some(place) = want.iter().position(|series| series.labels == **labels) else {
            return Err(format!("unexpected series {labels} {value:?}"));
        };
        if is_ordered && place != position {
            return Err(format!("{labels} is at place {position}, not {place}"));
        }
        let points = points(&want[place])?;
        let [expected] = &points[..] else {
            return Err(format!("one value expected for {labels}"));
        };
        if !value.is(expected) {
            return Err(format!("{labels}: expected {expected:?}, got {value:?}"));
        }
    }
    Ok(())
}

fn matrix(
    want: &[SeriesDescription],
    have: &[SeriesColumns],
    from: i64,
    step: i64,
) -> Result<(), String> {
    if !have.is_sorted_by(|a, b| a.labels < b.labels) {
        return Err("series are not sorted by labels, or not unique".into());
    }
    let mut expected = BTreeMap::new();
    for series in want {
        let points = points(series)?.into_iter().enumerate();
        let time = |index| from + step * i64::try_from(index).unwrap_or(0);
        let samples: BTreeMap<i64, Point> = points
            .filter(|(_, point)| *point != Point::Gap)
            .map(|(index, point)| (time(index), point))
            .collect();
        if !samples.is_empty() {
            expected.insert(&series.labels, samples);
        }
    }
    if expected.len() != have.len() {
        let names: Vec<&LabelSet> = have.iter().map(|series| &series.labels).collect();
        return Err(format!("{} series expected, got {names:?}", expected.len()));
    }
    for series in have {
        let labels = &series.labels;
        let Some(samples) = expected.get(labels) else {
            return Err(format!("unexpected series {labels}"));
        };
        let have = samples_of(series);
        if !samples.keys().eq(have.keys()) {
            let times: Vec<&i64> = samples.keys().collect();
            return Err(format!("{labels}: expected samples at {times:?}, got {have:?}"));
        }
        for ((time, want), have) in samples.iter().zip(have.values()) {
            if !have.is(want) {
                return Err(format!("{labels} at {time}: expected {want:?}, got {have:?}"));
            }
        }
    }
    Ok(())
}

/// A sample that was answered.
#[derive(Clone, Debug)]
pub(super) enum Sample {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Sample {
    /// Whether it is the expected one.
    pub(super) fn is(&self, want: &Point) -> bool {
        match (self, want) {
            (Self::Float(have), Point::Float(want)) => same_float(*want, *have),
            (Self::Histogram(have), Point::Histogram(want, is_hinted)) => {
                histograms::same(want, have, *is_hinted)
            }
            _ => false,
        }
    }
}

/// The samples of a series by their time.
pub(super) fn samples_of(series: &SeriesColumns) -> BTreeMap<i64, Sample> {
    let floats = series.floats.timestamps_ms.iter().zip(&series.floats.values);
    let floats = floats.map(|(time, value)| (*time, Sample::Float(*value)));
    let histograms = series.histograms.timestamps_ms.iter().zip(&series.histograms.values);
    let histograms = histograms.map(|(time, of)| (*time, Sample::Histogram(Arc::clone(of))));
    floats.chain(histograms).collect()
}

fn points(series: &SeriesDescription) -> Result<Vec<Point>, String> {
    series.points(POINTS_MAX).map_err(|error| error.to_string())
}
