//! The byte vectors of section 12, sent to the door and read back; sentence 7 of section 13.

use super::{Json, data, nulls};
use bench::remote_write::{HEADERS, HEADERS_V2, Series, compress};
use model::histogram::{CUSTOM_BUCKETS, Counts, ResetHint, Span};
use model::{Histogram, HistogramSample, LabelSet};
use serde_json::json;
use std::sync::Arc;
use tests::process::{Cumae, Launch};
use tests::shared;
use wire::remote_write::encode_extras;

const RW1: &str = "2eb40a2c0a0e0a085f5f6e616d655f5f120275700a080a036a6f62120161121009000000000000f03f1080d095ffbc31";
const OLD_LAYOUT: &str = "6ef052220022085f5f6e616d655f5f2207635f746f74616c22036a6f62220161220468656c70220874726163655f6964220274312a3b0a0401020304121009000000000000f03f1080d095ffbc3122140a0206071100051654e03f1880d095ffbc312a04080118053098c895ffbc31";
const NEW_LAYOUT: &str = "220022085f5f6e616d655f5f2207635f746f74616c22036a6f62220161220468656c70220874726163655f6964220274312a3b0a0401020304121709000000000000f03f1080d095ffbc311898c895ffbc3122140a02060711000000000000e03f1880d095ffbc312a0408011805";
const READ: &str = "248c0a1e0880d095ffbc3110e0a499ffbc311a0e12085f5f6e616d655f5f1a02757012020100";
const CHUNK: &str = "000380a0abfef9623ff00000000000009875c25fff6d06";
const FRAME: &str = "3d9ff36b6d0a3b0a0e0a085f5f6e616d655f5f1202757012290880d095ffbc3110b0ba97ffbc3118012217000380a0abfef9623ff00000000000009875c25fff6d06";

const NOW_MS: i64 = 1_700_000_000_000;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<&str> = (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]).collect();
    digits.into_iter().map(|two| u8::from_str_radix(two, 16).unwrap()).collect()
}

/// A process of several tenants that tells since when samples count.
fn start(dir: &tempfile::TempDir) -> Cumae {
    let config = "tenancy: multi\nself_metrics: false\nquery:\n  \
                  features: 'promql-experimental-functions,use-start-timestamps'\n";
    Launch::new(&dir.path().join("data")).config(config).start()
}

/// Sends a body as a tenant.
fn push(cumae: &Cumae, tenant: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
    let headers = [headers, &[("X-Scope-OrgID", tenant)]].concat();
    let answer = cumae.send("POST", "/api/v1/push", &headers, body);
    if headers[0] == HEADERS_V2[0] {
        for (kind, count) in [("samples", "1"), ("histograms", "0"), ("exemplars", "1")] {
            let header = format!("x-prometheus-remote-write-{kind}-written");
            assert_eq!(answer.header(&header), Some(count), "{kind}");
        }
    }
    answer.status
}

fn get(cumae: &Cumae, tenant: &str, path: &str) -> Json {
    let path = format!("/api/v1/{path}");
    data(&cumae.send("GET", &path, &[("X-Scope-OrgID", tenant)], b""))
}

#[test]
fn the_vectors_here_are_those_of_the_contract() {
    let Some(folder) = shared::folder("api") else {
        println!("../shared/api IS MISSING: its vectors are not compared with those here");
        return;
    };
    let text = std::fs::read_to_string(folder.join("CONTRACTS.md")).unwrap();
    let section = text.split("\n## ").find(|part| part.starts_with("12. ")).unwrap();
    let is_hex = |word: &&str| word.len() > 40 && word.chars().all(|one| one.is_ascii_hexdigit());
    let theirs: Vec<&str> = section.split('`').filter(is_hex).collect();
    assert_eq!(theirs, [RW1, OLD_LAYOUT, NEW_LAYOUT, READ, CHUNK, FRAME]);
}

#[test]
fn the_vector_of_remote_write_1_is_the_sample_that_it_means() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = start(&dir);
    assert_eq!(push(&cumae, "rw1", &HEADERS, &bytes(RW1)), 204);
    let found = get(&cumae, "rw1", "query?query=up&time=1700000000");
    let one = json!([{"metric": {"__name__": "up", "job": "a"}, "value": [1_700_000_000, "1"]}]);
    assert_eq!(found["result"], one);
}

#[test]
fn s7_a_created_timestamp_in_either_layout_comes_back_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = start(&dir);
    for (tenant, body) in [("old", bytes(OLD_LAYOUT)), ("new", compress(&bytes(NEW_LAYOUT)))] {
        assert_eq!(push(&cumae, tenant, &HEADERS_V2, &body), 204, "{tenant}");
        for when in ["in memory", "flushed"] {
            let path = "query?query=start_timestamp(c_total)&time=1700000000";
            let start = get(&cumae, tenant, path)["result"][0].take();
            assert_eq!(start["value"][1], "1699999999", "{tenant}, {when}");
            let found = get(&cumae, tenant, "query?query=c_total&time=1700000000");
            let metric = json!({"__name__": "c_total", "job": "a"});
            let one = json!([{"metric": metric, "value": [1_700_000_000, "1"]}]);
            assert_eq!(found["result"], one, "{tenant}, {when}");
            let told = json!({"c_total": [{"type": "counter", "help": "help", "unit": ""}]});
            assert_eq!(get(&cumae, tenant, "metadata"), told, "{tenant}, {when}");
            let exemplar = json!({
                "labels": {"trace_id": "t1"}, "value": "0.5", "timestamp": 1_700_000_000
            });
            let exemplars = get(&cumae, tenant, "query_exemplars?query=c_total");
            assert_eq!(exemplars, json!([{"seriesLabels": metric, "exemplars": [exemplar]}]));
            assert_eq!(cumae.send("POST", "/ingester/flush", &[], b"").status, 204);
        }
    }
}

#[test]
fn the_vectors_of_reading_are_what_the_door_takes_and_gives() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = start(&dir);
    let at = |n: i64| NOW_MS + 15_000 * n;
    let up = Series::new("up", &[], &[(at(0), 1.0), (at(1), 2.0), (at(2), 2.5)]);
    assert_eq!(cumae.push_as("read", &[up]).status, 204);
    let read = |tenant: &str| {
        let headers = [("X-Scope-OrgID", tenant), HEADERS[0], HEADERS[1]];
        cumae.send("POST", "/api/v1/read", &headers, &bytes(READ))
    };
    let answer = read("read");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let media_type = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!(answer.header("content-type"), Some(media_type));
    assert_eq!(answer.body, bytes(FRAME));
    let chunk = bytes(CHUNK);
    assert!(answer.body.windows(chunk.len()).any(|part| part == chunk));
    assert_eq!(read("empty").body, b"");
}

fn spans(of: &[(i32, u32)]) -> Vec<Span> {
    of.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect()
}

#[test]
fn the_histograms_of_the_contract_have_its_buckets() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = start(&dir);
    let exponential = Histogram {
        schema: 0,
        zero_threshold: 0.001,
        sum: 12.5,
        reset_hint: ResetHint::Unknown,
        positive_spans: spans(&[(0, 2), (1, 1)]),
        negative_spans: spans(&[(0, 1)]),
        custom_values: Vec::new(),
        counts: Counts::Integer {
            count: 9,
            zero_count: 2,
            positive: vec![1, 2, 1],
            negative: vec![3],
        },
    };
    let custom = Histogram {
        schema: CUSTOM_BUCKETS,
        zero_threshold: 0.0,
        sum: 4.0,
        reset_hint: ResetHint::Unknown,
        positive_spans: spans(&[(0, 3)]),
        negative_spans: Vec::new(),
        custom_values: vec![0.5, 1.0],
        counts: Counts::Integer {
            count: 6,
            zero_count: 0,
            positive: vec![1, 2, 3],
            negative: Vec::new(),
        },
    };
    let exponential_buckets = json!([
        [1, "-1", "-0.5", "3"],
        [3, "-0.001", "0.001", "2"],
        [0, "0.5", "1", "1"],
        [0, "1", "2", "2"],
        [0, "4", "8", "1"]
    ]);
    let custom_buckets =
        json!([[3, "-Inf", "0.5", "1"], [0, "0.5", "1", "2"], [0, "1", "+Inf", "3"]]);
    for (name, histogram, buckets) in
        [("exponential", exponential, exponential_buckets), ("custom", custom, custom_buckets)]
    {
        let sample = HistogramSample {
            timestamp_ms: NOW_MS,
            histogram: Arc::new(histogram),
            start_timestamp_ms: 0,
            revision: 0,
        };
        let labels = LabelSet::from_pairs([("__name__", name)]).unwrap();
        let mut body = Vec::new();
        encode_extras(&labels, &[sample], &[], &mut body);
        assert_eq!(push(&cumae, "h", &HEADERS, &compress(&body)), 204);
        let found = get(&cumae, "h", &format!("query?query={name}&time=1700000000"));
        assert_eq!(found["result"][0]["histogram"][1]["buckets"], buckets, "{name}");
        assert_eq!(nulls(&found), 0);
    }
}
