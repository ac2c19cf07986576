//! OpenMetrics text: lines of samples with their moments, `# EOF` at the end.
//!
//! A sample without a moment is refused by its line: nobody knows when it was. `_created` lines are
//! samples like others, as in Prometheus. An exemplar without a moment is of its sample's.
//!
//! # Invariants
//! - A line is at most 1 MiB long; a million samples at most are held.

mod line;

use crate::bytes::Bad;
use crate::{Error, Options, Report, Result, Sink};
use line::Line;
use model::mutation::{MetricMetadata, MetricType};
use model::{LabelSet, Sample, Text};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

const LINE_BYTES_MAX: u64 = 1 << 20;
const HELD_SAMPLES_MAX: usize = 1 << 20;

/// Reads a text.
///
/// # Errors
/// [`Error::Line`] with the first line that is not OpenMetrics, unless such are to be left out; a
/// missing `# EOF`, always; or the sink's.
pub fn read(path: &Path, options: Options, sink: &mut dyn Sink) -> Result<Report> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    read_from(path, BufReader::with_capacity(1 << 20, file), options, sink)
}

/// Reads a text from anywhere; `path` is its name in errors.
///
/// # Errors
/// As [`read`].
pub fn read_from(
    path: &Path,
    mut text: impl BufRead,
    options: Options,
    sink: &mut dyn Sink,
) -> Result<Report> {
    let mut reader = Reader { sink, report: Report::default(), held: HashMap::new(), samples: 0 };
    let mut families: HashMap<String, Family> = HashMap::new();
    let (mut number, mut bytes, mut ended) = (0, Vec::new(), false);
    loop {
        bytes.clear();
        let read = (&mut text).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes);
        if read.map_err(Error::io("read", path))? == 0 {
            break;
        }
        number += 1;
        let bad =
            |bad: Bad| Error::Line { path: path.to_owned(), line: number, detail: bad.0.into() };
        if ended {
            return Err(bad(Bad("there is more behind # EOF")));
        }
        if bytes.last() != Some(&b'\n') && bytes.len() as u64 > LINE_BYTES_MAX {
            return Err(bad(Bad("it is longer than 1 MiB")));
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        match std::str::from_utf8(line).map_err(|_| Bad("not UTF-8")).and_then(line::parse) {
            Ok(Line::Eof) => ended = true,
            Ok(Line::Nothing) => {}
            Ok(Line::Type(name, metric_type)) => {
                families.entry(name.into_owned()).or_default().metric_type = metric_type;
            }
            Ok(Line::Help(name, text)) => {
                families.entry(name.into_owned()).or_default().help = text
            }
            Ok(Line::Unit(name, text)) => {
                families.entry(name.into_owned()).or_default().unit = text
            }
            Ok(Line::Sample { labels, sample, exemplar }) => {
                if let Some(exemplar) = exemplar {
                    reader.report.exemplars += 1;
                    reader.sink.exemplar(&labels, exemplar);
                }
                reader.hold(labels, sample)?;
            }
            Err(fault) if options.skip_damaged => {
                reader.report.damaged += 1;
                if reader.report.damage.len() < 100 {
                    reader.report.damage.push(bad(fault));
                }
            }
            Err(fault) => return Err(bad(fault)),
        }
    }
    if !ended {
        let detail = "the text ends without # EOF: it may have been cut off".to_owned();
        return Err(Error::Line { path: path.to_owned(), line: number + 1, detail });
    }
    reader.hand_over()?;
    for (name, family) in families {
        let Family { metric_type, help, unit } = family;
        let (help, unit) = (help.into(), unit.into());
        let metric = Text::from(name);
        reader.sink.metadata(MetricMetadata { metric, metric_type, help, unit });
    }
    Ok(reader.report)
}

#[derive(Debug, Default)]
struct Family {
    metric_type: MetricType,
    help: String,
    unit: String,
}

struct Reader<'a> {
    sink: &'a mut dyn Sink,
    report: Report,
    held: HashMap<LabelSet, Vec<Sample>>,
    samples: usize,
}

impl Reader<'_> {
    fn hold(&mut self, labels: LabelSet, sample: Sample) -> Result<()> {
        self.held.entry(labels).or_default().push(sample);
        self.samples += 1;
        if self.samples >= HELD_SAMPLES_MAX { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<()> {
        // In an order that does not depend on chance: the same text makes the same files.
        let mut held: Vec<_> = std::mem::take(&mut self.held).into_iter().collect();
        held.sort_by(|a, b| a.0.cmp(&b.0));
        for (labels, samples) in held {
            self.report.samples += samples.len() as u64;
            self.sink.samples(&labels, &samples)?;
        }
        self.samples = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
