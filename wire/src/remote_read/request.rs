//! The question: `ReadRequest` out of a snappy block.

use crate::protobuf::{Cursor, ProtobufError, WireType};
use crate::remote_write::{self, Encoding};
use guard::Limit;
use model::matcher::MatchOp;
use model::{Kind, Matcher, TimestampMs};

/// The most questions of one request.
const QUERIES_MAX: usize = 1_000;

/// Why a remote-read body is not a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// Longer than a question may be.
    #[error("the request has {bytes} bytes, at most {max} are read")]
    TooLarge { bytes: u64, max: u64 },
    /// Not a snappy block.
    #[error("snappy: {0}")]
    Snappy(String),
    /// Not a `ReadRequest`.
    #[error("protobuf: {0}")]
    Protobuf(#[from] ProtobufError),
    /// A name or a value that is no text.
    #[error("a matcher is not UTF-8")]
    NotText,
    /// An operator that nobody knows.
    #[error("invalid matcher type {0}")]
    MatcherType(u64),
    /// The caller takes no form of answer that we have.
    #[error(
        "server does not support any of the requested response types: {0:?}; supported: SAMPLES, STREAMED_XOR_CHUNKS"
    )]
    ResponseTypes(Vec<u64>),
    /// Too many questions at once.
    #[error("more than {QUERIES_MAX} queries in one request")]
    TooManyQueries,
}

impl Error {
    /// What the error asks of its caller.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::TooLarge { .. } => Kind::TooLarge,
            _ => Kind::Invalid,
        }
    }
}

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseType {
    /// Samples, all at once.
    Samples,
    /// Chunks in frames.
    StreamedXorChunks,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Each is answered by itself.
    pub queries: Vec<ReadQuery>,
    /// How to answer: the first that the caller takes and we know.
    pub response_type: ResponseType,
}

/// One question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadQuery {
    /// The first moment.
    pub start: TimestampMs,
    /// The last moment, asked for too.
    pub end: TimestampMs,
    /// All of them have to match. A regex is not yet known to be one.
    pub matchers: Vec<Matcher>,
}

/// Reads a request out of a body of which at most `bytes_max` bytes may come, packed or not.
///
/// # Errors
/// [`Error`], of kind `TooLarge` or `Invalid`.
pub fn decode(body: &[u8], bytes_max: usize) -> Result<ReadRequest, Error> {
    let max = bytes_max as u64;
    if body.len() > bytes_max {
        return Err(Error::TooLarge { bytes: body.len() as u64, max });
    }
    let (mut message, limit) = (Vec::new(), Limit(max.max(1)));
    let len = remote_write::decompress(body, Encoding::Snappy, limit, &mut message);
    let len = len.map_err(|error| match error {
        remote_write::Error::TooLarge { bytes, .. } => Error::TooLarge { bytes, max },
        other => Error::Snappy(other.to_string()),
    })?;
    request(message.get(..len).unwrap_or_default())
}

fn request(message: &[u8]) -> Result<ReadRequest, Error> {
    let (mut queries, mut types) = (Vec::new(), Types::default());
    let mut cursor = Cursor::new(message);
    while !cursor.is_empty() {
        match cursor.key()? {
            (1, wire_type) => {
                if queries.len() == QUERIES_MAX {
                    return Err(Error::TooManyQueries);
                }
                queries.push(query(cursor.expect_bytes(1, wire_type)?)?);
            }
            (2, WireType::Bytes) => {
                let mut packed = Cursor::new(cursor.bytes()?);
                while !packed.is_empty() {
                    types.push(packed.varint()?);
                }
            }
            (2, wire_type) => types.push(cursor.expect_varint(2, wire_type)?),
            (number, wire_type) => cursor.skip(number, wire_type)?,
        }
    }
    Ok(ReadRequest { queries, response_type: types.choose()? })
}

/// What forms the caller takes, in their order.
#[derive(Debug, Default)]
struct Types {
    chosen: Option<ResponseType>,
    /// The first few of those that nobody knows.
    unknown: Vec<u64>,
}

impl Types {
    fn push(&mut self, number: u64) {
        let known = match number {
            0 => ResponseType::Samples,
            1 => ResponseType::StreamedXorChunks,
            _ => {
                if self.unknown.len() < 8 {
                    self.unknown.push(number);
                }
                return;
            }
        };
        self.chosen.get_or_insert(known);
    }

    fn choose(self) -> Result<ResponseType, Error> {
        match self.chosen {
            Some(chosen) => Ok(chosen),
            None if self.unknown.is_empty() => Ok(ResponseType::Samples),
            None => Err(Error::ResponseTypes(self.unknown)),
        }
    }
}

fn query(message: &[u8]) -> Result<ReadQuery, Error> {
    let mut query = ReadQuery::default();
    let mut cursor = Cursor::new(message);
    while !cursor.is_empty() {
        match cursor.key()? {
            (1, wire_type) => query.start.0 = cursor.expect_varint(1, wire_type)?.cast_signed(),
            (2, wire_type) => query.end.0 = cursor.expect_varint(2, wire_type)?.cast_signed(),
            (3, wire_type) => query.matchers.push(matcher(cursor.expect_bytes(3, wire_type)?)?),
            // Hints are about work that could be spared: what is asked is the range.
            (number, wire_type) => cursor.skip(number, wire_type)?,
        }
    }
    Ok(query)
}

fn matcher(message: &[u8]) -> Result<Matcher, Error> {
    let (mut op, mut name, mut value) = (MatchOp::Equal, "", "");
    let mut cursor = Cursor::new(message);
    while !cursor.is_empty() {
        match cursor.key()? {
            (1, wire_type) => {
                op = match cursor.expect_varint(1, wire_type)? {
                    0 => MatchOp::Equal,
                    1 => MatchOp::NotEqual,
                    2 => MatchOp::Regex,
                    3 => MatchOp::NotRegex,
                    other => return Err(Error::MatcherType(other)),
                }
            }
            (2, wire_type) => name = text(cursor.expect_bytes(2, wire_type)?)?,
            (3, wire_type) => value = text(cursor.expect_bytes(3, wire_type)?)?,
            (number, wire_type) => cursor.skip(number, wire_type)?,
        }
    }
    Ok(Matcher::new(name, op, value))
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::NotText)
}
