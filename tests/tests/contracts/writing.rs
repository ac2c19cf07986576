//! Sentences of section 13 that concern what is written, and that it can be read; 7 is in `vectors.rs`.

use super::{Json, data, http, json, nulls};
use bench::remote_write::{HEADERS, HEADERS_V2, Series, compress};
use model::LabelSet;
use tests::process::{Cumae, Launch, wall_ms};
use wire::remote_write::{RequestV2, encode_series};

const PROTOBUF: [(&str, &str); 1] = [("Content-Type", "application/x-protobuf")];
const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// One tenant, nothing of our own.
fn alone(dir: &tempfile::TempDir) -> Cumae {
    Launch::new(&dir.path().join("data")).config("self_metrics: false\n").start()
}

fn seconds(ms: i64) -> f64 {
    std::time::Duration::from_millis(ms.unsigned_abs()).as_secs_f64()
}

/// A field with a length.
fn inside(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(number, &content.to_vec(), &mut bytes);
    bytes
}

/// A gauge of one point in OTLP's protobuf: `x{zone="z"}` of the service `a`, instance `i`.
fn otlp_protobuf(at_ms: i64, value: f64) -> Vec<u8> {
    let pair = |key: &str, value: &str| {
        [inside(1, key.as_bytes()), inside(2, &inside(1, value.as_bytes()))].concat()
    };
    let resource: Vec<u8> = [("service.name", "a"), ("service.instance.id", "i")]
        .iter()
        .flat_map(|(key, value)| inside(1, &pair(key, value)))
        .collect();
    let time = (at_ms.unsigned_abs() * 1_000_000).to_le_bytes();
    let point = [&inside(7, &pair("zone", "z"))[..], &[0x19], &time, &[0x21], &value.to_le_bytes()];
    let metric = [inside(1, b"x"), inside(5, &inside(1, &point.concat()))].concat();
    let scope = inside(2, &inside(2, &metric));
    inside(1, &[inside(1, &resource), scope].concat())
}

#[test]
fn s1_a_series_written_by_v1_v2_otlp_and_text_import_under_the_same_labels_is_one_series() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = alone(&dir);
    let start = wall_ms() / 1_000 * 1_000 - 100_000;
    let at = |n: i64| start + 15_000 * n;
    let pairs = [("__name__", "x"), ("instance", "i"), ("job", "a"), ("zone", "z")];
    let labels = LabelSet::from_pairs(pairs).unwrap();
    let (mut v1, mut v2) = (Vec::new(), RequestV2::default());
    encode_series(&labels, &[(at(0), 0.0)], &mut v1);
    v2.begin(pairs);
    v2.sample(at(1), 1.0, 0);
    v2.end();
    let json = json!({"resourceMetrics": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "a"}},
            {"key": "service.instance.id", "value": {"stringValue": "i"}}]},
        "scopeMetrics": [{"metrics": [{"name": "x", "gauge": {"dataPoints": [{
            "attributes": [{"key": "zone", "value": {"stringValue": "z"}}],
            "timeUnixNano": (at(3) * 1_000_000).to_string(), "asDouble": 3.0}]}}]}]}]});
    let text = format!("x{{job=\"a\",zone=\"z\",instance=\"i\"}} 4 {}\n", at(4));
    let lines = json!({"metric": {"zone": "z", "instance": "i", "job": "a", "__name__": "x"},
        "values": [5], "timestamps": [at(5)]});
    let influx = format!("x,zone=z,job=a,instance=i x=6 {}\n", at(6));
    let rename = format!("x,zone=z,job=a,instance=i =6 {}\n", at(6));
    for (path, headers, body, status) in [
        ("/api/v1/push", &HEADERS[..], compress(&v1), 204),
        ("/api/v1/push", &HEADERS_V2[..], compress(&v2.finish()), 204),
        ("/otlp/v1/metrics", &PROTOBUF[..], otlp_protobuf(at(2), 2.0), 200),
        ("/otlp/v1/metrics", &JSON[..], json.to_string().into_bytes(), 200),
        ("/api/v1/import/prometheus", &[], text.into_bytes(), 204),
        ("/api/v1/import", &[], lines.to_string().into_bytes(), 204),
        // A field needs a name, so this one is another metric.
        ("/write?precision=ms", &[], influx.into_bytes(), 204),
        ("/write?precision=ms", &[], rename.into_bytes(), 400),
    ] {
        let answer = cumae.send("POST", path, headers, &body);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let found = cumae.query("x[5m]", seconds(at(6)));
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    let wanted = json!({"__name__": "x", "instance": "i", "job": "a", "zone": "z"});
    assert_eq!(found[0]["metric"], wanted);
    let values: Vec<Json> = (0..=5).map(|n| json!([at(n) / 1_000, n.to_string()])).collect();
    assert_eq!(found[0]["values"], Json::Array(values));
    let series = cumae.api("series", &[("match[]", "{zone=\"z\"}")]);
    assert_eq!(series["data"].as_array().unwrap().len(), 2, "and that of InfluxDB's: {series}");
}

#[test]
fn s2_a_request_with_one_bad_sample_among_four_is_400_reports_three_written_and_the_three_are_readable()
 {
    let dir = tempfile::tempdir().unwrap();
    let cumae = alone(&dir);
    let now = wall_ms() / 1_000 * 1_000;
    let times = [now - 2_000, now - 1_000, now, now + 3_600_000];
    let samples: Vec<(i64, f64)> = times.iter().map(|at| (*at, 1.0)).collect();
    let mut request = RequestV2::default();
    request.begin([("__name__", "up")]);
    samples.iter().for_each(|(at, value)| request.sample(*at, *value, 0));
    request.end();
    let answer = cumae.send("POST", "/api/v1/push", &HEADERS_V2, &compress(&request.finish()));
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("1 of 4 samples refused"), "{}", answer.text());
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("3"));
    let found = cumae.query("up[1m]", seconds(now))[0]["values"].take();
    assert_eq!(found.as_array().unwrap().len(), 3, "{found}");
}

/// One sample of `c_total{job="a"}` that began a second before.
fn counted(at_ms: i64) -> Vec<u8> {
    let mut request = RequestV2::default();
    request.begin([("__name__", "c_total"), ("job", "a")]);
    request.sample(at_ms, 1.0, at_ms - 1_000);
    request.end();
    compress(&request.finish())
}

#[test]
fn s3_sending_a_request_twice_changes_nothing_and_both_answers_are_204_with_full_counts() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = alone(&dir);
    let now = wall_ms() / 1_000 * 1_000;
    let found = || {
        let window = cumae.query("c_total[1m]", seconds(now));
        (window, cumae.api("series", &[("match[]", "c_total")])["data"].clone())
    };
    let mut before = None;
    for _ in 0..2 {
        let answer = cumae.send("POST", "/api/v1/push", &HEADERS_V2, &counted(now));
        assert_eq!(answer.status, 204, "{}", answer.text());
        for (kind, count) in [("samples", "1"), ("histograms", "0"), ("exemplars", "0")] {
            let header = format!("x-prometheus-remote-write-{kind}-written");
            assert_eq!(answer.header(&header), Some(count), "{kind}");
        }
        let found = found();
        assert_eq!(found.0[0]["values"], json!([[now / 1_000, "1"]]));
        assert_eq!(*before.get_or_insert(found.clone()), found);
    }
}

#[test]
fn s6_application_x_protobuf_proto_io_prometheus_write_v2_request_with_a_blank_stores_its_samples()
{
    let dir = tempfile::tempdir().unwrap();
    let cumae = alone(&dir);
    let now = wall_ms() / 1_000 * 1_000;
    let content_type = "application/x-protobuf; proto=io.prometheus.write.v2.Request";
    let headers = [("Content-Type", content_type), ("Content-Encoding", "snappy")];
    assert_eq!(cumae.send("POST", "/api/v1/push", &headers, &counted(now)).status, 204);
    assert_eq!(cumae.query("c_total", seconds(now))[0]["value"][1], "1");
}

#[test]
fn s5_samples_sent_newest_first_or_an_hour_late_are_all_readable() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = alone(&dir);
    let now = wall_ms() / 1_000 * 1_000;
    for n in 0..5 {
        let one = Series::new("up", &[], &[(now - n * 1_000, 5.0)]);
        assert_eq!(cumae.push(&[one]).status, 204);
    }
    let within: Vec<(i64, f64)> = (0..5).map(|n| (now - 10_000 - n * 1_000, 5.0)).collect();
    assert_eq!(cumae.push(&[Series::new("up", &[], &within)]).status, 204);
    let late: Vec<(i64, f64)> = (0..5).map(|n| (now - 3_600_000 - n * 1_000, 5.0)).collect();
    assert_eq!(cumae.push(&[Series::new("up", &[], &late)]).status, 204);
    let count = |range: &str, at: i64| {
        cumae.query(&format!("count_over_time(up[{range}])"), seconds(at))[0]["value"][1].take()
    };
    assert_eq!((count("1m", now), count("2h", now)), (json!("10"), json!("15")));
    assert_eq!(cumae.query("up", seconds(now - 3_600_000))[0]["value"][1], "5");
}

#[test]
fn a_stale_marker_ends_a_series_at_once_also_flushed_and_sealed_and_it_may_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = alone(&dir);
    let now = wall_ms() / 1_000 * 1_000;
    let marker = f64::from_bits(model::sample::STALE_NAN_BITS);
    let push = |at: i64, value: f64| {
        assert_eq!(cumae.push(&[Series::new("up", &[], &[(at, value)])]).status, 204);
    };
    let is_there = |at: i64| !cumae.query("up", seconds(at)).as_array().unwrap().is_empty();
    push(now - 10_000, 1.0);
    assert!(is_there(now), "within the lookback");
    push(now - 5_000, marker);
    let ends = || {
        assert!(is_there(now - 5_001));
        assert!(!is_there(now - 5_000) && !is_there(now));
    };
    ends();
    for path in ["/ingester/flush", "/ingester/flush?seal=true"] {
        assert_eq!(cumae.send("POST", path, &[], b"").status, 204);
        ends();
    }
    push(now - 1_000, 2.0);
    assert!(is_there(now), "it goes on");
    assert_eq!(cumae.send("POST", "/ingester/flush?seal=true", &[], b"").status, 204);
    assert!(is_there(now) && !is_there(now - 5_000));
}

#[test]
fn s16_no_handler_answers_null_where_a_list_or_object_is_promised() {
    let server = super::Server::start();
    let (start, end) = ((server.now_s - 600).to_string(), server.now_s.to_string());
    let range = [("start", start.as_str()), ("end", end.as_str()), ("step", "60")];
    let up = [("query", "up"), ("match[]", "up"), ("label_names[]", "job")];
    let parameters = [&range[..], &up].concat();
    for path in [
        "query",
        "query_range",
        "query_exemplars",
        "format_query",
        "labels",
        "label/job/values",
        "label/none/values",
        "series",
        "metadata",
        "rules",
        "alerts",
        "targets",
        "targets/metadata",
        "scrape_pools",
        "alertmanagers",
        "features",
        "notifications",
        "status/buildinfo",
        "status/runtimeinfo",
        "status/flags",
        "status/tsdb",
        "status/walreplay",
        "status/active_queries",
        "status/top_queries",
    ] {
        for tenant in ["empty", "filled"] {
            // `data` counts them.
            let found = data(&server.get(tenant, path, &parameters));
            assert!(!found.is_null(), "{path}");
        }
    }
    // What is not in the envelope.
    for path in [
        "user_stats",
        "cardinality/label_names",
        "cardinality/label_values",
        "status/metric_names_stats",
    ] {
        for tenant in ["empty", "filled"] {
            let answer = server.get(tenant, path, &parameters);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert_eq!(nulls(&super::json(&answer)), 0, "{path}: {}", answer.text());
        }
    }
    let bare = http::form(&[("match[]", "none")]);
    let path = format!("/api/v1/series?{bare}");
    let none = server.cumae.send("GET", &path, &[("X-Scope-OrgID", "empty")], b"");
    assert_eq!(data(&none), json!([]));
}
