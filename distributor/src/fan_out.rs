//! Sends a plan to the replicas and waits until it is known what becomes of it.
//!
//! The write level is only what is awaited: replicas that answer later are heard to their end, in
//! tasks that hold their request's share of the budget, so there are never too many of them.
//!
//! # Invariants
//! - A replica that does not know its numbers any more is asked once more, with labels.
//! - No answer within the timeout counts as none.

use crate::batch::{Batch, Row};
use crate::error::Error;
use crate::extras::item_at;
use crate::plan::{Cut, Cuts, Plan, Planner, ReplicaWrite};
use crate::refusal::{Reason, Refusals};
use crate::resolve::position;
use crate::series_cache::UNCACHED;
use crate::service::Distributor;
use crate::tally::{Gather, RefusedCut};
use crate::validate::series_text;
use cluster::{Unavailable, Verdict};
use model::mutation::{Mutation, SeriesRefusal, WriteAnswer, Written};
use model::{Kind, METRIC_NAME, TimestampMs};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use wire::remote_write::RawLabels;
use wire::replica::{Replica, ReplicaError};

/// A request on its way, shared by the tasks that carry it.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) distributor: Distributor,
    pub(crate) batch: Batch,
    pub(crate) cuts: Cuts,
    pub(crate) now: TimestampMs,
}

type Answer = (usize, Result<Vec<RefusedCut>, ReplicaError>);

/// Sends the plan and returns what was refused.
///
/// # Errors
/// [`Error::Consistency`] if too few replicas have it: nothing may be acknowledged.
pub(crate) async fn fan_out(sending: Sending, plan: Plan) -> Result<Refusals, Error> {
    let distributor = sending.distributor.clone();
    let sets: Vec<(u32, Vec<usize>)> = plan
        .sets
        .iter()
        .map(|set| (*set, distributor.parts().routing.slots_of(*set).to_vec()))
        .collect();
    let mut gather = Gather::new(distributor.parts().topology.write_consistency, sets);
    let sending = Arc::new(Sending { cuts: plan.cuts, ..sending });
    let mut causes = Vec::new();
    let mut writes = plan.writes;
    if writes.len() == 1
        && let Some(only) = writes.pop()
    {
        let answer = write_one(Arc::clone(&sending), only).await;
        hear(&sending, &mut gather, &mut causes, answer);
    } else {
        let mut tasks = JoinSet::new();
        for write in writes {
            tasks.spawn(write_one(Arc::clone(&sending), write));
        }
        while gather.verdict() == Verdict::Pending {
            match tasks.join_next().await {
                Some(Ok(answer)) => hear(&sending, &mut gather, &mut causes, answer),
                Some(Err(error)) => return Err(Error::Internal(error.to_string())),
                None => break,
            }
        }
        tasks.detach_all();
    }
    match gather.verdict() {
        Verdict::Satisfied => Ok(refusals(&sending, &gather)),
        Verdict::Pending => Err(Error::Internal("replicas ended without an answer".to_owned())),
        Verdict::Impossible(unavailable) => Err(consistency(&sending, unavailable, &causes)),
    }
}

fn hear(
    sending: &Sending,
    gather: &mut Gather,
    causes: &mut Vec<ReplicaError>,
    (slot, answer): Answer,
) {
    match answer {
        Ok(refused) => gather.succeed(slot, refused),
        Err(error) => {
            let parts = sending.distributor.parts();
            parts.telemetry.replica_failed(&error.replica);
            tracing::debug!(%error, request_id = %sending.batch.context.request_id, "write failed");
            gather.fail(slot);
            causes.push(error);
        }
    }
}

fn consistency(sending: &Sending, unavailable: Unavailable, causes: &[ReplicaError]) -> Error {
    let parts = sending.distributor.parts();
    let all_are = |kind| !causes.is_empty() && causes.iter().all(|cause| cause.kind == kind);
    let kind = match () {
        () if all_are(Kind::Timeout) => Kind::Timeout,
        // It is so again when it comes again.
        () if all_are(Kind::TooLarge) => Kind::TooLarge,
        () => Kind::Unavailable,
    };
    Error::Consistency {
        required: unavailable.required,
        replicas: parts.topology.placement.replication_factor(),
        alive: unavailable.alive,
        cause: causes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        kind,
    }
}

/// Carries one mutation to its replica and learns from the answer.
async fn write_one(sending: Arc<Sending>, write: ReplicaWrite) -> Answer {
    let slot = write.slot;
    let timeout_ms = sending.distributor.parts().config.write_timeout_ms;
    let answer = tokio::time::timeout(
        Duration::from_millis(timeout_ms),
        write_or_resend(&sending, slot, write.mutations),
    );
    let answer = answer.await.unwrap_or_else(|_| {
        let message = format!("no answer within {timeout_ms} ms");
        Err(replica_error(&sending, slot, Kind::Timeout, message))
    });
    (slot, answer)
}

async fn write_or_resend(
    sending: &Sending,
    slot: usize,
    mutations: Vec<Mutation>,
) -> Result<Vec<RefusedCut>, ReplicaError> {
    let Some(replica) = sending.distributor.parts().replicas.get(slot) else {
        return Err(replica_error(sending, slot, Kind::Internal, "no such replica".to_owned()));
    };
    if let Some(written) = write_all(&**replica, mutations).await? {
        return Ok(learn(sending, slot, written));
    }
    // The numbers in its answer are of another generation and replace the ones it forgot.
    sending.distributor.parts().telemetry.resent();
    let again = planner(sending)
        .mutations_by_labels(&sending.batch, &sending.cuts, slot)
        .map_err(|error| replica_error(sending, slot, Kind::Internal, error.to_string()))?;
    match write_all(&**replica, again).await? {
        Some(written) => Ok(learn(sending, slot, written)),
        None => {
            let message = "it asks for labels that it was just sent".to_owned();
            Err(replica_error(sending, slot, Kind::Unavailable, message))
        }
    }
}

/// Writes a replica's mutations, of which there are at most two: they wait together. The answer is as
/// if they were one; `None` if either needs labels, and then both are to be sent again.
async fn write_all(
    replica: &dyn Replica,
    mutations: Vec<Mutation>,
) -> Result<Option<Written>, ReplicaError> {
    let write = async |mutation: Option<Mutation>| match mutation {
        Some(mutation) => replica.write(mutation).await,
        None => Ok(WriteAnswer::Written(Written::default())),
    };
    let mut mutations = mutations.into_iter();
    let first = mutations.next();
    let series = first.as_ref().map_or(0, |mutation| position(mutation.series.len()));
    let (first, second) = match (first, mutations.next()) {
        (first, None) => (write(first).await?, None),
        (first, second) => {
            let (first, second) = tokio::join!(write(first), write(second));
            (first?, Some(second?))
        }
    };
    let WriteAnswer::Written(mut all) = first else { return Ok(None) };
    match second {
        None => {}
        Some(WriteAnswer::NeedLabels) => return Ok(None),
        Some(WriteAnswer::Written(more)) => {
            let behind = |index: u32| series + index;
            // Numbers of another life of the tenant mean other series in this one.
            if more.generation == all.generation {
                let numbers = more.numbers.into_iter();
                all.numbers.extend(numbers.map(|(at, number)| (behind(at), number)));
            }
            all.refused.extend(more.refused.into_iter().map(|(at, why)| (behind(at), why)));
        }
    }
    Ok(Some(all))
}

fn planner(sending: &Sending) -> Planner<'_> {
    let parts = sending.distributor.parts();
    Planner { routing: &parts.routing, topology: &parts.topology, now: sending.now }
}

fn replica_error(sending: &Sending, slot: usize, kind: Kind, message: String) -> ReplicaError {
    ReplicaError { replica: sending.distributor.parts().name_of(slot), kind, message }
}

/// Keeps the numbers that the replica told; returns the cuts that it refused.
fn learn(sending: &Sending, slot: usize, written: Written) -> Vec<RefusedCut> {
    let batch = &sending.batch;
    if written.numbers.is_empty() && written.refused.is_empty() {
        return Vec::new();
    }
    let routing = &sending.distributor.parts().routing;
    let cuts: Vec<(u32, Cut)> = sending.cuts.of_slot(batch, routing, slot).collect();
    let cut_at = |index: u32| cuts.get(index as usize).copied();
    if !written.numbers.is_empty() {
        let mut cache = batch.tenant.cache.write();
        // After an eviction the entries may stand for other series.
        if cache.evictions() == batch.evictions {
            for (index, number) in written.numbers {
                let row = cut_at(index).and_then(|(_, cut)| batch.rows.get(cut.row as usize));
                if let Some(Row { entry, .. }) = row
                    && *entry != UNCACHED
                {
                    cache.learn(slot, written.generation, *entry, number);
                }
            }
        }
    }
    let refused = written.refused.into_iter();
    refused.filter_map(|(index, why)| cut_at(index).map(|(at, cut)| (at, cut.set, why))).collect()
}

/// What was refused before sending, and what too few replicas took.
fn refusals(sending: &Sending, gather: &Gather) -> Refusals {
    let batch = &sending.batch;
    let mut refusals = batch.refusals.clone();
    for (place, why) in gather.refused() {
        let cut = match &sending.cuts {
            Cuts::Split(cuts) => cuts.get(place as usize).copied(),
            Cuts::Whole => batch.rows.get(place as usize).map(|row| Cut {
                row: place,
                set: 0,
                start: batch.sample_start(place as usize),
                end: row.sample_end,
            }),
        };
        let Some(cut) = cut else { continue };
        let Some(row) = batch.rows.get(cut.row as usize) else { continue };
        let raw = batch.raw_labels(row);
        let reason = match why {
            SeriesRefusal::SeriesLimit { .. } => Reason::SeriesLimit,
            SeriesRefusal::MetricSeriesLimit { .. } => Reason::MetricSeriesLimit,
        };
        let tell = || format!("{}: {}", series_text(raw), limit_text(batch, raw, why));
        let item = item_at(batch, cut.start as usize);
        refusals.refuse(item, u64::from(cut.end - cut.start), reason, tell);
    }
    refusals
}

fn limit_text(batch: &Batch, raw: RawLabels<'_>, why: &SeriesRefusal) -> String {
    let is_metric_name = |(name, _): &(&[u8], &[u8])| *name == METRIC_NAME.as_bytes();
    let mut labels = raw.into_iter().flatten();
    let metric = labels.find(is_metric_name).map(|(_, value)| String::from_utf8_lossy(value));
    let metric = metric.unwrap_or_default().into_owned().into();
    let (tenant, limits) = (batch.tenant.id.clone(), &batch.tenant.limits);
    let error = match why {
        SeriesRefusal::SeriesLimit { .. } => {
            guard::Error::SeriesLimit { tenant, metric, limit: limits.max_series.0 }
        }
        SeriesRefusal::MetricSeriesLimit { .. } => {
            let limit = limits.max_series_per_metric.0;
            guard::Error::MetricSeriesLimit { tenant, metric, limit }
        }
    };
    error.to_string()
}

#[cfg(test)]
mod tests;
