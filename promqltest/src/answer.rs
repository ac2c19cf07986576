//! What a subject answers: what an engine evaluates to, or what a client of the HTTP API reads.
//!
//! Both are judged by one judge. A client does not see all of a native histogram: neither its
//! schema nor its spans nor its hint, but the buckets that count something.

use crate::failure::{float, histogram};
use crate::histograms;
use crate::judge::same_float;
use model::histogram::Histogram;
use model::{LabelSet, SeriesColumns};
use promql::histogram::{BucketView, FloatHistogram};
use promql::{Evaluation, InstantSample, Point, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The value.
    pub data: Data,
    /// What may make it other than meant.
    pub warnings: Vec<String>,
    /// What may be of interest.
    pub infos: Vec<String>,
}

/// The value of a query.
#[derive(Clone, Debug)]
pub enum Data {
    /// A scalar.
    Scalar(f64),
    /// A string.
    Text(String),
    /// Series with one sample each.
    Vector(Vec<(LabelSet, Sample)>),
    /// Series with the samples of their times.
    Matrix(Vec<(LabelSet, Samples)>),
}

/// Samples by their time in milliseconds since 1970.
pub type Samples = BTreeMap<i64, Sample>;

/// A sample that was answered.
#[derive(Clone, Debug)]
pub enum Sample {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
    /// A native histogram as the HTTP API shows it.
    Shown(ShownHistogram),
}

/// What the HTTP API shows of a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownHistogram {
    /// How many observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The buckets that count something, ascending.
    pub buckets: Vec<BucketView>,
}

impl ShownHistogram {
    /// What there is to see of it.
    #[must_use]
    pub fn of(histogram: &Histogram) -> Self {
        let floats = FloatHistogram::new(histogram);
        let buckets = floats.buckets().filter(|bucket| bucket.count != 0.0).collect();
        Self { count: floats.count(), sum: floats.sum(), buckets }
    }

    /// Whether both show the same: bounds exactly, what is counted as floats are compared.
    fn is(&self, want: &Self) -> bool {
        let bounds = |of: &BucketView| (of.lower, of.upper, of.has_lower, of.has_upper);
        let same_bucket = |(have, want): (&BucketView, &BucketView)| {
            bounds(have) == bounds(want) && same_float(want.count, have.count)
        };
        same_float(want.count, self.count)
            && same_float(want.sum, self.sum)
            && self.buckets.len() == want.buckets.len()
            && self.buckets.iter().zip(&want.buckets).all(same_bucket)
    }

    /// `{{count:3 sum:5 (0.5,1]:3}}`
    fn told(&self) -> String {
        let buckets = self.buckets.iter().map(|of| {
            let (open, close) =
                (if of.has_lower { '[' } else { '(' }, if of.has_upper { ']' } else { ')' });
            format!(" {open}{},{}{close}:{}", float(of.lower), float(of.upper), float(of.count))
        });
        let buckets: String = buckets.collect();
        format!("{{{{count:{} sum:{}{buckets}}}}}", float(self.count), float(self.sum))
    }
}

impl Sample {
    /// As scripts write it.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Float(value) => float(*value),
            Self::Histogram(value) => histogram(value),
            Self::Shown(value) => value.told(),
        }
    }

    /// Whether it is the expected one.
    pub(crate) fn is(&self, want: &Point) -> bool {
        match (self, want) {
            (Self::Float(have), Point::Float(want)) => same_float(*want, *have),
            (Self::Histogram(have), Point::Histogram(want, is_hinted)) => {
                histograms::same(want, have, *is_hinted)
            }
            (Self::Shown(have), Point::Histogram(want, _)) => have.is(&ShownHistogram::of(want)),
            _ => false,
        }
    }
}

impl From<Evaluation> for Answer {
    fn from(evaluation: Evaluation) -> Self {
        let data = Data::from(evaluation.value);
        Self { data, warnings: evaluation.warnings, infos: evaluation.infos }
    }
}

impl From<Value> for Data {
    fn from(value: Value) -> Self {
        match value {
            Value::Scalar { value, .. } => Self::Scalar(value),
            Value::String { text, .. } => Self::Text(text),
            Value::Vector(vector) => {
                let value = |of: &InstantSample| match &of.histogram {
                    Some(histogram) => Sample::Histogram(Arc::clone(histogram)),
                    None => Sample::Float(of.value),
                };
                let one = |of: InstantSample| (of.labels.clone(), value(&of));
                Self::Vector(vector.into_iter().map(one).collect())
            }
            Value::Matrix(matrix) => {
                let one = |of: SeriesColumns| (of.labels.clone(), samples_of(&of));
                Self::Matrix(matrix.into_iter().map(one).collect())
            }
        }
    }
}

/// The samples of a series by their time.
fn samples_of(series: &SeriesColumns) -> Samples {
    let floats = series.floats.timestamps_ms.iter().zip(&series.floats.values);
    let floats = floats.map(|(time, value)| (*time, Sample::Float(*value)));
    let histograms = series.histograms.timestamps_ms.iter().zip(&series.histograms.values);
    let histograms = histograms.map(|(time, of)| (*time, Sample::Histogram(Arc::clone(of))));
    floats.chain(histograms).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(text: &str) -> Point {
        let series = promql::parse_series(&format!("a {text}")).unwrap();
        series.points(1).unwrap().remove(0)
    }

    fn shown(text: &str) -> Sample {
        match point(text) {
            Point::Histogram(histogram, _) => Sample::Shown(ShownHistogram::of(&histogram)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_shown_histogram_is_judged_by_its_sums_and_by_its_buckets_with_their_bounds() {
        let text = "{{schema:0 sum:5 count:4 z_bucket:1 z_bucket_w:0.001 buckets:[1 0 2]}}";
        let have = shown(text);
        assert!(have.is(&point(text)), "{}", have.told());
        assert_eq!(have.told(), "{{count:4 sum:5 [-0.001,0.001]:1 (0.5,1]:1 (2,4]:2}}");
        for other in [
            "{{schema:0 sum:6 count:4 z_bucket:1 z_bucket_w:0.001 buckets:[1 0 2]}}",
            "{{schema:0 sum:5 count:5 z_bucket:1 z_bucket_w:0.001 buckets:[1 0 2]}}",
            "{{schema:0 sum:5 count:4 z_bucket:1 z_bucket_w:0.002 buckets:[1 0 2]}}",
            "{{schema:1 sum:5 count:4 z_bucket:1 z_bucket_w:0.001 buckets:[1 0 2]}}",
            "{{schema:0 sum:5 count:4 z_bucket:1 z_bucket_w:0.001 buckets:[1 2]}}",
            "{{schema:0 sum:5 count:4 z_bucket:1 z_bucket_w:0.001 buckets:[1 0 3]}}",
            "5",
        ] {
            assert!(!have.is(&point(other)), "{other}");
        }
    }
}
