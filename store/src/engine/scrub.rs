//! Scrubbing: reading every byte of the live files now and then, so that what rots is found while
//! a replica or a backup still has it.
//!
//! A *cycle* goes through all live sstables by number, and around; at its end come checkpoint and
//! manifest. It begins where chance says, so that a process that is restarted often scrubs all
//! files too. It goes in steps of a budget, and holds no file between two of them.
//!
//! Not here: how fast (whoever runs it); what becomes of what is found (`faults.rs`).

use super::Engine;
use crate::error::Error;
use crate::manifest;
use crate::sstable::walk::Walk;
use crate::verify;
use model::TimestampMs;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Where the scrub is.
#[derive(Debug, Default)]
struct Place {
    /// The file that is being read.
    current: Option<(u64, Walk)>,
    /// The last file that was.
    cursor: u64,
    /// Cycles begin behind this file.
    start: Option<u64>,
    /// Whether it has been around.
    is_around: bool,
}

/// See the module; the numbers are since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// Held during a step.
    place: Mutex<Place>,
    pub(super) bytes: AtomicU64,
    pub(super) cycles: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) completed_ms: AtomicI64,
}

/// What a step did.
#[derive(Clone, Debug, Default)]
pub struct ScrubReport {
    /// Bytes read.
    pub bytes: u64,
    /// What is damaged; named by [`Engine::take_faults`] too.
    pub faults: Vec<Error>,
    /// Whether a cycle ended.
    pub is_complete: bool,
}

impl Engine {
    /// Reads on for about so many bytes, at most to the end of the cycle.
    pub fn scrub_step(&self, budget_bytes: u64, now: TimestampMs) -> ScrubReport {
        let tables = Arc::clone(&self.tables.read());
        let ids: Vec<u64> = tables.metas().iter().map(|meta| meta.id).collect();
        let mut scrub = self.scrub.place.lock();
        let mut report = ScrubReport::default();
        while report.bytes < budget_bytes && !report.is_complete {
            let Some((id, walk)) = &mut scrub.current else {
                match scrub.next(&ids, self.parts.generation_seed) {
                    Some(id) => scrub.current = Some((id, Walk::new())),
                    None => {
                        self.scrub_rest(&mut report);
                        report.is_complete = true;
                    }
                }
                continue;
            };
            let id = *id;
            // One that has left meanwhile, or that could not be opened and is known.
            let Some((meta, sstable)) = tables.readable(id) else {
                scrub.leave(id);
                continue;
            };
            let left = budget_bytes - report.bytes;
            report.bytes += walk.step(sstable.reader(), &sstable.path, left, &mut |_| ());
            if walk.is_done(sstable.reader()) {
                let expected = Some((meta.file_bytes, meta.file_hash));
                let bytes = sstable.reader().file_bytes();
                if let Some((_, walk)) = scrub.leave(id) {
                    let (hash, mut faults) = walk.finish();
                    if faults.is_empty() {
                        faults.extend(verify::wrong_hash(&sstable.path, (bytes, hash), expected));
                    }
                    report.faults.append(&mut faults);
                }
            }
        }
        drop(scrub);
        self.note_scrubbed(&report, &ids, now);
        report
    }

    /// Checkpoint and manifest, which are small.
    fn scrub_rest(&self, report: &mut ScrubReport) {
        let disk = &*self.parts.disk;
        let checkpoint = || self.manifest.lock().state().checkpoint.map(|live| live.id);
        if let Some(id) = checkpoint() {
            let path = manifest::checkpoint_path(id);
            let faults = verify::file(disk, &path);
            if checkpoint() == Some(id) {
                report.faults.extend(faults);
            }
        }
        // Held, so that no edit is half written.
        let held = self.manifest.lock();
        if let Some(path) = held.path() {
            report.faults.extend(verify::file(disk, path));
        }
    }

    fn note_scrubbed(&self, report: &ScrubReport, ids: &[u64], now: TimestampMs) {
        let done = &self.scrub;
        done.bytes.fetch_add(report.bytes, Ordering::Relaxed);
        for fault in &report.faults {
            if self.faults.note(fault) {
                done.faults.fetch_add(1, Ordering::Relaxed);
            }
            self.quarantine(fault, ids.iter().copied());
        }
        if report.is_complete {
            done.cycles.fetch_add(1, Ordering::Relaxed);
            done.completed_ms.store(now.0, Ordering::Relaxed);
        }
    }
}

impl Place {
    /// The file to read next; `None` at the end of a cycle, and then the next one begins.
    fn next(&mut self, ids: &[u64], chance: u64) -> Option<u64> {
        let start = *self.start.get_or_insert_with(|| {
            let index = chance.checked_rem(ids.len() as u64).unwrap_or(0);
            let index = usize::try_from(index).unwrap_or(0);
            self.cursor = ids.get(index).copied().unwrap_or(0);
            self.cursor
        });
        let behind = |cursor: u64| ids.iter().copied().filter(move |id| *id > cursor).min();
        if !self.is_around {
            if let Some(id) = behind(self.cursor) {
                return Some(id);
            }
            (self.is_around, self.cursor) = (true, 0);
        }
        let next = behind(self.cursor).filter(|id| *id <= start);
        if next.is_none() {
            (self.is_around, self.cursor) = (false, start);
        }
        next
    }

    fn leave(&mut self, id: u64) -> Option<(u64, Walk)> {
        self.cursor = id;
        self.current.take()
    }
}
