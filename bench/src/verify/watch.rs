//! Reads what was written lately, all the while that it is written: no answer may be short.
//!
//! What was acknowledged before a question was asked has to be in its answer, and what is in it has to be in
//! the ledger once the answer is there. An error is no answer.

use super::Error;
use super::judge::{Asked, Faults, Found, judge};
use super::ledger::Tail;
use crate::process;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What to watch.
#[derive(Clone, Debug)]
pub struct WatchPlan {
    /// Who is asked, in turn.
    pub targets: Vec<SocketAddr>,
    /// What is before `/api/v1`.
    pub prefix: String,
    /// The ledger of who writes; it need not be there yet.
    pub ledger: PathBuf,
    /// A line for each question: when it ended and how long it took, both in milliseconds, the status (0 is
    /// no answer), how much was wrong so far, and who was asked. A new file.
    pub log: Option<PathBuf>,
    /// How long to go on.
    pub span: Duration,
    /// The least time between two questions.
    pub interval: Duration,
    /// How much of the past is asked for.
    pub past: Duration,
}

/// Times of a series that nobody had acknowledged and that were seen: they may go again, which is counted.
type Seen = BTreeMap<u32, BTreeSet<i64>>;

/// Asks until the time is over. `holds` in the report: there were answers, and all were right.
///
/// # Errors
/// [`Error::Ledger`], [`Error::BadLine`], [`Error::NoTarget`].
pub fn watch(plan: &WatchPlan) -> Result<Value, Error> {
    let failed = |path: &PathBuf, source| Error::Ledger { path: path.clone(), source };
    let log = plan.log.as_ref().map(|path| {
        File::options().append(true).create_new(true).open(path).map_err(|why| failed(path, why))
    });
    let log = log.transpose()?;
    let mut asked: Vec<Asked> =
        plan.targets.iter().map(|target| Asked::new(*target, &plan.prefix)).collect();
    let targets = asked.len();
    let end = process::now() + plan.span;
    let mut tail = wait_for(plan, end)?;
    let mut watched = Watched::default();
    for turn in 0.. {
        let began = process::now();
        if began >= end {
            break;
        }
        let target = asked.get_mut(turn % targets.max(1)).ok_or(Error::NoTarget)?;
        let to = target.target;
        let status = watched.ask(plan, target, turn, &mut tail)?;
        if let (Some(status), Some(mut log)) = (status, log.as_ref()) {
            let (at, took) = (process::wall_ms(), began.elapsed().as_millis());
            let line = format!("{at} {took} {status} {} {to}\n", watched.faults.count());
            let written = log.write_all(line.as_bytes());
            written.map_err(|why| failed(plan.log.as_ref().unwrap_or(&plan.ledger), why))?;
        }
        process::settle(plan.interval.saturating_sub(began.elapsed()));
    }
    Ok(watched.report())
}

/// The ledger, once it is there.
fn wait_for(plan: &WatchPlan, end: std::time::Instant) -> Result<Tail, Error> {
    loop {
        match Tail::open(&plan.ledger) {
            Err(Error::Ledger { .. }) if process::now() < end => process::settle(plan.interval),
            opened => return opened,
        }
    }
}

#[derive(Debug, Default)]
struct Watched {
    answers: u64,
    samples: u64,
    refused: u64,
    first_error: Option<String>,
    faults: Faults,
    seen: Seen,
}

impl Watched {
    /// Asks for a batch; the status, if there was something to ask for.
    fn ask(
        &mut self,
        plan: &WatchPlan,
        target: &mut Asked,
        turn: usize,
        tail: &mut Tail,
    ) -> Result<Option<u16>, Error> {
        tail.follow()?;
        let run = tail.ledger.run;
        let batch = u32::try_from(turn).unwrap_or(0) % run.batches.max(1);
        let times = tail.ledger.batches.get(&batch);
        let Some(end_ms) = times.and_then(|times| times.keys().next_back().copied()) else {
            return Ok(None);
        };
        let past_ms = i64::try_from(plan.past.as_millis()).unwrap_or(i64::MAX / 4);
        let start_ms = end_ms - past_ms;
        let of = |tail: &Tail| -> BTreeMap<i64, bool> {
            let times = tail.ledger.batches.get(&batch);
            let times = times.map(|times| times.range(start_ms + 1..=end_ms));
            times.into_iter().flatten().map(|(at, is)| (*at, *is)).collect()
        };
        let before = of(tail);
        let found = match target.samples(run, batch, start_ms, end_ms) {
            Ok(found) => found,
            Err(error) => {
                let status = if let Error::Refused { status, .. } = &error { *status } else { 0 };
                self.first_error.get_or_insert_with(|| error.to_string());
                self.refused += 1;
                return Ok(Some(status));
            }
        };
        tail.follow()?;
        // What was acknowledged meanwhile may be in the answer, or not.
        let mut times = of(tail);
        times.iter_mut().for_each(|(at, is)| *is = before.get(at).copied().unwrap_or(false));
        for series in run.series_of(batch) {
            self.judge(run.run, series, &times, &found);
        }
        self.answers += 1;
        Ok(Some(200))
    }

    fn judge(&mut self, run: u64, series: u32, times: &BTreeMap<i64, bool>, found: &Found) {
        let none = Vec::new();
        let samples = found.get(&series).unwrap_or(&none);
        self.samples += samples.len() as u64;
        judge(run, series, times, samples, &mut self.faults);
        let doubtful = |at: &i64| times.get(at) == Some(&false);
        let now: BTreeSet<i64> = samples.iter().map(|(at, _)| *at).filter(doubtful).collect();
        let seen = self.seen.entry(series).or_default();
        let gone = seen.iter().filter(|at| doubtful(at) && !now.contains(at)).count();
        self.faults.gone += gone as u64;
        if now.is_empty() {
            self.seen.remove(&series);
        } else {
            *seen = now;
        }
    }

    fn report(&self) -> Value {
        let mut report = self.faults.report();
        report["answers"] = json!(self.answers);
        report["samples_found"] = json!(self.samples);
        report["questions_refused"] = json!(self.refused);
        report["first_error"] = json!(self.first_error);
        report["holds"] = json!(self.faults.count() == 0 && self.answers > 0);
        report
    }
}

#[cfg(test)]
mod tests {
    use super::super::value_of;
    use super::*;

    #[test]
    fn what_was_seen_and_gone_is_counted_and_no_fault_until_it_is_acknowledged() {
        let times = BTreeMap::from([(10, true), (20, false)]);
        let [a, b] = [10, 20].map(|at| (at, value_of(7, 0, at)));
        let mut watched = Watched::default();
        let mut counts = Vec::new();
        for found in [vec![a], vec![a, b], vec![a], vec![b]] {
            watched.judge(7, 0, &times, &Found::from([(0, found)]));
            counts.push((watched.faults.gone, watched.faults.missing, watched.faults.count()));
        }
        assert_eq!(counts, [(0, 0, 0), (0, 0, 0), (1, 0, 0), (1, 1, 1)]);
    }
}
