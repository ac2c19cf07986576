//! Hostile and mistaken requests: the right answer, at once.

use super::support::{Data, Memory, Server, encode, filled, form};
use axum::body::Body;
use axum::http::Request;
use std::time::Duration;

/// Answers come well within this, also on a busy machine and without optimisation.
const AT_ONCE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn hostile_queries_are_refused_at_once() {
    let server = Server::single(Data::default());
    let nested = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    let table = [
        (
            "",
            "invalid parameter \"query\": unknown position: parse error: no expression found in input",
        ),
        (&*nested, "invalid parameter \"query\": 1:"),
        (&"(".repeat(400_000), "invalid parameter \"query\": 1:"),
        (&"-".repeat(400_000), "invalid parameter \"query\": 1:"),
        (&"x".repeat(1 << 20), "invalid parameter \"query\": the query has 1048576 bytes"),
        ("up{job=~\"(a{1000}){1000}\"}", "invalid parameter \"query\": 1:"),
    ];
    for (query, refusal) in table {
        for path in ["query", "format_query", "query_exemplars"] {
            let request = form(path, &[("query", query)]);
            let started = tokio::time::Instant::now();
            let got = server.send(request).await;
            let took = started.elapsed();
            let (status, kind, text) = got.error();
            assert_eq!((status, kind.as_str()), (400, "bad_data"), "{path}");
            // Exemplars' refusals of a query do not name the parameter.
            let bare = refusal.trim_start_matches("invalid parameter \"query\": ");
            let as_said =
                text.starts_with(refusal) || (path == "query_exemplars" && text.starts_with(bare));
            assert!(as_said, "{path}: {text:.200}");
            assert!(text.len() < 4_096, "{}", text.len());
            assert!(took < AT_ONCE, "{path} took {took:?} for {} bytes", query.len());
        }
    }
}

#[tokio::test]
async fn a_form_that_is_too_large_is_413_and_a_broken_one_400() {
    let server = Server::single(Data::default());
    let got = server.post("query", &[("query", &"x".repeat(3 << 20))]).await;
    let (status, kind, _) = got.error();
    assert_eq!((status, kind.as_str()), (413, "bad_data"));
    for form in ["query=%zz", "query=%ff%fe", "%=1"] {
        let request = Request::post("/api/v1/query")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form));
        let error = server.send(request.unwrap()).await.error();
        assert_eq!(error.0, 400, "{form}");
        assert!(error.2.starts_with("error parsing form values: "), "{}", error.2);
    }
}

#[tokio::test]
async fn an_unknown_path_is_404_and_a_wrong_method_405() {
    let server = Server::single(Data::default());
    for path in
        ["/api/v1/nothing", "/api/v2/query", "/x", "/api/v1/query/", "/api/v1/search/labels"]
    {
        let got = server.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(
            (got.status.as_u16(), got.text().trim_end()),
            (404, "404 page not found"),
            "{path}"
        );
    }
    let table = [("DELETE", "query"), ("POST", "metadata"), ("PUT", "labels"), ("POST", "rules")];
    for (method, path) in table {
        let request = Request::builder().method(method).uri(format!("/api/v1/{path}"));
        let got = server.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(got.status, 405, "{path}");
        let allow = got.header("allow");
        assert!(allow.contains("GET"), "{path}: {allow:?}");
        assert_eq!(
            allow.contains("POST"),
            ["query", "labels"].contains(&path),
            "{path}: {allow:?}"
        );
    }
}

#[tokio::test]
async fn browsers_learn_whether_they_may_call() {
    let server = Server::single(filled());
    let send = async |method: &str, origin: &str| {
        let request = Request::builder().method(method).uri("/api/v1/labels");
        let request = request.header("origin", origin).body(Body::empty());
        server.send(request.unwrap()).await
    };
    let preflight = send("OPTIONS", "https://grafana.example").await;
    assert_eq!((preflight.status.as_u16(), preflight.body.len()), (204, 0));
    assert_eq!(preflight.header("access-control-allow-origin"), "https://grafana.example");
    let got = send("GET", "https://grafana.example").await;
    assert_eq!(got.status, 200);
    for answer in [&preflight, &got] {
        assert_eq!(answer.header("access-control-allow-methods"), "GET, POST, OPTIONS");
        assert!(answer.header("access-control-allow-headers").contains("X-Scope-OrgID"));
        assert_eq!(answer.header("access-control-expose-headers"), "Date, Retry-After");
        assert!(answer.header("vary").contains("Origin"));
    }
    let other = send("GET", "https://evil.example").await;
    assert_eq!(other.header("access-control-allow-origin"), "");
    let plain = server.get("labels", &[]).await;
    assert!(plain.header("vary").contains("Origin"));
    assert_eq!(plain.header("access-control-allow-methods"), "");
}

#[tokio::test]
async fn the_page_names_version_and_tenant_under_every_prefix() {
    let server = Server::single(Data::default());
    for path in ["/", "/prometheus", "/prometheus/", "/api/prom", "/api/prom/"] {
        let got = server.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(got.status, 200, "{path}");
        assert!(got.text().contains("0.1.0-test") && got.text().contains("default"));
        assert!(got.header("content-type").starts_with("text/html"));
        let head = server.send(Request::head(path).body(Body::empty()).unwrap()).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0), "{path}");
    }
}

#[tokio::test]
async fn the_page_asks_those_for_a_tenant_who_name_none() {
    let server = Server::new(Memory::default(), guard::Tenancy::Multi, guard::Limits::default());
    let got = server.send(Request::get("/").body(Body::empty()).unwrap()).await;
    assert_eq!(got.status, 200);
    assert!(got.text().contains("X-Scope-OrgID"));
}

#[tokio::test]
async fn times_at_the_ends_of_the_calendar_break_nothing() {
    let server = Server::single(filled());
    let ends = ["9223372036854774", "-9223372036854774", "292277025-08-18T07:12:54.999999999Z"];
    let queries = [
        "up",
        "up offset 1y",
        "up offset -1y",
        "rate(up[5m])",
        "max_over_time(up[1y:1d])",
        "up @ 9223372036854",
        "time()",
        "timestamp(up)",
        "day_of_month()",
        "up @ start()",
        "absent_over_time(up[100y])",
        "up[5m]",
    ];
    for at in ends {
        for query in queries {
            let got = server.get("query", &[("query", query), ("time", at)]).await;
            assert!(got.status == 200 || got.status == 422, "{query} {at}: {}", got.text());
            let range = [("query", query), ("start", at), ("end", at), ("step", "1y")];
            let got = server.get("query_range", &range).await;
            assert!(got.status.as_u16() < 500, "{query} {at}: {}", got.text());
        }
    }
}

#[tokio::test]
async fn selectors_that_are_costly_to_compile_are_bounded() {
    let server = Server::single(Data::default());
    let long = format!("{{a=\"{}\"}}", "x".repeat(600 << 10));
    for path in ["labels", "series"] {
        let error = server.post(path, &[("match[]", &long)]).await.error();
        assert_eq!(error.0, 400, "{path}");
        assert!(error.2.contains("query.max_text_bytes"), "{}", error.2);
        let bomb = server.post(path, &[("match[]", "{a=~\"(b{1000}){1000}\"}")]).await;
        assert_eq!(bomb.error().0, 400, "{path}");
    }
}

#[tokio::test]
async fn the_configuration_is_for_operators() {
    let server = Server::single(Data::default());
    assert_eq!(server.get("status/config", &[]).await.data()["yaml"], "tenancy: single\n");
    let many = Server::new(Memory::default(), guard::Tenancy::Multi, guard::Limits::default());
    let request = Request::get(format!("/api/v1/status/config?{}", encode(&[])));
    let request = request.header("x-scope-orgid", "a").body(Body::empty()).unwrap();
    assert_eq!(many.send(request).await.error().0, 403);
}

#[tokio::test]
async fn the_deepest_and_the_longest_legal_queries_are_answered() {
    let server = Server::single(filled());
    let wrap = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let queries = [
        wrap("(", "up", ")", 120),
        wrap("abs(", "up", ")", 60),
        wrap("sum(", "up", ")", 60),
        wrap("-(", "up", ")", 60),
        wrap("max_over_time(", "up", "[2m:1m])", 40),
        format!("up{}", " or up".repeat(20_000)),
        format!("0{}", "+0".repeat(200_000)),
        format!("sum(up) > bool 1{}", " or vector(1)".repeat(10_000)),
    ];
    for query in &queries {
        let got = server.send(form("query", &[("query", query)])).await;
        assert_eq!(got.status, 200, "{query:.40}: {:.300}", got.text());
    }
}

#[tokio::test]
async fn queries_that_would_take_more_than_they_may_are_422() {
    let server = Server::single(filled());
    let queries = [
        "max_over_time(up[1y:1ms])",
        "max_over_time(max_over_time(up[1y:1s])[1y:1s])",
        "count_over_time(vector(1)[100y:1ms])",
        "up + on () up",
    ];
    for query in queries {
        let (status, kind, text) = server.get("query", &[("query", query)]).await.error();
        assert_eq!((status, kind.as_str()), (422, "execution"), "{query}: {text}");
    }
}
