//! In which order a flush becomes part of the answers.
//!
//! # Invariants
//! - A step begins when the one before has been acknowledged by a quorum: no manifest row names a
//!   piece that may be missing, and no progress skips a journal row that no manifest covers.
//! - A step whose outcome is unknown is done again: its rows have keys and timestamps of their own, so
//!   writing them twice is writing them once.
//!
//! A process whose lease has lapsed may go on: each row says what is true whoever owns the place.

/// One step of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the segments' pieces and the timestamp columns that they refer to.
    Pieces,
    /// Enter the metrics in the directory.
    Directory,
    /// Name the segments: from here on readers see them.
    Manifest,
    /// Say up to which row the journal is covered.
    Progress,
}

/// How far one flush has come.
#[derive(Debug, Default)]
pub struct Publication {
    done: usize,
}

impl Publication {
    const ORDER: [Step; 4] = [Step::Pieces, Step::Directory, Step::Manifest, Step::Progress];

    /// The step to do, again if need be; none when the flush is done.
    #[must_use]
    pub fn next(&self) -> Option<Step> {
        Self::ORDER.get(self.done).copied()
    }

    /// All rows of a step were acknowledged.
    pub fn acknowledged(&mut self, step: Step) {
        if self.next() == Some(step) {
            self.done += 1;
        }
    }
}
