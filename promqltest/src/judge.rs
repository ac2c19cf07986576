//! Whether an answer is the expected one.

use crate::answer::{Answer, Data, Sample, Samples};
use crate::case::{Case, Expectation, Expected, Mode, Text};
use crate::failure::{Failure, float, histogram, lines, name};
use crate::script::POINTS_MAX;
use model::LabelSet;
use model::sample::is_stale;
use promql::{Point, SeriesDescription};
use std::collections::BTreeMap;

/// Floats differ less than this, relative to the sum of their magnitudes.
const SAME: f64 = 1e-6;

/// Whether two floats count as equal.
#[must_use]
pub(crate) fn same_float(a: f64, b: f64) -> bool {
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
pub(crate) fn failure(case: &Case, error: &str) -> Result<(), Failure> {
    for line in &case.expectations {
        if let Expectation::Fail(Some(text)) = line
            && !text.matches(error)
        {
            return Err(Failure::new(text.to_string(), error).about("error"));
        }
    }
    Ok(())
}

/// Whether warnings and infos are the expected ones.
pub(crate) fn annotations(case: &Case, have: &Answer) -> Result<(), Failure> {
    let (mut warnings, mut infos) = (Vec::new(), Vec::new());
    for line in &case.expectations {
        match line {
            Expectation::Warn(text) => warnings.push(text),
            Expectation::Info(text) => infos.push(text),
            Expectation::NoWarn if !have.warnings.is_empty() => {
                return Err(Failure::new("none", have.warnings.join("\n")).about("warnings"));
            }
            Expectation::NoInfo if !have.infos.is_empty() => {
                return Err(Failure::new("none", have.infos.join("\n")).about("infos"));
            }
            _ => {}
        }
    }
    texts("warnings", &warnings, &have.warnings)?;
    texts("infos", &infos, &have.infos)
}

fn texts(what: &str, expected: &[&Option<Text>], have: &[String]) -> Result<(), Failure> {
    if expected.is_empty() {
        return Ok(());
    }
    let matches =
        |want: &Option<Text>, text: &str| want.as_ref().is_none_or(|want| want.matches(text));
    let is_found = |want: &&Option<Text>| have.iter().any(|text| matches(want, text));
    let is_expected = |text: &String| expected.iter().any(|want| matches(want, text));
    if !have.is_empty() && expected.iter().all(is_found) && have.iter().all(is_expected) {
        return Ok(());
    }
    let want = |want: &&Option<Text>| want.as_ref().map_or("any".to_owned(), Text::to_string);
    let failure = Failure::new(lines(expected.iter().map(want)), lines(have.iter().cloned()));
    Err(failure.about(what))
}

/// Whether the value is the expected one.
pub(crate) fn value(case: &Case, have: &Data) -> Result<(), Failure> {
    match (&case.expected, have) {
        (Expected::Scalar(want), Data::Scalar(have)) if same_float(*want, *have) => Ok(()),
        (Expected::Text(want), Data::Text(have)) if want == have => Ok(()),
        (Expected::Series(want), Data::Vector(have)) => {
            let have: Vec<(&LabelSet, &Sample)> = have.iter().map(|of| (&of.0, &of.1)).collect();
            vector(want, &have, case.is_ordered)
        }
        (Expected::Series(want), Data::Matrix(have)) => match case.mode {
            Mode::Range(from, _, step) => matrix(want, have, from, step),
            Mode::Instant(_) => Err(Failure::new(told_series(want), told_matrix(have))),
        },
        (Expected::RangeVector(from, step, want), Data::Matrix(have)) => {
            matrix(want, have, *from, *step)
        }
        (want, have) => Err(Failure::new(told(want), told_data(have))),
    }
}

/// Whether the vector is the expected one.
pub(crate) fn vector(
    want: &[SeriesDescription],
    have: &[(&LabelSet, &Sample)],
    is_ordered: bool,
) -> Result<(), Failure> {
    let whole = || Failure::new(told_series(want), told_vector(have));
    if want.len() != have.len() {
        return Err(whole());
    }
    for (position, (labels, value)) in have.iter().enumerate() {
        let Some(place) = want.iter().position(|series| series.labels == **labels) else {
            return Err(whole());
        };
        if is_ordered && place != position {
            return Err(whole().about("in this order"));
        }
        let points = points(&want[place])?;
        let [expected] = &points[..] else {
            return Err(Failure::new(told_points(&points), value.told()).about(name(labels)));
        };
        if !value.is(expected) {
            return Err(Failure::new(told_point(expected), value.told()).about(name(labels)));
        }
    }
    Ok(())
}

/// A range query answers its series in order, each once.
pub(crate) fn sorted(matrix: &[(LabelSet, Samples)]) -> Result<(), Failure> {
    match matrix.is_sorted_by(|a, b| a.0 < b.0) {
        true => Ok(()),
        false => Err(Failure::new("series that are sorted and unique", told_matrix(matrix))),
    }
}

fn matrix(
    want: &[SeriesDescription],
    have: &[(LabelSet, Samples)],
    from: i64,
    step: i64,
) -> Result<(), Failure> {
    sorted(have)?;
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
    if !expected.keys().copied().eq(have.iter().map(|(labels, _)| labels)) {
        return Err(Failure::new(told_series(want), told_matrix(have)));
    }
    for ((labels, have), samples) in have.iter().zip(expected.values()) {
        if !samples.keys().eq(have.keys()) {
            let want = lines(samples.iter().map(|(time, point)| at(*time, &told_point(point))));
            let have = lines(have.iter().map(|(time, sample)| at(*time, &sample.told())));
            return Err(Failure::new(want, have).about(name(labels)));
        }
        for ((time, want), have) in samples.iter().zip(have.values()) {
            if !have.is(want) {
                let failure = Failure::new(told_point(want), have.told());
                return Err(failure.about(format!("{} at {time} ms", name(labels))));
            }
        }
    }
    Ok(())
}

fn at(time_ms: i64, value: &str) -> String {
    format!("{value} at {time_ms} ms")
}

fn points(series: &SeriesDescription) -> Result<Vec<Point>, Failure> {
    series.points(POINTS_MAX).map_err(|error| Failure::new(error.to_string(), "its answer"))
}

/// What is expected, as scripts write it.
pub(crate) fn told(expected: &Expected) -> String {
    match expected {
        Expected::Scalar(value) => float(*value),
        Expected::Text(text) => format!("{text:?}"),
        Expected::Series(series) | Expected::RangeVector(_, _, series) => told_series(series),
    }
}

fn told_series(series: &[SeriesDescription]) -> String {
    let one = |series: &SeriesDescription| match points(series) {
        Ok(points) => format!("{} {}", name(&series.labels), told_points(&points)),
        Err(failure) => format!("{}: {}", name(&series.labels), failure.expected),
    };
    lines(series.iter().map(one))
}

fn told_points(points: &[Point]) -> String {
    points.iter().map(told_point).collect::<Vec<_>>().join(" ")
}

fn told_point(point: &Point) -> String {
    match point {
        Point::Gap => "_".to_owned(),
        Point::Float(value) => float(*value),
        Point::Histogram(value, _) => histogram(value),
    }
}

/// What was answered, as scripts write it.
pub(crate) fn told_data(data: &Data) -> String {
    match data {
        Data::Scalar(value) => float(*value),
        Data::Text(text) => format!("{text:?}"),
        Data::Vector(vector) => {
            lines(vector.iter().map(|(labels, of)| format!("{} {}", name(labels), of.told())))
        }
        Data::Matrix(matrix) => told_matrix(matrix),
    }
}

pub(crate) fn told_vector(vector: &[(&LabelSet, &Sample)]) -> String {
    lines(vector.iter().map(|(labels, value)| format!("{} {}", name(labels), value.told())))
}

fn told_matrix(matrix: &[(LabelSet, Samples)]) -> String {
    let one = |(labels, samples): &(LabelSet, Samples)| {
        let told: Vec<String> = samples.iter().map(|(time, of)| at(*time, &of.told())).collect();
        format!("{} {}", name(labels), told.join(", "))
    };
    lines(matrix.iter().map(one))
}
