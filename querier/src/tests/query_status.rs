//! The queries that run, the heaviest of late, stopping one, and how soon a caller who leaves is
//! noticed.

use super::support::{Data, Memory, NOW_MS, Server, filled, one_tenant};
use axum::body::Body;
use axum::http::Request;
use futures_util::FutureExt as _;
use guard::{Limit, Limits, QueryLimits, Tenancy};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

fn tenants(names: &[&str]) -> BTreeMap<String, Data> {
    names.iter().map(|name| ((*name).to_owned(), filled())).collect()
}

fn request(method: &str, path: &str, tenant: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(format!("/api/v1/{path}"));
    request.header("X-Scope-OrgID", tenant).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_running_query_is_listed_for_its_tenant_and_stopped_by_its_id() {
    let memory = Memory { stuck: true, tenants: tenants(&["a", "b"]), ..Memory::default() };
    let waiting = memory.waiting.clone();
    let server = Server::new(memory, Tenancy::Multi, Limits::default());
    let path = "query_range?query=up&start=1699999000&end=1700000000&step=60";
    let mut query = Box::pin(server.send(request("GET", path, "a")));
    while waiting.load(Ordering::SeqCst) == 0 {
        assert!((&mut query).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    let active =
        async |tenant| server.send(request("GET", "status/active_queries", tenant)).await.data();
    assert_eq!(active("b").await, json!([]));
    let listed = active("a").await;
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["query"], "up");
    assert_eq!(listed[0]["start"], NOW_MS - 1_000_000);
    assert_eq!((&listed[0]["end"], &listed[0]["step"]), (&json!(NOW_MS), &json!(60_000)));
    assert_eq!(listed[0]["state"], "running");
    assert!(listed[0]["durationSeconds"].as_f64().unwrap() > 0.0);

    let stop = format!("status/active_queries/{id}");
    for (method, path, tenant, status) in [
        ("DELETE", stop.as_str(), "b", 404),
        ("DELETE", "status/active_queries/0123456789abcdef", "a", 404),
        ("DELETE", "status/active_queries/x", "a", 404),
        ("GET", stop.as_str(), "a", 405),
    ] {
        let got = server.send(request(method, path, tenant)).await;
        assert_eq!(got.status, status, "{method} {path} {tenant}");
    }
    assert!((&mut query).now_or_never().is_none());
    assert_eq!(server.send(request("DELETE", &stop, "a")).await.status, 204);
    let (status, kind, text) = query.await.error();
    assert_eq!((status, kind.as_str()), (499, "canceled"));
    assert_eq!(text, "query was canceled in query execution");
    assert_eq!(active("a").await, json!([]));
    while waiting.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_query_that_waits_for_its_turn_is_listed_as_waiting() {
    let memory = Memory { stuck: true, tenants: tenants(&["default"]), ..Memory::default() };
    let query = QueryLimits { max_concurrency: Limit(1), ..QueryLimits::default() };
    let server = Server::new(memory, one_tenant(), Limits { query, ..Limits::default() });
    let mut first = Box::pin(server.get("query", &[("query", "up")]));
    let mut second = Box::pin(server.get("query", &[("query", "c_total")]));
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());
    let listed = server.get("status/active_queries", &[]).await.data();
    let state = |text: &str| {
        let all = listed.as_array().unwrap().iter();
        all.filter(|one| one["query"] == text).map(|one| one["state"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(state("c_total"), ["waiting"]);
    drop(second);
    drop(first);
    assert_eq!(server.get("status/active_queries", &[]).await.data(), json!([]));
}

#[tokio::test]
async fn the_heaviest_queries_are_ranked_by_count_time_and_samples() {
    let server = Server::single(filled());
    for _ in 0..3 {
        server.get("query", &[("query", "1")]).await.data();
    }
    server.get("query", &[("query", "up[1h]")]).await.data();
    let range = [("start", "1699999000"), ("end", "1700000000"), ("step", "60")];
    server.get("query_range", &[&[("query", "1")], &range[..]].concat()).await.data();
    server.get("query", &[("query", "sum(")]).await.error();

    let top = server.get("status/top_queries", &[("topN", "2")]).await.data();
    assert_eq!((&top["topN"], &top["maxLifetimeSeconds"]), (&json!(2), &json!(600)));
    let first = |key: &str| top[key][0].clone();
    assert_eq!(
        (&first("topByCount")["query"], &first("topByCount")["count"]),
        (&json!("1"), &json!(3))
    );
    assert_eq!(first("topByCount")["timeRangeSeconds"], 0);
    let heaviest = first("topBySamplesRead");
    assert_eq!((&heaviest["query"], &heaviest["samplesRead"]), (&json!("up[1h]"), &json!(120)));
    for key in ["topByCount", "topByAvgDuration", "topBySumDuration", "topBySamplesRead"] {
        assert_eq!(top[key].as_array().unwrap().len(), 2, "{key}");
        assert!(top[key][0]["sumDurationSeconds"].as_f64() > Some(0.0), "{key}");
    }
    let all = server.get("status/top_queries", &[]).await.data();
    let texts = |list: &Json| -> Vec<Json> {
        list.as_array().unwrap().iter().map(|one| one["query"].clone()).collect()
    };
    assert!(texts(&all["topByCount"]).contains(&json!("sum(")), "also one that failed");
    let none = server.get("status/top_queries", &[("maxLifetime", "0")]).await.data();
    assert_eq!(none["topByCount"], json!([]));
    for bad in [("topN", "0"), ("topN", "x"), ("topN", "1001"), ("maxLifetime", "x")] {
        assert_eq!(server.get("status/top_queries", &[bad]).await.error().0, 400, "{bad:?}");
    }
}

/// Queries that take ten seconds or longer, each in another part of the engine.
const TEN_SECONDS: &[&str] = &[
    "sum_over_time(sin(vector(time()))[6h:150ms])",
    "deriv(vector(time())[6h:150ms])",
    "stddev_over_time((sum by (job) (up) * 2)[6h:400ms])",
    "max_over_time(deriv(vector(time())[3h:1s])[20m:100ms])",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_connection_of_a_ten_second_query_ends_its_work_within_100_ms() {
    let query =
        QueryLimits { max_samples: Limit(0), max_concurrency: Limit(1), ..QueryLimits::default() };
    let memory = Memory { tenants: tenants(&["default"]), ..Memory::default() };
    let server = Server::new(memory, one_tenant(), Limits { query, ..Limits::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(axum::serve(listener, server.router()).into_future());
    for query in TEN_SECONDS {
        let mut times = Vec::new();
        for _ in 0..3 {
            times.push(left_after_150_ms(&server, address, query).await);
        }
        // A busy machine may delay one of them.
        times.sort();
        println!("{query}: {times:?}");
        assert!(times[1] < Duration::from_millis(100), "{query}: {times:?}");
    }
    serving.abort();
}

/// How long a query's work goes on after its caller has closed the connection.
async fn left_after_150_ms(
    server: &Server,
    address: std::net::SocketAddr,
    query: &str,
) -> Duration {
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let params = [("query", query), ("start", "1699989001"), ("end", "1700000000"), ("step", "1")];
    let path = format!("/api/v1/query_range?{}", super::support::encode(&params));
    let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let state = async || {
        let listed = server.get("status/active_queries", &[]).await.data();
        listed[0]["state"].as_str().map(str::to_owned)
    };
    while state().await.as_deref() != Some("running") {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(state().await.as_deref(), Some("running"), "{query} is over too soon");
    let left = Instant::now();
    drop(client);
    // There is one place, so the next query runs when the work of the last has really ended.
    server.get("query", &[("query", "1")]).await.data();
    left.elapsed()
}
