//! Reads, writes and deletes of the replica of this process.
//!
//! A write is appended by whoever brings it, unless it is heavy, and answered when it is on disk.
//!
//! Not here: which of them may be in work at once (`embedded.rs`), when the disk is synced
//! (`log_thread.rs`).

use super::{Embedded, Inner};
use model::exemplar::SeriesExemplars;
use model::mutation::{Mutation, WriteAnswer};
use model::read::{
    Activity, Estimate, ExemplarQuery, LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery,
    Selection,
};
use model::{
    Context, DeleteAnswer, DeleteRequest, Kind, SeriesColumns, TenantId, TimeRange, Tombstone,
};
use std::sync::Arc;
use store::Engine;
use store::engine::{AppendLimits, Appended, Together};
use wire::replica::{Answer, Replica, ReplicaError};

/// Mutations of more samples than this are appended off the async threads.
const HEAVY_SAMPLES: usize = 2_000;

impl Inner {
    async fn write(self: Arc<Self>, mutation: Mutation) -> Result<WriteAnswer, ReplicaError> {
        let permit = Arc::new(self.enter(&self.writes).await?);
        if !self.engine.has_room_for(&mutation.context.tenant, self.tenants_max) {
            let most = self.tenants_max;
            let text = format!(
                "there are {most} tenants in memory, the most there may be (write.max_tenants)"
            );
            return Err(self.error(Kind::Unavailable, text));
        }
        let inner = self.clone();
        // A histogram is worth some floats, by its buckets.
        let weight = mutation.values.len() + 16 * mutation.histograms.len();
        let heavy = weight + mutation.exemplars.len() > HEAVY_SAMPLES;
        let (tenant, samples) = (
            mutation.context.tenant.clone(),
            (mutation.values.len() + mutation.histograms.len()) as u64,
        );
        let limits = self.append_limits(&mutation.context.tenant);
        // Here, unless it takes its time, or somebody would have to be waited for.
        let here = match heavy {
            true => None,
            false => self.engine.try_append(&mutation, limits, self.clock.now()),
        };
        // What it holds counts until it is done, also if its caller has left meanwhile.
        let held = Arc::clone(&permit);
        let append = move || {
            let _held = held;
            inner.engine.append(&mutation, limits, inner.clock.now())
        };
        let appended = match here {
            Some(appended) => appended.map_err(|error| self.store_error(&error))?,
            None => self.clone().blocking(None, append).await?,
        };
        let answer = match appended {
            Appended::NeedLabels => WriteAnswer::NeedLabels,
            Appended::Queued { ticket, written } => {
                if ticket > 0 {
                    let durable = self.log.durable(ticket).await;
                    durable.map_err(|why| self.error(Kind::Unavailable, why))?;
                }
                self.rates.add(&tenant, samples, self.clock.monotonic_ns());
                WriteAnswer::Written(written)
            }
        };
        drop(permit);
        Ok(answer)
    }

    async fn read<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Engine) -> store::Result<T> + Send + 'static,
    ) -> Result<T, ReplicaError> {
        let permit = self.enter(&self.reads).await?;
        self.telemetry.reads.inc();
        let engine = self.engine.clone();
        self.blocking(Some(permit), move || work(&engine)).await
    }

    /// Does it on the calling thread; `None` if all permits are given away.
    fn read_here<T>(
        &self,
        work: impl FnOnce(&Engine) -> store::Result<T>,
    ) -> Option<Result<T, ReplicaError>> {
        let _entry = self.reads.try_enter()?;
        self.telemetry.reads.inc();
        Some(work(&self.engine).map_err(|error| self.store_error(&error)))
    }

    /// A delete counts as a write: what is in work is finished before the replica stops.
    async fn delete(
        self: Arc<Self>,
        context: Arc<Context>,
        request: DeleteRequest,
    ) -> Result<DeleteAnswer, ReplicaError> {
        let permit = self.enter(&self.writes).await?;
        let inner = self.clone();
        let work = move || inner.engine.delete(&context.tenant, &request, inner.clock.now());
        let answer = self.clone().blocking(Some(permit), work).await?;
        self.telemetry.deletes.inc();
        Ok(answer)
    }

    /// This replica's share of the tenant's limits.
    fn append_limits(&self, tenant: &TenantId) -> AppendLimits {
        let limits = self.limits.of(tenant);
        AppendLimits {
            series_max: share(limits.max_series, |max| self.share.series_max(tenant, max)),
            series_per_metric_max: share(limits.max_series_per_metric, |max| {
                self.share.metric_series_max(max)
            }),
            exemplars_max: limits.max_exemplars.get(),
            metadata_max: limits.max_metadata.get(),
        }
    }
}

/// A share of a limit on series; `u64::MAX` is no limit.
pub(super) fn share(limit: guard::Limit, of: impl Fn(u64) -> u64) -> u64 {
    match limit.0 {
        0 => u64::MAX,
        max => of(max),
    }
}

impl Embedded {
    /// As [`Replica::select`], of one of several stores that answer together.
    pub(crate) fn select_together(
        &self,
        context: Arc<Context>,
        selection: Selection,
        together: Arc<Together>,
    ) -> Answer<Vec<SeriesColumns>> {
        let now = self.now(&context);
        let work = move |engine: &Engine| {
            engine.select_together(&context.tenant, &selection, now, together)
        };
        Box::pin(self.inner.clone().read(work))
    }
}

impl Replica for Embedded {
    fn write(&self, mutation: Mutation) -> Answer<WriteAnswer> {
        Box::pin(self.inner.clone().write(mutation))
    }

    fn select(&self, context: Arc<Context>, selection: Selection) -> Answer<Vec<SeriesColumns>> {
        let now = self.now(&context);
        let work = move |engine: &Engine| engine.select(&context.tenant, &selection, now);
        Box::pin(self.inner.clone().read(work))
    }

    fn estimate(&self, context: Arc<Context>, selection: Selection) -> Answer<Estimate> {
        let now = self.now(&context);
        let work = move |engine: &Engine| engine.estimate(&context.tenant, &selection, now);
        Box::pin(self.inner.clone().read(work))
    }

    fn select_here(
        &self,
        context: &Context,
        selection: &Selection,
    ) -> Option<Result<Vec<SeriesColumns>, ReplicaError>> {
        let now = self.now(context);
        self.inner.read_here(|engine| engine.select(&context.tenant, selection, now))
    }

    fn estimate_here(
        &self,
        context: &Context,
        selection: &Selection,
    ) -> Option<Result<Estimate, ReplicaError>> {
        let now = self.now(context);
        self.inner.read_here(|engine| engine.estimate(&context.tenant, selection, now))
    }

    fn labels(&self, context: Arc<Context>, query: LabelQuery) -> Answer<LabelAnswer> {
        let now = self.now(&context);
        let work = move |engine: &Engine| engine.labels(&context.tenant, &query, now);
        Box::pin(self.inner.clone().read(work))
    }

    fn metadata(&self, context: Arc<Context>, query: MetadataQuery) -> Answer<MetadataAnswer> {
        let work = move |engine: &Engine| Ok(engine.metadata(&context.tenant, &query));
        Box::pin(self.inner.clone().read(work))
    }

    fn exemplars(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> Answer<Vec<SeriesExemplars>> {
        let now = self.now(&context);
        let work = move |engine: &Engine| engine.exemplars_at(&context.tenant, &query, now);
        Box::pin(self.inner.clone().read(work))
    }

    fn versions(&self, context: Arc<Context>, ranges: Vec<TimeRange>) -> Answer<Vec<u64>> {
        // A look at a map in memory: it needs no thread of its own.
        let now = self.now(&context);
        let versions = self.inner.engine.versions(&context.tenant, &ranges, now);
        Box::pin(std::future::ready(Ok(versions)))
    }

    fn activity(&self, context: Arc<Context>) -> Answer<Activity> {
        // Two look-ups in memory: they need no thread of their own.
        let (inner, tenant) = (&self.inner, &context.tenant);
        let series = inner.engine.open_series(tenant);
        let samples = inner.rates.samples(tenant, inner.clock.monotonic_ns());
        Box::pin(std::future::ready(Ok(Activity { series, samples })))
    }

    fn delete(&self, context: Arc<Context>, request: DeleteRequest) -> Answer<DeleteAnswer> {
        Box::pin(self.inner.clone().delete(context, request))
    }

    fn tombstones(&self, _: Arc<Context>) -> Answer<Vec<Tombstone>> {
        Box::pin(self.inner.clone().read(|engine| Ok(engine.tombstones())))
    }

    fn purge(&self, _: Arc<Context>) -> Answer<()> {
        self.inner.engine.ask_for_purge();
        Box::pin(std::future::ready(Ok(())))
    }
}
