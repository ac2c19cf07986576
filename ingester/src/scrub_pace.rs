//! How fast the scrub reads: all live bytes once in a cycle, in steps.
//!
//! Not here: what it reads (`store::Engine::scrub_step`).

/// A step is so many bytes at least, unless all live files are fewer.
const STEP_BYTES_MIN: u64 = 1 << 20;
/// And so many at most, so that a compaction that comes due does not wait.
const STEP_BYTES_MAX: u64 = 8 << 20;

/// What may be read by now.
#[derive(Debug)]
pub(crate) struct ScrubPace {
    /// 0 is never.
    cycle_ns: u64,
    /// Since when time counts for the next step.
    since_ns: u64,
}

impl ScrubPace {
    /// A pace that takes `cycle_ms` for all live bytes; 0 is never.
    pub(crate) fn new(cycle_ms: u64, now_ns: u64) -> Self {
        Self { cycle_ns: cycle_ms.saturating_mul(1_000_000), since_ns: now_ns }
    }

    /// The bytes of the step that is due; 0 if none is.
    pub(crate) fn budget(&mut self, now_ns: u64, live_bytes: u64) -> u64 {
        if self.cycle_ns == 0 || live_bytes == 0 {
            self.since_ns = now_ns;
            return 0;
        }
        let passed = u128::from(now_ns.saturating_sub(self.since_ns));
        let earned = u128::from(live_bytes) * passed / u128::from(self.cycle_ns);
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        if earned < STEP_BYTES_MIN.min(live_bytes) {
            return 0;
        }
        self.since_ns = now_ns;
        earned.min(STEP_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn all_bytes_are_due_once_in_a_cycle_in_steps_of_a_megabyte() {
        let live_bytes = 1 << 30;
        let mut pace = ScrubPace::new(10_000_000, 0);
        let steps: Vec<u64> = (1..=10_000)
            .map(|s| pace.budget(s * SECOND_NS, live_bytes))
            .filter(|b| *b > 0)
            .collect();
        let read: u64 = steps.iter().sum();
        assert!(read <= live_bytes && read > live_bytes / 100 * 99, "{read}");
        assert!(steps.iter().all(|step| (1 << 20..2 << 20).contains(step)));
    }

    #[test]
    fn few_bytes_take_a_cycle_too_and_no_cycle_is_never() {
        let mut pace = ScrubPace::new(1_000, 0);
        assert_eq!(pace.budget(SECOND_NS - 1, 500), 0);
        assert_eq!(pace.budget(SECOND_NS, 500), 500);
        assert_eq!(ScrubPace::new(0, 0).budget(u64::MAX, 500), 0);
    }
}
