//! Exemplars: single observations that stand for many, mostly with the id of a trace.

use crate::label::LabelSet;
use std::cmp::Ordering;

/// One exemplar of a series. Every bit of its value counts.
#[derive(Clone, Debug)]
pub struct Exemplar {
    /// When, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// What was observed.
    pub value: f64,
    /// Its own labels; may be empty.
    pub labels: LabelSet,
}

impl Ord for Exemplar {
    /// By time, then by value and labels.
    fn cmp(&self, other: &Self) -> Ordering {
        self.timestamp_ms
            .cmp(&other.timestamp_ms)
            .then_with(|| self.value.total_cmp(&other.value))
            .then_with(|| self.labels.cmp(&other.labels))
    }
}

impl PartialOrd for Exemplar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Exemplar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Exemplar {}

/// So many exemplars of a series are kept for each minute.
pub const PER_MINUTE_MAX: usize = 10;

/// Sorts exemplars of one series, drops repeats, and keeps the newest [`PER_MINUTE_MAX`] of each
/// minute. The union of two lists that were thinned, thinned, is the union of all, thinned.
pub fn thin(exemplars: &mut Vec<Exemplar>) {
    exemplars.sort_unstable_by(|a, b| b.cmp(a));
    exemplars.dedup();
    let (mut minute, mut count) = (None, 0);
    exemplars.retain(|exemplar| {
        let this = Some(exemplar.timestamp_ms.div_euclid(60_000));
        count = if this == minute { count + 1 } else { 1 };
        minute = this;
        count <= PER_MINUTE_MAX
    });
    exemplars.reverse();
}

/// A series and its exemplars, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesExemplars {
    /// The series' labels.
    pub labels: LabelSet,
    /// Each once.
    pub exemplars: Vec<Exemplar>,
}

/// Joins what two replicas have of one series: each exemplar once, thinned.
pub fn join(into: &mut Vec<Exemplar>, more: Vec<Exemplar>) {
    into.extend(more);
    thin(into);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list() -> impl Strategy<Value = Vec<Exemplar>> {
        prop::collection::vec((-2_i64..3, 0_i64..4, 0_u8..4), 0..60).prop_map(|list| {
            let one = |(minute, ms, value): (i64, i64, u8)| Exemplar {
                timestamp_ms: minute * 60_000 + ms,
                value: f64::from(value),
                labels: LabelSet::default(),
            };
            list.into_iter().map(one).collect()
        })
    }

    proptest! {
        #[test]
        fn thinning_early_changes_nothing(a in list(), b in list()) {
            let mut whole = [a.clone(), b.clone()].concat();
            thin(&mut whole);
            let (mut a, mut b) = (a, b);
            thin(&mut a);
            thin(&mut b);
            b.append(&mut a);
            thin(&mut b);
            prop_assert_eq!(&b, &whole);
            for one in &whole {
                let minute = |e: &Exemplar| e.timestamp_ms.div_euclid(60_000);
                let count = whole.iter().filter(|other| minute(other) == minute(one)).count();
                prop_assert!(count <= PER_MINUTE_MAX);
            }
        }
    }
}
