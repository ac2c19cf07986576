//! What metrics mean, as their senders said last.

use model::Text;
use model::mutation::MetricMetadata;
use std::collections::BTreeMap;

/// The metadata of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    by_metric: BTreeMap<Text, MetricMetadata>,
}

impl Metadata {
    /// Whether it would change anything: it is new and there is room, or it is different.
    pub(crate) fn is_news(&self, entry: &MetricMetadata, entries_max: usize) -> bool {
        match self.by_metric.get(&entry.metric) {
            Some(held) => held != entry,
            None => self.by_metric.len() < entries_max,
        }
    }

    /// Keeps an entry; the last one wins.
    pub(crate) fn insert(&mut self, entry: MetricMetadata) {
        self.by_metric.insert(entry.metric.clone(), entry);
    }

    /// Lets go of a metric's entry.
    pub(crate) fn remove(&mut self, metric: &str) {
        self.by_metric.remove(metric);
    }

    /// One metric's entry.
    pub(crate) fn get(&self, metric: &str) -> Option<&MetricMetadata> {
        self.by_metric.get(metric)
    }

    /// All entries, ascending by metric.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &MetricMetadata> {
        self.by_metric.values()
    }
}
