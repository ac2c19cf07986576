//! Metadata, in records and in checkpoints.

use crate::bytes::{Damaged, Input, put_text, put_uvarint};
use model::mutation::{MetricMetadata, MetricType};

/// Appends metadata: a count, then metric, type, help and unit of each.
pub(crate) fn put_metadata<'a>(
    out: &mut Vec<u8>,
    entries: impl ExactSizeIterator<Item = &'a MetricMetadata>,
) {
    put_uvarint(out, entries.len() as u64);
    for entry in entries {
        put_text(out, &entry.metric);
        out.push(entry.metric_type.to_byte());
        put_text(out, &entry.help);
        put_text(out, &entry.unit);
    }
}

/// More bytes than an entry takes.
pub(crate) fn metadata_bytes(entry: &MetricMetadata) -> usize {
    entry.metric.len() + entry.help.len() + entry.unit.len() + 31
}

/// Reads metadata.
pub(crate) fn read_metadata(input: &mut Input<'_>) -> Result<Vec<MetricMetadata>, Damaged> {
    let read = |input: &mut Input<'_>| {
        let metric = input.text()?.into();
        let metric_type = MetricType::from_byte(input.u8()?);
        let metric_type = metric_type.ok_or(Damaged("a metric has an unknown type"))?;
        Ok(MetricMetadata {
            metric,
            metric_type,
            help: input.text()?.into(),
            unit: input.text()?.into(),
        })
    };
    (0..input.count(4)?).map(|_| read(input)).collect()
}
