//! Whether a counter was reset between two histograms.

use super::arithmetic::{reduced, same_bounds};
use super::{Buckets, FloatHistogram, bound};
use model::histogram::{Counts, Histogram, ResetHint};

impl FloatHistogram {
    /// Whether a counter that was at `before` must have been reset to get here: by the hint if it
    /// says so; else if any count is less, or the buckets are finer than before.
    pub(crate) fn is_reset_after(&self, before: &Self) -> bool {
        match self.hint {
            ResetHint::Yes => true,
            ResetHint::No => false,
            ResetHint::Unknown | ResetHint::Gauge => self.has_dropped_from(before),
        }
    }

    fn has_dropped_from(&self, before: &Self) -> bool {
        if self.count < before.count {
            return true;
        }
        if self.is_custom() {
            if !before.is_custom() {
                return true;
            }
            if !same_bounds(&self.custom_values, &before.custom_values) {
                return self.has_dropped_in_common(before);
            }
        }
        if self.schema > before.schema || self.zero_threshold < before.zero_threshold {
            return true;
        }
        let (zero, reach) = before.widened_zero(self.zero_threshold, None);
        if reach != self.zero_threshold || self.zero_count < zero.sum {
            return true;
        }
        self.has_dropped(&self.positive, before, &before.positive)
            || self.has_dropped(&self.negative, before, &before.negative)
    }

    fn has_dropped(&self, now: &Buckets, before: &Self, buckets: &Buckets) -> bool {
        let (buckets, _) = reduced(buckets, before.schema, self.schema);
        let first = self.first_beyond_zero(&buckets);
        any_less(now, &buckets, first)
    }

    /// Compares what lies between the bounds that both have.
    fn has_dropped_in_common(&self, before: &Self) -> bool {
        let common = bound::common(&self.custom_values, &before.custom_values);
        let between = |of: &Self| {
            of.positive.moved(&[], |index| bound::within(index, &of.custom_values, &common)).0
        };
        any_less(&between(self), &between(before), i32::MIN)
    }
}

/// Whether some bucket from the place `first` on counts less than before; one that is not there
/// any more counts nothing.
fn any_less(now: &Buckets, before: &Buckets, first: i32) -> bool {
    let mut now = now.iter().peekable();
    before.iter().filter(|(index, _)| *index >= first).any(|(index, count)| {
        while now.next_if(|(have, _)| *have < index).is_some() {}
        match now.peek() {
            Some((have, new)) if *have == index => *new < count,
            _ => count != 0.0,
        }
    })
}

/// The hint that a stored histogram is read with: a gauge stays one; what goes on from the
/// histogram just before it says so; the rest is unknown. `before` is nothing if a float, a stale
/// marker or the beginning of the series lies there.
#[must_use]
pub fn stored_hint(before: Option<&Histogram>, now: &Histogram) -> ResetHint {
    match (now.reset_hint, before) {
        (ResetHint::Gauge, _) => ResetHint::Gauge,
        (ResetHint::Yes, _) | (_, None) => ResetHint::Unknown,
        (_, Some(before)) => {
            let goes_on = !before.is_stale()
                && before.reset_hint != ResetHint::Gauge
                && goes_on_from(now, before);
            if goes_on { ResetHint::No } else { ResetHint::Unknown }
        }
    }
}

/// Whether the counter goes on, as a store sees it: a change of schema, of the zero bucket or of
/// custom values begins anew.
fn goes_on_from(now: &Histogram, before: &Histogram) -> bool {
    if now.schema != before.schema
        || now.zero_threshold != before.zero_threshold
        || now.custom_values != before.custom_values
    {
        return false;
    }
    let is_same_layout =
        now.positive_spans == before.positive_spans && now.negative_spans == before.negative_spans;
    if let (
        true,
        Counts::Integer { count, zero_count, positive, negative },
        Counts::Integer { count: c, zero_count: z, positive: p, negative: n },
    ) = (is_same_layout, &now.counts, &before.counts)
    {
        let none_less = |now: &[u64], before: &[u64]| now.iter().zip(before).all(|(a, b)| a >= b);
        return count >= c && zero_count >= z && none_less(positive, p) && none_less(negative, n);
    }
    let before = FloatHistogram::new(before);
    let now = FloatHistogram::like(now, Some(&before));
    !now.has_dropped_from(&before)
}

/// The hint of a histogram of which only count and sum are kept, found with its buckets.
pub(crate) fn stats_hint(
    stored: ResetHint,
    before: Option<&Histogram>,
    now: &Histogram,
) -> ResetHint {
    match (stored, before) {
        (ResetHint::Unknown, Some(before)) => {
            let before = FloatHistogram::new(before);
            let now = FloatHistogram::like(now, Some(&before)).with_hint(ResetHint::Unknown);
            if now.has_dropped_from(&before) { ResetHint::Yes } else { ResetHint::No }
        }
        (hint, _) => hint,
    }
}
