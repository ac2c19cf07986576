//! Every kind of sample, and exemplars, through the real binary: remote write, flush, kill, replay,
//! seal. The API shows them all the way, and the files at the end hold them bit for bit.

use bench::remote_write;
use model::exemplar::SeriesExemplars;
use model::histogram::{CUSTOM_BUCKETS, Counts, ResetHint, Span};
use model::read::{SelectBounds, Selection};
use model::sample::stale_marker;
use model::{Exemplar, Histogram, HistogramSample, LabelSet, Matcher, SeriesColumns};
use model::{TenantId, TimeRange, TimestampMs};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use store::disk::FileDisk;
use store::engine::Parts;
use store::{Config, Engine};
use tests::process::{Cumae, Launch, wall_ms};
use wire::remote_write::{encode_extras, encode_series};

fn integer() -> Histogram {
    let span = |offset, length| Span { offset, length };
    Histogram {
        schema: 0,
        zero_threshold: 0.001,
        sum: 12.5,
        reset_hint: ResetHint::No,
        // Spans that touch, and an empty one: nothing is tidied up.
        positive_spans: vec![span(0, 2), span(0, 0), span(1, 1)],
        negative_spans: vec![span(0, 1)],
        custom_values: vec![],
        counts: Counts::Integer {
            count: 9,
            zero_count: 2,
            positive: vec![1, 2, 1],
            negative: vec![3],
        },
    }
}

fn float() -> Histogram {
    Histogram {
        reset_hint: ResetHint::Gauge,
        counts: Counts::Float {
            count: 9.5,
            zero_count: 0.25,
            positive: vec![0.125, 1e300, 5e-324],
            negative: vec![-0.0],
        },
        ..integer()
    }
}

fn custom() -> Histogram {
    Histogram {
        schema: CUSTOM_BUCKETS,
        zero_threshold: 0.0,
        positive_spans: vec![Span { offset: 0, length: 3 }],
        negative_spans: vec![],
        custom_values: vec![0.5, 1.0],
        counts: Counts::Integer {
            count: 6,
            zero_count: 0,
            positive: vec![1, 2, 3],
            negative: vec![],
        },
        ..integer()
    }
}

/// A stale marker that still has its buckets.
fn stale() -> Histogram {
    Histogram { sum: stale_marker(), ..integer() }
}

fn labels(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied()).unwrap()
}

/// What is sent, in two halves: one is in files when the process is killed, one in the log.
struct Sent {
    base_ms: i64,
    histograms: Vec<(LabelSet, Histogram)>,
    floats: Vec<f64>,
}

impl Sent {
    fn new(base_ms: i64) -> Self {
        let of = |kind: &str, histogram| (labels(&[("__name__", "h"), ("kind", kind)]), histogram);
        let histograms = vec![
            of("custom", custom()),
            of("float", float()),
            of("integer", integer()),
            of("stale", stale()),
        ];
        // A NaN with a payload, and what only bits tell apart.
        let floats = vec![1.5, -0.0, f64::from_bits(0x7ff8_0000_dead_beef), stale_marker()];
        Self { base_ms, histograms, floats }
    }

    fn sample(&self, histogram: &Histogram, half: i64) -> HistogramSample {
        HistogramSample {
            timestamp_ms: self.base_ms + half * 1_000,
            histogram: Arc::new(histogram.clone()),
            start_timestamp_ms: self.base_ms - 7,
            revision: 0,
        }
    }

    fn float_at(&self, half: i64) -> Vec<(i64, f64)> {
        let times = (self.base_ms + half * 1_000..).step_by(10);
        times.zip(self.floats.iter().copied()).collect()
    }

    fn exemplar(&self, half: i64) -> Exemplar {
        let labels = labels(&[("trace_id", &format!("trace-{half}"))]);
        Exemplar { timestamp_ms: self.base_ms + half * 1_000, value: 0.1 + 0.2, labels }
    }

    /// The request of a half.
    fn body(&self, half: i64) -> Vec<u8> {
        let mut message = Vec::new();
        encode_series(&labels(&[("__name__", "f")]), &self.float_at(half), &mut message);
        for (labels, histogram) in &self.histograms {
            let exemplars = [self.exemplar(half)];
            encode_extras(labels, &[self.sample(histogram, half)], &exemplars, &mut message);
        }
        remote_write::compress(&message)
    }

    /// Everything, as an engine answers it.
    fn columns(&self) -> Vec<SeriesColumns> {
        let mut floats =
            SeriesColumns { labels: labels(&[("__name__", "f")]), ..Default::default() };
        let all = self.float_at(0).into_iter().chain(self.float_at(1));
        all.for_each(|(at, value)| floats.floats.push(at, value));
        let of = |(labels, histogram): &(LabelSet, Histogram)| {
            let mut one = SeriesColumns { labels: labels.clone(), ..Default::default() };
            (0..2).for_each(|half| one.histograms.push_sample(self.sample(histogram, half)));
            one
        };
        std::iter::once(floats).chain(self.histograms.iter().map(of)).collect()
    }

    fn exemplars(&self) -> Vec<SeriesExemplars> {
        let exemplars = vec![self.exemplar(0), self.exemplar(1)];
        let of = |(labels, _): &(LabelSet, Histogram)| SeriesExemplars {
            labels: labels.clone(),
            exemplars: exemplars.clone(),
        };
        self.histograms.iter().map(of).collect()
    }
}

/// A moment as the API writes it, in seconds.
fn seconds(ms: i64) -> Value {
    match ms % 1_000 {
        0 => json!(ms / 1_000),
        rest => serde_json::from_str(&format!("{}.{rest:03}", ms / 1_000)).unwrap(),
    }
}

/// What the API shows.
fn check(cumae: &Cumae, sent: &Sent) {
    let at = |half: i64| seconds(sent.base_ms + half * 1_000);
    let base = std::time::Duration::from_millis(sent.base_ms.unsigned_abs());
    let now = base.as_secs_f64() + 2.0;
    let integer = json!({"count": "9", "sum": "12.5", "buckets": [
        [1, "-1", "-0.5", "3"], [3, "-0.001", "0.001", "2"], [0, "0.5", "1", "1"],
        [0, "1", "2", "2"], [0, "4", "8", "1"],
    ]});
    let custom = json!({"count": "6", "sum": "12.5", "buckets": [
        [3, "-Inf", "0.5", "1"], [0, "0.5", "1", "2"], [0, "1", "+Inf", "3"],
    ]});
    let float = json!({"count": "9.5", "sum": "12.5", "buckets": [
        [3, "-0.001", "0.001", "0.25"], [0, "0.5", "1", "0.125"], [0, "1", "2", "1e+300"],
        [0, "4", "8", "5e-324"],
    ]});
    let series = |kind: &str, histogram: &Value| {
        let histograms = [json!([at(0), histogram]), json!([at(1), histogram])];
        json!({"metric": {"__name__": "h", "kind": kind}, "histograms": histograms})
    };
    // The stale marker is held and not shown.
    let expected =
        json!([series("custom", &custom), series("float", &float), series("integer", &integer)]);
    assert_eq!(cumae.query("h[10m]", now), expected);
    let instant = cumae.query("h{kind=\"integer\"}", now);
    assert_eq!(instant[0]["histogram"][1], integer);
    assert_eq!(cumae.query("h{kind=\"stale\"}", now), json!([]));

    let answer = cumae.api("query_exemplars", &[("query", "rate(h[5m])")]);
    let exemplar = |half: i64| {
        let trace = format!("trace-{half}");
        json!({"labels": {"trace_id": trace}, "value": "0.30000000000000004", "timestamp": at(half)})
    };
    let exemplars = json!([exemplar(0), exemplar(1)]);
    let of = |kind: &str| json!({"seriesLabels": {"__name__": "h", "kind": kind}, "exemplars": exemplars});
    assert_eq!(answer["data"], json!([of("custom"), of("float"), of("integer"), of("stale")]));
}

/// Reads the data directory of a process that has ended, and compares every bit.
fn check_files(data_dir: &Path, sent: &Sent) {
    let parts = Parts {
        disk: Arc::new(FileDisk::open(data_dir.join("store")).unwrap()),
        cluster_name: "cumae".to_owned(),
        generation_seed: 7,
    };
    let now = TimestampMs(sent.base_ms);
    let (engine, _) = Engine::open(parts, Config::default(), now).unwrap();
    let tenant = TenantId::parse("default").unwrap();
    let matchers = vec![Matcher::new("__name__", model::MatchOp::Regex, "f|h")];
    let selection = Selection {
        matchers: matchers.clone(),
        range: TimeRange::ALL,
        days: None,
        shard: model::QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: model::read::Wanted::ALL,
    };
    let found = engine.select(&tenant, &selection, now).unwrap();
    let expected = sent.columns();
    // Floats by their bits; histograms are equal when every bit is.
    let bits = |columns: &[SeriesColumns]| -> Vec<u64> {
        columns.iter().flat_map(|one| &one.floats.values).map(|value| value.to_bits()).collect()
    };
    assert_eq!(bits(&found), bits(&expected));
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.labels, expected.labels);
        assert_eq!(found.floats.timestamps_ms, expected.floats.timestamps_ms);
        assert_eq!(found.histograms, expected.histograms, "{}", found.labels);
    }
    assert_eq!(found.len(), expected.len());
    let exemplars = engine.exemplars(&tenant, &[matchers], TimeRange::ALL, now).unwrap();
    assert_eq!(exemplars, sent.exemplars());
}

#[test]
fn histograms_stale_markers_and_exemplars_survive_flush_kill_and_seal_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let launch = || Launch::new(&data_dir).config("self_metrics: false\n").start();
    let cumae = launch();
    let sent = Sent::new(wall_ms() - 60_000);
    let push = |cumae: &Cumae, half: i64| {
        let headers = &remote_write::HEADERS;
        let answer = cumae.send("POST", "/api/v1/push", headers, &sent.body(half));
        assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    };
    push(&cumae, 0);
    assert_eq!(cumae.send("POST", "/ingester/flush", &[], b"").status, 204);
    push(&cumae, 1);
    check(&cumae, &sent);
    cumae.kill_9();

    let cumae = launch();
    check(&cumae, &sent);
    assert_eq!(cumae.send("POST", "/ingester/flush?seal=true", &[], b"").status, 204);
    check(&cumae, &sent);
    // The same again changes nothing.
    push(&cumae, 1);
    check(&cumae, &sent);
    assert!(cumae.terminate().is_success());
    check_files(&data_dir, &sent);
}
