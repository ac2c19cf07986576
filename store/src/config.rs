//! The store's settings: values a user sets. Disk and chance are parts (`engine::Parts`).

use crate::commit_log;
use crate::compaction::scaling::{Scaling, Strategy};

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
    /// The most bytes of sstables kept in memory for the next reader: checked blocks of chunks,
    /// decoded directories, label strings and partition indexes. Default 64 MiB.
    pub cache_bytes_max: usize,
    /// A read that more tombstones touch is counted, to be warned of; how many it may meet is in the
    /// question (`SelectBounds`). Default 1,000.
    pub read_tombstones_warn: u64,
    /// Files are rewritten without what a delete hides when it is this old, so that many deletes
    /// share one rewriting; 0 is at once. Default 15 min.
    pub purge_delay_ms: i64,
    /// The most tombstones of all tenants: they are held in memory and in the manifest. Default
    /// 200,000.
    pub tombstones_max: u64,
    /// The most bytes of all tombstones' matchers. Default 32 MiB.
    pub tombstone_bytes_max: u64,
    /// With less free on the disk writers are refused, so that flushes, expiry and small compactions
    /// go on; it takes the place of `commit_log.free_bytes_min`. Default `None`: 5 % of the disk,
    /// at most 10 GiB.
    pub disk_reserve_bytes: Option<u64>,
    /// Which sstables are merged when.
    pub compaction: CompactionConfig,
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
            cache_bytes_max: 64 << 20,
            read_tombstones_warn: 1_000,
            purge_delay_ms: 15 * 60 * 1000,
            tombstones_max: 200_000,
            tombstone_bytes_max: 32 << 20,
            disk_reserve_bytes: None,
            compaction: CompactionConfig::default(),
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
        check(self.tombstones_max <= 1 << 20, "tombstones_max must be at most 1048576");
        check(
            self.tombstone_bytes_max <= 64 << 20,
            "tombstone_bytes_max must be at most 64 MiB: they lie in the manifest",
        );
        faults.extend(self.compaction.validate());
        faults
    }
}

/// The settings of compaction: which sstables are merged when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionConfig {
    /// Which decider. Default `ucs`.
    pub strategy: Strategy,
    /// The scaling parameters of `ucs`; the other strategies have their own. Default `T8`; `T4` for
    /// who reads much of the current day.
    pub scaling_parameters: Scaling,
    /// The size that shards of a dense level are cut to. Default 512 MiB.
    pub sstable_bytes: u64,
    /// No shard is cut smaller than this, as far as the base allows; 0 for no bound. Default 64 MiB.
    pub sstable_bytes_min: u64,
    /// Into how many shards the space is cut at least, once each has `sstable_bytes_min`. Default 4.
    pub base_shards: u32,
    /// How much of the growth of the data goes to larger sstables instead of more of them, in
    /// thousandths: 0 for more only, 1000 for larger only. Default 333.
    pub growth_permille: u32,
    /// What a flush writes at least while much comes in: the base of the levels. One that is too
    /// small costs nothing, as levels without sstables are none; one that is too large makes one
    /// level of several, and each merge rewrites what the last one wrote. Fixed, so that small late
    /// flushes do not move it. Default 4 MiB: 4 million samples, after which a head is flushed, take 6.
    pub flush_bytes: u64,
    /// The most overlapping sstables that are merged at once, unless the fan factor is larger.
    /// Default 32.
    pub sstables_max: usize,
    /// `twcs`: as many sstables of similar size in the newest window are merged. Default 4.
    pub twcs_threshold_min: usize,
    /// `twcs`: the most sstables that are merged at once. Default 32.
    pub twcs_threshold_max: usize,
    /// A window is sealed this long after its end. Default 15 min.
    pub seal_delay_ms: i64,
    /// A sealed window is sealed once more this long after its end, if late data is worth it.
    /// Default 24 h.
    pub reseal_delay_ms: i64,
    /// So many hundredths of the sealed bytes must have come late for that; 0 for never. Default 10.
    pub reseal_percent: u32,
    /// A window is dropped this long after its retention. Default 1 h.
    pub drop_delay_ms: i64,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self {
            strategy: Strategy::Ucs,
            scaling_parameters: Scaling::tiered(8),
            sstable_bytes: 512 << 20,
            sstable_bytes_min: 64 << 20,
            base_shards: 4,
            growth_permille: 333,
            flush_bytes: 4 << 20,
            sstables_max: 32,
            twcs_threshold_min: 4,
            twcs_threshold_max: 32,
            seal_delay_ms: 15 * 60 * 1000,
            reseal_delay_ms: 24 * 60 * 60 * 1000,
            reseal_percent: 10,
            drop_delay_ms: 60 * 60 * 1000,
        }
    }
}

impl CompactionConfig {
    /// The scaling parameters of the strategy.
    #[must_use]
    pub fn scaling(&self) -> Scaling {
        match self.strategy {
            Strategy::Ucs | Strategy::Twcs => self.scaling_parameters.clone(),
            Strategy::Stcs => Scaling::tiered(4),
            Strategy::Lcs => Scaling::levelled(10),
        }
    }

    /// Every fault of the settings, under the names users know; none if they can be used.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let delays = [self.seal_delay_ms, self.reseal_delay_ms, self.drop_delay_ms];
        let rules = [
            (self.sstable_bytes >= 1 << 20, "target_sstable_size must be at least 1 MiB"),
            (
                self.sstable_bytes_min <= self.sstable_bytes,
                "min_sstable_size must not be above target_sstable_size",
            ),
            ((1..=1024).contains(&self.base_shards), "base_shard_count must be between 1 and 1024"),
            (self.growth_permille <= 1000, "growth_permille must not be above 1000"),
            (
                (1 << 20..=1 << 40).contains(&self.flush_bytes),
                "flush_size must be between 1 MiB and 1 TiB",
            ),
            (
                (2..=1024).contains(&self.sstables_max),
                "max_sstables_to_compact must be between 2 and 1024",
            ),
            (self.twcs_threshold_min >= 2, "twcs_min_threshold must be at least 2"),
            (
                (self.twcs_threshold_min..=1024).contains(&self.twcs_threshold_max),
                "twcs_max_threshold must be between twcs_min_threshold and 1024",
            ),
            (
                delays.iter().all(|delay| (0..=1 << 40).contains(delay)),
                "delays must not be negative, and below 34 years",
            ),
        ];
        let faults = rules.iter().filter(|(is_kept, _)| !is_kept);
        faults.map(|(_, fault)| format!("compaction: {fault}")).collect()
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

    #[test]
    fn faults_of_the_compaction_are_named_too() {
        let compaction = CompactionConfig {
            sstable_bytes_min: 1 << 40,
            base_shards: 0,
            flush_bytes: 0,
            twcs_threshold_max: 3,
            drop_delay_ms: -1,
            ..CompactionConfig::default()
        };
        let faults = Config { compaction, ..Config::default() }.validate();
        assert_eq!(faults.len(), 5, "{faults:?}");
        assert!(faults.iter().all(|fault| fault.starts_with("compaction: ")));
    }
}
