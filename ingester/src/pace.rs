//! How fast a compaction may go: a budget of bytes per second, and behind the writers.
//!
//! # Invariants
//! - Over any stretch longer than a tenth of a second no more than the budget is let through.
//! - It is never starved: behind writers it waits a second at a time at most.
//!
//! Not here: the waiting itself (`compaction_thread.rs`).

use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;
/// What was not used is kept for so long.
const BURST_NS: u64 = SECOND_NS / 10;
/// Pieces of work are told of in bytes; so many are let through before it thinks.
const PIECE_BYTES: u64 = 256 << 10;
/// With more bytes than this waiting for the commit log, compaction stands back.
const PENDING_BYTES_MAX: usize = 1 << 20;
/// For so long it stands back before it looks again, and so often in a row.
const STAND_BACK: Duration = Duration::from_millis(10);
const STAND_BACKS_MAX: u32 = 100;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: u64,
    /// What was done and not weighed yet.
    bytes: u64,
    /// When the work that was done so far is paid for.
    paid_at_ns: u64,
    stood_back: u32,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64, now_ns: u64) -> Self {
        Self { bytes_per_second, bytes: 0, paid_at_ns: now_ns, stood_back: 0 }
    }

    /// Takes in that `bytes` were read and written.
    pub(crate) fn work(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// How long to wait before it asks again; `None` is go on. `log_bytes` wait for the commit log.
    pub(crate) fn wait(&mut self, now_ns: u64, log_bytes: usize) -> Option<Duration> {
        if self.bytes >= PIECE_BYTES {
            let bytes = u128::from(std::mem::take(&mut self.bytes));
            let price = bytes * u128::from(SECOND_NS) / u128::from(self.bytes_per_second.max(1));
            let from = self.paid_at_ns.max(now_ns.saturating_sub(BURST_NS));
            self.paid_at_ns = from.saturating_add(u64::try_from(price).unwrap_or(u64::MAX));
        }
        if log_bytes > PENDING_BYTES_MAX && self.stood_back < STAND_BACKS_MAX {
            self.stood_back += 1;
            return Some(STAND_BACK);
        }
        match self.paid_at_ns.checked_sub(now_ns).filter(|ns| *ns > 0) {
            Some(ns) => Some(Duration::from_nanos(ns)),
            None => {
                self.stood_back = 0;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long so many pieces take, told one after the other; the log has nothing to do.
    fn run(pace: &mut Pace, now_ns: &mut u64, pieces: u64, bytes: u64) -> u64 {
        let begin = *now_ns;
        for _ in 0..pieces {
            pace.work(bytes);
            while let Some(wait) = pace.wait(*now_ns, 0) {
                *now_ns += u64::try_from(wait.as_nanos()).unwrap();
            }
        }
        *now_ns - begin
    }

    #[test]
    fn small_pieces_and_large_ones_take_the_time_of_their_bytes() {
        for (pieces, bytes) in [(640, 1 << 20), (10, 64 << 20), (640_000, 1 << 10)] {
            let mut now_ns = 5 * SECOND_NS;
            let mut pace = Pace::new(64 << 20, now_ns);
            let took = run(&mut pace, &mut now_ns, pieces, bytes);
            assert!((9 * SECOND_NS..=10 * SECOND_NS).contains(&took), "{pieces} {bytes}: {took}");
        }
    }

    #[test]
    fn an_idle_hour_is_not_made_up_for() {
        let mut now_ns = 0;
        let mut pace = Pace::new(64 << 20, now_ns);
        now_ns = 3_600 * SECOND_NS;
        let took = run(&mut pace, &mut now_ns, 64, 1 << 20);
        assert!(took >= SECOND_NS - BURST_NS, "{took}");
    }

    #[test]
    fn it_stands_back_for_writers_and_goes_on_after_a_second() {
        let mut pace = Pace::new(u64::MAX, 0);
        let waits = (0..1_000).take_while(|_| pace.wait(0, PENDING_BYTES_MAX + 1).is_some());
        assert_eq!(waits.count(), 100);
        assert_eq!(pace.wait(0, PENDING_BYTES_MAX), None);
    }
}
