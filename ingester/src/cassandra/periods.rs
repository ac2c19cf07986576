//! The periods of the journals: a table each, that all writers share, about an hour long.
//!
//! A period's number is the hour since 1970 by the clock of whoever makes its table, if that lies a little
//! behind the newest table's; else the number behind the newest one's. So a clock that is wrong makes
//! one gap at most, and journals go on behind it by the hour.
//!
//! # Invariants
//! - A writer goes on to a period only when its table is known to be there: no write waits for a table.
//! - The newest period that is known only rises.
//!
//! Not here: when a period is made (`member/upkeep.rs`); who writes into it (`journal.rs`).

use super::rows::{Rows, RowsError, create, persist, table_names};
use super::schema::{journal_of, journal_table};
use std::sync::atomic::{AtomicU64, Ordering};
use store::Result;

/// A period, in milliseconds.
pub(super) const PERIOD_MS: u64 = 3_600_000;
/// A clock that is further ahead of the newest table is not believed: 90 days.
const LEAP_MAX: u64 = 90 * 24;
/// Bits of a period's number.
pub(super) const PERIOD_BITS: u32 = 24;

/// Which periods there are, as far as a process knows.
#[derive(Debug, Default)]
pub(super) struct Periods {
    /// 0 while none is known.
    newest: AtomicU64,
    /// The hour by the process's clock, as it was told last.
    hour: AtomicU64,
}

impl Periods {
    /// The newest one whose table is there; 0 if none is known.
    pub(super) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// The table of a period is there.
    pub(super) fn is_there(&self, period: u64) {
        self.newest.fetch_max(period, Ordering::Relaxed);
    }

    /// The clock shows this hour.
    pub(super) fn set_hour(&self, hour: u64) {
        self.hour.store(hour, Ordering::Relaxed);
    }

    /// What the clock was said to show.
    pub(super) fn hour(&self) -> u64 {
        self.hour.load(Ordering::Relaxed)
    }

    /// Sees to it that there is a period for this hour, or one behind the newest; its number.
    pub(super) fn make_next(&self, rows: &dyn Rows, hour: u64) -> Result<u64> {
        let newest_there = table_names(rows)?.iter().filter_map(|name| journal_of(name)).max();
        let next = next(newest_there, self.newest(), hour);
        self.make(rows, next)?;
        Ok(next)
    }

    /// Makes the table of a period, if it is not there.
    pub(super) fn make(&self, rows: &dyn Rows, period: u64) -> Result<()> {
        let table = journal_table(period);
        create(rows, &table)?;
        // One node having it is not all of them: who tried again was told by one.
        if !persist(&table, || rows.is_everywhere(&table))? {
            return Err(RowsError::Unknown("the table is not there yet".to_owned()).on(&table));
        }
        self.is_there(period);
        Ok(())
    }
}

/// Which period comes next, where the newest table is `there`, and one up to `known` is known of.
fn next(there: Option<u64>, known: u64, hour: u64) -> u64 {
    let next = match there {
        None => hour.max(known),
        Some(there) if hour > there && hour - there <= LEAP_MAX => hour,
        // Somebody has made the next one.
        Some(there) if there > known => there,
        Some(there) => there + 1,
    };
    next.min((1 << PERIOD_BITS) - 1)
}

/// Whether a clock and the newest period are so far apart that a person should look.
pub(super) fn is_far(newest: u64, hour: u64) -> bool {
    newest > hour + 2 || hour > newest.saturating_add(LEAP_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_the_clock_s_hour_unless_the_clock_is_behind_or_far_ahead() {
        assert_eq!(next(None, 0, 490_000), 490_000);
        assert_eq!(next(Some(490_000), 490_000, 490_001), 490_001);
        assert_eq!(next(Some(490_000), 490_000, 490_000 + LEAP_MAX), 490_000 + LEAP_MAX);
        assert_eq!(next(Some(490_000), 490_000, 490_001 + LEAP_MAX), 490_001, "far ahead");
        assert_eq!(next(Some(490_500), 490_500, 490_001), 490_501, "the clock is behind");
        assert_eq!(next(Some(490_500), 490_499, 490_001), 490_500, "another has made it");
        let most = (1 << PERIOD_BITS) - 1;
        assert_eq!(next(Some(most), most, 1), most);
    }
}
