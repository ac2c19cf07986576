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

mod extras;
mod histograms;
mod samples;

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

/// Fifty names that begin so.
fn many_names(start: &str) -> Vec<&'static str> {
    (0..50).map(|number| &*Box::leak(format!("{start}{number}").into_boxed_str())).collect()
}

const UP: [(&str, &str); 3] =
    [("__name__", "up"), ("job", "testjob"), ("instance", "localhost:9090")];
const REQUESTS: [(&str, &str); 2] = [("__name__", "http_requests_total"), ("job", "api")];
const HOUR_MS: i64 = 3_600_000;

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

/// Each of them is a case of the tests of this module.
#[test]
fn s9_the_prometheus_compliance_receiver_suite_passes_whole() {
    let here = include_str!("receiver.rs").split("const SUITE").next().unwrap();
    let parts = [
        here,
        include_str!("receiver/extras.rs"),
        include_str!("receiver/histograms.rs"),
        include_str!("receiver/samples.rs"),
    ];
    let words = parts.iter().flat_map(|part| part.split(|c: char| !c.is_ascii_alphanumeric()));
    let restated: BTreeSet<&str> = words.collect();
    let missing: Vec<_> =
        SUITE.split_whitespace().filter(|name| !restated.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(SUITE.split_whitespace().count(), 39);
}
