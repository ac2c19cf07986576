//! How long samples are kept: a tenant's rules, and what they say of a series.
//!
//! The first rule whose matchers all match a series decides; without one the tenant's default does.
//! A sample is kept while it is not *older* than the retention: at `now` those of
//! `now - retention` and later are there, those of a millisecond before are not.
//!
//! Not here: which rules were in force when (`store::retention`); refusing samples (`distributor`).

use crate::label::{LabelSet, METRIC_NAME};
use crate::matcher::{CompiledMatcher, Matcher};
use crate::regex::RegexError;
use crate::time::TimestampMs;

/// How long a sample is kept. For ever is the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retention(
    // Milliseconds above zero; the greatest number is for ever.
    i64,
);

impl Default for Retention {
    fn default() -> Self {
        Self::FOR_EVER
    }
}

impl Retention {
    /// Nothing is ever too old.
    pub const FOR_EVER: Self = Self(i64::MAX);

    /// So many milliseconds; 0 is for ever.
    #[must_use]
    pub fn from_ms(ms: u64) -> Self {
        match ms {
            0 => Self::FOR_EVER,
            ms => Self(i64::try_from(ms).unwrap_or(i64::MAX)),
        }
    }

    /// The milliseconds; 0 is for ever.
    #[must_use]
    pub fn as_ms(self) -> u64 {
        if self == Self::FOR_EVER { 0 } else { self.0.unsigned_abs() }
    }

    /// The first moment that is kept at `now`.
    #[must_use]
    pub fn first_kept_ms(self, now: TimestampMs) -> i64 {
        if self == Self::FOR_EVER { i64::MIN } else { now.0.saturating_sub(self.0) }
    }
}

/// One rule: how long the series that match are kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetentionRule {
    /// All of them have to match.
    pub matchers: Vec<Matcher>,
    /// How long.
    pub retention: Retention,
}

/// The rules of one tenant. The default keeps everything for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RetentionRules {
    /// For series that no rule matches.
    pub default: Retention,
    /// In the order in which they are tried.
    pub rules: Vec<RetentionRule>,
}

impl RetentionRules {
    /// One retention for all series.
    #[must_use]
    pub fn all(retention: Retention) -> Self {
        Self { default: retention, rules: Vec::new() }
    }

    /// Makes the rules ready to be asked.
    ///
    /// # Errors
    /// [`RegexError`] of the first regex that is not one.
    pub fn compile(&self) -> Result<CompiledRetention, RegexError> {
        let compile = |rule: &RetentionRule| {
            let matchers = rule.matchers.iter().map(Matcher::compile);
            Ok(Compiled {
                by_metric: rule.matchers.iter().all(|matcher| *matcher.name == *METRIC_NAME),
                matchers: matchers.collect::<Result<_, _>>()?,
                retention: rule.retention,
            })
        };
        let compiled = self.rules.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(CompiledRetention { rules: self.clone(), compiled })
    }
}

/// Rules that are ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct CompiledRetention {
    rules: RetentionRules,
    compiled: Vec<Compiled>,
}

#[derive(Clone, Debug)]
struct Compiled {
    matchers: Vec<CompiledMatcher>,
    /// Whether the metric's name alone decides.
    by_metric: bool,
    retention: Retention,
}

/// The same rules.
impl PartialEq for CompiledRetention {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Eq for CompiledRetention {}

impl CompiledRetention {
    /// The rules as they were written.
    #[must_use]
    pub fn rules(&self) -> &RetentionRules {
        &self.rules
    }

    /// The retention of a series, by the values of its labels: empty for one that it has not.
    pub fn of<'v>(&self, value: impl Fn(&str) -> &'v str) -> Retention {
        let is_match = |rule: &&Compiled| rule.matchers.iter().all(|m| m.matches(value(&m.name)));
        self.compiled.iter().find(is_match).map_or(self.rules.default, |rule| rule.retention)
    }

    /// The retention of a series.
    #[must_use]
    pub fn of_labels(&self, labels: &LabelSet) -> Retention {
        self.of(|name| labels.value(name))
    }

    /// The shortest and the longest retention that any series can have.
    #[must_use]
    pub fn bounds(&self) -> (Retention, Retention) {
        bounds(self.rules.default, self.compiled.iter().map(|rule| rule.retention))
    }

    /// The shortest and the longest retention that a series of this metric can have.
    #[must_use]
    pub fn bounds_of_metric(&self, metric: &str) -> (Retention, Retention) {
        let may_match = |rule: &&Compiled| {
            let mut by_name = rule.matchers.iter().filter(|m| *m.name == *METRIC_NAME);
            by_name.all(|matcher| matcher.matches(metric))
        };
        let mut found = Vec::new();
        for rule in self.compiled.iter().filter(may_match) {
            if rule.by_metric {
                return bounds(rule.retention, found.into_iter());
            }
            found.push(rule.retention);
        }
        bounds(self.rules.default, found.into_iter())
    }
}

fn bounds(first: Retention, others: impl Iterator<Item = Retention>) -> (Retention, Retention) {
    others.fold((first, first), |(short, long), one| (short.min(one), long.max(one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::MatchOp;

    const DAY: u64 = 86_400_000;

    fn days(days: u64) -> Retention {
        Retention::from_ms(days * DAY)
    }

    fn rule(name: &str, regex: &str, retention: Retention) -> RetentionRule {
        RetentionRule { matchers: vec![Matcher::new(name, MatchOp::Regex, regex)], retention }
    }

    fn labels(metric: &str, env: &str) -> LabelSet {
        LabelSet::from_pairs([(METRIC_NAME, metric), ("env", env)]).unwrap()
    }

    #[test]
    fn a_sample_is_kept_until_it_is_older_than_the_retention() {
        assert_eq!(Retention::from_ms(10).first_kept_ms(TimestampMs(100)), 90);
        assert_eq!(Retention::FOR_EVER.first_kept_ms(TimestampMs(100)), i64::MIN);
        assert_eq!(Retention::from_ms(u64::MAX), Retention::FOR_EVER);
        assert_eq!((Retention::from_ms(0).as_ms(), days(1).as_ms()), (0, DAY));
        assert!(days(400_000) < Retention::FOR_EVER);
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_else_the_default() {
        let rules = vec![
            rule(METRIC_NAME, "debug_.*", days(3)),
            rule("env", "prod", days(400)),
            rule(METRIC_NAME, "debug_all", days(9)),
        ];
        let rules = RetentionRules { default: days(30), rules }.compile().unwrap();
        let of = |metric: &str, env: &str| rules.of_labels(&labels(metric, env));
        assert_eq!(of("debug_all", "prod"), days(3));
        assert_eq!(of("up", "prod"), days(400));
        assert_eq!(of("up", ""), days(30));
        assert_eq!(rules.bounds(), (days(3), days(400)));
        assert_eq!(rules.bounds_of_metric("debug_x"), (days(3), days(3)));
        assert_eq!(rules.bounds_of_metric("up"), (days(30), days(400)));
        assert_eq!(
            CompiledRetention::default().bounds(),
            (Retention::FOR_EVER, Retention::FOR_EVER)
        );
    }

    #[test]
    fn a_bad_regex_is_told() {
        let rules = RetentionRules { default: days(1), rules: vec![rule("a", "(", days(2))] };
        assert!(rules.compile().is_err());
    }
}
