//! Which segments a claimed task merges into one, which rows readers ignore, and when those go.
//!
//! # Invariants
//! - A merge replaces exactly what it has read whole, and what its inputs had replaced: whoever sees
//!   its manifest row ignores all of them, also those whose deletes are still on their way.
//! - A replaced segment goes only after its successor's manifest row was seen for [`SWEEP_AFTER_MS`]: a
//!   reader that chose the old one has done by then. That row is written again and acknowledged by a
//!   quorum first: it may have been seen on a single replica, its writer dead, and other readers would
//!   find neither. Pieces go before their manifest row, so that a task that is stopped between leaves
//!   a row that leads the next one to them.
//! - Two tasks that merge the same segments do no harm: both results have all samples, and join.
//!
//! Not here: which windows are worth it; who may do it (`claim.rs`).

use super::BootMs;
use std::collections::{BTreeMap, BTreeSet};

/// How long a segment is kept after it was seen to be replaced.
pub const SWEEP_AFTER_MS: u64 = 900_000;

/// The manifest rows of one partition and window: each segment, and those that it replaces.
pub type Manifest<Id> = BTreeMap<Id, BTreeSet<Id>>;

/// The segments that a reader reads: those that no other replaces.
pub fn live<Id: Ord + Copy>(manifest: &Manifest<Id>) -> BTreeSet<Id> {
    let replaced: BTreeSet<Id> = manifest.values().flatten().copied().collect();
    manifest.keys().copied().filter(|id| !replaced.contains(id)).collect()
}

/// A merge to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge<Id> {
    /// The segments to read. If a piece of one is missing, the merge is given up.
    pub inputs: BTreeSet<Id>,
    /// What the new manifest row says that it replaces.
    pub replaces: BTreeSet<Id>,
}

/// The merge of all live segments into one, if there are so many at least.
pub fn plan<Id: Ord + Copy>(manifest: &Manifest<Id>, inputs_min: usize) -> Option<Merge<Id>> {
    let inputs = live(manifest);
    if inputs.len() < inputs_min {
        return None;
    }
    let theirs = inputs.iter().filter_map(|id| manifest.get(id)).flatten();
    let replaces = inputs.iter().chain(theirs).copied().collect();
    Some(Merge { inputs, replaces })
}

/// Remembers since when segments are seen to be replaced.
#[derive(Debug)]
pub struct Sweep<Id> {
    after_ms: u64,
    seen: BTreeMap<Id, BootMs>,
}

impl<Id: Ord + Copy> Sweep<Id> {
    /// Sweeps what was seen for so long; [`SWEEP_AFTER_MS`] but in tests.
    #[must_use]
    pub fn new(after_ms: u64) -> Self {
        Self { after_ms, seen: BTreeMap::new() }
    }

    /// Looks at the rows as they are now. By each live segment the replaced ones that may go: write its
    /// manifest row again, and when that is acknowledged, delete their pieces, then their rows.
    pub fn due(&mut self, manifest: &Manifest<Id>, now: BootMs) -> BTreeMap<Id, BTreeSet<Id>> {
        let live = live(manifest);
        self.seen.retain(|id, _| manifest.contains_key(id) && !live.contains(id));
        let mut due = BTreeMap::new();
        for by in live {
            let replaced = manifest.get(&by).into_iter().flatten();
            let mut gone = BTreeSet::new();
            for id in replaced.filter(|id| manifest.contains_key(id)) {
                let since = *self.seen.entry(*id).or_insert(now);
                if now.since(since) >= self.after_ms {
                    gone.insert(*id);
                }
            }
            if !gone.is_empty() {
                due.insert(by, gone);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(rows: &[(u32, &[u32])]) -> Manifest<u32> {
        rows.iter().map(|(id, replaces)| (*id, replaces.iter().copied().collect())).collect()
    }

    #[test]
    fn a_merge_carries_on_what_its_inputs_replaced() {
        let merge = plan(&manifest(&[(1, &[]), (3, &[]), (4, &[1, 2])]), 2).unwrap();
        assert_eq!(merge.inputs, BTreeSet::from([3, 4]));
        assert_eq!(merge.replaces, BTreeSet::from([1, 2, 3, 4]));
        assert_eq!(plan(&manifest(&[(1, &[]), (4, &[1])]), 2), None);
    }

    #[test]
    fn a_replaced_segment_goes_only_after_its_successor_was_seen_for_long_enough() {
        let mut sweep = Sweep::new(100);
        let (before, after) = (manifest(&[(1, &[])]), manifest(&[(1, &[]), (2, &[1])]));
        assert!(sweep.due(&before, BootMs(0)).is_empty());
        assert!(sweep.due(&after, BootMs(500)).is_empty());
        assert!(sweep.due(&after, BootMs(599)).is_empty());
        assert!(sweep.due(&before, BootMs(650)).is_empty());
        assert!(sweep.due(&after, BootMs(700)).is_empty());
        let due = BTreeMap::from([(2, BTreeSet::from([1]))]);
        assert_eq!(sweep.due(&after, BootMs(800)), due);
    }
}
