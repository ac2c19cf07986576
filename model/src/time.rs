//! Time: milliseconds since 1970, days, ranges, and the clock that comes from outside.

/// Milliseconds in a day.
pub const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970-01-01T00:00:00Z; negative before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// The UTC day this moment lies in.
    #[must_use]
    pub fn day(self) -> DayBucket {
        let day = self.0.div_euclid(DAY_MS);
        // i64::MAX / DAY_MS fits an i64 with room; a day outside of i32 is kept at its border.
        DayBucket(i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX }))
    }

    /// This moment `ms` later, or the last moment there is.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This moment `ms` earlier, or the first moment there is.
    #[must_use]
    pub fn minus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_sub(ms))
    }
}

/// A UTC day: whole days since 1970-01-01, floor division below zero too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DayBucket(pub i32);

impl DayBucket {
    /// The day's first millisecond.
    #[must_use]
    pub fn start(self) -> TimestampMs {
        TimestampMs(i64::from(self.0).saturating_mul(DAY_MS))
    }

    /// The moments of the day.
    #[must_use]
    pub fn range(self) -> TimeRange {
        TimeRange { start: self.start(), end: self.start().plus_ms(DAY_MS) }
    }
}

/// The moments from `start` on and before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// The first moment.
    pub start: TimestampMs,
    /// The moment after the last.
    pub end: TimestampMs,
}

impl TimeRange {
    /// Every moment but the very last.
    pub const ALL: Self = Self { start: TimestampMs(i64::MIN), end: TimestampMs(i64::MAX) };

    /// From `first` to `last`, both included.
    #[must_use]
    pub fn inclusive(first: TimestampMs, last: TimestampMs) -> Self {
        Self { start: first, end: last.plus_ms(1) }
    }

    /// Whether the moment lies in it.
    #[must_use]
    pub fn contains(self, moment: TimestampMs) -> bool {
        self.start <= moment && moment < self.end
    }

    /// Whether some moment lies in both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether no moment lies in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// Where the time comes from. Given to a builder, never asked for by a decider.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall clock.
    fn now(&self) -> TimestampMs;
    /// Nanoseconds since some fixed moment; never goes back.
    fn monotonic_ns(&self) -> u64;
    /// For how long the calling thread has had a processor since some fixed moment, in nanoseconds. A
    /// clock that cannot tell says that it always had one.
    fn thread_ns(&self) -> u64 {
        self.monotonic_ns()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_floor_divisions_below_zero_too() {
        assert_eq!(TimestampMs(-1).day(), DayBucket(-1));
        assert_eq!(TimestampMs(0).day(), DayBucket(0));
        assert_eq!(TimestampMs(DAY_MS - 1).day(), DayBucket(0));
        assert_eq!(TimestampMs(DAY_MS).day(), DayBucket(1));
        assert_eq!(TimestampMs(i64::MIN).day(), DayBucket(i32::MIN));
    }

    #[test]
    fn a_day_contains_its_first_moment_and_not_the_next_days() {
        let day = DayBucket(-1).range();
        assert!(day.contains(TimestampMs(-DAY_MS)) && day.contains(TimestampMs(-1)));
        assert!(!day.contains(TimestampMs(0)));
    }
}
