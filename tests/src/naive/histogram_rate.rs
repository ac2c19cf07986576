//! Sums, means and rates of native histograms over a window.

use super::data::HPoint;
use super::histogram::{Added, Hist, Incompatible, Total};
use super::notes::Notes;
use super::rate::is_start_reset;
use super::select::Window;
use model::histogram::ResetHint;
use promql::Span;
use std::sync::Arc;

/// The text of a mix of exponential and custom buckets.
pub(super) fn mixed_buckets(metric: &str) -> String {
    format!(
        "vector contains a mix of histograms with exponential and custom buckets schemas for metric \
         name {metric:?}"
    )
}

/// A sum; once that would overflow, the running mean.
#[derive(Debug)]
pub(super) struct Mean {
    total: Total,
    count: f64,
    is_running: bool,
}

impl Mean {
    pub(super) fn new(first: &Hist) -> Self {
        Self { total: Total::new(first.clone()), count: 1.0, is_running: false }
    }

    /// Adds a histogram; `is_mean`: whether a mean is wanted in the end.
    pub(super) fn add(&mut self, of: &Hist, is_mean: bool) -> Result<Added, Incompatible> {
        self.count += 1.0;
        let mut added = Added::default();
        if !self.is_running {
            let mut total = self.total.clone();
            added = total.add(of)?;
            if !is_mean || !total.is_infinite() {
                self.total = total;
                return Ok(added);
            }
            self.is_running = true;
            self.total = self.total.clone().divided(self.count - 1.0);
        }
        self.total = self.total.clone().scaled((self.count - 1.0) / self.count);
        let more = self.total.add(&of.clone().div(self.count))?;
        Ok(Added { is_reconciled: added.is_reconciled || more.is_reconciled, ..more })
    }

    pub(super) fn sum(self) -> Hist {
        self.total.finish()
    }

    pub(super) fn mean(self) -> Hist {
        if self.is_running { self.total.finish() } else { self.total.divided(self.count).finish() }
    }
}

/// About which series, and where in the query, something is said.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) metric: &'a str,
    pub(super) span: Span,
}

impl About<'_> {
    pub(super) fn mixed_kinds(self, notes: &mut Notes) {
        let metric = self.metric;
        let text = format!("encountered a mix of histograms and floats for metric name {metric:?}");
        notes.warn(text, self.span);
    }

    pub(super) fn mixed_buckets(self, notes: &mut Notes) {
        notes.warn(mixed_buckets(self.metric), self.span);
    }

    pub(super) fn ignored(self, notes: &mut Notes) {
        let metric = self.metric;
        let text = format!(
            "ignored histograms in a range containing both floats and histograms for metric name \
             {metric:?}"
        );
        notes.inform(text, self.span);
    }

    pub(super) fn not_counter(self, notes: &mut Notes) {
        let metric = self.metric;
        let text = format!("this native histogram metric is not a counter: {metric:?}");
        notes.warn(text, self.span);
    }

    pub(super) fn not_gauge(self, notes: &mut Notes) {
        let metric = self.metric;
        let text = format!("this native histogram metric is not a gauge: {metric:?}");
        notes.warn(text, self.span);
    }

    pub(super) fn reconciled(self, what: &str, notes: &mut Notes) {
        let text = format!("mismatched custom buckets were reconciled during {what}");
        notes.inform(text, self.span);
    }

    /// Adds, or says why that is not possible.
    pub(super) fn plus(self, a: Hist, b: &Hist, sign: f64, notes: &mut Notes) -> Option<Hist> {
        match a.plus(b, sign) {
            Err(Incompatible) => {
                self.mixed_buckets(notes);
                None
            }
            Ok((sum, added)) => {
                if added.is_reconciled {
                    let what = if sign < 0.0 { "subtraction" } else { "addition" };
                    self.reconciled(what, notes);
                }
                Some(sum)
            }
        }
    }
}

/// `sum_over_time` and `avg_over_time` of histograms.
pub(super) fn over_time(
    points: &[HPoint],
    is_mean: bool,
    about: About<'_>,
    notes: &mut Notes,
) -> Option<Hist> {
    let mut total = Mean::new(&points.first()?.value);
    let mut is_reconciled = false;
    for point in &points[1..] {
        match total.add(&point.value, is_mean) {
            Ok(added) => is_reconciled |= added.is_reconciled,
            Err(Incompatible) => {
                about.mixed_buckets(notes);
                return None;
            }
        }
    }
    let has = |hint| points.iter().any(|point| point.value.hint == hint);
    if has(ResetHint::Yes) && has(ResetHint::No) {
        let text = "conflicting counter resets during histogram aggregation";
        notes.warn(text, about.span);
    }
    if is_reconciled {
        about.reconciled("aggregation", notes);
    }
    Some(if is_mean { total.mean() } else { total.sum() })
}

/// How much histograms grew over a window, before anything is extrapolated.
pub(super) fn growth(
    points: &[HPoint],
    is_counter: bool,
    about: About<'_>,
    notes: &mut Notes,
) -> Option<Hist> {
    let (first, last) = (&points[0].value, &points[points.len() - 1].value);
    let is_gauge = |of: &Hist| of.hint == ResetHint::Gauge;
    if is_counter && (is_gauge(first) || is_gauge(last)) {
        about.not_counter(notes);
    }
    let mut before = Arc::clone(first);
    if is_counter && is_reset(&points[0], &points[1], &before) {
        // What lies before a reset does not matter, not even its layout.
        let second = &points[1].value;
        let (schema, bounds) = (second.schema, second.bounds.clone());
        before = Arc::new(Hist { schema, bounds, ..Hist::default() });
    }
    if last.is_custom() != before.is_custom() {
        about.mixed_buckets(notes);
        return None;
    }
    let mut schema = last.schema.min(before.schema);
    for point in points[1..points.len() - 1].iter().filter(|_| is_counter) {
        let of = &point.value;
        if is_gauge(of) {
            about.not_counter(notes);
        }
        schema = schema.min(of.schema);
        if of.is_custom() != before.is_custom() {
            about.mixed_buckets(notes);
            return None;
        }
    }
    let mut result = about.plus(Hist::clone(last).reduced(schema), &before, -1.0, notes)?;
    if is_counter {
        let mut is_overlap_told = false;
        for two in points.windows(2) {
            if !is_overlap_told && super::rate::is_overlap(two[0].start, two[0].time, two[1].start)
            {
                notes.overlap(about.metric, about.span);
                is_overlap_told = true;
            }
            if is_reset(&two[0], &two[1], &before) {
                result = about.plus(result, &before, 1.0, notes)?;
            }
            before = Arc::clone(&two[1].value);
        }
    } else if !is_gauge(first) || !is_gauge(last) {
        about.not_gauge(notes);
    }
    result.hint = ResetHint::Gauge;
    Some(result.compact())
}

/// Whether the counter was reset between two samples; `before` stands for the first.
fn is_reset(a: &HPoint, b: &HPoint, before: &Hist) -> bool {
    is_start_reset((a.start, a.time), (b.start, b.time)) || b.value.is_reset_after(before)
}

/// `rate`, `increase` and `delta` of histograms.
pub(super) fn rate(
    window: &Window,
    range_ms: i64,
    (is_counter, is_rate): (bool, bool),
    about: About<'_>,
    notes: &mut Notes,
) -> Option<Hist> {
    let points = &window.histograms;
    let (first, last) = (points.first()?, points.last()?);
    let grown = match points.len() {
        1 => None,
        _ => Some(growth(points, is_counter, about, notes)?),
    };
    let times = super::rate::Times {
        first: first.time,
        last: last.time,
        count: points.len(),
        started: is_counter
            .then_some(first.start)
            .filter(|start| *start != 0 && *start > window.start && *start < first.time),
    };
    let grown = match (times.started, grown) {
        (None, None) => return None,
        (None, Some(grown)) => grown,
        (Some(_), None) => Hist::clone(&first.value),
        (Some(_), Some(grown)) => about.plus(grown, &first.value, 1.0, notes)?,
    };
    let is_growing = is_counter && grown.count > 0.0 && first.value.count >= 0.0;
    let zero_share = is_growing.then(|| first.value.count / grown.count);
    let factor = super::rate::factor(window, &times, range_ms, zero_share, is_rate);
    Some(grown.mul(factor))
}

/// `irate` and `idelta` of two histograms.
pub(super) fn instant(
    a: &HPoint,
    b: &HPoint,
    is_rate: bool,
    about: About<'_>,
    notes: &mut Notes,
) -> Option<Hist> {
    let is_gauge = |of: &HPoint| of.value.hint == ResetHint::Gauge;
    if is_rate && (is_gauge(a) || is_gauge(b)) {
        about.not_counter(notes);
    }
    if !is_rate && (!is_gauge(a) || !is_gauge(b)) {
        about.not_gauge(notes);
    }
    let mut result = Hist::clone(&b.value);
    if !is_rate || !is_reset(a, b, &a.value) {
        result = about.plus(result, &a.value, -1.0, notes)?;
    }
    result.hint = ResetHint::Gauge;
    let result = result.compact();
    Some(if is_rate { result.div((b.time - a.time) as f64 / 1000.0) } else { result })
}
