//! Makes `io.prometheus.write.v2.Request` bytes: for tests, and for whoever sends on.

use super::encode::{push_histogram, type_number};
use crate::protobuf::write::{push_bytes, push_double, push_number, push_varint};
use model::mutation::MetricMetadata;
use model::{Exemplar, HistogramSample, LabelSet};
use std::collections::HashMap;

/// A 2.0 request in the making: texts are kept once, series refer to them.
#[derive(Clone, Debug)]
pub struct RequestV2 {
    places: HashMap<String, u64>,
    symbols: Vec<u8>,
    series: Vec<u8>,
}

/// What a series of a 2.0 request has.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeriesV2<'a> {
    /// Milliseconds since 1970, value, and since when in milliseconds since 1970, 0 if unknown.
    pub samples: &'a [(i64, f64, i64)],
    /// Native histograms, whose revisions do not travel.
    pub histograms: &'a [HistogramSample],
    /// Exemplars.
    pub exemplars: &'a [Exemplar],
    /// What its metric means; the metric's name does not travel.
    pub metadata: Option<&'a MetricMetadata>,
    /// Since when all of it, as older senders say it; 0 if unknown.
    pub created_ms: i64,
}

impl Default for RequestV2 {
    fn default() -> Self {
        let mut request = Self { places: HashMap::new(), symbols: Vec::new(), series: Vec::new() };
        // Symbol 0 is the empty text.
        request.symbol("");
        request
    }
}

impl RequestV2 {
    /// Adds a series.
    pub fn push(&mut self, labels: &LabelSet, of: &SeriesV2<'_>) {
        let mut series = Vec::new();
        self.push_labels(labels, &mut series);
        for (timestamp_ms, value, start_ms) in of.samples {
            let mut part = Vec::new();
            push_double(1, *value, &mut part);
            push_number(2, timestamp_ms.cast_unsigned(), &mut part);
            if *start_ms != 0 {
                push_number(3, start_ms.cast_unsigned(), &mut part);
            }
            push_bytes(2, &part, &mut series);
        }
        for sample in of.histograms {
            let mut part = Vec::new();
            push_histogram(sample, &mut part);
            push_bytes(3, &part, &mut series);
        }
        for exemplar in of.exemplars {
            let mut part = Vec::new();
            self.push_labels(&exemplar.labels, &mut part);
            push_double(2, exemplar.value, &mut part);
            push_number(3, exemplar.timestamp_ms.cast_unsigned(), &mut part);
            push_bytes(4, &part, &mut series);
        }
        if let Some(metadata) = of.metadata {
            let mut part = Vec::new();
            push_number(1, type_number(metadata.metric_type).into(), &mut part);
            push_number(3, self.symbol(&metadata.help), &mut part);
            push_number(4, self.symbol(&metadata.unit), &mut part);
            push_bytes(5, &part, &mut series);
        }
        if of.created_ms != 0 {
            push_number(6, of.created_ms.cast_unsigned(), &mut series);
        }
        push_bytes(5, &series, &mut self.series);
    }

    /// The message.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        [self.symbols, self.series].concat()
    }

    fn push_labels(&mut self, labels: &LabelSet, into: &mut Vec<u8>) {
        let mut references = Vec::new();
        for (name, value) in labels.iter() {
            push_varint(self.symbol(name), &mut references);
            push_varint(self.symbol(value), &mut references);
        }
        if !references.is_empty() {
            push_bytes(1, &references, into);
        }
    }

    /// The place of a text.
    fn symbol(&mut self, text: &str) -> u64 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.places.len() as u64;
        self.places.insert(text.to_owned(), place);
        push_bytes(4, text.as_bytes(), &mut self.symbols);
        place
    }
}
