//! The suite's cases of native histograms.

use super::*;

#[tokio::test]
async fn native_histograms_are_taken_and_one_with_a_wrong_count_is_refused() {
    let h = |positive, negative, zero, custom| histogram(1.0, positive, negative, zero, custom);
    let of = |name, histogram| vec![native(&named(name), histogram)];
    let job = |name| [("__name__", name), ("job", "test")];
    check_taken(&[
        ("TestHistograms/basic_histogram", of("test_histogram", h(true, true, true, false))),
        (
            "TestHistograms/custom_buckets_histogram",
            of("test_histogram", h(true, false, false, true)),
        ),
        (
            "TestHistograms/positive_only_histogram",
            of("test_histogram", h(true, false, true, false)),
        ),
        (
            "TestHistograms/negative_only_histogram",
            of("test_histogram", h(false, true, false, false)),
        ),
        ("TestHistograms/minimal_histogram", of("minimal_hist", h(false, false, true, false))),
        ("TestEmptyHistogram", of("empty_hist", histogram(0.0, false, false, false, false))),
        (
            "TestHistogramWithCreatedTimestamp",
            vec![
                native(&job("request_duration_seconds"), h(true, true, true, false))
                    .created(HOUR_MS / 2),
            ],
        ),
        (
            "TestMultipleHistograms",
            vec![
                native(&job("hist1"), histogram(10.5, true, false, true, false)),
                native(&job("hist2"), histogram(5.2, false, true, false, false)),
            ],
        ),
    ])
    .await;
    let mut bad = h(true, false, false, false);
    let Counts::Integer { count, .. } = &mut bad.counts else { panic!("it is of integers") };
    *count = 99;
    check_refused(&[("TestHistograms/bad_count_histogram", of("minimal_hist", bad), 0)]).await;
}

#[tokio::test]
async fn histograms_are_taken_with_metadata_and_exemplars() {
    let latency = [("__name__", "request_duration_seconds"), ("service", "auth")];
    let told = |sent: Sent| sent.metadata(MetricType::Histogram, "distribution", "seconds");
    let traced = |sent: Sent| sent.exemplar(&[("trace_id", "slow"), ("endpoint", "/login")]);
    let full = || native(&latency, histogram(0.456, true, true, true, false));
    let part = |name, negative| {
        let labels = [("__name__", name), ("instance", "server1")];
        native(&labels, histogram(0.75, true, negative, !negative, false))
    };
    let complex = [
        ("__name__", "http_request_duration_seconds"),
        ("job", "api-server"),
        ("instance", "localhost:8080"),
        ("method", "GET"),
        ("status", "200"),
        ("endpoint", "/api/v1/users"),
    ];
    let custom = native(&latency, histogram(0.05, false, false, false, true));
    let many: Vec<Sent> = many_names("histogram_metric_")
        .into_iter()
        .map(|name| {
            traced(told(native(
                &named(name),
                histogram(0.1, true, name.ends_with('2'), true, false),
            )))
        })
        .collect();
    check_taken(&[
        ("TestHistogramWithMetadata", vec![told(full())]),
        ("TestHistogramWithExemplar", vec![traced(full())]),
        ("TestHistogramWithMetadataAndExemplar", vec![told(traced(full()))]),
        ("TestHistogramsWithMetadataAndExemplars", vec![traced(told(full()))]),
        (
            "TestMultipleHistogramsWithMetadata",
            vec![told(part("cpu", false)), told(part("memory", true))],
        ),
        (
            "TestComplexHistogramsRequest",
            vec![told(traced(part("response", false))), told(part("size", true))],
        ),
        ("TestMultipleMetricFamiliesHistograms", vec![told(traced(part("request", false)))]),
        (
            "TestMetadataWithComplexLabels",
            vec![told(native(&complex, histogram(0.25, true, true, true, false)))],
        ),
        ("TestCustomBucketsHistogramWithExemplar", vec![traced(custom)]),
        ("TestManyHistograms", many),
    ])
    .await;
}
