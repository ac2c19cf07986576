//! RE2's syntax in terms of our library's, and its faults in RE2's words.

use super::{RegexError, fault};
use std::fmt::Write;

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
        ErrorKind::RepetitionCountInvalid => fault(part, "invalid repeat count"),
        ErrorKind::NestLimitExceeded(_) => fault(pattern, "expression nests too deeply"),
        ErrorKind::UnsupportedLookAround | ErrorKind::FlagUnrecognized => {
            let before = error.pattern().get(..end).unwrap_or("");
            let group = before.rfind("(?").and_then(|at| before.get(at..)).unwrap_or(part);
            fault(group, "invalid or unsupported Perl syntax")
        }
        other => fault(pattern, other.to_string()),
    }
}

/// Rewrites what RE2 reads otherwise than our library: Perl classes are ASCII, a `{` that starts no
/// repetition is a character, `\<` and `\>` are characters, and inside of brackets so are `[`, `&&`, `~~` and
/// `--`.
pub(super) fn rewritten(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => push_escape(&mut chars, &mut out),
            '[' => push_class(&mut chars, &mut out),
            '{' if !starts_repetition(chars.as_str()) => out.push_str("\\{"),
            _ => out.push(c),
        }
    }
    out
}

/// A class in brackets, of which the `[` has been read: items up to a `]` that is not the first of them.
fn push_class(chars: &mut std::str::Chars<'_>, out: &mut String) {
    out.push('[');
    if chars.as_str().starts_with('^') {
        chars.next();
        out.push('^');
    }
    let mut is_first = true;
    while let Some(c) = chars.next() {
        if c == ']' && !is_first {
            return out.push(']');
        }
        is_first = false;
        push_class_item(c, chars, out);
    }
}

/// A named class, an escape for a class, a character or a range of characters.
fn push_class_item(c: char, chars: &mut std::str::Chars<'_>, out: &mut String) {
    let rest = chars.as_str();
    if c == '[' && rest.starts_with(':') {
        return push_named_class(chars, out);
    }
    let is_of_many = c == '\\' && starts_class(rest);
    push_class_char(c, chars, out);
    let range = chars.as_str().strip_prefix('-').and_then(|end| end.chars().next());
    if !is_of_many && range.is_some_and(|end| end != ']') {
        chars.next();
        out.push('-');
        match chars.next() {
            // No character ends it: it says so.
            Some('\\') if starts_class(chars.as_str()) => out.push('\\'),
            Some(end) => push_class_char(end, chars, out),
            None => {}
        }
    }
}

/// Whether behind a backslash this stands for a class.
fn starts_class(rest: &str) -> bool {
    rest.starts_with(['d', 'D', 'w', 'W', 's', 'S', 'p', 'P'])
}

/// A character of a class, which is none of our library's operators there.
fn push_class_char(c: char, chars: &mut std::str::Chars<'_>, out: &mut String) {
    match c {
        // These are no characters: it says so.
        '\\' if chars.as_str().starts_with(['b', 'B', 'Q']) => out.push('\\'),
        '\\' => push_escape(chars, out),
        '[' | ']' | '^' | '&' | '~' | '-' => out.extend(['\\', c]),
        _ => out.push(c),
    }
}

/// `[:alpha:]` inside of brackets; its `[` has been read.
fn push_named_class(chars: &mut std::str::Chars<'_>, out: &mut String) {
    // Behind the first colon, which may be the last too.
    let end = chars.as_str().get(1..).and_then(|name| name.find(":]"));
    let Some(end) = end else { return out.push_str("\\[") };
    let (name, rest) = chars.as_str().split_at(end + 3);
    out.push('[');
    out.push_str(name);
    *chars = rest.chars();
}

/// Whether what follows a `{` makes it a repetition: `3}`, `3,}` or `3,5}`.
fn starts_repetition(text: &str) -> bool {
    // No number is that long, so a brace far away is not looked for.
    let near = text.bytes().take(24).position(|byte| byte == b'}');
    let Some(inside) = near.and_then(|end| text.get(..end)) else { return false };
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() < 2 || !text.starts_with('0'))
    };
    !least.is_empty() && digits(least) && digits(most)
}

/// An escape, of which the backslash has been read.
fn push_escape(chars: &mut std::str::Chars<'_>, out: &mut String) {
    match chars.next() {
        Some('Q') => push_quoted(chars, out),
        Some('d') => out.push_str("[0-9]"),
        Some('D') => out.push_str("[^0-9]"),
        Some('w') => out.push_str("[0-9A-Za-z_]"),
        Some('W') => out.push_str("[^0-9A-Za-z_]"),
        Some('s') => out.push_str("[\\t\\n\\f\\r ]"),
        Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
        Some('b') => out.push_str("(?-u:\\b)"),
        Some('B') => out.push_str("(?-u:\\B)"),
        Some(first @ '0'..='7') => push_octal(first, chars, out),
        // The start and the end of a word in our library.
        Some(c @ ('<' | '>')) => out.push(c),
        Some(other) => {
            out.extend(['\\', other]);
            // `\p{Greek}`, `\x{10FFFF}`: these braces belong to the escape.
            if matches!(other, 'p' | 'P' | 'x') && chars.as_str().starts_with('{') {
                let len = chars.as_str().find('}').map_or(1, |at| at + 1);
                let (braces, rest) = chars.as_str().split_at(len);
                out.push_str(braces);
                *chars = rest.chars();
            } else if matches!(other, 'p' | 'P') {
                out.extend(chars.next());
            }
        }
        None => out.push('\\'),
    }
}

/// A character by up to three octal digits; one digit alone is a character only if it is 0.
fn push_octal(first: char, chars: &mut std::str::Chars<'_>, out: &mut String) {
    let rest = chars.as_str();
    let more = rest.bytes().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    let (digits, behind) = rest.split_at(more);
    if first != '0' && more == 0 {
        return out.extend(['\\', first]);
    }
    let value = |value: u32, digit: char| 8 * value + digit.to_digit(8).unwrap_or(0);
    let value = digits.chars().fold(value(0, first), value);
    // Writing into a text does not fail.
    let _ = write!(out, "\\x{{{value:x}}}");
    *chars = behind.chars();
}

/// `\Q…\E`: everything up to `\E` stands for itself.
fn push_quoted(chars: &mut std::str::Chars<'_>, out: &mut String) {
    while let Some(c) = chars.next() {
        if c == '\\' && chars.as_str().starts_with('E') {
            chars.next();
            return;
        }
        let mut buffer = [0; 4];
        out.push_str(&regex_syntax::escape(c.encode_utf8(&mut buffer)));
    }
}
