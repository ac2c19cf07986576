//! Makes `io.prometheus.write.v2.Request` bytes: for what other protocols are translated into, and
//! for tests.

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
    /// The series under way, and a part of it.
    current: Vec<u8>,
    part: Vec<u8>,
}

/// About what a symbol takes beside its text.
const SYMBOL_BYTES: usize = 64;

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
        let mut request = Self {
            places: HashMap::new(),
            symbols: Vec::new(),
            series: Vec::new(),
            current: Vec::new(),
            part: Vec::new(),
        };
        // Symbol 0 is the empty text.
        request.symbol("");
        request
    }
}

impl RequestV2 {
    /// Adds a series.
    pub fn push(&mut self, labels: &LabelSet, of: &SeriesV2<'_>) {
        self.begin(labels.iter().map(|(name, value)| (&**name, &**value)));
        self.fill(of);
    }

    /// Adds all of this to the series under way, and ends it.
    pub fn fill(&mut self, of: &SeriesV2<'_>) {
        for (timestamp_ms, value, start_ms) in of.samples {
            self.sample(*timestamp_ms, *value, *start_ms);
        }
        of.histograms.iter().for_each(|sample| self.histogram(sample));
        for exemplar in of.exemplars {
            let labels = exemplar.labels.iter().map(|(name, value)| (&**name, &**value));
            self.exemplar(exemplar.timestamp_ms, exemplar.value, labels);
        }
        if let Some(metadata) = of.metadata {
            let mut part = Vec::new();
            push_number(1, type_number(metadata.metric_type).into(), &mut part);
            push_number(3, self.symbol(&metadata.help), &mut part);
            push_number(4, self.symbol(&metadata.unit), &mut part);
            push_bytes(5, &part, &mut self.current);
        }
        if of.created_ms != 0 {
            push_number(6, of.created_ms.cast_unsigned(), &mut self.current);
        }
        self.end();
    }

    /// Begins a series piece by piece: these labels, then its items, then [`RequestV2::end`].
    pub fn begin<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>) {
        self.current.clear();
        let mut references = Vec::new();
        self.push_references(labels, &mut references);
        if !references.is_empty() {
            push_bytes(1, &references, &mut self.current);
        }
    }

    /// Adds a sample to the series under way; a start of 0 is unknown.
    pub fn sample(&mut self, timestamp_ms: i64, value: f64, start_ms: i64) {
        self.part.clear();
        push_double(1, value, &mut self.part);
        push_number(2, timestamp_ms.cast_unsigned(), &mut self.part);
        if start_ms != 0 {
            push_number(3, start_ms.cast_unsigned(), &mut self.part);
        }
        push_bytes(2, &self.part, &mut self.current);
    }

    /// Adds a native histogram to the series under way.
    pub fn histogram(&mut self, sample: &HistogramSample) {
        self.part.clear();
        push_histogram(sample, &mut self.part);
        push_bytes(3, &self.part, &mut self.current);
    }

    /// Adds an exemplar to the series under way, with its own labels.
    pub fn exemplar<'l>(
        &mut self,
        timestamp_ms: i64,
        value: f64,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
    ) {
        let (mut part, mut references) = (Vec::new(), Vec::new());
        self.push_references(labels, &mut references);
        if !references.is_empty() {
            push_bytes(1, &references, &mut part);
        }
        push_double(2, value, &mut part);
        push_number(3, timestamp_ms.cast_unsigned(), &mut part);
        push_bytes(4, &part, &mut self.current);
    }

    /// Ends the series under way.
    pub fn end(&mut self) {
        push_bytes(5, &self.current, &mut self.series);
        self.current.clear();
    }

    /// Whether there is no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// About how much memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.series.len() + 2 * self.symbols.len() + SYMBOL_BYTES * self.places.len()
    }

    /// The message.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        [self.symbols, self.series].concat()
    }

    fn push_references<'l>(
        &mut self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        into: &mut Vec<u8>,
    ) {
        for (name, value) in labels {
            push_varint(self.symbol(name), into);
            push_varint(self.symbol(value), into);
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
