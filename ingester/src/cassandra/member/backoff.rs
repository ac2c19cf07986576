//! How long to wait after something failed again.

use cluster::ownership::BootMs;

/// Failures in a row, and when to try again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: u32,
    again_at: BootMs,
}

/// After the first failure; twice as long after each more.
const FIRST_MS: u64 = 500;
/// At most.
const MOST_MS: u64 = 16_000;

impl Backoff {
    /// It failed once more. Spread by half, so that those who failed at once do not try at once.
    pub(super) fn failed(&mut self, now: BootMs, chance: u128) {
        let doubled = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let whole = (FIRST_MS << doubled).min(MOST_MS);
        let spread = u64::try_from(chance % u128::from(whole / 2)).unwrap_or(0);
        self.again_at = now.plus_ms(whole - spread);
    }

    /// Whether it may be tried.
    pub(super) fn is_over(&self, now: BootMs) -> bool {
        now >= self.again_at
    }

    /// How often it failed in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_makes_the_next_try_wait_longer_up_to_a_bound() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_over(BootMs(0)));
        let mut waited = Vec::new();
        for failures in 0..40 {
            let now = BootMs(100_000 * failures);
            backoff.failed(now, u128::MAX / 3);
            assert!(!backoff.is_over(now));
            waited.push(backoff.again_at.since(now));
        }
        assert!(waited.iter().all(|ms| (250..=MOST_MS).contains(ms)), "{waited:?}");
        assert!(waited[3] > 2 * waited[1] && waited[39] >= MOST_MS / 2, "{waited:?}");
    }
}
