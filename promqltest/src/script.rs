//! Reads scripts: `load`, `clear`, `eval`.

use crate::case::{Case, Expectation, Expected, Mode, Text};
use crate::{custom_buckets, starts};
use model::sample::{HistogramSample, Sample};
use model::{LabelSet, SeriesColumns};
use promql::{Point, SeriesDescription, parse_series};
use std::collections::BTreeMap;

/// A script.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// What it does, in order.
    pub commands: Vec<Command>,
}

/// One step of a script.
#[derive(Clone, Debug)]
pub enum Command {
    /// Forget everything.
    Clear,
    /// Store series.
    Load {
        /// The series.
        series: Vec<SeriesColumns>,
    },
    /// Ask a query.
    Eval(Box<Case>),
}

/// A script that cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ScriptError {
    /// From 1.
    pub line: usize,
    /// The byte in the line, from 1, if it is one place that is wrong.
    pub column: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

struct Reader<'s> {
    /// Each with the bytes of blanks that stand before it.
    lines: Vec<(&'s str, usize)>,
    /// The next line's index.
    next: usize,
}

/// Reads a script.
///
/// # Errors
/// [`ScriptError`] at the first line that cannot be read.
pub fn parse_script(text: &str) -> Result<Script, ScriptError> {
    // A comment ends a body, as a blank line does.
    let trimmed = text.lines().map(|line| (line.trim(), line.len() - line.trim_start().len()));
    let is_comment = |line: &str| line.starts_with('#');
    let lines = trimmed.map(|line| if is_comment(line.0) { ("", 0) } else { line }).collect();
    let mut reader = Reader { lines, next: 0 };
    let mut script = Script::default();
    while let Some(line) = reader.take() {
        let number = reader.next;
        let command = match line.split_whitespace().next() {
            None => continue,
            Some("clear") => Command::Clear,
            Some(word) if word.starts_with("load") => reader.load(line)?,
            Some(word) if word.starts_with("eval") => {
                Command::Eval(Box::new(reader.eval(line, number)?))
            }
            Some(word) => return Err(reader.fault(format!("unknown command {word}"))),
        };
        script.commands.push(command);
    }
    Ok(script)
}

impl<'s> Reader<'s> {
    fn take(&mut self) -> Option<&'s str> {
        let line = self.lines.get(self.next).map(|line| line.0);
        self.next += 1;
        line
    }

    /// The next line of a body; a blank line ends it.
    fn take_body(&mut self) -> Option<&'s str> {
        let line = self.lines.get(self.next).map(|line| line.0).filter(|line| !line.is_empty())?;
        self.next += 1;
        Some(line)
    }

    fn fault(&self, reason: impl Into<String>) -> ScriptError {
        ScriptError { line: self.next, column: None, reason: reason.into() }
    }

    /// A series that was read from the beginning of the last line.
    fn bad_series(&self, error: promql::ParseError) -> ScriptError {
        let indent = self.lines.get(self.next.saturating_sub(1)).map_or(0, |line| line.1);
        let column = error.position.map(|position| indent + position.column);
        ScriptError { line: self.next, column, reason: error.message }
    }

    fn load(&mut self, line: &str) -> Result<Command, ScriptError> {
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or_default();
        let step_ms = words.next().and_then(duration_ms);
        let step_ms = step_ms.ok_or_else(|| self.fault("load without a step"))?;
        let mut series = BTreeMap::new();
        let mut starts: Option<(LabelSet, Vec<Option<i64>>)> = None;
        while let Some(line) = self.take_body() {
            let read = |text: &str| parse_series(text).map_err(|error| self.bad_series(error));
            if let Some((metric, offsets)) = start_timestamps(line) {
                let offsets = starts::offsets(offsets).map_err(|reason| self.fault(reason))?;
                starts = Some((read(&format!("{metric} _"))?.labels, offsets));
                continue;
            }
            let description = read(line)?;
            let offsets = match starts.take() {
                Some((labels, offsets)) if labels == description.labels => offsets,
                Some(_) => return Err(self.fault("start timestamps of another series")),
                None => Vec::new(),
            };
            let columns = columns(&description, step_ms, &offsets);
            let columns = columns.map_err(|reason| self.fault(reason))?;
            // The last line of a series counts.
            series.insert(description.labels, columns);
        }
        let mut series: Vec<SeriesColumns> = series.into_values().collect();
        if command == "load_with_nhcb" {
            let custom = custom_buckets::convert(&series).map_err(|reason| self.fault(reason))?;
            series.extend(custom);
        }
        Ok(Command::Load { series })
    }

    fn eval(&mut self, line: &str, number: usize) -> Result<Case, ScriptError> {
        let mut words = Words(line);
        let command = words.take();
        let (mode, query) = match words.take() {
            "instant" => {
                let at = if words.0.starts_with("at ") { words.after("at") } else { "0" };
                let at = self.duration(at)?;
                (Mode::Instant(at), words.0)
            }
            "range" => {
                let (from, to) = (words.after("from"), words.after("to"));
                let step = words.after("step");
                let mode =
                    Mode::Range(self.duration(from)?, self.duration(to)?, self.duration(step)?);
                (mode, words.0)
            }
            word => return Err(self.fault(format!("unknown kind of eval: {word}"))),
        };
        let mut case = Case {
            line: number,
            query: query.to_string(),
            mode,
            is_ordered: command == "eval_ordered",
            expected: Expected::Series(Vec::new()),
            expectations: Vec::new(),
        };
        match command {
            "eval_fail" => case.expectations.push(Expectation::Fail(None)),
            "eval_warn" => case.expectations.push(Expectation::Warn(None)),
            "eval_info" => case.expectations.push(Expectation::Info(None)),
            _ => {}
        }
        self.body(&mut case)?;
        Ok(case)
    }

    fn duration(&self, text: &str) -> Result<i64, ScriptError> {
        duration_ms(text).ok_or_else(|| self.fault(format!("not a duration: {text}")))
    }

    fn body(&mut self, case: &mut Case) -> Result<(), ScriptError> {
        let mut range: Option<(i64, i64)> = None;
        let mut series = Vec::new();
        while let Some(line) = self.take_body() {
            if let Some(text) = line.strip_prefix("expected_fail_message") {
                let text = Text::Exactly(text.trim().into());
                case.expectations.push(Expectation::Fail(Some(text)));
                break;
            }
            if let Some(text) = line.strip_prefix("expected_fail_regexp") {
                let text = Text::Pattern(text.trim().into());
                case.expectations.push(Expectation::Fail(Some(text)));
                break;
            }
            if let Some(times) = line.strip_prefix("expect range vector ") {
                let mut words = Words(times);
                let (from, to) = (words.after("from"), words.after("to"));
                let step = words.after("step");
                range = Some((self.duration(from)?, self.duration(step)?));
                case.mode = Mode::Instant(self.duration(to)?);
                continue;
            }
            if let Some(text) = line.strip_prefix("expect string ") {
                case.expected = Expected::Text(self.literal(text)?);
                return Ok(());
            }
            if line.split_whitespace().next() == Some("expect") {
                self.expect(case, line)?;
                continue;
            }
            if let Some(value) = number(line) {
                case.expected = Expected::Scalar(value);
                return Ok(());
            }
            series.push(parse_series(line).map_err(|error| self.bad_series(error))?);
        }
        case.expected = match range {
            Some((from, step)) => Expected::RangeVector(from, step, series),
            None => Expected::Series(series),
        };
        Ok(())
    }

    fn literal(&self, text: &str) -> Result<String, ScriptError> {
        match promql::parse(text, promql::ParseOptions::ALL) {
            Ok(promql::Expr::String(literal)) => Ok(literal.text().into_owned()),
            _ => Err(self.fault("not a string literal")),
        }
    }

    fn expect(&self, case: &mut Case, line: &str) -> Result<(), ScriptError> {
        let mut words = Words(line);
        words.take();
        let what = words.take();
        let text = match words.0.split_once(':') {
            Some(("msg", text)) => Some(Text::Exactly(text.trim().into())),
            Some(("regex", text)) => Some(Text::Pattern(text.trim().into())),
            _ => None,
        };
        case.expectations.push(match what {
            "fail" => Expectation::Fail(text),
            "warn" => Expectation::Warn(text),
            "info" => Expectation::Info(text),
            "no_warn" => Expectation::NoWarn,
            "no_info" => Expectation::NoInfo,
            "ordered" => {
                case.is_ordered = true;
                return Ok(());
            }
            other => return Err(self.fault(format!("unknown expectation {other}"))),
        });
        Ok(())
    }
}

/// A line, word by word.
struct Words<'w>(&'w str);

impl<'w> Words<'w> {
    fn take(&mut self) -> &'w str {
        let end = self.0.find(char::is_whitespace).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest.trim_start();
        word
    }

    /// The word after the keyword, if the keyword is next.
    fn after(&mut self, keyword: &str) -> &'w str {
        if self.take() == keyword { self.take() } else { "" }
    }
}

/// `name{labels}@st …`: the metric and the starts of the series that follows.
fn start_timestamps(line: &str) -> Option<(&str, &str)> {
    let after = line.rfind('}').map_or(0, |at| at + 1);
    let word = line[after..].split_whitespace().next()?;
    let metric = word.strip_suffix("@st")?;
    let end = after + metric.len();
    Some((&line[..end], &line[end + "@st".len()..]))
}

/// A bare number, as Go reads it.
fn number(text: &str) -> Option<f64> {
    match text {
        "Inf" | "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => match promql::parse(text, promql::ParseOptions::ALL) {
            Ok(promql::Expr::Number(number)) => Some(number.value),
            _ => None,
        },
    }
}

/// `1h30m`, `-5s`, `0`, `90` (seconds) in milliseconds.
fn duration_ms(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    match promql::parse(digits, promql::ParseOptions::ALL).ok()? {
        promql::Expr::Number(number) => {
            #[expect(clippy::cast_possible_truncation, reason = "times of scripts are small")]
            let ms = (number.value * 1000.0).round() as i64;
            Some(sign * ms)
        }
        _ => None,
    }
}

/// More points than a script has.
pub(crate) const POINTS_MAX: usize = 1_000_000;

/// The samples of a description at `0`, `step_ms`, … with their starts, relative to each of them.
fn columns(
    description: &SeriesDescription,
    step_ms: i64,
    starts: &[Option<i64>],
) -> Result<SeriesColumns, String> {
    let labels = description.labels.clone();
    let mut columns = SeriesColumns { labels, ..SeriesColumns::default() };
    let points = description.points(POINTS_MAX).map_err(|error| error.to_string())?;
    if !starts.is_empty() && starts.len() != points.len() {
        return Err(format!("{} starts of {} points", starts.len(), points.len()));
    }
    let mut timestamp_ms = 0;
    for (index, point) in points.into_iter().enumerate() {
        let start = starts.get(index).copied().flatten();
        let start_timestamp_ms = start.map_or(0, |offset| timestamp_ms + offset);
        match point {
            Point::Gap => {}
            Point::Float(value) => columns.floats.push_sample(&Sample {
                timestamp_ms,
                value,
                start_timestamp_ms,
                revision: 0,
            }),
            Point::Histogram(histogram, _) => columns.histograms.push_sample(HistogramSample {
                timestamp_ms,
                histogram: (*histogram).into(),
                start_timestamp_ms,
                revision: 0,
            }),
        }
        timestamp_ms += step_ms;
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_line_by_line() {
        let text = "load 5m\n  a{b=\"c\"} 0+1x2 _ stale\n\n# comment\neval instant at 10m a\n  expect no_warn\n  a{b=\"c\"} 2\n\nclear";
        let script = parse_script(text).unwrap();
        let [Command::Load { series }, Command::Eval(case), Command::Clear] = &script.commands[..]
        else {
            panic!("{script:?}")
        };
        assert_eq!(series[0].floats.timestamps_ms, [0, 300_000, 600_000, 1_200_000]);
        assert_eq!((case.line, case.mode), (5, Mode::Instant(600_000)));
        assert_eq!(case.expectations, [Expectation::NoWarn]);
    }

    #[test]
    fn a_script_that_cannot_be_read_is_told_by_line_and_column() {
        let error = parse_script("load 5m\n  a 1 2\n   b{c=d} 1\n").unwrap_err();
        assert_eq!((error.line, error.column), (3, Some(8)), "{error}");
        let error = parse_script("load 5m\n  a 1\n\nlode 5m").unwrap_err();
        assert_eq!((error.line, error.column), (4, None), "{error}");
        assert_eq!(error.to_string(), "line 4: unknown command lode");
    }
}
