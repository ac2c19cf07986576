//! A seeded workload for one engine: what senders do, and the jobs between.

use super::aging::{self, Aging, RULES};
use super::checker::{
    Deletion, History, Id, TENANTS, Whose, Writer, histogram_of, is_histogram, labels_of, sample_of,
};
use crate::commit_log;
use crate::compaction::scaling::{Scaling, Strategy};
use crate::config::{CompactionConfig, Config};
use crate::disk::Disk;
use crate::engine::{
    AppendLimits, Appended, Compaction, Engine, ImportOptions, Job, OpenReport, Parts,
};
use crate::error::Result;
use crate::manifest::sstable_path;
use crate::snapshot;
use model::mutation::Mutation;
use model::read::{SelectBounds, Selection};
use model::sample::SampleKind;
use model::series::SeriesRef;
use model::time::DAY_MS;
use model::{
    Context, MatchOp, Matcher, Principal, RequestId, Sample, SeriesColumns, TenantId, TimeRange,
    TimestampMs,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

/// `xorshift64`: the same numbers for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Odd lives compact by UCS, even ones by TWCS.
pub(super) fn config(life: u64) -> Config {
    let strategy = if life % 2 == 1 { Strategy::Ucs } else { Strategy::Twcs };
    Config {
        commit_log: commit_log::Config {
            segment_bytes_max: 1_500,
            pending_bytes_max: 1 << 20,
            record_bytes_max: 64 << 10,
            room_bytes: 700,
            free_bytes_min: 0,
        },
        // Two that overlap are merged, into files cut at tokens.
        compaction: CompactionConfig {
            scaling_parameters: Scaling::tiered(2),
            sstable_bytes_min: 0,
            strategy,
            twcs_threshold_min: 2,
            ..CompactionConfig::default()
        },
        // The clock of a story may go on while nobody looks at it.
        clock_step_max_ms: 30 * DAY_MS,
        ..Config::default()
    }
}

thread_local! {
    /// The inputs of the compaction that this thread carries out.
    static COMPACTING: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    /// The job that this thread is at.
    static JOB: Cell<&'static str> = const { Cell::new("") };
    /// A fault: a compaction takes the tombstones with it.
    static FORGETS: Cell<bool> = const { Cell::new(false) };
    /// A fault: expiry asks a clock that is days ahead.
    static IS_EARLY: Cell<bool> = const { Cell::new(false) };
    /// Whether most jobs are about retention.
    static AGES: Cell<bool> = const { Cell::new(false) };
}

/// The job that this thread is at, for faults that strike just then.
pub(super) fn job() -> &'static str {
    JOB.get()
}

/// From now on a compaction on this thread takes the tombstones with it, or no longer.
pub(super) fn forget_tombstones(is_forgetful: bool) {
    FORGETS.set(is_forgetful);
}

/// From now on most jobs on this thread are about retention, or no longer.
pub(super) fn age(ages: bool) {
    AGES.set(ages);
}

/// From now on expiry on this thread asks a clock that is days ahead, or no longer.
pub(super) fn expire_early(is_early: bool) {
    IS_EARLY.set(is_early);
}

/// The paths of the sstables that this thread is compacting, for faults that strike just then.
pub(super) fn compacting() -> Vec<String> {
    COMPACTING.with_borrow(|inputs| inputs.iter().map(|id| sstable_path(*id)).collect())
}

/// Carries a compaction out. It may fail: then everything is as it was.
pub(super) fn compact(engine: &Engine, compaction: &Compaction, now: TimestampMs) -> bool {
    COMPACTING.set(compaction.inputs());
    let done = engine.compact(compaction, now, &mut |_| true);
    COMPACTING.set(Vec::new());
    if FORGETS.get() && done.is_ok() {
        engine.forget_tombstones();
    }
    done.is_ok()
}

/// Brings all windows into their dense form, as far as that goes; returns in how many it went.
pub(super) fn seal(engine: &Engine, now: TimestampMs) -> usize {
    let windows = engine.windows_to_seal().into_iter();
    let due = windows.filter_map(|window| engine.seal(window).ok().flatten());
    due.filter(|compaction| compact(engine, compaction, now)).count()
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    life: u64,
    at: TimestampMs,
) -> Result<(Engine, OpenReport)> {
    let generation_seed = life.wrapping_mul(0xD134_2543_DE82_EF95) | 1;
    let parts = Parts { disk, cluster_name: "rig".to_owned(), generation_seed };
    open_at(parts, life, at)
}

/// Opens with a clock of its own.
pub(super) fn open_at(parts: Parts, life: u64, at: TimestampMs) -> Result<(Engine, OpenReport)> {
    Engine::open(parts, config(life), at)
}

pub(super) fn tenant(index: usize) -> TenantId {
    TenantId::parse(TENANTS[index]).unwrap()
}

/// Everything the engine shows at a moment, tenant by tenant.
pub(super) fn everything(engine: &Engine, now: TimestampMs) -> Result<Vec<Vec<SeriesColumns>>> {
    let selection = Selection {
        matchers: vec![Matcher::new("job", MatchOp::Equal, "rig")],
        range: TimeRange::ALL,
        days: None,
        shard: model::QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: model::read::Wanted::ALL,
    };
    (0..TENANTS.len()).map(|index| engine.select(&tenant(index), &selection, now)).collect()
}

/// One life of senders.
pub(super) struct Senders<'a> {
    pub(super) engine: &'a Engine,
    pub(super) history: &'a mut History,
    /// The lowest number of a series that is picked.
    pub(super) first_number: u64,
    /// Numbers that were handed out in this life, with an acknowledgement.
    numbers: BTreeMap<Writer, (u64, u32)>,
    /// What waits for the disk: the ticket, its samples, and the numbers it hands out.
    waiting: Vec<Waiting>,
    /// Samples of the last mutation, to be sent again.
    last: Vec<Id>,
    /// How often a sync acknowledged something, and how often it refused.
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    /// The disk that the engine is on, for what is done to snapshots.
    pub(super) disk: Option<Arc<dyn Disk>>,
}

struct Waiting {
    ticket: u64,
    samples: Vec<Id>,
    numbers: Vec<(Writer, (u64, u32))>,
}

impl<'a> Senders<'a> {
    pub(super) fn new(engine: &'a Engine, history: &'a mut History) -> Self {
        let (numbers, waiting, last) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (first_number, acknowledged, refused, disk) = (0, 0, 0, None);
        Self { engine, history, first_number, numbers, waiting, last, acknowledged, refused, disk }
    }

    /// One random step of a life.
    pub(super) fn step(&mut self, random: &mut Random) {
        let drawn = if AGES.get() { 13 + random.below(24) } else { random.below(72) };
        let job = match drawn {
            0..=3 => "flush",
            4..=7 => "compact",
            8 => "seal",
            9 | 10 => "delete",
            11 => {
                self.job("delete", random);
                "purge"
            }
            12 => "snapshot",
            13 => "import",
            14..=17 => RULES[usize::try_from(random.below(4)).unwrap()],
            18..=21 => "pass",
            22..=24 => "expire",
            _ => return self.step_without_flush(random),
        };
        self.job(job, random);
    }

    /// Does a job. It may fail: then everything is as it was.
    pub(super) fn job(&mut self, job: &'static str, random: &mut Random) {
        JOB.set(job);
        let is_done = match job {
            "flush" => self.engine.flush(self.history.now()).is_ok_and(|report| report.samples > 0),
            "compact" => {
                let now = self.history.now();
                let due = self.engine.next_compaction(now, random.below(u64::MAX));
                due.is_some_and(|due| compact(self.engine, &due, now))
            }
            "seal" => seal(self.engine, self.history.now()) > 0,
            "delete" => self.delete(random),
            "purge" => self.purge(),
            "snapshot" => self.snapshot(),
            "pass" => self.pass(),
            "expire" => {
                self.history.aging.go_on();
                self.expire()
            }
            "import" => self.import(random),
            rules => Aging::named(rules).is_some_and(|rules| self.keep(rules)),
        };
        JOB.set("");
        self.history.forget_deletes();
        self.history.count(job, is_done);
    }

    /// Sets the rules that the user wants, for an engine that was just opened. It may fail.
    pub(super) fn keep_as_before(&mut self) {
        self.keep(self.history.aging.rules());
    }

    /// Changes the rules of retention. Whether that was news, and is done.
    fn keep(&mut self, rules: usize) -> bool {
        let (before, now) = (self.history.aging.rules(), self.history.now());
        let is_done = self.engine.set_retention(&aging::config(rules), now).is_ok();
        // A user has written it down, whatever became of it.
        self.history.set_rules(rules, is_done);
        is_done && rules != before
    }

    /// Whether a window went.
    fn expire(&self) -> bool {
        let early_ms = if IS_EARLY.get() { 4 * DAY_MS } else { 0 };
        let now = self.history.now().plus_ms(early_ms);
        self.engine.run(Job::Expire, now).is_ok_and(|report| !report.expired.is_empty())
    }

    /// Whether a file was written anew for the rules of now.
    fn pass(&self) -> bool {
        let (now, mut files) = (self.history.now(), 0);
        while let Ok(Some(due)) = self.engine.next_pass(now) {
            if !compact(self.engine, &due, now) {
                return false;
            }
            files += 1;
        }
        self.expire();
        files > 0
    }

    fn delete(&mut self, random: &mut Random) -> bool {
        let tenant_index = usize::try_from(random.below(2)).unwrap();
        let whose = match random.below(3) {
            0 => Whose::Metric(random.below(3)),
            _ => Whose::Writer(self.first_number + random.below(12)),
        };
        let (first, count) = (random.below(10), 1 + random.below(8));
        let deletion = Deletion::new(tenant_index, whose, first, count, random.below(3) == 0);
        self.history.unsure.push(deletion);
        let done = self
            .engine
            .delete(&tenant(tenant_index), &deletion.request(), self.history.now())
            .is_ok();
        if done {
            self.history.unsure.pop();
            self.history.deleted.push(deletion);
        }
        done
    }

    /// Whether a file was freed of what is deleted.
    fn purge(&mut self) -> bool {
        self.engine.ask_for_purge();
        while let Some(job) = self.engine.next_job(self.history.now()) {
            if self.engine.run(job, self.history.now()).is_err() {
                return false;
            }
        }
        let mut files = 0;
        while let Ok(Some(_)) = self.engine.purge(self.history.now(), &mut |_| true) {
            files += 1;
        }
        files > 0
    }

    /// Takes a snapshot; of those that there are two are kept.
    fn snapshot(&mut self) -> bool {
        let oldest = self.history.snapshots.keys().next().cloned();
        if let Some((name, disk)) =
            oldest.filter(|_| self.history.snapshots.len() > 1).zip(self.disk.as_ref())
        {
            self.history.snapshots.remove(&name);
            drop(snapshot::delete(&**disk, &name));
        }
        self.history.names += 1;
        let name = format!("s{:04}", self.history.names);
        let moment = self.history.moment();
        let done = self.engine.snapshot(&name, self.history.now()).is_ok();
        if done {
            self.history.snapshots.insert(name, moment);
        }
        done
    }

    /// New samples of one tenant, by an import.
    fn import(&mut self, random: &mut Random) -> bool {
        let tenant_index = usize::try_from(random.below(2)).unwrap();
        let options = ImportOptions { tenant: tenant(tenant_index), revision: 0 };
        let mut import = self.engine.import(options, self.history.now());
        let mut samples = Vec::new();
        for _ in 0..1 + random.below(9) {
            let number = self.first_number + random.below(12);
            if is_histogram(number) {
                continue;
            }
            let id = self.history.next(Writer { tenant: tenant_index, number });
            self.history.send(&[id]);
            let (timestamp_ms, value) = sample_of(id);
            let sample = Sample { timestamp_ms, value, start_timestamp_ms: 0, revision: 0 };
            if import.samples(&labels_of(id.0), &[sample]).is_err() {
                return false;
            }
            samples.push(id);
        }
        let is_done = import.finish().is_ok() && !samples.is_empty();
        if is_done {
            self.history.acknowledged.extend(samples);
        }
        is_done
    }

    /// One random step of a life whose flushes come from elsewhere.
    pub(super) fn step_without_flush(&mut self, random: &mut Random) {
        match random.below(20) {
            0 => {
                let outcome = self.engine.idle_sync();
                self.settle(outcome.map_err(|failed| failed.through));
            }
            1..=5 => self.sync(),
            _ => {
                let samples = self.pick(random);
                self.send(&samples, random.below(4) > 0);
                if self.waiting.len() > 3 {
                    self.sync();
                }
            }
        }
    }

    /// The samples of a mutation of one tenant: new ones, or the last ones once more.
    fn pick(&mut self, random: &mut Random) -> Vec<Id> {
        if random.below(6) == 0 && !self.last.is_empty() {
            return self.last.clone();
        }
        let tenant = usize::try_from(random.below(2)).unwrap();
        let first = self.first_number + random.below(12);
        let mut samples = Vec::new();
        for number in first..first + 1 + random.below(4) {
            // A mutation is of one kind.
            if is_histogram(number) != is_histogram(first) {
                continue;
            }
            for _ in 0..=random.below(3) {
                samples.push(self.history.next(Writer { tenant, number }));
            }
        }
        samples
    }

    /// Sends samples of one tenant; series that have a number by it, if `by_number`.
    pub(super) fn send(&mut self, samples: &[Id], by_number: bool) {
        self.last = samples.to_vec();
        self.history.send(samples);
        for by_number in [by_number, false] {
            let (mutation, writers) = self.mutation(samples, by_number);
            match self.engine.append(&mutation, AppendLimits::NONE, self.history.now()) {
                Ok(Appended::Queued { ticket, written }) => {
                    assert_eq!(written.refused, [], "there is no limit");
                    let numbers = written.numbers.iter().map(|(index, number)| {
                        let writer = writers[usize::try_from(*index).unwrap()];
                        (writer, (written.generation, *number))
                    });
                    let numbers = numbers.collect();
                    self.waiting.push(Waiting { ticket, samples: samples.to_vec(), numbers });
                    return;
                }
                Ok(Appended::NeedLabels) => assert!(by_number, "labels were sent"),
                Err(_) => return,
            }
        }
    }

    fn mutation(&self, samples: &[Id], by_number: bool) -> (Mutation, Vec<Writer>) {
        let tenant = tenant(samples[0].0.tenant);
        let context = Context {
            tenant,
            principal: Principal::Anonymous,
            request_id: RequestId(7),
            timeout_ms: 0,
            now: model::TimestampMs(0),
            ring_version: 0,
        };
        let mut mutation = Mutation::empty(Arc::new(context));
        let mut writers = Vec::new();
        for part in samples.chunk_by(|a, b| a.0 == b.0) {
            let writer = part[0].0;
            let series = match self.numbers.get(&writer).filter(|_| by_number) {
                Some((generation, number)) => {
                    mutation.generation = *generation;
                    SeriesRef::Number(*number)
                }
                None => SeriesRef::Labels(labels_of(writer)),
            };
            match is_histogram(writer.number) {
                false => mutation.push(series, part.iter().map(|id| sample_of(*id))),
                true => {
                    mutation.kind = SampleKind::Histogram;
                    mutation.timestamps_ms.extend(part.iter().map(|id| sample_of(*id).0));
                    let histograms = part.iter().map(|id| Arc::new(histogram_of(*id)));
                    mutation.histograms.extend(histograms);
                    mutation.end_series(series);
                }
            }
            writers.push(writer);
        }
        (mutation, writers)
    }

    pub(super) fn sync(&mut self) {
        let outcome = self.engine.sync();
        self.settle(outcome.map_err(|failed| failed.through));
    }

    /// Acknowledges what is on disk, forgets what was refused.
    fn settle(&mut self, outcome: std::result::Result<u64, u64>) {
        let (Ok(through) | Err(through)) = outcome;
        let had = self.waiting.len();
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.ticket > through {
                self.waiting.push(waiting);
            } else if outcome.is_ok() {
                self.history.acknowledged.extend(waiting.samples);
                // Those of a life of the tenant that is over mean nothing in this one.
                if let Some((new, (generation, _))) = waiting.numbers.first() {
                    self.numbers.retain(|writer, (held, _)| {
                        writer.tenant != new.tenant || held == generation
                    });
                }
                self.numbers.extend(waiting.numbers);
            }
        }
        let settled = u64::from(had > self.waiting.len());
        match outcome {
            Ok(_) => self.acknowledged += settled,
            Err(_) => self.refused += 1,
        }
    }
}
