//! Cassandra's rule for sstables that have expired as a whole (`CompactionController`).
//!
//! It is for files whose windows may mix, where an old sstable can hide what another one holds. Our
//! windows are strict: none can shadow another, so `window.rs` drops a window by the clock alone.
//! The rule stands here exactly, with its vectors, to show what strictness saves: the engine never
//! asks it.

/// What the rule knows of an sstable. Times are of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aged {
    /// Its number.
    pub id: u64,
    /// The earliest write in it.
    pub min_timestamp: i64,
    /// The latest one.
    pub max_timestamp: i64,
    /// When the last thing in it is dead: the latest write's time plus its time to live. What lives
    /// for ever has `i64::MAX`.
    pub max_local_deletion: i64,
}

/// What is around the sstables that are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// Sstables that share tokens with them.
    pub overlapping: Vec<Aged>,
    /// The earliest write in each memtable that is not empty.
    pub memtables: Vec<i64>,
    /// What died before this may go: now less `gc_grace`.
    pub gc_before: i64,
    /// Drop whatever is dead, whatever it hides (`unsafe_aggressive_sstable_expiration`).
    pub is_aggressive: bool,
}

/// Those of `sstables` that can be dropped unread, the latest first: all in them is dead, and none
/// is as late as the earliest write that is still needed elsewhere.
#[must_use]
pub fn fully_expired(sstables: &[Aged], around: &Around) -> Vec<u64> {
    let is_dead = |sstable: &&Aged| sstable.max_local_deletion < around.gc_before;
    let mut dead: Vec<&Aged> = sstables.iter().filter(is_dead).collect();
    dead.sort_by_key(|sstable| std::cmp::Reverse((sstable.max_timestamp, sstable.id)));
    if around.is_aggressive {
        return dead.iter().map(|sstable| sstable.id).collect();
    }
    let needed = sstables.iter().chain(&around.overlapping).filter(|sstable| !is_dead(sstable));
    let needed = needed.map(|sstable| sstable.min_timestamp);
    let mut earliest = needed.chain(around.memtables.iter().copied()).min().unwrap_or(i64::MAX);
    let mut dropped = Vec::new();
    for sstable in dead {
        if sstable.max_timestamp >= earliest {
            // It stays, so it may itself be hiding something.
            earliest = earliest.min(sstable.min_timestamp);
        } else {
            dropped.push(sstable.id);
        }
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const DAY: i64 = 24 * 60 * MINUTE;
    /// Days from Jan 1 of the example of a table with a ttl of 30 days and 10 days of grace.
    const JAN_1: i64 = 19_723 * DAY;
    const TTL: i64 = 30 * DAY;
    const GRACE: i64 = 10 * DAY;

    fn written(id: u64, min_timestamp: i64, max_timestamp: i64) -> Aged {
        Aged { id, min_timestamp, max_timestamp, max_local_deletion: max_timestamp + TTL }
    }

    fn a() -> Aged {
        written(1, JAN_1 + 5 * MINUTE, JAN_1 + DAY - MINUTE)
    }

    /// Flushed on Jan 20, with one read-repaired row of Jan 1, 12:00.
    fn b() -> Aged {
        written(2, JAN_1 + DAY / 2, JAN_1 + 20 * DAY - MINUTE)
    }

    fn on(day: i64) -> Around {
        Around { gc_before: JAN_1 + day * DAY - GRACE, ..Around::default() }
    }

    #[test]
    fn golden_a_alone_expires_on_february_10() {
        // Jan 1 + 40 days: its last row of 23:59 is dead on Jan 31 at 23:59.
        assert_eq!(fully_expired(&[a()], &on(40)), Vec::<u64>::new());
        assert_eq!(fully_expired(&[a()], &on(41)), vec![1]);
    }

    #[test]
    fn golden_one_read_repaired_row_in_b_holds_a_up_for_19_days() {
        for day in 41..=59 {
            assert_eq!(fully_expired(&[a(), b()], &on(day)), Vec::<u64>::new(), "day {day}");
        }
        // B's own end: Jan 20 + 30 + 10, the night to Mar 1 of a leap year.
        assert_eq!(fully_expired(&[a(), b()], &on(60)), vec![2, 1]);
    }

    #[test]
    fn golden_b_blocks_also_when_it_is_not_compacted_but_overlaps() {
        let around = Around { overlapping: vec![b()], ..on(45) };
        assert_eq!(fully_expired(&[a()], &around), Vec::<u64>::new());
        let dead = Around { overlapping: vec![b()], ..on(61) };
        assert_eq!(fully_expired(&[a()], &dead), vec![1]);
    }

    #[test]
    fn golden_the_unsafe_option_skips_the_check() {
        let around = Around { is_aggressive: true, ..on(45) };
        assert_eq!(fully_expired(&[a(), b()], &around), vec![1]);
    }

    #[test]
    fn golden_an_old_memtable_blocks_and_so_does_what_never_dies() {
        let memtable = Around { memtables: vec![JAN_1 + DAY / 2], ..on(45) };
        assert_eq!(fully_expired(&[a()], &memtable), Vec::<u64>::new());
        let later = Around { memtables: vec![JAN_1 + DAY], ..on(45) };
        assert_eq!(fully_expired(&[a()], &later), vec![1]);
        let for_ever = Aged { max_local_deletion: i64::MAX, ..a() };
        assert_eq!(fully_expired(&[for_ever], &on(4000)), Vec::<u64>::new());
    }

    #[test]
    fn golden_a_blocked_sstable_blocks_those_before_it_in_a_chain() {
        // C is needed from day 8 on, so B (5 to 9) stays, and so A (0 to 6) stays too; Z is apart.
        let (z, a, b) = (written(9, -9, -5), written(1, 0, 6), written(2, 5, 9));
        let around = Around { memtables: vec![8], gc_before: i64::MAX - 1, ..Around::default() };
        assert_eq!(fully_expired(&[z, a, b], &around), vec![9]);
    }
}
