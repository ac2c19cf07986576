//! Routes that show what is done to a tenant's series as they come in: the steps of its rules, and who
//! is elected of its HA pairs.

use crate::relabel::steps_json;
use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use distributor::Distributor;
use guard::ha::ClusterStatus;
use guard::identity::TENANT_HEADER;
use guard::{Access, LimitTable, Tenancy};
use http::{HeaderMap, StatusCode, header};
use model::{Kind, TenantId};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
struct Parts {
    distributor: Distributor,
    limits: Arc<LimitTable>,
    tenancy: Tenancy,
}

type Answer = Result<Value, (Kind, String)>;

/// The routes.
pub(crate) fn router(
    distributor: Distributor,
    limits: Arc<LimitTable>,
    tenancy: Tenancy,
) -> Router {
    Router::new()
        .route("/distributor/relabel_steps", get(relabel_steps))
        .route("/distributor/ha_tracker", get(ha_tracker))
        .with_state(Parts { distributor, limits, tenancy })
}

async fn relabel_steps(
    State(parts): State<Parts>,
    headers: HeaderMap,
    Query(parameters): Query<HashMap<String, String>>,
) -> Response {
    let steps = |tenant: TenantId| {
        let given = parameters.get("series");
        let given = given.ok_or_else(|| "no series: ?series=up{job=\"a\"}".to_owned());
        let steps =
            given.and_then(|text| steps_json(&parts.limits.of(&tenant).relabel_rules, text));
        steps.map_err(|error| (Kind::Invalid, error))
    };
    told(parts.tenant(&headers).and_then(steps))
}

async fn ha_tracker(State(parts): State<Parts>, headers: HeaderMap) -> Response {
    told(parts.tenant(&headers).map(|tenant| {
        let clusters = parts.distributor.ha_status(&tenant);
        let clusters: Vec<Value> = clusters.iter().map(cluster_json).collect();
        json!({"enabled": parts.limits.of(&tenant).ha.is_on, "clusters": clusters})
    }))
}

fn cluster_json(status: &ClusterStatus) -> Value {
    let replica = |name: &str, silent_ms: u64| json!({"replica": name, "silent_ms": silent_ms});
    let waiting = status.waiting.iter().map(|(name, silent_ms)| replica(name, *silent_ms));
    json!({
        "cluster": &*status.cluster,
        "elected": replica(&status.elected, status.silent_ms),
        "waiting": waiting.collect::<Vec<_>>(),
        "elections": status.elections,
    })
}

impl Parts {
    fn tenant(&self, headers: &HeaderMap) -> Result<TenantId, (Kind, String)> {
        let org_ids = headers.get_all(TENANT_HEADER).iter().map(|value| value.as_bytes());
        let tenant = self.tenancy.tenant(org_ids, Access::Read);
        tenant.map_err(|error| (error.kind(), error.to_string()))
    }
}

fn told(answer: Answer) -> Response {
    let (status, body) = match answer {
        Ok(data) => (StatusCode::OK, json!({"status": "success", "data": data})),
        Err((kind, error)) => {
            let error_type = wire::http_error::error_type(kind);
            let body = json!({"status": "error", "errorType": error_type, "error": error});
            (wire::http_error::status(kind), body)
        }
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
