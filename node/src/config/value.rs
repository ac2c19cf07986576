//! How one value is read from YAML and written back.

use super::{LogFormat, Role};
use cluster::consistency::Consistency;
use guard::identity::DEFAULT_TENANT;
use guard::{Tenancy, Translation};
use model::{Matcher, Retention, RetentionRule, TenantId};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use store::compaction::scaling::{Scaling, Strategy};

/// A value that a key can have.
pub trait Setting: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// What would have been right.
    fn read(value: &Value) -> Result<Self, String>;
    /// Writes it as YAML on one line.
    fn write(&self) -> String;
}

/// A number of bytes: plain, or with `KiB`, `MiB`, `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Setting for bool {
    fn read(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| wanted("true or false", value))
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl Setting for promql::Features {
    fn read(value: &Value) -> Result<Self, String> {
        Self::parse(value.as_str().ok_or_else(|| wanted("names with commas between them", value))?)
    }
    fn write(&self) -> String {
        format!("\"{}\"", self.list())
    }
}

impl Setting for u64 {
    fn read(value: &Value) -> Result<Self, String> {
        value.as_u64().ok_or_else(|| wanted("a whole number, zero or more", value))
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl Setting for usize {
    fn read(value: &Value) -> Result<Self, String> {
        let number = u64::read(value)?;
        Self::try_from(number).map_err(|_| wanted("a smaller number", value))
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl Setting for u32 {
    fn read(value: &Value) -> Result<Self, String> {
        let number = u64::read(value)?;
        Self::try_from(number).map_err(|_| wanted("a smaller number", value))
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl Setting for f64 {
    fn read(value: &Value) -> Result<Self, String> {
        let number = value.as_f64().filter(|number| number.is_finite() && *number >= 0.0);
        number.ok_or_else(|| wanted("a number, zero or more", value))
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];

impl Setting for Bytes {
    fn read(value: &Value) -> Result<Self, String> {
        if let Some(number) = value.as_u64() {
            return Ok(Self(number));
        }
        let parsed = value.as_str().and_then(|text| {
            let (unit, shift) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
            let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            number.checked_mul(1 << shift)
        });
        parsed.map(Self).ok_or_else(|| wanted("bytes, such as 1048576 or 1MiB", value))
    }
    fn write(&self) -> String {
        let unit = UNITS.iter().find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift);
        match unit {
            Some((unit, shift)) => format!("{}{unit}", self.0 >> shift),
            None => self.0.to_string(),
        }
    }
}

const SPANS: [(&str, u64); 6] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("ms", 1),
    ("m", 60_000),
    ("s", 1_000),
    ("w", 604_800_000),
];

impl Setting for Duration {
    fn read(value: &Value) -> Result<Self, String> {
        let parsed = match value {
            Value::Number(number) if number.as_u64() == Some(0) => Some(0),
            Value::String(text) => millis(text),
            _ => None,
        };
        parsed.map(Self::from_millis).ok_or_else(|| wanted("a duration, such as 30s or 2h", value))
    }
    fn write(&self) -> String {
        let millis = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        let whole = |unit: &str| {
            let (_, factor) = SPANS.iter().find(|(name, _)| *name == unit)?;
            (millis % factor == 0).then(|| format!("{}{unit}", millis / factor))
        };
        match millis {
            0 => "0s".to_owned(),
            _ => ["d", "h", "m", "s", "ms"].into_iter().find_map(whole).unwrap_or_default(),
        }
    }
}

/// Milliseconds of a duration as Prometheus writes them: `1h30m`, `500ms`.
fn millis(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut sum = 0_u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let unit = rest.get(..letters)?;
        rest = rest.get(letters..)?;
        let (_, factor) = SPANS.iter().find(|(name, _)| *name == unit)?;
        sum = sum.checked_add(number.checked_mul(*factor)?)?;
    }
    Some(sum)
}

impl Setting for String {
    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().map(str::to_owned).ok_or_else(|| wanted("text", value))
    }
    fn write(&self) -> String {
        // A JSON string is a YAML string.
        Value::from(self.as_str()).to_string()
    }
}

impl Setting for PathBuf {
    fn read(value: &Value) -> Result<Self, String> {
        String::read(value).map(Self::from)
    }
    fn write(&self) -> String {
        self.display().to_string().write()
    }
}

impl Setting for SocketAddr {
    fn read(value: &Value) -> Result<Self, String> {
        let parsed = value.as_str().and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| wanted("an address and a port, such as 127.0.0.1:9009", value))
    }
    fn write(&self) -> String {
        self.to_string().write()
    }
}

/// Implements `Setting` for a choice of words.
macro_rules! choice {
    ($type:ty, $($word:literal => $variant:path),+) => {
        impl Setting for $type {
            fn read(value: &Value) -> Result<Self, String> {
                match value.as_str() {
                    $(Some($word) => Ok($variant),)+
                    _ => Err(wanted(concat!("one of", $(" ", $word),+), value)),
                }
            }
            fn write(&self) -> String {
                match self { $($variant => $word.to_owned(),)+ }
            }
        }
    };
}

choice!(Role, "distributor" => Role::Distributor, "ingester" => Role::Ingester, "querier" => Role::Querier);
choice!(LogFormat, "text" => LogFormat::Text, "json" => LogFormat::Json);

choice!(
    Translation,
    "UnderscoreEscapingWithSuffixes" => Translation::UnderscoreEscapingWithSuffixes,
    "NoUTF8EscapingWithSuffixes" => Translation::NoUtf8EscapingWithSuffixes,
    "UnderscoreEscapingWithoutSuffixes" => Translation::UnderscoreEscapingWithoutSuffixes,
    "NoTranslation" => Translation::NoTranslation
);

impl Setting for Vec<String> {
    fn read(value: &Value) -> Result<Self, String> {
        let texts = value.as_array().ok_or_else(|| wanted("a list of texts", value))?;
        texts.iter().map(String::read).collect()
    }
    fn write(&self) -> String {
        // A JSON list is a YAML list.
        Value::from(self.as_slice()).to_string()
    }
}

/// `single` is the tenant `default`; there is no other name to choose yet.
impl Setting for Tenancy {
    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("single") => Ok(single_tenancy()),
            Some("multi") => Ok(Self::Multi),
            _ => Err(wanted("one of single multi", value)),
        }
    }
    fn write(&self) -> String {
        match self {
            Self::Single(_) => "single".to_owned(),
            Self::Multi => "multi".to_owned(),
        }
    }
}

/// One tenant for everybody.
pub(super) fn single_tenancy() -> Tenancy {
    // The default name is one that a tenant can have; a test holds it to that.
    TenantId::parse(DEFAULT_TENANT).map_or(Tenancy::Multi, Tenancy::Single)
}

impl Setting for Vec<Role> {
    fn read(value: &Value) -> Result<Self, String> {
        let roles = value.as_array().ok_or_else(|| wanted("a list of roles", value))?;
        roles.iter().map(Role::read).collect()
    }
    fn write(&self) -> String {
        let roles: Vec<&str> = self.iter().map(|role| role.as_str()).collect();
        format!("[{}]", roles.join(", "))
    }
}

/// A list of selectors, each with a duration.
impl Setting for Vec<RetentionRule> {
    fn read(value: &Value) -> Result<Self, String> {
        let list = value.as_array().ok_or_else(|| wanted(RULES, value))?;
        list.iter().map(rule).collect()
    }
    fn write(&self) -> String {
        let rule = |rule: &RetentionRule| {
            let matchers: Vec<String> = rule.matchers.iter().map(matcher_text).collect();
            let selector = format!("{{{}}}", matchers.join(", ")).write();
            let retention = Duration::from_millis(rule.retention.as_ms());
            format!("{selector}: {}", retention.write())
        };
        let rules: Vec<String> = self.iter().map(|one| format!("{{{}}}", rule(one))).collect();
        format!("[{}]", rules.join(", "))
    }
}

const RULES: &str = "a list of selectors and durations, such as - '{job=\"a\"}': 3d";

fn rule(value: &Value) -> Result<RetentionRule, String> {
    let pair = value.as_object().filter(|pair| pair.len() == 1);
    let (selector, span) =
        pair.and_then(|pair| pair.iter().next()).ok_or_else(|| wanted(RULES, value))?;
    let matchers =
        promql::parse_selector(selector).map_err(|error| format!("`{selector}`: {error}"))?;
    let span = Duration::read(span)?;
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Ok(RetentionRule { matchers, retention: Retention::from_ms(ms) })
}

/// A matcher as it is written in a selector.
fn matcher_text(matcher: &Matcher) -> String {
    // A JSON string is a PromQL string, also as a label's name.
    let text = |text: &str| Value::from(text).to_string();
    format!("{}{}{}", text(&matcher.name), matcher.op.as_str(), text(&matcher.value))
}

impl Setting for Consistency {
    fn read(value: &Value) -> Result<Self, String> {
        let parsed = value.as_str().and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| wanted("one of ONE TWO THREE QUORUM ALL", value))
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl Setting for Strategy {
    fn read(value: &Value) -> Result<Self, String> {
        let parsed = value.as_str().and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| wanted("one of ucs stcs lcs twcs", value))
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl Setting for Scaling {
    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().map(str::to_owned).or_else(|| Some(value.as_i64()?.to_string()));
        let text =
            text.ok_or_else(|| wanted("scaling parameters, such as T8 or \"T8,T4,N\"", value))?;
        text.parse()
    }
    fn write(&self) -> String {
        // `N` alone is no boolean in YAML 1.2, but older readers take it for one.
        self.to_string().write()
    }
}

/// `wanted …, not …`.
pub(super) fn wanted(what: &str, have: &Value) -> String {
    let mut have = have.to_string();
    if have.len() > 40 {
        have = have.chars().take(40).chain(['…']).collect();
    }
    format!("wanted {what}, not {have}")
}
