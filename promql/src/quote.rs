//! Strings as the language writes them: quoting and unquoting by Go's rules.
//!
//! A string stands for bytes: `"\xff"` is one byte that is not UTF-8, and is printed as such again.

use std::fmt::{self, Write};

/// Writes `bytes` in double quotes; what cannot be printed is escaped.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write_quoted(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    out.write_char('"')?;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            write_char(out, c)?;
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    out.write_char('"')
}

/// `text` in double quotes; what cannot be printed is escaped.
pub(crate) fn quoted(text: &str) -> String {
    quoted_bytes(text.as_bytes())
}

/// `bytes` in double quotes; what cannot be printed is escaped.
pub(crate) fn quoted_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    // Writing to a string cannot fail.
    let _ = write_quoted(&mut out, bytes);
    out
}

/// `c` in single quotes, as Go's `%q` writes a rune.
pub(crate) fn quoted_char(c: char) -> String {
    let mut out = String::from("'");
    let _ = match c {
        '\'' => out.write_str("\\'"),
        '"' => out.write_char('"'),
        _ => write_char(&mut out, c),
    };
    out.push('\'');
    out
}

fn write_char(out: &mut impl Write, c: char) -> fmt::Result {
    match c {
        '"' => out.write_str("\\\""),
        '\\' => out.write_str("\\\\"),
        '\x07' => out.write_str("\\a"),
        '\x08' => out.write_str("\\b"),
        '\x0c' => out.write_str("\\f"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\x0b' => out.write_str("\\v"),
        ' '..='~' => out.write_char(c),
        _ if is_printable(c) => out.write_char(c),
        '\0'..='\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
        _ if u32::from(c) < 0x1_0000 => write!(out, "\\u{:04x}", u32::from(c)),
        _ => write!(out, "\\U{:08x}", u32::from(c)),
    }
}

/// Whether a character has a shape. The standard library's table is only open through
/// `escape_debug`, which after a first character leaves exactly those as they are.
pub(crate) fn is_printable(c: char) -> bool {
    let mut buffer = [0; 5];
    let Some((first, rest)) = buffer.split_first_mut() else { return false };
    *first = b'a';
    let len = c.encode_utf8(rest).len() + 1;
    let text = buffer.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.is_some_and(|text| text.escape_debug().nth(1) == Some(c) && c != '\\')
}

/// The bytes a string token stands for. The token is one the lexer let through: its quotes match
/// and its escapes are right.
pub(crate) fn unquote(token: &str) -> Vec<u8> {
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or("");
    if token.starts_with('`') {
        return inner.as_bytes().to_vec();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        rest = push_escape(&mut out, &escape[1..]);
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// Pushes what the escape at the start of `escape` (behind its backslash) stands for; answers what
/// follows it.
fn push_escape<'t>(out: &mut Vec<u8>, escape: &'t str) -> &'t str {
    let mut chars = escape.chars();
    let simple = match chars.next() {
        None => return "",
        Some('a') => 0x07,
        Some('b') => 0x08,
        Some('f') => 0x0c,
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('v') => 0x0b,
        Some('x') => return push_code(out, chars.as_str(), 2, 16, true),
        Some('u') => return push_code(out, chars.as_str(), 4, 16, false),
        Some('U') => return push_code(out, chars.as_str(), 8, 16, false),
        Some('0'..='7') => return push_code(out, escape, 3, 8, true),
        Some(other) => u8::try_from(other).unwrap_or(b'?'),
    };
    out.push(simple);
    chars.as_str()
}

fn push_code<'t>(
    out: &mut Vec<u8>,
    text: &'t str,
    digits: usize,
    radix: u32,
    is_byte: bool,
) -> &'t str {
    let (code, rest) = text.split_at_checked(digits).unwrap_or((text, ""));
    let code = u32::from_str_radix(code, radix).unwrap_or(0);
    match u8::try_from(code) {
        Ok(byte) if is_byte => out.push(byte),
        _ => {
            let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_what_was_unquoted_gives_the_canonical_form() {
        let cases = [
            (r#""a\x41\101\u00e9\U0001F600""#, "\"aAAé😀\""),
            (r#"'\xff\377"\''"#, r#""\xff\xff\"'""#),
            ("`a\\n`", r#""a\\n""#),
            (r#""\a\b\f\n\r\t\v\\\"\x00\x7f""#, r#""\a\b\f\n\r\t\v\\\"\x00\x7f""#),
            ("\"e\u{301}\u{200b}\u{a0}\u{e000}\"", "\"e\u{301}\\u200b\\u00a0\\ue000\""),
        ];
        for (token, canonical) in cases {
            let mut out = String::new();
            write_quoted(&mut out, &unquote(token)).unwrap();
            assert_eq!(out, canonical, "{token}");
        }
    }

    #[test]
    fn a_quoted_rune_escapes_its_own_quote_only() {
        assert_eq!(quoted_char('\''), "'\\''");
        assert_eq!(quoted_char('"'), "'\"'");
        assert_eq!(quoted_char('\n'), "'\\n'");
    }
}
