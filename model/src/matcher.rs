//! Matchers: conditions on one label.

use crate::label::{LabelSet, Text};
use crate::regex::{AnchoredRegex, Prefix, RegexError};
use std::fmt;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// Every operator; its place is its byte on disk and on the wire.
    pub const ALL: [Self; 4] = [Self::Equal, Self::NotEqual, Self::Regex, Self::NotRegex];

    /// The operator's byte on disk and on the wire.
    #[must_use]
    pub fn to_byte(self) -> u8 {
        self as u8
    }

    /// The operator of this byte, if there is one.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// The operator as written in PromQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A condition on one label, as written: the regex is not compiled.
///
/// A series without the label matches as if its value were empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matcher {
    /// The label's name.
    pub name: Text,
    /// How to compare.
    pub op: MatchOp,
    /// The value or the regex, which matches the whole value.
    pub value: Text,
}

impl Matcher {
    /// A matcher of `name` by `op` with `value`.
    #[must_use]
    pub fn new(name: impl Into<Text>, op: MatchOp, value: impl Into<Text>) -> Self {
        Self { name: name.into(), op, value: value.into() }
    }

    /// `name="value"`.
    #[must_use]
    pub fn equal(name: impl Into<Text>, value: impl Into<Text>) -> Self {
        Self::new(name, MatchOp::Equal, value)
    }

    /// Makes the matcher ready to test values.
    ///
    /// # Errors
    /// [`RegexError`] if the value of a regex matcher is not a regex or too large.
    pub fn compile(&self) -> Result<CompiledMatcher, RegexError> {
        let test = match self.op {
            MatchOp::Equal => Test::Equal(self.value.clone()),
            MatchOp::NotEqual => Test::NotEqual(self.value.clone()),
            MatchOp::Regex => Test::Regex(AnchoredRegex::new(&self.value)?),
            MatchOp::NotRegex => Test::NotRegex(AnchoredRegex::new(&self.value)?),
        };
        Ok(CompiledMatcher { name: self.name.clone(), test })
    }
}

/// `name="value"`, the value quoted, the name as it is: for messages, not to be parsed again.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), &*self.value)
    }
}

/// A matcher that is ready to test values.
#[derive(Clone, Debug)]
pub struct CompiledMatcher {
    /// The label's name.
    pub name: Text,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Equal(Text),
    NotEqual(Text),
    Regex(AnchoredRegex),
    NotRegex(AnchoredRegex),
}

/// The values that a matcher's text names.
#[derive(Clone, Copy, Debug)]
pub enum NamedValues<'a> {
    /// These, ascending.
    Literals(&'a [Text]),
    /// Those that begin with one of these and go on as it says.
    Prefixes(&'a [Prefix]),
}

impl<'a> NamedValues<'a> {
    fn of(regex: &'a AnchoredRegex) -> Self {
        match regex.literals() {
            Some(literals) => Self::Literals(literals),
            None => Self::Prefixes(regex.prefixes()),
        }
    }
}

impl CompiledMatcher {
    /// Whether a label with this value matches; a missing label has the empty value.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal(want) => **want == *value,
            Test::NotEqual(want) => **want != *value,
            Test::Regex(regex) => regex.is_match(value),
            Test::NotRegex(regex) => !regex.is_match(value),
        }
    }

    /// Whether a series with these labels matches.
    #[must_use]
    pub fn matches_labels(&self, labels: &LabelSet) -> bool {
        self.matches(labels.value(&self.name))
    }

    /// The one value that matches, if there is just one.
    #[must_use]
    pub fn equal_to(&self) -> Option<&Text> {
        match &self.test {
            Test::Equal(value) => Some(value),
            _ => None,
        }
    }

    /// Which values the matcher names, so that a sorted dictionary need not be tried one by one;
    /// and whether it is all the others that match.
    #[must_use]
    pub fn named_values(&self) -> (NamedValues<'_>, bool) {
        match &self.test {
            Test::Equal(value) => (NamedValues::Literals(std::slice::from_ref(value)), false),
            Test::NotEqual(value) => (NamedValues::Literals(std::slice::from_ref(value)), true),
            Test::Regex(regex) => (NamedValues::of(regex), false),
            Test::NotRegex(regex) => (NamedValues::of(regex), true),
        }
    }

    /// The only values that match, if the matcher is an equality or an alternation of literals.
    #[must_use]
    pub fn literals(&self) -> Option<Vec<Text>> {
        match &self.test {
            Test::Equal(value) => Some(vec![value.clone()]),
            Test::Regex(regex) => regex.literals().map(<[Text]>::to_vec),
            Test::NotEqual(_) | Test::NotRegex(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(op: MatchOp, pattern: &str, value: &str) -> bool {
        Matcher::new("a", op, pattern).compile().unwrap().matches(value)
    }

    #[test]
    fn each_operator_keeps_its_promise() {
        assert!(matches(MatchOp::Equal, "x", "x") && !matches(MatchOp::Equal, "x", "xx"));
        assert!(matches(MatchOp::NotEqual, "x", "y") && !matches(MatchOp::NotEqual, "x", "x"));
        assert!(matches(MatchOp::Regex, "x|y.*", "yz") && !matches(MatchOp::Regex, "x", "xx"));
        assert!(matches(MatchOp::NotRegex, "x", "xx") && !matches(MatchOp::NotRegex, "x", "x"));
    }

    #[test]
    fn a_missing_label_is_an_empty_value() {
        let none = LabelSet::default();
        assert!(Matcher::new("a", MatchOp::Equal, "").compile().unwrap().matches_labels(&none));
        assert!(!Matcher::new("a", MatchOp::Regex, ".+").compile().unwrap().matches_labels(&none));
    }
}
