//! The store's conformance suite, over a directory and over rows of a database that keeps
//! Cassandra's rules; and what three mistakes with such a database cost.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "store_conformance/crashes.rs"]
mod crashes;
#[path = "store_conformance/plants.rs"]
mod plants;

use ingester::cassandra::fake::{Fake, Faults};
use ingester::cassandra::{Database, Rows};
use model::{SplitMix64, TimestampMs};
use plants::{Plant, Planted};
use std::sync::Arc;
use store::engine::Parts;
use store::sim::SimDisk;
use store::{Config, Engine};
use tests::store_suite::{Done, Place, run, run_side_by_side};

/// How many sequences are run on each.
const SEQUENCES: usize = 1_000;
/// Steps of a sequence.
const ROUNDS: usize = 24;

/// A directory on a disk that forgets what was not synced.
struct Directory {
    disk: SimDisk,
    lives: u64,
}

impl Place for Directory {
    fn open(&mut self, config: Config, now: TimestampMs) -> Result<Engine, String> {
        self.lives += 1;
        let disk = Arc::new(self.disk.clone());
        let parts = parts(disk, self.lives);
        Ok(Engine::open(parts, config, now).map_err(|error| error.to_string())?.0)
    }

    fn died(&mut self) {
        self.disk.power_cut();
    }
}

fn parts(disk: Arc<dyn store::disk::Disk>, generation_seed: u64) -> Parts {
    Parts { disk, cluster_name: "conformance".to_owned(), generation_seed }
}

/// Rows of the fake.
struct InRows {
    fake: Fake,
    plant: Option<Plant>,
    chance: SplitMix64,
    /// Which of how many.
    place: (u16, u16),
}

impl InRows {
    fn new(seed: u64, faults: Faults, plant: Option<Plant>) -> Self {
        let fake = Fake::new(seed, faults);
        Self { fake, plant, chance: SplitMix64::new(seed ^ 0x5eed), place: (0, 1) }
    }

    /// Two places of one database.
    fn two(seed: u64, faults: Faults) -> [Self; 2] {
        let fake = Fake::new(seed, faults);
        [0, 1].map(|place| {
            let chance = SplitMix64::new(seed ^ 0x5eed ^ u64::from(place));
            Self { fake: fake.clone(), plant: None, chance, place: (place, 2) }
        })
    }

    fn rows(&self) -> Arc<dyn Rows> {
        match self.plant {
            Some(plant) => Arc::new(Planted::new(self.fake.clone(), plant)),
            None => Arc::new(self.fake.clone()),
        }
    }
}

impl Place for InRows {
    fn open(&mut self, config: Config, now: TimestampMs) -> Result<Engine, String> {
        let incarnation = u128::from(self.chance.draw()) << 64 | u128::from(self.chance.draw());
        // A process that does not come up is started again, as the same life or another.
        let mut last = String::new();
        for _ in 0..20 {
            let (place, places) = self.place;
            let database = Database::new(self.rows(), incarnation, places, false);
            let opened = database.and_then(|database| {
                database.set_period(now.0.unsigned_abs() / 3_600_000);
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
        if self.chance.draw().is_multiple_of(2) {
            self.fake.deliver();
        }
    }
}

fn did_all(done: &Done, sequences: usize) {
    assert!(done.lives >= 3, "{done:?}");
    assert!(done.samples > 50 * sequences as u64, "{done:?}");
    assert!(done.windows_expired >= 3, "{done:?}");
    assert!(done.compactions > 3 && done.deletes > sequences as u64, "{done:?}");
}

#[test]
fn a_store_in_a_directory_answers_as_a_map_does() {
    let mut place = Directory { disk: SimDisk::new(1), lives: 0 };
    let done = run(&mut place, 1, SEQUENCES, ROUNDS).unwrap();
    did_all(&done, SEQUENCES);
}

#[test]
fn a_store_in_rows_answers_as_a_map_does_and_drops_tables() {
    let mut place = InRows::new(1, Faults::default(), None);
    let done = run(&mut place, 1, SEQUENCES, ROUNDS).unwrap();
    did_all(&done, SEQUENCES);
    let tables = place.fake.tables().unwrap();
    let of = |prefix: &str| tables.iter().filter(|name| name.starts_with(prefix)).count();
    assert!(of("segments_172800000_") <= 4, "what is over is dropped: {tables:?}");
    assert!(of("journal_") <= 2, "so is what no replay needs: {tables:?}");
}

#[test]
fn two_places_of_one_database_answer_each_as_its_own_map_does() {
    let all =
        [(1, Faults::default()), (2, Faults::default()), (3, Faults::SOME), (4, Faults::SOME)];
    for (seed, faults) in all {
        let mut places = InRows::two(seed, faults);
        let fake = places[0].fake.clone();
        let [one, other] = &mut places;
        let done = run_side_by_side(vec![one, other], seed, 64, ROUNDS);
        let done = done.unwrap_or_else(|fault| panic!("{seed}: {fault}"));
        done.iter().for_each(|done| assert!(done.lives > 1 && done.deletes > 64, "{done:?}"));
        assert!(done.iter().any(|done| done.windows_expired > 0), "{done:?}");
        let tables = fake.tables().unwrap();
        let journals = tables.iter().filter(|name| name.starts_with("journal_")).count();
        assert!(journals <= 4, "both are past the others: {tables:?}");
    }
}

#[test]
fn a_store_in_rows_answers_as_a_map_does_while_the_database_times_out() {
    for seed in 10..14 {
        let mut place = InRows::new(seed, Faults::SOME, None);
        let done =
            run(&mut place, seed, 64, ROUNDS).unwrap_or_else(|fault| panic!("{seed}: {fault}"));
        assert!(done.lives > 1, "{done:?}");
    }
}

/// The first seed whose suite sees it.
fn seen(plant: Plant) -> Option<String> {
    let faults = Faults { schema_late: 50, ..Faults::default() };
    (0..8).find_map(|seed| run(&mut InRows::new(seed, faults, Some(plant)), seed, 32, ROUNDS).err())
}

fn is_loss(fault: &str) -> bool {
    let losses = ["is lost", "samples instead of", "missing or damaged", "it is missing"];
    losses.iter().any(|loss| fault.contains(loss))
}

#[test]
fn a_key_used_twice_loses_samples_and_is_seen() {
    let fault = seen(Plant::KeyTwice).unwrap();
    assert!(is_loss(&fault), "{fault}");
}

#[test]
fn a_delete_below_its_rows_timestamp_loses_samples_and_is_seen() {
    let fault = seen(Plant::DeleteBelow).unwrap();
    assert!(is_loss(&fault), "{fault}");
}

#[test]
fn a_table_created_twice_loses_samples_and_is_seen() {
    let fault = seen(Plant::TableTwice).unwrap();
    assert!(is_loss(&fault), "{fault}");
}

#[test]
fn without_a_plant_the_same_suites_see_nothing() {
    let faults = Faults { schema_late: 50, ..Faults::default() };
    for seed in 0..4 {
        let done = run(&mut InRows::new(seed, faults, None), seed, 32, ROUNDS);
        assert!(done.is_ok(), "{seed}: {done:?}");
    }
}
