//! Which path and method leads to which handler.
//!
//! Every path of the API stands under three prefixes: none, `/prometheus`, `/api/prom`.

use crate::call::{BodyIs, Call, Manner, Several};
use crate::error::Error;
use crate::querier::Querier;
use crate::{
    activity, admin, cardinality, exemplar_calls, explain, export, federate, label_calls,
    name_stats, page, purger, query_calls, query_status, remote_read, rules, status,
};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use guard::Access;
use model::Kind;
use std::future::Future;
use std::pin::Pin;

/// The prefixes that all lead to the same handlers.
pub const PREFIXES: [&str; 3] = ["", "/prometheus", "/api/prom"];

/// All routes of the querier.
pub(crate) fn router(querier: Querier) -> Router {
    let all_stats = endpoint(&querier, "all_user_stats", activity::all_user_stats);
    let delete_tenant = endpoint(&querier, "purger/delete_tenant", purger::delete_tenant);
    let status = endpoint(&querier, "purger/delete_tenant_status", purger::status);
    let mut router = Router::new()
        .route("/distributor/all_user_stats", get(all_stats))
        .route("/purger/delete_tenant", post(delete_tenant))
        .route("/purger/delete_tenant_status", get(status));
    for prefix in PREFIXES {
        for (path, methods) in api(&querier) {
            router = router.route(&format!("{prefix}/api/v1/{path}"), methods);
        }
        let federate = get(endpoint(&querier, "federate", federate::federate));
        router = router.route(&format!("{prefix}/federate"), federate);
        let reader = querier.clone();
        let page = get(async move |headers: HeaderMap| page::page(&reader, &headers));
        router = router.route(&format!("{prefix}/"), page.clone());
        if !prefix.is_empty() {
            router = router.route(prefix, page);
        }
    }
    router
}

fn api(querier: &Querier) -> Vec<(&'static str, MethodRouter)> {
    let mut routes = queries(querier);
    routes.extend(fixed(querier));
    routes.extend(administration(querier));
    routes
}

/// The calls that look at data.
fn queries(querier: &Querier) -> Vec<(&'static str, MethodRouter)> {
    macro_rules! both {
        ($route:literal, $handler:path) => {{
            let run = endpoint(querier, $route, $handler);
            ($route, get(run.clone()).post(run))
        }};
    }
    let values = endpoint(querier, "label_values", label_calls::values);
    let metadata = endpoint(querier, "metadata", label_calls::metadata);
    let read = endpoint(querier, "read", remote_read::read);
    vec![
        both!("query", query_calls::query),
        both!("query_range", query_calls::query_range),
        both!("explain", explain::explain),
        both!("export", export::export),
        both!("query_exemplars", exemplar_calls::query_exemplars),
        both!("format_query", query_calls::format_query),
        both!("parse_query", query_calls::parse_query),
        both!("labels", label_calls::names),
        both!("series", label_calls::series),
        ("label/{name}/values", get(values)),
        ("metadata", get(metadata)),
        ("read", post(read)),
    ]
}

/// The calls whose answers are fixed, or about this process.
fn fixed(querier: &Querier) -> Vec<(&'static str, MethodRouter)> {
    macro_rules! only_get {
        ($route:literal, $handler:path) => {
            ($route, get(endpoint(querier, $route, $handler)))
        };
    }
    vec![
        only_get!("rules", rules::rules),
        only_get!("alerts", rules::alerts),
        only_get!("targets", status::targets),
        only_get!("targets/metadata", status::empty_list),
        only_get!("scrape_pools", status::scrape_pools),
        only_get!("alertmanagers", status::alertmanagers),
        only_get!("notifications", status::empty_list),
        only_get!("features", status::features),
        only_get!("status/buildinfo", status::buildinfo),
        only_get!("status/runtimeinfo", status::runtimeinfo),
        only_get!("status/config", status::config),
        only_get!("status/flags", status::flags),
        only_get!("status/tsdb", cardinality::tsdb),
        only_get!("cardinality/label_names", cardinality::label_names),
        only_get!("cardinality/label_values", cardinality::label_values),
        only_get!("series/count", cardinality::series_count),
        only_get!("user_stats", activity::user_stats),
        only_get!("status/metric_names_stats", name_stats::metric_names_stats),
        only_get!("status/active_queries", query_status::active),
        only_get!("status/top_queries", query_status::top),
        only_get!("status/walreplay", status::walreplay),
    ]
}

/// The calls that change what is stored or runs. Never by GET: a link that is followed does nothing.
fn administration(querier: &Querier) -> Vec<(&'static str, MethodRouter)> {
    let delete_series = endpoint(querier, "admin/tsdb/delete_series", admin::delete_series);
    let cancel = endpoint(querier, "cancel_query", query_status::cancel);
    let clean = endpoint(querier, "admin/tsdb/clean_tombstones", admin::clean_tombstones);
    vec![
        ("admin/tsdb/delete_series", post(delete_series.clone()).put(delete_series)),
        ("admin/tsdb/clean_tombstones", post(clean.clone()).put(clean)),
        ("status/active_queries/{id}", delete(cancel)),
    ]
}

type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Reads the request, runs the handler, counts and times it, and renders its error.
fn endpoint<F, Fut>(
    querier: &Querier,
    route: &'static str,
    run: F,
) -> impl Fn(Request<Body>) -> Answer + Clone + Send + Sync + 'static
where
    F: Fn(Querier, Call) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, Error>> + Send + 'static,
{
    let querier = querier.clone();
    let manner = manner(route);
    move |request| {
        let (querier, run) = (querier.clone(), run.clone());
        Box::pin(async move {
            let flight = Flight::start(&querier, route);
            let answer = match Call::read(&querier, manner, request).await {
                Ok(call) => run(querier.clone(), call).await,
                Err(error) => Err(error),
            };
            flight.end(&answer);
            let random = querier.inner.clock.monotonic_ns();
            answer.unwrap_or_else(|error| match route {
                "read" | "federate" => error.into_text(random),
                _ => error.into_response(random),
            })
        })
    }
}

fn manner(route: &str) -> Manner {
    // Dashboards probe these for all tenants at once, and there is nothing to tell apart.
    let several = match route {
        "rules" | "alerts" => Several::Accepted,
        _ => Several::Refused,
    };
    let access = match route {
        "purger/delete_tenant" => Access::Write,
        _ if route.starts_with("admin/") => Access::Write,
        _ => Access::Read,
    };
    let body = if route == "read" { BodyIs::Message } else { BodyIs::Form };
    Manner { access, several, body }
}

/// One request in the metrics. Dropped without an end, the caller has left.
struct Flight {
    querier: Querier,
    route: &'static str,
    started_ns: u64,
    outcome: &'static str,
}

impl Flight {
    fn start(querier: &Querier, route: &'static str) -> Self {
        querier.inner.metrics.in_flight.inc();
        let started_ns = querier.inner.clock.monotonic_ns();
        Self { querier: querier.clone(), route, started_ns, outcome: "canceled" }
    }

    fn end(mut self, answer: &Result<Response, Error>) {
        self.outcome = match answer {
            Ok(_) => "success",
            Err(error) => {
                if matches!(error.kind(), Kind::Internal | Kind::Corrupt) {
                    tracing::error!(route = self.route, %error, "a request failed by our fault");
                }
                wire::http_error::error_type(error.kind())
            }
        };
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let metrics = &self.querier.inner.metrics;
        metrics.in_flight.dec();
        metrics.queries.with_label_values(&[self.route, self.outcome]).inc();
        let ns = self.querier.inner.clock.monotonic_ns().saturating_sub(self.started_ns);
        let seconds = std::time::Duration::from_nanos(ns).as_secs_f64();
        metrics.duration.with_label_values(&[self.route]).observe(seconds);
    }
}
