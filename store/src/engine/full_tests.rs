//! A disk that is full, or fails in the middle: what fails leaves nothing behind, and what gives space
//! back goes on.

use super::OpenReport;
use super::retain::tests::{days, keep_all, push, shown};
use super::tests::{NOW, labels, mutation, tenant};
use super::{AppendLimits, Engine, FlushReason, ImportOptions, Job, Parts};
use crate::Config;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::manifest::{
    CHECKPOINT_DIRECTORY, LOG_DIRECTORY, SPARE_FILE, SSTABLE_DIRECTORY, sstable_path,
};
use crate::sim::{Action, Call, Outcome, SimDisk};
use model::time::DAY_MS;
use model::{DeleteRequest, Matcher, Sample, SeriesRef, TimeRange, TimestampMs};
use std::io::ErrorKind;
use std::sync::Arc;

fn try_open(disk: &SimDisk, config: Config) -> Result<(Engine, OpenReport)> {
    let disk_part = Arc::new(disk.clone());
    let generation_seed = disk.calls() + 1;
    let parts = Parts { disk: disk_part, cluster_name: "test".to_owned(), generation_seed };
    Engine::open(parts, config, NOW)
}

fn open(disk: &SimDisk) -> Engine {
    try_open(disk, Config::default()).unwrap().0
}

/// Every file but those of the log and the manifest.
fn files(disk: &SimDisk) -> Vec<String> {
    let ours = [SSTABLE_DIRECTORY, CHECKPOINT_DIRECTORY];
    let is_ours = |path: &String| ours.iter().any(|directory| path.starts_with(directory));
    disk.paths().into_iter().filter(is_ours).collect()
}

/// What [`files`] should be.
fn live(engine: &Engine) -> Vec<String> {
    let manifest = engine.manifest.lock();
    let checkpoint = manifest.state().checkpoint.into_iter();
    let checkpoint = checkpoint.map(|one| crate::manifest::checkpoint_path(one.id));
    checkpoint.chain(manifest.state().sstables.keys().copied().map(sstable_path)).collect()
}

fn used_bytes(disk: &SimDisk) -> u64 {
    disk.paths().iter().filter_map(|path| disk.bytes_of(path)).map(|bytes| bytes.len() as u64).sum()
}

/// From now on there is so much room.
fn leave(disk: &SimDisk, bytes: u64) {
    disk.set_capacity_bytes(Some(used_bytes(disk) + bytes));
}

/// Fails the `nth` call of which `concerns` holds, counted from 0.
fn fail_nth(disk: &SimDisk, nth: u64, concerns: fn(Call<'_>) -> bool) {
    let mut calls = 0;
    disk.set_hook(move |call| {
        calls += u64::from(concerns(call));
        match concerns(call) && calls == nth + 1 {
            true => Outcome::Fail(ErrorKind::StorageFull),
            false => Outcome::Done,
        }
    });
}

/// Samples on five days, each of which becomes a file.
fn push_days(engine: &Engine) {
    let times: Vec<i64> = (0..5).map(|day| NOW.0 - day * DAY_MS).collect();
    push(engine, "up", &times);
}

fn is_of_a_new_file(call: Call<'_>) -> bool {
    call.action != Action::Unlink
        && (call.path.starts_with(SSTABLE_DIRECTORY) || call.path.starts_with(CHECKPOINT_DIRECTORY))
}

#[test]
fn a_flush_that_fails_at_any_file_leaves_none_behind() {
    let mut failed = 0;
    for nth in 0..80 {
        let disk = SimDisk::new(nth);
        let engine = open(&disk);
        push_days(&engine);
        engine.flush(NOW).unwrap();
        push_days(&engine);
        fail_nth(&disk, nth, is_of_a_new_file);
        let done = engine.flush(NOW);
        failed += u64::from(done.is_err());
        assert_eq!(files(&disk), live(&engine), "call {nth}");
        disk.clear_hook();
        engine.flush(NOW).unwrap();
        assert_eq!(files(&disk), live(&engine), "call {nth}, and once more");
        assert_eq!(shown(&engine, NOW.0)[0].1.len(), 5);
    }
    assert!((25..80).contains(&failed), "{failed}");
}

#[test]
fn flushes_that_fail_at_the_manifest_again_and_again_keep_one_set_of_files() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    push_days(&engine);
    disk.set_hook(|call| match call.path.starts_with("MANIFEST") {
        true => Outcome::Fail(ErrorKind::Other),
        false => Outcome::Done,
    });
    for _ in 0..4 {
        engine.flush(NOW).unwrap_err();
        // Nobody knows whether they are live on disk.
        assert_eq!(files(&disk).len(), 6);
    }
    disk.clear_hook();
    engine.flush(NOW).unwrap();
    assert_eq!(files(&disk), live(&engine));
}

fn load(engine: &Engine) -> Result<()> {
    let options = ImportOptions { tenant: tenant("t"), revision: 0 };
    let mut import = engine.import(options, NOW);
    for day in 0..4 {
        let timestamp_ms = NOW.0 - day * DAY_MS;
        let sample = Sample { timestamp_ms, value: 1.0, start_timestamp_ms: 0, revision: 0 };
        import.samples(&labels(&[("__name__", "up")]), &[sample])?;
        import.write()?;
    }
    import.finish().map(drop)
}

#[test]
fn an_import_that_fails_at_any_file_leaves_none_behind() {
    let mut failed = 0;
    for nth in 0..40 {
        let disk = SimDisk::new(nth);
        let engine = open(&disk);
        fail_nth(&disk, nth, is_of_a_new_file);
        failed += u64::from(load(&engine).is_err());
        assert_eq!(files(&disk), live(&engine), "call {nth}");
        disk.clear_hook();
        load(&engine).unwrap();
        assert_eq!(files(&disk), live(&engine), "call {nth}, and once more");
    }
    assert!((12..40).contains(&failed), "{failed}");
}

#[test]
fn an_import_does_not_begin_to_write_into_the_reserve() {
    let disk = SimDisk::new(1);
    let config = Config { disk_reserve_bytes: Some(1 << 20), ..Config::default() };
    let (engine, _) = try_open(&disk, config).unwrap();
    leave(&disk, 1 << 20);
    let error = load(&engine).unwrap_err();
    assert!(matches!(error, Error::DiskReserve { .. }), "{error}");
    assert_eq!(files(&disk), Vec::<String>::new());
    leave(&disk, 2 << 20);
    load(&engine).unwrap();
}

fn delete_all(engine: &Engine, metric: &str) -> Result<()> {
    let request = DeleteRequest {
        matcher_sets: vec![vec![Matcher::equal("__name__", metric)]],
        range: TimeRange { start: TimestampMs(i64::MIN), end: NOW.plus_ms(1) },
        revision_max: 0,
    };
    engine.delete(&tenant("t"), &request, NOW).map(drop)
}

#[test]
fn a_purge_with_less_than_the_reserve_free_lets_go_and_gets_to_its_files() {
    let disk = SimDisk::new(1);
    let config = Config { disk_reserve_bytes: Some(4 << 20), ..Config::default() };
    let (engine, _) = try_open(&disk, config).unwrap();
    push(&engine, "up", &[NOW.0]);
    push(&engine, "gone", &[NOW.0]);
    engine.flush(NOW).unwrap();
    push(&engine, "up", &[NOW.0 + 1]);
    delete_all(&engine, "gone").unwrap();
    engine.ask_for_purge();
    leave(&disk, 2 << 20);
    let mut flushes = 0;
    while engine.next_job(NOW) == Some(Job::Flush(FlushReason::Asked)) {
        flushes += 1;
        assert!(flushes < 5, "the purge stays at its flushes");
        engine.run(Job::Flush(FlushReason::Asked), NOW).unwrap();
        assert_eq!(files(&disk), live(&engine));
    }
    assert!(engine.purge(NOW, &mut |_| true).unwrap().is_some());
}

#[test]
fn a_purge_whose_mark_cannot_be_written_lets_go_all_the_same() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    push(&engine, "up", &[NOW.0]);
    engine.flush(NOW).unwrap();
    push(&engine, "up", &[NOW.0 + 1]);
    engine.ask_for_purge();
    let segments = disk.list(LOG_DIRECTORY).unwrap().len();
    disk.set_hook(|call| match call.action == Action::CreateNew && call.path.starts_with("log") {
        true => Outcome::Fail(ErrorKind::StorageFull),
        false => Outcome::Done,
    });
    for _ in 0..3 {
        engine.flush(NOW).unwrap_err();
        assert_eq!(files(&disk), live(&engine));
        assert!(disk.list(LOG_DIRECTORY).unwrap().len() <= segments);
    }
    assert_eq!(engine.next_job(NOW), Some(Job::Flush(FlushReason::Asked)), "it is tried again");
    disk.clear_hook();
    engine.flush(NOW).unwrap();
}

/// Leaves a file of a flush that a crash cut off, under the number that the next one would get.
fn plant_orphan(disk: &SimDisk, id: u64, bytes: usize) -> String {
    let path = sstable_path(id);
    disk.create_new(&path).unwrap().append(&vec![7; bytes]).unwrap();
    disk.sync_dir(SSTABLE_DIRECTORY).unwrap();
    path
}

fn next_id(engine: &Engine) -> u64 {
    engine.manifest.lock().state().next_file_id
}

/// Damages a record of the log that was answered.
fn damage_log(disk: &SimDisk) {
    let paths = disk.paths();
    let path = paths.iter().find(|path| path.starts_with(LOG_DIRECTORY)).unwrap();
    let mut bytes = disk.bytes_of(path).unwrap();
    bytes[120] ^= 0xFF;
    disk.overwrite(path, &bytes);
}

#[test]
fn the_number_of_a_kept_orphan_is_given_to_no_file() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    push(&engine, "up", &[NOW.0]);
    push(&engine, "up", &[NOW.0 + 1]);
    let orphan = plant_orphan(&disk, next_id(&engine), 9);
    drop(engine);
    damage_log(&disk);
    for start in 0..3 {
        let (engine, report) = try_open(&disk, Config::default()).unwrap();
        let is_damaged = !report.replay.damage.is_empty() || report.records_damaged > 0;
        assert_eq!(is_damaged, start == 0, "{report:?}");
        if start == 0 {
            assert!(disk.len(&orphan).unwrap().is_some(), "it may be what the damage lost");
        }
        push(&engine, "up", &[NOW.0 + 2 + start]);
        engine.flush(NOW).unwrap();
        assert!(!live(&engine).contains(&orphan));
        assert!(next_id(&engine) > 1);
        if start == 0 {
            assert_eq!(disk.len(&orphan).unwrap(), Some(9));
        }
    }
}

#[test]
fn a_store_on_a_disk_full_of_its_own_leftovers_opens_and_removes_them() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    push(&engine, "up", &[NOW.0]);
    engine.flush(NOW).unwrap();
    let orphan = plant_orphan(&disk, next_id(&engine) + 3, 1 << 20);
    drop(engine);
    disk.kill();
    leave(&disk, 0);
    let engine = open(&disk);
    assert_eq!(disk.len(&orphan).unwrap(), None);
    assert_eq!(shown(&engine, NOW.0)[0].1, [NOW.0]);
    push(&engine, "up", &[NOW.0 + 1]);
}

#[test]
fn leftovers_beside_a_damaged_log_are_kept_though_the_disk_is_full() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    push(&engine, "up", &[NOW.0]);
    push(&engine, "up", &[NOW.0 + 1]);
    let orphan = plant_orphan(&disk, next_id(&engine) + 3, 1 << 20);
    drop(engine);
    disk.kill();
    damage_log(&disk);
    leave(&disk, 0);
    try_open(&disk, Config::default()).unwrap_err();
    assert!(disk.len(&orphan).unwrap().is_some());
    disk.set_capacity_bytes(None);
    open(&disk);
    assert!(disk.len(&orphan).unwrap().is_some());
}

/// What is written at [`NOW`] and kept for three days has expired by then.
const LATER: TimestampMs = TimestampMs(NOW.0 + 9 * DAY_MS);

fn start(disk: &SimDisk, now: TimestampMs) -> Engine {
    let config = Config { clock_step_max_ms: i64::MAX, ..Config::default() };
    let engine = try_open(disk, config).unwrap().0;
    engine.set_retention(&keep_all(days(3)), now).unwrap();
    engine
}

/// A store with a file that will have expired, a smaller head that will not have, and no room but
/// for so many bytes.
fn filled(disk: &SimDisk, room: u64) -> Engine {
    let engine = start(disk, NOW);
    push(&engine, "up", &(0..20_000).map(|n| NOW.0 + n * n % 7_919_000).collect::<Vec<_>>());
    engine.flush(NOW).unwrap();
    push(&engine, "up", &(0..300).map(|n| LATER.0 + n).collect::<Vec<_>>());
    engine.check_disk().unwrap();
    leave(disk, room);
    engine
}

/// The times of the one series that is there.
fn up(engine: &Engine, now: TimestampMs) -> Vec<i64> {
    let all = shown(engine, now.0);
    all.into_iter().find(|(metric, _)| metric == "up").map_or(Vec::new(), |(_, times)| times)
}

/// Tries everything that only writes.
fn assert_writers_wait(engine: &Engine, disk: &SimDisk) {
    let before = files(disk);
    let mut one = mutation("t");
    one.push(SeriesRef::Labels(labels(&[("__name__", "late")])), [(LATER.0, 1.0)]);
    let appended = engine.append(&one, AppendLimits::NONE, LATER);
    assert!(appended.is_err() || engine.sync().is_err());
    load(engine).unwrap_err();
    engine.flush(LATER).unwrap_err();
    engine.snapshot("s", LATER).unwrap_err();
    delete_all(engine, "up").unwrap_err();
    assert_eq!(files(disk), before);
    assert!(disk.len(SPARE_FILE).unwrap().is_some(), "it is for what gives space back");
}

#[test]
fn on_a_disk_without_room_reads_go_on_and_expiry_makes_room_before_and_after_a_restart() {
    for (restarts, room) in
        [0, 1, 40, 100, 300, 1_000].map(|room| [(false, room), (true, room)]).concat()
    {
        let case = format!("{room} bytes, restarts: {restarts}");
        let disk = SimDisk::new(room);
        let mut engine = filled(&disk, room);
        let all = up(&engine, NOW);
        if room == 0 {
            assert_writers_wait(&engine, &disk);
        }
        if restarts {
            drop(engine);
            disk.kill();
            engine = start(&disk, LATER);
        }
        assert!(all.len() > 10_000 && up(&engine, NOW) == all, "{case}");
        assert_eq!(up(&engine, LATER).len(), 300, "{case}");
        assert_eq!(engine.next_job(LATER), Some(Job::Expire), "{case}");
        let free_bytes = disk.free_bytes().unwrap();
        assert_eq!(engine.run(Job::Expire, LATER).unwrap().expired.len(), 1, "{case}");
        assert!(disk.free_bytes().unwrap() > free_bytes + 20_000, "{case}");
        engine.flush(LATER).unwrap();
        assert_eq!(files(&disk), live(&engine), "{case}");
        disk.set_capacity_bytes(None);
        drop(engine);
        disk.power_cut();
        let engine = start(&disk, LATER);
        assert_eq!(up(&engine, LATER).len(), 300, "{case}");
        push(&engine, "up", &[LATER.0 + 999]);
    }
}

#[test]
fn on_a_disk_without_room_a_file_that_is_deleted_whole_goes() {
    let disk = SimDisk::new(1);
    let engine = start(&disk, NOW);
    push(
        &engine,
        "gone",
        &(0..5_000).map(|n| NOW.0 - 2 * DAY_MS + n * n % 7_919).collect::<Vec<_>>(),
    );
    push(&engine, "up", &[NOW.0]);
    engine.flush(NOW).unwrap();
    delete_all(&engine, "gone").unwrap();
    engine.check_disk().unwrap();
    leave(&disk, 0);
    let purged = engine.purge(NOW.plus_ms(3_600_000), &mut |_| true).unwrap().unwrap();
    assert!(purged.bytes_after == 0 && purged.bytes_before > 1_000, "{purged:?}");
    assert_eq!(files(&disk), live(&engine));
    drop(engine);
    disk.power_cut();
    assert_eq!(shown(&start(&disk, NOW), NOW.0).len(), 1);
}

#[test]
fn the_spare_comes_back_when_there_is_room_and_takes_no_more_than_half_of_what_is_free() {
    let disk = SimDisk::new(1);
    let engine = filled(&disk, 0);
    let spare = || disk.len(SPARE_FILE).unwrap();
    let bytes = spare().unwrap();
    engine.run(Job::Expire, LATER).unwrap();
    assert_eq!(spare(), None);
    leave(&disk, 2 * bytes - 1);
    engine.check_disk().unwrap();
    assert_eq!(spare(), None);
    leave(&disk, 2 * bytes);
    engine.check_disk().unwrap();
    assert_eq!(spare(), Some(bytes));
}

#[test]
fn five_hundredths_of_a_disk_are_kept_back_and_no_more_than_10_gib() {
    let kept_of = |gib: u64| {
        let disk = SimDisk::new(3);
        disk.set_capacity_bytes(Some(gib << 30));
        super::tests::open(&disk).0.stats().disk_reserve_bytes
    };
    assert_eq!([20, 100, 200].map(kept_of), [1 << 30, 5 << 30, 10 << 30]);
    assert_eq!([201, 4_000].map(kept_of), [10 << 30; 2]);
}

#[test]
fn a_start_for_which_there_is_no_memory_calls_no_file_damaged() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    push_days(&engine);
    engine.flush(NOW).unwrap();
    drop(engine);
    let mut reads = 0;
    disk.set_hook(move |call| {
        reads += u64::from(call.path.starts_with(SSTABLE_DIRECTORY));
        match call.action == Action::Read && reads > 9 {
            true => Outcome::Fail(ErrorKind::OutOfMemory),
            false => Outcome::Done,
        }
    });
    let error = try_open(&disk, Config::default()).unwrap_err();
    assert!(error.is_exhausted(), "{error}");
    disk.clear_hook();
    let (engine, report) = try_open(&disk, Config::default()).unwrap();
    assert_eq!(report.sstables_damaged.len(), 0);
    assert_eq!(shown(&engine, NOW.0)[0].1.len(), 5);
}
