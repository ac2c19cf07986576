//! Which tables there are, and what each holds.
//!
//! | table | key | holds |
//! | --- | --- | --- |
//! | `manifest` | ((place), kind, name), static guard | what is live; changed on condition only |
//! | `journal_<period>` | ((writer, bucket), part, seq) | records of the log, and where each place's are |
//! | `definitions` | ((file, part), piece) | checkpoints: the definitions of open series |
//! | `segments_<kept>_<first>_<days>` | ((file, part), piece) | sstables |
//! | `lease`, `ring`, `claims` | `agreement.rs` | who serves what; changed on condition only |
//! | `settings` | ((kind), name), static guard | the schema's version and what was said to `init` |
//!
//! All places share all tables: a *writer* is a place and a life of it, or a process, a *file*'s number begins
//! with place and life. Samples that are kept equally long, `kept` milliseconds, share tables; 0 is for ever.
//!
//! # Invariants
//! - A table's id follows from its name: two processes that create one at once make one table.
//! - No class has more than about a dozen tables at a time, and that of what is kept for ever one a
//!   year of samples: a table costs the database memory and time, whether it holds anything or not.

use super::rows::Column;
use store::disk::ClassWindow;
use xxhash_rust::xxh3::xxh3_128;

/// The table of what is live.
pub const MANIFEST: &str = "manifest";
/// The table of checkpoints.
pub const DEFINITIONS: &str = "definitions";
/// The table of leases.
pub const LEASE: &str = "lease";
/// The table of the ring row.
pub const RING: &str = "ring";
/// The table of claims.
pub const CLAIMS: &str = "claims";
/// The table of what all processes agree on; changed on condition only.
pub const SETTINGS: &str = "settings";
/// The version of this schema. A process that finds another one does not start. In version 1, which no release
/// had, each place's journal was a partition of its own.
pub const VERSION: u64 = 2;
/// Days that share a table of a class that is kept for ever: about a year.
const FOR_EVER_DAYS: i32 = 365;

/// Of what a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `bigint`.
    Int,
    /// `text`.
    Text,
}

/// A column's name, and of what it is.
pub type ColumnDef = (&'static str, ColumnType);

/// The columns of a table beside `data`, and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The partition key.
    pub partition: &'static [ColumnDef],
    /// The clustering columns, ascending.
    pub clustering: &'static [ColumnDef],
    /// Whether a partition has a static column, `guard`, on condition of which it is changed.
    pub has_guard: bool,
    /// Whether its rows are large, written once, and of no use to a compressor.
    pub is_bulk: bool,
    /// For so long a deletion is remembered.
    pub gc_grace_seconds: u32,
}

const PIECES: Shape = Shape {
    partition: &[("file", ColumnType::Int), ("part", ColumnType::Int)],
    clustering: &[("piece", ColumnType::Int)],
    has_guard: false,
    is_bulk: true,
    // A piece that comes back is one that no manifest names.
    gc_grace_seconds: 4 * 3_600,
};
const JOURNAL: Shape = Shape {
    partition: &[("writer", ColumnType::Int), ("bucket", ColumnType::Int)],
    clustering: &[("part", ColumnType::Int), ("seq", ColumnType::Int)],
    gc_grace_seconds: GC_GRACE_SECONDS,
    ..PIECES
};
const GUARDED: Shape = Shape {
    partition: &[("place", ColumnType::Int)],
    clustering: &[("kind", ColumnType::Text), ("name", ColumnType::Text)],
    has_guard: true,
    is_bulk: false,
    gc_grace_seconds: GC_GRACE_SECONDS,
};
const ONE: Shape = Shape { clustering: &[("name", ColumnType::Text)], ..GUARDED };
const NAMED: Shape = Shape {
    partition: &[("kind", ColumnType::Text)],
    clustering: &[("name", ColumnType::Text)],
    ..GUARDED
};
/// Ten days, as Cassandra has it.
const GC_GRACE_SECONDS: u32 = 864_000;

/// The tables that are there from the beginning.
pub const FIRST: [&str; 6] = [SETTINGS, MANIFEST, DEFINITIONS, LEASE, RING, CLAIMS];

/// What is to be done where a table of [`FIRST`] is missing that was there.
pub(super) fn gone(table: &str) -> String {
    format!(
        "table `{table}` is not there: somebody dropped it; restore it from a backup, for \
         `cumae cassandra init` makes an empty one"
    )
}

/// The columns of a table of this schema; `None` for any other.
#[must_use]
pub fn shape(table: &str) -> Option<Shape> {
    match table {
        MANIFEST => Some(GUARDED),
        SETTINGS | LEASE | CLAIMS => Some(NAMED),
        RING => Some(ONE),
        DEFINITIONS => Some(PIECES),
        _ if journal_of(table).is_some() => Some(JOURNAL),
        _ if SegmentTable::parse(table).is_some() => Some(PIECES),
        _ => None,
    }
}

/// The id of a table.
#[must_use]
pub fn table_id(name: &str) -> u128 {
    xxh3_128(format!("cumae/{name}").as_bytes())
}

/// The table of the journals of a period.
#[must_use]
pub fn journal_table(period: u64) -> String {
    format!("journal_{period}")
}

/// Which period's journals a table holds; `None` if it holds none.
#[must_use]
pub fn journal_of(table: &str) -> Option<u64> {
    let period = table.strip_prefix("journal_")?.parse().ok()?;
    (journal_table(period) == table).then_some(period)
}

/// The days of windows that share a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentTable {
    /// For so many milliseconds; 0 is for ever. Numbers of classes are each place's own.
    kept_ms: u64,
    first_day: i32,
    days: i32,
    window_days: u32,
}

impl SegmentTable {
    /// The table of a window whose samples are kept for so long.
    #[must_use]
    pub fn of(kept_ms: u64, window: ClassWindow) -> Self {
        let ClassWindow { first_day, days: window_days, .. } = window;
        // Windows are 1, 7 or 30 days wide for retentions up to 40 days, 400 days, and above.
        let days = match (kept_ms, window_days) {
            (_, 0) => return Self { kept_ms, first_day: i32::MIN, days: 0, window_days },
            (0, _) => FOR_EVER_DAYS,
            (_, 1) => 4,
            (_, 7) => 35,
            (_, wide) => i32::try_from(wide).unwrap_or(FOR_EVER_DAYS).saturating_mul(12),
        };
        let first_day = first_day.div_euclid(days).saturating_mul(days);
        Self { kept_ms, first_day, days, window_days }
    }

    /// For how long what it holds is kept, in milliseconds; 0 is for ever.
    #[must_use]
    pub fn kept_ms(self) -> u64 {
        self.kept_ms
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        let Self { kept_ms, first_day, days, window_days } = self;
        match days {
            0 => format!("segments_{kept_ms}_before_2000"),
            _ if first_day < 0 => {
                format!("segments_{kept_ms}_m{}_{days}_{window_days}", first_day.unsigned_abs())
            }
            _ => format!("segments_{kept_ms}_{first_day}_{days}_{window_days}"),
        }
    }

    /// The table of this name, if it is one of segments.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (kept_ms, rest) = name.strip_prefix("segments_")?.split_once('_')?;
        let kept_ms = kept_ms.parse().ok()?;
        if rest == "before_2000" {
            return Some(Self { kept_ms, first_day: i32::MIN, days: 0, window_days: 0 });
        }
        let mut numbers = rest.split('_');
        let first = numbers.next()?;
        let first_day = match first.strip_prefix('m') {
            Some(below) => below.parse::<i32>().ok()?.checked_neg()?,
            None => first.parse().ok()?,
        };
        let (days, window_days) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        let table = Self { kept_ms, first_day, days, window_days };
        (table.name() == name).then_some(table)
    }

    /// The windows that share it, of a class: every window one of whose days is in it.
    pub fn windows(self, class: u32) -> impl Iterator<Item = ClassWindow> {
        let Self { first_day, days, window_days, .. } = self;
        let width = i32::try_from(window_days.max(1)).unwrap_or(i32::MAX);
        let begins = (0..days.max(1)).map(move |day| match days {
            0 => i32::MIN,
            _ => first_day.saturating_add(day).div_euclid(width).saturating_mul(width),
        });
        let mut before = None;
        begins
            .filter(move |begin| before.replace(*begin) != Some(*begin))
            .map(move |first_day| ClassWindow { class, first_day, days: window_days })
    }
}

/// A key of numbers.
#[must_use]
pub fn ints<const N: usize>(numbers: [u64; N]) -> Vec<Column> {
    numbers.map(|number| Column::Int(i64::try_from(number).unwrap_or(i64::MAX))).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_segments_is_known_by_its_name_and_holds_the_window_it_is_of() {
        for (class, first_day, days) in
            [(0, 20_000, 1), (3, 20_001, 1), (4, 19_999, 7), (5, 10_957, 30), (2, i32::MIN, 0)]
        {
            let window = ClassWindow { class, first_day, days };
            let table = SegmentTable::of(u64::from(class) * 86_400_000, window);
            assert_eq!(SegmentTable::parse(&table.name()), Some(table));
        }
        let of = |first_day| SegmentTable::of(1, ClassWindow { class: 3, first_day, days: 1 });
        assert_eq!((of(20_000), of(20_000)), (of(20_003), of(20_001)));
        assert_ne!(of(20_003), of(20_004));
        let windows: Vec<i32> = of(20_000).windows(3).map(|window| window.first_day).collect();
        assert_eq!(windows, [20_000, 20_001, 20_002, 20_003]);
        assert_eq!(SegmentTable::parse("segments_1_2"), None);
    }

    #[test]
    fn a_class_has_no_more_than_a_dozen_tables_alive() {
        for (retention_days, days) in [(40, 1), (400, 7)] {
            let tables = (20_000..=20_000 + retention_days).map(|day| {
                let first_day = day / days * days;
                let days = u32::try_from(days).unwrap();
                SegmentTable::of(1, ClassWindow { class: 1, first_day, days })
            });
            let tables: std::collections::BTreeSet<_> = tables.collect();
            assert!(tables.len() <= 13, "{} of {retention_days} days", tables.len());
        }
    }

    #[test]
    fn a_table_s_columns_follow_from_its_name_and_a_name_that_is_none_has_none() {
        let window = ClassWindow { class: 3, first_day: 20_000, days: 1 };
        assert_eq!(shape(&SegmentTable::of(7, window).name()), Some(PIECES));
        assert_eq!(shape(&journal_table(490_000)), Some(JOURNAL));
        assert_eq!(shape(RING), Some(ONE));
        for other in ["", "journal_", "journal_x", "segments_1", "manifest; DROP", "peers"] {
            assert_eq!(shape(other), None, "{other}");
        }
    }

    #[test]
    fn a_journal_s_table_is_known_by_its_name() {
        assert_eq!(journal_of(&journal_table(490_000)), Some(490_000));
        assert_eq!((journal_of("manifest"), journal_of("journal_07")), (None, None));
    }
}
