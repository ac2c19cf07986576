//! The threads on which queries are evaluated. They stand behind all else that the process does:
//! when there are too few processors, it is answers that come later and not samples that wait.
//!
//! # Invariants
//! - A thread's rank only ever falls: to rise again would need rights that a server has not.
//!
//! Not here: whose query runs next (`admission.rs`).

use std::io;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// By how much an evaluation stands behind the rest of the process, as the system counts it: it
/// gets a third of the time of one that does not.
const BEHIND_WRITES: i32 = 5;

/// By how much the shards of a heavy query stand behind light ones: again a third.
const BEHIND_LIGHT: i32 = 5;

/// How long a thread waits for the next evaluation. It is short: an allocator keeps something for
/// each thread that lives.
const KEPT: Duration = Duration::from_millis(20);

/// Threads for evaluations; one that is idle ends soon.
#[derive(Debug)]
pub(crate) struct EvaluationThreads {
    /// Of it only the threads that may block are used. `None` once dropped.
    runtime: Option<Runtime>,
}

impl EvaluationThreads {
    /// At most so many at once; further evaluations wait.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn new(threads_max: usize) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        builder.max_blocking_threads(threads_max.max(1)).thread_name("cumae-query");
        builder.thread_keep_alive(KEPT);
        let runtime = builder.on_thread_start(|| fall_behind(BEHIND_WRITES)).build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs it on one of the threads; `None` if there are none any more.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<JoinHandle<T>> {
        Some(self.runtime.as_ref()?.spawn_blocking(work))
    }
}

impl Drop for EvaluationThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last owner may be an async task, which must not wait for evaluations.
            runtime.shutdown_background();
        }
    }
}

/// Puts the calling thread, which an evaluation has started for its shards, behind light queries.
pub(crate) fn fall_behind_light() {
    fall_behind(BEHIND_LIGHT);
}

fn fall_behind(by: i32) {
    // On Linux it is this thread's rank alone. A system that refuses leaves it where it was.
    let ranked = rustix::process::nice(by);
    ranked.err().inspect(|error| tracing::debug!(%error, "a query's thread keeps its rank"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[tokio::test]
    async fn an_evaluation_stands_behind_its_process_and_its_shards_behind_light_ones() {
        let (threads, own) = (EvaluationThreads::new(2).unwrap(), rank());
        let ranks = threads.spawn(move || {
            let of_shard = std::thread::spawn(|| {
                fall_behind_light();
                rank()
            });
            (rank(), of_shard.join().unwrap(), rank())
        });
        let (light, heavy, light_after) = ranks.unwrap().await.unwrap();
        let lowest = |rank: i32| rank.min(19);
        assert_eq!(light, lowest(own + 5));
        assert_eq!(heavy, lowest(own + 10));
        assert_eq!((light_after, rank()), (light, own), "others keep theirs");
    }
}
