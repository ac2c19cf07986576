//! Suspects: replicas that were slow a moment ago, so that not every read finds out for itself.
//!
//! A frozen node answers neither yes nor no until its connection is given up. The first read that
//! waits for it names it; for a while, or until it answers, later reads ask it last. Its answers count as
//! before.

use cluster::{NodeIndex, NodeSet};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Nodes and until when they are asked last.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    // No other lock is taken while it is held, and each change is one insert or removal.
    until: Mutex<BTreeMap<NodeIndex, Instant>>,
}

impl Suspects {
    /// These were slow.
    pub(crate) fn suspect(&self, nodes: &NodeSet, pause: Duration) {
        let until = Instant::now() + pause;
        let mut suspects = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.extend(nodes.iter().map(|node| (node, until)));
    }

    /// This one has answered what it was slow to: it is not frozen.
    pub(crate) fn clear(&self, node: NodeIndex) {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }

    /// Who is asked last at the moment.
    pub(crate) fn now(&self) -> NodeSet {
        let now = Instant::now();
        let mut suspects = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.retain(|_, until| now < *until);
        suspects.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_node_is_suspected_for_a_while_and_not_for_ever() {
        let suspects = Suspects::default();
        assert!(suspects.now().is_empty());
        suspects.suspect(&[NodeIndex(3)].into_iter().collect(), Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(suspects.now().contains(NodeIndex(3)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(suspects.now().is_empty());
    }
}
