//! From attributes to labels: those of a point, of its scope and of its resource.

use super::Stop;
use super::names::label_name;
use crate::gate::{label_bytes_max, labels_max};
use crate::refusal::Reason;
use crate::validate::SeriesFault;
use guard::{Limits, OtlpSettings};
use std::borrow::Cow;
use std::collections::BTreeMap;
use wire::otlp::{AnyValue, Attributes, NoText, ResourceMetrics, ScopeMetrics};

const SERVICE_NAME: &[u8] = b"service.name";
const SERVICE_NAMESPACE: &[u8] = b"service.namespace";
const SERVICE_INSTANCE: &[u8] = b"service.instance.id";

/// Labels sorted by name, names unique.
pub(super) type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// How attributes become labels, and how many may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'t> {
    pub(super) settings: &'t OtlpSettings,
    labels_max: u64,
    bytes_max: u64,
}

impl<'t> Rules<'t> {
    /// Those of a tenant.
    pub(super) fn of(limits: &'t Limits) -> Self {
        let (labels_max, bytes_max) = (labels_max(limits), label_bytes_max(limits));
        Self { settings: &limits.otlp, labels_max, bytes_max }
    }
}

/// What was read of a list of attributes so far. It is given up in the middle, since an attribute
/// of a few bytes takes a hundred when it is held.
#[derive(Debug, Default)]
struct Read {
    labels: u64,
    bytes: u64,
}

impl Read {
    fn add(&mut self, key: &[u8], value: &str, rules: Rules<'_>) -> Result<(), Stop> {
        self.labels += 1;
        self.bytes += (key.len() + value.len()) as u64;
        let (reason, text) = if self.labels > rules.labels_max {
            (Reason::LabelCount, format!("more than {} attributes", rules.labels_max))
        } else if self.bytes > rules.bytes_max {
            (Reason::LabelsBytes, format!("more than {} bytes of attributes", rules.bytes_max))
        } else {
            return Ok(());
        };
        let text = format!("{text} ({})", reason.limit_key());
        Err(SeriesFault { reason, text }.into())
    }
}

/// What every series of a resource gets.
#[derive(Debug, Default)]
pub(super) struct ResourceLabels<'a> {
    /// Set unless a point's attributes have it.
    promoted: Vec<(String, Cow<'a, str>)>,
    /// Set whatever else is there: `job` and `instance`.
    identity: Vec<(&'static str, Cow<'a, str>)>,
    /// The labels of `target_info`; `None` if it would say nothing.
    pub(super) target: Option<Labels<'a>>,
}

impl<'a> ResourceLabels<'a> {
    pub(super) fn read(resource: &ResourceMetrics<'a>, rules: Rules<'_>) -> Result<Self, Stop> {
        let settings = rules.settings;
        let mut read = Read::default();
        let (mut name, mut namespace, mut instance) = (None, None, None);
        let mut own = Self::default();
        let mut others = 0_u64;
        for attribute in resource.attributes().iter() {
            let attribute = attribute?;
            let identifying = match attribute.key {
                SERVICE_NAME => &mut name,
                SERVICE_NAMESPACE => &mut namespace,
                SERVICE_INSTANCE => &mut instance,
                _ => {
                    others += 1;
                    &mut None
                }
            };
            // Of equal keys the first counts.
            if identifying.is_none() {
                *identifying = Some(text(attribute.key, attribute.value)?);
            }
            let promoted = &settings.promote_resource_attributes;
            if promoted.iter().any(|key| key.as_bytes() == attribute.key) {
                let key = key_text(attribute.key)?;
                let value = text(attribute.key, attribute.value)?;
                read.add(attribute.key, &value, rules)?;
                own.promoted.push((named(key, settings)?, value));
            }
        }
        if let Some(name) = name {
            let job = match namespace {
                Some(namespace) => Cow::Owned(format!("{namespace}/{name}")),
                None => name,
            };
            own.identity.push(("job", job));
        }
        own.identity.extend(instance.map(|instance| ("instance", instance)));
        if others > 0 {
            own.target = own.target_labels(resource.attributes(), rules)?;
        }
        Ok(own)
    }

    /// The labels of `target_info`; `None` if they would not say which target is meant.
    fn target_labels(
        &self,
        attributes: Attributes<'a>,
        rules: Rules<'_>,
    ) -> Result<Option<Labels<'a>>, Stop> {
        let left_out: &[&[u8]] = match rules.settings.keep_identifying_resource_attributes {
            true => &[],
            false => &[SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_INSTANCE],
        };
        let mut labels = from_attributes(attributes, left_out, rules)?;
        self.identify(&mut labels);
        let names_a_target = |name: &str| name == "job" || name == "instance";
        let is_known = labels.iter().any(|(name, _)| names_a_target(name));
        Ok(is_known.then_some(labels))
    }

    fn identify(&self, labels: &mut Labels<'a>) {
        for (name, value) in &self.identity {
            set(labels, Cow::Borrowed(name), value.clone());
        }
    }

    /// The labels of a point, but for its name and what tells the series of one metric apart.
    pub(super) fn of_point(
        &self,
        attributes: Attributes<'a>,
        scope: &ScopeLabels<'a>,
        rules: Rules<'_>,
    ) -> Result<Labels<'a>, Stop> {
        let mut labels = from_attributes(attributes, &[], rules)?;
        for (name, value) in &self.promoted {
            if find(&labels, name).is_err() {
                set(&mut labels, Cow::Owned(name.clone()), value.clone());
            }
        }
        for (name, value) in &scope.pairs {
            set(&mut labels, name.clone(), value.clone());
        }
        self.identify(&mut labels);
        Ok(labels)
    }
}

/// What every series of a scope gets, if the tenant wants it.
#[derive(Debug, Default)]
pub(super) struct ScopeLabels<'a> {
    pairs: Labels<'a>,
}

impl<'a> ScopeLabels<'a> {
    pub(super) fn read(scope: &ScopeMetrics<'a>, rules: Rules<'_>) -> Result<Self, Stop> {
        let settings = rules.settings;
        if !settings.promote_scope_metadata || scope.name.is_empty() {
            return Ok(Self::default());
        }
        let (mut pairs, mut read) = (Labels::new(), Read::default());
        for attribute in scope.attributes().iter() {
            let attribute = attribute?;
            let key = format!("otel_scope_{}", key_text(attribute.key)?);
            let value = text(attribute.key, attribute.value)?;
            read.add(attribute.key, &value, rules)?;
            set(&mut pairs, Cow::Owned(named(&key, settings)?), value);
        }
        for (name, value) in [
            ("otel_scope_name", scope.name),
            ("otel_scope_version", scope.version),
            ("otel_scope_schema_url", scope.schema_url),
        ] {
            let value = text(name.as_bytes(), AnyValue::String(value))?;
            set(&mut pairs, Cow::Borrowed(name), value);
        }
        Ok(Self { pairs })
    }
}

/// Attributes as labels. In the order of their keys those that get one name are joined.
fn from_attributes<'a>(
    attributes: Attributes<'a>,
    left_out: &[&[u8]],
    rules: Rules<'_>,
) -> Result<Labels<'a>, Stop> {
    let (mut pairs, mut read) = (Vec::new(), Read::default());
    for attribute in attributes.iter() {
        let attribute = attribute?;
        if left_out.contains(&attribute.key) {
            continue;
        }
        let value = text(attribute.key, attribute.value)?;
        read.add(attribute.key, &value, rules)?;
        pairs.push((key_text(attribute.key)?, value));
    }
    pairs.sort_by_key(|(key, _)| *key);
    let mut labels: BTreeMap<Cow<'a, str>, Cow<'a, str>> = BTreeMap::new();
    for (key, value) in pairs {
        let name = named(key, rules.settings)?;
        // Most keys are plain names already and need no text of their own.
        let name = if name == key { Cow::Borrowed(key) } else { Cow::Owned(name) };
        let known = labels.entry(name).or_default();
        if known.is_empty() {
            *known = value;
        } else {
            let joined = known.to_mut();
            joined.push(';');
            joined.push_str(&value);
        }
    }
    Ok(labels.into_iter().collect())
}

fn find(labels: &Labels<'_>, name: &str) -> Result<usize, usize> {
    labels.binary_search_by(|(have, _)| (**have).cmp(name))
}

/// Sets a label, whatever it was before.
fn set<'a>(labels: &mut Labels<'a>, name: Cow<'a, str>, value: Cow<'a, str>) {
    match find(labels, &name) {
        Ok(at) => labels[at].1 = value,
        Err(at) => labels.insert(at, (name, value)),
    }
}

fn named(key: &str, settings: &OtlpSettings) -> Result<String, Stop> {
    label_name(key, settings.translation).ok_or_else(|| {
        let text = format!("no label can be called after attribute {:?}", shown(key.as_bytes()));
        SeriesFault { reason: Reason::NotTranslatable, text }.into()
    })
}

/// The text of an attribute's value.
pub(super) fn text<'a>(key: &[u8], value: AnyValue<'a>) -> Result<Cow<'a, str>, Stop> {
    value.text().map_err(|no_text| match no_text {
        NoText::Body(error) => error.into(),
        NoText::NotUtf8 => not_utf8(key),
        NoText::TooLong => {
            let text = format!("the value of attribute {:?} is too long", shown(key));
            SeriesFault { reason: Reason::LabelValueBytes, text }.into()
        }
    })
}

/// An attribute's key as text.
pub(super) fn key_text(key: &[u8]) -> Result<&str, Stop> {
    std::str::from_utf8(key).map_err(|_| not_utf8(key))
}

fn not_utf8(key: &[u8]) -> Stop {
    let text = format!("invalid UTF-8 in attribute {:?}", shown(key));
    SeriesFault { reason: Reason::NotUtf8, text }.into()
}

/// The start of a name, fit for an error text.
pub(super) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned()
}
