//! The suite's cases of metadata and exemplars.

use super::*;

#[tokio::test]
async fn metadata_of_every_type_is_taken() {
    let of = |name, metric_type, help, unit| {
        vec![sample(&named(name), 1.0).metadata(metric_type, help, unit)]
    };
    let duration =
        native(&named("request_duration_seconds"), histogram(1.0, true, true, true, false))
            .metadata(MetricType::Histogram, "Request duration in seconds", "seconds");
    check_taken(&[
        (
            "TestMetadata/counter",
            of("http_requests_total", MetricType::Counter, "Total", "requests"),
        ),
        ("TestMetadata/gauge", of("cpu_usage_percent", MetricType::Gauge, "Current", "percent")),
        ("TestMetadata/histogram", vec![duration]),
        ("TestMetadata/no_help_no_unit", of("simple_counter", MetricType::Counter, "", "")),
        (
            "TestMetadata/special_chars",
            of("test_metric", MetricType::Gauge, "with\nnewlines and \"quotes\"", "bytes/sec"),
        ),
        (
            "TestMetadata/unspecified_type",
            of("unknown_metric", MetricType::Unknown, "Unknown metric type", ""),
        ),
        ("TestMetadata/info_type", of("build_info", MetricType::Info, "Build information", "")),
        ("TestMetadata/stateset_type", of("node_state", MetricType::StateSet, "Node state", "")),
        (
            "TestMetadata/summary_type",
            of("request_latency_summary", MetricType::Summary, "Latency", "seconds"),
        ),
        (
            "TestMetadata/gauge_histogram_type",
            of("temperature", MetricType::GaugeHistogram, "Temperature", "celsius"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn exemplars_of_every_kind_are_taken() {
    let case = |labels: &[(&'static str, &'static str)],
                exemplar: &[(&'static str, &'static str)]| {
        vec![sample(labels, 1.0).exemplar(exemplar)]
    };
    let region = [("__name__", "unicode_test"), ("region", "🌍")];
    let of = |method, trace| {
        let labels = [("__name__", "request_duration"), ("method", method)];
        sample(&labels, 0.1).exemplar(&[("trace_id", trace), ("span_id", "span1")])
    };
    let latency = |trace, ago_ms| {
        sample(&named("latency_hist"), 0.05).exemplar(&[("trace_id", trace)]).ago(ago_ms)
    };
    let span = [("trace_id", "abc123"), ("span_id", "span456")];
    check_taken(&[
        ("TestExemplars/basic_exemplar", case(&REQUESTS, &[("trace_id", "abc123def456")])),
        ("TestExemplars/with_span_id", case(&REQUESTS, &span)),
        ("TestExemplars/without_trace_id", case(&REQUESTS, &[("user_id", "user123")])),
        (
            "TestExemplars/multiple_labels",
            case(&REQUESTS, &[("trace_id", "t"), ("user", "u"), ("region", "r")]),
        ),
        ("TestExemplars/no_labels", case(&named("simple_counter"), &[])),
        (
            "TestExemplars/special_chars",
            case(&REQUESTS, &[("trace_id", "trace-with-dashes_and_underscores.123")]),
        ),
        ("TestExemplars/unicode", case(&region, &[("trace_id", "unicode_trace_测试")])),
        (
            "TestExemplarWithCreatedTimestamp",
            vec![sample(&REQUESTS, 250.0).exemplar(&span).created(2 * HOUR_MS)],
        ),
        (
            "TestMultipleExemplars",
            vec![of("GET", "trace1"), of("POST", "trace2"), of("PUT", "trace3")],
        ),
        (
            "TestExemplarTimestamps",
            vec![latency("old", HOUR_MS), latency("recent", 60_000), latency("current", 0)],
        ),
        (
            "TestExemplarValidation/with_valid_name",
            case(&named("valid_metric"), &[("trace_id", "test_trace")]),
        ),
        (
            "TestEdgeCaseCombinations/mixed_timestamp_data",
            vec![
                sample(&named("old_metric"), 1.0)
                    .exemplar(&[("trace_id", "old_trace")])
                    .ago(HOUR_MS),
                sample(&named("new_metric"), 2.0),
            ],
        ),
    ])
    .await;
    for value in [0.0, -123.456, 1e10, 1e-10, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let special = sample(&named("test_metric"), value).exemplar(&[("trace_id", "special")]);
        check_taken(&[("TestExemplarSpecialValues", vec![special])]).await;
    }
}

#[tokio::test]
async fn exemplars_come_without_samples_as_prometheus_sends_them() {
    // A Prometheus puts samples and exemplars of a series into series of their own (ADR 8).
    let orphan = |name| Sent { labels: named(name).to_vec(), ..Sent::default() };
    let traced = orphan("orphan_metric").exemplar(&[("trace_id", "orphan_trace")]);
    check_taken(&[
        ("TestEdgeCaseCombinations/exemplars_without_data", vec![traced.clone()]),
        ("beside another", vec![sample(&UP, 1.0), traced]),
    ])
    .await;
}
