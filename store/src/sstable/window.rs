//! Windows: which days share an sstable (DESIGN.md D18).

use model::DayBucket;

/// The first day of the year 2000. All before it is one window.
const YEAR_2000: i32 = 10_957;

/// The days that share an sstable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Window {
    /// Its first day.
    pub(crate) first_day: i32,
    /// How many days it has; 0 for the window of all before the year 2000.
    pub(crate) days: u32,
}

impl Window {
    /// The window of a day, where windows are `days` wide.
    pub(crate) fn of(day: DayBucket, days: u16) -> Self {
        if day.0 < YEAR_2000 {
            return Self { first_day: i32::MIN, days: 0 };
        }
        let width = i32::from(days.max(1));
        // The window that the year 2000 begins in begins with it.
        let first_day = (day.0.div_euclid(width).saturating_mul(width)).max(YEAR_2000);
        Self { first_day, days: u32::from(days.max(1)) }
    }

    /// The first moment behind it, in milliseconds since 1970.
    pub(crate) fn end_ms(self) -> i64 {
        let end_day = match self.days {
            0 => YEAR_2000,
            days => self.first_day.saturating_add_unsigned(days),
        };
        DayBucket(end_day).start().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_has_one_window_and_the_time_before_2000_is_one() {
        assert_eq!(Window::of(DayBucket(-5), 1), Window::of(DayBucket(10_956), 7));
        assert_ne!(Window::of(DayBucket(10_956), 1), Window::of(DayBucket(10_957), 1));
        assert_eq!(Window::of(DayBucket(20_000), 1), Window { first_day: 20_000, days: 1 });
        assert_eq!(Window::of(DayBucket(20_006), 7), Window { first_day: 20_006, days: 7 });
        assert_eq!(Window::of(DayBucket(20_005), 7), Window { first_day: 19_999, days: 7 });
        assert_eq!(Window::of(DayBucket(-5), 1).end_ms(), DayBucket(10_957).start().0);
        assert_eq!(Window::of(DayBucket(20_005), 7).end_ms(), DayBucket(20_006).start().0);
    }
}
