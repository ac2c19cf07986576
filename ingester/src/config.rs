//! The ingester's settings.

/// The settings of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The store's settings.
    pub store: store::Config,
    /// Writes that are in work or wait for the disk. Default 1,024; more make larger groups per
    /// fdatasync and need more memory.
    pub writes_in_flight_max: usize,
    /// Reads that block a thread on the store at once. Default 16; raise it on fast disks with many
    /// cores.
    pub reads_in_flight_max: usize,
    /// Tenants in memory: those that have written since the start, or before and have series there.
    /// A write of one more is refused. Default 100,000; each takes some KiB.
    pub tenants_max: u64,
    /// After so long without a write the log is marked as complete, in milliseconds. Default 1,000.
    pub idle_sync_ms: u64,
    /// How often the store is asked for work to do, in milliseconds. Default 250.
    pub job_poll_ms: u64,
    /// How many bytes compaction reads and writes per second, together. Default 64 MiB; lower it on
    /// a disk that queries wait for, raise it when compaction falls behind.
    pub compaction_bytes_per_second: u64,
    /// How long the scrub takes to read all live files once, in milliseconds; 0 switches it off.
    /// Default 7 d.
    pub scrub_cycle_ms: u64,
    /// How long somebody who asks for the dense form of everything waits for it, in milliseconds.
    /// Default 30 min.
    pub seal_wait_max_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            store: store::Config::default(),
            writes_in_flight_max: 1_024,
            reads_in_flight_max: 16,
            tenants_max: 100_000,
            idle_sync_ms: 1_000,
            job_poll_ms: 250,
            compaction_bytes_per_second: 64 << 20,
            scrub_cycle_ms: 7 * 24 * 3_600_000,
            seal_wait_max_ms: 30 * 60 * 1_000,
        }
    }
}

impl Config {
    /// Every fault at once.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut faults = self.store.validate();
        for (key, value, max) in [
            ("writes_in_flight_max", self.writes_in_flight_max as u64, 1 << 20),
            ("reads_in_flight_max", self.reads_in_flight_max as u64, 512),
            ("idle_sync_ms", self.idle_sync_ms, 3_600_000),
            ("job_poll_ms", self.job_poll_ms, 60_000),
            ("compaction_bytes_per_second", self.compaction_bytes_per_second, 1 << 40),
            ("seal_wait_max_ms", self.seal_wait_max_ms, 24 * 3_600_000),
        ] {
            if !(1..=max).contains(&value) {
                faults.push(format!("{key} must be between 1 and {max}"));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_every_fault_is_named() {
        assert_eq!(Config::default().validate(), Vec::<String>::new());
        let bad = Config { reads_in_flight_max: 0, job_poll_ms: 0, ..Config::default() };
        assert_eq!(bad.validate().len(), 2);
    }
}
