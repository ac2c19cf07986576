//! Encodes OTLP: `ExportMetricsServiceRequest` of one resource without attributes, each series a
//! point of a gauge with all labels as the point's attributes.

use crate::protobuf::{push_bytes, push_eight};
use crate::remote_write::labels;

/// A request in the making.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// `Metric` messages, but for the last.
    metrics: Vec<u8>,
    /// The metric that series are added to: its name and its points.
    name: String,
    points: Vec<u8>,
}

impl Request {
    /// Adds a `NumberDataPoint{time=3, double=4, attributes=7}` for each sample.
    pub(crate) fn push(&mut self, encoded: &[u8], samples: &[(i64, f64)]) {
        let mut attributes = Vec::new();
        for (name, value) in labels(encoded) {
            if name == "__name__" {
                if self.name != value {
                    self.end_metric();
                    self.name = value.to_owned();
                }
                continue;
            }
            let (mut any, mut pair) = (Vec::new(), Vec::new());
            push_bytes(&mut any, 1, value.as_bytes());
            push_bytes(&mut pair, 1, name.as_bytes());
            push_bytes(&mut pair, 2, &any);
            push_bytes(&mut attributes, 7, &pair);
        }
        for (timestamp_ms, value) in samples {
            let mut point = attributes.clone();
            let nanos = timestamp_ms.cast_unsigned().wrapping_mul(1_000_000);
            push_eight(&mut point, 3, nanos.to_le_bytes());
            push_eight(&mut point, 4, value.to_le_bytes());
            push_bytes(&mut self.points, 1, &point);
        }
    }

    /// `Metric{name=1, gauge=5}` of the points so far.
    fn end_metric(&mut self) {
        if self.points.is_empty() {
            return;
        }
        let mut metric = Vec::new();
        push_bytes(&mut metric, 1, self.name.as_bytes());
        push_bytes(&mut metric, 5, &self.points);
        push_bytes(&mut self.metrics, 2, &metric);
        self.points.clear();
    }

    /// The message: `resource_metrics=1` of `scope_metrics=2`.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.end_metric();
        let (mut resource, mut request) = (Vec::new(), Vec::new());
        push_bytes(&mut resource, 2, &self.metrics);
        push_bytes(&mut request, 1, &resource);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote_write::push_label;

    #[test]
    fn neighbours_of_one_name_are_points_of_one_metric() {
        let series = |name: &str, job: &str| {
            let mut encoded = Vec::new();
            push_label(&mut encoded, "__name__", name);
            push_label(&mut encoded, "job", job);
            encoded
        };
        let mut request = Request::default();
        request.push(&series("up", "a"), &[(1, 1.0)]);
        request.push(&series("up", "b"), &[(1, 1.0)]);
        request.push(&series("down", "a"), &[(1, 1.0)]);
        let message = request.finish();
        let count = |text: &[u8]| message.windows(text.len()).filter(|part| *part == text).count();
        assert_eq!((count(b"up"), count(b"down"), count(b"job")), (1, 1, 3));
        assert_eq!(count(&1_000_000_u64.to_le_bytes()), 3, "nanoseconds");
    }
}
