//! What is kept of what a sender says of a metric: the one way in, whatever form it came in.
//!
//! It never fails a request: what is no text or too long is left out, a help text is cut.

use guard::Limits;
use model::Text;
use model::mutation::MetricMetadata;
use wire::remote_write::MetadataView;

/// A help text is cut here.
const HELP_BYTES_MAX: usize = 1024;
/// A unit is no longer than this.
const UNIT_BYTES_MAX: u64 = 128;
/// What is kept of one request takes no more: it stands in one record of the commit log, beside samples.
pub(crate) const REQUEST_BYTES_MAX: u64 = 8 << 20;

/// What may be kept of it; `None` if nothing.
pub(crate) fn kept(view: &MetadataView<'_>, limits: &Limits) -> Option<MetricMetadata> {
    let text = |bytes: &[u8], max: u64| {
        if bytes.len() as u64 > max {
            return None;
        }
        Some(Text::from(std::str::from_utf8(bytes).ok()?))
    };
    let metric = text(view.metric, limits.max_label_value_bytes.get())?;
    let unit = text(view.unit, UNIT_BYTES_MAX)?;
    let (metric_type, help) = (view.metric_type, help(view.help));
    (!metric.is_empty()).then_some(MetricMetadata { metric, metric_type, help, unit })
}

/// A help text, cut where it is too long.
pub(crate) fn help(bytes: &[u8]) -> Text {
    String::from_utf8_lossy(&bytes[..bytes.len().min(HELP_BYTES_MAX)]).into()
}

/// The memory that it takes.
pub(crate) fn bytes(one: &MetricMetadata) -> u64 {
    (size_of::<MetricMetadata>() + one.metric.len() + one.help.len() + one.unit.len()) as u64
}
