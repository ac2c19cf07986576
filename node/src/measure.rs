//! `cumae bench`: measures a server, ours or another, from outside.

use crate::cli::BenchWrite;
use bench::write::{Error, Plan};
use std::time::Duration;

/// Sends the workload and prints the report as JSON.
pub(crate) fn write(flags: &BenchWrite) -> Result<(), Error> {
    let report = bench::write::run(&Plan {
        target: flags.target,
        path: flags.path.clone(),
        series: flags.series,
        rounds: flags.rounds,
        connections: flags.connections,
        samples_per_request: flags.samples_per_request.max(1),
        samples_per_series: flags.samples_per_series,
        end_ms: flags.end_ms.unwrap_or_else(bench::process::wall_ms),
        pid: flags.pid,
        settle: Duration::from_secs(flags.settle.into()),
    })?;
    crate::print(&format!("{report:#}\n"));
    Ok(())
}
