//! What a point becomes: samples of one series, or of one for each bucket or quantile.

use super::labels::{Labels, key_text, text};
use super::{Scope, Stop, Translator, native};
use crate::error::Error;
use crate::refusal::Reason;
use crate::validate::SeriesFault;
use model::HistogramSample;
use model::histogram::ResetHint;
use model::sample::STALE_NAN_BITS;
use std::fmt::Write as _;
use std::sync::Arc;
use wire::otlp::{ExemplarPoint, Numbers, Point, PointValue, Repeated};
use wire::remote_write::RequestV2;

/// Exemplars of one point: senders have one for each bucket at most.
const EXEMPLARS_MAX: usize = 1024;
/// Characters of an exemplar's labels, names and values together.
const EXEMPLAR_CHARS_MAX: usize = 128;

/// An exemplar as it will be stored.
pub(super) struct Exemplar {
    at_ms: i64,
    value: f64,
    labels: Vec<(String, String)>,
}

impl Exemplar {
    pub(super) fn put(&self, series: &mut RequestV2) {
        let labels = self.labels.iter().map(|(name, value)| (&**name, &**value));
        series.exemplar(self.at_ms, self.value, labels);
    }
}

/// When a point was, in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) at_ms: i64,
    /// 0 if unknown.
    pub(super) start_ms: i64,
}

/// Where samples of a point go, all with its time.
struct Samples<'p, 't, 'a> {
    translator: &'p mut Translator<'t>,
    name: &'p str,
    labels: &'p Labels<'a>,
    times: Times,
    is_stale: bool,
}

impl Samples<'_, '_, '_> {
    fn put(
        &mut self,
        suffix: &str,
        extra: Option<(&str, &str)>,
        value: f64,
        exemplars: &[Exemplar],
    ) -> Result<(), Error> {
        let value = if self.is_stale { f64::from_bits(STALE_NAN_BITS) } else { value };
        let Times { at_ms, start_ms } = self.times;
        let name = format!("{}{suffix}", self.name);
        self.translator.output.series(&name, self.labels, extra, |series| {
            series.sample(at_ms, value, start_ms);
            exemplars.iter().for_each(|exemplar| exemplar.put(series));
        })
    }
}

impl Translator<'_> {
    /// Translates a point of the metric that is stored as `name`; returns when it was. The hint is of
    /// native histograms.
    pub(super) fn point(
        &mut self,
        (name, reset_hint): (&str, ResetHint),
        point: &Point<'_>,
        scope: &Scope<'_, '_>,
    ) -> Result<i64, Stop> {
        let labels = scope.resource.of_point(point.attributes, &scope.labels, self.rules)?;
        let times = Times { at_ms: to_ms(point.time_ns), start_ms: to_ms(point.start_ns) };
        let (exemplars, left_out) = exemplars(point, times.at_ms)?;
        self.leave_out(left_out, name);
        let is_stale = point.has_no_recorded_value;
        let converts = self.rules.settings.convert_histograms_to_nhcb;
        let native = match &point.value {
            PointValue::Exponential { .. } => Some(native::exponential(point, reset_hint)?),
            PointValue::Histogram { .. } if converts => {
                Some(native::custom_buckets(point, reset_hint)?)
            }
            _ => None,
        };
        if let Some(histogram) = native {
            let Times { at_ms: timestamp_ms, start_ms: start_timestamp_ms } = times;
            let histogram = Arc::new(histogram);
            let sample =
                HistogramSample { timestamp_ms, histogram, start_timestamp_ms, revision: 0 };
            self.output.series(name, &labels, None, |series| {
                series.histogram(&sample);
                exemplars.iter().for_each(|exemplar| exemplar.put(series));
            })?;
            return Ok(times.at_ms);
        }
        let mut samples = Samples { translator: self, name, labels: &labels, times, is_stale };
        match &point.value {
            PointValue::Number(Some(value)) => samples.put("", None, *value, &exemplars)?,
            PointValue::Number(None) if is_stale => samples.put("", None, 0.0, &exemplars)?,
            PointValue::Number(None) => return Err(fault("a point without a value").into()),
            PointValue::Histogram { count, sum, bucket_counts, explicit_bounds } => {
                if let Some(sum) = sum {
                    samples.put("_sum", None, *sum, &[])?;
                }
                samples.put("_count", None, as_f64(*count), &[])?;
                let (counts, bounds) = (bucket_counts.clone(), explicit_bounds.clone());
                samples.buckets(*count, counts, bounds, exemplars)?;
            }
            PointValue::Summary { count, sum, quantiles } => {
                samples.put("_sum", None, *sum, &[])?;
                samples.put("_count", None, as_f64(*count), &[])?;
                samples.quantiles(*quantiles)?;
            }
            PointValue::Exponential { .. } => {}
        }
        Ok(times.at_ms)
    }
}

impl Samples<'_, '_, '_> {
    /// The buckets of a classic histogram. An exemplar goes with the bucket that it counted in.
    fn buckets(
        &mut self,
        count: u64,
        counts: Numbers<'_>,
        bounds: Numbers<'_>,
        mut exemplars: Vec<Exemplar>,
    ) -> Result<(), Error> {
        exemplars.sort_by(|a, b| a.value.total_cmp(&b.value));
        let mut exemplars = &exemplars[..];
        let mut below = 0_u64;
        for (bound, in_bucket) in bounds.zip(counts) {
            let bound = f64::from_bits(bound?);
            below = below.saturating_add(in_bucket?);
            let (own, rest) = exemplars.split_at(exemplars.partition_point(|e| e.value <= bound));
            exemplars = rest;
            self.put("_bucket", Some(("le", &plain(bound))), as_f64(below), own)?;
        }
        self.put("_bucket", Some(("le", "+Inf")), as_f64(count), exemplars)
    }

    fn quantiles(&mut self, quantiles: Repeated<'_>) -> Result<(), Error> {
        for quantile in quantiles.quantiles() {
            let (quantile, value) = quantile?;
            self.put("", Some(("quantile", &plain(quantile))), value, &[])?;
        }
        Ok(())
    }
}

/// The exemplars of a point, and how many are too many. Those without a value are none.
fn exemplars(point: &Point<'_>, at_ms: i64) -> Result<(Vec<Exemplar>, u64), Stop> {
    let (mut kept, mut left_out) = (Vec::new(), 0);
    for exemplar in point.exemplars() {
        let exemplar = exemplar?;
        if let Some(value) = exemplar.value {
            if kept.len() == EXEMPLARS_MAX {
                left_out += 1;
                continue;
            }
            let own_ms = if exemplar.time_ns == 0 { at_ms } else { to_ms(exemplar.time_ns) };
            kept.push(Exemplar { at_ms: own_ms, value, labels: exemplar_labels(&exemplar)? });
        }
    }
    Ok((kept, left_out))
}

/// Trace and span, and attributes as far as there is room.
fn exemplar_labels(exemplar: &ExemplarPoint<'_>) -> Result<Vec<(String, String)>, Stop> {
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut chars = 0;
    let mut add = |name: &str, value: &str| {
        let more = name.chars().count() + value.chars().count();
        let is_known = labels.iter().any(|(have, _)| have == name);
        if !is_known && !name.is_empty() && chars + more <= EXEMPLAR_CHARS_MAX {
            chars += more;
            labels.push((name.to_owned(), value.to_owned()));
        }
    };
    for (name, id) in [("trace_id", exemplar.trace_id), ("span_id", exemplar.span_id)] {
        // Zeros say that there is none. What is longer than a trace's 16 bytes finds no room.
        if id.iter().any(|byte| *byte != 0) && id.len() <= EXEMPLAR_CHARS_MAX {
            add(name, &hex(id));
        }
    }
    for attribute in exemplar.attributes.iter() {
        let attribute = attribute?;
        add(key_text(attribute.key)?, &text(attribute.key, attribute.value)?);
    }
    Ok(labels)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A number without an exponent, as `le` and `quantile` have it.
fn plain(number: f64) -> String {
    match number {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        number => number.to_string(),
    }
}

fn to_ms(ns: u64) -> i64 {
    i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX)
}

/// A count as samples have it.
#[expect(clippy::cast_precision_loss, reason = "samples are floats")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

pub(super) fn fault(text: impl Into<String>) -> SeriesFault {
    SeriesFault { reason: Reason::NotTranslatable, text: text.into() }
}
