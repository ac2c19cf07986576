//! What a replica says about itself on `/metrics`.

mod compaction;

pub(crate) use compaction::Compactions;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};
use std::fmt;
use store::engine::{Expired, JobReport, Stats};

/// Counters that the threads raise.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) syncs: Histogram,
    pub(crate) sync_failures: IntCounter,
    pub(crate) job_failures: IntCounter,
    flushes: Histogram,
    flushed_samples: IntCounter,
    flushed_bytes: IntCounter,
    expired_windows: IntCounter,
    expired_samples: IntCounter,
    expired_bytes: IntCounter,
    pub(crate) reads: IntCounter,
    pub(crate) deletes: IntCounter,
    pub(crate) purged_samples: IntCounter,
    pub(crate) compaction: Compactions,
}

impl Telemetry {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let histogram =
                Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        Ok(Self {
            syncs: histogram(
                "cumae_commit_log_sync_duration_seconds",
                "How long one sync of the commit log took, for all that waited.",
                &[0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0],
            )?,
            sync_failures: counter(
                "cumae_commit_log_sync_failures_total",
                "Syncs that the disk refused. Their writers got 503.",
            )?,
            job_failures: counter(
                "cumae_store_job_failures_total",
                "Flushes that failed. Their samples stay in the commit log.",
            )?,
            flushes: histogram(
                "cumae_store_flush_duration_seconds",
                "How long one flush took.",
                &[0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0],
            )?,
            flushed_samples: counter("cumae_store_flushed_samples_total", "Samples flushed.")?,
            flushed_bytes: counter(
                "cumae_store_flushed_bytes_total",
                "Bytes of sstables written.",
            )?,
            expired_windows: counter(
                "cumae_store_expired_windows_total",
                "Windows of a retention class that are gone because they have expired.",
            )?,
            expired_samples: counter(
                "cumae_store_expired_samples_total",
                "Samples that are gone because they have expired.",
            )?,
            expired_bytes: counter(
                "cumae_store_expired_bytes_total",
                "Bytes of sstables that are gone because they have expired.",
            )?,
            purged_samples: counter(
                "cumae_store_purged_samples_total",
                "Deleted samples that have left the disk by a purge.",
            )?,
            deletes: counter(
                "cumae_ingester_deletes_total",
                "Deletes whose tombstones are on disk here.",
            )?,
            reads: counter("cumae_ingester_reads_total", "Reads answered, failed ones included.")?,
            compaction: Compactions::new(registry)?,
        })
    }

    pub(crate) fn synced(&self, ns: u64) {
        self.syncs.observe(seconds(ns));
    }

    pub(crate) fn expired(&self, window: &Expired) {
        self.expired_windows.inc();
        self.expired_samples.inc_by(window.samples);
        self.expired_bytes.inc_by(window.bytes);
    }

    pub(crate) fn flushed(&self, report: &JobReport, ns: u64) {
        self.expired_samples.inc_by(report.samples_expired);
        self.flushes.observe(seconds(ns));
        self.flushed_samples.inc_by(report.samples);
        self.flushed_bytes.inc_by(report.sstable_bytes);
    }
}

pub(crate) fn seconds(ns: u64) -> f64 {
    std::time::Duration::from_nanos(ns).as_secs_f64()
}

/// Takes one number out of the store's sizes.
type Size = fn(&Stats) -> u64;

/// The name of a size, what it means, and where it is.
type Named = (&'static str, &'static str, Size);

fn gauges() -> [Named; 22] {
    [
        ("cumae_store_tenants", "Tenants of which something is in memory.", |s| s.tenants),
        ("cumae_store_series", "Series in the head.", |s| s.series),
        ("cumae_store_head_samples", "Samples in the head.", |s| s.head_samples),
        ("cumae_store_head_bytes", "Bytes of samples in the head.", |s| s.head_sample_bytes),
        ("cumae_store_exemplars", "Exemplars in the head.", |s| s.exemplars),
        ("cumae_commit_log_segments", "Segments of the commit log.", |s| s.log_segments),
        ("cumae_commit_log_pending_bytes", "Bytes that wait for a sync.", |s| s.log_pending_bytes),
        ("cumae_store_sstables", "Live sstables.", |s| s.sstables),
        (
            "cumae_store_window_overlap_max",
            "Sstables of one window that overlap, in the window with the most.",
            |s| s.overlap_max,
        ),
        ("cumae_store_sstable_bytes", "Their bytes.", |s| s.sstable_bytes),
        ("cumae_store_sstable_samples", "Their samples.", |s| s.sstable_samples),
        ("cumae_store_tombstones", "Deletes that hide samples.", |s| s.tombstones),
        ("cumae_store_cache_bytes", "Bytes of sstables kept in memory.", |s| s.cache_bytes),
        (
            "cumae_store_partitions_large",
            "Partitions (tenant, metric, day) of 64 MB or more, in memory and all files.",
            |s| s.partitions_large,
        ),
        ("cumae_store_partitions_alarming", "Of them those of 100 MB or more.", |s| {
            s.partitions_alarming
        }),
        ("cumae_store_metadata", "Metrics whose metadata is kept.", |s| s.metadata),
        (
            "cumae_store_log_damaged",
            "Places of the commit log found damaged at the start: acknowledged records are lost here.",
            |s| s.log_damaged,
        ),
        ("cumae_store_damaged_blocks", "Places found damaged in live sstables.", |s| {
            s.damaged_blocks
        }),
        (
            "cumae_store_scrub_completed_seconds",
            "When the scrub had last read all live files, since 1970; 0 is not yet.",
            |s| s.scrub_completed_ms.unsigned_abs() / 1000,
        ),
        ("cumae_store_disk_free_bytes", "Free on the data disk.", |s| s.disk_free_bytes),
        ("cumae_store_disk_reserve_bytes", "With less free writes are refused.", |s| {
            s.disk_reserve_bytes
        }),
        ("cumae_store_disk_short", "1 while writes are refused for it.", |s| {
            u64::from(s.disk_is_short)
        }),
    ]
}

fn counters() -> [Named; 17] {
    [
        ("cumae_commit_log_written_bytes_total", "Bytes synced.", |s| s.log_written_bytes_total),
        ("cumae_store_series_created_total", "Series seen first.", |s| s.series_created_total),
        ("cumae_store_samples_appended_total", "Samples appended.", |s| s.samples_appended_total),
        ("cumae_store_samples_late_total", "Of them older than the head.", |s| {
            s.samples_late_total
        }),
        (
            "cumae_store_exemplars_lost_limit_total",
            "Exemplars that went for newer ones (max_exemplars, or 600 of a series).",
            |s| s.exemplars_lost_limit_total,
        ),
        (
            "cumae_store_exemplars_lost_idle_total",
            "Exemplars that left with a series that was not written to for an hour.",
            |s| s.exemplars_lost_idle_total,
        ),
        (
            "cumae_store_metadata_lost_limit_total",
            "Metadata that went for newer one, or was not kept (max_metadata).",
            |s| s.metadata_lost_limit_total,
        ),
        (
            "cumae_store_reads_tombstones_warned_total",
            "Reads that more than 1,000 deletes touched.",
            |s| s.reads_tombstones_warned_total,
        ),
        (
            "cumae_store_reads_tombstones_refused_total",
            "Of them those that were refused, for more than limits.max_query_tombstones.",
            |s| s.reads_tombstones_refused_total,
        ),
        (
            "cumae_store_reads_sstables_warned_total",
            "Reads that took a partition out of 32 sstables or more.",
            |s| s.reads_sstables_warned_total,
        ),
        ("cumae_store_reads_sstables_alarmed_total", "Of them those with 64 or more.", |s| {
            s.reads_sstables_alarmed_total
        }),
        ("cumae_store_reads_damaged_total", "Reads refused for a damaged block.", |s| {
            s.reads_damaged_total
        }),
        ("cumae_store_scrubbed_bytes_total", "Bytes read by the scrub.", |s| {
            s.scrubbed_bytes_total
        }),
        ("cumae_store_scrub_faults_total", "Damaged places found by the scrub.", |s| {
            s.scrub_faults_total
        }),
        ("cumae_store_scrub_cycles_total", "Times the scrub has read all live files.", |s| {
            s.scrub_cycles_total
        }),
        ("cumae_store_cache_hits_total", "Parts of sstables found in memory.", |s| {
            s.cache_hits_total
        }),
        ("cumae_store_cache_misses_total", "Parts of sstables read from the disk.", |s| {
            s.cache_misses_total
        }),
    ]
}

/// The store's sizes, asked for when somebody looks.
pub(crate) struct StoreSizes {
    stats: Box<dyn Fn() -> Stats + Send + Sync>,
    gauges: Vec<(IntGauge, Size)>,
    counters: Vec<(IntCounter, Size)>,
}

impl StoreSizes {
    pub(crate) fn new(
        stats: impl Fn() -> Stats + Send + Sync + 'static,
    ) -> Result<Self, prometheus::Error> {
        let (gauges, counters) = (gauges(), counters());
        let gauges =
            gauges.into_iter().map(|(name, help, of)| Ok((IntGauge::new(name, help)?, of)));
        let counters =
            counters.into_iter().map(|(name, help, of)| Ok((IntCounter::new(name, help)?, of)));
        let gauges = gauges.collect::<Result<_, prometheus::Error>>()?;
        let counters = counters.collect::<Result<_, prometheus::Error>>()?;
        Ok(Self { stats: Box::new(stats), gauges, counters })
    }
}

impl Collector for StoreSizes {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = self.gauges.iter().flat_map(|(gauge, _)| gauge.desc());
        gauges.chain(self.counters.iter().flat_map(|(counter, _)| counter.desc())).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stats = (self.stats)();
        let mut families = Vec::new();
        for (gauge, of) in &self.gauges {
            gauge.set(i64::try_from(of(&stats)).unwrap_or(i64::MAX));
            families.extend(gauge.collect());
        }
        for (counter, of) in &self.counters {
            counter.inc_by(of(&stats).saturating_sub(counter.get()));
            families.extend(counter.collect());
        }
        families
    }
}

impl fmt::Debug for StoreSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreSizes")
    }
}
