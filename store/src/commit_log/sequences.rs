//! A set of sequence numbers, small because they come nearly without gaps.

use std::collections::BTreeMap;

/// Sequence numbers as ranges.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    // First and last number of each range; ranges neither overlap nor touch.
    ranges: BTreeMap<u64, u64>,
}

impl Sequences {
    /// Adds a number; whether it is new.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let before = self.ranges.range(..=number).next_back().map(|(first, last)| (*first, *last));
        let touches_before = match before {
            Some((_, last)) if number <= last => return false,
            Some((first, last)) if last + 1 == number => Some(first),
            _ => None,
        };
        let after = number.checked_add(1).and_then(|next| self.ranges.remove(&next));
        self.ranges.insert(touches_before.unwrap_or(number), after.unwrap_or(number));
        true
    }

    /// The lowest number.
    pub(super) fn first(&self) -> Option<u64> {
        self.ranges.keys().next().copied()
    }

    /// The ranges (first, last) between `low` and `high`, both included, that are not in the set.
    pub(super) fn missing(&self, low: u64, high: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut next = low;
        for (first, last) in &self.ranges {
            if next > high {
                break;
            }
            if *first > next {
                gaps.push((next, high.min(first - 1)));
            }
            let Some(behind) = last.checked_add(1) else { return gaps };
            next = next.max(behind);
        }
        if next <= high {
            gaps.push((next, high));
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_what_was_never_inserted() {
        let mut set = Sequences::default();
        for number in [5, 3, 4, 9, 10, 1] {
            assert!(set.insert(number));
            assert!(!set.insert(number));
        }
        assert_eq!(set.first(), Some(1));
        assert_eq!(set.ranges.len(), 3);
        assert_eq!(set.missing(1, 12), [(2, 2), (6, 8), (11, 12)]);
        assert_eq!(set.missing(3, 5), []);
        assert_eq!(set.missing(7, 9), [(7, 8)]);
        assert!(set.insert(u64::MAX));
        assert_eq!(set.missing(10, u64::MAX), [(11, u64::MAX - 1)]);
    }
}
