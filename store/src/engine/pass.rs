//! The pass: brings files to the rules that are in force, after these have changed.
//!
//! For each stale file (`retention.rs`) the cheapest that does it:
//! - nothing of it is shown: it is unlinked by expiry;
//! - all its series have one class now, and nothing of it has to be purged: one edit says so;
//! - else one compaction leaves out what is hidden and splits it by class.
//!
//! When no file of a tenant is stale any more, its rules of before are forgotten.
//!
//! # Invariants
//! - How far it has come is in the manifest: the version of each file. A crash, or another change
//!   of rules in its middle, leaves files that are stale, and no others.
//! - What is purged is hidden from every read already.

use super::compact::Compaction;
use super::{Engine, retain};
use crate::compaction::cut::{Cut, Labels, Place};
use crate::compaction::input::Input;
use crate::error::Result;
use crate::manifest::{self, Edit, SstableMeta};
use crate::retention::{Hides, Retentions, window_days};
use crate::sstable::window::Window;
use model::{DayBucket, Retention, TenantId, Text, TimestampMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What has to be done with a stale file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its series are kept so long, all of them.
    Move(Retention),
    /// It has to be written anew.
    Rewrite,
}

/// What a compaction of the pass leaves out, and where it puts the rest.
#[derive(Debug)]
pub(super) struct PassCut {
    rules: Arc<Retentions>,
    hides: BTreeMap<TenantId, Hides>,
    classes: BTreeMap<Retention, u32>,
}

impl Cut for PassCut {
    fn touches(&self, _: &TenantId, _: &str, _: DayBucket) -> bool {
        true
    }

    fn spans(&self, tenant: &TenantId, labels: &Labels<'_>, spans: &mut Vec<(i64, i64)>) {
        if let Some(hides) = self.hides.get(tenant) {
            hides.spans(tenant, labels, spans);
        }
    }

    fn place(
        &self,
        tenant: &TenantId,
        labels: &Labels<'_>,
        day: DayBucket,
        now_at: Place,
    ) -> Place {
        let retention = self.rules.in_force(tenant).of(|name| labels.value(name));
        match self.classes.get(&retention) {
            Some(class) if *class != now_at.retention_class => {
                let window = Window::of(day, window_days(retention));
                Place { retention_class: *class, window }
            }
            _ => now_at,
        }
    }
}

impl Engine {
    /// Does what a change of rules left to do and needs no file written; then the compaction that
    /// is due for it, if one is.
    ///
    /// # Errors
    /// What the disk says; it may be tried again.
    pub fn next_pass(&self, now: TimestampMs) -> Result<Option<Compaction>> {
        self.next_pass_but(now, &BTreeSet::new())
    }

    /// As [`Engine::next_pass`], but of none of these files: for whoever goes on where some of them
    /// could not be written anew.
    ///
    /// # Errors
    /// As there.
    pub fn next_pass_but(
        &self,
        now: TimestampMs,
        tried: &BTreeSet<u64>,
    ) -> Result<Option<Compaction>> {
        let trusted = self.trusted(now);
        let judge = self.judge(trusted);
        let mut moves = Vec::new();
        let mut rewrite = None;
        let files = self.stale_files(&judge, now).into_iter();
        for (meta, tenants) in files.filter(|(meta, _)| !tried.contains(&meta.id)) {
            match self.fate(&meta, &tenants, &judge) {
                // A damaged file stays as it is: reads clip it.
                Err(_) => {}
                Ok(Fate::Move(retention)) => moves.push((meta, retention)),
                Ok(Fate::Rewrite) => {
                    rewrite = Some((meta, tenants));
                    break;
                }
            }
        }
        self.move_files(moves, judge.rules.version)?;
        if let Some((meta, tenants)) = rewrite {
            let cut = self.pass_cut(&meta, &tenants, &judge)?;
            let version = judge.rules.version;
            return Ok(self.claim_pass(meta, cut, version));
        }
        self.forget_rules()?;
        Ok(None)
    }

    /// The stale files that can be read, that no job works on, and that are not over.
    fn stale_files(
        &self,
        judge: &retain::Judge,
        now: TimestampMs,
    ) -> Vec<(SstableMeta, Vec<TenantId>)> {
        let claims = self.claims.lock();
        let tables = Arc::clone(&self.tables.read());
        let is_stale = |meta: &SstableMeta, tenants: &[TenantId]| {
            judge.is_stale(meta, Some(tenants))
                && claims.is_free(meta.id, now)
                && !judge.is_over(meta, Some(tenants))
        };
        let files = tables.with_tenants().filter_map(|(meta, tenants)| {
            let tenants = tenants.filter(|tenants| is_stale(meta, tenants))?;
            Some((meta.clone(), tenants.to_vec()))
        });
        files.collect()
    }

    fn fate(
        &self,
        meta: &SstableMeta,
        tenants: &[TenantId],
        judge: &retain::Judge,
    ) -> Result<Fate> {
        let rules = &judge.rules;
        let clips: Vec<_> = tenants.iter().map(|tenant| rules.clip(tenant, judge.now)).collect();
        let hides =
            |index: usize| clips.get(index).map(|clip| clip.of_file(meta.retention_version));
        let is_plain = |(index, tenant): (usize, &TenantId)| {
            let (shortest, longest) = rules.in_force(tenant).bounds();
            shortest == longest && hides(index).is_some_and(|hides| hides.is_plain())
        };
        let mut parts: Vec<(usize, Text, i64)> = Vec::new();
        if tenants.iter().enumerate().all(is_plain) {
            // Every series is as any other.
            parts.extend((0..tenants.len()).map(|index| (index, "".into(), meta.min_timestamp_ms)));
        } else {
            let path = manifest::sstable_path(meta.id);
            let input = Input::open(&*self.parts.disk, meta.id, &path)?;
            for part in &input.directory.tenants {
                let Ok(index) = tenants.binary_search(&part.tenant) else { continue };
                let of = |entry: &crate::sstable::directory::PartitionEntry| {
                    (index, entry.metric.clone(), entry.min_ms)
                };
                parts.extend(part.partitions.iter().map(of));
            }
        }
        let mut found = BTreeSet::new();
        for (index, metric, min_ms) in parts {
            let (Some(tenant), Some(clip)) = (tenants.get(index), clips.get(index)) else {
                continue;
            };
            let (shortest, longest) = rules.in_force(tenant).bounds_of_metric(&metric);
            let hidden_to = clip.of_file(meta.retention_version).all_from_ms(&metric);
            let hidden_anyway = clip.of_head().nothing_of_metric_before_ms(&metric);
            let has_to_purge = min_ms < hidden_to && hidden_anyway < hidden_to;
            found.extend([shortest, longest]);
            if has_to_purge || found.len() > 1 {
                return Ok(Fate::Rewrite);
            }
        }
        let Some(retention) = found.into_iter().next() else { return Ok(Fate::Rewrite) };
        let stays = self.class_of(retention)? == meta.retention_class;
        let may_move = stays || self.parts.disk.moves_between_classes();
        Ok(if may_move { Fate::Move(retention) } else { Fate::Rewrite })
    }

    /// Says of files that their series are in another class now.
    fn move_files(&self, moves: Vec<(SstableMeta, Retention)>, version: u64) -> Result<()> {
        let mut metas = Vec::with_capacity(moves.len());
        for (meta, retention) in moves {
            let retention_class = self.class_of(retention)?;
            metas.push(SstableMeta { retention_class, retention_version: version, ..meta });
        }
        if metas.is_empty() {
            return Ok(());
        }
        let _claim = {
            let mut claims = self.claims.lock();
            let tables = Arc::clone(&self.tables.read());
            let live: BTreeSet<u64> = tables.metas().iter().map(|meta| meta.id).collect();
            metas.retain(|meta| live.contains(&meta.id) && !claims.is_held(meta.id));
            let ids: Vec<u64> = metas.iter().map(|meta| meta.id).collect();
            claims.claim(&self.claims, &ids)
        };
        self.publish_moved(&metas)
    }

    /// The rules of before that no file is stale for are forgotten.
    fn forget_rules(&self) -> Result<()> {
        // No file of before a change comes in between.
        let Some(_one) = self.flushing.try_lock() else { return Ok(()) };
        let rules = Arc::clone(&self.retention.read());
        let tables = Arc::clone(&self.tables.read());
        let is_needed = |tenant: &TenantId| {
            tables.with_tenants().any(|(meta, tenants)| {
                tenants.is_none_or(|tenants| tenants.contains(tenant))
                    && rules.is_stale(tenant, meta.retention_version)
            })
        };
        let mut edits = Vec::new();
        for tenant in rules.tenants() {
            let mut sets = rules.sets(tenant);
            if sets.len() > 1 && !is_needed(tenant) {
                let last = sets.split_off(sets.len() - 1);
                edits.push(Edit::SetRetentionRules(tenant.clone(), last));
            }
        }
        if edits.is_empty() { Ok(()) } else { self.publish(&[], &[], &edits) }
    }

    fn pass_cut(
        &self,
        meta: &SstableMeta,
        tenants: &[TenantId],
        judge: &retain::Judge,
    ) -> Result<PassCut> {
        let rules = Arc::clone(&judge.rules);
        let (mut hides, mut classes) = (BTreeMap::new(), BTreeMap::new());
        for tenant in tenants {
            let hidden = rules.clip(tenant, judge.now).of_file(meta.retention_version);
            hides.insert(tenant.clone(), hidden);
            let in_force = rules.in_force(tenant).rules();
            let retentions = in_force.rules.iter().map(|rule| rule.retention);
            for retention in retentions.chain([in_force.default]) {
                classes.insert(retention, self.class_of(retention)?);
            }
        }
        Ok(PassCut { rules, hides, classes })
    }

    fn claim_pass(&self, meta: SstableMeta, cut: PassCut, version: u64) -> Option<Compaction> {
        let mut claims = self.claims.lock();
        // After the lock, so that what is not claimed is live.
        let is_live = self.tables.read().metas().iter().any(|live| live.id == meta.id);
        if !is_live {
            return None;
        }
        // The last step that can fail: a claim that is dropped takes the lock that is held here.
        let claim = claims.claim(&self.claims, &[meta.id])?;
        Some(Compaction::of_pass(meta, cut, version, claim))
    }
}
