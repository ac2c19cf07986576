//! Reads back all that a ledger says was written.

use super::Error;
use super::judge::{Asked, Faults, judge};
use super::ledger::Ledger;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;

/// One question asks for about so many samples at most.
const QUESTION_SAMPLES: usize = 200_000;

/// Reads back what a ledger says was written, and judges: `holds` in the report says whether every
/// acknowledged sample was found exactly once and nothing else.
///
/// # Errors
/// [`Error`] if the ledger or the server cannot be read.
pub fn read(target: SocketAddr, prefix: &str, ledger: &Path) -> Result<Value, Error> {
    let ledger = Ledger::read(ledger)?;
    let mut asked = Asked::new(target, prefix);
    let (mut faults, mut acknowledged, mut found) = (Faults::default(), 0_u64, 0_u64);
    let times_max = QUESTION_SAMPLES.div_ceil(ledger.run.batch_series.max(1) as usize);
    for (batch, times) in &ledger.batches {
        let all: Vec<i64> = times.keys().copied().collect();
        // A range is open on its left and closed on its right.
        let mut start_ms = all.first().map_or(0, |first_ms| first_ms - 1);
        for some in all.chunks(times_max.max(1)) {
            let end_ms = some.last().copied().unwrap_or(start_ms);
            let have = asked.samples(ledger.run, *batch, start_ms, end_ms)?;
            let times = times.range(start_ms + 1..=end_ms).map(|(at, is)| (*at, *is)).collect();
            for series in ledger.run.series_of(*batch) {
                let none = Vec::new();
                let samples = have.get(&series).unwrap_or(&none);
                found += samples.len() as u64;
                judge(ledger.run.run, series, &times, samples, &mut faults);
            }
            let kept = times.values().filter(|is| **is).count() as u64;
            acknowledged += kept * u64::from(ledger.run.batch_series);
            start_ms = end_ms;
        }
    }
    let mut report = faults.report();
    report["run"] = json!(ledger.run.run.to_string());
    report["samples_acknowledged"] = json!(acknowledged);
    report["samples_found"] = json!(found);
    report["holds"] = json!(faults.count() == 0 && acknowledged > 0);
    Ok(report)
}
