//! Writes samples that describe themselves, as a sender does that loses none: a request that is not
//! answered, or with 429 or 5xx, is sent again, the same, until it is acknowledged, and the next one of its
//! batch waits for it.

use super::ledger::{Run, Writer};
use super::{Error, METRIC, value_of};
use crate::http::Connection;
use crate::latency::Latencies;
use crate::process;
use crate::remote_write::{self, HEADERS, Series};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long to wait after the first attempt that failed; twice as long after each more.
const PAUSE: Duration = Duration::from_millis(30);
/// And no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What to write.
#[derive(Clone, Debug)]
pub struct WritePlan {
    /// Where the servers serve HTTP. After an attempt that failed the next of them is tried.
    pub targets: Vec<SocketAddr>,
    /// The path that takes remote write 1.0.
    pub path: String,
    /// Where attempts are noted; it must not exist.
    pub ledger: PathBuf,
    /// Series, rounded up to whole batches.
    pub series: u32,
    /// Series in one request.
    pub batch_series: u32,
    /// Metrics that the series are of.
    pub metrics: u32,
    /// Connections, each with batches of its own.
    pub connections: u32,
    /// How long to go on.
    pub span: Duration,
    /// The least time between two samples of a series.
    pub interval: Duration,
    /// What is added to the clock for the samples' times, in milliseconds.
    pub shift_ms: i64,
}

/// Writes until the time is over. The report has the counts of samples sent and acknowledged, and how long
/// acknowledged attempts took.
///
/// # Errors
/// [`Error::Ledger`], [`Error::NoTarget`].
pub fn write(plan: &WritePlan) -> Result<Value, Error> {
    let batch_series = plan.batch_series.max(1);
    let run = Run {
        run: process::wall_ms().cast_unsigned(),
        batches: plan.series.div_ceil(batch_series).max(1),
        batch_series,
        metrics: plan.metrics.max(1),
    };
    let first = *plan.targets.first().ok_or(Error::NoTarget)?;
    let ledger = Writer::create(&plan.ledger, run)?;
    let end = process::now() + plan.span;
    let senders: Result<Vec<Sender<'_>>, Error> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.connections.clamp(1, run.batches))
            .map(|number| {
                let target = plan.targets.get(number as usize % plan.targets.len());
                let target = target.copied().unwrap_or(first);
                let mut sender = Sender::new(plan, run, &ledger, target, end);
                scope.spawn(move || sender.run(number).map(|()| sender))
            })
            .collect();
        let died = |path: &PathBuf| Error::Ledger {
            path: path.clone(),
            source: std::io::Error::other("a thread died"),
        };
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|sender| sender.unwrap_or_else(|_| Err(died(&plan.ledger)))).collect()
    });
    Ok(report(run, &senders?))
}

fn report(run: Run, senders: &[Sender<'_>]) -> Value {
    let sum = |of: fn(&Sender<'_>) -> u64| senders.iter().map(of).sum::<u64>();
    let mut took = Latencies::default();
    let mut refused: BTreeMap<u16, u64> = BTreeMap::new();
    for sender in senders {
        took.extend(&sender.took);
        sender.refused.iter().for_each(|(status, n)| *refused.entry(*status).or_default() += n);
    }
    json!({
        "run": run.run.to_string(),
        "series": u64::from(run.batches) * u64::from(run.batch_series),
        "samples_sent": sum(|sender| sender.sent) * u64::from(run.batch_series),
        "samples_acknowledged": sum(|sender| sender.acknowledged) * u64::from(run.batch_series),
        "requests_unanswered": sum(|sender| sender.unanswered),
        "requests_refused": refused.values().sum::<u64>(),
        "refused_by_status": refused,
        "refused_twice": sum(|sender| sender.again),
        "request_ms": took.summary(),
        "first_error": senders.iter().find_map(|sender| sender.first_error.clone()),
    })
}

/// One connection.
#[derive(Debug)]
struct Sender<'a> {
    plan: &'a WritePlan,
    run: Run,
    ledger: &'a Writer,
    target: SocketAddr,
    end: Instant,
    connection: Option<Connection>,
    sent: u64,
    acknowledged: u64,
    unanswered: u64,
    refused: BTreeMap<u16, u64>,
    /// Requests whose second attempt failed too.
    again: u64,
    took: Latencies,
    first_error: Option<String>,
}

impl<'a> Sender<'a> {
    fn new(
        plan: &'a WritePlan,
        run: Run,
        ledger: &'a Writer,
        target: SocketAddr,
        end: Instant,
    ) -> Self {
        Self {
            plan,
            run,
            ledger,
            target,
            end,
            connection: None,
            sent: 0,
            acknowledged: 0,
            unanswered: 0,
            refused: BTreeMap::new(),
            again: 0,
            took: Latencies::default(),
            first_error: None,
        }
    }

    /// Writes every so-many-th batch, from the one of this number on, until the time is over; each in its part
    /// of the interval.
    fn run(&mut self, number: u32) -> Result<(), Error> {
        let step = self.plan.connections.clamp(1, self.run.batches) as usize;
        let mut last_ms = i64::MIN;
        while process::now() < self.end {
            let began = process::now();
            for batch in (number..self.run.batches).step_by(step) {
                let due =
                    self.plan.interval.mul_f64(f64::from(batch) / f64::from(self.run.batches));
                let rest = self.end.saturating_duration_since(process::now());
                process::settle(due.saturating_sub(began.elapsed()).min(rest));
                if process::now() >= self.end {
                    return Ok(());
                }
                // A clock that was set back must not make a time come twice.
                last_ms = (process::wall_ms() + self.plan.shift_ms).max(last_ms.saturating_add(1));
                self.deliver(batch, last_ms)?;
            }
            let rest = self.end.saturating_duration_since(process::now());
            process::settle(self.plan.interval.saturating_sub(began.elapsed()).min(rest));
        }
        Ok(())
    }

    /// Sends a batch until it is acknowledged, or the time is over.
    fn deliver(&mut self, batch: u32, timestamp_ms: i64) -> Result<(), Error> {
        self.ledger.line(&format!("try {batch} {timestamp_ms}\n"))?;
        self.sent += 1;
        let body = remote_write::body(&series_of(self.run, batch, timestamp_ms));
        let mut pause = PAUSE;
        for attempt in 1_u64.. {
            let began = process::now();
            let status = self.attempt(&body);
            let took = began.elapsed();
            let is_acknowledged = (200..300).contains(&status);
            let word = if is_acknowledged { "ok" } else { "no" };
            let (at, ms) = (process::wall_ms(), took.as_millis());
            self.ledger.line(&format!("{word} {batch} {timestamp_ms} {at} {ms} {status}\n"))?;
            if is_acknowledged {
                self.acknowledged += 1;
                self.took.push(took);
                break;
            }
            match status {
                0 => self.unanswered += 1,
                status => *self.refused.entry(status).or_default() += 1,
            }
            self.again += u64::from(attempt == 2);
            if (400..500).contains(&status) && status != 429 {
                // It will never be taken.
                break;
            }
            self.turn();
            let rest = self.end.saturating_duration_since(process::now());
            if rest.is_zero() {
                break;
            }
            process::settle(pause.min(rest));
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(())
    }

    /// The next attempt goes to the next target.
    fn turn(&mut self) {
        let targets = &self.plan.targets;
        let next = targets.iter().position(|target| *target == self.target).map_or(0, |at| at + 1);
        if targets.len() > 1 {
            self.connection = None;
            self.target = targets.get(next).or(targets.first()).copied().unwrap_or(self.target);
        }
    }

    /// Sends a body; the status, or 0 if there was no answer.
    fn attempt(&mut self, body: &[u8]) -> u16 {
        let open = match self.connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(self.target),
        };
        let answer = open.and_then(|mut open| {
            let answer = open.send("POST", &self.plan.path, &HEADERS, body)?;
            Ok((open, answer))
        });
        match answer {
            Ok((open, answer)) => {
                self.connection = Some(open);
                if !(200..300).contains(&answer.status) {
                    let text = || format!("{} {}", answer.status, answer.text().trim());
                    self.first_error.get_or_insert_with(text);
                }
                answer.status
            }
            Err(error) => {
                self.first_error.get_or_insert_with(|| error.to_string());
                0
            }
        }
    }
}

/// One sample of each series of a batch.
fn series_of(run: Run, batch: u32, timestamp_ms: i64) -> Vec<Series> {
    let (run_text, batch_text) = (run.run.to_string(), batch.to_string());
    let one = |series: u32| {
        let labels =
            [("run", &*run_text), ("batch", &*batch_text), ("series", &*series.to_string())];
        let metric = format!("{METRIC}_{}", series % run.metrics);
        Series::new(&metric, &labels, &[(timestamp_ms, value_of(run.run, series, timestamp_ms))])
    };
    run.series_of(batch).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Ledger;
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write as _};
    use std::net::TcpListener;

    /// Answers each request with the next status, and then with 204 until nobody asks.
    fn server(mut statuses: Vec<u16>) -> (SocketAddr, std::thread::JoinHandle<Vec<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let mut bodies = Vec::new();
            let (stream, _) = listener.accept().unwrap();
            let mut from = BufReader::new(stream);
            loop {
                let (mut line, mut length) = (String::new(), 0);
                while from.read_line(&mut line).unwrap() > 2 {
                    if let Some(text) = line.strip_prefix("Content-Length: ") {
                        length = text.trim().parse().unwrap();
                    }
                    line.clear();
                }
                if line.is_empty() {
                    return bodies;
                }
                let mut body = vec![0; length];
                from.read_exact(&mut body).unwrap();
                bodies.push(body);
                let status = if statuses.is_empty() { 204 } else { statuses.remove(0) };
                let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
                from.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        };
        (address, std::thread::spawn(serve))
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_the_same_until_it_is() {
        let (target, server) = server(vec![503, 500, 204]);
        let ledger = std::env::temp_dir().join(format!("cumae-sender-{}", std::process::id()));
        let plan = WritePlan {
            targets: vec![target],
            path: "/api/v1/write".to_owned(),
            ledger: ledger.clone(),
            series: 3,
            batch_series: 3,
            metrics: 2,
            connections: 4,
            span: Duration::from_millis(500),
            interval: Duration::from_millis(200),
            shift_ms: -1_000_000,
        };
        let report = write(&plan).unwrap();
        let bodies = server.join().unwrap();
        assert_eq!((&bodies[0], &bodies[1]), (&bodies[2], &bodies[2]));
        assert_ne!(bodies[2], bodies[3]);
        assert_eq!((&report["requests_refused"], &report["refused_twice"]), (&json!(2), &json!(1)));
        let ledger_read = Ledger::read(&ledger).unwrap();
        let times = &ledger_read.batches[&0];
        assert_eq!(times.len(), bodies.len() - 2);
        assert!(
            times.values().all(|is| is.is_promised())
                && *times.keys().next_back().unwrap() < process::wall_ms() - 900_000
        );
        std::fs::remove_file(&ledger).unwrap();
    }
}
