//! What a server has of a batch, and whether that is what the ledger says.

use super::ledger::Run;
use super::{Error, METRIC, value_of};
use crate::http::{self, Connection};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// So many faults are named.
const NAMED_MAX: usize = 10;

/// The samples that were found, by series, in the order of the answer.
pub(super) type Found = BTreeMap<u32, Vec<(i64, f64)>>;

/// What was found to be wrong.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) missing: u64,
    pub(super) wrong: u64,
    pub(super) unknown: u64,
    pub(super) twice: u64,
    /// Nobody had acknowledged it, so it is no fault.
    pub(super) gone: u64,
    named: Vec<String>,
}

impl Faults {
    pub(super) fn count(&self) -> u64 {
        self.missing + self.wrong + self.unknown + self.twice
    }

    pub(super) fn report(&self) -> Value {
        json!({
            "missing": self.missing,
            "wrong_value": self.wrong,
            "never_sent": self.unknown,
            "twice": self.twice,
            "unacknowledged_and_gone": self.gone,
            "first_faults": self.named,
        })
    }

    pub(super) fn name(&mut self, what: &str, series: u32, timestamp_ms: i64) {
        if self.named.len() < NAMED_MAX {
            self.named.push(format!("{what}: series {series} at {timestamp_ms}"));
        }
    }
}

/// Compares the samples of a series with the times of its batch.
pub(super) fn judge(
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

/// Who is asked, over one connection after the other.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) target: SocketAddr,
    prefix: String,
    connection: Option<Connection>,
}

impl Asked {
    pub(super) fn new(target: SocketAddr, prefix: &str) -> Self {
        Self { target, prefix: prefix.to_owned(), connection: None }
    }

    /// What the server has of a batch, later than `start_ms` and up to `end_ms`.
    pub(super) fn samples(
        &mut self,
        run: Run,
        batch: u32,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Found, Error> {
        let of = format!("{{run=\"{}\",batch=\"{batch}\"}}[{}ms]", run.run, end_ms - start_ms);
        let query = match run.metrics {
            0 | 1 => format!("{METRIC}_0{of}"),
            _ => format!("{{__name__=~\"{METRIC}_.*\",{}", of.trim_start_matches('{')),
        };
        let at = format!("{}.{:03}", end_ms.div_euclid(1_000), end_ms.rem_euclid(1_000));
        let form = http::form(&[("query", &query), ("time", &at)]);
        let answer = self.get(&format!("{}/api/v1/query?{form}", self.prefix))?;
        let refused = || {
            let text = String::from_utf8_lossy(&answer.1).trim().to_owned();
            Error::Refused { target: self.target, status: answer.0, text }
        };
        let json: Value = serde_json::from_slice(&answer.1).map_err(|_| refused())?;
        let result = json["data"]["result"].as_array().ok_or_else(refused)?;
        let mut found = Found::new();
        for one in result {
            let series = one["metric"]["series"].as_str().and_then(|text| text.parse().ok());
            let series = found.entry(series.unwrap_or(u32::MAX)).or_default();
            series.extend(one["values"].as_array().into_iter().flatten().filter_map(sample));
        }
        Ok(found)
    }

    fn get(&mut self, path: &str) -> Result<(u16, Vec<u8>), Error> {
        let target = self.target;
        let failed = |source| Error::Io { target, source };
        let mut open = match self.connection.take() {
            Some(open) => open,
            None => Connection::open(target).map_err(failed)?,
        };
        let answer = open.send("GET", path, &[], b"").map_err(failed)?;
        self.connection = Some(open);
        Ok((answer.status, answer.body))
    }
}

/// `[seconds, "value"]`.
fn sample(row: &Value) -> Option<(i64, f64)> {
    #[expect(clippy::cast_possible_truncation, reason = "a time of ours in milliseconds")]
    let timestamp_ms = (row[0].as_f64()? * 1_000.0).round() as i64;
    Some((timestamp_ms, row[1].as_str()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Ledger;
    use super::*;

    /// The faults of series 5 with these samples: missing, wrong, never sent, twice.
    fn faults(ledger: &Ledger, samples: &[(i64, f64)]) -> [u64; 4] {
        let mut faults = Faults::default();
        judge(ledger.run.run, 5, &ledger.batches[&0], samples, &mut faults);
        [faults.missing, faults.wrong, faults.unknown, faults.twice]
    }

    #[test]
    fn what_was_acknowledged_is_there_once_and_nothing_else() {
        let lines = [
            "run 7 1 100 1",
            "try 0 10",
            "ok 0 10 11 1 204",
            "try 0 20",
            "no 0 20 21 1 503",
            "try 0 30",
            "no 0 30 31 1 0",
            "ok 0 30 32 1 204",
        ];
        let mut ledger = Ledger::default();
        lines.iter().for_each(|line| ledger.add(line).unwrap());
        let [a, b, c] = [10, 20, 30].map(|at| (at, value_of(7, 5, at)));
        assert_eq!(faults(&ledger, &[a, c]), [0, 0, 0, 0]);
        assert_eq!(faults(&ledger, &[a, b, c]), [0, 0, 0, 0], "nobody knows of the second");
        assert_eq!(faults(&ledger, &[a, b]), [1, 0, 0, 0]);
        assert_eq!(faults(&ledger, &[a, a, c]), [0, 0, 0, 1]);
        assert_eq!(faults(&ledger, &[a, (30, b.1)]), [0, 1, 0, 0]);
        assert_eq!(faults(&ledger, &[a, c, (40, value_of(7, 5, 40))]), [0, 0, 1, 0]);
    }
}
