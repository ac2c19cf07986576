//! What goes through the engine's door: its parts, and what it answers. Plain data.

use super::retain::Expired;
use crate::commit_log::ReplayReport;
use crate::disk::Disk;
use crate::error::Error;
use model::mutation::Written;
use std::sync::Arc;

/// What an engine is built of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where its files are.
    pub disk: Arc<dyn Disk>,
    /// The cluster's name, part of the salt of fingerprints.
    pub cluster_name: String,
    /// 64 random bits, drawn for this start.
    pub generation_seed: u64,
}

/// What happened while opening.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// What the commit log says: records replayed, lost, torn.
    pub replay: ReplayReport,
    /// Samples put back into the head.
    pub samples: u64,
    /// Samples of the log whose series' definition is lost.
    pub samples_without_series: u64,
    /// Records whose checksum holds and whose bytes make no sense.
    pub records_damaged: u64,
    /// Live sstables.
    pub sstables: u64,
    /// Live sstables that could not be opened, by path, and why. Reads
    /// of their windows are refused.
    pub sstables_damaged: Vec<(String, Error)>,
    /// Series put back into the head.
    pub series: u64,
}

/// How many series a tenant may have open on this replica; known series are never refused. And how
/// many exemplars and how much metadata it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendLimits {
    /// In all; `u64::MAX` is no limit.
    pub series_max: u64,
    /// Of one metric; `u64::MAX` is no limit.
    pub series_per_metric_max: u64,
    /// Exemplars; the oldest go. `u64::MAX` is a million.
    pub exemplars_max: u64,
    /// Metrics with metadata; those not spoken of for long go, then new ones are not kept. `u64::MAX`
    /// is no limit.
    pub metadata_max: u64,
}

impl AppendLimits {
    /// No limit.
    pub const NONE: Self = Self {
        series_max: u64::MAX,
        series_per_metric_max: u64::MAX,
        exemplars_max: u64::MAX,
        metadata_max: u64::MAX,
    };
}

/// What became of a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// In line for the disk. `written` may be answered once [`Engine::sync`](super::Engine::sync) has returned `ticket`
    /// or more, and not if it failed with a `through` of `ticket` or more.
    Queued {
        /// The record's sequence number; 0 if nothing had to be written.
        ticket: u64,
        /// The answer.
        written: Written,
    },
    /// The generation or a number is not known: nothing was written.
    NeedLabels,
}

/// Something to be done, by whoever runs the engine's jobs. One at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Bring the head's samples into sstables, write a checkpoint, let go of log segments.
    Flush(FlushReason),
    /// Unlink what has expired.
    Expire,
}

/// Why the head is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of DESIGN.md D15")]
pub enum FlushReason {
    BlockBorder,
    MemoryPressure,
    LongTail,
    DiskReserve,
    Asked,
}

/// What a job did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobReport {
    /// Samples that are in sstables now.
    pub samples: u64,
    /// The sstables written: one per window.
    pub sstables: u64,
    /// Their bytes.
    pub sstable_bytes: u64,
    /// Series whose definitions the new checkpoint holds.
    pub series: u64,
    /// Series that left the head, idle for long.
    pub series_dropped: u64,
    /// Segments of the commit log that are gone.
    pub segments_removed: u64,
    /// Samples that were not written because their window has expired.
    pub samples_expired: u64,
    /// The windows that are gone because they have expired.
    pub expired: Vec<Expired>,
    /// Tombstones that are gone because nothing they hide can be shown again.
    pub tombstones_forgotten: u64,
}

/// Sizes, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it; bytes are bytes")]
pub struct Stats {
    pub tenants: u64,
    pub series: u64,
    pub series_created_total: u64,
    pub head_samples: u64,
    pub head_sample_bytes: u64,
    pub exemplars: u64,
    /// Exemplars that went for newer ones.
    pub exemplars_lost_limit_total: u64,
    /// Exemplars that left with a series that nobody wrote to.
    pub exemplars_lost_idle_total: u64,
    pub metadata: u64,
    /// Metadata of metrics for which there was no room.
    pub metadata_lost_limit_total: u64,
    pub log_segments: u64,
    pub log_pending_bytes: u64,
    /// Bytes of records that came to the disk.
    pub log_written_bytes_total: u64,
    pub sstables: u64,
    pub sstable_bytes: u64,
    pub sstable_samples: u64,
    /// How many sstables of one window overlap at most.
    pub overlap_max: u64,
    pub samples_appended_total: u64,
    pub samples_late_total: u64,
    pub tombstones: u64,
    pub reads_tombstones_warned_total: u64,
    /// Of them those that were refused.
    pub reads_tombstones_refused_total: u64,
    pub reads_sstables_warned_total: u64,
    pub reads_sstables_alarmed_total: u64,
    pub cache_bytes: u64,
    pub cache_hits_total: u64,
    pub cache_misses_total: u64,
    /// As of the last [`Engine::large_partitions`](super::Engine::large_partitions).
    pub partitions_large: u64,
    pub partitions_alarming: u64,
    /// Places of the commit log that were found damaged at the start: what was acknowledged is lost.
    pub log_damaged: u64,
    /// Places found damaged in live sstables.
    pub damaged_blocks: u64,
    pub reads_damaged_total: u64,
    pub scrubbed_bytes_total: u64,
    pub scrub_faults_total: u64,
    pub scrub_cycles_total: u64,
    /// When the last cycle ended; 0 if none has.
    pub scrub_completed_ms: i64,
    /// As of the last [`Engine::check_disk`](super::Engine::check_disk).
    pub disk_free_bytes: u64,
    pub disk_reserve_bytes: u64,
    pub disk_is_short: bool,
}
