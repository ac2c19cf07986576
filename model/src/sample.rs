//! Samples, and the one order that decides between two of them at the same time.

use crate::histogram::Histogram;
use std::cmp::Ordering;
use std::sync::Arc;

/// The bits of the value that ends a series: Prometheus' stale marker. An ordinary NaN is a value.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether `value` is the stale marker, by its bits.
#[must_use]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// The stale marker.
#[must_use]
pub fn stale_marker() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// What a sample holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SampleKind {
    /// One 64-bit float.
    #[default]
    Float,
    /// A native histogram.
    Histogram,
}

/// One float sample of a series.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// What. Every bit counts: NaN payloads, the sign of zero, the stale marker.
    pub value: f64,
    /// Since when the value counts up, in milliseconds since 1970; 0 if unknown.
    pub start_timestamp_ms: i64,
    /// Raised by an import after a delete, so that it is seen again; else 0.
    pub revision: u32,
}

/// One native histogram of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSample {
    /// When, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// What.
    pub histogram: Arc<Histogram>,
    /// Since when it counts up, in milliseconds since 1970; 0 if unknown.
    pub start_timestamp_ms: i64,
    /// Raised by an import after a delete, so that it is seen again; else 0.
    pub revision: u32,
}

/// The join of DESIGN.md D4 for two histograms of one series and timestamp: `Greater` means that
/// `a` wins.
///
/// In this order: higher revision; a histogram over the stale marker; the greater canonical bytes;
/// the greater start timestamp.
#[must_use]
pub fn join_histograms(a: &HistogramSample, b: &HistogramSample) -> Ordering {
    let values = || match Arc::ptr_eq(&a.histogram, &b.histogram) {
        true => Ordering::Equal,
        false => a.histogram.canonical().cmp(&b.histogram.canonical()),
    };
    a.revision
        .cmp(&b.revision)
        .then_with(|| b.histogram.is_stale().cmp(&a.histogram.is_stale()))
        .then_with(values)
        .then_with(|| a.start_timestamp_ms.cmp(&b.start_timestamp_ms))
}

/// The join of DESIGN.md D4 for a histogram and a float of one series and timestamp: whether the
/// histogram wins. They are never equal.
///
/// In this order: higher revision; a value over a stale marker; the histogram.
#[must_use]
pub fn histogram_wins(histogram: &HistogramSample, float: &Sample) -> bool {
    match histogram.revision.cmp(&float.revision) {
        Ordering::Equal => !histogram.histogram.is_stale() || is_stale(float.value),
        order => order == Ordering::Greater,
    }
}

/// The join of DESIGN.md D4 for two float samples of one series and timestamp: `Greater` means that
/// `a` wins. Total, commutative, associative, idempotent; no clock takes part.
///
/// In this order: higher revision; a value over the stale marker; real value over NaN; the greater
/// value; the greater bits as u64; the greater start timestamp.
#[must_use]
pub fn join_order(a: &Sample, b: &Sample) -> Ordering {
    a.revision
        .cmp(&b.revision)
        .then_with(|| is_stale(b.value).cmp(&is_stale(a.value)))
        .then_with(|| b.value.is_nan().cmp(&a.value.is_nan()))
        .then_with(|| a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal))
        .then_with(|| a.value.to_bits().cmp(&b.value.to_bits()))
        .then_with(|| a.start_timestamp_ms.cmp(&b.start_timestamp_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64) -> Sample {
        Sample { timestamp_ms: 1, value, start_timestamp_ms: 0, revision: 0 }
    }

    #[test]
    fn the_join_is_decided_in_the_order_of_d4() {
        let revised = Sample { revision: 1, ..sample(stale_marker()) };
        let started = Sample { start_timestamp_ms: 7, ..sample(1.0) };
        let ascending = [
            sample(stale_marker()),
            sample(f64::NAN),
            sample(f64::NEG_INFINITY),
            sample(0.0),
            sample(-0.0),
            sample(1.0),
            started,
            sample(f64::INFINITY),
            revised,
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(join_order(a, b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }

    fn histogram(sum: f64, revision: u32, start_timestamp_ms: i64) -> HistogramSample {
        let histogram = Arc::new(Histogram { sum, ..Histogram::stale() });
        HistogramSample { timestamp_ms: 1, histogram, start_timestamp_ms, revision }
    }

    /// The join of both kinds as one order.
    fn either(
        a: &Result<HistogramSample, Sample>,
        b: &Result<HistogramSample, Sample>,
    ) -> Ordering {
        let wins = |wins: bool| if wins { Ordering::Greater } else { Ordering::Less };
        match (a, b) {
            (Ok(a), Ok(b)) => join_histograms(a, b),
            (Err(a), Err(b)) => join_order(a, b),
            (Ok(a), Err(b)) => wins(histogram_wins(a, b)),
            (Err(a), Ok(b)) => wins(histogram_wins(b, a)).reverse(),
        }
    }

    #[test]
    fn both_kinds_are_joined_in_the_order_of_d4() {
        let stale = f64::from_bits(STALE_NAN_BITS);
        let ascending = [
            Err(sample(stale)),
            Ok(histogram(stale, 0, 0)),
            Err(sample(f64::NAN)),
            Err(sample(f64::INFINITY)),
            Ok(histogram(0.0, 0, 0)),
            Ok(histogram(0.0, 0, 5)),
            Ok(histogram(1.0, 0, 0)),
            Err(Sample { revision: 1, ..sample(stale) }),
            Ok(histogram(stale, 1, 0)),
            Err(Sample { revision: 1, ..sample(1.0) }),
            Ok(histogram(1.0, 1, 0)),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(either(a, b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }
}
