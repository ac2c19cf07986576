//! The receiver rules of prometheus/compliance (`remotewrite/receiver`), restated: each case bears
//! the name of the test there. What may be taken or refused there is here what CONTRACTS.md says.
//!
//! Each request is sent with its labels in either order, since senders there have none; what is
//! taken is 204 with exact counts and kept, what is refused is exactly 400.

use super::*;
use model::histogram::{Counts, Histogram, ResetHint, Span};
use model::sample::STALE_NAN_BITS;
use std::collections::BTreeSet;
use std::sync::Arc;

type Pairs = Vec<(&'static str, &'static str)>;

/// A series of a request: one sample or one histogram, and what comes with it.
#[derive(Clone, Debug, Default)]
struct Sent {
    labels: Pairs,
    value: Option<f64>,
    histogram: Option<Histogram>,
    exemplar: Option<(Pairs, f64)>,
    metadata: Option<(MetricType, &'static str, &'static str)>,
    ago_ms: i64,
    created_ago_ms: i64,
}

fn sample(labels: &[(&'static str, &'static str)], value: f64) -> Sent {
    Sent { labels: labels.to_vec(), value: Some(value), ..Sent::default() }
}

fn native(labels: &[(&'static str, &'static str)], histogram: Histogram) -> Sent {
    Sent { labels: labels.to_vec(), histogram: Some(histogram), ..Sent::default() }
}

fn named(name: &'static str) -> [(&'static str, &'static str); 1] {
    [("__name__", name)]
}

impl Sent {
    fn exemplar(mut self, labels: &[(&'static str, &'static str)]) -> Self {
        self.exemplar = Some((labels.to_vec(), self.value.unwrap_or(0.5)));
        self
    }

    fn metadata(mut self, of: MetricType, help: &'static str, unit: &'static str) -> Self {
        self.metadata = Some((of, help, unit));
        self
    }

    fn created(mut self, ago_ms: i64) -> Self {
        self.created_ago_ms = ago_ms;
        self
    }

    fn ago(mut self, ms: i64) -> Self {
        self.ago_ms = ms;
        self
    }

    fn put(&self, request: &mut RequestV2, is_reversed: bool) {
        let mut labels = self.labels.clone();
        if is_reversed {
            labels.reverse();
        }
        let at = NOW_MS - self.ago_ms;
        let samples: Vec<_> = self.value.iter().map(|value| (at, *value, 0)).collect();
        let histograms = self.histogram.iter().map(|histogram| HistogramSample {
            timestamp_ms: at,
            histogram: Arc::new(histogram.clone()),
            start_timestamp_ms: 0,
            revision: 0,
        });
        let exemplars = self.exemplar.iter().map(|(pairs, value)| Exemplar {
            timestamp_ms: at,
            value: *value,
            labels: super::labels(pairs),
        });
        let metadata = self.metadata.map(|(metric_type, help, unit)| MetricMetadata {
            metric: "".into(),
            metric_type,
            help: help.into(),
            unit: unit.into(),
        });
        request.begin(labels);
        request.fill(&SeriesV2 {
            samples: &samples,
            histograms: &histograms.collect::<Vec<_>>(),
            exemplars: &exemplars.collect::<Vec<_>>(),
            metadata: metadata.as_ref(),
            created_ms: if self.created_ago_ms == 0 { 0 } else { NOW_MS - self.created_ago_ms },
        });
    }

    /// Looks whether it lies in the replica of this server.
    fn check_kept(&self, server: &Server, what: &str) {
        let (replica, labels) = (&server.rig.replicas[0], super::labels(&self.labels));
        let at = NOW_MS - self.ago_ms;
        let start = if self.created_ago_ms == 0 { 0 } else { NOW_MS - self.created_ago_ms };
        let (histograms, exemplars) = replica.extras("default", &labels);
        if let Some(value) = self.value {
            let kept = replica.samples("default", &labels);
            let bits = kept.iter().find(|(time, _)| *time == at).map(|(_, value)| value.to_bits());
            assert_eq!(bits, Some(value.to_bits()), "{what}");
            assert!(replica.starts("default", &labels).contains(&(at, start)), "{what}");
        }
        if let Some(histogram) = &self.histogram {
            let kept = histograms.iter().find(|kept| kept.timestamp_ms == at).unwrap();
            assert_eq!((&*kept.histogram, kept.start_timestamp_ms), (histogram, start), "{what}");
        }
        if let Some((pairs, _)) = &self.exemplar {
            let is_it = |kept: &Exemplar| kept.labels == super::labels(pairs);
            assert!(exemplars.iter().any(is_it), "{what}");
        }
        if let Some((metric_type, help, _)) = self.metadata {
            let is_it = |kept: &MetricMetadata| {
                kept.metric_type == metric_type
                    && &*kept.help == help
                    && *kept.metric == *self.name()
            };
            assert!(replica.metadata().iter().any(is_it), "{what}: {:?}", replica.metadata());
        }
    }

    fn name(&self) -> &'static str {
        let name = self.labels.iter().find(|(name, _)| *name == "__name__");
        name.map_or("", |(_, name)| name)
    }
}

/// The request in both orders of its labels, each to a server of its own.
async fn send(series: &[Sent]) -> Vec<(Server, Response)> {
    let mut answers = Vec::new();
    for is_reversed in [false, true] {
        let server = server().await;
        let mut request = RequestV2::default();
        series.iter().for_each(|one| one.put(&mut request, is_reversed));
        let headers =
            [V2, ("Content-Encoding", "snappy"), ("X-Prometheus-Remote-Write-Version", "2.0.0")];
        let response = server.post(PUSH, &headers, &compressed(&request.finish())).await;
        answers.push((server, response));
    }
    answers
}

fn count_of(series: &[Sent]) -> [Option<u64>; 3] {
    let count =
        |is_there: fn(&Sent) -> bool| series.iter().filter(|one| is_there(one)).count() as u64;
    counts(
        count(|one| one.value.is_some()),
        count(|one| one.histogram.is_some()),
        count(|one| one.exemplar.is_some()),
    )
}

async fn check_taken(cases: &[(&str, Vec<Sent>)]) {
    for (what, series) in cases {
        for (server, response) in send(series).await {
            assert_eq!((response.status, &*response.body), (204, ""), "{what}");
            assert_eq!(response.written(), count_of(series), "{what}");
            series.iter().for_each(|one| one.check_kept(&server, what));
        }
    }
}

/// Each with how many samples are taken all the same.
async fn check_refused(cases: &[(&str, Vec<Sent>, u64)]) {
    for (what, series, samples) in cases {
        for (server, response) in send(series).await {
            assert_eq!(response.status, 400, "{what}: {}", response.body);
            assert_eq!(response.written(), counts(*samples, 0, 0), "{what}");
            assert_eq!(server.rig.replicas[0].series() as u64, *samples, "{what}");
        }
    }
}

/// As `histogram` of the suite makes one: which sides, and whether with bounds of its own.
fn histogram(sum: f64, positive: bool, negative: bool, zero: bool, custom: bool) -> Histogram {
    let (mut positives, mut negatives) = (vec![], vec![]);
    let (mut positive_spans, mut negative_spans) = (vec![], vec![]);
    if custom {
        positives = vec![2, 3, 5, 8, 7, 5];
        positive_spans = vec![Span { offset: 0, length: 6 }];
    } else if positive {
        positives = vec![1, 3, 4, 7, 8];
        positive_spans = vec![Span { offset: 0, length: 3 }, Span { offset: 2, length: 2 }];
    }
    if negative {
        negatives = vec![1, 2];
        negative_spans = vec![Span { offset: 0, length: 2 }];
    }
    let zero_count = u64::from(zero);
    let count = positives.iter().chain(&negatives).sum::<u64>() + zero_count;
    Histogram {
        schema: if custom { -53 } else { 0 },
        zero_threshold: 0.0,
        sum,
        reset_hint: ResetHint::Unknown,
        positive_spans,
        negative_spans,
        custom_values: if custom { vec![0.1, 0.5, 1.0, 2.5, 5.0, 10.0] } else { vec![] },
        counts: Counts::Integer { count, zero_count, positive: positives, negative: negatives },
    }
}

/// The values that every kind of sample is sent with.
fn values() -> [f64; 5] {
    [1.0, f64::from_bits(STALE_NAN_BITS), f64::NAN, f64::INFINITY, f64::NEG_INFINITY]
}

const UP: [(&str, &str); 3] =
    [("__name__", "up"), ("job", "testjob"), ("instance", "localhost:9090")];
const REQUESTS: [(&str, &str); 2] = [("__name__", "http_requests_total"), ("job", "api")];
const HOUR_MS: i64 = 3_600_000;

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

/// Fifty names that begin so.
fn many_names(start: &str) -> Vec<&'static str> {
    (0..50).map(|number| &*Box::leak(format!("{start}{number}").into_boxed_str())).collect()
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

#[tokio::test]
async fn a_series_with_nothing_to_write_is_refused_and_the_rest_kept() {
    // There either answer passes; a receiver that drops them had better say so.
    let bare = |name| Sent { labels: named(name).to_vec(), ..Sent::default() };
    let told = bare("orphan_metric").metadata(MetricType::Counter, "Orphaned", "count");
    check_refused(&[
        ("TestEdgeCaseCombinations/metadata_without_data", vec![told.clone()], 0),
        ("beside another", vec![told, sample(&UP, 1.0), bare("bare")], 1),
    ])
    .await;
    for (server, response) in send(&[bare("bare"), bare("other")]).await {
        let text = "2 series refused: {__name__=\"bare\"}: no samples, histograms or exemplars\n";
        assert_eq!((response.status, &*response.body), (400, text));
        assert!(server.rig.replicas[0].metadata().is_empty());
    }
}

#[tokio::test]
async fn other_types_and_encodings_are_415_and_a_corrupt_body_is_400() {
    // TestBadContentTypes, TestBadContentEncodings, TestCorruptRequestBody.
    let server = server().await;
    let mut body = compressed(&request_v2(&[(&up(), one(&[(NOW_MS, 1.0, 0)]))]));
    body[0] = b'0';
    let snappy = ("Content-Encoding", "snappy");
    for content_type in ["application/json", "image/png"] {
        let response = server.post(PUSH, &[("Content-Type", content_type), snappy], &body).await;
        assert_eq!(response.status, 415, "{content_type}");
    }
    for encoding in ["gzip", "deflate"] {
        let response = server.post(PUSH, &[V2, ("Content-Encoding", encoding)], &body).await;
        assert_eq!((response.status, response.written()), (415, counts(0, 0, 0)), "{encoding}");
    }
    let response = server.post(PUSH, &[V2, snappy], &body).await;
    assert_eq!((response.status, response.written()), (400, counts(0, 0, 0)));
}

#[tokio::test]
async fn version_1_is_taken_beside_and_answers_without_counts() {
    // TestRW1BasicCompatibility, TestRW1ErrorHandling.
    let server = server().await;
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
    let more = labels(&named("http_requests_total"));
    let mut body = compressed(&request(&[(&up(), &[(NOW_MS, 1.0)]), (&more, &[(NOW_MS, 100.0)])]));
    let response = server.post(PUSH, &headers, &body).await;
    assert_eq!((response.status, response.written()), (204, [None; 3]));
    assert_eq!(server.rig.replicas[0].series(), 2);
    body[0] = 0xff;
    let response = server.post(PUSH, &headers, &body).await;
    assert_eq!((response.status, response.written()), (400, [None; 3]));
}

/// The tests of the suite.
const SUITE: &str = "
    TestSamplesWithMetadataAndExemplars TestHistogramsWithMetadataAndExemplars TestComplexSamplesRequest
    TestComplexHistogramsRequest TestMultipleMetricFamiliesSamples TestMultipleMetricFamiliesHistograms
    TestEdgeCaseCombinations TestManySamples TestManyHistograms TestSpecialCharactersCombined
    TestCustomBucketsHistogramWithExemplar TestExemplars TestExemplarWithCreatedTimestamp
    TestMultipleExemplars TestExemplarTimestamps TestExemplarValidation TestExemplarSpecialValues
    TestHistograms TestHistogramWithCreatedTimestamp TestMultipleHistograms TestEmptyHistogram
    TestHistogramWithMetadata TestHistogramWithExemplar TestHistogramWithMetadataAndExemplar
    TestMultipleHistogramsWithMetadata TestMetadata TestCounterMetadataWithCreatedTimestamp
    TestMetadataWithSamples TestMultipleMetadata TestMetadataWithComplexLabels TestMetadataValidation
    TestSingleMetric TestCounterWithCreatedTimestamp TestMultipleMetrics TestBadContentTypes
    TestBadContentEncodings TestCorruptRequestBody TestRW1BasicCompatibility TestRW1ErrorHandling";

#[test]
fn every_test_of_the_suite_is_restated() {
    let here = include_str!("receiver.rs").split("const SUITE").next().unwrap();
    let is_part = |c: char| c.is_ascii_alphanumeric();
    let restated: BTreeSet<&str> = here.split(|c| !is_part(c)).collect();
    let missing: Vec<_> =
        SUITE.split_whitespace().filter(|name| !restated.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(SUITE.split_whitespace().count(), 39);
}
