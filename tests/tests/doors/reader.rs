//! Who asks for much and does not read it: B11.

use super::bomb::{answer_max, beside_another, launched};
use bench::http;
use bench::remote_write::Series;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tests::process::{Cumae, eventually, wall_ms};

/// What the process may take for a reader: 8 MiB of its answer, what it takes to find and to halve
/// them, and what the allocator keeps of that for each thread.
const RISE_MAX: u64 = 64 << 20;
/// Far more than that, as samples too, and than the kernel keeps of a connection.
const EXPORT_MIN: usize = 96 << 20;

/// Series whose values are long as text.
fn fill(cumae: &Cumae, tenant: &str) {
    let start_ms = wall_ms() - 3_600_000;
    let samples: Vec<(i64, f64)> =
        (0..5_000_i32).map(|at| (start_ms + i64::from(at) * 600, f64::from(at).sqrt())).collect();
    for number in 0..1_280 {
        let name = number.to_string();
        let answer = cumae.push_as(tenant, &[Series::new("m", &[("i", &name)], &samples)]);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

/// Whether the system still has the other end of this connection open.
fn is_open(reader: &TcpStream) -> bool {
    let port =
        |address: std::io::Result<SocketAddr>| format!("0100007F:{:04X}", address.unwrap().port());
    let ends = format!("{} {} 01", port(reader.peer_addr()), port(reader.local_addr()));
    fs::read_to_string("/proc/net/tcp").unwrap().contains(&ends)
}

#[test]
fn b11_a_reader_of_a_large_export_that_stops_reading_costs_little_and_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = launched(
        &dir,
        "server: {stall_timeout: 2s}\noverrides: {large: {ingestion_rate: 10000000}}\n",
    );
    fill(&cumae, "large");
    let path = format!("/api/v1/export?{}", http::form(&[("match[]", "m")]));
    let whole = cumae.send("GET", &path, &[("X-Scope-OrgID", "large")], b"");
    assert_eq!(whole.status, 200);
    assert!(whole.body.len() > EXPORT_MIN, "{} bytes", whole.body.len());

    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: large\r\n\r\n");
    let ((mut reader, is_cut), took, more, slowest) = beside_another(&cumae, || {
        let mut reader = TcpStream::connect(cumae.address()).unwrap();
        reader.write_all(head.as_bytes()).unwrap();
        let mut first = [0; 1_024];
        reader.read_exact(&mut first).unwrap();
        assert!(first.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first));
        assert!(is_open(&reader));
        let is_cut = eventually(|| !is_open(&reader));
        (reader, is_cut)
    });
    println!("{} KiB more, cut after {took:?}, {slowest:?} beside it", more >> 10);
    assert!(is_cut);
    assert!(took > Duration::from_secs(2), "not before its time: {took:?}");
    assert!(more < RISE_MAX, "{} MiB", more >> 20);
    assert!(slowest < answer_max(), "{slowest:?}");

    // What the kernel has is all that is left of the answer.
    reader.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let mut rest = Vec::new();
    let ended = reader.read_to_end(&mut rest);
    let is_reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
    assert!(ended.as_ref().map_or_else(is_reset, |_| true), "{ended:?}");
    assert!(rest.len() < whole.body.len() / 2, "{} bytes", rest.len());
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it does not look whole");
    assert!(cumae.terminate().is_success());
}
