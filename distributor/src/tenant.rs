//! What the distributor keeps of each tenant: limits, series cache, counters. All of it can be lost.

use crate::gate::{Gate, Seen};
use crate::series_cache::SeriesCache;
use crate::telemetry::{Telemetry, TenantCounters};
use crate::validate::SeriesFault;
use guard::{Beginnings, Error, LimitTable, Limits};
use model::{CompiledRetention, LabelSet, TenantId};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
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

    /// The error of a request with more series than the tenant may send.
    pub(crate) fn too_many_series(&self) -> Error {
        self.too_large("series", self.limits.max_request_series.0, "max_request_series")
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
        Self { by_id: RwLock::default(), limits, beginnings, replicas }
    }

    /// Whether one more may begin now.
    ///
    /// # Errors
    /// [`Error::NewTenants`].
    pub(crate) fn may_begin(&self, id: &TenantId, now_ns: u64) -> Result<(), Error> {
        self.beginnings.admit(id, now_ns)
    }

    /// The tenant, which begins with its first write.
    pub(crate) fn get(&self, id: &TenantId, telemetry: &Telemetry, epoch: u32) -> Arc<Tenant> {
        let known = self.by_id.read().tenants.get(id).cloned();
        let tenant = known.unwrap_or_else(|| self.begin(id, telemetry, epoch));
        tenant.used_at.store(epoch, Relaxed);
        tenant
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

    fn begin(&self, id: &TenantId, telemetry: &Telemetry, epoch: u32) -> Arc<Tenant> {
        let mut known = self.by_id.write();
        if let Some(tenant) = known.tenants.get(id) {
            return Arc::clone(tenant);
        }
        self.beginnings.begun();
        known.sweep(telemetry, epoch);
        let limits = Arc::clone(self.limits.of(id));
        // Rules are checked before a process starts.
        let retention = limits.retention().compile().unwrap_or_default();
        let gate = Gate::new(&limits);
        let room = limits.max_series.get().saturating_mul(5) / 4;
        let entries_max = usize::try_from(room.min(ENTRIES_MAX)).unwrap_or(usize::MAX);
        let tenant = Arc::new(Tenant {
            id: id.clone(),
            limits,
            retention,
            gate,
            cache: RwLock::new(SeriesCache::new(self.replicas, entries_max)),
            counters: TenantCounters::default(),
            used_at: AtomicU32::new(epoch),
        });
        known.tenants.insert(id.clone(), Arc::clone(&tenant));
        tenant
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
            let is_idle = tenant.used_at.load(Relaxed).saturating_add(IDLE_EPOCHS) <= epoch;
            if is_idle {
                telemetry.forget_tenant(id);
            }
            !is_idle
        });
        self.sweep_at = self.tenants.len() * 2;
        self.swept_in = Some(epoch);
    }
}
