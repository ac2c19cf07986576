//! Admission: how many queries of a tenant run at once, how many wait, and who is sent away.
//!
//! # Invariants
//! - At most `concurrency` queries of a tenant hold a [`Ticket`], at most `queue` more wait for one.
//! - A tenant without a query costs nothing: its gate goes with its last query.
//!
//! Not here: how long a query may run (`run.rs`).

use crate::error::Error;
use guard::{Limit, QueryLimits};
use model::{Kind, TenantId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets queries in, tenant by tenant.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    // Guards the map and the counts; held for a few instructions, no lock is taken under it.
    gates: Mutex<HashMap<TenantId, Gate>>,
}

#[derive(Debug)]
struct Gate {
    inside: usize,
    permits: Arc<Semaphore>,
}

/// One query's right to run; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    // Before `_inside`: the permit has to be back before the gate may go.
    _permit: OwnedSemaphorePermit,
    _inside: Inside,
}

#[derive(Debug)]
struct Inside {
    admission: Arc<Admission>,
    tenant: TenantId,
}

impl Admission {
    /// Waits for the tenant's turn.
    ///
    /// # Errors
    /// [`Kind::Limited`] at once if as many queries wait already as may.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        tenant: &TenantId,
        limits: &QueryLimits,
    ) -> Result<Ticket, Error> {
        let (inside, permits) = self.step_in(tenant, limits)?;
        match permits.acquire_owned().await {
            Ok(permit) => Ok(Ticket { _permit: permit, _inside: inside }),
            Err(_) => Err(Error::new(Kind::Unavailable, "queries are no longer taken")),
        }
    }

    fn step_in(
        self: &Arc<Self>,
        tenant: &TenantId,
        limits: &QueryLimits,
    ) -> Result<(Inside, Arc<Semaphore>), Error> {
        let runs_max = bound(limits.max_concurrency);
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates
            .entry(tenant.clone())
            .or_insert_with(|| Gate { inside: 0, permits: Arc::new(Semaphore::new(runs_max)) });
        if gate.inside >= runs_max.saturating_add(bound(limits.max_queue)) {
            let (runs, waits) = (limits.max_concurrency.0, limits.max_queue.0);
            return Err(Error::new(
                Kind::Limited,
                format!(
                    "tenant `{tenant}` has {runs} queries running and {waits} waiting: limits \
                     `max_query_concurrency`, `max_query_queue`"
                ),
            ));
        }
        gate.inside += 1;
        let inside = Inside { admission: Arc::clone(self), tenant: tenant.clone() };
        Ok((inside, Arc::clone(&gate.permits)))
    }
}

fn bound(limit: Limit) -> usize {
    usize::try_from(limit.get()).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut gates = self.admission.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get_mut(&self.tenant) {
            gate.inside = gate.inside.saturating_sub(1);
            if gate.inside == 0 {
                gates.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn limits(concurrency: u64, queue: u64) -> QueryLimits {
        QueryLimits {
            max_concurrency: Limit(concurrency),
            max_queue: Limit(queue),
            ..QueryLimits::default()
        }
    }

    #[test]
    fn the_third_of_two_waits_the_fourth_is_sent_away_and_another_tenant_runs() {
        let admission = Arc::new(Admission::default());
        let two = limits(2, 1);
        let a = tenant("a");
        let first = admission.enter(&a, &two).now_or_never().unwrap().unwrap();
        let _second = admission.enter(&a, &two).now_or_never().unwrap().unwrap();
        let mut third = Box::pin(admission.enter(&a, &two));
        assert!((&mut third).now_or_never().is_none());
        let fourth = admission.enter(&a, &two).now_or_never().unwrap();
        assert_eq!(fourth.unwrap_err().kind(), Kind::Limited);
        assert!(admission.enter(&tenant("b"), &two).now_or_never().unwrap().is_ok());
        drop(first);
        assert!(third.now_or_never().unwrap().is_ok());
    }

    #[test]
    fn who_stops_waiting_makes_room_and_an_idle_tenant_leaves_no_trace() {
        let admission = Arc::new(Admission::default());
        let one = limits(1, 1);
        let a = tenant("a");
        let first = admission.enter(&a, &one).now_or_never().unwrap().unwrap();
        let mut second = Box::pin(admission.enter(&a, &one));
        assert!((&mut second).now_or_never().is_none());
        drop(second);
        let mut third = Box::pin(admission.enter(&a, &one));
        assert!((&mut third).now_or_never().is_none());
        drop((first, third));
        assert!(admission.gates.lock().unwrap().is_empty());
    }
}
