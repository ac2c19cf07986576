//! Reads scripts: `load`, `clear`, `eval`.

use super::case::{Case, Expectation, Expected, Mode, Text};
use model::{Column, SeriesColumns};
use promql::series_desc::SeriesItem;
use promql::{SeriesDescription, parse_series};
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
        /// Float samples.
        series: Vec<SeriesColumns>,
        /// Whether native histograms belong to it too; they are not in `series`.
        has_histograms: bool,
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
    /// What is wrong.
    pub reason: String,
}

struct Reader<'s> {
    lines: Vec<&'s str>,
    /// The next line's index.
    next: usize,
}

/// Reads a script.
///
/// # Errors
/// [`ScriptError`] at the first line that cannot be read.
pub fn parse_script(text: &str) -> Result<Script, ScriptError> {
    // A comment ends a body, as a blank line does.
    let trimmed = text.lines().map(str::trim);
    let lines = trimmed.map(|line| if line.starts_with('#') { "" } else { line }).collect();
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
        let line = self.lines.get(self.next).copied();
        self.next += 1;
        line
    }

    /// The next line of a body; a blank line ends it.
    fn take_body(&mut self) -> Option<&'s str> {
        let line = self.lines.get(self.next).copied().filter(|line| !line.is_empty())?;
        self.next += 1;
        Some(line)
    }

    fn fault(&self, reason: impl Into<String>) -> ScriptError {
        ScriptError { line: self.next, reason: reason.into() }
    }

    fn load(&mut self, line: &str) -> Result<Command, ScriptError> {
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or_default();
        let step_ms = words.next().and_then(duration_ms);
        let step_ms = step_ms.ok_or_else(|| self.fault("load without a step"))?;
        let mut has_histograms = command == "load_with_nhcb";
        let mut series = BTreeMap::new();
        while let Some(line) = self.take_body() {
            if is_start_timestamps(line) {
                continue;
            }
            let description = parse_series(line).map_err(|error| self.fault(error.to_string()))?;
            let (column, has) = expand(&description, step_ms);
            has_histograms |= has;
            // The last line of a series counts.
            series.insert(description.labels, column);
        }
        let series = series
            .into_iter()
            .map(|(labels, floats)| SeriesColumns { labels, floats, ..SeriesColumns::default() })
            .collect();
        Ok(Command::Load { series, has_histograms })
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
            series.push(parse_series(line).map_err(|error| self.fault(error.to_string()))?);
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

/// `name{labels}@st …`: start timestamps of the series that follows; not stored yet.
fn is_start_timestamps(line: &str) -> bool {
    let after = line.rfind('}').map_or(line, |at| &line[at + 1..]);
    after.split_whitespace().next().is_some_and(|word| word.ends_with("@st"))
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

/// The samples of a description at `0`, `step_ms`, … and whether histograms were left out.
fn expand(description: &SeriesDescription, step_ms: i64) -> (Column, bool) {
    let mut column = Column::default();
    let (mut time, mut has_histograms) = (0, false);
    for item in &description.items {
        match item {
            SeriesItem::Gaps(count) => time += step_ms * i64::try_from(*count).unwrap_or(0),
            SeriesItem::Floats { .. } => {
                for value in values_of(item) {
                    column.push(time, value);
                    time += step_ms;
                }
            }
            SeriesItem::Histograms { count, .. } => {
                has_histograms = true;
                time += step_ms * i64::try_from(*count).unwrap_or(0);
            }
        }
    }
    (column, has_histograms)
}

/// The values of an item: added up one by one, as upstream does.
pub(super) fn values_of(item: &SeriesItem) -> Vec<f64> {
    let SeriesItem::Floats { first, step, count } = item else { return Vec::new() };
    let mut value = *first;
    let mut values = Vec::new();
    for _ in 0..*count {
        values.push(value);
        // Adding would make an ordinary NaN of the stale marker.
        if !model::sample::is_stale(value) {
            value += step;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_line_by_line() {
        let text = "load 5m\n  a{b=\"c\"} 0+1x2 _ stale\n\n# comment\neval instant at 10m a\n  expect no_warn\n  a{b=\"c\"} 2\n\nclear";
        let script = parse_script(text).unwrap();
        let [Command::Load { series, has_histograms: false }, Command::Eval(case), Command::Clear] =
            &script.commands[..]
        else {
            panic!("{script:?}")
        };
        assert_eq!(series[0].floats.timestamps_ms, [0, 300_000, 600_000, 1_200_000]);
        assert_eq!((case.line, case.mode), (5, Mode::Instant(600_000)));
        assert_eq!(case.expectations, [Expectation::NoWarn]);
    }
}
