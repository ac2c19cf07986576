//! Admission: whose query runs next, how many run at once, how many wait, who is sent away.
//!
//! There are so many *slots* for all tenants together. A slot that becomes free goes to the waiting
//! tenant that has the fewest queries running; among equals, to the one that waits longest. So a
//! tenant with fifty queries in line delays another tenant's first query by one slot at most.
//!
//! # Invariants
//! - At most `slots` queries hold a [`Ticket`], at most `max_query_concurrency` of one tenant, and
//!   at most `max_query_queue` of one tenant wait for one.
//! - While somebody waits who may run, no slot is free.
//! - A tenant without a query costs nothing: its gate goes with its last query.
//!
//! Not here: how long a query may run (`run.rs`).

use crate::error::Error;
use guard::{Limit, QueryLimits};
use model::{Kind, TenantId};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Lets queries in.
#[derive(Debug)]
pub(crate) struct Admission {
    // Held for a few instructions; no lock is taken under it.
    line: Mutex<Line>,
}

/// Who runs and who waits.
#[derive(Debug)]
struct Line {
    slots_free: usize,
    arrivals: u64,
    gates: HashMap<TenantId, Gate>,
}

/// One tenant's queries.
#[derive(Debug)]
struct Gate {
    running: usize,
    running_max: usize,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    arrival: u64,
    turn: oneshot::Sender<Ticket>,
}

/// One query's right to run; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    admission: Arc<Admission>,
    tenant: TenantId,
}

/// A place in the line; it is given up when dropped.
#[derive(Debug)]
struct Place<'a> {
    admission: &'a Admission,
    tenant: &'a TenantId,
    arrival: u64,
}

impl Admission {
    /// Room for so many queries at once.
    pub(crate) fn new(slots: usize) -> Arc<Self> {
        let line = Line { slots_free: slots.max(1), arrivals: 0, gates: HashMap::new() };
        Arc::new(Self { line: Mutex::new(line) })
    }

    /// Waits for the tenant's turn.
    ///
    /// # Errors
    /// [`Kind::Limited`] at once if as many queries wait already as may.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        tenant: &TenantId,
        limits: &QueryLimits,
    ) -> Result<Ticket, Error> {
        let (turn, mine) = oneshot::channel();
        let arrival = {
            let mut line = self.lock();
            if line.enter(tenant, bound(limits.max_concurrency)) {
                return Ok(self.ticket(tenant));
            }
            line.arrivals += 1;
            let arrival = line.arrivals;
            let gate = line.gates.entry(tenant.clone()).or_default();
            if gate.waiting.len() >= bound(limits.max_queue) {
                return Err(sent_away(tenant, gate, limits));
            }
            gate.waiting.push_back(Waiter { arrival, turn });
            arrival
        };
        let _place = Place { admission: self, tenant, arrival };
        mine.await.map_err(|_| Error::new(Kind::Unavailable, "queries are no longer taken"))
    }

    /// The right to run, if the tenant has fewer than `most` and a slot is free.
    pub(crate) fn try_enter(self: &Arc<Self>, tenant: &TenantId, most: usize) -> Option<Ticket> {
        let mut line = self.lock();
        let has_entered = line.enter(tenant, most);
        line.tidy(tenant);
        has_entered.then(|| self.ticket(tenant))
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().gates.values().map(|gate| gate.waiting.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ticket(self: &Arc<Self>, tenant: &TenantId) -> Ticket {
        Ticket { admission: Arc::clone(self), tenant: tenant.clone() }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self { running: 0, running_max: 1, waiting: VecDeque::new() }
    }
}

impl Line {
    /// Takes a slot for the tenant, if there is one for it.
    fn enter(&mut self, tenant: &TenantId, running_max: usize) -> bool {
        let gate = self.gates.entry(tenant.clone()).or_default();
        gate.running_max = running_max;
        let may_enter = self.slots_free > 0 && gate.running < running_max;
        if may_enter {
            gate.running += 1;
            self.slots_free -= 1;
        }
        may_enter
    }

    /// Takes the next who may run out of the line, and a slot for them.
    fn next(&mut self) -> Option<(TenantId, oneshot::Sender<Ticket>)> {
        if self.slots_free == 0 {
            return None;
        }
        let ready = self.gates.iter().filter(|(_, gate)| gate.running < gate.running_max);
        let first = ready.filter_map(|(tenant, gate)| {
            Some((gate.running, gate.waiting.front()?.arrival, tenant))
        });
        let tenant = first.min_by_key(|(running, arrival, _)| (*running, *arrival))?.2.clone();
        let gate = self.gates.get_mut(&tenant)?;
        let waiter = gate.waiting.pop_front()?;
        gate.running += 1;
        self.slots_free -= 1;
        Some((tenant, waiter.turn))
    }

    /// Forgets a tenant without queries.
    fn tidy(&mut self, tenant: &TenantId) {
        if self.gates.get(tenant).is_some_and(|of| of.running == 0 && of.waiting.is_empty()) {
            self.gates.remove(tenant);
        }
    }

    /// Takes a slot back.
    fn release(&mut self, tenant: &TenantId) {
        self.slots_free += 1;
        if let Some(gate) = self.gates.get_mut(tenant) {
            gate.running = gate.running.saturating_sub(1);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut line = self.admission.lock();
        line.release(&self.tenant);
        let mut next = line.next();
        line.tidy(&self.tenant);
        drop(line);
        // Nobody is woken under the lock: whoever is may have to wait for it. Who waited may have just
        // left; the ticket comes back then, and calls the next one.
        while let Some((tenant, turn)) = next {
            drop(turn.send(self.admission.ticket(&tenant)));
            next = self.admission.lock().next();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.admission.lock();
        if let Some(gate) = line.gates.get_mut(self.tenant) {
            gate.waiting.retain(|waiter| waiter.arrival != self.arrival);
        }
        line.tidy(self.tenant);
    }
}

fn sent_away(tenant: &TenantId, gate: &Gate, limits: &QueryLimits) -> Error {
    let (runs, waits) = (gate.running, gate.waiting.len());
    let (most, queue) = (limits.max_concurrency.0, limits.max_queue.0);
    Error::new(
        Kind::Limited,
        format!(
            "tenant `{tenant}` has {runs} queries running and {waits} waiting: limits \
             `max_query_concurrency` {most}, `max_query_queue` {queue}"
        ),
    )
}

fn bound(limit: Limit) -> usize {
    usize::try_from(limit.get()).unwrap_or(usize::MAX)
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
        let admission = Admission::new(8);
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
        let admission = Admission::new(8);
        let one = limits(1, 1);
        let a = tenant("a");
        let first = admission.enter(&a, &one).now_or_never().unwrap().unwrap();
        let mut second = Box::pin(admission.enter(&a, &one));
        assert!((&mut second).now_or_never().is_none());
        drop(second);
        let mut third = Box::pin(admission.enter(&a, &one));
        assert!((&mut third).now_or_never().is_none());
        drop((first, third));
        assert!(admission.lock().gates.is_empty());
    }

    #[test]
    fn a_slot_goes_to_the_tenant_that_has_the_fewest_running() {
        let admission = Admission::new(2);
        let (a, b, many) = (tenant("a"), tenant("b"), limits(20, 100));
        let enter = |tenant| Box::pin(admission.enter(tenant, &many));
        let first = enter(&a).now_or_never().unwrap().unwrap();
        let _second = enter(&a).now_or_never().unwrap().unwrap();
        let mut of_a: Vec<_> = (0..50).map(|_| enter(&a)).collect();
        assert!(of_a.iter_mut().all(|one| one.now_or_never().is_none()));
        let mut of_b = enter(&b);
        assert!((&mut of_b).now_or_never().is_none());
        drop(first);
        let b_runs = (&mut of_b).now_or_never().expect("b came last and has none running");
        assert!(of_a.iter_mut().all(|one| one.now_or_never().is_none()));
        drop(b_runs);
        let ran = of_a.iter_mut().position(|one| one.now_or_never().is_some());
        assert_eq!(ran, Some(0), "then the one that waits longest");
    }

    #[test]
    fn a_turn_that_nobody_takes_goes_to_the_next() {
        let admission = Admission::new(1);
        let (a, b, many) = (tenant("a"), tenant("b"), limits(20, 100));
        let first = admission.enter(&a, &many).now_or_never().unwrap().unwrap();
        let mut left = Box::pin(admission.enter(&a, &many));
        let mut stays = Box::pin(admission.enter(&b, &many));
        assert!((&mut left).now_or_never().is_none());
        assert!((&mut stays).now_or_never().is_none());
        drop(first);
        // The turn is `left`'s now, and it leaves without looking.
        drop(left);
        assert!(stays.now_or_never().unwrap().is_ok());
        assert_eq!(admission.lock().slots_free, 1);
        assert!(admission.lock().gates.is_empty());
    }
}
