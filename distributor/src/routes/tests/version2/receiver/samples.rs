//! The suite's cases of samples, by themselves and with all that comes with them.

use super::*;

#[tokio::test]
async fn samples_of_every_value_and_utf8_name_are_taken() {
    for value in values() {
        check_taken(&[
            ("TestSingleMetric/simple metric", vec![sample(&named("up"), value)]),
            ("TestSingleMetric/with multiple labels", vec![sample(&UP, value)]),
            (
                "TestSingleMetric/with newlines",
                vec![sample(&[("__name__", "up"), ("job", "test\njob\n")], value)],
            ),
            (
                "TestSingleMetric/with dots",
                vec![sample(&[("__name__", "resource.cpu.usage"), ("job.name", "testjob")], value)],
            ),
            (
                "TestSingleMetric/with spaces",
                vec![sample(&[("__name__", "resource cpu usage"), ("job name", "testjob")], value)],
            ),
            (
                "TestMultipleMetrics/multiple metrics",
                ["9090", "9091", "9092", "9093"]
                    .map(|port| sample(&[("__name__", "up"), ("instance", port)], value))
                    .to_vec(),
            ),
        ])
        .await;
    }
    check_taken(&[(
        "TestCounterWithCreatedTimestamp",
        vec![sample(&REQUESTS, 100.0).created(HOUR_MS)],
    )])
    .await;
}

#[tokio::test]
async fn samples_without_a_metric_name_are_refused_and_those_beside_them_kept() {
    let nameless = |port| [("job", "testjob"), ("instance", port)];
    let up = |port| [("__name__", "up"), ("instance", port)];
    for value in values() {
        check_refused(&[
            ("TestSingleMetric/without name label", vec![sample(&nameless("9090"), value)], 0),
            ("TestSingleMetric/empty metric", vec![sample(&[], value)], 0),
            (
                "TestMultipleMetrics/without name label",
                ["9090", "9091", "9092", "9093"]
                    .map(|port| sample(&nameless(port), value))
                    .to_vec(),
                0,
            ),
            (
                "TestMultipleMetrics/1 without name label",
                vec![
                    sample(&nameless("9090"), value),
                    sample(&up("9091"), value),
                    sample(&up("9092"), value),
                    sample(&up("9093"), value),
                ],
                3,
            ),
        ])
        .await;
    }
    let trace = [("trace_id", "test_trace")];
    let told = |labels: &[(&'static str, &'static str)]| {
        sample(labels, 1.0).metadata(MetricType::Counter, "Test help", "unit")
    };
    check_refused(&[
        (
            "TestExemplarValidation/without_name_label",
            vec![sample(&[("job", "test")], 1.0).exemplar(&trace)],
            0,
        ),
        (
            "TestExemplarValidation/with_empty_name",
            vec![sample(&named(""), 1.0).exemplar(&trace)],
            0,
        ),
        ("TestMetadataValidation/without_name_label", vec![told(&[("job", "test")])], 0),
        ("TestMetadataValidation/with_empty_name", vec![told(&named(""))], 0),
    ])
    .await;
}

/// A sample with text of every kind in every place.
fn special_characters() -> Sent {
    let special = [
        ("__name__", "test_metric"),
        ("job", "test-job_with.special@chars"),
        ("instance", "localhost:9090"),
        ("environment", "test🚀"),
    ];
    sample(&special, 42.0)
        .metadata(MetricType::Gauge, "special: äöü, newlines\nand \"quotes\"", "special/units")
        .exemplar(&[
            ("trace_id", "special_trace_äöü-123"),
            ("span_id", "span_with.dots-and_underscores"),
        ])
}

#[tokio::test]
async fn samples_are_taken_with_metadata_and_exemplars() {
    let trace = [("trace_id", "request_trace_123"), ("user_id", "user789")];
    let counter =
        |sent: Sent| sent.metadata(MetricType::Counter, "Total HTTP requests", "requests");
    let gauge = |name, value| {
        let labels = [("__name__", name), ("instance", "server1")];
        sample(&labels, value).metadata(MetricType::Gauge, "Usage of it", "ratio")
    };
    let many: Vec<Sent> = many_names("counter_metric_")
        .into_iter()
        .map(|name| counter(sample(&named(name), 100.0)).exemplar(&trace))
        .collect();
    let disk = [("__name__", "disk_usage"), ("device", "sda1")];
    check_taken(&[
        (
            "TestSamplesWithMetadataAndExemplars",
            vec![counter(sample(&REQUESTS, 1.0)).exemplar(&trace)],
        ),
        ("TestMetadataWithSamples", vec![counter(sample(&REQUESTS, 42.0))]),
        (
            "TestCounterMetadataWithCreatedTimestamp",
            vec![counter(sample(&REQUESTS, 150.0)).created(HOUR_MS)],
        ),
        (
            "TestComplexSamplesRequest",
            vec![gauge("cpu_usage", 0.85).exemplar(&trace), gauge("memory_usage", 8e9)],
        ),
        (
            "TestMultipleMetricFamiliesSamples",
            vec![
                counter(sample(&REQUESTS, 1e3)).exemplar(&trace),
                gauge("temperature_celsius", 23.5),
            ],
        ),
        (
            "TestMultipleMetadata",
            vec![
                gauge("cpu_usage", 85.5),
                gauge("memory_usage", 4e9),
                sample(&disk, 75.2).metadata(MetricType::Gauge, "Disk usage percentage", "percent"),
            ],
        ),
        ("TestSpecialCharactersCombined", vec![special_characters()]),
        ("TestManySamples", many),
        (
            "TestMetadataValidation/with_valid_name",
            vec![counter(sample(&named("valid_metric_name"), 1.0))],
        ),
    ])
    .await;
}
