//! Equal queries at the same time: answered once, and to each as if he was alone.

use super::support::{Data, Got, Memory, Server, filled, one_tenant};
use axum::body::Body;
use axum::http::Request;
use futures_util::FutureExt as _;
use guard::{Limit, Limits, QueryLimits};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// A server whose source answers when it is told to.
struct Gated {
    server: Server,
    open: watch::Sender<bool>,
    version: Arc<AtomicU64>,
    late: Arc<Mutex<Data>>,
    selects: Arc<AtomicU64>,
    waiting: Arc<AtomicU64>,
}

type Asked<'a> = Pin<Box<dyn Future<Output = Got> + 'a>>;

const RANGE: &str = "query_range?query=sum(up)&start=1699996400&end=1700000000&step=60";

impl Gated {
    fn new(query: QueryLimits) -> Self {
        let (open, opened) = watch::channel(false);
        let tenants = [("default".to_owned(), filled())].into();
        let version = Arc::new(AtomicU64::new(1));
        let memory = Memory { tenants, version, open: Some(opened), ..Memory::default() };
        let (version, late) = (memory.version.clone(), memory.late.clone());
        let (selects, waiting) = (memory.selects.clone(), memory.waiting.clone());
        let server = Server::new(memory, one_tenant(), Limits { query, ..Limits::default() });
        Self { server, open, version, late, selects, waiting }
    }

    /// Asks, and comes as far as it can without an answer of the source.
    fn ask(&self, path: &str) -> Asked<'_> {
        let request = Request::get(format!("/api/v1/{path}")).body(Body::empty()).unwrap();
        let mut asked: Asked<'_> = Box::pin(self.server.send(request));
        assert!((&mut asked).now_or_never().is_none());
        asked
    }

    /// Until so many answers of the source are waited for.
    async fn wait_for(&self, answers: u64) {
        let come = async {
            while self.waiting.load(Ordering::SeqCst) != answers {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), come).await.unwrap();
    }

    /// Asks something that is being read for when this returns.
    async fn begun(&self, path: &str) -> Asked<'_> {
        let before = self.waiting.load(Ordering::SeqCst);
        let asked = self.ask(path);
        self.wait_for(before + 1).await;
        asked
    }

    fn selects(&self) -> u64 {
        self.selects.load(Ordering::SeqCst)
    }

    fn open(&self) {
        self.open.send(true).unwrap();
    }

    fn joined(&self) -> f64 {
        let all = self.server.registry.gather();
        let one = all.iter().find(|one| one.name() == "cumae_querier_queries_joined_total");
        one.unwrap().get_metric()[0].get_counter().get_value()
    }
}

/// The last value of the only series.
fn last(got: &Got) -> String {
    let values = got.data()["result"][0]["values"].clone();
    values.as_array().unwrap().last().unwrap()[1].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn equal_queries_in_line_are_answered_once() {
    let one = QueryLimits { max_concurrency: Limit(1), ..QueryLimits::default() };
    let it = Gated::new(one);
    let other = it.begun("query?query=c_total").await;
    let equal =
        [it.ask("query?query=up&time=1700000000"), it.ask("query?query=up&time=1700000000")];
    let later = it.ask("query?query=up&time=1699999000");
    it.open();
    assert_eq!(other.await.status, 200);
    let [first, second] = equal.map(|asked| async { asked.await.data() });
    let (first, second) = futures_util::future::join(first, second).await;
    assert_eq!(first, second);
    assert_eq!(first["result"].as_array().unwrap().len(), 2);
    later.await.data();
    assert_eq!((it.selects(), it.joined()), (3, 1.0));
}

#[tokio::test]
async fn what_is_being_read_is_joined_as_long_as_nothing_changes() {
    let it = Gated::new(QueryLimits::default());
    let first = it.begun(RANGE).await;
    let second = it.ask(RANGE);
    let one = ("__name__", "up");
    *it.late.lock().unwrap() = Data::default().series(&[one, ("job", "late")], &[(0, 1.0)]);
    it.version.store(2, Ordering::SeqCst);
    let third = it.begun(RANGE).await;
    let fourth = it.ask(RANGE);
    it.open();
    let (first, second, third, fourth) = tokio::join!(first, second, third, fourth);
    assert_eq!([first, second].map(|got| last(&got)), ["2", "2"]);
    assert_eq!([third, fourth].map(|got| last(&got)), ["3", "3"], "what came late is in it");
    assert_eq!((it.selects(), it.joined()), (2, 2.0));
}

#[tokio::test]
async fn what_is_read_without_versions_is_not_joined() {
    let it = Gated::new(QueryLimits::default());
    let first = it.begun("query?query=up&time=1700000000").await;
    let second = it.begun("query?query=up&time=1700000000").await;
    it.open();
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.data(), second.data());
    assert_eq!((it.selects(), it.joined()), (2, 0.0));
}

#[tokio::test]
async fn who_came_first_may_leave_and_the_others_are_answered() {
    let it = Gated::new(QueryLimits::default());
    let first = it.begun(RANGE).await;
    let (second, third) = (it.ask(RANGE), it.ask(RANGE));
    drop(first);
    drop(third);
    it.wait_for(1).await;
    it.open();
    assert_eq!(last(&second.await), "2");
    assert_eq!(it.selects(), 1);
}

#[tokio::test]
async fn who_stops_his_query_stops_nobody_elses_and_the_last_one_takes_the_work_along() {
    let it = Gated::new(QueryLimits::default());
    let first = it.begun(RANGE).await;
    let second = it.ask(RANGE);
    let listed = it.server.get("status/active_queries", &[]).await.data();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let stop = async |place: usize| {
        let path =
            format!("/api/v1/status/active_queries/{}", listed[place]["id"].as_str().unwrap());
        let request = Request::delete(path).body(Body::empty()).unwrap();
        assert_eq!(it.server.send(request).await.status, 204);
    };
    stop(0).await;
    assert_eq!(first.await.error().0, 499);
    it.wait_for(1).await;
    stop(1).await;
    assert_eq!(second.await.error().0, 499);
    it.wait_for(0).await;
}

#[tokio::test]
async fn who_joins_late_has_his_own_time() {
    let it = Gated::new(QueryLimits::default());
    let path = format!("{RANGE}&timeout=300ms");
    let mut first = it.begun(&path).await;
    // He comes when half of the time is over, and is answered when all of it is.
    assert!(tokio::time::timeout(Duration::from_millis(150), &mut first).await.is_err());
    let second = it.ask(&path);
    assert_eq!(first.await.error().1, "timeout");
    it.open();
    assert_eq!(last(&second.await), "2");
    assert_eq!(it.selects(), 2);
}
