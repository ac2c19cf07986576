//! Compaction as a job: who holds which sstables, and how new ones take the place of old ones.
//!
//! # Order
//! 1. The inputs are *claimed*: no other job touches them.
//! 2. The outputs are written; each is on disk, file and name, before the next step.
//! 3. One edit of the manifest makes the outputs live and the inputs not.
//! 4. Readers are shown the outputs. Readers that came before still open the inputs.
//! 5. When the last of those has gone, the inputs are unlinked ([`Engine::remove_retired`]).
//!
//! A crash or an error between any two leaves the inputs live, or the outputs. What is on disk and
//! not live is unlinked at the next start.
//!
//! Not here: what is worth compacting (`compaction/`), the pace (whoever runs the jobs).

use super::Engine;
use super::claim::{Claim, Claims};
use crate::compaction::cut::Cuts;
use crate::compaction::worker::{self, Means, Output, Task};
use crate::error::{Error, Result};
use crate::manifest::{self, SstableMeta, Stage};
use crate::sstable::writer::Encoding;
use model::{TimestampMs, Token};
use std::collections::BTreeMap;
use std::fmt;

/// The sstables of one retention class and window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowId {
    /// The retention class.
    pub retention_class: u32,
    /// The window's first day, in days since 1970.
    pub first_day: i32,
    /// How many days it has; 0 for the window of all before the year 2000.
    pub days: u32,
}

impl WindowId {
    fn of(meta: &SstableMeta) -> Self {
        let SstableMeta { retention_class, window_first_day, window_days, .. } = *meta;
        Self { retention_class, first_day: window_first_day, days: window_days }
    }
}

impl fmt::Display for WindowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.days {
            0 => write!(f, "before 2000")?,
            days => write!(f, "{days} d from day {}", self.first_day)?,
        }
        write!(f, ", class {}", self.retention_class)
    }
}

/// Why sstables are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CompactionReason {
    /// Too many of them lie over each other.
    Overlap,
    /// Their window has closed.
    Seal,
    /// Somebody asked for the dense form now.
    Asked,
}

impl CompactionReason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Overlap, Self::Seal, Self::Asked];

    /// Its name in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Seal => "seal",
            Self::Asked => "asked",
        }
    }
}

/// A compaction that is due. While it exists, no other job touches its sstables.
#[derive(Debug)]
pub struct Compaction {
    task: Task,
    reason: CompactionReason,
    window: WindowId,
    /// Freed by its drop.
    _claim: Claim,
}

impl Compaction {
    /// Why.
    #[must_use]
    pub fn reason(&self) -> CompactionReason {
        self.reason
    }

    /// Which window.
    #[must_use]
    pub fn window(&self) -> WindowId {
        self.window
    }

    /// The numbers of the sstables that go in.
    #[must_use]
    pub fn inputs(&self) -> Vec<u64> {
        self.task.inputs.iter().map(|meta| meta.id).collect()
    }

    /// Their bytes.
    #[must_use]
    pub fn input_bytes(&self) -> u64 {
        self.task.inputs.iter().map(|meta| meta.file_bytes).sum()
    }
}

/// What to compact into what.
struct Plan {
    /// Live, of one class and window.
    inputs: Vec<SstableMeta>,
    /// See [`Task`].
    boundaries: Vec<Token>,
    encoding: Encoding,
    reason: CompactionReason,
}

/// What a compaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionReport {
    /// Why it was done.
    pub reason: CompactionReason,
    /// In which window.
    pub window: WindowId,
    /// The numbers of the sstables that went in, and are no longer live.
    pub inputs: Vec<u64>,
    /// The numbers of those that came out.
    pub outputs: Vec<u64>,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Samples that went in, equal ones counted as often as they were there.
    pub samples_in: u64,
    /// Samples that came out.
    pub samples_out: u64,
}

impl Engine {
    /// The windows that are not in their dense form yet.
    #[must_use]
    pub fn windows_to_seal(&self) -> Vec<WindowId> {
        let windows = by_window(self.tables.read().metas());
        windows.into_iter().filter(|(_, metas)| !is_sealed(metas)).map(|(id, _)| id).collect()
    }

    /// The compaction that brings a window into its dense form, now and not when it closes; `None`
    /// if it is in it already.
    ///
    /// # Errors
    /// [`Error::Busy`] while another job holds some of its sstables; [`Error::Corrupt`] if one of
    /// them was found damaged.
    pub fn seal(&self, window: WindowId) -> Result<Option<Compaction>> {
        let mut claims = self.claims.lock();
        // After the lock, so that what is not claimed is live.
        let metas = self.tables.read().metas();
        let inputs: Vec<SstableMeta> =
            metas.into_iter().filter(|meta| WindowId::of(meta) == window).collect();
        if is_sealed(&inputs) {
            return Ok(None);
        }
        if let Some(error) = inputs.iter().find_map(|meta| claims.suspect(meta.id)) {
            return Err(error);
        }
        let plan = Plan {
            inputs,
            boundaries: Vec::new(),
            encoding: Encoding::Dense,
            reason: CompactionReason::Asked,
        };
        self.claim(&mut claims, plan).ok_or(Error::Busy).map(Some)
    }

    /// Claims what a plan names; `None` if another job holds some of it.
    fn claim(&self, claims: &mut Claims, plan: Plan) -> Option<Compaction> {
        let Plan { inputs, boundaries, encoding, reason } = plan;
        let window = inputs.first().map(WindowId::of)?;
        let ids: Vec<u64> = inputs.iter().map(|meta| meta.id).collect();
        let claim = claims.claim(&self.claims, &ids)?;
        let stage = match reason {
            CompactionReason::Overlap => Stage::Compacted,
            CompactionReason::Seal | CompactionReason::Asked => Stage::Sealed,
        };
        let task = Task { inputs, boundaries, encoding, stage };
        Some(Compaction { task, reason, window, _claim: claim })
    }

    /// Carries a compaction out. `pace` is told again and again how many bytes were read and
    /// written since; it may take its time, and ends the compaction by `false`.
    ///
    /// # Errors
    /// What the disk says, [`Error::Corrupt`] if an input is damaged, [`Error::Stopped`]. The files
    /// are as they were before; a damaged input is not compacted again.
    pub fn compact(
        &self,
        compaction: &Compaction,
        now: TimestampMs,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<CompactionReport> {
        let Compaction { task, reason, window, .. } = compaction;
        let cut = self.cut(now);
        let allocate = || self.manifest.lock().allocate_file_id();
        let disk = &*self.parts.disk;
        let mut means = Means { disk, cut: &cut, allocate: &allocate, now, pace };
        let done = worker::run(task, &mut means);
        if let Err(error @ Error::Corrupt { path, .. }) = &done {
            let of_path = |meta: &&SstableMeta| manifest::sstable_path(meta.id) == *path;
            if let Some(meta) = task.inputs.iter().find(of_path) {
                self.claims.lock().suspects(meta.id, error.clone());
            }
        }
        let Output { sstables, read_bytes } = done?;
        let inputs = compaction.inputs();
        self.publish(&sstables, &inputs, &[])?;
        // What readers still hold goes later; what cannot be unlinked goes at the next start.
        let _ = self.remove_retired();
        Ok(CompactionReport {
            reason: *reason,
            window: *window,
            inputs,
            outputs: sstables.iter().map(|meta| meta.id).collect(),
            read_bytes,
            written_bytes: sstables.iter().map(|meta| meta.file_bytes).sum(),
            samples_in: task.inputs.iter().map(|meta| meta.samples).sum(),
            samples_out: sstables.iter().map(|meta| meta.samples).sum(),
        })
    }

    /// Unlinks files that are no longer live and that no reader holds any more. Returns how many
    /// are still waiting.
    ///
    /// # Errors
    /// What the disk says; the files stay in line.
    pub fn remove_retired(&self) -> Result<usize> {
        let mut retired = self.retired.lock();
        let mut outcome = Ok(());
        retired.retain(|file| {
            if file.is_held() {
                return true;
            }
            match self.parts.disk.unlink(&file.path) {
                Ok(()) => false,
                Err(error) => {
                    outcome = Err(error);
                    true
                }
            }
        });
        outcome.map(|()| retired.len())
    }

    /// What no read shows at `now`, for a compaction to leave out.
    fn cut(&self, _now: TimestampMs) -> Cuts {
        Cuts::default()
    }
}

fn by_window(metas: Vec<SstableMeta>) -> BTreeMap<WindowId, Vec<SstableMeta>> {
    let mut windows: BTreeMap<WindowId, Vec<SstableMeta>> = BTreeMap::new();
    for meta in metas {
        windows.entry(WindowId::of(&meta)).or_default().push(meta);
    }
    windows
}

/// Whether a window is in its dense form: each partition in one sealed sstable.
fn is_sealed(metas: &[SstableMeta]) -> bool {
    let mut ranges: Vec<(u64, u64)> = metas.iter().map(|m| (m.token_first, m.token_last)).collect();
    ranges.sort_unstable();
    metas.iter().all(|meta| meta.stage == Stage::Sealed) && ranges.is_sorted_by(|a, b| a.1 < b.0)
}

#[cfg(test)]
pub(super) mod tests;
