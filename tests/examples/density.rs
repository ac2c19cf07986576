//! Measures how dense sealed sstables are, by class of series, and what sealing and reading cost.
//!
//! `cargo run --release -p tests --example density -- [targets] [rounds] [class]`
//!
//! 100 targets and 240 rounds are workload A, 12 and 5,760 are workload C. A class keeps only the
//! series of that kind; `each` goes through all of them.

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "it measures and tells")]

use bench::workload::INTERVAL_MS;
use model::read::{SelectBounds, Selection};
use model::{Matcher, TenantId, TimeRange, TimestampMs};
use std::error::Error;
use std::ops::Range;
use std::sync::Arc;
use store::disk::FileDisk;
use store::engine::Parts;
use store::{Config, Engine};
use tests::engine_load::EngineLoad;

type Outcome<T> = Result<T, Box<dyn Error>>;

const BEGIN_MS: i64 = 1_760_054_400_000;
/// Samples of a series per request, as a sender that catches up sends them.
const BATCH: usize = 20;

/// The classes of `bench::workload`, by the place of a series in its target.
const CLASSES: &[(&str, Range<usize>)] = &[
    ("buckets", 0..100),
    ("decimal counters", 100..240),
    ("integer counters", 356..406),
    ("float counters", 406..446),
    ("gauges", 446..476),
    ("walks", 476..546),
    ("sparse counters", 546..606),
    ("constants", 606..1000),
];

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn timed<T>(ask: impl FnOnce() -> T) -> (T, f64) {
    let began = cpu_seconds();
    let answer = ask();
    (answer, cpu_seconds() - began)
}

fn measure(name: &str, targets: u32, rounds: usize, kept: Range<usize>) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let parts = Parts {
        disk: Arc::new(FileDisk::open(directory.path())?),
        cluster_name: "bench".to_owned(),
        generation_seed: 1,
    };
    let now = TimestampMs(BEGIN_MS);
    let (engine, _) = Engine::open(parts, Config::default(), now)?;
    let tenant = TenantId::parse("default")?;
    let mut load = EngineLoad::new(&tenant, targets, kept, BEGIN_MS);
    let (mut flushing, mut flushed_bytes, mut left) = (0.0, 0, rounds);
    while left > 0 {
        let batch = left.min(BATCH);
        load.send(&engine, batch, now)?;
        left -= batch;
        let job = engine.next_job(now).filter(|_| left > 0);
        let Some(job) =
            job.or(
                (left == 0).then_some(store::engine::Job::Flush(store::engine::FlushReason::Asked))
            )
        else {
            continue;
        };
        let (report, seconds) = timed(|| engine.run(job, now));
        flushing += seconds;
        flushed_bytes += report?.sstable_bytes;
    }
    let samples = load.samples() as f64;
    let (mut sealing, mut sealed) = (0.0, 0);
    for window in engine.windows_to_seal() {
        let Some(compaction) = engine.seal(window)? else { continue };
        let (report, seconds) = timed(|| engine.compact(&compaction, now, &mut |_| true));
        sealed += report?.samples_out;
        sealing += seconds;
    }
    let bytes = engine.stats().sstable_bytes;
    println!(
        "{name}: {samples} samples; flushed {:.3} B, {:.1} ns; sealed {:.4} B, {:.1} ns a sample",
        flushed_bytes as f64 / samples,
        flushing * 1e9 / samples,
        bytes as f64 / samples,
        sealing * 1e9 / samples,
    );
    if sealed != load.samples() {
        return Err(format!("{sealed} of {} samples came out", load.samples()).into());
    }
    read_all(&engine, &tenant, rounds)
}

/// Reads long and short ranges, of all and of one metric.
fn read_all(engine: &Engine, tenant: &TenantId, rounds: usize) -> Outcome<()> {
    let last = BEGIN_MS + i64::try_from(rounds)? * INTERVAL_MS;
    let everything = vec![Matcher::equal("cluster", "bench")];
    let short = TimeRange { start: TimestampMs(last - 300_000), end: TimestampMs(last) };
    let metric = vec![Matcher::equal("__name__", "http_request_duration_seconds_bucket")];
    for (what, matchers, range) in [
        ("all of it", &everything, TimeRange::ALL),
        ("5 minutes of all", &everything, short),
        ("all of the buckets", &metric, TimeRange::ALL),
        ("5 minutes of the buckets", &metric, short),
    ] {
        read(engine, tenant, what, matchers, range)?;
    }
    Ok(())
}

/// Reads twice: what a read costs, and what it costs when the cache has what it needs.
fn read(
    engine: &Engine,
    tenant: &TenantId,
    what: &str,
    matchers: &[Matcher],
    range: TimeRange,
) -> Outcome<()> {
    let bounds = SelectBounds::NONE;
    let selection = Selection {
        matchers: matchers.to_vec(),
        range,
        days: None,
        shard: model::QueryShard::ALL,
        bounds,
        wanted: model::read::Wanted::ALL,
    };
    let mut seconds = Vec::new();
    let mut samples = 0;
    for _ in 0..3 {
        let (answer, took) = timed(|| engine.select(tenant, &selection, TimestampMs(0)));
        samples = answer?.iter().map(|series| series.floats.len()).sum();
        seconds.push(took);
    }
    let best = seconds.iter().copied().fold(f64::MAX, f64::min);
    println!(
        "    {what}: {samples} samples; first {:.2} ms, best {:.2} ms, {:.2} ns a sample",
        seconds[0] * 1e3,
        best * 1e3,
        best * 1e9 / (samples as f64).max(1.0),
    );
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |index: usize, default: u32| -> Outcome<u32> {
        Ok(arguments.get(index).map_or(Ok(default), |text| text.parse())?)
    };
    let (targets, rounds) = (number(1, 12)?, number(2, 5760)?);
    let rounds = usize::try_from(rounds)?;
    let class = arguments.get(3).map(String::as_str);
    if class.is_none() {
        measure("all classes", targets, rounds, 0..1000)?;
    }
    for (name, kept) in
        CLASSES.iter().filter(|(name, _)| class == Some("each") || class == Some(name))
    {
        measure(name, targets, rounds, kept.clone())?;
    }
    Ok(())
}
