//! What the heir of an HA cluster sends while it waits. It is written when the heir is elected, so that
//! the silence of the one before it leaves no gap.
//!
//! # Invariants
//! - Of a cluster the requests of one replica are held, as they were sent (OTLP and imports as the
//!   remote write that they became), and only those with something newer than what is covered:
//!   mostly one round of scrapes.
//! - Who is elected *owes* what it had held until that is written. The next heir's requests are held
//!   beside it: neither takes the other's place.
//! - Their memory is reserved from a budget of their own. Who finds no room there is not held.
//! - While somebody owes, nobody else is elected, and the next heir's requests stay held. Who owes, is
//!   silent, and comes back before it is written has left a gap of its own silence.
//! - What is refused for what it is, and not for the state of a replica, is owed no more: it keeps
//!   nobody from being elected. A replica that restarts never refuses so.
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

/// What a replica that is elected has still to write. It goes on being owed until
/// [`Held::settle`] or [`Held::put_back`].
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) cluster: Text,
    pub(crate) replica: Text,
    /// In the order in which they came.
    pub(crate) bodies: VecDeque<HeldBody>,
}

/// What is held of the clusters of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Held {
    by_cluster: HashMap<Text, OfCluster>,
}

#[derive(Debug, Default)]
struct OfCluster {
    heir: Option<OfReplica>,
    owed: Option<OfReplica>,
}

#[derive(Debug)]
struct OfReplica {
    replica: Text,
    /// When it became what it is.
    since_ns: u64,
    /// In the order in which they came.
    bodies: VecDeque<HeldBody>,
}

impl Held {
    /// Holds a request of the heir, and forgets those of who was heir before. If it was elected while
    /// the request was read, it owes it.
    pub(crate) fn put(
        &mut self,
        (cluster, replica): (&Text, &Text),
        is_elected: bool,
        body: HeldBody,
    ) {
        let known = self.by_cluster.entry(cluster.clone()).or_default();
        let new = || OfReplica {
            replica: replica.clone(),
            since_ns: body.at_ns,
            bodies: VecDeque::new(),
        };
        let place = if is_elected { &mut known.owed } else { &mut known.heir };
        match place {
            Some(of) if of.replica == *replica => of.bodies.push_back(body),
            of => of.insert(new()).bodies.push_back(body),
        }
    }

    /// A replica is elected: it owes what is held of it.
    pub(crate) fn elect(&mut self, cluster: &str, replica: &str, now_ns: u64) {
        if let Some(known) = self.by_cluster.get_mut(cluster)
            && let Some(mut heir) = known.heir.take_if(|heir| *heir.replica == *replica)
        {
            heir.since_ns = now_ns;
            known.owed = Some(heir);
        }
    }

    /// Who owes something of a cluster since this time or later.
    pub(crate) fn owing(&self, cluster: &str, since_ns: u64) -> Option<&Text> {
        let owed = self.by_cluster.get(cluster)?.owed.as_ref()?;
        (owed.since_ns >= since_ns).then_some(&owed.replica)
    }

    /// Takes out what is owed, to write it; nothing while somebody else writes it.
    pub(crate) fn take(&mut self, cluster: &Text) -> Option<Owed> {
        let owed = self.by_cluster.get_mut(cluster)?.owed.as_mut()?;
        let (replica, bodies) = (owed.replica.clone(), std::mem::take(&mut owed.bodies));
        (!bodies.is_empty()).then(|| Owed { cluster: cluster.clone(), replica, bodies })
    }

    /// Puts back in front what could not be written yet.
    pub(crate) fn put_back(&mut self, mut back: Owed) {
        if let Some(known) = self.by_cluster.get_mut(&back.cluster)
            && let Some(owed) = known.owed.as_mut().filter(|owed| owed.replica == back.replica)
        {
            back.bodies.append(&mut owed.bodies);
            owed.bodies = back.bodies;
        }
    }

    /// All that was taken out is written.
    pub(crate) fn settle(&mut self, cluster: &Text) {
        if let Some(known) = self.by_cluster.get_mut(cluster) {
            known.owed.take_if(|owed| owed.bodies.is_empty());
            self.forget_if_empty(cluster);
        }
    }

    /// Forgets what another replica has covered by now.
    pub(crate) fn cover(&mut self, cluster: &Text, replica: &Text, up_to: TimestampMs) {
        if let Some(known) = self.by_cluster.get_mut(cluster)
            && let Some(heir) = known.heir.as_mut().filter(|heir| heir.replica != *replica)
        {
            heir.bodies.retain(|body| body.newest_ms > up_to.0);
            known.heir.take_if(|heir| heir.bodies.is_empty());
            self.forget_if_empty(cluster);
        }
    }

    /// Forgets what came, or has been owed, before this time: of clusters where nobody speaks any more.
    pub(crate) fn expire(&mut self, before_ns: u64) {
        self.by_cluster.retain(|_, known| {
            if let Some(heir) = &mut known.heir {
                heir.bodies.retain(|body| body.at_ns >= before_ns);
            }
            known.heir.take_if(|heir| heir.bodies.is_empty());
            known.owed.take_if(|owed| owed.since_ns < before_ns);
            !known.is_empty()
        });
    }

    fn forget_if_empty(&mut self, cluster: &Text) {
        if self.by_cluster.get(cluster).is_some_and(OfCluster::is_empty) {
            self.by_cluster.remove(cluster);
        }
    }
}

impl OfCluster {
    fn is_empty(&self) -> bool {
        self.heir.is_none() && self.owed.is_none()
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

    fn times(owed: Option<Owed>) -> Vec<i64> {
        owed.iter().flat_map(|owed| &owed.bodies).map(|body| body.newest_ms).collect()
    }

    /// Elects a replica and takes what it owes.
    fn elected(held: &mut Held, cluster: &Text, replica: &Text) -> Vec<i64> {
        held.elect(cluster, replica, 0);
        let owed = held.take(cluster);
        held.settle(cluster);
        times(owed)
    }

    #[test]
    fn what_is_held_comes_back_in_order_and_once() {
        let (mut held, c, a, b) = (Held::default(), "c".into(), "a".into(), "b".into());
        (1..=4).for_each(|at| held.put((&c, &a), false, body(at)));
        assert!(elected(&mut held, &c, &b).is_empty(), "of another there is nothing");
        held.elect(&c, &a, 0);
        let mut owed = held.take(&c).unwrap();
        assert!(held.take(&c).is_none());
        owed.bodies.pop_front();
        held.put_back(owed);
        assert_eq!(times(held.take(&c)), [2, 3, 4]);
        held.settle(&c);
        assert!(held.by_cluster.is_empty());
    }

    #[test]
    fn what_is_covered_or_old_or_of_another_heir_is_forgotten() {
        let (mut held, c, a, b) = (Held::default(), "c".into(), "a".into(), "b".into());
        (1..=4).for_each(|at| held.put((&c, &a), false, body(at)));
        held.cover(&c, &a, TimestampMs(9));
        held.cover(&c, &b, TimestampMs(2));
        held.expire(4);
        assert_eq!(elected(&mut held, &c, &a), [4]);
        held.put((&c, &a), false, body(5));
        held.put((&c, &b), false, body(6));
        assert_eq!(elected(&mut held, &c, &b), [6]);
        held.put((&c, &b), false, body(7));
        held.cover(&c, &a, TimestampMs(7));
        assert!(held.by_cluster.is_empty());
    }

    #[test]
    fn what_was_being_read_while_its_replica_was_elected_is_owed() {
        let (mut held, c, b): (_, Text, Text) = (Held::default(), "c".into(), "b".into());
        held.elect(&c, &b, 30);
        held.put((&c, &b), true, body(1));
        held.put((&c, &b), true, body(2));
        assert_eq!(held.owing(&c, 0), Some(&b));
        assert_eq!(times(held.take(&c)), [1, 2]);
        held.settle(&c);
        assert!(held.by_cluster.is_empty());
    }

    #[test]
    fn what_is_owed_and_what_the_next_heir_sends_do_not_take_each_others_place() {
        let (mut held, c, a, b) = (Held::default(), "c".into(), "a".into(), "b".into());
        held.put((&c, &b), false, body(1));
        held.elect(&c, &b, 30);
        held.put((&c, &a), false, body(40));
        held.cover(&c, &b, TimestampMs(35));
        assert_eq!((held.owing(&c, 30), held.owing(&c, 31)), (Some(&b), None));
        let owed = held.take(&c).unwrap();
        assert_eq!(held.owing(&c, 0), Some(&b), "as long as it is not written");
        held.put_back(owed);
        held.expire(30);
        assert_eq!(times(held.take(&c)), [1]);
        held.settle(&c);
        assert_eq!(held.owing(&c, 0), None);
        assert_eq!(elected(&mut held, &c, &a), [40]);
    }
}
