//! Deleting: tombstones come in, are on disk, and hide what they match from then on.
//!
//! # Order
//! The set is decided, written and shown with the manifest held. When a delete returns, its
//! tombstones are on disk and every read that begins later leaves out what they hide; a crash
//! leaves all of them or none.
//!
//! Not here: what a tombstone hides (`tombstone.rs`), how the bytes go (`flush.rs`, compaction).

use super::Engine;
use super::retain::Judge;
use crate::error::{Error, Result};
use crate::manifest::{Edit, MANIFEST_FILE, State};
use crate::select;
use crate::tombstone::{self, Change, Tombstones};
use model::{DeleteAnswer, DeleteRequest, TenantId, TimestampMs, Tombstone};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tombstones of a manifest, ready to be asked.
pub(super) fn tombstones_of(state: &State) -> Result<Tombstones> {
    let unusable = |error: Error| Error::corrupt(MANIFEST_FILE, 0, error.to_string());
    Tombstones::new(&state.tombstones).map_err(unusable)
}

/// The edits that a flush needs so that the manifest knows the highest revision of each tenant.
pub(super) fn revisions(flushed: &[(TenantId, u32)], state: &State) -> Vec<Edit> {
    let known = |tenant: &TenantId| state.revisions.get(tenant).copied().unwrap_or(0);
    let higher = flushed.iter().filter(|(tenant, revision)| *revision > known(tenant));
    higher.map(|(tenant, revision)| Edit::SetRevision(tenant.clone(), *revision)).collect()
}

impl Engine {
    /// Deletes samples: the tombstones are on disk, and what they match is hidden, when this
    /// returns. The same again does nothing.
    ///
    /// The range is taken as it is: whoever asks for the caller has cut it off at its own now, the
    /// same for all replicas.
    ///
    /// # Errors
    /// [`Error::BadMatcher`] and [`Error::TooManyTombstones`], with nothing deleted; what the disk
    /// says, and then it is not known whether something is deleted: ask again.
    pub fn delete(
        &self,
        tenant: &TenantId,
        request: &DeleteRequest,
        now: TimestampMs,
    ) -> Result<DeleteAnswer> {
        select::compile(request.matcher_sets.iter().flatten())?;
        let revision_max = request.revision_max.max(self.revision_of(tenant));
        let tombstone = |matchers: &Vec<model::Matcher>| Tombstone {
            tenant: tenant.clone(),
            matchers: matchers.clone(),
            range: request.range,
            revision_max,
            created: now,
        };
        self.keep(request.matcher_sets.iter().map(tombstone).collect(), None)?;
        Ok(DeleteAnswer { revision_max })
    }

    /// Takes in tombstones that another replica has. Those that are known, or covered, or would be
    /// forgotten at once, are left out. They are on disk when this returns; returns how many were
    /// news.
    ///
    /// # Errors
    /// As [`Engine::delete`].
    pub fn adopt(&self, tombstones: Vec<Tombstone>, now: TimestampMs) -> Result<u64> {
        self.keep(tombstones, Some(&self.judge(self.trusted(now))))
    }

    /// Takes tombstones in: by a judge, without those that would go at once.
    fn keep(&self, mut tombstones: Vec<Tombstone>, judge: Option<&Judge>) -> Result<u64> {
        let lasting = judge.map(|judge| {
            let mut lasting = tombstones.clone();
            // It asks the head, whose locks come before the manifest's.
            self.retain_lasting(&mut lasting, judge);
            (lasting, judge)
        });
        let mut manifest = self.manifest.lock();
        if let Some((lasting, judge)) = lasting
            && Arc::ptr_eq(&judge.rules, &self.retention.read())
        {
            tombstones = lasting;
        }
        let held = &manifest.state().tombstones;
        let Change { added, removed } = tombstone::join(held, tombstones);
        if added.is_empty() {
            return Ok(0);
        }
        let kept = held.iter().filter(|(id, _)| !removed.contains(id)).map(|(_, stone)| &**stone);
        self.admit(kept.chain(&added))?;
        let added: Vec<(u64, Arc<Tombstone>)> =
            added.into_iter().map(|stone| (manifest.allocate_file_id(), Arc::new(stone))).collect();
        // Compiled before the edit: what cannot be asked does not become true.
        let tombstones = self.tombstones.read().replace(&removed, &added)?;
        let adds = added.iter().map(|(id, stone)| Edit::AddTombstone(*id, Arc::clone(stone)));
        let edits: Vec<Edit> =
            removed.iter().copied().map(Edit::RemoveTombstone).chain(adds).collect();
        manifest.apply(&edits)?;
        *self.tombstones.write() = Arc::new(tombstones);
        added.iter().for_each(|(_, stone)| self.versions.mark_whole(&stone.tenant));
        Ok(added.len() as u64)
    }

    /// Every tombstone held, for a replica that has been away.
    #[must_use]
    pub fn tombstones(&self) -> Vec<Tombstone> {
        let held: BTreeMap<u64, Arc<Tombstone>> = self.manifest.lock().state().tombstones.clone();
        held.values().map(|stone| (**stone).clone()).collect()
    }

    /// Whether so many may be held.
    fn admit<'a>(&self, all: impl Iterator<Item = &'a Tombstone>) -> Result<()> {
        let (mut count, mut bytes) = (0_u64, 0_u64);
        for stone in all {
            count += 1;
            let texts = stone.matchers.iter().map(|m| m.name.len() + m.value.len() + 16);
            bytes += 64 + texts.sum::<usize>() as u64;
        }
        let too_many = |limit, unit| Err(Error::TooManyTombstones { limit, unit });
        match (self.config.tombstones_max, self.config.tombstone_bytes_max) {
            (limit, _) if count > limit => too_many(limit, "tombstones"),
            (_, limit) if bytes > limit => too_many(limit, "bytes of matchers"),
            _ => Ok(()),
        }
    }

    /// No sample of the tenant has a higher revision.
    fn revision_of(&self, tenant: &TenantId) -> u32 {
        // In this order: a tenant that a flush has forgotten meanwhile stands in the manifest.
        let head = self.tenants.read().get(tenant).map_or(0, |tenant| tenant.revision_max());
        let flushed = self.manifest.lock().state().revisions.get(tenant).copied().unwrap_or(0);
        head.max(flushed)
    }
}

#[cfg(test)]
mod tests;
