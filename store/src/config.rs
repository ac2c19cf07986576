//! The store's settings: values a user sets. Disk and chance are parts (`engine::Parts`).

use crate::commit_log;

/// Milliseconds of two hours.
const TWO_HOURS_MS: i64 = 2 * 60 * 60 * 1000;

/// The settings of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The commit log's settings.
    pub commit_log: commit_log::Config,
    /// The head is flushed when the clock passes a multiple of this. Default 2 h.
    pub block_ms: i64,
    /// How long after such a border it waits for what comes late. Default 5 min.
    pub flush_slack_ms: i64,
    /// The head is flushed when it holds this many bytes of samples. Default 512 MiB.
    pub head_bytes_max: u64,
    /// The head is flushed when it holds this many samples, or `tail_samples_per_series` for each
    /// open series if that is more: replay is bounded by it. Default 4 million.
    pub tail_samples_max: u64,
    /// See `tail_samples_max`. Default 8.
    pub tail_samples_per_series: u64,
    /// A series without a new sample for this long leaves the head once it is flushed. Default 1 h.
    pub series_idle_ms: i64,
    /// When the clock steps ahead by more than this, nothing expires until it has gone on from
    /// there for an hour. Default 1 d.
    pub clock_step_max_ms: i64,
    /// The most metrics with metadata per tenant; later ones are not kept. Default 100,000.
    pub metadata_max: usize,
    /// The most bytes of sstables kept in memory for the next reader: checked blocks of chunks,
    /// decoded directories, label strings and partition indexes. Default 64 MiB.
    pub cache_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            commit_log: commit_log::Config::default(),
            block_ms: TWO_HOURS_MS,
            flush_slack_ms: 5 * 60 * 1000,
            head_bytes_max: 512 << 20,
            tail_samples_max: 4_000_000,
            tail_samples_per_series: 8,
            series_idle_ms: 60 * 60 * 1000,
            clock_step_max_ms: 24 * 60 * 60 * 1000,
            metadata_max: 100_000,
            cache_bytes_max: 64 << 20,
        }
    }
}

impl Config {
    /// Every fault of the settings; none if they can be used.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |ok: bool, fault: &str| {
            if !ok {
                faults.push(fault.to_owned());
            }
        };
        check(self.clock_step_max_ms >= 0, "clock_step_max_ms must not be negative");
        check(self.block_ms >= 60_000, "block_ms must be at least 60000");
        check(self.flush_slack_ms >= 0, "flush_slack_ms must not be negative");
        check(self.series_idle_ms >= 60_000, "series_idle_ms must be at least 60000");
        check(self.tail_samples_max >= 1, "tail_samples_max must be at least 1");
        check(self.head_bytes_max >= 1 << 20, "head_bytes_max must be at least 1 MiB");
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_every_fault_is_named() {
        assert_eq!(Config::default().validate(), Vec::<String>::new());
        let bad =
            Config { clock_step_max_ms: -1, block_ms: 1, flush_slack_ms: -1, ..Config::default() };
        assert_eq!(bad.validate().len(), 3);
    }
}
