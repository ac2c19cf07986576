//! What a member keeps for all of its places: the table of the journals' next period, made before it is
//! needed, and how long samples are kept.
//!
//! # Rules
//! - A period's table is made minutes before the hour begins. While that fails journals stay where they
//!   are: no write waits for it.
//! - Settings are looked at now and then; what changed is told to each open place.
//!
//! Not here: a period's number (`periods.rs`), the rows of settings (`settings.rs`).

use super::backoff::Backoff;
use super::open::Served;
use super::state::State;
use super::{Member, Task};
use crate::cassandra::periods::{self, PERIOD_MS};
use crate::cassandra::settings;
use crate::error::Error;
use cluster::ownership::BootMs;
use std::sync::Arc;
use store::RetentionConfig;

/// A period's table is made so long before the hour begins, at least; up to three times as long.
const AHEAD_MS: u64 = 240_000;
/// If the clock does not say that it is time, the next period is made so long after the one before.
const PERIOD_MAX_MS: u64 = PERIOD_MS + 300_000;
/// A clock so far ahead of the nodes' is told.
const CLOCK_WRONG_S: i64 = 60;
/// How often settings are looked at.
const SETTINGS_EVERY_MS: u64 = 30_000;

/// Where the upkeep stands.
#[derive(Debug)]
pub(super) struct Keeping {
    ahead_ms: u64,
    newest: u64,
    newest_since: BootMs,
    period: Backoff,
    is_making: bool,
    is_far: bool,
    settings_at: BootMs,
    is_looking: bool,
}

impl Keeping {
    /// Not all processes make a table at the same moment.
    pub(super) fn new(chance: u128, now: BootMs) -> Self {
        let spread = u64::try_from(chance % u128::from(2 * AHEAD_MS)).unwrap_or(0);
        Self {
            ahead_ms: AHEAD_MS + spread,
            newest: 0,
            newest_since: now,
            period: Backoff::default(),
            is_making: false,
            is_far: false,
            settings_at: now.plus_ms(SETTINGS_EVERY_MS),
            is_looking: false,
        }
    }

    /// The hour whose period should be there at a time of the clock.
    pub(super) fn hour(&self, now_ms: i64) -> u64 {
        u64::try_from(now_ms).unwrap_or(0).saturating_add(self.ahead_ms) / PERIOD_MS
    }

    /// Whether the next period is to be made, where this is the newest.
    fn is_period_due(&mut self, newest: u64, hour: u64, now: BootMs) -> bool {
        if newest != self.newest {
            (self.newest, self.newest_since) = (newest, now);
        }
        // The first one is made by who opens a place first.
        if newest == 0 || self.is_making || !self.period.is_over(now) {
            return false;
        }
        let is_hour = hour > newest && !periods::is_far(newest, hour);
        is_hour || now.since(self.newest_since) >= PERIOD_MAX_MS
    }
}

impl Member {
    /// Which ring it is a member of: a number that all processes over its keyspace have, and no others.
    #[must_use]
    pub fn ring_number(&self) -> u128 {
        self.number
    }

    /// What of the upkeep is due.
    pub(super) fn keep(&self, state: &mut State, now: BootMs, tasks: &mut Vec<Task>) {
        let keeping = &mut state.keeping;
        let hour = keeping.hour(self.parts.clock.now().0);
        state.database.set_hour(hour);
        let newest = state.database.period();
        if keeping.is_period_due(newest, hour, now) {
            keeping.is_making = true;
            tasks.push(Task::Period);
        }
        let is_far = newest > 0 && periods::is_far(newest, hour);
        if is_far && !keeping.is_far {
            tracing::warn!(
                newest,
                hour,
                "the clock is hours away from the newest period of journals"
            );
        }
        keeping.is_far = is_far;
        self.told.clock_away(newest, hour);
        self.told.fetched_bytes.inc_by(state.database.take_fetched_bytes());
        if !keeping.is_looking && now >= keeping.settings_at {
            keeping.is_looking = true;
            tasks.push(Task::Settings);
        }
    }

    /// Makes the next period's table. Blocks.
    pub(super) fn make_period(&self) {
        let database = Arc::clone(&self.state.lock().database);
        let made = database.make_next_period();
        let (now, chance) = (self.parts.boot.now(), self.parts.chance.draw());
        let keeping = &mut self.state.lock().keeping;
        keeping.is_making = false;
        match made {
            Ok(_) => keeping.period = Backoff::default(),
            Err(error) => {
                self.told.period_failures.inc();
                if keeping.period.failures() == 0 {
                    tracing::warn!(
                        %error,
                        "the table of the journals' next period is not made yet, they go on in the present one"
                    );
                }
                keeping.period.failed(now, chance);
            }
        }
    }

    /// How long samples are kept, by what is shared; `own` is what this process would say.
    pub(super) fn say_differences(&self, holds: &RetentionConfig, own: &RetentionConfig) {
        let differences = settings::differences(holds, own);
        self.told.settings_differ.set(i64::from(!differences.is_empty()));
        for difference in differences {
            tracing::error!(
                "retention: {difference}; `cumae cassandra retention --apply` takes it from a configuration"
            );
        }
    }

    /// Looks how far the clock is ahead of the nodes', by which nothing expires.
    fn look_at_clock(&self) {
        let database = Arc::clone(&self.state.lock().database);
        match database.look_at_clock(self.parts.clock.now().0) {
            Ok(ahead_ms) => {
                let was_wrong = self.told.clock_ahead_seconds.get() >= CLOCK_WRONG_S;
                self.told.clock_ahead_seconds.set(ahead_ms / 1000);
                if ahead_ms / 1000 >= CLOCK_WRONG_S && !was_wrong {
                    tracing::error!(
                        ahead_ms,
                        "the clock is ahead of those of Cassandra's nodes: set it"
                    );
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the clocks of Cassandra's nodes cannot be looked at")
            }
        }
    }

    /// Looks at the clock, and whether settings have changed, and tells open places. Blocks.
    pub(super) fn look_at_settings(&self) {
        self.look_at_clock();
        match settings::retention(&*self.parts.rows) {
            Ok(Some(holds)) if holds != **self.rules.read() => {
                tracing::info!("how long samples are kept has changed");
                self.say_differences(&holds, &crate::embedded::retention(&self.parts.limits));
                *self.rules.write() = Arc::new(holds);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "how long samples are kept cannot be looked at"),
        }
        let open = Arc::clone(&self.open.read());
        for (place, served) in &open.by_place {
            if let Err(error) = self.tell_rules(served) {
                tracing::warn!(place, %error, "a place keeps samples as long as before");
            }
        }
        let mut state = self.state.lock();
        state.keeping.is_looking = false;
        state.keeping.settings_at = self.parts.boot.now().plus_ms(SETTINGS_EVERY_MS);
    }

    fn tell_rules(&self, served: &Served) -> Result<(), Error> {
        let rules = Arc::clone(&self.rules.read());
        if Arc::ptr_eq(&served.rules.lock(), &rules) {
            return Ok(());
        }
        served.embedded.engine().set_retention(&rules, self.parts.clock.now())?;
        *served.rules.lock() = rules;
        Ok(())
    }
}
