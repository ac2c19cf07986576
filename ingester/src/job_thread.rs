//! The thread that runs the store's jobs: it asks what there is to do, and does it, one at a time.
//!
//! # Invariants
//! - A job that failed is tried again after a pause, never in a loop without one.
//! - It stops between two jobs.

use crate::allocator;
use crate::error::Error;
use crate::telemetry::Telemetry;
use model::{Clock, TenantId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use store::Engine;
use store::engine::{
    CrowdedWindow, DiskSpace, Job, JobReport, LargeMetric, LargePartition, PARTITION_BYTES_ALARM,
    READ_SSTABLES_ALARM, WideRead,
};

/// After a failed job the store is left alone for this many polls.
const POLLS_AFTER_FAILURE: u32 = 20;

/// Partitions that reads take out of many sstables are named this often.
const WIDE_READS_EVERY_NS: u64 = 60_000_000_000;

/// Names the partitions that reads took out of many sstables.
fn say_wide_reads(engine: &Engine) {
    for WideRead { tenant, metric, day, sstables } in engine.take_wide_reads() {
        let (tenant, metric, day) = (tenant.as_str(), &*metric, day.0);
        if sstables >= READ_SSTABLES_ALARM {
            tracing::error!(tenant, metric, day, sstables, "reads need too many sstables");
        } else {
            tracing::warn!(tenant, metric, day, sstables, "reads need many sstables");
        }
    }
}

/// Names what reads asked for that many deletes touch.
fn say_deleted_reads(engine: &Engine) {
    for read in engine.take_deleted_reads() {
        let (tenant, metric) = (read.tenant.as_str(), read.metric.as_deref().unwrap_or("any"));
        let (first_day, last_day) = (read.first_day.0, read.last_day.0);
        let tombstones = read.tombstones;
        if read.is_refused {
            tracing::error!(
                tenant,
                metric,
                first_day,
                last_day,
                tombstones,
                "too many deletes touch a read, it is refused"
            );
        } else {
            tracing::warn!(
                tenant,
                metric,
                first_day,
                last_day,
                tombstones,
                "many deletes touch a read"
            );
        }
    }
}

/// Names the windows in which too many sstables overlap.
fn say_crowded_windows(engine: &Engine) {
    for CrowdedWindow { window, overlap, bound } in engine.crowded_windows() {
        tracing::error!(%window, overlap, bound, "too many sstables overlap, compaction is behind");
    }
}

/// So many large partitions are remembered as named.
const LARGE_SAID_MAX: usize = 1_000;

/// Names partitions that have grown large, each once as a warning and once as an alarm.
fn say_large_partitions(engine: &Engine, said: &mut BTreeSet<(String, String, i32, bool)>) {
    for LargePartition { tenant, metric, day, bytes } in engine.large_partitions() {
        let is_alarm = bytes >= PARTITION_BYTES_ALARM;
        let key = (tenant.as_str().to_owned(), metric.to_string(), day.0, is_alarm);
        if said.len() >= LARGE_SAID_MAX || !said.insert(key) {
            continue;
        }
        let (tenant, metric, day) = (tenant.as_str(), &*metric, day.0);
        if is_alarm {
            tracing::error!(tenant, metric, day, bytes, "a partition is too large");
        } else {
            tracing::warn!(tenant, metric, day, bytes, "a partition is large");
        }
    }
}

/// Names metrics that come near their limit of series, each once.
fn say_large_metrics(
    engine: &Engine,
    series_max: &dyn Fn(&TenantId) -> u64,
    said: &mut BTreeSet<(TenantId, String)>,
) {
    let was_told =
        |tenant: &TenantId, metric: &str| said.contains(&(tenant.clone(), metric.to_owned()));
    let large = engine.large_metrics(series_max, was_told);
    for LargeMetric { tenant, metric, series, limit } in large {
        if said.len() >= LARGE_SAID_MAX || !said.insert((tenant.clone(), metric.to_string())) {
            continue;
        }
        let (tenant, metric) = (tenant.as_str(), &*metric);
        let text = "a metric has a fifth of the series that it may have (max_series_per_metric)";
        tracing::warn!(tenant, metric, series, limit, "{text}");
    }
}

/// Names what was found damaged, each place once.
fn say_faults(engine: &Engine) {
    for fault in engine.take_faults() {
        tracing::error!(%fault, "damaged: what needs it is refused, the rest is served");
    }
}

/// Asks for the free space, and says when writers are refused or taken again; and once, as long as the
/// process runs, that less than a quarter is free.
fn say_disk(engine: &Engine, is_low_said: &mut bool) {
    let space = engine.check_disk();
    if let Ok(DiskSpace { free_bytes, is_low: true, .. }) = space
        && !std::mem::replace(is_low_said, true)
    {
        tracing::warn!(free_bytes, "less than a quarter of the disk is free");
    }
    match space {
        Ok(DiskSpace { free_bytes, reserve_bytes, is_short, has_changed: true, .. }) => {
            if is_short {
                tracing::error!(
                    free_bytes,
                    reserve_bytes,
                    "the disk is nearly full, writes are refused"
                );
            } else {
                tracing::info!(
                    free_bytes,
                    reserve_bytes,
                    "the disk has space again, writes are taken"
                );
            }
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the disk does not say how much is free"),
    }
}

/// Starts the thread. It ends when the sender is dropped.
pub(crate) fn start(
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    poll: Duration,
    series_max: impl Fn(&TenantId) -> u64 + Send + 'static,
) -> Result<(SyncSender<()>, JoinHandle<()>), Error> {
    let (alive, stopped) = sync_channel(1);
    let name = "cumae-jobs";
    let builder = std::thread::Builder::new().name(name.to_owned());
    let handle =
        builder.spawn(move || run(&engine, &*clock, &telemetry, &stopped, (poll, &series_max)));
    Ok((alive, handle.map_err(|source| Error::Thread { name, source })?))
}

fn run(
    engine: &Engine,
    clock: &dyn Clock,
    telemetry: &Telemetry,
    stopped: &Receiver<()>,
    (poll, series_max): (Duration, &dyn Fn(&TenantId) -> u64),
) {
    let mut pause = poll;
    let mut said_ns = clock.monotonic_ns();
    let (mut large, mut large_metrics, mut is_low_said) = (BTreeSet::new(), BTreeSet::new(), false);
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
        pause = poll;
        if clock.monotonic_ns().saturating_sub(said_ns) >= WIDE_READS_EVERY_NS {
            said_ns = clock.monotonic_ns();
            say_wide_reads(engine);
            say_deleted_reads(engine);
            say_crowded_windows(engine);
            say_large_partitions(engine, &mut large);
            say_large_metrics(engine, series_max, &mut large_metrics);
        }
        say_faults(engine);
        say_disk(engine, &mut is_low_said);
        let Some(job) = engine.next_job(clock.now()) else { continue };
        let begin = clock.monotonic_ns();
        match engine.run(job, clock.now()) {
            Ok(report) => {
                let ns = clock.monotonic_ns().saturating_sub(begin);
                // There may be more to do: ask again at once.
                pause = Duration::ZERO;
                if job == Job::Expire {
                    tell_expired(&report, telemetry);
                    continue;
                }
                telemetry.flushed(&report, ns);
                allocator::give_back();
                tracing::info!(
                    ?job,
                    samples = report.samples,
                    sstables = report.sstables,
                    bytes = report.sstable_bytes,
                    segments_removed = report.segments_removed,
                    milliseconds = ns / 1_000_000,
                    "flushed"
                );
            }
            Err(error) => {
                tracing::error!(?job, "job failed, samples stay in the commit log: {error}");
                telemetry.job_failures.inc();
                pause = poll * POLLS_AFTER_FAILURE;
            }
        }
    }
}

fn tell_expired(report: &JobReport, telemetry: &Telemetry) {
    for window in &report.expired {
        telemetry.expired(window);
        let kept = Duration::from_millis(window.retention.as_ms());
        tracing::info!(
            window_first_day = window.window_first_day,
            window_days = window.window_days,
            retention_seconds = kept.as_secs(),
            sstables = window.sstables,
            samples = window.samples,
            bytes = window.bytes,
            "expired"
        );
    }
}
