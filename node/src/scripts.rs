//! `cumae test`: runs scripts of queries and expected answers, and tells what differs.
//!
//! Not here: how a script is read, run and judged (the crate `promqltest`).

use crate::told::{Colour, Style, caret};
use promql::{ParseOptions, Span};
use promqltest::{Case, Command, EngineSubject, Failure, Outcome, Script, parse_script};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// More than a dashboard asks for; a script that asks for more is told so.
const SAMPLES_MAX: u64 = 50_000_000;

/// Why the scripts do not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What failed has been printed.
    #[error("{failed} of {cases} cases failed, and {unread} files could not be read")]
    Failed { failed: usize, cases: usize, unread: usize },
    /// A script without a case tests nothing.
    #[error("there is no case in these files")]
    Nothing,
}

/// Runs the scripts one after the other, each from an empty storage.
pub(crate) fn run(files: &[PathBuf]) -> Result<(), Error> {
    let style = Style::of_stdout();
    let (mut cases, mut failed, mut unread) = (0, 0, 0);
    for path in files {
        match read(path) {
            Ok(script) => {
                let report = one(path, &script, style);
                cases += report.0;
                failed += report.1;
            }
            Err(told) => {
                unread += 1;
                crate::print(&told);
            }
        }
    }
    match (cases, failed, unread) {
        (0, _, 0) => Err(Error::Nothing),
        (_, 0, 0) => Ok(()),
        _ => Err(Error::Failed { failed, cases, unread }),
    }
}

fn read(path: &Path) -> Result<Script, String> {
    let named = |error: io::Error| format!("{}: {error}\n", path.display());
    let text = fs::read_to_string(path).map_err(named)?;
    parse_script(&text).map_err(|error| {
        let line = text.lines().nth(error.line.saturating_sub(1)).unwrap_or_default();
        let (column, under) = match error.column {
            Some(column) => {
                let at = u32::try_from(column - 1).unwrap_or(u32::MAX);
                (format!(":{column}"), caret(line, Span::new(at, at)))
            }
            None => (String::new(), format!("  {line}\n")),
        };
        format!("{}:{}{column}: {}\n{under}", path.display(), error.line, error.reason)
    })
}

/// How many cases the script has, and how many of them failed.
fn one(path: &Path, script: &Script, style: Style) -> (usize, usize) {
    let mut subject = EngineSubject::upstream();
    subject.params.limits.samples_max = SAMPLES_MAX;
    let report = promqltest::run(script, &mut subject);
    let of_line = |line: usize| {
        script.commands.iter().find_map(|command| match command {
            Command::Eval(case) if case.line == line => Some(&**case),
            _ => None,
        })
    };
    for (line, outcome) in &report.cases {
        if let Outcome::Failed(failure) = outcome {
            let query = of_line(*line);
            crate::print(&told(path, *line, query, failure, style));
        }
    }
    let (cases, passed) = (report.cases.len(), report.passed());
    let counts = match cases - passed {
        0 => style.paint(Colour::Good, &format!("{passed} passed")),
        failed => style.paint(Colour::Bad, &format!("{passed} passed, {failed} failed")),
    };
    crate::print(&format!("{}: {counts}\n", path.display()));
    (cases, cases - passed)
}

/// A failure: where it stands, the query, what was expected and what came.
fn told(path: &Path, line: usize, case: Option<&Case>, failure: &Failure, style: Style) -> String {
    let query = case.map_or("", |case| &case.query);
    let mut out = format!("{}:{line}: {}\n", path.display(), style.paint(Colour::Bad, "failed"));
    match promql::parse(query, ParseOptions::ALL) {
        Err(error) => out.push_str(&caret(query, error.span)),
        Ok(_) => out.push_str(&format!("  {query}\n")),
    }
    if !failure.about.is_empty() {
        out.push_str(&format!("  {}\n", failure.about));
    }
    for (what, text) in [("expected", &failure.expected), ("got", &failure.got)] {
        for (index, line) in text.lines().enumerate() {
            let head = if index == 0 { format!("{what}:") } else { String::new() };
            out.push_str(&format!("  {head:<10}{line}\n"));
        }
    }
    out
}
