//! The threads on which queries are evaluated. They stand behind all else that the process does:
//! when there are too few processors, it is answers that come later and not samples that wait.
//!
//! # Invariants
//! - A thread's rank only ever falls: to rise again would need rights that a server has not. So one
//!   that has fallen behind light queries ends with its evaluation.
//!
//! Not here: whose query runs next and how many do (`admission.rs`), who falls behind (`turns.rs`).

use std::cell::Cell;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;
use tokio::sync::oneshot;

/// How far a thread stands behind others.
#[derive(Clone, Copy, Debug)]
struct Behind {
    /// By how much, as the system counts it.
    ranks: i32,
    /// For how long it runs if others want to, who are not in more of a hurry: whoever has less (one
    /// or two milliseconds, unless said otherwise) does not wait for that to be over.
    slice_ns: u64,
}

/// How far an evaluation stands behind the rest of the process: it gets a third of the time of one that
/// does not.
const BEHIND_WRITES: Behind = Behind { ranks: 5, slice_ns: 1_000_000 };

/// How far a heavy query stands behind light ones: at the last rank. It gets what all others leave and a
/// seventieth of a processor that they do not leave. With a tenth the others' slowest answers waited for
/// it, a tick of the system's clock each time; with a slice as long as theirs, too. A long one would
/// let who holds a lock wait for others of this rank (docs/BENCHMARKS.md).
const BEHIND_LIGHT: Behind = Behind { ranks: 14, slice_ns: 3_000_000 };

/// The last rank.
#[cfg(target_os = "linux")]
const RANK_MAX: i32 = 19;

/// How long a thread waits for the next evaluation. It is short: an allocator keeps something for
/// each thread that lives.
const KEPT: Duration = Duration::from_millis(20);

/// Threads for evaluations: as many as there are evaluations; one that is idle ends soon.
#[derive(Debug, Default)]
pub(crate) struct EvaluationThreads {
    idle: Arc<Idle>,
}

type Work = Box<dyn FnOnce() + Send>;

/// Threads that wait for work, and how it is brought to each.
#[derive(Debug, Default)]
struct Idle {
    // A leaf. Whoever takes a thread out of it sends it work; one that is not in it waits for that.
    threads: Mutex<Vec<(ThreadId, SyncSender<Work>)>>,
}

impl EvaluationThreads {
    /// Runs it on one of the threads. If it breaks off, there is no answer.
    ///
    /// # Errors
    /// What the system says when it gives no thread.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<oneshot::Receiver<T>> {
        let (done, answer) = oneshot::channel();
        let mut work: Work = Box::new(move || {
            // Nobody may wait for it any more.
            let _ = done.send(work());
        });
        loop {
            let Some((_, idle)) = self.idle.lock().pop() else { break };
            match idle.send(work) {
                Ok(()) => return Ok(answer),
                Err(returned) => work = returned.0,
            }
        }
        let idle = Arc::clone(&self.idle);
        let thread = thread::Builder::new().name("cumae-query".to_owned());
        thread.spawn(move || serve(work, &idle))?;
        Ok(answer)
    }
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<(ThreadId, SyncSender<Work>)>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the thread was among them, and is not now.
    fn leave(&self, id: ThreadId) -> bool {
        let mut threads = self.lock();
        let place = threads.iter().position(|(of, _)| *of == id);
        place.inspect(|place| drop(threads.swap_remove(*place))).is_some()
    }
}

/// Works as long as there is work and this thread is of the rank that it needs.
fn serve(mut work: Work, idle: &Idle) {
    fall_behind(BEHIND_WRITES);
    let (id, (bring, brought)) = (thread::current().id(), sync_channel(1));
    loop {
        work();
        if HAS_FALLEN.get() {
            return;
        }
        idle.lock().push((id, bring.clone()));
        work = match brought.recv_timeout(KEPT) {
            Ok(work) => work,
            Err(_) if idle.leave(id) => return,
            // Somebody took it out just now.
            Err(_) => match brought.recv() {
                Ok(work) => work,
                Err(_) => return,
            },
        };
    }
}

thread_local! {
    /// Whether this thread stands behind light queries.
    static HAS_FALLEN: Cell<bool> = const { Cell::new(false) };
}

/// Puts the calling thread, which works on a heavy query, behind light ones.
pub(crate) fn fall_behind_light() {
    if !HAS_FALLEN.replace(true) {
        fall_behind(BEHIND_LIGHT);
    }
}

fn fall_behind(behind: Behind) {
    // On Linux it is this thread's rank alone. A system that refuses leaves it where it was.
    let ranked = give_rank(behind);
    ranked.err().inspect(|error| tracing::debug!(%error, "a query's thread keeps its rank"));
}

#[cfg(target_os = "linux")]
fn give_rank(behind: Behind) -> io::Result<()> {
    let own = rustix::process::getpriority_process(None)?;
    let given = crate::slice::set((own + behind.ranks).min(RANK_MAX), behind.slice_ns);
    // Where only the slice is forbidden.
    given.or_else(|_| rustix::process::nice(behind.ranks).map(drop).map_err(io::Error::from))
}

#[cfg(not(target_os = "linux"))]
fn give_rank(behind: Behind) -> io::Result<()> {
    rustix::process::nice(behind.ranks).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[tokio::test]
    async fn an_evaluation_stands_behind_its_process_and_a_heavy_one_behind_light_ones() {
        let (threads, own) = (EvaluationThreads::default(), rank());
        let ranks = threads.spawn(move || {
            let of_shard = thread::spawn(|| {
                fall_behind_light();
                rank()
            });
            let light = (rank(), of_shard.join().unwrap());
            fall_behind_light();
            (light, rank(), thread::current().id())
        });
        let ((light, of_shard), heavy, thread) = ranks.unwrap().await.unwrap();
        let lowest = |rank: i32| rank.min(19);
        assert_eq!((light, of_shard, heavy), (lowest(own + 5), lowest(own + 19), lowest(own + 19)));
        let next = threads.spawn(|| (rank(), thread::current().id())).unwrap().await.unwrap();
        assert_eq!(
            next.0,
            lowest(own + 5),
            "a light one is not served by a thread that has fallen"
        );
        assert_ne!(next.1, thread);
        assert_eq!(rank(), own, "others keep theirs");
    }

    #[tokio::test]
    async fn a_thread_works_on_one_after_the_other_and_what_breaks_off_has_no_answer() {
        let threads = EvaluationThreads::default();
        let first = threads.spawn(|| thread::current().id()).unwrap().await.unwrap();
        let is_idle = || threads.idle.lock().iter().any(|(id, _)| *id == first);
        while !is_idle() {
            tokio::task::yield_now().await;
        }
        let second = threads.spawn(|| thread::current().id()).unwrap().await.unwrap();
        assert_eq!(first, second);
        let broken = threads.spawn(|| std::panic::resume_unwind(Box::new(()))).unwrap();
        assert!(broken.await.is_err());
        let after = threads.spawn(|| 7).unwrap().await;
        assert_eq!(after, Ok(7));
        while !threads.idle.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}
