//! The thread that syncs the commit log for everybody who waits.
//!
//! One fdatasync for all that wait; the next begins when the last has returned. A writer that finds
//! the thread idle is served at once: nothing waits for company.
//!
//! # Invariants
//! - The queue has a bound. A thread that ended, or a full queue, is a refusal, never an answer.
//! - When it stops, everybody who waits has been answered.
//!
//! Not here: who may be answered (`group.rs`), what a sync does (`store::commit_log`).

use crate::background;
use crate::error::Error;
use crate::group::Group;
use crate::telemetry::Telemetry;
use model::Clock;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// What the thread needs of a store.
pub(crate) trait Log: Send + Sync + 'static {
    /// Brings what was appended to the disk; the highest ticket there, or who is refused and why.
    fn sync(&self) -> Result<u64, store::commit_log::SyncFailed>;
    /// The same, with a mark that nothing came after it.
    fn idle_sync(&self) -> Result<u64, store::commit_log::SyncFailed>;
    /// The highest ticket on disk.
    fn synced_ticket(&self) -> u64;
}

impl Log for store::Engine {
    fn sync(&self) -> Result<u64, store::commit_log::SyncFailed> {
        store::Engine::sync(self)
    }
    fn idle_sync(&self) -> Result<u64, store::commit_log::SyncFailed> {
        store::Engine::idle_sync(self)
    }
    fn synced_ticket(&self) -> u64 {
        store::Engine::synced_ticket(self)
    }
}

#[derive(Debug)]
enum Message {
    Wait { ticket: u64, done: oneshot::Sender<Result<(), String>> },
    Stop,
}

/// A handle on the thread.
#[derive(Clone, Debug)]
pub(crate) struct LogQueue {
    inbox: SyncSender<Message>,
}

impl LogQueue {
    /// Waits until the ticket is on disk.
    ///
    /// # Errors
    /// Why it is not known to be.
    pub(crate) async fn durable(&self, ticket: u64) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let sent = self.inbox.try_send(Message::Wait { ticket, done });
        sent.map_err(|_| "the commit log takes no more writers".to_owned())?;
        answer.await.unwrap_or_else(|_| Err("the commit log has stopped".to_owned()))
    }

    /// Asks the thread to answer whoever waits and to end. Blocks while its queue is full.
    pub(crate) fn stop(&self) {
        // A thread that has ended needs no stopping.
        drop(self.inbox.send(Message::Stop));
    }
}

/// Starts the thread. `queue_len` bounds the writers that wait.
pub(crate) fn start(
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    queue_len: usize,
    idle: Duration,
) -> Result<(LogQueue, JoinHandle<()>), Error> {
    let (inbox, messages) = sync_channel(queue_len);
    let thread = LogThread { log, clock, telemetry, messages, idle };
    let handle = background::spawn("cumae-log", move || thread.run())?;
    Ok((LogQueue { inbox }, handle))
}

struct LogThread {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    messages: Receiver<Message>,
    idle: Duration,
}

type Writers = Group<oneshot::Sender<Result<(), String>>>;

impl LogThread {
    fn run(self) {
        let mut writers = Writers::new(self.log.synced_ticket());
        let mut is_stopping = false;
        while !is_stopping {
            match self.messages.recv_timeout(self.idle) {
                Ok(message) => is_stopping = take_in(message, &mut writers),
                Err(RecvTimeoutError::Timeout) => self.mark_idle(&mut writers),
                Err(RecvTimeoutError::Disconnected) => is_stopping = true,
            }
            while !writers.is_empty() {
                // All that came while the last sync ran go with this one.
                while let Ok(message) = self.messages.try_recv() {
                    is_stopping |= take_in(message, &mut writers);
                }
                self.sync(&mut writers);
            }
        }
    }

    fn mark_idle(&self, writers: &mut Writers) {
        match self.log.idle_sync() {
            Ok(ticket) => writers.synced(ticket),
            Err(failed) => {
                tracing::error!("failed to sync the commit log: {failed}");
                self.telemetry.sync_failures.inc();
                writers.failed(failed.through);
            }
        }
    }

    fn sync(&self, writers: &mut Writers) {
        let begin = self.clock.monotonic_ns();
        let outcome = self.log.sync();
        self.telemetry.synced(self.clock.monotonic_ns().saturating_sub(begin));
        let why = match outcome {
            Ok(ticket) => {
                writers.synced(ticket);
                "its group was refused by the disk".to_owned()
            }
            Err(failed) => {
                tracing::error!("failed to sync the commit log: {failed}");
                self.telemetry.sync_failures.inc();
                writers.failed(failed.through);
                failed.error.to_string()
            }
        };
        let settled = writers.settle();
        let is_stuck = settled.is_empty();
        for (done, is_durable) in settled {
            // The writer may have left.
            drop(done.send(if is_durable { Ok(()) } else { Err(why.clone()) }));
        }
        if is_stuck {
            // Every ticket was appended before its writer came, so a sync settles some; if it does
            // not, the log is broken, and waiting on would never end.
            for done in writers.refuse_all() {
                drop(done.send(Err("the commit log does not reach this record".to_owned())));
            }
        }
    }
}

/// Whether the thread has to stop.
fn take_in(message: Message, writers: &mut Writers) -> bool {
    match message {
        Message::Wait { ticket, done } => {
            writers.add(ticket, done);
            false
        }
        Message::Stop => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::TimestampMs;
    use parking_lot::{Condvar, Mutex};
    use store::commit_log::SyncFailed;

    #[derive(Debug)]
    struct NoClock;
    impl Clock for NoClock {
        fn now(&self) -> TimestampMs {
            TimestampMs(0)
        }
        fn monotonic_ns(&self) -> u64 {
            0
        }
    }

    /// A log whose syncs wait for a permit and can be told to fail.
    #[derive(Default)]
    struct Scripted {
        state: Mutex<State>,
        changed: Condvar,
    }
    #[derive(Default)]
    struct State {
        appended: u64,
        synced: u64,
        permits: usize,
        begun: usize,
        idle_marks: usize,
        fail: bool,
    }

    impl Scripted {
        fn append(&self) -> u64 {
            let mut state = self.state.lock();
            state.appended += 1;
            state.appended
        }
        fn permit(&self, count: usize) {
            self.state.lock().permits += count;
            self.changed.notify_all();
        }
        fn wait_until(&self, is_so: impl Fn(&State) -> bool) {
            let mut state = self.state.lock();
            while !is_so(&state) {
                let waited = self.changed.wait_for(&mut state, Duration::from_secs(10));
                assert!(!waited.timed_out(), "never happened");
            }
        }
    }

    impl Log for Scripted {
        fn sync(&self) -> Result<u64, SyncFailed> {
            let mut state = self.state.lock();
            let reached = state.appended;
            state.begun += 1;
            self.changed.notify_all();
            while state.permits == 0 {
                self.changed.wait(&mut state);
            }
            state.permits -= 1;
            if state.fail {
                let error = store::Error::io("sync", "log", std::io::ErrorKind::Other.into());
                return Err(SyncFailed { through: reached, error });
            }
            state.synced = reached;
            Ok(reached)
        }
        fn idle_sync(&self) -> Result<u64, SyncFailed> {
            let mut state = self.state.lock();
            state.idle_marks += 1;
            self.changed.notify_all();
            Ok(state.synced)
        }
        fn synced_ticket(&self) -> u64 {
            self.state.lock().synced
        }
    }

    fn running(idle_ms: u64) -> (Arc<Scripted>, LogQueue, JoinHandle<()>) {
        let log = Arc::new(Scripted::default());
        let telemetry = Arc::new(Telemetry::new(&prometheus::Registry::new()).unwrap());
        let idle = Duration::from_millis(idle_ms);
        let (queue, handle) = start(log.clone(), Arc::new(NoClock), telemetry, 100, idle).unwrap();
        (log, queue, handle)
    }

    fn writer(log: &Scripted, queue: &LogQueue) -> tokio::task::JoinHandle<Result<(), String>> {
        let (ticket, queue) = (log.append(), queue.clone());
        tokio::spawn(async move { queue.durable(ticket).await })
    }

    fn stop(queue: &LogQueue, handle: JoinHandle<()>) {
        queue.stop();
        handle.join().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn writers_that_come_during_a_sync_share_the_next_one() {
        let (log, queue, handle) = running(60_000);
        let first = writer(&log, &queue);
        log.wait_until(|state| state.begun == 1);
        let others: Vec<_> = (0..50).map(|_| writer(&log, &queue)).collect();
        log.permit(1);
        assert_eq!(first.await.unwrap(), Ok(()));
        log.permit(50);
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(()));
        }
        // They may straggle into the queue, yet never one sync each.
        assert!(log.state.lock().begun < 25, "{} syncs", log.state.lock().begun);
        stop(&queue, handle);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_writer_is_answered_before_its_sync_returned_nor_with_yes_when_it_failed() {
        let (log, queue, handle) = running(60_000);
        let refused = writer(&log, &queue);
        log.wait_until(|state| state.begun == 1);
        assert!(!refused.is_finished());
        log.state.lock().fail = true;
        log.permit(1);
        assert!(refused.await.unwrap().unwrap_err().contains("failed to sync"));
        log.state.lock().fail = false;
        let next = writer(&log, &queue);
        log.permit(1);
        assert_eq!(next.await.unwrap(), Ok(()));
        stop(&queue, handle);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_that_is_idle_is_marked_and_a_stopping_one_answers_first() {
        let (log, queue, handle) = running(5);
        log.wait_until(|state| state.idle_marks > 0);
        let last = writer(&log, &queue);
        log.wait_until(|state| state.begun == 1);
        queue.stop();
        log.permit(1);
        assert_eq!(last.await.unwrap(), Ok(()));
        handle.join().unwrap();
        assert!(queue.durable(1).await.is_err(), "nobody is there any more");
    }
}
