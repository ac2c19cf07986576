//! Questions that are answered on the thread that asks.

use super::super::Places;
use super::Plant;
use super::world::{METRICS, Mode, World, all, context};
use crate::cassandra::fake::Faults;
use crate::cassandra::fleet::Fleet;
use model::matcher::MatchOp;
use model::read::Selection;
use model::{METRIC_NAME, Matcher, SeriesColumns};
use std::sync::Arc;
use wire::replica::Replica as _;

const METRIC: usize = 3;

/// Processes that have what they wrote in sstables, and nothing of it near.
fn over_sstables(processes: usize) -> World {
    let mut world = World::new(5, processes, Faults::default(), Plant::Nothing);
    world.run(8_000);
    for metric in 0..METRICS {
        let owner = world.servers(world.place_of(metric))[0];
        assert!(world.write(owner, metric));
    }
    for process in world.processes.iter().flatten() {
        world.runtime.block_on(Places::new(Arc::clone(&process.member)).flush()).unwrap();
        process.member.open.read().by_place.values().for_each(|of| of.store.near().forget());
    }
    world
}

fn here(fleet: &Fleet, selection: &Selection) -> Option<Vec<SeriesColumns>> {
    Some(fleet.select_here(&context(), selection)?.unwrap())
}

fn elsewhere(world: &World, fleet: &Fleet, metric: usize) -> Vec<SeriesColumns> {
    world.runtime.block_on(async { fleet.select(context(), all(metric)).await }).unwrap()
}

#[test]
fn what_is_near_and_in_one_place_is_answered_at_once_and_nothing_else() {
    let world = over_sstables(1);
    let fleet = world.fleet(0).unwrap();
    assert_eq!(here(&fleet, &all(METRIC)), None, "nobody knows yet what is near");
    let far = elsewhere(&world, &fleet, METRIC);
    assert_eq!(far[0].samples(), 1);
    assert_eq!(here(&fleet, &all(METRIC)), None, "the question before had to fetch");
    assert_eq!(elsewhere(&world, &fleet, METRIC), far);
    assert_eq!(here(&fleet, &all(METRIC)), Some(far));
    let every = Matcher::new(METRIC_NAME, MatchOp::Regex, "m.*");
    let of_many = Selection { matchers: vec![every], ..all(0) };
    assert_eq!(here(&fleet, &of_many), None, "several places work side by side");
    let other = (0..METRICS).find(|m| world.place_of(*m) != world.place_of(METRIC));
    assert!(
        here(&fleet, &all(other.unwrap())).is_some(),
        "that there is more to fetch is not known"
    );
    assert_eq!(here(&fleet, &all(METRIC)), None, "and now it is");
    elsewhere(&world, &fleet, METRIC);
    assert!(here(&fleet, &all(METRIC)).is_some());
    let likely = fleet.estimate_here(&context(), &all(METRIC)).unwrap().unwrap();
    assert_eq!((likely.series, likely.samples), (1, 1));
    // Nobody renews the lease.
    world.processes[0].as_ref().unwrap().link.set(Mode::Cut);
    world.time.pass(9_000);
    assert_eq!(here(&fleet, &all(METRIC)), None, "the lease is not trusted");
}

#[test]
fn what_is_in_a_place_of_another_process_is_not_answered_here() {
    let world = over_sstables(2);
    let owner = world.servers(world.place_of(METRIC))[0];
    for number in 0..2 {
        let fleet = world.fleet(number).unwrap();
        for _ in 0..2 {
            elsewhere(&world, &fleet, METRIC);
        }
        assert_eq!(here(&fleet, &all(METRIC)).is_some(), number == owner, "process {number}");
    }
}

#[test]
fn an_answer_for_which_the_lease_was_not_trusted_to_the_end_is_not_given() {
    let world = over_sstables(1);
    let fleet = world.fleet(0).unwrap();
    for _ in 0..2 {
        elsewhere(&world, &fleet, METRIC);
    }
    let process = world.processes[0].as_ref().unwrap();
    let places = Places::new(Arc::clone(&process.member));
    let after = |ms| {
        places.here(&context(), &all(METRIC).matchers, |one| {
            world.time.pass(ms);
            one.select_here(&context(), &all(METRIC))
        })
    };
    assert!(after(0).is_some());
    process.link.set(Mode::Cut);
    assert_eq!(after(9_000), None);
}
