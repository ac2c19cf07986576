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
use super::pass::PassCut;
use crate::compaction::cut::{Both, Cut};
use crate::compaction::decision::{Candidate, Decision, Encoding, Lot, Plan, Reason};
use crate::compaction::window::Moment;
use crate::compaction::worker::{self, Means, Output, Task};
use crate::error::{Error, Result};
use crate::manifest::{SstableMeta, Stage};
use crate::sstable::tables::Retired;
use crate::tombstone::cut::DeletedCut;
use model::TimestampMs;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A compaction that is due. While it exists, no other job touches its sstables.
#[derive(Debug)]
pub struct Compaction {
    task: Task,
    reason: Reason,
    lot: Lot,
    /// By which version of the rules of retention its outputs have their class.
    retention_version: u64,
    /// What a pass leaves out and moves.
    pass: Option<PassCut>,
    /// Freed by its drop.
    _claim: Claim,
}

impl Compaction {
    /// Why.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Which class and window.
    #[must_use]
    pub fn lot(&self) -> Lot {
        self.lot
    }

    /// The compaction of one file that brings it to other rules of retention.
    pub(super) fn of_pass(meta: SstableMeta, cut: PassCut, version: u64, claim: Claim) -> Self {
        let lot = Lot::of(&meta);
        let stage = meta.stage;
        let encoding = match stage {
            Stage::Sealed => Encoding::Dense,
            Stage::Flushed | Stage::Compacted => Encoding::Fast,
        };
        let task = Task { inputs: vec![meta], boundaries: Vec::new(), encoding, stage };
        let (reason, pass) = (Reason::Retention, Some(cut));
        Self { task, reason, lot, retention_version: version, pass, _claim: claim }
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

/// What a compaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionReport {
    /// Why it was done.
    pub reason: Reason,
    /// In which class and window.
    pub lot: Lot,
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
    /// The windows that are not in their dense form yet, the newest first.
    #[must_use]
    pub fn windows_to_seal(&self) -> Vec<Lot> {
        let metas = self.tables.read().metas();
        // As if nothing was held: a window that is being compacted is not sealed yet.
        let candidates: Vec<Candidate> = metas.iter().map(|m| Candidate::of(m, false)).collect();
        let of: BTreeMap<u64, Lot> = metas.iter().map(|meta| (meta.id, Lot::of(meta))).collect();
        let plans = self.decider.seal_plan(&candidates);
        plans.iter().filter_map(|plan| of.get(plan.inputs.first()?).copied()).collect()
    }

    /// The compaction that brings a window into its dense form, now and not when it closes; `None`
    /// if it is in it already.
    ///
    /// # Errors
    /// [`Error::Busy`] while another job holds some of its sstables; [`Error::Corrupt`] if one of
    /// them was found damaged.
    pub fn seal(&self, lot: Lot) -> Result<Option<Compaction>> {
        let mut claims = self.claims.lock();
        // After the lock, so that what is not claimed is live.
        let mut metas = self.tables.read().metas();
        metas.retain(|meta| Lot::of(meta) == lot);
        let candidates: Vec<Candidate> = metas.iter().map(|m| Candidate::of(m, false)).collect();
        let Some(plan) = self.decider.seal_plan(&candidates).pop() else { return Ok(None) };
        if let Some(error) = metas.iter().find_map(|meta| claims.suspect(meta.id)) {
            return Err(error);
        }
        self.claim(&mut claims, &metas, plan).ok_or(Error::Busy).map(Some)
    }

    /// The compaction that is due, if one is. `chance` is uniform over all numbers.
    #[must_use]
    pub fn next_compaction(&self, now: TimestampMs, chance: u64) -> Option<Compaction> {
        let mut claims = self.claims.lock();
        let metas = self.tables.read().metas();
        // The pass comes first: by the rules in force a stale file is not of one class.
        let stale = self.stale_ids();
        let is_held = |id: u64| stale.contains(&id) || !claims.is_free(id, now);
        let candidate = |meta: &SstableMeta| Candidate::of(meta, is_held(meta.id));
        let candidates: Vec<Candidate> = metas.iter().map(candidate).collect();
        // Without its class nothing is ever dropped: expiry is a job of its own.
        let classes = BTreeMap::new();
        match self.decider.decide(&candidates, &Moment { now, chance, classes: &classes }) {
            Decision::Compact(plan) => self.claim(&mut claims, &metas, plan),
            Decision::Rest | Decision::Drop { .. } => None,
        }
    }

    /// Claims what a plan names of the live sstables; `None` if another job holds some of it.
    pub(super) fn claim(
        &self,
        claims: &mut Claims,
        live: &[SstableMeta],
        plan: Plan,
    ) -> Option<Compaction> {
        let Plan { inputs: ids, boundaries, encoding, stage, reason } = plan;
        let of_id = |id: &u64| live.iter().find(|meta| meta.id == *id).cloned();
        let inputs = ids.iter().map(of_id).collect::<Option<Vec<_>>>()?;
        let lot = inputs.first().map(Lot::of)?;
        // Rules before files: files that are not stale for these have their class by them.
        let retention_version = self.retention.read().version;
        let stale = self.stale_ids();
        if ids.iter().any(|id| stale.contains(id)) {
            return None;
        }
        // The last step that can fail: a claim that is dropped takes the lock that is held here.
        let claim = claims.claim(&self.claims, &ids)?;
        let task = Task { inputs, boundaries, encoding, stage };
        Some(Compaction { task, reason, lot, retention_version, pass: None, _claim: claim })
    }

    /// Carries a compaction out. `pace` is told again and again how many bytes were read and
    /// written since; it may take its time, and ends the compaction by `false`.
    ///
    /// # Errors
    /// What the disk says, [`Error::DiskReserve`] if it has no room for as much as the inputs,
    /// [`Error::Corrupt`] if one of them is damaged, [`Error::Stopped`]. The files are as they were
    /// before; a damaged input is not compacted again, and others rest for a while: what is due is
    /// something else then.
    pub fn compact(
        &self,
        compaction: &Compaction,
        now: TimestampMs,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<CompactionReport> {
        let done = self.carry_out(compaction, now, pace);
        done.inspect_err(|error| self.rest(error, &compaction.inputs(), now))
    }

    /// After a job that failed, so that it holds up no other.
    pub(super) fn rest(&self, error: &Error, ids: &[u64], now: TimestampMs) {
        if !matches!(error, Error::Stopped) {
            self.claims.lock().rest(ids, now);
        }
    }

    fn carry_out(
        &self,
        compaction: &Compaction,
        now: TimestampMs,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<CompactionReport> {
        let Compaction { task, reason, lot, pass, .. } = compaction;
        self.settle()?;
        self.check_room(compaction.input_bytes())?;
        let deleted = self.deleted_cut();
        let both = pass.as_ref().map(|pass| Both(&deleted, pass));
        let cut: &dyn Cut = match &both {
            Some(both) => both,
            None => &deleted,
        };
        let allocate = || self.manifest.lock().allocate_file_id();
        let disk = &*self.parts.disk;
        let mut means = Means { disk, cut, allocate: &allocate, now, pace };
        let done = worker::run(task, &mut means);
        if let Err(error) = &done {
            self.quarantine(error, compaction.inputs());
        }
        let Output { mut sstables, read_bytes } = done?;
        let version = compaction.retention_version;
        sstables.iter_mut().for_each(|meta| meta.retention_version = version);
        let inputs = compaction.inputs();
        self.publish(&sstables, &inputs, &[])?;
        // What readers still hold goes later; what cannot be unlinked goes at the next start.
        let _ = self.remove_retired();
        Ok(CompactionReport {
            reason: *reason,
            lot: *lot,
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

    /// Unlinks files that never became live, now or as soon as that can be done.
    pub(super) fn let_go(&self, paths: impl IntoIterator<Item = String>) {
        self.retired.lock().extend(paths.into_iter().map(Retired::unheld));
        let _ = self.remove_retired();
    }

    /// What tombstones hide, for a compaction to leave out.
    pub(super) fn deleted_cut(&self) -> DeletedCut {
        DeletedCut::new(Arc::clone(&self.tombstones.read()))
    }
}

#[cfg(test)]
pub(super) mod tests;
