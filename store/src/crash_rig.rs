//! The crash rig: the whole engine on a disk that breaks in every way it can.
//!
//! A *story* is several lives of one store: each opens, checks everything it answers, sends, syncs,
//! flushes, compacts, seals, and ends by a kill or a power cut in the middle of any call. A *plant* is a fault put
//! into the disk on purpose, to see that the checker flags what it leads to.
//!
//! Not here: the log alone (`commit_log/tests.rs`), real processes (the crate `tests`).

mod checker;
mod workload;

use crate::disk::{Disk, DiskFile, DiskReader};
use crate::engine::{Engine, OpenReport};
use crate::error::{Error, Result};
use crate::sim::{Action, Call, Outcome, SimDisk};
use checker::{History, Id, Writer, now};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use workload::{Random, Senders, compact, compacting, everything, open, seal};

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
    match everything(engine) {
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
    let opened = open(plant(disk, Arc::clone(&is_open)), number);
    is_open.store(true, Ordering::Relaxed);
    let (engine, report) = match opened {
        Ok(opened) => opened,
        Err(_) if disk.is_stopped() => return Vec::new(),
        Err(error) => return vec![format!("does not open: {error}")],
    };
    let mut faults = alarms(&report);
    let (wrong, found) = check(&engine, history);
    if disk.is_stopped() {
        return faults;
    }
    faults.extend(wrong);
    history.seen = found;
    let mut senders = Senders::new(&engine, history);
    for _ in 0..steps {
        if disk.is_stopped() {
            return faults;
        }
        senders.step(random);
    }
    history.compactions += senders.compactions;
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
    live(&life, &mut Random::new(0), history)
}

/// Five lives, each cut off somewhere by a kill or a power cut.
fn story(seed: u64, plant: Plant) -> Vec<String> {
    let disk = SimDisk::new(seed);
    let mut random = Random::new(seed);
    let mut history = History::default();
    let mut faults = Vec::new();
    for number in 1..6 {
        disk.stop_at(disk.calls() + 1 + random.below(120));
        let life = Life { disk: &disk, plant, number, steps: 60 };
        faults.extend(live(&life, &mut random, &mut history));
        match random.below(2) {
            0 => disk.kill(),
            _ => disk.power_cut(),
        }
    }
    faults.extend(verdict(&disk, &mut history));
    faults
}

#[test]
fn stopped_at_every_call_no_acknowledged_sample_is_lost_doubled_or_invented() {
    let run = |disk: &SimDisk, history: &mut History| {
        let life = Life { disk, plant: no_fault, number: 1, steps: 90 };
        live(&life, &mut Random::new(7), history)
    };
    let whole = SimDisk::new(0);
    let mut history = History::default();
    assert_eq!(run(&whole, &mut history), Vec::<String>::new());
    let calls = whole.calls();
    assert!(calls > 100 && history.acknowledged.len() > 50, "{calls} {history:?}");
    assert!(history.compactions >= 3, "{history:?}");
    for stop_at in 0..=calls {
        let disk = SimDisk::new(stop_at);
        let mut history = History::default();
        disk.stop_at(stop_at);
        assert_eq!(run(&disk, &mut history), Vec::<String>::new(), "stop {stop_at}");
        let killed = disk.fork(0);
        assert_eq!(verdict(&killed, &mut history.clone()), Vec::<String>::new(), "kill {stop_at}");
        disk.power_cut();
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "cut {stop_at}");
    }
}

#[test]
fn over_kills_and_power_cuts_of_300_seeds_no_acknowledged_sample_is_lost() {
    for seed in 0..300 {
        assert_eq!(story(seed, no_fault), Vec::<String>::new(), "seed {seed}");
    }
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
        let shown = Before { disk: disk.clone(), create: wait_for_others };
        let (engine, _) = open(Arc::new(shown), 1).unwrap();
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
                    compact(&engine, &due);
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

/// How many of 60 stories the checker flags.
fn flagged(plant: Plant) -> usize {
    (0..60).filter(|seed| !story(*seed, plant).is_empty()).count()
}

#[test]
fn acknowledging_before_fsync_is_caught() {
    let flagged = flagged(|disk, _| {
        disk.set_hook(|call| match call.action {
            Action::SyncData if call.path.starts_with("log/") => Outcome::Lie,
            _ => Outcome::Done,
        });
        plain(disk)
    });
    assert!(flagged > 10, "{flagged} of 60");
}

#[test]
fn a_replay_that_does_not_sync_what_it_accepted_is_caught() {
    let flagged = flagged(|disk, is_open| {
        disk.set_hook(move |call: Call<'_>| match call.action {
            Action::SyncFile | Action::SyncData
                if call.path.starts_with("log/") && !is_open.load(Ordering::Relaxed) =>
            {
                Outcome::Lie
            }
            _ => Outcome::Done,
        });
        plain(disk)
    });
    assert!(flagged > 3, "{flagged} of 60");
}

/// A disk with something done before each file is created.
#[derive(Debug)]
struct Before {
    disk: SimDisk,
    create: fn(&SimDisk, &str) -> Result<()>,
}

/// Unlinks the log's segments when a checkpoint is begun, and not when it is there.
fn unlink_segments(disk: &SimDisk, path: &str) -> Result<()> {
    if !path.starts_with("checkpoints/") {
        return Ok(());
    }
    let mut segments = disk.list("log")?;
    segments.pop();
    for name in segments {
        Disk::unlink(disk, &format!("log/{name}"))?;
    }
    disk.sync_dir("log")
}

/// Lets others come first when a checkpoint is begun, so that a flush meets many of their writes.
fn wait_for_others(disk: &SimDisk, path: &str) -> Result<()> {
    let calls = disk.calls() + 60;
    for _ in 0..20_000 {
        if !path.starts_with("checkpoints/") || disk.calls() >= calls {
            break;
        }
        std::thread::yield_now();
    }
    Ok(())
}

impl Disk for Before {
    fn create_new(&self, path: &str) -> Result<Box<dyn DiskFile>> {
        (self.create)(&self.disk, path)?;
        self.disk.create_new(path)
    }
    fn open(&self, path: &str) -> Result<Arc<dyn DiskReader>> {
        Disk::open(&self.disk, path)
    }
    fn list(&self, directory: &str) -> Result<Vec<String>> {
        self.disk.list(directory)
    }
    fn len(&self, path: &str) -> Result<Option<u64>> {
        self.disk.len(path)
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.disk.rename(from, to)
    }
    fn hard_link(&self, from: &str, to: &str) -> Result<()> {
        self.disk.hard_link(from, to)
    }
    fn unlink(&self, path: &str) -> Result<()> {
        Disk::unlink(&self.disk, path)
    }
    fn create_dir(&self, path: &str) -> Result<()> {
        self.disk.create_dir(path)
    }
    fn remove_dir(&self, path: &str) -> Result<()> {
        self.disk.remove_dir(path)
    }
    fn sync_dir(&self, directory: &str) -> Result<()> {
        self.disk.sync_dir(directory)
    }
    fn sync_file(&self, path: &str) -> Result<()> {
        self.disk.sync_file(path)
    }
    fn free_bytes(&self) -> Result<u64> {
        self.disk.free_bytes()
    }
}

/// Lies about syncs of paths that begin with `prefix`, while something is compacted.
fn lies_in_compactions(disk: &SimDisk, prefix: &'static str, action: Action) -> Arc<dyn Disk> {
    disk.set_hook(move |call| {
        let is_it = call.action == action && call.path.starts_with(prefix);
        if is_it && !compacting().is_empty() { Outcome::Lie } else { Outcome::Done }
    });
    plain(disk)
}

#[test]
fn a_compaction_that_publishes_what_is_not_synced_is_caught() {
    let flagged = flagged(|disk, _| lies_in_compactions(disk, "sstables/", Action::SyncData));
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn a_compaction_that_publishes_a_name_that_is_not_synced_is_caught() {
    let flagged = flagged(|disk, _| lies_in_compactions(disk, "sstables", Action::SyncDir));
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn inputs_unlinked_before_the_edit_is_on_disk_are_caught() {
    let flagged = flagged(|disk, _| lies_in_compactions(disk, "MANIFEST", Action::SyncData));
    assert!(flagged > 3, "{flagged} of 60");
}

/// Unlinks the inputs of a compaction when its first output is begun.
fn unlink_inputs(disk: &SimDisk, path: &str) -> Result<()> {
    let inputs = if path.starts_with("sstables/") { compacting() } else { Vec::new() };
    inputs.iter().try_for_each(|path| Disk::unlink(disk, path))
}

#[test]
fn inputs_unlinked_before_the_outputs_are_published_are_caught() {
    let flagged = flagged(|disk, _| Arc::new(Before { disk: disk.clone(), create: unlink_inputs }));
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn a_segment_unlinked_before_its_checkpoint_is_caught() {
    let flagged =
        flagged(|disk, _| Arc::new(Before { disk: disk.clone(), create: unlink_segments }));
    assert!(flagged > 3, "{flagged} of 60");
}

/// Sends with a sync after each mutation; returns for each sync whether it acknowledged.
fn send_one_by_one(disk: &SimDisk, history: &mut History, count: u64) -> Vec<bool> {
    let (engine, _) = open(plain(disk), 1).unwrap();
    let mut senders = Senders::new(&engine, history);
    let mut outcomes = Vec::new();
    for number in 0..count {
        let sample = senders.history.next(Writer { tenant: 0, number: number % 3 });
        let before = senders.acknowledged;
        senders.send(&[sample], true);
        senders.sync();
        outcomes.push(senders.acknowledged > before);
        if number % 9 == 8 {
            drop(engine.flush(now()));
        }
    }
    outcomes
}

/// Makes the log's syncs from the `first` to before the `last` fail, and counts them.
fn failing_log_syncs(disk: &SimDisk, first: u64, last: u64) {
    let mut syncs = 0;
    disk.set_hook(move |call| {
        if call.action != Action::SyncData || !call.path.starts_with("log/") {
            return Outcome::Done;
        }
        syncs += 1;
        match (first..last).contains(&(syncs - 1)) {
            true => Outcome::Fail(ErrorKind::Other),
            false => Outcome::Done,
        }
    });
}

#[test]
fn one_failed_fsync_refuses_one_group_and_the_next_is_acknowledged_and_survives() {
    for nth in 0..25 {
        let disk = SimDisk::new(nth);
        failing_log_syncs(&disk, nth, nth + 1);
        let mut history = History::default();
        let outcomes = send_one_by_one(&disk, &mut history, 30);
        assert_eq!(outcomes.iter().filter(|is_acknowledged| !**is_acknowledged).count(), 1);
        disk.power_cut();
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "sync {nth}");
    }
}

#[test]
fn fsyncs_that_fail_from_the_nth_on_acknowledge_nothing_ever_again() {
    for nth in 0..25 {
        let disk = SimDisk::new(nth);
        failing_log_syncs(&disk, nth, u64::MAX);
        let mut history = History::default();
        let outcomes = send_one_by_one(&disk, &mut history, 30);
        let first = outcomes.iter().position(|is_acknowledged| !is_acknowledged).unwrap();
        assert!(outcomes[first..].iter().all(|is_acknowledged| !is_acknowledged), "{outcomes:?}");
        disk.power_cut();
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "sync {nth}");
    }
}

#[test]
fn any_failing_sync_or_write_anywhere_loses_nothing_acknowledged() {
    for nth in 0..150 {
        let disk = SimDisk::new(nth);
        let mut calls = 0;
        disk.set_hook(move |_| {
            calls += 1;
            if calls == nth { Outcome::Fail(ErrorKind::StorageFull) } else { Outcome::Done }
        });
        let mut history = History::default();
        let mut random = Random::new(11);
        let life = Life { disk: &disk, plant: no_fault, number: 1, steps: 60 };
        let opened = live(&life, &mut random, &mut history);
        let refused_to_open = opened.len() == 1 && opened[0].starts_with("does not");
        assert!(opened.is_empty() || refused_to_open, "call {nth}: {opened:?}");
        disk.power_cut();
        assert_eq!(verdict(&disk, &mut history), Vec::<String>::new(), "call {nth}");
    }
}

#[test]
fn a_series_older_than_ten_log_truncations_survives() {
    let disk = SimDisk::new(3);
    let mut history = History::default();
    let old = Writer { tenant: 0, number: 0 };
    {
        let (engine, _) = open(plain(&disk), 1).unwrap();
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

/// A store with samples in sstables, a checkpoint and the log, closed by nothing but a kill.
fn filled() -> (SimDisk, History) {
    let disk = SimDisk::new(1);
    let mut history = History::default();
    {
        let (engine, _) = open(plain(&disk), 1).unwrap();
        let mut senders = Senders::new(&engine, &mut history);
        let mut random = Random::new(5);
        for turn in 0..60 {
            senders.step_without_flush(&mut random);
            if turn == 30 {
                engine.flush(now()).unwrap();
                assert!(seal(&engine) > 0);
            }
            if turn == 40 {
                engine.flush(now()).unwrap();
                // From here on there are series that only the log defines.
                senders.first_number = 30;
            }
        }
        let sample = senders.history.next(Writer { tenant: 1, number: 3 });
        senders.send(&[sample], true);
        senders.sync();
        engine.idle_sync().unwrap();
    }
    disk.kill();
    (disk, history)
}

/// Opens a damaged store: it refuses by name, or it says what is damaged, or nothing is lost. Whatever it
/// answers was written.
fn nothing_is_silently_wrong(disk: &SimDisk, history: &History, case: &str) -> OpenReport {
    let (engine, report) = match open(plain(disk), 50) {
        Ok(opened) => opened,
        Err(Error::Corrupt { .. } | Error::NewerFormat { .. }) => return OpenReport::default(),
        // A manifest that lost its end may name files that are gone.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return OpenReport::default();
        }
        Err(error) => panic!("{case}: {error}"),
    };
    let is_told = !alarms(&report).is_empty() || report.samples_without_series > 0;
    let mut is_refused = false;
    for seals in [false, true] {
        if seals {
            seal(&engine);
        }
        match everything(&engine) {
            Ok(answers) => {
                // A compaction makes no good file of a damaged one.
                assert!(!is_refused, "{case}: answers again");
                let (mut faults, _) = history.check(&answers);
                faults.retain(|fault| !is_told || !fault.ends_with("lost"));
                assert_eq!(faults, Vec::<String>::new(), "{case}");
            }
            Err(Error::Corrupt { .. } | Error::NewerFormat { .. }) => is_refused = true,
            Err(error) => panic!("{case}: {error}"),
        }
    }
    report
}

#[test]
fn a_file_cut_anywhere_is_told_and_nothing_wrong_is_answered() {
    let (disk, history) = filled();
    let paths = disk.paths();
    assert!(
        ["MANIFEST", "log/", "checkpoints/", "sstables/"]
            .iter()
            .all(|kind| paths.iter().any(|path| path.starts_with(kind)))
    );
    let last_segment = paths.iter().rfind(|path| path.starts_with("log/")).unwrap();
    for path in paths.iter().filter(|path| *path != last_segment) {
        let bytes = disk.bytes_of(path).unwrap();
        let stride = 1 + bytes.len() / 300;
        for length in (0..bytes.len()).step_by(stride) {
            let disk = disk.fork(0);
            disk.overwrite(path, &bytes[..length]);
            let case = format!("{path} cut at {length}");
            nothing_is_silently_wrong(&disk, &history, &case);
        }
    }
}

#[test]
fn a_changed_byte_anywhere_is_told_and_nothing_wrong_is_answered() {
    let (disk, history) = filled();
    let mut random = Random::new(9);
    let paths = disk.paths();
    for case in 0..3_000 {
        let path = &paths[usize::try_from(random.below(paths.len() as u64)).unwrap()];
        let mut bytes = disk.bytes_of(path).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        let bit = 1 << random.below(8);
        bytes[at] = [bytes[at] ^ bit, 0, 0xFF][usize::try_from(random.below(3)).unwrap()];
        let disk = disk.fork(case);
        disk.overwrite(path, &bytes);
        let case = format!("{path} changed at {at}");
        let report = nothing_is_silently_wrong(&disk, &history, &case);
        // No record is needed by all later ones, so only the one that was hit is lost.
        let is_log = path.starts_with("log/");
        assert!(!is_log || report.samples_without_series == 0, "{case}: {report:?}");
    }
}
