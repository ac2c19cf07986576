//! The symbols of a 2.0 request, resolved once: where each stands, and its hash.
//!
//! A series is then looked up by the hashes of the symbols it refers to, and no label is put
//! together before its series turns out to be new.

use crate::label_hash::{LabelHash, LabelHasher, SymbolHash};
use wire::remote_write::{Error, ReferenceIter, SymbolTable, Symbols};

/// The symbols of one request.
#[derive(Debug)]
pub(crate) struct HashedSymbols {
    table: SymbolTable,
    /// By their places.
    hashes: Vec<SymbolHash>,
}

impl HashedSymbols {
    /// Those of a decoded body.
    ///
    /// # Errors
    /// [`Error`] if the body is no message or its first symbol is not empty.
    pub(crate) fn read(body: &[u8], hasher: &LabelHasher) -> Result<Self, Error> {
        let table = SymbolTable::read(body)?;
        let hashes = table.over(body).iter().map(|symbol| hasher.symbol(symbol)).collect();
        Ok(Self { table, hashes })
    }

    /// Their texts, out of the body that they were read from.
    pub(crate) fn over<'a>(&'a self, body: &'a [u8]) -> Symbols<'a> {
        self.table.over(body)
    }

    /// The hash of raw labels, which refer to these symbols. They may be the first piece of them:
    /// that their number is even is for the caller to see.
    ///
    /// # Errors
    /// [`Error::Symbol`] if one of them does not exist: the whole body is bad.
    #[inline]
    pub(crate) fn hash(&self, raw: &[u8], hasher: &LabelHasher) -> Result<LabelHash, Error> {
        let mut series = hasher.series();
        for reference in ReferenceIter::new(raw) {
            let reference = reference?;
            match self.hashes.get(reference as usize) {
                Some(hash) => series.push(*hash),
                None => return Err(self.table.over(&[]).none(reference)),
            }
        }
        Ok(series.finish())
    }
}
