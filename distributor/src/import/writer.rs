//! Batches of an import: filled series by series, written when they are full.
//!
//! A batch goes the way of every write, so limits, counts and reasons are the same; only that no
//! count of the whole body is refused, and that who writes faster than its rate is slowed down.

use super::{raise, wait};
use crate::error::Error;
use crate::gate::labels_max;
use crate::message::Message;
use crate::metadata;
use crate::pool::Reservation;
use crate::refusal::Refusals;
use crate::service::Distributor;
use crate::tenant::Tenant;
use model::mutation::MetricMetadata;
use model::{Principal, RequestId};
use std::sync::Arc;
use wire::import::LineBounds;
use wire::remote_write::MetadataView;

/// Samples and series of a batch at most; fewer if the tenant may send fewer at once.
const BATCH_ITEMS_MAX: u64 = 10_000;
/// A batch is written when it has become so long.
const BATCH_BYTES: u64 = 1 << 20;
/// Metrics of which something is said in one batch.
const METADATA_MAX: usize = 1000;
/// What is made of a line takes so many times its length: times and values of two digits,
const LINE_GROWTH: u64 = 12;
/// but no more than this for each of the samples and series that it may hold.
const ITEM_BYTES: u64 = 64;
/// One line may have so many samples and fields, however few a request may have.
const LINE_SAMPLES_MIN: usize = 500_000;
const LINE_SERIES_MIN: usize = 50_000;
/// Who has to wait asks again at least so often.
const WAIT_MS_MAX: u64 = 1000;

/// Writes what an import reads.
pub(crate) struct Writer {
    distributor: Distributor,
    tenant: Arc<Tenant>,
    request_id: RequestId,
    batch: Message,
    series: u64,
    samples: u64,
    items_max: u64,
    line: u64,
    /// The first line of which something may not be written yet.
    open_line: u64,
    refusals: Refusals,
    /// The memory of the line that is being read.
    reservation: Reservation,
}

impl Writer {
    pub(crate) fn new(
        distributor: Distributor,
        tenant: Arc<Tenant>,
        request_id: RequestId,
    ) -> Self {
        let limits = &tenant.limits;
        let at_once = limits.max_request_samples.get().min(limits.max_request_series.get());
        let items_max = at_once.min(BATCH_ITEMS_MAX);
        let reservation = distributor.parts().budget.reserve(&tenant.id);
        Self {
            distributor,
            tenant,
            request_id,
            batch: Message::default(),
            series: 0,
            samples: 0,
            items_max,
            line: 0,
            open_line: 1,
            refusals: Refusals::default(),
            reservation,
        }
    }

    /// The first line of which something may not be written yet.
    pub(crate) fn open_line(&self) -> u64 {
        self.open_line
    }

    /// What was refused of what was written.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Whether labels of so many bytes may be written out from one line.
    pub(crate) fn may_write_out(&self, bytes: usize) -> bool {
        !self.tenant.limits.max_request_bytes.is_exceeded_by(bytes as u64)
    }

    /// How much one line may say: as much as a request of the tenant, and what is usual at least.
    pub(crate) fn line_bounds(&self) -> LineBounds {
        let limits = &self.tenant.limits;
        let bound = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        LineBounds {
            labels: bound(labels_max(limits)),
            series: bound(limits.max_request_series.get()).max(LINE_SERIES_MIN),
            samples: bound(limits.max_request_samples.get()).max(LINE_SAMPLES_MIN),
        }
    }

    /// Reserves memory for what a line becomes.
    pub(crate) async fn begin_line(&mut self, number: u64, bytes: usize) -> Result<(), Error> {
        self.line = number;
        let limits = &self.tenant.limits;
        let items =
            limits.max_request_samples.get().saturating_add(limits.max_request_series.get());
        let wanted = (bytes as u64 * LINE_GROWTH).min(items.saturating_mul(ITEM_BYTES));
        if wanted <= self.reservation.bytes() {
            return Ok(());
        }
        raise(&mut self.reservation, wanted.max(BATCH_BYTES)).await
    }

    /// Adds samples of one series.
    pub(crate) async fn samples<'l, L: Iterator<Item = (&'l str, &'l str)>>(
        &mut self,
        labels: impl Fn() -> L,
        mut samples: &[(i64, f64)],
    ) -> Result<(), Error> {
        while !samples.is_empty() {
            let room = self.items_max.saturating_sub(self.samples).max(1);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let (now, later) = samples.split_at(samples.len().min(room));
            samples = later;
            let request = &mut self.batch.request;
            request.begin(labels());
            for (timestamp_ms, value) in now {
                request.sample(*timestamp_ms, *value, 0);
            }
            request.end();
            self.samples += now.len() as u64;
            self.series += 1;
            if self.is_full() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// What may be kept of what a line says of a metric; `None` if its name is too long.
    pub(crate) fn metadata(&self, view: &MetadataView<'_>) -> Option<MetricMetadata> {
        metadata::kept(view, &self.tenant.limits)
    }

    /// Adds what is known of a metric.
    pub(crate) async fn describe(&mut self, metadata: Option<MetricMetadata>) -> Result<(), Error> {
        let Some(metadata) = metadata else { return Ok(()) };
        self.batch.describe(metadata);
        match self.is_full() {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    fn is_full(&self) -> bool {
        self.samples >= self.items_max
            || self.series >= self.items_max
            || self.batch.metrics() >= METADATA_MAX
            || self.batch.bytes() >= BATCH_BYTES
    }

    /// Writes the batch, and returns when it is durable.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        (self.series, self.samples) = (0, 0);
        if batch.request.is_empty() && batch.metrics() == 0 {
            return Ok(());
        }
        let parts = self.distributor.parts();
        let mut reservation = parts.budget.reserve(&self.tenant.id);
        // The message, its columns and the mutation made of them.
        raise(&mut reservation, 3 * batch.bytes()).await?;
        let tenant = self.tenant.id.clone();
        let context = self.distributor.context(tenant, Principal::Anonymous, self.request_id);
        let (batch, plan, now) =
            self.distributor.resolve_translated(Arc::new(context), batch, reservation)?;
        self.charge(batch.refusals.charged()).await?;
        let mut refusals = self.distributor.send(batch, plan, now).await?;
        refusals.follow(std::mem::take(&mut self.refusals));
        self.refusals = refusals;
        self.open_line = self.line + 1;
        Ok(())
    }

    /// Waits until the tenant may write so many samples.
    async fn charge(&self, samples: u64) -> Result<(), Error> {
        let (parts, tenant) = (self.distributor.parts(), &self.tenant);
        if samples == 0 {
            return Ok(());
        }
        loop {
            match parts.charge(tenant, samples) {
                Err(guard::Error::RateLimited { retry_after_ms, .. }) => {
                    wait(retry_after_ms.clamp(1, WAIT_MS_MAX)).await;
                }
                outcome => return Ok(outcome?),
            }
        }
    }
}
