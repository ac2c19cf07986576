//! A place of the suite that is rows of a database, whichever it is.

use ingester::cassandra::{self, Rows};
use model::{SplitMix64, TimestampMs};
use std::sync::Arc;
use store::engine::Parts;
use store::{Config, Engine};
use tests::store_suite::{Done, Place};

/// A database, and what becomes of what is under way in it when a process of ours dies.
pub(crate) trait Database {
    /// A way to it, of a process that has just started.
    fn rows(&self) -> Arc<dyn Rows>;

    /// A process has died; `is_lucky` every other time.
    fn died(&mut self, is_lucky: bool);
}

/// Rows of a database.
pub(crate) struct InRows<D> {
    pub(crate) database: D,
    chance: SplitMix64,
    /// Which of how many.
    place: (u16, u16),
}

impl<D: Database> InRows<D> {
    pub(crate) fn on(database: D, seed: u64) -> Self {
        Self { database, chance: SplitMix64::new(seed ^ 0x5eed), place: (0, 1) }
    }

    /// The same as one of the places of a database.
    pub(crate) fn at_place(self, place: u16, places: u16) -> Self {
        Self { place: (place, places), ..self }
    }
}

impl<D: Database> Place for InRows<D> {
    fn open(&mut self, config: Config, now: TimestampMs) -> Result<Engine, String> {
        let incarnation = u128::from(self.chance.draw()) << 64 | u128::from(self.chance.draw());
        // A process that does not come up is started again, as the same life or another.
        let mut last = String::new();
        for _ in 0..20 {
            let (place, places) = self.place;
            let database =
                cassandra::Database::new(self.database.rows(), incarnation, places, false);
            let opened = database.and_then(|database| {
                let hour = now.0.unsigned_abs() / 3_600_000;
                database.set_hour(hour);
                if database.make_next_period()? < hour {
                    database.make_next_period()?;
                }
                let store = database.place(place, 0);
                let parts = parts(store.disk(), self.chance.draw());
                Engine::open_on(&store, parts, config.clone(), now)
            });
            match opened {
                Ok((engine, report)) => {
                    assert!(report.replay.damage.is_empty(), "false alarm: {report:?}");
                    if let Some((path, error)) = report.sstables_damaged.first() {
                        return Err(format!("{path} is lost: {error}"));
                    }
                    return Ok(engine);
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    fn died(&mut self) {
        let is_lucky = self.chance.draw().is_multiple_of(2);
        self.database.died(is_lucky);
    }
}

pub(crate) fn parts(disk: Arc<dyn store::disk::Disk>, generation_seed: u64) -> Parts {
    Parts { disk, cluster_name: "conformance".to_owned(), generation_seed }
}

/// That a suite did what it is there for.
pub(crate) fn did_all(done: &Done, sequences: usize) {
    assert!(done.lives >= 3, "{done:?}");
    assert!(done.samples > 50 * sequences as u64, "{done:?}");
    assert!(done.windows_expired >= 3, "{done:?}");
    assert!(done.compactions > 3 && done.deletes > sequences as u64, "{done:?}");
}

/// That the tables of windows that are over are gone, and the journals that no replay needs.
pub(crate) fn dropped_what_is_over(rows: &dyn Rows) {
    let tables = rows.tables().unwrap();
    let of = |prefix: &str| tables.iter().filter(|name| name.starts_with(prefix)).count();
    assert!(of("segments_172800000_") <= 4, "what is over is dropped: {tables:?}");
    assert!(of("journal_") <= 2, "so is what no replay needs: {tables:?}");
}
