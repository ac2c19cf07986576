//! Series by their numbers among several processes: a number means its series, or it is refused.

use super::super::{Places, Placing};
use super::Plant;
use super::faults::flush_all;
use super::neighbours::{Changing, Nobody};
use super::stories::{fault, heal, look, quiet, release, served_by, until_served};
use super::world::{METRICS, Process, World, all, context, tenant};
use crate::cassandra::agreement;
use crate::cassandra::fake::Faults;
use crate::cassandra::fleet::{Fleet, Peers};
use crate::cassandra::guest::Guest;
use cluster::ownership::Incarnation;
use cluster::ownership::ring_row::{RingRow, Standing};
use model::matcher::MatchOp;
use model::mutation::{Mutation, WriteAnswer, Written};
use model::read::Selection;
use model::{Context, LabelSet, METRIC_NAME, Matcher, SeriesRef};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::replica::{Replica, ReplicaError, RingAnswer};

/// So many that numbers of one place differ from life to life.
const SERIES: usize = METRICS * 16;

fn metric_of(series: usize) -> usize {
    series % METRICS
}

fn labels_of(series: usize) -> LabelSet {
    let metric = format!("m{}", metric_of(series));
    LabelSet::from_pairs([(METRIC_NAME, metric), ("series", series.to_string())]).unwrap()
}

/// The numbers that somebody was told, all of one generation.
#[derive(Default)]
struct Known {
    generation: u64,
    numbers: BTreeMap<usize, u32>,
}

/// Who writes through one process, and keeps the numbers that it is told as a distributor does.
struct Sender {
    fleet: Fleet,
    neighbours: Arc<Changing>,
    known: Known,
    /// Of another that writes through the same process.
    other: Known,
    by_number: u64,
    refused: u64,
}

impl Sender {
    /// One that keeps no data, of a world in which the first process lives.
    fn guest(world: &World) -> Self {
        let seeds =
            world.processes.iter().flatten().map(|process| {
                Arc::new(Places::new(Arc::clone(&process.member))) as Arc<dyn Replica>
            });
        let guest = Arc::new(Guest::new(seeds.collect()));
        Self::through(world, |peers| Fleet::of_guest(guest, peers))
    }

    fn member(world: &World, number: usize) -> Self {
        let member = Arc::clone(&world.processes[number].as_ref().unwrap().member);
        Self::through(world, |peers| Fleet::new(member, peers))
    }

    fn through(world: &World, fleet: impl FnOnce(Arc<dyn Peers>) -> Fleet) -> Self {
        let neighbours = Arc::new(Changing(Mutex::new(world.peers())));
        let fleet = fleet(Arc::clone(&neighbours) as Arc<dyn Peers>).that_asks_once();
        let (known, other) = (Known::default(), Known::default());
        Self { fleet, neighbours, known, other, by_number: 0, refused: 0 }
    }

    /// What it does twice a second.
    fn meet(&self, world: &World) {
        *self.neighbours.0.lock() = world.peers();
        let members = (0..world.processes.len()).filter_map(|number| world.fleet(number));
        members.for_each(|member| world.runtime.block_on(member.meet()));
        world.runtime.block_on(self.fleet.meet());
    }

    /// A sample of each of these series, by number where one is known; whether it was acknowledged. Its value
    /// says whose it is.
    fn write(&mut self, world: &mut World, all: &[usize]) -> bool {
        let mut rows = Vec::new();
        for series in all {
            let (_, (_, at)) = world.sample(metric_of(*series));
            rows.push((*series, (at, *series as f64 + 0.5)));
        }
        let mut whole = Mutation::empty(context());
        for (series, sample) in &rows {
            let number = self.known.numbers.get(series).map(|number| SeriesRef::Number(*number));
            let series = number.unwrap_or_else(|| SeriesRef::Labels(labels_of(*series)));
            whole.push(series, [*sample]);
        }
        whole.generation = self.known.generation;
        let has_numbers = all.iter().any(|series| self.known.numbers.contains_key(series));
        let mut answer = self.send(world, whole);
        if matches!(answer, Ok(WriteAnswer::NeedLabels)) {
            assert!(has_numbers, "labels were sent");
            self.refused += 1;
            let mut whole = Mutation::empty(context());
            for (series, sample) in &rows {
                whole.push(SeriesRef::Labels(labels_of(*series)), [*sample]);
            }
            answer = self.send(world, whole);
            assert!(!matches!(answer, Ok(WriteAnswer::NeedLabels)), "labels were sent");
        } else if has_numbers && answer.is_ok() {
            self.by_number += 1;
        }
        let Ok(WriteAnswer::Written(written)) = answer else { return false };
        self.learn(all, &written);
        for (series, (at, _)) in rows {
            world.said.acknowledged.entry(metric_of(series)).or_default().insert(at);
        }
        true
    }

    fn send(&self, world: &World, whole: Mutation) -> Result<WriteAnswer, ReplicaError> {
        world.runtime.block_on(async { self.fleet.write(whole).await })
    }

    fn learn(&mut self, all: &[usize], written: &Written) {
        if self.known.generation != written.generation {
            self.known.numbers.clear();
            self.known.generation = written.generation;
        }
        for (index, number) in &written.numbers {
            self.known.numbers.insert(all[*index as usize], *number);
        }
    }

    /// Writes everything until it is acknowledged by numbers only.
    fn until_by_number(&mut self, world: &mut World) {
        let [all, _] = orders();
        for _ in 0..4 {
            let refused = self.refused;
            let knows_all = self.known.numbers.len() == SERIES;
            if self.write(world, &all) && knows_all && self.refused == refused {
                return;
            }
        }
        panic!(
            "{} numbers are known, {} writes were refused",
            self.known.numbers.len(),
            self.refused
        );
    }
}

/// Asks a process for everything; whether there was an answer, and each sample is its series'.
fn read_all(world: &mut World, number: usize) -> Result<bool, String> {
    if !world.read_all(number)? {
        return Ok(false);
    }
    let Some(fleet) = world.fleet(number) else { return Ok(false) };
    let every = Matcher::new(METRIC_NAME, MatchOp::Regex, "m.*");
    let selection = Selection { matchers: vec![every], ..all(0) };
    let answer = world.runtime.block_on(async { fleet.select(context(), selection).await });
    for one in answer.unwrap_or_default() {
        // What others write has no such label, and is 1.
        let series = one.labels.get("series").map(|series| series.parse::<f64>().unwrap() + 0.5);
        let value = series.unwrap_or(1.0);
        if one.floats.values.iter().any(|sample| *sample != value) {
            return Err(format!("{:?} has another's samples", one.labels));
        }
    }
    Ok(true)
}

/// All series in their order, and in the other.
fn orders() -> [Vec<usize>; 2] {
    [(0..SERIES).collect(), (0..SERIES).rev().collect()]
}

#[test]
fn what_several_processes_have_is_written_by_number_after_the_first_time() {
    let [in_order, in_another] = orders();
    for through_guest in [false, true] {
        let mut world = quiet(3);
        until_served(&mut world, 15_000);
        let mut sender = match through_guest {
            true => Sender::guest(&world),
            false => Sender::member(&world, 0),
        };
        sender.meet(&world);
        assert!(sender.write(&mut world, &in_order));
        assert_eq!(sender.known.numbers.len(), SERIES, "each is told its number");
        for _ in 0..5 {
            assert!(sender.write(&mut world, &in_another));
        }
        assert_eq!((sender.by_number, sender.refused), (5, 0));
        assert_eq!(read_all(&mut world, 0), Ok(true));
    }
}

#[test]
fn numbers_are_refused_after_a_take_over_and_learned_anew() {
    let mut world = quiet(3);
    until_served(&mut world, 15_000);
    let mut sender = Sender::guest(&world);
    sender.meet(&world);
    sender.until_by_number(&mut world);
    for gone in [2, 1, 2] {
        let refused = sender.refused;
        world.kill(gone);
        until_served(&mut world, 15_000);
        sender.meet(&world);
        sender.until_by_number(&mut world);
        assert!(sender.refused > refused, "the ring is another");
        // It begins anew where it was found before, and is given places.
        world.start(gone);
        world.run(10_000);
        until_served(&mut world, 15_000);
        sender.meet(&world);
        sender.until_by_number(&mut world);
        assert_eq!(read_all(&mut world, 0), Ok(true));
    }
}

#[test]
fn a_generation_that_is_not_the_one_of_now_is_refused_before_anything_is_written() {
    let mut world = quiet(3);
    until_served(&mut world, 15_000);
    let mut sender = Sender::guest(&world);
    sender.meet(&world);
    sender.until_by_number(&mut world);
    let mut wrong = Mutation::empty(context());
    wrong.push(SeriesRef::Number(sender.known.numbers[&0]), [(1, 1.0)]);
    for generation in [0, 1, sender.known.generation + 1] {
        wrong.generation = generation;
        assert_eq!(sender.send(&world, wrong.clone()), Ok(WriteAnswer::NeedLabels));
    }
    // Of another tenant's series nothing is known by it.
    wrong.generation = sender.known.generation;
    let other = model::TenantId::parse("other").unwrap();
    assert_ne!(other, tenant());
    wrong.context = Arc::new(Context { tenant: other, ..Context::clone(&context()) });
    assert_eq!(sender.send(&world, wrong), Ok(WriteAnswer::NeedLabels));
    assert_eq!(read_all(&mut world, 0), Ok(true), "nothing that nobody sent is there");
}

#[test]
fn numbers_of_a_tenant_that_was_forgotten_meanwhile_are_refused_though_the_ring_is_the_same() {
    let [in_order, in_another] = orders();
    let mut world = quiet(3);
    until_served(&mut world, 15_000);
    let mut sender = Sender::guest(&world);
    sender.meet(&world);
    sender.until_by_number(&mut world);
    let ring = |world: &World| world.processes[0].as_ref().unwrap().member.ring().unwrap();
    let version = ring(&world).version();
    for _ in 0..3 {
        (0..3).for_each(|number| flush_all(&world, number));
        (0..3_700).for_each(|_| world.turns(1_000));
    }
    assert_eq!(ring(&world).version(), version, "who has what is the same");
    // Somebody else is first, through another process.
    let mut other = Sender::member(&world, 0);
    other.meet(&world);
    assert!(other.write(&mut world, &in_another));
    assert_ne!(sender.known.numbers, other.known.numbers, "they mean other series now");
    assert_eq!(sender.refused, 0);
    assert!(sender.write(&mut world, &in_order));
    assert_eq!(sender.refused, 1);
    assert_eq!(read_all(&mut world, 0), Ok(true));
}

/// Two that each give the same number to all that they are sent.
#[derive(Debug)]
struct Liars {
    number: u32,
    /// Who is told of another ring meanwhile.
    told: Option<(Arc<Guest>, RingAnswer)>,
}

impl Peers for Liars {
    fn replica(&self, who: Incarnation, _: &str) -> Arc<dyn Replica> {
        if let Some((guest, next)) = &self.told {
            guest.hear(next);
        }
        let numbers = (0..8).map(|index| (index, self.number)).collect();
        let generation = 5 + u64::try_from(who.0).unwrap();
        let written = Written { generation, numbers, ..Written::default() };
        Arc::new(Nobody { written: Some(written) })
    }
    fn keep_only(&self, _: &BTreeSet<Incarnation>) {}
}

const OWNERS: [Incarnation; 3] = [Incarnation(1), Incarnation(2), Incarnation(1)];

fn ring(version: u64) -> RingAnswer {
    let members = OWNERS.map(|who| (who, Standing::Stays)).into();
    let row = RingRow::of_parts(version, members, &OWNERS, BTreeMap::new()).unwrap();
    let addresses = vec![(1, "a:1".to_owned()), (2, "b:1".to_owned())];
    RingAnswer { row: agreement::ring_bytes(&row), addresses }
}

/// Of which of eight metrics, each in its place, liars' number is passed on.
async fn passed_on(guest: Arc<Guest>, liars: Liars) -> Vec<u32> {
    let fleet = Fleet::of_guest(guest, Arc::new(liars));
    let mut whole = Mutation::empty(context());
    for number in 0..8 {
        let labels = LabelSet::from_pairs([(METRIC_NAME, format!("m{number}"))]).unwrap();
        whole.push(SeriesRef::Labels(labels), [(1, 1.0)]);
    }
    let Ok(WriteAnswer::Written(written)) = fleet.write(whole).await else { panic!() };
    let mut told: Vec<u32> = written.numbers.iter().map(|(index, _)| *index).collect();
    told.sort_unstable();
    told
}

#[tokio::test]
async fn a_number_of_a_place_that_whoever_gave_it_does_not_have_is_not_passed_on() {
    let placing = Placing::new(3);
    let owner = |number| OWNERS[placing.of_metric(&tenant(), &format!("m{number}"))];
    for place in 0..4_usize {
        let guest = Arc::new(Guest::new(Vec::new()));
        assert!(guest.hear(&ring(9)));
        let number = placing.number(place, 3).unwrap();
        let told = passed_on(guest, Liars { number, told: None }).await;
        let of_owner = |number: &u32| OWNERS.get(place) == Some(&owner(*number));
        let expected: Vec<u32> = (0..8).filter(of_owner).collect();
        assert_eq!(told, expected, "of place {place}");
        assert_eq!(expected.is_empty(), place == 3);
    }
}

#[tokio::test]
async fn an_answer_by_the_ring_before_gives_no_numbers() {
    for version in [9, 10] {
        let guest = Arc::new(Guest::new(Vec::new()));
        assert!(guest.hear(&ring(9)));
        let told = Some((Arc::clone(&guest), ring(version)));
        let told = passed_on(guest, Liars { number: 3, told }).await;
        assert_eq!(told.is_empty(), version == 10);
    }
}

/// Something may go wrong, or nothing come for hours: what begins anew after those gives other numbers.
fn happen(world: &mut World) {
    let ms = 200 + world.draw(800);
    world.turns(ms);
    fault(world);
    if world.draw(20) == 0 {
        for process in world.processes.iter().flatten().filter(|p| p.stalled.is_none()) {
            let open = Arc::clone(&process.member.open.read());
            open.by_place.values().for_each(|served| drop(served.embedded.flush_now()));
        }
        (0..8).for_each(|_| world.turns(1_800_000));
    }
    let now = world.time.ms();
    for number in 0..3 {
        let is_due = |p: &Process| p.stalled.is_some() && p.paused_until <= now;
        if world.processes[number].as_ref().is_some_and(is_due) {
            release(world, number);
        }
    }
}

/// Faults, while somebody writes by number.
fn story(seed: u64) -> Result<[u64; 3], String> {
    let faults = Faults { schema_late: 0, ..Faults::SOME };
    let mut world = World::new(seed, 3, faults, Plant::Nothing);
    world.run(8_000);
    let is_guest = seed.is_multiple_of(2);
    let begin = |world: &World| match is_guest {
        true => Sender::guest(world),
        false => Sender::member(world, 0),
    };
    let mut sender = begin(&world);
    for _ in 0..150 {
        // Whoever writes by a process that ended writes by the next one there.
        let lived = world.processes[0].is_some();
        happen(&mut world);
        look(&mut world)?;
        if !is_guest && !lived && world.processes[0].is_some() {
            let Sender { by_number, refused, .. } = sender;
            sender = Sender { by_number, refused, ..begin(&world) };
        }
        if world.draw(3) > 0 {
            sender.meet(&world);
        }
        let mut some: Vec<usize> = (0..SERIES).filter(|_| world.draw(3) > 0).collect();
        some.sort_by_cached_key(|_| world.draw(1 << 32));
        if world.draw(2) == 0 {
            std::mem::swap(&mut sender.known, &mut sender.other);
        }
        let is_stalled = world.processes.iter().flatten().any(|p| p.stalled.is_some());
        if !is_stalled && (is_guest || world.processes[0].is_some()) {
            sender.write(&mut world, &some);
        }
        let any = usize::try_from(world.draw(3)).unwrap();
        read_all(&mut world, any)?;
    }
    for number in 0..3 {
        release(&mut world, number);
        heal(&mut world, number);
        heal(&mut world, number);
    }
    answers_in_the_end(&mut world)?;
    Ok([sender.by_number, sender.refused, world.reads_of_all])
}

fn answers_in_the_end(world: &mut World) -> Result<(), String> {
    world.fake.deliver();
    world.fake.set_faults(Faults::default());
    world.run(60_000);
    let served = served_by(world);
    if served.iter().any(|servers| servers.len() != 1) {
        return Err(format!("not served in the end: {served:?}"));
    }
    for number in served.concat() {
        let is_answered = (0..20).try_fold(false, |is, _| match is {
            true => Ok(true),
            false => {
                world.turns(500);
                read_all(world, number)
            }
        })?;
        if !is_answered {
            return Err(format!("n{number} does not answer in the end"));
        }
    }
    Ok(())
}

#[test]
fn a_number_means_its_series_whatever_happens_over_60_seeds() {
    let mut sum = [0; 3];
    for seed in 0..60 {
        let told = story(seed).unwrap_or_else(|fault| panic!("{seed}: {fault}"));
        sum.iter_mut().zip(told).for_each(|(sum, one)| *sum += one);
    }
    let [by_number, refused, reads] = sum;
    println!("{by_number} writes by number, {refused} refused, {reads} answers");
    assert!(by_number > 1_000 && refused > 1_000 && reads > 2_000);
}
