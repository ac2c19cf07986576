//! What the log promises, on a disk that breaks in every way it can.

use super::*;
use crate::sim::{Action, Call, Outcome, SimDisk};
use model::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

mod damage;

const SMALL: Config = Config {
    segment_bytes_max: 2_000,
    pending_bytes_max: 64 << 10,
    record_bytes_max: 16 << 10,
    room_bytes: 900,
    free_bytes_min: 0,
};

/// A payload that says who wrote it, and is as long as it says.
fn payload(life: u64, number: u64) -> Vec<u8> {
    let filler = usize::try_from(number * 37 % 600).unwrap();
    let mut bytes = [life.to_le_bytes(), number.to_le_bytes()].concat();
    bytes.resize(16 + filler, u8::try_from(number % 251).unwrap());
    bytes
}

/// What was tried and what was acknowledged, and what is wrong with what came back.
#[derive(Clone, Debug, Default)]
struct Checker {
    tried: BTreeSet<(u64, u64)>,
    acknowledged: BTreeSet<(u64, u64)>,
    /// Records that a replay showed: they may not vanish again.
    seen: BTreeSet<(u64, u64)>,
}

impl Checker {
    fn check(&mut self, replayed: &[Vec<u8>]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut found = BTreeSet::new();
        for bytes in replayed {
            let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            let id = (number(0), number(8));
            if *bytes != payload(id.0, id.1) || !self.tried.contains(&id) {
                faults.push(format!("{id:?} was invented"));
            }
            if !found.insert(id) {
                faults.push(format!("{id:?} came twice"));
            }
        }
        let lost = self.acknowledged.union(&self.seen).filter(|id| !found.contains(id));
        faults.extend(lost.map(|id| format!("{id:?} was lost")));
        self.seen = found;
        faults
    }
}

type Opened = (CommitLog, ReplayReport, Vec<Vec<u8>>);

fn open(disk: &SimDisk, start: u64) -> Result<Opened> {
    let mut replayed = Vec::new();
    let disk = Arc::new(disk.clone());
    let (log, report) = CommitLog::open(disk, LOG, SMALL, start, 0, &mut |record| {
        replayed.push(record.payload.to_vec());
        Ok(())
    })?;
    Ok((log, report, replayed))
}

const LOG: &str = "log";

/// One life of a process: opens, checks what came back, appends `records` in groups of up to 4.
fn live(disk: &SimDisk, life: u64, records: u64, checker: &mut Checker) -> Vec<String> {
    let Ok((log, report, replayed)) = open(disk, life) else { return Vec::new() };
    let mut faults = checker.check(&replayed);
    faults.extend(report.damage.iter().map(|damage| format!("false alarm: {damage:?}")));
    let mut group = Vec::new();
    for number in 0..records {
        checker.tried.insert((life, number));
        log.append(&payload(life, number)).unwrap();
        group.push((life, number));
        if number % 7 == 6 {
            log.roll();
        }
        if number % 4 == 3 || number + 1 == records {
            match log.sync() {
                Ok(_) => checker.acknowledged.extend(group.drain(..)),
                Err(_) => group.clear(),
            }
            if number % 8 == 7 {
                log.mark();
            }
        }
    }
    faults
}

/// Opens once more with nothing but what is on disk and says what is wrong.
fn verdict(disk: &SimDisk, checker: &mut Checker) -> Vec<String> {
    match open(disk, 99) {
        Ok((_, report, replayed)) => {
            let mut faults = checker.check(&replayed);
            faults.extend(report.damage.iter().map(|damage| format!("false alarm: {damage:?}")));
            faults
        }
        Err(error) => vec![format!("does not open: {error}")],
    }
}

#[test]
fn what_was_synced_comes_back_once_and_in_order() {
    let disk = SimDisk::new(1);
    let (log, _, _) = open(&disk, 7).unwrap();
    assert_eq!(log.sync().unwrap(), 0, "nothing was in line");
    let calls = disk.calls();
    assert_eq!(log.sync().unwrap(), 0);
    assert_eq!(disk.calls(), calls, "a sync of nothing touches nothing");
    assert_eq!(log.append(b"one").unwrap(), 1);
    assert_eq!(log.append(b"two").unwrap(), 2);
    assert_eq!(log.synced_sequence(), 0);
    assert_eq!(log.sync().unwrap(), 2);
    assert_eq!(log.append(b"three").unwrap(), 3);
    assert_eq!(log.mark(), Some(4));
    assert_eq!(log.mark(), None, "two marks in a row say nothing new");
    assert_eq!(log.sync().unwrap(), 4);
    assert_eq!(log.append(b"never synced").unwrap(), 5);
    drop(log);
    disk.kill();

    let (log, report, replayed) = open(&disk, 8).unwrap();
    assert_eq!(replayed, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    assert_eq!((report.records, report.payload_bytes, report.copies), (3, 11, 0));
    assert_eq!((report.damage, report.torn), (vec![], vec![]));
    assert_eq!(log.append(b"four").unwrap(), 1, "each start counts for itself");
    log.sync().unwrap();
    // The second was what the first start had not known to be on disk: carried over.
    assert_eq!(log.segments().unwrap(), [1, 2, 3]);
}

#[test]
fn a_group_takes_one_write_and_one_sync() {
    let disk = SimDisk::new(1);
    let (log, _, _) = open(&disk, 7).unwrap();
    log.append(b"first").unwrap();
    log.sync().unwrap();
    let calls = disk.calls();
    let written = log.written_bytes();
    let length = || disk.bytes_of("log/0000000000000001.log").unwrap().len();
    let before = length();
    for _ in 0..10 {
        log.append(b"next").unwrap();
    }
    assert_eq!(log.written_bytes(), written, "what waits is not written");
    let waits = log.pending_bytes() as u64;
    log.sync().unwrap();
    assert_eq!(disk.calls() - calls, 2);
    assert_eq!(log.written_bytes() - written, waits);
    assert_eq!(length(), before, "there was room, so the sync changes no length");
}

#[test]
fn segments_go_when_told_but_never_the_newest() {
    let disk = SimDisk::new(1);
    let (log, _, _) = open(&disk, 7).unwrap();
    for number in 0..40 {
        log.append(&payload(7, number)).unwrap();
        log.sync().unwrap();
    }
    let segments = log.segments().unwrap();
    assert!(segments.len() > 4, "{segments:?}");
    let next = log.roll();
    assert_eq!(next, segments.last().unwrap() + 1);
    log.remove_through(segments[2]).unwrap();
    assert_eq!(log.segments().unwrap(), segments[3..]);
    log.remove_through(u64::MAX).unwrap();
    assert_eq!(log.segments().unwrap(), segments[segments.len() - 1..]);
    log.append(b"x").unwrap();
    log.sync().unwrap();
    assert_eq!(log.segments().unwrap().last(), Some(&next));
    assert!(!open(&disk, 8).unwrap().1.damage.is_empty(), "0 is where nothing was removed");

    let shared = Arc::new(disk);
    let (_, report) = CommitLog::open(shared, LOG, SMALL, 8, next, &mut |_| Ok(())).unwrap();
    assert_eq!(report.damage, []);
}

#[test]
fn what_waits_is_bounded_and_a_record_too() {
    let disk = SimDisk::new(1);
    let (log, _, _) = open(&disk, 7).unwrap();
    let error = log.append(&vec![0; 16 << 10 | 1]).unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge);
    let big = vec![1; 16 << 10];
    for _ in 0..3 {
        log.append(&big).unwrap();
    }
    assert_eq!(log.append(&big).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(log.sync().unwrap(), 3);
    log.append(&big).unwrap();

    // What failed still waits, so it still counts.
    disk.set_hook(|call| match call.action {
        Action::SyncData => Outcome::Fail(ErrorKind::Other),
        _ => Outcome::Done,
    });
    for _ in 0..2 {
        log.append(&big).unwrap();
    }
    log.sync().unwrap_err();
    assert_eq!(log.append(&big).unwrap_err().kind(), Kind::Unavailable);
    assert!(log.pending_bytes() <= SMALL.pending_bytes_max);
}

#[test]
fn stopped_at_every_call_nothing_acknowledged_is_lost_and_nothing_comes_twice() {
    let whole = SimDisk::new(0);
    let mut checker = Checker::default();
    assert_eq!(live(&whole, 1, 40, &mut checker), Vec::<String>::new());
    let calls = whole.calls();
    assert!(calls > 50, "{calls}");
    for stop_at in 0..=calls {
        let disk = SimDisk::new(stop_at);
        let mut checker = Checker::default();
        disk.stop_at(stop_at);
        live(&disk, 1, 40, &mut checker);
        let killed = disk.fork(0);
        assert_eq!(verdict(&killed, &mut checker.clone()), Vec::<String>::new(), "{stop_at}");
        for seed in 0..4 {
            let cut = disk.fork(stop_at * 10 + seed);
            cut.power_cut();
            let mut checker = checker.clone();
            assert_eq!(verdict(&cut, &mut checker), Vec::<String>::new(), "{stop_at} {seed}");
        }
    }
}

/// Lives, kills and power cuts drawn from a seed; `faulty` may set a hook on the disk.
fn story(seed: u64, faulty: &dyn Fn(&SimDisk)) -> Vec<String> {
    let disk = SimDisk::new(seed);
    faulty(&disk);
    let mut checker = Checker::default();
    let mut faults = Vec::new();
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for life in 1..6 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        disk.stop_at(disk.calls() + random % 60);
        faults.extend(live(&disk, life, 24, &mut checker));
        if random & (1 << 40) == 0 {
            disk.kill();
        } else {
            disk.power_cut();
            // What was seen but not acknowledged was brought to the disk by the replay that
            // showed it, or that replay did not come to its end.
        }
    }
    disk.clear_hook();
    faults.extend(verdict(&disk, &mut checker));
    faults
}

#[test]
fn over_kills_and_power_cuts_of_400_seeds_nothing_acknowledged_is_lost() {
    for seed in 0..400 {
        assert_eq!(story(seed, &|_| ()), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_not_lost_after_it_was_read() {
    for seed in 0..400 {
        let mut random: u64 = seed + 1;
        let failing = |disk: &SimDisk| {
            disk.set_hook(move |call| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                match call.action {
                    Action::SyncData | Action::SyncFile if (random >> 40).is_multiple_of(8) => {
                        Outcome::Fail(ErrorKind::Other)
                    }
                    _ => Outcome::Done,
                }
            });
        };
        assert_eq!(story(seed, &failing), Vec::<String>::new(), "seed {seed}");
    }
}

/// How many of 60 seeds the checker flags when the disk lies about the calls that `lies` names.
fn flagged(lies: fn(Call<'_>) -> bool) -> usize {
    let lie = move |disk: &SimDisk| {
        disk.set_hook(move |call| if lies(call) { Outcome::Lie } else { Outcome::Done });
    };
    (0..60).filter(|seed| !story(*seed, &lie).is_empty()).count()
}

#[test]
fn the_checker_flags_each_planted_lie() {
    assert_eq!(flagged(|_| false), 0);
    let before_fsync = flagged(|call| call.action == Action::SyncData);
    assert!(before_fsync > 20, "acknowledge before fsync: {before_fsync} of 60");
    let replay = flagged(|call| call.action == Action::SyncFile);
    assert!(replay > 3, "replay does not sync what it accepted: {replay} of 60");
    let directory = flagged(|call| call.action == Action::SyncDir);
    assert!(directory > 20, "a segment's name is not synced: {directory} of 60");
}

#[test]
fn one_failed_sync_refuses_its_group_and_the_next_comes_from_a_new_segment() {
    let disk = SimDisk::new(1);
    let (log, _, _) = open(&disk, 1).unwrap();
    let mut checker = Checker::default();
    for number in 0..3 {
        checker.tried.insert((1, number));
    }
    log.append(&payload(1, 0)).unwrap();
    assert_eq!(log.sync().unwrap(), 1);
    checker.acknowledged.insert((1, 0));
    let mut failures = 1;
    disk.set_hook(move |call| match call.action {
        Action::SyncData if failures > 0 => {
            failures -= 1;
            Outcome::Fail(ErrorKind::Other)
        }
        _ => Outcome::Done,
    });
    log.append(&payload(1, 1)).unwrap();
    let failed = log.sync().unwrap_err();
    assert_eq!((failed.through, failed.error.kind()), (2, Kind::Unavailable));
    assert_eq!(log.synced_sequence(), 1);
    let before = disk.bytes_of("log/0000000000000001.log");
    log.append(&payload(1, 2)).unwrap();
    assert_eq!(log.sync().unwrap(), 3);
    assert_eq!(log.segments().unwrap(), [1, 2]);
    assert_eq!(disk.bytes_of("log/0000000000000001.log"), before, "it is not touched again");
    checker.acknowledged.extend([(1, 1), (1, 2)]);

    let killed = disk.fork(0);
    let report = open(&killed, 2).unwrap().1;
    assert_eq!((report.copies, report.damage.len(), report.torn.len()), (1, 0, 0));
    for seed in 0..20 {
        let cut = disk.fork(seed);
        cut.power_cut();
        assert_eq!(verdict(&cut, &mut checker.clone()), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn syncs_that_fail_from_the_nth_on_acknowledge_nothing_ever_again() {
    for nth in 0..12 {
        let disk = SimDisk::new(nth);
        let mut left = nth;
        disk.set_hook(move |call| match call.action {
            Action::SyncData if left == 0 => Outcome::Fail(ErrorKind::Other),
            Action::SyncData => {
                left -= 1;
                Outcome::Done
            }
            _ => Outcome::Done,
        });
        let (log, _, _) = open(&disk, 1).unwrap();
        let mut checker = Checker::default();
        let mut has_failed = false;
        for number in 0..20 {
            checker.tried.insert((1, number));
            log.append(&payload(1, number)).unwrap();
            match log.sync() {
                Ok(through) => {
                    assert!(!has_failed, "acknowledged {through} after a failure");
                    checker.acknowledged.insert((1, number));
                }
                Err(_) => has_failed = true,
            }
        }
        assert!(has_failed);
        assert!(log.segments().unwrap().len() < 4, "a failing disk collects no segments");
        for seed in 0..8 {
            let cut = disk.fork(seed);
            cut.power_cut();
            assert_eq!(verdict(&cut, &mut checker.clone()), Vec::<String>::new(), "{nth} {seed}");
        }
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new(1);
    let (log, _, _) = open(&disk, 1).unwrap();
    disk.set_capacity_bytes(Some(1_500));
    let mut checker = Checker::default();
    let mut refused = 0;
    for number in 0..30 {
        checker.tried.insert((1, number));
        log.append(&payload(1, number)).unwrap();
        match log.sync() {
            Ok(_) => drop(checker.acknowledged.insert((1, number))),
            Err(failed) => {
                refused += 1;
                assert_eq!(failed.error.kind(), Kind::Unavailable);
            }
        }
        if number == 20 {
            disk.set_capacity_bytes(None);
        }
    }
    assert!(refused > 5 && checker.acknowledged.contains(&(1, 29)), "{refused}");
    disk.power_cut();
    // The refused ones were written again, in front of the later ones.
    checker.acknowledged.clone_from(&checker.tried);
    assert_eq!(verdict(&disk, &mut checker), Vec::<String>::new());
}

#[test]
fn appends_go_on_while_a_sync_is_under_way() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(crate::disk::FileDisk::open(directory.path()).unwrap());
    let config = Config { segment_bytes_max: 50_000, ..Config::default() };
    let shared: Arc<dyn Disk> = disk;
    let opened = CommitLog::open(Arc::clone(&shared), LOG, config.clone(), 1, 0, &mut |_| Ok(()));
    let log = opened.unwrap().0;
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for number in 0..200 {
                    let sequence = log.append(&payload(writer, number)).unwrap();
                    if number % 16 == 0 {
                        assert!(log.sync().unwrap() >= sequence);
                    }
                }
            });
        }
    });
    assert_eq!(log.sync().unwrap(), 800);
    let mut found = BTreeSet::new();
    let mut last = 0;
    let (_, report) = CommitLog::open(shared, LOG, config, 2, 0, &mut |record| {
        assert_eq!(record.sequence, last + 1);
        last = record.sequence;
        found.insert(record.payload.to_vec());
        Ok(())
    })
    .unwrap();
    assert_eq!((found.len(), report.damage.len()), (800, 0));
    assert!(report.segments.len() > 2);
}

#[test]
fn the_worked_example_of_the_format_is_what_is_written() {
    let disk = Arc::new(SimDisk::new(1));
    let shared: Arc<dyn Disk> = Arc::clone(&disk) as _;
    let start = 0x1122_3344_5566_7788;
    let (log, _) = CommitLog::open(shared, LOG, SMALL, start, 0, &mut |_| Ok(())).unwrap();
    log.append(b"hi").unwrap();
    log.sync().unwrap();
    let bytes = disk.bytes_of("log/0000000000000001.log").unwrap();
    let (written, room) =
        bytes.split_at(bytes.len() - usize::try_from(SMALL.room_bytes).unwrap() + 42);
    assert!(room.iter().all(|byte| *byte == 0));
    let dump: Vec<String> = written
        .chunks(16)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    let format = include_str!("../../FORMAT.md");
    assert!(format.contains(&dump.join("\n")), "{}", dump.join("\n"));
}

#[test]
fn writers_side_by_side_lose_nothing_when_the_process_stops_under_them() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let (log, _, _) = open(&disk, 1).unwrap();
        disk.stop_at(disk.calls() + 3 + seed);
        let outcomes: Vec<(u64, Vec<u64>)> = std::thread::scope(|scope| {
            let write = |writer: u64| {
                let mut acknowledged = Vec::new();
                for number in 0..60 {
                    let sequence = log.append(&payload(writer, number)).unwrap();
                    match log.sync() {
                        Ok(through) => {
                            assert!(through >= sequence);
                            acknowledged.push(number);
                        }
                        Err(failed) => assert!(failed.through >= sequence),
                    }
                    if number % 10 == writer {
                        log.roll();
                    }
                }
                (writer, acknowledged)
            };
            let writers: Vec<_> = (1..4).map(|writer| scope.spawn(move || write(writer))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let mut checker = Checker::default();
        for (writer, acknowledged) in outcomes {
            checker.tried.extend((0..60).map(|number| (writer, number)));
            checker.acknowledged.extend(acknowledged.iter().map(|number| (writer, *number)));
        }
        assert!(disk.is_stopped() || checker.acknowledged.len() == 180);
        let killed = disk.fork(seed);
        assert_eq!(verdict(&killed, &mut checker.clone()), Vec::<String>::new(), "seed {seed}");
        disk.power_cut();
        assert_eq!(verdict(&disk, &mut checker), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_nearly_full_disk_refuses_before_it_is_touched_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new(1);
    disk.set_capacity_bytes(Some(10_000));
    let config = Config { free_bytes_min: 9_000, ..SMALL };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _) = CommitLog::open(shared, LOG, config, 1, 0, &mut |_| Ok(())).unwrap();
    log.append(&payload(1, 0)).unwrap();
    log.sync().unwrap();
    disk.set_capacity_bytes(Some(9_000));
    log.append(&payload(1, 1)).unwrap();
    let calls = disk.calls();
    let failed = log.sync().unwrap_err();
    assert!(matches!(failed.error, Error::DiskReserve { .. }), "{failed}");
    assert_eq!((failed.through, failed.error.kind()), (2, Kind::Unavailable));
    assert_eq!(disk.calls(), calls);
    disk.set_capacity_bytes(None);
    assert_eq!(log.sync().unwrap(), 2);
    assert_eq!(log.segments().unwrap(), [1], "the segment was not to blame");
}
