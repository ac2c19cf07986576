//! A process that keeps no data among those that do.

use super::super::Places;
use super::neighbours::Neighbours;
use super::stories::{quiet, until_served};
use super::world::{METRICS, World, all, context};
use crate::cassandra::agreement;
use crate::cassandra::fleet::{Fleet, Peers};
use crate::cassandra::guest::Guest;
use cluster::ownership::Incarnation;
use cluster::ownership::ring_row::{RingRow, Standing};
use model::mutation::Mutation;
use model::read::MetadataQuery;
use model::{Context, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::replica::{Replica, RingAnswer};

/// A guest that knows these processes, if they live.
fn guest(world: &World, numbers: &[usize]) -> Arc<Guest> {
    let known = numbers.iter().filter_map(|number| world.processes[*number].as_ref());
    let of = |member| Arc::new(Places::new(member)) as Arc<dyn Replica>;
    Arc::new(Guest::new(known.map(|process| of(Arc::clone(&process.member))).collect()))
}

/// All processes that live just now, as a guest knows them.
fn fleet(world: &World, guest: &Arc<Guest>) -> Fleet {
    Fleet::of_guest(Arc::clone(guest), world.peers()).that_asks_once()
}

/// What processes do twice a second: members look where the others are, and then the guest asks them.
fn meet(world: &World, fleet: &Fleet) {
    let members = (0..world.processes.len()).filter_map(|number| world.fleet(number));
    members.for_each(|member| world.runtime.block_on(member.meet()));
    world.runtime.block_on(fleet.meet());
}

fn write_all(world: &mut World, fleet: &Fleet) -> bool {
    let mut whole = Mutation::empty(context());
    let mut samples = Vec::new();
    for metric in 0..METRICS {
        let (one, (_, at)) = world.sample(metric);
        whole.push(one.series[0].series.clone(), [(at, 1.0)]);
        samples.push((metric, at));
    }
    let is_acknowledged = world.runtime.block_on(async { fleet.write(whole).await.is_ok() });
    for (metric, at) in samples.into_iter().filter(|_| is_acknowledged) {
        world.said.acknowledged.entry(metric).or_default().insert(at);
    }
    is_acknowledged
}

/// It may have asked the process that some of it was with before, too.
#[test]
fn who_asks_by_another_ring_has_no_answer_also_where_all_is_served() {
    let mut world = quiet(1);
    until_served(&mut world, 15_000);
    let places = Places::new(Arc::clone(&world.processes[0].as_ref().unwrap().member));
    let ask = |ring_version: u64| {
        let context = Arc::new(Context { ring_version, ..Context::clone(&context()) });
        world.runtime.block_on(async { places.select(context, all(0)).await })
    };
    let refused = ask(1 << 40).unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable, "{refused:?}");
    assert!(refused.message.contains("asked by ring version"), "{refused:?}");
    assert!(ask(0).is_ok());
    let fleet = world.fleet(0).unwrap();
    assert!(world.runtime.block_on(async { fleet.select(context(), all(0)).await }).is_ok());
}

#[test]
fn a_guest_knows_nothing_until_a_member_tells_it_the_ring() {
    let mut world = quiet(2);
    until_served(&mut world, 15_000);
    let lost = guest(&world, &[]);
    let nowhere = fleet(&world, &lost);
    meet(&world, &nowhere);
    assert!(!write_all(&mut world, &nowhere));
    assert_eq!(world.read_all_by(9, &nowhere), Ok(false));
    assert!(nowhere.why_not_ready().is_some());

    let told = guest(&world, &[1]);
    let all = fleet(&world, &told);
    meet(&world, &all);
    assert_eq!(all.why_not_ready(), None);
    assert!(write_all(&mut world, &all));
    assert_eq!(world.read_all_by(9, &all), Ok(true));
    assert_eq!(world.read_all(0), Ok(true), "a member has what a guest wrote");
}

#[test]
fn a_guest_with_an_old_ring_is_refused_and_learns_the_new_one() {
    let mut world = quiet(2);
    until_served(&mut world, 15_000);
    let told = guest(&world, &[0, 1]);
    meet(&world, &fleet(&world, &told));
    let all = fleet(&world, &told);
    assert!(write_all(&mut world, &all));

    world.kill(0);
    until_served(&mut world, 15_000);
    let old = fleet(&world, &told);
    assert!(!write_all(&mut world, &old), "half of it is sent to who is gone");
    assert_eq!(world.read_all_by(9, &old), Ok(false));
    meet(&world, &old);
    assert!(write_all(&mut world, &old));
    assert_eq!(world.read_all_by(9, &old), Ok(true));

    // Somebody joins: what it was given is not left out by those who had it.
    world.start(0);
    world.run(10_000);
    until_served(&mut world, 15_000);
    let old = fleet(&world, &told);
    assert_eq!(world.read_all_by(9, &old), Ok(false), "a short answer would be the worst");
    meet(&world, &old);
    assert_eq!(world.read_all_by(9, &old), Ok(true));
}

/// Nobody answers; and whoever asks for somebody has meanwhile been told of another ring.
#[derive(Debug)]
struct Changing {
    guest: Arc<Guest>,
    next: RingAnswer,
}

impl Peers for Changing {
    fn replica(&self, who: Incarnation, address: &str) -> Arc<dyn Replica> {
        assert!(self.guest.hear(&self.next));
        Neighbours { places: BTreeMap::new() }.replica(who, address)
    }
    fn keep_only(&self, _: &BTreeSet<Incarnation>) {}
}

#[tokio::test(start_paused = true)]
async fn who_learns_of_fewer_places_while_it_asks_looks_for_what_it_asks_for_anew() {
    let me = Incarnation(1);
    let told = |row: &RingRow| {
        let addresses = vec![(me.0, "a:1".to_owned())];
        RingAnswer { row: agreement::ring_bytes(row), addresses }
    };
    let members = BTreeMap::from([(me, Standing::Stays)]);
    let small = RingRow::of_parts(9, members, &[me], BTreeMap::new()).unwrap();
    for metric in ["a", "b", "c", "d"] {
        let guest = Arc::new(Guest::new(Vec::new()));
        assert!(guest.hear(&told(&RingRow::first(me, 1_024))));
        let peers = Changing { guest: Arc::clone(&guest), next: told(&small) };
        let all = Fleet::of_guest(guest, Arc::new(peers));
        let query = MetadataQuery { metric: Some(metric.into()) };
        let error = all.metadata(context(), query).await.unwrap_err();
        assert_eq!(error.kind, model::Kind::Unavailable, "{error}");
    }
}
