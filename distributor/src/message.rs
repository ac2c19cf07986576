//! What something else was translated into: a remote write 2.0, and what is known of metrics beside it.

use crate::metadata;
use model::mutation::MetricMetadata;
use wire::remote_write::RequestV2;

/// A message under way.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) request: RequestV2,
    /// By the names of metric families, which no single series may have.
    metadata: Vec<MetricMetadata>,
    // Invariant: what all of `metadata` takes, at most `REQUEST_BYTES_MAX`.
    metadata_bytes: u64,
}

impl Message {
    /// Adds what is known of a metric, as long as there is room.
    pub(crate) fn describe(&mut self, one: MetricMetadata) {
        let bytes = self.metadata_bytes + metadata::bytes(&one);
        if bytes <= metadata::REQUEST_BYTES_MAX {
            self.metadata_bytes = bytes;
            self.metadata.push(one);
        }
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.request.bytes() as u64 + self.metadata_bytes
    }

    /// Of how many metrics something is known.
    pub(crate) fn metrics(&self) -> usize {
        self.metadata.len()
    }

    /// The remote write, and what is known beside it.
    pub(crate) fn finish(self) -> (Vec<u8>, Vec<MetricMetadata>) {
        (self.request.finish(), self.metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::mutation::MetricType;

    #[test]
    fn what_is_known_of_metrics_is_left_out_where_it_is_too_much() {
        let mut message = Message::default();
        for number in 0..10_000 {
            message.describe(MetricMetadata {
                metric: format!("m{number}").into(),
                metric_type: MetricType::Counter,
                help: "h".repeat(1024).into(),
                unit: "".into(),
            });
        }
        assert!(message.bytes() <= metadata::REQUEST_BYTES_MAX);
        assert!((7_000..9_000).contains(&message.metrics()), "{}", message.metrics());
    }
}
