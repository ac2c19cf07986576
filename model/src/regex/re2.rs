//! RE2's syntax in terms of our library's, and its faults in RE2's words.
//!
//! What RE2 refuses and our library would take is refused here: repetitions of repetitions, counts above
//! 1000, flags and escapes that it does not have. What it reads otherwise is written otherwise.
//!
//! # Invariants
//! - No group of what is written has a name: RE2's may begin with a digit and occur twice. Which group
//!   has which name is told beside it.
//!
//! Not here: classes (`re2/class.rs`), what repetitions may repeat (`re2/repeats.rs`).

mod class;
mod repeats;

use super::{RegexError, fault};
use crate::label::Text;
use repeats::{COUNT_MAX, Repeats, counts};
use std::fmt::Write;
use std::str::Chars;

/// A pattern for our library.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) text: String,
    /// The names of groups with their indexes, from 1, in order.
    pub(super) names: Vec<(Text, usize)>,
}

/// A syntax error in RE2's words, with the part of the pattern RE2 shows.
pub(super) fn fault_of(pattern: &str, error: &regex_syntax::ast::Error) -> RegexError {
    use regex_syntax::ast::ErrorKind;
    let (start, end) = (error.span().start.offset, error.span().end.offset);
    let part = error.pattern().get(start..end).unwrap_or(pattern);
    let rest = error.pattern().get(start..).unwrap_or(pattern);
    match error.kind() {
        ErrorKind::ClassUnclosed => fault(rest, "missing closing ]"),
        ErrorKind::ClassRangeInvalid | ErrorKind::ClassRangeLiteral => {
            fault(part, "invalid character class range")
        }
        ErrorKind::GroupUnclosed => fault(pattern, "missing closing )"),
        ErrorKind::GroupUnopened => fault(pattern, "unexpected )"),
        ErrorKind::RepetitionMissing => {
            let operator = rest.get(..1).unwrap_or("");
            fault(operator, "missing argument to repetition operator")
        }
        ErrorKind::EscapeUnexpectedEof => fault("", "trailing backslash at end of expression"),
        ErrorKind::EscapeUnrecognized | ErrorKind::UnsupportedBackreference => {
            fault(part, "invalid escape sequence")
        }
        ErrorKind::NestLimitExceeded(_) => fault(pattern, "expression nests too deeply"),
        other => fault(pattern, other.to_string()),
    }
}

/// Rewrites what RE2 reads otherwise than our library: Perl classes are ASCII, a `{` that starts no
/// repetition is a character, `\<` and `\>` are characters, and inside of brackets so are `[`, `&&`, `~~` and
/// `--`.
///
/// # Errors
/// [`RegexError`] if it has what our library knows and RE2 does not.
pub(super) fn rewritten(pattern: &str) -> Result<Rewritten, RegexError> {
    let mut rewriter = Rewriter {
        pattern,
        chars: pattern.chars(),
        out: String::with_capacity(pattern.len()),
        names: Vec::new(),
        groups: 0,
        repeats: Repeats::new(),
        absent: Vec::new(),
    };
    rewriter.run()?;
    Ok(Rewritten { text: rewriter.out, names: rewriter.names })
}

struct Rewriter<'p> {
    pattern: &'p str,
    chars: Chars<'p>,
    out: String,
    names: Vec<(Text, usize)>,
    /// How many groups there were that can be asked for.
    groups: usize,
    repeats: Repeats,
    /// What was looked for in all the rest and is not there: it is not looked for again, so that the time
    /// does not grow with the square of the length.
    absent: Vec<&'static str>,
}

impl<'p> Rewriter<'p> {
    /// Where the rest of the pattern, from a byte of it on, has a text; counted from there.
    fn find(&mut self, from: usize, what: &'static str) -> Option<usize> {
        if self.absent.contains(&what) {
            return None;
        }
        let found = self.rest().get(from..).and_then(|rest| rest.find(what));
        if found.is_none() {
            self.absent.push(what);
        }
        found
    }

    fn run(&mut self) -> Result<(), RegexError> {
        loop {
            let at = self.at();
            let Some(c) = self.chars.next() else { return Ok(()) };
            match c {
                '*' | '+' | '?' => self.push_repetition(at, 1)?,
                '{' if self.push_counts(at)? => {}
                '(' => self.push_group(at)?,
                ')' => {
                    self.repeats.close();
                    self.out.push(c);
                }
                '|' => {
                    self.repeats.alternative();
                    self.out.push(c);
                }
                '\\' if self.rest().starts_with('Q') => self.push_quoted(),
                _ => {
                    self.repeats.part();
                    match c {
                        '\\' => self.push_escape(at)?,
                        '[' => self.push_class()?,
                        '{' => self.out.push_str("\\{"),
                        _ => self.out.push(c),
                    }
                }
            }
        }
    }

    /// The place of the next character.
    fn at(&self) -> usize {
        self.pattern.len() - self.rest().len()
    }

    fn rest(&self) -> &'p str {
        self.chars.as_str()
    }

    /// The pattern from `at` up to what has been read.
    fn since(&self, at: usize) -> &'p str {
        self.pattern.get(at..self.at()).unwrap_or("")
    }

    /// A repetition that has been read, and a `?` behind it; its largest count is `times`.
    fn push_repetition(&mut self, at: usize, times: u64) -> Result<(), RegexError> {
        if self.rest().starts_with('?') {
            self.chars.next();
        }
        if let Some(first) = self.repeats.repeated_at() {
            return Err(fault(self.since(first), "invalid nested repetition operator"));
        }
        let operator = self.since(at);
        if !self.repeats.has_part() {
            return Err(fault(operator, "missing argument to repetition operator"));
        }
        if !self.repeats.repeat(at, times) {
            return Err(fault(operator, "invalid repeat count"));
        }
        self.out.push_str(operator);
        Ok(())
    }

    /// `{3}`, `{3,}` or `{3,5}`, of which the `{` has been read; false if it is a character.
    fn push_counts(&mut self, at: usize) -> Result<bool, RegexError> {
        let Some((least, most, behind)) = counts(self.rest()) else { return Ok(false) };
        self.chars = behind.chars();
        let largest = most.unwrap_or(least);
        if least > COUNT_MAX || largest > COUNT_MAX || least > largest {
            return Err(fault(self.since(at), "invalid repeat count"));
        }
        // Without an end it goes as far as its least count.
        let times = if most.is_none() { least.max(1) } else { largest };
        self.push_repetition(at, times)?;
        Ok(true)
    }

    /// A group or flags, of which the `(` has been read.
    fn push_group(&mut self, at: usize) -> Result<(), RegexError> {
        let Some(special) = self.rest().strip_prefix('?') else {
            self.open_group(None);
            return Ok(());
        };
        let name = special.strip_prefix("P<").or_else(|| special.strip_prefix('<'));
        match name {
            Some(name) if !name.is_empty() => self.push_named_group(at, name),
            _ => {
                self.chars.next();
                self.push_flags(at)
            }
        }
    }

    /// `(?P<name>` or `(?<name>`: `name` begins behind the `<`.
    fn push_named_group(&mut self, at: usize, name: &'p str) -> Result<(), RegexError> {
        let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
        let invalid = |text: &str| fault(text, "invalid named capture");
        let Some((name, behind)) = name.split_once('>') else {
            return Err(invalid(self.pattern.get(at..).unwrap_or("")));
        };
        self.chars = behind.chars();
        if name.is_empty() || !name.chars().all(is_word) {
            return Err(invalid(self.since(at)));
        }
        self.open_group(Some(name));
        Ok(())
    }

    fn open_group(&mut self, name: Option<&str>) {
        self.groups += 1;
        self.names.extend(name.map(|name| (name.into(), self.groups)));
        self.out.push('(');
        self.repeats.open();
    }

    /// `(?i)` or `(?i-s:`, of which the `(?` has been read: the flags i, m, s and U.
    fn push_flags(&mut self, at: usize) -> Result<(), RegexError> {
        let (mut on, mut off) = (String::new(), String::new());
        let mut is_off = false;
        while let Some(c) = self.chars.next() {
            let flags = if is_off { &mut off } else { &mut on };
            match c {
                'i' | 'm' | 's' | 'U' if flags.contains(c) => {}
                'i' | 'm' | 's' | 'U' => flags.push(c),
                '-' if !is_off => is_off = true,
                ':' | ')' if !is_off || !off.is_empty() => {
                    on.retain(|flag| !off.contains(flag));
                    self.write_flags(&on, &off, c == ':');
                    return Ok(());
                }
                _ => break,
            }
        }
        Err(fault(self.since(at), "invalid or unsupported Perl syntax"))
    }

    fn write_flags(&mut self, on: &str, off: &str, is_group: bool) {
        let dash = if off.is_empty() { "" } else { "-" };
        if is_group {
            // Writing into a text does not fail.
            let _ = write!(self.out, "(?{on}{dash}{off}:");
            self.repeats.open();
        } else if !on.is_empty() || !off.is_empty() {
            let _ = write!(self.out, "(?{on}{dash}{off})");
        }
    }

    /// An escape at `at`, of which the backslash has been read.
    fn push_escape(&mut self, at: usize) -> Result<(), RegexError> {
        let Some(c) = self.chars.next() else {
            self.out.push('\\');
            return Ok(());
        };
        match c {
            'd' => self.out.push_str("[0-9]"),
            'D' => self.out.push_str("[^0-9]"),
            'w' => self.out.push_str("[0-9A-Za-z_]"),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            's' => self.out.push_str("[\\t\\n\\f\\r ]"),
            'S' => self.out.push_str("[^\\t\\n\\f\\r ]"),
            'b' => self.out.push_str("(?-u:\\b)"),
            'B' => self.out.push_str("(?-u:\\B)"),
            '0'..='7' => self.push_octal(c),
            // The start and the end of a word in our library.
            '<' | '>' => self.out.push(c),
            'p' | 'P' => return self.push_property(at, c == 'P'),
            'u' | 'U' => return Err(fault(self.since(at), "invalid escape sequence")),
            'x' => self.push_hex(),
            _ => self.out.extend(['\\', c]),
        }
        Ok(())
    }

    /// `\x41` or `\x{10FFFF}`, of which the `x` has been read: these braces belong to the escape.
    fn push_hex(&mut self) {
        self.out.push_str("\\x");
        if self.rest().starts_with('{') {
            let len = self.find(0, "}").map_or(1, |at| at + 1);
            let (braces, rest) = self.rest().split_at(len);
            self.out.push_str(braces);
            self.chars = rest.chars();
        }
    }

    /// A character by up to three octal digits; one digit alone is a character only if it is 0.
    fn push_octal(&mut self, first: char) {
        let rest = self.rest();
        let more = rest.bytes().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
        let (digits, behind) = rest.split_at(more);
        if first != '0' && more == 0 {
            return self.out.extend(['\\', first]);
        }
        let value = |value: u32, digit: char| 8 * value + digit.to_digit(8).unwrap_or(0);
        let value = digits.chars().fold(value(0, first), value);
        // Writing into a text does not fail.
        let _ = write!(self.out, "\\x{{{value:x}}}");
        self.chars = behind.chars();
    }

    /// `\Q…\E`, of which the backslash has been read: everything up to `\E` stands for itself.
    fn push_quoted(&mut self) {
        self.chars.next();
        while let Some(c) = self.chars.next() {
            if c == '\\' && self.rest().starts_with('E') {
                self.chars.next();
                return;
            }
            self.repeats.part();
            let mut buffer = [0; 4];
            self.out.push_str(&regex_syntax::escape(c.encode_utf8(&mut buffer)));
        }
    }
}
