//! The store of a place is opened.
//!
//! # Rules
//! - What could not be opened is tried again, ever more seldom, as the same life of the place if that has
//!   written nothing: a database that is away uses up no lives. It is told once.
//!
//! Not here: when (`member.rs`); what an open store answers (`member/serve.rs`).

use super::open::{Served, Share};
use super::{Member, halves};
use crate::cassandra::RowStore;
use crate::embedded::{Embedded, EmbeddedParts, say_damage};
use crate::error::Error;
use parking_lot::Mutex;
use std::sync::Arc;
use store::RetentionConfig;
use store::engine::Parts;

impl Member {
    /// The store of a place, by a version of the ring row.
    fn store_of(&self, place: u16, ring_version: u64) -> Result<RowStore, Error> {
        #[cfg(test)]
        if self.plant == super::tests::Plant::NoFence {
            // Whoever opens the place is the same life of it.
            let rows = Arc::clone(&self.parts.rows);
            return Ok(
                crate::cassandra::Database::new(rows, 7, self.parts.places, true)?.place(place, 0)
            );
        }
        let state = self.state.lock();
        let database = Arc::clone(&state.database);
        let before = state.failed.get(&usize::from(place)).and_then(|failed| failed.unused);
        drop(state);
        Ok(match before {
            Some(incarnation) => database.place_as(place, ring_version, incarnation),
            None => database.place(place, ring_version),
        })
    }

    pub(super) fn open(&self, place: usize, ticket: u64, ring_version: u64) {
        let began_ns = self.parts.clock.monotonic_ns();
        let opened = self.try_open(place, ring_version);
        let mut state = self.state.lock();
        state.at_work.remove(&place);
        let is_wanted = state.opening.get(&place) == Some(&ticket) && state.owner.keeps(place);
        match opened {
            Ok(served) if is_wanted => {
                state.opening.remove(&place);
                let failed = state.failed.remove(&place).unwrap_or_default();
                let tries = failed.backoff.failures() + 1;
                let (life, samples) = (served.store.life(), served.samples);
                let open = Arc::clone(&self.open.read());
                *self.open.write() = Arc::new(open.with(place, served));
                let ns = self.parts.clock.monotonic_ns().saturating_sub(began_ns);
                let milliseconds = ns / 1_000_000;
                tracing::info!(
                    place,
                    life,
                    ring_version,
                    samples,
                    milliseconds,
                    tries,
                    "place opened"
                );
            }
            Ok(_) => tracing::info!(place, "a place was opened that is not wanted any more"),
            Err((error, unused)) => {
                state.opening.remove(&place);
                self.told.opening_failures.inc();
                let (now, chance) = (self.parts.boot.now(), self.parts.chance.draw());
                let failed = state.failed.entry(place).or_default();
                let why = error.to_string();
                if failed.why != why {
                    tracing::warn!(place, why, "a place could not be opened, it is tried again");
                    failed.why = why;
                }
                failed.backoff.failed(now, chance);
                failed.unused = unused;
            }
        }
    }

    /// Opens it; after an error, as which incarnation it may be tried again.
    fn try_open(&self, place: usize, ring_version: u64) -> Result<Served, (Error, Option<u128>)> {
        let number = u16::try_from(place).unwrap_or(u16::MAX);
        let store = self.store_of(number, ring_version).map_err(|error| (error, None))?;
        let opened = self.open_store(place, &store);
        let (embedded, samples, rules) = opened.map_err(|error| (error, store.unused()))?;
        Ok(Served { embedded, store, samples, rules: Mutex::new(rules) })
    }

    fn open_store(
        &self,
        place: usize,
        store: &RowStore,
    ) -> Result<(Arc<Embedded>, u64, Arc<RetentionConfig>), Error> {
        let [seed, ..] = halves(self.parts.chance.draw());
        let share = Share::new(Arc::clone(&self.open), place, self.parts.places);
        let parts = EmbeddedParts {
            name: self.parts.name.clone(),
            store: Parts {
                disk: store.disk(),
                cluster_name: self.parts.cluster_name.clone(),
                generation_seed: seed,
            },
            clock: Arc::clone(&self.parts.clock),
            limits: Arc::clone(&self.parts.limits),
            share: Arc::new(share),
            registry: self.parts.registry.clone(),
        };
        let (telemetry, rules) = (Arc::clone(&self.telemetry), Arc::clone(&self.rules.read()));
        let settings = (&self.config, &self.bounds, &*rules);
        let (embedded, report) = Embedded::open_on(store, parts, telemetry, settings)?;
        say_damage(&report, Some(place));
        Ok((embedded, report.samples, rules))
    }
}
