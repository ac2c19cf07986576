//! A disk that is full, or fails in the middle: what fails leaves nothing behind, and what gives space
//! back goes on.

use super::OpenReport;
use super::retain::tests::{push, shown};
use super::tests::{NOW, labels, tenant};
use super::{Engine, FlushReason, ImportOptions, Job, Parts};
use crate::Config;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::manifest::{CHECKPOINT_DIRECTORY, LOG_DIRECTORY, SSTABLE_DIRECTORY, sstable_path};
use crate::sim::{Action, Call, Outcome, SimDisk};
use model::time::DAY_MS;
use model::{DeleteRequest, Matcher, Sample, TimeRange, TimestampMs};
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

fn delete_all(engine: &Engine, metric: &str) {
    let request = DeleteRequest {
        matcher_sets: vec![vec![Matcher::equal("__name__", metric)]],
        range: TimeRange { start: TimestampMs(i64::MIN), end: NOW.plus_ms(1) },
        revision_max: 0,
    };
    engine.delete(&tenant("t"), &request, NOW).unwrap();
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
    delete_all(&engine, "gone");
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
