//! Metrics that have many of the series they may have: told before new ones are refused.
//!
//! Not here: the refusal (`head.rs`), what the limit is (`AppendLimits`).

use super::Engine;
use crate::head::Tenant;
use model::{TenantId, Text};
use std::sync::Arc;

/// People want to know when a metric has this part of the series that it may have.
const WARN_SHARE: u64 = 5;
/// So many are named at once.
const NAMED_MAX: usize = 32;

/// A metric with a fifth of the series that it may have, or more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct LargeMetric {
    pub tenant: TenantId,
    pub metric: Text,
    /// Open series of it.
    pub series: u64,
    /// How many it may have.
    pub limit: u64,
}

impl Engine {
    /// The metrics with a fifth or more of the open series that `limit_of` a tenant lets each have,
    /// at most 32 of those of which nobody `was_told`. It looks at every metric of the head: once a
    /// minute is often enough.
    pub fn large_metrics(
        &self,
        limit_of: impl Fn(&TenantId) -> u64,
        was_told: impl Fn(&TenantId, &str) -> bool,
    ) -> Vec<LargeMetric> {
        let tenants: Vec<Arc<Tenant>> = self.tenants.read().values().cloned().collect();
        let mut named = Vec::new();
        for tenant in tenants {
            let limit = limit_of(&tenant.id);
            if limit == u64::MAX {
                continue;
            }
            let least = limit.div_ceil(WARN_SHARE).max(1);
            let large = tenant.metrics_of(least).into_iter().map(|(metric, series)| LargeMetric {
                tenant: tenant.id.clone(),
                metric,
                series,
                limit,
            });
            let large = large.filter(|large| !was_told(&large.tenant, &large.metric));
            named.extend(large.take(NAMED_MAX - named.len()));
            if named.len() == NAMED_MAX {
                break;
            }
        }
        named
    }
}
