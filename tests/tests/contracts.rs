//! The outside contract over HTTP, against the real binary: Grafana's list (section 11), the vectors
//! of section 12 that concern reading, limits of section 14 that the store keeps, and the sentences of
//! section 13. Where each of these is tested:
//!
//! | sentence | here, or elsewhere |
//! | --- | --- |
//! | 1, 2, 5, 8, 16 | `contracts/writing.rs` |
//! | 3, 4, 6, 7; 2 and 5 at the door | `distributor/src/routes/tests/version2.rs` |
//! | 4, 8 through every replica | `cluster.rs` |
//! | 9 | `conformance.rs`, `distributor/src/routes/tests.rs` |
//! | 10 | `external/run`: `compare_remote_read.py` |
//! | 11, 13, 15 | here; 13 in `smoke.rs` too |
//! | 12 | `querier/src/tests/openapi.rs` |
//! | 14 | here for remote read, `doors/inlets.rs` for writes |
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use bench::http::{self, Response};
use bench::remote_write::{self, Series};
use serde_json::{Value as Json, json};
use tests::process::{Cumae, Launch, wall_ms};

mod contracts {
    mod limits;
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

    /// Remote read of a message, packed here.
    fn read(&self, tenant: &str, message: &[u8]) -> Response {
        let headers = [("X-Scope-OrgID", tenant), ("Content-Encoding", "snappy")];
        let body = remote_write::compress(message);
        self.cumae.send("POST", "/api/v1/read", &headers, &body)
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
fn grafanas_list_passes_on_an_empty_and_on_a_filled_tenant() {
    let server = Server::start();
    for (tenant, is_filled) in [("empty", false), ("filled", true)] {
        save_and_open(&server, tenant);
        pick_a_metric(&server, tenant, is_filled);
        panel(&server, tenant, is_filled);
        let refused = server.post(tenant, "query", &[("query", "sum(")]);
        assert_eq!(refused.status, 400);
        assert_eq!(json(&refused)["errorType"], "bad_data");
        assert!(json(&refused)["error"].as_str().unwrap().contains("parse error"));
        let rules = server.get(tenant, "rules", &[("group_limit", "40"), ("type", "alert")]);
        assert_eq!(data(&rules), json!({"groups": []}));
        assert_eq!(data(&server.get(tenant, "alerts", &[])), json!({"alerts": []}));
    }
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
fn eleven_thousand_and_one_points_pass_and_one_more_does_not() {
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
fn a_snappy_block_that_declares_4_gib_is_refused_by_remote_read_without_taking_memory() {
    let server = Server::start();
    let before = server.cumae.rss_bytes();
    let headers = [("X-Scope-OrgID", "filled"), ("Content-Encoding", "snappy")];
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let refused = server.cumae.send("POST", "/api/v1/read", &headers, &bomb);
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(server.cumae.rss_bytes() < before + (64 << 20));
}

#[test]
fn the_contracts_vectors_of_reading_are_what_the_door_takes_and_gives() {
    const UP: &[u8] = b"\x0a\x1e\x08\x80\xd0\x95\xff\xbc1\x10\xe0\xa4\x99\xff\xbc1\x1a\x0e\x12\x08__name__\x1a\x02up\x12\x02\x01\x00";
    const FRAME: &[u8] = b"\x3d\x9f\xf3\x6b\x6d\x0a\x3b\x0a\x0e\x0a\x08__name__\x12\x02up\x12\x29\x08\x80\xd0\x95\xff\xbc\x31\x10\xb0\xba\x97\xff\xbc\x31\x18\x01\x22\x17\x00\x03\x80\xa0\xab\xfe\xf9\x62\x3f\xf0\x00\x00\x00\x00\x00\x00\x98\x75\xc2\x5f\xff\x6d\x06";
    let server = Server::start();
    let at = |n: i64| 1_700_000_000_000 + 15_000 * n;
    let up = Series::new("up", &[], &[(at(0), 1.0), (at(1), 2.0), (at(2), 2.5)]);
    assert_eq!(server.cumae.push_as("vectors", &[up]).status, 204);
    let read = server.read("vectors", UP);
    assert_eq!(read.status, 200, "{}", read.text());
    let media_type = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!(read.header("content-type"), Some(media_type));
    assert_eq!(read.body, FRAME);
    assert_eq!(server.read("empty", UP).body, b"");
}

#[test]
fn no_tenant_sees_another_by_remote_read_federation_statistics_or_counts() {
    let server = Server::start();
    let matches = [("match[]", "{__name__!=\"\"}"), ("label_names[]", "job")];
    for path in [
        "status/tsdb",
        "cardinality/label_names",
        "cardinality/label_values",
        "series/count",
        "series",
    ] {
        assert_eq!(server.get("filled", path, &matches).status, 200, "{path}");
        let theirs = server.get("other", path, &matches).text();
        let nothing = server.get("empty", path, &matches).text();
        assert_eq!(theirs, nothing, "{path}");
        assert!(!theirs.contains("h:1") && !theirs.contains("http.requests"), "{path}: {theirs}");
    }
    let federate = |tenant: &str| {
        let path = format!("/federate?{}", http::form(&matches));
        server.cumae.send("GET", &path, &[("X-Scope-OrgID", tenant)], b"").text()
    };
    assert!(federate("filled").contains("up{instance=\"h:1\",job=\"a\"} 0 "));
    assert_eq!(federate("other"), "");
}

#[test]
fn a_tenant_that_is_deleted_is_found_no_more_and_may_begin_anew_and_others_are_left_alone() {
    let server = Server::start();
    let other = Series::new("up", &[], &[(server.now_s * 1_000, 1.0)]);
    let again = Series::new("again", &[], &[(server.now_s * 1_000 + 600_000, 1.0)]);
    assert_eq!(server.cumae.push_as("other", &[other]).status, 204);
    let status = |tenant: &str| {
        let headers = [("X-Scope-OrgID", tenant)];
        json(&server.cumae.send("GET", "/purger/delete_tenant_status", &headers, b""))
    };
    assert_eq!(status("filled"), json!({"tenant_id": "filled", "blocks_deleted": false}));
    let delete = |tenant: &str| {
        server.cumae.send("POST", "/purger/delete_tenant", &[("X-Scope-OrgID", tenant)], b"").status
    };
    assert_eq!((delete("filled|other"), delete("filled")), (400, 200));
    assert_eq!(status("filled"), json!({"tenant_id": "filled", "blocks_deleted": true}));
    let whole = [("match[]", "{__name__!=\"\"}"), ("start", "0")];
    assert_eq!(data(&server.get("filled", "series", &whole)), json!([]));
    assert_eq!(data(&server.get("other", "series", &whole)).as_array().unwrap().len(), 1);
    assert_eq!(status("other")["blocks_deleted"], false);
    assert!(server.cumae.log().contains("tenant deleted as asked"));
    assert_eq!(server.cumae.push_as("filled", &[again]).status, 204);
    assert_eq!(data(&server.get("filled", "series", &whole)).as_array().unwrap().len(), 1);
}

#[test]
fn a_tenants_activity_is_its_own_and_only_operators_see_all() {
    let server = Server::start();
    let of = |tenant: &str| json(&server.get(tenant, "user_stats", &[]));
    assert_eq!(
        (of("filled")["numSeries"].clone(), of("empty")["numSeries"].clone()),
        (3.into(), 0.into())
    );
    for key in ["ingestionRate", "APIIngestionRate", "RuleIngestionRate"] {
        assert!(of("filled")[key].is_number(), "{key}");
    }
    let all = |headers: &[(&str, &str)]| {
        server.cumae.send("GET", "/distributor/all_user_stats", headers, b"")
    };
    assert_eq!(all(&[("X-Scope-OrgID", "filled")]).status, 403);
    for path in ["/config", "/runtime_config"] {
        assert_eq!(server.cumae.get(path).status, 403, "{path}");
    }
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
