//! The samples that a series description stands for, one after the other.

use crate::ast::Sign;
use crate::histogram::{FloatHistogram, MixedBuckets};
use crate::series_desc::{CounterResetHint, HistogramDescription, SeriesDescription, SeriesItem};
use model::histogram::{Counts, Histogram, ResetHint, Span};
use model::sample::is_stale;

/// What a description says about one moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// Nothing.
    Gap,
    /// A float.
    Float(f64),
    /// A histogram, and whether its hint was written down.
    Histogram(Box<Histogram>, bool),
}

/// Why a description has no points.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyPoints {
    /// More points than may be.
    #[error("the description has more than {0} points")]
    Max(usize),
    /// Histograms that cannot be added up.
    #[error("error combining histograms: {0}")]
    Mixed(#[from] MixedBuckets),
    /// A step of a lower resolution than what it is added to.
    #[error("error combining histograms: cannot merge from schema {0} to {1}")]
    Coarser(i32, i32),
    /// A schema that does not exist.
    #[error("error parsing schema number: {0}")]
    Schema(i32),
}

impl SeriesDescription {
    /// The points, `points_max` at most. Floats and histograms are added up one by one.
    ///
    /// # Errors
    /// [`TooManyPoints`] if there are more, or histograms cannot be added up.
    pub fn points(&self, points_max: usize) -> Result<Vec<Point>, TooManyPoints> {
        let mut points = Vec::new();
        for item in &self.items {
            let (SeriesItem::Gaps(count)
            | SeriesItem::Floats { count, .. }
            | SeriesItem::Histograms { count, .. }) = item;
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            if count > points_max - points.len() {
                return Err(TooManyPoints::Max(points_max));
            }
            match item {
                SeriesItem::Gaps(_) => points.resize(points.len() + count, Point::Gap),
                SeriesItem::Floats { first, step, .. } => floats(*first, *step, count, &mut points),
                SeriesItem::Histograms { first, step, .. } => {
                    histograms(first, step.as_ref(), count, &mut points)?;
                }
            }
        }
        Ok(points)
    }
}

fn floats(first: f64, step: f64, count: usize, points: &mut Vec<Point>) {
    let mut value = first;
    for _ in 0..count {
        points.push(Point::Float(value));
        // Adding would make an ordinary NaN of the stale marker.
        if !is_stale(value) {
            value += step;
        }
    }
}

fn histograms(
    first: &HistogramDescription,
    step: Option<&(Sign, Box<HistogramDescription>)>,
    count: usize,
    points: &mut Vec<Point>,
) -> Result<(), TooManyPoints> {
    let mut current = FloatHistogram::new(&first.stored()?);
    // Upstream takes notice of the hint that was written last.
    let is_hinted = step.map_or(first, |(_, step)| step).counter_reset_hint.is_some();
    let step = match step {
        Some((sign, step)) => Some((*sign, FloatHistogram::new(&step.stored()?))),
        None => None,
    };
    for index in 0..count {
        if index > 0
            && let Some((sign, step)) = &step
        {
            if current.schema > step.schema {
                return Err(TooManyPoints::Coarser(step.schema.into(), current.schema.into()));
            }
            match sign {
                Sign::Plus => current.add(step)?,
                Sign::Minus => current.sub(step)?,
            };
        }
        let stored = if index == 0 { first.stored()? } else { current.to_stored() };
        points.push(Point::Histogram(Box::new(stored), is_hinted));
    }
    Ok(())
}

impl HistogramDescription {
    /// The histogram as it is stored.
    ///
    /// # Errors
    /// [`TooManyPoints`] if its schema is no schema.
    pub fn stored(&self) -> Result<Histogram, TooManyPoints> {
        let spans = |offset: i32, buckets: &[f64]| match u32::try_from(buckets.len()) {
            Ok(0) | Err(_) => Vec::new(),
            Ok(length) => vec![Span { offset, length }],
        };
        Ok(Histogram {
            schema: i8::try_from(self.schema).map_err(|_| TooManyPoints::Schema(self.schema))?,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            reset_hint: match self.counter_reset_hint {
                None | Some(CounterResetHint::Unknown) => ResetHint::Unknown,
                Some(CounterResetHint::Reset) => ResetHint::Yes,
                Some(CounterResetHint::NotReset) => ResetHint::No,
                Some(CounterResetHint::Gauge) => ResetHint::Gauge,
            },
            positive_spans: spans(self.positive_offset, &self.positive_buckets),
            negative_spans: spans(self.negative_offset, &self.negative_buckets),
            custom_values: self.custom_values.clone(),
            counts: Counts::Float {
                count: self.count,
                zero_count: self.zero_count,
                positive: self.positive_buckets.clone(),
                negative: self.negative_buckets.clone(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_series;

    #[test]
    fn floats_and_histograms_are_added_up_one_by_one() {
        let description = parse_series("m 1+2x1 _ stale {{count:1}}+{{count:2 sum:1}}x2").unwrap();
        let points = description.points(7).unwrap();
        assert_eq!(points[..3], [Point::Float(1.0), Point::Float(3.0), Point::Gap]);
        assert!(matches!(points[3], Point::Float(value) if is_stale(value)));
        let Point::Histogram(last, false) = &points[6] else { panic!("{points:?}") };
        assert_eq!((FloatHistogram::new(last).count(), last.sum), (5.0, 2.0));
        assert_eq!(description.points(6), Err(TooManyPoints::Max(6)));
    }

    #[test]
    fn what_cannot_be_added_up_is_refused() {
        let points = |text: &str| parse_series(text).unwrap().points(10);
        assert_eq!(points("m {{}}+{{schema:-53}}x1"), Err(TooManyPoints::Coarser(-53, 0)));
        assert_eq!(points("m {{schema:-53}}+{{}}x1"), Err(TooManyPoints::Mixed(MixedBuckets)));
        assert_eq!(points("m {{schema:1}}+{{}}x1"), Err(TooManyPoints::Coarser(0, 1)));
        assert_eq!(points("m {{schema:1000}}"), Err(TooManyPoints::Schema(1000)));
    }
}
