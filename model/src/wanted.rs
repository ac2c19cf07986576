//! What of its series a reader looks at, so that a source need not make the rest.
//!
//! # Invariants
//! - It only ever leaves out: a source that does not heed it answers right.
//! - What is left out of two sources apart is left out of both together: whoever joins their samples
//!   joins what is left.
//!
//! Not here: which reader looks at what (`promql`).

use crate::label::Text;

/// What of the series of a selection is looked at. A source may leave out the rest, and need not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only the newest sample at each of these steps, float or histogram; `None` is all.
    pub steps: Option<Steps>,
    /// Of a float only whether it is a stale marker: any other value, and any start, may stand in
    /// for its own.
    pub presence: bool,
    /// Only the labels of these names, ascending; then the series come in any order, and several
    /// may have the same labels. `None` is all. Whoever joins the answers of several sources asks
    /// for all: without them, equal series are not found.
    pub labels: Option<Vec<Text>>,
}

impl Wanted {
    /// All that there is.
    pub const ALL: Self = Self { steps: None, presence: false, labels: None };

    /// What both look at, if they look at one answer.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            steps: self.steps.filter(|steps| other.steps == Some(*steps)),
            presence: self.presence && other.presence,
            labels: self.labels.filter(|labels| other.labels.as_ref() == Some(labels)),
        }
    }
}

/// Moments at which the newest sample is looked at: `first_ms`, `first_ms + step_ms`, … up to
/// `last_ms`; at each the newest sample that is not behind it, and after `back_ms` before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The first.
    pub first_ms: i64,
    /// The distance; less than 1 is a single step.
    pub step_ms: i64,
    /// The last one is not behind it.
    pub last_ms: i64,
    /// How far back a step looks.
    pub back_ms: i64,
}

impl Steps {
    /// The place of each sample that is the newest at a step, of samples at these ascending moments.
    pub fn pick(&self, times_ms: &[i64], mut keep: impl FnMut(usize)) {
        let mut step = self.first_ms;
        for (place, time) in times_ms.iter().enumerate() {
            if step < *time {
                let Some(next) = self.next(*time) else { return };
                step = next;
            }
            let is_newest = times_ms.get(place + 1).is_none_or(|later| step < *later);
            if is_newest && *time > step.saturating_sub(self.back_ms) {
                keep(place);
            }
        }
    }

    /// Whether there is one step only.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.step_ms < 1 || self.last_ms.saturating_sub(self.first_ms) < self.step_ms
    }

    /// How many steps there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let span = u64::try_from(self.last_ms.saturating_sub(self.first_ms)).unwrap_or(0);
        let step = u64::try_from(self.step_ms).unwrap_or(0);
        span.checked_div(step).unwrap_or(0).saturating_add(1)
    }

    /// The first step that is not before a moment behind the first.
    #[inline]
    fn next(&self, moment: i64) -> Option<i64> {
        if self.is_one() {
            return None;
        }
        let distance = i128::from(moment) - i128::from(self.first_ms);
        let step = i128::from(self.step_ms);
        let next = i128::from(self.first_ms) + (distance + step - 1) / step * step;
        i64::try_from(next).ok().filter(|next| *next <= self.last_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picked(steps: &Steps, times: &[i64]) -> Vec<usize> {
        let mut places = Vec::new();
        steps.pick(times, |place| places.push(place));
        places
    }

    /// What each step sees of samples at these times.
    fn seen(steps: &Steps, times: &[i64]) -> Vec<Option<i64>> {
        let at = |step: u64| steps.first_ms + i64::try_from(step).unwrap() * steps.step_ms;
        let newest = |end: i64| times.iter().copied().filter(|time| *time <= end).max();
        let moments = (0..steps.count()).map(at);
        moments.map(|end| newest(end).filter(|time| *time > end - steps.back_ms)).collect()
    }

    #[test]
    fn of_what_lies_between_steps_the_newest_is_kept_unless_it_is_too_old() {
        let steps = Steps { first_ms: 100, step_ms: 50, last_ms: 200, back_ms: 20 };
        let times = [10, 80, 81, 100, 101, 130, 131, 149, 170, 199, 201, 260];
        assert_eq!(picked(&steps, &times), [3, 7, 9]);
        let one = Steps { step_ms: 0, ..steps };
        assert_eq!((one.is_one(), one.count(), steps.count()), (true, 1, 3));
        assert_eq!(picked(&one, &times), [3]);
        assert_eq!(picked(&one, &[80, 101]), [0_usize; 0], "80 lies on the open left edge");
    }

    proptest! {
        #[test]
        fn every_step_sees_the_same_of_what_two_sources_kept(
            a in prop::collection::btree_set(0_i64..120, 0..40),
            b in prop::collection::btree_set(0_i64..120, 0..40),
            (first_ms, step_ms, span, back_ms) in (-20_i64..140, 0_i64..30, 0_i64..100, 0_i64..40),
        ) {
            let steps = Steps { first_ms, step_ms, last_ms: first_ms + span, back_ms };
            let kept = |times: &std::collections::BTreeSet<i64>| -> Vec<i64> {
                let times: Vec<i64> = times.iter().copied().collect();
                let kept: Vec<i64> = picked(&steps, &times).iter().map(|at| times[*at]).collect();
                assert!(kept.len() as u64 <= steps.count().max(1));
                kept
            };
            let both: Vec<i64> = a.union(&b).copied().collect();
            let mut joined = [kept(&a), kept(&b)].concat();
            joined.sort_unstable();
            prop_assert_eq!(seen(&steps, &joined), seen(&steps, &both));
        }
    }
}
