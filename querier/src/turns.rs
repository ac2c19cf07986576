//! A query that goes on for long takes turns with others that do. As many are at work as there are
//! processors; the rest waits for its turn, which goes round, tenant by tenant. And whoever goes on
//! for long stands behind light queries. Of a tenant that asks a lot at once as many are light as
//! there are processors; the rest counts as long from its beginning.
//!
//! # Invariants
//! - A light query never waits here.
//! - A turn is given up on every way out, and while it is waited for, who is told to stop stops.
//!
//! Not here: who may begin (`admission.rs` holds both lines).

use crate::admission::{Admission, Ticket};
use crate::threads;
use guard::{Limit, QueryLimits};
use model::{Clock, TenantId};
use promql::SourceError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How long a query is light from its first look on, in nanoseconds of its thread's work: it does not
/// become heavy by waiting for others.
const LIGHT_NS: u64 = 3_000_000;

/// How long a turn is, in nanoseconds. Shorter ones cost more changes, longer ones let others wait.
const TURN_NS: u64 = 50_000_000;

/// So many of the queries at once that work on all processors are one tenant's: another's need not
/// wait for them.
const IN_SHARDS_OF_TENANT_MAX: u64 = 2;

/// The lines in which long queries wait.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    /// Of those that are light. Nobody waits in it.
    pub(crate) light: Arc<Admission>,
    /// Of those that work on one processor.
    pub(crate) alone: Arc<Admission>,
    /// Of those that work on all of them.
    pub(crate) in_shards: Arc<Admission>,
    /// How many processors there are.
    pub(crate) processors: usize,
}

/// One query's turns.
#[derive(Debug)]
pub(crate) struct Turns {
    lines: Lines,
    tenant: TenantId,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    stopped: watch::Receiver<bool>,
    /// When it has to look again.
    look_ns: AtomicU64,
    /// Locked while a turn is waited for: whoever else works on this query waits too.
    held: Mutex<Held>,
}

#[derive(Debug)]
enum Held {
    /// It has gone on for long, and is between two turns.
    Nothing,
    /// It has not looked yet, or waits for something. It may work for so long without a turn.
    Fresh { left_ns: u64 },
    /// It has not worked for long.
    Light {
        #[expect(dead_code, reason = "it is held")]
        ticket: Ticket,
        /// Until when it is light, by the clock of the thread that it works on.
        until_ns: u64,
    },
    /// The right to work on one processor.
    Turn(#[expect(dead_code, reason = "it is held")] Ticket),
    /// The right to work on all processors, from the first shard on.
    Shards(#[expect(dead_code, reason = "it is held")] Ticket),
}

impl Turns {
    /// Those of a query that has not begun to work.
    pub(crate) fn new(
        lines: Lines,
        tenant: TenantId,
        clock: Arc<dyn Clock>,
        runtime: Handle,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let held = Mutex::new(Held::Fresh { left_ns: LIGHT_NS });
        let look_ns = AtomicU64::new(0);
        Self { lines, tenant, clock, runtime, stopped, look_ns, held }
    }

    /// Looks whether it is another's turn, and waits until it is this query's again. Asked often.
    pub(crate) fn go_on(&self) {
        let now_ns = self.clock.monotonic_ns();
        if now_ns < self.look_ns.load(Ordering::Relaxed) {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left_ns) = self.light_for(&mut held) {
            self.look_ns.store(now_ns.saturating_add(left_ns), Ordering::Relaxed);
            return;
        }
        threads::fall_behind_light();
        if !matches!(*held, Held::Shards(_)) {
            // Given up first: who waits longest has it then.
            *held = Held::Nothing;
            let of_tenant = u64::try_from(self.lines.processors).unwrap_or(u64::MAX);
            if let Ok(ticket) = self.enter(&self.lines.alone, of_tenant) {
                *held = Held::Turn(ticket);
            }
        }
        let next_ns = self.clock.monotonic_ns().saturating_add(TURN_NS);
        self.look_ns.store(next_ns, Ordering::Relaxed);
    }

    /// How much longer the query is light, if it is.
    fn light_for(&self, held: &mut Held) -> Option<u64> {
        let worked_ns = self.clock.thread_ns();
        if let Held::Fresh { left_ns } = *held {
            let ticket = self.lines.light.try_enter(&self.tenant, self.lines.processors)?;
            *held = Held::Light { ticket, until_ns: worked_ns.saturating_add(left_ns) };
        }
        let Held::Light { until_ns, .. } = held else { return None };
        until_ns.checked_sub(worked_ns).filter(|left_ns| *left_ns > 0)
    }

    /// Waits for the right to work on all processors, if it is not there.
    ///
    /// # Errors
    /// If the query is told to stop meanwhile.
    pub(crate) fn begin_shards(&self) -> Result<(), SourceError> {
        threads::fall_behind_light();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*held, Held::Shards(_)) {
            *held = Held::Nothing;
            *held = Held::Shards(self.enter(&self.lines.in_shards, IN_SHARDS_OF_TENANT_MAX)?);
        }
        Ok(())
    }

    /// Gives the turn up: something else is waited for. The next look is for another one.
    pub(crate) fn pause(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = match *held {
            Held::Turn(_) => Held::Nothing,
            Held::Light { until_ns, .. } => {
                Held::Fresh { left_ns: until_ns.saturating_sub(self.clock.thread_ns()) }
            }
            Held::Nothing | Held::Fresh { .. } | Held::Shards(_) => return,
        };
        self.look_ns.store(0, Ordering::Relaxed);
    }

    fn enter(&self, line: &Arc<Admission>, of_tenant_max: u64) -> Result<Ticket, SourceError> {
        // Nobody is sent away here: no more can wait than run.
        let limits = QueryLimits {
            max_concurrency: Limit(of_tenant_max),
            max_queue: Limit(0),
            ..QueryLimits::default()
        };
        let mut stopped = self.stopped.clone();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                entered = line.enter(&self.tenant, &limits) => entered
                    .map_err(|error| SourceError { kind: error.kind(), message: error.to_string() }),
                _ = stopped.wait_for(|stopped| *stopped) => Err(crate::run::canceled()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::TimestampMs;
    use std::thread;

    #[derive(Debug, Default)]
    struct Hands {
        passed_ns: AtomicU64,
        worked_ns: AtomicU64,
    }

    impl Clock for Hands {
        fn now(&self) -> TimestampMs {
            TimestampMs(0)
        }

        fn monotonic_ns(&self) -> u64 {
            self.passed_ns.load(Ordering::SeqCst)
        }

        fn thread_ns(&self) -> u64 {
            self.worked_ns.load(Ordering::SeqCst)
        }
    }

    /// Some processors, and a clock that is moved by hand.
    struct Machine {
        runtime: tokio::runtime::Runtime,
        lines: Lines,
        clock: Arc<Hands>,
        stop: watch::Sender<bool>,
    }

    impl Machine {
        fn new(processors: usize) -> Self {
            let [light, alone] = [8, processors].map(Admission::new);
            let lines = Lines { light, alone, in_shards: Admission::new(1), processors };
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
            let (clock, stop) = (Arc::default(), watch::Sender::new(false));
            Self { runtime: runtime.unwrap(), lines, clock, stop }
        }

        fn query(&self, tenant: &str) -> Arc<Turns> {
            let tenant = TenantId::parse(tenant).unwrap();
            let (handle, stopped) = (self.runtime.handle().clone(), self.stop.subscribe());
            let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
            Arc::new(Turns::new(self.lines.clone(), tenant, clock, handle, stopped))
        }

        /// Passes a turn in which nobody has worked.
        fn wait(&self) {
            self.clock.passed_ns.fetch_add(TURN_NS, Ordering::SeqCst);
        }

        /// As long as a query is light, which is no turn.
        fn work(&self) {
            self.clock.passed_ns.fetch_add(LIGHT_NS, Ordering::SeqCst);
            self.clock.worked_ns.fetch_add(LIGHT_NS, Ordering::SeqCst);
        }

        fn pass_a_turn(&self) {
            self.wait();
            self.clock.worked_ns.fetch_add(TURN_NS, Ordering::SeqCst);
        }
    }

    fn has_turn(query: &Turns) -> bool {
        query.held.try_lock().is_ok_and(|held| matches!(*held, Held::Turn(_)))
    }

    /// Looks on a thread of its own, which may have to wait.
    fn look(query: &Arc<Turns>) -> thread::JoinHandle<()> {
        let query = Arc::clone(query);
        thread::spawn(move || query.go_on())
    }

    fn until(mut happened: impl FnMut() -> bool) {
        while !happened() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_light_query_does_not_wait_and_long_ones_have_one_turn_after_the_other() {
        let machine = Machine::new(1);
        let (first, second) = (machine.query("a"), machine.query("a"));
        for _ in 0..2 {
            first.go_on();
            assert!(!has_turn(&first), "it is light");
            machine.wait();
        }
        machine.pass_a_turn();
        first.go_on();
        assert!(has_turn(&first));
        machine.query("b").go_on();
        second.go_on();
        assert!(!has_turn(&second), "it is light");
        machine.work();
        let waits = look(&second);
        until(|| machine.lines.alone.waiting() == 1);
        first.go_on();
        assert!(has_turn(&first) && !waits.is_finished(), "its turn has not passed");
        machine.pass_a_turn();
        let waits_again = look(&first);
        waits.join().unwrap();
        assert!(has_turn(&second));
        drop(second);
        waits_again.join().unwrap();
        assert!(has_turn(&first));
        // Alone, it goes on and on, also behind a pause.
        machine.pass_a_turn();
        first.go_on();
        assert!(has_turn(&first));
        first.pause();
        assert!(!has_turn(&first));
        first.go_on();
        assert!(has_turn(&first));
    }

    #[test]
    fn of_a_tenant_that_asks_a_lot_at_once_no_more_are_light_than_there_are_processors() {
        let is_light = |query: &Turns| matches!(*query.held.lock().unwrap(), Held::Light { .. });
        let machine = Machine::new(1);
        let (first, second, other) = (machine.query("a"), machine.query("a"), machine.query("b"));
        let [third, fourth] = ["a"; 2].map(|tenant| machine.query(tenant));
        for query in [&first, &second, &other] {
            query.go_on();
        }
        assert_eq!([&first, &second, &other].map(|query| is_light(query)), [true, false, true]);
        assert!(has_turn(&second), "it has to have one from its first look");
        drop(second);
        first.pause();
        third.go_on();
        assert!(is_light(&third), "who waits for an answer makes room");
        machine.pass_a_turn();
        first.go_on();
        assert!(has_turn(&first), "there is none for it behind that");
        first.pause();
        third.go_on();
        fourth.go_on();
        assert!(has_turn(&third) && is_light(&fourth), "a long one makes room");
        drop((first, third));
        machine.clock.worked_ns.fetch_add(LIGHT_NS - 1, Ordering::SeqCst);
        for _ in 0..2 {
            fourth.pause();
            fourth.go_on();
            assert!(is_light(&fourth), "it has little left");
        }
        machine.pass_a_turn();
        fourth.go_on();
        assert!(has_turn(&fourth));
    }

    #[test]
    fn a_turn_goes_to_the_tenant_that_has_none() {
        let machine = Machine::new(2);
        let queries: Vec<_> = ["a", "a", "a", "b"].iter().map(|of| machine.query(of)).collect();
        for light in [&queries[..2], &queries[2..]] {
            light.iter().for_each(|query| query.go_on());
            machine.work();
            queries[..2].iter().for_each(|query| query.go_on());
        }
        let mut waiting = Vec::new();
        for query in &queries[2..] {
            waiting.push(look(query));
            until(|| machine.lines.alone.waiting() == waiting.len());
        }
        machine.pass_a_turn();
        let first = look(&queries[0]);
        waiting.pop().unwrap().join().unwrap();
        assert!(has_turn(&queries[3]), "b came last and has its turn first");
        assert!(has_turn(&queries[1]), "its turn has not been looked at");
        machine.stop.send_replace(true);
        waiting.into_iter().chain([first]).for_each(|thread| thread.join().unwrap());
        assert!(!has_turn(&queries[0]) && !has_turn(&queries[2]), "who is told to stop stops");
    }
}
