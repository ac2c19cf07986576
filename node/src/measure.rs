//! `cumae bench`: measures a server, ours or another, from outside.
//!
//! Not here: what is sent, asked and counted (crate `bench`).

mod report;

use crate::cli::load::{
    BenchCommand, BenchRead, BenchVerify, BenchWrite, VerifyWatch, VerifyWrite,
};
use bench::workload::Size;
use bench::{process, read, verify, write};
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the bar moves.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Load could not be sent, or asked.
    #[error(transparent)]
    Load(#[from] write::Error),
    /// A proof could not be made.
    #[error(transparent)]
    Verify(#[from] verify::Error),
    /// The server counts something else than was sent: no figure of it means anything.
    #[error("the server does not count what was sent")]
    Incomplete,
    /// The server has not what it acknowledged.
    #[error("the server does not have what it acknowledged, or has more than was sent")]
    Broken,
}

/// Does it, and prints the report.
pub(crate) fn run(command: &BenchCommand) -> Result<(), Error> {
    match command {
        BenchCommand::Write(flags) => {
            let report = write_workload(flags)?;
            crate::print(&text(&report, flags.json, report::write));
            // `null` is a server that cannot count.
            match report["complete"].as_bool() {
                Some(false) => Err(Error::Incomplete),
                _ => Ok(()),
            }
        }
        BenchCommand::Read(flags) => {
            let report = read_queries(flags)?;
            crate::print(&text(&report, flags.json, report::read));
            Ok(())
        }
        BenchCommand::Verify(BenchVerify::Write(flags)) => {
            let report = verify::write(&verify_plan(flags))?;
            crate::print(&text(&report, flags.json, report::verify));
            Ok(())
        }
        BenchCommand::Verify(BenchVerify::Read(flags)) => {
            let report = verify::read(flags.target, &flags.prefix, &flags.ledger)?;
            crate::print(&text(&report, flags.json, report::verify));
            if report["holds"] == true { Ok(()) } else { Err(Error::Broken) }
        }
        BenchCommand::Verify(BenchVerify::Watch(flags)) => {
            let report = verify::watch(&watch_plan(flags))?;
            crate::print(&text(&report, flags.json, report::verify));
            if report["holds"] == true { Ok(()) } else { Err(Error::Broken) }
        }
    }
}

fn text(report: &Value, is_json: bool, for_people: impl Fn(&Value) -> String) -> String {
    if is_json { format!("{report:#}\n") } else { for_people(report) }
}

fn write_workload(flags: &BenchWrite) -> Result<Value, write::Error> {
    let size = flags.workload.workload().size();
    let protocol = flags.protocol.protocol();
    let plan = write::Plan {
        target: flags.target,
        path: flags.path.clone().unwrap_or_else(|| protocol.path().to_owned()),
        protocol,
        size: Size {
            series: flags.series.unwrap_or(size.series),
            rounds: flags.rounds.unwrap_or(size.rounds),
            connections: flags.connections.unwrap_or(size.connections),
            samples_per_series: flags.samples_per_series.unwrap_or(size.samples_per_series),
            ..size
        },
        samples_per_request: flags.samples_per_request.max(1),
        rate: flags.rate,
        end_ms: flags.end_ms.unwrap_or_else(process::wall_ms),
        pid: flags.pid,
        settle: Duration::from_secs(flags.settle.into()),
    };
    let (progress, is_over) = (write::Progress::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        if std::io::stderr().is_terminal() {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = write!(std::io::stderr(), "\r{}", report::bar(&progress));
                    process::settle(BAR_EVERY);
                }
                let _ = write!(std::io::stderr(), "\r{:80}\r", "");
            });
        }
        let report = write::run(&plan, &progress);
        is_over.store(true, Ordering::Relaxed);
        report
    })
}

fn read_queries(flags: &BenchRead) -> Result<Value, write::Error> {
    let queries = match flags.query.is_empty() {
        true => read::QUERIES.iter().map(|query| (*query).to_owned()).collect(),
        false => flags.query.clone(),
    };
    read::run(&read::Plan {
        target: flags.target,
        prefix: flags.prefix.clone(),
        queries,
        range_s: flags.range,
        step_s: flags.step,
        end_ms: flags.end_ms.unwrap_or_else(process::wall_ms),
        parameters: flags.parameter.clone(),
        connections: flags.connections,
        span: Duration::from_secs(flags.seconds.into()),
        pid: flags.pid,
    })
}

fn verify_plan(flags: &VerifyWrite) -> verify::WritePlan {
    verify::WritePlan {
        targets: flags.target.clone(),
        path: flags.path.clone(),
        ledger: flags.ledger.clone(),
        series: flags.series,
        batch_series: flags.batch,
        metrics: flags.metrics,
        connections: flags.connections,
        span: Duration::from_secs(flags.seconds.into()),
        interval: Duration::from_millis(flags.interval.into()),
        shift_ms: flags.shift,
    }
}

fn watch_plan(flags: &VerifyWatch) -> verify::WatchPlan {
    verify::WatchPlan {
        targets: flags.target.clone(),
        prefix: flags.prefix.clone(),
        ledger: flags.ledger.clone(),
        log: flags.log.clone(),
        span: Duration::from_secs(flags.seconds.into()),
        interval: Duration::from_millis(flags.interval.into()),
        past: Duration::from_secs(flags.past.into()),
    }
}
