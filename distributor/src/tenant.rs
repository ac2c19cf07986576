//! What the distributor keeps of each tenant: limits, series cache, counters. All of it can be lost.
//!
//! # Invariants
//! - A tenant *begins* when something of it is about to be written, whatever door it came through, and
//!   counts from then on. Before that it is the request's own, and goes with it; nothing is counted
//!   under its name. But one whose HA pairs are told apart begins with its first request: of two at once
//!   both have to find the same elections.
//! - What an idle tenant takes most of, the series that it sent, goes with the first request of an
//!   epoch, whoever's it is. Its place stays until another needs it: after a long outage all come
//!   back at once, and shall not have to begin one by one.

use crate::gate::{Gate, Seen};
use crate::series_cache::SeriesCache;
use crate::telemetry::{Telemetry, TenantCounters};
use crate::validate::SeriesFault;
use guard::{Beginnings, Error, LimitTable, Limits};
use model::{CompiledRetention, LabelSet, TenantId};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use wire::remote_write::{self, RawLabels};

/// One tenant.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) limits: Arc<Limits>,
    /// How long which series are kept.
    pub(crate) retention: CompiledRetention,
    /// What is done to its series as they come in.
    pub(crate) gate: Gate,
    // Guards the cache. Readers walk a request under it; writers enter new series and learn
    // numbers. No other lock is taken under it, and it lives across no await.
    pub(crate) cache: RwLock<SeriesCache>,
    pub(crate) counters: TenantCounters,
    used_at: AtomicU32,
    has_begun: AtomicBool,
}

impl Tenant {
    /// The series that raw labels stand for, as [`Gate::see`] has it.
    ///
    /// # Errors
    /// The outer one if the bytes are no protobuf, the inner one if this series is refused.
    pub(crate) fn see(
        &self,
        raw: RawLabels<'_>,
        neighbour: Option<&LabelSet>,
    ) -> Result<Result<Seen, SeriesFault>, remote_write::Error> {
        self.gate.see(raw, &self.limits, neighbour)
    }

    /// Whether it is one that is known, and not only a request's own.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Relaxed)
    }

    fn is_idle(&self, epoch: u32) -> bool {
        self.used_at.load(Relaxed).saturating_add(IDLE_EPOCHS) <= epoch
    }

    /// The error of a request with more series than the tenant may send.
    pub(crate) fn too_many_series(&self) -> Error {
        self.too_large("series", self.limits.max_request_series.0, "max_request_series")
    }

    /// The error of a request with more points, each of which is a series or more, than the tenant may
    /// send.
    pub(crate) fn too_many_points(&self) -> Error {
        self.too_large("points", self.limits.max_request_series.0, "max_request_series")
    }

    /// The error of a request with more samples than the tenant may send.
    pub(crate) fn too_many_samples(&self) -> Error {
        self.too_large("samples", self.limits.max_request_samples.0, "max_request_samples")
    }

    /// The error of a request with more bytes than the tenant may send, decompressed.
    pub(crate) fn too_many_bytes_decoded(&self) -> Error {
        self.too_large("bytes, decoded,", self.limits.max_decoded_bytes.0, "max_decoded_bytes")
    }

    /// The error of a request that became more than the tenant may send, translated.
    pub(crate) fn too_many_bytes_translated(&self) -> Error {
        let limit = self.limits.max_decoded_bytes.0;
        self.too_large("bytes, as it is stored,", limit, "max_decoded_bytes")
    }

    /// The error of a request whose histograms and exemplars would take far more than a body may.
    pub(crate) fn too_many_extra_bytes(&self) -> Error {
        let limit = self.limits.max_decoded_bytes.0.saturating_mul(crate::extras::BODIES_MAX);
        let counted = "bytes of histograms and exemplars, twice the body,";
        self.too_large(counted, limit, "max_decoded_bytes")
    }

    /// The error of a request whose new series would have more text than a body may.
    pub(crate) fn too_many_label_bytes(&self) -> Error {
        let limit = self.limits.max_decoded_bytes.0;
        self.too_large("bytes of labels written out", limit, "max_decoded_bytes")
    }

    fn too_large(&self, counted: &'static str, limit: u64, key: &'static str) -> Error {
        Error::RequestTooLarge { tenant: self.id.clone(), counted, limit, key }
    }
}

/// The tenants that write here.
#[derive(Debug)]
pub(crate) struct Tenants {
    // Guards the map; held for one look-up. The cache locks of tenants are never taken under it.
    by_id: RwLock<Known>,
    /// In which epoch it was last looked for what idle tenants have.
    tended_in: AtomicU32,
    limits: Arc<LimitTable>,
    beginnings: Beginnings,
    replicas: usize,
}

#[derive(Debug, Default)]
struct Known {
    tenants: HashMap<TenantId, Arc<Tenant>>,
    sweep_at: usize,
    /// In which epoch those that are idle were forgotten last.
    swept_in: Option<u32>,
}

/// Below this many tenants nobody is forgotten.
const SWEEP_MIN: usize = 256;
/// A tenant that did not write for so many epochs is forgotten.
const IDLE_EPOCHS: u32 = 4;
/// A cache has room for the open series and a quarter more, for those that come and go.
const ENTRIES_MAX: u64 = 16_000_000;

impl Tenants {
    pub(crate) fn new(limits: Arc<LimitTable>, beginnings: Beginnings, replicas: usize) -> Self {
        let tended_in = AtomicU32::new(0);
        Self { by_id: RwLock::default(), tended_in, limits, beginnings, replicas }
    }

    /// Whether one more may begin now.
    ///
    /// # Errors
    /// [`Error::NewTenants`].
    pub(crate) fn may_begin(&self, id: &TenantId, now_ns: u64) -> Result<(), Error> {
        self.beginnings.admit(id, now_ns)
    }

    /// The tenant: the one that is known, or one that may [begin](Self::begin).
    pub(crate) fn get(&self, id: &TenantId, telemetry: &Telemetry, epoch: u32) -> Arc<Tenant> {
        let known = self.known(id);
        if let Some(tenant) = &known {
            tenant.used_at.store(epoch, Relaxed);
        }
        if self.tended_in.load(Relaxed) < epoch {
            self.tend(epoch);
        }
        if let Some(tenant) = known {
            return tenant;
        }
        let tenant = Arc::new(self.new_tenant(id, epoch));
        match tenant.gate.ha {
            None => tenant,
            Some(_) => self.begin(tenant, telemetry, epoch),
        }
    }

    /// Gives back what idle tenants take, once an epoch.
    fn tend(&self, epoch: u32) {
        if self.tended_in.fetch_max(epoch, Relaxed) >= epoch {
            return;
        }
        let idle = |tenant: &&Arc<Tenant>| tenant.is_idle(epoch);
        let idle: Vec<Arc<Tenant>> =
            self.by_id.read().tenants.values().filter(idle).cloned().collect();
        for tenant in idle {
            if tenant.cache.read().len() > 0 {
                tenant.cache.write().clear();
            }
            if let Some(ha) = &tenant.gate.ha {
                ha.let_go();
            }
        }
    }

    /// The tenant, if it has written of late.
    pub(crate) fn known(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.by_id.read().tenants.get(id).cloned()
    }

    /// Whether one more may begin where there may be so many, 0 for any number; those that are idle
    /// go for it, which they become as an epoch begins.
    pub(crate) fn has_room(&self, tenants_max: u64, telemetry: &Telemetry, epoch: u32) -> bool {
        let has_room = |known: &Known| (known.tenants.len() as u64) < tenants_max;
        let is_swept = |known: &Known| known.swept_in == Some(epoch);
        {
            let known = self.by_id.read();
            if tenants_max == 0 || has_room(&known) || is_swept(&known) {
                return tenants_max == 0 || has_room(&known);
            }
        }
        let mut known = self.by_id.write();
        if !is_swept(&known) {
            known.forget_idle(telemetry, epoch);
        }
        has_room(&known)
    }

    /// Something of the tenant is about to be written: it begins, if no other request was faster. Returns
    /// the one that is known.
    pub(crate) fn begin(
        &self,
        tenant: Arc<Tenant>,
        telemetry: &Telemetry,
        epoch: u32,
    ) -> Arc<Tenant> {
        if tenant.has_begun() {
            return tenant;
        }
        let mut known = self.by_id.write();
        tenant.has_begun.store(true, Relaxed);
        if let Some(tenant) = known.tenants.get(&tenant.id) {
            return Arc::clone(tenant);
        }
        self.beginnings.begun();
        known.sweep(telemetry, epoch);
        known.tenants.insert(tenant.id.clone(), Arc::clone(&tenant));
        tenant
    }

    fn new_tenant(&self, id: &TenantId, epoch: u32) -> Tenant {
        let limits = Arc::clone(self.limits.of(id));
        // Rules are checked before a process starts.
        let retention = limits.retention().compile().unwrap_or_default();
        let gate = Gate::new(&limits);
        let room = limits.max_series.get().saturating_mul(5) / 4;
        let entries_max = usize::try_from(room.min(ENTRIES_MAX)).unwrap_or(usize::MAX);
        Tenant {
            id: id.clone(),
            limits,
            retention,
            gate,
            cache: RwLock::new(SeriesCache::new(self.replicas, entries_max)),
            counters: TenantCounters::default(),
            used_at: AtomicU32::new(epoch),
            has_begun: AtomicBool::new(false),
        }
    }
}

impl Known {
    fn sweep(&mut self, telemetry: &Telemetry, epoch: u32) {
        if self.tenants.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.forget_idle(telemetry, epoch);
        }
    }

    fn forget_idle(&mut self, telemetry: &Telemetry, epoch: u32) {
        self.tenants.retain(|id, tenant| {
            let is_idle = tenant.is_idle(epoch);
            if is_idle {
                telemetry.forget_tenant(id);
            }
            !is_idle
        });
        self.sweep_at = self.tenants.len() * 2;
        self.swept_in = Some(epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label_hash::LabelHash;
    use crate::testing::id;

    #[test]
    fn an_idle_tenants_series_go_when_anybody_writes_and_its_place_stays() {
        let telemetry = Telemetry::new(&prometheus::Registry::new()).unwrap();
        let tenants = Tenants::new(Arc::default(), Beginnings::new(0), 1);
        let begin = |name: &str, epoch| {
            let tenant = tenants.get(&id(name), &telemetry, epoch);
            let tenant = tenants.begin(tenant, &telemetry, epoch);
            tenant.cache.write().insert(LabelHash::of_parts(1, 2, 3), &"m".into(), epoch);
            tenant
        };
        let (idle, busy) = (begin("idle", 8), begin("busy", 8));
        let held = || (idle.cache.read().len(), busy.cache.read().len());
        for epoch in 9..8 + IDLE_EPOCHS {
            tenants.get(&id("busy"), &telemetry, epoch);
            assert_eq!(held(), (1, 1), "{epoch}");
        }
        let evictions = idle.cache.read().evictions();
        tenants.get(&id("busy"), &telemetry, 8 + IDLE_EPOCHS);
        assert_eq!(held(), (0, 1));
        assert_ne!(idle.cache.read().evictions(), evictions, "who holds entries is told");
        assert!(tenants.known(&id("idle")).is_some());
    }
}
