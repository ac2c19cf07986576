//! What a case asks and expects.

use promql::SeriesDescription;

/// One `eval` of a script.
#[derive(Clone, Debug)]
pub struct Case {
    /// Where it stands in the script, from 1.
    pub line: usize,
    /// The query.
    pub query: String,
    /// When it is asked.
    pub mode: Mode,
    /// Whether the order of the vector counts.
    pub is_ordered: bool,
    /// The answer.
    pub expected: Expected,
    /// What is said about failure, warnings and infos.
    pub expectations: Vec<Expectation>,
}

/// When a query is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// At one moment, in milliseconds since 1970.
    Instant(i64),
    /// From, to, step, in milliseconds.
    Range(i64, i64, i64),
}

/// The expected answer.
#[derive(Clone, Debug)]
pub enum Expected {
    /// A scalar.
    Scalar(f64),
    /// A string.
    Text(String),
    /// Series: of an instant query one value each.
    Series(Vec<SeriesDescription>),
    /// Series of an instant query that answers a range vector: from, step.
    RangeVector(i64, i64, Vec<SeriesDescription>),
}

/// A line about failure or annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// The query fails, with this text if there is one.
    Fail(Option<Text>),
    /// There is a warning, with this text if there is one.
    Warn(Option<Text>),
    /// There is an info, with this text if there is one.
    Info(Option<Text>),
    /// There is no warning.
    NoWarn,
    /// There is no info.
    NoInfo,
}

/// A text, or what it has to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Just this.
    Exactly(String),
    /// A regex that is found in it.
    Pattern(String),
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(text) => f.write_str(text),
            Self::Pattern(pattern) => write!(f, "what matches {pattern}"),
        }
    }
}

impl Text {
    /// Whether `text` is as expected.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exactly(want) => want == text,
            Self::Pattern(pattern) => {
                let found = format!(".*(?:{pattern}).*");
                model::regex::AnchoredRegex::new(&found).is_ok_and(|regex| regex.is_match(text))
            }
        }
    }
}

impl Case {
    /// Whether it has to fail.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.expectations.iter().any(|line| matches!(line, Expectation::Fail(_)))
    }

    /// Whether the answer may be compared with the middle step of a range query.
    #[must_use]
    pub fn has_range_form(&self) -> bool {
        matches!(self.expected, Expected::Scalar(_) | Expected::Series(_))
    }
}
