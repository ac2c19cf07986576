//! What the heir of an HA cluster sends while it waits. It is written when the heir is elected, so that
//! the silence of the one before it leaves no gap.
//!
//! # Invariants
//! - Of a cluster the requests of one replica are held, as they were sent (OTLP and imports as the
//!   remote write that they became), and only those with something newer than what is covered:
//!   mostly one round of scrapes.
//! - Their memory is reserved from a budget of their own. Who finds no room there is not held.
//! - What is held was answered with 202: it is lost with the process, as if nobody had held it.
//!
//! Not here: who is heir and who is elected (`guard::ha`); which samples are left out when they are
//! written, since the one before has delivered them (`resolve/aside.rs`).

use crate::pool::Reservation;
use model::{Text, TimestampMs};
use std::collections::{HashMap, VecDeque};
use wire::remote_write::Form;

/// One request.
#[derive(Debug)]
pub(crate) struct HeldBody {
    pub(crate) form: Form,
    /// As it was sent, or as what it became.
    pub(crate) raw: Box<[u8]>,
    /// The newest time in it.
    pub(crate) newest_ms: i64,
    /// When it came.
    pub(crate) at_ns: u64,
    /// The memory that it takes, given back with it.
    pub(crate) _paid: Reservation,
}

/// What is held of the clusters of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Held {
    by_cluster: HashMap<Text, OfHeir>,
}

#[derive(Debug)]
struct OfHeir {
    replica: Text,
    /// In the order in which they came.
    bodies: VecDeque<HeldBody>,
}

impl Held {
    /// Holds a request of the heir, and forgets those of who was heir before.
    pub(crate) fn put(&mut self, cluster: &Text, replica: &Text, body: HeldBody) {
        let known = self
            .by_cluster
            .entry(cluster.clone())
            .or_insert_with(|| OfHeir { replica: replica.clone(), bodies: VecDeque::new() });
        if known.replica != *replica {
            known.replica = replica.clone();
            known.bodies.clear();
        }
        known.bodies.push_back(body);
    }

    /// Puts back in front what could not be written yet.
    pub(crate) fn put_back(&mut self, cluster: &Text, replica: &Text, bodies: VecDeque<HeldBody>) {
        let since = self.take(cluster, replica);
        bodies.into_iter().chain(since).for_each(|body| self.put(cluster, replica, body));
    }

    /// Takes out what is held of a replica, which is elected now.
    pub(crate) fn take(&mut self, cluster: &Text, replica: &Text) -> VecDeque<HeldBody> {
        match self.by_cluster.get(cluster) {
            Some(known) if known.replica == *replica => {
                self.by_cluster.remove(cluster).map(|known| known.bodies).unwrap_or_default()
            }
            _ => VecDeque::new(),
        }
    }

    /// Forgets what another replica has covered by now.
    pub(crate) fn cover(&mut self, cluster: &Text, replica: &Text, up_to: TimestampMs) {
        if let Some(known) = self.by_cluster.get_mut(cluster)
            && known.replica != *replica
        {
            known.bodies.retain(|body| body.newest_ms > up_to.0);
            if known.bodies.is_empty() {
                self.by_cluster.remove(cluster);
            }
        }
    }

    /// Forgets what came before this time: of clusters where nobody speaks any more.
    pub(crate) fn expire(&mut self, before_ns: u64) {
        self.by_cluster.retain(|_, known| {
            known.bodies.retain(|body| body.at_ns >= before_ns);
            !known.bodies.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Budget;
    use crate::testing::id;
    use wire::remote_write::{Encoding, Version};

    fn body(newest_ms: i64) -> HeldBody {
        let form = Form { version: Version::One, encoding: Encoding::Snappy };
        let paid = Budget::new(1 << 20, false).reserve(&id("a"));
        HeldBody {
            form,
            raw: Box::default(),
            newest_ms,
            at_ns: newest_ms.unsigned_abs(),
            _paid: paid,
        }
    }

    fn times(bodies: VecDeque<HeldBody>) -> Vec<i64> {
        bodies.iter().map(|body| body.newest_ms).collect()
    }

    #[test]
    fn what_is_held_comes_back_in_order_and_once() {
        let (mut held, c, a, b) = (Held::default(), "c".into(), "a".into(), "b".into());
        (1..=4).for_each(|at| held.put(&c, &a, body(at)));
        assert!(held.take(&c, &b).is_empty(), "of another there is nothing");
        let mut bodies = held.take(&c, &a);
        assert!(held.take(&c, &a).is_empty());
        bodies.pop_front();
        held.put(&c, &a, body(5));
        held.put_back(&c, &a, bodies);
        assert_eq!(times(held.take(&c, &a)), [2, 3, 4, 5]);
    }

    #[test]
    fn what_is_covered_or_old_or_of_another_heir_is_forgotten() {
        let (mut held, c, a, b) = (Held::default(), "c".into(), "a".into(), "b".into());
        (1..=4).for_each(|at| held.put(&c, &a, body(at)));
        held.cover(&c, &a, TimestampMs(9));
        held.cover(&c, &b, TimestampMs(2));
        held.expire(4);
        assert_eq!(times(held.take(&c, &a)), [4]);
        held.put(&c, &a, body(5));
        held.put(&c, &b, body(6));
        assert_eq!(times(held.take(&c, &b)), [6]);
        held.put(&c, &b, body(7));
        held.cover(&c, &a, TimestampMs(7));
        assert!(held.by_cluster.is_empty());
    }
}
