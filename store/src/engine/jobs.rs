//! Which job is due, and doing it; whoever owns the engine asks, and brings the thread.
//!
//! Not here: how the head is flushed (`flush.rs`), what expires (`retain.rs`), compaction
//! (`compact.rs`).

use super::{Engine, FlushReason, Job, JobReport};
use crate::error::Result;
use model::TimestampMs;
use std::sync::atomic::Ordering;

impl Engine {
    /// The job that is due, if one is.
    #[must_use]
    pub fn next_job(&self, now: TimestampMs) -> Option<Job> {
        // First, for it gives space back and takes none: a flush may find no room without it.
        if self.is_expiry_due(now) {
            return Some(Job::Expire);
        }
        if let Some(job) = self.purge_job() {
            return Some(job);
        }
        let stats = self.stats();
        let tail_max = self.config.tail_samples_per_series.saturating_mul(stats.series);
        let flush = |reason| (stats.head_samples > 0).then_some(Job::Flush(reason));
        if self.reserve.wants_flush() {
            return flush(FlushReason::DiskReserve);
        }
        if stats.head_sample_bytes > self.config.head_bytes_max {
            return flush(FlushReason::MemoryPressure);
        }
        if stats.head_samples > tail_max.max(self.config.tail_samples_max) {
            return flush(FlushReason::LongTail);
        }
        let block = |at: i64| {
            at.saturating_sub(self.config.flush_slack_ms).div_euclid(self.config.block_ms.max(1))
        };
        // A clock that was ahead when it was flushed last is in another block as well.
        let is_over = block(now.0) != block(self.flushed_at_ms.load(Ordering::Relaxed));
        if is_over { flush(FlushReason::BlockBorder) } else { None }
    }

    /// Does a job.
    ///
    /// # Errors
    /// What the disk says. Nothing is lost by it, and the job may be tried again.
    pub fn run(&self, job: Job, now: TimestampMs) -> Result<JobReport> {
        match job {
            Job::Flush(_) => self.flush_head(now),
            Job::Expire => self.expire(now),
        }
    }

    /// Brings the whole head into sstables.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn flush(&self, now: TimestampMs) -> Result<JobReport> {
        self.run(Job::Flush(FlushReason::Asked), now)
    }

    /// Flushes the head and leaves the log with an idle mark.
    ///
    /// # Errors
    /// What the disk says.
    pub fn close(&self, now: TimestampMs) -> Result<JobReport> {
        self.log.sync().map_err(|failed| failed.error)?;
        let report = self.flush(now)?;
        self.idle_sync().map_err(|failed| failed.error)?;
        Ok(report)
    }
}
