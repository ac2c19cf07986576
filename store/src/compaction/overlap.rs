//! Which sstables overlap by token, and which must be compacted together.
//!
//! Items are positions in the caller's list.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// A minimal list of sets, ascending by token: items that do not overlap are never in one set, an
/// item is only in consecutive sets, and for each token some set has all that cover it.
///
/// A span is its first and last token, both included.
#[must_use]
pub fn overlap_sets(spans: &[(u64, u64)]) -> Vec<BTreeSet<usize>> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_unstable_by_key(|&item| (spans[item], item));
    let mut sets = Vec::new();
    // What covers the current token, the first to end on top.
    let mut active: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let set = |active: &BinaryHeap<Reverse<(u64, usize)>>| -> BTreeSet<usize> {
        active.iter().map(|&Reverse((_, item))| item).collect()
    };
    for item in order {
        let (first, last) = spans[item];
        let ended = |active: &BinaryHeap<Reverse<(u64, usize)>>| {
            active.peek().is_some_and(|&Reverse((end, _))| end < first)
        };
        if ended(&active) {
            sets.push(set(&active));
            while ended(&active) {
                active.pop();
            }
        }
        active.push(Reverse((last, item)));
    }
    if !active.is_empty() {
        sets.push(set(&active));
    }
    sets
}

/// How many of the spans cover the token that most of them cover: what a read has to open.
#[must_use]
pub fn max_overlap(spans: &[(u64, u64)]) -> usize {
    let mut ends: Vec<(u64, bool)> = Vec::with_capacity(2 * spans.len());
    for &(first, last) in spans {
        // At one token beginnings come first: both ends are included.
        ends.extend([(first, false), (last, true)]);
    }
    ends.sort_unstable();
    let (mut open, mut most) = (0_usize, 0);
    for (_, is_end) in ends {
        if is_end {
            open -= 1;
        } else {
            open += 1;
            most = most.max(open);
        }
    }
    most
}

/// The largest sum of weights of spans of which no two overlap.
#[must_use]
pub fn heaviest_apart(spans: &[((u64, u64), u64)]) -> u64 {
    let mut by_end: Vec<_> = spans.to_vec();
    by_end.sort_unstable_by_key(|&((first, last), weight)| (last, first, weight));
    // best[i]: with the first i spans.
    let mut best = vec![0_u64; by_end.len() + 1];
    for (index, &((first, _), weight)) in by_end.iter().enumerate() {
        let before = by_end[..index].partition_point(|&((_, last), _)| last < first);
        best[index + 1] = best[index].max(best[before].saturating_add(weight));
    }
    best.last().copied().unwrap_or(0)
}

/// Overlap sets that are compacted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Consecutive overlap sets.
    pub sets: Vec<BTreeSet<usize>>,
    /// The size of the largest.
    pub max_overlap: usize,
}

impl Bucket {
    /// All items.
    #[must_use]
    pub fn items(&self) -> BTreeSet<usize> {
        self.sets.iter().flatten().copied().collect()
    }
}

/// The sets of `threshold` items or more, each with the neighbours that share an item with it, or
/// with a neighbour of it, and so on.
#[must_use]
pub fn buckets(sets: &[BTreeSet<usize>], threshold: usize) -> Vec<Bucket> {
    let mut groups: Vec<Vec<BTreeSet<usize>>> = Vec::new();
    for set in sets {
        // An item is only in consecutive sets, so what shares one shares it with the last set.
        match groups.last_mut() {
            Some(group) if group.last().is_some_and(|last| !last.is_disjoint(set)) => {
                group.push(set.clone());
            }
            _ => groups.push(vec![set.clone()]),
        }
    }
    let bucket = |sets: Vec<BTreeSet<usize>>| {
        let max_overlap = sets.iter().map(BTreeSet::len).max().unwrap_or(0);
        Bucket { sets, max_overlap }
    };
    groups.into_iter().map(bucket).filter(|bucket| bucket.max_overlap >= threshold).collect()
}

/// Takes items in the order given until one more would make it more than `limit` in some set. None
/// is skipped.
#[must_use]
pub fn take_within(order: &[usize], sets: &[BTreeSet<usize>], limit: usize) -> Vec<usize> {
    let mut taken_of = vec![0; sets.len()];
    let mut taken = Vec::new();
    for &item in order {
        for (count, _) in taken_of.iter_mut().zip(sets).filter(|(_, set)| set.contains(&item)) {
            *count += 1;
            if *count > limit {
                return taken;
            }
        }
        taken.push(item);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of appendix B, ends included.
    const ABCD: [(u64, u64); 4] = [(0, 3), (2, 7), (6, 9), (1, 8)];
    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;
    const D: usize = 3;

    #[test]
    fn golden_overlap_sets_of_a_b_c_d_are_abd_and_bcd() {
        let sets = overlap_sets(&ABCD);
        assert_eq!(sets, vec![BTreeSet::from([A, B, D]), BTreeSet::from([B, C, D])]);
        assert_eq!(max_overlap(&ABCD), 3);
    }

    #[test]
    fn golden_the_transitive_bucket_is_abcd() {
        let buckets = buckets(&overlap_sets(&ABCD), 3);
        assert_eq!(buckets.len(), 1);
        assert_eq!(buckets[0].items(), BTreeSet::from([A, B, C, D]));
        assert_eq!(buckets[0].max_overlap, 3);
    }

    #[test]
    fn golden_a_pick_limited_to_two_never_skips_an_older_one() {
        let sets = overlap_sets(&ABCD);
        // B is oldest, and C older than D: with A older than D it is ABC, else only BC.
        assert_eq!(take_within(&[B, C, A, D], &sets, 2), vec![B, C, A]);
        assert_eq!(take_within(&[B, C, D, A], &sets, 2), vec![B, C]);
        assert_eq!(take_within(&[B, C, D, A], &sets, 4), vec![B, C, D, A]);
    }

    #[test]
    fn spans_that_only_touch_overlap_and_spans_apart_are_buckets_apart() {
        assert_eq!(max_overlap(&[(0, 5), (5, 9)]), 2);
        assert_eq!(max_overlap(&[(0, 5), (6, 9)]), 1);
        assert_eq!(max_overlap(&[]), 0);
        let apart = [(0, 5), (0, 5), (6, 9), (6, 9), (6, 9)];
        assert_eq!(buckets(&overlap_sets(&apart), 2).len(), 2);
        assert_eq!(buckets(&overlap_sets(&apart), 3).len(), 1);
        assert!(buckets(&overlap_sets(&[]), 1).is_empty());
    }

    #[test]
    fn the_heaviest_spans_apart_are_chosen_among_overlapping_ones() {
        assert_eq!(heaviest_apart(&[((0, 3), 5), ((2, 7), 9), ((6, 9), 5)]), 10);
        assert_eq!(heaviest_apart(&[((0, 9), 7), ((0, 9), 7)]), 7);
        assert_eq!(heaviest_apart(&[]), 0);
    }
}
