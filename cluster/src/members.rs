//! The members of a cluster: a fixed list, the same on every node.
//!
//! # Invariants
//! - No two members have the same name or the same address; no name and no address is empty.
//! - [`Members::hash`] is the same on two nodes exactly when they decide the same about placement:
//!   it covers order, names, roles, racks and the replication factor. Addresses are left out, so a
//!   node can move without all others being restarted at one moment.
//!
//! Not here: who is alive (`wire::peer` finds out by asking).

use crate::topology::Fault;
use std::collections::HashSet;
use xxhash_rust::xxh3::Xxh3;

/// A member's place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u16);

impl NodeIndex {
    /// The place as an index into a table of members.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The most members a list may have: bounds the tables, and the connections of each node.
pub const MEMBERS_MAX: usize = 1_000;

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, which is its node id.
    pub name: String,
    /// Where its peers reach it: `host:port`.
    pub address: String,
    /// What it does.
    pub roles: Roles,
    /// What it shares its fate with; replicas are spread over racks. May be empty.
    pub rack: String,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Takes writes in.
    pub distributor: bool,
    /// Keeps data: only these own tokens.
    pub ingester: bool,
    /// Answers queries.
    pub querier: bool,
}

impl Roles {
    /// Every role.
    pub const ALL: Self = Self { distributor: true, ingester: true, querier: true };
}

/// The members, in the order of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    // Invariant: as the header says. `new` and `alone` are the only ways in.
    list: Vec<Member>,
}

impl Members {
    /// Checks the list.
    ///
    /// # Errors
    /// Every fault of it.
    pub fn new(list: Vec<Member>) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        if list.is_empty() || list.len() > MEMBERS_MAX {
            faults.push(Fault::MemberCount { count: list.len() });
        }
        // A node that stands alone needs no address.
        let alone = list.len() == 1;
        let (mut names, mut addresses) = (HashSet::new(), HashSet::new());
        for member in &list {
            if !is_name(&member.name) {
                faults.push(Fault::Name { name: member.name.clone() });
            } else if !names.insert(&member.name) {
                faults.push(Fault::NameTwice { name: member.name.clone() });
            }
            if alone && member.address.is_empty() {
                continue;
            }
            if !is_address(&member.address) {
                let (name, address) = (member.name.clone(), member.address.clone());
                faults.push(Fault::Address { name, address });
            } else if !addresses.insert(&member.address) {
                faults.push(Fault::AddressTwice { address: member.address.clone() });
            }
        }
        if !list.iter().any(|member| member.roles.ingester) {
            faults.push(Fault::NoIngester);
        }
        if faults.is_empty() { Ok(Self { list }) } else { Err(faults) }
    }

    /// One node that does everything and has no peers.
    #[must_use]
    pub fn alone(name: impl Into<String>) -> Self {
        let (name, address, rack) = (name.into(), String::new(), String::new());
        Self { list: vec![Member { name, address, roles: Roles::ALL, rack }] }
    }

    /// The members in order; a [`NodeIndex`] is a place in it.
    #[must_use]
    pub fn as_slice(&self) -> &[Member] {
        &self.list
    }

    /// The member at `node`, if there is one.
    #[must_use]
    pub fn get(&self, node: NodeIndex) -> Option<&Member> {
        self.list.get(node.index())
    }

    /// Where the member called `name` stands.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeIndex> {
        self.iter().find(|(_, member)| member.name == name).map(|(node, _)| node)
    }

    /// The members with their places.
    pub fn iter(&self) -> impl Iterator<Item = (NodeIndex, &Member)> {
        (0_u16..).map(NodeIndex).zip(&self.list)
    }

    /// The members that keep data.
    pub fn ingesters(&self) -> impl Iterator<Item = (NodeIndex, &Member)> {
        self.iter().filter(|(_, member)| member.roles.ingester)
    }

    /// Stands for the list and the replication factor: peers with another one are refused.
    #[must_use]
    pub fn hash(&self, replication_factor: usize) -> u64 {
        let mut hasher = Xxh3::new();
        for member in &self.list {
            let Roles { distributor, ingester, querier } = member.roles;
            for text in [&member.name, &member.rack] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
            hasher.update(&[u8::from(distributor), u8::from(ingester), u8::from(querier)]);
        }
        hasher.update(&(replication_factor as u64).to_le_bytes());
        hasher.digest()
    }
}

/// Names stand in logs, metrics and paths.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.len() <= 64 && name.chars().all(plain)
}

fn is_address(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn member(name: &str, rack: &str) -> Member {
        let port = 9010 + name.bytes().fold(0_u32, |sum, b| sum * 31 % 9000 + u32::from(b));
        let address = format!("{name}.example:{port}");
        Member { name: name.into(), address, roles: Roles::ALL, rack: rack.into() }
    }

    #[test]
    fn every_fault_of_a_list_is_told_at_once() {
        let mut twice = member("a", "");
        twice.roles.ingester = false;
        let bad = Member { name: "b c".into(), address: "nowhere".into(), ..twice.clone() };
        let faults = Members::new(vec![twice.clone(), twice, bad]).unwrap_err();
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 5, "{texts:?}");
    }

    #[test]
    fn the_hash_moves_with_what_placement_depends_on_and_with_nothing_else() {
        let base = Members::new(vec![member("a", ""), member("b", "")]).unwrap();
        let change = |edit: fn(&mut Vec<Member>)| {
            let mut list = base.as_slice().to_vec();
            edit(&mut list);
            Members::new(list).unwrap().hash(2)
        };
        assert_eq!(change(|list| list[0].address = "elsewhere:1".into()), base.hash(2));
        assert_ne!(base.hash(1), base.hash(2));
        assert_ne!(change(|list| list.reverse()), base.hash(2));
        assert_ne!(change(|list| list[0].rack = "r".into()), base.hash(2));
        assert_ne!(change(|list| list[0].roles.ingester = false), base.hash(2));
        assert_ne!(change(|list| drop(list.pop())), base.hash(2));
    }
}
