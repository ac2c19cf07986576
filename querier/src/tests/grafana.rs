//! What a Grafana datasource calls (CONTRACTS.md section 11), on an empty and on a filled tenant.

use super::support::{Data, Server, filled};
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value as Json, json};

fn both() -> [Server; 2] {
    [Server::single(Data::default()), Server::single(filled())]
}

#[tokio::test]
async fn save_and_test_gets_its_scalar_and_the_level_of_the_api() {
    for server in both() {
        let got = server.post("query", &[("query", "1+1"), ("time", "4")]).await;
        assert_eq!(got.data(), json!({"resultType": "scalar", "result": [4, "2"]}));
        let buildinfo = server.get("status/buildinfo", &[]).await.data();
        assert_eq!(buildinfo["version"], "3.14.0");
        assert_eq!(buildinfo["application"], "cumae");
        assert!(buildinfo.get("features").is_none());
    }
}

#[tokio::test]
async fn opening_a_datasource_gets_the_empty_answers_it_probes_for() {
    for server in both() {
        let rules = server.get("rules", &[("group_limit", "40"), ("type", "alert")]).await;
        assert_eq!(rules.data(), json!({"groups": []}));
        assert_eq!(server.get("rules", &[]).await.data(), json!({"groups": []}));
        assert_eq!(server.get("alerts", &[]).await.data(), json!({"alerts": []}));
        let millis = [("query", "test"), ("start", "1700000000000"), ("end", "1700003600000")];
        assert_eq!(server.get("query_exemplars", &millis).await.data(), json!([]));
        assert_eq!(server.post("query_exemplars", &millis).await.data(), json!([]));
        let none = server.get("query_exemplars", &[("query", "1+1")]).await;
        assert_eq!((none.status.as_u16(), none.body.len()), (204, 0));
        assert!(server.get("metadata", &[]).await.data().is_object());
        assert!(server.get("metadata", &[("limit", "40000")]).await.data().is_object());
    }
}

#[tokio::test]
async fn picking_a_metric_gets_names_values_and_series() {
    let range = [("start", "1699996400"), ("end", "1700000000")];
    let with = |more: &[(&'static str, &'static str)]| [&range, more].concat();
    let [empty, full] = both();

    let values = with(&[("limit", "40000")]);
    assert_eq!(empty.get("label/__name__/values", &values).await.data(), json!([]));
    assert_eq!(
        full.get("label/__name__/values", &values).await.data(),
        json!(["c_total", "http.requests", "up"])
    );
    let names = with(&[("match[]", "{__name__=\"up\"}"), ("limit", "40000")]);
    assert_eq!(empty.post("labels", &names).await.data(), json!([]));
    assert_eq!(full.post("labels", &names).await.data(), json!(["__name__", "instance", "job"]));
    let series = with(&[("match[]", "{__name__!=\"\"}")]);
    assert_eq!(empty.post("series", &series).await.data(), json!([]));
    assert_eq!(full.post("series", &series).await.data().as_array().unwrap().len(), 4);
    let trailing = [("match[]", "{__name__=~\".+\",}")];
    assert_eq!(empty.get("labels", &trailing).await.data(), json!([]));
    assert_eq!(
        full.get("labels", &trailing).await.data(),
        json!(["__name__", "http.method", "instance", "job"])
    );
    let dotted = [("match[]", "{\"http.requests\"}")];
    assert_eq!(empty.get("label/U__http_2e_method/values", &dotted).await.data(), json!([]));
    assert_eq!(full.get("label/U__http_2e_method/values", &dotted).await.data(), json!(["GET"]));
    assert_eq!(full.post("label/job/values", &[]).await.status, 405);
}

fn points(data: &Json) -> Vec<Json> {
    data["result"][0]["values"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_panels_old_points_never_move() {
    let [empty, full] = both();
    let ask = |end: &'static str| {
        let query = ("query", "sum by (job) (rate(c_total[5m]))");
        [query, ("start", "1699996500"), ("end", end), ("step", "60")]
    };
    let whole = full.post("query_range", &ask("1699999980")).await.data();
    assert_eq!(whole["resultType"], "matrix");
    let shorter = full.post("query_range", &ask("1699999380")).await.data();
    let (whole, shorter) = (points(&whole), points(&shorter));
    assert!(shorter.len() > 40 && whole.len() == shorter.len() + 10);
    assert_eq!(whole[..shorter.len()], shorter);
    assert_eq!(
        empty.post("query_range", &ask("1699999980")).await.data(),
        json!({"resultType": "matrix", "result": []})
    );
}

#[tokio::test]
async fn a_panel_that_accepts_gzip_gets_gzip() {
    let server = Server::single(filled());
    let uri = "/api/v1/query_range?query=up&start=1699996500&end=1699999980&step=60";
    let request = Request::get(uri).header("accept-encoding", "gzip").body(Body::empty());
    let got = server.send(request.unwrap()).await;
    assert_eq!(got.header("content-encoding"), "gzip");
    assert_eq!(got.header("content-type"), "application/json");
    let vary = got.header("vary").to_lowercase();
    assert!(vary.contains("accept-encoding") && vary.contains("origin"), "{vary}");
    assert_eq!(got.body[..2], [0x1f, 0x8b]);
    let plain = server.send(Request::get(uri).body(Body::empty()).unwrap()).await;
    assert_eq!(plain.header("content-encoding"), "");
    assert!(got.body.len() < plain.body.len() / 2);
    assert_eq!(plain.data()["result"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_broken_query_is_a_json_error_whose_text_can_be_shown() {
    for server in both() {
        let (status, kind, text) = server.post("query", &[("query", "sum(")]).await.error();
        assert_eq!((status, kind.as_str()), (400, "bad_data"));
        assert!(text.starts_with("invalid parameter \"query\": 1:"), "{text}");
        assert!(text.contains(": parse error: "), "{text}");
    }
}

#[tokio::test]
async fn the_same_answers_stand_under_every_prefix() {
    let server = Server::single(filled());
    let paths = [
        "query?query=up&time=1700000000",
        "query_range?query=up&start=0&end=1&step=1",
        "labels",
        "label/job/values",
        "series?match[]=up",
        "metadata",
        "rules",
        "alerts",
        "status/flags",
    ];
    for path in paths {
        let mut seen = Vec::new();
        for prefix in crate::PREFIXES {
            let uri = format!("{prefix}/api/v1/{path}");
            let got = server.send(Request::get(&uri).body(Body::empty()).unwrap()).await;
            assert_eq!(got.status, 200, "{uri}: {}", got.text());
            seen.push(got.body);
        }
        assert!(seen.windows(2).all(|two| two[0] == two[1]), "{path}");
    }
}

/// Every place in a JSON value that holds `null`.
fn nulls(json: &Json) -> usize {
    match json {
        Json::Null => 1,
        Json::Array(items) => items.iter().map(nulls).sum(),
        Json::Object(fields) => fields.values().map(nulls).sum(),
        _ => 0,
    }
}

#[tokio::test]
async fn no_handler_answers_null() {
    let paths = [
        "query?query=up",
        "query?query=up[5m]",
        "query?query=nothing",
        "query?query=1&stats=all",
        "query_range?query=up&start=0&end=1&step=1",
        "query_exemplars?query=up",
        "format_query?query=up",
        "labels",
        "label/none/values",
        "series?match[]=none",
        "metadata",
        "metadata?metric=none",
        "rules",
        "alerts",
        "targets",
        "targets/metadata",
        "scrape_pools",
        "alertmanagers",
        "notifications",
        "features",
        "status/buildinfo",
        "status/runtimeinfo",
        "status/config",
        "status/flags",
        "status/walreplay",
    ];
    for server in both() {
        for path in paths {
            let uri = format!("/api/v1/{path}");
            let got = server.send(Request::get(&uri).body(Body::empty()).unwrap()).await;
            assert_eq!(got.header("content-type"), "application/json", "{path}");
            assert_eq!(nulls(&got.data()), 0, "{path}: {}", got.text());
            assert!(!got.data().is_null(), "{path}");
        }
    }
}

#[tokio::test]
async fn metadata_is_filtered_and_cut() {
    let server = Server::single(filled());
    let counter = json!([{"type": "counter", "help": "Things \"counted\".", "unit": ""}]);
    let gauge = json!([{"type": "gauge", "help": "", "unit": ""}]);
    assert_eq!(server.get("metadata", &[]).await.data(), json!({"c_total": counter, "up": gauge}));
    assert_eq!(server.get("metadata", &[("metric", "up")]).await.data(), json!({"up": gauge}));
    assert_eq!(server.get("metadata", &[("limit", "1")]).await.data(), json!({"c_total": counter}));
    for key in ["limit", "limit_per_metric"] {
        let error = server.get("metadata", &[(key, "x")]).await.error();
        assert_eq!(error, (400, "bad_data".to_owned(), format!("{key} must be a number")));
    }
}
