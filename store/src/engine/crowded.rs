//! Windows in which too many sstables overlap: compaction does not keep up, and reads of these days
//! open more and more files.
//!
//! Not here: what is merged when (`compaction`).

use super::Engine;
use crate::compaction::decision::Lot;
use crate::compaction::overlap;
use std::collections::BTreeMap;

/// So many times the threshold of a merge may overlap before it is an alarm.
const ALARM_FACTOR: u64 = 3;

/// A window in which more sstables overlap than compaction should ever leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrowdedWindow {
    /// The window, of one class of retention.
    pub window: Lot,
    /// How many sstables overlap.
    pub overlap: u64,
    /// Above how many it is told.
    pub bound: u64,
}

impl Engine {
    /// How many sstables of one window overlap at most.
    pub(super) fn overlap_max(&self) -> u64 {
        self.overlaps().into_values().max().unwrap_or(0)
    }

    /// The windows in which more than three times as many sstables overlap as make a merge due.
    #[must_use]
    pub fn crowded_windows(&self) -> Vec<CrowdedWindow> {
        let bound = ALARM_FACTOR * u64::from(self.config.compaction.scaling().threshold(0));
        let windows = self.overlaps().into_iter().filter(|(_, overlap)| *overlap > bound);
        windows.map(|(window, overlap)| CrowdedWindow { window, overlap, bound }).collect()
    }

    fn overlaps(&self) -> BTreeMap<Lot, u64> {
        let mut spans: BTreeMap<Lot, Vec<(u64, u64)>> = BTreeMap::new();
        for meta in self.tables.read().metas() {
            spans.entry(Lot::of(&meta)).or_default().push((meta.token_first, meta.token_last));
        }
        let most = |(window, spans): (_, Vec<_>)| (window, overlap::max_overlap(&spans) as u64);
        spans.into_iter().map(most).collect()
    }
}
