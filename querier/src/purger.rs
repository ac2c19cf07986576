//! `/purger/delete_tenant` and its status: everything that a tenant has, up to now.
//!
//! It is a delete of every series and a purge: from the answer on nothing of it is found, the bytes
//! leave the disks soon after. What is written later is kept: the tenant may begin anew.
//!
//! Not here: which replicas have to agree (`delete.rs`); the same for some series (`admin.rs`).

use crate::admin::who;
use crate::call::Call;
use crate::cardinality::series_of_all_times;
use crate::error::Error;
use crate::json;
use crate::querier::Querier;
use crate::time_param::TIME_MIN;
use axum::body::Body;
use axum::response::Response;
use model::{DeleteRequest, TimeRange};

/// Deletes all that the tenant has.
pub(crate) async fn delete_tenant(querier: Querier, call: Call) -> Result<Response, Error> {
    let range = TimeRange::inclusive(TIME_MIN, querier.inner.clock.now());
    // No matcher: every series.
    let request = DeleteRequest { matcher_sets: vec![Vec::new()], range, revision_max: 0 };
    let source = &querier.inner.source;
    let mut outcome = source.delete(call.context.clone(), request).await;
    if outcome.is_ok() {
        outcome = source.purge(call.context.clone()).await;
    }
    let (principal, tenant) = (who(&call), call.context.tenant.as_str());
    let request_id = call.context.request_id;
    match outcome {
        Ok(()) => {
            tracing::info!(%principal, tenant, %request_id, "tenant deleted as asked");
            Ok(Response::new(Body::empty()))
        }
        Err(error) => {
            tracing::warn!(%principal, tenant, %request_id, "deleting the tenant failed: {}", error.message);
            Err(error.into())
        }
    }
}

/// Whether anything of the tenant is found.
pub(crate) async fn status(querier: Querier, call: Call) -> Result<Response, Error> {
    let series = series_of_all_times(&querier, &call).await?;
    let tenant = call.context.tenant.as_str();
    // A tenant's name has no character that JSON would escape.
    let told = format!("{{\"tenant_id\":\"{tenant}\",\"blocks_deleted\":{}}}", series == 0);
    Ok(json::response(told.into_bytes()))
}
