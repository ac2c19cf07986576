//! Metadata of metrics that are gone: it goes with the last of their samples that a purge takes.
//!
//! A metric is named by its samples, and by what histograms and counters append to its name. Only
//! metrics that a delete can mean are looked at: what a metric means may be told before its first
//! sample.
//!
//! What is meant here is this store: whoever still sends a metric tells what it means again and
//! again, and then it is known anew.
//!
//! Not here: what a purge does with files (`purge.rs`).

use super::Engine;
use crate::error::Result;
use model::{TenantId, Text};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a metric's series may have behind its name.
const SUFFIXES: [&str; 9] =
    ["", "_bucket", "_count", "_sum", "_total", "_created", "_info", "_gcount", "_gsum"];

impl Engine {
    /// Lets go of the metadata of metrics that a delete can mean and that have no sample any more.
    /// Returns how many they were.
    ///
    /// # Errors
    /// What the disk says of a file that may hold some; then all of the tenant's stay.
    pub(super) fn forget_metadata(&self) -> Result<u64> {
        let tombstones = Arc::clone(&self.tombstones.read());
        let mut gone = 0;
        for tenant in tombstones.tenants() {
            let Some(head) = self.tenants.read().get(tenant).cloned() else { continue };
            let touching = tombstones.touching(tenant, i64::MIN, i64::MAX);
            let is_meant = |name: &str| touching.may_cut(name, i64::MIN, i64::MAX - 1);
            let mut metrics: Vec<Text> =
                head.metadata.lock().iter().map(|entry| entry.metric.clone()).collect();
            metrics.retain(|metric| names(metric).any(|name| is_meant(&name)));
            if metrics.is_empty() {
                continue;
            }
            let held = self.metrics_held(tenant)?;
            metrics.retain(|metric| !names(metric).any(|name| held.contains(&*name)));
            let mut metadata = head.metadata.lock();
            metrics.iter().for_each(|metric| metadata.remove(metric));
            gone += metrics.len() as u64;
        }
        Ok(gone)
    }

    /// The metrics of which there are samples.
    fn metrics_held(&self, tenant: &TenantId) -> Result<BTreeSet<Text>> {
        let mut held = BTreeSet::new();
        // The head first: what a flush takes out of it is in a file before.
        if let Some(head) = self.tenants.read().get(tenant).cloned() {
            head.metrics_held(&mut held);
        }
        let tables = Arc::clone(&self.tables.read());
        tables.metrics_held(tenant, &mut held)?;
        Ok(held)
    }
}

/// The names that series of a metric may have.
fn names(metric: &str) -> impl Iterator<Item = String> + '_ {
    SUFFIXES.iter().map(move |suffix| format!("{metric}{suffix}"))
}
