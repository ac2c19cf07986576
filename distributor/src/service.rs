//! The distributor put together: its parts, and the way of one write through it.
//!
//! Not here: what an HA replica sends while it waits (`service/owed.rs`).

mod owed;

use crate::batch::Batch;
use crate::config::{Config, Fault, never_fit};
use crate::error::Error;
use crate::fan_out::{Sending, fan_out};
use crate::ha::Heard;
use crate::label_hash::LabelHasher;
use crate::message::Message;
use crate::plan::{Cuts, Plan, Planner};
use crate::pool::{Budget, Buffer, Pool, Reservation};
use crate::refusal::Refusals;
use crate::resolve::Resolver;
use crate::routing::Routing;
use crate::series_cache::epoch_at;
use crate::telemetry::Telemetry;
use crate::tenant::{Tenant, Tenants};
use cluster::{NodeIndex, Topology};
use guard::ha::{ClusterStatus, HaVerdict};
use guard::{Beginnings, LimitTable, Limits, RateLimiter, Tenancy};
use model::mutation::MetricMetadata;
use model::{Clock, Context, LabelSet, Principal, RequestId, SplitMix64, TenantId, TimestampMs};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wire::remote_write::{self, Encoding, Form, Version};
use wire::replica::Replica;

/// What a distributor is made of.
#[derive(Debug)]
pub struct Parts {
    /// Who keeps what, and how many have to.
    pub topology: Arc<Topology>,
    /// A way to each ingester of the topology.
    pub replicas: BTreeMap<NodeIndex, Arc<dyn Replica>>,
    /// What tenants may do.
    pub limits: Arc<LimitTable>,
    /// One tenant or many.
    pub tenancy: Tenancy,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// A random number; request ids, jitter and the key of the label hash come from it.
    pub seed: u64,
    /// Where our counters go.
    pub registry: prometheus::Registry,
}

/// A series to write from within this process.
#[derive(Clone, Debug, PartialEq)]
pub struct PushSeries {
    /// Its labels.
    pub labels: LabelSet,
    /// Its samples: milliseconds since 1970, and value.
    pub samples: Vec<(i64, f64)>,
}

/// What HA replicas send while they wait may take such a part of what requests under way may.
const HELD_SHARE: u64 = 8;

/// Decoded bodies above this many bytes leave the async threads.
pub(crate) const INLINE_BYTES_MAX: usize = 2 << 20;

/// Takes writes. Cloning it counts a reference.
#[derive(Clone, Debug)]
pub struct Distributor {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) topology: Arc<Topology>,
    pub(crate) routing: Routing,
    /// By slot.
    pub(crate) replicas: Vec<Arc<dyn Replica>>,
    pub(crate) limits: Arc<LimitTable>,
    pub(crate) tenancy: Tenancy,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) telemetry: Telemetry,
    rates: RateLimiter,
    /// Bodies as sent.
    pub(crate) bodies: Arc<Pool>,
    /// Bodies decoded: kept apart, since they are ten times as long and what is longer is zeroed.
    messages: Arc<Pool>,
    pub(crate) budget: Budget,
    /// What HA replicas send while they wait.
    held_budget: Budget,
    tenants: Tenants,
    hasher: LabelHasher,
    seed: u64,
    drawn: AtomicU64,
}

impl Distributor {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`Error::Config`] with every fault, also an ingester without a replica.
    pub fn new(config: Config, parts: Parts) -> Result<Self, Error> {
        let mut faults = config.validate();
        let routing = Routing::new(&parts.topology);
        let mut replicas = Vec::new();
        for node in routing.nodes() {
            match parts.replicas.get(node) {
                Some(replica) => replicas.push(Arc::clone(replica)),
                None => faults.push(Fault {
                    key: "replicas",
                    reason: format!("none for ingester number {}", node.0),
                }),
            }
        }
        if !faults.is_empty() {
            return Err(Error::Config { faults });
        }
        let mut counter = 0;
        let hasher = LabelHasher::new(|| {
            counter += 1;
            SplitMix64::at(parts.seed, counter)
        });
        let inner = Inner {
            tenants: Tenants::new(
                Arc::clone(&parts.limits),
                Beginnings::new(config.new_tenants_per_second),
                replicas.len(),
            ),
            telemetry: Telemetry::new(&parts.registry)?,
            budget: Budget::new(config.inflight_bytes_max, parts.tenancy == Tenancy::Multi),
            held_budget: Budget::new(
                config.inflight_bytes_max / HELD_SHARE,
                parts.tenancy == Tenancy::Multi,
            ),
            config,
            topology: parts.topology,
            routing,
            replicas,
            limits: parts.limits,
            tenancy: parts.tenancy,
            clock: parts.clock,
            rates: RateLimiter::default(),
            bodies: Arc::default(),
            messages: Arc::default(),
            hasher,
            seed: parts.seed,
            drawn: AtomicU64::new(counter),
        };
        for warning in never_fit(&inner.limits, inner.budget.request_bytes_max()) {
            tracing::warn!("{warning}");
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Writes series from within this process, by the ordinary way and without a rate.
    ///
    /// # Errors
    /// [`Error`] if nothing was acknowledged; what was refused of it otherwise.
    pub async fn push(
        &self,
        tenant: &TenantId,
        principal: Principal,
        series: &[PushSeries],
        metadata: &[MetricMetadata],
    ) -> Result<Refusals, Error> {
        let mut body = self.inner.messages.take();
        body.clear();
        for PushSeries { labels, samples } in series {
            remote_write::encode_series(labels, samples, &mut body);
        }
        for one in metadata {
            remote_write::encode_metadata(one, &mut body);
        }
        let request_id = RequestId(self.inner.random());
        let context = Arc::new(self.context(tenant.clone(), principal, request_id));
        let body_len = body.len();
        let tenant = self.tenant(tenant);
        let batch = Batch::new(tenant, context, body, body_len, Version::One, None);
        let (batch, plan, now) = self.resolve_batch(batch)?;
        self.send(batch, plan, now).await
    }

    /// Takes a remote-write body as it was sent, in this form.
    ///
    /// # Errors
    /// [`Error`] if nothing was acknowledged; what was refused of it otherwise.
    pub async fn write_body(
        &self,
        tenant: TenantId,
        principal: Principal,
        form: Form,
        body: &[u8],
    ) -> Result<Refusals, Error> {
        let mut raw = self.inner.bodies.take();
        raw.clear();
        raw.extend_from_slice(body);
        let context = self.context(tenant, principal, RequestId(self.inner.random()));
        let reservation = self.inner.budget.reserve(&context.tenant);
        self.take(context, form, raw, reservation).await
    }

    pub(crate) async fn take(
        &self,
        context: Context,
        form: Form,
        raw: Buffer,
        reservation: Reservation,
    ) -> Result<Refusals, Error> {
        if raw.is_empty() {
            return Ok(Refusals::default());
        }
        let (batch, plan, now) = self.decode(context, form, raw, reservation, false).await?;
        let tenant = &batch.tenant;
        let items = batch.refusals.charged();
        if items > 0 {
            self.inner.charge(tenant, items)?;
        }
        self.send(batch, plan, now).await
    }

    /// Decodes and resolves a body as it was sent. One that `is_counted` may have more series than its
    /// tenant may send: it was taken before, as what it was.
    async fn decode(
        &self,
        context: Context,
        form: Form,
        raw: Buffer,
        mut reservation: Reservation,
        is_counted: bool,
    ) -> Result<(Batch, Plan, TimestampMs), Error> {
        let limits = Arc::clone(self.inner.limits.of(&context.tenant));
        let decoded = remote_write::decoded_len(&raw, form.encoding, limits.max_decoded_bytes)?;
        // The message, its columns and the mutation made of them.
        reservation.raise_to(raw.len() as u64 + 2 * decoded as u64)?;
        let context = Arc::new(context);
        let distributor = self.clone();
        let decode = Decode { distributor, context, form, raw, limits, reservation, is_counted };
        if decoded > INLINE_BYTES_MAX {
            let task = tokio::task::spawn_blocking(|| decode.run());
            task.await.map_err(|error| Error::Internal(error.to_string()))?
        } else {
            decode.run()
        }
    }

    /// The clusters of a tenant's HA pairs and who is elected, by name.
    #[must_use]
    pub fn ha_status(&self, tenant: &TenantId) -> Vec<ClusterStatus> {
        let now_ns = self.inner.clock.monotonic_ns();
        let known = self.inner.tenants.known(tenant);
        let gate = known.as_ref().and_then(|tenant| tenant.gate.ha.as_deref());
        gate.map(|ha| ha.status(now_ns)).unwrap_or_default()
    }

    pub(crate) fn parts(&self) -> &Inner {
        &self.inner
    }

    /// Resolves what something else was translated into, and plans where it goes.
    ///
    /// # Errors
    /// [`Error`] if it holds too much.
    pub(crate) fn resolve_translated(
        &self,
        context: Arc<Context>,
        translated: Message,
        reservation: Reservation,
    ) -> Result<(Batch, Plan, TimestampMs), Error> {
        let mut body = self.inner.messages.take();
        let described;
        (*body, described) = translated.finish();
        let body_len = body.len();
        let tenant = self.tenant(&context.tenant);
        let mut batch =
            Batch::new(tenant, context, body, body_len, Version::Two, Some(reservation));
        batch.described = described;
        batch.is_counted = true;
        let resolved = self.resolve_batch(batch)?;
        if owed::heir_of(&resolved.0).is_some() {
            let Batch { body, body_len, .. } = &resolved.0;
            let raw = remote_write::compress(body.get(..*body_len).unwrap_or_default())?;
            let form = Form { version: Version::Two, encoding: Encoding::Snappy };
            self.hold(&resolved.0, form, &raw);
        }
        Ok(resolved)
    }

    /// A tenant, known or a request's own.
    pub(crate) fn tenant(&self, id: &TenantId) -> Arc<Tenant> {
        let epoch = epoch_at(self.inner.clock.monotonic_ns());
        self.inner.tenants.get(id, &self.inner.telemetry, epoch)
    }

    /// The context of a new request.
    pub(crate) fn context(
        &self,
        tenant: TenantId,
        principal: Principal,
        request_id: RequestId,
    ) -> Context {
        Context {
            tenant,
            principal,
            request_id,
            timeout_ms: u32::try_from(self.inner.config.write_timeout_ms).unwrap_or(u32::MAX),
            now: self.inner.clock.now(),
            ring_version: 0,
        }
    }

    /// Resolves a decoded body and plans where it goes. CPU work, no await.
    ///
    /// # Errors
    /// [`Error`] if the body is undecodable or holds too much.
    fn resolve_batch(&self, mut batch: Batch) -> Result<(Batch, Plan, TimestampMs), Error> {
        let inner = &*self.inner;
        let now = inner.clock.now();
        let now_ns = inner.clock.monotonic_ns();
        let epoch = epoch_at(now_ns);
        let resolver = Resolver { hasher: &inner.hasher, now, now_ns, epoch };
        let planner = Planner { routing: &inner.routing, topology: &inner.topology, now };
        let plan = resolver.run(&mut batch, |batch, cache| {
            // A request of which all samples are refused begins no tenant.
            let is_refused = batch.rows.is_empty() && batch.refusals.received_in_all() > 0;
            if is_refused && !batch.tenant.has_begun() {
                batch.metadata.clear();
            }
            planner.plan(batch, cache)
        })?;
        for Heard { cluster, replica, verdict, .. } in batch.heard.iter() {
            if let Ok(HaVerdict::Elected { took_over: true, .. }) = verdict {
                inner.telemetry.failed_over(&batch.tenant.id);
                let tenant = batch.tenant.id.as_str();
                tracing::info!(
                    tenant,
                    cluster = &**cluster,
                    replica = &**replica,
                    "HA replica elected"
                );
            }
        }
        Ok((batch, plan, now))
    }

    /// Sends a plan and counts what came of it. Who speaks of an HA cluster brings what the one elected
    /// of late sent while it waited.
    ///
    /// # Errors
    /// [`Error::Consistency`] if too few replicas have it.
    pub(crate) async fn send(
        &self,
        batch: Batch,
        plan: Plan,
        now: TimestampMs,
    ) -> Result<Refusals, Error> {
        let tenant = Arc::clone(&batch.tenant);
        let (refusals, heard) = self.deliver(batch, plan, now).await?;
        for one in heard {
            let owed = tenant.gate.ha.as_ref().and_then(|ha| ha.take_owed(&one));
            if let Some(owed) = owed {
                // A task of its own: a sender that leaves takes nothing along.
                let catch_up = self.clone().catch_up(Arc::clone(&tenant), owed);
                let ended = tokio::spawn(catch_up).await;
                ended.map_err(|error| Error::Internal(error.to_string()))?;
            }
        }
        Ok(refusals)
    }

    async fn deliver(
        &self,
        batch: Batch,
        plan: Plan,
        now: TimestampMs,
    ) -> Result<(Refusals, Vec<Heard>), Error> {
        let tenant = Arc::clone(&batch.tenant);
        if !plan.writes.is_empty() {
            let epoch = epoch_at(self.inner.clock.monotonic_ns());
            self.inner.tenants.begin(Arc::clone(&tenant), &self.inner.telemetry, epoch);
        }
        self.inner.telemetry.receive(&tenant, &batch.refusals);
        let heard = batch.heard.to_vec();
        let sending = Sending { distributor: self.clone(), batch, cuts: Cuts::Whole, now };
        let refusals = fan_out(sending, plan).await?;
        if let Some(ha) = &tenant.gate.ha {
            ha.cover(&heard, now);
        }
        self.inner.telemetry.refused(&tenant, &refusals);
        Ok((refusals, heard))
    }
}

/// The CPU work of one request.
struct Decode {
    distributor: Distributor,
    context: Arc<Context>,
    form: Form,
    raw: Buffer,
    limits: Arc<Limits>,
    reservation: Reservation,
    is_counted: bool,
}

impl Decode {
    fn run(self) -> Result<(Batch, Plan, TimestampMs), Error> {
        let mut message = self.distributor.inner.messages.take();
        let limit = self.limits.max_decoded_bytes;
        let Form { version, encoding } = self.form;
        let len = remote_write::decompress(&self.raw, encoding, limit, &mut message)?;
        let raw = self.limits.ha.is_on.then_some(self.raw);
        let tenant = self.distributor.tenant(&self.context.tenant);
        let paid = Some(self.reservation);
        let mut batch = Batch::new(tenant, self.context, message, len, version, paid);
        batch.is_counted = self.is_counted;
        let resolved = self.distributor.resolve_batch(batch)?;
        if let Some(raw) = raw {
            self.distributor.hold(&resolved.0, self.form, &raw);
        }
        Ok(resolved)
    }
}

impl Inner {
    /// Whether a tenant may send something now, before anything is kept of it.
    pub(crate) fn admit(&self, tenant: &TenantId, limits: &Limits) -> Result<(), guard::Error> {
        self.admit_import(tenant)?;
        self.rates.charge(tenant, limits, 0, self.clock.monotonic_ns())
    }

    /// The same of an import, which waits where its tenant's rate is spent.
    pub(crate) fn admit_import(&self, tenant: &TenantId) -> Result<(), guard::Error> {
        if self.tenants.known(tenant).is_some() {
            return Ok(());
        }
        let now_ns = self.clock.monotonic_ns();
        self.tenants.may_begin(tenant, now_ns)?;
        let limit = self.config.tenants_max;
        match self.tenants.has_room(limit, &self.telemetry, epoch_at(now_ns)) {
            true => Ok(()),
            false => Err(guard::Error::TooManyTenants { tenant: tenant.clone(), limit }),
        }
    }

    /// Charges a tenant for so many samples.
    pub(crate) fn charge(&self, tenant: &Tenant, samples: u64) -> Result<(), guard::Error> {
        self.rates.charge(&tenant.id, &tenant.limits, samples, self.clock.monotonic_ns())
    }

    /// A random number that nobody got before.
    pub(crate) fn random(&self) -> u64 {
        SplitMix64::at(self.seed, self.drawn.fetch_add(1, Relaxed) + 1)
    }

    /// The name of the replica at `slot`.
    pub(crate) fn name_of(&self, slot: usize) -> String {
        let node = self.routing.nodes().get(slot);
        let member = node.and_then(|node| self.topology.members.get(*node));
        member.map(|member| member.name.clone()).unwrap_or_default()
    }
}
