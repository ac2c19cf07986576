//! Which message a write is, and how it is packed, by its headers alone: CONTRACTS.md 5.1.
//!
//! Only `Content-Type` chooses the message: what a sender says of its version elsewhere does not
//! count. Parameters of the media type follow RFC 9110: blanks around `;` and quotes are legal.

use super::Error;

/// A version of remote write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Version {
    /// 1.0: `prometheus.WriteRequest`, labels spelled out.
    #[default]
    One,
    /// 2.0: `io.prometheus.write.v2.Request`, labels as references to symbols.
    Two,
}

impl Version {
    const ALL: [Self; 2] = [Self::One, Self::Two];

    /// The name of its message.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::One => "prometheus.WriteRequest",
            Self::Two => "io.prometheus.write.v2.Request",
        }
    }

    /// The version that a `Content-Type` asks for; 1.0 without one.
    ///
    /// # Errors
    /// [`Error::ContentType`] names what came.
    pub fn of_content_type(value: Option<&[u8]>) -> Result<Self, Error> {
        let Some(value) = value else { return Ok(Self::One) };
        let unknown = || Error::ContentType(shown(value));
        let text = std::str::from_utf8(value).map_err(|_| unknown())?;
        let mut parts = text.split(';');
        let media_type = parts.next().unwrap_or_default().trim();
        let mut parameters = parts.filter_map(|part| part.split_once('='));
        if !media_type.eq_ignore_ascii_case("application/x-protobuf") {
            return if text.trim().is_empty() { Ok(Self::One) } else { Err(unknown()) };
        }
        match parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("proto")) {
            None => Ok(Self::One),
            Some((_, message)) => {
                let message = message.trim().trim_matches('"');
                let is_it = |version: &Self| version.message() == message;
                Self::ALL.into_iter().find(is_it).ok_or_else(unknown)
            }
        }
    }
}

/// What a write is and how it is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// The message.
    pub version: Version,
    /// Its packing.
    pub encoding: Encoding,
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// One snappy block, without framing.
    #[default]
    Snappy,
    /// One zstd frame that says how long its content is. Not in the specification: vmagent sends it.
    Zstd,
}

impl Encoding {
    /// The encoding that a `Content-Encoding` names. Without one snappy is meant: old senders leave
    /// it out.
    ///
    /// # Errors
    /// [`Error::ContentEncoding`] names what came; more than one encoding is not taken either.
    pub fn of_content_encoding(value: Option<&[u8]>) -> Result<Self, Error> {
        match value.map(<[u8]>::trim_ascii) {
            None => Ok(Self::Snappy),
            Some(value) if value.eq_ignore_ascii_case(b"snappy") => Ok(Self::Snappy),
            Some(value) if value.eq_ignore_ascii_case(b"zstd") => Ok(Self::Zstd),
            Some(value) => Err(Error::ContentEncoding(shown(value))),
        }
    }
}

/// The start of a header's value, fit for an error text.
pub(crate) fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(100)]).into_owned()
}
