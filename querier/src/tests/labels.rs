//! `labels`, `label/{name}/values`, `series`: the rules of CONTRACTS.md 4.3, and tenants apart.

use super::support::{Data, Memory, Server, filled};
use axum::body::Body;
use axum::http::Request;
use guard::{Limits, Tenancy};
use model::mutation::MetricType;
use serde_json::json;

#[tokio::test]
async fn several_selectors_are_a_union() {
    let server = Server::single(filled());
    let union = [("match[]", "up{job=\"b\"}"), ("match[]", "c_total"), ("match[]", "none")];
    let recent = [&union[..], &[("start", "1699999000")]].concat();
    assert_eq!(server.get("label/job/values", &recent).await.data(), json!(["a", "b"]));
    assert_eq!(
        server.get("series", &recent).await.data(),
        json!([
            {"__name__": "c_total", "instance": "h:1", "job": "a"},
            {"__name__": "up", "instance": "h:2", "job": "b"}
        ])
    );
    assert_eq!(
        server.post("labels", &[("match[]", "{\"http.requests\"}")]).await.data(),
        json!(["__name__", "http.method", "job"])
    );
}

#[tokio::test]
async fn a_selector_needs_a_matcher_that_does_not_match_nothing() {
    let server = Server::single(filled());
    let text = "match[] must contain at least one non-empty matcher";
    for selector in ["{job=\"\"}", "{job=~\".*\"}", "{job!=\"a\"}", "{x!~\"y\"}"] {
        for path in ["labels", "label/job/values"] {
            let error = server.get(path, &[("match[]", "up"), ("match[]", selector)]).await.error();
            assert_eq!(error, (400, "bad_data".to_owned(), text.to_owned()), "{path} {selector}");
        }
        let error = server.get("series", &[("match[]", selector)]).await.error();
        assert_eq!(error.2, format!("invalid parameter \"match[]\": {text}"));
    }
    for selector in
        ["{__name__!=\"\"}", "{__name__=~\".+\",}", "{__name__=~\".*http.*\"}", "{\"a.b\"=\"c\"}"]
    {
        assert_eq!(server.get("labels", &[("match[]", selector)]).await.status, 200, "{selector}");
        assert_eq!(server.get("series", &[("match[]", selector)]).await.status, 200, "{selector}");
    }
}

#[tokio::test]
async fn series_need_a_selector() {
    let server = Server::single(filled());
    let error = server.get("series", &[]).await.error();
    assert_eq!(error, (400, "bad_data".to_owned(), "no match[] parameter provided".to_owned()));
}

#[tokio::test]
async fn start_and_end_hide_series_without_a_sample_between_them() {
    let server = Server::single(filled());
    let all = [("match[]", "{job=~\".+\"}")];
    assert_eq!(server.get("series", &all).await.data().as_array().unwrap().len(), 5);
    let old = [("match[]", "{job=~\".+\"}"), ("end", "1699500000")];
    assert_eq!(
        server.get("series", &old).await.data(),
        json!([{"__name__": "old", "job": "gone"}])
    );
    assert_eq!(server.get("label/job/values", &old[1..]).await.data(), json!(["gone"]));
    let backwards = [("match[]", "up"), ("start", "2"), ("end", "1")];
    assert_eq!(server.get("series", &backwards).await.data(), json!([]));
}

#[tokio::test]
async fn escaped_names_are_read_and_malformed_ones_are_just_unknown() {
    let server = Server::single(filled());
    let values = async |path: &str| server.get(path, &[]).await.data();
    assert_eq!(values("label/U__http_2e_method/values").await, json!(["GET"]));
    assert_eq!(values("label/http.method/values").await, json!(["GET"]));
    assert_eq!(values("label/http%2Emethod/values").await, json!(["GET"]));
    for unknown in ["U__http_zz_method", "U__http_2e", "nothing", "%C3%A9"] {
        assert_eq!(values(&format!("label/{unknown}/values")).await, json!([]));
    }
    for bad in ["U__", "%FF"] {
        assert_eq!(server.get(&format!("label/{bad}/values"), &[]).await.error().0, 400);
    }
}

#[tokio::test]
async fn a_tenant_never_sees_anothers_names_on_any_route() {
    let secret = |name: &str| {
        Data::default()
            .series(
                &[("__name__", name), (&format!("l_{name}"), &format!("v_{name}"))],
                &[(1, 1.0)],
            )
            .metadata(name, MetricType::Gauge, name)
    };
    let tenants = [("t1".to_owned(), secret("alpha")), ("t2".to_owned(), secret("beta"))];
    let memory = Memory { tenants: tenants.into(), ..Memory::default() };
    let server = Server::new(memory, Tenancy::Multi, Limits::default());
    let paths = [
        "query?query={__name__!=\"\"}",
        "query?query=alpha%20or%20beta",
        "query?query={__name__!=\"\"}[1h]",
        "query?query=count_values(\"v\",%20{__name__!=\"\"})",
        "query_range?query={__name__!=\"\"}&start=1699999990&end=1700000000&step=5",
        "query_exemplars?query={__name__!=\"\"}",
        "labels",
        "labels?match[]={__name__!=\"\"}",
        "label/__name__/values",
        "label/l_alpha/values",
        "label/l_beta/values",
        "series?match[]={__name__!=\"\"}",
        "metadata",
        "metadata?metric=alpha",
        "rules",
        "alerts",
        "targets",
        "status/flags",
        "status/runtimeinfo",
        "status/buildinfo",
        "status/config",
    ];
    let mut seen = 0;
    for path in paths {
        for (tenant, own, other) in [("t1", "alpha", "beta"), ("t2", "beta", "alpha")] {
            let uri = format!("/api/v1/{}", path.replace('"', "%22"));
            let request = Request::get(&uri).header("x-scope-orgid", tenant).body(Body::empty());
            let got = server.send(request.unwrap()).await;
            assert!(!got.text().contains(other), "{tenant} {path}: {}", got.text());
            seen += usize::from(got.text().contains(own));
        }
    }
    assert!(seen >= 20, "the tenants do see their own names: {seen}");
}

#[tokio::test]
async fn with_many_tenants_a_request_names_one() {
    let server = Server::new(Memory::default(), Tenancy::Multi, Limits::default());
    let got = server.get("labels", &[]).await;
    assert_eq!(got.header("www-authenticate"), "Bearer");
    assert_eq!(got.error(), (401, "unauthorized".to_owned(), "no org id".to_owned()));
    let request = Request::get("/api/v1/labels").header("x-scope-orgid", "../x");
    let got = server.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(got.error().0, 400);

    let alone = Server::single(filled());
    let request = Request::get("/api/v1/labels").header("x-scope-orgid", "other");
    let got = alone.send(request.body(Body::empty()).unwrap()).await;
    let (status, kind, _) = got.error();
    assert_eq!((status, kind.as_str()), (403, "forbidden"));
}

#[tokio::test]
async fn dashboards_that_probe_rules_of_several_tenants_are_not_refused() {
    let server = Server::new(Memory::default(), Tenancy::Multi, Limits::default());
    for path in ["rules", "alerts"] {
        let request = Request::get(format!("/api/v1/{path}")).header("x-scope-orgid", "a|b");
        let got = server.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(got.status, 200, "{}", got.text());
    }
}
