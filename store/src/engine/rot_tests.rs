//! Damaged files of every kind: the right answer, or an error that names the file.

use super::tests::{Answer, NOW, all, answer, mutation, open, small_room, up, write};
use super::*;
use crate::disk::Disk;
use crate::error::Error;
use crate::inspect;
use crate::sim::SimDisk;
use crate::verify::{self, FileKind};
use model::time::DAY_MS;
use model::{Matcher, SeriesRef};

type Files = BTreeMap<String, Vec<u8>>;

/// A small store with every kind of file: sealed and flushed sstables, a checkpoint, a log with
/// what is in no sstable, a snapshot.
fn files() -> Files {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    let add = |name: &str, from: i64| {
        let mut some = mutation("t");
        for (series, instance) in (0..).zip(["a", "b", "c"]) {
            let value = |i: i32| f64::from(i * (series + 1)) + 0.25;
            let samples = (0..20).map(|i| (from + i64::from(i) * 15_000, value(i)));
            some.push(SeriesRef::Labels(up(&format!("{name}{instance}"))), samples);
        }
        write(&engine, &some);
    };
    add("old", 0);
    engine.flush(NOW).unwrap();
    for lot in engine.windows_to_seal() {
        let seal = engine.seal(lot).unwrap().unwrap();
        engine.compact(&seal, NOW, &mut |_| true).unwrap();
    }
    add("new", DAY_MS);
    engine.flush(NOW).unwrap();
    engine.snapshot("s", NOW).unwrap();
    add("head", 2 * DAY_MS);
    // What comes after is on disk for sure, and says so.
    engine.idle_sync().unwrap();
    disk.kill();
    let files = disk.paths().into_iter().map(|path| (path.clone(), disk.bytes_of(&path).unwrap()));
    files.collect()
}

fn disk_of(files: &Files) -> SimDisk {
    let disk = SimDisk::new(1);
    for directory in ["log", "sstables", "checkpoints", "snapshots", "snapshots/s"] {
        disk.create_dir(directory).unwrap();
    }
    for (path, bytes) in files {
        disk.create_new(path).unwrap().append(bytes).unwrap();
    }
    disk
}

fn opened(disk: &SimDisk) -> Result<(Engine, OpenReport)> {
    let disk = Arc::new(disk.clone());
    let parts = Parts { disk, cluster_name: "test".to_owned(), generation_seed: 99 };
    Engine::open(parts, small_room(), NOW)
}

fn expected() -> Answer {
    answer(&opened(&disk_of(&files())).unwrap().0, "t", &all(&[]))
}

/// Whether an answer is a part of what there was: what a cut log or manifest may lead to.
fn is_part(answer: &Answer, expected: &Answer) -> bool {
    answer.iter().all(|(labels, samples)| {
        let of = expected.iter().find(|(of, _)| of == labels);
        of.is_some_and(|(_, all)| samples.iter().all(|sample| all.contains(sample)))
    })
}

/// Whether the damage of a file was found by a check of the whole store. Whoever opens it gets the
/// right answer, or is told of the file; or, if the end of a file of records is `cut` off, which
/// looks as if it had never been there, of files that are missing.
fn judge(files: &Files, path: &str, cut: bool, expected: &Answer) -> bool {
    let disk = disk_of(files);
    let verified = verify::store(&disk).unwrap();
    let of_records = cut && (path == "MANIFEST" || path.starts_with("log/"));
    let directory = crate::disk::parent(path);
    let is_named = |said: &str| of_records || said.contains(path) || said.contains(directory);
    for fault in &verified.damage {
        assert!(is_named(&fault.to_string()), "{fault}, and it was {path}");
    }
    let of_file = verify::file(&disk, path);
    assert!(of_file.iter().all(|fault| fault.to_string().contains(path)), "{of_file:?}");
    // No panic, whatever comes.
    let mut lines = 0;
    for show in [inspect::inspect, inspect::dump] {
        let _ = show(&disk, path, &mut |_| {
            lines += 1;
            lines < 500
        });
    }
    let is_found = !verified.damage.is_empty();
    let (engine, report) = match opened(&disk) {
        Err(error) => {
            assert!(is_named(&error.to_string()), "{error}, and it was {path}");
            return true;
        }
        Ok(opened) => opened,
    };
    if let Err(error) = engine.select(&super::tests::tenant("t"), &all(&[]), NOW) {
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert!(is_named(&error.to_string()) && is_found, "{error}, and it was {path}");
        return true;
    }
    let answer = answer(&engine, "t", &all(&[]));
    if answer != *expected {
        let lost = report.samples_without_series + report.records_damaged;
        let is_told = !report.replay.damage.is_empty() || lost > 0;
        assert!(is_part(&answer, expected), "a wrong answer after {path}");
        assert!(of_records || is_told && is_found, "{path} was lost in silence");
    }
    is_found
}

#[test]
fn a_sound_store_is_verified_and_every_file_says_what_it_is() {
    let files = files();
    let disk = disk_of(&files);
    let verified = verify::store(&disk).unwrap();
    assert!(verified.damage.is_empty(), "{:?}", verified.damage);
    let mut kinds = Vec::new();
    for path in files.keys().filter(|path| *path != "LOCK") {
        assert_eq!(verify::file(&disk, path).len(), 0, "{path}");
        let kind = FileKind::of(&disk, path).unwrap();
        let (mut said, mut dumped) = (Vec::new(), Vec::new());
        let mut keep = |line| {
            said.push(line);
            true
        };
        inspect::inspect(&disk, path, &mut keep).unwrap();
        inspect::dump(&disk, path, &mut |line| {
            dumped.push(line);
            true
        })
        .unwrap();
        assert!(said[0].contains(path.as_str()), "{said:?}");
        if kind == FileKind::Sstable {
            let samples = dumped.iter().filter(|line| line.starts_with("up{instance=")).count();
            let samples =
                samples + dumped.iter().filter(|line| line.starts_with("{__name__")).count();
            assert_eq!(samples, 60, "{dumped:?}");
        }
        kinds.push(kind);
    }
    for kind in [FileKind::Manifest, FileKind::Segment, FileKind::Checkpoint, FileKind::Sstable] {
        assert!(kinds.contains(&kind), "{kind:?} in {kinds:?}");
    }
    assert!(kinds.contains(&FileKind::SnapshotList) && kinds.contains(&FileKind::Marker));
}

#[test]
fn a_flipped_byte_of_an_sstable_is_found_with_its_file_and_a_block_before_it() {
    let files = files();
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with("sstables/")) {
        for at in 0..bytes.len() {
            let mut rotten = files.clone();
            rotten.get_mut(path).unwrap()[at] ^= 0x40;
            let verified = verify::store(&disk_of(&rotten)).unwrap();
            let Some(Error::Corrupt { path: named, offset, .. }) = verified.damage.first() else {
                panic!("{path} at {at}: {:?}", verified.damage);
            };
            assert!(named == path && *offset <= at as u64, "{named} {offset}, not {path} {at}");
        }
    }
}

#[test]
fn a_flipped_byte_of_any_other_file_is_found_with_its_file_and_offset_or_says_nothing() {
    let (files, expected) = (files(), expected());
    let state = manifest::state_at(&disk_of(&files), manifest::MANIFEST_FILE).unwrap();
    let from = format!("log/{}", crate::commit_log::segment_name(state.log_from_segment()));
    // A segment before that is there, and nobody needs it.
    let is_needed = |path: &str| !path.starts_with("log/") || from.as_str() <= path;
    let is_other = |path: &str| path != "LOCK" && !path.starts_with("sstables/") && is_needed(path);
    for (path, bytes) in files.iter().filter(|(path, _)| is_other(path)) {
        let mut unseen = 0;
        // Behind the records of a segment there may be room for more.
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for at in 0..written {
            let mut rotten = files.clone();
            rotten.get_mut(path).unwrap()[at] ^= 0x40;
            let disk = disk_of(&rotten);
            let found = match path.starts_with("snapshots/") {
                true => verify::file(&disk, path),
                false => verify::store(&disk).unwrap().damage,
            };
            match found.first() {
                Some(Error::Corrupt { path: named, offset, .. }) => {
                    assert!(named == path && *offset <= at as u64, "{path} {at}: {named} {offset}");
                }
                Some(Error::NewerFormat { path: named, .. }) => assert_eq!(named, path),
                Some(other) => panic!("{path} {at}: {other}"),
                None => {
                    unseen += 1;
                    let (engine, _) = opened(&disk).unwrap();
                    assert_eq!(answer(&engine, "t", &all(&[])), expected, "{path} {at}");
                }
            }
        }
        // A mark that says no more than that what is before it was on disk.
        assert!(unseen <= 40, "{path}: {unseen} bytes");
    }
}

#[test]
fn a_file_cut_at_any_length_is_named_or_the_answer_is_right() {
    let (files, expected) = (files(), expected());
    for (path, bytes) in files.iter().filter(|(path, _)| *path != "LOCK") {
        for len in 0..bytes.len() {
            let mut cut = files.clone();
            cut.get_mut(path).unwrap().truncate(len);
            judge(&cut, path, true, &expected);
        }
    }
}

#[test]
fn twenty_thousand_mutations_give_the_right_answer_or_name_the_file() {
    let (files, expected) = (files(), expected());
    let paths: Vec<&String> = files.keys().filter(|path| *path != "LOCK").collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut found = 0;
    for _ in 0..20_000 {
        let path = paths[random(paths.len())];
        let mut rotten = files.clone();
        let bytes = rotten.get_mut(path).unwrap();
        // One place: who breaks a record and the mark behind it leaves no trace of an end.
        let at = random(bytes.len());
        let was = bytes[at];
        bytes[at] = match random(3) {
            0 => was ^ 1 << random(8),
            1 => 0,
            _ => 0xFF,
        };
        found += usize::from(judge(&rotten, path, false, &expected));
    }
    assert!(found > 5_000, "{found}");
}

/// A store with one sstable of two metrics, and the sstable's path.
fn two_metrics() -> (SimDisk, Engine, String) {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    let mut some = mutation("t");
    for metric in ["down", "up"] {
        let labels = super::tests::labels(&[("__name__", metric), ("job", "j")]);
        some.push(SeriesRef::Labels(labels), (0..50).map(|i| (i * 1000, 0.1)));
    }
    write(&engine, &some);
    engine.flush(NOW).unwrap();
    let path = manifest::sstable_path(engine.tables.read().metas()[0].id);
    (disk, engine, path)
}

/// Where the first block of a kind begins.
fn find_block(bytes: &[u8], kind: u8) -> usize {
    let mut at = 16;
    while bytes[at + 8] & 0x7F != kind {
        let len = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        at += 9 + len as usize;
    }
    at
}

/// Breaks the first block of a kind, and returns where it begins.
fn break_block(disk: &SimDisk, path: &str, kind: u8) -> u64 {
    let mut bytes = disk.bytes_of(path).unwrap();
    let at = find_block(&bytes, kind);
    bytes[at + 9] ^= 1;
    disk.overwrite(path, &bytes);
    at as u64
}

fn of_metric(engine: &Engine, metric: &str) -> Result<usize> {
    let selection = all(&[Matcher::equal("__name__", metric)]);
    engine.select(&super::tests::tenant("t"), &selection, NOW).map(|series| series.len())
}

#[test]
fn a_bad_block_is_named_once_and_only_what_needs_it_is_refused() {
    let (disk, engine, path) = two_metrics();
    let at = break_block(&disk, &path, 3);
    for _ in 0..2 {
        let Err(Error::Corrupt { path: named, offset, detail }) = of_metric(&engine, "down") else {
            panic!("it needs the block");
        };
        assert_eq!((named.as_str(), offset), (path.as_str(), at));
        assert!(
            detail.contains("chunks block") && detail.contains("metric down, day 0"),
            "{detail}"
        );
        assert_eq!(of_metric(&engine, "up").unwrap(), 1);
    }
    assert_eq!(engine.take_faults().len(), 1);
    assert_eq!(engine.take_faults().len(), 0);
    let stats = engine.stats();
    assert_eq!((stats.damaged_blocks, stats.reads_damaged_total, stats.sstables), (1, 2, 1));

    // No compaction writes it anew without the block.
    let [lot] = engine.windows_to_seal()[..] else { panic!() };
    let seal = engine.seal(lot).unwrap().unwrap();
    assert!(matches!(engine.compact(&seal, NOW, &mut |_| true), Err(Error::Corrupt { .. })));
    drop(seal);
    assert!(matches!(engine.seal(lot), Err(Error::Corrupt { .. })));
    assert_eq!((engine.stats().sstables, of_metric(&engine, "up").unwrap()), (1, 1));
    assert!(of_metric(&engine, "down").is_err());
    // A new sample goes on beside it, and so does a flush.
    let mut more = mutation("t");
    more.push(SeriesRef::Labels(up("z")), [(DAY_MS, 1.0)]);
    write(&engine, &more);
    engine.flush(NOW).unwrap();
    assert_eq!(of_metric(&engine, "up").unwrap(), 2);
}

#[test]
fn a_sector_that_cannot_be_read_is_named_and_counted_and_holds_up_nothing_else() {
    let disk = SimDisk::new(1);
    let (engine, _) = open(&disk);
    let flush = |metrics: &[&str], from: i64| {
        let mut some = mutation("t");
        for metric in metrics {
            let labels = super::tests::labels(&[("__name__", metric), ("job", "j")]);
            let samples = (0..2_000).map(|i| (from + i * 1000, (i as f64).sin()));
            some.push(SeriesRef::Labels(labels), samples);
        }
        write(&engine, &some);
        engine.flush(NOW).unwrap();
    };
    let first_day = NOW.0 - NOW.0 % DAY_MS - 3 * DAY_MS;
    flush(&["down", "up"], first_day);
    let path = manifest::sstable_path(engine.tables.read().metas()[0].id);
    flush(&["up"], first_day - DAY_MS);
    flush(&["up"], first_day - DAY_MS);
    let at = find_block(&disk.bytes_of(&path).unwrap(), 3) as u64;
    disk.break_sector(&path, at + 2_000);

    for _ in 0..2 {
        let Err(Error::Corrupt { path: named, offset, detail }) = of_metric(&engine, "down") else {
            panic!("it needs the sector");
        };
        assert_eq!((named.as_str(), offset), (path.as_str(), at));
        assert!(detail.contains("cannot be read") && detail.contains("metric down"), "{detail}");
        assert_eq!(of_metric(&engine, "up").unwrap(), 1);
    }
    let stats = engine.stats();
    assert_eq!((stats.damaged_blocks, stats.reads_damaged_total), (1, 2));
    assert_eq!(engine.take_faults().len(), 1);

    // The other window is sealed; this one's file is tried once.
    let mut outcomes = Vec::new();
    while let Some(due) = engine.next_compaction(NOW, 0) {
        outcomes.push(engine.compact(&due, NOW, &mut |_| true).map(drop));
        assert!(outcomes.len() < 5, "{outcomes:?}");
    }
    assert!(matches!(outcomes[..], [Err(Error::Corrupt { .. }), Ok(())]), "{outcomes:?}");
    let later = TimestampMs(NOW.0 + DAY_MS);
    assert!(engine.next_compaction(later, 0).is_none(), "it is not compacted again");

    // A scrub reads on behind it.
    let report = (0..3).map(|_| engine.scrub_step(u64::MAX, NOW)).last().unwrap();
    let [Error::Corrupt { offset, .. }] = &report.faults[..] else { panic!("{report:?}") };
    assert!(*offset == at && report.bytes == engine.stats().sstable_bytes, "{report:?}");
    assert_eq!(engine.stats().damaged_blocks, 1);
}

#[test]
fn an_sstable_that_cannot_be_opened_refuses_the_reads_of_its_window_and_is_not_compacted() {
    let (disk, engine, path) = two_metrics();
    drop(engine);
    break_block(&disk, &path, 4);
    let (engine, report) = opened(&disk).unwrap();
    assert_eq!(report.sstables_damaged.len(), 1);
    assert!(engine.take_faults()[0].to_string().contains(&path));
    assert!(of_metric(&engine, "up").unwrap_err().to_string().contains(&path));
    let mut later = all(&[]);
    later.range.start = TimestampMs(DAY_MS);
    assert_eq!(engine.select(&super::tests::tenant("t"), &later, NOW).unwrap().len(), 0);
    assert!(engine.next_compaction(TimestampMs(NOW.0 * 2), 0).is_none());
    assert!(engine.seal(engine.windows_to_seal()[0]).is_err());
}

#[test]
fn a_sound_sstable_under_the_name_of_another_is_told_and_never_answered_from() {
    let mut swapped = files();
    let paths: Vec<String> =
        swapped.keys().filter(|path| path.starts_with("sstables/")).cloned().collect();
    let [one, other] = &paths[..] else { panic!("{paths:?}") };
    let bytes = swapped[one].clone();
    let bytes = swapped.insert(other.clone(), bytes).unwrap();
    swapped.insert(one.clone(), bytes);
    let disk = disk_of(&swapped);
    for path in &paths {
        assert!(verify::file(&disk, path).is_empty(), "{path} is sound");
        let named = |fault: &Error| fault.to_string().contains(path.as_str());
        assert!(verify::store(&disk).unwrap().damage.iter().any(named), "{path}");
    }
    let (engine, report) = opened(&disk).unwrap();
    assert_eq!(report.sstables_damaged.len(), 2, "{:?}", report.sstables_damaged);
    let answer = engine.select(&super::tests::tenant("t"), &all(&[]), NOW);
    assert!(matches!(answer, Err(Error::Corrupt { .. })), "{answer:?}");
}

#[test]
fn an_sstable_of_another_hash_is_told_by_verify_and_by_the_scrub() {
    let (disk, engine, path) = two_metrics();
    drop(engine);
    let mut bytes = disk.bytes_of(&path).unwrap();
    // In the footer's spare bytes, with its checksum mended: each block is as it was.
    let footer = bytes.len() - 60;
    bytes[footer + 32] = 1;
    let sum = crc32c::crc32c(&bytes[footer..footer + 56]);
    bytes[footer + 56..].copy_from_slice(&sum.to_le_bytes());
    disk.overwrite(&path, &bytes);
    assert!(verify::file(&disk, &path).is_empty());
    let named = |fault: &Error| fault.to_string().contains(&path);
    assert!(verify::store(&disk).unwrap().damage.iter().any(named));
    let (engine, report) = opened(&disk).unwrap();
    assert_eq!(report.sstables_damaged.len(), 0);
    let report = engine.scrub_step(u64::MAX, NOW);
    assert!(report.faults.iter().any(named), "{report:?}");
}

#[test]
fn a_scrub_reads_every_byte_in_a_cycle_and_finds_a_latent_flip() {
    let (disk, engine, path) = two_metrics();
    let cycle = |engine: &Engine| {
        let (mut bytes, mut faults) = (0, Vec::new());
        for step in 0..1_000 {
            let mut report = engine.scrub_step(50, TimestampMs(NOW.0 + step));
            bytes += report.bytes;
            faults.append(&mut report.faults);
            if report.is_complete {
                return (bytes, faults);
            }
        }
        panic!("a cycle ends");
    };
    let file_bytes = disk.bytes_of(&path).unwrap().len() as u64;
    let (bytes, faults) = cycle(&engine);
    assert!((bytes, faults.len()) == (file_bytes, 0), "{bytes} of {file_bytes}, {faults:?}");
    let at = break_block(&disk, &path, 2);
    let (bytes, faults) = cycle(&engine);
    assert_eq!(bytes, file_bytes);
    assert!(matches!(faults[..], [Error::Corrupt { offset, .. }] if offset == at), "{faults:?}");
    // A second time it is no news.
    assert_eq!(cycle(&engine).1.len(), 1);
    let stats = engine.stats();
    assert_eq!((stats.scrub_cycles_total, stats.scrub_faults_total), (3, 1));
    assert!(stats.scrub_completed_ms > NOW.0 && stats.scrubbed_bytes_total == 3 * file_bytes);
    assert_eq!(engine.take_faults().len(), 1);
    assert!(engine.next_compaction(TimestampMs(NOW.0 * 2), 0).is_none());
}

#[test]
fn less_than_a_quarter_of_the_disk_is_told() {
    let disk = SimDisk::new(3);
    let (engine, _) = open(&disk);
    let used = (1 << 40) - Disk::free_bytes(&disk).unwrap();
    // What is free of a disk that is a third larger than what is used is a quarter of it.
    let is_low = |capacity: u64| {
        disk.set_capacity_bytes(Some(capacity));
        engine.check_disk().unwrap().is_low
    };
    let capacity = used / 3 * 4;
    assert!(is_low(capacity - 8) && !is_low(capacity + 8), "{used}");
}

#[test]
fn a_nearly_full_disk_refuses_writers_and_nobody_else_and_takes_them_again_by_itself() {
    let (disk, engine, _) = two_metrics();
    let mut some = mutation("t");
    some.push(SeriesRef::Labels(up("a")), [(DAY_MS, 1.0)]);
    write(&engine, &some);
    let used = (1 << 40) - Disk::free_bytes(&disk).unwrap();
    let reserve = engine.stats().disk_reserve_bytes;
    assert_eq!(reserve, 10 << 30);
    disk.set_capacity_bytes(Some(used + reserve));
    assert!(!engine.check_disk().unwrap().is_short, "all of the reserve is free");
    disk.set_capacity_bytes(Some(used + reserve - 1));
    let space = engine.check_disk().unwrap();
    assert!(space.is_short && space.has_changed && engine.stats().disk_is_short);
    assert!(!engine.check_disk().unwrap().has_changed);
    let refused = engine.append(&some, AppendLimits::NONE, NOW).unwrap_err();
    assert!(matches!(refused, Error::DiskReserve { .. }), "{refused}");
    assert_eq!(refused.kind(), model::Kind::Unavailable);

    // Reads, the flush that gives back the log's space, and a small compaction go on.
    assert_eq!(of_metric(&engine, "up").unwrap(), 2);
    let job = engine.next_job(NOW).unwrap();
    assert_eq!(job, Job::Flush(FlushReason::DiskReserve));
    assert!(engine.run(job, NOW).unwrap().segments_removed > 0);
    assert_eq!(engine.next_job(NOW), None);
    let seal = engine.seal(engine.windows_to_seal()[0]).unwrap().unwrap();
    engine.compact(&seal, NOW, &mut |_| true).unwrap();

    disk.set_capacity_bytes(Some(used + reserve * 2));
    let space = engine.check_disk().unwrap();
    assert!(!space.is_short && space.has_changed);
    write(&engine, &some);
}
