//! What was found damaged while the store is open: each block is named once, and counted.
//!
//! A damaged block stays where it is. Its file stays live: questions that need the block are
//! answered by [`Error::Corrupt`], everything else is served. No compaction takes the file, so
//! nothing is written anew without what is damaged.
//!
//! Not here: finding it (reads, compactions, `scrub.rs`).

use super::{Engine, OpenReport};
use crate::error::Error;
use crate::manifest;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many places are known; more are not named any more.
const PLACES_MAX: usize = 10_000;
/// So many wait to be named.
const NEWS_MAX: usize = 100;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// A leaf.
    known: Mutex<Known>,
    reads_refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    /// File and offset.
    places: BTreeSet<(String, u64)>,
    news: Vec<Error>,
}

impl Faults {
    /// Notes damage; says whether it is news.
    pub(super) fn note(&self, error: &Error) -> bool {
        let place = match error {
            Error::Corrupt { path, offset, .. } => (path.clone(), *offset),
            // Of a checkpoint or the manifest; what cannot be read of an sstable is corrupt.
            Error::Io { path, .. } => (path.clone(), u64::MAX),
            _ => return false,
        };
        let mut known = self.known.lock();
        let is_news = known.places.len() < PLACES_MAX && known.places.insert(place);
        if is_news && known.news.len() < NEWS_MAX {
            known.news.push(error.clone());
        }
        is_news
    }

    /// Notes what a read came upon.
    pub(super) fn note_read(&self, error: &Error) {
        if matches!(error, Error::Corrupt { .. }) {
            self.reads_refused.fetch_add(1, Ordering::Relaxed);
            self.note(error);
        }
    }

    /// How many damaged places are known of files of which `is_live` holds, and how many reads
    /// came upon one.
    pub(super) fn counts(&self, is_live: impl Fn(&str) -> bool) -> (u64, u64) {
        let known = self.known.lock();
        let live = known.places.iter().filter(|(path, _)| is_live(path)).count();
        (live as u64, self.reads_refused.load(Ordering::Relaxed))
    }
}

impl Engine {
    /// What was found damaged since the last call, each place once: file, offset and kind.
    #[must_use]
    pub fn take_faults(&self) -> Vec<Error> {
        std::mem::take(&mut self.faults.known.lock().news)
    }

    /// Notes which sstables could not be opened.
    pub(super) fn quarantine_damaged(&self, report: &OpenReport) {
        let live: Vec<u64> = self.tables.read().metas().iter().map(|meta| meta.id).collect();
        for (_, error) in &report.sstables_damaged {
            self.quarantine(error, live.iter().copied());
        }
    }

    /// Notes damage in one of these sstables: it is not compacted from now on.
    pub(super) fn quarantine(&self, error: &Error, ids: impl IntoIterator<Item = u64>) {
        let Error::Corrupt { path, .. } = error else { return };
        self.faults.note(error);
        if let Some(id) = ids.into_iter().find(|id| manifest::sstable_path(*id) == *path) {
            self.claims.lock().suspects(id, error.clone());
        }
    }
}
