//! Routes that every role has: health, readiness, our own metrics.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use parking_lot::Mutex;
use prometheus::{Registry, TextEncoder};
use std::sync::Arc;

/// Whether this process takes requests, and if not, why.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    // Guards the reason only; nothing else is locked under it.
    reason: Arc<Mutex<Option<&'static str>>>,
}

impl Readiness {
    /// Not ready: it starts.
    #[must_use]
    pub(crate) fn starting() -> Self {
        Self { reason: Arc::new(Mutex::new(Some("starting"))) }
    }

    /// Ready from now on.
    pub(crate) fn set_ready(&self) {
        *self.reason.lock() = None;
    }

    /// Not ready any more.
    pub(crate) fn set_draining(&self) {
        *self.reason.lock() = Some("draining: this process is about to end");
    }
}

#[derive(Clone, Debug)]
struct Parts {
    readiness: Readiness,
    registry: Registry,
}

/// The routes.
pub(crate) fn router(readiness: Readiness, registry: Registry) -> Router {
    Router::new()
        .route("/-/healthy", get(async || "Cumae is healthy.\n"))
        .route("/-/ready", get(ready))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Parts { readiness, registry })
}

async fn ready(State(parts): State<Parts>) -> Response {
    let reason = *parts.readiness.reason.lock();
    match reason {
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
