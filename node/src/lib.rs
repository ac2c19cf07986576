//! The binary `cumae`: roles, configuration, telemetry, command line.
//!
//! This crate puts the others together and decides nothing about data. The parts that the deciders
//! must not reach for, clock and chance and sockets, come from here.

mod backup;
mod bulk;
mod cassandra;
pub mod cli;
pub mod config;
mod costs;
mod data_dir;
mod files;
mod gates;
mod language;
mod machine;
mod measure;
mod operators;
mod parts;
mod places;
mod query;
mod relabel;
mod roles;
mod routes;
mod scripts;
mod self_metrics;
mod serve;
mod server;
mod telemetry;
mod told;

use clap::Parser;
use cli::{Cli, Command, ConfigCommand, RelabelCommand};
use model::Clock;
use parts::SystemClock;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Runs the program with its command line, the program's own name first.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. If they cannot be printed, nobody reads them.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    // These know no data directory, and need no configuration.
    match &cli.command {
        Some(Command::Bench(command)) => return finish(measure::run(command)),
        Some(Command::Query(flags)) => {
            return finish(query::run(flags, SystemClock::start().now()));
        }
        Some(Command::Promql(command)) => return finish(language::run(command)),
        Some(Command::Test { files }) => return finish(scripts::run(files)),
        _ => {}
    }
    let (config, faults) = cli.flags.load();
    match cli.command {
        Some(Command::Config(ConfigCommand::Print)) if faults.is_empty() => {
            print(&config.print());
            ExitCode::SUCCESS
        }
        Some(Command::Config(ConfigCommand::Check)) if faults.is_empty() => {
            print("the configuration is good\n");
            ExitCode::SUCCESS
        }
        Some(Command::Snapshot(command)) if faults.is_empty() => {
            finish(backup::run(&config, &command))
        }
        Some(Command::Store(command)) if faults.is_empty() => finish(files::run(&config, &command)),
        Some(Command::Cassandra(command)) if faults.is_empty() => {
            finish(cassandra::run(&config, &command))
        }
        Some(Command::Import(command)) if faults.is_empty() => finish(bulk::run(&config, &command)),
        Some(Command::Relabel(RelabelCommand::Test(flags))) if faults.is_empty() => {
            finish(relabel::run(&config, &flags))
        }
        None if faults.is_empty() => finish(serve::serve(&config)),
        _ => {
            let count = faults.len();
            let how_many =
                if count == 1 { "1 fault".to_owned() } else { format!("{count} faults") };
            complain(&format!("cumae: the configuration has {how_many}:"));
            for fault in faults {
                complain(&format!("  {fault}"));
            }
            ExitCode::FAILURE
        }
    }
}

fn finish<E: Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cumae: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// To stdout. A reader that has left is no fault of ours.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A line to stderr, for people: before logs are started, and when the process ends.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
