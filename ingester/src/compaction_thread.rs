//! The thread that compacts: one compaction at a time, beside flushes, at its pace.
//!
//! Whoever asks for the dense form of everything waits behind the compaction that runs; that one
//! and those that were asked for do not keep to the budget.
//!
//! # Invariants
//! - A job that failed is reported and holds up no other: its files rest for a while, and the next
//!   kind of work has its turn before the thread looks again.
//! - Everybody who asks is answered. It stops between two pieces of work.
//!
//! Not here: what is worth compacting, and how (`store`); how fast (`pace.rs`).

use crate::background;
use crate::error::Error;
use crate::pace::Pace;
use crate::scrub_pace::ScrubPace;
use crate::telemetry::Telemetry;
use model::Clock;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use store::Engine;
use store::compaction::decision::{Lot, Reason};
use store::engine::{Compaction, CompactionReport};
use tokio::sync::oneshot;

/// So many may ask at once.
const ASKS_MAX: usize = 16;

/// What came of bringing everything into its dense form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// How many windows were not in it.
    pub windows: usize,
    /// Bytes of the new sstables.
    pub written_bytes: u64,
}

type Ask = oneshot::Sender<Result<Sealed, store::Error>>;

#[derive(Debug)]
enum Message {
    Seal(Ask),
    Stop,
}

/// A handle on the thread.
#[derive(Clone, Debug)]
pub(crate) struct CompactionQueue {
    inbox: SyncSender<Message>,
}

impl CompactionQueue {
    /// Brings every window that holds data into its dense form. The answer comes when it is on
    /// disk.
    ///
    /// # Errors
    /// If too many ask.
    pub(crate) fn seal(
        &self,
    ) -> Result<oneshot::Receiver<Result<Sealed, store::Error>>, &'static str> {
        let (ask, answer) = oneshot::channel();
        let sent = self.inbox.try_send(Message::Seal(ask));
        sent.map_err(|_| "too many wait for compaction, or it has stopped")?;
        Ok(answer)
    }

    /// Asks the thread to end. Blocks while its queue is full.
    pub(crate) fn stop(&self) {
        // A thread that has ended needs no stopping.
        drop(self.inbox.send(Message::Stop));
    }
}

/// What came of a look for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Something was done, and there may be more.
    Done,
    /// Nothing is due, or what is failed.
    Rest,
}

/// Starts the thread.
pub(crate) fn start(
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    poll: Duration,
    bytes_per_second: u64,
    scrub: ScrubPace,
) -> Result<(CompactionQueue, JoinHandle<()>), Error> {
    let (inbox, messages) = sync_channel(ASKS_MAX);
    let thread = Compactor {
        engine,
        clock,
        telemetry,
        messages,
        bytes_per_second,
        scrub,
        asks: Vec::new(),
        stopped: false,
    };
    let handle = background::spawn("cumae-compaction", move || thread.run(poll))?;
    Ok((CompactionQueue { inbox }, handle))
}

struct Compactor {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    messages: Receiver<Message>,
    bytes_per_second: u64,
    scrub: ScrubPace,
    /// Who waits for the dense form; bounded by the queue's length for each round.
    asks: Vec<Ask>,
    stopped: bool,
}

impl Compactor {
    fn run(mut self, poll: Duration) {
        let mut pause = poll;
        loop {
            self.listen(pause);
            if self.stopped {
                break;
            }
            if !self.asks.is_empty() {
                self.answer();
                continue;
            }
            pause = match self.next() {
                Step::Done => Duration::ZERO,
                Step::Rest => {
                    self.scrub();
                    poll
                }
            };
        }
        for ask in self.asks {
            drop(ask.send(Err(store::Error::Stopped)));
        }
    }

    /// Takes messages in for so long at most.
    fn listen(&mut self, wait: Duration) {
        let mut received = match self.messages.recv_timeout(wait) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
        };
        while let Some(message) = received {
            match message {
                Message::Stop => self.stopped = true,
                Message::Seal(ask) if self.asks.len() < ASKS_MAX => self.asks.push(ask),
                Message::Seal(ask) => drop(ask.send(Err(store::Error::Busy))),
            }
            received = self.messages.try_recv().ok();
        }
    }

    /// Does what is due, if anything is. What fails leaves the turn to the next kind of work.
    fn next(&mut self) -> Step {
        // What readers held until now.
        if let Err(error) = self.engine.remove_retired() {
            tracing::warn!(%error, "files that are no longer live cannot be unlinked yet");
        }
        let unsealed = self.engine.windows_to_seal().len();
        self.telemetry.compaction.unsealed.set(i64::try_from(unsealed).unwrap_or(i64::MAX));
        let chance = self.clock.monotonic_ns();
        let pass = self.engine.next_pass(self.clock.now()).unwrap_or_else(|error| {
            tracing::error!(%error, "files cannot be brought to the rules of retention yet");
            None
        });
        if pass.is_some_and(|due| self.compact(&due).is_ok()) {
            return Step::Done;
        }
        if self.stopped {
            return Step::Rest;
        }
        let due = self.engine.next_compaction(self.clock.now(), chance);
        if due.is_some_and(|due| self.compact(&due).is_ok()) {
            return Step::Done;
        }
        if self.stopped { Step::Rest } else { self.purge() }
    }

    /// Reads on in the live files, as far as the time since the last step allows.
    fn scrub(&mut self) {
        let live_bytes = self.engine.stats().sstable_bytes;
        let budget = self.scrub.budget(self.clock.monotonic_ns(), live_bytes);
        if budget == 0 {
            return;
        }
        let report = self.engine.scrub_step(budget, self.clock.now());
        if report.is_complete {
            tracing::info!("scrub: all live files have been read once");
        }
    }

    /// Frees a file of what is deleted, if there is one.
    fn purge(&mut self) -> Step {
        let (engine, clock) = (Arc::clone(&self.engine), Arc::clone(&self.clock));
        let mut pace = Pace::new(self.bytes_per_second, clock.monotonic_ns());
        let outcome = engine.purge(clock.now(), &mut |bytes| {
            pace.work(bytes);
            self.wait(&mut pace, false)
        });
        match outcome {
            Ok(None) | Err(store::Error::Stopped) => Step::Rest,
            Ok(Some(report)) => {
                self.telemetry.purged_samples.inc_by(report.samples_purged);
                tracing::info!(
                    sstable = report.sstable,
                    samples = report.samples_purged,
                    bytes_before = report.bytes_before,
                    bytes_after = report.bytes_after,
                    "purged what is deleted"
                );
                Step::Done
            }
            Err(error) => {
                self.telemetry.compaction.failed();
                tracing::error!(%error, "purge failed, what is deleted stays on disk for now");
                Step::Rest
            }
        }
    }

    /// Brings everything into its dense form, for all that asked until now.
    fn answer(&mut self) {
        let asks = std::mem::take(&mut self.asks);
        let outcome = self.seal();
        for ask in asks {
            // Whoever asked may have gone.
            drop(ask.send(outcome.clone()));
        }
    }

    /// A window that cannot be sealed holds up no other: the first error is told when all had
    /// their turn.
    fn seal(&mut self) -> Result<Sealed, store::Error> {
        let mut sealed = Sealed::default();
        let mut first = self.pass_all().err();
        for window in self.engine.windows_to_seal() {
            match self.seal_window(window) {
                Ok(None) => {}
                Ok(Some(report)) => {
                    sealed.written_bytes += report.written_bytes;
                    sealed.windows += 1;
                }
                Err(store::Error::Stopped) => return Err(store::Error::Stopped),
                Err(error) => {
                    tracing::error!(%window, %error, "a window cannot be sealed, others go on");
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(sealed), Err)
    }

    fn seal_window(&mut self, window: Lot) -> Result<Option<CompactionReport>, store::Error> {
        self.engine.seal(window)?.map(|compaction| self.compact(&compaction)).transpose()
    }

    /// Brings what other rules of retention wrote to those in force. As with sealing: a file that
    /// cannot be written anew holds up no other.
    fn pass_all(&mut self) -> Result<(), store::Error> {
        let mut tried = BTreeSet::new();
        let mut first = None;
        while let Some(pass) = self.engine.next_pass_but(self.clock.now(), &tried)? {
            match self.compact(&pass) {
                Ok(_) => {}
                Err(store::Error::Stopped) => return Err(store::Error::Stopped),
                Err(error) => {
                    tried.extend(pass.inputs());
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn compact(&mut self, compaction: &Compaction) -> Result<CompactionReport, store::Error> {
        let reason = compaction.reason().as_str();
        let window = compaction.lot().to_string();
        self.telemetry.compaction.running.set(1);
        let (engine, clock) = (Arc::clone(&self.engine), Arc::clone(&self.clock));
        let begin = clock.monotonic_ns();
        let mut pace = Pace::new(self.bytes_per_second, begin);
        let hurries = !self.asks.is_empty() || compaction.reason() == Reason::Requested;
        let outcome = engine.compact(compaction, clock.now(), &mut |bytes| {
            pace.work(bytes);
            self.wait(&mut pace, hurries)
        });
        self.telemetry.compaction.running.set(0);
        let ns = clock.monotonic_ns().saturating_sub(begin);
        match &outcome {
            Ok(report) => {
                self.telemetry.compaction.done(report, ns);
                tracing::info!(
                    reason,
                    window,
                    inputs = ?report.inputs,
                    outputs = ?report.outputs,
                    read_bytes = report.read_bytes,
                    written_bytes = report.written_bytes,
                    samples = report.samples_out,
                    milliseconds = ns / 1_000_000,
                    "compacted"
                );
            }
            Err(store::Error::Stopped) => {}
            Err(error) => {
                self.telemetry.compaction.failed();
                let inputs = compaction.inputs();
                tracing::error!(reason, window, ?inputs, %error, "compaction failed, files are as before");
            }
        }
        outcome
    }

    /// Keeps the pace; `false` when it is to stop.
    fn wait(&mut self, pace: &mut Pace, hurries: bool) -> bool {
        loop {
            let log_bytes = self.engine.log_pending_bytes();
            let wait = pace.wait(self.clock.monotonic_ns(), log_bytes);
            let in_hurry = hurries || !self.asks.is_empty();
            self.listen(wait.filter(|_| !in_hurry).unwrap_or(Duration::ZERO));
            if self.stopped {
                return false;
            }
            if wait.is_none() || in_hurry {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
