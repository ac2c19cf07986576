//! `cumae promql`: queries as text, without a server.
//!
//! Not here: the rules of `lint` (`promql::lint`), the form of the tree (`querier::tree`).

use crate::cli::{PromqlCommand, QueryText};
use crate::told::{Colour, Style, caret, parse_error};
use promql::{Expr, ParseOptions, line_column};
use std::io::{self, Read};

/// Why a text is not printed otherwise.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The query was not given and stdin gives none.
    #[error("failed to read a query from stdin: {0}")]
    Stdin(io::Error),
    /// Not a query; with its caret.
    #[error("{0}")]
    Parse(String),
    /// Too long when it is laid out.
    #[error(transparent)]
    Pretty(#[from] promql::pretty::PrettyTooLong),
    /// There are findings, which have been printed.
    #[error("{0} findings")]
    Findings(usize),
}

/// Runs the command.
pub(crate) fn run(command: &PromqlCommand) -> Result<(), Error> {
    match command {
        PromqlCommand::Fmt(text) => {
            let (_, expr) = read(text)?;
            crate::print(&format!("{}\n", promql::pretty(&expr)?));
            Ok(())
        }
        PromqlCommand::Parse(text) => {
            let (_, expr) = read(text)?;
            let tree = querier::tree(&expr);
            let laid_out = serde_json::from_slice::<serde_json::Value>(&tree);
            let laid_out = laid_out.map_or_else(
                |_| String::from_utf8_lossy(&tree).into_owned(),
                |tree| format!("{tree:#}"),
            );
            crate::print(&format!("{laid_out}\n"));
            Ok(())
        }
        PromqlCommand::Lint(text) => {
            let (text, expr) = read(text)?;
            lint(&text, &expr)
        }
    }
}

/// The query, with every feature of the language that can be switched on.
fn read(from: &QueryText) -> Result<(String, Expr), Error> {
    let text = match from.query.as_deref() {
        Some(query) if query != "-" => query.to_owned(),
        _ => {
            let mut text = String::new();
            // One byte more than the parser takes, so that it says that it is too long.
            let bound = promql::LENGTH_MAX as u64 + 2;
            io::stdin().take(bound).read_to_string(&mut text).map_err(Error::Stdin)?;
            text.trim_end_matches('\n').to_owned()
        }
    };
    let parsed = promql::parse(&text, ParseOptions::ALL);
    let expr = parsed.map_err(|error| Error::Parse(parse_error(&text, &error)))?;
    Ok((text, expr))
}

fn lint(text: &str, expr: &Expr) -> Result<(), Error> {
    let style = Style::of_stdout();
    let findings = promql::lint::lint(expr);
    for finding in &findings {
        let place = line_column(text, finding.span.start);
        let rule = style.paint(Colour::Warn, finding.rule);
        let told = format!("{place}: {rule}: {}\n", finding.message);
        crate::print(&format!("{told}{}", caret(text, finding.span)));
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(Error::Findings(count)),
    }
}
