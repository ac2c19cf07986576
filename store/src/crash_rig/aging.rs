//! The clock of a story, and what its rules of retention hide.
//!
//! Rules come and go while the clock goes on. What rules hide when others take their place is
//! *gone*: no rules bring it back. A change that failed leaves open which rules are in force, and a
//! sample that is sent again after it went may be there again.

use super::checker::{Deletion, Id, TENANTS, Writer, now, sample_of};
use crate::retention::RetentionConfig;
use model::time::DAY_MS;
use model::{Matcher, Retention, RetentionRule, RetentionRules, TenantId, TimestampMs};
use std::collections::BTreeSet;

/// The rules that there are; as jobs they have these names. Late samples are three days old at the
/// first moment of a story: some rules hide them at once, some in time, some never.
pub(super) const RULES: [&str; 4] =
    ["keep for ever", "keep a metric for two days", "keep for four days", "keep left for two days"];

const HOUR_MS: i64 = 60 * 60 * 1000;
/// How far the clock goes in a step, and in all.
const STEP_MS: i64 = 10 * HOUR_MS;
const LATER_MAX_MS: i64 = 3 * STEP_MS;
/// So long after the last sample of a tombstone's range has expired it may be forgotten.
const SLACK_MS: i64 = HOUR_MS;

/// How many days these rules keep a series; `None` is for ever.
fn days(rules: usize, writer: Writer) -> Option<i64> {
    match rules {
        1 => (writer.number % 3 == 1).then_some(2),
        2 => Some(4),
        3 => (writer.tenant == 0).then_some(2),
        _ => None,
    }
}

/// What a user sets.
pub(super) fn config(rules: usize) -> RetentionConfig {
    let days = |days: u64| Retention::from_ms(days * DAY_MS.unsigned_abs());
    let all = |retention| RetentionConfig {
        default: RetentionRules::all(retention),
        ..RetentionConfig::default()
    };
    match rules {
        1 => {
            let matchers = vec![Matcher::equal("__name__", "metric_1")];
            let rules = vec![RetentionRule { matchers, retention: days(2) }];
            let default = RetentionRules { default: Retention::FOR_EVER, rules };
            RetentionConfig { default, ..RetentionConfig::default() }
        }
        2 => all(days(4)),
        3 => {
            let left = TenantId::parse(TENANTS[0]).unwrap();
            let tenants = [(left, RetentionRules::all(days(2)))].into();
            RetentionConfig { tenants, ..RetentionConfig::default() }
        }
        _ => RetentionConfig::default(),
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Aging {
    later_ms: i64,
    rules: usize,
    /// Rules that may be in force instead: the change from them failed.
    doubtful: Vec<usize>,
    /// Hidden for good.
    gone: BTreeSet<Id>,
    /// Hidden for good, or not.
    unsure: BTreeSet<Id>,
}

impl Aging {
    pub(super) fn now(&self) -> TimestampMs {
        now().plus_ms(self.later_ms)
    }

    /// The clock goes on, as long as most of a story's samples are younger than any rules.
    pub(super) fn go_on(&mut self) {
        self.later_ms = (self.later_ms + STEP_MS).min(LATER_MAX_MS);
    }

    fn hides(&self, rules: usize, id: Id) -> bool {
        let first_kept = |days: i64| self.now().0 - days * DAY_MS;
        days(rules, id.0).is_some_and(|days| sample_of(id).0 < first_kept(days))
    }

    fn perhaps_in_force(&self) -> impl Iterator<Item = usize> + '_ {
        self.doubtful.iter().copied().chain([self.rules])
    }

    /// Whether it may not be shown.
    pub(super) fn is_hidden(&self, id: Id) -> bool {
        self.gone.contains(&id) || self.perhaps_in_force().all(|rules| self.hides(rules, id))
    }

    /// Whether it need not be shown.
    pub(super) fn may_be_hidden(&self, id: Id) -> bool {
        self.gone.contains(&id)
            || self.unsure.contains(&id)
            || self.perhaps_in_force().any(|rules| self.hides(rules, id))
    }

    /// A user has set other rules, or these once more, and it was done or not.
    pub(super) fn set(&mut self, rules: usize, is_done: bool, tried: &BTreeSet<Id>) {
        let ended: Vec<usize> = self.perhaps_in_force().filter(|held| *held != rules).collect();
        let was_hidden = |id: &&Id| ended.iter().any(|rules| self.hides(*rules, **id));
        let hidden: Vec<Id> = tried.iter().filter(was_hidden).copied().collect();
        match is_done && self.doubtful.is_empty() {
            true => self.gone.extend(hidden),
            false => self.unsure.extend(hidden),
        }
        self.doubtful = if is_done { Vec::new() } else { ended };
        self.rules = rules;
    }

    /// The rules of this name.
    pub(super) fn named(name: &str) -> Option<usize> {
        RULES.iter().position(|known| *known == name)
    }

    /// The rules of now.
    pub(super) fn rules(&self) -> usize {
        self.rules
    }

    /// It is sent once more.
    pub(super) fn sent_again(&mut self, id: Id) {
        if self.gone.remove(&id) {
            self.unsure.insert(id);
        }
    }

    /// Whether all that a delete covers is too old by now, so that it may be forgotten.
    pub(super) fn may_forget(&self, deletion: &Deletion) -> bool {
        let is_over = |rules: usize| {
            // Of the tenant whatever is kept longest.
            let longest =
                (0..3).map(|number| days(rules, Writer { tenant: deletion.tenant, number }));
            let longest =
                longest.collect::<Option<Vec<_>>>().and_then(|days| days.into_iter().max());
            longest.is_some_and(|days| deletion.end_ms <= self.now().0 - SLACK_MS - days * DAY_MS)
        };
        self.perhaps_in_force().any(is_over)
    }
}
