//! How long it takes until every place is served again, when nothing else goes wrong and nobody asks:
//! a request that carries a newer ring version would tell an heir sooner than its next reading.

use super::cassandra::PLACES;
use super::process::{Manner, Plant};
use super::world::{SLOTS, World};

const WELL: u64 = 20_000;

/// Three processes that have divided the ring, on a network that is well.
fn settled(seed: u64, manner: Manner) -> World {
    let mut world = World::new(seed, (manner, Plant::Nothing), 0);
    world.run_until(WELL + seed * 37);
    assert_eq!(served_by(&world), SLOTS, "seed {seed}");
    world
}

/// How many processes serve; 0 if a place is served by none.
fn served_by(world: &World) -> usize {
    let servers: Vec<_> = (0..PLACES).map_while(|place| world.server(place)).collect();
    let is_whole = servers.len() == PLACES;
    (0..SLOTS).filter(|slot| is_whole && servers.contains(slot)).count()
}

/// How long until the process is gone and others serve every place, in steps of 100 ms.
fn back_after_ms(mut world: World, end: fn(&mut World)) -> u64 {
    let life = |world: &World| world.process(1).map(|process| process.life);
    let (gone, gone_at) = (life(&world), world.now);
    end(&mut world);
    let is_back = |ms: &u64| {
        world.run_until(gone_at + ms);
        life(&world) != gone && served_by(&world) >= SLOTS - 1
    };
    (0..60_000).step_by(100).find(is_back).expect("served within a minute")
}

#[test]
fn a_killed_process_is_replaced_within_15_seconds() {
    for manner in [Manner::ByTheDead, Manner::ByPlace] {
        let after_ms = |seed| back_after_ms(settled(seed, manner), |world| world.end(1, 600_000));
        let longest_ms = (0..100).map(after_ms).max().unwrap();
        println!("{manner:?}, killed: back after {longest_ms} ms at most");
        assert!(longest_ms <= 15_000, "{manner:?}: {longest_ms} ms");
    }
}

#[test]
fn a_process_that_leaves_is_replaced_within_6_seconds_or_8_where_heirs_open_each_place() {
    for (manner, bound_ms) in [(Manner::ByTheDead, 6_000), (Manner::ByPlace, 8_000)] {
        let after_ms = |seed| back_after_ms(settled(seed, manner), |world| world.leave(1));
        let longest_ms = (0..100).map(after_ms).max().unwrap();
        println!("{manner:?}, left: back after {longest_ms} ms at most");
        assert!(longest_ms <= bound_ms, "{manner:?}: {longest_ms} ms");
    }
}
