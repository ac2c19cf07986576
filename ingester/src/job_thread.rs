//! The thread that runs the store's jobs: it asks what there is to do, and does it, one at a time.
//!
//! # Invariants
//! - A job that failed is tried again after a pause, never in a loop without one.
//! - It stops between two jobs.

use crate::allocator;
use crate::background;
use crate::error::Error;
use crate::telemetry::Telemetry;
use crate::told::{self, Told};
use model::{Clock, TenantId};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use store::Engine;
use store::engine::{Job, JobReport};

/// After a failed job the store is left alone for this many polls.
const POLLS_AFTER_FAILURE: u32 = 20;

/// Partitions that reads take out of many sstables are named this often.
const WIDE_READS_EVERY_NS: u64 = 60_000_000_000;

/// Starts the thread. It ends when the sender is dropped.
pub(crate) fn start(
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    poll: Duration,
    series_max: impl Fn(&TenantId) -> u64 + Send + 'static,
) -> Result<(SyncSender<()>, JoinHandle<()>), Error> {
    let (alive, stopped) = sync_channel(1);
    let work = move || run(&engine, &*clock, &telemetry, &stopped, (poll, &series_max));
    Ok((alive, background::spawn("cumae-jobs", work)?))
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
    let mut told = Told::default();
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
        pause = poll;
        if clock.monotonic_ns().saturating_sub(said_ns) >= WIDE_READS_EVERY_NS {
            said_ns = clock.monotonic_ns();
            told::wide_reads(engine.take_wide_reads());
            told::deleted_reads(engine);
            told::crowded_windows(engine);
            told.large_partitions(engine.large_partitions());
            told.large_metrics(engine, series_max);
        }
        told::faults(engine);
        told.disk(engine.check_disk());
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
