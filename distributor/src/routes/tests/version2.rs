//! Remote write 2.0 over a real socket: CONTRACTS.md 5.1 to 5.6, 12 and 13.

use super::*;
use model::mutation::{MetricMetadata, MetricType};
use model::{Exemplar, HistogramSample, LabelSet};
use wire::remote_write::{RequestV2, SeriesV2};

mod bombs;
mod receiver;

const V2: (&str, &str) =
    ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request");
/// The vectors of CONTRACTS.md 12: the start of `c_total` in the series, and in the sample.
const OLD_LAYOUT: &str = "6ef052220022085f5f6e616d655f5f2207635f746f74616c22036a6f62220161220468656c70220874726163655f6964220274312a3b0a0401020304121009000000000000f03f1080d095ffbc3122140a0206071100051654e03f1880d095ffbc312a04080118053098c895ffbc31";
const NEW_LAYOUT: &str = "220022085f5f6e616d655f5f2207635f746f74616c22036a6f62220161220468656c70220874726163655f6964220274312a3b0a0401020304121709000000000000f03f1080d095ffbc311898c895ffbc3122140a02060711000000000000e03f1880d095ffbc312a0408011805";
const STARTED_MS: i64 = 1_699_999_999_000;

impl Server {
    async fn push_v2(&self, message: &[u8]) -> Response {
        self.post(PUSH, &[V2, ("Content-Encoding", "snappy")], &compressed(message)).await
    }
}

impl Response {
    /// Samples, histograms and exemplars that it says are written; `None` where it says nothing.
    fn written(&self) -> [Option<u64>; 3] {
        ["samples", "histograms", "exemplars"].map(|what| {
            let name = format!("x-prometheus-remote-write-{what}-written");
            self.header(&name).map(|count| count.parse().unwrap())
        })
    }
}

fn counts(samples: u64, histograms: u64, exemplars: u64) -> [Option<u64>; 3] {
    [Some(samples), Some(histograms), Some(exemplars)]
}

/// A request of series with their content.
fn request_v2(series: &[(&LabelSet, SeriesV2<'_>)]) -> Vec<u8> {
    let mut request = RequestV2::default();
    for (labels, of) in series {
        request.push(labels, of);
    }
    request.finish()
}

fn one(samples: &[(i64, f64, i64)]) -> SeriesV2<'_> {
    SeriesV2 { samples, ..SeriesV2::default() }
}

fn c_total() -> LabelSet {
    labels(&[("__name__", "c_total"), ("job", "a")])
}

#[tokio::test]
async fn a_created_timestamp_in_either_layout_is_kept_the_same() {
    for body in [bytes_of(OLD_LAYOUT), compressed(&bytes_of(NEW_LAYOUT))] {
        let server = server().await;
        let response = server.post(PUSH, &[V2], &body).await;
        assert_eq!((response.status, &*response.body), (204, ""));
        assert_eq!(response.written(), counts(1, 0, 1));
        let replica = &server.rig.replicas[0];
        assert_eq!(replica.samples("default", &c_total()), [(NOW_MS, 1.0)]);
        assert_eq!(replica.starts("default", &c_total()), [(NOW_MS, STARTED_MS)]);
        let exemplar =
            Exemplar { timestamp_ms: NOW_MS, value: 0.5, labels: labels(&[("trace_id", "t1")]) };
        let (_, exemplars) = replica.extras("default", &c_total());
        assert_eq!(exemplars[0].labels, exemplar.labels);
        assert!((exemplars[0].value - 0.5).abs() < 0.02, "{exemplars:?}");
        let told = MetricMetadata {
            metric: "c_total".into(),
            metric_type: MetricType::Counter,
            help: "help".into(),
            unit: "".into(),
        };
        assert_eq!(replica.metadata(), [told]);
    }
}

#[tokio::test]
async fn the_content_type_of_version_2_may_have_blanks_quotes_and_capitals() {
    for content_type in [
        "application/x-protobuf; proto=io.prometheus.write.v2.Request",
        "application/x-protobuf ;proto=\"io.prometheus.write.v2.Request\"",
        "Application/X-Protobuf;charset=utf-8; PROTO=io.prometheus.write.v2.Request",
    ] {
        let server = server().await;
        let response =
            server.post(PUSH, &[("Content-Type", content_type)], &bytes_of(OLD_LAYOUT)).await;
        assert_eq!((response.status, response.written()), (204, counts(1, 0, 1)), "{content_type}");
        assert_eq!(server.rig.replicas[0].samples("default", &c_total()), [(NOW_MS, 1.0)]);
    }
}

#[tokio::test]
async fn the_start_of_a_sample_wins_over_that_of_its_series_and_0_is_unknown() {
    let server = server().await;
    let samples = [(NOW_MS, 1.0, 0), (NOW_MS + 1, 2.0, NOW_MS - 7), (NOW_MS + 2, 3.0, 0)];
    let bare = labels(&[("__name__", "bare")]);
    let histograms: Vec<HistogramSample> = super::extras::two_histograms();
    let with_created = SeriesV2 {
        samples: &samples,
        histograms: &histograms,
        created_ms: NOW_MS - 50,
        ..SeriesV2::default()
    };
    let none = [(NOW_MS, 1.0, 0)];
    let body = request_v2(&[(&bare, one(&none)), (&up(), with_created), (&c_total(), one(&none))]);
    assert_eq!(server.push_v2(&body).await.written(), counts(5, 2, 0));
    let replica = &server.rig.replicas[0];
    let (created, own) = (NOW_MS - 50, NOW_MS - 7);
    assert_eq!(
        replica.starts("default", &up()),
        [(NOW_MS, created), (NOW_MS + 1, own), (NOW_MS + 2, created)]
    );
    assert_eq!(replica.starts("default", &bare), [(NOW_MS, 0)]);
    assert_eq!(replica.starts("default", &c_total()), [(NOW_MS, 0)]);
    let (kept, _) = replica.extras("default", &up());
    let starts: Vec<i64> = kept.iter().map(|sample| sample.start_timestamp_ms).collect();
    assert_eq!(starts, [created, NOW_MS - 5]);
}

#[tokio::test]
async fn starts_stay_with_their_samples_when_others_are_refused() {
    let server = server().await;
    let far = NOW_MS + 3_600_000;
    let samples = [(far, 1.0, 1), (NOW_MS, 2.0, 2), (far, 3.0, 3), (NOW_MS + 1, 4.0, 4)];
    let nameless = labels(&[("job", "a")]);
    let body = request_v2(&[
        (&nameless, one(&[(NOW_MS, 9.0, 9)])),
        (&up(), one(&samples)),
        (&c_total(), one(&[(NOW_MS, 5.0, 5)])),
    ]);
    let response = server.push_v2(&body).await;
    assert_eq!((response.status, response.written()), (400, counts(3, 0, 0)));
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.starts("default", &up()), [(NOW_MS, 2), (NOW_MS + 1, 4)]);
    assert_eq!(replica.starts("default", &c_total()), [(NOW_MS, 5)]);
}

#[tokio::test]
async fn starts_are_cut_by_days_and_replicas_as_their_samples_are() {
    let server = Server::new(rig(RigConfig { members: 3, ..RigConfig::default() })).await;
    let day = 86_400_000;
    let samples: Vec<_> =
        (0..9).map(|n| (NOW_MS - n * day, 1.0, if n % 2 == 0 { 0 } else { n })).collect();
    let body = request_v2(&[(&c_total(), one(&[(NOW_MS, 1.0, 0)])), (&up(), one(&samples))]);
    assert_eq!(server.push_v2(&body).await.written(), counts(10, 0, 0));
    let mut kept: Vec<_> =
        server.rig.replicas.iter().flat_map(|replica| replica.starts("default", &up())).collect();
    kept.sort_unstable();
    let mut sent: Vec<_> = samples.iter().map(|(time, _, start)| (*time, *start)).collect();
    sent.sort_unstable();
    assert_eq!(kept, sent);
    let holders = server.rig.replicas.iter().filter(|r| !r.starts("default", &up()).is_empty());
    assert!(holders.count() > 1, "the days lie on several replicas");
}

#[tokio::test]
async fn one_bad_sample_among_four_is_counted_out_and_the_three_are_kept() {
    let server = server().await;
    let nameless = labels(&[("job", "a")]);
    let body = request_v2(&[
        (&up(), one(&[(NOW_MS, 1.0, 0), (NOW_MS + 1, 2.0, 0)])),
        (&nameless, one(&[(NOW_MS, 3.0, 0)])),
        (&c_total(), one(&[(NOW_MS, 4.0, 0)])),
    ]);
    let response = server.push_v2(&body).await;
    assert_eq!((response.status, response.written()), (400, counts(3, 0, 0)));
    assert_eq!(response.body, "1 of 4 samples refused: {job=\"a\"}: no metric name\n");
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.samples("default", &up()), [(NOW_MS, 1.0), (NOW_MS + 1, 2.0)]);
    assert_eq!(replica.samples("default", &c_total()), [(NOW_MS, 4.0)]);
}

#[tokio::test]
async fn a_request_that_comes_twice_is_kept_once_and_both_answers_are_204_with_full_counts() {
    let server = server().await;
    for _ in 0..2 {
        let response = server.post(PUSH, &[V2], &bytes_of(OLD_LAYOUT)).await;
        assert_eq!((response.status, response.written()), (204, counts(1, 0, 1)));
        let kept = server.rig.replicas[0].samples("default", &c_total());
        assert_eq!(kept, [(NOW_MS, 1.0)]);
    }
}

#[tokio::test]
async fn a_series_written_by_v1_and_v2_under_the_same_labels_is_one_series() {
    let server = server().await;
    for round in 0..2 {
        let at = NOW_MS + 2 * round;
        assert_eq!(server.push(&request(&[(&up(), &[(at, 1.0)])])).await.status, 204);
        let body = request_v2(&[(&up(), one(&[(at + 1, 2.0, 0)]))]);
        assert_eq!(server.push_v2(&body).await.status, 204);
    }
    let replica = &server.rig.replicas[0];
    assert_eq!((replica.series(), replica.samples("default", &up()).len()), (1, 4));
    assert_eq!(replica.counts(), (2, 2), "by number once each form is known");
}

#[tokio::test]
async fn samples_sent_newest_first_or_an_hour_late_are_all_kept() {
    let server = server().await;
    let samples: Vec<_> = (0..40).map(|n| (NOW_MS - n * 90_000, 1.0, 0)).collect();
    let body = request_v2(&[(&up(), one(&samples))]);
    assert_eq!(server.push_v2(&body).await.written(), counts(40, 0, 0));
    assert_eq!(server.rig.replicas[0].samples("default", &up()).len(), 40);
}

#[tokio::test]
async fn s4_with_two_of_three_replicas_gone_a_write_is_503_with_retry_after_and_after_they_return_the_retried_write_is_204()
 {
    let config = RigConfig { members: 3, replication_factor: 3, ..RigConfig::default() };
    let server = Server::new(rig(config)).await;
    let body = request_v2(&[(&up(), one(&[(NOW_MS, 1.0, 0)]))]);
    for replica in &server.rig.replicas[1..] {
        replica.set_mood(Mood::Fails(Kind::Unavailable));
    }
    let response = server.push_v2(&body).await;
    assert_eq!((response.status, response.written()), (503, counts(0, 0, 0)));
    assert!(response.header("Retry-After").is_some());
    for replica in &server.rig.replicas[1..] {
        replica.set_mood(Mood::Well);
    }
    let response = server.push_v2(&body).await;
    assert_eq!((response.status, response.written()), (204, counts(1, 0, 0)));
}

#[tokio::test]
async fn version_1_is_answered_without_counts() {
    let server = server().await;
    assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.written(), [None; 3]);
    assert_eq!(server.push(&[0xff]).await.written(), [None; 3]);
}

#[tokio::test]
async fn an_empty_request_is_204_and_its_counts_are_0() {
    let server = server().await;
    for body in [vec![], compressed(&[]), compressed(&field(4, b""))] {
        let response = server.post(PUSH, &[V2], &body).await;
        assert_eq!((response.status, response.written()), (204, counts(0, 0, 0)), "{body:?}");
    }
}

#[tokio::test]
async fn a_repeat_of_a_restarted_replica_is_sent_with_labels_out_of_the_symbols() {
    let server = server().await;
    let body =
        request_v2(&[(&up(), one(&[(NOW_MS, 1.0, 3)])), (&c_total(), one(&[(NOW_MS, 2.0, 0)]))]);
    assert_eq!(server.push_v2(&body).await.status, 204);
    server.rig.replicas[0].restart();
    assert_eq!(server.push_v2(&body).await.status, 204);
    assert_eq!(server.rig.replicas[0].series(), 2);
    assert_eq!(server.rig.replicas[0].starts("default", &up()), [(NOW_MS, 3)]);
}

/// Bodies that cannot be decoded, and what the answer says.
fn undecodable() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let sample = field(2, &[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0x01]);
    let symbols = [field(4, b""), field(4, b"__name__"), field(4, b"up")].concat();
    let series = |parts: &[&[u8]]| [symbols.clone(), field(5, &parts.concat())].concat();
    let metadata = |refs: &[u8]| series(&[&field(1, &[1, 2]), &sample, &field(5, refs)]);
    let exemplar = |refs: &[u8]| series(&[&field(1, &[1, 2]), &sample, &field(4, &field(1, refs))]);
    vec![
        ("a reference behind the table", series(&[&field(1, &[1, 3]), &sample]), "symbol 3"),
        (
            "a name behind the table",
            series(&[&field(1, &[0x80, 0x80, 4, 2]), &sample]),
            "symbol 65536",
        ),
        ("references in pieces", series(&[&field(1, &[1]), &sample, &field(1, &[9])]), "symbol 9"),
        ("an odd number of references", series(&[&field(1, &[1, 2, 1]), &sample]), "odd number"),
        ("a reference of an exemplar", exemplar(&[1, 7]), "symbol 7"),
        ("an odd number in an exemplar", exemplar(&[1]), "odd number"),
        ("a help behind the table", metadata(&[0x18, 5]), "symbol 5"),
        ("a unit behind the table", metadata(&[0x20, 6]), "symbol 6"),
        ("a first symbol with a text", field(4, b"x"), "first symbol"),
        ("a sample that is cut", series(&[&field(1, &[1, 2]), &field(2, &[0x09, 0])]), "truncated"),
        ("references of another type", series(&[&[0x0d, 0, 0, 0, 0], &sample]), "wire type"),
        ("a symbol of another type", vec![0x20, 1], "wire type"),
        ("fields of 1.0", request(&[(&up(), &[(NOW_MS, 1.0)])]), "other version"),
    ]
}

#[tokio::test]
async fn a_body_that_cannot_be_decoded_is_400_and_nothing_of_it_is_written() {
    for (what, body, text) in undecodable() {
        let server = server().await;
        // What is good before and behind it goes with it.
        let good = field(5, &[field(1, &[1, 2]), field(2, &[0x10, 1])].concat());
        for body in [body.clone(), [&*good, &body, &good].concat()] {
            if what == "fields of 1.0" && body[0] == good[0] {
                continue;
            }
            let response = server.push_v2(&body).await;
            assert_eq!((response.status, response.written()), (400, counts(0, 0, 0)), "{what}");
            assert!(response.body.contains(text), "{what}: {}", response.body);
            assert_eq!(server.rig.replicas[0].writes(), 0, "{what}");
        }
    }
}

#[tokio::test]
async fn references_that_are_not_packed_or_stand_behind_the_samples_say_the_same() {
    let server = server().await;
    let sample = |n: u8| field(2, &[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, n]);
    let symbols =
        [field(4, b""), field(4, b"__name__"), field(4, b"up"), field(4, b"job")].concat();
    let more = field(4, b"a");
    let forms = [
        [&field(1, &[1, 2, 3, 4])[..], &sample(1)].concat(),
        [&[0x08, 1, 0x08, 2, 0x08, 3, 0x08, 4][..], &sample(2)].concat(),
        [&field(1, &[1])[..], &sample(3), &field(1, &[2, 3]), &[0x08, 4]].concat(),
        [&sample(4)[..], &field(1, &[1, 2, 3, 4])].concat(),
    ];
    // Symbols may stand behind the series that refer to them.
    let series: Vec<u8> = forms.iter().flat_map(|form| field(5, form)).collect();
    let body = [symbols, series, more].concat();
    assert_eq!(server.push_v2(&body).await.written(), counts(4, 0, 0));
    let kept = server.rig.replicas[0].samples("default", &up());
    assert_eq!(kept, [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]);
}

#[tokio::test]
async fn metadata_is_kept_once_a_request_and_by_its_family() {
    let server = server().await;
    let told = |metric: &str, metric_type, help: &str| MetricMetadata {
        metric: metric.into(),
        metric_type,
        help: help.into(),
        unit: "s".into(),
    };
    let histogram = told("ignored", MetricType::Histogram, "how long");
    let summary = told("ignored", MetricType::Summary, "how much");
    let unknown = MetricMetadata {
        metric_type: MetricType::Unknown,
        help: "".into(),
        unit: "".into(),
        ..histogram.clone()
    };
    let samples = [(NOW_MS, 1.0, 0)];
    let mut request = RequestV2::default();
    for (name, metadata) in [
        ("h_bucket", &histogram),
        ("h_sum", &histogram),
        ("h_count", &histogram),
        ("q_sum", &summary),
        ("q", &summary),
        ("n_count", &unknown),
    ] {
        for instance in ["i1", "i2"] {
            let labels = labels(&[("__name__", name), ("instance", instance)]);
            let of = SeriesV2 { metadata: Some(metadata), ..one(&samples) };
            request.push(&labels, &of);
        }
    }
    assert_eq!(server.push_v2(&request.finish()).await.written(), counts(12, 0, 0));
    let mut kept = server.rig.replicas[0].metadata();
    kept.dedup();
    let wanted =
        [told("h", MetricType::Histogram, "how long"), told("q", MetricType::Summary, "how much")];
    assert_eq!(kept, wanted, "what is not known is not said");
}
