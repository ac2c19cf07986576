//! The token space a node owns: shares of it, and where shards are cut.

use model::Token;

/// The tokens a node owns: ranges, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    // Invariant: ascending, disjoint, not empty.
    ranges: Vec<(u64, u64)>,
}

impl Default for Space {
    fn default() -> Self {
        Self { ranges: vec![(0, u64::MAX)] }
    }
}

impl Space {
    /// Owns these ranges, both ends included, in any order; all tokens if there is none.
    #[must_use]
    pub fn of(mut given: Vec<(u64, u64)>) -> Self {
        given.retain(|(first, last)| first <= last);
        given.sort_unstable();
        let mut ranges: Vec<(u64, u64)> = Vec::with_capacity(given.len());
        for (first, last) in given {
            match ranges.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => ranges.push((first, last)),
            }
        }
        if ranges.is_empty() { Self::default() } else { Self { ranges } }
    }

    /// How many tokens are owned; 1 to 2⁶⁴.
    #[must_use]
    pub fn tokens(&self) -> u128 {
        self.ranges.iter().map(|&range| len(range)).sum()
    }

    /// How many owned tokens lie from `first` to `last`, both included.
    #[must_use]
    pub fn tokens_within(&self, first: u64, last: u64) -> u128 {
        let cut = self.ranges.iter().map(|range| (range.0.max(first), range.1.min(last)));
        cut.filter(|(first, last)| first <= last).map(len).sum()
    }

    /// The first token of each of `shards` equal shares but the first one. A boundary for some
    /// number is one for all its multiples.
    #[must_use]
    pub fn boundaries(&self, shards: u64) -> Vec<Token> {
        let tokens = self.tokens();
        let mut boundaries = Vec::new();
        let mut ranges = self.ranges.iter();
        let Some(mut range) = ranges.next() else { return boundaries };
        let mut passed = 0;
        for index in 1..u128::from(shards) {
            let position = tokens * index / u128::from(shards);
            while position - passed >= len(*range) {
                passed += len(*range);
                // `position` is below the sum of all, so there is a next one.
                let Some(next) = ranges.next() else { return boundaries };
                range = next;
            }
            let into = u64::try_from(position - passed).unwrap_or(u64::MAX);
            boundaries.push(Token(range.0.saturating_add(into)));
        }
        boundaries.dedup();
        boundaries
    }
}

fn len(range: (u64, u64)) -> u128 {
    u128::from(range.1 - range.0) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_equal_and_boundaries_stay_boundaries_when_shards_double() {
        for space in [Space::default(), Space::of(vec![(500, 999), (0, 99), (7_000, 1 << 60)])] {
            let four = space.boundaries(4);
            let eight = space.boundaries(8);
            assert_eq!((four.len(), eight.len()), (3, 7));
            assert!(four.iter().all(|token| eight.contains(token)));
            let share = space.tokens_within(four[0].0, four[1].0 - 1);
            assert!(share.abs_diff(space.tokens() / 4) <= 1);
        }
        assert_eq!(Space::default().boundaries(4)[1], Token(1 << 63));
        assert!(Space::default().boundaries(1).is_empty());
        assert_eq!(Space::default().tokens(), 1 << 64);
    }

    #[test]
    fn ranges_that_touch_are_one_and_more_shards_than_tokens_are_no_trouble() {
        let space = Space::of(vec![(3, 4), (0, 2), (9, 8)]);
        assert_eq!(space, Space::of(vec![(0, 4)]));
        assert_eq!(space.boundaries(1 << 10).len(), 5);
        assert_eq!(space.tokens_within(4, 100), 1);
        assert_eq!(Space::of(Vec::new()), Space::default());
    }
}
