//! What tombstones let a compaction leave out.

use super::{Hidden, Tombstones, Touching};
use crate::compaction::cut::{Cut, Labels};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::{DayBucket, TenantId};
use std::sync::Arc;

/// All tombstones at one moment.
#[derive(Debug)]
pub(crate) struct DeletedCut {
    touching: HashMap<TenantId, Touching, RandomState>,
    through: u64,
}

impl DeletedCut {
    pub(crate) fn new(tombstones: Arc<Tombstones>) -> Self {
        let of =
            |tenant: &TenantId| (tenant.clone(), tombstones.touching(tenant, i64::MIN, i64::MAX));
        Self { touching: tombstones.tenants().map(of).collect(), through: tombstones.through() }
    }
}

impl Cut for DeletedCut {
    fn touches(&self, tenant: &TenantId, metric: &str, day: DayBucket) -> bool {
        let range = day.range();
        let held = self.touching.get(tenant);
        held.is_some_and(|held| held.may_cut(metric, range.start.0, range.end.0))
    }

    fn spans(&self, _: &TenantId, _: &Labels<'_>, _: &mut Vec<(i64, i64)>) {}

    fn deleted(&self, tenant: &TenantId, labels: &Labels<'_>) -> Hidden {
        let held = self.touching.get(tenant);
        held.map_or_else(Hidden::default, |held| held.hidden(|name| labels.value(name)))
    }

    fn tombstones_through(&self) -> u64 {
        self.through
    }
}
