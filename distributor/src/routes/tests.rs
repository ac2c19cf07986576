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
mod partial;
mod version2;
mod whole;

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

fn refused(server: &Server, reason: &str) -> f64 {
    let counts = counter(&server.rig.registry, "cumae_distributor_samples_refused_total");
    let of_reason = counts.iter().find(|(labels, _)| labels.split(',').any(|one| one == reason));
    of_reason.map_or(0.0, |(_, count)| *count)
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
