//! Two processes that say of themselves that they are found at one address.

use super::Plant;
use super::stories::{quiet, read_everywhere, served_by, until_served, write_everywhere};
use super::world::{PLACES, World};
use crate::cassandra::fake::Faults;

fn why_not_ready(world: &World, number: usize) -> Option<String> {
    world.processes[number].as_ref().unwrap().member.why_not_ready()
}

fn members(world: &World, number: usize) -> usize {
    world.processes[number].as_ref().unwrap().member.ring().unwrap().members().len()
}

#[test]
fn a_process_with_the_address_of_one_that_runs_does_not_join_and_says_why() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    world.processes.push(None);
    world.start_at(1, "n0:9010");
    for _ in 0..120 {
        world.run(250);
        assert_eq!(members(&world, 0), 1);
        assert_eq!(served_by(&world), vec![vec![0]; usize::from(PLACES)]);
        assert_eq!(why_not_ready(&world, 0), None);
        assert!(why_not_ready(&world, 1).is_some());
    }
    let why = why_not_ready(&world, 1).unwrap();
    assert!(why.contains("n0:9010") && why.contains("cluster.listen"), "{why}");
    read_everywhere(&mut world);

    // With an address of its own it has its part.
    world.kill(1);
    world.start(1);
    world.run(30_000);
    until_served(&mut world, 15_000);
    assert_eq!((members(&world, 0), why_not_ready(&world, 1)), (2, None));
}

#[test]
fn of_two_that_begin_together_at_one_address_one_joins() {
    let mut world = World::new(1, 1, Faults::default(), Plant::Nothing);
    world.processes.push(None);
    world.start_at(1, "n0:9010");
    world.run(30_000);
    until_served(&mut world, 15_000);
    let ready = (0..2).filter(|number| why_not_ready(&world, *number).is_none()).count();
    assert_eq!((ready, members(&world, 0), members(&world, 1)), (1, 1, 1));
}

#[test]
fn who_is_started_again_at_its_address_joins_when_who_it_was_has_not_renewed_for_a_while() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    world.kill(0);
    world.start(0);
    world.run(1_000);
    assert!(why_not_ready(&world, 0).is_some());
    world.run(8_000);
    assert_eq!(members(&world, 0), 2, "it is a member before its places are free");
    until_served(&mut world, 8_000);
    assert_eq!(why_not_ready(&world, 0), None);
    read_everywhere(&mut world);
}
