//! What deciders see of an sstable, and what they say: plain data.

use crate::manifest::{SstableMeta, Stage};
use model::Token;
use std::fmt;

/// What is kept apart: sstables of two lots are never merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lot {
    /// The first day of the window.
    pub first_day: i32,
    /// How many days it has; 0 for the window of all before the year 2000.
    pub days: u32,
    /// The retention class.
    pub class: u32,
}

/// What a decider knows of a live sstable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub id: u64,
    /// Its retention class and window.
    pub lot: Lot,
    /// Its size.
    pub bytes: u64,
    /// The lowest token of its partitions.
    pub token_first: u64,
    /// The highest one; not below `token_first`.
    pub token_last: u64,
    /// How many partitions are in it.
    pub partitions: u64,
    /// Its first sample's moment, in milliseconds.
    pub min_ms: i64,
    /// Its last sample's moment, in milliseconds.
    pub max_ms: i64,
    /// When it was written, in milliseconds since 1970.
    pub created_ms: i64,
    /// How it came to be.
    pub stage: Stage,
    /// Whether a job has it, or it is set aside: then no decision names it.
    pub is_compacting: bool,
}

impl Lot {
    /// Where an sstable belongs.
    #[must_use]
    pub fn of(meta: &SstableMeta) -> Self {
        let SstableMeta { window_first_day, window_days, retention_class, .. } = *meta;
        Self { first_day: window_first_day, days: window_days, class: retention_class }
    }
}

impl fmt::Display for Lot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.days {
            0 => write!(f, "before 2000")?,
            days => write!(f, "{days} d from day {}", self.first_day)?,
        }
        write!(f, ", class {}", self.class)
    }
}

impl Candidate {
    /// What the manifest says.
    #[must_use]
    pub fn of(meta: &SstableMeta, is_compacting: bool) -> Self {
        Self {
            id: meta.id,
            lot: Lot::of(meta),
            bytes: meta.file_bytes,
            token_first: meta.token_first,
            token_last: meta.token_last.max(meta.token_first),
            partitions: meta.partitions,
            min_ms: meta.min_timestamp_ms,
            max_ms: meta.max_timestamp_ms,
            created_ms: meta.created_ms,
            stage: meta.stage,
            is_compacting,
        }
    }
}

/// How much work the chunks of an output are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As a flush writes them.
    Fast,
    /// As small as is worth the time.
    Dense,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Open,
        Self::Seal,
        Self::Delta,
        Self::Reseal,
        Self::Requested,
        Self::Expired,
        Self::Purge,
        Self::Retention,
    ];
}

/// Why it is done; a label of metrics and log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Too many sstables overlap in an open window.
    Open,
    /// A window has closed.
    Seal,
    /// Too many late sstables overlap in a sealed window.
    Delta,
    /// A sealed window has got so much late data that it is sealed again.
    Reseal,
    /// Somebody asked for it.
    Requested,
    /// All in it has outlived its retention.
    Expired,
    /// A tombstone hides part of it.
    Purge,
    /// A changed retention hides or moves part of it.
    Retention,
}

impl Reason {
    /// The reason as metrics and log lines say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Seal => "seal",
            Self::Delta => "delta",
            Self::Reseal => "reseal",
            Self::Requested => "requested",
            Self::Expired => "expired",
            Self::Purge => "purge",
            Self::Retention => "retention",
        }
    }
}

/// One compaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The sstables of one lot that are replaced, oldest first by their last sample.
    pub inputs: Vec<u64>,
    /// The first token of each output but the first, strictly ascending.
    pub boundaries: Vec<Token>,
    /// How the outputs' chunks are written.
    pub encoding: Encoding,
    /// What the outputs are called.
    pub stage: Stage,
    /// Why.
    pub reason: Reason,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is worth its I/O.
    Rest,
    /// Write these sstables of one lot anew.
    Compact(Plan),
    /// Unlink these sstables of one lot unread.
    Drop {
        /// Which.
        ids: Vec<u64>,
        /// Why.
        reason: Reason,
    },
}
