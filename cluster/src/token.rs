//! The token ring: which vnode a token belongs to, and where the vnodes lie.
//!
//! Each node has [`VNODES_PER_NODE`] *vnodes*: tokens that end a range. A token belongs to the first
//! vnode at or after it, clockwise; so a vnode's range is (the vnode before it, itself].
//!
//! Tokens are not drawn at random but cut: each rack is a ring of its own, its first node takes even
//! parts, and each further node cuts its share off the heaviest nodes. So loads stay within a few
//! percent of each other, and appending a node moves only what becomes its own.
//!
//! # Invariants
//! - Vnodes are strictly ascending: no two share a token.
//! - Same list, same tokens; appending a member moves no token of the others.
//!
//! Not here: which further nodes keep a copy (`placement.rs`).

use crate::members::{Members, NodeIndex};
use model::Token;
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many vnodes a node has: enough to spread, few enough that a node has few neighbours.
pub const VNODES_PER_NODE: usize = 16;

/// The tokens after `start` up to and including `end`, clockwise. `start == end` is the whole ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRange {
    /// The last token before the range.
    pub start: Token,
    /// The last token in the range.
    pub end: Token,
}

impl TokenRange {
    /// Whether `token` lies in it.
    #[must_use]
    pub fn contains(self, token: Token) -> bool {
        if self.start < self.end {
            self.start < token && token <= self.end
        } else {
            token > self.start || token <= self.end
        }
    }

    /// How many tokens it has: 1 to 2^64.
    #[must_use]
    pub fn width(self) -> u128 {
        match self.end.0.wrapping_sub(self.start.0) {
            0 => 1 << 64,
            width => u128::from(width),
        }
    }
}

/// The vnodes of all nodes that keep data. An owner is a member of a fixed list, or whoever
/// `ownership` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring<Owner = NodeIndex> {
    // Invariant: not empty, tokens strictly ascending.
    vnodes: Vec<(Token, Owner)>,
}

impl Ring {
    /// Gives every ingester its tokens.
    #[must_use]
    pub fn new(members: &Members) -> Self {
        let mut racks: BTreeMap<&str, Vec<NodeIndex>> = BTreeMap::new();
        for (node, member) in members.ingesters() {
            racks.entry(&member.rack).or_default().push(node);
        }
        let mut taken = BTreeSet::new();
        let mut vnodes = Vec::new();
        for (rack, nodes) in racks {
            for (token, node) in RackRing::of(rack, &nodes).vnodes {
                vnodes.push((unused(token, &mut taken), node));
            }
        }
        vnodes.sort_unstable();
        assert!(!vnodes.is_empty(), "a checked member list has an ingester");
        Self { vnodes }
    }
}

impl<Owner: Copy> Ring<Owner> {
    /// A ring of `count` even ranges, all of them `owner`'s; at least one.
    #[must_use]
    pub fn even(count: u16, owner: Owner) -> Self {
        let count = u128::from(count.max(1));
        let end = |place: u128| u64::try_from((place + 1) * (1 << 64) / count - 1);
        let tokens = (0..count).map(|place| Token(end(place).unwrap_or(u64::MAX)));
        Self { vnodes: tokens.map(|token| (token, owner)).collect() }
    }

    /// Gives the vnode at `place` to another owner.
    ///
    /// # Panics
    /// If there is no such vnode.
    pub fn give(&mut self, place: usize, owner: Owner) {
        self.vnodes[place].1 = owner;
    }

    /// The vnodes, ascending by token.
    #[must_use]
    pub fn vnodes(&self) -> &[(Token, Owner)] {
        &self.vnodes
    }

    /// The place of the vnode that `token` belongs to.
    #[must_use]
    pub fn vnode_of(&self, token: Token) -> usize {
        let after = self.vnodes.partition_point(|(end, _)| *end < token);
        if after == self.vnodes.len() { 0 } else { after }
    }

    /// The range of the vnode at `place`.
    #[must_use]
    pub fn range(&self, place: usize) -> TokenRange {
        let before = if place == 0 { self.vnodes.len() - 1 } else { place - 1 };
        TokenRange { start: self.vnodes[before].0, end: self.vnodes[place].0 }
    }
}

/// The next token that no other rack has taken.
fn unused(token: Token, taken: &mut BTreeSet<Token>) -> Token {
    let mut token = token;
    while !taken.insert(token) {
        token = Token(token.0.wrapping_add(1));
    }
    token
}

/// The nodes of one rack while they divide the whole ring among themselves.
struct RackRing {
    // Invariant: strictly ascending.
    vnodes: Vec<(Token, NodeIndex)>,
}

impl RackRing {
    fn of(rack: &str, nodes: &[NodeIndex]) -> Self {
        let mut ring = Self { vnodes: Vec::new() };
        let first = xxh3_64_with_seed(rack.as_bytes(), 0);
        for (count, node) in nodes.iter().enumerate() {
            if count == 0 {
                ring.divide_evenly(first, *node);
            } else {
                ring.cut_share(count + 1, *node);
            }
        }
        ring
    }

    fn divide_evenly(&mut self, first: u64, node: NodeIndex) {
        let step = u64::MAX / VNODES_PER_NODE as u64 + 1;
        let tokens = (0..VNODES_PER_NODE as u64).map(|i| first.wrapping_add(i.wrapping_mul(step)));
        self.vnodes.extend(tokens.map(|token| (Token(token), node)));
        self.vnodes.sort_unstable();
    }

    /// The newest of `count` nodes cuts each of its vnodes off the heaviest node's largest range.
    fn cut_share(&mut self, count: usize, node: NodeIndex) {
        let target = (1_u128 << 64) / count as u128;
        let mut got = 0;
        for left in (1..=VNODES_PER_NODE as u128).rev() {
            let (place, width, load) = self.largest_range_of_the_heaviest(node);
            let need = target.saturating_sub(got) / left;
            let surplus = load.saturating_sub(target);
            let cut = need.max(surplus.min(target.saturating_sub(got))).min(width / 10 * 9).max(1);
            got += cut;
            // The new vnode takes the first part of the range, (start, start + cut].
            let start = self.start_of(place);
            let cut = u64::try_from(cut).unwrap_or(u64::MAX);
            self.vnodes.insert(place, (Token(start.0.wrapping_add(cut)), node));
            self.vnodes.sort_unstable();
        }
    }

    fn start_of(&self, place: usize) -> Token {
        let before = if place == 0 { self.vnodes.len() - 1 } else { place - 1 };
        self.vnodes[before].0
    }

    /// The place and width of the range to cut, and its owner's load; never one of `except`.
    fn largest_range_of_the_heaviest(&self, except: NodeIndex) -> (usize, u128, u128) {
        let mut loads: BTreeMap<NodeIndex, (u128, u128, usize)> = BTreeMap::new();
        for (place, (end, owner)) in self.vnodes.iter().enumerate() {
            let width = TokenRange { start: self.start_of(place), end: *end }.width();
            let (load, widest, at) = loads.entry(*owner).or_default();
            *load += width;
            if width > *widest {
                (*widest, *at) = (width, place);
            }
        }
        loads.remove(&except);
        let heaviest = loads.into_iter().max_by_key(|(node, (load, ..))| (*load, *node));
        heaviest.map_or((0, 0, 0), |(_, (load, widest, at))| (at, widest, load))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::tests::member;

    fn members(count: usize) -> Members {
        Members::new((0..count).map(|i| member(&format!("n{i}"), "")).collect()).unwrap()
    }

    fn loads(ring: &Ring, count: usize) -> Vec<u128> {
        let mut loads = vec![0; count];
        for (place, (_, node)) in ring.vnodes().iter().enumerate() {
            loads[node.index()] += ring.range(place).width();
        }
        loads
    }

    #[test]
    fn the_ranges_cover_the_ring_once() {
        for count in [1, 2, 3, 7] {
            let ring = Ring::new(&members(count));
            assert_eq!(loads(&ring, count).iter().sum::<u128>(), 1 << 64);
            assert!(ring.vnodes().is_sorted_by(|a, b| a.0 < b.0));
            assert_eq!(ring.vnodes().len(), count * VNODES_PER_NODE);
        }
    }

    #[test]
    fn no_node_owns_a_twentieth_more_than_its_share() {
        for count in 3..=60 {
            let loads = loads(&Ring::new(&members(count)), count);
            let heaviest = *loads.iter().max().unwrap();
            let over = heaviest * count as u128 * 100 / (1 << 64);
            assert!(over <= 105, "{count} nodes: the heaviest has {over} % of the mean");
        }
    }

    #[test]
    fn a_node_that_is_appended_moves_only_what_becomes_its_own() {
        for count in 1..20 {
            let (before, after) = (Ring::new(&members(count)), Ring::new(&members(count + 1)));
            let newest = NodeIndex(u16::try_from(count).unwrap());
            let kept: Vec<_> = after.vnodes().iter().filter(|(_, n)| *n != newest).collect();
            assert_eq!(kept, before.vnodes().iter().collect::<Vec<_>>(), "{count} nodes");
        }
    }

    #[test]
    fn a_range_holds_its_end_and_not_its_start_around_the_top_too() {
        let range = TokenRange { start: Token(u64::MAX - 1), end: Token(3) };
        assert!(range.contains(Token(u64::MAX)) && range.contains(Token(0)));
        assert!(range.contains(Token(3)));
        assert!(!range.contains(Token(4)) && !range.contains(Token(u64::MAX - 1)));
        assert_eq!(range.width(), 5);
        let whole = TokenRange { start: Token(9), end: Token(9) };
        assert!(whole.contains(Token(9)) && whole.contains(Token(0)));
        assert_eq!(whole.width(), 1 << 64);
    }

    #[test]
    fn a_token_lies_in_the_range_of_its_vnode() {
        let ring = Ring::new(&members(3));
        let edges = ring.vnodes().iter().flat_map(|(token, _)| {
            [token.0.wrapping_sub(1), token.0, token.0.wrapping_add(1)].map(Token)
        });
        for token in edges.chain([Token(0), Token(u64::MAX)]) {
            assert!(ring.range(ring.vnode_of(token)).contains(token), "{token:?}");
        }
    }
}
