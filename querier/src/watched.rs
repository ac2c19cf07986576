//! A query with those who wait for it and those who look on: the table of active queries, the
//! history, the log of slow ones, and the flights that equal queries share.

use crate::active::{Asked, QueryId};
use crate::call::Call;
use crate::error::Error;
use crate::flights::{self, Answered, Seat};
use crate::history::{self, Ended, Text};
use crate::job::{Job, answer_bytes, evaluate};
use crate::querier::Querier;
use crate::run::{self, Desk};
use model::Kind;
use std::sync::Arc;
use std::time::Duration;

/// Evaluates where everybody can see it: in the table of active queries, in the history when it has
/// ended, in the log if it was slow. Who asks what is being answered waits for that answer.
///
/// # Errors
/// What the evaluation says; 429 if too many wait; 503 if it takes too long; that it was stopped.
pub(crate) async fn watched(querier: &Querier, call: &Call, job: Job) -> flights::Outcome {
    let inner = &querier.inner;
    let began_ns = inner.clock.monotonic_ns();
    let waited = || Duration::from_nanos(inner.clock.monotonic_ns().saturating_sub(began_ns));
    let asked =
        Asked { tenant: job.tenant.clone(), text: Text::of(&job.query.text), steps: job.steps() };
    let (key, job) = (job.key(), Arc::new(job));
    let ask = |asks| inner.source.versions(Arc::clone(&call.context), asks);
    let seat = inner.flights.join(&key, ask).await;
    let mut seat = match seat {
        Some(seat) => seat,
        None => take_off(querier, call, &job, job.timeout),
    };
    let mut outcome = seated(querier, call, &asked, began_ns, &seat).await;
    let is_late = outcome.as_ref().is_err_and(|error| error.kind() == Kind::Timeout);
    if seat.is_joined && is_late {
        // The time of who came first is up, not ours.
        seat = take_off(querier, call, &job, job.timeout.saturating_sub(waited()));
        outcome = seated(querier, call, &asked, began_ns, &seat).await;
    }
    if seat.is_joined {
        inner.metrics.joined.inc();
    }
    let (ended_ns, took) = (inner.clock.monotonic_ns(), waited());
    let queued = outcome.as_ref().map_or(0, |(_, took)| took.queued_ns);
    let samples_read = seat.state.progress.samples_read();
    let ended = Ended { asked, ended_ns, took, samples_read };
    let slow_ms = inner.settings.slow_query_ms;
    let id = QueryId(call.context.request_id.0);
    history::log_slow(slow_ms, id, &ended, Duration::from_nanos(queued), outcome.as_ref().err());
    inner.history.push(ended);
    outcome
}

/// Starts to answer a query, for whoever will wait for it.
fn take_off(querier: &Querier, call: &Call, job: &Arc<Job>, timeout: Duration) -> Seat {
    let (querier, context, job) = (querier.clone(), Arc::clone(&call.context), Arc::clone(job));
    let flights = Arc::clone(&querier.inner.flights);
    flights.start(job.key(), move |state| async move {
        let work = move |desk: &Desk| evaluate(&job, desk, &state);
        let (answered, took) = run::run(&querier, &context, timeout, work).await?;
        Ok((Arc::new(answered), took))
    })
}

/// Waits for the answer, or until somebody stops the query of who waits.
async fn seated(
    querier: &Querier,
    call: &Call,
    asked: &Asked,
    began_ns: u64,
    seat: &Seat,
) -> flights::Outcome {
    let id = QueryId(call.context.request_id.0);
    let progress = Arc::clone(&seat.state.progress);
    let running = querier.inner.active.begin(id, asked.clone(), began_ns, progress);
    tokio::select! {
        outcome = seat.answer.clone() => outcome,
        () = running.stopped() => Err(run::canceled().into()),
    }
}

/// The answer as one's own. Others may have asked for the same one.
///
/// # Errors
/// [`Kind::Unavailable`] if there is no memory for a copy, [`Kind::Internal`] if it breaks off.
pub(crate) async fn own(answered: Arc<Answered>) -> Result<Answered, Error> {
    match Arc::try_unwrap(answered) {
        Ok(answered) => Ok(answered),
        Err(shared) => {
            shared.purse.take(answer_bytes(&shared.evaluation.value))?;
            tokio::task::spawn_blocking(move || Answered::clone(&shared))
                .await
                .map_err(|_| Error::new(Kind::Internal, "the answer could not be copied"))
        }
    }
}
