//! The layout: the part of a member list that decides which node has which data, as a text that is kept
//! beside the data.
//!
//! Data is not moved when the list changes, so a node that starts under another layout than its data was
//! written under would be asked for what it has not got, and answer as if there were nothing.
//!
//! # Invariants
//! - If two texts are equal the data of the one lies where the other looks for it: copies, ingesters in
//!   their order with their racks, and which of them this is. Addresses and members that keep no data are
//!   left out. Some that differ move nothing, as another order does where each node has everything.
//! - A node that keeps all data alone is the same by whatever name.
//! - A text is one line, whatever a rack is called.
//!
//! Not here: the file (`node::data_dir`), what two peers have to agree on (`Topology::hash`).

use crate::members::NodeIndex;
use crate::topology::Topology;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// Which node has which data, as one of them sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    // Invariant: one line, trimmed.
    text: String,
}

/// What is to be done about the layout that is kept beside the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is the same.
    Keep,
    /// There is none, or no data that it matters to, or it is known to have changed: this one is kept
    /// from now on.
    Write,
    /// Data lies elsewhere than it would be looked for.
    Refuse,
}

impl Layout {
    /// That of the ingester `local`.
    #[must_use]
    pub fn of(topology: &Topology, local: NodeIndex) -> Self {
        let ingesters: Vec<String> = topology
            .members
            .ingesters()
            .map(|(_, member)| match &*member.rack {
                "" => member.name.clone(),
                rack => format!("{} (rack {rack:?})", member.name),
            })
            .collect();
        if ingesters.len() == 1 {
            return Self { text: "all data on this node alone".to_owned() };
        }
        let copies = topology.placement.replication_factor();
        let name = topology.members.get(local).map_or("", |member| &member.name);
        let list = ingesters.join(", ");
        Self { text: format!("replication_factor {copies} on {list}; this is {name}") }
    }

    /// As it was kept.
    #[must_use]
    pub fn kept(text: &str) -> Self {
        Self { text: text.trim().to_owned() }
    }

    /// What an operator names to say that this layout is meant: 16 hex digits.
    #[must_use]
    pub fn code(&self) -> String {
        format!("{:016x}", xxh3_64(self.text.as_bytes()))
    }

    /// What to do where `kept` is beside the data, this layout is configured, and the operator has named
    /// the code `accepted`.
    #[must_use]
    pub fn decide(&self, kept: Option<&Self>, has_data: bool, accepted: &str) -> Decision {
        match kept {
            Some(kept) if kept == self => Decision::Keep,
            Some(_) if has_data && accepted != self.code() => Decision::Refuse,
            _ => Decision::Write,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::tests::member;
    use crate::topology::TopologyConfig;

    fn config(names: &[&str]) -> TopologyConfig {
        let members = names.iter().map(|name| member(name, "")).collect();
        TopologyConfig {
            members,
            replication_factor: names.len().min(3),
            ..TopologyConfig::alone("unused")
        }
    }

    fn layout(config: TopologyConfig, name: &str) -> Layout {
        let topology = Topology::new(config).unwrap();
        let local = topology.members.find(name).unwrap();
        Layout::of(&topology, local)
    }

    #[test]
    fn what_moves_data_changes_the_layout_and_nothing_else_does() {
        let base = layout(config(&["a", "b", "c", "d"]), "a");
        let changed = |edit: fn(&mut TopologyConfig)| {
            let mut config = config(&["a", "b", "c", "d"]);
            edit(&mut config);
            layout(config, "a")
        };
        assert_eq!(base.to_string(), "replication_factor 3 on a, b, c, d; this is a");
        assert_eq!(changed(|config| config.members[1].address = "elsewhere:1".into()), base);
        assert_eq!(changed(|config| config.members.push(querier("q"))), base);
        assert_eq!(changed(|config| config.read_consistency = crate::Consistency::All), base);
        assert_ne!(changed(|config| config.members[1].name = "x".into()), base);
        assert_ne!(changed(|config| config.members[1].rack = "\n".into()), base);
        assert_ne!(changed(|config| config.members.swap(2, 3)), base);
        assert_ne!(changed(|config| config.replication_factor = 2), base);
        assert_ne!(changed(|config| config.members[3].roles.ingester = false), base);
        assert_ne!(layout(config(&["a", "b", "c", "d"]), "b"), base, "the data of another node");
        let rack = changed(|config| config.members[1].rack = "r\n\"1".into());
        assert_eq!(Layout::kept(&format!("{rack}\n")), rack, "one line");
    }

    fn querier(name: &str) -> crate::Member {
        let mut member = member(name, "");
        member.roles.ingester = false;
        member
    }

    #[test]
    fn a_node_that_has_all_data_is_the_same_by_any_name_until_it_shares() {
        let alone = layout(TopologyConfig::alone("00ff"), "00ff");
        assert_eq!(layout(config(&["a"]), "a"), alone);
        let mut with_querier = config(&["a"]);
        with_querier.members.push(querier("q"));
        assert_eq!(layout(with_querier, "a"), alone);
        assert_ne!(layout(config(&["a", "b"]), "a"), alone);
    }

    #[test]
    fn another_layout_is_refused_over_data_until_its_own_code_is_named() {
        let [alone, three] = [&["a"][..], &["a", "b", "c"]].map(|names| layout(config(names), "a"));
        assert_eq!(three.decide(Some(&three), true, ""), Decision::Keep);
        assert_eq!(three.decide(None, true, ""), Decision::Write, "of before layouts were kept");
        assert_eq!(three.decide(Some(&alone), false, ""), Decision::Write);
        assert_eq!(three.decide(Some(&alone), true, ""), Decision::Refuse);
        assert_eq!(three.decide(Some(&alone), true, &alone.code()), Decision::Refuse);
        assert_eq!(three.decide(Some(&alone), true, &three.code()), Decision::Write);
        assert_ne!(three.code(), layout(config(&["a", "b", "c"]), "b").code());
    }
}
