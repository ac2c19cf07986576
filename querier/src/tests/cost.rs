//! What queries cost, told: `explain`, `stats`, `trace`; and what they may not have: memory.

use super::support::{Memory, NOW_MS, Server, encode, filled, one_tenant};
use crate::Settings;
use axum::body::Body;
use axum::http::Request;
use guard::Limits;
use http_body_util::BodyExt as _;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tower::ServiceExt as _;

fn memory() -> Memory {
    let tenants = [("default".to_owned(), filled())].into();
    Memory { tenants, version: Arc::new(AtomicU64::new(1)), ..Memory::default() }
}

fn server() -> Server {
    Server::new(memory(), one_tenant(), Limits::default())
}

/// The last ten minutes, by the minute.
const RANGE: [(&str, &str); 3] = [("start", "1699999400"), ("end", "1700000000"), ("step", "60")];

async fn range(server: &Server, query: &str, more: &[(&str, &str)]) -> Json {
    let params = [&[("query", query)], &RANGE[..], more].concat();
    server.get("query_range", &params).await.data()
}

#[tokio::test]
async fn stats_count_the_samples_that_each_step_looks_at() {
    let server = server();
    let stats = range(&server, "rate(c_total[5m])", &[("stats", "all")]).await["stats"].clone();
    let steps = stats["samples"]["totalQueryableSamplesPerStep"].as_array().unwrap().clone();
    assert_eq!(steps.len(), 11);
    // Samples come at full minutes before now, and so do the steps: each sees five.
    assert_eq!((&steps[0], &steps[10]), (&json!([1_699_999_400, 5]), &json!([1_700_000_000, 5])));
    assert_eq!(stats["samples"]["totalQueryableSamples"], 55);
    assert_eq!(stats["samples"]["peakSamples"].as_u64(), Some(11));
    let ours = &stats["cumae"];
    assert_eq!((&ours["selections"], &ours["seriesRead"]), (&json!(1), &json!(1)));
    assert_eq!((&ours["samplesRead"], &ours["bytesRead"]), (&json!(15), &json!(15 * 16)));
    assert_eq!((&ours["partitions"], &ours["cacheHits"]), (&json!(1), &json!(0)));

    let again = range(&server, "rate(c_total[5m])", &[("stats", "true")]).await["stats"].clone();
    assert_eq!(again["cumae"]["selections"], 0, "it came out of the cache");
    assert_eq!(again["cumae"]["cacheHits"], again["cumae"]["cacheSegments"]);
    assert!(again["samples"].get("totalQueryableSamplesPerStep").is_none());

    let instant = [("query", "up"), ("time", "1700000000"), ("stats", "all")];
    let stats = server.get("query", &instant).await.data()["stats"].clone();
    assert_eq!(stats["samples"]["totalQueryableSamplesPerStep"], json!([[1_700_000_000, 2]]));
}

#[tokio::test]
async fn a_trace_says_where_the_time_went() {
    let server = server();
    assert!(range(&server, "up", &[]).await.get("trace").is_none());
    let query = "sum(up{job=\"a\"}) / sum(up offset 1d)";
    let trace = range(&server, query, &[("trace", "1")]).await["trace"].clone();
    let phases = trace["phases"].as_object().unwrap();
    let names = ["queue", "parse", "plan", "estimate", "fetch", "evaluate", "encode"];
    assert_eq!(phases.len(), names.len());
    // The clock moves on with every look at it.
    assert!(names.iter().all(|name| phases[*name].as_f64().unwrap() > 0.0), "{trace}");
    let fetches = trace["fetches"].as_array().unwrap();
    let of = |selector: &str| fetches.iter().find(|one| one["selector"] == selector).unwrap();
    let first = of("{job=\"a\",__name__=\"up\"}");
    assert_eq!((&first["series"], &first["samples"]), (&json!(1), &json!(15)));
    assert_eq!((&first["start"], &first["end"]), (&json!(NOW_MS - 899_999), &json!(NOW_MS)));
    assert_eq!(of("{__name__=\"up\"}")["end"], NOW_MS - 86_400_000);
    assert!(first["seconds"].as_f64() > Some(0.0) && first["shard"] == "1/1");
}

#[tokio::test]
async fn a_query_is_explained_without_reading_a_sample() {
    let memory = memory();
    let selects = memory.selects.clone();
    let server = Server::new(memory, one_tenant(), Limits::default());
    let explain = async |query: &str| {
        server.get("explain", &[&[("query", query)], &RANGE[..]].concat()).await.data()
    };
    let query = "sum(rate(up[5m]))/topk(1,{job=~\"a.*\"} offset 1d)";
    let plan = explain(query).await;
    assert_eq!(plan["query"], "sum(rate(up[5m])) / topk(1, {job=~\"a.*\"} offset 1d)");
    assert_eq!((&plan["steps"], &plan["step"]), (&json!(11), &json!(60_000)));
    let [first, second] = &plan["reads"].as_array().unwrap()[..] else { panic!("{plan}") };
    assert_eq!(first["selector"], "{__name__=\"up\"}");
    assert_eq!((&first["start"], &first["end"]), (&json!(NOW_MS - 899_999), &json!(NOW_MS)));
    assert_eq!(first["partitions"], json!([{"metric": "up", "day": "2023-11-14"}]));
    assert_eq!((&first["estimatedSeries"], &first["shards"]), (&json!(7), &json!(1)));
    assert_eq!(first["estimatedSamples"], 70);
    let looked_at = |read: &Json| json!([read["labels"], read["samples"], read["values"]]);
    assert_eq!(looked_at(first), json!([null, "all", true]));
    let counts = explain("count by (job, env) (up)").await["reads"][0].clone();
    assert_eq!(looked_at(&counts), json!([["env", "job"], "newest of each step", false]));
    assert_eq!(second["partitions"], Json::Null, "without a metric everybody is asked");
    assert_eq!(plan["cache"]["isCut"], false);
    assert_eq!(plan["cache"]["reason"], "its answer at one step may depend on other steps");

    let before = explain("sum(up)").await["cache"].clone();
    assert_eq!((&before["isCut"], &before["cachedSegments"]), (&json!(true), &json!(0)));
    assert_eq!(selects.load(std::sync::atomic::Ordering::SeqCst), 0);
    range(&server, "sum(up)", &[]).await;
    let after = explain("sum(up)").await["cache"].clone();
    assert_eq!(after["cachedSegments"], after["segments"]);
    assert!(after.get("reason").is_none());

    let (status, _, text) = server.get("explain", &[("query", "sum(")]).await.error();
    assert!(status == 400 && text.contains("parse error"), "{text}");
    let instant = server.get("explain", &[("query", "up")]).await.data();
    assert_eq!(
        (&instant["steps"], &instant["cache"]["reason"]),
        (&json!(1), &json!("an instant query"))
    );
}

fn taken(server: &Server) -> f64 {
    let all = server.registry.gather();
    let one = all.iter().find(|one| one.name() == "cumae_querier_memory_bytes").unwrap();
    one.get_metric()[0].get_gauge().get_value()
}

#[tokio::test]
async fn memory_is_taken_before_it_is_used_and_given_back_on_every_way_out() {
    let small = |memory_bytes, memory| {
        let settings = Settings { memory_bytes, ..Settings::default() };
        Server::with(memory, one_tenant(), Limits::default(), settings)
    };
    let server = small(1 << 20, memory());
    range(&server, "up", &[]).await;
    assert_eq!(server.get("query", &[("query", "up + on() up")]).await.error().0, 422);
    server.get("query", &[("query", "sum(")]).await.error();
    assert_eq!(taken(&server), 0.0);

    // A query that alone needs more than there is can never be answered.
    let server = small(2_000, memory());
    let (status, kind, text) = server.get("query", &[("query", "up[1h]")]).await.error();
    assert_eq!((status, kind.as_str()), (422, "execution"));
    assert!(text.contains("query.memory"), "{text}");
    assert_eq!(taken(&server), 0.0);

    // While the answer of another is being sent, there may be too little left.
    let server = small(100_000, memory());
    let path = format!("/api/v1/query?{}", encode(&[("query", "{__name__=~\"up|c_total\"}[1h]")]));
    let sent = server.router().oneshot(Request::get(path).body(Body::empty()).unwrap()).await;
    let body = sent.unwrap().into_body();
    assert!(taken(&server) > 2_000.0);
    drop(body);
    assert_eq!(taken(&server), 0.0, "nobody reads on");
}

#[tokio::test]
async fn label_calls_take_their_memory_too() {
    let small = |memory_bytes| {
        let settings = Settings { memory_bytes, ..Settings::default() };
        Server::with(memory(), one_tenant(), Limits::default(), settings)
    };
    let series = [("match[]", "{__name__=~\"up|c_total\"}")];
    let server = small(300);
    let (status, _, text) = server.get("series", &series).await.error();
    assert!(status == 422 && text.contains("query.memory"), "{text}");
    assert!(!server.get("label/__name__/values", &[]).await.data().as_array().unwrap().is_empty());
    assert_eq!(taken(&server), 0.0);

    // As long as the answer is being sent.
    let server = small(100_000);
    let path = format!("/api/v1/series?{}", encode(&series));
    let sent = server.router().oneshot(Request::get(path).body(Body::empty()).unwrap()).await;
    let body = sent.unwrap().into_body();
    assert!(taken(&server) >= 512.0);
    drop(body);
    assert_eq!(taken(&server), 0.0);
}

#[tokio::test]
async fn who_finds_the_memory_of_all_queries_used_up_is_told_to_come_again() {
    let settings = Settings { memory_bytes: 69_000, ..Settings::default() };
    let server = Server::with(memory(), one_tenant(), Limits::default(), settings);
    let query = "{__name__=~\"up|c_total\"}[1h]";
    let path = format!("/api/v1/query?{}", encode(&[("query", query)]));
    let first = server.router().oneshot(Request::get(path).body(Body::empty()).unwrap()).await;
    let second = server.get("query", &[("query", "up + 1")]).await;
    assert_eq!(second.header("retry-after").parse::<u64>().unwrap().min(1), 1);
    let (status, kind, text) = second.error();
    assert_eq!((status, kind.as_str()), (503, "unavailable"));
    assert!(text.contains("query.memory") && text.contains("69000"), "{text}");
    let body = first.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert!(body.len() > 3_000);
    assert_eq!(server.get("query", &[("query", "up + 1")]).await.status, 200);
}

#[tokio::test]
async fn for_samples_that_no_step_looks_at_no_memory_is_reserved() {
    let settings = Settings { memory_bytes: 200_000, workers: 1, ..Settings::default() };
    // Said to be sixteen megabytes, of seven series.
    let memory = Memory { estimated: 1_000_000, ..memory() };
    let server = Server::with(memory, one_tenant(), Limits::default(), settings);
    for query in ["count(up)", "max by (job) (up)", "topk(1, up)"] {
        assert_eq!(server.get("query", &[("query", query)]).await.status, 200, "{query}");
    }
    let (status, _, text) = server.get("query", &[("query", "sum(up)")]).await.error();
    assert!(status == 422 && text.contains("query.memory"), "{text}");
    assert_eq!(taken(&server), 0.0);
}

#[tokio::test]
async fn queries_have_the_memory_of_all_to_its_last_byte_and_with_one_less_it_is_503() {
    // What comes of a query while the answer of another waits to be read.
    let beside = async |memory_bytes: u64| {
        let settings = Settings { memory_bytes, ..Settings::default() };
        let server = Server::with(memory(), one_tenant(), Limits::default(), settings);
        let query = encode(&[("query", "{__name__=~\"up|c_total\"}[1h]")]);
        let path = format!("/api/v1/query?{query}");
        let first = server.router().oneshot(Request::get(path).body(Body::empty()).unwrap());
        let first = first.await.unwrap();
        assert_eq!(first.status(), 200);
        let second = server.get("query", &[("query", "up + 1")]).await;
        drop(first);
        assert_eq!(taken(&server), 0.0);
        second
    };
    let (mut refused, mut taken_at) = (69_000, 300_000);
    while refused + 1 < taken_at {
        let middle = u64::midpoint(refused, taken_at);
        match beside(middle).await.status.as_u16() {
            200 => taken_at = middle,
            _ => refused = middle,
        }
    }
    assert_eq!(beside(taken_at).await.status, 200);
    let second = beside(taken_at - 1).await;
    assert!(second.headers.contains_key("retry-after"));
    let (status, kind, text) = second.error();
    assert_eq!((status, kind.as_str()), (503, "unavailable"), "{text}");
    assert!(text.contains(&format!("{} bytes of `query.memory`", taken_at - 1)), "{text}");
}
