//! Proves that a server keeps what it acknowledged: writes samples that describe themselves, notes
//! each acknowledgement in a ledger, and later reads everything back.
//!
//! # Invariants
//! - The value of a sample follows from its series and time, so a wrong one is known by itself.
//! - A time is in the ledger before it is sent, and its acknowledgement before the next is sent. So
//!   what is found was sent, and what is missing was acknowledged or not, whoever was killed.
//! - Every acknowledged sample must be found once, nothing that was not sent, and nothing twice.

use crate::http::{self, Connection};
use crate::process;
use crate::remote_write::{self, HEADERS, Series};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The metric of all samples.
const METRIC: &str = "cumae_verify";

/// Series that are written and read together.
const BATCH_SERIES: u32 = 100;

/// How long to wait after a request that was not answered.
const PAUSE: Duration = Duration::from_millis(200);

/// So many faults are named.
const NAMED_MAX: usize = 10;

/// No single question asks for more than this span.
const QUESTION_MS: i64 = 600_000;

/// What to write.
#[derive(Clone, Debug)]
pub struct WritePlan {
    /// Where the server serves HTTP.
    pub target: SocketAddr,
    /// The path that takes remote write 1.0.
    pub path: String,
    /// Where acknowledgements are noted; it must not exist.
    pub ledger: PathBuf,
    /// Series, rounded up to whole batches.
    pub series: u32,
    /// How long to go on.
    pub span: Duration,
    /// The least time between two samples of a series.
    pub interval: Duration,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// The ledger cannot be written or read.
    #[error("{path}: {source}")]
    Ledger { path: PathBuf, source: io::Error },
    /// A line of the ledger makes no sense.
    #[error("{path}:{line}: not a line of a ledger of ours")]
    BadLine { path: PathBuf, line: usize },
    /// The server does not answer.
    #[error("{target}: {source}")]
    Io { target: SocketAddr, source: io::Error },
    /// The server answers no.
    #[error("{target} answers {status}: {text}")]
    Refused { target: SocketAddr, status: u16, text: String },
}

/// The value of a series of a run at a time: 52 bits that no other has but by chance.
fn value_of(run: u64, series: u32, timestamp_ms: i64) -> f64 {
    let mut mixed = run ^ (u64::from(series) << 44) ^ timestamp_ms.cast_unsigned();
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(factor);
    }
    #[expect(clippy::cast_precision_loss, reason = "52 bits fit")]
    let value = ((mixed ^ (mixed >> 31)) >> 12) as f64;
    value
}

/// Writes until the time is over; a server that does not answer is tried again. The report has the
/// counts of samples sent and acknowledged.
///
/// # Errors
/// [`Error::Ledger`].
pub fn write(plan: &WritePlan) -> Result<Value, Error> {
    let failed = |source| Error::Ledger { path: plan.ledger.clone(), source };
    let mut ledger = File::options().write(true).create_new(true).open(&plan.ledger);
    let ledger =
        ledger.as_mut().map_err(|error| failed(io::Error::new(error.kind(), error.to_string())))?;
    let run = process::wall_ms().cast_unsigned();
    let batches = plan.series.div_ceil(BATCH_SERIES).max(1);
    writeln!(ledger, "run {run} {batches}").map_err(failed)?;
    let (mut sent, mut acknowledged, mut unanswered, mut refused) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut first_error = None;
    let (mut connection, mut last_ms) = (None, 0);
    let end = process::now() + plan.span;
    while process::now() < end {
        let began = process::now();
        for batch in 0..batches {
            // A clock that was set back must not make a time come twice.
            last_ms = process::wall_ms().max(last_ms + 1);
            writeln!(ledger, "try {batch} {last_ms}").map_err(failed)?;
            let body = remote_write::body(&batch_of(run, batch, last_ms));
            sent += u64::from(BATCH_SERIES);
            match send(plan, &mut connection, &body) {
                Ok(None) => {
                    writeln!(ledger, "ok {batch} {last_ms}").map_err(failed)?;
                    acknowledged += u64::from(BATCH_SERIES);
                }
                Ok(Some(text)) => {
                    refused += 1;
                    first_error.get_or_insert(text);
                }
                Err(error) => {
                    connection = None;
                    unanswered += 1;
                    first_error.get_or_insert_with(|| error.to_string());
                    process::settle(PAUSE);
                }
            }
            if process::now() >= end {
                break;
            }
        }
        process::settle(plan.interval.saturating_sub(began.elapsed()));
    }
    Ok(json!({
        "run": run.to_string(),
        "series": batches * BATCH_SERIES,
        "samples_sent": sent,
        "samples_acknowledged": acknowledged,
        "requests_unanswered": unanswered,
        "requests_refused": refused,
        "first_error": first_error,
    }))
}

/// One sample of each series of a batch.
fn batch_of(run: u64, batch: u32, timestamp_ms: i64) -> Vec<Series> {
    let (run_text, batch_text) = (run.to_string(), batch.to_string());
    let one = |series: u32| {
        let labels =
            [("run", &*run_text), ("batch", &*batch_text), ("series", &*series.to_string())];
        Series::new(METRIC, &labels, &[(timestamp_ms, value_of(run, series, timestamp_ms))])
    };
    (batch * BATCH_SERIES..(batch + 1) * BATCH_SERIES).map(one).collect()
}

/// Sends a body: `None` if it was acknowledged, else what was said.
fn send(
    plan: &WritePlan,
    connection: &mut Option<Connection>,
    body: &[u8],
) -> io::Result<Option<String>> {
    let open = match connection.take() {
        Some(open) => open,
        None => Connection::open(plan.target)?,
    };
    let answer = connection.insert(open).send("POST", &plan.path, &HEADERS, body)?;
    let text = || format!("{} {}", answer.status, answer.text().trim());
    Ok((!(200..300).contains(&answer.status)).then(text))
}

/// What a ledger says: of each batch the times that were sent, and whether they were acknowledged.
#[derive(Debug, Default, PartialEq)]
struct Ledger {
    run: u64,
    batches: BTreeMap<u32, BTreeMap<i64, bool>>,
}

impl Ledger {
    fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Ledger { path: path.to_owned(), source };
        let mut ledger = Self::default();
        let text = std::fs::read_to_string(path).map_err(failed)?;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            // The last line of a writer that was killed may be cut: what it says did not happen.
            let Some(line) = line.strip_suffix('\n') else { break };
            let bad = || Error::BadLine { path: path.to_owned(), line: number + 1 };
            ledger.add(line).ok_or_else(bad)?;
        }
        Ok(ledger)
    }

    /// Takes a line; `None` if it is none of ours.
    fn add(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let (kind, first, second) = (words.next()?, words.next()?, words.next()?);
        if kind == "run" {
            self.run = first.parse().ok()?;
            return Some(());
        }
        let is_acknowledged = match kind {
            "try" => false,
            "ok" => true,
            _ => return None,
        };
        let times = self.batches.entry(first.parse().ok()?).or_default();
        *times.entry(second.parse().ok()?).or_default() |= is_acknowledged;
        Some(())
    }
}

/// What was found to be wrong.
#[derive(Debug, Default)]
struct Faults {
    missing: u64,
    wrong: u64,
    unknown: u64,
    twice: u64,
    named: Vec<String>,
}

impl Faults {
    fn name(&mut self, what: &str, series: u32, timestamp_ms: i64) {
        if self.named.len() < NAMED_MAX {
            self.named.push(format!("{what}: series {series} at {timestamp_ms}"));
        }
    }
}

/// Reads back what a ledger says was written, and judges: `holds` in the report says whether every
/// acknowledged sample was found exactly once and nothing else.
///
/// # Errors
/// [`Error`] if the ledger or the server cannot be read.
pub fn read(target: SocketAddr, prefix: &str, ledger: &Path) -> Result<Value, Error> {
    let ledger = Ledger::read(ledger)?;
    let (mut faults, mut acknowledged, mut found) = (Faults::default(), 0_u64, 0_u64);
    for (batch, times) in &ledger.batches {
        let have = samples_of(target, prefix, &ledger, *batch, times)?;
        for series in batch * BATCH_SERIES..(batch + 1) * BATCH_SERIES {
            let none = Vec::new();
            let samples = have.get(&series).unwrap_or(&none);
            found += samples.len() as u64;
            acknowledged += times.values().filter(|is| **is).count() as u64;
            judge(ledger.run, series, times, samples, &mut faults);
        }
    }
    let count = faults.missing + faults.wrong + faults.unknown + faults.twice;
    Ok(json!({
        "run": ledger.run.to_string(),
        "samples_acknowledged": acknowledged,
        "samples_found": found,
        "missing": faults.missing,
        "wrong_value": faults.wrong,
        "never_sent": faults.unknown,
        "twice": faults.twice,
        "first_faults": faults.named,
        "holds": count == 0 && acknowledged > 0,
    }))
}

/// Compares the samples of a series with the ledger.
fn judge(
    run: u64,
    series: u32,
    times: &BTreeMap<i64, bool>,
    samples: &[(i64, f64)],
    faults: &mut Faults,
) {
    let mut seen = BTreeSet::new();
    for (timestamp_ms, value) in samples {
        if !seen.insert(*timestamp_ms) {
            faults.twice += 1;
            faults.name("twice", series, *timestamp_ms);
        } else if !times.contains_key(timestamp_ms) {
            faults.unknown += 1;
            faults.name("never sent", series, *timestamp_ms);
        } else if value.to_bits() != value_of(run, series, *timestamp_ms).to_bits() {
            faults.wrong += 1;
            faults.name("wrong value", series, *timestamp_ms);
        }
    }
    for (timestamp_ms, _) in times.iter().filter(|(_, is_acknowledged)| **is_acknowledged) {
        if !seen.contains(timestamp_ms) {
            faults.missing += 1;
            faults.name("missing", series, *timestamp_ms);
        }
    }
}

/// What the server has of a batch: samples by series, in the order of the answer.
fn samples_of(
    target: SocketAddr,
    prefix: &str,
    ledger: &Ledger,
    batch: u32,
    times: &BTreeMap<i64, bool>,
) -> Result<BTreeMap<u32, Vec<(i64, f64)>>, Error> {
    let mut samples: BTreeMap<u32, Vec<(i64, f64)>> = BTreeMap::new();
    let (Some((first_ms, _)), Some((last_ms, _))) =
        (times.first_key_value(), times.last_key_value())
    else {
        return Ok(samples);
    };
    let mut start_ms = first_ms - 1;
    while start_ms < *last_ms {
        // A range is open on its left and closed on its right.
        let end_ms = (start_ms + QUESTION_MS).min(*last_ms);
        let query = format!(
            "{METRIC}{{run=\"{}\",batch=\"{batch}\"}}[{}ms]",
            ledger.run,
            end_ms - start_ms
        );
        let at = format!("{}.{:03}", end_ms.div_euclid(1_000), end_ms.rem_euclid(1_000));
        let form = http::form(&[("query", &query), ("time", &at)]);
        let answer =
            http::request(target, "GET", &format!("{prefix}/api/v1/query?{form}"), &[], b"")
                .map_err(|source| Error::Io { target, source })?;
        let refused = || {
            let text = answer.text().trim().to_owned();
            Error::Refused { target, status: answer.status, text }
        };
        let json: Value = serde_json::from_slice(&answer.body).map_err(|_| refused())?;
        let result = json["data"]["result"].as_array().ok_or_else(refused)?;
        for one in result {
            let series = one["metric"]["series"].as_str().and_then(|text| text.parse().ok());
            let series = samples.entry(series.unwrap_or(u32::MAX)).or_default();
            series.extend(one["values"].as_array().into_iter().flatten().filter_map(sample));
        }
        start_ms = end_ms;
    }
    Ok(samples)
}

/// `[seconds, "value"]`.
fn sample(row: &Value) -> Option<(i64, f64)> {
    #[expect(clippy::cast_possible_truncation, reason = "a time of ours in milliseconds")]
    let timestamp_ms = (row[0].as_f64()? * 1_000.0).round() as i64;
    Some((timestamp_ms, row[1].as_str()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(lines: &[&str]) -> Ledger {
        let mut ledger = Ledger::default();
        lines.iter().for_each(|line| ledger.add(line).unwrap());
        ledger
    }

    /// The faults of series 5 with these samples: missing, wrong, never sent, twice.
    fn faults(ledger: &Ledger, samples: &[(i64, f64)]) -> [u64; 4] {
        let mut faults = Faults::default();
        judge(ledger.run, 5, &ledger.batches[&0], samples, &mut faults);
        [faults.missing, faults.wrong, faults.unknown, faults.twice]
    }

    #[test]
    fn what_was_acknowledged_is_there_once_and_nothing_else() {
        let ledger = ledger(&["run 7 1", "try 0 10", "ok 0 10", "try 0 20", "try 0 30", "ok 0 30"]);
        let [a, b, c] = [10, 20, 30].map(|at| (at, value_of(7, 5, at)));
        assert_eq!(faults(&ledger, &[a, c]), [0, 0, 0, 0]);
        assert_eq!(faults(&ledger, &[a, b, c]), [0, 0, 0, 0], "nobody knows of the second");
        assert_eq!(faults(&ledger, &[a, b]), [1, 0, 0, 0]);
        assert_eq!(faults(&ledger, &[a, a, c]), [0, 0, 0, 1]);
        assert_eq!(faults(&ledger, &[a, (30, b.1)]), [0, 1, 0, 0]);
        assert_eq!(faults(&ledger, &[a, c, (40, value_of(7, 5, 40))]), [0, 0, 1, 0]);
    }

    #[test]
    fn values_are_told_apart_and_have_a_short_text() {
        let mut values = BTreeSet::new();
        for (series, at) in (0..100).flat_map(|series| (0..100).map(move |at| (series, at))) {
            let value = value_of(1_700_000_000_000, series, 1_700_000_000_000 + at);
            assert!(value.fract() == 0.0 && (0.0..4_503_599_627_370_496.0).contains(&value));
            assert!(values.insert(value.to_bits()));
        }
    }

    #[test]
    fn a_line_that_was_cut_is_no_line() {
        for line in ["", "ok", "ok 1", "maybe 1 2", "ok x 2", "run"] {
            assert_eq!(Ledger::default().add(line), None, "{line}");
        }
    }
}
