//! The crash rig: the whole engine on a disk that breaks in every way it can.
//!
//! A *story* is several lives of one store: each opens, checks everything it answers, sends, syncs,
//! and does jobs (flush, compact, seal, delete, purge, snapshot, import, other rules of retention,
//! their pass, expiry), and ends by a kill or a power cut in the middle of any call. Odd lives
//! compact by UCS, even ones by TWCS. A *plant* is a fault put into the disk on purpose, to see that
//! the checker flags what it leads to.
//!
//! The verdicts (`checker.rs`): an acknowledged sample lost, one that was seen and is gone, one
//! twice, one with a wrong value, one invented, one of another tenant, one resurrected after a
//! delete that was answered, a delete done by half, a snapshot that was answered and is not whole,
//! one shown that has expired, or that had before more was kept.
//!
//! What of the list of crash and disk faults is shown where:
//!
//! | fault | where |
//! |---|---|
//! | D1 stopped at every call of the disk | [`stopped_at_every_call_of_ucs_nothing_is_lost_doubled_resurrected_or_invented`] the same of TWCS, and of expiry and the pass |
//! | D3 power cuts, torn and reordered writes | `over_kills_and_power_cuts_of_250_seeds` and `…_of_the_other_250_seeds` |
//! | D5 files cut at any length | `damage.rs`; at the readers: `manifest`, `checkpoint`, `commit_log`, `sstable` |
//! | D6 changed bytes | `damage.rs`: 20,000 over every kind of file |
//! | D7 damage in the middle of the log | `commit_log/tests.rs`; `damage.rs` |
//! | D9 a disk that is full | `errors.rs` at every call; `engine/compact/tests.rs` for the reserve |
//! | D10 errors of reads, writes and syncs | `errors.rs` |
//! | D12 killed while it recovers, again and again | `starts.rs` |
//! | D14 a second process, a disk that may not be written, a clock that is wrong | `starts.rs`; the lock: `disk/file.rs` and the crate `tests` |
//!
//! The planted faults are listed in `plants.rs`. Not here: the log alone (`commit_log/tests.rs`),
//! any order of steps without a crash (`engine/model_tests.rs`), real processes (the crate `tests`).

mod aging;
mod checker;
mod damage;
mod errors;
mod plants;
mod starts;
mod workload;

use crate::disk::Disk;
use crate::engine::{Engine, OpenReport};
use crate::sim::{Action, Outcome, SimDisk};
use crate::snapshot::{self, Place, Snapshot};
use aging::RULES;
use checker::{History, Id, Writer, now};
use parking_lot::Mutex;
use plants::{Planted, wait_for_others};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use workload::{Random, Senders, compact, everything, open};

/// Puts a fault between the engine and the disk of one life. The flag says whether the engine
/// has been opened in this life.
type Plant = fn(&SimDisk, Arc<AtomicBool>) -> Arc<dyn Disk>;

fn no_fault(disk: &SimDisk, _: Arc<AtomicBool>) -> Arc<dyn Disk> {
    plain(disk)
}

fn plain(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// What a start reports that should be nothing, however the last life ended.
fn alarms(report: &OpenReport) -> Vec<String> {
    let mut alarms = Vec::new();
    alarms.extend(report.replay.damage.iter().map(|damage| format!("false alarm: {damage:?}")));
    alarms.extend(report.sstables_damaged.iter().map(|sstable| format!("{sstable:?}")));
    if report.records_damaged > 0 {
        alarms.push(format!("{} records make no sense", report.records_damaged));
    }
    alarms
}

fn check(engine: &Engine, history: &History) -> (Vec<String>, BTreeSet<Id>) {
    match everything(engine, history.now()) {
        Ok(answers) => history.check(&answers),
        Err(error) => (vec![format!("does not answer: {error}")], BTreeSet::new()),
    }
}

/// A life of a store: which one, on which disk, with which fault, and how many steps at most.
struct Life<'a> {
    disk: &'a SimDisk,
    plant: Plant,
    number: u64,
    steps: u64,
}

/// Lives that life. It ends early when the disk stops.
fn live(life: &Life<'_>, random: &mut Random, history: &mut History) -> Vec<String> {
    let Life { disk, plant, number, steps } = *life;
    let is_open = Arc::new(AtomicBool::new(false));
    let on = plant(disk, Arc::clone(&is_open));
    let opened = open(Arc::clone(&on), number, history.now());
    is_open.store(true, Ordering::Relaxed);
    let (engine, report) = match opened {
        Ok(opened) => opened,
        Err(_) if disk.is_stopped() => return Vec::new(),
        Err(error) => return vec![format!("does not open: {error}")],
    };
    let mut faults = alarms(&report);
    Senders::new(&engine, history).keep_as_before();
    let (wrong, found) = check(&engine, history);
    if disk.is_stopped() {
        return faults;
    }
    faults.extend(wrong);
    faults.extend(history.settle(&found));
    history.seen = found;
    let mut senders = Senders::new(&engine, history);
    senders.disk = Some(on);
    for _ in 0..steps {
        if disk.is_stopped() {
            return faults;
        }
        senders.step(random);
    }
    let (wrong, _) = check(&engine, history);
    if !disk.is_stopped() {
        faults.extend(wrong);
    }
    faults
}

/// What is wrong when the store is opened for the last time, without any fault.
fn verdict(disk: &SimDisk, history: &mut History) -> Vec<String> {
    disk.clear_hook();
    let life = Life { disk, plant: no_fault, number: 99, steps: 0 };
    let mut faults = live(&life, &mut Random::new(0), history);
    match snapshot::list(disk) {
        Ok(listed) => {
            faults.extend(listed.iter().flat_map(|taken| restored(disk, taken, history)));
            let is_listed = |name: &&String| listed.iter().any(|taken| taken.name == **name);
            let lost = history.snapshots.keys().filter(|name| !is_listed(name));
            faults.extend(lost.map(|name| format!("snapshot {name} was answered and is lost")));
        }
        Err(error) => faults.push(format!("snapshots cannot be listed: {error}")),
    }
    faults
}

/// What is wrong with the store that is made of a snapshot.
fn restored(disk: &SimDisk, taken: &Snapshot, history: &History) -> Vec<String> {
    let name = &taken.name;
    let to = SimDisk::new(0);
    if let Err(error) = snapshot::restore(disk, Place::Store, taken, &to, "to") {
        return vec![format!("snapshot {name} is not whole: {error}")];
    }
    to.power_cut();
    let mut moment = match history.snapshots.get(name) {
        Some(moment) => moment.clone(),
        // Nobody was told that it is there; but it is, so it holds what was sent and no more.
        None => history.only_tried(),
    };
    let life = Life { disk: &to, plant: no_fault, number: 98, steps: 0 };
    let faults = live(&life, &mut Random::new(0), &mut moment);
    faults.into_iter().map(|fault| format!("snapshot {name}: {fault}")).collect()
}

/// Five lives, each cut off somewhere by a kill or a power cut: what is wrong, and what was done.
fn story(seed: u64, plant: Plant) -> (Vec<String>, History) {
    let disk = SimDisk::new(seed);
    let mut random = Random::new(seed);
    let mut history = History::default();
    let mut faults = Vec::new();
    for number in 1..6 {
        disk.stop_at(disk.calls() + 1 + random.below(160));
        let life = Life { disk: &disk, plant, number, steps: 70 };
        faults.extend(live(&life, &mut random, &mut history));
        match random.below(2) {
            0 => disk.kill(),
            _ => disk.power_cut(),
        }
    }
    faults.extend(verdict(&disk, &mut history));
    (faults, history)
}

/// The jobs in turn, with some steps of the senders before each.
fn every_job(
    disk: &SimDisk,
    number: u64,
    jobs: &[&'static str],
    history: &mut History,
) -> Vec<String> {
    let (engine, report) = match open(plain(disk), number, history.now()) {
        Ok(opened) => opened,
        Err(_) if disk.is_stopped() => return Vec::new(),
        Err(error) => return vec![format!("does not open: {error}")],
    };
    let mut random = Random::new(7);
    let mut senders = Senders::new(&engine, history);
    senders.disk = Some(plain(disk));
    for job in jobs {
        for _ in 0..8 {
            senders.step_without_flush(&mut random);
        }
        senders.job(job, &mut random);
        if disk.is_stopped() {
            return Vec::new();
        }
    }
    let mut faults = alarms(&report);
    faults.extend(check(&engine, history).0);
    faults
}

/// Data, a delete of some of it that is purged from files, snapshots of which one is deleted, an
/// import, and compactions between them all.
const JOBS: [&str; 22] = [
    "flush", "import", "flush", "compact", "snapshot", "delete", "flush", "compact", "seal",
    "delete", "purge", "snapshot", "flush", "compact", "delete", "import", "purge", "snapshot",
    "flush", "seal", "compact", "delete",
];

/// Rules that split files, move them and take some of them, windows that go in time, tombstones
/// that go with them, and more that is kept again.
const AGING: [&str; 19] = [
    "import", "flush", "delete", RULES[1], "pass", "flush", RULES[2], "pass", "import", "expire",
    "flush", "expire", "snapshot", RULES[0], "delete", "flush", RULES[3], "pass", "seal",
];

/// Returns what was asked of the disk.
fn stopped_at_every_call(number: u64, jobs: &[&'static str]) -> HashSet<Action> {
    let whole = SimDisk::new(0);
    let mut history = History::default();
    let actions = Arc::new(Mutex::new(HashSet::new()));
    let seen = Arc::clone(&actions);
    whole.set_hook(move |call| {
        seen.lock().insert(call.action);
        Outcome::Done
    });
    assert_eq!(every_job(&whole, number, jobs, &mut history), Vec::<String>::new());
    let calls = whole.calls();
    assert!(calls > 300 && history.acknowledged.len() > 100, "{calls} {history:?}");
    let is_done = |job: &&str| history.jobs.get(*job).is_some_and(|times| *times > 0);
    assert!(jobs.iter().all(is_done), "{:?}", history.jobs);
    assert_eq!(verdict(&whole, &mut history), Vec::<String>::new());
    for stop_at in 0..=calls {
        let disk = SimDisk::new(stop_at);
        let mut history = History::default();
        disk.stop_at(stop_at);
        let faults = every_job(&disk, number, jobs, &mut history);
        assert_eq!(faults, Vec::<String>::new(), "stop {stop_at}");
        let killed = disk.fork(0);
        assert_eq!(verdict(&killed, &mut history.clone()), Vec::<String>::new(), "kill {stop_at}");
        disk.power_cut();
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "cut {stop_at}");
    }
    actions.lock().clone()
}

#[test]
fn stopped_at_every_call_of_ucs_nothing_is_lost_doubled_resurrected_or_invented() {
    use Action::{Append, CreateDir, CreateNew, HardLink, RemoveDir, Rename};
    use Action::{SyncData, SyncDir, Unlink};
    let every =
        [Append, CreateDir, CreateNew, HardLink, RemoveDir, Rename, SyncData, SyncDir, Unlink];
    let actions = stopped_at_every_call(1, &JOBS);
    assert!(every.iter().all(|action| actions.contains(action)), "{actions:?}");
}

#[test]
fn stopped_at_every_call_of_twcs_nothing_is_lost_doubled_resurrected_or_invented() {
    stopped_at_every_call(2, &JOBS);
}

#[test]
fn stopped_at_every_call_of_expiry_and_the_pass_under_ucs_what_is_kept_is_there_and_no_more() {
    stopped_at_every_call(1, &AGING);
}

#[test]
fn stopped_at_every_call_of_expiry_and_the_pass_under_twcs_what_is_kept_is_there_and_no_more() {
    stopped_at_every_call(2, &AGING);
}

/// Whether 250 stories are without a fault, and every job is done often enough in them. The
/// environment may ask for others: `RIG_SEED_BASE`, and `RIG_SEEDS` for each of two tests.
fn stories(part: u64) {
    let asked = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let count = asked("RIG_SEEDS").unwrap_or(250);
    let first = asked("RIG_SEED_BASE").unwrap_or(0) + part * count;
    let mut jobs: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in first..first + count {
        let (faults, history) = story(seed, no_fault);
        assert_eq!(faults, Vec::<String>::new(), "seed {seed}");
        history.jobs.iter().for_each(|(job, times)| *jobs.entry(job).or_default() += times);
    }
    let is_often = |job: &&str| jobs.get(*job).is_some_and(|times| *times >= 4);
    assert!(JOBS.iter().chain(&AGING).all(is_often), "{jobs:?}");
}

#[test]
fn over_kills_and_power_cuts_of_250_seeds_nothing_acknowledged_is_lost() {
    stories(0);
}

#[test]
fn over_kills_and_power_cuts_of_the_other_250_seeds_nothing_acknowledged_is_lost() {
    stories(1);
}

#[test]
fn after_kill_restart_and_more_writes_a_power_cut_loses_nothing() {
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let mut random = Random::new(seed);
        let mut history = History::default();
        for number in 1..3 {
            let steps = 10 + random.below(20);
            let life = Life { disk: &disk, plant: no_fault, number, steps };
            let faults = live(&life, &mut random, &mut history);
            assert_eq!(faults, Vec::<String>::new(), "seed {seed} life {number}");
            if number == 1 { disk.kill() } else { disk.power_cut() }
        }
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn writers_and_flushes_side_by_side_lose_nothing_when_the_process_stops_under_them() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let (engine, _) = open(Planted::before(&disk, wait_for_others), 1, now()).unwrap();
        disk.stop_at(disk.calls() + 20 + seed * 12);
        let writers_left = AtomicUsize::new(3);
        let write = |writer: u64| {
            let mut history = History::default();
            let mut senders = Senders::new(&engine, &mut history);
            senders.first_number = writer * 20;
            let mut random = Random::new(seed * 3 + writer);
            for _ in 0..40 {
                senders.step_without_flush(&mut random);
            }
            writers_left.fetch_sub(1, Ordering::Relaxed);
            history
        };
        let mut history = History::default();
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3).map(|writer| scope.spawn(move || write(writer))).collect();
            while writers_left.load(Ordering::Relaxed) > 0 {
                // Stopped or not: a flush that fails leaves everything as it was.
                drop(engine.flush(now()));
                if let Some(due) = engine.next_compaction(now(), seed) {
                    compact(&engine, &due, now());
                }
            }
            writers.into_iter().for_each(|writer| history.merge(writer.join().unwrap()));
        });
        let (wrong, _) = check(&engine, &history);
        assert!(disk.is_stopped() || wrong.is_empty(), "seed {seed}: {wrong:?}");
        let killed = disk.fork(seed);
        assert_eq!(verdict(&killed, &mut history.clone()), Vec::<String>::new(), "seed {seed}");
        disk.power_cut();
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_series_older_than_ten_log_truncations_survives() {
    let disk = SimDisk::new(3);
    let mut history = History::default();
    let old = Writer { tenant: 0, number: 0 };
    {
        let (engine, _) = open(plain(&disk), 1, now()).unwrap();
        let mut senders = Senders::new(&engine, &mut history);
        let first = senders.history.next(old);
        senders.send(&[first], false);
        senders.sync();
        let mut truncations = 0;
        for turn in 0..40 {
            let sample = senders.history.next(Writer { tenant: 0, number: 1 + turn % 5 });
            senders.send(&[sample], true);
            senders.sync();
            truncations += engine.flush(now()).unwrap().segments_removed.min(1);
        }
        assert!(truncations >= 10, "{truncations}");
        // By its number: nothing of the log defines it any more, only the checkpoint does.
        let last = senders.history.next(old);
        senders.send(&[last], true);
        senders.sync();
        assert!(senders.history.acknowledged.contains(&last));
    }
    disk.power_cut();
    assert_eq!(verdict(&disk, &mut history), Vec::<String>::new());
    disk.power_cut();
    assert_eq!(verdict(&disk, &mut history), Vec::<String>::new());
}
