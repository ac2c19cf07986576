//! Workload A against the engine alone: appends by number, flushes when they are due, replay, a seal
//! and reads before and after it; prints what CPU time each costs.
//!
//! `cargo run --release -p store --example workload_a -- [targets] [rounds] [directory] [read]`
//!
//! A directory that was written before is only read. With `read`, only reads are run whose name
//! has it in it.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "it measures and prints"
)]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use model::mutation::Mutation;
use model::read::{LabelAnswer, LabelQuery, LabelWant, SelectBounds, Selection};
use model::{
    Context, LabelSet, MatchOp, Matcher, Principal, RequestId, SeriesRef, SplitMix64, TenantId,
    TimeRange, TimestampMs,
};
use std::path::Path;
use std::sync::Arc;
use store::disk::FileDisk;
use store::engine::{AppendLimits, Appended, Parts};
use store::{Config, Engine};

const SERIES_PER_TARGET: usize = 1000;
const BEGIN_MS: i64 = 1_760_054_400_000;
const STEP_MS: i64 = 15_000;

/// A series' value as it goes on; kinds in the shares of the workload.
struct Walk {
    kind: u64,
    integer: i64,
    float: f64,
}

impl Walk {
    fn new(index: usize, state: &mut SplitMix64) -> Self {
        let integer = i64::try_from(state.draw() % 1_000_000).unwrap();
        Self { kind: (index as u64 * 7) % 100, integer, float: integer as f64 * 0.123_456_789 }
    }

    fn next(&mut self, state: &mut SplitMix64) -> f64 {
        let small = i64::try_from(state.draw() % 300).unwrap();
        let unit = (state.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        match self.kind {
            0..50 => return (self.integer % 1000) as f64,
            50..64 => {
                self.integer += small;
                return self.integer as f64 / if self.kind < 57 { 100.0 } else { 1000.0 };
            }
            64..69 => self.integer += small,
            69..73 => {
                self.float += unit;
                return self.float;
            }
            73..76 => return unit * 1e6,
            76..83 => self.integer += small % 9 - 4,
            83..89 => self.integer += i64::from(small == 0),
            _ => self.integer += i64::from(small < 60),
        }
        self.integer as f64
    }
}

fn labels(target: usize, index: usize) -> LabelSet {
    let metric = format!("node_metric_{}_total", index % 250);
    let mut pairs = vec![
        ("__name__".to_owned(), metric),
        ("job".to_owned(), format!("job-{}", target % 3)),
        ("instance".to_owned(), format!("10.0.{}.{}:9100", target / 250, target % 250)),
        ("part".to_owned(), (index / 250).to_string()),
        ("device".to_owned(), format!("device{}", index % 8)),
    ];
    pairs.extend(
        (0..15).map(|i| (format!("label_{i}"), format!("value-{}-{}", i, target % (i + 1)))),
    );
    LabelSet::from_pairs(pairs).unwrap()
}

/// The CPU time of this thread, so that others on the machine do not count.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn rss_anon_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn open(directory: &Path, seed: u64) -> Engine {
    let parts = Parts {
        disk: Arc::new(FileDisk::open(directory).unwrap()),
        cluster_name: "bench".to_owned(),
        generation_seed: seed,
    };
    let began = cpu_seconds();
    let (engine, report) = Engine::open(parts, Config::default(), TimestampMs(BEGIN_MS)).unwrap();
    let seconds = cpu_seconds() - began;
    println!(
        "open: {seconds:.3} s, {} samples replayed ({:.3} s a million), {} series",
        report.samples,
        seconds * 1e6 / (report.samples as f64).max(1.0),
        report.series
    );
    engine
}

/// Asks the same thing six times: the first answer's CPU time, the best one's, and their size.
fn timed(name: &str, mut ask: impl FnMut() -> (usize, usize)) {
    let mut times = Vec::new();
    let mut size = (0, 0);
    if std::env::args().nth(4).is_some_and(|only| !name.contains(&only)) {
        return;
    }
    for _ in 0..6 {
        let began = cpu_seconds();
        size = ask();
        times.push((cpu_seconds() - began) * 1e3);
    }
    let best = times.iter().copied().fold(f64::MAX, f64::min);
    let (found, samples) = size;
    let nanoseconds = best * 1e6 / (samples as f64).max(1.0);
    println!(
        "{name}: first {:.2} ms, best {best:.3} ms, {found} found, {samples} samples, \
         {nanoseconds:.1} ns a sample",
        times[0]
    );
}

/// What people and dashboards ask, up to the moment `last`.
fn all_reads(engine: &Engine, tenant: &TenantId, last: i64) {
    let hour = TimeRange { start: TimestampMs(last - 3_600_000), end: TimestampMs(last) };
    let recent = TimeRange { start: TimestampMs(last - 300_000), end: TimestampMs(last) };
    let select = |name: &str, range: TimeRange, matchers: &[Matcher]| {
        let matchers = matchers.to_vec();
        let selection = Selection {
            matchers,
            range,
            days: None,
            shard: model::QueryShard::ALL,
            bounds: SelectBounds::NONE,
            wanted: model::read::Wanted::ALL,
        };
        timed(&format!("select {name}"), || {
            let answer = engine.select(tenant, &selection, TimestampMs(last)).unwrap();
            (answer.len(), answer.iter().map(|s| s.floats.len()).sum())
        });
    };
    let equal = |name: &str, value: &str| Matcher::equal(name, value);
    let regex = |name: &str, value: &str| Matcher::new(name, MatchOp::Regex, value);
    let metric = equal("__name__", "node_metric_7_total");
    let target = equal("instance", "10.0.0.5:9100");
    select("5 min of all", recent, &[regex("__name__", ".+")]);
    select("1 h of one series", hour, &[metric.clone(), target.clone(), equal("part", "0")]);
    select("1 h of one metric", hour, &[metric]);
    select("1 h of 64 metrics", hour, &[regex("__name__", "node_metric_([1-6][0-9]|[0-3])_total")]);
    select("1 h of one target", hour, std::slice::from_ref(&target));
    select("1 h of a job's last part", hour, &[equal("job", "job-1"), equal("part", "3")]);
    let many: Vec<String> =
        (0..5000).map(|n| format!("10\\.0\\.{}\\.{}:9100", n / 250, n % 250)).collect();
    let many = [equal("__name__", "node_metric_9_total"), regex("instance", &many.join("|"))];
    select("1 h of 5,000 literals", hour, &many);
    let labels = |name: &str, want: LabelWant, matchers: Option<Matcher>| {
        let matcher_sets = matchers.into_iter().map(|matcher| vec![matcher]).collect();
        let query =
            LabelQuery { want, matcher_sets, range: hour, limit: 0, tombstones_max: u64::MAX };
        timed(&format!("labels {name}"), || {
            match engine.labels(tenant, &query, TimestampMs(last)).unwrap() {
                LabelAnswer::Texts(texts) => (texts.len(), 0),
                LabelAnswer::Series(series) => (series.len(), 0),
            }
        });
    };
    labels("names", LabelWant::Names, None);
    labels("values of instance", LabelWant::Values("instance".into()), None);
    labels("values of __name__", LabelWant::Values("__name__".into()), None);
    labels(
        "values of device of a target",
        LabelWant::Values("device".into()),
        Some(target.clone()),
    );
    labels("series of one target", LabelWant::Series, Some(target));
    let stats = engine.stats();
    let (hits, misses) = (stats.cache_hits_total, stats.cache_misses_total);
    println!("cache: {} KiB, {hits} hits, {misses} misses", stats.cache_bytes >> 10);
}

#[expect(clippy::too_many_lines, reason = "one story from top to bottom")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |index: usize, default: usize| {
        arguments.get(index).map_or(default, |text| text.parse().unwrap())
    };
    let (targets, rounds) = (number(1, 100), number(2, 240));
    let own = tempfile::tempdir().unwrap();
    let directory = arguments.get(3).map_or(own.path(), Path::new);
    let tenant = TenantId::parse("default").unwrap();
    let context = Arc::new(Context {
        tenant: tenant.clone(),
        principal: Principal::Anonymous,
        request_id: RequestId(1),
        timeout_ms: 0,
        now: model::TimestampMs(0),
        ring_version: 0,
    });
    let series = targets * SERIES_PER_TARGET;
    let mut state = SplitMix64::new(7);
    let mut walks: Vec<Walk> =
        (0..series).map(|i| Walk::new(i % SERIES_PER_TARGET, &mut state)).collect();
    let before_kib = rss_anon_kib();
    let engine = open(directory, 1);

    let last = BEGIN_MS + i64::try_from(rounds).unwrap() * STEP_MS;
    if engine.stats().sstable_samples > 0 {
        all_reads(&engine, &tenant, last);
        return;
    }
    let mut numbers: Vec<u32> = Vec::with_capacity(series);
    let mut generation = 0;
    let (mut creating, mut appending, mut syncing, mut flushing) = (0.0, 0.0, 0.0, 0.0);
    let (mut log_bytes, mut flushed, mut flushed_bytes) = (0, 0, 0);
    for round in 0..rounds {
        let now = BEGIN_MS + i64::try_from(round).unwrap() * STEP_MS;
        for request in 0..series / 2000 {
            let mut mutation = Mutation::empty(Arc::clone(&context));
            mutation.generation = generation;
            for (index, walk) in walks.iter_mut().enumerate().skip(request * 2000).take(2000) {
                let value = walk.next(&mut state);
                let named = match numbers.get(index) {
                    Some(number) => SeriesRef::Number(*number),
                    None => SeriesRef::Labels(labels(
                        index / SERIES_PER_TARGET,
                        index % SERIES_PER_TARGET,
                    )),
                };
                mutation.push(named, [(now, value)]);
            }
            let began = cpu_seconds();
            let answer = engine.append(&mutation, AppendLimits::NONE, TimestampMs(now)).unwrap();
            let seconds = cpu_seconds() - began;
            let Appended::Queued { written, .. } = answer else { panic!("labels are needed") };
            if round == 0 {
                creating += seconds;
                numbers.extend(written.numbers.iter().map(|(_, number)| number));
            } else {
                appending += seconds;
            }
            generation = written.generation;
            if round > 2 {
                log_bytes += engine.stats().log_pending_bytes;
            }
            let began = cpu_seconds();
            engine.sync().unwrap();
            syncing += cpu_seconds() - began;
        }
        if let Some(job) = engine.next_job(TimestampMs(BEGIN_MS)) {
            let began = cpu_seconds();
            let report = engine.run(job, TimestampMs(now)).unwrap();
            flushing += cpu_seconds() - began;
            flushed += report.samples;
            flushed_bytes += report.sstable_bytes;
        }
    }
    let samples = (series * rounds) as f64;
    println!("create: {:.2} µs a series", creating * 1e6 / series as f64);
    println!("append: {:.1} ns a sample", appending * 1e9 / (samples - series as f64));
    println!("sync:   {:.1} ns a sample", syncing * 1e9 / samples);
    println!("log:    {:.2} B a sample", log_bytes as f64 / (series * (rounds - 3)) as f64);
    println!(
        "flush:  {:.1} ns a sample, {:.2} B a sample in sstables",
        flushing * 1e9 / flushed as f64,
        flushed_bytes as f64 / flushed as f64
    );
    println!("stats:  {:?}", engine.stats());
    println!("memory: {:.0} B a series", (rss_anon_kib() - before_kib) * 1024.0 / series as f64);

    all_reads(&engine, &tenant, last);
    drop(engine);
    let engine = open(directory, 2);
    let report = engine.close(TimestampMs(last)).unwrap();
    println!("close: {report:?}");
    all_reads(&engine, &tenant, last);
    seal(&engine, TimestampMs(last));
    all_reads(&engine, &tenant, last);
}

/// Brings all windows into their dense form.
fn seal(engine: &Engine, now: TimestampMs) {
    for window in engine.windows_to_seal() {
        let Some(compaction) = engine.seal(window).unwrap() else { continue };
        let began = cpu_seconds();
        let report = engine.compact(&compaction, now, &mut |_| true).unwrap();
        let seconds = cpu_seconds() - began;
        let mebibytes = (report.read_bytes + report.written_bytes) as f64 / 1048576.0;
        println!(
            "seal of {window}: {} sstables into {}, {:.1} MiB read, {:.1} MiB written, {:.2} B a \
             sample, {:.1} MiB/s, {:.2} M samples/s",
            report.inputs.len(),
            report.outputs.len(),
            report.read_bytes as f64 / 1048576.0,
            report.written_bytes as f64 / 1048576.0,
            report.written_bytes as f64 / report.samples_out as f64,
            mebibytes / seconds,
            report.samples_in as f64 / seconds / 1e6,
        );
    }
}
