//! The memory of requests under way: buffers that are used again, and a budget for all of them.
//!
//! A fresh megabyte costs more in page faults than in decoding, so buffers come back.

use crate::error::Error;
use parking_lot::Mutex;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many buffers are kept.
const KEPT_MAX: usize = 16;
/// Larger ones are given back to the system.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Buffers at rest.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    // Guards the stack; held for one push or pop.
    resting: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    /// A buffer, with whatever stands in it.
    pub(crate) fn take(self: &Arc<Self>) -> Buffer {
        let bytes = self.resting.lock().pop().unwrap_or_default();
        Buffer { bytes, pool: Arc::clone(self) }
    }
}

/// A buffer that goes back to its pool.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: Arc<Pool>,
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() == 0 || bytes.capacity() > KEPT_BYTES_MAX {
            return;
        }
        let mut resting = self.pool.resting.lock();
        if resting.len() < KEPT_MAX {
            resting.push(bytes);
        }
    }
}

/// The bytes that all requests under way may hold.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    kib: Arc<Semaphore>,
    bytes_max: u64,
}

impl Budget {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let kib = usize::try_from(bytes_max / 1024).unwrap_or(usize::MAX);
        Self { kib: Arc::new(Semaphore::new(kib.min(Semaphore::MAX_PERMITS))), bytes_max }
    }

    /// A share of nothing yet.
    pub(crate) fn reserve(&self) -> Reservation {
        Reservation { budget: self.clone(), held_kib: 0, permit: None }
    }
}

/// A request's share of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Budget,
    held_kib: u32,
    permit: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    /// How large the share is.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.held_kib) * 1024
    }

    /// Raises the share to `bytes`.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if the budget is spent; nobody waits for it.
    pub(crate) fn raise_to(&mut self, bytes: u64) -> Result<(), Error> {
        let overloaded = || Error::Overloaded { inflight_bytes_max: self.budget.bytes_max };
        let wanted = u32::try_from(bytes.div_ceil(1024)).map_err(|_| overloaded())?;
        let Some(more) = wanted.checked_sub(self.held_kib).filter(|more| *more > 0) else {
            return Ok(());
        };
        let permit = Arc::clone(&self.budget.kib).try_acquire_many_owned(more);
        let permit = permit.map_err(|_| overloaded())?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        self.held_kib = wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_unless_it_is_too_large_or_too_many_rest() {
        let pool = Arc::new(Pool::default());
        let mut many: Vec<Buffer> = (0..KEPT_MAX + 3).map(|_| pool.take()).collect();
        for buffer in &mut many {
            buffer.resize(10, 0);
        }
        let mut large = pool.take();
        large.resize(KEPT_BYTES_MAX + 1, 0);
        drop((large, many));

        let resting = pool.resting.lock();
        assert_eq!(resting.len(), KEPT_MAX);
        assert!(resting.iter().all(|bytes| bytes.capacity() <= KEPT_BYTES_MAX));
    }

    #[test]
    fn a_spent_budget_refuses_until_somebody_gives_back() {
        let budget = Budget::new(10 * 1024);
        let (mut a, mut b) = (budget.reserve(), budget.reserve());
        a.raise_to(4 * 1024).unwrap();
        a.raise_to(8 * 1024).unwrap();
        a.raise_to(1).unwrap();
        b.raise_to(2 * 1024).unwrap();
        assert!(matches!(b.raise_to(2 * 1024 + 1), Err(Error::Overloaded { .. })));
        drop(a);
        b.raise_to(10 * 1024).unwrap();
    }
}
