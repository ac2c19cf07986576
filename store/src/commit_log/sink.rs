//! The log sink: what an engine asks of a log, so that files of one node and rows that outlive the
//! process are one. Submit: [`LogSink::append`]. Ticket: the sequence number that it returns.
//! Completion: a [`LogSink::sync`] that returns this number or a higher one. Many are in flight.
//!
//! A sink is cut into *segments* by numbers that only rise. [`LogSink::roll`] begins the next one; a
//! replay begins with one; what is before it may go.
//!
//! Not here: how a log is opened and replayed ([`crate::engine::Backend::open_log`]).

use super::{CommitLog, SyncFailed};
use crate::error::Result;
use std::fmt::Debug;

/// A log that is open for writing. Appends and a sync go on at the same time.
pub trait LogSink: Debug + Send + Sync {
    /// Puts a record in line and returns its sequence number.
    ///
    /// # Errors
    /// [`crate::Error::LogFull`], [`crate::Error::RecordTooLarge`]; then nothing is in line.
    fn append(&self, payload: &[u8]) -> Result<u64>;

    /// Puts an empty record in line that says how far the log is durable; `None` if nothing came
    /// since the last one.
    fn mark(&self) -> Option<u64>;

    /// As [`LogSink::mark`], also if nothing came since.
    fn mark_anew(&self);

    /// Returns when everything in line is durable: the highest sequence number that is.
    ///
    /// # Errors
    /// [`SyncFailed`]: those up to its `through` are refused. They may turn up in a replay.
    fn sync(&self) -> Result<u64, SyncFailed>;

    /// As [`LogSink::sync`], also where there is no room for writers.
    ///
    /// # Errors
    /// [`SyncFailed`].
    fn sync_into_reserve(&self) -> Result<u64, SyncFailed>;

    /// Ends the segment: every later record goes to the one whose number is returned, or behind it.
    fn roll(&self) -> u64;

    /// How many segments up to number `last` there are.
    ///
    /// # Errors
    /// What the disk says.
    fn segments_through(&self, last: u64) -> Result<u64>;

    /// Lets go of the segments up to number `last`; the newest may stay.
    ///
    /// # Errors
    /// What the disk says; then some may be gone.
    fn remove_through(&self, last: u64) -> Result<()>;

    /// The highest sequence number that is durable.
    fn synced_sequence(&self) -> u64;

    /// The bytes that became durable since the log was opened.
    fn written_bytes(&self) -> u64;

    /// The bytes that are not durable yet.
    fn pending_bytes(&self) -> usize;
}

impl LogSink for CommitLog {
    fn append(&self, payload: &[u8]) -> Result<u64> {
        CommitLog::append(self, payload)
    }
    fn mark(&self) -> Option<u64> {
        CommitLog::mark(self)
    }
    fn mark_anew(&self) {
        CommitLog::mark_anew(self);
    }
    fn sync(&self) -> Result<u64, SyncFailed> {
        CommitLog::sync(self)
    }
    fn sync_into_reserve(&self) -> Result<u64, SyncFailed> {
        CommitLog::sync_into_reserve(self)
    }
    fn roll(&self) -> u64 {
        CommitLog::roll(self)
    }
    fn segments_through(&self, last: u64) -> Result<u64> {
        Ok(self.segments()?.into_iter().filter(|number| *number <= last).count() as u64)
    }
    fn remove_through(&self, last: u64) -> Result<()> {
        CommitLog::remove_through(self, last)
    }
    fn synced_sequence(&self) -> u64 {
        CommitLog::synced_sequence(self)
    }
    fn written_bytes(&self) -> u64 {
        CommitLog::written_bytes(self)
    }
    fn pending_bytes(&self) -> usize {
        CommitLog::pending_bytes(self)
    }
}
