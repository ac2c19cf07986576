//! The symbol table of a remote-write 2.0 request: each text once, referred to by its place.
//!
//! # Invariants
//! - Symbol 0 is the empty text, as the specification wants it; also in a request without symbols.
//! - A place lies within the body it was read from, and is used with that body alone.
//!
//! Not here: what the references are good for (`labels.rs`, `metadata.rs`).

use super::Error;
use crate::protobuf::Cursor;
use guard::Limit;

/// The field of a request that holds a symbol.
const SYMBOL: u32 = 4;

/// Where the symbols of a request stand in its body.
#[derive(Clone, Debug)]
pub struct SymbolTable {
    places: Vec<Place>,
}

/// Where one symbol stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    len: u32,
}

/// What a request's symbols take in memory, by their count: their places, and a hash of 16 bytes
/// for each, which a reader may keep beside them.
const SYMBOL_BYTES: u64 = 24;

impl SymbolTable {
    /// How much memory the table of `body` will take, hashes included. Takes none itself.
    ///
    /// # Errors
    /// [`Error::Protobuf`]; [`Error::TooLarge`] if the table alone would be larger than a body may
    /// be: an empty symbol is two bytes there, and many times that here.
    pub fn bytes(body: &[u8], limit: Limit) -> Result<u64, Error> {
        let mut count = 0_u64;
        each_symbol(body, |_, _| count += 1)?;
        let bytes = count * SYMBOL_BYTES;
        if limit.is_exceeded_by(bytes) {
            let (limit, key) = (limit.0, "max_decoded_bytes");
            return Err(Error::TooLarge { form: "symbol table", bytes, limit, key });
        }
        Ok(bytes)
    }

    /// The table of a decoded body of at most `u32::MAX` bytes.
    ///
    /// # Errors
    /// [`Error::Protobuf`], or [`Error::FirstSymbol`].
    pub fn read(body: &[u8]) -> Result<Self, Error> {
        let mut count = 0;
        each_symbol(body, |_, _| count += 1)?;
        let mut places = Vec::with_capacity(count);
        each_symbol(body, |start, symbol| {
            places.push(Place { start: position(start), len: position(symbol.len()) });
        })?;
        match places.first() {
            None => places.push(Place { start: 0, len: 0 }),
            Some(first) if first.len > 0 => return Err(Error::FirstSymbol),
            Some(_) => {}
        }
        Ok(Self { places })
    }

    /// The symbols, out of the body that the table was read from.
    #[must_use]
    pub fn over<'a>(&'a self, body: &'a [u8]) -> Symbols<'a> {
        Symbols { body, places: &self.places }
    }
}

/// Calls `visit` with the offset and the text of each symbol.
fn each_symbol<'a>(body: &'a [u8], mut visit: impl FnMut(usize, &'a [u8])) -> Result<(), Error> {
    let mut cursor = Cursor::new(body);
    while !cursor.is_empty() {
        let (number, wire_type) = cursor.key()?;
        if number == SYMBOL {
            let symbol = cursor.expect_bytes(number, wire_type)?;
            visit(body.len() - cursor.rest.len() - symbol.len(), symbol);
        } else {
            cursor.skip(number, wire_type)?;
        }
    }
    Ok(())
}

/// Positions fit in 32 bits: no body has more bytes.
fn position(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The symbols of a request.
#[derive(Clone, Copy, Debug)]
pub struct Symbols<'a> {
    body: &'a [u8],
    places: &'a [Place],
}

impl<'a> Symbols<'a> {
    /// The text at a place, as sent: not yet known to be UTF-8.
    ///
    /// # Errors
    /// [`Error::Symbol`] if there is none.
    pub fn get(&self, reference: u32) -> Result<&'a [u8], Error> {
        let place = self.places.get(reference as usize).ok_or_else(|| self.none(reference))?;
        let rest = self.body.get(place.start as usize..).unwrap_or_default();
        Ok(rest.get(..place.len as usize).unwrap_or_default())
    }

    /// The error of a reference to no symbol.
    #[must_use]
    pub fn none(&self, reference: u32) -> Error {
        Error::Symbol { reference, symbols: self.places.len() }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let Self { body, places } = *self;
        places.iter().map(move |place| {
            body.get(place.start as usize..)
                .and_then(|rest| rest.get(..place.len as usize))
                .unwrap_or_default()
        })
    }
}
