//! The parameters of a request: form and URL merged, read by their kinds.
//!
//! A form value beats the URL value of the same key; a key may repeat. The readers answer with the
//! texts that Prometheus' clients know: `invalid parameter "time": …`.

use crate::error::Error;
use crate::time_param::{parse_duration, parse_time};
use model::TimestampMs;
use std::borrow::Cow;

/// The longest body that is read, in bytes: the longest query, each byte percent-encoded, and room.
pub(crate) const BODY_BYTES_MAX: usize = 2 << 20;

/// The most parameters that one request may have.
const PARAMS_MAX: usize = 10_000;

/// The parameters of one request, form values before those of the URL.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Reads `key=value&…` from a form, if there is one, and from the URL.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a broken percent-escape, what is not UTF-8, or too many of them.
    pub(crate) fn parse(form: Option<&[u8]>, url: Option<&str>) -> Result<Self, Error> {
        let mut pairs = Vec::new();
        for text in [form, url.map(str::as_bytes)].into_iter().flatten() {
            for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
                if pairs.len() == PARAMS_MAX {
                    return Err(Error::invalid(format!("more than {PARAMS_MAX} parameters")));
                }
                let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
                let value = pair.get(at + 1..).unwrap_or_default();
                pairs.push((decode(&pair[..at])?, decode(value)?));
            }
        }
        Ok(Self { pairs })
    }

    /// The first value of `key`; empty if there is none.
    pub(crate) fn get(&self, key: &str) -> &str {
        let found = self.pairs.iter().find(|(have, _)| have == key);
        found.map_or("", |(_, value)| value)
    }

    /// Every value of `key`.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(have, _)| have == key).map(|(_, value)| value.as_str())
    }

    /// The time `key`, which has to be there.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it is no time.
    pub(crate) fn time(&self, key: &str) -> Result<TimestampMs, Error> {
        parse_time(self.get(key)).map_err(|reason| Error::param(key, reason))
    }

    /// The time `key`, or `absent` if it is not there.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it is no time.
    pub(crate) fn time_or(&self, key: &str, absent: TimestampMs) -> Result<TimestampMs, Error> {
        if self.get(key).is_empty() {
            return Ok(absent);
        }
        parse_time(self.get(key)).map_err(|reason| {
            Error::param(key, format!("invalid time value for '{key}': {reason}"))
        })
    }

    /// The duration `key` in milliseconds, which has to be there.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it is no duration.
    pub(crate) fn duration_ms(&self, key: &str) -> Result<i64, Error> {
        parse_duration(self.get(key)).map_err(|reason| Error::param(key, reason))
    }

    /// How many series or names are wanted at most; 0 is no limit.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if `limit` is not a whole number from 0 on.
    pub(crate) fn limit(&self) -> Result<u64, Error> {
        let text = self.get("limit");
        if text.is_empty() {
            return Ok(0);
        }
        let limit = parse_int(text, "Atoi").map_err(|reason| Error::param("limit", reason))?;
        u64::try_from(limit).map_err(|_| Error::param("limit", "limit must be non-negative"))
    }
}

/// Reads a whole number; `reader` is the name that clients know the refusal by.
///
/// # Errors
/// The text that says that it is none.
pub(crate) fn parse_int(text: &str, reader: &str) -> Result<i64, String> {
    text.parse().map_err(|_| {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let reason = if number { "value out of range" } else { "invalid syntax" };
        format!("strconv.{reader}: parsing {text:?}: {reason}")
    })
}

/// Undoes `+` and `%41`.
fn decode(encoded: &[u8]) -> Result<String, Error> {
    let bytes = if encoded.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        Cow::Owned(decode_bytes(encoded)?)
    } else {
        Cow::Borrowed(encoded)
    };
    String::from_utf8(bytes.into_owned())
        .map_err(|_| Error::invalid("error parsing form values: not UTF-8"))
}

fn decode_bytes(encoded: &[u8]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let byte = tail.split_at_checked(2).and_then(|(hex, tail)| {
                    rest = tail;
                    Some(hex_digit(hex[0])? << 4 | hex_digit(hex[1])?)
                });
                bytes.push(byte.ok_or_else(|| bad_escape(tail))?);
            }
            other => bytes.push(*other),
        }
    }
    Ok(bytes)
}

fn hex_digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

fn bad_escape(tail: &[u8]) -> Error {
    let escape = String::from_utf8_lossy(tail.get(..2).unwrap_or(tail)).into_owned();
    Error::invalid(format!(
        "error parsing form values: invalid URL escape {:?}",
        format!("%{escape}")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(form: &str, url: &str) -> Params {
        Params::parse(Some(form.as_bytes()), Some(url)).unwrap()
    }

    #[test]
    fn a_form_value_beats_the_urls_and_repeats_are_kept() {
        let params = params("query=a%2Bb+c&match[]=1", "query=x&match%5B%5D=2&match[]=3&flag&=e");
        assert_eq!(params.get("query"), "a+b c");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!((params.get("flag"), params.get("none")), ("", ""));
    }

    #[test]
    fn broken_escapes_are_refused() {
        for url in ["a=%", "a=%4", "a=%zz", "a=%ff", "%f=1", "a=%é"] {
            assert!(Params::parse(None, Some(url)).is_err(), "{url}");
        }
    }

    #[test]
    fn there_is_a_bound_on_their_number() {
        assert!(Params::parse(None, Some(&"a=1&".repeat(PARAMS_MAX))).is_ok());
        assert!(Params::parse(None, Some(&"a=1&".repeat(PARAMS_MAX + 1))).is_err());
    }

    #[test]
    fn a_limit_is_a_whole_number_from_0_on() {
        assert_eq!(params("", "").limit().unwrap(), 0);
        assert_eq!(params("", "limit=7").limit().unwrap(), 7);
        let table = [
            ("limit=-1", "limit must be non-negative"),
            ("limit=x", "strconv.Atoi: parsing \"x\": invalid syntax"),
            ("limit=1.5", "strconv.Atoi: parsing \"1.5\": invalid syntax"),
            (
                "limit=99999999999999999999",
                "strconv.Atoi: parsing \"99999999999999999999\": value out of range",
            ),
        ];
        for (url, reason) in table {
            let error = params("", url).limit().unwrap_err();
            assert_eq!(error.to_string(), format!("invalid parameter \"limit\": {reason}"));
        }
    }

    #[test]
    fn absent_times_take_the_given_one_unless_they_have_to_be_there() {
        let params = params("", "start=abc&end=2");
        assert_eq!(params.time("end").unwrap(), TimestampMs(2_000));
        assert_eq!(params.time_or("time", TimestampMs(7)).unwrap(), TimestampMs(7));
        assert_eq!(
            params.time("time").unwrap_err().to_string(),
            "invalid parameter \"time\": cannot parse \"\" to a valid timestamp"
        );
        assert_eq!(
            params.time_or("start", TimestampMs(7)).unwrap_err().to_string(),
            "invalid parameter \"start\": invalid time value for 'start': cannot parse \"abc\" to a valid timestamp"
        );
    }
}
