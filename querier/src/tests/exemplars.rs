//! `query_exemplars`: CONTRACTS.md 4.4.

use super::support::*;
use guard::{Limit, Limits, QueryLimits, Tenancy};
use model::Kind;
use promql::SourceError;
use serde_json::json;

fn traced() -> Data {
    filled()
        .exemplars(
            &[("__name__", "c_total"), ("job", "a")],
            &[(20, 0.5, "t1"), (10, f64::INFINITY, "t2\"")],
        )
        .exemplars(&[("__name__", "up"), ("job", "a")], &[(0, 1e-7, "t3")])
        .exemplars(&[("__name__", "other")], &[(0, 1.0, "t4")])
}

#[tokio::test]
async fn the_exemplars_of_every_selector_come_by_series_and_time() {
    let server = Server::single(traced());
    let query = "rate(c_total{job=\"a\"}[5m]) > on () max_over_time(up[5m:1m]) or -nothing";
    let expected = r#"[{"seriesLabels":{"__name__":"c_total","job":"a"},"exemplars":[{"labels":{"trace_id":"t1"},"value":"0.5","timestamp":1699999980},{"labels":{"trace_id":"t2\""},"value":"+Inf","timestamp":1699999990}]},{"seriesLabels":{"__name__":"up","job":"a"},"exemplars":[{"labels":{"trace_id":"t3"},"value":"1e-07","timestamp":1700000000}]}]"#;
    let expected = format!("{{\"status\":\"success\",\"data\":{expected}}}");
    assert_eq!(server.get("query_exemplars", &[("query", query)]).await.text(), expected);
    assert_eq!(server.post("query_exemplars", &[("query", query)]).await.text(), expected);
}

#[tokio::test]
async fn start_and_end_are_both_inside() {
    let server = Server::single(traced());
    let count = async |start: &str, end: &str| {
        let params = [("query", "c_total"), ("start", start), ("end", end)];
        let data = server.get("query_exemplars", &params).await.data();
        data[0]["exemplars"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(count("1699999980", "1699999990").await, 2);
    assert_eq!(count("1699999980.001", "1699999990").await, 1);
    assert_eq!(count("1699999980", "1699999989.999").await, 1);
    assert_eq!(count("1699999981", "1699999989").await, 0);
}

#[tokio::test]
async fn a_query_without_a_selector_has_no_body_and_one_without_an_exemplar_an_empty_list() {
    let server = Server::single(traced());
    let none = server.get("query_exemplars", &[("query", "1 + time()")]).await;
    assert_eq!((none.status.as_u16(), none.text()), (204, ""));
    let empty = server.get("query_exemplars", &[("query", "http_requests_total")]).await;
    assert_eq!(empty.data(), json!([]));
}

#[tokio::test]
async fn no_tenant_sees_the_exemplars_of_another() {
    let tenants = [("a".to_owned(), traced()), ("b".to_owned(), filled())].into();
    let memory = Memory { tenants, ..Memory::default() };
    let server = Server::new(memory, Tenancy::Multi, Limits::default());
    let ask = async |tenant: &str| {
        let request = axum::http::Request::get("/api/v1/query_exemplars?query=up")
            .header("X-Scope-OrgID", tenant)
            .body(axum::body::Body::empty());
        server.send(request.unwrap()).await.data()
    };
    assert_eq!(ask("a").await.as_array().unwrap().len(), 1);
    assert_eq!(ask("b").await, json!([]));
}

#[tokio::test]
async fn a_source_that_says_too_many_is_422_and_names_the_limit() {
    let fault = SourceError { kind: Kind::Unexecutable, message: "more than 7".to_owned() };
    let memory = Memory { fault: Some(fault), ..Memory::default() };
    let query = QueryLimits { max_samples: Limit(7), ..QueryLimits::default() };
    let server = Server::new(memory, one_tenant(), Limits { query, ..Limits::default() });
    let (status, kind, text) = server.get("query_exemplars", &[("query", "up")]).await.error();
    assert_eq!((status, &*kind), (422, "execution"));
    assert_eq!(text, "more than 7: limit `max_query_samples` 7 of tenant `default`");
}
