//! The cluster as one node sees it: members, placement, levels; checked as a whole.
//!
//! Static in this form: a member list from the configuration, the same everywhere. Joining, leaving
//! and finding out who is alive are not here and nothing pretends to them.

use crate::consistency::Consistency;
use crate::members::{MEMBERS_MAX, Member, Members};
use crate::placement::Placement;

/// How the cluster is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyConfig {
    /// All members, in the same order on every node. New ones are appended.
    pub members: Vec<Member>,
    /// Copies of each partition. Default 1; 3 survives a node.
    pub replication_factor: usize,
    /// Replicas that have to have a write on disk before it is acknowledged.
    pub write_consistency: Consistency,
    /// Replicas that have to answer a read.
    pub read_consistency: Consistency,
}

impl TopologyConfig {
    /// One node, one copy.
    #[must_use]
    pub fn alone(name: impl Into<String>) -> Self {
        Self {
            members: Members::alone(name).as_slice().to_vec(),
            replication_factor: 1,
            write_consistency: Consistency::Quorum,
            read_consistency: Consistency::Quorum,
        }
    }

    /// What is worth a warning at the start, though it works.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let rf = self.replication_factor;
        if rf == 2 {
            warnings.push(
                "replication_factor 2: a quorum is both copies, so losing either node stops writes; \
                 3 survives a node"
                    .into(),
            );
        }
        let met = self.write_consistency.required(rf) + self.read_consistency.required(rf);
        if met <= rf {
            let (write, read) = (self.write_consistency, self.read_consistency);
            warnings.push(format!(
                "write_consistency {write} with read_consistency {read} of {rf} copies: a query may \
                 miss samples that were acknowledged"
            ));
        }
        warnings
    }
}

/// What is wrong with a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Fault {
    /// None, or too many.
    #[error("members: {count} given, want 1 to {MEMBERS_MAX}")]
    MemberCount { count: usize },
    /// Not a name.
    #[error("members: name {name:?} is not 1 to 64 of A-Z a-z 0-9 - _ .")]
    Name { name: String },
    /// Twice the same name.
    #[error("members: {name:?} is named twice")]
    NameTwice { name: String },
    /// Not an address.
    #[error("members: the address {address:?} of {name:?} is not host:port")]
    Address { name: String, address: String },
    /// Twice the same address.
    #[error("members: the address {address:?} is given twice")]
    AddressTwice { address: String },
    /// Nobody keeps data.
    #[error("members: none has the role ingester")]
    NoIngester,
    /// More copies than nodes to keep them.
    #[error(
        "replication_factor: {replication_factor} copies on {ingesters} ingesters, want 1 to {ingesters}"
    )]
    ReplicationFactor { replication_factor: usize, ingesters: usize },
    /// A level that can never be met.
    #[error("{key}: {level} can never be met with {replication_factor} copies")]
    Level { key: &'static str, level: Consistency, replication_factor: usize },
}

/// A checked layout and its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The members.
    pub members: Members,
    /// Which of them keep a token.
    pub placement: Placement,
    /// Replicas that have to have a write on disk before it is acknowledged.
    pub write_consistency: Consistency,
    /// Replicas that have to answer a read.
    pub read_consistency: Consistency,
}

impl Topology {
    /// Checks the layout and makes its tables.
    ///
    /// # Errors
    /// Every fault of it.
    pub fn new(config: TopologyConfig) -> Result<Self, Vec<Fault>> {
        let rf = config.replication_factor;
        let mut faults = Vec::new();
        let ingesters = config.members.iter().filter(|member| member.roles.ingester).count();
        if ingesters > 0 && !(1..=ingesters).contains(&rf) {
            faults.push(Fault::ReplicationFactor { replication_factor: rf, ingesters });
        }
        let levels = [
            ("write_consistency", config.write_consistency),
            ("read_consistency", config.read_consistency),
        ];
        for (key, level) in levels {
            if level.required(rf) > rf && rf > 0 {
                faults.push(Fault::Level { key, level, replication_factor: rf });
            }
        }
        let members = match Members::new(config.members) {
            Ok(members) if faults.is_empty() => members,
            Ok(_) => return Err(faults),
            Err(more) => return Err(faults.into_iter().chain(more).collect()),
        };
        Ok(Self {
            placement: Placement::new(&members, rf),
            members,
            write_consistency: config.write_consistency,
            read_consistency: config.read_consistency,
        })
    }

    /// Stands for everything that peers have to agree on.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.members.hash(self.placement.replication_factor())
    }

    /// A tenant's limit on open series as one replica enforces it: its share of the copies, rounded up, and
    /// what the next day may bring beside it. 0 is no limit.
    ///
    /// Where a replica has a part of the ring only, each day brings it another part of the metrics, while the
    /// series of the day before stay open for as long as they may be idle. Of its share that is all that was
    /// not its own already: with `rf` copies on `n` nodes, `rf / n × (1 - rf / n)` of the limit.
    #[must_use]
    pub fn replica_series_max(&self, series_max: u64) -> u64 {
        let copies = self.placement.replication_factor() as u128;
        let nodes = (self.members.ingesters().count() as u128).max(copies);
        let max = (u128::from(series_max) * copies * (2 * nodes - copies)).div_ceil(nodes * nodes);
        u64::try_from(max).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::tests::member;

    fn config(count: usize, replication_factor: usize) -> TopologyConfig {
        let members = (0..count).map(|i| member(&format!("n{i}"), "")).collect();
        TopologyConfig { members, replication_factor, ..TopologyConfig::alone("unused") }
    }

    #[test]
    fn more_copies_than_nodes_and_levels_that_cannot_be_met_are_refused_together() {
        let bad = TopologyConfig { write_consistency: Consistency::Three, ..config(1, 2) };
        let texts: Vec<String> =
            Topology::new(bad).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "replication_factor: 2 copies on 1 ingesters, want 1 to 1",
                "write_consistency: THREE can never be met with 2 copies",
            ]
        );
    }

    #[test]
    fn two_copies_and_levels_that_do_not_meet_are_warned_of() {
        assert_eq!(config(3, 3).warnings(), Vec::<String>::new());
        assert_eq!(config(3, 2).warnings().len(), 1);
        let weak = TopologyConfig { read_consistency: Consistency::One, ..config(3, 3) };
        assert_eq!(weak.warnings().len(), 1);
    }

    #[test]
    fn a_replica_enforces_its_share_of_a_series_limit_and_of_the_next_day_rounded_up() {
        assert_eq!(Topology::new(config(3, 3)).unwrap().replica_series_max(100), 100);
        assert_eq!(Topology::new(config(4, 3)).unwrap().replica_series_max(101), 95);
        assert_eq!(Topology::new(config(12, 3)).unwrap().replica_series_max(1_600), 700);
        assert_eq!(
            Topology::new(config(12, 3)).unwrap().replica_series_max(u64::MAX - 1),
            u64::MAX / 16 * 7 + 7
        );
        assert_eq!(Topology::new(config(4, 3)).unwrap().replica_series_max(0), 0);
        assert_eq!(Topology::new(TopologyConfig::alone("a")).unwrap().replica_series_max(7), 7);
    }

    #[test]
    fn a_node_alone_needs_no_address() {
        assert!(Topology::new(TopologyConfig::alone("a")).is_ok());
        let mut two = config(2, 1);
        two.members[0].address.clear();
        assert_eq!(Topology::new(two).unwrap_err().len(), 1);
    }
}
