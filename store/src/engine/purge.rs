//! Purging: what is deleted leaves the disk.
//!
//! A file is a candidate while a tombstone that touches it is newer than those that were applied to
//! it. It is looked at first, without a sample being read: often nothing of it is hidden, or all;
//! then it stays, or goes, as it is. Else it is written anew without what is hidden.
//!
//! It waits for some time after the delete, so that many deletes share one rewriting; but no longer
//! than that, however often the same is deleted anew.
//!
//! Asked for ([`Engine::ask_for_purge`]), the head goes first: one flush lets the log's segments
//! and the idle series go, another writes the checkpoint without them. When files are done, metadata
//! of metrics without a sample goes (`described.rs`), and the head is flushed once more if there was
//! some. Tombstones themselves stay, and with them the texts of their matchers: what comes late has
//! to stay hidden.
//!
//! # Invariants
//! - It changes no answer.

use super::compact::Compaction;
use super::{Engine, Job};
use crate::compaction::decision::{Plan, Reason};
use crate::compaction::worker::{self, Look};
use crate::engine::FlushReason;
use crate::error::{Error, Result};
use crate::manifest::{SstableMeta, Stage};
use crate::sstable::writer::Encoding;
use model::TimestampMs;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// A purge that somebody may have asked for.
#[derive(Debug, Default)]
pub(super) struct Asked(AtomicU64);

/// How far it has come, in the low bits, and above them how often somebody has asked: who asks anew
/// while a step is done does so by another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress(u64);

/// The bits of a step.
const STEP: u64 = 3;
/// Nobody asked.
const NO: u64 = 0;
/// The head is to be flushed so many times minus one, and then files are looked at.
const FILES: u64 = 1;
const FLUSHES: u64 = 2;

impl Progress {
    fn step(self) -> u64 {
        self.0 & STEP
    }

    /// Whether somebody asked, and it is not done.
    pub(super) fn is_asked(self) -> bool {
        self.step() != NO
    }

    fn wants_flush(self) -> bool {
        self.step() > FILES
    }

    fn is_at_files(self) -> bool {
        self.step() == FILES
    }
}

impl Asked {
    /// Somebody asks.
    pub(super) fn ask(&self) {
        let anew = |asked: u64| Some((asked & !STEP).wrapping_add(STEP + 1) | (FILES + FLUSHES));
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, anew);
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        Progress(self.0.load(Ordering::Acquire))
    }

    /// A flush that began so has been done. Who has asked again meanwhile begins again.
    pub(super) fn end_flush(&self, began: Progress) {
        if began.wants_flush() {
            self.step(began);
        }
    }

    /// The files have been looked at by who began so.
    fn end_files(&self, began: Progress) {
        if began.is_at_files() {
            self.step(began);
        }
    }

    fn step(&self, began: Progress) {
        let next = began.0 - 1;
        let _ = self.0.compare_exchange(began.0, next, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// What was done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeReport {
    /// The file's number.
    pub sstable: u64,
    /// Its bytes.
    pub bytes_before: u64,
    /// The bytes of what took its place.
    pub bytes_after: u64,
    /// Samples that are gone from the disk.
    pub samples_purged: u64,
}

impl Engine {
    /// Asks for the bytes of what is deleted to leave the disk now: there is work for
    /// [`Engine::next_job`] and [`Engine::purge`].
    pub fn ask_for_purge(&self) {
        self.purge_asked.ask();
    }

    /// The flush that a purge needs first.
    pub(super) fn purge_job(&self) -> Option<Job> {
        self.purge_asked.progress().wants_flush().then_some(Job::Flush(FlushReason::Asked))
    }

    /// Frees one file of what is deleted; `None` if there is none to be freed now. See
    /// [`Engine::compact`] for `pace`.
    ///
    /// # Errors
    /// As [`Engine::compact`].
    pub fn purge(
        &self,
        now: TimestampMs,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<PurgeReport>> {
        let began = self.purge_asked.progress();
        let asked = began.is_at_files();
        let freed = self.purge_file(now, asked, pace)?;
        if freed.is_some() {
            self.has_purged.store(true, Ordering::Relaxed);
            return Ok(freed);
        }
        let mut described = 0;
        if self.has_purged.swap(false, Ordering::Relaxed) || asked {
            // With a file that cannot be read nobody knows which metrics there are.
            described = self.forget_metadata().unwrap_or(0);
        }
        if described > 0 && self.purge_asked.progress().is_asked() {
            // It is in the checkpoint and the log, and in that of a flush that is at work.
            self.purge_asked.ask();
        } else {
            self.purge_asked.end_files(began);
        }
        Ok(None)
    }

    fn purge_file(
        &self,
        now: TimestampMs,
        asked: bool,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<PurgeReport>> {
        while let Some((meta, compaction)) = self.purge_candidate(now, asked) {
            let cut = self.deleted_cut();
            let through = crate::compaction::cut::Cut::tombstones_through(&cut);
            let report = |bytes_after, samples_purged| PurgeReport {
                sstable: meta.id,
                bytes_before: meta.file_bytes,
                bytes_after,
                samples_purged,
            };
            let failed = |error: &Error| {
                self.quarantine(error, [meta.id]);
                self.rest(error, &[meta.id], now);
            };
            match worker::look(&*self.parts.disk, &meta, &cut).inspect_err(failed)? {
                Look::Nothing => {
                    self.looked_at.lock().insert(meta.id, through);
                    self.to_purge.lock().remove(&meta.id);
                    if !pace(0) {
                        return Ok(None);
                    }
                }
                Look::All => {
                    self.publish(&[], &[meta.id], &[]).inspect_err(failed)?;
                    let _ = self.remove_retired();
                    return Ok(Some(report(0, meta.samples)));
                }
                Look::Part => {
                    let done = self.compact(&compaction, now, pace)?;
                    let gone = done.samples_in.saturating_sub(done.samples_out);
                    return Ok(Some(report(done.written_bytes, gone)));
                }
            }
        }
        Ok(None)
    }

    /// The first free file that newer tombstones touch, claimed.
    fn purge_candidate(&self, now: TimestampMs, asked: bool) -> Option<(SstableMeta, Compaction)> {
        let before_ms = if asked { i64::MAX } else { now.minus_ms(self.config.purge_delay_ms).0 };
        let tombstones = self.tombstones.read().clone();
        let mut claims = self.claims.lock();
        let tables = self.tables.read().clone();
        let mut looked_at = self.looked_at.lock();
        let metas = tables.metas();
        let live: BTreeSet<u64> = metas.iter().map(|meta| meta.id).collect();
        looked_at.retain(|id, _| live.contains(id));
        let mut to_purge = self.to_purge.lock();
        to_purge.retain(|id, _| live.contains(id));
        for meta in &metas {
            let seen = looked_at.get(&meta.id).copied().unwrap_or(0);
            let through = meta.tombstones_through.max(seen);
            if through >= tombstones.through() || !claims.is_free(meta.id, now) {
                continue;
            }
            let range = (meta.min_timestamp_ms, meta.max_timestamp_ms.saturating_add(1));
            let is_touched = |before_ms| {
                tombstones.tenants().any(|tenant| {
                    let touching = tombstones.touching_above(tenant, through, range, before_ms);
                    !touching.is_empty() && tables.may_hold_any(meta.id, tenant, touching.metrics())
                })
            };
            if !is_touched(i64::MAX) {
                // Not to be asked again before there is a newer one.
                looked_at.insert(meta.id, tombstones.through());
                to_purge.remove(&meta.id);
                continue;
            }
            // A delete that covers the one before takes its place, and is young again.
            let since = *to_purge.entry(meta.id).or_insert(now);
            if since.0 >= before_ms && !is_touched(before_ms) {
                continue;
            }
            // It comes back as dense as it was.
            let encoding = match meta.stage {
                Stage::Sealed => Encoding::Dense,
                Stage::Flushed | Stage::Compacted => Encoding::Fast,
            };
            let (inputs, stage, reason) = (vec![meta.id], meta.stage, Reason::Purge);
            let plan = Plan { inputs, boundaries: Vec::new(), encoding, stage, reason };
            if let Some(compaction) = self.claim(&mut claims, &metas, plan) {
                return Some((meta.clone(), compaction));
            }
        }
        None
    }
}
