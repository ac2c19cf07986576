//! OTLP metrics become series: a request is translated into a remote write 2.0, and goes on as one.
//!
//! So there is one flow: labels are checked, limits are kept and samples are refused in the same
//! place and with the same words, whatever they came in. What becomes of what: CONTRACTS.md
//! section 6, which goes by Prometheus.
//!
//! # Invariants
//! - A translated message is no longer than `max_decoded_bytes`, and its memory is reserved as it
//!   grows: labels of a resource are repeated in each of its series.
//! - A request has at most as many points as a remote write has series, however many series a point
//!   becomes.
//! - A point is translated whole or refused whole; what cannot be read at all refuses the request.
//!
//! Not here: names (`names.rs`), labels (`labels.rs`), what a point's value becomes (`points.rs`,
//! `native.rs`), HTTP (`routes/otlp.rs`).

mod labels;
mod names;
mod native;
mod output;
mod points;

use crate::error::Error;
use crate::message::Message;
use crate::refusal::{Item, Reason, Refusals};
use crate::tenant::Tenant;
use crate::validate::{SeriesFault, TimeRules};
use labels::{Labels, ResourceLabels, Rules, ScopeLabels, key_text, shown};
use model::histogram::ResetHint;
use model::mutation::MetricType;
use model::{LabelSet, METRIC_NAME, TimestampMs};
use names::{NameKind, metric_name, unit_name};
pub(crate) use output::Growth;
use output::Output;
use wire::otlp::{Data, Metric, Request, ResourceMetrics, ScopeMetrics, Temporality};
use wire::remote_write::MetadataView;

/// The series that says who a resource is.
const TARGET_INFO: &str = "target_info";
/// It has a sample so often between its first and its last: half of the usual lookback.
const TARGET_INFO_EVERY_MS: i64 = 150_000;
/// Of one request and resource, not more than so many: the newest.
const TARGET_INFO_SAMPLES_MAX: i64 = 1000;

/// A translated request.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    /// What goes on.
    pub(crate) message: Message,
    /// How many points came.
    pub(crate) points: u64,
    /// Those that could not be translated.
    pub(crate) refusals: Refusals,
}

/// Why translating stops: for good, or for one point or metric.
enum Stop {
    Request(Error),
    Fault(SeriesFault),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Request(error.into())
    }
}

impl From<SeriesFault> for Stop {
    fn from(fault: SeriesFault) -> Self {
        Self::Fault(fault)
    }
}

/// Translates the protobuf bytes of an `ExportMetricsServiceRequest`.
///
/// # Errors
/// [`Error`] if they are none, or become more than the tenant may send.
pub(crate) fn translate(
    body: &[u8],
    tenant: &Tenant,
    now: TimestampMs,
    growth: Growth<'_>,
) -> Result<Translated, Error> {
    let rules = Rules::of(&tenant.limits);
    let translated = Translated::default();
    let output = Output::new(tenant, growth);
    let mut translator = Translator { rules, now, output, translated };
    for resource in Request::new(body).resources() {
        let resource = resource?;
        if !resource.is_empty() {
            translator.resource(&resource)?;
        }
    }
    let Translator { output, mut translated, .. } = translator;
    translated.message = output.finish();
    Ok(translated)
}

struct Translator<'t> {
    rules: Rules<'t>,
    now: TimestampMs,
    output: Output<'t>,
    translated: Translated,
}

/// What a resource's points are translated with.
struct Scope<'a, 's> {
    resource: &'s ResourceLabels<'a>,
    labels: ScopeLabels<'a>,
}

/// From when to when a resource was heard of: the first and the last moment, in milliseconds, of those
/// at which it may have samples.
struct Span {
    /// `None` of a resource that nothing is said of.
    times: Option<TimeRules>,
    ends_ms: Option<(i64, i64)>,
}

impl Span {
    fn add(&mut self, at_ms: i64) {
        if self.times.as_ref().is_some_and(|times| times.allow(at_ms)) {
            let (first_ms, last_ms) = self.ends_ms.unwrap_or((at_ms, at_ms));
            self.ends_ms = Some((first_ms.min(at_ms), last_ms.max(at_ms)));
        }
    }
}

/// What the points of a metric count from; `None` if its data is of no kind that is known.
fn temporality(metric: &Metric<'_>) -> Option<Temporality> {
    match metric.data {
        Data::Sum { temporality, .. }
        | Data::Histogram(temporality)
        | Data::ExponentialHistogram(temporality) => Some(temporality),
        Data::Gauge | Data::Summary => Some(Temporality::Cumulative),
        Data::Unknown => None,
    }
}

impl Translator<'_> {
    fn resource(&mut self, resource: &ResourceMetrics<'_>) -> Result<(), Error> {
        let labels = match ResourceLabels::read(resource, self.rules) {
            Ok(labels) => labels,
            Err(stop) => {
                let fault = stop.fault()?;
                for scope in resource.scopes() {
                    self.refuse_scope(&scope?, &fault)?;
                }
                return Ok(());
            }
        };
        let times = labels.target.as_ref().map(|target| self.times_of(target));
        let mut span = Span { times, ends_ms: None };
        for scope in resource.scopes() {
            let view = scope?;
            let scope = match ScopeLabels::read(&view, self.rules) {
                Ok(own) => Scope { resource: &labels, labels: own },
                Err(stop) => {
                    let fault = stop.fault()?;
                    self.refuse_scope(&view, &fault)?;
                    continue;
                }
            };
            for metric in view.metrics() {
                let metric = metric?;
                if let Err(stop) = self.metric(&metric, &scope, &mut span) {
                    let fault = stop.fault()?;
                    self.refuse_metric(&metric, &fault)?;
                }
            }
        }
        self.target_info(&labels, &span)
    }

    /// Translates a metric. A fault is of all of its points; those of single points are noted.
    fn metric(
        &mut self,
        metric: &Metric<'_>,
        scope: &Scope<'_, '_>,
        span: &mut Span,
    ) -> Result<(), Stop> {
        let (kind, metric_type) = self.kind(metric)?;
        // What counts from the point before is never reset.
        let is_delta = temporality(metric) == Some(Temporality::Delta);
        let reset_hint = if is_delta { ResetHint::Gauge } else { ResetHint::Unknown };
        let (name, unit) = (key_text(metric.name)?, key_text(metric.unit)?);
        let translation = self.rules.settings.translation;
        let Some(stored) = metric_name(name, unit, kind, translation) else {
            let text = format!("no metric can be called after {:?}", shown(metric.name));
            return Err(SeriesFault { reason: Reason::NotTranslatable, text }.into());
        };
        let mut is_any_taken = false;
        for point in metric.points() {
            let point = point?;
            self.translated.points += 1;
            let tenant = self.output.tenant;
            if tenant.limits.max_request_series.is_exceeded_by(self.translated.points) {
                return Err(tenant.too_many_points().into());
            }
            match self.point((&stored, reset_hint), &point, scope) {
                Ok(at_ms) => {
                    is_any_taken = true;
                    span.add(at_ms);
                }
                Err(stop) => {
                    let fault = stop.fault()?;
                    self.refuse(1, metric, &fault);
                }
            }
        }
        if is_any_taken {
            let unit = unit_name(unit, translation);
            let (metric, help, unit) = (stored.as_bytes(), metric.description, unit.as_bytes());
            self.output.describe(&MetadataView { metric, metric_type, help, unit })?;
        }
        Ok(())
    }

    /// What the metric's name tells, and its type; a fault if its temporality is none of ours.
    fn kind(&self, metric: &Metric<'_>) -> Result<(NameKind, MetricType), SeriesFault> {
        let Some(temporality) = temporality(metric) else {
            let text = "no kind of data that is known".to_owned();
            return Err(SeriesFault { reason: Reason::NotTranslatable, text });
        };
        let is_delta = temporality == Temporality::Delta;
        let is_taken = temporality == Temporality::Cumulative
            || (is_delta && self.rules.settings.allow_delta_temporality);
        if !is_taken {
            let name = shown(metric.name);
            let text = format!("invalid temporality and type combination for metric {name:?}");
            return Err(SeriesFault { reason: Reason::Temporality, text });
        }
        let (kind, metric_type) = match metric.data {
            Data::Sum { is_monotonic: true, .. } => (NameKind::MonotonicSum, MetricType::Counter),
            Data::Gauge => (NameKind::Gauge, MetricType::Gauge),
            Data::Sum { .. } => (NameKind::Other, MetricType::Gauge),
            Data::Summary => (NameKind::Other, MetricType::Summary),
            _ => (NameKind::Other, MetricType::Histogram),
        };
        // What counts from the point before is no counter in our sense.
        Ok((kind, if is_delta { MetricType::Unknown } else { metric_type }))
    }

    /// The times at which `target_info` of a resource may have samples.
    fn times_of(&self, target: &Labels<'_>) -> TimeRules {
        let tenant = self.output.tenant;
        let pairs = target.iter().map(|(name, value)| (&**name, &**value));
        let labels = LabelSet::from_pairs(pairs.chain([(METRIC_NAME, TARGET_INFO)]));
        let (shortest, _) = tenant.retention.bounds();
        let retention = labels.map_or(shortest, |labels| tenant.retention.of_labels(&labels));
        TimeRules::new(&tenant.limits, retention, self.now)
    }

    /// Says who the resource is, at the newest moment and on the way there.
    fn target_info(&mut self, labels: &ResourceLabels<'_>, span: &Span) -> Result<(), Error> {
        let (Some(target), Some((first_ms, last_ms))) = (&labels.target, span.ends_ms) else {
            return Ok(());
        };
        let way_ms = TARGET_INFO_SAMPLES_MAX * TARGET_INFO_EVERY_MS;
        let mut at_ms = first_ms.max(last_ms.saturating_sub(way_ms));
        self.output.series(TARGET_INFO, target, None, |series| {
            while at_ms < last_ms {
                series.sample(at_ms, 1.0, 0);
                at_ms = at_ms.saturating_add(TARGET_INFO_EVERY_MS);
            }
            series.sample(last_ms, 1.0, 0);
        })
    }

    fn refuse_scope(&mut self, scope: &ScopeMetrics<'_>, fault: &SeriesFault) -> Result<(), Error> {
        for metric in scope.metrics() {
            self.refuse_metric(&metric?, fault)?;
        }
        Ok(())
    }

    fn refuse_metric(&mut self, metric: &Metric<'_>, fault: &SeriesFault) -> Result<(), Error> {
        let mut points = 0;
        for point in metric.points() {
            point?;
            points += 1;
        }
        self.translated.points += points;
        self.refuse(points, metric, fault);
        Ok(())
    }

    /// Notes exemplars that one point has too many.
    fn leave_out(&mut self, exemplars: u64, name: &str) {
        if exemplars > 0 {
            let refusals = &mut self.translated.refusals;
            refusals.receive(Item::Exemplar, exemplars);
            let tell = || format!("metric {name:?}: too many exemplars of one point");
            refusals.refuse(Item::Exemplar, exemplars, Reason::NotTranslatable, tell);
        }
    }

    fn refuse(&mut self, points: u64, metric: &Metric<'_>, fault: &SeriesFault) {
        if points > 0 {
            let refusals = &mut self.translated.refusals;
            refusals.receive(Item::Float, points);
            let tenant = &self.output.tenant.id;
            let tell = || format!("metric {:?}: {}", shown(metric.name), fault.told(tenant));
            refusals.refuse(Item::Float, points, fault.reason, tell);
        }
    }
}

impl Stop {
    /// The fault, if only that is what stopped it.
    fn fault(self) -> Result<SeriesFault, Error> {
        match self {
            Self::Request(error) => Err(error),
            Self::Fault(fault) => Ok(fault),
        }
    }
}
