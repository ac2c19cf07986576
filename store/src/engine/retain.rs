//! Retention in the engine: whose rules are in force, and the windows that go.
//!
//! # Order of a change of rules
//! 1. The log is synced and the head is flushed, so that what came before the change is in files of
//!    before it, and no replay brings it into the head again.
//! 2. One edit says which rules are in force now, and when those before ended. From then on reads
//!    hide what either hides, and new files get their classes by the new rules.
//!
//! # Expiry
//! A window of a class is unlinked when its end is further back than the retention and an hour: no
//! read of a coordinator whose clock is behind misses a sample. Nothing of it is read.
//!
//! Not here: what is hidden from reads (`retention.rs`).

use super::Engine;
use super::door::JobReport;
use crate::disk::ClassWindow;
use crate::error::Result;
use crate::head::series::Takes;
use crate::manifest::{Edit, RetentionClass, RuleSet, SstableMeta, State};
use crate::retention::trust::Trust;
use crate::retention::{CLASS_FOR_EVER, RetentionConfig, Retentions, window_days};
use crate::sstable::window::Window;
use model::{Retention, TenantId, TimestampMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So long after its last sample has expired a window is unlinked.
pub(super) const SLACK_MS: i64 = 60 * 60 * 1000;

/// A window that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// How long samples of its class are kept.
    pub retention: Retention,
    /// Its first day, in days since 1970.
    pub window_first_day: i32,
    /// How many days it had; 0 for the window of all before the year 2000.
    pub window_days: u32,
    /// How many sstables were unlinked.
    pub sstables: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their samples.
    pub samples: u64,
}

/// What to believe of the clock at a start.
pub(super) fn trust_at_start(state: &State, now: TimestampMs, step_max_ms: i64) -> Trust {
    let newest = state.sstables.values().map(|meta| meta.created_ms).max();
    Trust::new(state.trusted_ms.or(newest).unwrap_or(now.0), step_max_ms)
}

/// Whether all that a window can hold has expired some time ago.
pub(super) fn is_expired(window: Window, retention: Retention, now: TimestampMs) -> bool {
    window.end_ms() <= retention.first_kept_ms(now.minus_ms(SLACK_MS))
}

impl Engine {
    /// Sets how long samples are kept. To be called after [`Engine::open`], before anything is read
    /// or written, and whenever the rules change.
    ///
    /// # Errors
    /// [`Error::BadMatcher`](crate::Error::BadMatcher), or what the disk says; the rules are as
    /// before then.
    pub fn set_retention(&self, config: &RetentionConfig, now: TimestampMs) -> Result<()> {
        let wanted = self.retention.read().configured(config)?;
        let one = self.flushing.lock();
        if self.has_to_flush(&wanted) {
            self.flush_as(&one, Takes::OneMoment, now)?;
        }
        // Again: a flush may have recorded the rules of before.
        let wanted = self.retention.read().configured(config)?;
        let now_ms = self.trusted(now).0;
        let changed: Vec<TenantId> = self.changed_tenants(&wanted).collect();
        let version = wanted.version + 1;
        let change = |tenant: TenantId| {
            let sets = wanted.changed(&tenant, wanted.wanted(&tenant), now_ms, version);
            Edit::SetRetentionRules(tenant, sets)
        };
        let edits: Vec<Edit> = changed.into_iter().map(change).collect();
        let mut manifest = self.manifest.lock();
        if !edits.is_empty() {
            manifest.apply(&edits)?;
        }
        let rules = wanted.recorded(manifest.state())?;
        *self.retention.write() = Arc::new(rules);
        self.versions.mark_everything();
        Ok(())
    }

    /// Whether the head or the log may hold samples that other rules hide than from now on.
    fn has_to_flush(&self, wanted: &Retentions) -> bool {
        let before = Arc::clone(&self.retention.read());
        let heads: Vec<TenantId> = self.tenants.read().keys().cloned().collect();
        let is_changed =
            |id: &TenantId| !before.is_recorded(id) && before.wanted(id) != wanted.wanted(id);
        // Also with an empty head: what was in line for the log when it was flushed is in both.
        self.changed_tenants(wanted).next().is_some() || heads.iter().any(is_changed)
    }

    /// The tenants with files whose rules in force are not the wanted ones.
    fn changed_tenants<'a>(&self, wanted: &'a Retentions) -> impl Iterator<Item = TenantId> + 'a {
        let mut tenants: BTreeSet<TenantId> = self.tables.read().tenants().into_iter().collect();
        tenants.extend(wanted.tenants().cloned());
        tenants.into_iter().filter(|tenant| wanted.is_changed(tenant))
    }

    /// Takes over the rules that the manifest has.
    pub(super) fn take_rules(&self, state: &State) -> Result<()> {
        let rules = self.retention.read().recorded(state)?;
        *self.retention.write() = Arc::new(rules);
        Ok(())
    }

    /// The rules that the manifest has to know when these tenants have files, and the version of
    /// what is written now. Held with the flush's lock.
    pub(super) fn first_rules(&self, tenants: &[TenantId], rules: &Retentions) -> (u64, Vec<Edit>) {
        let in_files: BTreeSet<TenantId> = self.tables.read().tenants().into_iter().collect();
        let is_new = |id: &&TenantId| {
            !rules.is_recorded(id) && !in_files.contains(*id) && rules.is_changed(id)
        };
        let version = rules.version + 1;
        let first = |id: &TenantId| {
            let rules = rules.wanted(id).rules().clone();
            Edit::SetRetentionRules(id.clone(), vec![RuleSet { version, until_ms: None, rules }])
        };
        let edits: Vec<Edit> = tenants.iter().filter(is_new).map(first).collect();
        (if edits.is_empty() { rules.version } else { version }, edits)
    }

    /// The moment by which samples may be thrown away.
    pub(super) fn trusted(&self, now: TimestampMs) -> TimestampMs {
        let ahead_ms = self.parts.disk.clock_ahead_ms().max(0);
        TimestampMs(self.trust.lock().observe(now.minus_ms(ahead_ms).0))
    }

    /// The number of a class, which gets one if it has none.
    pub(super) fn class_of(&self, retention: Retention) -> Result<u32> {
        if retention == Retention::FOR_EVER {
            return Ok(CLASS_FOR_EVER);
        }
        let mut manifest = self.manifest.lock();
        let classes = &manifest.state().retention_classes;
        if let Some(class) = classes.values().find(|class| class.retention == retention) {
            return Ok(class.id);
        }
        let id = classes.keys().next_back().map_or(CLASS_FOR_EVER, |id| *id).saturating_add(1);
        let window_days = u32::from(window_days(retention));
        manifest.apply(&[Edit::SetRetentionClass(RetentionClass {
            id,
            retention,
            window_days,
        })])?;
        Ok(id)
    }

    /// Whether there is something for [`Engine::expire`]. Also a reading of the clock for what has
    /// to be believed of it.
    pub(super) fn is_expiry_due(&self, now: TimestampMs) -> bool {
        let trusted = self.trusted(now);
        let judge = self.judge(trusted);
        let mut expired = self.expired(&judge).into_iter();
        // What a compaction holds goes when that has ended.
        let claims = self.claims.lock();
        let is_free = expired.any(|(meta, _)| !claims.is_held(meta.id));
        drop(claims);
        is_free || !self.forgettable(&judge).is_empty()
    }

    /// Makes what has expired at `now` not live, in one edit, and unlinks it; then forgets the
    /// tombstones that only hid such data.
    pub(super) fn expire(&self, now: TimestampMs) -> Result<JobReport> {
        let trusted = self.trusted(now);
        let judge = self.judge(trusted);
        let (claim, expired) = {
            let mut claims = self.claims.lock();
            // After the lock, so that what is not claimed is live.
            let mut expired = self.expired(&judge);
            expired.retain(|(meta, _)| !claims.is_held(meta.id));
            let ids: Vec<u64> = expired.iter().map(|(meta, _)| meta.id).collect();
            (claims.claim(&self.claims, &ids), expired)
        };
        let mut report = JobReport::default();
        if !expired.is_empty() {
            let ids: Vec<u64> = expired.iter().map(|(meta, _)| meta.id).collect();
            self.publish(&[], &ids, &[Edit::SetTrustedTime(trusted.0)])?;
            drop(claim);
            // What cannot be unlinked now stays in line.
            let _ = self.remove_retired();
            report.expired = by_window(expired);
            self.expire_windows(&judge)?;
        }
        // After the files, for it is they that hold most tombstones.
        report.tombstones_forgotten = self.forget(&self.forgettable(&judge), &judge)?;
        Ok(report)
    }

    /// Tells the disk which windows are over and have no live file.
    fn expire_windows(&self, judge: &Judge) -> Result<()> {
        let live: BTreeSet<ClassWindow> =
            self.tables.read().metas().iter().map(class_window).collect();
        self.parts.disk.expire_windows(&|at| {
            let window = Window { first_day: at.first_day, days: at.days };
            let retention = judge.classes.get(&at.class).map(|class| class.retention);
            !live.contains(&at)
                && retention.is_some_and(|retention| is_expired(window, retention, judge.now))
        })
    }

    /// What it takes to judge files at `now`.
    pub(super) fn judge(&self, now: TimestampMs) -> Judge {
        let rules = Arc::clone(&self.retention.read());
        let classes = self.manifest.lock().state().retention_classes.clone();
        Judge { rules, classes, now }
    }

    /// The live sstables that are as older rules left them.
    pub(super) fn stale_ids(&self) -> BTreeSet<u64> {
        let rules = Arc::clone(&self.retention.read());
        let tables = Arc::clone(&self.tables.read());
        let is_stale = |meta: &SstableMeta, tenants: Option<&[TenantId]>| {
            let version = meta.retention_version;
            tenants.map_or_else(
                || rules.is_stale_for_any(version),
                |tenants| tenants.iter().any(|tenant| rules.is_stale(tenant, version)),
            )
        };
        let stale = tables.with_tenants().filter(|(meta, tenants)| is_stale(meta, *tenants));
        stale.map(|(meta, _)| meta.id).collect()
    }

    /// The live sstables of which nothing is shown any more, and how long their class is kept.
    fn expired(&self, judge: &Judge) -> Vec<(SstableMeta, Retention)> {
        if !judge.rules.is_finite() {
            return Vec::new();
        }
        let tables = Arc::clone(&self.tables.read());
        let over = tables.with_tenants().filter(|(meta, tenants)| judge.is_over(meta, *tenants));
        over.map(|(meta, _)| (meta.clone(), judge.retention(meta))).collect()
    }
}

/// Judges files at one moment.
pub(super) struct Judge {
    pub(super) rules: Arc<Retentions>,
    classes: BTreeMap<u32, RetentionClass>,
    pub(super) now: TimestampMs,
}

impl Judge {
    fn retention(&self, meta: &SstableMeta) -> Retention {
        let class = self.classes.get(&meta.retention_class);
        class.map_or(Retention::FOR_EVER, |class| class.retention)
    }

    pub(super) fn is_stale(&self, meta: &SstableMeta, tenants: Option<&[TenantId]>) -> bool {
        let version = meta.retention_version;
        tenants.map_or_else(
            || self.rules.is_stale_for_any(version),
            |tenants| tenants.iter().any(|tenant| self.rules.is_stale(tenant, version)),
        )
    }

    /// Whether nothing of a file is shown any more. Only the class of a file that is not stale says
    /// how long its series are kept; of others only what holds for every series is known.
    pub(super) fn is_over(&self, meta: &SstableMeta, tenants: Option<&[TenantId]>) -> bool {
        if !self.is_stale(meta, tenants) {
            return is_expired(window_of(meta), self.retention(meta), self.now);
        }
        let is_over = |tenant: &TenantId| {
            let clip = self.rules.clip(tenant, self.now.minus_ms(SLACK_MS));
            meta.max_timestamp_ms < clip.of_file(meta.retention_version).nothing_before_ms()
        };
        tenants.is_some_and(|tenants| tenants.iter().all(is_over))
    }
}

fn class_window(meta: &SstableMeta) -> ClassWindow {
    let SstableMeta { retention_class, window_first_day, window_days, .. } = *meta;
    ClassWindow { class: retention_class, first_day: window_first_day, days: window_days }
}

pub(super) fn window_of(meta: &SstableMeta) -> Window {
    Window { first_day: meta.window_first_day, days: meta.window_days }
}

/// What went, by class and window.
fn by_window(expired: Vec<(SstableMeta, Retention)>) -> Vec<Expired> {
    let mut windows: BTreeMap<(Retention, i32, u32), Expired> = BTreeMap::new();
    for (meta, retention) in expired {
        let SstableMeta { window_first_day, window_days, .. } = meta;
        let key = (retention, window_first_day, window_days);
        let window = windows.entry(key).or_insert(Expired {
            retention,
            window_first_day,
            window_days,
            sstables: 0,
            bytes: 0,
            samples: 0,
        });
        window.sstables += 1;
        window.bytes += meta.file_bytes;
        window.samples += meta.samples;
    }
    windows.into_values().collect()
}

#[cfg(test)]
pub(super) mod tests;
