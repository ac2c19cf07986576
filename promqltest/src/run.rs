//! Runs a script against a storage and an engine.

use crate::answer::{Answer, Data, Sample, Samples};
use crate::case::{Case, Expected, Mode};
use crate::failure::{Failure, float};
use crate::script::{Command, Script};
use crate::{judge, variants};
use model::{LabelSet, SeriesColumns};
use promql::{Cancel, EvalParams, Evaluation, ParseOptions, Query, SeriesSource};

/// A query and when it is asked. A step of 0 is an instant query.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The text.
    pub query: &'a str,
    /// The first step, in milliseconds since 1970.
    pub start_ms: i64,
    /// The last step.
    pub end_ms: i64,
    /// The distance of steps.
    pub step_ms: i64,
}

/// What is tested: something that keeps series and answers queries.
pub trait Subject {
    /// Forgets everything.
    fn clear(&mut self);
    /// Keeps series.
    ///
    /// # Errors
    /// What went wrong.
    fn load(&mut self, series: &[SeriesColumns]) -> Result<(), String>;
    /// Answers a query.
    ///
    /// # Errors
    /// The text of the failure.
    fn ask(&self, ask: Ask<'_>) -> Result<Answer, String>;
}

/// An engine over a source that can be filled.
#[derive(Clone, Debug)]
pub struct EngineSubject {
    /// The series.
    pub source: crate::memory::MemorySource,
    /// Options and limits; the times are those of the query.
    pub params: EvalParams,
    /// Which parts of the language are on.
    pub options: ParseOptions,
}

impl EngineSubject {
    /// As upstream's runner sets its engine up: every option on, 10,000 samples at most.
    #[must_use]
    pub fn upstream() -> Self {
        let mut params = EvalParams::instant(0);
        params.delayed_name_removal = true;
        params.use_start_timestamps = true;
        params.limits.samples_max = 10_000;
        Self { source: Default::default(), params, options: ParseOptions::ALL }
    }

    /// Parses and evaluates.
    ///
    /// # Errors
    /// The text of the failure.
    pub fn evaluate(&self, ask: Ask<'_>) -> Result<Evaluation, String> {
        evaluate(&self.source, ask, &self.params, self.options)
    }
}

impl Subject for EngineSubject {
    fn clear(&mut self) {
        self.source.clear();
    }

    fn load(&mut self, series: &[SeriesColumns]) -> Result<(), String> {
        series.iter().for_each(|series| self.source.add(series));
        Ok(())
    }

    fn ask(&self, ask: Ask<'_>) -> Result<Answer, String> {
        self.evaluate(ask).map(Answer::from)
    }
}

/// Parses and evaluates over a source.
///
/// # Errors
/// The text of the failure.
pub fn evaluate(
    source: &dyn SeriesSource,
    ask: Ask<'_>,
    params: &EvalParams,
    options: ParseOptions,
) -> Result<Evaluation, String> {
    let expr = promql::parse(ask.query, options).map_err(|error| error.to_string())?;
    let query = Query { text: ask.query, expr: &expr };
    let params = EvalParams {
        start_ms: ask.start_ms,
        end_ms: ask.end_ms,
        step_ms: ask.step_ms,
        ..params.clone()
    };
    promql::evaluate(source, query, &params, &Cancel::default()).map_err(|error| error.to_string())
}

/// What became of a case.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// As expected, in all its forms.
    Passed,
    /// Not as expected.
    Failed(Failure),
}

/// What became of a script's cases.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Line and outcome of each case.
    pub cases: Vec<(usize, Outcome)>,
}

impl Report {
    /// How many cases passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.cases.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Passed)).count()
    }
}

/// Runs a script. The storage is empty before and after.
pub fn run(script: &Script, subject: &mut dyn Subject) -> Report {
    subject.clear();
    let mut report = Report::default();
    let mut loaded: Result<(), String> = Ok(());
    for command in &script.commands {
        match command {
            Command::Clear => {
                subject.clear();
                loaded = Ok(());
            }
            Command::Load { series } => loaded = loaded.and_then(|()| subject.load(series)),
            Command::Eval(case) => {
                let judged = match &loaded {
                    Ok(()) => judge_case(case, subject),
                    Err(reason) => Err(Failure::new("a load", String::clone(reason)).about("load")),
                };
                let outcome = match judged {
                    Ok(()) => Outcome::Passed,
                    Err(reason) => Outcome::Failed(reason),
                };
                report.cases.push((case.line, outcome));
            }
        }
    }
    subject.clear();
    report
}

fn judge_case(case: &Case, subject: &dyn Subject) -> Result<(), Failure> {
    match case.mode {
        Mode::Range(start_ms, end_ms, step_ms) => {
            judge_one(case, subject, Ask { query: &case.query, start_ms, end_ms, step_ms })?;
            Ok(())
        }
        Mode::Instant(at_ms) => {
            judge_instant(case, subject, &case.query, at_ms)?;
            let held = variants::held(&case.query, at_ms);
            let Some((query, moments)) = held.map_err(|error| Failure::new("a query", error))?
            else {
                return Ok(());
            };
            for moment in moments {
                judge_instant(case, subject, &query, moment)
                    .map_err(|failure| failure.about(format!("{query} at {moment} ms")))?;
            }
            Ok(())
        }
    }
}

/// Asks and judges; `None` if the query failed as expected.
fn judge_one(case: &Case, subject: &dyn Subject, ask: Ask<'_>) -> Result<Option<Answer>, Failure> {
    let answer = match subject.ask(ask) {
        Err(error) if case.is_failure() => return judge::failure(case, &error).map(|()| None),
        Err(error) => return Err(Failure::new(judge::told(&case.expected), error)),
        Ok(have) if case.is_failure() => {
            return Err(Failure::new("a failure", judge::told_data(&have.data)));
        }
        Ok(answer) => answer,
    };
    // Places in a query that was printed anew are places in another text.
    judge::annotations(case, &answer)?;
    judge::value(case, &answer.data)?;
    Ok(Some(answer))
}

fn judge_instant(
    case: &Case,
    subject: &dyn Subject,
    query: &str,
    at_ms: i64,
) -> Result<(), Failure> {
    let ask = Ask { query, start_ms: at_ms, end_ms: at_ms, step_ms: 0 };
    if judge_one(case, subject, ask)?.is_none() {
        return Ok(());
    }
    if !case.has_range_form() || variants::asks_for_query_times(query) {
        return Ok(());
    }
    let (start_ms, end_ms, step_ms) = (at_ms - 60_000, at_ms + 60_000, 60_000);
    let around = subject.ask(Ask { query, start_ms, end_ms, step_ms }).map_err(|error| {
        Failure::new(judge::told(&case.expected), error).about("as a range query")
    })?;
    if case.is_ordered {
        return Ok(());
    }
    let Data::Matrix(matrix) = around.data else {
        let got = judge::told_data(&around.data);
        return Err(Failure::new("a matrix", got).about("as a range query"));
    };
    middle(case, &matrix, at_ms).map_err(|failure| failure.about("as a range query"))
}

/// Compares the step in the middle.
fn middle(case: &Case, matrix: &[(LabelSet, Samples)], at_ms: i64) -> Result<(), Failure> {
    judge::sorted(matrix)?;
    let vector: Vec<(&LabelSet, &Sample)> = matrix
        .iter()
        .filter_map(|(labels, samples)| samples.get(&at_ms).map(|of| (labels, of)))
        .collect();
    match &case.expected {
        Expected::Series(want) => judge::vector(want, &vector, false),
        Expected::Scalar(want) => match &vector[..] {
            [(_, Sample::Float(have))] if judge::same_float(*want, *have) => Ok(()),
            _ => Err(Failure::new(float(*want), judge::told_vector(&vector))),
        },
        Expected::Text(_) | Expected::RangeVector(..) => Ok(()),
    }
}
