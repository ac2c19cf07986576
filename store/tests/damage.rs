//! Whatever bytes a store's files have, nobody panics, and no memory is taken beyond a bound.
//!
//! A process of its own: what is bounded is the most address space that it ever had, so that room
//! counts that was asked for and never touched. Whether an answer is right is not asked here
//! (`engine/rot_tests.rs`, `crash_rig/damage.rs`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use model::mutation::{MetricMetadata, MetricType, Mutation};
use model::read::{LabelQuery, LabelWant, SelectBounds, Selection};
use model::sample::SampleKind;
use model::{
    Context, DeleteRequest, Exemplar, Histogram, LabelSet, Matcher, Principal, QueryShard,
    RequestId, SeriesRef, TenantId, TimeRange, TimestampMs,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use store::disk::Disk;
use store::engine::{AppendLimits, Appended, Parts};
use store::sim::SimDisk;
use store::{Config, Engine, commit_log, inspect, verify};

type Files = BTreeMap<String, Vec<u8>>;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const CASES: usize = 4_000;
/// A changed byte is found by its checksum before anything is made of it.
const FOUND_BYTES_MAX: u64 = 32 << 20;
/// What a right checksum covers may claim what a block, a frame or a record may hold (64 MiB).
const CLAIMED_BYTES_MAX: u64 = 256 << 20;

fn tenant() -> TenantId {
    TenantId::parse("t").unwrap()
}

fn mutation() -> Mutation {
    Mutation::empty(Arc::new(Context {
        tenant: tenant(),
        principal: Principal::Anonymous,
        request_id: RequestId(1),
        timeout_ms: 0,
        ring_version: 0,
        now: TimestampMs(0),
    }))
}

fn labels(metric: &str, instance: &str) -> LabelSet {
    LabelSet::from_pairs([("__name__", metric), ("instance", instance)]).unwrap()
}

fn write(engine: &Engine, mutation: &Mutation) {
    let appended = engine.append(mutation, AppendLimits::NONE, NOW).unwrap();
    assert!(matches!(appended, Appended::Queued { .. }));
    engine.sync().unwrap();
}

/// Floats, histograms, metadata and exemplars, from a moment on.
fn add(engine: &Engine, from_ms: i64) {
    let mut floats = mutation();
    for (number, instance) in (1..).zip(["a", "b", "c"]) {
        let value = |i: i32| f64::from(i * number) + 0.25;
        let samples = (0..200).map(|i| (from_ms + i64::from(i) * 15_000, value(i)));
        floats.push(SeriesRef::Labels(labels("up", instance)), samples);
    }
    let exemplar = Exemplar { timestamp_ms: from_ms, value: 1.0, labels: labels("e", "trace") };
    floats.exemplars.push((0, exemplar));
    let [metric, help, unit] = ["up", "whether it is", "b"].map(Into::into);
    floats.metadata.push(MetricMetadata { metric, metric_type: MetricType::Gauge, help, unit });
    write(engine, &floats);
    let mut histograms = mutation();
    histograms.kind = SampleKind::Histogram;
    for i in 0..20 {
        histograms.timestamps_ms.push(from_ms + i * 15_000);
        histograms.start_timestamps_ms.push(from_ms);
        histograms.histograms.push(Arc::new(Histogram::stale()));
    }
    histograms.end_series(SeriesRef::Labels(labels("h", "a")));
    write(engine, &histograms);
}

fn open(disk: &SimDisk) -> store::Result<Engine> {
    let parts = Parts {
        disk: Arc::new(disk.clone()),
        cluster_name: "test".to_owned(),
        generation_seed: 99,
    };
    // Short files, so that most of what is changed means something.
    let commit_log = commit_log::Config { room_bytes: 256, ..commit_log::Config::default() };
    let config = Config { commit_log, ..Config::default() };
    Engine::open(parts, config, NOW).map(|(engine, _)| engine)
}

/// A store with every kind of file.
fn files() -> Files {
    let disk = SimDisk::new(1);
    let engine = open(&disk).unwrap();
    add(&engine, 0);
    engine.flush(NOW).unwrap();
    for lot in engine.windows_to_seal() {
        let seal = engine.seal(lot).unwrap().unwrap();
        engine.compact(&seal, NOW, &mut |_| true).unwrap();
    }
    let request = DeleteRequest {
        matcher_sets: vec![vec![Matcher::equal("instance", "c")]],
        range: TimeRange { start: TimestampMs(0), end: TimestampMs(60_000) },
        revision_max: 0,
    };
    engine.delete(&tenant(), &request, NOW).unwrap();
    add(&engine, 86_400_000);
    engine.flush(NOW).unwrap();
    engine.snapshot("s", NOW).unwrap();
    add(&engine, 2 * 86_400_000);
    engine.idle_sync().unwrap();
    drop(engine);
    disk.kill();
    let paths = disk.paths().into_iter().filter(|path| path != "LOCK");
    paths.map(|path| (path.clone(), disk.bytes_of(&path).unwrap())).collect()
}

/// A checksum and what it covers.
struct Sum {
    at: usize,
    of: Range<usize>,
    /// Counted in behind the first four bytes: a frame's number.
    frame: Option<u64>,
}

impl Sum {
    fn mend(&self, bytes: &mut [u8]) {
        let Range { start, end } = self.of;
        let before = start..self.at.clamp(start, end);
        let behind = (self.at + 4).clamp(start, end)..end;
        let mut sum = crc32c::crc32c(&bytes[before]);
        if let Some(frame) = self.frame {
            sum = crc32c::crc32c_append(sum, &frame.to_le_bytes());
        }
        sum = crc32c::crc32c_append(sum, &bytes[behind]);
        bytes[self.at..self.at + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The checksums of a file, outer ones last (`FORMAT.md`).
fn sums(path: &str, bytes: &[u8]) -> Vec<Sum> {
    let sum = |at: usize, of: Range<usize>| Sum { at, of, frame: None };
    let (mut sums, mut at) = (Vec::new(), 16);
    if path.starts_with("sstables/") {
        let footer = bytes.len() - 60;
        while at < footer {
            let end = at + 9 + u32_at(bytes, at);
            sums.push(sum(at + 4, at..end));
            at = end;
        }
        sums.push(sum(footer + 56, footer..footer + 56));
    } else if path.starts_with("log/") {
        sums.push(sum(12, 0..64));
        at = 64;
        // Behind the records there may be room for more.
        while bytes[at..].starts_with(&[0xC5, 0xF8, 0x1D, 0xFF]) {
            let end = at + 40 + u32_at(bytes, at + 8);
            sums.push(sum(at + 12, at + 40..end));
            sums.push(sum(at + 4, at + 8..at + 40));
            at = end;
        }
    } else if path.starts_with("MANIFEST") {
        while at < bytes.len() {
            let end = at + 28 + u32_at(bytes, at + 4);
            sums.push(sum(at + 8, at..end));
            at = end;
        }
    } else if path.starts_with("checkpoints/") {
        for frame in 0.. {
            let (length, rest) = (u32_at(bytes, at), bytes.len() - at);
            let end = at + if length == 0xFFFF_FFFF { rest } else { 8 + length };
            sums.push(Sum { frame: Some(frame), ..sum(at + 4, at..end) });
            at = end;
            if at == bytes.len() {
                break;
            }
        }
    }
    sums
}

/// Everything that anybody does with a store, and with one file of it.
fn use_all(files: &Files, path: &str) {
    let disk = SimDisk::new(1);
    for directory in ["log", "sstables", "checkpoints", "snapshots", "snapshots/s"] {
        disk.create_dir(directory).unwrap();
    }
    for (path, bytes) in files {
        disk.create_new(path).unwrap().append(bytes).unwrap();
    }
    drop(verify::store(&disk));
    drop(verify::file(&disk, path));
    let mut lines = 0;
    for show in [inspect::inspect, inspect::dump] {
        drop(show(&disk, path, &mut |_| {
            lines += 1;
            lines < 5_000
        }));
    }
    let Ok(engine) = open(&disk) else { return };
    let selection = Selection {
        matchers: Vec::new(),
        range: TimeRange::ALL,
        days: None,
        shard: QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: model::read::Wanted::ALL,
    };
    drop(engine.select(&tenant(), &selection, NOW));
    drop(engine.exemplars(&tenant(), &[Vec::new()], TimeRange::ALL, NOW));
    let want = LabelQuery {
        want: LabelWant::Series,
        matcher_sets: vec![Vec::new()],
        range: TimeRange::ALL,
        limit: 0,
        tombstones_max: u64::MAX,
    };
    drop(engine.labels(&tenant(), &want, NOW));
    for lot in engine.windows_to_seal() {
        if let Ok(Some(seal)) = engine.seal(lot) {
            drop(engine.compact(&seal, NOW, &mut |_| true));
        }
    }
}

/// The most address space that the process ever had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn changed_bytes_with_and_without_a_mended_checksum_cost_no_panic_and_no_memory_beyond_a_bound() {
    let files = files();
    for (path, bytes) in &files {
        for sum in sums(path, bytes) {
            let mut same = bytes.clone();
            sum.mend(&mut same);
            assert!(same == *bytes, "{path}: the checksum at {} is as the format says", sum.at);
        }
    }
    let paths: Vec<&String> = files.keys().collect();
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    paths.iter().for_each(|path| use_all(&files, path));
    for (mends, bytes_max) in [(false, FOUND_BYTES_MAX), (true, CLAIMED_BYTES_MAX)] {
        let before = peak_bytes();
        for case in 0..CASES {
            let path = paths[random(paths.len())];
            let mut rotten = files.clone();
            let bytes = rotten.get_mut(path).unwrap();
            let sums = sums(path, bytes);
            let at = random(bytes.len());
            bytes[at] = [bytes[at] ^ (1 << random(8)), 0, 0x7F, 0xFF][random(4)];
            let mut changed = vec![at];
            for sum in sums.iter().filter(|_| mends) {
                // Of a record the payload's checksum lies in what the header's covers.
                if changed.iter().any(|at| sum.of.contains(at)) {
                    sum.mend(bytes);
                    changed.push(sum.at);
                }
            }
            use_all(&rotten, path);
            let more = peak_bytes() - before;
            assert!(more <= bytes_max, "case {case}, {path} at {at}: {} MiB", more >> 20);
        }
    }
}
