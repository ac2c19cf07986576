//! Retention: which rules are in force for whom, what they hide from reads, and which files are
//! still as older rules left them.
//!
//! A *class* is one retention: an sstable holds series of one class and one window, so that it can
//! be unlinked whole. Rules have a *version*; a file knows the version of the rules that put its
//! series into its class. When a tenant's rules change, files of before are *stale* for it until
//! the pass of `engine/retain.rs` has seen them.
//!
//! # Invariants
//! - What rules hid when others came in their place stays hidden in the files of before: a stale
//!   file is clipped by all rules since its version, each at the moment at which it ended.
//! - What was written after a change is clipped by the new rules only.
//! - Rules are forgotten when no file is stale for them.
//! - The class of a file says how long its series are kept only while it is not stale.
//!
//! Not here: the rules themselves (`model::retention`), unlinking and rewriting (`engine/retain.rs`),
//! how far the clock is believed (`retention/trust.rs`).

pub(crate) mod trust;

use crate::compaction::cut::{Cut, Labels};
use crate::error::{Error, Result};
use crate::manifest::{RuleSet, State};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::{CompiledRetention, DayBucket, Retention, RetentionRules, TenantId, TimestampMs};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rules that a user has set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionConfig {
    /// For tenants without rules of their own.
    pub default: RetentionRules,
    /// By tenant.
    pub tenants: BTreeMap<TenantId, RetentionRules>,
}

/// The class of what is kept for ever.
pub(crate) const CLASS_FOR_EVER: u32 = 0;

/// How wide the windows of a retention are, in days (DESIGN.md D18).
pub(crate) fn window_days(retention: Retention) -> u16 {
    const DAY_MS: u64 = 86_400_000;
    match retention.as_ms() {
        ms if ms <= 40 * DAY_MS => 1,
        ms if ms <= 400 * DAY_MS => 7,
        _ => 30,
    }
}

/// Everybody's rules at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retentions {
    default: Arc<CompiledRetention>,
    configured: HashMap<TenantId, Arc<CompiledRetention>, RandomState>,
    recorded: HashMap<TenantId, Vec<Set>, RandomState>,
    /// The highest version there is.
    pub(crate) version: u64,
}

/// Rules and when they held.
#[derive(Clone, Debug)]
struct Set {
    version: u64,
    until_ms: Option<i64>,
    rules: Arc<CompiledRetention>,
}

fn compile(rules: &RetentionRules) -> Result<Arc<CompiledRetention>> {
    let bad = |error: model::regex::RegexError| Error::BadMatcher {
        matcher: "a rule of retention".to_owned(),
        detail: error.to_string(),
    };
    rules.compile().map(Arc::new).map_err(bad)
}

impl Retentions {
    /// What the manifest knows, beside what these configured.
    pub(crate) fn recorded(&self, state: &State) -> Result<Self> {
        let mut all = Self { recorded: HashMap::default(), ..self.clone() };
        for (tenant, sets) in &state.retention_rules {
            let mut compiled = Vec::with_capacity(sets.len());
            for set in sets {
                let RuleSet { version, until_ms, rules } = set;
                all.version = all.version.max(*version);
                let rules = compile(rules)?;
                compiled.push(Set { version: *version, until_ms: *until_ms, rules });
            }
            all.recorded.insert(tenant.clone(), compiled);
        }
        Ok(all)
    }

    /// The same with other configured rules.
    pub(crate) fn configured(&self, config: &RetentionConfig) -> Result<Self> {
        let tenants = config.tenants.iter();
        let configured = tenants.map(|(id, rules)| Ok((id.clone(), compile(rules)?)));
        let configured = configured.collect::<Result<_>>()?;
        Ok(Self { default: compile(&config.default)?, configured, ..self.clone() })
    }

    /// The rules that a user wants for a tenant.
    pub(crate) fn wanted(&self, tenant: &TenantId) -> &Arc<CompiledRetention> {
        self.configured.get(tenant).unwrap_or(&self.default)
    }

    /// The rules by which a tenant's series get their class.
    pub(crate) fn in_force(&self, tenant: &TenantId) -> &Arc<CompiledRetention> {
        let last = self.recorded.get(tenant).and_then(|sets| sets.last());
        last.map_or_else(|| self.wanted(tenant), |set| &set.rules)
    }

    /// Whether the manifest knows rules of the tenant.
    pub(crate) fn is_recorded(&self, tenant: &TenantId) -> bool {
        self.recorded.contains_key(tenant)
    }

    /// Whether a tenant with files has other rules than the wanted ones. Without recorded rules all
    /// of it was kept.
    pub(crate) fn is_changed(&self, tenant: &TenantId) -> bool {
        let in_force = self.recorded.get(tenant).and_then(|sets| sets.last());
        match in_force {
            Some(set) => set.rules != *self.wanted(tenant),
            None => **self.wanted(tenant) != CompiledRetention::default(),
        }
    }

    /// Whether anything of anybody can expire.
    pub(crate) fn is_finite(&self) -> bool {
        let finite = |rules: &CompiledRetention| rules.bounds().0 < Retention::FOR_EVER;
        finite(&self.default)
            || self.configured.values().any(|rules| finite(rules))
            || self.recorded.values().flatten().any(|set| finite(&set.rules))
    }

    /// The tenants that the manifest knows rules of.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.recorded.keys()
    }

    /// What the manifest has to know when `wanted` rules take the place of those in force at
    /// `now_ms`.
    pub(crate) fn changed(
        &self,
        tenant: &TenantId,
        wanted: &CompiledRetention,
        now_ms: i64,
        version: u64,
    ) -> Vec<RuleSet> {
        let mut sets = self.sets(tenant);
        if sets.is_empty() {
            // Without rules everything was kept.
            let rules = RetentionRules::default();
            sets.push(RuleSet { version: 0, until_ms: None, rules });
        }
        if let Some(last) = sets.last_mut() {
            last.until_ms = Some(now_ms);
        }
        sets.push(RuleSet { version, until_ms: None, rules: wanted.rules().clone() });
        sets
    }

    /// A tenant's rules as the manifest has them.
    pub(crate) fn sets(&self, tenant: &TenantId) -> Vec<RuleSet> {
        let sets = self.recorded.get(tenant).map_or(&[][..], |sets| sets);
        let rule_set = |set: &Set| RuleSet {
            version: set.version,
            until_ms: set.until_ms,
            rules: set.rules.rules().clone(),
        };
        sets.iter().map(rule_set).collect()
    }

    /// Whether a file of this version is as older rules of the tenant left it.
    pub(crate) fn is_stale(&self, tenant: &TenantId, file_version: u64) -> bool {
        let last = self.recorded.get(tenant).and_then(|sets| sets.last());
        last.is_some_and(|set| set.version > file_version)
    }

    /// Whether a file of this version is stale for any tenant there is: for files that do not say
    /// whom they are of.
    pub(crate) fn is_stale_for_any(&self, file_version: u64) -> bool {
        self.recorded.keys().any(|tenant| self.is_stale(tenant, file_version))
    }

    /// What is hidden from a tenant at `now`.
    pub(crate) fn clip(&self, tenant: &TenantId, now: TimestampMs) -> Clip {
        let Some(sets) = self.recorded.get(tenant) else {
            return Clip::one(self.wanted(tenant), now);
        };
        let mut clip = Clip::default();
        for (index, set) in sets.iter().enumerate() {
            let before_version = sets.get(index + 1).map_or(u64::MAX, |next| next.version);
            let at = set.until_ms.map_or(now, TimestampMs);
            clip.push(before_version, Border { at, rules: Arc::clone(&set.rules) });
        }
        clip
    }
}

/// What is hidden from one tenant at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clip {
    /// With each border the version of files that it does not concern any more.
    borders: Vec<(u64, Border)>,
}

/// Rules at the moment at which they are asked.
#[derive(Clone, Debug)]
struct Border {
    at: TimestampMs,
    rules: Arc<CompiledRetention>,
}

impl Clip {
    fn one(rules: &Arc<CompiledRetention>, at: TimestampMs) -> Self {
        let mut clip = Self::default();
        clip.push(u64::MAX, Border { at, rules: Arc::clone(rules) });
        clip
    }

    fn push(&mut self, before_version: u64, border: Border) {
        if border.rules.bounds().0 < Retention::FOR_EVER {
            self.borders.push((before_version, border));
        }
    }

    /// Nothing from this moment on is hidden, of whatever series and in whatever file.
    pub(crate) fn all_shown_from_ms(&self) -> i64 {
        let first = |(_, border): &(u64, Border)| border.rules.bounds().0.first_kept_ms(border.at);
        self.borders.iter().map(first).max().unwrap_or(i64::MIN)
    }

    /// What is hidden in a file of this version.
    pub(crate) fn of_file(&self, version: u64) -> Hides {
        let concerns = self.borders.iter().filter(|(before, _)| version < *before);
        Hides { borders: concerns.map(|(_, border)| border.clone()).collect() }
    }

    /// What is hidden in the head.
    pub(crate) fn of_head(&self) -> Hides {
        self.of_file(u64::MAX - 1)
    }
}

/// What is hidden from one tenant in one source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hides {
    borders: Vec<Border>,
}

impl Hides {
    /// The first moment that a series' samples are shown from.
    pub(crate) fn first_shown_ms<'v>(&self, value: impl Fn(&str) -> &'v str) -> i64 {
        let first = |border: &Border| border.rules.of(&value).first_kept_ms(border.at);
        self.borders.iter().map(first).max().unwrap_or(i64::MIN)
    }

    /// No sample before this moment is shown, of whatever series.
    pub(crate) fn nothing_before_ms(&self) -> i64 {
        let first = |border: &Border| border.rules.bounds().1.first_kept_ms(border.at);
        self.borders.iter().map(first).max().unwrap_or(i64::MIN)
    }

    /// No sample of the metric before this moment is shown.
    pub(crate) fn nothing_of_metric_before_ms(&self, metric: &str) -> i64 {
        let first =
            |border: &Border| border.rules.bounds_of_metric(metric).1.first_kept_ms(border.at);
        self.borders.iter().map(first).max().unwrap_or(i64::MIN)
    }

    /// Whether it hides of every series the same.
    pub(crate) fn is_plain(&self) -> bool {
        let is_plain = |border: &Border| {
            let (shortest, longest) = border.rules.bounds();
            shortest == longest
        };
        self.borders.iter().all(is_plain)
    }

    /// Every sample of the metric from this moment on is shown.
    pub(crate) fn all_from_ms(&self, metric: &str) -> i64 {
        let first =
            |border: &Border| border.rules.bounds_of_metric(metric).0.first_kept_ms(border.at);
        self.borders.iter().map(first).max().unwrap_or(i64::MIN)
    }
}

impl Cut for Hides {
    fn touches(&self, _: &TenantId, metric: &str, day: DayBucket) -> bool {
        !self.borders.is_empty() && day.start().0 < self.all_from_ms(metric)
    }

    fn spans(&self, _: &TenantId, labels: &Labels<'_>, spans: &mut Vec<(i64, i64)>) {
        let first = self.first_shown_ms(|name| labels.value(name));
        if first > i64::MIN {
            spans.push((i64::MIN, first));
        }
    }
}
