//! Asks a server for what it has of a run, over one connection after the other.

use super::judge::{Found, series_of_labels};
use super::ledger::Run;
use super::{Error, METRIC};
use crate::http::{self, Connection};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Who is asked.
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
        let query = format!("{}[{}ms]", selector(run, batch), end_ms - start_ms);
        let mut found = Found::new();
        for one in &self.query(&query, end_ms)? {
            let series = found.entry(series_of_labels(run, &one["metric"])).or_default();
            series.extend(one["values"].as_array().into_iter().flatten().filter_map(sample));
        }
        Ok(found)
    }

    /// The newest value of each series of a batch at a time, and how often a series came.
    pub(super) fn newest(&mut self, run: Run, batch: u32, at_ms: i64) -> Result<Found, Error> {
        let mut found = Found::new();
        for one in &self.query(&selector(run, batch), at_ms)? {
            let series = found.entry(series_of_labels(run, &one["metric"])).or_default();
            series.extend(sample(&one["value"]));
        }
        Ok(found)
    }

    /// How many samples each series of a batch has, later than `start_ms` and up to `end_ms`.
    pub(super) fn counts(
        &mut self,
        run: Run,
        batch: u32,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<BTreeMap<String, u64>, Error> {
        let of = selector(run, batch);
        let query = format!("sum by (series) (count_over_time({of}[{}ms]))", end_ms - start_ms);
        let result = self.query(&query, end_ms)?;
        let count = |one: &Value| one["value"][1].as_str()?.parse().ok();
        let row = |one: &Value| {
            (
                one["metric"]["series"].as_str().unwrap_or_default().to_owned(),
                count(one).unwrap_or(0),
            )
        };
        Ok(result.iter().map(row).collect())
    }

    /// The series of a batch that there are in a time, as often as they are told.
    pub(super) fn series(
        &mut self,
        run: Run,
        batch: u32,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<u32>, Error> {
        let (of, start, end) = (selector(run, batch), seconds(start_ms), seconds(end_ms));
        let form = http::form(&[("match[]", &of), ("start", &start), ("end", &end)]);
        let path = format!("{}/api/v1/series?{form}", self.prefix);
        let all = self.data(&path, |data| data.as_array().cloned())?;
        Ok(all.iter().map(|labels| series_of_labels(run, labels)).collect())
    }

    fn query(&mut self, query: &str, at_ms: i64) -> Result<Vec<Value>, Error> {
        let form = http::form(&[("query", query), ("time", &seconds(at_ms))]);
        let path = format!("{}/api/v1/query?{form}", self.prefix);
        self.data(&path, |data| data["result"].as_array().cloned())
    }

    /// The part of an answer that `pick` finds in its data. An answer without it is a refusal.
    fn data(
        &mut self,
        path: &str,
        pick: impl FnOnce(&Value) -> Option<Vec<Value>>,
    ) -> Result<Vec<Value>, Error> {
        let answer = self.get(path)?;
        let refused = || {
            let text = String::from_utf8_lossy(&answer.1).trim().to_owned();
            Error::Refused { target: self.target, status: answer.0, text }
        };
        let json: Value = serde_json::from_slice(&answer.1).map_err(|_| refused())?;
        if !(200..300).contains(&answer.0) {
            return Err(refused());
        }
        pick(&json["data"]).ok_or_else(refused)
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

fn selector(run: Run, batch: u32) -> String {
    let of = format!("run=\"{}\",batch=\"{batch}\"}}", run.run);
    match run.metrics {
        0 | 1 => format!("{METRIC}_0{{{of}"),
        _ => format!("{{__name__=~\"{METRIC}_.*\",{of}"),
    }
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000))
}

/// `[seconds, "value"]`.
fn sample(row: &Value) -> Option<(i64, f64)> {
    #[expect(clippy::cast_possible_truncation, reason = "a time of ours in milliseconds")]
    let timestamp_ms = (row[0].as_f64()? * 1_000.0).round() as i64;
    Some((timestamp_ms, row[1].as_str()?.parse().ok()?))
}
