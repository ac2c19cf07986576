//! Stories: whatever happens, what was acknowledged is in the answers, nothing is in one twice, and no two
//! processes answer for a place.

use super::super::Places;
use super::Plant;
use super::world::{METRICS, Mode, PLACES, World};
use crate::cassandra::fake::Faults;
use std::sync::Arc;
use wire::replica::Replica;

/// Everything that is looked at goes well.
pub(super) fn quiet(processes: usize) -> World {
    let mut world = World::new(1, processes, Faults::default(), Plant::Nothing);
    world.run(15_000);
    world
}

pub(super) fn served_by(world: &World) -> Vec<Vec<usize>> {
    (0..usize::from(PLACES)).map(|place| world.servers(place)).collect()
}

pub(super) fn until_served(world: &mut World, within_ms: u64) -> u64 {
    let began = world.time.ms();
    while served_by(world).iter().any(|servers| servers.len() != 1) {
        assert!(world.time.ms() - began < within_ms, "{:?}", served_by(world));
        world.turns(250);
    }
    world.time.ms() - began
}

pub(super) fn write_everywhere(world: &mut World) {
    for metric in 0..METRICS {
        let place = world.place_of(metric);
        let server = world.servers(place)[0];
        assert!(world.write(server, metric));
    }
}

pub(super) fn read_everywhere(world: &mut World) {
    for metric in 0..METRICS {
        let place = world.place_of(metric);
        let server = world.servers(place)[0];
        assert_eq!(world.read(server, metric), Ok(true));
    }
}

#[test]
fn the_places_are_spread_over_processes_each_served_by_one() {
    let mut world = quiet(2);
    until_served(&mut world, 15_000);
    let mut counts = [0, 0];
    served_by(&world).iter().for_each(|servers| counts[servers[0]] += 1);
    assert_eq!(counts, [2, 2]);
    write_everywhere(&mut world);
    read_everywhere(&mut world);
}

#[test]
fn a_killed_process_is_replaced_within_fifteen_seconds_and_nothing_is_lost() {
    let mut world = quiet(2);
    until_served(&mut world, 15_000);
    for round in 0..3 {
        write_everywhere(&mut world);
        let gone = round % 2;
        world.kill(gone);
        let ms = until_served(&mut world, 15_000);
        assert!(ms <= 15_000, "{ms} ms");
        read_everywhere(&mut world);
        world.start(gone);
        world.run(10_000);
        until_served(&mut world, 15_000);
        read_everywhere(&mut world);
    }
}

#[test]
fn a_process_that_leaves_hands_over_in_seconds() {
    let mut world = quiet(2);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    let leaving = Arc::clone(&world.processes[0].as_ref().unwrap().member);
    leaving.leave();
    let began = world.time.ms();
    while !leaving.has_left() {
        world.turns(250);
        assert!(world.time.ms() - began < 5_000, "it hands over in seconds");
    }
    world.kill(0);
    assert!(until_served(&mut world, 5_000) < 5_000);
    read_everywhere(&mut world);
}

#[test]
fn all_processes_may_stop_for_days() {
    let mut world = quiet(3);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    (0..3).for_each(|number| world.kill(number));
    world.time.pass(3 * 86_400_000);
    (0..2).for_each(|number| world.start(number));
    until_served(&mut world, 30_000);
    read_everywhere(&mut world);
}

#[test]
fn a_write_that_waited_for_the_database_while_its_place_was_taken_over_is_not_acknowledged() {
    let mut world = quiet(2);
    until_served(&mut world, 15_000);
    let place = world.place_of(0);
    let server = world.servers(place)[0];
    stall(&mut world, server, 0);
    world.run(20_000);
    assert_ne!(world.servers(place), [server], "another has it");
    assert!(!release(&mut world, server), "it is not known what became of it");
    let now = world.servers(place)[0];
    assert_eq!(world.read(now, 0), Ok(true));
}

#[test]
fn a_write_and_a_read_of_everything_go_to_all_who_have_a_part_of_it() {
    let mut world = quiet(3);
    until_served(&mut world, 15_000);
    let fleet = world.fleet(1).unwrap();
    let mut whole = model::mutation::Mutation::empty(super::world::context());
    for metric in 0..METRICS {
        let (one, (_, at)) = world.sample(metric);
        whole.push(one.series[0].series.clone(), [(at, 1.0)]);
        world.said.acknowledged.entry(metric).or_default().insert(at);
    }
    let answer = world.runtime.block_on(async { fleet.write(whole).await });
    assert!(answer.is_ok(), "{answer:?}");
    for number in 0..3 {
        assert_eq!(world.read_all(number), Ok(true));
    }
    // One that is gone is missed: there is no answer without its part.
    world.kill(0);
    for number in 1..3 {
        assert_eq!(world.read_all(number), Ok(false));
    }
    until_served(&mut world, 15_000);
    for number in 1..3 {
        assert_eq!(world.read_all(number), Ok(true));
    }
}

#[test]
fn a_place_is_not_opened_by_an_older_version_of_the_ring_than_before() {
    use crate::cassandra::{Database, fake::Fake};
    use store::engine::Backend as _;
    let fake = Fake::new(1, Faults::default());
    let database = Database::new(Arc::new(fake), 1, 2, false).unwrap();
    let open = |place, version| database.place(place, version).open_manifest().map(drop);
    open(0, 8).unwrap();
    assert!(matches!(open(0, 7), Err(store::Error::Fenced { .. })));
    open(0, 8).unwrap();
    open(0, 9).unwrap();
    open(1, 7).unwrap();
}

#[test]
fn a_place_in_which_nothing_comes_does_not_keep_the_journals_of_all() {
    let mut world = quiet(1);
    let journals = |world: &World| {
        use crate::cassandra::rows::Rows as _;
        let tables = world.fake.tables().unwrap();
        tables.iter().filter(|name| name.starts_with("journal_")).count()
    };
    for _ in 0..10 {
        assert!(world.write(0, 0));
        world.time.pass(3_600_000);
        world.run(20_000);
    }
    assert!(journals(&world) <= 5, "{} tables", journals(&world));
    assert_eq!(world.read(0, 0), Ok(true));
}

/// Stops a process in the middle of a write, for long.
fn stall(world: &mut World, number: usize, metric: usize) {
    let (mutation, sample) = world.sample(metric);
    let until = world.time.ms() + 25_000;
    let Some(process) = world.processes[number].as_mut() else { return };
    process.link.stall(true);
    process.paused_until = until;
    let places = Places::new(Arc::clone(&process.member));
    // The record is in line and the log's thread at work when this returns.
    let handle = world.runtime.spawn(async move { places.write(mutation).await });
    world.runtime.block_on(tokio::task::yield_now());
    process.stalled = Some((handle, sample));
}

/// Lets it go on; whether the write was acknowledged.
pub(super) fn release(world: &mut World, number: usize) -> bool {
    let Some(process) = world.processes[number].as_mut() else { return false };
    process.link.stall(false);
    process.paused_until = 0;
    let Some((handle, sample)) = process.stalled.take() else { return false };
    let answer = world.runtime.block_on(handle).unwrap();
    world.heard(&answer, sample)
}

/// What goes wrong now, if anything does.
pub(super) fn fault(world: &mut World) {
    let number = usize::try_from(world.draw(3)).unwrap();
    let now = world.time.ms();
    match world.draw(40) {
        0 => world.kill(number),
        1 => {
            let until = now + 1_000 + world.draw(25_000);
            if let Some(process) = world.processes[number].as_mut() {
                process.paused_until = until;
            }
        }
        2 => {
            let modes = [Mode::Cut, Mode::Cut, Mode::Slow(400), Mode::Slow(2_500)];
            let mode = modes[usize::try_from(world.draw(4)).unwrap()];
            if let Some(process) = &world.processes[number] {
                process.link.set(mode);
            }
        }
        3 => {
            if let Some(process) = &world.processes[number] {
                process.member.leave();
            }
        }
        4..=6 if world.processes[number].as_ref().is_some_and(|p| p.stalled.is_none()) => {
            let metric = usize::try_from(world.draw(METRICS as u64)).unwrap();
            stall(world, number, metric);
        }
        7..=12 => heal(world, number),
        13 => world.fake.deliver(),
        14..=16 => flush(world, number),
        _ => {}
    }
}

pub(super) fn heal(world: &mut World, number: usize) {
    if world.processes[number].as_ref().is_some_and(|p| p.member.has_left()) {
        world.kill(number);
    }
    match &world.processes[number] {
        Some(process) => process.link.set(Mode::Well),
        None => world.start(number),
    }
}

fn flush(world: &mut World, number: usize) {
    let process = world.processes[number].as_ref().filter(|p| p.stalled.is_none());
    let Some(process) = process else { return };
    let open = Arc::clone(&process.member.open.read());
    let at = usize::try_from(world.draw(u64::from(PLACES))).unwrap();
    if let Some(served) = open.by_place.get(&at) {
        let served = Arc::clone(served);
        // Refused or not: what is acknowledged is somewhere.
        drop(served.embedded.flush_now());
    }
}

pub(super) fn look(world: &mut World) -> Result<(), String> {
    for (place, servers) in served_by(world).iter().enumerate() {
        if servers.len() > 1 {
            return Err(format!("place {place} is answered for by {servers:?}"));
        }
    }
    Ok(())
}

/// A minute and a half of faults, then everything heals. What was broken, if anything was.
fn story(seed: u64, plant: Plant) -> Result<[u64; 5], String> {
    let faults = Faults { schema_late: 0, ..Faults::SOME };
    let mut world = World::new(seed, 3, faults, plant);
    world.run(8_000);
    while world.time.ms() < 100_000 {
        let ms = 200 + world.draw(1_200);
        world.turns(ms);
        fault(&mut world);
        look(&mut world)?;
        let metric = usize::try_from(world.draw(METRICS as u64)).unwrap();
        let place = world.place_of(metric);
        // One that answers, or any.
        let servers = world.servers(place);
        let any = usize::try_from(world.draw(3)).unwrap();
        let number = servers.first().copied().unwrap_or(any);
        if world.processes[number].as_ref().is_some_and(|p| p.stalled.is_none()) {
            world.write(number, metric);
            world.read(number, metric)?;
        }
        let any = usize::try_from(world.draw(3)).unwrap();
        world.read(any, metric)?;
        if world.draw(3) == 0 {
            world.read_all(any)?;
        }
        let now = world.time.ms();
        for number in 0..3 {
            let is_due = |p: &super::world::Process| p.stalled.is_some() && p.paused_until <= now;
            if world.processes[number].as_ref().is_some_and(is_due) {
                release(&mut world, number);
            }
        }
    }
    for number in 0..3 {
        release(&mut world, number);
        heal(&mut world, number);
        heal(&mut world, number);
    }
    world.fake.deliver();
    let healed = world.time.ms();
    while served_by(&world).iter().any(|servers| servers.len() != 1) {
        world.turns(500);
        look(&mut world)?;
        if world.time.ms() - healed > 60_000 {
            return Err(format!("not served in the end: {:?}", served_by(&world)));
        }
    }
    for metric in 0..METRICS {
        let server = world.servers(world.place_of(metric))[0];
        let is_answered = (0..20).try_fold(false, |is, _| match is {
            true => Ok(true),
            false => world.read(server, metric),
        })?;
        if !is_answered {
            return Err(format!("m{metric} is not answered in the end"));
        }
    }
    let acknowledged = world.said.acknowledged.values().map(|all| all.len() as u64).sum();
    Ok([acknowledged, world.opened, world.reads, world.reads_of_all, world.reads_here])
}

#[test]
fn nothing_acknowledged_is_missing_and_no_two_answer_over_200_seeds() {
    let mut sum = [0; 5];
    for seed in 0..200 {
        let told = story(seed, Plant::Nothing).unwrap_or_else(|fault| panic!("{seed}: {fault}"));
        sum.iter_mut().zip(told).for_each(|(sum, one)| *sum += one);
    }
    let [acknowledged, opened, reads, of_all, here] = sum;
    println!("{acknowledged} acknowledged, {opened} openings");
    println!("{reads} reads, {here} here, and {of_all} of all");
    assert!(acknowledged > 5_000 && opened > 2_000 && reads > 5_000 && of_all > 1_000);
    assert!(here > 1_000);
}

/// The first of some seeds that sees a bug.
fn seen(plant: Plant) -> String {
    let see = |seed| story(seed, plant).err().map(|fault| format!("{seed}: {fault}"));
    (0..100).find_map(see).expect("one of 100 seeds sees it")
}

#[test]
fn an_answer_that_leaves_without_another_look_is_seen() {
    let fault = seen(Plant::NoLookBeforeItLeaves);
    assert!(fault.contains("has lost"), "{fault}");
}

#[test]
fn a_place_that_is_answered_for_before_it_is_open_is_seen() {
    let fault = seen(Plant::ServesBeforeItIsOpen);
    assert!(fault.contains("has lost"), "{fault}");
}

#[test]
fn a_place_that_is_opened_without_a_fence_is_seen() {
    let fault = seen(Plant::NoFence);
    assert!(fault.contains("has lost") || fault.contains("not served"), "{fault}");
}

#[test]
fn a_restarted_process_that_answers_for_who_it_was_before_is_seen() {
    let fault = seen(Plant::AnswersForWhoItWas);
    assert!(fault.contains("has lost") || fault.contains("twice"), "{fault}");
}
