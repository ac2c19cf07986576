//! Token -> which replicas, as small numbers that rows can carry.
//!
//! A *slot* is the place of a replica in the list of those that keep data; a *set* is a distinct
//! list of slots. When every ingester keeps everything there is one set, and no row is hashed.

use cluster::{NodeIndex, Topology};
use model::Token;
use std::collections::HashMap;

/// The replica sets of a topology.
#[derive(Clone, Debug)]
pub(crate) struct Routing {
    sets: Vec<Box<[usize]>>,
    by_nodes: HashMap<Box<[NodeIndex]>, u32>,
    slots: Vec<NodeIndex>,
}

impl Routing {
    /// Numbers the ingesters and their sets.
    pub(crate) fn new(topology: &Topology) -> Self {
        let slots: Vec<NodeIndex> = topology.members.ingesters().map(|(node, _)| node).collect();
        let mut routing = Self { sets: Vec::new(), by_nodes: HashMap::new(), slots };
        if topology.placement.replication_factor() == routing.slots.len() {
            routing.sets.push((0..routing.slots.len()).collect());
            return routing;
        }
        for (_, nodes) in topology.placement.ranges() {
            routing.intern(nodes);
        }
        routing
    }

    /// Sets are found by their nodes in order: two orders of the same nodes are two sets, which
    /// costs an entry and changes no answer.
    fn intern(&mut self, nodes: &[NodeIndex]) {
        if self.by_nodes.contains_key(nodes) {
            return;
        }
        let slot_of = |node: &NodeIndex| self.slots.iter().position(|slot| slot == node);
        let set = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.sets.push(nodes.iter().filter_map(slot_of).collect());
        self.by_nodes.insert(nodes.into(), set);
    }

    /// Whether all rows go to the same replicas.
    pub(crate) fn is_single(&self) -> bool {
        self.sets.len() == 1
    }

    /// The replica that stands at each slot.
    pub(crate) fn nodes(&self) -> &[NodeIndex] {
        &self.slots
    }

    /// The slots of a set.
    pub(crate) fn slots_of(&self, set: u32) -> &[usize] {
        usize::try_from(set).ok().and_then(|set| self.sets.get(set)).map_or(&[], |slots| slots)
    }

    /// The set that keeps a token.
    pub(crate) fn set_of(&self, topology: &Topology, token: Token) -> u32 {
        if self.is_single() {
            return 0;
        }
        self.by_nodes.get(topology.placement.replicas(token)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::topology;

    #[test]
    fn where_every_node_keeps_everything_there_is_one_set() {
        let routing = Routing::new(&topology(3, 3));
        assert!(routing.is_single());
        assert_eq!(routing.slots_of(0), [0, 1, 2]);
    }

    #[test]
    fn a_set_holds_the_replicas_that_placement_names() {
        let topology = topology(5, 3);
        let routing = Routing::new(&topology);
        assert!(!routing.is_single());
        for step in 0..1000_u64 {
            let token = Token(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let slots = routing.slots_of(routing.set_of(&topology, token));
            let nodes: Vec<_> = slots.iter().map(|slot| routing.nodes()[*slot]).collect();
            assert_eq!(nodes, topology.placement.replicas(token));
        }
    }
}
