//! Placement: which nodes keep the copies of a token. A table, made once.
//!
//! From the vnode that a token belongs to, one walk clockwise takes the first `rf` distinct nodes,
//! each from a rack of its own while there are racks left; when there are fewer racks than copies,
//! `rf - racks` nodes may repeat a rack. (NetworkTopologyStrategy in one data centre.)
//!
//! # Invariants
//! - Every token has exactly `rf` distinct replicas, all of them ingesters; the first is the owner
//!   of the vnode.
//!
//! Not here: who of them is alive, and how many have to answer (`consistency.rs`).

use crate::members::{Members, NodeIndex};
use crate::token::{Ring, TokenRange};
use model::Token;
use std::collections::BTreeSet;

/// The replicas of every token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    ring: Ring,
    replication_factor: usize,
    // Invariant: `replication_factor` nodes for each vnode of the ring, in its order.
    replicas: Vec<NodeIndex>,
}

impl Placement {
    /// Walks the ring for each vnode.
    ///
    /// # Panics
    /// If there are fewer ingesters than copies; `Topology::new` refuses that before.
    #[must_use]
    pub fn new(members: &Members, replication_factor: usize) -> Self {
        let ingesters = members.ingesters().count();
        assert!(
            (1..=ingesters).contains(&replication_factor),
            "the replication factor lies between 1 and the number of ingesters"
        );
        let ring = Ring::new(members);
        let mut replicas = Vec::with_capacity(ring.vnodes().len() * replication_factor);
        for place in 0..ring.vnodes().len() {
            replicas.extend(walk(&ring, members, replication_factor, place));
        }
        Self { ring, replication_factor, replicas }
    }

    /// The nodes that keep `token`, the owner of its vnode first.
    #[must_use]
    pub fn replicas(&self, token: Token) -> &[NodeIndex] {
        self.replicas_of_vnode(self.ring.vnode_of(token))
    }

    /// The ranges of the ring with the nodes that keep them.
    pub fn ranges(&self) -> impl Iterator<Item = (TokenRange, &[NodeIndex])> {
        (0..self.ring.vnodes().len())
            .map(|place| (self.ring.range(place), self.replicas_of_vnode(place)))
    }

    /// How many copies each token has.
    #[must_use]
    pub fn replication_factor(&self) -> usize {
        self.replication_factor
    }

    /// The ring below.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The fewest of `nodes` that any range has among its replicas: what a question without a
    /// partition has heard once these have answered.
    #[must_use]
    pub fn fewest_replicas_in(&self, nodes: &NodeSet) -> usize {
        let in_set =
            |replicas: &[NodeIndex]| replicas.iter().filter(|n| nodes.contains(**n)).count();
        self.ranges().map(|(_, replicas)| in_set(replicas)).min().unwrap_or(0)
    }

    fn replicas_of_vnode(&self, place: usize) -> &[NodeIndex] {
        &self.replicas[place * self.replication_factor..][..self.replication_factor]
    }
}

/// A set of nodes: who answered, who failed, who is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSet {
    nodes: BTreeSet<NodeIndex>,
}

impl NodeSet {
    /// Adds a node; whether it is new.
    pub fn insert(&mut self, node: NodeIndex) -> bool {
        self.nodes.insert(node)
    }

    /// Whether the node is in it.
    #[must_use]
    pub fn contains(&self, node: NodeIndex) -> bool {
        self.nodes.contains(&node)
    }

    /// The nodes, ascending.
    pub fn iter(&self) -> impl Iterator<Item = NodeIndex> {
        self.nodes.iter().copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

impl FromIterator<NodeIndex> for NodeSet {
    fn from_iter<T: IntoIterator<Item = NodeIndex>>(nodes: T) -> Self {
        Self { nodes: nodes.into_iter().collect() }
    }
}

fn walk(ring: &Ring, members: &Members, replication_factor: usize, from: usize) -> Vec<NodeIndex> {
    let rack_of = |node: NodeIndex| members.get(node).map_or("", |member| &member.rack);
    let racks: BTreeSet<&str> = members.ingesters().map(|(_, m)| m.rack.as_str()).collect();
    let mut repeats_left = replication_factor.saturating_sub(racks.len());
    let mut used = BTreeSet::new();
    let mut chosen = Vec::with_capacity(replication_factor);
    let (after, before) = (&ring.vnodes()[from..], &ring.vnodes()[..from]);
    for (_, node) in after.iter().chain(before) {
        if chosen.len() == replication_factor {
            break;
        }
        if chosen.contains(node) {
            continue;
        }
        if used.insert(rack_of(*node)) {
            chosen.push(*node);
        } else if repeats_left > 0 {
            repeats_left -= 1;
            chosen.push(*node);
        }
    }
    // Racks of uneven size can run out of new ones before the count is reached: then anybody will do.
    let rest = after.iter().chain(before).map(|(_, node)| *node);
    for node in rest {
        if chosen.len() < replication_factor && !chosen.contains(&node) {
            chosen.push(node);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::tests::member;

    fn placement(racks: &[&str], replication_factor: usize) -> (Members, Placement) {
        let list = racks.iter().enumerate().map(|(i, rack)| member(&format!("n{i}"), rack));
        let members = Members::new(list.collect()).unwrap();
        let placement = Placement::new(&members, replication_factor);
        (members, placement)
    }

    #[test]
    fn every_token_has_exactly_rf_distinct_replicas_that_start_with_its_owner() {
        for (racks, rf) in [(1, 1), (1, 3), (2, 3), (3, 3), (4, 3), (4, 5), (7, 5)] {
            let racks: Vec<String> = (0..7).map(|i| format!("r{}", i % racks)).collect();
            let racks: Vec<&str> = racks.iter().map(String::as_str).collect();
            let (_, placement) = placement(&racks, rf);
            for (range, replicas) in placement.ranges() {
                let distinct: BTreeSet<_> = replicas.iter().collect();
                assert_eq!((replicas.len(), distinct.len()), (rf, rf), "{racks:?}");
                let owner = placement.ring().vnodes()[placement.ring().vnode_of(range.end)].1;
                assert_eq!(replicas[0], owner);
                assert_eq!(placement.replicas(range.end), replicas);
            }
        }
    }

    #[test]
    fn with_as_many_racks_as_copies_a_whole_rack_may_die_and_two_copies_live() {
        let (members, placement) = placement(&["a", "a", "b", "b", "c", "c"], 3);
        for dead in ["a", "b", "c"] {
            let alive = |(_, m): &(NodeIndex, &crate::Member)| m.rack != dead;
            let alive: NodeSet = members.iter().filter(alive).map(|(node, _)| node).collect();
            assert_eq!(placement.fewest_replicas_in(&alive), 2, "rack {dead}");
        }
    }

    #[test]
    fn a_node_that_keeps_no_data_owns_nothing() {
        let mut list: Vec<_> = (0..4).map(|i| member(&format!("n{i}"), "")).collect();
        list[1].roles.ingester = false;
        let members = Members::new(list).unwrap();
        let placement = Placement::new(&members, 3);
        assert!(placement.ranges().all(|(_, replicas)| !replicas.contains(&NodeIndex(1))));
    }

    #[test]
    fn questions_without_a_partition_count_the_range_that_heard_the_fewest() {
        let (_, placement) = placement(&[""; 5], 3);
        let of = |nodes: &[u16]| {
            placement.fewest_replicas_in(&nodes.iter().copied().map(NodeIndex).collect())
        };
        assert_eq!(of(&[0, 1, 2, 3, 4]), 3);
        assert_eq!(of(&[0, 1, 2, 3]), 2);
        assert_eq!(of(&[]), 0);
    }
}
