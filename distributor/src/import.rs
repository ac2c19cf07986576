//! Imports: bodies of any length, read line by line and written batch by batch.
//!
//! # Invariants
//! - What is held is a line, a batch, and what is made of them, however long the body is.
//! - A line that cannot be read is left out, counted and named; the others are written.
//! - The answer comes when everything before it is durable.
//!
//! Not here: what lines look like (`wire::import`), where they come from (`lines.rs`), how batches
//! are written (`writer.rs`), HTTP (`routes/import.rs`).

pub(crate) mod lines;
pub(crate) mod writer;

use crate::error::Error;
use crate::metadata;
use crate::pool::Reservation;
use lines::Lines;
use model::mutation::MetricMetadata;
use std::time::Duration;
use wire::import::line_protocol::{Points, Precision};
use wire::import::{BadLine, Row, exposition, json_lines, line_protocol};
use wire::remote_write::MetadataView;
use writer::Writer;

/// How often memory is asked for before an import is given up, and how long it waits in between.
const MEMORY_TRIES: u32 = 200;
const MEMORY_WAIT_MS: u64 = 50;

/// What lines look like.
#[derive(Clone, Debug)]
pub(crate) enum Format {
    /// Prometheus' text. A sample without a time is of this one.
    Exposition { default_ms: i64 },
    /// One JSON object a line.
    JsonLines,
    /// InfluxDB's. A line without a time is of this one; the label `db` is this, if any.
    LineProtocol { precision: Precision, default_ms: i64, db: String },
}

/// An import under way.
pub(crate) struct Import {
    pub(crate) format: Format,
    pub(crate) lines: Lines,
    pub(crate) writer: Writer,
}

/// What lines could not be read.
#[derive(Debug, Default)]
struct BadLines {
    count: u64,
    first: Option<String>,
}

impl Import {
    /// Reads to the end. `Some` tells what was left out while the rest is durable.
    ///
    /// # Errors
    /// [`Error::Import`] if it ended early: what it says is written, and repeating it all is safe.
    pub(crate) async fn run(mut self) -> Result<Option<String>, Error> {
        let mut bad = BadLines::default();
        if let Err(error) = self.read_all(&mut bad).await {
            // What was read before a body turned bad is good. If it cannot be written either, the
            // first line that is open says so.
            if is_of_the_body(&error) {
                let _ = self.writer.flush().await;
            }
            let (line, open_line) = (self.lines.number(), self.writer.open_line());
            return Err(Error::Import { line, open_line, error: Box::new(error) });
        }
        let bad = bad.first.map(|first| {
            let lines = if bad.count == 1 { "line" } else { "lines" };
            format!("{} {lines} could not be read: {first}", bad.count)
        });
        let refused = self.writer.refusals().message();
        let parts: Vec<String> = bad.into_iter().chain(refused).collect();
        Ok((!parts.is_empty()).then(|| parts.join("; ")))
    }

    async fn read_all(&mut self, bad: &mut BadLines) -> Result<(), Error> {
        let mut family = None;
        let bounds = self.writer.line_bounds();
        while let Some(range) = self.lines.next().await? {
            let (number, line) = (self.lines.number(), self.lines.get(range));
            self.writer.begin_line(number, line.len()).await?;
            let read = match &self.format {
                Format::Exposition { default_ms } => {
                    match exposition::parse(line, *default_ms, bounds) {
                        Ok(line) => take_exposition(&mut self.writer, line, &mut family).await,
                        Err(bad) => Ok(Err(bad)),
                    }
                }
                Format::JsonLines => match line.trim_ascii() {
                    b"" => continue,
                    line => match json_lines::parse(line, bounds) {
                        Ok(row) => self.writer.row(&row).await.map(Ok),
                        Err(bad) => Ok(Err(bad)),
                    },
                },
                Format::LineProtocol { precision, default_ms, db } => {
                    match line_protocol::parse(line, *precision, *default_ms, bounds) {
                        Ok(Some(points)) => take_points(&mut self.writer, &points, db).await,
                        Ok(None) => continue,
                        Err(bad) => Ok(Err(bad)),
                    }
                }
            };
            if let Err(BadLine(why)) = read? {
                bad.count += 1;
                bad.first.get_or_insert_with(|| format!("line {number}: {why}"));
            }
        }
        self.writer.describe(family).await?;
        self.writer.flush().await
    }
}

/// Takes a line of Prometheus' text. Type and meaning of a metric stand in lines of their own, one
/// behind the other.
async fn take_exposition(
    writer: &mut Writer,
    line: exposition::Line<'_>,
    family: &mut Option<MetricMetadata>,
) -> Result<Result<(), BadLine>, Error> {
    let name = match &line {
        exposition::Line::Nothing => return Ok(Ok(())),
        exposition::Line::Sample(row) => return writer.row(row).await.map(Ok),
        exposition::Line::Type(name, _) | exposition::Line::Help(name, _) => &**name,
    };
    if family.as_ref().is_none_or(|known| *known.metric != *name) {
        let next = writer.metadata(&MetadataView { metric: name.as_bytes(), ..Default::default() });
        writer.describe(std::mem::replace(family, next)).await?;
    }
    if let Some(family) = family {
        match line {
            exposition::Line::Type(_, metric_type) => family.metric_type = metric_type,
            exposition::Line::Help(_, text) => family.help = metadata::help(text.as_bytes()),
            _ => {}
        }
    }
    Ok(Ok(()))
}

/// Takes a line of InfluxDB's.
async fn take_points(
    writer: &mut Writer,
    points: &Points<'_>,
    db: &str,
) -> Result<Result<(), BadLine>, Error> {
    // Each field has all of the tags: a line can be many times as long written out.
    if !writer.may_write_out(points.labels_bytes()) {
        return Ok(Err("its tags are too long for so many fields".into()));
    }
    let own = points.tags.iter().any(|(name, _)| name == "db");
    let db = (!db.is_empty() && !own).then_some(("db", db));
    for (field, value) in &points.fields {
        let name = points.name(field);
        let labels = || points.labels(&name).chain(db);
        writer.samples(labels, &[(points.timestamp_ms, *value)]).await?;
    }
    Ok(Ok(()))
}

/// Whether an error is of the body, and not of writing.
fn is_of_the_body(error: &Error) -> bool {
    matches!(
        error,
        Error::LongLine { .. }
            | Error::Gzip(_)
            | Error::BodyRead { .. }
            | Error::BodyTimeout { .. }
    )
}

impl Writer {
    async fn row(&mut self, row: &Row<'_>) -> Result<(), Error> {
        self.samples(|| row.labels.iter().map(|(name, value)| (&**name, &**value)), &row.samples)
            .await
    }
}

/// Raises a reservation, and waits for a while if there is no memory now.
async fn raise(reservation: &mut Reservation, bytes: u64) -> Result<(), Error> {
    for _ in 1..MEMORY_TRIES {
        match reservation.raise_to(bytes) {
            Err(Error::Overloaded { .. } | Error::TenantOverloaded { .. }) => {
                wait(MEMORY_WAIT_MS).await
            }
            outcome => return outcome,
        }
    }
    reservation.raise_to(bytes)
}

async fn wait(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
