//! A seeded workload for one engine: what senders do, and the jobs between.

use super::checker::{History, Id, TENANTS, Writer, labels_of, now, sample_of};
use crate::commit_log;
use crate::compaction::scaling::Scaling;
use crate::config::{CompactionConfig, Config};
use crate::disk::Disk;
use crate::engine::{AppendLimits, Appended, Compaction, Engine, OpenReport, Parts};
use crate::error::Result;
use crate::manifest::sstable_path;
use model::mutation::Mutation;
use model::read::{SelectBounds, Selection};
use model::series::SeriesRef;
use model::{Context, MatchOp, Matcher, Principal, RequestId, SeriesColumns, TenantId, TimeRange};
use std::cell::RefCell;
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

pub(super) fn config() -> Config {
    Config {
        commit_log: commit_log::Config {
            segment_bytes_max: 1_500,
            pending_bytes_max: 1 << 20,
            record_bytes_max: 64 << 10,
            free_bytes_min: 0,
        },
        // Two that overlap are merged, into files cut at tokens.
        compaction: CompactionConfig {
            scaling_parameters: Scaling::tiered(2),
            sstable_bytes_min: 0,
            ..CompactionConfig::default()
        },
        ..Config::default()
    }
}

thread_local! {
    /// The inputs of the compaction that this thread carries out.
    static COMPACTING: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The paths of the sstables that this thread is compacting, for faults that strike just then.
pub(super) fn compacting() -> Vec<String> {
    COMPACTING.with_borrow(|inputs| inputs.iter().map(|id| sstable_path(*id)).collect())
}

/// Carries a compaction out. It may fail: then everything is as it was.
pub(super) fn compact(engine: &Engine, compaction: &Compaction) -> bool {
    COMPACTING.set(compaction.inputs());
    let done = engine.compact(compaction, now(), &mut |_| true);
    COMPACTING.set(Vec::new());
    done.is_ok()
}

/// Brings all windows into their dense form, as far as that goes; returns in how many it went.
pub(super) fn seal(engine: &Engine) -> usize {
    let windows = engine.windows_to_seal().into_iter();
    let due = windows.filter_map(|window| engine.seal(window).ok().flatten());
    due.filter(|compaction| compact(engine, compaction)).count()
}

pub(super) fn open(disk: Arc<dyn Disk>, life: u64) -> Result<(Engine, OpenReport)> {
    let generation_seed = life.wrapping_mul(0xD134_2543_DE82_EF95) | 1;
    let parts = Parts { disk, cluster_name: "rig".to_owned(), generation_seed };
    Engine::open(parts, config(), now())
}

pub(super) fn tenant(index: usize) -> TenantId {
    TenantId::parse(TENANTS[index]).unwrap()
}

/// Everything the engine has, tenant by tenant.
pub(super) fn everything(engine: &Engine) -> Result<Vec<Vec<SeriesColumns>>> {
    let selection = Selection {
        matchers: vec![Matcher::new("job", MatchOp::Equal, "rig")],
        range: TimeRange::ALL,
        days: None,
        bounds: SelectBounds::NONE,
    };
    (0..TENANTS.len()).map(|index| engine.select(&tenant(index), &selection)).collect()
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
    /// How many compactions were carried out.
    pub(super) compactions: u64,
}

struct Waiting {
    ticket: u64,
    samples: Vec<Id>,
    numbers: Vec<(Writer, (u64, u32))>,
}

impl<'a> Senders<'a> {
    pub(super) fn new(engine: &'a Engine, history: &'a mut History) -> Self {
        let (numbers, waiting, last) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (first_number, acknowledged, refused, compactions) = (0, 0, 0, 0);
        Self {
            engine,
            history,
            first_number,
            numbers,
            waiting,
            last,
            acknowledged,
            refused,
            compactions,
        }
    }

    /// One random step of a life.
    pub(super) fn step(&mut self, random: &mut Random) {
        match random.below(20) {
            0 => drop(self.engine.flush(now())),
            1 => {
                if let Some(due) = self.engine.next_compaction(now(), random.below(u64::MAX)) {
                    self.compactions += u64::from(compact(self.engine, &due));
                }
            }
            2 if random.below(3) == 0 => self.compactions += seal(self.engine) as u64,
            _ => self.step_without_flush(random),
        }
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
            for _ in 0..=random.below(3) {
                samples.push(self.history.next(Writer { tenant, number }));
            }
        }
        samples
    }

    /// Sends samples of one tenant; series that have a number by it, if `by_number`.
    pub(super) fn send(&mut self, samples: &[Id], by_number: bool) {
        self.last = samples.to_vec();
        self.history.tried.extend(samples.iter().copied());
        for by_number in [by_number, false] {
            let (mutation, writers) = self.mutation(samples, by_number);
            match self.engine.append(&mutation, AppendLimits::NONE, now()) {
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
            mutation.push(series, part.iter().map(|id| sample_of(*id)));
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
