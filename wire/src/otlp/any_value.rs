//! Attributes: a key and a value of any type, and the text that a label makes of it.
//!
//! # Invariants
//! - A text that is not the sender's own bytes is no longer than [`TEXT_BYTES_MAX`] or so: written
//!   as JSON a byte can become six.

use super::Error;
use super::fields::{Repeated, Result, each_field};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::str::Utf8Error;

/// Values nest no deeper than this.
const DEPTH_MAX: usize = 32;
/// A list, a map or bytes have no text that is longer.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Maps have no more members, since they are held to be sorted.
const MEMBERS_MAX: usize = 4096;

/// Why a value has no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoText {
    /// The whole body is bad: it is no protobuf, or nests too deep.
    Body(Error),
    /// Something in it is not UTF-8.
    NotUtf8,
    /// It would be longer than [`TEXT_BYTES_MAX`], or has too many members.
    TooLong,
}

impl<E: Into<Error>> From<E> for NoText {
    fn from(error: E) -> Self {
        Self::Body(error.into())
    }
}

impl From<Utf8Error> for NoText {
    fn from(_: Utf8Error) -> Self {
        Self::NotUtf8
    }
}

/// The attributes of something, in the order sent.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    list: Repeated<'a>,
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub struct KeyValue<'a> {
    /// Its name as sent: not yet known to be UTF-8.
    pub key: &'a [u8],
    /// Its value.
    pub value: AnyValue<'a>,
}

/// A value of any type. Texts as sent: not yet known to be UTF-8.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "OTLP's own words")]
pub enum AnyValue<'a> {
    #[default]
    Empty,
    String(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// The message of the list.
    Array(&'a [u8]),
    /// The message of the list.
    Kvlist(&'a [u8]),
    Bytes(&'a [u8]),
}

impl<'a> Attributes<'a> {
    pub(super) fn new(message: &'a [u8], number: u32) -> Self {
        Self { list: Repeated::new(message, number) }
    }

    /// Each attribute. Ends after an error.
    pub fn iter(self) -> impl Iterator<Item = Result<KeyValue<'a>>> {
        self.list.messages().map(|message| KeyValue::read(message?))
    }
}

impl<'a> KeyValue<'a> {
    fn read(message: &'a [u8]) -> Result<Self> {
        let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
        each_field(message, |cursor, number, wire_type| {
            match number {
                1 => key = cursor.expect_bytes(number, wire_type)?,
                2 => value = cursor.expect_bytes(number, wire_type)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { key, value: AnyValue::read(value)? })
    }
}

impl<'a> AnyValue<'a> {
    fn read(message: &'a [u8]) -> Result<Self> {
        let mut value = Self::Empty;
        each_field(message, |cursor, number, wire_type| {
            value = match number {
                1 => Self::String(cursor.expect_bytes(number, wire_type)?),
                2 => Self::Bool(cursor.expect_varint(number, wire_type)? != 0),
                3 => Self::Int(cursor.expect_varint(number, wire_type)?.cast_signed()),
                4 => Self::Double(cursor.expect_double(number, wire_type)?),
                5 => Self::Array(cursor.expect_bytes(number, wire_type)?),
                6 => Self::Kvlist(cursor.expect_bytes(number, wire_type)?),
                7 => Self::Bytes(cursor.expect_bytes(number, wire_type)?),
                _ => return Ok(false),
            };
            Ok(true)
        })?;
        Ok(value)
    }

    /// The value as a label has it: a string as it is, a number in decimal, bytes in base64, lists
    /// as JSON.
    ///
    /// # Errors
    /// [`NoText`].
    pub fn text(self) -> std::result::Result<Cow<'a, str>, NoText> {
        Ok(match self {
            Self::Empty => Cow::Borrowed(""),
            Self::String(bytes) => Cow::Borrowed(std::str::from_utf8(bytes)?),
            Self::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Self::Int(value) => Cow::Owned(value.to_string()),
            Self::Double(value) => Cow::Owned(number(value)),
            Self::Bytes(bytes) if bytes.len() > TEXT_BYTES_MAX => return Err(NoText::TooLong),
            Self::Bytes(bytes) => Cow::Owned(base64(bytes)),
            Self::Array(_) | Self::Kvlist(_) => {
                let mut text = String::new();
                self.json(&mut text, 0)?;
                Cow::Owned(text)
            }
        })
    }

    /// Appends the value as JSON.
    fn json(self, into: &mut String, depth: usize) -> std::result::Result<(), NoText> {
        if depth > DEPTH_MAX {
            return Err(Error::Depth(DEPTH_MAX).into());
        }
        match self {
            Self::Empty => into.push_str("null"),
            Self::String(bytes) | Self::Bytes(bytes) if bytes.len() > TEXT_BYTES_MAX => {
                return Err(NoText::TooLong);
            }
            Self::String(bytes) => quote(std::str::from_utf8(bytes)?, into),
            Self::Bool(value) => into.push_str(if value { "true" } else { "false" }),
            Self::Int(value) => into.push_str(&value.to_string()),
            Self::Double(value) if value.is_finite() => into.push_str(&number(value)),
            Self::Double(value) => quote(&number(value), into),
            Self::Bytes(bytes) => quote(&base64(bytes), into),
            Self::Array(message) => {
                into.push('[');
                for (index, item) in Repeated::new(message, 1).messages().enumerate() {
                    if index > 0 {
                        into.push(',');
                    }
                    Self::read(item?)?.json(into, depth + 1)?;
                }
                into.push(']');
            }
            Self::Kvlist(message) => object(message, into, depth)?,
        }
        if into.len() > TEXT_BYTES_MAX { Err(NoText::TooLong) } else { Ok(()) }
    }
}

/// Appends a list of attributes as a JSON object, keys in order; of equal ones the last counts.
fn object(message: &[u8], into: &mut String, depth: usize) -> std::result::Result<(), NoText> {
    let mut members: std::collections::BTreeMap<&str, AnyValue<'_>> = Default::default();
    for item in Attributes::new(message, 1).iter() {
        let item = item?;
        members.insert(std::str::from_utf8(item.key)?, item.value);
        if members.len() > MEMBERS_MAX {
            return Err(NoText::TooLong);
        }
    }
    into.push('{');
    for (index, (key, value)) in members.into_iter().enumerate() {
        if index > 0 {
            into.push(',');
        }
        if key.len() > TEXT_BYTES_MAX {
            return Err(NoText::TooLong);
        }
        quote(key, into);
        into.push(':');
        value.json(into, depth + 1)?;
    }
    into.push('}');
    Ok(())
}

/// A float as JSON has it: an exponent only where the number is very large or very small.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        // As Go writes it: a sign in front of every exponent.
        return match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                format!("{digits}e+{exponent}")
            }
            _ => text,
        };
    }
    value.to_string()
}

/// Appends a JSON string; characters that could end a script are escaped, as Go does.
fn quote(text: &str, into: &mut String) {
    into.push('"');
    for c in text.chars() {
        match c {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            '\u{8}' => into.push_str("\\b"),
            '\u{c}' => into.push_str("\\f"),
            '\0'..'\u{20}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // Writing to a string cannot fail.
                let _ = write!(into, "\\u{:04x}", u32::from(c));
            }
            c => into.push(c),
        }
    }
    into.push('"');
}

/// Base64 of RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (digit, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            match digit <= chunk.len() {
                true => text.push(char::from(DIGITS[(bits >> shift & 63) as usize])),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::write::push_bytes;

    fn string(text: &str) -> Vec<u8> {
        let mut message = Vec::new();
        push_bytes(1, text.as_bytes(), &mut message);
        message
    }

    fn array(items: &[Vec<u8>]) -> Vec<u8> {
        let (mut list, mut message) = (Vec::new(), Vec::new());
        items.iter().for_each(|item| push_bytes(1, item, &mut list));
        push_bytes(5, &list, &mut message);
        message
    }

    fn text(message: &[u8]) -> std::result::Result<String, NoText> {
        AnyValue::read(message).unwrap().text().map(Cow::into_owned)
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, want) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), want);
        }
    }

    #[test]
    fn numbers_are_written_as_json_has_them() {
        for (value, want) in [
            (1.0, "1"),
            (-0.5, "-0.5"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (1e-7, "1e-7"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(number(value), want);
        }
    }

    #[test]
    fn a_list_is_json_and_a_string_in_it_is_quoted() {
        assert_eq!(text(&array(&[string("a<\"\n"), vec![]])).unwrap(), r#"["a\u003c\"\n",null]"#);
    }

    #[test]
    fn a_value_that_is_not_utf_8_has_no_text_however_deep_it_lies() {
        let bad = [0x0a, 1, 0xff];
        assert_eq!(text(&bad), Err(NoText::NotUtf8));
        assert_eq!(text(&array(&[array(&[bad.to_vec()])])), Err(NoText::NotUtf8));
    }

    #[test]
    fn values_may_nest_so_deep_and_no_deeper() {
        let mut message = string("x");
        for _ in 0..DEPTH_MAX {
            message = array(&[message]);
        }
        assert!(text(&message).is_ok());
        let message = array(&[message]);
        assert_eq!(text(&message), Err(NoText::Body(Error::Depth(DEPTH_MAX))));
    }

    #[test]
    fn what_is_not_the_senders_own_bytes_has_a_text_of_so_many_bytes_and_no_more() {
        let member = |key: String| {
            let (mut member, mut list) = (Vec::new(), Vec::new());
            push_bytes(1, key.as_bytes(), &mut member);
            push_bytes(1, &member, &mut list);
            list
        };
        let map = |members: usize| {
            let list: Vec<u8> = (0..members).flat_map(|n| member(n.to_string())).collect();
            let mut message = Vec::new();
            push_bytes(6, &list, &mut message);
            message
        };
        assert!(text(&map(MEMBERS_MAX)).is_ok());
        assert_eq!(text(&map(MEMBERS_MAX + 1)), Err(NoText::TooLong));
        let of = |len: usize| array(&[string(&"x".repeat(len))]);
        assert_eq!(text(&of(TEXT_BYTES_MAX - 4)).unwrap().len(), TEXT_BYTES_MAX);
        assert_eq!(text(&of(TEXT_BYTES_MAX - 1)), Err(NoText::TooLong));
        // A string is as long as it was sent.
        assert_eq!(
            text(&string(&"x".repeat(TEXT_BYTES_MAX + 1))).unwrap().len(),
            TEXT_BYTES_MAX + 1
        );
        let mut bytes = Vec::new();
        push_bytes(7, &vec![0; TEXT_BYTES_MAX + 1], &mut bytes);
        assert_eq!(text(&bytes), Err(NoText::TooLong));
    }
}
