//! The store's conformance suite over a real Cassandra: the same sequences as over the fake.
//!
//! Only with the feature `cassandra`. `CUMAE_CASSANDRA` says where it is (`host:port`); without it these
//! tests fail. `tests/external/cassandra.py` starts one and runs them. `CUMAE_BIN` is a cumae with that feature.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "store_conformance/contract.rs"]
mod contract;
#[path = "store_conformance/in_rows.rs"]
mod in_rows;

use in_rows::{Database, InRows, did_all, dropped_what_is_over};
use ingester::cassandra::driver::{Config, Driver};
use ingester::cassandra::{Rows, upkeep};
use std::process::Command;
use std::sync::Arc;
use tests::process::free_address;
use tests::store_suite::{run, run_side_by_side};
use tests::{HttpSubject, compliance, shared};

/// How many sequences are run.
const SEQUENCES: usize = 1_000;
/// Steps of a sequence.
const ROUNDS: usize = 24;

fn of_environment(name: &str) -> String {
    let value = std::env::var(name).map_err(|_| format!("{name} is not set; see this file's head"));
    value.unwrap()
}

/// A keyspace of its own for each test.
struct Keyspace {
    config: Config,
    /// When a process of ours dies, the node is killed too, and started again.
    kills: bool,
}

impl Keyspace {
    fn new(name: &str) -> Self {
        let keyspace = format!("{name}_{}", std::process::id());
        let config = Config::new(vec![of_environment("CUMAE_CASSANDRA")], keyspace);
        let driver = Driver::connect(&config).unwrap();
        let replication = "{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}";
        driver.create_keyspace(replication).unwrap();
        upkeep::init(&driver, Some(0)).unwrap();
        Self { config, kills: false }
    }

    fn driver(&self) -> Driver {
        Driver::connect(&self.config).unwrap()
    }
}

impl Database for Keyspace {
    fn rows(&self) -> Arc<dyn Rows> {
        Arc::new(self.driver())
    }

    fn died(&mut self, is_lucky: bool) {
        if self.kills && is_lucky {
            let again = of_environment("CUMAE_CASSANDRA_KILL");
            let again = Command::new("sh").args(["-c", &again]).status().unwrap();
            assert!(again.success(), "the node does not come back");
        }
    }
}

#[test]
fn cassandra_keeps_what_the_store_takes_for_granted() {
    let keyspace = Keyspace::new("contract");
    let driver = keyspace.driver();
    contract::rows_keep_their_order_and_their_timestamps(&driver);
    contract::a_change_is_made_on_condition_or_not_at_all(&driver);
    contract::a_table_that_was_dropped_refuses(&driver);
    contract::a_table_that_is_listed_answers(&driver, &keyspace.driver());
}

#[test]
fn a_store_in_cassandra_answers_as_a_map_does_and_drops_tables() {
    let mut place = InRows::on(Keyspace::new("suite"), 1);
    let done = run(&mut place, 1, SEQUENCES, ROUNDS).unwrap();
    did_all(&done, SEQUENCES);
    dropped_what_is_over(&place.database.driver());
}

#[test]
fn two_places_in_cassandra_answer_each_as_its_own_map_does() {
    let (one, other) = (Keyspace::new("places"), Keyspace::new("places"));
    let mut one = InRows::on(one, 3).at_place(0, 2);
    let mut other = InRows::on(other, 4).at_place(1, 2);
    let done = run_side_by_side(vec![&mut one, &mut other], 3, 64, ROUNDS).unwrap();
    done.iter().for_each(|done| assert!(done.lives > 1 && done.deletes > 64, "{done:?}"));
}

#[test]
fn a_store_in_cassandra_answers_as_a_map_does_when_the_node_is_killed_with_it() {
    let mut keyspace = Keyspace::new("killed");
    keyspace.kills = true;
    let done = run(&mut InRows::on(keyspace, 2), 2, 32, ROUNDS).unwrap();
    assert!(done.lives > 2, "{done:?}");
}

#[test]
fn compliance_queries_are_answered_over_cassandra_as_upstream_does() {
    let Some(folder) = shared::folder("promql-compliance") else {
        println!("../shared/promql-compliance IS MISSING: its 322 queries are not asked");
        return;
    };
    let (keyspace, dir) = (Keyspace::new("compliance"), tempfile::tempdir().unwrap());
    let Config { contact_points, keyspace, .. } = &keyspace.config;
    let config = format!(
        "storage: cassandra\ncassandra: {{contact_points: {contact_points:?}, keyspace: {keyspace}}}\n\
         cluster: {{listen: '{}'}}\n",
        free_address()
    );
    let mut subject = HttpSubject::with(dir.path(), &config);
    for form in ["from journals and memory", "from segments"] {
        assert_eq!(compliance::faults(&folder, &mut subject), (322, Vec::new()), "{form}");
        subject.seal();
    }
}
