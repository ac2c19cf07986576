//! Sends a workload to a server and measures what it costs.
//!
//! Bodies are encoded ahead, a slice of rounds at a time for all connections, and only sending is
//! timed; the server's CPU time is taken over the whole run and the time to settle after it.
//!
//! # Invariants
//! - Memory is bounded by one slice of bodies and the labels of all series.
//! - A connection sends its targets in order and waits for each answer.
//! - No figure without its check: the server has to count what was sent.

use crate::http::{self, Connection};
use crate::process::{self, Usage};
use crate::remote_write::{self, HEADERS};
use crate::workload::{INTERVAL_MS, TARGET_SERIES, Target};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Samples that are encoded ahead, over all connections.
const SLICE_SAMPLES: u32 = 2_000_000;

/// Failed requests after which it is not worth going on.
const ERRORS_MAX: u64 = 100;

/// What to send, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the server serves HTTP.
    pub target: SocketAddr,
    /// The path that takes remote write.
    pub path: String,
    /// Series in all, rounded down to whole targets, at least one target.
    pub series: u32,
    /// Scrapes of each target.
    pub rounds: u32,
    /// Connections.
    pub connections: u32,
    /// Samples in one request.
    pub samples_per_request: u32,
    /// Samples of a series that go into one request together: 1 is a scraper that sends at once,
    /// more is one that lags behind or fills in.
    pub samples_per_series: u32,
    /// No sample lies later, in milliseconds since 1970.
    pub end_ms: i64,
    /// The server's process.
    pub pid: Option<u32>,
    /// How long the server may work on after the last request.
    pub settle: Duration,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// No connection, or a broken one.
    #[error("{target}: {source}")]
    Io { target: SocketAddr, source: io::Error },
    /// The process to measure is not there.
    #[error("process {pid} is not there")]
    NoProcess { pid: u32 },
    /// The server answers no.
    #[error("{count} requests failed; the first: {first}")]
    Refused { count: u64, first: String },
}

/// One connection: its targets, the bodies to send next, and what was seen.
struct Lane {
    targets: Vec<Target>,
    bodies: Vec<Vec<u8>>,
    latencies_us: Vec<u32>,
    errors: u64,
    first_error: Option<String>,
    body_bytes: u64,
}

/// Sends everything, checks it, and reports.
///
/// # Errors
/// [`Error`]; what the server counts is part of the report and no error.
pub fn run(plan: &Plan) -> Result<Value, Error> {
    let targets = (plan.series / TARGET_SERIES).max(1);
    let lanes_count = plan.connections.clamp(1, targets);
    let start_ms = plan.end_ms - i64::from(plan.rounds) * INTERVAL_MS;
    let mut lanes: Vec<Lane> = (0..lanes_count)
        .map(|lane| Lane {
            targets: (lane..targets).step_by(lanes_count as usize).map(Target::new).collect(),
            bodies: Vec::new(),
            latencies_us: Vec::new(),
            errors: 0,
            first_error: None,
            body_bytes: 0,
        })
        .collect();

    let before = measure(plan)?;
    let mut peak = before;
    let mut sending = Duration::ZERO;
    let round_samples = targets * TARGET_SERIES;
    let together = plan.samples_per_series.max(1);
    let slice_rounds = (SLICE_SAMPLES / round_samples / together).max(1) * together;
    let mut round = 0;
    while round < plan.rounds {
        let rounds = slice_rounds.min(plan.rounds - round);
        each_lane(&mut lanes, |lane| {
            lane.encode(start_ms, rounds, plan);
            Ok(())
        })?;
        let started = process::now();
        each_lane(&mut lanes, |lane| lane.send(plan))?;
        sending += started.elapsed();
        let usage = measure(plan)?;
        peak.anonymous_bytes = peak.anonymous_bytes.max(usage.anonymous_bytes);
        let errors: u64 = lanes.iter().map(|lane| lane.errors).sum();
        if errors > ERRORS_MAX {
            let first = lanes.iter().find_map(|lane| lane.first_error.clone());
            return Err(Error::Refused { count: errors, first: first.unwrap_or_default() });
        }
        round += rounds;
    }
    process::settle(plan.settle);
    let after = measure(plan)?;
    let counts = count(plan, targets)?;
    Ok(report(plan, &lanes, targets, sending, [before, peak, after], &counts))
}

fn measure(plan: &Plan) -> Result<Usage, Error> {
    match plan.pid {
        None => Ok(Usage::default()),
        Some(pid) => process::usage(pid).ok_or(Error::NoProcess { pid }),
    }
}

fn each_lane(
    lanes: &mut [Lane],
    run: impl Fn(&mut Lane) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let run = &run;
    std::thread::scope(|scope| {
        let threads: Vec<_> = lanes.iter_mut().map(|lane| scope.spawn(move || run(lane))).collect();
        threads.into_iter().try_for_each(|thread| {
            // A panic in a lane is our own bug; it goes on here.
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

impl Lane {
    /// Encodes the bodies of the next `rounds` scrapes.
    fn encode(&mut self, start_ms: i64, rounds: u32, plan: &Plan) {
        self.bodies.clear();
        let mut bodies = Bodies { samples_max: plan.samples_per_request, ..Bodies::default() };
        let together = plan.samples_per_series.max(1);
        let mut round = 0;
        while round < rounds {
            let scrapes = together.min(rounds - round);
            for target in &mut self.targets {
                target.scrapes(start_ms, scrapes, |labels, samples| bodies.push(labels, samples));
            }
            round += scrapes;
        }
        self.bodies = bodies.finish();
    }

    fn send(&mut self, plan: &Plan) -> Result<(), Error> {
        let lost = |source| Error::Io { target: plan.target, source };
        let mut connection = Connection::open(plan.target).map_err(lost)?;
        for body in &self.bodies {
            let started = process::now();
            let response = connection.send("POST", &plan.path, &HEADERS, body).map_err(lost)?;
            let micros = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
            self.latencies_us.push(micros);
            self.body_bytes += body.len() as u64;
            if !(200..300).contains(&response.status) {
                self.errors += 1;
                let text = || format!("{} {}", response.status, response.text().trim());
                self.first_error.get_or_insert_with(text);
                if self.errors > ERRORS_MAX {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Requests in the making.
#[derive(Default)]
struct Bodies {
    samples_max: u32,
    message: Vec<u8>,
    samples: u32,
    done: Vec<Vec<u8>>,
}

impl Bodies {
    fn push(&mut self, labels: &[u8], samples: &[(i64, f64)]) {
        remote_write::push_series(&mut self.message, labels, samples);
        self.samples += u32::try_from(samples.len()).unwrap_or(u32::MAX);
        if self.samples >= self.samples_max {
            self.end_body();
        }
    }

    fn end_body(&mut self) {
        self.done.push(remote_write::compress(&self.message));
        self.message.clear();
        self.samples = 0;
    }

    fn finish(mut self) -> Vec<Vec<u8>> {
        if self.samples > 0 {
            self.end_body();
        }
        self.done
    }
}

/// Series and samples that the server counts, by its own answer; null if it does not answer.
struct Counts {
    series: Value,
    samples: Value,
}

fn count(plan: &Plan, targets: u32) -> Result<Counts, Error> {
    let window_s = i64::from(plan.rounds + 2) * INTERVAL_MS / 1_000;
    // Cheap first; by target then, so that no single query holds everything.
    let series = scalar(plan, "count(last_over_time({cluster=\"bench\"}[1m]))")?;
    let mut samples = 0.0;
    let mut known = true;
    for job in 0..targets.min(10) {
        let selector = format!("{{cluster=\"bench\",job=\"node-exporter-{job}\"}}[{window_s}s]");
        match scalar(plan, &format!("sum(count_over_time({selector}))"))? {
            Some(count) => samples += count,
            None => known = false,
        }
    }
    Ok(Counts { series: json!(series), samples: json!(known.then_some(samples)) })
}

fn scalar(plan: &Plan, query: &str) -> Result<Option<f64>, Error> {
    let (seconds, millis) = (plan.end_ms.div_euclid(1_000), plan.end_ms.rem_euclid(1_000));
    let form = http::form(&[("query", query), ("time", &format!("{seconds}.{millis:03}"))]);
    let path = format!("/api/v1/query?{form}");
    let response = http::request(plan.target, "GET", &path, &[], b"")
        .map_err(|source| Error::Io { target: plan.target, source })?;
    let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    Ok(answer["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok()))
}

#[expect(clippy::cast_precision_loss, reason = "figures are for people; 53 bits are plenty")]
fn report(
    plan: &Plan,
    lanes: &[Lane],
    targets: u32,
    sending: Duration,
    [before, peak, after]: [Usage; 3],
    counts: &Counts,
) -> Value {
    let mut latencies: Vec<u32> =
        lanes.iter().flat_map(|lane| lane.latencies_us.iter().copied()).collect();
    latencies.sort_unstable();
    let percentile = |percent: usize| {
        let last = latencies.len().saturating_sub(1);
        latencies.get(last * percent / 100).map(|micros| f64::from(*micros) / 1_000.0)
    };
    let series = targets * TARGET_SERIES;
    let samples = u64::from(series) * u64::from(plan.rounds);
    let body_bytes: u64 = lanes.iter().map(|lane| lane.body_bytes).sum();
    let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
    let grown = after.anonymous_bytes.saturating_sub(before.anonymous_bytes);
    let measured = |figure: f64| plan.pid.map(|_| figure);
    json!({
        "samples_per_series_and_request": plan.samples_per_series,
        "series": series,
        "samples": samples,
        "requests": latencies.len(),
        "connections": lanes.len(),
        "errors": lanes.iter().map(|lane| lane.errors).sum::<u64>(),
        "first_error": lanes.iter().find_map(|lane| lane.first_error.clone()),
        "end_ms": plan.end_ms,
        "body_bytes_per_sample": body_bytes as f64 / samples as f64,
        "sending_seconds": sending.as_secs_f64(),
        "samples_per_second": samples as f64 / sending.as_secs_f64(),
        "server_cpu_seconds": measured(cpu_seconds),
        "samples_per_server_cpu_second": measured(samples as f64 / cpu_seconds),
        "request_ms": {
            "p50": percentile(50), "p90": percentile(90), "p99": percentile(99),
            "max": percentile(100),
        },
        "anonymous_bytes": measured(after.anonymous_bytes as f64),
        "anonymous_bytes_peak": measured(peak.anonymous_bytes as f64),
        "anonymous_bytes_per_series": measured(grown as f64 / f64::from(series)),
        "series_counted": counts.series,
        "samples_counted": counts.samples,
        "complete": counts.series.as_f64() == Some(f64::from(series))
            && counts.samples.as_f64() == Some(samples as f64),
    })
}
