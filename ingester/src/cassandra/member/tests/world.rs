//! Processes over one fake database, their clocks and their links to it.

use super::super::{BootClock, Chance, Member, MemberParts, Places, Task};
use super::neighbours::Neighbours;
use super::{PLANT, Plant};
use crate::cassandra::CACHE_BYTES;
use crate::cassandra::fake::{Fake, Faults};
use crate::cassandra::fleet::{Fleet, Peers};
use crate::cassandra::rows::{
    Change, Changed, CommitLogSync, Consistency, Read, Row, Rows, RowsError, Write,
};
use crate::config::Config;
use cluster::ownership::BootMs;
use guard::{LimitTable, Limits};
use model::mutation::{Mutation, WriteAnswer};
use model::read::{SelectBounds, Selection, Wanted};
use model::{
    Clock, Context, LabelSet, METRIC_NAME, Matcher, Principal, QueryShard, RequestId,
    SeriesColumns, SeriesRef, SplitMix64, TenantId, TimeRange, TimestampMs,
};
use parking_lot::{Condvar, Mutex};
use prometheus::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use wire::replica::{Replica, ReplicaError};

pub(super) const PLACES: u16 = 4;
pub(super) const METRICS: usize = 8;
const NOW_MS: i64 = 1_700_000_000_000;

/// What every process' clocks follow.
#[derive(Clone, Debug, Default)]
pub(super) struct Time(Arc<AtomicU64>);

impl Time {
    pub(super) fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }

    pub(super) fn ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clock for Time {
    fn now(&self) -> TimestampMs {
        TimestampMs(NOW_MS).plus_ms(i64::try_from(self.ms()).unwrap())
    }
    fn monotonic_ns(&self) -> u64 {
        self.ms() * 1_000_000
    }
}

/// A machine's clock, which may be wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Wrong {
    time: Time,
    pub(super) ahead_ms: Arc<AtomicI64>,
}

impl Clock for Wrong {
    fn now(&self) -> TimestampMs {
        Clock::now(&self.time).plus_ms(self.ahead_ms.load(Ordering::Relaxed))
    }
    fn monotonic_ns(&self) -> u64 {
        self.time.monotonic_ns()
    }
}

/// A clock that has its own beginning and runs at its own rate.
#[derive(Debug)]
struct Drifting {
    time: Time,
    start: u64,
    permille: u64,
}

impl BootClock for Drifting {
    fn now(&self) -> BootMs {
        BootMs(self.start + self.time.ms() * self.permille / 1_000)
    }
}

#[derive(Debug)]
struct Drawn(Mutex<SplitMix64>);

impl Chance for Drawn {
    fn draw(&self) -> u128 {
        let mut chance = self.0.lock();
        u128::from(chance.draw()) << 64 | u128::from(chance.draw())
    }
}

/// How a process reaches the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Well,
    /// Nothing comes back; some of what is asked is done.
    Cut,
    /// Every call takes so long.
    Slow(u64),
    /// The process is dead: nothing is done.
    Dead,
}

/// A process's way to the database.
#[derive(Clone, Debug)]
pub(super) struct Link {
    fake: Fake,
    time: Time,
    mode: Arc<Mutex<Mode>>,
    /// Writes to the journal wait while this is so.
    stalled: Arc<(Mutex<bool>, Condvar)>,
    calls: Arc<AtomicU64>,
}

impl Link {
    pub(super) fn set(&self, mode: Mode) {
        *self.mode.lock() = mode;
    }

    fn go<T>(&self, ask: impl FnOnce() -> Result<T, RowsError>) -> Result<T, RowsError> {
        let mode = *self.mode.lock();
        let gone = || RowsError::Unknown("no answer".to_owned());
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        match mode {
            Mode::Dead => Err(gone()),
            Mode::Cut => {
                if call.is_multiple_of(3) {
                    drop(ask());
                }
                Err(gone())
            }
            Mode::Slow(ms) => {
                self.time.pass(ms / 2);
                let answer = ask();
                self.time.pass(ms / 2);
                answer
            }
            Mode::Well => ask(),
        }
    }

    fn wait(&self) {
        let mut stalled = self.stalled.0.lock();
        while *stalled {
            self.stalled.1.wait(&mut stalled);
        }
    }

    pub(super) fn stall(&self, is_stalled: bool) {
        *self.stalled.0.lock() = is_stalled;
        self.stalled.1.notify_all();
    }
}

impl Rows for Link {
    fn tables(&self) -> Result<Vec<String>, RowsError> {
        self.go(|| self.fake.tables())
    }
    fn is_everywhere(&self, table: &str) -> Result<bool, RowsError> {
        self.go(|| self.fake.is_everywhere(table))
    }
    fn clock_ms(&self) -> Result<Option<i64>, RowsError> {
        self.go(|| self.fake.clock_ms())
    }
    fn create_table(&self, name: &str, id: u128) -> Result<(), RowsError> {
        self.go(|| self.fake.create_table(name, id))
    }
    fn drop_table(&self, name: &str) -> Result<(), RowsError> {
        self.go(|| self.fake.drop_table(name))
    }
    fn write(&self, rows: &[Write]) -> Result<(), RowsError> {
        if rows.iter().any(|row| row.table.starts_with("journal_")) {
            self.wait();
        }
        self.go(|| self.fake.write(rows))
    }
    fn read(&self, read: &Read, consistency: Consistency) -> Result<Vec<Row>, RowsError> {
        self.go(|| self.fake.read(read, consistency))
    }
    fn change(&self, change: &Change) -> Result<Changed, RowsError> {
        self.go(|| self.fake.change(change))
    }
    fn commit_log_sync(&self) -> Result<Vec<(String, CommitLogSync)>, RowsError> {
        self.go(|| self.fake.commit_log_sync())
    }
}

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) member: Arc<Member>,
    pub(super) link: Link,
    /// It is stopped until then.
    pub(super) paused_until: u64,
    /// A write that waits for the database, and the sample.
    pub(super) stalled: Option<(Writing, (usize, i64))>,
}

/// A write that goes on.
type Writing = JoinHandle<Result<WriteAnswer, ReplicaError>>;

/// What was said of samples: of each metric the moments.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) acknowledged: BTreeMap<usize, BTreeSet<i64>>,
    pub(super) tried: BTreeMap<usize, BTreeSet<i64>>,
}

pub(super) struct World {
    pub(super) runtime: Runtime,
    pub(super) fake: Fake,
    pub(super) time: Time,
    /// The time of samples.
    pub(super) clock: Wrong,
    pub(super) chance: SplitMix64,
    pub(super) processes: Vec<Option<Process>>,
    pub(super) said: Said,
    pub(super) opened: u64,
    pub(super) reads: u64,
    pub(super) reads_of_all: u64,
    /// Those on the calling thread.
    pub(super) reads_here: u64,
    next_ms: i64,
}

fn config() -> Config {
    // Nobody works by itself: the order of calls is the seed's.
    Config { job_poll_ms: 60_000, idle_sync_ms: 60_000, ..Config::default() }
}

impl World {
    pub(super) fn new(seed: u64, processes: usize, faults: Faults, plant: Plant) -> Self {
        PLANT.set(plant);
        let time = Time::default();
        let mut world = Self {
            clock: Wrong { time: time.clone(), ahead_ms: Arc::default() },
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
            fake: Fake::new(seed, faults),
            time,
            chance: SplitMix64::new(seed ^ 0x0b0e),
            processes: Vec::new(),
            said: Said::default(),
            opened: 0,
            reads: 0,
            reads_of_all: 0,
            reads_here: 0,
            next_ms: NOW_MS,
        };
        for number in 0..processes {
            world.processes.push(None);
            world.start(number);
        }
        world
    }

    pub(super) fn draw(&mut self, below: u64) -> u64 {
        self.chance.draw() % below.max(1)
    }

    /// Starts a process in a place where none is.
    pub(super) fn start(&mut self, number: usize) {
        self.start_at(number, &format!("n{number}:9010"));
    }

    /// The same, where it says that it is found.
    pub(super) fn start_at(&mut self, number: usize, address: &str) {
        let link = Link {
            fake: self.fake.clone(),
            time: self.time.clone(),
            mode: Arc::default(),
            stalled: Arc::default(),
            calls: Arc::default(),
        };
        let (start, permille) = (self.draw(1_000_000), 940 + self.draw(120));
        let boot = Drifting { time: self.time.clone(), start, permille };
        let chance = Drawn(Mutex::new(SplitMix64::new(self.chance.draw())));
        let (boot, chance) = (Arc::new(boot), Arc::new(chance));
        let parts = || MemberParts {
            name: format!("n{number}"),
            address: address.to_owned(),
            rows: Arc::new(link.clone()),
            places: PLACES,
            accept_periodic: false,
            cache_bytes: CACHE_BYTES,
            cluster_name: "c".to_owned(),
            clock: Arc::new(self.clock.clone()),
            boot: Arc::clone(&boot) as Arc<dyn BootClock>,
            chance: Arc::clone(&chance) as Arc<dyn Chance>,
            limits: Arc::new(LimitTable::new(Limits::default())),
            registry: Registry::new(),
            config: config(),
        };
        let member = (0..50).find_map(|_| Member::new(parts()).ok()).expect("it starts");
        self.processes[number] = Some(Process { member, link, paused_until: 0, stalled: None });
    }

    /// kill -9.
    pub(super) fn kill(&mut self, number: usize) {
        if let Some(process) = self.processes[number].take() {
            process.link.set(Mode::Dead);
            process.link.stall(false);
        }
    }

    /// Lets a process do what is due, if it is not stopped.
    pub(super) fn turn(&mut self, number: usize) {
        let now = self.time.ms();
        let is_awake = |p: &&Process| p.paused_until <= now && p.stalled.is_none();
        let Some(process) = self.processes[number].as_ref().filter(is_awake) else { return };
        let member = Arc::clone(&process.member);
        // What an answer makes due is due at once.
        for _ in 0..4 {
            let tasks = member.due();
            if tasks.is_empty() {
                break;
            }
            for task in tasks {
                self.opened += u64::from(matches!(task, Task::Open { .. }));
                member.run(task);
            }
        }
    }

    pub(super) fn turns(&mut self, ms: u64) {
        self.time.pass(ms);
        (0..self.processes.len()).for_each(|number| self.turn(number));
    }

    /// Runs for so long in steps.
    pub(super) fn run(&mut self, ms: u64) {
        (0..ms / 250).for_each(|_| self.turns(250));
    }

    pub(super) fn place_of(&self, metric: usize) -> usize {
        let placing = super::super::Placing::new(PLACES);
        placing.of_metric(&tenant(), &format!("m{metric}"))
    }

    pub(super) fn servers(&self, place: usize) -> Vec<usize> {
        let serves = |process: &Process| process.member.serves(place);
        let all = self.processes.iter().enumerate();
        all.filter(|(_, p)| p.as_ref().is_some_and(serves)).map(|(number, _)| number).collect()
    }

    /// A new sample of a metric.
    pub(super) fn sample(&mut self, metric: usize) -> (Mutation, (usize, i64)) {
        self.next_ms += 1_000;
        let labels = LabelSet::from_pairs([(METRIC_NAME, format!("m{metric}"))]).unwrap();
        let mut mutation = Mutation::empty(context());
        mutation.push(SeriesRef::Labels(labels), [(self.next_ms, 1.0)]);
        self.said.tried.entry(metric).or_default().insert(self.next_ms);
        (mutation, (metric, self.next_ms))
    }

    /// Writes a sample through a process; whether it was acknowledged.
    pub(super) fn write(&mut self, number: usize, metric: usize) -> bool {
        let (mutation, sample) = self.sample(metric);
        let Some(process) = &self.processes[number] else { return false };
        let places = Places::new(Arc::clone(&process.member));
        let answer = self.runtime.block_on(async { places.write(mutation).await });
        self.heard(&answer, sample)
    }

    pub(super) fn heard(
        &mut self,
        answer: &Result<WriteAnswer, ReplicaError>,
        (metric, at): (usize, i64),
    ) -> bool {
        let is_acknowledged = matches!(answer, Ok(WriteAnswer::Written(_)));
        if is_acknowledged {
            self.said.acknowledged.entry(metric).or_default().insert(at);
        }
        is_acknowledged
    }

    /// Reads a metric through a process, and judges the answer if there is one.
    pub(super) fn read(&mut self, number: usize, metric: usize) -> Result<bool, String> {
        let Some(process) = &self.processes[number] else { return Ok(false) };
        let places = Places::new(Arc::clone(&process.member));
        if let Some(Ok(series)) = places.select_here(&context(), &all(metric)) {
            self.reads_here += 1;
            self.judge(number, metric, &series)?;
        }
        let answer = self.runtime.block_on(async { places.select(context(), all(metric)).await });
        let Ok(series) = answer else { return Ok(false) };
        self.reads += 1;
        self.judge(number, metric, &series)?;
        Ok(true)
    }

    /// All processes as one replica, as one of them knows them.
    pub(super) fn fleet(&self, number: usize) -> Option<Fleet> {
        let process = self.processes[number].as_ref()?;
        Some(Fleet::new(Arc::clone(&process.member), self.peers()).that_asks_once())
    }

    /// How those are reached that live just now.
    pub(super) fn peers(&self) -> Arc<dyn Peers> {
        let of = |process: &Process| {
            let address = process.member.address_of(process.member.me()).unwrap_or_default();
            (address, Places::new(Arc::clone(&process.member)))
        };
        // Who is stopped does not answer.
        let now = self.time.ms();
        let awake = self.processes.iter().flatten().filter(|process| process.paused_until <= now);
        Arc::new(Neighbours { places: awake.map(of).collect() })
    }

    /// Reads all metrics through a process from all that have any, and judges the answer if there is one.
    pub(super) fn read_all(&mut self, number: usize) -> Result<bool, String> {
        self.fleet(number).map_or(Ok(false), |fleet| self.read_all_by(number, &fleet))
    }

    /// The same, whoever knows all.
    pub(super) fn read_all_by(&mut self, number: usize, fleet: &Fleet) -> Result<bool, String> {
        let every = Matcher::new(METRIC_NAME, model::matcher::MatchOp::Regex, "m.*");
        let selection = Selection { matchers: vec![every], ..all(0) };
        let answer = self.runtime.block_on(async { fleet.select(context(), selection).await });
        let Ok(series) = answer else { return Ok(false) };
        self.reads_of_all += 1;
        for metric in 0..METRICS {
            let name = format!("m{metric}");
            let is_it =
                |one: &&SeriesColumns| one.labels.get(METRIC_NAME).is_some_and(|n| **n == *name);
            let of: Vec<SeriesColumns> = series.iter().filter(is_it).cloned().collect();
            self.judge(number, metric, &of)?;
        }
        Ok(true)
    }

    fn judge(&self, number: usize, metric: usize, series: &[SeriesColumns]) -> Result<(), String> {
        let found: Vec<i64> =
            series.iter().flat_map(|series| series.floats.timestamps_ms.iter().copied()).collect();
        let unique: BTreeSet<i64> = found.iter().copied().collect();
        if unique.len() < found.len() {
            return Err(format!("n{number}: a sample of m{metric} is twice in an answer"));
        }
        let nothing = BTreeSet::new();
        let acknowledged = self.said.acknowledged.get(&metric).unwrap_or(&nothing);
        let lost: Vec<&i64> = acknowledged.difference(&unique).collect();
        if !lost.is_empty() {
            return Err(format!("n{number}: m{metric} has lost {lost:?}"));
        }
        let tried = self.said.tried.get(&metric).unwrap_or(&nothing);
        match unique.is_subset(tried) {
            true => Ok(()),
            false => Err(format!("n{number}: m{metric} has samples that nobody sent")),
        }
    }
}

pub(super) fn tenant() -> TenantId {
    TenantId::parse("t").unwrap()
}

pub(super) fn context() -> Arc<Context> {
    Arc::new(Context {
        tenant: tenant(),
        principal: Principal::Anonymous,
        request_id: RequestId(1),
        timeout_ms: 0,
        now: TimestampMs(0),
        ring_version: 0,
    })
}

pub(super) fn all(metric: usize) -> Selection {
    Selection {
        matchers: vec![Matcher::equal(METRIC_NAME, format!("m{metric}"))],
        range: TimeRange::ALL,
        days: None,
        shard: QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: Wanted::ALL,
    }
}
