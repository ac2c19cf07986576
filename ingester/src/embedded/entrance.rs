//! How many requests of a store are in work: so many of its own, and with those of the process's other
//! stores so many together.
//!
//! # Invariants
//! - The own one is closed when the store ends; that of all never is.
//! - Who waits for that of all has its own: so each store's requests come in the order in which they came.

use crate::config::Config;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all stores of a process share.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) writes: Arc<Semaphore>,
    pub(crate) reads: Arc<Semaphore>,
}

impl Bounds {
    /// Those of the settings of a process.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            writes: Arc::new(Semaphore::new(config.writes_in_flight_max)),
            reads: Arc::new(Semaphore::new(config.reads_in_flight_max)),
        }
    }
}

/// A request that is in work.
#[derive(Debug)]
pub(super) struct Entry {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// Lets requests of one store in.
#[derive(Debug)]
pub(super) struct Entrance {
    own: Arc<Semaphore>,
    max: usize,
    of_all: Arc<Semaphore>,
}

impl Entrance {
    pub(super) fn new(max: usize, of_all: &Arc<Semaphore>) -> Self {
        Self { own: Arc::new(Semaphore::new(max)), max, of_all: Arc::clone(of_all) }
    }

    /// Waits for a turn; `None` if the store ends.
    pub(super) async fn enter(&self) -> Option<Entry> {
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.of_all).acquire_owned().await.ok()?;
        // Closed while it waited for the others.
        (!self.own.is_closed()).then_some(Entry { _own: own, _of_all: of_all })
    }

    /// Does not wait.
    pub(super) fn try_enter(&self) -> Option<Entry> {
        let own = Arc::clone(&self.own).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.of_all).try_acquire_owned().ok()?;
        Some(Entry { _own: own, _of_all: of_all })
    }

    /// Waits for what is in work; who comes later waits behind this, and is refused.
    pub(super) async fn drain(&self) {
        let all = self.own.acquire_many(u32::try_from(self.max).unwrap_or(u32::MAX)).await;
        self.own.close();
        drop(all);
    }

    /// Refuses who comes later.
    pub(super) fn close(&self) {
        self.own.close();
    }
}
