//! What the distributor counts about itself.

use crate::error::Error;
use crate::gate::Cause;
use crate::refusal::{Item, Reason, Refusals};
use crate::tenant::Tenant;
use model::TenantId;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, core::Collector,
};
use std::sync::OnceLock;

/// All tenants of which nothing was ever written are counted as one, under the name that none can have:
/// whoever invents names would pile them up.
const NOT_BEGUN: &str = "";

/// The counters.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    received: IntCounterVec,
    refused: IntCounterVec,
    dropped: IntCounterVec,
    requests: IntCounterVec,
    replica_failures: IntCounterVec,
    resent: IntCounter,
    failovers: IntCounterVec,
    not_held: IntCounterVec,
    duration: Histogram,
}

/// The counters of one tenant, each found once, when something of its kind came: most of many tenants
/// send floats and nothing else.
#[derive(Clone, Debug, Default)]
pub(crate) struct TenantCounters {
    /// By the place of the kind in [`Item::ALL`].
    received: [OnceLock<IntCounter>; Item::ALL.len()],
}

impl Telemetry {
    /// Registers the counters.
    ///
    /// # Errors
    /// [`Error::Internal`] if one of the names is taken.
    pub(crate) fn new(registry: &Registry) -> Result<Self, Error> {
        let vec = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).map_err(internal)
        };
        let telemetry = Self {
            received: vec(
                "cumae_distributor_samples_received_total",
                "Samples and exemplars that came in, refused ones included, by kind: float, histogram, exemplar.",
                &["tenant", "kind"],
            )?,
            refused: vec(
                "cumae_distributor_samples_refused_total",
                "Samples and exemplars that were refused one by one, by kind: float, histogram, exemplar. Those of tenants of which nothing was written yet have no tenant.",
                &["tenant", "kind", "reason"],
            )?,
            dropped: vec(
                "cumae_distributor_samples_dropped_total",
                "Samples and exemplars that were taken and kept nowhere, as the tenant wishes, by cause: relabel, ha.",
                &["tenant", "kind", "cause"],
            )?,
            requests: vec(
                "cumae_distributor_write_requests_total",
                "Write requests by the status they were answered with.",
                &["code"],
            )?,
            replica_failures: vec(
                "cumae_distributor_replica_failures_total",
                "Writes that a replica did not take.",
                &["replica"],
            )?,
            resent: IntCounter::new(
                "cumae_distributor_writes_resent_total",
                "Writes sent again with labels because a replica had forgotten its numbers.",
            )
            .map_err(internal)?,
            failovers: vec(
                "cumae_distributor_ha_failovers_total",
                "Times that a replica of an HA pair was elected in the place of another.",
                &["tenant"],
            )?,
            not_held: vec(
                "cumae_distributor_ha_not_held_total",
                "Requests of waiting HA replicas that were not held for a fail-over, for want of room, or that no replica takes.",
                &["tenant"],
            )?,
            duration: Histogram::with_opts(
                HistogramOpts::new(
                    "cumae_distributor_write_duration_seconds",
                    "From the headers of a write request to its answer.",
                )
                .buckets(vec![
                    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                ]),
            )
            .map_err(internal)?,
        };
        telemetry.register(registry)?;
        Ok(telemetry)
    }

    fn register(&self, registry: &Registry) -> Result<(), Error> {
        let collectors: [Box<dyn Collector>; 9] = [
            Box::new(self.received.clone()),
            Box::new(self.refused.clone()),
            Box::new(self.dropped.clone()),
            Box::new(self.failovers.clone()),
            Box::new(self.not_held.clone()),
            Box::new(self.requests.clone()),
            Box::new(self.replica_failures.clone()),
            Box::new(self.resent.clone()),
            Box::new(self.duration.clone()),
        ];
        collectors.into_iter().try_for_each(|one| registry.register(one)).map_err(internal)
    }

    /// Counts what came with a request.
    pub(crate) fn receive(&self, tenant: &Tenant, refusals: &Refusals) {
        for (item, counter) in Item::ALL.into_iter().zip(&tenant.counters.received) {
            let count = refusals.received(item);
            if count == 0 {
                continue;
            }
            let of = |name: &str| self.received.with_label_values(&[name, item.name()]);
            match tenant.has_begun() {
                true => counter.get_or_init(|| of(tenant.id.as_str())).inc_by(count),
                // The tenant may begin yet: its own counter is not to be this one.
                false => of(NOT_BEGUN).inc_by(count),
            }
        }
    }

    /// Drops the counters of a tenant that went away, so that names do not pile up.
    pub(crate) fn forget_tenant(&self, tenant: &TenantId) {
        // What is not there need not be dropped.
        let _ = self.failovers.remove_label_values(&[tenant.as_str()]);
        let _ = self.not_held.remove_label_values(&[tenant.as_str()]);
        for kind in Item::ALL.map(Item::name) {
            let _ = self.received.remove_label_values(&[tenant.as_str(), kind]);
            for reason in Reason::ALL.map(Reason::name) {
                let _ = self.refused.remove_label_values(&[tenant.as_str(), kind, reason]);
            }
            for cause in Cause::ALL.map(Cause::name) {
                let _ = self.dropped.remove_label_values(&[tenant.as_str(), kind, cause]);
            }
        }
    }

    /// Counts what was refused and dropped of a request.
    pub(crate) fn refused(&self, tenant: &Tenant, refusals: &Refusals) {
        let tenant = if tenant.has_begun() { tenant.id.as_str() } else { NOT_BEGUN };
        for item in Item::ALL {
            for (reason, count) in refusals.by_reason(item) {
                let labels = [tenant, item.name(), reason.name()];
                self.refused.with_label_values(&labels).inc_by(count);
            }
            for (cause, count) in refusals.dropped_by_cause(item) {
                let labels = [tenant, item.name(), cause.name()];
                self.dropped.with_label_values(&labels).inc_by(count);
            }
        }
    }

    pub(crate) fn answered(&self, code: u16, seconds: f64) {
        self.requests.with_label_values(&[&code.to_string()]).inc();
        self.duration.observe(seconds);
    }

    pub(crate) fn replica_failed(&self, replica: &str) {
        self.replica_failures.with_label_values(&[replica]).inc();
    }

    pub(crate) fn not_held(&self, tenant: &TenantId) {
        self.not_held.with_label_values(&[tenant.as_str()]).inc();
    }

    pub(crate) fn failed_over(&self, tenant: &TenantId) {
        self.failovers.with_label_values(&[tenant.as_str()]).inc();
    }

    pub(crate) fn resent(&self) {
        self.resent.inc();
    }
}

fn internal(error: prometheus::Error) -> Error {
    Error::Internal(format!("metrics: {error}"))
}
