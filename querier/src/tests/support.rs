//! A source in memory, a clock that stands still, a client.

use crate::turns::Lines;
use crate::{Origins, Parts, Querier, Settings, Source, SourceAnswer, VersionAsk, dress};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use guard::{LimitTable, Limits, Tenancy};
use http_body_util::BodyExt as _;
use model::exemplar::SeriesExemplars;
use model::matcher::CompiledMatcher;
use model::mutation::{MetricMetadata, MetricType};
use model::read::{
    Estimate, ExemplarQuery, LabelAnswer, LabelQuery, LabelWant, MetadataAnswer, MetadataQuery,
    Selection,
};
use model::{
    Clock, Column, Context, DeleteRequest, Exemplar, LabelSet, Matcher, SeriesColumns, TenantId,
    TimeRange, TimestampMs,
};
use promql::SourceError;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tower::ServiceExt as _;

/// When the tests happen: 2023-11-14T22:13:20Z.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

#[derive(Debug)]
pub(crate) struct StandingClock {
    ticks: AtomicU64,
    /// How much later it is at each look, where time passes: in nanoseconds.
    tick_ns: u64,
}

impl Default for StandingClock {
    fn default() -> Self {
        Self { ticks: AtomicU64::new(0), tick_ns: 1_000 }
    }
}

impl Clock for StandingClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(NOW_MS)
    }

    fn monotonic_ns(&self) -> u64 {
        self.ticks.fetch_add(self.tick_ns, Ordering::Relaxed)
    }
}

/// What one tenant has.
#[derive(Debug, Default, Clone)]
pub(crate) struct Data {
    series: Vec<SeriesColumns>,
    metadata: Vec<MetricMetadata>,
    exemplars: Vec<SeriesExemplars>,
}

impl Data {
    /// Adds a series with its samples, in seconds before now.
    pub(crate) fn series(mut self, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        let mut floats = Column::default();
        for (seconds_ago, value) in samples {
            floats.push(NOW_MS - seconds_ago * 1_000, *value);
        }
        let labels = LabelSet::from_pairs(labels.iter().copied()).unwrap();
        self.series.push(SeriesColumns { labels, floats, ..SeriesColumns::default() });
        self
    }

    /// Adds a series' exemplars: seconds before now, value, id of a trace.
    pub(crate) fn exemplars(
        mut self,
        labels: &[(&str, &str)],
        exemplars: &[(i64, f64, &str)],
    ) -> Self {
        let set = |pairs: &[(&str, &str)]| LabelSet::from_pairs(pairs.iter().copied()).unwrap();
        let one = |(seconds_ago, value, trace): &(i64, f64, &str)| Exemplar {
            timestamp_ms: NOW_MS - seconds_ago * 1_000,
            value: *value,
            labels: set(&[("trace_id", trace)]),
        };
        let exemplars = exemplars.iter().map(one).collect();
        self.exemplars.push(SeriesExemplars { labels: set(labels), exemplars });
        self
    }

    pub(crate) fn metadata(mut self, metric: &str, metric_type: MetricType, help: &str) -> Self {
        let (metric, help, unit) = (metric.into(), help.into(), "".into());
        self.metadata.push(MetricMetadata { metric, metric_type, help, unit });
        self
    }

    fn matching(&self, sets: &[Vec<Matcher>], range: TimeRange) -> Vec<SeriesColumns> {
        let sets: Vec<Vec<CompiledMatcher>> = sets
            .iter()
            .map(|set| set.iter().map(|matcher| matcher.compile().unwrap()).collect())
            .collect();
        let matches = |labels: &LabelSet| {
            sets.is_empty() || sets.iter().any(|set| set.iter().all(|m| m.matches_labels(labels)))
        };
        let mut found = Vec::new();
        for one in self.series.iter().filter(|one| matches(&one.labels)) {
            let mut floats = Column::default();
            for (at, value) in one.floats.timestamps_ms.iter().zip(&one.floats.values) {
                if range.contains(TimestampMs(*at)) {
                    floats.push(*at, *value);
                }
            }
            if !floats.is_empty() {
                found.push(SeriesColumns {
                    labels: one.labels.clone(),
                    floats,
                    ..SeriesColumns::default()
                });
            }
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }
}

/// Tenants in memory. Never answers while `stuck`.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) tenants: BTreeMap<String, Data>,
    pub(crate) stuck: bool,
    /// Each answer takes so long.
    pub(crate) takes: Duration,
    pub(crate) fault: Option<SourceError>,
    /// Behind so many selections all others fail, if there are to be any.
    pub(crate) selects_max: Option<u64>,
    /// The version of everything; as long as it is 0 there are none.
    pub(crate) version: Arc<AtomicU64>,
    /// What came late, of all tenants.
    pub(crate) late: Arc<Mutex<Data>>,
    /// What comes late while the next selection is read: it is not in that one.
    pub(crate) races: Arc<Mutex<Option<Data>>>,
    /// How many selections were asked for.
    pub(crate) selects: Arc<AtomicU64>,
    /// How often versions were asked for.
    pub(crate) version_asks: Arc<AtomicU64>,
    /// As long as it says no, nothing is answered.
    pub(crate) open: Option<watch::Receiver<bool>>,
    /// Answers that are waited for.
    pub(crate) waiting: Arc<AtomicU64>,
    /// By how much the thread that answered last stands behind others, as the system counts it.
    pub(crate) rank: Arc<AtomicI32>,
    /// How many samples every selection is said to have; 0 is few.
    pub(crate) estimated: u64,
    /// Deletes that were asked for, and of which tenant.
    pub(crate) deletes: Arc<Mutex<Vec<(String, DeleteRequest)>>>,
    /// Tenants that asked for a purge.
    pub(crate) purges: Arc<Mutex<Vec<String>>>,
}

struct Waiting(Arc<AtomicU64>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Memory {
    fn of(&self, context: &Context) -> Data {
        let mut data = self.tenants.get(context.tenant.as_str()).cloned().unwrap_or_default();
        data.series.extend(self.late.lock().unwrap().series.clone());
        data
    }

    fn answer<T: Send + 'static>(&self, answer: T) -> SourceAnswer<T> {
        let (stuck, takes) = (self.stuck, self.takes);
        let (fault, open) = (self.fault.clone(), self.open.clone());
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting(self.waiting.clone());
        let rank = self.rank.clone();
        Box::pin(async move {
            let _waiting = waiting;
            let own = rustix::process::getpriority_process(None).unwrap();
            rank.store(own, Ordering::SeqCst);
            if stuck {
                std::future::pending::<()>().await;
            }
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            if let Some(mut open) = open {
                open.wait_for(|open| *open).await.unwrap();
            }
            fault.map_or(Ok(answer), Err)
        })
    }
}

impl Source for Memory {
    fn select(
        &self,
        context: Arc<Context>,
        selection: Selection,
    ) -> SourceAnswer<Vec<SeriesColumns>> {
        let before = self.selects.fetch_add(1, Ordering::SeqCst);
        if self.selects_max.is_some_and(|max| before >= max) {
            let (kind, message) = (model::Kind::Unavailable, "two replicas are gone".to_owned());
            return Box::pin(std::future::ready(Err(SourceError { kind, message })));
        }
        let mut found = self.of(&context).matching(&[selection.matchers], selection.range);
        found.retain(|one| selection.shard.holds(&one.labels));
        if let Some(late) = self.races.lock().unwrap().take() {
            self.late.lock().unwrap().series.extend(late.series);
            self.version.fetch_add(1, Ordering::SeqCst);
        }
        self.answer(found)
    }

    fn estimate(&self, _: Arc<Context>, _: Selection) -> SourceAnswer<Estimate> {
        let estimate = Estimate { partitions: 1, series: 7, samples: self.estimated.max(70) };
        Box::pin(std::future::ready(Ok(estimate)))
    }

    fn versions(&self, _: Arc<Context>, asks: Vec<VersionAsk>) -> SourceAnswer<Vec<u64>> {
        self.version_asks.fetch_add(1, Ordering::SeqCst);
        let version = self.version.load(Ordering::SeqCst);
        let kind = model::Kind::Unsupported;
        let none = SourceError { kind, message: "no versions".to_owned() };
        let answer = if version == 0 { Err(none) } else { Ok(vec![version; asks.len()]) };
        Box::pin(std::future::ready(answer))
    }

    fn labels(&self, context: Arc<Context>, query: LabelQuery) -> SourceAnswer<LabelAnswer> {
        let found = self.of(&context).matching(&query.matcher_sets, query.range);
        let limit = if query.limit == 0 { usize::MAX } else { query.limit.try_into().unwrap() };
        let texts = |all: BTreeSet<_>| LabelAnswer::Texts(all.into_iter().take(limit).collect());
        self.answer(match &query.want {
            LabelWant::Names => texts(
                found
                    .iter()
                    .flat_map(|one| one.labels.iter().map(|(name, _)| name.clone()))
                    .collect(),
            ),
            LabelWant::Values(name) => {
                texts(found.iter().filter_map(|one| one.labels.get(name).cloned()).collect())
            }
            LabelWant::Series => {
                LabelAnswer::Series(found.into_iter().map(|one| one.labels).take(limit).collect())
            }
            LabelWant::SeriesPart(part) => {
                let sets = found.into_iter().map(|one| one.labels);
                let sets: Vec<LabelSet> = sets.filter(|set| part.holds(set)).collect();
                if sets.len() > limit {
                    let (kind, message) = (model::Kind::Unexecutable, "too many".to_owned());
                    return Box::pin(std::future::ready(Err(SourceError { kind, message })));
                }
                LabelAnswer::Series(sets)
            }
        })
    }

    fn metadata(
        &self,
        context: Arc<Context>,
        query: MetadataQuery,
    ) -> SourceAnswer<MetadataAnswer> {
        let mut found = self.of(&context).metadata;
        found.retain(|one| query.metric.as_ref().is_none_or(|metric| *metric == one.metric));
        self.answer(found)
    }

    fn exemplars(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> SourceAnswer<Vec<SeriesExemplars>> {
        let sets: Vec<Vec<CompiledMatcher>> = query
            .matcher_sets
            .iter()
            .map(|set| set.iter().map(|matcher| matcher.compile().unwrap()).collect())
            .collect();
        let mut found = self.of(&context).exemplars;
        found.retain_mut(|one| {
            one.exemplars.retain(|e| query.range.contains(TimestampMs(e.timestamp_ms)));
            let is_asked = sets.iter().any(|set| set.iter().all(|m| m.matches_labels(&one.labels)));
            is_asked && !one.exemplars.is_empty()
        });
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.answer(found)
    }

    fn delete(&self, context: Arc<Context>, request: DeleteRequest) -> SourceAnswer<()> {
        self.deletes.lock().unwrap().push((context.tenant.as_str().to_owned(), request));
        self.answer(())
    }

    fn purge(&self, context: Arc<Context>) -> SourceAnswer<()> {
        self.purges.lock().unwrap().push(context.tenant.as_str().to_owned());
        self.answer(())
    }
}

/// The data that "filled" means: `up` of two instances, a counter, a name with dots.
pub(crate) fn filled() -> Data {
    let minutes: Vec<(i64, f64)> = (0..=60).rev().map(|n| (n * 60, 1.0)).collect();
    let counter: Vec<(i64, f64)> = (0..=60).rev().map(|n| (n * 60, 3_600.0 - n as f64)).collect();
    Data::default()
        .series(&[("__name__", "up"), ("job", "a"), ("instance", "h:1")], &minutes)
        .series(&[("__name__", "up"), ("job", "b"), ("instance", "h:2")], &minutes)
        .series(&[("__name__", "c_total"), ("job", "a"), ("instance", "h:1")], &counter)
        .series(&[("__name__", "http.requests"), ("http.method", "GET"), ("job", "a")], &counter)
        .series(&[("__name__", "old"), ("job", "gone")], &[(10 * 86_400, 1.0)])
        .metadata("c_total", MetricType::Counter, "Things \"counted\".")
        .metadata("up", MetricType::Gauge, "")
}

/// A server under test and its client.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    router: Router,
    pub(crate) registry: prometheus::Registry,
    pub(crate) lines: Lines,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    /// The data of a success.
    pub(crate) fn data(&self) -> Json {
        assert_eq!(self.status, 200, "{}", self.text());
        assert!(self.text().starts_with("{\"status\":\"success\",\"data\":"), "{}", self.text());
        self.json()["data"].clone()
    }

    /// Status, `errorType` and text of an error.
    pub(crate) fn error(&self) -> (u16, String, String) {
        assert_eq!(self.headers["content-type"], "application/json");
        let json = self.json();
        assert_eq!(json["status"], "error");
        assert!(json.get("data").is_none(), "{json}");
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        (self.status.as_u16(), text("errorType"), text("error"))
    }

    pub(crate) fn header(&self, name: &str) -> String {
        let values = self.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
        values.collect::<Vec<_>>().join(", ")
    }
}

impl Server {
    pub(crate) fn new(memory: Memory, tenancy: Tenancy, limits: Limits) -> Self {
        Self::with(memory, tenancy, limits, Settings::default())
    }

    pub(crate) fn with(
        memory: Memory,
        tenancy: Tenancy,
        limits: Limits,
        settings: Settings,
    ) -> Self {
        Self::at(StandingClock::default(), memory, tenancy, limits, settings)
    }

    /// One on which each look at the clock is a second after the one before: all that is asked of it goes
    /// on for long.
    pub(crate) fn slow(data: Data) -> Self {
        let memory = Memory { tenants: [("default".to_owned(), data)].into(), ..Memory::default() };
        let clock = StandingClock { tick_ns: 1_000_000_000, ..StandingClock::default() };
        Self::at(clock, memory, one_tenant(), Limits::default(), Settings::default())
    }

    fn at(
        clock: StandingClock,
        memory: Memory,
        tenancy: Tenancy,
        limits: Limits,
        settings: Settings,
    ) -> Self {
        let registry = prometheus::Registry::new();
        let parts = Parts {
            source: Arc::new(memory),
            clock: Arc::new(clock),
            tenancy,
            limits: LimitTable::new(limits),
            settings,
            version: "0.1.0-test".to_owned(),
            config_yaml: "tenancy: single\n".to_owned(),
            registry: registry.clone(),
        };
        let origins = Origins { allowed: vec!["https://grafana.example".to_owned()] };
        let querier = Querier::new(parts).unwrap();
        let lines = querier.inner.lines.clone();
        Self { router: dress(querier.router(), origins), registry, lines }
    }

    pub(crate) fn single(data: Data) -> Self {
        let memory = Memory { tenants: [("default".to_owned(), data)].into(), ..Memory::default() };
        Self::new(memory, one_tenant(), Limits::default())
    }

    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Got {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Got { status: parts.status, headers: parts.headers, body }
    }

    /// GETs a path with its query.
    pub(crate) async fn fetch(&self, uri: &str) -> Got {
        self.send(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    /// GETs a path under `/api/v1/`, its parameters encoded.
    pub(crate) async fn get(&self, path: &str, params: &[(&str, &str)]) -> Got {
        self.fetch(&format!("/api/v1/{path}?{}", encode(params))).await
    }

    /// POSTs a form to a path under `/api/v1/`.
    pub(crate) async fn post(&self, path: &str, params: &[(&str, &str)]) -> Got {
        self.send(form(path, params)).await
    }
}

/// A form for a path under `/api/v1/`.
pub(crate) fn form(path: &str, params: &[(&str, &str)]) -> Request<Body> {
    Request::post(format!("/api/v1/{path}"))
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .body(Body::from(encode(params)))
        .unwrap()
}

pub(crate) fn one_tenant() -> Tenancy {
    Tenancy::Single(TenantId::parse("default").unwrap())
}

/// Parameters as a browser encodes them.
pub(crate) fn encode(params: &[(&str, &str)]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let part = |text: &str| {
        text.bytes().fold(String::new(), |mut out, byte| {
            match byte {
                b' ' => out.push('+'),
                byte if plain(byte) => out.push(char::from(byte)),
                byte => out.push_str(&format!("%{byte:02X}")),
            }
            out
        })
    };
    let pairs: Vec<String> =
        params.iter().map(|(key, value)| format!("{}={}", part(key), part(value))).collect();
    pairs.join("&")
}
