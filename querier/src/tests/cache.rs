//! The cache of range queries, through the router: what it saves, and that nothing stale is in it.

use super::support::{Data, Memory, NOW_MS, Server, filled, one_tenant};
use crate::Settings;
use guard::{Limit, Limits, QueryLimits};
use serde_json::Value as Json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A server with versions, and what its source can be changed and watched by.
struct Watched {
    server: Server,
    version: Arc<AtomicU64>,
    late: Arc<Mutex<Data>>,
    races: Arc<Mutex<Option<Data>>>,
    selects: Arc<AtomicU64>,
    version_asks: Arc<AtomicU64>,
}

impl Watched {
    fn new(settings: Settings) -> Self {
        Self::within(Limits::default(), settings)
    }

    fn within(limits: Limits, settings: Settings) -> Self {
        let tenants = [("default".to_owned(), filled())].into();
        let memory = Memory { tenants, version: Arc::new(AtomicU64::new(1)), ..Memory::default() };
        let (version, late) = (memory.version.clone(), memory.late.clone());
        let races = memory.races.clone();
        let (selects, version_asks) = (memory.selects.clone(), memory.version_asks.clone());
        let server = Server::with(memory, one_tenant(), limits, settings);
        Self { server, version, late, races, selects, version_asks }
    }

    /// The data of a range query over the last hour, and how many selections it took.
    async fn range(&self, query: &str, more: &[(&str, &str)]) -> (Json, u64) {
        let before = self.selects.load(Ordering::SeqCst);
        let (start, end) = ((NOW_MS / 1_000 - 3_600).to_string(), (NOW_MS / 1_000).to_string());
        let params = [("query", query), ("start", &start), ("end", &end), ("step", "60")];
        let data = self.server.get("query_range", &[&params[..], more].concat()).await.data();
        (data, self.selects.load(Ordering::SeqCst) - before)
    }

    fn metric(&self, name: &str) -> f64 {
        let all = self.server.registry.gather();
        let one = all.iter().find(|one| one.name() == name).unwrap().get_metric()[0].clone();
        one.get_counter().get_value() + one.get_gauge().get_value()
    }
}

#[tokio::test]
async fn what_has_not_changed_is_answered_without_reading_and_a_late_sample_is_seen_at_once() {
    let it = Watched::new(Settings::default());
    let (first, selects) = it.range("sum(up)", &[]).await;
    assert_eq!((&first["result"][0]["values"][60][1], selects), (&Json::from("2"), 1));
    assert_eq!(it.range("sum(up)", &[]).await, (first.clone(), 0));
    assert_eq!(
        it.metric("cumae_querier_cache_misses_total"),
        it.metric("cumae_querier_cache_hits_total")
    );
    assert!(it.metric("cumae_querier_cache_bytes") > 1_000.0);

    let more = Data::default().series(&[("__name__", "up"), ("job", "late")], &[(1_800, 1.0)]);
    *it.late.lock().unwrap() = more;
    it.version.store(2, Ordering::SeqCst);
    let (late, selects) = it.range("sum(up)", &[]).await;
    assert_eq!((&late["result"][0]["values"][30][1], selects), (&Json::from("3"), 1));
    assert_eq!(it.range("sum(up)", &[]).await, (late, 0));
}

#[tokio::test]
async fn a_sample_that_comes_while_its_range_is_read_is_seen_by_the_next_query() {
    let it = Watched::new(Settings::default());
    let more = Data::default().series(&[("__name__", "up"), ("job", "late")], &[(1_800, 1.0)]);
    *it.races.lock().unwrap() = Some(more);
    let (before, _) = it.range("sum(up)", &[]).await;
    assert_eq!(before["result"][0]["values"][30][1], "2");
    let (after, selects) = it.range("sum(up)", &[]).await;
    assert_eq!((&after["result"][0]["values"][30][1], selects), (&Json::from("3"), 1));
}

#[tokio::test]
async fn another_text_lookback_or_step_is_another_answer() {
    let it = Watched::new(Settings::default());
    it.range("sum(up)", &[]).await;
    assert_eq!(it.range("sum(up) ", &[]).await.1, 1);
    assert_eq!(it.range("sum(up)", &[("lookback_delta", "30s")]).await.1, 1);
    assert_eq!(it.range("sum(up)", &[("lookback_delta", "30s")]).await.1, 0);
    let before = it.selects.load(Ordering::SeqCst);
    let params = [("query", "sum(up)"), ("start", "1699996400"), ("end", "1700000000")];
    for step in ["60", "30"] {
        it.server.get("query_range", &[&params[..], &[("step", step)]].concat()).await.data();
    }
    assert_eq!(it.selects.load(Ordering::SeqCst) - before, 1, "only the new step is read for");
}

#[tokio::test]
async fn a_shorter_range_is_answered_out_of_a_longer_one() {
    let it = Watched::new(Settings::default());
    let (whole, _) = it.range("up", &[]).await;
    let before = it.selects.load(Ordering::SeqCst);
    let start = (NOW_MS / 1_000 - 1_800).to_string();
    let params =
        [("query", "up"), ("start", start.as_str()), ("end", "1700000000"), ("step", "60")];
    let part = it.server.get("query_range", &params).await.data();
    let values = |data: &Json| data["result"][1]["values"].as_array().unwrap().clone();
    assert_eq!(values(&part), values(&whole)[30..]);
    assert_eq!(it.selects.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn annotations_come_out_of_the_cache_too() {
    let it = Watched::new(Settings::default());
    let ask = async || {
        let params = [
            ("query", "rate(up[5m])"),
            ("start", "1699999200"),
            ("end", "1700000000"),
            ("step", "60"),
        ];
        it.server.get("query_range", &params).await.json()
    };
    let first = ask().await;
    let info = first["infos"][0].as_str().unwrap();
    assert!(info.starts_with("PromQL info: metric might not be a counter"), "{info}");
    let before = it.selects.load(Ordering::SeqCst);
    assert_eq!(ask().await, first);
    // Over a border of segments it is evaluated once more, segment by segment.
    assert!(it.selects.load(Ordering::SeqCst) - before <= 2);
    let before = it.selects.load(Ordering::SeqCst);
    assert_eq!(ask().await, first);
    assert_eq!(it.selects.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn a_query_whose_segments_are_evaluated_one_by_one_meets_no_limit_that_it_does_not_meet_whole()
 {
    let query = QueryLimits { max_series: Limit(3), ..QueryLimits::default() };
    let limits = Limits { query, ..Limits::default() };
    let it = Watched::within(limits, Settings::default());
    // Two series, over a border of segments, with something to be told.
    let text = "rate(up[5m])";
    let (start, end) = ("1699999200", "1700000000");
    let params = [("query", text), ("start", start), ("end", end), ("step", "60")];
    let first = it.server.get("query_range", &params).await.json();
    assert!(first["infos"][0].is_string(), "{first}");
    for _ in 0..2 {
        assert_eq!(it.server.get("query_range", &params).await.json(), first);
    }
}

#[tokio::test]
async fn nobody_asks_for_versions_in_vain() {
    let it = Watched::new(Settings::default());
    it.range("up", &[("nocache", "1")]).await;
    it.range("up @ start()", &[]).await;
    it.range("vector(1)", &[]).await;
    it.server.get("query", &[("query", "up")]).await.data();
    let few = [("query", "up"), ("start", "1699999700"), ("end", "1700000000"), ("step", "60")];
    it.server.get("query_range", &few).await.data();
    assert_eq!(it.version_asks.load(Ordering::SeqCst), 0);
    it.range("up", &[("nocache", "0")]).await;
    assert_eq!(it.version_asks.load(Ordering::SeqCst), 1);

    let off = Watched::new(Settings { cache_bytes: 0, ..Settings::default() });
    assert_eq!(off.range("up", &[]).await.1, 1);
    assert_eq!(off.range("up", &[]).await.1, 1);
    assert_eq!(off.version_asks.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn without_versions_nothing_is_kept() {
    let it = Watched::new(Settings::default());
    it.version.store(0, Ordering::SeqCst);
    assert_eq!(it.range("up", &[]).await.1, 1);
    assert_eq!(it.range("up", &[]).await.1, 1);
    assert_eq!(it.metric("cumae_querier_cache_bytes"), 0.0);
}
