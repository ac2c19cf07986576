//! What a request says of its metrics. It never fails a request: what is too much is left out.
//!
//! In 1.0 it stands apart; in 2.0 each series says it of its own metric, so thousands say the same
//! and it is kept once a request.

use super::pass::Pass;
use crate::error::Error;
use crate::metadata;
use model::METRIC_NAME;
use std::collections::HashSet;
use wire::remote_write::{MetadataRefs, MetadataView, ReferenceIter};

/// What the series of a request said already: of which name, by its symbol, and what.
#[derive(Debug, Default)]
pub(super) struct Described {
    last: Option<(u32, MetadataRefs)>,
    seen: HashSet<(u32, MetadataRefs)>,
    /// What all that was kept takes.
    bytes: u64,
}

impl Pass<'_> {
    /// Keeps what a metric means.
    pub(super) fn metadata(&mut self, view: &MetadataView<'_>) {
        let (count, limits) = (self.out.metadata.len() as u64, &self.tenant.limits);
        // A symbol of 2.0 may be the help of thousands.
        let bytes_max = limits.max_decoded_bytes.get().min(metadata::REQUEST_BYTES_MAX);
        let is_full =
            limits.max_request_series.is_exceeded_by(count + 1) || self.described.bytes > bytes_max;
        if !is_full && let Some(one) = metadata::kept(view, limits) {
            self.described.bytes += metadata::bytes(&one);
            self.out.metadata.push(one);
        }
    }

    /// Keeps what a 2.0 series with these raw labels says of its metric.
    ///
    /// # Errors
    /// [`Error::Body`] if a symbol does not exist.
    pub(super) fn describe(&mut self, raw: &[u8], refs: MetadataRefs) -> Result<(), Error> {
        // Senders that know nothing of a metric say so, each time.
        if refs == MetadataRefs::default() {
            return Ok(());
        }
        let Some(symbols) = self.symbols else { return Ok(()) };
        let symbols = symbols.over(self.body);
        let mut references = ReferenceIter::new(raw);
        while let (Some(name), Some(value)) = (references.next(), references.next()) {
            let (name, value) = (name.map_err(body_error)?, value.map_err(body_error)?);
            if symbols.get(name)? != METRIC_NAME.as_bytes() {
                continue;
            }
            let said = (value, refs);
            if self.described.last != Some(said) {
                self.described.last = Some(said);
                if self.described.seen.insert(said) {
                    self.metadata(&refs.view(symbols.get(value)?, symbols)?);
                }
            }
            break;
        }
        Ok(())
    }
}

fn body_error(error: wire::remote_write::ProtobufError) -> Error {
    Error::Body(error.into())
}
