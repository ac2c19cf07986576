//! Reads what was written lately, all the while that it is written: no answer may be short.
//!
//! What was acknowledged before a question was asked has to be in its answer, and what is in it has to be in
//! the ledger once the answer is there. What one answer had, whoever gave it, all later ones have to have,
//! unless an attempt at it has failed. An error is no answer.
//!
//! # Invariants
//! - Each process is asked by a thread of its own, so that one that hangs keeps nobody from being asked, and each
//!   of them is asked for each batch in turn.

use super::asked::Asked;
use super::judge::{Faults, Found, Times, judge, judge_parts};
use super::ledger::{Outcome, Run, Tail};
use super::{Error, is_stale, value_of};
use crate::process;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What to watch.
#[derive(Clone, Debug)]
pub struct WatchPlan {
    /// Who is asked, all at once.
    pub targets: Vec<SocketAddr>,
    /// What is before `/api/v1`.
    pub prefix: String,
    /// The ledger of who writes; it need not be there yet.
    pub ledger: PathBuf,
    /// A line for each question: when it ended and how long it took, both in milliseconds, the status (0 is
    /// no answer), how much was wrong so far by who was asked, and who that is. A new file.
    pub log: Option<PathBuf>,
    /// How long to go on.
    pub span: Duration,
    /// The least time between two questions to one process.
    pub interval: Duration,
    /// How much of the past is asked for.
    pub past: Duration,
}

/// Asks until the time is over. `holds` in the report: each process answered for each batch, and all answers
/// were right.
///
/// # Errors
/// [`Error::Ledger`], [`Error::BadLine`], [`Error::NoTarget`].
pub fn watch(plan: &WatchPlan) -> Result<Value, Error> {
    let failed = |path: &PathBuf, source| Error::Ledger { path: path.clone(), source };
    let log = plan.log.as_ref().map(|path| {
        File::options().append(true).create_new(true).open(path).map_err(|why| failed(path, why))
    });
    let log = log.transpose()?;
    if plan.targets.is_empty() {
        return Err(Error::NoTarget);
    }
    let (end, seen) = (process::now() + plan.span, Seen::default());
    let watched: Result<Vec<Watched<'_>>, Error> = std::thread::scope(|scope| {
        let ask = |target: &SocketAddr| {
            let watched = Watched::new(plan, *target, &seen, log.as_ref());
            scope.spawn(move || watched.until(end))
        };
        let threads: Vec<_> = plan.targets.iter().map(ask).collect();
        let died = || failed(&plan.ledger, std::io::Error::other("a thread died"));
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|watched| watched.unwrap_or_else(|_| Err(died()))).collect()
    });
    Ok(report(watched?))
}

fn report(watched: Vec<Watched<'_>>) -> Value {
    let sum = |of: fn(&Watched<'_>) -> u64| watched.iter().map(of).sum::<u64>();
    let (answers, samples) = (sum(|one| one.answers()), sum(|one| one.samples));
    let (refused, halves) = (sum(|one| one.refused), sum(|one| one.halves));
    let least = watched.iter().map(|one| one.least()).min().unwrap_or(0);
    let first_error = watched.iter().find_map(|one| one.first_error.clone());
    let mut faults = Faults::default();
    watched.into_iter().for_each(|one| faults.add(one.faults));
    let mut report = faults.report();
    report["answers"] = json!(answers);
    report["least_answers_of_one_for_a_batch"] = json!(least);
    report["samples_found"] = json!(samples);
    report["questions_refused"] = json!(refused);
    report["requests_seen_in_part"] = json!(halves);
    report["first_error"] = json!(first_error);
    report["holds"] = json!(faults.count() == 0 && least > 0);
    report
}

/// Times of each batch, by series, that were seen before they were acknowledged.
#[derive(Debug, Default)]
struct Seen {
    // A leaf.
    batches: Mutex<BTreeMap<u32, BTreeSet<(i64, u32)>>>,
}

impl Seen {
    /// What later answers about a batch have to have, from a time on.
    fn of(&self, batch: u32, start_ms: i64) -> BTreeSet<(i64, u32)> {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(all) = batches.get_mut(&batch) else { return BTreeSet::new() };
        // Who asks for more of the past than this asked before.
        all.retain(|(at, _)| *at > start_ms);
        all.clone()
    }

    /// Some were seen, others are not expected any more.
    fn note(&self, batch: u32, seen: BTreeSet<(i64, u32)>, over: &BTreeSet<(i64, u32)>) {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let all = batches.entry(batch).or_default();
        all.extend(seen);
        all.retain(|one| !over.contains(one));
    }
}

/// What one process was asked.
#[derive(Debug)]
struct Watched<'a> {
    plan: &'a WatchPlan,
    asked: Asked,
    seen: &'a Seen,
    log: Option<&'a File>,
    run: Run,
    /// Answers for each batch.
    answered: BTreeMap<u32, u64>,
    samples: u64,
    refused: u64,
    first_error: Option<String>,
    /// How often a request that was under way was seen in part.
    halves: u64,
    faults: Faults,
}

impl<'a> Watched<'a> {
    fn new(plan: &'a WatchPlan, target: SocketAddr, seen: &'a Seen, log: Option<&'a File>) -> Self {
        Self {
            plan,
            asked: Asked::new(target, &plan.prefix),
            seen,
            log,
            run: Run::default(),
            answered: BTreeMap::new(),
            samples: 0,
            refused: 0,
            first_error: None,
            halves: 0,
            faults: Faults::default(),
        }
    }

    fn answers(&self) -> u64 {
        self.answered.values().sum()
    }

    /// How often it answered for the batch for which it answered least.
    fn least(&self) -> u64 {
        let of = |batch| self.answered.get(&batch).copied().unwrap_or(0);
        (0..self.run.batches).map(of).min().unwrap_or(0)
    }

    fn until(mut self, end: Instant) -> Result<Self, Error> {
        let mut tail = wait_for(self.plan, end)?;
        for turn in 0_u32.. {
            let began = process::now();
            if began >= end {
                break;
            }
            tail.follow()?;
            self.run = tail.ledger.run;
            if let Some(status) = self.ask(turn % self.run.batches.max(1), &mut tail)? {
                self.line(began, status)?;
            }
            process::settle(self.plan.interval.saturating_sub(began.elapsed()));
        }
        Ok(self)
    }

    fn line(&self, began: Instant, status: u16) -> Result<(), Error> {
        let Some(mut log) = self.log else { return Ok(()) };
        let (at, took, to) = (process::wall_ms(), began.elapsed().as_millis(), self.asked.target);
        let line = format!("{at} {took} {status} {} {to}\n", self.faults.count());
        let path = self.plan.log.as_ref().unwrap_or(&self.plan.ledger).clone();
        log.write_all(line.as_bytes()).map_err(|source| Error::Ledger { path, source })
    }

    /// Asks for a batch; the status, if there was something to ask for.
    fn ask(&mut self, batch: u32, tail: &mut Tail) -> Result<Option<u16>, Error> {
        let times = tail.ledger.batches.get(&batch);
        let Some(end_ms) = times.and_then(|times| times.keys().next_back().copied()) else {
            return Ok(None);
        };
        let past_ms = i64::try_from(self.plan.past.as_millis()).unwrap_or(i64::MAX / 4);
        let start_ms = end_ms - past_ms;
        let of = |tail: &Tail| -> Times {
            let times = tail.ledger.batches.get(&batch);
            let times = times.map(|times| times.range(start_ms + 1..=end_ms));
            times.into_iter().flatten().map(|(at, is)| (*at, *is)).collect()
        };
        let (before, seen) = (of(tail), self.seen.of(batch, start_ms));
        let found = match self.asked.samples(self.run, batch, start_ms, end_ms) {
            Ok(found) => found,
            Err(error) => {
                let status = if let Error::Refused { status, .. } = &error { *status } else { 0 };
                self.first_error.get_or_insert_with(|| error.to_string());
                self.refused += 1;
                return Ok(Some(status));
            }
        };
        tail.follow()?;
        let after = of(tail);
        self.judge(batch, (&before, &after), &found, &seen);
        *self.answered.entry(batch).or_default() += 1;
        Ok(Some(200))
    }

    /// Judges an answer about a batch: what had come of its times before it was asked for and when the answer was
    /// there, and what had been seen before.
    fn judge(
        &mut self,
        batch: u32,
        (before, after): (&Times, &Times),
        found: &Found,
        seen: &BTreeSet<(i64, u32)>,
    ) {
        // What was acknowledged meanwhile may be in the answer, or not.
        let owed = |at: &i64| before.get(at).is_some_and(|is| is.is_promised());
        let due = |(at, now): (&i64, &Outcome)| {
            let is = if owed(at) { Outcome::Acknowledged } else { (*now).min(Outcome::Sent) };
            (*at, is)
        };
        let times: Times = after.iter().map(due).collect();
        judge(self.run, batch, &times, found, &mut self.faults);
        // A request that is being written may be half there: that is counted, and judged when all is written.
        let mut parts = Faults::default();
        judge_parts(self.run, batch, &times, found, &mut parts);
        self.halves += parts.torn;
        self.samples += found.values().map(|all| all.len() as u64).sum::<u64>();
        let rows = found.iter().flat_map(|(series, all)| all.iter().map(|of| (of.0, *series)));
        let now: BTreeSet<(i64, u32)> = rows.collect();
        let mut over = BTreeSet::new();
        for one in seen.difference(&now).filter(|(at, _)| after.contains_key(at) && !owed(at)) {
            over.insert(*one);
            if after.get(&one.0).is_some_and(|is| is.has_failed()) {
                self.faults.gone += 1;
            } else {
                self.faults.flicker += 1;
                self.faults.name("seen and gone", one.1, one.0);
            }
        }
        over.extend(seen.iter().filter(|(at, _)| owed(at)));
        let fresh = |(at, series): &(i64, u32)| {
            !owed(at) && !is_stale(value_of(self.run.run, *series, *at))
        };
        self.seen.note(batch, now.into_iter().filter(fresh).collect(), &over);
    }
}

/// The ledger, once it is there.
fn wait_for(plan: &WatchPlan, end: Instant) -> Result<Tail, Error> {
    loop {
        match Tail::open(&plan.ledger) {
            Err(Error::Ledger { .. }) if process::now() < end => process::settle(plan.interval),
            opened => return opened,
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
