//! RE2's syntax in terms of our library's, and its faults in RE2's words.

use super::{RegexError, fault};

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
        ErrorKind::EscapeUnrecognized => fault(part, "invalid escape sequence"),
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
/// repetition is a character, and inside of brackets `[`, `&` and `~` are characters too.
pub(super) fn rewritten(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => push_escape(&mut chars, &mut out),
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                push_class_start(&mut chars, &mut out);
            }
            '[' if chars.as_str().starts_with(':') => push_named_class(&mut chars, &mut out),
            ']' => {
                in_class = false;
                out.push(']');
            }
            '[' | '&' | '~' if in_class => out.extend(['\\', c]),
            '{' if !in_class && !starts_repetition(chars.as_str()) => out.push_str("\\{"),
            _ => out.push(c),
        }
    }
    out
}

/// Behind `[`: a `^`, and a `]` that is a character because it comes first.
fn push_class_start(chars: &mut std::str::Chars<'_>, out: &mut String) {
    for special in ['^', ']'] {
        if chars.as_str().starts_with(special) {
            chars.next();
            out.push_str(if special == ']' { "\\]" } else { "^" });
        }
    }
}

/// `[:alpha:]` inside of brackets; its `[` has been read.
fn push_named_class(chars: &mut std::str::Chars<'_>, out: &mut String) {
    let Some(end) = chars.as_str().find(":]") else { return out.push_str("\\[") };
    let (name, rest) = chars.as_str().split_at(end + 2);
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
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
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
        Some(other) => {
            out.extend(['\\', other]);
            // `\p{Greek}`, `\x{10FFFF}`: these braces belong to the escape.
            if matches!(other, 'p' | 'P' | 'x') && chars.as_str().starts_with('{') {
                let len = chars.as_str().find('}').map_or(1, |at| at + 1);
                let (braces, rest) = chars.as_str().split_at(len);
                out.push_str(braces);
                *chars = rest.chars();
            }
        }
        None => out.push('\\'),
    }
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
