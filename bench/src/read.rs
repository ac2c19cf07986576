//! Asks a server queries and measures how long they take.
//!
//! # Invariants
//! - Each connection goes through all queries in order, from a place of its own, and waits for each
//!   answer; what it began before the end counts.
//! - An answer that is no success is an error of its query, never a latency.

use crate::http::{self, Connection};
use crate::latency::Latencies;
use crate::process::{self, Usage};
use crate::write::Error;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the server's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What dashboards over the workloads ask.
pub const QUERIES: [&str; 6] = [
    "count({cluster=\"bench\"})",
    "node_hwmon_temp_celsius{instance=\"ip-10-0-1-17.internal:9100\",sensor=\"temp450\"}",
    "rate(node_cpu_seconds_total{instance=\"ip-10-0-1-17.internal:9100\"}[5m])",
    "sum by (job) (rate(node_cpu_seconds_total[5m]))",
    "topk(10, sum by (instance) (rate(http_requests_total[5m])))",
    "histogram_quantile(0.99, sum by (le, job) (rate(http_request_duration_seconds_bucket[5m])))",
];

/// What to ask, and of whom.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the server serves HTTP.
    pub target: SocketAddr,
    /// What is before `/api/v1`: empty, or as `/prometheus`.
    pub prefix: String,
    /// The queries, in PromQL.
    pub queries: Vec<String>,
    /// How long a range they are asked for, in seconds; 0 is one moment.
    pub range_s: u32,
    /// The step of the range in seconds.
    pub step_s: u32,
    /// The end of the range, or the moment, in milliseconds since 1970.
    pub end_ms: i64,
    /// Parameters of each request besides.
    pub parameters: Vec<(String, String)>,
    /// Connections.
    pub connections: u32,
    /// How long to go on.
    pub span: Duration,
    /// The server's process.
    pub pid: Option<u32>,
}

/// What was seen of one query.
#[derive(Clone, Debug, Default)]
struct Seen {
    latencies: Latencies,
    bytes: u64,
    errors: u64,
    first_error: Option<String>,
}

/// Asks until the time is over, and reports.
///
/// # Errors
/// [`Error::Io`] without a connection, [`Error::NoProcess`]; what the server refuses is part of the
/// report.
pub fn run(plan: &Plan) -> Result<Value, Error> {
    let measure = || match plan.pid {
        None => Ok(Usage::default()),
        Some(pid) => process::usage(pid).ok_or(Error::NoProcess { pid }),
    };
    let (before, began) = (measure()?, process::now());
    let (end, is_over) = (began + plan.span, AtomicBool::new(false));
    let (seen, peak) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = before.anonymous_bytes;
            while !is_over.load(Ordering::Relaxed) {
                peak = peak.max(measure().map_or(0, |usage| usage.anonymous_bytes));
                process::settle(LOOK_EVERY);
            }
            peak
        });
        let lane = |number| scope.spawn(move || ask(plan, number, end));
        let lanes: Vec<_> = (0..plan.connections.max(1)).map(lane).collect();
        let seen: Vec<_> = lanes.into_iter().map(joined).collect();
        is_over.store(true, Ordering::Relaxed);
        (seen.into_iter().collect::<Result<Vec<_>, _>>(), joined(watch))
    });
    let (seen, took, after) = (seen?, began.elapsed(), measure()?);
    Ok(report(plan, &seen, took, [before, after], peak))
}

/// What a thread of ours returned; its panic goes on here.
fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Asks over one connection until the end; for each query what was seen.
fn ask(plan: &Plan, lane: u32, end: Instant) -> Result<Vec<Seen>, Error> {
    let lost = |source| Error::Io { target: plan.target, source };
    let mut connection = Connection::open(plan.target).map_err(lost)?;
    let mut seen = vec![Seen::default(); plan.queries.len()];
    let paths: Vec<String> = plan.queries.iter().map(|query| path(plan, query)).collect();
    let places = (0..plan.queries.len()).cycle().skip(lane as usize);
    for place in places {
        let began = process::now();
        if began >= end {
            break;
        }
        let answer = connection.send("GET", &paths[place], &[], b"").map_err(lost)?;
        let seen = &mut seen[place];
        if (200..300).contains(&answer.status) {
            seen.latencies.push(began.elapsed());
            seen.bytes += answer.body.len() as u64;
        } else {
            seen.errors += 1;
            seen.first_error
                .get_or_insert_with(|| format!("{} {}", answer.status, answer.text().trim()));
        }
    }
    Ok(seen)
}

fn path(plan: &Plan, query: &str) -> String {
    let seconds = |ms: i64| format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000));
    let mut pairs = vec![("query", query.to_owned())];
    let call = if plan.range_s == 0 {
        pairs.push(("time", seconds(plan.end_ms)));
        "query"
    } else {
        pairs.push(("start", seconds(plan.end_ms - i64::from(plan.range_s) * 1_000)));
        pairs.push(("end", seconds(plan.end_ms)));
        pairs.push(("step", plan.step_s.max(1).to_string()));
        "query_range"
    };
    pairs.extend(plan.parameters.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let pairs: Vec<(&str, &str)> =
        pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    format!("{}/api/v1/{call}?{}", plan.prefix, http::form(&pairs))
}

#[expect(clippy::cast_precision_loss, reason = "figures are for people; 53 bits are plenty")]
fn report(
    plan: &Plan,
    lanes: &[Vec<Seen>],
    took: Duration,
    [before, after]: [Usage; 2],
    peak: u64,
) -> Value {
    let mut all = Seen::default();
    let mut queries = Vec::new();
    for (place, query) in plan.queries.iter().enumerate() {
        let mut of = Seen::default();
        for seen in lanes.iter().filter_map(|lane| lane.get(place)) {
            of.add(seen);
        }
        queries.push(json!({
            "query": query,
            "answers": of.latencies.len(),
            "errors": of.errors,
            "first_error": of.first_error,
            "answer_bytes": (of.latencies.len() > 0).then(|| of.bytes / of.latencies.len() as u64),
            "request_ms": of.latencies.summary(),
        }));
        all.add(&of);
    }
    let measured = |figure: f64| plan.pid.map(|_| figure);
    let answers = all.latencies.len() as f64;
    let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
    json!({
        "connections": lanes.len(),
        "range_seconds": plan.range_s,
        "step_seconds": plan.step_s,
        "end_ms": plan.end_ms,
        "seconds": took.as_secs_f64(),
        "answers": all.latencies.len(),
        "errors": all.errors,
        "answers_per_second": answers / took.as_secs_f64(),
        "server_cpu_seconds": measured(cpu_seconds),
        "server_cpu_ms_per_answer": measured(cpu_seconds * 1_000.0 / answers),
        "anonymous_bytes": measured(after.anonymous_bytes as f64),
        "anonymous_bytes_peak": measured(peak.max(after.anonymous_bytes) as f64),
        "request_ms": all.latencies.summary(),
        "queries": queries,
    })
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.latencies.extend(&other.latencies);
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
    }
}
