//! The ledger: what was sent and what came of it, a line each.
//!
//! ```text
//! run RUN BATCHES SERIES METRICS      once: how many batches, series in a batch, and metrics
//! try BATCH TIME                      about to be sent for the first time
//! ok  BATCH TIME AT TOOK STATUS       acknowledged
//! no  BATCH TIME AT TOOK STATUS       not acknowledged by this attempt: the outcome is not known
//! ```
//! `TIME` is the samples', in milliseconds since 1970; an attempt ended `AT`, by the clock of who sent it, and
//! took `TOOK` milliseconds; `STATUS` 0 is no answer.

use super::Error;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// A run of a writer: who it is, and what its series are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) run: u64,
    pub(super) batches: u32,
    pub(super) batch_series: u32,
    pub(super) metrics: u32,
}

impl Run {
    /// The series of a batch.
    pub(super) fn series_of(&self, batch: u32) -> std::ops::Range<u32> {
        let first = batch.saturating_mul(self.batch_series);
        first..first.saturating_add(self.batch_series)
    }
}

/// A ledger that is written. Threads may share it: each line is one write.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    file: File,
}

impl Writer {
    /// A new file.
    pub(super) fn create(path: &Path, run: Run) -> Result<Self, Error> {
        let failed = |source| Error::Ledger { path: path.to_owned(), source };
        let file = File::options().append(true).create_new(true).open(path).map_err(failed)?;
        let own = Self { path: path.to_owned(), file };
        let Run { run, batches, batch_series, metrics } = run;
        own.line(&format!("run {run} {batches} {batch_series} {metrics}\n"))?;
        Ok(own)
    }

    /// A line, with its end.
    pub(super) fn line(&self, line: &str) -> Result<(), Error> {
        let written = (&self.file).write_all(line.as_bytes());
        written.map_err(|source| Error::Ledger { path: self.path.clone(), source })
    }
}

/// What has come of a time of a batch so far. What is worse to lose is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// An attempt failed: it may be there, or not, or not any more.
    Doubtful,
    /// It is on its way for the first time.
    Sent,
    /// It has to be there from now on.
    Acknowledged,
    /// The same, by an attempt that came after one that had failed.
    AcknowledgedLate,
}

impl Outcome {
    /// Whether it has to be there.
    pub(super) fn is_promised(self) -> bool {
        matches!(self, Self::Acknowledged | Self::AcknowledgedLate)
    }

    /// Whether an attempt failed, so that what one process had seen of it another one may not have.
    pub(super) fn has_failed(self) -> bool {
        matches!(self, Self::Doubtful | Self::AcknowledgedLate)
    }

    /// After one more line.
    fn and(self, line: Self) -> Self {
        let is_promised = self.is_promised() || line.is_promised();
        match (is_promised, self.has_failed() || line.has_failed()) {
            (true, true) => Self::AcknowledgedLate,
            (true, false) => Self::Acknowledged,
            (false, true) => Self::Doubtful,
            (false, false) => Self::Sent,
        }
    }
}

/// What a ledger says: of each batch the times that were sent, and what came of them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ledger {
    pub(super) run: Run,
    pub(super) batches: BTreeMap<u32, BTreeMap<i64, Outcome>>,
}

impl Ledger {
    /// All of it.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let mut tail = Tail::open(path)?;
        tail.follow()?;
        Ok(tail.ledger)
    }

    /// Takes a line; `None` if it is none of ours.
    pub(super) fn add(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let (kind, first, second) = (words.next()?, words.next()?, words.next()?);
        let outcome = match kind {
            "run" => {
                let (run, batches) = (first.parse().ok()?, second.parse().ok()?);
                let (batch_series, metrics) = (words.next()?, words.next()?);
                let (batch_series, metrics) = (batch_series.parse().ok()?, metrics.parse().ok()?);
                self.run = Run { run, batches, batch_series, metrics };
                return Some(());
            }
            "try" => Outcome::Sent,
            "no" => Outcome::Doubtful,
            "ok" => Outcome::Acknowledged,
            _ => return None,
        };
        let times = self.batches.entry(first.parse().ok()?).or_default();
        let before = times.entry(second.parse().ok()?).or_insert(outcome);
        *before = before.and(outcome);
        Some(())
    }
}

/// A ledger that is read while it is written.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    file: File,
    lines: usize,
    // A line that has no end yet.
    cut: String,
    pub(super) ledger: Ledger,
}

impl Tail {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Ledger { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let (path, ledger) = (path.to_owned(), Ledger::default());
        Ok(Self { path, file, lines: 0, cut: String::new(), ledger })
    }

    /// Takes what has been written since.
    pub(super) fn follow(&mut self) -> Result<(), Error> {
        let read = self.file.read_to_string(&mut self.cut);
        read.map_err(|source| Error::Ledger { path: self.path.clone(), source })?;
        // The last line of a writer that was killed may be cut: what it says did not happen.
        let whole = self.cut.rfind('\n').map_or(0, |end| end + 1);
        for line in self.cut.get(..whole).unwrap_or_default().lines() {
            self.lines += 1;
            let bad = || Error::BadLine { path: self.path.clone(), line: self.lines };
            self.ledger.add(line).ok_or_else(bad)?;
        }
        self.cut.drain(..whole);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_is_no_line() {
        for line in ["", "ok", "ok 1", "maybe 1 2", "ok x 2", "run", "run 1 2", "run 1 2 3"] {
            assert_eq!(Ledger::default().add(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_the_end_of_a_line_is_waited_for() {
        let path = std::env::temp_dir().join(format!("cumae-ledger-{}", std::process::id()));
        let run = Run { run: 7, batches: 2, batch_series: 100, metrics: 3 };
        let writer = Writer::create(&path, run).unwrap();
        let mut tail = Tail::open(&path).unwrap();
        writer.line("try 1 10\nok 1 10 12 2 204\ntry 1 2").unwrap();
        tail.follow().unwrap();
        assert_eq!((tail.ledger.run, tail.ledger.batches[&1].len()), (run, 1));
        writer.line("0\nno 1 20 23 3 503\n").unwrap();
        tail.follow().unwrap();
        assert_eq!(
            tail.ledger.batches[&1],
            BTreeMap::from([(10, Outcome::Acknowledged), (20, Outcome::Doubtful)])
        );
        assert_eq!(Ledger::read(&path).unwrap(), tail.ledger);
        assert!(Writer::create(&path, run).is_err(), "a ledger is never written over");
        std::fs::remove_file(&path).unwrap();
    }
}
