//! The disk's reserve: what is kept back from writers, so that flushes, expiry and compactions
//! that give space back go on when the disk is nearly full.
//!
//! Whoever owns the engine asks for the free space again and again; appends look at the last
//! answer. A sync asks the disk itself, so that nothing is acknowledged in between that would go
//! into the reserve.
//!
//! The reserve is for us; somebody else may fill the disk to its last byte. For that a small part of
//! it is held by a file, the *spare*, which is given up for an edit by which files may go, and for a
//! start (`manifest/spare.rs`).
//!
//! Not here: the sync (`commit_log.rs`).

use super::Engine;
use crate::commit_log::{self, Replayed};
use crate::config::Config;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::head::series::EXEMPLAR_BYTES;
use crate::manifest::{LOG_DIRECTORY, leftovers, spare};
use crate::verify;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The reserve is one of so many parts of the disk …
const DISK_SHARE: u64 = 20;
/// … and at most this.
const RESERVE_BYTES_MAX: u64 = 10 << 30;
/// With less than this part of the disk free, people want to know.
const LOW_SHARE: u64 = 4;
/// Writers come back when this part of the reserve is free on top of it.
const RETURN_SHARE: u64 = 16;
/// A compaction whose inputs are this part of the reserve may work within it.
const SMALL_SHARE: u64 = 4;

/// The spare is made of this part of the reserve …
const SPARE_SHARE: u64 = 8;
/// … and of at most so many bytes, unless the manifest needs more.
const SPARE_BYTES_MAX: u64 = 1 << 20;

/// What is known of the disk's free space.
#[derive(Debug)]
pub(super) struct Reserve {
    bytes: u64,
    free_bytes: AtomicU64,
    is_short: AtomicBool,
    /// A flush is due, until one is done: what it lets go of in the log is more than it writes.
    wants_flush: AtomicBool,
}

/// What became of the disk's free space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Free bytes.
    pub free_bytes: u64,
    /// What is kept back from writers.
    pub reserve_bytes: u64,
    /// Whether less than a quarter of the disk is free.
    pub is_low: bool,
    /// Whether writers are refused.
    pub is_short: bool,
    /// Whether that has just changed.
    pub has_changed: bool,
}

impl Reserve {
    /// The reserve of a disk, by the settings.
    pub(super) fn of(disk: &dyn Disk, config: &Config) -> Result<Self> {
        let bytes = match config.disk_reserve_bytes {
            Some(bytes) => bytes,
            None => (disk.total_bytes()? / DISK_SHARE).min(RESERVE_BYTES_MAX),
        };
        Ok(Self {
            bytes,
            free_bytes: AtomicU64::new(u64::MAX),
            is_short: AtomicBool::new(false),
            wants_flush: AtomicBool::new(false),
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Refuses a writer while there is only the reserve.
    pub(super) fn check(&self) -> Result<()> {
        let (free_bytes, reserve_bytes) = (self.free_bytes.load(Ordering::Relaxed), self.bytes);
        match self.is_short.load(Ordering::Relaxed) {
            true => Err(Error::DiskReserve { free_bytes, reserve_bytes }),
            false => Ok(()),
        }
    }

    /// Whether a flush is due for it.
    pub(super) fn wants_flush(&self) -> bool {
        self.wants_flush.load(Ordering::Relaxed)
    }

    /// A flush has been done that began when one was due.
    pub(super) fn was_flushed(&self) {
        self.wants_flush.store(false, Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> (u64, bool) {
        (self.free_bytes.load(Ordering::Relaxed), self.is_short.load(Ordering::Relaxed))
    }
}

/// Makes room for a start on a full disk: the spare goes, and so does what crashes left over, if the
/// log is whole: a manifest that lost its last edits shall delete nothing.
pub(super) fn make_room(disk: &dyn Disk) -> Result<()> {
    spare::give_up(disk)?;
    let (state, paths) = leftovers::find(disk)?;
    let mut is_whole = true;
    let mut look = |found: Replayed<'_>| {
        is_whole &= verify::bad_payload("", 0, found.payload).is_none();
        Ok(())
    };
    let report = commit_log::check(disk, LOG_DIRECTORY, state.log_from_segment(), &mut look)?;
    match is_whole && report.damage.is_empty() && !paths.is_empty() {
        true => leftovers::remove(disk, &paths),
        false => Ok(()),
    }
}

impl Engine {
    /// Asks the disk how much is free: from now on writers are refused, or taken again. To be
    /// called at least every few seconds.
    ///
    /// # Errors
    /// If the disk does not say; then everything is as before.
    pub fn check_disk(&self) -> Result<DiskSpace> {
        let reserve = &self.reserve;
        let free_bytes = self.parts.disk.free_bytes()?;
        let is_low = free_bytes < self.parts.disk.total_bytes()? / LOW_SHARE;
        let was_short = reserve.is_short.load(Ordering::Relaxed);
        let back = if was_short { reserve.bytes / RETURN_SHARE } else { 0 };
        let is_short = free_bytes < reserve.bytes.saturating_add(back);
        reserve.free_bytes.store(free_bytes, Ordering::Relaxed);
        reserve.is_short.store(is_short, Ordering::Relaxed);
        let has_changed = is_short != was_short;
        if has_changed {
            reserve.wants_flush.store(is_short, Ordering::Relaxed);
        }
        let spare_bytes = (reserve.bytes / SPARE_SHARE).min(SPARE_BYTES_MAX);
        // If it cannot be kept now, the next call tries again.
        let _ = self.manifest.lock().keep_spare(spare_bytes, free_bytes);
        Ok(DiskSpace { free_bytes, reserve_bytes: reserve.bytes, is_low, is_short, has_changed })
    }

    /// Refuses a compaction for whose outputs there is no room beside its inputs: they leave writers
    /// their space, or are small and leave a flush its own.
    pub(super) fn check_room(&self, input_bytes: u64) -> Result<()> {
        let is_small = input_bytes <= self.reserve.bytes / SMALL_SHARE;
        let kept = if is_small { self.flush_bytes() } else { self.reserve.bytes };
        self.check_beside(kept, input_bytes)
    }

    /// Refuses to write so many bytes if that would leave less than the reserve.
    pub(super) fn check_free(&self, bytes: u64) -> Result<()> {
        self.check_beside(self.reserve.bytes, bytes)
    }

    fn check_beside(&self, kept: u64, bytes: u64) -> Result<()> {
        let free_bytes = self.parts.disk.free_bytes()?;
        let reserve_bytes = bytes.saturating_add(kept);
        match free_bytes < reserve_bytes {
            true => Err(Error::DiskReserve { free_bytes, reserve_bytes }),
            false => Ok(()),
        }
    }

    /// What a flush writes at most, about: the head's samples, its series' definitions and their
    /// exemplars.
    pub(super) fn flush_bytes(&self) -> u64 {
        let stats = self.stats();
        let exemplars = stats.exemplars.saturating_mul(EXEMPLAR_BYTES as u64);
        let definitions = stats.series.saturating_mul(256);
        stats.head_sample_bytes.saturating_add(exemplars).saturating_add(definitions)
    }
}
