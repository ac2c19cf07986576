//! `user_stats`, `all_user_stats`: how many series a tenant has open, and how many samples come.
//!
//! Every ingester counts what it keeps. Each series and sample is kept as often as the replication
//! factor says; of ingesters that do not answer the average is taken.

use crate::call::Call;
use crate::error::Error;
use crate::json;
use crate::querier::Querier;
use crate::run;
use crate::select::{ReplicatedSource, unavailable};
use crate::status::rfc3339;
use axum::response::Response;
use cluster::Unavailable;
use futures_util::future::join_all;
use guard::Tenancy;
use model::read::{ACTIVITY_WINDOW_MS, Activity};
use model::{Context, Kind};
use promql::SourceError;
use std::io::Write;
use std::sync::Arc;

pub(crate) async fn user_stats(querier: Querier, call: Call) -> Result<Response, Error> {
    let Activity { series, samples } = activity(&querier, &call).await?;
    let rate = per_second(samples);
    let mut out = Vec::new();
    // Writing into memory does not fail. No rules are evaluated here.
    let _ = write!(
        out,
        "{{\"ingestionRate\":{rate},\"numSeries\":{series},\"APIIngestionRate\":{rate},\
         \"RuleIngestionRate\":0}}"
    );
    Ok(json::response(out))
}

/// Of every tenant. With several, nobody who asks can be known to be an operator as long as
/// authentication is off.
pub(crate) async fn all_user_stats(querier: Querier, call: Call) -> Result<Response, Error> {
    let Tenancy::Single(tenant) = &querier.inner.tenancy else {
        return Err(Error::new(Kind::Denied, "only operators may read what all tenants do"));
    };
    let Activity { series, samples } = activity(&querier, &call).await?;
    let mut out = b"{\"now\":".to_vec();
    json::push_string(&mut out, &rfc3339(querier.inner.clock.now()));
    out.extend_from_slice(b",\"stats\":[{\"userID\":");
    json::push_string(&mut out, tenant.as_str());
    let (rate, factor) = (per_second(samples), querier.inner.source.replication_factor());
    let _ = write!(
        out,
        ",\"ingestionRate\":{rate},\"numSeries\":{series}}}],\"replicationFactor\":{factor}}}"
    );
    Ok(json::response(out))
}

async fn activity(querier: &Querier, call: &Call) -> Result<Activity, Error> {
    let ask = |context| querier.inner.source.activity(context);
    Ok(run::bounded(querier, &call.context, ask, |_| 0).await?.0)
}

#[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
fn per_second(samples: u64) -> f64 {
    samples as f64 * 1_000.0 / ACTIVITY_WINDOW_MS as f64
}

impl ReplicatedSource {
    /// What there is of the tenant just now.
    ///
    /// # Errors
    /// `Unavailable` if no ingester answers.
    pub async fn activity(&self, context: &Arc<Context>) -> Result<Activity, SourceError> {
        let asked = self.replicas.values().map(|replica| replica.activity(Arc::clone(context)));
        let (mut answered, mut failures, mut sum) = (0, Vec::new(), Activity::default());
        for answer in join_all(asked).await {
            match answer {
                Ok(Activity { series, samples }) => {
                    answered += 1;
                    sum.series += series;
                    sum.samples += samples;
                }
                Err(error) => failures.push(error),
            }
        }
        if answered == 0 {
            return Err(unavailable(Unavailable { required: 1, alive: 0 }, &failures));
        }
        let of_all = self.replicas.len() as u64;
        let copies = self.topology.placement.replication_factor().max(1) as u64;
        let once = |sum: u64| (sum * of_all).div_ceil(answered * copies);
        Ok(Activity { series: once(sum.series), samples: once(sum.samples) })
    }
}
