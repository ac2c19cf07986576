//! What an operator asks of the replica of this process: flush, seal, snapshot, sizes.
//!
//! Not here: reads and writes (`serve.rs`).

use super::{Embedded, Inner};
use crate::compaction_thread::Sealed;
use model::{Kind, TenantId, Tombstone};
use store::engine::{JobReport, Stats};
use store::snapshot::{self, Snapshot};
use wire::replica::ReplicaError;

impl Inner {
    fn flush(&self) -> store::Result<JobReport> {
        let begin = self.clock.monotonic_ns();
        let report = self.engine.flush(self.clock.now())?;
        let ns = self.clock.monotonic_ns().saturating_sub(begin);
        self.telemetry.flushed(&report, ns);
        Ok(report)
    }
}

impl Embedded {
    /// Brings everything in memory into sstables.
    ///
    /// # Errors
    /// As [`Replica::write`](wire::replica::Replica::write).
    pub async fn flush(&self) -> Result<JobReport, ReplicaError> {
        let inner = self.inner.clone();
        self.inner.clone().blocking(None, move || inner.flush()).await
    }

    /// As [`Embedded::flush`], on the calling thread, which may block.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn flush_now(&self) -> store::Result<JobReport> {
        self.inner.flush()
    }

    /// Keeps tombstones that a peer has, on disk; returns how many were news.
    ///
    /// # Errors
    /// As [`Replica::write`](wire::replica::Replica::write).
    pub async fn adopt(&self, tombstones: Vec<Tombstone>) -> Result<u64, ReplicaError> {
        if tombstones.is_empty() {
            return Ok(0);
        }
        let permit = self.inner.enter(&self.inner.writes).await?;
        let inner = self.inner.clone();
        let work = move || inner.engine.adopt(tombstones, inner.clock.now());
        self.inner.clone().blocking(Some(permit), work).await
    }

    /// Takes a snapshot of everything that was answered before, and names it after the time and
    /// `random` bits.
    ///
    /// # Errors
    /// As [`Replica::write`](wire::replica::Replica::write).
    pub async fn snapshot(&self, random: u64) -> Result<Snapshot, ReplicaError> {
        let inner = self.inner.clone();
        let work = move || {
            let now = inner.clock.now();
            inner.engine.snapshot(&snapshot::name(now, random), now)
        };
        self.inner.clone().blocking(None, work).await
    }

    /// Brings everything in memory into sstables, and all sstables into their dense form.
    ///
    /// # Errors
    /// As [`Replica::write`](wire::replica::Replica::write), and [`Kind::Unavailable`] if it takes longer than
    /// [`Config::seal_wait_max_ms`](crate::Config::seal_wait_max_ms); then it goes on.
    pub async fn seal(&self) -> Result<Sealed, ReplicaError> {
        self.flush().await?;
        let inner = &self.inner;
        let unavailable = |why: &str| inner.error(Kind::Unavailable, why);
        let answer = inner.compaction.seal().map_err(unavailable)?;
        match tokio::time::timeout(inner.seal_wait_max, answer).await {
            Ok(Ok(outcome)) => outcome.map_err(|error| inner.store_error(&error)),
            Ok(Err(_)) => Err(unavailable("compaction has stopped")),
            Err(_) => Err(unavailable("sealing takes long; it goes on")),
        }
    }

    /// The store's sizes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.engine.stats()
    }

    /// Tenants with data, ascending.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        self.inner.engine.tenants()
    }
}
