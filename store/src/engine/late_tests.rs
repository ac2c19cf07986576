//! A late trickle: what comes into a sealed window in small pieces costs a small multiple of itself,
//! and not the window again. All bytes are counted at the disk.
//!
//! Not of `twcs`: there a window that is over is merged into one file again as soon as it has two,
//! as in Cassandra, so each late flush rewrites it. Who has late data takes another strategy.

use super::compact::tests::due;
use super::tests::{NOW, all, answer, labels, mutation, open_with, write};
use super::*;
use crate::compaction::scaling::Strategy;
use crate::config::CompactionConfig;
use crate::manifest::Stage;
use crate::sim::SimDisk;
use model::time::DAY_MS;
use model::{LabelSet, SeriesRef};

const SERIES: u64 = 10;
const SEALED_SAMPLES: u64 = 480_000;
const LATE_FLUSHES: u64 = 24;
/// What a late flush is of the sealed window: one 2,400th, as 1 MiB is of 2.4 GiB.
const LATE_SAMPLES: u64 = SEALED_SAMPLES / 2_400;

fn series(index: u64) -> LabelSet {
    labels(&[("__name__", "late"), ("instance", &index.to_string())])
}

type Samples = BTreeMap<u64, BTreeMap<i64, u64>>;

/// Appends noise, so that bytes count, and keeps it.
fn load(engine: &Engine, model: &mut Samples, moments: impl Iterator<Item = i64>, noise: &mut u64) {
    let moments: Vec<i64> = moments.collect();
    let mut m = mutation("t");
    for index in 0..SERIES {
        let held = model.entry(index).or_default();
        let samples = moments.iter().map(|at| {
            *noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let bits = (*noise >> 2) | 1;
            held.insert(*at, bits);
            (*at, f64::from_bits(bits))
        });
        m.push(SeriesRef::Labels(series(index)), samples);
    }
    write(engine, &m);
}

fn sstables(disk: &SimDisk) -> BTreeMap<String, u64> {
    let paths = disk.paths().into_iter().filter(|path| path.starts_with("sstables/"));
    paths.map(|path| (path.clone(), disk.bytes_of(&path).unwrap().len() as u64)).collect()
}

/// The bytes of files that are in `after` and not in `before`.
fn new_bytes(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> u64 {
    after.iter().filter(|(path, _)| !before.contains_key(*path)).map(|(_, bytes)| bytes).sum()
}

/// Does one decided step after the other until nothing is due; returns the bytes written.
fn rewritten(engine: &Engine, disk: &SimDisk, now: TimestampMs) -> u64 {
    let mut bytes = 0;
    for chance in 0..100 {
        let before = sstables(disk);
        let Some(compaction) = engine.next_compaction(now, chance) else { return bytes };
        engine.compact(&compaction, now, &mut |_| true).unwrap();
        bytes += new_bytes(&before, &sstables(disk));
    }
    panic!("it does not come to rest");
}

fn trickle(strategy: Strategy) {
    let compaction =
        CompactionConfig { strategy, flush_bytes: 1 << 20, ..CompactionConfig::default() };
    let disk = SimDisk::new(1);
    let (engine, _) = open_with(&disk, Config { compaction, ..Config::default() });
    let (mut model, mut noise) = (Samples::new(), 1);
    let start = NOW.day().start().0;
    let per_series = i64::try_from(SEALED_SAMPLES / SERIES).unwrap();
    for part in 0..4 {
        let from = part * per_series / 4;
        let moments = (from..from + per_series / 4).map(|i| start + i * 1_500);
        load(&engine, &mut model, moments, &mut noise);
        engine.flush(NOW).unwrap();
    }
    let mut now = TimestampMs(start + DAY_MS + 30 * 60_000);
    due(&engine, now, 0);
    let is_sealed = |meta: &crate::manifest::SstableMeta| meta.stage == Stage::Sealed;
    assert!(engine.tables.read().metas().iter().all(is_sealed), "{strategy:?}");
    let sealed_bytes: u64 = sstables(&disk).values().sum();

    let (mut late_bytes, mut rewritten_bytes) = (0, 0);
    let per_flush = i64::try_from(LATE_SAMPLES / SERIES).unwrap();
    for flush in 0..i64::try_from(LATE_FLUSHES).unwrap() {
        let moments = (0..per_flush).map(|i| start + (i * 900 + flush * 7) * 1_500 + 750);
        load(&engine, &mut model, moments, &mut noise);
        let before = sstables(&disk);
        engine.flush(now).unwrap();
        late_bytes += new_bytes(&before, &sstables(&disk));
        rewritten_bytes += rewritten(&engine, &disk, now);
        now = now.plus_ms(3_600_000);
    }
    // Past the moment at which a window with much late data would be sealed once more.
    rewritten_bytes += rewritten(&engine, &disk, now.plus_ms(3 * DAY_MS));
    assert!(late_bytes * 50 < sealed_bytes, "{late_bytes} late to {sealed_bytes} sealed");
    let name = strategy.as_str();
    assert!(rewritten_bytes <= 3 * late_bytes, "{name}: {rewritten_bytes} for {late_bytes} late");
    assert!(rewritten_bytes > 0, "{name}: 24 files are merged now and then");
    let expected: Vec<_> = model
        .into_iter()
        .map(|(index, samples)| (series(index), samples.into_iter().collect::<Vec<_>>()))
        .collect();
    assert!(answer(&engine, "t", &all(&[])) == expected, "{name}: every sample, once");
}

#[test]
fn late_flushes_into_a_sealed_window_rewrite_at_most_three_times_their_bytes() {
    [Strategy::Ucs, Strategy::Stcs, Strategy::Lcs].into_iter().for_each(trickle);
}
