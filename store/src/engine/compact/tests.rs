//! Compactions among everything else that goes on in a store.

use super::*;
use crate::compaction::scaling::{Scaling, Strategy};
use crate::compaction::simulate;
use crate::config::{CompactionConfig, Config};
use crate::disk::Disk;
use crate::engine::tests::{NOW, all, answer, labels, mutation, open, open_with, up, write};
use crate::manifest::{self, Stage};
use crate::sim::{Action, Outcome, SimDisk};
use crate::sstable::writer::Encoding;
use model::time::DAY_MS;
use model::{SeriesRef, Token};
use std::io::ErrorKind;

/// Compacts those sstables of the fullest window that `pick` has a bit for, cut at a token.
pub(in crate::engine) fn some(engine: &Engine, token: u64, pick: u8) {
    let metas = engine.tables.read().metas();
    let of = |lot: Lot| metas.iter().filter(move |meta| Lot::of(meta) == lot);
    let fullest = metas.iter().map(Lot::of).max_by_key(|lot| of(*lot).count());
    let bits = (0..8).cycle().map(|bit| pick >> bit & 1 == 1);
    let ids = fullest.into_iter().flat_map(of).zip(bits).filter(|(_, is_in)| *is_in);
    let inputs: Vec<u64> = ids.map(|(meta, _)| meta.id).collect();
    if inputs.is_empty() {
        return;
    }
    let encoding = if pick.is_multiple_of(3) { Encoding::Dense } else { Encoding::Fast };
    let boundaries = vec![Token(token)];
    let (stage, reason) = (Stage::Compacted, Reason::Open);
    let plan = Plan { inputs, boundaries, encoding, stage, reason };
    let compaction = engine.claim(&mut engine.claims.lock(), &metas, plan).unwrap();
    run(engine, &compaction).unwrap();
}

/// One of the strategies, which merges two that overlap.
pub(in crate::engine) fn eager(seed: u64) -> Config {
    let all = Strategy::ALL;
    let compaction = CompactionConfig {
        strategy: all[usize::try_from(seed % all.len() as u64).unwrap()],
        scaling_parameters: Scaling::tiered(2),
        sstable_bytes_min: 0,
        twcs_threshold_min: 2,
        ..CompactionConfig::default()
    };
    Config { compaction, ..Config::default() }
}

/// Does what is due, until nothing is; returns the reports.
pub(in crate::engine) fn due(
    engine: &Engine,
    now: TimestampMs,
    chance: u64,
) -> Vec<CompactionReport> {
    let mut reports = Vec::new();
    while let Some(due) = engine.next_compaction(now, chance) {
        reports.push(engine.compact(&due, now, &mut |_| true).unwrap());
        assert!(reports.len() < 50, "it comes to rest");
    }
    reports
}

/// Brings all windows into their dense form.
pub(in crate::engine) fn seal(engine: &Engine) {
    for window in engine.windows_to_seal() {
        run(engine, &engine.seal(window).unwrap().unwrap()).unwrap();
        assert!(engine.seal(window).unwrap().is_none());
    }
    assert_eq!(engine.windows_to_seal(), []);
}

fn run(engine: &Engine, compaction: &Compaction) -> Result<CompactionReport> {
    engine.compact(compaction, NOW, &mut |_| true)
}

/// The sstables on disk.
fn files(disk: &SimDisk) -> Vec<String> {
    disk.paths().into_iter().filter(|path| path.starts_with("sstables/")).collect()
}

fn live(engine: &Engine) -> Vec<String> {
    engine.tables.read().metas().iter().map(|meta| manifest::sstable_path(meta.id)).collect()
}

/// Three flushes into one window, each of a series and minute of its own and one of all three.
fn three_flushes(disk: &SimDisk) -> Engine {
    let (engine, _) = open(disk);
    for (minute, instance) in [(0, "a"), (1, "b"), (2, "c")] {
        let mut m = mutation("t");
        m.push(SeriesRef::Labels(up(instance)), [(NOW.0 + minute * 60_000, 1.0)]);
        m.push(SeriesRef::Labels(up("all")), [(NOW.0, 1.0), (NOW.0 + 1 + minute, 2.0)]);
        write(&engine, &m);
        engine.flush(NOW).unwrap();
    }
    engine
}

#[test]
fn three_flushes_become_one_file_with_each_sample_once() {
    let disk = SimDisk::new(1);
    let engine = three_flushes(&disk);
    let before = answer(&engine, "t", &all(&[]));
    let [window] = engine.windows_to_seal()[..] else { panic!() };
    let mut told = 0;
    let compaction = engine.seal(window).unwrap().unwrap();
    let report = engine
        .compact(&compaction, NOW, &mut |bytes| {
            told += bytes;
            true
        })
        .unwrap();
    assert_eq!((report.inputs.len(), report.outputs.len()), (3, 1));
    assert_eq!((report.samples_in, report.samples_out), (9, 7));
    assert!(report.written_bytes > 0 && report.read_bytes > 0);
    assert!(told > report.read_bytes && told <= report.read_bytes + report.written_bytes);
    assert_eq!(answer(&engine, "t", &all(&[])), before);
    assert_eq!(files(&disk), live(&engine));
    assert_eq!(engine.tables.read().metas()[0].stage, Stage::Sealed);
    drop(compaction);
    assert!(engine.seal(window).unwrap().is_none());
}

#[test]
fn what_is_claimed_is_not_claimed_again_until_it_is_let_go() {
    let disk = SimDisk::new(1);
    let engine = three_flushes(&disk);
    let [window] = engine.windows_to_seal()[..] else { panic!() };
    let first = engine.seal(window).unwrap().unwrap();
    assert!(matches!(engine.seal(window), Err(Error::Busy)));
    drop(first);
    assert!(engine.seal(window).unwrap().is_some());
}

#[test]
fn a_reader_that_came_before_the_swap_reads_the_old_files_and_then_they_go() {
    let disk = SimDisk::new(1);
    let engine = three_flushes(&disk);
    let before = std::sync::Arc::clone(&engine.tables.read());
    let old = files(&disk);
    seal(&engine);
    assert_eq!(files(&disk).len(), 4);
    let query = crate::select::Query::of_selection(&all(&[])).unwrap().unwrap();
    let mut gather = crate::select::Gather::new(model::read::SelectBounds::NONE);
    before.collect(&crate::engine::tests::tenant("t"), &query, &mut gather).unwrap();
    assert_eq!(gather.finish().unwrap().len(), 4);
    assert_eq!(engine.remove_retired().unwrap(), 3);
    drop(before);
    assert_eq!(engine.remove_retired().unwrap(), 0);
    assert_eq!(files(&disk), live(&engine));
    assert!(old.iter().all(|path| !files(&disk).contains(path)));
}

#[test]
fn appends_and_flushes_go_on_under_a_compaction() {
    let disk = SimDisk::new(1);
    let engine = three_flushes(&disk);
    let [window] = engine.windows_to_seal()[..] else { panic!() };
    let compaction = engine.seal(window).unwrap().unwrap();
    let mut minute = 0;
    let report = engine
        .compact(&compaction, NOW, &mut |_| {
            minute += 1;
            let mut m = mutation("t");
            m.push(SeriesRef::Labels(up("late")), [(NOW.0 + minute * 60_000, 3.0)]);
            write(&engine, &m);
            engine.flush(NOW).unwrap();
            assert_eq!(answer(&engine, "t", &all(&[])).len(), 5);
            true
        })
        .unwrap();
    assert_eq!(report.inputs.len(), 3);
    let late = answer(&engine, "t", &all(&[])).pop().unwrap();
    assert_eq!(late.1.len(), usize::try_from(minute).unwrap());
    assert_eq!(engine.windows_to_seal(), [window]);
}

#[test]
fn a_compaction_that_is_stopped_or_meets_a_full_disk_leaves_everything_as_it_was() {
    let disk = SimDisk::new(1);
    let engine = three_flushes(&disk);
    let before = (files(&disk), answer(&engine, "t", &all(&[])));
    let [window] = engine.windows_to_seal()[..] else { panic!() };
    let stopped = engine.compact(&engine.seal(window).unwrap().unwrap(), NOW, &mut |_| false);
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!((files(&disk), answer(&engine, "t", &all(&[]))), before);
    disk.set_hook(|call| match call.path.starts_with("sstables/") {
        true if call.action == Action::Append => Outcome::Fail(ErrorKind::StorageFull),
        _ => Outcome::Done,
    });
    assert!(matches!(run(&engine, &engine.seal(window).unwrap().unwrap()), Err(Error::Io { .. })));
    assert_eq!((files(&disk), answer(&engine, "t", &all(&[]))), before);
    disk.clear_hook();
    assert!(run(&engine, &engine.seal(window).unwrap().unwrap()).is_ok());
    assert_eq!(answer(&engine, "t", &all(&[])), before.1);
}

#[test]
fn without_room_for_inputs_and_outputs_nothing_is_begun() {
    let disk = SimDisk::new(1);
    let engine = three_flushes(&disk);
    let before = files(&disk);
    let [window] = engine.windows_to_seal()[..] else { panic!() };
    let compaction = engine.seal(window).unwrap().unwrap();
    let used = (1 << 40) - crate::disk::Disk::free_bytes(&disk).unwrap();
    let reserve = engine.flush_bytes() + compaction.input_bytes();
    disk.set_capacity_bytes(Some(used + reserve - 1));
    assert!(matches!(run(&engine, &compaction), Err(Error::DiskReserve { .. })));
    assert_eq!(files(&disk), before);
    disk.set_capacity_bytes(Some(used + reserve));
    assert!(run(&engine, &compaction).is_ok());
}

#[test]
fn files_of_an_edit_that_failed_stay_until_another_one_succeeds() {
    let disk = SimDisk::new(1);
    let engine = three_flushes(&disk);
    let [window] = engine.windows_to_seal()[..] else { panic!() };
    disk.set_hook(|call| match call.path.starts_with("MANIFEST") {
        true if call.action == Action::SyncData => Outcome::Fail(ErrorKind::Other),
        _ => Outcome::Done,
    });
    assert!(run(&engine, &engine.seal(window).unwrap().unwrap()).is_err());
    disk.clear_hook();
    assert_eq!(files(&disk).len(), 4);
    engine.remove_retired().unwrap();
    assert_eq!(files(&disk).len(), 4, "nobody knows whether it is live");
    assert!(run(&engine, &engine.seal(window).unwrap().unwrap()).is_ok());
    assert_eq!(files(&disk), live(&engine));
}

#[test]
fn a_damaged_input_is_named_and_kept_and_not_compacted_again() {
    let disk = SimDisk::new(1);
    let engine = three_flushes(&disk);
    let [window] = engine.windows_to_seal()[..] else { panic!() };
    let path = files(&disk)[1].clone();
    let mut bytes = disk.bytes_of(&path).unwrap();
    // In the first block behind the header: the symbols.
    bytes[30] ^= 1;
    disk.overwrite(&path, &bytes);
    let before = files(&disk);
    for _ in 0..2 {
        let sealed = engine.seal(window).map(|compaction| run(&engine, &compaction.unwrap()));
        let (Ok(Err(Error::Corrupt { path: found, .. })) | Err(Error::Corrupt { path: found, .. })) =
            sealed
        else {
            panic!("{sealed:?}")
        };
        assert_eq!(found, path);
    }
    assert_eq!(files(&disk), before);
}

/// Hides one series whole, and all others for a while.
#[derive(Debug)]
struct Hides(&'static str, (i64, i64));

impl crate::compaction::cut::Cut for Hides {
    fn touches(&self, _: &model::TenantId, metric: &str, _: model::DayBucket) -> bool {
        metric == "up"
    }

    fn spans(
        &self,
        _: &model::TenantId,
        labels: &crate::compaction::cut::Labels<'_>,
        spans: &mut Vec<(i64, i64)>,
    ) {
        assert_eq!(labels.value("__name__"), "up");
        spans.push(if labels.value("instance") == self.0 { (i64::MIN, i64::MAX) } else { self.1 });
    }

    fn tombstones_through(&self) -> u64 {
        9
    }
}

#[test]
fn what_is_cut_is_gone_with_its_texts_and_a_file_of_nothing_is_not_written() {
    let disk = SimDisk::new(1);
    let engine = three_flushes(&disk);
    let task = |engine: &Engine| Task {
        inputs: engine.tables.read().metas(),
        boundaries: Vec::new(),
        encoding: Encoding::Fast,
        stage: Stage::Compacted,
    };
    let run = |cut: &Hides| {
        let allocate = || engine.manifest.lock().allocate_file_id();
        let pace = &mut |_| true;
        let mut means = Means { disk: &disk, cut, allocate: &allocate, now: NOW, pace };
        worker::run(&task(&engine), &mut means).unwrap().sstables
    };
    assert_eq!(run(&Hides("none", (i64::MIN, i64::MAX))), []);
    let outputs = run(&Hides("b", (NOW.0, NOW.0 + 2)));
    let [output] = &outputs[..] else { panic!() };
    // Left are one of c, and of `all` those at 2 and 3 ms.
    assert_eq!((output.series, output.samples, output.tombstones_through), (2, 3, 9));
    for (text, is_left) in [("c", true), ("all", true), ("a", false), ("b", false)] {
        let path = manifest::sstable_path(output.id);
        let input = crate::compaction::input::Input::open(&disk, output.id, &path);
        let inputs = [input.unwrap()];
        let id = crate::engine::tests::tenant("t");
        let (_, texts) =
            crate::compaction::input::tenant(&inputs, &crate::cache::Cache::new(1), &id).unwrap();
        assert_eq!(texts.iter().any(|held| **held == *text), is_left, "{text}");
    }
}

#[test]
fn the_bytes_written_are_those_that_the_simulator_says() {
    let compaction = CompactionConfig {
        scaling_parameters: Scaling::tiered(4),
        flush_bytes: 1 << 20,
        ..CompactionConfig::default()
    };
    let disk = SimDisk::new(1);
    let (engine, _) =
        open_with(&disk, Config { compaction: compaction.clone(), ..Config::default() });
    let day = NOW.day().range();
    let (mut at, mut noise) = (day.start.0, 1_u64);
    let (mut flushed, mut written, mut count) = (0, 0, 0);
    for _ in 0..17 {
        for _ in 0..60 {
            at += 1_000;
            let mut m = mutation("t");
            for metric in 0..120 {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let name = format!("metric_{metric}");
                let value = f64::from_bits(noise >> 2);
                m.push(SeriesRef::Labels(labels(&[("__name__", &name)])), [(at, value)]);
            }
            write(&engine, &m);
        }
        flushed += engine.flush(day.start).unwrap().sstable_bytes;
        for report in due(&engine, day.start, 0) {
            written += report.written_bytes;
            count += 1;
        }
    }
    let load = simulate::Load {
        flushes: 17,
        flush_bytes: flushed / 17,
        is_closed: false,
        late_flushes: 0,
        late_bytes: 0,
    };
    let cost = simulate::run(&load, &compaction);
    assert_eq!((count, count > 3), (cost.compactions, true));
    let permille = (flushed + written) * 1000 / flushed;
    let expected = cost.write_amplification_permille();
    // A little less: labels that several flushes have are written once.
    assert!(permille <= expected && expected - permille < expected / 10, "{permille}, {expected}");
}

#[test]
fn a_stale_file_that_finds_no_room_holds_up_no_other_and_has_its_turn_later() {
    use crate::engine::retain::tests::{push, rules};
    let disk = SimDisk::new(1);
    let config = Config { disk_reserve_bytes: Some(0), ..Config::default() };
    let (engine, _) = open_with(&disk, config);
    let irregular = |day: i64, len: i64| -> Vec<i64> {
        let from = NOW.0 - day * DAY_MS;
        (0..len).map(|i| from + i * 1_000 + i * 7_919 % 577).collect()
    };
    for (day, len) in [(1, 20_000), (3, 10)] {
        push(&engine, "debug_x", &irregular(day, len));
        push(&engine, "up", &irregular(day, 10));
        engine.flush(NOW).unwrap();
    }
    // Each file is to be split by class.
    engine.set_retention(&rules(20, 30), NOW).unwrap();
    let used = (1 << 40) - Disk::free_bytes(&disk).unwrap();
    disk.set_capacity_bytes(Some(used + 10_000));
    let step = |now: TimestampMs| {
        let due = engine.next_pass(now).unwrap()?;
        Some(run(&engine, &due).map(|done| done.inputs.len()))
    };
    assert!(matches!(step(NOW), Some(Err(Error::DiskReserve { .. }))));
    assert!(matches!(step(NOW), Some(Ok(1))));
    assert!(step(NOW).is_none(), "the large one rests");
    disk.set_capacity_bytes(None);
    assert!(step(NOW.plus_ms(59_999)).is_none());
    assert!(matches!(step(NOW.plus_ms(60_000)), Some(Ok(1))));
    assert!(engine.stale_ids().is_empty());
}
