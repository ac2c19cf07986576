//! Forgetting: tombstones go when nothing that they hide can be shown again.
//!
//! # The rule
//! A tombstone goes when all of this holds:
//! - the manifest knows the tenant's rules of retention;
//! - its range ended before what the longest of these rules keeps, by the clock that is believed and
//!   with an hour to spare, as for a window that expires;
//! - no sstable and no series of the head holds a sample of the tenant from before its end.
//!
//! So it dies with its windows (DESIGN.md D18): the last window of its range is unlinked first. Data
//! that arrives inside the range afterwards is too old for every rule, so no read shows it; and if
//! more is kept later, what was there before the change stays hidden (`retention.rs`). What
//! arrives after such a change is new data in a range of which nobody remembers that it was deleted:
//! it is taken, as an import of older data is.
//!
//! What a peer still holds is not taken again when it may go here: replicas forget at times of their
//! own, and each of them ends without it.
//!
//! Without rules in the manifest a restart with other rules could show what these hid: then
//! tombstones stay. So they do while the retention is for ever.
//!
//! Not here: what goes with its window (`retain.rs`), what a tombstone hides (`tombstone.rs`).

use super::Engine;
use super::retain::{Judge, SLACK_MS};
use crate::error::Result;
use crate::manifest::Edit;
use model::{TenantId, Tombstone};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Engine {
    /// The numbers of the tombstones that may go.
    pub(super) fn forgettable(&self, judge: &Judge) -> Vec<u64> {
        let tombstones = Arc::clone(&self.tombstones.read());
        let mut ids = Vec::new();
        for tenant in tombstones.tenants() {
            let over = tombstones.ended_by(tenant, first_kept_ms(tenant, judge));
            let ends = over.iter().map(|(_, end_ms)| *end_ms).collect();
            let through_ms = self.forgettable_through(tenant, ends);
            ids.extend(over.iter().filter(|(_, end_ms)| *end_ms <= through_ms).map(|(id, _)| *id));
        }
        ids
    }

    /// Leaves out those that may go at once: a replica that has forgotten them takes them from no
    /// peer, or the two would hand them back and forth.
    pub(super) fn retain_lasting(&self, stones: &mut Vec<Tombstone>, judge: &Judge) {
        let mut over: BTreeMap<TenantId, Vec<i64>> = BTreeMap::new();
        for stone in stones.iter() {
            let end_ms = stone.range.end.0;
            if end_ms <= first_kept_ms(&stone.tenant, judge) {
                over.entry(stone.tenant.clone()).or_default().push(end_ms);
            }
        }
        for (tenant, ends) in over {
            let through_ms = self.forgettable_through(&tenant, ends);
            stones.retain(|stone| stone.tenant != tenant || stone.range.end.0 > through_ms);
        }
    }

    /// The last of these ends of ranges, of which retention keeps nothing, before which there is no
    /// sample of the tenant either; the beginning of time if there is none.
    fn forgettable_through(&self, tenant: &TenantId, mut ends: Vec<i64>) -> i64 {
        if ends.is_empty() {
            return i64::MIN;
        }
        let oldest_ms = self.oldest_in_files_ms(tenant);
        ends.retain(|end_ms| *end_ms <= oldest_ms);
        ends.sort_unstable();
        ends.dedup();
        // Last, and for a few of them only: each look is at every series.
        let free = ends.partition_point(|end_ms| !self.has_in_head_before(tenant, *end_ms));
        free.checked_sub(1).and_then(|last| ends.get(last).copied()).unwrap_or(i64::MIN)
    }

    /// Removes tombstones of which `judge` found that they may go, unless the rules have changed
    /// since. Returns how many.
    pub(super) fn forget(&self, ids: &[u64], judge: &Judge) -> Result<u64> {
        let mut manifest = self.manifest.lock();
        if ids.is_empty() || !Arc::ptr_eq(&judge.rules, &self.retention.read()) {
            return Ok(0);
        }
        let tombstones = self.tombstones.read().replace(ids, &[])?;
        let edits: Vec<Edit> = ids.iter().copied().map(Edit::RemoveTombstone).collect();
        manifest.apply(&edits)?;
        *self.tombstones.write() = Arc::new(tombstones);
        Ok(ids.len() as u64)
    }

    /// The first moment of the tenant in a live sstable; those that cannot be read may hold
    /// anything of anybody.
    fn oldest_in_files_ms(&self, tenant: &TenantId) -> i64 {
        let tables = Arc::clone(&self.tables.read());
        let of_tenant = tables
            .with_tenants()
            .filter(|(_, tenants)| tenants.is_none_or(|tenants| tenants.contains(tenant)));
        of_tenant.map(|(meta, _)| meta.min_timestamp_ms).min().unwrap_or(i64::MAX)
    }

    fn has_in_head_before(&self, tenant: &TenantId, end_ms: i64) -> bool {
        let Some(tenant) = self.tenants.read().get(tenant).cloned() else { return false };
        tenant.shards().any(|shard| shard.iter().any(|series| series.may_overlap(i64::MIN, end_ms)))
    }
}

/// What ended by then is older than anything that the tenant's rules keep; the beginning of time if
/// the manifest does not know them.
fn first_kept_ms(tenant: &TenantId, judge: &Judge) -> i64 {
    if !judge.rules.is_recorded(tenant) {
        return i64::MIN;
    }
    let longest = judge.rules.in_force(tenant).bounds().1;
    longest.first_kept_ms(judge.now.minus_ms(SLACK_MS))
}

#[cfg(test)]
mod tests;
