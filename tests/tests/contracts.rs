//! The outside contract over HTTP, against the real binary: Grafana's list (section 11), the vectors
//! of section 12 that concern reading, limits of section 14 that the store keeps, and the sentences of
//! section 13. Where each of these is tested:
//!
//! | sentence | where |
//! | --- | --- |
//! | 1, 2, 3, 5, 6, 16 | `contracts/writing.rs` |
//! | 4 | `distributor/src/routes/tests/version2.rs` |
//! | 7 | `contracts/vectors.rs` |
//! | 8 | `cluster.rs` |
//! | 9 | `distributor/src/routes/tests/version2/receiver.rs`, `conformance.rs` |
//! | 10 | `external/run`: `compare_remote_read.py` |
//! | 11, 14, 15 | here |
//! | 12 | `contracts/openapi.rs` |
//! | 13 | `contracts/tenants.rs` |
//!
//! `contracts/sentences.rs` holds that each is there under its name. Of section 14 the rest is in
//! `distributor/src/routes/tests/limits.rs`, `querier/src/tests/limits.rs` and `cost.rs`,
//! `store/src/engine/delete/tests/limits.rs`, `ingester/src/told.rs` and `doors/abuse.rs`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use bench::http::{self, Response};
use bench::remote_write::Series;
use serde_json::{Value as Json, json};
use tests::process::{Cumae, Launch, wall_ms};

mod contracts {
    mod limits;
    mod openapi;
    mod sentences;
    mod tenants;
    mod vectors;
    mod writing;

    use super::{Json, Server, data, http, json, nulls};
}

/// A server with the tenants `empty`, of which nobody has written, and `filled`.
struct Server {
    cumae: Cumae,
    /// Now, as whole minutes, in seconds since 1970.
    now_s: i64,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cumae = Launch::new(&dir.path().join("data"))
            .config("tenancy: multi\nself_metrics: false\n")
            .start();
        let now_s = wall_ms() / 60_000 * 60;
        let minutes: Vec<(i64, f64)> = (0..=120_i32)
            .rev()
            .map(|n| ((now_s - 60 * i64::from(n)) * 1_000, f64::from(n)))
            .collect();
        let series = [
            Series::new("up", &[("job", "a"), ("instance", "h:1")], &minutes),
            Series::new("up", &[("job", "b"), ("instance", "h:2")], &minutes),
            Series::new("http.requests", &[("http.method", "GET"), ("job", "a")], &minutes),
        ];
        assert_eq!(cumae.push_as("filled", &series).status, 204);
        Self { cumae, now_s, _dir: dir }
    }

    fn get(&self, tenant: &str, path: &str, parameters: &[(&str, &str)]) -> Response {
        let path = format!("/api/v1/{path}?{}", http::form(parameters));
        self.cumae.send("GET", &path, &[("X-Scope-OrgID", tenant)], b"")
    }

    fn post(&self, tenant: &str, path: &str, form: &[(&str, &str)]) -> Response {
        let headers = [
            ("X-Scope-OrgID", tenant),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("User-Agent", "Grafana/12.0.0"),
            ("X-Grafana-Org-Id", "1"),
        ];
        self.cumae.send("POST", &format!("/api/v1/{path}"), &headers, http::form(form).as_bytes())
    }
}

fn json(response: &Response) -> Json {
    serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("{}", response.text()))
}

/// The data of a success.
fn data(response: &Response) -> Json {
    assert_eq!(response.status, 200, "{}", response.text());
    let mut json = json(response);
    assert_eq!(json["status"], "success", "{json}");
    assert_eq!(nulls(&json), 0, "{json}");
    json["data"].take()
}

/// How many places of a JSON value hold `null`.
fn nulls(json: &Json) -> usize {
    match json {
        Json::Null => 1,
        Json::Array(items) => items.iter().map(nulls).sum(),
        Json::Object(fields) => fields.values().map(nulls).sum(),
        _ => 0,
    }
}

#[test]
fn s15_grafana_s_list_of_section_11_passes_on_an_empty_tenant() {
    replay(&Server::start(), "empty", false);
}

#[test]
fn grafanas_list_of_section_11_passes_on_a_filled_tenant() {
    replay(&Server::start(), "filled", true);
}

/// Section 11, step by step.
fn replay(server: &Server, tenant: &str, is_filled: bool) {
    save_and_open(server, tenant);
    pick_a_metric(server, tenant, is_filled);
    panel(server, tenant, is_filled);
    let refused = server.post(tenant, "query", &[("query", "sum(")]);
    assert_eq!(refused.status, 400);
    assert_eq!(refused.header("content-type"), Some("application/json"));
    assert_eq!(json(&refused)["errorType"], "bad_data");
    assert!(json(&refused)["error"].as_str().unwrap().contains("parse error"));
    let rules = server.get(tenant, "rules", &[("group_limit", "40"), ("type", "alert")]);
    assert_eq!(data(&rules), json!({"groups": []}));
    assert_eq!(data(&server.get(tenant, "alerts", &[])), json!({"alerts": []}));
}

fn save_and_open(server: &Server, tenant: &str) {
    let two = server.post(tenant, "query", &[("query", "1+1"), ("time", "4")]);
    assert_eq!(data(&two), json!({"resultType": "scalar", "result": [4, "2"]}));
    assert_eq!(data(&server.get(tenant, "status/buildinfo", &[]))["version"], "3.14.0");
    assert_eq!(data(&server.get(tenant, "rules", &[])), json!({"groups": []}));
    let millis = (server.now_s * 1_000).to_string();
    let probe = [("query", "test"), ("start", millis.as_str()), ("end", millis.as_str())];
    assert_eq!(data(&server.get(tenant, "query_exemplars", &probe)), json!([]));
    assert!(data(&server.get(tenant, "metadata", &[])).is_object());
    assert!(data(&server.get(tenant, "metadata", &[("limit", "40000")])).is_object());
}

fn pick_a_metric(server: &Server, tenant: &str, is_filled: bool) {
    let expect = |whole: Json| if is_filled { whole } else { json!([]) };
    let (start, end) = ((server.now_s - 3_600).to_string(), server.now_s.to_string());
    let range = [("start", start.as_str()), ("end", end.as_str()), ("limit", "40000")];
    let names = server.get(tenant, "label/__name__/values", &range);
    assert_eq!(data(&names), expect(json!(["http.requests", "up"])));
    assert_eq!(server.post(tenant, "label/__name__/values", &range).status, 405);
    let of_up = [&range[..], &[("match[]", "up")]].concat();
    let labels = server.post(tenant, "labels", &of_up);
    assert_eq!(data(&labels), expect(json!(["__name__", "instance", "job"])));
    let every = [&range[..], &[("match[]", "{__name__!=\"\"}")]].concat();
    let series = data(&server.post(tenant, "series", &every));
    assert_eq!(series.as_array().unwrap().len(), if is_filled { 3 } else { 0 });
    let comma = server.get(tenant, "labels", &[("match[]", "{__name__=~\".+\",}")]);
    assert_eq!(data(&comma), expect(json!(["__name__", "http.method", "instance", "job"])));
    let dotted = [("match[]", "{\"http.requests\"}")];
    let values = server.get(tenant, "label/U__http_2e_method/values", &dotted);
    assert_eq!(data(&values), expect(json!(["GET"])));
}

/// Points that were shown do not move when the range ends later.
fn panel(server: &Server, tenant: &str, is_filled: bool) {
    let ask = |end_s: i64| {
        let (start, end) = (format!("{}.0", server.now_s - 3_600), format!("{end_s}.0"));
        let query = "sum by (job) (avg_over_time(up[2m]))";
        let form = [("query", query), ("start", &start), ("end", &end), ("step", "60.0")];
        data(&server.post(tenant, "query_range", &form))["result"].take()
    };
    let (whole, before) = (ask(server.now_s), ask(server.now_s - 600));
    let rows = whole.as_array().unwrap();
    assert_eq!(rows.len(), if is_filled { 2 } else { 0 });
    for (row, shown) in rows.iter().zip(before.as_array().unwrap()) {
        let (points, shown) =
            (row["values"].as_array().unwrap(), shown["values"].as_array().unwrap());
        assert_eq!((points.len(), shown.len()), (61, 51));
        assert_eq!(points[..51], shown[..]);
    }
    let headers = [("X-Scope-OrgID", tenant), ("Accept-Encoding", "gzip")];
    let path = format!("/api/v1/query_range?query=vector(1)&start=0&end={}&step=1", 600);
    let packed = server.cumae.send("GET", &path, &headers, b"");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
}

#[test]
fn s11_11_001_points_pass_and_11_002_do_not() {
    let server = Server::start();
    let ask = |steps: &str| {
        let parameters = [("query", "vector(1)"), ("start", "0"), ("end", steps), ("step", "1")];
        server.get("empty", "query_range", &parameters)
    };
    let points = data(&ask("11000"))["result"][0]["values"].take();
    assert_eq!(points.as_array().unwrap().len(), 11_001);
    let refused = ask("11001");
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("exceeded maximum resolution of 11,000 points"));
}

#[test]
fn s14_a_snappy_block_that_declares_4_gib_is_refused_without_taking_memory() {
    let server = Server::start();
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let v1 = [("Content-Type", "application/x-protobuf")];
    let v2 = [("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")];
    let before = server.cumae.rss_bytes();
    for (path, content_type) in [
        ("/api/v1/read", v1),
        ("/api/v1/push", v1),
        ("/api/v1/push", v2),
        ("/prometheus/api/v1/write", v1),
        ("/api/prom/push", v2),
    ] {
        let headers =
            [("X-Scope-OrgID", "filled"), ("Content-Encoding", "snappy"), content_type[0]];
        for _ in 0..20 {
            let refused = server.cumae.send("POST", path, &headers, &bomb);
            assert_eq!(refused.status, 413, "{path}: {}", refused.text());
        }
    }
    assert!(server.cumae.rss_bytes() < before + (64 << 20));
}

#[test]
fn operators_of_a_single_tenant_read_the_ring_its_services_and_settings() {
    let dir = tempfile::tempdir().unwrap();
    let config = "self_metrics: false\nquery: {slow_query: 7s}\nlimits: {max_series: 77}\n";
    let cumae = Launch::new(&dir.path().join("data")).config(config).start();
    for path in ["/-/reload", "/-/quit"] {
        for method in ["POST", "PUT"] {
            let refused = cumae.send(method, path, &[], b"");
            let told = (refused.status, refused.text());
            assert_eq!(told, (403, "Lifecycle API is not enabled.\n".to_owned()));
        }
        assert_eq!(cumae.get(path).status, 405);
    }
    let ring = json(&cumae.send("GET", "/ring", &[("Accept", "application/json")], b""));
    assert_eq!(ring["shards"][0]["state"], "ACTIVE");
    assert!(ring["shards"][0]["tokens"].as_u64().unwrap() > 0 && ring["now"].is_string());
    assert!(cumae.get("/ring").text().contains("ACTIVE"));
    assert!(cumae.get("/memberlist").text().contains("distributor,ingester,querier  up"));
    assert!(cumae.get("/services").text().contains("querier => Running"));
    let diff = cumae.get("/config?mode=diff").text();
    assert!(
        diff.contains("query.slow_query: 7s\n") && diff.contains("self_metrics: false\n"),
        "{diff}"
    );
    assert!(!diff.contains("query.cache"), "{diff}");
    assert!(cumae.get("/config").text().contains("slow_query: 7s"));
    assert!(!cumae.get("/config?mode=defaults").text().contains("slow_query: 7s"));
    assert!(cumae.get("/runtime_config").text().contains("max_series: 77\n"));
    let all = json(&cumae.get("/distributor/all_user_stats"));
    assert_eq!(
        (all["stats"][0]["userID"].clone(), all["replicationFactor"].clone()),
        ("default".into(), 1.into())
    );
}
