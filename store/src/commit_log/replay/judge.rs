//! Judges what replay found: which bad bytes are damage, and what nothing says is on disk.
//!
//! Plain functions of what was found; no I/O in here.

use super::{Damage, Hole, Replay, Segment, Unsure};
use crate::commit_log::frame::{Previous, SEGMENT_HEADER_BYTES};
use crate::commit_log::segment_name;
use crate::disk::join;

/// More numbers than a group can have lost in a power cut; a forged log may name any.
const LOST_MAX: usize = 1 << 20;

/// The newest segment whose header is on disk, and how much of it is at least. Records are only
/// written behind a header that was synced, so a segment without any does not count.
pub(super) fn newest(segments: &[Segment], from_segment: u64, unsure: &[Unsure]) -> Previous {
    let is_sure = |segment: &&Segment| match segment.header {
        Some(_) if segment.number < from_segment => true,
        Some(_) => segment.good_bytes > SEGMENT_HEADER_BYTES as u64,
        None => false,
    };
    let Some(segment) = segments.iter().rev().find(is_sure) else {
        return Previous::default();
    };
    let places = unsure.iter().flat_map(|unsure| &unsure.places);
    let first_unsure = places.filter(|place| place.segment == segment.number);
    let bytes = first_unsure.map(|place| place.offset).min().unwrap_or(segment.good_bytes);
    Previous { number: segment.number, first_sequence: 0, bytes }
}

impl Replay<'_> {
    /// The starts with records that nothing in the log says were on disk. Only idle marks among
    /// them are not worth a thing.
    pub(super) fn unsure(&mut self) -> Vec<Unsure> {
        let mut all = Vec::new();
        for (start, state) in &mut self.starts {
            let mut places = std::mem::take(&mut state.unsure);
            places.sort_unstable_by_key(|place| place.sequence);
            let Some(last) = places.last().filter(|_| places.iter().any(|p| !p.is_empty)) else {
                continue;
            };
            let gaps = state.good.missing(state.synced.saturating_add(1), last.sequence);
            let lost = gaps.into_iter().flat_map(|(first, last)| first..=last);
            let lost = lost.take(LOST_MAX).collect();
            all.push(Unsure { start: *start, places, lost });
        }
        all
    }

    /// A hole at the end of a segment reaches to the first record of the next one of its start:
    /// what was written again there is no longer missing here.
    pub(super) fn close_holes(&mut self, segments: &[Segment]) {
        for hole in self.holes.iter_mut().filter(|hole| hole.before == u64::MAX) {
            let next = segments.iter().find(|segment| segment.number > hole.segment);
            if let Some(header) = next.and_then(|next| next.header)
                && hole.start.is_none_or(|start| start == header.start)
            {
                hole.before = header.first_sequence;
            }
        }
    }

    /// Each segment tells of the one before it: one that is gone, cut, or has lost its header is
    /// found out even if no record of its start is left.
    pub(super) fn check_previous(&mut self, from_segment: u64, segments: &[Segment]) {
        for header in segments.iter().filter_map(|segment| segment.header) {
            let previous = header.previous;
            if previous.number < from_segment {
                continue;
            }
            if previous.first_sequence > 0 {
                self.start(header.start).reaches_down_to(previous.first_sequence);
            }
            let found = segments.iter().find(|segment| segment.number == previous.number);
            let (offset, bytes) = match found {
                None => (0, previous.bytes),
                Some(segment) if segment.header.is_none() => (0, SEGMENT_HEADER_BYTES as u64),
                Some(segment) if segment.file_bytes < previous.bytes => {
                    (segment.file_bytes, previous.bytes - segment.file_bytes)
                }
                Some(_) => continue,
            };
            let path = join(self.directory, &segment_name(previous.number));
            self.report.damage.push(Damage { path, offset, bytes, sequences: None });
        }
    }

    /// Tells damage from torn tails.
    pub(super) fn judge(&mut self) {
        let mut is_damage = vec![false; self.holes.len()];
        for (start, state) in &self.starts {
            let Some(low) = state.lowest.into_iter().chain(state.good.first()).min() else {
                continue;
            };
            for (first, last) in state.good.missing(low, state.synced) {
                // The place is known if the hole lies between the neighbours of what is missing.
                let mut places = 0;
                for (hole, is_damage) in self.holes.iter().zip(&mut is_damage) {
                    let is_own = hole.start.is_none_or(|of| of == *start);
                    if is_own && hole.after < last && hole.before > first {
                        places += 1;
                        *is_damage = true;
                        self.report.damage.push(hole.report(self.directory, Some((first, last))));
                    }
                }
                if places == 0 {
                    self.report.damage.push(gone(self.directory, (first, last)));
                }
            }
        }
        for (hole, is_damage) in self.holes.iter().zip(is_damage) {
            if !is_damage && !hole.is_room {
                self.report.torn.push(hole.report(self.directory, None));
            }
        }
    }
}

impl Hole {
    fn report(&self, directory: &str, sequences: Option<(u64, u64)>) -> Damage {
        Damage {
            path: join(directory, &segment_name(self.segment)),
            offset: self.offset,
            bytes: self.bytes,
            sequences,
        }
    }
}

fn gone(directory: &str, sequences: (u64, u64)) -> Damage {
    Damage { path: directory.to_owned(), offset: 0, bytes: 0, sequences: Some(sequences) }
}
