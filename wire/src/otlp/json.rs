//! OTLP's JSON, rewritten into the protobuf bytes that it stands for: then there is one way on.
//!
//! A table (`json/messages.rs`) says which key of which message is which field; the text is read
//! once and written as it is read, so nothing is built that is larger than the two of them.
//!
//! # Invariants
//! - Unknown keys are passed, `null` is as good as no key, 64-bit integers are numbers or strings.
//! - How deep a text may nest is bounded by the JSON reader, and how long its bytes may become by
//!   whoever asks.

mod messages;

use super::Error;
use crate::protobuf::write::{push_bytes, push_varint, zigzag};
use messages::{Kind, REQUEST, Rule};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Rewrites an `ExportMetricsServiceRequest`. `grow` is told how long the bytes have become, every
/// 64 KiB and at the end, and says whether they may be.
///
/// # Errors
/// [`Error::Json`] with line and column, also if `grow` said no.
pub fn from_json(text: &[u8], grow: &mut dyn FnMut(usize) -> bool) -> Result<Vec<u8>, Error> {
    // A bucket's count of two characters becomes eight bytes, and nothing grows by more. Room that is
    // not written to is not taken; a buffer that is moved as it grows is held twice.
    let room = text.len().saturating_mul(4);
    let mut writer = Writer { out: Vec::with_capacity(room), grow, told: 0 };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Message { rules: REQUEST, writer: &mut writer }.deserialize(&mut reader);
    let read = read.and_then(|()| reader.end()).and_then(|()| writer.ask());
    read.map_err(|error| Error::Json(error.to_string()))?;
    Ok(writer.out)
}

struct Writer<'g> {
    out: Vec<u8>,
    grow: &'g mut dyn FnMut(usize) -> bool,
    told: usize,
}

/// The length is told again when it has grown by so much.
const STEP_BYTES: usize = 64 << 10;

impl Writer<'_> {
    fn check<E: de::Error>(&mut self) -> Result<(), E> {
        if self.out.len() > self.told {
            self.told = self.out.len() + STEP_BYTES;
            return self.ask();
        }
        Ok(())
    }

    fn ask<E: de::Error>(&mut self) -> Result<(), E> {
        if (self.grow)(self.out.len()) { Ok(()) } else { Err(E::custom("too large")) }
    }

    fn key(&mut self, rule: &Rule, wire_type: u64) {
        push_varint(u64::from(rule.number) << 3 | wire_type, &mut self.out);
    }

    /// What `write` appends, as a field with a length.
    fn sized<E: de::Error>(
        &mut self,
        rule: &Rule,
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.key(rule, 2);
        let start = self.out.len();
        write(self)?;
        let len = self.out.len() - start;
        push_varint(len as u64, &mut self.out);
        // The length was written behind what it counts.
        let prefix = self.out.len() - start - len;
        self.out[start..].rotate_right(prefix);
        self.check()
    }
}

/// Reads a JSON object and appends the fields of a message.
struct Message<'w, 'g> {
    rules: &'static [Rule],
    writer: &'w mut Writer<'g>,
}

impl<'de> DeserializeSeed<'de> for Message<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Message<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(rule) = map.next_key_seed(Key { rules: self.rules })? {
            match rule {
                Some(rule) => map.next_value_seed(Field { rule, writer: self.writer })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Reads a key, and returns the field it stands for.
struct Key {
    rules: &'static [Rule],
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static Rule>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static Rule>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.rules.iter().find(|rule| rule.name == key))
    }
}

/// Reads a value, and appends it as a field.
struct Field<'w, 'g> {
    rule: &'static Rule,
    writer: &'w mut Writer<'g>,
}

impl<'de> DeserializeSeed<'de> for Field<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Field<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.rule.kind {
            Kind::Message(_) => "an object",
            Kind::Messages(_) | Kind::Packed(_) => "a list",
            Kind::Text => "a string",
            Kind::Hex => "a string of hexadecimal digits",
            Kind::Base64 => "a string in base64",
            Kind::Bool => "true or false",
            Kind::Double => "a number",
            Kind::Fixed64 | Kind::Unsigned => "an integer that is not negative",
            Kind::SignedFixed64 | Kind::Signed | Kind::Zigzag => "an integer",
        })
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        match self.rule.kind {
            Kind::Bool => {
                self.writer.key(self.rule, 0);
                self.writer.out.push(u8::from(value));
                self.writer.check()
            }
            _ => Err(E::invalid_type(de::Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.number(Number::Unsigned(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.number(Number::Signed(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.number(Number::Float(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        let bytes = match self.rule.kind {
            Kind::Text => {
                push_bytes(self.rule.number, text.as_bytes(), &mut self.writer.out);
                return self.writer.check();
            }
            Kind::Hex => from_hex(text),
            Kind::Base64 => from_base64(text),
            _ => {
                let number = Number::parse(text, matches!(self.rule.kind, Kind::Double));
                let unexpected = || E::invalid_value(de::Unexpected::Str(text), &self);
                let number = number.ok_or_else(unexpected)?;
                return self.number(number);
            }
        };
        match bytes {
            Some(bytes) => {
                push_bytes(self.rule.number, &bytes, &mut self.writer.out);
                self.writer.check()
            }
            None => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match self.rule.kind {
            Kind::Message(rules) => self
                .writer
                .sized(self.rule, |writer| Message { rules: rules.0, writer }.visit_map(map)),
            _ => Err(de::Error::invalid_type(de::Unexpected::Map, &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        match self.rule.kind {
            Kind::Messages(rules) => {
                let (rule, rules, writer) = (self.rule, rules.0, self.writer);
                while list.next_element_seed(Item { rule, rules, writer: &mut *writer })?.is_some()
                {
                }
                Ok(())
            }
            Kind::Packed(element) => self.writer.sized(self.rule, |writer| {
                while list.next_element_seed(Element { element, writer: &mut *writer })?.is_some() {
                    writer.check()?;
                }
                Ok(())
            }),
            _ => Err(de::Error::invalid_type(de::Unexpected::Seq, &self)),
        }
    }
}

impl Field<'_, '_> {
    fn number<E: de::Error>(self, number: Number) -> Result<(), E> {
        let Some(bits) = number.bits(self.rule.kind) else {
            let unexpected = match number {
                Number::Unsigned(value) => de::Unexpected::Unsigned(value),
                Number::Signed(value) => de::Unexpected::Signed(value),
                Number::Float(value) => de::Unexpected::Float(value),
            };
            return Err(E::invalid_value(unexpected, &self));
        };
        self.writer.key(self.rule, if self.rule.kind.is_fixed() { 1 } else { 0 });
        bits.put(&mut self.writer.out);
        self.writer.check()
    }
}

/// Reads an object of a list, and appends it as one more field.
struct Item<'w, 'g> {
    rule: &'static Rule,
    rules: &'static [Rule],
    writer: &'w mut Writer<'g>,
}

impl<'de> DeserializeSeed<'de> for Item<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let rules = self.rules;
        self.writer.sized(self.rule, |writer| Message { rules, writer }.deserialize(deserializer))
    }
}

/// Reads a number of a packed list, and appends its bytes.
struct Element<'w, 'g> {
    element: &'static Kind,
    writer: &'w mut Writer<'g>,
}

impl Element<'_, '_> {
    fn put<E: de::Error>(self, number: Option<Number>) -> Result<(), E> {
        let bits = number.and_then(|number| number.bits(*self.element));
        let bits = bits.ok_or_else(|| E::custom("not a number of this list"))?;
        bits.put(&mut self.writer.out);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Element<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.put(Some(Number::Unsigned(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.put(Some(Number::Signed(value)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.put(Some(Number::Float(value)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        let number = Number::parse(text, matches!(self.element, Kind::Double));
        self.put(number)
    }
}

/// A number as JSON has it.
#[derive(Clone, Copy, Debug)]
enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

/// A number as protobuf has it.
#[derive(Clone, Copy, Debug)]
enum Bits {
    Varint(u64),
    Fixed(u64),
}

impl Bits {
    fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(value) => push_varint(value, out),
            Self::Fixed(value) => out.extend_from_slice(&value.to_le_bytes()),
        }
    }
}

impl Number {
    /// A number that was sent as a string.
    fn parse(text: &str, is_double: bool) -> Option<Self> {
        if let Ok(value) = text.parse() {
            return Some(Self::Unsigned(value));
        }
        if let Ok(value) = text.parse() {
            return Some(Self::Signed(value));
        }
        match text {
            _ if !is_double => None,
            "NaN" => Some(Self::Float(f64::NAN)),
            "Infinity" => Some(Self::Float(f64::INFINITY)),
            "-Infinity" => Some(Self::Float(f64::NEG_INFINITY)),
            text => text.parse().ok().filter(|value: &f64| value.is_finite()).map(Self::Float),
        }
    }

    /// Its bytes as a field of this kind; `None` if it is no such number.
    fn bits(self, kind: Kind) -> Option<Bits> {
        Some(match kind {
            Kind::Double => Bits::Fixed(self.float().to_bits()),
            Kind::Fixed64 => Bits::Fixed(u64::try_from(self.integer()?).ok()?),
            Kind::SignedFixed64 => {
                Bits::Fixed(i64::try_from(self.integer()?).ok()?.cast_unsigned())
            }
            Kind::Unsigned => Bits::Varint(u64::try_from(self.integer()?).ok()?),
            Kind::Signed => Bits::Varint(i64::try_from(self.integer()?).ok()?.cast_unsigned()),
            Kind::Zigzag => Bits::Varint(zigzag(i64::from(i32::try_from(self.integer()?).ok()?))),
            _ => return None,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
    fn float(self) -> f64 {
        match self {
            Self::Unsigned(value) => value as f64,
            Self::Signed(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    /// As an integer: also one that was sent as `1.0` or `1e3`.
    fn integer(self) -> Option<i128> {
        match self {
            Self::Unsigned(value) => Some(value.into()),
            Self::Signed(value) => Some(value.into()),
            #[expect(clippy::cast_possible_truncation, reason = "checked to be far inside")]
            Self::Float(value) if value.fract() == 0.0 && value.abs() < 1e20 => Some(value as i128),
            Self::Float(_) => None,
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

/// Base64 of RFC 4648 in either alphabet, padded or not.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in chunk {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let whole = chunk.len() * 6 / 8;
        if whole == 0 {
            return None;
        }
        let [_, a, b, c] = (bits << (24 - 6 * chunk.len())).to_be_bytes();
        bytes.extend_from_slice(&[a, b, c][..whole]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
