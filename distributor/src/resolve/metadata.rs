//! What a request says of its metrics. It never fails a request: what is too much is left out.
//!
//! In 1.0 it stands apart; in 2.0 each series says it of its own metric, so thousands say the same
//! and it is kept once a request.

use super::pass::Pass;
use crate::error::Error;
use model::METRIC_NAME;
use model::mutation::MetricMetadata;
use std::collections::HashSet;
use wire::remote_write::{MetadataRefs, MetadataView, ReferenceIter};

/// What the series of a request said already: of which name, by its symbol, and what.
#[derive(Debug, Default)]
pub(super) struct Described {
    last: Option<(u32, MetadataRefs)>,
    seen: HashSet<(u32, MetadataRefs)>,
    /// What the texts of all that was kept take.
    bytes: u64,
}

impl Pass<'_> {
    /// Keeps what a metric means.
    pub(super) fn metadata(&mut self, view: &MetadataView<'_>) {
        let (count, limits) = (self.out.metadata.len() as u64, &self.tenant.limits);
        // A symbol of 2.0 may be the help of thousands.
        let is_full = limits.max_request_series.is_exceeded_by(count + 1)
            || limits.max_decoded_bytes.is_exceeded_by(self.described.bytes);
        if !is_full && let Some(one) = metadata(view, limits) {
            self.described.bytes += (one.metric.len() + one.help.len() + one.unit.len()) as u64;
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

/// Metadata as text; what is no text or too long is left out, it never fails a request.
fn metadata(view: &MetadataView<'_>, limits: &guard::Limits) -> Option<MetricMetadata> {
    let text = |bytes: &[u8], max: u64| {
        if bytes.len() as u64 > max {
            return None;
        }
        Some(model::Text::from(std::str::from_utf8(bytes).ok()?))
    };
    let metric = text(view.metric, limits.max_label_value_bytes.get())?;
    let help = String::from_utf8_lossy(&view.help[..view.help.len().min(HELP_BYTES_MAX)]);
    let unit = text(view.unit, UNIT_BYTES_MAX)?;
    let metric_type = view.metric_type;
    (!metric.is_empty()).then(|| MetricMetadata { metric, metric_type, help: help.into(), unit })
}

/// A help text is cut here.
const HELP_BYTES_MAX: usize = 1024;
/// A unit is no longer than this.
const UNIT_BYTES_MAX: u64 = 128;
