//! The querier: its parts, and what it keeps between two requests.

use crate::active::Active;
use crate::admission::Admission;
use crate::cache::{Cache, CacheMetrics};
use crate::federation::Federated;
use crate::flights::Flights;
use crate::history::History;
use crate::memory::Pool;
use crate::metrics::Metrics;
use crate::name_stats::NameStats;
use crate::routes;
use crate::source::Source;
use crate::threads::EvaluationThreads;
use crate::turns::Lines;
use axum::Router;
use guard::{LimitTable, QueryLimits, Tenancy};
use model::{Clock, RequestId, TenantId, TimestampMs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a querier is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where series come from.
    pub source: Arc<dyn Source>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// One tenant or many.
    pub tenancy: Tenancy,
    /// The limits of every tenant.
    pub limits: LimitTable,
    /// What a user sets for all tenants together.
    pub settings: Settings,
    /// The version of this program.
    pub version: String,
    /// The configuration in force, without secrets, as `status/config` shows it.
    pub config_yaml: String,
    /// Where the querier's own metrics go.
    pub registry: prometheus::Registry,
}

/// What a user sets for all tenants together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How far a selector looks back for a sample, in milliseconds. Raise it when scrapes are
    /// rarer than every five minutes.
    pub lookback_delta_ms: i64,
    /// The step of a subquery that names none, in milliseconds.
    pub evaluation_interval_ms: i64,
    /// How many queries of all tenants run at once; an evaluation holds a thread. Slots that become
    /// free go to the tenant that has the fewest.
    pub evaluations_max: usize,
    /// On how many threads one query that reads much is evaluated; best the number of processors.
    pub workers: usize,
    /// A query that takes so many milliseconds or longer gets a line in the log; 0 is never.
    pub slow_query_ms: u64,
    /// How many bytes of answers to range queries are kept for the next time; 0 keeps none.
    pub cache_bytes: u64,
    /// How many bytes all queries may take together; more are refused.
    pub memory_bytes: u64,
    /// Which experiments of the language are on.
    pub features: promql::Features,
}

impl Default for Settings {
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            lookback_delta_ms: 300_000,
            evaluation_interval_ms: 60_000,
            evaluations_max: 64,
            workers,
            slow_query_ms: 10_000,
            cache_bytes: 256 << 20,
            memory_bytes: u64::MAX,
            features: promql::Features::default(),
        }
    }
}

/// So many queries at once work on all processors; more would only take turns.
const IN_SHARDS_MAX: usize = 4;

/// Answers the query API.
#[derive(Clone, Debug)]
pub struct Querier {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenancy: Tenancy,
    pub(crate) limits: LimitTable,
    pub(crate) settings: Settings,
    pub(crate) version: String,
    pub(crate) config_yaml: String,
    pub(crate) metrics: Metrics,
    pub(crate) admission: Arc<Admission>,
    /// Whose heavy query is at work: of those that run, so many as there is use for.
    pub(crate) lines: Lines,
    pub(crate) threads: EvaluationThreads,
    pub(crate) active: Arc<Active>,
    pub(crate) history: History,
    pub(crate) flights: Arc<Flights>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) memory: Arc<Pool>,
    pub(crate) names: Arc<NameStats>,
    pub(crate) started: TimestampMs,
    request_ids: AtomicU64,
}

impl Querier {
    /// Puts the parts together.
    ///
    /// # Errors
    /// If the registry has metrics of these names already.
    pub fn new(parts: Parts) -> Result<Self, prometheus::Error> {
        let started = parts.clock.now();
        let inner = Inner {
            source: Arc::new(Federated(parts.source)),
            names: Arc::new(NameStats::new(started)),
            tenancy: parts.tenancy,
            limits: parts.limits,
            version: parts.version,
            config_yaml: parts.config_yaml,
            metrics: Metrics::new(&parts.registry)?,
            admission: Admission::new(parts.settings.evaluations_max),
            lines: Lines {
                light: Admission::new(parts.settings.evaluations_max),
                alone: Admission::new(parts.settings.workers),
                in_shards: Admission::new(IN_SHARDS_MAX),
                processors: parts.settings.workers,
            },
            threads: EvaluationThreads::default(),
            active: Arc::default(),
            history: History::default(),
            flights: Arc::default(),
            memory: Pool::new(parts.settings.memory_bytes, &parts.registry)?,
            cache: Arc::new(Cache::new(
                parts.settings.cache_bytes,
                CacheMetrics::new(&parts.registry)?,
            )),
            settings: parts.settings,
            started,
            request_ids: AtomicU64::new(started.0.unsigned_abs() << 20),
            clock: parts.clock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The routes of CONTRACTS.md section 4 and the pages at `/`. Merge it with the other roles'
    /// routes, then call [`crate::dress`] once.
    pub fn router(&self) -> Router {
        routes::router(self.clone())
    }

    pub(crate) fn limits_of(&self, tenant: &TenantId) -> &QueryLimits {
        &self.inner.limits.of(tenant).query
    }

    pub(crate) fn next_request_id(&self) -> RequestId {
        RequestId(self.inner.request_ids.fetch_add(1, Ordering::Relaxed))
    }
}
