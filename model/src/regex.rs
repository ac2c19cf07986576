//! Regular expressions as Prometheus has them: RE2's syntax and ASCII classes, over the whole
//! value, `.` matches a newline too. Compiled size and text are bounded.
//!
//! An alternation of literals (a dashboard's "All" variable) is never compiled: it is a sorted
//! list, so five thousand values cost a binary search.

mod kept;
mod literals;
mod re2;
mod template;

use crate::label::Text;
use literals::{LITERALS_MAX, literal_set, plain_alternation, sorted};
use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;
use regex_automata::{Anchored, Input, meta, util::syntax};
use regex_syntax::hir::{Class, Hir, HirKind, Look};
use std::sync::Arc;

pub use template::Template;

/// The longest text of a regex that has to be compiled, in bytes.
pub const PATTERN_BYTES_MAX: usize = 4 << 10;
/// The largest compiled form of one regex, in bytes.
pub const COMPILED_BYTES_MAX: usize = 1 << 20;
const NEST_MAX: u32 = 50;

/// A regex that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {reason}: `{pattern}`")]
pub struct RegexError {
    /// What is wrong with it.
    pub reason: String,
    /// The pattern, or the part of it that is wrong.
    pub pattern: Text,
}

/// A compiled regex that matches a whole value.
#[derive(Clone, Debug)]
pub struct AnchoredRegex {
    form: Form,
    /// Sorted; every value that matches begins with one of them.
    prefixes: Arc<[Prefix]>,
}

/// A start of values, and which values with it match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// What the values begin with.
    pub text: Text,
    /// What may follow.
    pub rest: Rest,
}

/// What may follow a [`Prefix`] in a value that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rest {
    /// Nothing: the prefix is the value.
    Nothing,
    /// Anything, or nothing.
    Anything,
    /// Anything but nothing.
    Something,
    /// What the regex says.
    AsRegex,
}

#[derive(Clone, Debug)]
enum Form {
    /// Sorted and unique: matches exactly these values.
    Literals(Arc<[Text]>),
    /// `.*`
    Any,
    /// `.+`
    NotEmpty,
    Automaton(Regex),
}

impl AnchoredRegex {
    /// Compiles `pattern`, if that was not done lately.
    ///
    /// # Errors
    /// [`RegexError`] if it is not a regex, too long, too deep, or too large when compiled.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let every = |form, rest| Ok(Self { form, prefixes: [Prefix::new("", rest)].into() });
        match pattern {
            ".*" => every(Form::Any, Rest::Anything),
            ".+" => every(Form::NotEmpty, Rest::Something),
            _ => kept::get_or(pattern, || Self::compiled(pattern)),
        }
    }

    fn compiled(pattern: &str) -> Result<Self, RegexError> {
        let literals = |set| Ok(Self { form: Form::Literals(set), prefixes: [].into() });
        if let Some(plain) = plain_alternation(pattern) {
            return literals(plain);
        }
        let Parsed { hir, .. } = parse(pattern, true)?;
        check_len(pattern, &hir)?;
        if let Some(set) = literal_set(&hir, pattern.len()) {
            return literals(sorted(set));
        }
        let mut prefixes = prefixes_of(&hir);
        prefixes.sort_unstable();
        prefixes.dedup();
        let whole = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        Ok(Self { form: Form::Automaton(compile(&whole, pattern)?), prefixes: prefixes.into() })
    }

    /// Whether the whole of `value` matches.
    #[must_use]
    pub fn is_match(&self, value: &str) -> bool {
        match &self.form {
            Form::Literals(set) => set.binary_search_by(|have| (**have).cmp(value)).is_ok(),
            Form::Any => true,
            Form::NotEmpty => !value.is_empty(),
            Form::Automaton(regex) => regex.is_match(Input::new(value).anchored(Anchored::Yes)),
        }
    }

    /// The only values that match, ascending, if the regex is an alternation of literals.
    #[must_use]
    pub fn literals(&self) -> Option<&[Text]> {
        match &self.form {
            Form::Literals(set) => Some(set),
            _ => None,
        }
    }

    /// What the values that match begin with, ascending; one value may begin with several. None
    /// at all if the regex is an alternation of literals.
    ///
    /// In a sorted dictionary these are ranges, so a regex is run on few values or on none.
    #[must_use]
    pub fn prefixes(&self) -> &[Prefix] {
        &self.prefixes
    }
}

/// A compiled regex whose groups can be asked for, as `label_replace` and relabelling need it:
/// `^(?s:` stands before its text and `)$` behind it, which make it match a whole value, unless the text
/// closes that bracket itself.
#[derive(Clone, Debug)]
pub struct CaptureRegex {
    regex: Regex,
    names: Vec<(Text, usize)>,
}

impl CaptureRegex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// As [`AnchoredRegex::new`].
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let whole = format!("^(?s:{pattern})$");
        let Parsed { hir, names } = parse(&whole, false)?;
        check_len(pattern, &hir)?;
        Ok(Self { regex: compile(&hir, &whole)?, names })
    }

    /// The groups of the match in `value`: group 0 is all of it, a group that took no part is `None`.
    /// `None` if the value does not match.
    #[must_use]
    pub fn captures<'v>(&self, value: &'v str) -> Option<Vec<Option<&'v str>>> {
        let mut captures: Captures = self.regex.create_captures();
        self.regex.captures(Input::new(value), &mut captures);
        if !captures.is_match() {
            return None;
        }
        Some(captures.iter().map(|group| group.map(|span| &value[span.start..span.end])).collect())
    }

    /// The indexes of the groups called `name`, in order: the first that took part in a match is meant.
    #[must_use]
    pub fn groups_named(&self, name: &str) -> Vec<usize> {
        let named = self.names.iter().filter(|(own, _)| &**own == name);
        named.map(|(_, index)| *index).collect()
    }
}

fn fault(pattern: &str, reason: impl Into<String>) -> RegexError {
    RegexError { reason: reason.into(), pattern: pattern.into() }
}

struct Parsed {
    hir: Hir,
    /// The names of its groups with their indexes.
    names: Vec<(Text, usize)>,
}

fn parse(pattern: &str, dot_matches_new_line: bool) -> Result<Parsed, RegexError> {
    let re2::Rewritten { text, names } = re2::rewritten(pattern)?;
    let mut parser = regex_syntax::ParserBuilder::new()
        .nest_limit(NEST_MAX)
        .dot_matches_new_line(dot_matches_new_line)
        .utf8(true)
        .build();
    let hir = parser.parse(&text).map_err(|error| match &error {
        regex_syntax::Error::Parse(parse) => re2::fault_of(pattern, parse),
        regex_syntax::Error::Translate(error) => fault(pattern, error.kind().to_string()),
        _ => fault(pattern, "invalid regexp"),
    })?;
    Ok(Parsed { hir, names })
}

fn check_len(pattern: &str, hir: &Hir) -> Result<(), RegexError> {
    if pattern.len() > PATTERN_BYTES_MAX && literal_set(hir, pattern.len()).is_none() {
        return Err(fault(pattern, format!("expression longer than {PATTERN_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn compile(hir: &Hir, pattern: &str) -> Result<Regex, RegexError> {
    let config = meta::Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX));
    meta::Builder::new()
        .configure(config)
        .syntax(syntax::Config::new())
        .build_from_hir(hir)
        .map_err(|_| fault(pattern, "expression too large"))
}

impl Prefix {
    fn new(text: &str, rest: Rest) -> Self {
        Self { text: text.into(), rest }
    }
}

/// What the values begin with that a part of a regex matches, at most [`LITERALS_MAX`].
fn prefixes_of(hir: &Hir) -> Vec<Prefix> {
    let unknown = || vec![Prefix::new("", Rest::AsRegex)];
    let literals = |set: Vec<Text>| {
        set.into_iter().map(|text| Prefix { text, rest: Rest::Nothing }).collect::<Vec<_>>()
    };
    if let Some(set) = literal_set(hir, 0).filter(|set| set.len() <= LITERALS_MAX) {
        return literals(set);
    }
    match hir.kind() {
        HirKind::Capture(capture) => prefixes_of(&capture.sub),
        HirKind::Alternation(parts) => {
            let all: Vec<Prefix> = parts.iter().flat_map(prefixes_of).collect();
            if all.len() <= LITERALS_MAX { all } else { unknown() }
        }
        HirKind::Concat(parts) => concat_prefixes(parts),
        HirKind::Repetition(repetition) if is_any_char(&repetition.sub) => {
            match (repetition.min, repetition.max) {
                (0, None) => vec![Prefix::new("", Rest::Anything)],
                (1, None) => vec![Prefix::new("", Rest::Something)],
                _ => unknown(),
            }
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            let mut all = prefixes_of(&repetition.sub);
            all.iter_mut().for_each(|prefix| prefix.rest = Rest::AsRegex);
            all
        }
        _ => unknown(),
    }
}

fn concat_prefixes(parts: &[Hir]) -> Vec<Prefix> {
    let mut all = vec![Prefix::new("", Rest::Nothing)];
    for part in parts {
        let tails = prefixes_of(part);
        let open = all.iter().filter(|prefix| prefix.rest == Rest::Nothing).count();
        if open == 0 || all.len() + open * tails.len() > LITERALS_MAX {
            all.iter_mut().for_each(|prefix| prefix.rest = Rest::AsRegex);
            return all;
        }
        let join = |head: Prefix| match head.rest {
            Rest::Nothing => {
                let joined =
                    |tail: &Prefix| Prefix::new(&format!("{}{}", head.text, tail.text), tail.rest);
                tails.iter().map(joined).collect()
            }
            // Something comes behind what is open already.
            _ => vec![Prefix { rest: Rest::AsRegex, ..head }],
        };
        all = all.into_iter().flat_map(join).collect();
    }
    all
}

/// Whether it is `.`, which matches every character.
fn is_any_char(hir: &Hir) -> bool {
    let HirKind::Class(Class::Unicode(class)) = hir.kind() else { return false };
    matches!(class.ranges(), [all] if all.start() == '\0' && all.end() == char::MAX)
}

#[cfg(test)]
mod tests;
