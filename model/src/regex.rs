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
use regex_syntax::hir::{Class, Hir, HirKind};
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
        let hir = parse(pattern)?;
        if let Some(set) = literal_set(&hir, pattern.len()) {
            return literals(sorted(set));
        }
        let mut prefixes = prefixes_of(&hir);
        prefixes.sort_unstable();
        prefixes.dedup();
        Ok(Self { form: Form::Automaton(compile(&hir, pattern)?), prefixes: prefixes.into() })
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

/// A compiled regex over a whole value whose groups can be asked for, as `label_replace` needs.
#[derive(Clone, Debug)]
pub struct CaptureRegex {
    regex: Regex,
}

impl CaptureRegex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// As [`AnchoredRegex::new`].
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        Ok(Self { regex: compile(&parse(pattern)?, pattern)? })
    }

    /// The groups of the match over the whole of `value`: group 0 is all of it, a group that took
    /// no part is `None`. `None` if the value does not match.
    #[must_use]
    pub fn captures<'v>(&self, value: &'v str) -> Option<Vec<Option<&'v str>>> {
        let mut captures: Captures = self.regex.create_captures();
        self.regex.captures(Input::new(value).anchored(Anchored::Yes), &mut captures);
        if !captures.is_match() {
            return None;
        }
        Some(captures.iter().map(|group| group.map(|span| &value[span.start..span.end])).collect())
    }

    /// The index of the group called `name`.
    #[must_use]
    pub fn group_index(&self, name: &str) -> Option<usize> {
        self.regex.group_info().to_index(regex_automata::PatternID::ZERO, name)
    }
}

fn fault(pattern: &str, reason: impl Into<String>) -> RegexError {
    RegexError { reason: reason.into(), pattern: pattern.into() }
}

fn parse(pattern: &str) -> Result<Hir, RegexError> {
    // Go spells a named group `(?P<n>)` or `(?<n>)`; both are known here. `\z` is; `\Z` is not,
    // in neither. Perl classes are ASCII in Go.
    let rewritten = re2::rewritten(pattern);
    let mut parser = regex_syntax::ParserBuilder::new()
        .nest_limit(NEST_MAX)
        .dot_matches_new_line(true)
        .utf8(true)
        .build();
    let hir = parser.parse(&rewritten).map_err(|error| match &error {
        regex_syntax::Error::Parse(parse) => re2::fault_of(pattern, parse),
        regex_syntax::Error::Translate(error) => fault(pattern, error.kind().to_string()),
        _ => fault(pattern, "invalid regexp"),
    })?;
    if pattern.len() > PATTERN_BYTES_MAX && literal_set(&hir, pattern.len()).is_none() {
        return Err(fault(pattern, format!("expression longer than {PATTERN_BYTES_MAX} bytes")));
    }
    Ok(hir)
}

fn compile(hir: &Hir, pattern: &str) -> Result<Regex, RegexError> {
    let whole = Hir::concat(vec![
        Hir::look(regex_syntax::hir::Look::Start),
        hir.clone(),
        Hir::look(regex_syntax::hir::Look::End),
    ]);
    let config = meta::Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX));
    meta::Builder::new()
        .configure(config)
        .syntax(syntax::Config::new())
        .build_from_hir(&whole)
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_match(pattern: &str, value: &str) -> bool {
        AnchoredRegex::new(pattern).unwrap().is_match(value)
    }

    #[test]
    fn the_whole_value_has_to_match() {
        assert!(is_match("fo+", "foo") && !is_match("fo+", "xfoo") && !is_match("fo+", "foox"));
        assert!(is_match("a|ab", "ab") && is_match("(a|ab)(c|bcd)", "abcd"));
        assert!(is_match("a.+|b.+", "bx") && !is_match("a.+|b.+", "xbx"));
        assert!(is_match("", "") && !is_match("", "x"));
    }

    #[test]
    fn brackets_and_braces_are_read_as_re2_reads_them() {
        assert!(is_match("a{b}", "a{b}") && is_match("a{,2}", "a{,2}") && is_match("{", "{"));
        assert!(is_match("a{2}", "aa") && is_match("a{1,}", "aaa") && is_match("a{1,2}b", "ab"));
        assert!(is_match("[[a]+", "[a") && is_match("[[:digit:]x]+", "1x"));
        assert!(is_match("[a&&b]+", "a&b") && is_match("[]a]+", "]a") && is_match("[^]a]", "b"));
        assert!(is_match("\\p{Greek}\\x{41}", "αA") && is_match("[{]", "{"));
    }

    #[test]
    fn a_syntax_error_has_re2s_words() {
        let cases = [
            ("a[b", "missing closing ]: `[b`"),
            ("(a", "missing closing ): `(a`"),
            ("a)", "unexpected ): `a)`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("\\q", "invalid escape sequence: `\\q`"),
            ("a\\1", "invalid escape sequence: `\\1`"),
            ("a(?i_b)", "invalid or unsupported Perl syntax: `(?i_`"),
            ("[b-a]", "invalid character class range: `b-a`"),
        ];
        for (pattern, text) in cases {
            let error = AnchoredRegex::new(pattern).unwrap_err().to_string();
            assert_eq!(error, format!("error parsing regexp: {text}"));
        }
    }

    #[test]
    fn a_dot_matches_a_newline_and_classes_are_ascii() {
        assert!(is_match("a.b", "a\nb") && is_match(".*x", "\n\nx"));
        assert!(is_match("\\d+", "12") && !is_match("\\d", "٣"));
        assert!(is_match("[\\d_]+", "1_2") && !is_match("\\w", "é") && is_match("\\W", "é"));
        assert!(is_match("\\Qa.b\\E+", "a.bb") && !is_match("\\Qa.b\\E", "axb"));
    }

    #[test]
    fn what_is_an_operator_to_our_library_only_is_a_character() {
        assert!(is_match("\\<a.*", "<ab") && !is_match("\\<a.*", "ab") && is_match("a\\>?", "a>"));
        assert!(is_match("[a-z--b]+", "az-.A") && !is_match("[a-z--b]", "+"));
        assert!(is_match("[+--]+", "+,-") && !is_match("[+--]", "."));
        assert!(is_match("[--a]+", "-Aa") && !is_match("[--a]", "b"));
        assert!(is_match("[]-a]+", "]^_`a") && !is_match("[]-a]", "-"));
        assert!(is_match("[^]a-]", "x") && !is_match("[^]a-]", "-") && is_match("[a-]+", "a-"));
        assert!(
            is_match("[\\d-z]+", "1-z") && !is_match("[\\d-z]", "a") && is_match("[a^]+", "^a")
        );
        assert!(is_match("[a&&b]+", "&ab") && is_match("[a~~[:digit:]]+", "~1"));
        assert!(is_match("[\\pL-z]+", "é-z") && !is_match("[\\pL-z]", "+"));
        assert!(is_match("[[:alpha:]-z]+", "a-z") && is_match("[\\x{41}-\\x{43}]+", "ABC"));
        assert!(is_match("[^]-a]", "b") && is_match("[\\]a]+", "a]") && is_match("[a\\-z]+", "-z"));
        assert!(is_match("\\101\\1012[\\102-\\104]\\0", "AA2C\0"));
        assert!(is_match("[[:]+", "[:") && is_match("a{01}", "a{01}") && !is_match("a{01}", "a"));
        assert!(is_match("a{1,02}", "a{1,02}") && is_match("a{0,10}b", "aab"));
        for wrong in
            ["[.-\\d]", "[+-\\s]", "[!-\\pL]", "\\18", "[\\b]", "[\\Qa\\E]", "[z--]", "[a-\\d]"]
        {
            assert!(AnchoredRegex::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_alternation_of_literals_is_a_set() {
        let many = (0..5_000).map(|n| format!("host-{n}\\.example")).collect::<Vec<_>>().join("|");
        let regex = AnchoredRegex::new(&many).unwrap();
        assert_eq!(regex.literals().map(<[Text]>::len), Some(5_000));
        assert!(regex.is_match("host-4999.example") && !regex.is_match("host-4999xexample"));
        // As dashboards put a variable of many values in: in brackets, and with something around.
        for around in ["(V)", "(?:V)", "^(V)$", "((V))", "node-(V)", "(V):9100", "a(V)b"] {
            let regex = AnchoredRegex::new(&around.replace('V', &many)).unwrap();
            let value = around.replace('V', "host-4999.example").replace(['(', ')', '^', '$'], "");
            assert!(regex.is_match(value.trim_start_matches("?:")), "{around} {value}");
            assert!(!regex.is_match(&value.replace("4999", "5000")), "{around}");
        }
        let prefixed = AnchoredRegex::new("node-(a|b|c)").unwrap();
        assert_eq!(prefixed.literals().unwrap().len(), 3);
    }

    #[test]
    fn the_start_of_what_matches_is_known() {
        let prefixes = |pattern: &str| {
            let regex = AnchoredRegex::new(pattern).unwrap();
            let list = regex.prefixes().iter();
            list.map(|prefix| format!("{}{:?}", prefix.text, prefix.rest)).collect::<Vec<_>>()
        };
        assert_eq!(prefixes("node_.*"), ["node_Anything"]);
        assert_eq!(prefixes("node_.+|up"), ["node_Something", "upNothing"]);
        assert_eq!(prefixes("a(b|c.*)"), ["abNothing", "acAnything"]);
        assert_eq!(prefixes("a.*b"), ["aAsRegex"]);
        assert_eq!(
            prefixes("a[0-9]+"),
            (0..10).map(|n| format!("a{n}AsRegex")).collect::<Vec<_>>()
        );
        assert_eq!(prefixes(".*a"), ["AsRegex"]);
        assert_eq!(prefixes(".+"), ["Something"]);
        assert_eq!(prefixes("(?i)ab.*").len(), 4);
        assert_eq!(prefixes("a|b"), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn prefixes_and_the_regex_agree(
            pattern in "([ab.]|[ab][*+?]|\\.[*+]|\\((a|b.*|ab)\\|[ab.]{0,2}[*]?\\)|[|]){1,6}",
            values in prop::collection::vec("[abc]{0,4}", 0..20),
        ) {
            let Ok(regex) = AnchoredRegex::new(&pattern) else { return Ok(()) };
            for value in values.iter().filter(|_| regex.literals().is_none()) {
                let by_prefix = regex.prefixes().iter().any(|prefix| {
                    value.strip_prefix(&*prefix.text).is_some_and(|rest| match prefix.rest {
                        Rest::Nothing => rest.is_empty(),
                        Rest::Anything => true,
                        Rest::Something => !rest.is_empty(),
                        Rest::AsRegex => regex.is_match(value),
                    })
                });
                prop_assert_eq!(by_prefix, regex.is_match(value), "{} {}", pattern, value);
            }
        }
    }

    #[test]
    fn bombs_are_refused() {
        assert!(AnchoredRegex::new("(a{1000}){1000}").is_err());
        assert!(AnchoredRegex::new(&"(".repeat(100_000)).is_err());
        assert!(AnchoredRegex::new(&format!("{}.+", "a".repeat(PATTERN_BYTES_MAX))).is_err());
        assert!(AnchoredRegex::new("a(").is_err());
        // Spelled out, this is 10 GB.
        let values = (0..50_000).map(|n| n.to_string()).collect::<Vec<_>>().join("|");
        assert!(AnchoredRegex::new(&format!("b|{}({values})", "a".repeat(200_000))).is_err());
    }

    #[test]
    fn groups_can_be_asked_for() {
        let regex = CaptureRegex::new("(?P<host>[^:]+):(\\d+)?").unwrap();
        assert_eq!(regex.captures("h:1"), Some(vec![Some("h:1"), Some("h"), Some("1")]));
        assert_eq!(regex.captures("h:"), Some(vec![Some("h:"), Some("h"), None]));
        assert_eq!(regex.captures("h"), None);
        assert_eq!(regex.group_index("host"), Some(1));
    }
}
