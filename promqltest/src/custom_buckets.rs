//! `load_with_nhcb`: classic histograms, stored as native ones with custom buckets too.

use model::histogram::{CUSTOM_BUCKETS, Counts, Histogram, ResetHint, Span};
use model::sample::HistogramSample;
use model::{LabelSet, METRIC_NAME, SeriesColumns};
use std::collections::BTreeMap;

/// What is known of a histogram at one time.
#[derive(Debug, Default)]
struct Classic {
    /// Bound and how much lies at or below it, ascending.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The histograms that the series of `_bucket`, `_count` and `_sum` make.
///
/// # Errors
/// If some of them contradict each other.
pub(crate) fn convert(series: &[SeriesColumns]) -> Result<Vec<SeriesColumns>, String> {
    let mut found: BTreeMap<LabelSet, BTreeMap<i64, Classic>> = BTreeMap::new();
    for of in series {
        let name = of.labels.metric_name();
        let base = |suffix: &str| {
            let mut labels = of.labels.clone();
            labels.set(METRIC_NAME, name.strip_suffix(suffix)?);
            labels.remove("le");
            Some(labels)
        };
        let samples = of.floats.timestamps_ms.iter().zip(&of.floats.values);
        if let Some(labels) = base("_bucket") {
            let bound: f64 = of.labels.value("le").parse().unwrap_or(f64::NAN);
            if bound.is_nan() {
                continue;
            }
            let classics = found.entry(labels).or_default();
            for (time, count) in samples {
                classics.entry(*time).or_default().buckets.push((bound, *count));
            }
        } else if let Some(labels) = base("_count") {
            let classics = found.entry(labels).or_default();
            samples.for_each(|(time, n)| classics.entry(*time).or_default().count = Some(*n));
        } else if let Some(labels) = base("_sum") {
            let classics = found.entry(labels).or_default();
            samples.for_each(|(time, sum)| classics.entry(*time).or_default().sum = *sum);
        }
    }
    let mut converted = Vec::new();
    for (labels, classics) in found {
        let mut columns = SeriesColumns { labels, ..SeriesColumns::default() };
        for (timestamp_ms, classic) in classics {
            columns.histograms.push_sample(HistogramSample {
                timestamp_ms,
                histogram: classic.to_native()?.into(),
                start_timestamp_ms: 0,
                revision: 0,
            });
        }
        converted.push(columns);
    }
    Ok(converted)
}

impl Classic {
    fn to_native(&self) -> Result<Histogram, String> {
        let mut buckets = self.buckets.clone();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets.dedup_by(|a, b| a.0 == b.0);
        let count = self.count.or(buckets.last().map(|last| last.1)).unwrap_or(0.0);
        if buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
            buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let mut counts = Vec::new();
        for (bound, cumulative) in &buckets {
            if *cumulative < below {
                return Err(format!("the bucket {bound} counts less than the one before"));
            }
            counts.push(cumulative - below);
            below = *cumulative;
        }
        if below != count {
            return Err(format!("the count is {count}, the last bucket's {below}"));
        }
        let bounds = buckets.iter().map(|bucket| bucket.0).filter(|bound| bound.is_finite());
        Ok(Histogram {
            schema: CUSTOM_BUCKETS,
            zero_threshold: 0.0,
            sum: self.sum,
            reset_hint: ResetHint::Unknown,
            positive_spans: spans(&counts),
            negative_spans: Vec::new(),
            custom_values: bounds.collect(),
            counts: Counts::Float {
                count,
                zero_count: 0.0,
                positive: counts.into_iter().filter(|count| *count != 0.0).collect(),
                negative: Vec::new(),
            },
        })
    }
}

/// Where the buckets that count something are.
fn spans(counts: &[f64]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut gap = 0;
    for count in counts {
        match spans.last_mut() {
            _ if *count == 0.0 => gap += 1,
            Some(last) if gap == 0 => last.length += 1,
            _ => {
                spans.push(Span { offset: gap, length: 1 });
                gap = 0;
            }
        }
    }
    spans
}
