//! Limits of queries: how many at once, how long, how much; and callers who leave.

use super::support::{Memory, Server, filled, one_tenant};
use crate::Settings;
use axum::body::Body;
use axum::http::Request;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use guard::{Limit, Limits, QueryLimits, Tenancy};
use model::Kind;
use promql::SourceError;
use std::future::IntoFuture as _;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

fn limits(query: QueryLimits) -> Limits {
    Limits { query, ..Limits::default() }
}

fn memory() -> Memory {
    Memory { tenants: [("default".to_owned(), filled())].into(), ..Memory::default() }
}

#[tokio::test]
async fn who_finds_the_queue_full_is_told_when_to_come_again() {
    let query =
        QueryLimits { max_concurrency: Limit(1), max_queue: Limit(1), ..QueryLimits::default() };
    let server = Server::new(Memory { stuck: true, ..memory() }, one_tenant(), limits(query));
    let mut first = Box::pin(server.get("labels", &[]));
    let mut second = Box::pin(server.get("labels", &[]));
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());
    for path in ["labels", "query?query=up"] {
        let third = server.get(path, &[]).await;
        let wait: u64 = third.header("retry-after").parse().unwrap();
        assert!((1..=2).contains(&wait));
        let (status, kind, text) = third.error();
        assert_eq!((status, kind.as_str()), (429, "too_many_requests"));
        assert!(text.contains("max_query_concurrency") && text.contains("default"), "{text}");
    }
}

#[tokio::test]
async fn what_a_query_waits_for_is_worked_out_on_threads_that_do_not_stand_behind_writes() {
    let (memory, own) = (memory(), rustix::process::getpriority_process(None).unwrap());
    let rank = memory.rank.clone();
    let server = Server::new(memory, one_tenant(), Limits::default());
    rank.store(i32::MAX, Ordering::SeqCst);
    let up = server.get("query", &[("query", "up")]).await;
    assert_eq!(up.status, 200, "{}", up.text());
    assert_eq!(rank.load(Ordering::SeqCst), own);
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_503_timeout() {
    let memory = Memory { stuck: true, ..memory() };
    let waiting = memory.waiting.clone();
    let query = QueryLimits { timeout_ms: Limit(50), ..QueryLimits::default() };
    let server = Server::new(memory, one_tenant(), limits(query));
    // The smaller of the two counts.
    for timeout in ["20ms", "0", "-1", "1h"] {
        let got = server.get("query", &[("query", "up"), ("timeout", timeout)]).await;
        let (status, kind, text) = got.error();
        assert_eq!((status, kind.as_str()), (503, "timeout"));
        assert!(text.starts_with("query timed out in "), "{text}");
    }
    let got = server.get("labels", &[]).await;
    assert_eq!(got.error().1, "timeout");
    eventually(|| waiting.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn query_timeout_lets_work_go_on_for_its_value_and_a_millisecond_more_is_503() {
    let query = QueryLimits { timeout_ms: Limit(50), ..QueryLimits::default() };
    for (takes_ms, status) in [(1, 200), (50, 200), (51, 503), (5_000, 503)] {
        let memory = Memory { takes: Duration::from_millis(takes_ms), ..memory() };
        let server = Server::new(memory, one_tenant(), limits(query.clone()));
        let got = server.get("labels", &[]).await;
        assert_eq!(got.status, status, "{takes_ms} ms: {}", got.text());
    }
    let none = QueryLimits { timeout_ms: Limit(0), ..QueryLimits::default() };
    let memory = Memory { takes: Duration::from_secs(3_600), ..memory() };
    let server = Server::new(memory, one_tenant(), limits(none));
    assert_eq!(server.get("labels", &[]).await.status, 200, "0 switches it off");
}

#[tokio::test]
async fn a_caller_who_leaves_takes_the_work_along() {
    let memory = Memory { stuck: true, ..memory() };
    let waiting = memory.waiting.clone();
    let query = QueryLimits { max_concurrency: Limit(1), ..QueryLimits::default() };
    let server = Server::new(memory, one_tenant(), limits(query));
    let mut call = Box::pin(server.get("query", &[("query", "up")]));
    while waiting.load(Ordering::SeqCst) == 0 {
        assert!((&mut call).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    drop(call);
    eventually(|| waiting.load(Ordering::SeqCst) == 0).await;
    let mut outcomes = server.registry.gather().into_iter();
    let requests = outcomes.find(|one| one.name() == "cumae_querier_requests_total").unwrap();
    let labels = requests.get_metric()[0].get_label();
    assert!(labels.iter().any(|label| label.value() == "canceled"));
}

#[tokio::test]
async fn more_series_than_a_query_may_read_are_422_and_name_the_limit() {
    let query = QueryLimits { max_series: Limit(2), ..QueryLimits::default() };
    let server = Server::new(memory(), one_tenant(), limits(query));
    assert_eq!(server.get("query", &[("query", "up")]).await.status, 200);
    for query in ["{job=\"a\"}", "up + on (job) c_total"] {
        let (status, kind, text) = server.get("query", &[("query", query)]).await.error();
        assert_eq!((status, kind.as_str()), (422, "execution"), "{query}");
        for part in ["max_query_series", " 2 ", "`default`"] {
            assert!(text.contains(part), "{text}");
        }
    }
    let error = server.get("series", &[("match[]", "{job=\"a\"}")]).await.error();
    assert_eq!(error.0, 422);
    assert!(error.2.contains("max_query_series"), "{}", error.2);
    let cut = server.get("series", &[("match[]", "{job=\"a\"}"), ("limit", "2")]).await;
    assert_eq!(cut.data().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_query_of_512_kib_or_128_levels_passes_and_one_more_of_either_is_400_by_its_key() {
    let server = Server::new(memory(), one_tenant(), Limits::default());
    let ask = async |text: String| server.post("query", &[("query", &text)]).await;
    let long = |bytes: usize| format!("1{}", " ".repeat(bytes - 1));
    let deep = |levels: usize| format!("{}1{}", "(".repeat(levels), ")".repeat(levels));
    for (key, at_limit, past) in [
        ("query.max_text_bytes", long(512 << 10), long((512 << 10) + 1)),
        ("query.max_depth", deep(128), deep(129)),
    ] {
        let got = ask(at_limit).await;
        assert_eq!(got.status, 200, "{key}: {}", got.text());
        let (status, kind, text) = ask(past).await.error();
        assert_eq!((status, kind.as_str()), (400, "bad_data"), "{key}");
        assert!(text.contains(key), "{text}");
    }
}

#[tokio::test]
async fn more_memory_or_samples_than_a_query_may_use_are_422_and_name_the_limit() {
    let table = [
        (
            "max_query_bytes",
            "up[1h]",
            QueryLimits { max_bytes: Limit(1_000), ..QueryLimits::default() },
        ),
        (
            "max_query_samples",
            "up[1h]",
            QueryLimits { max_samples: Limit(100), ..QueryLimits::default() },
        ),
        (
            "max_query_bytes",
            "vector(1)[100h:1s]",
            QueryLimits { max_bytes: Limit(10_000), ..QueryLimits::default() },
        ),
    ];
    for (key, query, query_limits) in table {
        let server = Server::new(memory(), one_tenant(), limits(query_limits));
        let (status, kind, text) = server.get("query", &[("query", query)]).await.error();
        assert_eq!((status, kind.as_str()), (422, "execution"), "{query}: {text}");
        assert!(text.contains(&format!("`{key}`")) && text.contains("`default`"), "{text}");
    }
}

#[tokio::test]
async fn a_query_of_as_many_samples_as_it_may_hold_passes_and_with_one_less_it_does_not() {
    let form = [("query", "up[1h]"), ("stats", "all")];
    let server = |max| {
        let query = QueryLimits { max_samples: Limit(max), ..QueryLimits::default() };
        Server::new(memory(), one_tenant(), limits(query))
    };
    let data = server(0).get("query", &form).await.data();
    let peak = data["stats"]["samples"]["peakSamples"].as_u64().unwrap();
    assert!(peak > 100, "{peak}");
    assert_eq!(server(peak).get("query", &form).await.status, 200);
    assert_eq!(server(peak - 1).get("query", &form).await.error().0, 422);
}

#[tokio::test]
async fn a_query_of_as_many_bytes_as_it_may_take_passes_and_with_one_less_it_does_not() {
    let status = async |max| {
        let query = QueryLimits { max_bytes: Limit(max), ..QueryLimits::default() };
        let server = Server::new(memory(), one_tenant(), limits(query));
        server.get("query", &[("query", "up[1h]")]).await.status.as_u16()
    };
    let (mut refused, mut passes) = (1_000, 1 << 20);
    assert_eq!((status(refused).await, status(passes).await), (422, 200));
    while passes - refused > 1 {
        let between = u64::midpoint(refused, passes);
        match status(between).await {
            200 => passes = between,
            _ => refused = between,
        }
    }
    for _ in 0..3 {
        assert_eq!((status(passes).await, status(passes - 1).await), (200, 422), "{passes}");
    }
    assert_eq!(passes % 16, 0, "of each sample its time and its value: {passes}");
}

#[tokio::test]
async fn a_fault_of_the_source_keeps_its_kind() {
    let table = [(Kind::Unavailable, 503, "unavailable"), (Kind::Corrupt, 500, "internal")];
    for (kind, status, error_type) in table {
        let fault = Some(SourceError { kind, message: "replicas: 1 of 2".to_owned() });
        let server = Server::new(Memory { fault, ..memory() }, one_tenant(), Limits::default());
        for path in ["query?query=up", "labels", "metadata", "label/job/values"] {
            let uri = format!("/api/v1/{path}");
            let request = axum::http::Request::get(&uri).body(axum::body::Body::empty());
            let got = server.send(request.unwrap()).await;
            assert_eq!(got.headers.contains_key("retry-after"), status == 503, "{path}");
            let error = got.error();
            assert_eq!((error.0, error.1.as_str()), (status, error_type), "{path}");
            assert!(error.2.contains("replicas: 1 of 2"));
        }
    }
}

#[tokio::test]
async fn many_queries_at_once_all_get_their_answer() {
    let query = QueryLimits { max_concurrency: Limit(2), ..QueryLimits::default() };
    let server = Server::new(memory(), one_tenant(), limits(query));
    let params = [("query", "sum(up)")];
    let all = join_all((0..50).map(|_| server.get("query", &params))).await;
    assert!(all.iter().all(|got| got.data()["result"][0]["value"][1] == "2"));
}

/// Waits until `done`, for a few seconds at most.
/// Two of one tenant's heavy queries are at work, each on both processors; its others wait, and
/// those of another tenant do not wait for them.
#[tokio::test]
async fn of_queries_that_need_all_processors_two_of_a_tenant_are_at_work_at_once() {
    let (open, opened) = watch::channel(false);
    let tenants = ["a", "b", "c"].map(|name| (name.to_owned(), filled())).into();
    let memory = Memory { tenants, open: Some(opened), estimated: 50_000_000, ..Memory::default() };
    let waiting = memory.waiting.clone();
    let settings = Settings { workers: 2, ..Settings::default() };
    let server = Server::with(memory, Tenancy::Multi, Limits::default(), settings);
    // No two are the same, or they would be answered together.
    let ask = |tenant: &str, number: usize| {
        let request = Request::get(format!("/api/v1/query?query=up*{number}&time=1700000000"));
        server.send(request.header("X-Scope-OrgID", tenant).body(Body::empty()).unwrap())
    };
    let mut of_a: FuturesUnordered<_> = (0..6).map(|number| ask("a", number)).collect();
    assert!(of_a.next().now_or_never().is_none());
    eventually(|| waiting.load(Ordering::SeqCst) == 4).await;
    let mut of_b = Box::pin(ask("b", 1));
    assert!((&mut of_b).now_or_never().is_none());
    eventually(|| waiting.load(Ordering::SeqCst) == 6).await;
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
        assert!(waiting.load(Ordering::SeqCst) <= 6);
    }
    open.send(true).unwrap();
    assert_eq!(of_b.await.status, 200);
    while let Some(got) = of_a.next().await {
        assert_eq!(got.status, 200);
    }
}

async fn eventually(done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), wait).await.is_ok());
}

#[tokio::test]
async fn a_client_who_closes_its_connection_takes_the_work_along() {
    let memory = Memory { stuck: true, ..memory() };
    let waiting = memory.waiting.clone();
    let server = Server::new(memory, one_tenant(), Limits::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(axum::serve(listener, server.router()).into_future());
    for path in ["query?query=up", "labels"] {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET /api/v1/{path} HTTP/1.1\r\nhost: h\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        eventually(|| waiting.load(Ordering::SeqCst) == 1).await;
        drop(client);
        eventually(|| waiting.load(Ordering::SeqCst) == 0).await;
    }
    serving.abort();
}
