//! Where translated series go: a remote write with a bound, its memory reserved as it grows.

use super::labels::Labels;
use crate::error::Error;
use crate::message::Message;
use crate::metadata;
use crate::pool::Reservation;
use crate::tenant::Tenant;
use model::METRIC_NAME;
use wire::remote_write::{MetadataView, RequestV2};

/// So much is reserved at once.
const STEP_BYTES: u64 = 256 << 10;
/// Positions in a message are 32-bit.
const MESSAGE_BYTES_MAX: u64 = 2 << 30;

/// The memory that a message is paid with.
#[derive(Debug)]
pub(crate) struct Growth<'r> {
    pub(crate) reservation: &'r mut Reservation,
    /// What of it is taken already.
    pub(crate) base_bytes: u64,
}

/// A message under way.
pub(super) struct Output<'t> {
    message: Message,
    pub(super) tenant: &'t Tenant,
    growth: Growth<'t>,
    reserved: u64,
}

impl<'t> Output<'t> {
    pub(super) fn new(tenant: &'t Tenant, growth: Growth<'t>) -> Self {
        Self { message: Message::default(), tenant, growth, reserved: 0 }
    }

    /// Adds a series: its name, its labels, perhaps one more, and what `fill` puts in.
    pub(super) fn series(
        &mut self,
        name: &str,
        labels: &Labels<'_>,
        extra: Option<(&str, &str)>,
        fill: impl FnOnce(&mut RequestV2),
    ) -> Result<(), Error> {
        let mut own: Vec<(&str, &str)> = Vec::with_capacity(labels.len() + 2);
        own.push((METRIC_NAME, name));
        own.extend(extra);
        let set = own.len();
        for (name, value) in labels {
            // The name and the label that tells buckets apart win over attributes.
            if !own[..set].iter().any(|(own, _)| own == name) {
                own.push((name, value));
            }
        }
        own.sort_unstable_by_key(|(name, _)| *name);
        self.message.request.begin(own);
        fill(&mut self.message.request);
        self.message.request.end();
        self.check()
    }

    /// Adds what a metric means.
    pub(super) fn describe(&mut self, view: &MetadataView<'_>) -> Result<(), Error> {
        if let Some(one) = metadata::kept(view, &self.tenant.limits) {
            self.message.describe(one);
        }
        self.check()
    }

    fn check(&mut self) -> Result<(), Error> {
        let bytes = self.message.bytes();
        let limit = self.tenant.limits.max_decoded_bytes;
        if limit.is_exceeded_by(bytes) || bytes > MESSAGE_BYTES_MAX {
            return Err(self.tenant.too_many_bytes_translated().into());
        }
        if bytes > self.reserved {
            self.reserved = bytes + STEP_BYTES;
            // The message, its columns and the mutation made of them.
            let wanted = self.growth.base_bytes + 2 * self.reserved;
            self.growth.reservation.raise_to(wanted)?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Message {
        self.message
    }
}
