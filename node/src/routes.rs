//! Routes that every role has: health, readiness, our own metrics.

use crate::parts::random_u64;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cluster::Topology;
use http::{StatusCode, header};
use ingester::Embedded;
use ingester::cassandra::fleet::Fleet;
use ingester::cassandra::member::Places;
use model::Kind;
use parking_lot::Mutex;
use prometheus::{Registry, TextEncoder};
use serde_json::json;
use std::sync::Arc;
use wire::peer::PeerClient;

/// Which ingesters this process can reach.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    clients: Vec<Arc<PeerClient>>,
    /// So many may be out of reach, and every write and read still finds its replicas.
    missing_max: usize,
    /// Of a process over a database instead.
    fleet: Option<Fleet>,
}

impl Peers {
    /// The peers of a process, by the layout of its cluster.
    pub(crate) fn new(topology: &Topology, clients: Vec<Arc<PeerClient>>) -> Self {
        let copies = topology.placement.replication_factor();
        let levels = [topology.write_consistency, topology.read_consistency];
        let needed = levels.map(|level| level.required(copies)).into_iter().max();
        let missing_max = copies.saturating_sub(needed.unwrap_or(copies));
        Self { clients, missing_max, fleet: None }
    }

    /// The peers of one of many processes over one database: it learns them from there.
    pub(crate) fn over_database(fleet: Fleet) -> Self {
        Self { clients: Vec::new(), missing_max: 0, fleet: Some(fleet) }
    }

    /// Who is out of reach, if too many are.
    fn missing(&self) -> Option<String> {
        if let Some(fleet) = &self.fleet {
            return fleet.why_not_ready();
        }
        let missing: Vec<&str> = self
            .clients
            .iter()
            .filter(|client| !client.is_up())
            .map(|client| client.member().name.as_str())
            .collect();
        (missing.len() > self.missing_max)
            .then(|| format!("too few peers: out of reach: {}", missing.join(", ")))
    }
}

/// Whether this process takes requests, and if not, why.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    // Guards the reason only; nothing else is locked under it.
    reason: Arc<Mutex<Option<&'static str>>>,
}

impl Readiness {
    /// Ready. While a process starts, `server::starting` answers in its place.
    pub(crate) fn ready() -> Self {
        Self { reason: Arc::default() }
    }

    /// Not ready any more.
    pub(crate) fn set_draining(&self) {
        *self.reason.lock() = Some("draining: this process is about to end");
    }
}

#[derive(Clone, Debug)]
struct Parts {
    readiness: Readiness,
    peers: Peers,
    registry: Registry,
}

impl Parts {
    /// Why this process takes no requests, if it does not.
    fn why_not(&self) -> Option<String> {
        let reason = self.readiness.reason.lock().map(str::to_owned);
        reason.or_else(|| self.peers.missing())
    }
}

/// The routes.
pub(crate) fn router(readiness: Readiness, peers: Peers, registry: Registry) -> Router {
    Router::new()
        .route("/-/healthy", get(async || "Cumae is healthy.\n"))
        .route("/-/ready", get(ready))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/ping", get(ping))
        .with_state(Parts { readiness, peers, registry })
}

/// What keeps a process's data.
#[derive(Clone, Debug)]
pub(crate) enum Keeper {
    /// Its directory.
    Embedded(Arc<Embedded>),
    /// A database, and some places of it.
    Places(Places),
}

/// The routes of a process that keeps data, for those who operate it.
pub(crate) fn ingester_router(ingester: Keeper) -> Router {
    let mut router = Router::new().route("/ingester/flush", post(flush));
    for prefix in querier::PREFIXES {
        let path = format!("{prefix}/api/v1/admin/tsdb/snapshot");
        router = router.route(&path, post(snapshot).put(snapshot));
    }
    router.with_state(ingester)
}

/// Takes a snapshot of this node's data, of all tenants, and answers its name.
async fn snapshot(State(keeper): State<Keeper>) -> Response {
    let Keeper::Embedded(ingester) = keeper else {
        let error = "the data lies in Cassandra: it is copied there (nodetool snapshot)";
        let error_type = wire::http_error::error_type(Kind::Unsupported);
        let answer = json!({"status": "error", "errorType": error_type, "error": error});
        let status = wire::http_error::status(Kind::Unsupported);
        return (status, [(header::CONTENT_TYPE, "application/json")], answer.to_string())
            .into_response();
    };
    let taken = match random_u64() {
        Ok(random) => {
            ingester.snapshot(random).await.map_err(|error| (error.kind, error.to_string()))
        }
        Err(error) => Err((Kind::Unavailable, format!("no random bits: {error}"))),
    };
    let (status, answer) = match taken {
        Ok(snapshot) => {
            let (name, bytes) = (&snapshot.name, snapshot.bytes());
            tracing::info!(name, files = snapshot.files.len(), bytes, "snapshot taken");
            (StatusCode::OK, json!({"status": "success", "data": {"name": name}}))
        }
        Err((kind, error)) => {
            tracing::error!(%error, "the snapshot that was asked for failed");
            let error_type = wire::http_error::error_type(kind);
            let answer = json!({"status": "error", "errorType": error_type, "error": error});
            (wire::http_error::status(kind), answer)
        }
    };
    (status, [(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

/// Answers when everything that was accepted before is in sstables, and with `seal=true` these in
/// their dense form: before a copy, or a measurement.
async fn flush(State(keeper): State<Keeper>, RawQuery(query): RawQuery) -> Response {
    let seals = query.is_some_and(|query| query.split('&').any(|pair| pair == "seal=true"));
    let sealed = async |keeper| match keeper {
        Keeper::Embedded(ingester) => ingester.seal().await,
        Keeper::Places(places) => places.seal().await,
    };
    let flushed = async |keeper| match keeper {
        Keeper::Embedded(ingester) => ingester.flush().await,
        Keeper::Places(places) => places.flush().await,
    };
    let done = match seals {
        true => sealed(keeper).await.map(|sealed| {
            let (windows, bytes) = (sealed.windows, sealed.written_bytes);
            tracing::info!(windows, bytes, "flushed and sealed as asked");
        }),
        false => flushed(keeper).await.map(|report| {
            let (samples, sstables) = (report.samples, report.sstables);
            tracing::info!(samples, sstables, "flushed as asked");
        }),
    };
    match done {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            tracing::error!(%error, "the flush that was asked for failed");
            let status = wire::http_error::status(error.kind);
            (status, [(header::RETRY_AFTER, "1")], format!("{error}\n")).into_response()
        }
    }
}

/// What clients of InfluxDB ask before they write.
async fn health(State(parts): State<Parts>) -> Response {
    let answer = |status: &str| json!({"name": "influxdb", "status": status}).to_string();
    let json = [(header::CONTENT_TYPE, "application/json")];
    match parts.why_not() {
        None => (json, answer("pass")).into_response(),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, json, answer("fail")).into_response(),
    }
}

/// The same, asked by older ones: the answer is that there is one.
async fn ping() -> Response {
    let version = [("x-influxdb-version", env!("CARGO_PKG_VERSION"))];
    (StatusCode::NO_CONTENT, version).into_response()
}

async fn ready(State(parts): State<Parts>) -> Response {
    match parts.why_not() {
        None => "ready\n".into_response(),
        Some(reason) => {
            let headers = [(header::RETRY_AFTER, "1")];
            (StatusCode::SERVICE_UNAVAILABLE, headers, format!("{reason}\n")).into_response()
        }
    }
}

async fn metrics(State(parts): State<Parts>) -> Response {
    match TextEncoder::new().encode_to_string(&parts.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "our own metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
