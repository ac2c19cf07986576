//! Native histograms and exemplars: CONTRACTS.md 5.5 and 5.6, over a real socket.

use super::*;
use model::histogram::{Counts, Histogram, ResetHint, Span};
use model::sample::STALE_NAN_BITS;
use model::{Exemplar, HistogramSample, LabelSet};
use std::sync::Arc;
use wire::remote_write::{encode_extras, encode_series};

/// An integer histogram with two positive buckets and one negative.
fn integer() -> Histogram {
    Histogram {
        schema: 3,
        zero_threshold: 1e-128,
        sum: 12.5,
        reset_hint: ResetHint::No,
        positive_spans: vec![Span { offset: 2, length: 1 }, Span { offset: 4, length: 1 }],
        negative_spans: vec![Span { offset: -3, length: 1 }],
        custom_values: vec![],
        counts: Counts::Integer {
            count: 10,
            zero_count: 1,
            positive: vec![2, 3],
            negative: vec![4],
        },
    }
}

fn float() -> Histogram {
    let (positive, negative) = (vec![0.25, 1e300], vec![0.0]);
    let counts = Counts::Float { count: 0.5, zero_count: 0.125, positive, negative };
    Histogram { counts, reset_hint: ResetHint::Gauge, ..integer() }
}

fn custom() -> Histogram {
    Histogram {
        schema: -53,
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

/// The histograms at successive milliseconds from now on.
fn samples(histograms: &[Histogram]) -> Vec<HistogramSample> {
    let sample = |(histogram, timestamp_ms): (&Histogram, i64)| HistogramSample {
        timestamp_ms,
        histogram: Arc::new(histogram.clone()),
        start_timestamp_ms: 0,
        revision: 0,
    };
    histograms.iter().zip(NOW_MS..).map(sample).collect()
}

/// An integer histogram without a start, and a float one that started five milliseconds ago.
pub(super) fn two_histograms() -> Vec<HistogramSample> {
    let mut two = samples(&[integer(), float()]);
    two[1].start_timestamp_ms = NOW_MS - 5;
    two
}

fn exemplar(timestamp_ms: i64, pairs: &[(&str, &str)]) -> Exemplar {
    Exemplar { timestamp_ms, value: 0.5, labels: labels(pairs) }
}

fn message(labels: &LabelSet, histograms: &[HistogramSample], exemplars: &[Exemplar]) -> Vec<u8> {
    let mut body = Vec::new();
    encode_extras(labels, histograms, exemplars, &mut body);
    body
}

/// What was refused of a kind, for a reason.
fn refused_of(server: &Server, kind: &str, reason: &str) -> f64 {
    let counts = counter(&server.rig.registry, "cumae_distributor_samples_refused_total");
    counts.get(&format!("{kind},{reason},default")).copied().unwrap_or(0.0)
}

fn received(server: &Server) -> [f64; 3] {
    let counts = counter(&server.rig.registry, "cumae_distributor_samples_received_total");
    ["float", "histogram", "exemplar"].map(|kind| counts[&format!("{kind},default")])
}

#[tokio::test]
async fn histograms_and_exemplars_are_kept_as_sent_beside_the_floats() {
    let server = server().await;
    let mut histograms = samples(&[integer(), float(), custom(), Histogram::stale()]);
    histograms[1].start_timestamp_ms = NOW_MS - 5;
    let exemplars = [exemplar(NOW_MS, &[("trace_id", "t1")]), exemplar(NOW_MS - 1, &[])];
    // Twice: by labels, then by numbers.
    for round in 1..3 {
        let mut body = message(&up(), &histograms, &[]);
        encode_series(&up(), &[(NOW_MS, 1.0)], &mut body);
        body.extend(message(&up(), &[], &exemplars));
        encode_series(&labels(&[("__name__", "down")]), &[(NOW_MS, 2.0)], &mut body);
        let response = server.push(&body).await;
        assert_eq!((response.status, &*response.body), (204, ""));
        let kept = server.rig.replicas[0].extras("default", &up());
        assert_eq!(
            kept,
            (vec![&histograms[..]; round].concat(), vec![&exemplars[..]; round].concat())
        );
    }
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.samples("default", &up()), [(NOW_MS, 1.0)]);
    assert_eq!(replica.samples("default", &labels(&[("__name__", "down")])), [(NOW_MS, 2.0)]);
    assert_eq!(replica.counts(), (4, 4), "rows by number, rows by labels");
    assert_eq!(replica.writes(), 4, "floats and exemplars in one, histograms in another");
    assert_eq!(received(&server), [4.0, 8.0, 4.0]);
}

#[tokio::test]
async fn a_stale_marker_keeps_every_bit_in_either_flavour() {
    let server = server().await;
    let zeros = Counts::Float { count: 0.0, zero_count: 0.0, positive: vec![], negative: vec![] };
    let marked = Histogram { sum: f64::from_bits(STALE_NAN_BITS), ..integer() };
    let float = Histogram { counts: zeros, ..Histogram::stale() };
    let sent = samples(&[Histogram::stale(), float, marked]);
    assert_eq!(server.push(&message(&up(), &sent, &[])).await.status, 204);
    let (kept, _) = server.rig.replicas[0].extras("default", &up());
    assert_eq!(kept, sent);
    assert!(kept.iter().all(|sample| sample.histogram.sum.to_bits() == STALE_NAN_BITS));
}

#[tokio::test]
async fn each_fault_of_a_histogram_is_named_and_the_others_are_kept() {
    let server = server().await;
    let counts = |count, positive: &[u64]| {
        let positive = positive.to_vec();
        Counts::Integer { count, zero_count: 1, positive, negative: vec![4] }
    };
    let spans =
        |first, second| vec![Span { offset: first, length: 1 }, Span { offset: second, length: 1 }];
    let negative = Counts::Float {
        count: 1.0,
        zero_count: 0.0,
        positive: vec![-0.5, 1.0],
        negative: vec![0.0],
    };
    let bounds = |values: &[f64]| Histogram { custom_values: values.to_vec(), ..custom() };
    let nan_sum = |count| Histogram { sum: f64::NAN, counts: counts(count, &[2, 3]), ..integer() };
    let rows = [
        (Histogram { counts: counts(9, &[2, 3]), ..integer() }, "the count is not the sum"),
        (nan_sum(9), "the count is not the sum"),
        (Histogram { counts: counts(8, &[3]), ..integer() }, "spans and buckets differ"),
        (Histogram { positive_spans: spans(2, -1), ..integer() }, "begins before the end"),
        (Histogram { counts: negative, ..integer() }, "a count is negative"),
        (Histogram { schema: -5, ..integer() }, "unknown schema"),
        (Histogram { schema: 53, ..integer() }, "unknown schema"),
        (Histogram { custom_values: vec![1.0], ..integer() }, "without custom buckets"),
        (bounds(&[1.0, 1.0]), "strictly ascending"),
        (bounds(&[1.0, 0.5]), "strictly ascending"),
        (bounds(&[0.5, f64::INFINITY]), "finite"),
        (bounds(&[0.5, f64::NAN]), "finite"),
        (bounds(&[0.5]), "beyond their bounds"),
        (Histogram { zero_threshold: 0.1, ..custom() }, "with a zero bucket"),
    ];
    for (number, (bad, why)) in rows.iter().enumerate() {
        let sent = samples(&[integer(), bad.clone(), float()]);
        let response = server.push(&message(&up(), &sent, &[])).await;
        assert_eq!(response.status, 400, "{why}");
        let start = format!(
            "1 of 3 samples refused: {{__name__=\"up\", job=\"a\"}}: invalid histogram at {}: ",
            NOW_MS + 1
        );
        assert!(response.body.starts_with(&start), "{}", response.body);
        assert!(response.body.contains(why), "{} {why}", response.body);
        let (kept, _) = server.rig.replicas[0].extras("default", &up());
        assert_eq!(kept.len(), 2 * (number + 1));
    }
    let faults = f64::from(u8::try_from(rows.len()).unwrap());
    assert_eq!(refused_of(&server, "histogram", "invalid_histogram"), faults);
    // With a sum that is no number the count may be more than the buckets.
    assert_eq!(server.push(&message(&up(), &samples(&[nan_sum(11)]), &[])).await.status, 204);
}

#[tokio::test]
async fn a_bucket_below_zero_is_a_fault_of_its_histogram_alone() {
    let server = server().await;
    // Differences 1 and -2 in field 12.
    let histogram = field(4, &field(12, &[2, 3]));
    let series = [raw_label(b"__name__", b"h"), histogram.clone(), field(4, &[])].concat();
    let response = server.push(&field(1, &series)).await;
    let text =
        "1 of 2 samples refused: {__name__=\"h\"}: invalid histogram at 0: a bucket is negative\n";
    assert_eq!((response.status, &*response.body), (400, text));
    let (kept, _) = server.rig.replicas[0].extras("default", &labels(&[("__name__", "h")]));
    assert_eq!(kept.len(), 1);
}

#[tokio::test]
async fn resolution_is_lowered_to_what_is_kept_and_to_the_limit() {
    let limits = Limits { max_native_histogram_buckets: Limit(2), ..Limits::default() };
    let server = limited(limits).await;
    let wide = |schema| Histogram {
        schema,
        positive_spans: vec![Span { offset: 1, length: 4 }],
        negative_spans: vec![],
        counts: Counts::Integer { count: 4, zero_count: 0, positive: vec![1; 4], negative: vec![] },
        ..integer()
    };
    let sent = samples(&[wide(20), wide(8), wide(-4), custom()]);
    let response = server.push(&message(&up(), &sent, &[])).await;
    assert_eq!(response.status, 400);
    let text = "2 of 4 samples refused: {__name__=\"up\", job=\"a\"}: histogram at 1700000000002 has 4 buckets, over the limit of 2 at the lowest resolution (max_native_histogram_buckets) of tenant default\n";
    assert_eq!(response.body, text);
    let (kept, _) = server.rig.replicas[0].extras("default", &up());
    let kept: Vec<_> =
        kept.iter().map(|one| (one.histogram.schema, one.histogram.buckets())).collect();
    assert_eq!(kept, [(8, 1), (7, 2)]);
    assert_eq!(refused_of(&server, "histogram", "histogram_buckets"), 2.0);
}

#[tokio::test]
async fn exemplars_have_limits_of_their_own_and_a_time_of_their_own() {
    let server = limited(Limits { retention_ms: Limit(1000), ..Limits::default() }).await;
    let long = "ä".repeat(120);
    let rows: [(Exemplar, &str, &str); 4] = [
        (exemplar(NOW_MS, &[("trace_id", &long), ("é", "")]), "", ""),
        (exemplar(NOW_MS, &[("trace_id", &long), ("x", "")]), "", ""),
        (
            exemplar(NOW_MS, &[("trace_idx", &long)]),
            "exemplar_labels",
            "exemplar at 1700000000000: more than 128 characters of labels",
        ),
        (exemplar(NOW_MS - 1001, &[]), "too_old", "is 1001 ms old"),
    ];
    for (one, reason, text) in rows {
        let mut body = request(&[(&up(), &[(NOW_MS, 1.0)])]);
        body.extend(message(&up(), &[], &[one, exemplar(NOW_MS, &[])]));
        let response = server.push(&body).await;
        if reason.is_empty() {
            assert_eq!(response.status, 204, "{}", response.body);
            continue;
        }
        assert_eq!(response.status, 400, "{reason}");
        assert!(response.body.starts_with("1 of 2 exemplars refused: {__name__=\"up\""));
        assert!(response.body.contains(text), "{}", response.body);
        assert_eq!(refused_of(&server, "exemplar", reason), 1.0);
    }
    for (raw, reason) in [
        (raw_label(b"\xff", b"v"), "not_utf8"),
        (raw_label(b"", b"v"), "no_label_name"),
        ([raw_label(b"a", b"1"), raw_label(b"a", b"2")].concat(), "duplicate_label"),
    ] {
        let bad = [raw, vec![0x18, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31]].concat();
        let series = [raw_label(b"__name__", b"up"), field(3, &bad)].concat();
        let response = server.push(&field(1, &series)).await;
        let start = "1 of 1 exemplars refused: {__name__=\"up\"}: exemplar at 1700000000000: ";
        assert!(response.body.starts_with(start), "{}", response.body);
        assert_eq!(refused_of(&server, "exemplar", reason), 1.0);
    }
    let (_, kept) = server.rig.replicas[0].extras("default", &up());
    assert_eq!(kept.len(), 6);
}

#[tokio::test]
async fn what_a_refused_series_has_is_counted_by_kind_and_its_neighbours_are_kept() {
    let server = server().await;
    let nameless = labels(&[("job", "a")]);
    let mut body = message(&nameless, &samples(&[integer()]), &[exemplar(NOW_MS, &[])]);
    encode_series(&nameless, &[(NOW_MS, 1.0), (NOW_MS + 1, 2.0)], &mut body);
    body.extend(message(&up(), &samples(&[float()]), &[exemplar(NOW_MS, &[("a", "b")])]));
    encode_series(&up(), &[(NOW_MS, 3.0)], &mut body);
    let response = server.push(&body).await;
    let text = "3 of 5 samples refused: {job=\"a\"}: no metric name; 1 of 2 exemplars refused: {job=\"a\"}: no metric name\n";
    assert_eq!((response.status, &*response.body), (400, text));
    let counts = ["float", "histogram", "exemplar"];
    let counts = counts.map(|kind| refused_of(&server, kind, "no_metric_name"));
    assert_eq!(counts, [2.0, 1.0, 1.0]);
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.samples("default", &up()), [(NOW_MS, 3.0)]);
    let kept = (samples(&[float()]), vec![exemplar(NOW_MS, &[("a", "b")])]);
    assert_eq!(replica.extras("default", &up()), kept);
    assert_eq!(replica.series(), 1);
}

#[tokio::test]
async fn a_series_over_a_limit_is_counted_by_kind() {
    let server = server().await;
    server.rig.replicas[0].set_mood(Mood::RefusesNewSeries);
    let mut body = request(&[(&up(), &[(NOW_MS, 1.0)])]);
    body.extend(message(&up(), &samples(&[integer(), float()]), &[exemplar(NOW_MS, &[])]));
    let response = server.push(&body).await;
    assert_eq!(response.status, 400);
    assert!(response.body.starts_with("3 of 3 samples refused: "), "{}", response.body);
    assert!(response.body.contains("; 1 of 1 exemplars refused: "), "{}", response.body);
    let counts = ["float", "histogram", "exemplar"];
    let counts = counts.map(|kind| refused_of(&server, kind, "series_limit"));
    assert_eq!(counts, [1.0, 2.0, 1.0]);
}

#[tokio::test]
async fn each_histogram_and_exemplar_goes_to_the_replicas_of_its_own_day() {
    let parts = RigConfig { members: 5, replication_factor: 2, ..RigConfig::default() };
    let server = Server::new(rig(parts)).await;
    let days = [0_i64, 1, 2, 3, 4, 5].map(|day| NOW_MS - day * 86_400_000);
    let histograms: Vec<_> = days
        .iter()
        .map(|at| HistogramSample { timestamp_ms: *at, ..samples(&[integer()])[0].clone() })
        .collect();
    let exemplars = days.map(|at| exemplar(at, &[]));
    let floats = days.map(|at| (at, 1.0));
    let mut body = message(&up(), &histograms, &exemplars);
    encode_series(&up(), &floats, &mut body);
    assert_eq!(server.push(&body).await.status, 204);

    let mut copies = 0;
    for replica in &server.rig.replicas {
        let mut floats: Vec<i64> =
            replica.samples("default", &up()).iter().map(|(at, _)| *at).collect();
        floats.reverse();
        let (histograms, exemplars) = replica.extras("default", &up());
        assert_eq!(histograms.iter().map(|one| one.timestamp_ms).collect::<Vec<_>>(), floats);
        assert_eq!(exemplars.iter().map(|one| one.timestamp_ms).collect::<Vec<_>>(), floats);
        copies += floats.len();
    }
    assert_eq!(copies, 12);
}

#[tokio::test]
async fn a_replica_that_forgot_its_numbers_gets_histograms_and_exemplars_again() {
    let server = server().await;
    let body = message(&up(), &samples(&[integer()]), &[exemplar(NOW_MS, &[])]);
    assert_eq!(server.push(&body).await.status, 204);
    server.rig.replicas[0].restart();
    assert_eq!(server.push(&body).await.status, 204);
    let (histograms, exemplars) = server.rig.replicas[0].extras("default", &up());
    assert_eq!((histograms.len(), exemplars.len()), (2, 2));
}

#[tokio::test]
async fn all_items_count_against_the_limit_of_a_request() {
    let server = limited(Limits { max_request_samples: Limit(4), ..Limits::default() }).await;
    let of = |histograms: usize, exemplars: usize| {
        let mut body = request(&[(&up(), &[(NOW_MS, 1.0)])]);
        let histograms = samples(&vec![integer(); histograms]);
        body.extend(message(&up(), &histograms, &vec![exemplar(NOW_MS, &[]); exemplars]));
        body
    };
    assert_eq!(server.push(&of(2, 1)).await.status, 204);
    assert_eq!(server.push(&of(2, 2)).await.status, 413);
    assert_eq!(server.push(&of(4, 0)).await.status, 413);
}

#[tokio::test]
async fn what_histograms_take_decoded_is_reserved() {
    // Eight bytes of memory for each byte of the body: too much for this budget, and for no other.
    let config = Config { inflight_bytes_max: 1 << 20, ..Config::default() };
    let server = Server::new(rig(RigConfig { config, ..RigConfig::default() })).await;
    let many = Histogram {
        positive_spans: vec![Span { offset: 0, length: 150 }],
        negative_spans: vec![],
        counts: Counts::Integer {
            count: 150,
            zero_count: 0,
            positive: vec![1; 150],
            negative: vec![],
        },
        ..integer()
    };
    let few = message(&up(), &samples(&vec![many.clone(); 100]), &[]);
    assert_eq!(server.push(&few).await.status, 204);
    let body = message(&up(), &samples(&vec![many; 1000]), &[]);
    assert!(body.len() < 250_000, "{}", body.len());
    let response = server.push(&body).await;
    assert_eq!(response.status, 413, "{}", response.body);
    assert_eq!(server.push(&few).await.status, 204, "all of it was given back");
}
