//! B2, B3, B5 and B6 of the design at the doors that take other forms than remote write: OTLP and
//! imports. Each bomb is answered soon, with little memory, and the next sender is served.

use bench::http::Response;
use std::fs;
use std::io::Write as _;
use std::time::Duration;
use tests::process::{Cumae, Launch, now};

/// A body as sent and decoded, twice.
const ROOM_MIB: u64 = 2 * (32 + 32);

const OTLP: &str = "/otlp/v1/metrics";
const TEXT: &str = "/api/v1/import/prometheus";
const LINES: &str = "/api/v1/import";
const INFLUX: &str = "/write";

/// The most that was ever resident, in MiB.
fn peak_mib(cumae: &Cumae) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", cumae.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

fn gzipped(byte: u8, mib: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..mib).for_each(|_| encoder.write_all(&vec![byte; 1 << 20]).unwrap());
    encoder.finish().unwrap()
}

/// A protobuf field with a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut len = content.len();
    while len >= 0x80 {
        bytes.push(len.to_le_bytes()[0] | 0x80);
        len >>= 7;
    }
    bytes.push(len.to_le_bytes()[0]);
    bytes.extend_from_slice(content);
    bytes
}

/// A request of one resource with these attributes and a gauge of these points.
fn gauge(attributes: &[u8], points: &[u8]) -> Vec<u8> {
    let metric = [field(1, b"m"), field(5, points)].concat();
    let scope = field(2, &field(2, &metric));
    field(1, &[field(1, attributes), scope].concat())
}

fn attribute(number: u8, key: &str, value: &str) -> Vec<u8> {
    field(number, &[field(1, key.as_bytes()), field(2, &field(1, value.as_bytes()))].concat())
}

/// What is sent, where, as what, and what comes back.
struct Bomb {
    name: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    status: u16,
}

const PROTOBUF: &[(&str, &str)] = &[("Content-Type", "application/x-protobuf")];
const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];
const PROTOBUF_GZIP: &[(&str, &str)] =
    &[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip")];
const GZIP: &[(&str, &str)] = &[("Content-Encoding", "gzip")];

fn otlp_bombs() -> Vec<Bomb> {
    let bomb = |name, headers, body, status| Bomb { name, path: OTLP, headers, body, status };
    let value = [&[0x21][..], &1.0_f64.to_le_bytes()].concat();
    let point = field(1, &value);
    let many: Vec<u8> =
        (0..1_000_000_u32).flat_map(|n| attribute(7, &n.to_string(), "x")).collect();
    let open = r#"{"arrayValue":{"values":["#;
    let deep = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"k","value":{}1"#,
        open.repeat(500_000)
    );
    let counts = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"h","histogram":{{
        "aggregationTemporality":2,"dataPoints":[{{"bucketCounts":[1{}]}}]}}}}]}}]}}]}}"#,
        ",1".repeat(12 << 20)
    );
    let name = attribute(1, "service.name", &"x".repeat(2000));
    vec![
        bomb("gzip that grows to 512 MiB", PROTOBUF_GZIP, gzipped(0, 512), 413),
        bomb("gzip in gzip", PROTOBUF_GZIP, gzipped(0x1f, 1), 400),
        bomb("ten million empty resources", PROTOBUF, [0x0a, 0].repeat(10_000_000), 200),
        bomb("a length past the end", PROTOBUF, vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], 400),
        bomb("groups in groups", PROTOBUF, vec![0x1b; 1 << 20], 400),
        bomb("a million attributes", PROTOBUF, gauge(&[], &field(1, &[many, value].concat())), 200),
        bomb("a long job times a million", PROTOBUF, gauge(&name, &point.repeat(1_000_000)), 413),
        bomb("a value without an end", JSON, deep.into_bytes(), 400),
        bomb("brackets", JSON, vec![b'['; 20 << 20], 400),
        bomb("buckets that grow by four", JSON, counts.into_bytes(), 413),
    ]
}

fn import_bombs() -> Vec<Bomb> {
    let bomb = |name, path, headers, body, status| Bomb { name, path, headers, body, status };
    let tags = format!("m,t={} {}", "x".repeat(1 << 20), vec!["f=1"; 1 << 20].join(","));
    let labels = format!("m{{{}}} 1", "a=\"b\",".repeat(4 << 20));
    let values = format!(r#"{{"metric":{{"__name__":"m"}},"values":[{}1"#, "1,".repeat(10 << 20));
    vec![
        bomb("one endless line", TEXT, GZIP, gzipped(b'x', 256), 413),
        bomb("nothing but line feeds", TEXT, GZIP, gzipped(b'\n', 256), 204),
        bomb("four million labels", TEXT, &[], labels.into_bytes(), 400),
        bomb("a long tag times a million", INFLUX, &[], tags.into_bytes(), 400),
        bomb("quotes that never close", INFLUX, &[], vec![b'"'; 20 << 20], 400),
        bomb("values without an end", LINES, &[], values.into_bytes(), 400),
        bomb("brackets", LINES, &[], vec![b'['; 20 << 20], 400),
        bomb("one endless line of JSON", LINES, GZIP, gzipped(b'{', 256), 413),
    ]
}

#[test]
fn b2_b3_b5_b6_bombs_by_otlp_and_import_are_refused_soon_and_cheaply() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = Launch::new(&dir.path().join("data")).config("self_metrics: false\n").start();
    let good = |cumae: &Cumae| -> Response { cumae.send("POST", TEXT, &[], b"good 1\n") };
    assert_eq!(good(&cumae).status, 204);
    let idle = peak_mib(&cumae);
    for Bomb { name, path, headers, body, status } in otlp_bombs().into_iter().chain(import_bombs())
    {
        let began = now();
        let answer = cumae.send("POST", path, headers, &body);
        let (took, peak) = (began.elapsed(), peak_mib(&cumae));
        println!("{path} {name}: {} in {took:?}, peak {peak} MiB", answer.status);
        assert_eq!(answer.status, status, "{path} {name}: {:.300}", answer.text());
        assert!(took < Duration::from_secs(20), "{path} {name}: {took:?}");
        assert!(peak < idle + ROOM_MIB, "{path} {name}: {peak} MiB, {idle} idle");
        assert_eq!(good(&cumae).status, 204, "after {name}");
    }
    assert!(cumae.terminate().is_success());
}
