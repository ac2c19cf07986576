//! Queries in flight: who asks what is being answered already waits for that answer.
//!
//! The future that answers a query is shared by all who wait for it, and polled by whoever is there.
//! It does not belong to the one who came first: when that one leaves, or stops his query, the
//! others go on; when the last one leaves, it is dropped, and with it the work.
//!
//! # Invariants
//! - Who joins gets an answer that is as new as his question: either nothing had been read when he
//!   came, or everything that is read still has the version that was asked for before the reading.
//! - The table has an entry for each flight that somebody waits for, and no other.
//!
//! Not here: how a query is answered (`run.rs`, `query_calls.rs`).

use crate::active::Progress;
use crate::cost::Spent;
use crate::error::Error;
use crate::memory::Purse;
use crate::run::Took;
use crate::source::{SourceAnswer, VersionAsk};
use futures_util::future::{BoxFuture, FutureExt as _, Shared, WeakShared};
use model::TenantId;
use promql::Evaluation;
use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// What a flight ends with.
pub(crate) type Outcome = Result<(Arc<Answered>, Took), Error>;

/// An answer, and how it came about.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    /// The answer.
    pub(crate) evaluation: Evaluation,
    /// What it cost.
    pub(crate) spent: Spent,
    /// The memory that the answer takes, until it has been sent.
    pub(crate) purse: Arc<Purse>,
}

/// What queries have to have in common to be answered together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// For whom.
    pub(crate) tenant: TenantId,
    /// The text as it was sent.
    pub(crate) text: String,
    /// First step, last step and step in milliseconds.
    pub(crate) steps: (i64, i64, i64),
    /// How far selectors look back.
    pub(crate) lookback_ms: i64,
    /// How long they may take.
    pub(crate) timeout: std::time::Duration,
    /// Whether parts may come out of the cache.
    pub(crate) is_cached: bool,
    /// Whether it is told what it cost.
    pub(crate) has_details: bool,
}

/// How far a flight is.
#[derive(Debug, Default)]
pub(crate) struct State {
    begun: AtomicBool,
    versions: OnceLock<(Vec<VersionAsk>, Vec<u64>)>,
    /// How much has been read.
    pub(crate) progress: Arc<Progress>,
}

impl State {
    /// From now on something is read.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// What everything that will be read has for versions now.
    pub(crate) fn read_under(&self, asks: &[VersionAsk], versions: &[u64]) {
        self.versions.get_or_init(|| (asks.to_vec(), versions.to_vec()));
    }
}

/// The flights of this process.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    // Held for a few instructions. Nothing that may be the last of a flight is dropped under it:
    // a flight that ends takes this lock.
    table: Mutex<HashMap<Key, Entry>>,
    numbers: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    state: Arc<State>,
    answer: WeakShared<BoxFuture<'static, Outcome>>,
}

/// A place among those who wait for an answer; given up when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    /// How far it is.
    pub(crate) state: Arc<State>,
    /// The answer, to be awaited.
    pub(crate) answer: Shared<BoxFuture<'static, Outcome>>,
    /// Whether somebody else came first.
    pub(crate) is_joined: bool,
}

impl Flights {
    /// A seat in a flight of these queries that is as new as a question asked now, if there is one.
    /// `ask` asks for versions.
    pub(crate) async fn join(
        &self,
        key: &Key,
        ask: impl FnOnce(Vec<VersionAsk>) -> SourceAnswer<Vec<u64>>,
    ) -> Option<Seat> {
        let found = self.lock().get(key).and_then(|entry| {
            let (answer, state) = (entry.answer.upgrade()?, Arc::clone(&entry.state));
            Some(Seat { state, answer, is_joined: true })
        });
        let seat = found?;
        if !seat.state.begun.load(Ordering::SeqCst) {
            return Some(seat);
        }
        let (asks, before) = seat.state.versions.get().filter(|(_, all)| !all.contains(&0))?;
        let now = ask(asks.clone()).await.ok()?;
        (*before == now).then_some(seat)
    }

    /// Takes off: `work` is told how far it is from the state, and runs while somebody waits.
    pub(crate) fn start<F>(self: &Arc<Self>, key: Key, work: impl FnOnce(Arc<State>) -> F) -> Seat
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let state = Arc::<State>::default();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let landing = Landing { flights: Arc::clone(self), key: key.clone(), number };
        let work = work(Arc::clone(&state));
        let answer = async move {
            let _landing = landing;
            work.await
        };
        let answer = answer.boxed().shared();
        if let Some(weak) = answer.downgrade() {
            let entry = Entry { number, state: Arc::clone(&state), answer: weak };
            self.lock().insert(key, entry);
        }
        Seat { state, answer, is_joined: false }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight out of the table when it has ended or nobody waits for it any more.
struct Landing {
    flights: Arc<Flights>,
    key: Key,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut table = self.flights.lock();
        // A later flight of these queries may have taken its place.
        if table.get(&self.key).is_some_and(|entry| entry.number == self.number) {
            table.remove(&self.key);
        }
    }
}
