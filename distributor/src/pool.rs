//! The memory of requests under way: buffers that are used again, and a budget for all of them.
//!
//! A fresh megabyte costs more in page faults than in decoding, so buffers come back.

use crate::error::Error;
use model::TenantId;
use parking_lot::Mutex;
use std::collections::HashMap;
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

/// The bytes that all requests under way may hold, and those of one tenant.
///
/// Of several tenants none may hold more than half, so that who sends too much at once takes nobody
/// else's room.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    kib: Arc<Semaphore>,
    bytes_max: u64,
    shares: Option<Arc<Shares>>,
}

/// What each tenant holds.
#[derive(Debug)]
struct Shares {
    kib_max: u32,
    // Guards the map, which has those tenants alone that hold something; nothing else is locked
    // under it.
    held_kib: Mutex<HashMap<TenantId, u32>>,
}

impl Budget {
    /// `several` tenants, or one that may have all of it.
    pub(crate) fn new(bytes_max: u64, several: bool) -> Self {
        let kib = usize::try_from(bytes_max / 1024).unwrap_or(usize::MAX);
        let kib_max = u32::try_from(bytes_max / 2048).unwrap_or(u32::MAX);
        let shares = Shares { kib_max, held_kib: Mutex::default() };
        let kib = Arc::new(Semaphore::new(kib.min(Semaphore::MAX_PERMITS)));
        Self { kib, bytes_max, shares: several.then(|| Arc::new(shares)) }
    }

    /// What one request may have when nothing else is under way.
    pub(crate) fn request_bytes_max(&self) -> u64 {
        let kib = self.shares.as_ref().map(|shares| u64::from(shares.kib_max));
        kib.unwrap_or(self.bytes_max / 1024) * 1024
    }

    /// So many bytes in KiB.
    ///
    /// # Errors
    /// [`Error::NeverFits`] if no request can have them.
    fn fit(&self, bytes: u64) -> Result<u32, Error> {
        let bytes_max = self.request_bytes_max();
        let whose = if self.shares.is_some() { "one tenant" } else { "all together" };
        let wanted = u32::try_from(bytes.div_ceil(1024)).ok().filter(|_| bytes <= bytes_max);
        wanted.ok_or(Error::NeverFits { bytes, whose, bytes_max })
    }

    /// A tenant's share of nothing yet.
    pub(crate) fn reserve(&self, tenant: &TenantId) -> Reservation {
        let tenant = tenant.clone();
        Reservation { budget: self.clone(), tenant, held_kib: 0, permit: None }
    }
}

impl Shares {
    /// Whether a tenant may hold so much more; if so it does.
    fn take(&self, tenant: &TenantId, more_kib: u32) -> bool {
        let mut held_kib = self.held_kib.lock();
        let held = held_kib.get(tenant).copied().unwrap_or(0).saturating_add(more_kib);
        if held > self.kib_max {
            return false;
        }
        match held_kib.get_mut(tenant) {
            Some(have) => *have = held,
            None => drop(held_kib.insert(tenant.clone(), held)),
        }
        true
    }

    fn give_back(&self, tenant: &TenantId, kib: u32) {
        let mut held_kib = self.held_kib.lock();
        match held_kib.get_mut(tenant) {
            Some(held) if *held > kib => *held -= kib,
            _ => drop(held_kib.remove(tenant)),
        }
    }
}

/// A request's share of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Budget,
    tenant: TenantId,
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
    /// [`Error::Overloaded`] if the budget is spent, [`Error::TenantOverloaded`] if the tenant's part of
    /// it is; nobody waits for it. [`Error::NeverFits`] if there would never be so much.
    pub(crate) fn raise_to(&mut self, bytes: u64) -> Result<(), Error> {
        let overloaded = || Error::Overloaded { inflight_bytes_max: self.budget.bytes_max };
        let wanted = self.budget.fit(bytes)?;
        let Some(more) = wanted.checked_sub(self.held_kib).filter(|more| *more > 0) else {
            return Ok(());
        };
        let permit = Arc::clone(&self.budget.kib).try_acquire_many_owned(more);
        let permit = permit.map_err(|_| overloaded())?;
        if let Some(shares) = &self.budget.shares
            && !shares.take(&self.tenant, more)
        {
            let (tenant, bytes_max) = (self.tenant.clone(), u64::from(shares.kib_max) * 1024);
            return Err(Error::TenantOverloaded { tenant, bytes_max });
        }
        match &mut self.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        self.held_kib = wanted;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(shares) = self.budget.shares.as_ref().filter(|_| self.held_kib > 0) {
            shares.give_back(&self.tenant, self.held_kib);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::id;
    use model::Kind;

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
        let budget = Budget::new(10 * 1024, false);
        let (mut a, mut b) = (budget.reserve(&id("a")), budget.reserve(&id("a")));
        a.raise_to(4 * 1024).unwrap();
        a.raise_to(8 * 1024).unwrap();
        a.raise_to(1).unwrap();
        b.raise_to(2 * 1024).unwrap();
        assert!(matches!(b.raise_to(2 * 1024 + 1), Err(Error::Overloaded { .. })));
        drop(a);
        b.raise_to(10 * 1024).unwrap();
    }

    #[test]
    fn what_no_request_can_ever_have_is_too_large_and_what_others_have_is_worth_another_try() {
        for (several, most) in [(false, 10 * 1024), (true, 5 * 1024)] {
            let budget = Budget::new(10 * 1024, several);
            let mut held = budget.reserve(&id("a"));
            held.raise_to(1024).unwrap();
            let refused = |bytes| budget.reserve(&id("a")).raise_to(bytes).unwrap_err();
            assert_eq!(refused(most).kind(), Kind::Unavailable);
            for bytes in [most + 1, u64::MAX] {
                let error = refused(bytes);
                assert_eq!(error.kind(), Kind::TooLarge, "{bytes}");
                assert!(error.to_string().contains("write.memory"), "{error}");
            }
            drop(held);
            budget.reserve(&id("a")).raise_to(most).unwrap();
        }
    }

    #[test]
    fn of_several_tenants_none_takes_more_than_half_and_what_it_holds_is_forgotten_with_it() {
        let budget = Budget::new(10 * 1024, true);
        let (mut a, mut more) = (budget.reserve(&id("a")), budget.reserve(&id("a")));
        a.raise_to(4 * 1024).unwrap();
        more.raise_to(1024).unwrap();
        assert!(matches!(more.raise_to(2 * 1024), Err(Error::TenantOverloaded { .. })));
        let mut b = budget.reserve(&id("b"));
        b.raise_to(5 * 1024).unwrap();
        drop(a);
        more.raise_to(5 * 1024).unwrap();
        let mut c = budget.reserve(&id("c"));
        assert!(matches!(c.raise_to(1), Err(Error::Overloaded { .. })));
        drop((more, b));
        assert!(budget.shares.unwrap().held_kib.lock().is_empty());
    }
}
