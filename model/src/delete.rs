//! Deleting: what a caller asks for, and the tombstone that stays of it.

use crate::matcher::Matcher;
use crate::tenant::TenantId;
use crate::time::{TimeRange, TimestampMs};

/// What to delete of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRequest {
    /// A series goes if all matchers of one of the sets match it. A set without a matcher is every
    /// series.
    pub matcher_sets: Vec<Vec<Matcher>>,
    /// Only samples in it.
    pub range: TimeRange,
    /// Samples of a higher revision stay. A replica that holds higher ones raises it.
    pub revision_max: u32,
}

/// What a replica answers to a [`DeleteRequest`] once its tombstones are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteAnswer {
    /// The revision up to which the samples are gone on this replica. If replicas differ, the
    /// coordinator asks again with the highest.
    pub revision_max: u32,
}

/// Hides each sample of `range` whose revision is at most `revision_max`, of every series that all
/// matchers match, whenever the sample arrives.
///
/// Tombstones are a set: one that is there twice is there once, in any order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tombstone {
    /// Whose series.
    pub tenant: TenantId,
    /// All of them have to match; none is every series.
    pub matchers: Vec<Matcher>,
    /// Only samples in it.
    pub range: TimeRange,
    /// Samples of a higher revision are not hidden.
    pub revision_max: u32,
    /// When it was asked for.
    pub created: TimestampMs,
}

impl Tombstone {
    /// Whether everything that `other` hides is hidden by this one. Only matchers that are the
    /// same in any order are known to match the same.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let same = |a: &[Matcher], b: &[Matcher]| a.iter().all(|matcher| b.contains(matcher));
        self.tenant == other.tenant
            && self.range.start <= other.range.start
            && other.range.end <= self.range.end
            && self.revision_max >= other.revision_max
            && same(&self.matchers, &other.matchers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone(matchers: &[Matcher], start: i64, end: i64, revision_max: u32) -> Tombstone {
        Tombstone {
            tenant: TenantId::parse("t").unwrap(),
            matchers: matchers.to_vec(),
            range: TimeRange { start: TimestampMs(start), end: TimestampMs(end) },
            revision_max,
            created: TimestampMs(0),
        }
    }

    #[test]
    fn one_covers_another_with_a_longer_range_fewer_matchers_and_a_higher_revision() {
        let [a, b] = [Matcher::equal("a", "1"), Matcher::equal("b", "2")];
        let both = tombstone(&[a.clone(), b.clone()], 0, 10, 1);
        assert!(both.covers(&both));
        assert!(tombstone(&[b.clone(), a.clone()], -1, 11, 2).covers(&both));
        assert!(tombstone(&[a.clone()], 0, 10, 1).covers(&both));
        assert!(tombstone(&[], 0, 10, 1).covers(&both));
        for less in [
            tombstone(&[a.clone(), b.clone()], 1, 10, 1),
            tombstone(&[a.clone(), b.clone()], 0, 9, 1),
            tombstone(&[a.clone(), b], 0, 10, 0),
            tombstone(&[a, Matcher::equal("c", "3")], 0, 10, 1),
        ] {
            assert!(!less.covers(&both), "{less:?}");
        }
    }
}
