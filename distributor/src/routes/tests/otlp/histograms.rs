//! Histograms of both kinds and summaries.

use super::*;

#[tokio::test]
async fn a_histogram_becomes_buckets_sum_and_count_and_its_exemplars_go_with_their_buckets() {
    let server = server().await;
    let body = metric(
        r#"{"name":"lat","unit":"s","description":"how long","histogram":{"aggregationTemporality":2,"dataPoints":[
        {"timeUnixNano":"1700000000000000000","count":"6","sum":12.5,"bucketCounts":["1","2","3"],"explicitBounds":[0.5,10],
         "exemplars":[{"timeUnixNano":"1699999999000000000","asDouble":11,"traceId":"0102","spanId":"03",
           "filteredAttributes":[{"key":"user","value":{"stringValue":"u"}}]},{"asDouble":0.5}]}]}}"#,
    );
    assert_eq!(server.otlp(&body).await.body, "{}");
    let name = |suffix: &str| format!("lat_seconds{suffix}");
    let bucket = |le: &str| server.values(&[("__name__", &name("_bucket")), ("le", le)]);
    assert_eq!((bucket("0.5"), bucket("10"), bucket("+Inf")), (vec![1.0], vec![3.0], vec![6.0]));
    assert_eq!(server.values(&[("__name__", &name("_sum"))]), [12.5]);
    assert_eq!(server.values(&[("__name__", &name("_count"))]), [6.0]);
    let exemplars = |le: &str| server.extras(&[("__name__", &name("_bucket")), ("le", le)]).1;
    let own = labels(&[("trace_id", "0102"), ("span_id", "03"), ("user", "u")]);
    let last = Exemplar { timestamp_ms: NOW_MS - 1000, value: 11.0, labels: own };
    assert_eq!(exemplars("+Inf"), [last]);
    let first = Exemplar { timestamp_ms: NOW_MS, value: 0.5, labels: LabelSet::default() };
    assert_eq!(exemplars("0.5"), [first]);
    assert_eq!(exemplars("10"), []);
}

#[tokio::test]
async fn a_histogram_without_a_sum_has_none() {
    let server = server().await;
    let body = metric(
        r#"{"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[
        {"timeUnixNano":"1700000000000000000","count":"1"}]}}"#,
    );
    assert_eq!(server.otlp(&body).await.body, "{}");
    assert!(server.values(&[("__name__", "h_sum")]).is_empty());
    assert_eq!(server.values(&[("__name__", "h_bucket"), ("le", "+Inf")]), [1.0]);
}

#[tokio::test]
async fn a_histogram_becomes_a_native_one_with_custom_buckets_if_the_tenant_wants_it() {
    let otlp = guard::OtlpSettings { convert_histograms_to_nhcb: true, ..Default::default() };
    let server = with_otlp(otlp).await;
    let body = metric(
        r#"{"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[
        {"startTimeUnixNano":"1699999990000000000","timeUnixNano":"1700000000000000000","count":"4","sum":3,
         "bucketCounts":[1,0,0,0,3],"explicitBounds":[1,2,3,4]}]}}"#,
    );
    assert_eq!(server.otlp(&body).await.body, "{}");
    let (kept, _) = server.extras(&[("__name__", "h")]);
    assert_eq!((kept.len(), kept[0].start_timestamp_ms), (1, NOW_MS - 10_000));
    let histogram = &*kept[0].histogram;
    assert_eq!((histogram.schema, &*histogram.custom_values), (-53, &[1.0, 2.0, 3.0, 4.0][..]));
    let spans = [Span { offset: 0, length: 1 }, Span { offset: 3, length: 1 }];
    assert_eq!(histogram.positive_spans, spans);
    let Counts::Integer { count: 4, positive, .. } = &histogram.counts else {
        panic!("{histogram:?}")
    };
    assert_eq!(*positive, [1, 3]);
}

/// A request with one exponential histogram.
fn exponential(scale: i32, rest: &str) -> String {
    metric(&format!(
        r#"{{"name":"e","exponentialHistogram":{{"aggregationTemporality":2,"dataPoints":[
        {{"timeUnixNano":"1700000000000000000","scale":{scale},{rest}}}]}}}}"#
    ))
}

#[tokio::test]
async fn an_exponential_histogram_becomes_native_with_its_buckets_one_further() {
    let server = server().await;
    let body = exponential(
        1,
        r#""count":"10","sum":5,"zeroCount":1,"positive":{"offset":-1,"bucketCounts":[1,2,0,0,0,3]},"negative":{"offset":2,"bucketCounts":[3]}"#,
    );
    assert_eq!(server.otlp(&body).await.body, "{}");
    let (kept, _) = server.extras(&[("__name__", "e")]);
    let want = Histogram {
        schema: 1,
        zero_threshold: 1e-128,
        sum: 5.0,
        reset_hint: model::histogram::ResetHint::Unknown,
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 3, length: 1 }],
        negative_spans: vec![Span { offset: 3, length: 1 }],
        custom_values: vec![],
        counts: Counts::Integer {
            count: 10,
            zero_count: 1,
            positive: vec![1, 2, 3],
            negative: vec![3],
        },
    };
    assert_eq!(*kept[0].histogram, want);
}

#[tokio::test]
async fn a_histogram_that_counts_from_the_point_before_is_a_gauge() {
    use model::histogram::ResetHint::{Gauge, Unknown};
    let otlp = guard::OtlpSettings {
        allow_delta_temporality: true,
        convert_histograms_to_nhcb: true,
        ..Default::default()
    };
    let own = metric(
        r#"{"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[
        {"timeUnixNano":"1700000000000000000","count":"1","bucketCounts":[1,0],"explicitBounds":[1]}]}}"#,
    );
    let rest = r#""count":"1","positive":{"bucketCounts":[1]}"#;
    let stale = r#""flags":1,"count":"0""#;
    for (name, body) in [("h", own), ("e", exponential(0, rest)), ("e", exponential(0, stale))] {
        for (temporality, hint) in [("2", Unknown), ("1", Gauge)] {
            let server = with_otlp(otlp.clone()).await;
            let key = r#""aggregationTemporality":"#;
            let body = body.replace(&format!("{key}2"), &format!("{key}{temporality}"));
            assert_eq!(server.otlp(&body).await.body, "{}");
            let (kept, _) = server.extras(&[("__name__", name)]);
            assert_eq!(kept[0].histogram.reset_hint, hint, "{body}");
        }
    }
}

#[tokio::test]
async fn a_scale_above_8_is_lowered_and_one_below_minus_4_is_refused() {
    let server = server().await;
    // Two scales too fine: indexes 3, 4, 5, 8 of theirs are 0, 1, 1, 2 of the one in four.
    let rest = r#""count":"15","positive":{"offset":3,"bucketCounts":[1,2,4,0,0,8]}"#;
    assert_eq!(server.otlp(&exponential(10, rest)).await.body, "{}");
    let (kept, _) = server.extras(&[("__name__", "e")]);
    let histogram = &*kept[0].histogram;
    assert_eq!(histogram.schema, 8);
    assert_eq!(histogram.positive_spans, [Span { offset: 1, length: 3 }]);
    let Counts::Integer { positive, .. } = &histogram.counts else { panic!("{histogram:?}") };
    assert_eq!(*positive, [1, 6, 8]);

    let response = server.otlp(&exponential(-5, r#""count":"0""#)).await;
    assert!(response.body.contains("scale -5 is below -4"), "{}", response.body);
    assert!(response.body.contains(r#""rejectedDataPoints":"1""#), "{}", response.body);
}

#[tokio::test]
async fn the_extremes_of_scale_offset_and_count_are_an_answer() {
    let server = server().await;
    let huge = u64::MAX;
    for (scale, rest) in [
        (
            i32::MAX,
            r#""count":"1","positive":{"offset":-2147483648,"bucketCounts":[1]}"#.to_owned(),
        ),
        (i32::MIN, r#""count":"1","positive":{"offset":2147483647,"bucketCounts":[1]}"#.to_owned()),
        (0, r#""count":"2","positive":{"offset":2147483647,"bucketCounts":[1,1]}"#.to_owned()),
        (8, format!(r#""count":"{huge}","positive":{{"bucketCounts":["{huge}","{huge}"]}}"#)),
        (40, format!(r#""count":"{huge}","positive":{{"bucketCounts":["{huge}","{huge}"]}}"#)),
        (0, format!(r#""count":"1","positive":{{"bucketCounts":[{}1]}}"#, "1,".repeat(20_000))),
    ] {
        assert_eq!(server.otlp(&exponential(scale, &rest)).await.status, 200, "{scale} {rest:.80}");
    }
}

#[tokio::test]
async fn a_summary_becomes_quantiles_sum_and_count() {
    let server = server().await;
    let body = metric(
        r#"{"name":"s","summary":{"dataPoints":[{"timeUnixNano":"1700000000000000000","count":"2","sum":3,
        "quantileValues":[{"quantile":0.5,"value":1.5},{"quantile":1,"value":2}]}]}}"#,
    );
    assert_eq!(server.otlp(&body).await.body, "{}");
    assert_eq!(server.values(&[("__name__", "s"), ("quantile", "0.5")]), [1.5]);
    assert_eq!(server.values(&[("__name__", "s"), ("quantile", "1")]), [2.0]);
    assert_eq!(server.values(&[("__name__", "s_sum")]), [3.0]);
    assert_eq!(server.values(&[("__name__", "s_count")]), [2.0]);
}
