//! The memory of all queries of this process: taken before it is used, given back on every way out.
//!
//! Each query has a *purse*. What it fetches, its columns and its answer are paid out of it; when
//! the purse is dropped, everything goes back.
//!
//! # Invariants
//! - All purses together hold at most what the pool was made for.
//!
//! Not here: how much one query may take (`guard::QueryLimits`).

use crate::error::Error;
use model::Kind;
use prometheus::{IntCounter, IntGauge, Registry};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The memory that queries share.
#[derive(Debug)]
pub(crate) struct Pool {
    bytes_max: u64,
    bytes: AtomicU64,
    taken: IntGauge,
    refused: IntCounter,
}

/// What one query has taken of it.
#[derive(Debug)]
pub(crate) struct Purse {
    pool: Arc<Pool>,
    bytes: AtomicU64,
}

impl Pool {
    /// A pool of so many bytes.
    ///
    /// # Errors
    /// If the registry has metrics of these names already.
    pub(crate) fn new(bytes_max: u64, registry: &Registry) -> Result<Arc<Self>, prometheus::Error> {
        let taken = IntGauge::new(
            "cumae_querier_memory_bytes",
            "Memory that queries have reserved, of `query.memory`.",
        )?;
        let refused = IntCounter::new(
            "cumae_querier_memory_refused_total",
            "Reservations of memory that were refused.",
        )?;
        registry.register(Box::new(taken.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Arc::new(Self { bytes_max, bytes: AtomicU64::new(0), taken, refused }))
    }

    /// An empty purse.
    pub(crate) fn purse(self: &Arc<Self>) -> Arc<Purse> {
        Arc::new(Purse { pool: Arc::clone(self), bytes: AtomicU64::new(0) })
    }

    fn take(&self, more: u64) -> bool {
        let sum = |bytes: u64| bytes.checked_add(more).filter(|sum| *sum <= self.bytes_max);
        let is_there = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok();
        if is_there {
            self.taken.add(signed(more));
        } else {
            self.refused.inc();
        }
        is_there
    }

    fn give_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.taken.sub(signed(bytes));
    }
}

impl Purse {
    /// How many bytes there are for all queries together.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.pool.bytes_max
    }

    /// Takes so many bytes.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if others have them, [`Kind::Unexecutable`] if there are not so many.
    pub(crate) fn take(&self, more: u64) -> Result<(), Error> {
        if self.pool.take(more) {
            self.bytes.fetch_add(more, Ordering::Relaxed);
            return Ok(());
        }
        Err(self.refusal(more))
    }

    /// Gives so many bytes back, which have to be in it.
    pub(crate) fn put_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.pool.give_back(bytes);
    }

    /// Has so many bytes from now on, or as many as there are.
    pub(crate) fn settle(&self, bytes: u64) {
        let have = self.bytes.load(Ordering::Relaxed);
        if have > bytes {
            self.put_back(have - bytes);
        }
    }

    /// Why it does not get so many bytes more.
    pub(crate) fn refusal(&self, more: u64) -> Error {
        let (own, max) = (self.bytes.load(Ordering::Relaxed), self.pool.bytes_max);
        if own.saturating_add(more) > max {
            let text = format!(
                "the query needs {} bytes of memory, all queries together have {max}: \
                 `query.memory`",
                own.saturating_add(more)
            );
            return Error::new(Kind::Unexecutable, text);
        }
        let text = format!(
            "queries use all of their memory, the {max} bytes of `query.memory`: this one has {own} \
             and needs {more} more; ask again later"
        );
        Error::new(Kind::Unavailable, text)
    }
}

impl promql::Memory for Purse {
    fn reserve(&self, bytes: u64) -> bool {
        self.take(bytes).is_ok()
    }

    fn release(&self, bytes: u64) {
        self.put_back(bytes);
    }
}

impl Drop for Purse {
    fn drop(&mut self) {
        self.pool.give_back(*self.bytes.get_mut());
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_not_there_for_others_until_the_purse_is_gone() {
        let pool = Pool::new(100, &Registry::new()).unwrap();
        let (first, second) = (pool.purse(), pool.purse());
        first.take(60).unwrap();
        let refusal = second.take(50).unwrap_err();
        assert_eq!(refusal.kind(), Kind::Unavailable, "{refusal}");
        assert_eq!(second.take(101).unwrap_err().kind(), Kind::Unexecutable);
        second.take(40).unwrap();
        assert_eq!((pool.taken.get(), pool.refused.get()), (100, 2));
        first.settle(10);
        second.take(50).unwrap();
        drop(second);
        assert_eq!(pool.taken.get(), 10);
        drop(first);
        assert_eq!((pool.bytes.load(Ordering::Relaxed), pool.taken.get()), (0, 0));
    }
}
