//! Every answer of CONTRACTS.md 5.2, over a real socket.

use crate::testing::*;
use crate::{Config, router};
use guard::{Limit, Limits, Tenancy};
use model::{Kind, Matcher, Retention, RetentionRule};
use std::fmt::Write as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

mod extras;
mod gates;
mod import;
mod limits;
mod otlp;
mod version2;

const PUSH: &str = "/api/v1/push";
const RW1: &str = "2eb40a2c0a0e0a085f5f6e616d655f5f120275700a080a036a6f62120161121009000000000000f03f1080d095ffbc31";

#[derive(Debug, PartialEq, Eq)]
struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

struct Server {
    rig: Rig,
    address: std::net::SocketAddr,
}

impl Server {
    async fn new(rig: Rig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(rig.distributor.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { rig, address }
    }

    /// Sends bytes and reads to the end.
    async fn exchange(&self, request: &[u8]) -> Response {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before everything is sent.
        let _ = stream.write_all(request).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.ask("POST", path, headers, body).await
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if !headers.iter().any(|(name, _)| *name == "Content-Length") {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        self.exchange(&[head.as_bytes(), b"\r\n", body].concat()).await
    }

    async fn push(&self, message: &[u8]) -> Response {
        self.post(PUSH, &[], &compressed(message)).await
    }
}

async fn server() -> Server {
    Server::new(alone(Limits::default())).await
}

async fn limited(limits: Limits) -> Server {
    Server::new(alone(limits)).await
}

fn up() -> model::LabelSet {
    labels(&[("__name__", "up"), ("job", "a")])
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn the_vector_of_remote_write_1_is_kept_as_sent() {
    let server = server().await;
    let response = server.post(PUSH, &[], &bytes_of(RW1)).await;
    assert_eq!((response.status, &*response.body), (204, ""));
    assert_eq!(server.rig.replicas[0].samples("default", &up()), [(NOW_MS, 1.0)]);
}

#[tokio::test]
async fn every_write_path_takes_a_write() {
    let server = server().await;
    let mut paths = vec!["/api/prom/push".to_owned()];
    for prefix in ["", "/prometheus", "/api/prom"] {
        paths.push(format!("{prefix}/api/v1/push"));
        paths.push(format!("{prefix}/api/v1/write"));
    }
    for path in paths {
        assert_eq!(server.post(&path, &[], &bytes_of(RW1)).await.status, 204, "{path}");
    }
}

#[tokio::test]
async fn another_method_is_405_and_says_which_is_allowed() {
    let server = server().await;
    for method in ["GET", "PUT", "DELETE"] {
        let response = server.ask(method, PUSH, &[], b"").await;
        assert_eq!((response.status, response.header("allow")), (405, Some("POST")), "{method}");
    }
}

#[tokio::test]
async fn an_empty_request_is_204() {
    let server = server().await;
    for body in [&b""[..], &compressed(b"")] {
        assert_eq!(server.post(PUSH, &[], body).await.status, 204);
    }
    assert_eq!(server.rig.replicas[0].writes(), 0);
}

#[tokio::test]
async fn the_content_types_of_remote_write_1_are_taken_and_no_others() {
    let server = server().await;
    let rows = [
        ("application/x-protobuf", 204),
        ("application/x-protobuf;proto=prometheus.WriteRequest", 204),
        ("application/x-protobuf; proto=\"prometheus.WriteRequest\"", 204),
        ("Application/X-Protobuf ; Proto=prometheus.WriteRequest", 204),
        // The body is of 1.0.
        ("application/x-protobuf;proto=io.prometheus.write.v2.Request", 400),
        ("application/x-protobuf; proto=io.prometheus.write.v2.Request", 400),
        ("application/x-protobuf;proto=x.Y", 415),
        ("application/json", 415),
        ("text/plain", 415),
    ];
    for (content_type, status) in rows {
        let headers = [("Content-Type", content_type), ("Content-Encoding", "snappy")];
        let response = server.post(PUSH, &headers, &bytes_of(RW1)).await;
        assert_eq!(response.status, status, "{content_type}");
    }
}

#[tokio::test]
async fn a_version_header_does_not_choose_the_message() {
    let server = server().await;
    let headers = [("X-Prometheus-Remote-Write-Version", "2.0.0")];
    assert_eq!(server.post(PUSH, &headers, &bytes_of(RW1)).await.status, 204);
}

#[tokio::test]
async fn an_encoding_other_than_snappy_and_zstd_is_415() {
    let server = server().await;
    for encoding in ["gzip", "deflate", "snappy, gzip", "zstd, snappy", "identity"] {
        let response = server.post(PUSH, &[("Content-Encoding", encoding)], &bytes_of(RW1)).await;
        assert_eq!(response.status, 415, "{encoding}");
    }
}

#[tokio::test]
async fn a_repeated_content_header_is_not_read_as_its_first_value() {
    let server = server().await;
    let twice = [("Content-Encoding", "snappy"), ("Content-Encoding", "gzip")];
    let response = server.post(PUSH, &twice, &bytes_of(RW1)).await;
    assert_eq!(response.status, 415);
    assert!(response.body.contains("\"snappy, gzip\""), "{}", response.body);
}

#[tokio::test]
async fn a_body_with_only_fields_of_version_2_is_400() {
    let server = server().await;
    let body = [field(4, b""), field(4, b"__name__"), field(5, &field(2, b""))].concat();
    let response = server.push(&body).await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains("fields of the other version"), "{}", response.body);
}

#[tokio::test]
async fn the_same_sample_again_is_204() {
    let server = server().await;
    for _ in 0..3 {
        assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.status, 204);
    }
    assert_eq!(server.rig.replicas[0].samples("default", &up()).len(), 1);
}

#[tokio::test]
async fn one_bad_sample_of_four_is_400_in_the_contracts_words_and_three_are_kept() {
    let server = server().await;
    let job = labels(&[("job", "a")]);
    let body = request(&[
        (&up(), &[(NOW_MS, 1.0), (NOW_MS + 1, 2.0)]),
        (&job, &[(NOW_MS, 1.0)]),
        (&labels(&[("__name__", "down")]), &[(NOW_MS, 3.0)]),
    ]);
    let response = server.push(&body).await;
    assert_eq!(response.status, 400);
    assert_eq!(response.body, "1 of 4 samples refused: {job=\"a\"}: no metric name\n");
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.samples("default", &up()), [(NOW_MS, 1.0), (NOW_MS + 1, 2.0)]);
    assert_eq!(replica.series(), 2);
}

#[tokio::test]
async fn each_reason_of_a_refused_series_is_told_and_counted() {
    let server = server().await;
    let named = || raw_label(b"__name__", b"up");
    let long = |bytes: usize| "x".repeat(bytes).into_bytes();
    let many: Vec<_> = (0..64).map(|n| raw_label(format!("l{n}").as_bytes(), b"v")).collect();
    let large: Vec<_> =
        (0..9).map(|n| raw_label(format!("l{n}").as_bytes(), &long(2000))).collect();
    let rows = [
        (vec![raw_label(b"job", b"a")], "no_metric_name", "no metric name"),
        (vec![named(), raw_label(b"", b"a")], "no_label_name", "label without a name"),
        (
            vec![named(), raw_label(b"job", b"a"), raw_label(b"job", b"b")],
            "duplicate_label",
            "duplicate label name \"job\"",
        ),
        (vec![named(), named()], "duplicate_label", "duplicate label name \"__name__\""),
        (vec![named(), raw_label(b"job", b"\xff")], "not_utf8", "invalid UTF-8 in label \"job\""),
        (vec![named(), raw_label(b"\xff", b"a")], "not_utf8", "invalid UTF-8 in label"),
        (
            vec![named(), raw_label(&long(1025), b"a")],
            "label_name_bytes",
            "1025 over the limit of 1024 (max_label_name_bytes)",
        ),
        (
            vec![named(), raw_label(b"job", &long(2049))],
            "label_value_bytes",
            "2049 over the limit of 2048 (max_label_value_bytes)",
        ),
        (
            [vec![named()], many].concat(),
            "label_count",
            "labels 65 over the limit of 64 (max_labels)",
        ),
        (
            [vec![named()], large].concat(),
            "labels_bytes",
            "over the limit of 16384 (max_labels_bytes)",
        ),
    ];
    for (raw_labels, reason, text) in rows {
        let before = refused(&server, reason);
        let body = [request(&[(&up(), &[(NOW_MS, 1.0)])]), raw_series(&raw_labels)].concat();
        let response = server.push(&body).await;
        assert_eq!(response.status, 400, "{reason}");
        assert!(response.body.starts_with("1 of 2 samples refused: {"), "{}", response.body);
        assert!(response.body.contains(text), "{} {text}", response.body);
        assert!(response.body.len() < 2000, "{reason}");
        assert_eq!(refused(&server, reason), before + 1.0, "{reason}");
    }
    assert_eq!(server.rig.replicas[0].series(), 1);
}

fn refused(server: &Server, reason: &str) -> f64 {
    let counts = counter(&server.rig.registry, "cumae_distributor_samples_refused_total");
    let of_reason = counts.iter().find(|(labels, _)| labels.split(',').any(|one| one == reason));
    of_reason.map_or(0.0, |(_, count)| *count)
}

#[tokio::test]
async fn unsorted_labels_are_sorted_and_empty_ones_dropped() {
    let server = server().await;
    let body = raw_series(&[
        raw_label(b"job", b"a"),
        raw_label(b"empty", b""),
        raw_label(b"__name__", b"up"),
    ]);
    assert_eq!(server.push(&body).await.status, 204);
    assert_eq!(server.rig.replicas[0].samples("default", &up()), [(NOW_MS, 1.0)]);
}

#[tokio::test]
async fn samples_too_far_ahead_or_behind_are_refused_and_the_rest_of_the_series_kept() {
    let limits = Limits { retention_ms: Limit(1000), ..Limits::default() };
    let server = limited(limits).await;
    let (min, max) = (NOW_MS - 1000, NOW_MS + 600_000);
    let times = [min - 1, min, NOW_MS, max, max + 1];
    let body = request(&[(&up(), &times.map(|time| (time, 1.0)))]);

    let response = server.push(&body).await;
    assert_eq!(response.status, 400);
    let expected = format!(
        "2 of 5 samples refused: {{__name__=\"up\", job=\"a\"}}: sample at {} is 1001 ms old, the retention is 1000 ms (retention)\n",
        min - 1
    );
    assert_eq!(response.body, expected);
    let kept = server.rig.replicas[0].samples("default", &up());
    assert_eq!(kept, [(min, 1.0), (NOW_MS, 1.0), (max, 1.0)]);
    assert_eq!((refused(&server, "too_old"), refused(&server, "too_far_in_future")), (1.0, 1.0));
}

#[tokio::test]
async fn a_series_with_a_rule_of_its_own_is_refused_by_that_rule() {
    let rule = RetentionRule {
        matchers: vec![Matcher::equal("job", "a")],
        retention: Retention::from_ms(1000),
    };
    let limits =
        Limits { retention_ms: Limit(5000), retention_rules: vec![rule], ..Limits::default() };
    let server = limited(limits).await;
    let other = labels(&[("__name__", "up"), ("job", "b")]);
    let times = [NOW_MS - 5001, NOW_MS - 5000, NOW_MS - 1001, NOW_MS - 1000];
    let samples = times.map(|time| (time, 1.0));
    let response = server.push(&request(&[(&up(), &samples), (&other, &samples)])).await;
    assert_eq!(response.status, 400);
    assert!(response.body.starts_with("4 of 8 samples refused: "), "{}", response.body);
    let kept = |labels| server.rig.replicas[0].samples("default", labels);
    assert_eq!((kept(&up()).len(), kept(&other).len()), (1, 3));
}

#[tokio::test]
async fn samples_in_any_order_and_of_any_age_are_kept_when_nothing_limits_them() {
    let server = server().await;
    let body = request(&[(&up(), &[(NOW_MS, 1.0), (-5, 2.0), (NOW_MS - 1, 3.0)])]);
    assert_eq!(server.push(&body).await.status, 204);
    let kept = server.rig.replicas[0].samples("default", &up());
    assert_eq!(kept, [(-5, 2.0), (NOW_MS - 1, 3.0), (NOW_MS, 1.0)]);
}

#[tokio::test]
async fn labels_behind_the_samples_belong_to_the_series_all_the_same() {
    let server = server().await;
    let sample = &request(&[(&model::LabelSet::default(), &[(NOW_MS, 1.0)])])[2..];
    let series = [raw_label(b"__name__", b"up"), sample.to_vec(), raw_label(b"job", b"a")].concat();
    // Twice: the second time the labels are known.
    for _ in 0..2 {
        assert_eq!(server.push(&field(1, &series)).await.status, 204);
        let plain = request(&[(&labels(&[("__name__", "up")]), &[(NOW_MS, 9.0)])]);
        assert_eq!(server.push(&plain).await.status, 204);
    }
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.samples("default", &up()), [(NOW_MS, 1.0)]);
    assert_eq!(replica.samples("default", &labels(&[("__name__", "up")])), [(NOW_MS, 9.0)]);
}

#[tokio::test]
async fn an_undecodable_body_is_400_and_writes_nothing() {
    let server = server().await;
    let good = request(&[(&up(), &[(NOW_MS, 1.0)])]);
    let snappy = compressed(&good);
    let rows = [
        snappy[..snappy.len() - 1].to_vec(),
        b"garbage".to_vec(),
        [0xff; 5].to_vec(),
        compressed(b"\xff\xff\xff\xff"),
        compressed(&[&good[..], b"\x0a\x05\x00"].concat()),
        compressed(&[&good[..], &field(1, b"\x0a\xff\x01")].concat()),
        compressed(&[&good[..], &raw_series(&[field(1, b"\x0a\x7f")])].concat()),
    ];
    for (number, body) in rows.iter().enumerate() {
        let response = server.post(PUSH, &[], body).await;
        assert_eq!(response.status, 400, "row {number}: {}", response.body);
    }
    assert_eq!(server.rig.replicas[0].writes(), 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_by_its_declared_length_and_by_its_bytes() {
    let limits = Limits {
        max_request_bytes: Limit(100),
        max_decoded_bytes: Limit(200),
        ..Limits::default()
    };
    let server = limited(limits).await;

    let declared = server.post(PUSH, &[("Content-Length", "101")], b"").await;
    assert_eq!(declared.status, 413);
    assert_eq!(
        declared.body,
        "tenant default is over its limit of 100 bytes in one request (max_request_bytes)\n"
    );

    let chunk = "65\r\n".to_owned() + &"x".repeat(101) + "\r\n0\r\n\r\n";
    let head = "POST /api/v1/push HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(server.exchange(format!("{head}{chunk}").as_bytes()).await.status, 413);

    let decoded = server.post(PUSH, &[], &compressed(&[0; 201])).await;
    assert_eq!(decoded.status, 413);
    assert!(decoded.body.contains("max_decoded_bytes"), "{}", decoded.body);
    assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.status, 204);
}

#[tokio::test]
async fn a_snappy_header_that_claims_2_5_gib_is_413_and_takes_no_memory() {
    let server = server().await;
    // 2.5 GiB as a varint, and 42 bytes of nothing.
    let bomb = [&[0x80, 0x80, 0x80, 0x80, 0x0a][..], &[0; 42]].concat();
    let response = server.post(PUSH, &[], &bomb).await;
    assert_eq!(response.status, 413, "{}", response.body);
}

#[tokio::test]
async fn a_snappy_header_within_the_limit_that_its_bytes_cannot_fill_is_400() {
    let server = server().await;
    let bomb = [&[0x80, 0x80, 0x80, 0x0f][..], &[0; 42]].concat();
    let response = server.post(PUSH, &[], &bomb).await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains("cannot hold"), "{}", response.body);
}

#[tokio::test]
async fn more_series_or_samples_than_allowed_are_413_and_nothing_is_written() {
    let limits =
        Limits { max_request_series: Limit(2), max_request_samples: Limit(3), ..Limits::default() };
    let server = limited(limits).await;
    let one = request(&[(&up(), &[(NOW_MS, 1.0)])]);
    let series = server.push(&one.repeat(3)).await;
    assert_eq!(series.status, 413);
    assert!(series.body.contains("limit of 2 series in one request"), "{}", series.body);

    let four: Vec<_> = (0..4).map(|n| (NOW_MS + n, 1.0)).collect();
    let samples = server.push(&request(&[(&up(), &four)])).await;
    assert_eq!(samples.status, 413);
    assert!(samples.body.contains("limit of 3 samples in one request"), "{}", samples.body);
    assert_eq!(server.rig.replicas[0].writes(), 0);
}

#[tokio::test]
async fn over_its_rate_a_tenant_gets_429_with_retry_after_and_nothing_is_written() {
    let limits = Limits { ingestion_rate: Limit(2), ingestion_burst: 2, ..Limits::default() };
    let server = limited(limits).await;
    let body = request(&[(&up(), &[(NOW_MS, 1.0), (NOW_MS + 1, 1.0)])]);
    assert_eq!(server.push(&body).await.status, 204);

    let response = server.push(&body).await;
    assert_eq!(response.status, 429);
    let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&seconds), "{seconds}");
    assert!(response.body.contains("ingestion_rate"), "{}", response.body);
    assert_eq!(server.rig.replicas[0].writes(), 1);

    server.rig.clock.advance(1000);
    assert_eq!(server.push(&body).await.status, 204);
}

#[tokio::test]
async fn a_replica_that_is_down_is_503_with_retry_after() {
    let server = server().await;
    for (kind, name) in [(Kind::Unavailable, "n0"), (Kind::Internal, "n0"), (Kind::Invalid, "n0")] {
        server.rig.replicas[0].set_mood(Mood::Fails(kind));
        let response = server.post(PUSH, &[], &bytes_of(RW1)).await;
        assert_eq!(response.status, 503);
        assert!(response.header("retry-after").is_some());
        assert!(response.body.contains(name), "{}", response.body);
    }
    server.rig.replicas[0].set_mood(Mood::Well);
    assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stays_silent_is_503_within_the_timeout() {
    let server = server().await;
    server.rig.replicas[0].set_mood(Mood::Silent);
    let response = server.post(PUSH, &[], &bytes_of(RW1)).await;
    assert_eq!(response.status, 503);
    assert!(response.body.contains("no answer within 10000 ms"), "{}", response.body);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_503_and_not_408() {
    let server = server().await;
    let response = server.post(PUSH, &[("Content-Length", "100")], b"x").await;
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
}

#[tokio::test]
async fn at_the_series_limit_new_series_are_a_partial_400_and_known_ones_flow_on() {
    let server = server().await;
    assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.status, 204);
    server.rig.replicas[0].set_mood(Mood::RefusesNewSeries);

    let fresh = labels(&[("__name__", "fresh")]);
    let body = request(&[(&up(), &[(NOW_MS + 1, 2.0)]), (&fresh, &[(NOW_MS, 1.0)])]);
    for _ in 0..2 {
        let response = server.push(&body).await;
        assert_eq!(response.status, 400);
        assert_eq!(
            response.body,
            "1 of 2 samples refused: {__name__=\"fresh\"}: tenant default is over its limit of 5000000 open series (max_series), new series of metric fresh are refused\n"
        );
    }
    assert_eq!(server.rig.replicas[0].samples("default", &up()).len(), 2);
    assert_eq!(refused(&server, "series_limit"), 2.0);
}

#[tokio::test]
async fn tenants_are_told_apart_by_the_header_and_strangers_are_turned_away() {
    let config = RigConfig { tenancy: Tenancy::Multi, ..RigConfig::default() };
    let server = Server::new(rig(config)).await;
    let body = bytes_of(RW1);
    let rows: [(&[(&str, &str)], u16); 9] = [
        (&[], 401),
        (&[("X-Scope-OrgID", "a")], 204),
        (&[("x-scope-orgid", "b")], 204),
        (&[("X-Scope-OrgID", "a|b")], 400),
        (&[("X-Scope-OrgID", "../x")], 400),
        (&[("X-Scope-OrgID", "a,b")], 400),
        (&[("X-Scope-OrgID", "")], 400),
        (&[("X-Scope-OrgID", "a"), ("X-Scope-OrgID", "a")], 400),
        (&[("X-Scope-OrgID", "__system")], 403),
    ];
    for (headers, status) in rows {
        assert_eq!(server.post(PUSH, headers, &body).await.status, status, "{headers:?}");
    }
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.series(), 2);
    for tenant in ["a", "b"] {
        assert_eq!(replica.samples(tenant, &up()), [(NOW_MS, 1.0)]);
    }
}

#[tokio::test]
async fn alone_another_tenant_is_403() {
    let server = server().await;
    let body = bytes_of(RW1);
    assert_eq!(server.post(PUSH, &[("X-Scope-OrgID", "default")], &body).await.status, 204);
    assert_eq!(server.post(PUSH, &[("X-Scope-OrgID", "other")], &body).await.status, 403);
}

#[tokio::test]
async fn without_room_in_the_budget_a_write_is_503() {
    let config = Config { inflight_bytes_max: 1 << 20, ..Config::default() };
    let server = Server::new(rig(RigConfig { config, ..RigConfig::default() })).await;
    let message = raw_series(&[raw_label(b"__name__", &vec![b'x'; 1 << 20])]);
    let response = server.push(&message).await;
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
    assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.status, 204);
}

#[tokio::test]
async fn bombs_get_the_right_answer_and_the_server_goes_on() {
    let server = server().await;
    let labels_10k: Vec<_> =
        (0..10_000).map(|n| raw_label(format!("l{n}").as_bytes(), b"v")).collect();
    let rows = [
        // As many empty series, labels, samples as fit.
        ([0x0a, 0x00].repeat(1_000_000), 413),
        (field(1, &[0x12, 0x00].repeat(600_000)), 413),
        (raw_series(&[[0x0a, 0x00].repeat(1_000_000)]), 400),
        (raw_series(&labels_10k), 400),
        // Names and values far too long.
        (raw_series(&[raw_label(&vec![b'n'; 1 << 20], b"v")]), 400),
        (raw_series(&[raw_label(b"__name__", &vec![b'v'; 16 << 20])]), 400),
        // Unknown fields, metadata, nested groups.
        ([0x78, 0x01].repeat(1_000_000), 204),
        ([0x1a, 0x00].repeat(1_000_000), 204),
        ([0x7b].repeat(1_000_000), 400),
        // A varint without an end, a length past the end.
        ([0xff].repeat(1_000), 400),
        (vec![0x0a, 0xff, 0xff, 0xff, 0x7f, 0x00], 400),
    ];
    for (number, (message, status)) in rows.iter().enumerate() {
        let response = server.push(message).await;
        assert_eq!(response.status, *status, "row {number}: {}", response.body);
        assert!(response.body.len() <= 4100, "row {number}");
    }
    assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.status, 204);
}

#[tokio::test]
async fn metadata_goes_along_and_never_fails_a_request() {
    let server = server().await;
    let metadata = |name: &[u8]| field(3, &[vec![0x08, 0x01], field(2, name)].concat());
    let body = [metadata(b"up"), metadata(b"\xff"), metadata(b"")].concat();
    assert_eq!(server.push(&body).await.status, 204);
    assert_eq!(server.rig.replicas[0].metadata_names(), ["up".into()]);

    server.rig.replicas[0].set_mood(Mood::Fails(Kind::Unavailable));
    assert_eq!(server.push(&metadata(b"up")).await.status, 204);
}

#[tokio::test]
async fn requests_are_counted_by_their_status_and_samples_by_their_tenant() {
    let server = server().await;
    server.post(PUSH, &[], &bytes_of(RW1)).await;
    server.post(PUSH, &[], b"garbage").await;
    let requests = counter(&server.rig.registry, "cumae_distributor_write_requests_total");
    assert_eq!((requests["204"], requests["400"]), (1.0, 1.0));
    let received = counter(&server.rig.registry, "cumae_distributor_samples_received_total");
    assert_eq!(received["float,default"], 1.0);
}
