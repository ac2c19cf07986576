//! What a tenant may do: every limit, its key, its default.
//!
//! # Invariants
//! - 0 switches a limit off; [`Limit::get`] is the only place that knows that.
//! - Values are plain data. Who enforces one reads it here: bodies, rate, labels and time in
//!   `distributor`, open series on each replica, queries in `querier`.
//!
//! Not here: reading them from a file (`node`); spending the rate (`rate.rs`).

use crate::otlp::OtlpSettings;
use crate::relabel::{RelabelRule, Relabeling};
use model::{Retention, RetentionRule, RetentionRules, TenantId};
use std::collections::HashMap;
use std::sync::Arc;

/// One limit's value: 0 is "no limit".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit(pub u64);

impl Limit {
    /// The limit, or the greatest number there is when it is switched off.
    #[must_use]
    pub fn get(self) -> u64 {
        if self.0 == 0 { u64::MAX } else { self.0 }
    }

    /// Whether `count` is more than the limit allows.
    #[must_use]
    pub fn is_exceeded_by(self, count: u64) -> bool {
        count > self.get()
    }
}

/// What one tenant may do. Each field is a key of the configuration, durations without their `_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one write's body as sent.
    pub max_request_bytes: Limit,
    /// Bytes of one write's body after decompression.
    pub max_decoded_bytes: Limit,
    /// Series in one write.
    pub max_request_series: Limit,
    /// Samples in one write.
    pub max_request_samples: Limit,
    /// Samples per second.
    pub ingestion_rate: Limit,
    /// Samples at once; 0 is two seconds of `ingestion_rate`.
    pub ingestion_burst: u64,
    /// Open series.
    pub max_series: Limit,
    /// Open series of one metric.
    pub max_series_per_metric: Limit,
    /// Labels of one series.
    pub max_labels: Limit,
    /// Bytes of a label name.
    pub max_label_name_bytes: Limit,
    /// Bytes of a label value.
    pub max_label_value_bytes: Limit,
    /// Bytes of all names and values of one series.
    pub max_labels_bytes: Limit,
    /// How far a sample may lie ahead of the clock, in milliseconds.
    pub max_future_ms: Limit,
    /// How far a sample may lie behind the clock, in milliseconds; 0 keeps for ever.
    pub retention_ms: Limit,
    /// How far behind the clock samples of certain series may lie: the first rule that matches
    /// decides, and `retention_ms` if none does (`retention_rules`).
    pub retention_rules: Vec<RetentionRule>,
    /// Metrics whose metadata is kept.
    pub max_metadata: Limit,
    /// Exemplars kept by each replica; the oldest go.
    pub max_exemplars: Limit,
    /// Buckets of one native histogram; its resolution is lowered as far as needed.
    pub max_native_histogram_buckets: Limit,
    /// What is done to series as they come in (`metric_relabel_configs`).
    pub relabel_rules: Vec<RelabelRule>,
    /// How samples of HA pairs are kept once.
    pub ha: HaLimits,
    /// What queries may do.
    pub query: QueryLimits,
    /// How OTLP metrics are translated; no limit, but each tenant's own too.
    pub otlp: OtlpSettings,
}

/// How samples that several replicas send are kept once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaLimits {
    /// Whether they are (`accept_ha_samples`).
    pub is_on: bool,
    /// The label that says what the replicas send about (`ha_cluster_label`).
    pub cluster_label: String,
    /// The label that tells the replicas apart, which is not stored (`ha_replica_label`).
    pub replica_label: String,
    /// After so long a silence of one replica the next one's samples are kept
    /// (`ha_failover_timeout`).
    pub failover_ms: u64,
    /// Clusters (`ha_max_clusters`).
    pub max_clusters: Limit,
}

/// What the queries of one tenant may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// Series one query may touch (`max_query_series`).
    pub max_series: Limit,
    /// Samples one query may hold at once (`max_query_samples`).
    pub max_samples: Limit,
    /// Memory of one query in bytes (`max_query_bytes`).
    pub max_bytes: Limit,
    /// Deletes one read may meet (`max_query_tombstones`): each series is tried against every one.
    pub max_tombstones: Limit,
    /// How long one query may take in milliseconds (`query_timeout`).
    pub timeout_ms: Limit,
    /// Queries that run at once (`max_query_concurrency`).
    pub max_concurrency: Limit,
    /// Queries that wait (`max_query_queue`).
    pub max_queue: Limit,
    /// Bytes of a query's text (`query.max_text_bytes`, the same for all tenants).
    pub max_text_bytes: Limit,
    /// Depth of a query's text (`query.max_depth`, the same for all tenants).
    pub max_depth: Limit,
}

/// Points of one series in one answer: fixed, the same as everywhere.
pub const QUERY_POINTS_MAX: u64 = 11_001;

const MIB: u64 = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: Limit(32 * MIB),
            max_decoded_bytes: Limit(32 * MIB),
            max_request_series: Limit(50_000),
            max_request_samples: Limit(500_000),
            ingestion_rate: Limit(1_000_000),
            ingestion_burst: 0,
            max_series: Limit(5_000_000),
            max_series_per_metric: Limit(1_000_000),
            max_labels: Limit(64),
            max_label_name_bytes: Limit(1024),
            max_label_value_bytes: Limit(2048),
            max_labels_bytes: Limit(16_384),
            max_future_ms: Limit(600_000),
            retention_ms: Limit(0),
            retention_rules: Vec::new(),
            max_metadata: Limit(100_000),
            max_exemplars: Limit(100_000),
            max_native_histogram_buckets: Limit(160),
            relabel_rules: Vec::new(),
            ha: HaLimits::default(),
            query: QueryLimits::default(),
            otlp: OtlpSettings::default(),
        }
    }
}

impl Default for HaLimits {
    fn default() -> Self {
        Self {
            is_on: false,
            cluster_label: "cluster".to_owned(),
            replica_label: "__replica__".to_owned(),
            failover_ms: 30_000,
            max_clusters: Limit(100),
        }
    }
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            max_series: Limit(500_000),
            max_samples: Limit(50_000_000),
            max_bytes: Limit(512 * MIB),
            max_tombstones: Limit(100_000),
            timeout_ms: Limit(120_000),
            max_concurrency: Limit(20),
            max_queue: Limit(100),
            max_text_bytes: Limit(512 * 1024),
            max_depth: Limit(128),
        }
    }
}

/// A setting that cannot be, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Fault {
    /// The key.
    pub key: String,
    /// What is wrong with its value.
    pub reason: String,
}

/// The largest body: positions in it are 32-bit.
const BODY_BYTES_MAX: u64 = 2 << 30;
/// Ten thousand years: with them no sum of times leaves an i64.
const DURATION_MS_MAX: u64 = 10_000 * 366 * 86_400_000;

impl Limits {
    /// The burst in force, in samples.
    #[must_use]
    pub fn burst(&self) -> u64 {
        match self.ingestion_burst {
            0 => self.ingestion_rate.get().saturating_mul(2),
            burst => burst,
        }
    }

    /// How long samples are kept.
    #[must_use]
    pub fn retention(&self) -> RetentionRules {
        let default = Retention::from_ms(self.retention_ms.0);
        RetentionRules { default, rules: self.retention_rules.clone() }
    }

    /// Every setting that cannot be; empty when all is well.
    #[must_use]
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, reason: String| {
            faults.push(Fault { key: key.to_owned(), reason });
        };
        for (key, value) in [
            ("max_request_bytes", self.max_request_bytes),
            ("max_decoded_bytes", self.max_decoded_bytes),
        ] {
            if value.0 > BODY_BYTES_MAX {
                fault(key, format!("{} is more than {BODY_BYTES_MAX}", value.0));
            }
        }
        for (key, value) in [
            ("max_future", self.max_future_ms),
            ("retention", self.retention_ms),
            ("query_timeout", self.query.timeout_ms),
        ] {
            if value.0 > DURATION_MS_MAX {
                fault(key, "longer than 10,000 years".to_owned());
            }
        }
        for (index, rule) in self.retention_rules.iter().enumerate() {
            let mut faulty = |reason: String| fault(&format!("retention_rules[{index}]"), reason);
            if rule.retention != Retention::FOR_EVER && rule.retention.as_ms() > DURATION_MS_MAX {
                faulty("longer than 10,000 years".to_owned());
            }
            for matcher in &rule.matchers {
                if let Err(error) = matcher.compile() {
                    faulty(format!("{matcher}: {error}"));
                }
            }
        }
        for (index, error) in Relabeling::compile(&self.relabel_rules).err().unwrap_or_default() {
            fault(&format!("metric_relabel_configs[{index}]"), error.to_string());
        }
        let labels = [&self.ha.cluster_label, &self.ha.replica_label];
        let keys = ["ha_cluster_label", "ha_replica_label"];
        for (key, _) in keys.iter().zip(labels).filter(|(_, label)| label.is_empty()) {
            fault(key, "no label has an empty name".to_owned());
        }
        if self.ha.cluster_label == self.ha.replica_label {
            fault("ha_replica_label", "is the same as ha_cluster_label".to_owned());
        }
        if !(1_000..=3_600_000).contains(&self.ha.failover_ms) {
            fault("ha_failover_timeout", "has to lie between 1s and 1h".to_owned());
        }
        if self.ingestion_rate.0 == 0 && self.ingestion_burst != 0 {
            fault("ingestion_burst", "a burst without an ingestion_rate limits nothing".to_owned());
        }
        if self.query.max_depth.0 > 128 {
            fault("query.max_depth", "a depth above 128 could exhaust the stack".to_owned());
        }
        faults
    }
}

/// The limits of every tenant: the default ones and those of tenants that have their own.
#[derive(Clone, Debug, Default)]
pub struct LimitTable {
    default: Arc<Limits>,
    overrides: HashMap<TenantId, Arc<Limits>>,
}

impl LimitTable {
    /// These limits for everybody.
    #[must_use]
    pub fn new(default: Limits) -> Self {
        Self { default: Arc::new(default), overrides: HashMap::new() }
    }

    /// These limits for this tenant, in place of the default ones.
    #[must_use]
    pub fn with(mut self, tenant: TenantId, limits: Limits) -> Self {
        self.overrides.insert(tenant, Arc::new(limits));
        self
    }

    /// The limits of a tenant; of several, those of the one that may hold the least in a query.
    #[must_use]
    pub fn of(&self, tenant: &TenantId) -> &Arc<Limits> {
        if !tenant.is_union() {
            return self.overrides.get(tenant).unwrap_or(&self.default);
        }
        let least = |limits: &&Arc<Limits>| {
            let query = &limits.query;
            (query.max_bytes.get(), query.max_samples.get(), query.max_series.get())
        };
        let each = tenant.members();
        let each = each.iter().map(|one| self.overrides.get(one).unwrap_or(&self.default));
        each.min_by_key(least).unwrap_or(&self.default)
    }

    /// The limits of tenants without limits of their own.
    #[must_use]
    pub fn default_limits(&self) -> &Limits {
        &self.default
    }

    /// The tenants that have limits of their own.
    pub fn overrides(&self) -> impl Iterator<Item = (&TenantId, &Limits)> {
        self.overrides.iter().map(|(tenant, limits)| (tenant, &**limits))
    }

    /// Every setting that cannot be, those of a tenant under `overrides.<tenant>`.
    #[must_use]
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = self.default.validate();
        let mut tenants: Vec<_> = self.overrides.iter().collect();
        tenants.sort_by_key(|(tenant, _)| *tenant);
        for (tenant, limits) in tenants {
            faults.extend(limits.validate().into_iter().map(|fault| Fault {
                key: format!("overrides.{tenant}.{}", fault.key),
                reason: fault.reason,
            }));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn zero_switches_a_limit_off() {
        assert!(!Limit(0).is_exceeded_by(u64::MAX));
        assert!(Limit(2).is_exceeded_by(3));
        assert!(!Limit(2).is_exceeded_by(2));
    }

    #[test]
    fn the_burst_is_two_seconds_of_the_rate_unless_it_is_set() {
        let mut limits = Limits { ingestion_rate: Limit(10), ..Limits::default() };
        assert_eq!(limits.burst(), 20);
        limits.ingestion_burst = 5;
        assert_eq!(limits.burst(), 5);
        assert_eq!(Limits { ingestion_rate: Limit(0), ..Limits::default() }.burst(), u64::MAX);
    }

    #[test]
    fn the_defaults_have_no_fault() {
        assert_eq!(Limits::default().validate(), vec![]);
    }

    #[test]
    fn all_faults_are_told_at_once_and_name_the_tenant() {
        let bad = Limits {
            max_request_bytes: Limit(u64::MAX),
            retention_ms: Limit(u64::MAX),
            ingestion_rate: Limit(0),
            ingestion_burst: 7,
            ..Limits::default()
        };
        let table = LimitTable::new(bad.clone()).with(id("b"), bad.clone()).with(id("a"), bad);

        let keys: Vec<String> = table.validate().into_iter().map(|fault| fault.key).collect();
        let plain = ["max_request_bytes", "retention", "ingestion_burst"];
        let mut expected: Vec<String> = plain.iter().map(|key| (*key).to_owned()).collect();
        expected.extend(plain.iter().map(|key| format!("overrides.a.{key}")));
        expected.extend(plain.iter().map(|key| format!("overrides.b.{key}")));
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_tenant_with_limits_of_its_own_has_those_and_nobody_else_has() {
        let own = Limits { max_series: Limit(3), ..Limits::default() };
        let table = LimitTable::new(Limits::default()).with(id("a"), own);
        assert_eq!(table.of(&id("a")).max_series, Limit(3));
        assert_eq!(table.of(&id("b")).max_series, Limit(5_000_000));
    }
}
