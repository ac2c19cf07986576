//! How many requests of a store are in work: so many of its own, and with those of the process's other
//! stores, if it has any, so many together.
//!
//! # Invariants
//! - One of several stores has half of what all may have at most: one that is stuck leaves room.
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
    _of_all: Option<OwnedSemaphorePermit>,
}

/// Lets requests of one store in.
#[derive(Debug)]
pub(super) struct Entrance {
    own: Arc<Semaphore>,
    max: usize,
    of_all: Option<Arc<Semaphore>>,
}

impl Entrance {
    /// So many at most, and together with the others no more than there are `of_all`.
    pub(super) fn new(max: usize, of_all: Option<&Arc<Semaphore>>) -> Self {
        let max = if of_all.is_some() { max.div_ceil(2) } else { max };
        Self { own: Arc::new(Semaphore::new(max)), max, of_all: of_all.cloned() }
    }

    /// Waits for a turn; `None` if the store ends.
    pub(super) async fn enter(&self) -> Option<Entry> {
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let of_all = match &self.of_all {
            Some(of_all) => Some(Arc::clone(of_all).acquire_owned().await.ok()?),
            None => None,
        };
        // Closed while it waited for the others.
        (!self.own.is_closed()).then_some(Entry { _own: own, _of_all: of_all })
    }

    /// Does not wait.
    pub(super) fn try_enter(&self) -> Option<Entry> {
        let own = Arc::clone(&self.own).try_acquire_owned().ok()?;
        let of_all = match &self.of_all {
            Some(of_all) => Some(Arc::clone(of_all).try_acquire_owned().ok()?),
            None => None,
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_stuck_leaves_half_of_what_all_share_to_the_others() {
        let all = Arc::new(Semaphore::new(5));
        let enters = |entrance: &Entrance| -> Vec<Entry> {
            std::iter::from_fn(|| entrance.try_enter()).collect()
        };
        let (stuck, other) = (Entrance::new(5, Some(&all)), Entrance::new(5, Some(&all)));
        let (held, rest) = (enters(&stuck), enters(&other));
        assert_eq!((held.len(), rest.len()), (3, 2));
        drop(held);
        assert_eq!(enters(&other).len(), 1, "half of five");
        assert_eq!(enters(&Entrance::new(5, None)).len(), 5, "who is alone has all");
    }
}
