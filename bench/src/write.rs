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
use crate::latency::Latencies;
use crate::process::{self, Usage};
use crate::protocol::{Body, Protocol};
use crate::workload::{INTERVAL_MS, Size, TARGET_SERIES, Target};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// The path that takes it.
    pub path: String,
    /// How it is sent.
    pub protocol: Protocol,
    /// How much; series are rounded down to whole targets, at least one target.
    pub size: Size,
    /// Samples in one request.
    pub samples_per_request: u32,
    /// Samples a second over all connections; 0 is as fast as it goes.
    pub rate: u32,
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

/// How far a run has come, for whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Samples to send.
    pub samples: AtomicU64,
    /// Samples that were answered.
    pub sent: AtomicU64,
    /// Requests that failed.
    pub errors: AtomicU64,
}

/// One connection: its targets, the bodies to send next with their samples, and what was seen.
struct Lane {
    targets: Vec<Target>,
    bodies: Vec<(Vec<u8>, u32)>,
    latencies: Latencies,
    errors: u64,
    first_error: Option<String>,
    body_bytes: u64,
    /// Samples a second; 0 is as fast as it goes.
    rate: f64,
}

/// Sends everything, checks it, and reports.
///
/// # Errors
/// [`Error`]; what the server counts is part of the report and no error.
pub fn run(plan: &Plan, progress: &Progress) -> Result<Value, Error> {
    let targets = (plan.size.series / TARGET_SERIES).max(1);
    let start_ms = plan.end_ms - i64::from(plan.size.rounds) * INTERVAL_MS;
    let mut lanes = lanes(plan, targets);
    let before = measure(plan)?;
    let mut peak = before;
    let mut sending = Duration::ZERO;
    let round_samples = targets * TARGET_SERIES;
    let samples = u64::from(round_samples) * u64::from(plan.size.rounds);
    progress.samples.store(samples, Ordering::Relaxed);
    let together = plan.size.samples_per_series.max(1);
    let slice_rounds = (SLICE_SAMPLES / round_samples / together).max(1) * together;
    let mut round = 0;
    while round < plan.size.rounds {
        let rounds = slice_rounds.min(plan.size.rounds - round);
        each_lane(&mut lanes, |lane| {
            lane.encode(start_ms, rounds, plan);
            Ok(())
        })?;
        let started = process::now();
        each_lane(&mut lanes, |lane| lane.send(plan, progress))?;
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

fn lanes(plan: &Plan, targets: u32) -> Vec<Lane> {
    let count = plan.size.connections.clamp(1, targets);
    let target = |number: u32| match plan.size.is_replaced {
        // One after the other, none at the very beginning or end.
        true => Target::new(number).replaced_at(replaced_at(number, targets, plan.size.rounds)),
        false => Target::new(number),
    };
    let lane = |lane| Lane {
        targets: (lane..targets).step_by(count as usize).map(target).collect(),
        bodies: Vec::new(),
        latencies: Latencies::default(),
        errors: 0,
        first_error: None,
        body_bytes: 0,
        rate: f64::from(plan.rate) / f64::from(count),
    };
    (0..count).map(lane).collect()
}

/// The round before which a target is replaced, of so many targets and rounds.
fn replaced_at(number: u32, targets: u32, rounds: u32) -> u32 {
    let at = u64::from(rounds) * u64::from(number + 1) / u64::from(targets + 1);
    u32::try_from(at).unwrap_or(rounds).clamp(1, rounds.saturating_sub(1).max(1))
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
        let mut bodies = Bodies::new(plan);
        let together = plan.size.samples_per_series.max(1);
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

    /// Sends the bodies, each when it is due: what is late because of the server counts as its
    /// latency.
    fn send(&mut self, plan: &Plan, progress: &Progress) -> Result<(), Error> {
        let lost = |source| Error::Io { target: plan.target, source };
        let mut connection = Connection::open(plan.target).map_err(lost)?;
        let began = process::now();
        let mut sent = 0.0;
        for (body, samples) in &self.bodies {
            let mut started = process::now();
            if self.rate > 0.0 {
                let due = began + Duration::from_secs_f64(sent / self.rate);
                process::settle(due.saturating_duration_since(started));
                started = due;
            }
            let headers = plan.protocol.headers();
            let response = connection.send("POST", &plan.path, headers, body).map_err(lost)?;
            self.latencies.push(started.elapsed());
            self.body_bytes += body.len() as u64;
            sent += f64::from(*samples);
            progress.sent.fetch_add(u64::from(*samples), Ordering::Relaxed);
            if !(200..300).contains(&response.status) {
                progress.errors.fetch_add(1, Ordering::Relaxed);
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
struct Bodies {
    protocol: Protocol,
    samples_max: u32,
    body: Body,
    samples: u32,
    done: Vec<(Vec<u8>, u32)>,
}

impl Bodies {
    fn new(plan: &Plan) -> Self {
        let (protocol, samples_max) = (plan.protocol, plan.samples_per_request);
        Self { protocol, samples_max, body: protocol.body(), samples: 0, done: Vec::new() }
    }

    fn push(&mut self, labels: &[u8], samples: &[(i64, f64)]) {
        self.body.push(labels, samples);
        self.samples += u32::try_from(samples.len()).unwrap_or(u32::MAX);
        if self.samples >= self.samples_max {
            self.end_body();
        }
    }

    fn end_body(&mut self) {
        let body = std::mem::replace(&mut self.body, self.protocol.body());
        self.done.push((body.finish(), self.samples));
        self.samples = 0;
    }

    fn finish(mut self) -> Vec<(Vec<u8>, u32)> {
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
    let window_s = i64::from(plan.size.rounds + 2) * INTERVAL_MS / 1_000;
    // Cheap first; by target then, so that no single query holds everything.
    let alive_s = if plan.size.is_replaced { window_s } else { 60 };
    let series = format!("count(last_over_time({{cluster=\"bench\"}}[{alive_s}s]))");
    let series = scalar(plan, &series)?;
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
    let mut latencies = Latencies::default();
    lanes.iter().for_each(|lane| latencies.extend(&lane.latencies));
    let alive = targets * TARGET_SERIES;
    let series = if plan.size.is_replaced { 2 * alive } else { alive };
    let samples = u64::from(alive) * u64::from(plan.size.rounds);
    let body_bytes: u64 = lanes.iter().map(|lane| lane.body_bytes).sum();
    let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
    let grown = after.anonymous_bytes.saturating_sub(before.anonymous_bytes);
    let measured = |figure: f64| plan.pid.map(|_| figure);
    json!({
        "protocol": format!("{:?}", plan.protocol),
        "samples_per_series_and_request": plan.size.samples_per_series,
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
        "request_ms": latencies.summary(),
        "anonymous_bytes": measured(after.anonymous_bytes as f64),
        "anonymous_bytes_peak": measured(peak.anonymous_bytes as f64),
        "anonymous_bytes_per_series": measured(grown as f64 / f64::from(series)),
        "series_counted": counts.series,
        "samples_counted": counts.samples,
        "complete": counts.series.as_f64() == Some(f64::from(series))
            && counts.samples.as_f64() == Some(samples as f64),
    })
}
