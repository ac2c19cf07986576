//! Our own metrics, through our own door: every 15 s, as `job="cumae"`, `instance="<node id>"`.
//!
//! The instance is never host and port, so that a scrape of us by somebody else is another series.
//! They go the ordinary way through the distributor; with several tenants to `__system`, which
//! nobody writes from outside.

use distributor::{Distributor, PushSeries};
use guard::Tenancy;
use guard::identity::SYSTEM_TENANT;
use model::mutation::{MetricMetadata, MetricType};
use model::{Clock, LabelSet, Principal, TenantId};
use prometheus::Registry;
use prometheus::proto::{Metric, MetricFamily, MetricType as Type};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(15);

/// Before the first round: short, so that a fresh start has something to look at.
const FIRST: Duration = Duration::from_secs(2);

/// What the writer is made of.
#[derive(Debug)]
pub(crate) struct SelfMetrics {
    pub(crate) distributor: Distributor,
    pub(crate) registry: Registry,
    pub(crate) tenancy: Tenancy,
    pub(crate) node_id: String,
    pub(crate) clock: Arc<dyn Clock>,
}

impl SelfMetrics {
    /// Writes until the task is aborted. A round that fails is logged and not repeated: the next
    /// one says more.
    pub(crate) fn start(self) -> JoinHandle<()> {
        tokio::spawn(async move {
            let Some(tenant) = self.tenant() else { return };
            tokio::time::sleep(FIRST).await;
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                self.write(&tenant).await;
            }
        })
    }

    fn tenant(&self) -> Option<TenantId> {
        match &self.tenancy {
            Tenancy::Single(tenant) => Some(tenant.clone()),
            // The name is one that a tenant can have; a test holds it to that.
            Tenancy::Multi => TenantId::parse(SYSTEM_TENANT).ok(),
        }
    }

    async fn write(&self, tenant: &TenantId) {
        let families = self.registry.gather();
        let series = series(&families, &self.node_id, self.clock.now().0);
        let metadata: Vec<MetricMetadata> = families.iter().map(metadata).collect();
        let pushed = self.distributor.push(tenant, Principal::System, &series, &metadata).await;
        match pushed {
            Ok(refusals) => {
                if let Some(told) = refusals.message() {
                    tracing::warn!("of our own metrics {told}");
                }
            }
            Err(error) => tracing::warn!(%error, "our own metrics could not be written"),
        }
    }
}

/// Every sample that the text format would show, at `now_ms`.
fn series(families: &[MetricFamily], node_id: &str, now_ms: i64) -> Vec<PushSeries> {
    let mut rows = Rows { node_id, now_ms, series: Vec::new() };
    for family in families {
        for metric in family.get_metric() {
            rows.push_metric(family, metric);
        }
    }
    rows.series
}

struct Rows<'a> {
    node_id: &'a str,
    now_ms: i64,
    series: Vec<PushSeries>,
}

impl Rows<'_> {
    fn push_metric(&mut self, family: &MetricFamily, metric: &Metric) {
        let name = family.name();
        match family.get_field_type() {
            Type::COUNTER => self.push(name, metric, None, metric.get_counter().get_value()),
            Type::GAUGE => self.push(name, metric, None, metric.get_gauge().get_value()),
            Type::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let bucket = format!("{name}_bucket");
                for one in histogram.get_bucket() {
                    let bound = bound(one.upper_bound());
                    self.push(&bucket, metric, Some(&bound), float(one.cumulative_count()));
                }
                let count = float(histogram.get_sample_count());
                self.push(&bucket, metric, Some("+Inf"), count);
                self.push(&format!("{name}_sum"), metric, None, histogram.get_sample_sum());
                self.push(&format!("{name}_count"), metric, None, count);
            }
            // The crate makes no others.
            Type::SUMMARY | Type::UNTYPED => {}
        }
    }

    fn push(&mut self, name: &str, metric: &Metric, le: Option<&str>, value: f64) {
        let own = metric.get_label().iter().map(|label| (label.name(), label.value()));
        let ours = [("__name__", name), ("job", "cumae"), ("instance", self.node_id)];
        let pairs = own.chain(ours).chain(le.map(|bound| ("le", bound)));
        match LabelSet::from_pairs(pairs) {
            Ok(labels) => {
                self.series.push(PushSeries { labels, samples: vec![(self.now_ms, value)] });
            }
            Err(error) => tracing::warn!(%error, name, "a metric of ours has a reserved label"),
        }
    }
}

/// As the text format writes it: `0.5`, `1`, `+Inf`.
fn bound(bound: f64) -> String {
    if bound == f64::INFINITY { "+Inf".to_owned() } else { bound.to_string() }
}

#[expect(clippy::cast_precision_loss, reason = "a sample is a float; counts above 2^53 round")]
fn float(count: u64) -> f64 {
    count as f64
}

fn metadata(family: &MetricFamily) -> MetricMetadata {
    let metric_type = match family.get_field_type() {
        Type::COUNTER => MetricType::Counter,
        Type::GAUGE => MetricType::Gauge,
        Type::HISTOGRAM => MetricType::Histogram,
        Type::SUMMARY | Type::UNTYPED => MetricType::Unknown,
    };
    MetricMetadata {
        metric: family.name().into(),
        metric_type,
        help: family.help().into(),
        unit: "".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{HistogramOpts, HistogramVec, IntCounter};

    #[test]
    fn a_histogram_becomes_the_series_of_its_text_form_under_our_job() {
        let registry = Registry::new();
        let opts = HistogramOpts::new("h", "help").buckets(vec![0.5, 1.0]);
        let histogram = HistogramVec::new(opts, &["route"]).unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        histogram.with_label_values(&["r"]).observe(0.7);
        let counter = IntCounter::new("c_total", "help").unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        counter.inc_by(3);

        let rows: Vec<String> = series(&registry.gather(), "id", 5)
            .iter()
            .map(|row| format!("{} {:?}", row.labels, row.samples))
            .collect();
        let own = "instance=\"id\", job=\"cumae\"";
        assert_eq!(
            rows,
            [
                format!("{{__name__=\"c_total\", {own}}} [(5, 3.0)]"),
                format!("{{__name__=\"h_bucket\", {own}, le=\"0.5\", route=\"r\"}} [(5, 0.0)]"),
                format!("{{__name__=\"h_bucket\", {own}, le=\"1\", route=\"r\"}} [(5, 1.0)]"),
                format!("{{__name__=\"h_bucket\", {own}, le=\"+Inf\", route=\"r\"}} [(5, 1.0)]"),
                format!("{{__name__=\"h_sum\", {own}, route=\"r\"}} [(5, 0.7)]"),
                format!("{{__name__=\"h_count\", {own}, route=\"r\"}} [(5, 1.0)]"),
            ]
        );
    }

    #[test]
    fn the_tenant_of_our_own_metrics_is_one_that_can_be() {
        assert!(TenantId::parse(SYSTEM_TENANT).is_ok());
    }
}
