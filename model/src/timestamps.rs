//! Moments of a column, which the series of a scrape share.
//!
//! A target's series are scraped together, so their samples have the same moments. Those who read
//! many series keep such moments once, and whoever works out something of moments alone (which of
//! them a window holds) does so once for all series that share them.
//!
//! # Invariants
//! - Sharing is never seen in the contents: who changes shared moments gets a copy of their own.
//!
//! Not here: who finds out that moments are equal (`store`).

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Moments in milliseconds since 1970. A clone shares them.
#[derive(Clone, Default)]
pub struct Timestamps(Option<Arc<Vec<i64>>>);

impl Timestamps {
    /// The moments, to be changed: a copy if they are shared.
    pub fn to_mut(&mut self) -> &mut Vec<i64> {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// Adds a moment.
    pub fn push(&mut self, timestamp_ms: i64) {
        self.to_mut().push(timestamp_ms);
    }

    /// How many hold these in memory, this one too; 0 if there are none.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.0.as_ref().map_or(0, Arc::strong_count)
    }

    /// Whether these are shared with others.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.holders() > 1
    }

    /// Where they are in memory; 0 if there are none. As long as they live no others are there.
    #[must_use]
    pub fn place(&self) -> usize {
        self.0.as_ref().map_or(0, |moments| Arc::as_ptr(moments).addr())
    }

    /// Whether both are the same in memory; so they are if both are empty.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Deref for Timestamps {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl From<Vec<i64>> for Timestamps {
    fn from(moments: Vec<i64>) -> Self {
        Self((!moments.is_empty()).then(|| Arc::new(moments)))
    }
}

impl FromIterator<i64> for Timestamps {
    fn from_iter<I: IntoIterator<Item = i64>>(moments: I) -> Self {
        Vec::from_iter(moments).into()
    }
}

impl fmt::Debug for Timestamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&**self).finish()
    }
}

impl PartialEq for Timestamps {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || **self == **other
    }
}

impl Eq for Timestamps {}

impl<T: AsRef<[i64]>> PartialEq<T> for Timestamps {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_not_seen_by_those_who_shared_the_moments() {
        let mut ours = Timestamps::from(vec![1, 2]);
        let theirs = ours.clone();
        assert!(ours.is_shared() && ours.is_same(&theirs));
        ours.push(3);
        assert_eq!((&ours[..], &theirs[..]), (&[1, 2, 3][..], &[1, 2][..]));
        assert!(!ours.is_shared() && !ours.is_same(&theirs) && ours != theirs);
    }

    #[test]
    fn equal_moments_are_equal_shared_or_not() {
        let (one, other) = (Timestamps::from(vec![5]), Timestamps::from(vec![5]));
        assert_eq!(one, other);
        assert!(!one.is_same(&other));
        assert_eq!(Timestamps::default(), Timestamps::from(Vec::new()));
    }
}
