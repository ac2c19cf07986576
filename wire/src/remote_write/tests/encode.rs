//! What we encode says to prost what we said.

use super::*;

#[test]
fn what_we_encode_prost_decodes() {
    let labels = model::LabelSet::from_pairs([("__name__", "up"), ("job", "a")]).unwrap();
    let metadata = model::mutation::MetricMetadata {
        metric: "up".into(),
        metric_type: model::mutation::MetricType::Gauge,
        help: "h".repeat(200).into(),
        unit: "s".into(),
    };
    let mut body = Vec::new();
    encode_series(&labels, &[(1_700_000_000_000, 1.5), (-1, f64::INFINITY)], &mut body);
    encode_metadata(&metadata, &mut body);

    let request = WriteRequest::decode(&*body).unwrap();
    let samples: Vec<_> =
        request.timeseries[0].samples.iter().map(|s| (s.timestamp, s.value)).collect();
    assert_eq!(samples, [(1_700_000_000_000, 1.5), (-1, f64::INFINITY)]);
    assert_eq!(request.timeseries[0].labels[1].value, b"a");
    assert_eq!(request.metadata[0].help.len(), 200);
    assert_eq!(request.metadata[0].metric_type, 2);
}

#[test]
fn what_we_encode_of_histograms_and_exemplars_comes_back_bit_for_bit() {
    let set = |pairs: &[(&str, &str)]| model::LabelSet::from_pairs(pairs.iter().copied()).unwrap();
    let integer = Histogram {
        schema: -53,
        zero_threshold: 0.0,
        sum: f64::from_bits(model::sample::STALE_NAN_BITS),
        reset_hint: ResetHint::Gauge,
        positive_spans: vec![Span { offset: 1, length: 2 }, Span { offset: 3, length: 1 }],
        negative_spans: vec![Span { offset: -7, length: 1 }],
        custom_values: vec![0.5, -0.0, f64::INFINITY],
        counts: Counts::Integer {
            count: u64::MAX,
            zero_count: 300,
            positive: vec![9, 2, 40],
            negative: vec![1 << 62],
        },
    };
    let float = Histogram {
        counts: Counts::Float {
            count: -0.0,
            zero_count: f64::NAN,
            positive: vec![0.5, 1e300, 0.0],
            negative: vec![-1.0],
        },
        ..integer.clone()
    };
    let histograms = [(-5, integer), (1 << 60, float)].map(|(timestamp_ms, histogram)| {
        let histogram = std::sync::Arc::new(histogram);
        model::HistogramSample { timestamp_ms, histogram, start_timestamp_ms: 7, revision: 0 }
    });
    let exemplar = model::Exemplar {
        timestamp_ms: -1,
        value: f64::NEG_INFINITY,
        labels: set(&[("trace_id", "t1")]),
    };
    let mut body = Vec::new();
    encode_extras(&set(&[("__name__", "h")]), &histograms, &[exemplar], &mut body);

    let said = by_walk(&body).unwrap();
    assert_eq!(Some(&said), by_prost(&body).as_ref());
    assert_eq!(said.series[0].labels, [(b"__name__".to_vec(), b"h".to_vec())]);
    let labels = vec![(b"trace_id".to_vec(), b"t1".to_vec())];
    assert_eq!(said.series[0].exemplars, [(labels, -1, f64::NEG_INFINITY.to_bits())]);
    let views = histograms.map(|sample| HistogramView {
        timestamp_ms: sample.timestamp_ms,
        start_timestamp_ms: 7,
        histogram: Ok((*sample.histogram).clone()),
    });
    assert_eq!(said.series[0].histograms, views);
}
