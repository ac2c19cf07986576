//! The queries that wait or run now: who asked what since when, and how to stop one.
//!
//! # Invariants
//! - A query is listed from when it asks for its turn until its caller has the answer or has left.
//! - A tenant sees and stops its own queries only. Another's id is as unknown as a wrong one.
//! - The table is bounded by the queries that may wait and run (`admission.rs`).
//!
//! Not here: queries that have ended (`history.rs`).

use crate::history::Text;
use model::TenantId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::watch;

/// Names one query of this process: sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueryId(pub(crate) u64);

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl QueryId {
    /// Reads an id as it is displayed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// For whom.
    pub(crate) tenant: TenantId,
    /// The beginning of the query's text.
    pub(crate) text: Text,
    /// First step, last step and step in milliseconds; the step of an instant query is 0.
    pub(crate) steps: (i64, i64, i64),
}

/// One query in the table, as a reader sees it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) id: QueryId,
    /// What it asks.
    pub(crate) asked: Asked,
    /// When it came, in nanoseconds of the process' clock.
    pub(crate) began_ns: u64,
    /// How many samples it has read so far; `None` while it waits for its turn.
    pub(crate) samples_read: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    asked: Asked,
    began_ns: u64,
    progress: Arc<Progress>,
    stop: watch::Sender<bool>,
}

/// How far a query is. It says nothing until it runs.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    samples_read: OnceLock<Arc<AtomicU64>>,
}

impl Progress {
    /// Says that the query runs now, and where its samples are counted.
    pub(crate) fn runs(&self, samples_read: &Arc<AtomicU64>) {
        self.samples_read.get_or_init(|| Arc::clone(samples_read));
    }

    /// How many samples were read so far.
    pub(crate) fn samples_read(&self) -> u64 {
        self.samples_read.get().map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

/// The queries of this process.
#[derive(Debug, Default)]
pub(crate) struct Active {
    // Held for a few instructions; no lock is taken under it.
    queries: Mutex<BTreeMap<QueryId, Entry>>,
}

/// A query's place in the table; it leaves when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    active: Arc<Active>,
    id: QueryId,
    stopped: watch::Receiver<bool>,
}

impl Active {
    /// Lists a query. `id` is used once in the life of the process.
    /// How far it is, `progress` tells.
    pub(crate) fn begin(
        self: &Arc<Self>,
        id: QueryId,
        asked: Asked,
        began_ns: u64,
        progress: Arc<Progress>,
    ) -> Running {
        let (stop, stopped) = watch::channel(false);
        self.lock().insert(id, Entry { asked, began_ns, progress, stop });
        Running { active: Arc::clone(self), id, stopped }
    }

    /// A tenant's queries, the oldest first.
    pub(crate) fn of(&self, tenant: &TenantId) -> Vec<Listed> {
        let queries = self.lock();
        let own = queries.iter().filter(|(_, entry)| entry.asked.tenant == *tenant);
        let listed = own.map(|(id, entry)| Listed {
            id: *id,
            asked: entry.asked.clone(),
            began_ns: entry.began_ns,
            samples_read: entry.progress.samples_read.get().map(|n| n.load(Ordering::Relaxed)),
        });
        listed.collect()
    }

    /// Stops a tenant's query. False if the tenant has none of this name.
    pub(crate) fn cancel(&self, tenant: &TenantId, id: QueryId) -> bool {
        let queries = self.lock();
        let own = queries.get(&id).filter(|entry| entry.asked.tenant == *tenant);
        own.is_some_and(|entry| entry.stop.send(true).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<QueryId, Entry>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Returns when somebody has stopped the query.
    pub(crate) async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        if stopped.wait_for(|stopped| *stopped).await.is_err() {
            // The entry is there as long as this is.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.active.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn asked(tenant: &str, text: &str) -> Asked {
        let tenant = TenantId::parse(tenant).unwrap();
        Asked { tenant, text: Text::of(text), steps: (0, 0, 0) }
    }

    #[test]
    fn a_tenant_lists_and_stops_its_own_queries_only() {
        let active = Arc::<Active>::default();
        let (a, b) = (TenantId::parse("a").unwrap(), TenantId::parse("b").unwrap());
        let progress = Arc::<Progress>::default();
        let running = active.begin(QueryId(7), asked("a", "up"), 5, Arc::clone(&progress));
        assert!(active.of(&b).is_empty());
        let [listed] = &active.of(&a)[..] else { panic!("one") };
        assert_eq!((listed.id.to_string(), listed.samples_read), ("0000000000000007".into(), None));
        progress.runs(&Arc::new(AtomicU64::new(3)));
        assert_eq!(active.of(&a)[0].samples_read, Some(3));

        assert!(!active.cancel(&b, QueryId(7)) && !active.cancel(&a, QueryId(8)));
        assert!(running.stopped().now_or_never().is_none());
        assert!(active.cancel(&a, QueryId(7)));
        assert!(running.stopped().now_or_never().is_some());
        drop(running);
        assert!(active.of(&a).is_empty() && !active.cancel(&a, QueryId(7)));
    }

    #[test]
    fn an_id_reads_back_and_nothing_else_is_one() {
        assert_eq!(QueryId::parse("00000000000000ff"), Some(QueryId(255)));
        for text in ["", "ff", "00000000000000fg", "+0000000000000ff", "000000000000000ff"] {
            assert_eq!(QueryId::parse(text), None, "{text}");
        }
    }
}
