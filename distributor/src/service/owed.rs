//! What an HA replica sends while it waits: held when it comes, written when its sender is elected.

use super::Distributor;
use crate::batch::Batch;
use crate::ha::{HaGate, Heard};
use crate::held::{HeldBody, Owed};
use crate::tenant::Tenant;
use model::{Kind, Principal, RequestId};
use std::sync::Arc;
use wire::remote_write::Form;

impl Distributor {
    /// Holds a request if all that it has is of one heir.
    pub(super) fn hold(&self, batch: &Batch, form: Form, raw: &[u8]) {
        let Some((ha, heir)) = heir_of(batch) else { return };
        let tenant = &batch.tenant.id;
        let mut paid = self.inner.held_budget.reserve(tenant);
        if paid.raise_to(raw.len() as u64).is_err() {
            self.inner.telemetry.not_held(tenant);
            return;
        }
        let (newest_ms, at_ns) = (heir.newest_ms, self.inner.clock.monotonic_ns());
        ha.hold(heir, HeldBody { form, raw: raw.into(), newest_ms, at_ns, _paid: paid });
    }

    /// Writes what a replica sent while it waited. What cannot be written now waits for the next
    /// request of its cluster; what can never be written is let go of.
    pub(super) async fn catch_up(self, tenant: Arc<Tenant>, mut owed: Owed) {
        let Some(ha) = &tenant.gate.ha else { return };
        while let Some(body) = owed.bodies.pop_front() {
            let context = self.context(
                tenant.id.clone(),
                Principal::Anonymous,
                RequestId(self.inner.random()),
            );
            let mut raw = self.inner.bodies.take();
            raw.clear();
            raw.extend_from_slice(&body.raw);
            let reservation = self.inner.budget.reserve(&tenant.id);
            let written = match self.decode(context, body.form, raw, reservation, true).await {
                Ok((batch, plan, now)) => self.deliver(batch, plan, now).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                let is_for_ever =
                    matches!(error.kind(), Kind::Invalid | Kind::TooLarge | Kind::Unsupported);
                if is_for_ever {
                    self.inner.telemetry.not_held(&tenant.id);
                    let tenant = tenant.id.as_str();
                    tracing::error!(tenant, %error, "what an HA replica sent while it waited is lost");
                    continue;
                }
                let tenant = tenant.id.as_str();
                tracing::warn!(tenant, %error, "what an HA replica sent while it waited is not written yet");
                owed.bodies.push_front(body);
                return ha.put_back(owed);
            }
        }
        ha.settle(&owed);
    }
}

/// The heir, if all that a batch has is of one, and where its requests are held.
pub(super) fn heir_of(batch: &Batch) -> Option<(&HaGate, &Heard)> {
    let (Some(ha), [heir]) = (batch.tenant.gate.ha.as_deref(), &*batch.heard) else { return None };
    (heir.is_heir() && heir.newest_ms > i64::MIN).then_some((ha, heir))
}
