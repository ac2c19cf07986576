//! The store's conformance suite, over a directory and over rows of a database that keeps
//! Cassandra's rules; and what three mistakes with such a database cost.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "store_conformance/contract.rs"]
mod contract;
#[path = "store_conformance/crashes.rs"]
mod crashes;
#[path = "store_conformance/in_rows.rs"]
mod in_rows;
#[path = "store_conformance/plants.rs"]
mod plants;

use in_rows::{Database, InRows, did_all, dropped_what_is_over, parts};
use ingester::cassandra::Rows;
use ingester::cassandra::fake::{Fake, Faults};
use model::TimestampMs;
use plants::{Plant, Planted};
use std::sync::Arc;
use store::sim::SimDisk;
use store::{Config, Engine};
use tests::store_suite::{Place, run, run_side_by_side};

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

/// The fake, and what is done wrong with it.
struct Planting {
    fake: Fake,
    plant: Option<Plant>,
}

impl Database for Planting {
    fn rows(&self) -> Arc<dyn Rows> {
        match self.plant {
            Some(plant) => Arc::new(Planted::new(self.fake.clone(), plant)),
            None => Arc::new(self.fake.clone()),
        }
    }

    fn died(&mut self, is_lucky: bool) {
        if is_lucky {
            self.fake.deliver();
        }
    }
}

fn on_fake(seed: u64, faults: Faults, plant: Option<Plant>) -> InRows<Planting> {
    InRows::on(Planting { fake: Fake::new(seed, faults), plant }, seed)
}

#[test]
fn a_store_in_a_directory_answers_as_a_map_does() {
    let mut place = Directory { disk: SimDisk::new(1), lives: 0 };
    let done = run(&mut place, 1, SEQUENCES, ROUNDS).unwrap();
    did_all(&done, SEQUENCES);
}

#[test]
fn a_store_in_rows_answers_as_a_map_does_and_drops_tables() {
    let mut place = on_fake(1, Faults::default(), None);
    let done = run(&mut place, 1, SEQUENCES, ROUNDS).unwrap();
    did_all(&done, SEQUENCES);
    dropped_what_is_over(&place.database.fake);
}

#[test]
fn two_places_of_one_database_answer_each_as_its_own_map_does() {
    let all =
        [(1, Faults::default()), (2, Faults::default()), (3, Faults::SOME), (4, Faults::SOME)];
    for (seed, faults) in all {
        let fake = Fake::new(seed, faults);
        let planting = || Planting { fake: fake.clone(), plant: None };
        let mut one = InRows::on(planting(), seed).at_place(0, 2);
        let mut other = InRows::on(planting(), seed + 1).at_place(1, 2);
        let done = run_side_by_side(vec![&mut one, &mut other], seed, 64, ROUNDS);
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
        let mut place = on_fake(seed, Faults::SOME, None);
        let done =
            run(&mut place, seed, 64, ROUNDS).unwrap_or_else(|fault| panic!("{seed}: {fault}"));
        assert!(done.lives > 1, "{done:?}");
    }
}

/// The first seed whose suite sees it.
fn seen(plant: Plant) -> Option<String> {
    let faults = Faults { schema_late: 50, ..Faults::default() };
    (0..8).find_map(|seed| run(&mut on_fake(seed, faults, Some(plant)), seed, 32, ROUNDS).err())
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
        let done = run(&mut on_fake(seed, faults, None), seed, 32, ROUNDS);
        assert!(done.is_ok(), "{seed}: {done:?}");
    }
}

#[test]
fn the_fake_keeps_what_the_store_takes_for_granted() {
    let fake = Fake::new(1, Faults::default());
    contract::rows_keep_their_order_and_their_timestamps(&fake);
    contract::a_change_is_made_on_condition_or_not_at_all(&fake);
    contract::a_table_that_was_dropped_refuses(&fake);
    contract::a_table_that_is_listed_answers(&fake, &fake);
}
