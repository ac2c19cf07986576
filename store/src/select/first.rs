//! Of however many series only so many are wanted, the first by their labels: no more than twice as many
//! are held at a time.
//!
//! A key is a series' label pairs, in order, as texts' numbers; different numbers are different texts.

use std::cmp::Ordering;
use std::ops::Range;

/// Fewer than that are not worth a cut.
const LEN_MIN: usize = 4096;

/// Which series cannot be among the first.
#[derive(Debug)]
pub(crate) struct First {
    max: usize,
    /// There are `max` keys up to this one.
    border: Option<Vec<u32>>,
}

impl First {
    /// The first `max`, which is not 0.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, border: None }
    }

    /// How many are wanted.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Whether a key is known not to be among the first.
    pub(crate) fn is_beyond<'t>(&self, key: &[u32], text: impl Fn(u32) -> &'t str) -> bool {
        let border = self.border.as_deref();
        border.is_some_and(|border| order(key, border, &text) == Ordering::Greater)
    }

    /// Whether so many keys are to be cut.
    pub(crate) fn is_full(&self, len: usize) -> bool {
        len / 2 >= self.max.max(LEN_MIN)
    }

    /// Leaves the first of some keys, which differ, each a range of `ids`.
    pub(crate) fn cut<'t>(
        &mut self,
        ids: &mut Vec<u32>,
        keys: &mut Vec<Range<usize>>,
        text: impl Fn(u32) -> &'t str,
    ) {
        let key = |range: &Range<usize>| ids.get(range.clone()).unwrap_or_default();
        let Some(last) = self.max.checked_sub(1).filter(|last| *last < keys.len()) else { return };
        let (_, border, _) = keys.select_nth_unstable_by(last, |a, b| order(key(a), key(b), &text));
        self.border = Some(key(border).to_vec());
        keys.truncate(self.max);
        let mut kept = Vec::with_capacity(keys.iter().map(Range::len).sum());
        for range in keys {
            let start = kept.len();
            kept.extend_from_slice(key(range));
            *range = start..kept.len();
        }
        *ids = kept;
    }
}

/// How the label sets of two keys compare.
fn order<'t>(a: &[u32], b: &[u32], text: &impl Fn(u32) -> &'t str) -> Ordering {
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => text(*a).cmp(text(*b)),
        None => a.len().cmp(&b.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn whatever_the_order_the_first_are_left(
            keys in prop::collection::btree_set(prop::collection::vec(0_usize..4, 0..5), 0..60),
            max in 1_usize..40,
            seed: u64,
        ) {
            // Numbers are not in the order of their texts.
            const TEXTS: [&str; 4] = ["c", "a", "", "b"];
            let text = |id: u32| TEXTS[id as usize];
            let named = |key: &[u32]| key.iter().map(|id| text(*id)).collect::<Vec<_>>();
            let mut shuffled: Vec<Vec<usize>> = keys.into_iter().collect();
            shuffled.sort_by_key(|key| model::SplitMix64::at(seed, key.iter().sum::<usize>() as u64));
            let (mut ids, mut ranges) = (Vec::new(), Vec::new());
            for key in &shuffled {
                let start = ids.len();
                ids.extend(key.iter().map(|id| u32::try_from(*id).unwrap()));
                ranges.push(start..ids.len());
            }
            let all: BTreeSet<Vec<&str>> = ranges.iter().map(|key| named(&ids[key.clone()])).collect();
            let mut first = First::new(max);
            first.cut(&mut ids, &mut ranges, text);
            let left: BTreeSet<Vec<&str>> = ranges.iter().map(|key| named(&ids[key.clone()])).collect();
            prop_assert_eq!(ids.len(), ranges.iter().map(Range::len).sum::<usize>());
            prop_assert_eq!(left, all.into_iter().take(max).collect::<BTreeSet<_>>());
            prop_assert!(ranges.iter().all(|key| !first.is_beyond(&ids[key.clone()], text)));
        }
    }
}
