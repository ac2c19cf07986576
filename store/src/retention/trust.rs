//! How far the clock is believed before something is thrown away by it.
//!
//! A clock that is wrong for a moment must not cost a sample: a machine that starts in the year
//! 2100 would find everything expired. So a step ahead counts only after the clock has gone on from
//! there for an hour, reading after reading. Reads do not ask this: what they hide comes back.
//!
//! # Invariants
//! - The answer is never above the reading.
//! - A step back is believed at once: it throws nothing away.

/// A step ahead has to hold for this long.
const CONFIRM_MS: i64 = 60 * 60 * 1000;
/// Readings further apart than this begin anew.
const GAP_MS: i64 = 10 * 60 * 1000;

/// What is known about the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// The last reading that was believed.
    believed_ms: i64,
    /// The first and the last of the readings that are not believed yet.
    waiting: Option<(i64, i64)>,
    step_max_ms: i64,
}

impl Trust {
    /// Believes what was believed before.
    pub(crate) fn new(believed_ms: i64, step_max_ms: i64) -> Self {
        Self { believed_ms, waiting: None, step_max_ms }
    }

    /// Takes a reading; returns the moment that may be acted on.
    pub(crate) fn observe(&mut self, now_ms: i64) -> i64 {
        let is_step = now_ms > self.believed_ms.saturating_add(self.step_max_ms);
        self.waiting = match self.waiting {
            _ if !is_step => None,
            Some((first, last)) if (last..=last.saturating_add(GAP_MS)).contains(&now_ms) => {
                Some((first, now_ms))
            }
            _ => Some((now_ms, now_ms)),
        };
        let is_confirmed =
            self.waiting.is_some_and(|(first, last)| last.saturating_sub(first) >= CONFIRM_MS);
        if !is_step || is_confirmed {
            (self.believed_ms, self.waiting) = (now_ms, None);
        }
        self.believed_ms.min(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 86_400_000;
    const MINUTE: i64 = 60_000;
    const NOW: i64 = 20_000 * DAY;

    #[test]
    fn a_step_ahead_is_believed_after_an_hour_of_readings_and_a_step_back_at_once() {
        let mut trust = Trust::new(NOW, DAY);
        assert_eq!(trust.observe(NOW + DAY), NOW + DAY);
        let far = NOW + 27_000 * DAY;
        for minute in 0..60 {
            assert_eq!(trust.observe(far + minute * MINUTE), NOW + DAY, "{minute}");
        }
        assert_eq!(trust.observe(far + 60 * MINUTE), far + 60 * MINUTE);
        assert_eq!(trust.observe(NOW), NOW);
    }

    #[test]
    fn a_clock_that_is_set_right_or_jumps_again_is_not_believed_for_its_past() {
        let mut trust = Trust::new(NOW, DAY);
        let far = NOW + 900 * DAY;
        for minute in 0..59 {
            trust.observe(far + minute * MINUTE);
        }
        assert_eq!(trust.observe(NOW + MINUTE), NOW + MINUTE);
        assert_eq!(trust.observe(far + 61 * MINUTE), NOW + MINUTE);
        // Two readings an hour apart say nothing about what was between them.
        assert_eq!(trust.observe(far + 130 * MINUTE), NOW + MINUTE);
    }

    proptest! {
        #[test]
        fn no_answer_is_above_the_reading(steps in prop::collection::vec(-9 * DAY..9 * DAY, 1..50)) {
            let mut trust = Trust::new(NOW, DAY);
            let mut now = NOW;
            for step in steps {
                now += step;
                prop_assert!(trust.observe(now) <= now);
            }
        }
    }
}
