//! What a day of workload A writes to the disk, by preset of compaction.
//!
//! `cargo run --release -p tests --example day -- [targets] [preset ...]`
//!
//! The real engine on files, on a clock that jumps from scrape to scrape. What depends on the size of
//! a flush (the tail's length, the sizes of sstables) is scaled by the series as against 100,000, so
//! there are as many flushes and levels as there, from 25 targets on: below, the base of the levels
//! would be less than the 1 MiB it is at least. Flushes and compactions run as soon as they are
//! due, as a node's threads do; after the day the clock goes on until the window is sealed.

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "it measures and tells")]

use bench::workload::INTERVAL_MS;
use model::{TenantId, TimestampMs};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use store::compaction::scaling::{Scaling, Strategy};
use store::config::CompactionConfig;
use store::disk::{Disk, DiskFile, DiskReader, FileDisk};
use store::engine::Parts;
use store::{Config, Engine};
use tests::engine_load::EngineLoad;

type Outcome<T> = Result<T, Box<dyn Error>>;

const BEGIN_MS: i64 = 1_760_054_400_000;
const DAY_MS: i64 = 86_400_000;
/// The series of workload A.
const SERIES: u64 = 100_000;

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A disk that counts what is written to it, by directory.
#[derive(Debug)]
struct CountedDisk {
    disk: FileDisk,
    written: Arc<Mutex<BTreeMap<String, u64>>>,
}

#[derive(Debug)]
struct CountedFile {
    file: Box<dyn DiskFile>,
    directory: String,
    written: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl CountedFile {
    fn count(&self, bytes: u64) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        *written.entry(self.directory.clone()).or_default() += bytes;
    }
}

impl DiskFile for CountedFile {
    fn append(&mut self, bytes: &[u8]) -> store::Result<()> {
        self.count(bytes.len() as u64);
        self.file.append(bytes)
    }

    fn make_room(&mut self, bytes: u64) -> store::Result<()> {
        let before = self.file.room_bytes();
        self.file.make_room(bytes)?;
        self.count(self.file.room_bytes().saturating_sub(before));
        Ok(())
    }

    fn room_bytes(&self) -> u64 {
        self.file.room_bytes()
    }

    fn sync_data(&mut self) -> store::Result<()> {
        self.file.sync_data()
    }

    fn written_bytes(&self) -> u64 {
        self.file.written_bytes()
    }
}

impl Disk for CountedDisk {
    fn create_new(&self, path: &str) -> store::Result<Box<dyn DiskFile>> {
        let (directory, written) = (path.split('/').next().unwrap_or(""), self.written.clone());
        let file = self.disk.create_new(path)?;
        Ok(Box::new(CountedFile { file, directory: directory.to_owned(), written }))
    }

    fn open(&self, path: &str) -> store::Result<Arc<dyn DiskReader>> {
        self.disk.open(path)
    }

    fn list(&self, directory: &str) -> store::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn len(&self, path: &str) -> store::Result<Option<u64>> {
        self.disk.len(path)
    }

    fn rename(&self, from: &str, to: &str) -> store::Result<()> {
        self.disk.rename(from, to)
    }

    fn hard_link(&self, from: &str, to: &str) -> store::Result<()> {
        self.disk.hard_link(from, to)
    }

    fn unlink(&self, path: &str) -> store::Result<()> {
        self.disk.unlink(path)
    }

    fn create_dir(&self, path: &str) -> store::Result<()> {
        self.disk.create_dir(path)
    }

    fn remove_dir(&self, path: &str) -> store::Result<()> {
        self.disk.remove_dir(path)
    }

    fn sync_dir(&self, directory: &str) -> store::Result<()> {
        self.disk.sync_dir(directory)
    }

    fn sync_file(&self, path: &str) -> store::Result<()> {
        self.disk.sync_file(path)
    }

    fn free_bytes(&self) -> store::Result<u64> {
        self.disk.free_bytes()
    }

    fn total_bytes(&self) -> store::Result<u64> {
        self.disk.total_bytes()
    }
}

/// A kind of work: how often, bytes written, and its CPU time.
#[derive(Debug, Default)]
struct Work {
    times: u64,
    read_bytes: u64,
    written_bytes: u64,
    samples: u64,
    seconds: f64,
}

impl Work {
    fn per_second(&self) -> String {
        let mebibytes = (self.read_bytes + self.written_bytes) as f64 / 1_048_576.0;
        format!(
            "{:.0} MiB/s, {:.1} M samples/s",
            mebibytes / self.seconds,
            self.samples as f64 / 1e6 / self.seconds
        )
    }
}

#[derive(Debug, Default)]
struct Day {
    flushes: Work,
    merges: Work,
    seals: Work,
    sstables_max: u64,
}

impl Day {
    /// Does all that is due.
    fn work(&mut self, engine: &Engine, now: TimestampMs) -> Outcome<()> {
        while let Some(job) = engine.next_job(now) {
            let began = cpu_seconds();
            let report = engine.run(job, now)?;
            self.flushes.seconds += cpu_seconds() - began;
            self.flushes.times += u64::from(report.sstables > 0);
            self.flushes.written_bytes += report.sstable_bytes;
            self.flushes.samples += report.samples;
        }
        let chance = now.0.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        while let Some(due) = engine.next_compaction(now, chance) {
            let reason = due.reason().as_str();
            let began = cpu_seconds();
            let report = engine.compact(&due, now, &mut |_| true)?;
            let work = if reason.contains("seal") { &mut self.seals } else { &mut self.merges };
            work.seconds += cpu_seconds() - began;
            work.times += 1;
            work.read_bytes += report.read_bytes;
            work.written_bytes += report.written_bytes;
            work.samples += report.samples_out;
            engine.remove_retired()?;
        }
        self.sstables_max = self.sstables_max.max(engine.stats().sstables);
        Ok(())
    }
}

/// A preset: its name in the table, strategy, scaling parameters, base of the levels if not the default.
type Preset = (&'static str, Strategy, &'static str, Option<u64>);

const PRESETS: [Preset; 7] = [
    ("ucs T8 (default)", Strategy::Ucs, "T8", None),
    ("ucs T4", Strategy::Ucs, "T4", None),
    ("stcs", Strategy::Stcs, "T8", None),
    ("lcs", Strategy::Lcs, "T8", None),
    ("twcs", Strategy::Twcs, "T8", None),
    ("ucs T8, flush_size 100 MiB", Strategy::Ucs, "T8", Some(100 << 20)),
    ("ucs T4, flush_size 100 MiB", Strategy::Ucs, "T4", Some(100 << 20)),
];

fn config(&(_, strategy, scaling, flush_bytes): &Preset, series: u64) -> Outcome<Config> {
    let plain = Config::default();
    let scaled = |bytes: u64| (bytes * series / SERIES).max(1);
    let compaction = CompactionConfig {
        strategy,
        scaling_parameters: scaling.parse::<Scaling>().map_err(|_| "no such scaling")?,
        sstable_bytes: scaled(plain.compaction.sstable_bytes),
        sstable_bytes_min: scaled(plain.compaction.sstable_bytes_min),
        flush_bytes: scaled(flush_bytes.unwrap_or(plain.compaction.flush_bytes)),
        ..plain.compaction.clone()
    };
    Ok(Config { tail_samples_max: scaled(plain.tail_samples_max), compaction, ..plain })
}

fn run(preset: &Preset, targets: u32) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let written = Arc::new(Mutex::new(BTreeMap::new()));
    let disk = FileDisk::open(directory.path())?;
    let parts = Parts {
        disk: Arc::new(CountedDisk { disk, written: Arc::clone(&written) }),
        cluster_name: "bench".to_owned(),
        generation_seed: 1,
    };
    let (name, config) = (preset.0, config(preset, u64::from(targets) * 1000)?);
    let (engine, _) = Engine::open(parts, config, TimestampMs(BEGIN_MS))?;
    let mut load = EngineLoad::new(&TenantId::parse("default")?, targets, 0..1000, BEGIN_MS);
    let mut day = Day::default();
    let mut at = BEGIN_MS;
    while at < BEGIN_MS + DAY_MS {
        at += INTERVAL_MS;
        load.send(&engine, 1, TimestampMs(at))?;
        day.work(&engine, TimestampMs(at))?;
    }
    // What the head still has is flushed at the next border, then the day is sealed.
    while at < BEGIN_MS + DAY_MS + DAY_MS / 4 {
        at += 300_000;
        day.work(&engine, TimestampMs(at))?;
    }
    let stats = engine.stats();
    if stats.sstable_samples != load.samples() {
        return Err(format!("{} of {} samples", stats.sstable_samples, load.samples()).into());
    }
    let written = written.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let sstables = written.get("sstables").copied().unwrap_or(0);
    let log = written.get("log").copied().unwrap_or(0);
    let others = written.values().sum::<u64>() - sstables - log;
    let flushed = day.flushes.written_bytes;
    let each = |bytes: u64| bytes as f64 / load.samples() as f64;
    println!(
        "| {name} | {} | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.3} | {:.2} |",
        day.flushes.times,
        day.merges.times + day.seals.times,
        day.sstables_max,
        each(log),
        each(others),
        each(flushed),
        each(day.merges.written_bytes),
        each(day.seals.written_bytes),
        each(stats.sstable_bytes),
        sstables as f64 / flushed as f64,
    );
    eprint_speed(name, &day);
    Ok(())
}

#[expect(clippy::print_stderr, reason = "beside the table")]
fn eprint_speed(name: &str, day: &Day) {
    let speed = |work: &Work| if work.times > 0 { work.per_second() } else { "none".to_owned() };
    let (flush, merge, seal) = (speed(&day.flushes), speed(&day.merges), speed(&day.seals));
    eprintln!("{name}: flush {flush}; merge {merge}; seal {seal}");
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let targets = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let wanted: Vec<String> = arguments.collect();
    println!(
        "bytes a sample, by what wrote them; WA is all of sstables as against what was flushed"
    );
    println!(
        "| preset | flushes | compactions | sstables max | log | checkpoints, manifest | flush | merge | seal | live | WA |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for preset in &PRESETS {
        if wanted.is_empty() || wanted.iter().any(|one| preset.0.contains(one)) {
            run(preset, targets)?;
        }
    }
    Ok(())
}
