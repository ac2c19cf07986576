//! What one thing that goes wrong does, for a while, and that it ends with it.

use super::super::Task;
use super::Plant;
use super::stories::{quiet, read_everywhere, served_by, until_served, write_everywhere};
use super::world::{METRICS, PLACES, Process, World, all, context};
use crate::cassandra::agreement;
use crate::cassandra::fake::Faults;
use crate::cassandra::manifest;
use crate::cassandra::member::Places;
use crate::cassandra::member::state::Flush;
use crate::cassandra::rows::Rows as _;
use crate::cassandra::schema::journal_of;
use crate::cassandra::{settings, upkeep};
use cluster::ownership::Incarnation;
use cluster::ownership::ring_row::Stage;
use model::{Retention, RetentionRules};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::engine::Together;
use wire::replica::Replica as _;

const HOUR_MS: u64 = 3_600_000;

fn process(world: &World, number: usize) -> &Process {
    world.processes[number].as_ref().unwrap()
}

fn journals(world: &World) -> Vec<u64> {
    world.fake.tables().unwrap().iter().filter_map(|name| journal_of(name)).collect()
}

pub(super) fn flush_all(world: &World, number: usize) {
    let open = Arc::clone(&process(world, number).member.open.read());
    open.by_place.values().for_each(|served| drop(served.embedded.flush_now().unwrap()));
}

#[test]
fn a_schema_that_does_not_agree_at_the_full_hour_holds_up_no_write_and_is_not_asked_in_a_loop() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    let before = journals(&world);
    world.fake.set_faults(Faults { create_unknown: 100, ..Faults::default() });
    world.time.pass(HOUR_MS);
    world.run(10_000);
    until_served(&mut world, 15_000);
    let calls = world.fake.calls();
    for _ in 0..20 {
        write_everywhere(&mut world);
        world.run(15_000);
    }
    // Leases are renewed, and rows written; some tries more in five minutes.
    assert!(world.fake.calls() - calls < 500, "{} calls", world.fake.calls() - calls);
    assert_eq!(journals(&world), before);
    assert!(process(&world, 0).member.told.period_failures.get() > 2);
    world.fake.set_faults(Faults::default());
    world.run(30_000);
    assert_eq!(journals(&world).len(), 2, "made when it can be");
    write_everywhere(&mut world);
    read_everywhere(&mut world);
}

#[test]
fn the_next_hour_s_table_is_there_before_the_hour() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    let hour = |world: &World| {
        let now = model::Clock::now(&world.clock).0;
        u64::try_from(now).unwrap() / HOUR_MS
    };
    let first = hour(&world);
    let past = |world: &World| model::Clock::now(&world.clock).0 % 3_600_000;
    while past(&world) < 3_600_000 - 120_000 {
        world.turns(30_000);
    }
    assert_eq!(hour(&world), first, "two minutes are left, and nothing was written");
    assert!(journals(&world).contains(&(first + 1)), "{:?}", journals(&world));
}

#[test]
fn a_place_that_can_not_be_read_is_tried_ever_more_seldom_and_uses_up_no_lives() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    world.kill(0);
    world.fake.mute(Some("journal_"));
    world.start(0);
    world.run(30_000);
    let before = world.opened;
    world.run(300_000);
    let tries = world.opened - before;
    assert!(tries > 4 && tries <= 4 * 40, "{tries} tries of four places in five minutes");
    let told = &process(&world, 0).member.told;
    assert!(told.opening_failures.get() > 4);
    assert_eq!(told.places_shut.get(), i64::from(PLACES));
    world.fake.mute(None);
    let served = |world: &World| served_by(world).iter().filter(|by| !by.is_empty()).count();
    for _ in 0..80 {
        if served(&world) == 0 {
            world.turns(250);
        }
    }
    assert_eq!(served(&world), usize::from(PLACES), "when one can be opened the others are tried");
    world.run(20_000);
    until_served(&mut world, 1);
    read_everywhere(&mut world);
    for place in 0..PLACES {
        let (life, _) = manifest::look(&world.fake, place).unwrap();
        assert_eq!(life, 2, "one before, and one since");
    }
    assert_eq!(process(&world, 0).member.told.places_shut.get(), 0);
}

#[test]
fn a_life_that_a_store_was_opened_with_is_not_used_again_if_the_store_is_not_wanted_any_more() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    world.kill(0);
    world.fake.mute(Some("journal_"));
    world.start(0);
    world.run(30_000);
    world.fake.mute(None);
    let member = Arc::clone(&process(&world, 0).member);
    assert!(member.told.opening_failures.get() > 0);
    let mut unwanted = None;
    for _ in 0..200 {
        world.time.pass(250);
        for task in member.due() {
            if let (Task::Open { place, .. }, None) = (&task, unwanted) {
                // As if it were held back meanwhile.
                member.state.lock().opening.remove(place);
                unwanted = Some(*place);
            }
            member.run(task);
        }
    }
    until_served(&mut world, 15_000);
    for place in 0..PLACES {
        let (life, _) = manifest::look(&world.fake, place).unwrap();
        assert_eq!(life, 2 + u64::from(unwanted == Some(usize::from(place))), "{place}");
    }
    read_everywhere(&mut world);
}

#[test]
fn a_place_that_is_held_back_while_it_opens_is_waited_for_without_a_loop() {
    let mut world = World::new(1, 2, Faults::default(), Plant::Nothing);
    world.kill(1);
    let member = Arc::clone(&process(&world, 0).member);
    let (mut openings, mut flushes) = (Vec::new(), 0);
    for step in 0..80 {
        if step == 20 {
            world.start(1);
        }
        world.time.pass(250);
        world.turn(1);
        for _ in 0..10 {
            for task in member.due() {
                flushes += usize::from(matches!(task, Task::Flush));
                match task {
                    Task::Open { .. } => openings.push(task),
                    task => member.run(task),
                }
            }
        }
    }
    assert_eq!((openings.len(), member.state.lock().owner.held().count()), (4, 2));
    assert!(flushes < 5, "{flushes} flushes of nothing");
    openings.into_iter().for_each(|task| member.run(task));
    until_served(&mut world, 15_000);
}

#[test]
fn a_database_that_does_not_answer_while_a_place_opens_is_no_damage() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    flush_all(&world, 0);
    world.kill(0);
    world.fake.mute(Some("segments_"));
    world.start(0);
    world.run(30_000);
    assert!(served_by(&world).iter().all(Vec::is_empty), "what is not read is not served");
    world.fake.mute(None);
    world.run(20_000);
    until_served(&mut world, 1);
    read_everywhere(&mut world);
    let stats = Places::new(Arc::clone(&process(&world, 0).member)).stats();
    assert_eq!(stats.damaged_blocks, 0);
}

#[test]
fn answers_that_come_and_go_while_places_open_are_no_damage() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    for _ in 0..4 {
        write_everywhere(&mut world);
        flush_all(&world, 0);
    }
    for round in 0..8 {
        world.kill(0);
        world.fake.set_faults(Faults { read_unknown: 50, ..Faults::default() });
        world.start(0);
        world.run(40_000);
        world.fake.set_faults(Faults::default());
        world.run(20_000);
        until_served(&mut world, 1);
        for metric in 0..METRICS {
            assert_eq!(world.read(0, metric), Ok(true), "round {round}");
        }
    }
}

#[test]
fn a_table_that_somebody_dropped_is_damage_and_the_rest_is_served() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    flush_all(&world, 0);
    world.kill(0);
    let tables = world.fake.tables().unwrap();
    let segments = tables.iter().find(|name| name.starts_with("segments_")).unwrap();
    world.fake.drop_table(segments).unwrap();
    world.start(0);
    world.run(30_000);
    until_served(&mut world, 1);
    assert_eq!(world.read(0, 0), Ok(false), "an answer without what is gone would be wrong");
    assert!(world.write(0, 0));
}

#[test]
fn a_clock_that_was_far_ahead_keeps_no_journal_for_ever() {
    for days in [400, 60] {
        let mut world = quiet(1);
        until_served(&mut world, 15_000);
        write_everywhere(&mut world);
        world.clock.ahead_ms.store(days * 86_400_000, Ordering::Relaxed);
        world.run(10_000);
        write_everywhere(&mut world);
        world.clock.ahead_ms.store(0, Ordering::Relaxed);
        let far = journals(&world);
        for _ in 0..12 {
            world.time.pass(HOUR_MS);
            world.run(20_000);
            until_served(&mut world, 20_000);
            write_everywhere(&mut world);
        }
        let left = journals(&world);
        assert!(left.len() <= 5, "{days} days: {left:?}");
        assert!(!left.iter().any(|period| far.contains(period)), "{days} days: {far:?}, {left:?}");
        read_everywhere(&mut world);
    }
}

#[test]
fn debts_leave_the_ring_row_soon_after_a_take_over() {
    let mut world = quiet(2);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    world.kill(0);
    until_served(&mut world, 15_000);
    world.run(10_000);
    let row = process(&world, 1).member.ring().unwrap();
    assert!(row.obligations().is_empty(), "{:?}", row.obligations());
    read_everywhere(&mut world);
}

#[test]
fn each_place_is_handed_over_as_soon_as_it_is_flushed() {
    let mut world = quiet(2);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    let member = Arc::clone(&process(&world, 0).member);
    member.leave();
    // All is done but the second place's flush.
    let mut kept = Vec::new();
    for _ in 0..20 {
        for task in member.due() {
            match task {
                Task::Give { .. } if kept.is_empty() => kept.push(task),
                task => member.run(task),
            }
        }
        world.turns(250);
    }
    let owned = |world: &World, who: Incarnation| {
        process(world, 1).member.ring().unwrap().places_of(who).count()
    };
    assert_eq!(owned(&world, member.me()), 1, "the others are handed over");
    assert_eq!(served_by(&world).iter().filter(|by| **by == [1]).count(), 3);
    kept.into_iter().for_each(|task| member.run(task));
    until_served(&mut world, 10_000);
    world.run(5_000);
    assert!(member.has_left());
    read_everywhere(&mut world);
}

#[test]
fn reads_of_all_places_share_what_a_process_may_do_at_once() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    let member = Arc::clone(&process(&world, 0).member);
    let reads = Arc::clone(&member.bounds.reads);
    let most = u32::try_from(member.parts.config.reads_in_flight_max).unwrap();
    let places = Places::new(member);
    world.runtime.block_on(async {
        let taken = reads.acquire_many(most).await.unwrap();
        let read = places.select(context(), all(0));
        let waited = tokio::time::timeout(Duration::from_millis(50), read).await;
        assert!(waited.is_err(), "it waits for its turn");
        drop(taken);
        assert_eq!(places.select(context(), all(0)).await.unwrap().len(), 1);
    });
}

#[test]
fn all_places_together_bring_no_more_samples_than_one_may() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    for _ in 0..10 {
        write_everywhere(&mut world);
    }
    let open = Arc::clone(&process(&world, 0).member.open.read());
    let every = model::Matcher::new("__name__", model::matcher::MatchOp::Regex, "m.*");
    let mut selection = model::read::Selection { matchers: vec![every], ..all(0) };
    let ask = |selection: &model::read::Selection, together: &Arc<Together>| {
        let asked = open.by_place.values().map(|served| {
            let (context, selection) = (context(), selection.clone());
            let answer = served.embedded.select_together(context, selection, Arc::clone(together));
            let answer = world.runtime.block_on(answer);
            answer.map(|series| series.iter().map(|one| one.floats.len() as u64).sum::<u64>())
        });
        asked.collect::<Result<Vec<u64>, _>>()
    };
    let each = ask(&selection, &Arc::default()).unwrap();
    assert_eq!(each.iter().sum::<u64>(), 10 * METRICS as u64);
    // As much as the largest of them.
    selection.bounds.samples_max = each.iter().copied().max().unwrap();
    let together: Arc<Together> = Arc::default();
    let error = (0..4).find_map(|_| ask(&selection, &together).err()).expect("it is too much");
    assert!(error.message.contains("the limit"), "{error:?}");
}

#[test]
fn how_long_samples_are_kept_is_what_the_first_process_said() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    let member = Arc::clone(&process(&world, 0).member);
    assert_eq!(member.told.settings_differ.get(), 0);
    // Somebody changes it.
    let day = RetentionRules::all(Retention::from_ms(86_400_000));
    let wanted = store::RetentionConfig { default: day, ..store::RetentionConfig::default() };
    settings::set_retention(&world.fake, &wanted).unwrap();
    write_everywhere(&mut world);
    world.run(60_000);
    assert_eq!(**member.rules.read(), wanted, "a process that runs takes it over");
    assert_eq!(member.told.settings_differ.get(), 1, "its own configuration says something else");
    let open = Arc::clone(&member.open.read());
    assert!(open.by_place.values().all(|served| **served.rules.lock() == wanted));
    // One that starts keeps to it, too, and so do places that it opens.
    world.kill(0);
    world.start(0);
    world.run(15_000);
    until_served(&mut world, 15_000);
    let member = &process(&world, 0).member;
    assert_eq!(**member.rules.read(), wanted);
    world.time.pass(3 * 86_400_000);
    world.run(20_000);
    let answer = Places::new(Arc::clone(&process(&world, 0).member));
    let context = model::Context { now: model::Clock::now(&world.clock), ..(*context()).clone() };
    let found = world.runtime.block_on(answer.select(Arc::new(context), all(0)));
    assert!(found.unwrap().is_empty(), "by the rules that hold it has expired");
}

#[test]
fn a_keyspace_that_was_made_anew_is_not_joined_by_who_was_there_before() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    for table in world.fake.tables().unwrap() {
        world.fake.drop_table(&table).unwrap();
    }
    world.run(20_000);
    upkeep::init(&world.fake, None).unwrap();
    for said in [None, Some(7)] {
        if let Some(number) = said {
            assert_eq!(agreement::agree_on_number(&world.fake, number).unwrap(), number);
        }
        world.run(60_000);
        let why = process(&world, 0).member.why_not_ready().unwrap();
        assert!(why.contains("start it again"), "{why}");
        assert_eq!(agreement::ring(&world.fake).unwrap(), None, "it has left the ring alone");
    }
    // Whoever begins now serves all of it.
    world.kill(0);
    world.start(0);
    until_served(&mut world, 30_000);
    assert_eq!(process(&world, 0).member.ring_number(), 7);
}

#[test]
fn what_a_dead_process_left_is_flushed_until_it_is_paid_and_stays_owed_before() {
    let mut world = quiet(2);
    until_served(&mut world, 15_000);
    write_everywhere(&mut world);
    world.kill(0);
    // Files are written and cannot be opened.
    world.fake.mute(Some("segments_"));
    until_served(&mut world, 40_000);
    let owed = |world: &World| {
        let row = process(world, 1).member.ring().unwrap();
        row.obligations().values().filter(|stage| **stage == Stage::Replay).count()
    };
    world.run(30_000);
    assert!(owed(&world) > 0, "nothing of it was flushed");
    read_everywhere(&mut world);
    world.fake.mute(None);
    world.run(15_000);
    assert_eq!(owed(&world), 0);
    assert_eq!(process(&world, 1).member.state.lock().flush, Flush::Idle);
    read_everywhere(&mut world);
}
