//! The store of a place is opened, and given away.
//!
//! Not here: when (`member.rs`); what an open store answers (`member/serve.rs`).

use super::open::{Served, Share};
use super::state::{Flush, State};
use super::{Member, halves};
use crate::cassandra::RowStore;
use crate::embedded::{Embedded, EmbeddedParts, say_damage};
use crate::error::Error;
use std::collections::BTreeSet;
use std::sync::Arc;
use store::engine::Parts;

/// How long after a place could not be opened it is tried again.
const OPEN_AGAIN_MS: u64 = 1_000;
/// How long after a flush that failed it is tried again.
const FLUSH_AGAIN_MS: u64 = 1_000;

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
        let database = Arc::clone(&self.state.lock().database);
        Ok(database.place(place, ring_version))
    }

    pub(super) fn open(&self, place: usize, ticket: u64, ring_version: u64) {
        let began_ns = self.parts.clock.monotonic_ns();
        let opened = self.try_open(place, ring_version);
        let now = self.parts.boot.now();
        let mut state = self.state.lock();
        state.at_work.remove(&place);
        let is_wanted = state.opening.get(&place) == Some(&ticket) && state.owner.keeps(place);
        match opened {
            Ok(served) if is_wanted => {
                state.opening.remove(&place);
                state.open_at.remove(&place);
                let (life, samples) = (served.store.life(), served.samples);
                let open = Arc::clone(&self.open.read());
                *self.open.write() = Arc::new(open.with(place, served));
                let ns = self.parts.clock.monotonic_ns().saturating_sub(began_ns);
                let milliseconds = ns / 1_000_000;
                tracing::info!(place, life, ring_version, samples, milliseconds, "place opened");
            }
            Ok(_) => tracing::info!(place, "a place was opened that is not wanted any more"),
            Err(error) => {
                tracing::warn!(place, %error, "a place could not be opened, it is tried again");
                state.opening.remove(&place);
                state.open_at.insert(place, now.plus_ms(OPEN_AGAIN_MS));
            }
        }
    }

    fn try_open(&self, place: usize, ring_version: u64) -> Result<Served, Error> {
        let number = u16::try_from(place).unwrap_or(u16::MAX);
        let store = self.store_of(number, ring_version)?;
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
        let telemetry = Arc::clone(&self.telemetry);
        let (embedded, report) = Embedded::open_on(&store, parts, telemetry, &self.config)?;
        say_damage(&report, Some(place));
        Ok(Served { embedded, store, samples: report.samples })
    }

    /// Flushes what the ring row still owes, and closes what is given away.
    pub(super) fn flush_owed(&self) {
        let (cover, given, owed) = {
            let mut state = self.state.lock();
            let cover = state.owner.flush_began();
            let open = Arc::clone(&self.open.read());
            let (mut given, mut owed) = (Vec::new(), Vec::new());
            let (mut gone, debts) = (BTreeSet::new(), state.owed_places());
            for (place, served) in &open.by_place {
                if !state.owner.keeps(*place) {
                    gone.insert(*place);
                    given.push((*place, Arc::clone(served)));
                } else if debts.contains(place) {
                    owed.push((*place, Arc::clone(served)));
                }
            }
            *self.open.write() = Arc::new(open.without(&gone));
            // What is being opened is not wanted any more.
            let State { owner, opening, .. } = &mut *state;
            opening.retain(|place, _| owner.keeps(*place));
            (cover, given, owed)
        };
        for (place, served) in given {
            // What could not be flushed stands in the journal, and is read by who opens the place.
            if let Err(error) = served.embedded.end() {
                tracing::warn!(place, %error, "a place is given away unflushed");
            }
        }
        let flushed = owed.into_iter().try_for_each(|(place, served)| {
            let flushed = served.embedded.flush_now().map(drop);
            flushed.inspect_err(|error| tracing::warn!(place, %error, "a place is not flushed yet"))
        });
        let mut state = self.state.lock();
        match flushed {
            Ok(()) => {
                state.owner.flush_done(cover);
                state.flush = Flush::Idle;
            }
            Err(_) => {
                state.flush = Flush::DueAt(self.parts.boot.now().plus_ms(FLUSH_AGAIN_MS));
            }
        }
    }
}
