//! Replicated reads: asks enough replicas, joins their answers, or says that too few answered.
//!
//! A selector with a metric name asks the replicas of its partitions; one without asks until every
//! range of the ring has been heard often enough. A replica that fails is replaced at once by the
//! next, one that is slow is doubled. What cannot be had in full is an error: nothing is left out
//! silently.
//!
//! Not here: whom to ask (`coverage.rs`), how answers are joined (`reconcile.rs`), how bytes travel
//! (`wire::peer`).

use crate::coverage::{Ask, Coverage, partitions_of};
use crate::reconcile::{join_exemplars, join_labels, join_metadata, join_series};
use crate::suspects::Suspects;
use cluster::{NodeIndex, Topology, Unavailable};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::exemplar::SeriesExemplars;
use model::read::{
    Estimate, ExemplarQuery, LabelAnswer, LabelQuery, LabelWant, MetadataAnswer, MetadataQuery,
    SelectBounds, Selection, Wanted,
};
use model::{Context, Kind, Matcher, SeriesColumns, TimeRange};
use promql::SourceError;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use wire::replica::{Answer, Replica, ReplicaError};

/// A replica that was slow once is asked last for this many times the patience of a read, unless it answers.
const SUSPECT_FACTOR: u32 = 20;

/// How long reads wait for replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadConfig {
    /// After so many milliseconds without the answers, further replicas are asked too. Default 500;
    /// lower it where a slow disk must not be felt, for the price of double work. At least 1.
    pub speculate_after_ms: u64,
    /// After so many milliseconds a read without a time limit of its own fails. Default 120,000.
    pub timeout_ms: u64,
}

impl Default for ReadConfig {
    fn default() -> Self {
        Self { speculate_after_ms: 500, timeout_ms: 120_000 }
    }
}

impl ReadConfig {
    /// Every fault at once.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let keys =
            [("speculate_after_ms", self.speculate_after_ms), ("timeout_ms", self.timeout_ms)];
        let zero = keys.iter().filter(|(_, value)| *value == 0);
        zero.map(|(key, _)| format!("{key}: 0 would never wait, want at least 1")).collect()
    }
}

/// All replicas of the cluster as one source of series.
#[derive(Debug)]
pub struct ReplicatedSource {
    pub(crate) topology: Arc<Topology>,
    pub(crate) replicas: BTreeMap<NodeIndex, Arc<dyn Replica>>,
    /// The replica in this process, if there is one: asked first, it costs no socket.
    local: Option<NodeIndex>,
    pub(crate) config: ReadConfig,
    pub(crate) suspects: Suspects,
}

impl ReplicatedSource {
    /// A source over `replicas`, one for each ingester of the topology.
    #[must_use]
    pub fn new(
        topology: Arc<Topology>,
        replicas: BTreeMap<NodeIndex, Arc<dyn Replica>>,
        local: Option<NodeIndex>,
        config: ReadConfig,
    ) -> Self {
        Self { topology, replicas, local, config, suspects: Suspects::default() }
    }

    /// The series of a selection with their samples, each label set once, ascending by labels.
    ///
    /// # Errors
    /// `Unavailable` if too few replicas answered, `Timeout` if the caller's time is over,
    /// `Unexecutable` beyond the selection's bounds, or what a replica finds wrong with the question.
    pub async fn select(
        &self,
        context: &Arc<Context>,
        selection: &Selection,
    ) -> Result<Vec<SeriesColumns>, SourceError> {
        let coverage = self.cover(context, [&*selection.matchers], selection.range);
        let bounds = selection.bounds;
        let ask = |replica: &Arc<dyn Replica>, ask: &Ask| {
            let days = selection.days.clone().or_else(|| ask.days.clone());
            // Answers are joined by their labels.
            let wanted = Wanted { labels: None, ..selection.wanted.clone() };
            replica.select(context.clone(), Selection { days, wanted, ..selection.clone() })
        };
        let mut answers = self.gather(context, coverage, ask).await?;
        let series = match answers.len() {
            0 | 1 => answers.pop().unwrap_or_default(),
            _ => off_the_async_threads(move || join_series(answers)).await?,
        };
        within(bounds, series)
    }

    /// What a selection is likely to return, of all replicas that are asked for it together.
    ///
    /// # Errors
    /// As [`ReplicatedSource::select`].
    pub async fn estimate(
        &self,
        context: &Arc<Context>,
        selection: &Selection,
    ) -> Result<Estimate, SourceError> {
        let coverage = self.cover(context, [&*selection.matchers], selection.range);
        let ask = |replica: &Arc<dyn Replica>, ask: &Ask| {
            let days = selection.days.clone().or_else(|| ask.days.clone());
            replica.estimate(context.clone(), Selection { days, ..selection.clone() })
        };
        let answers = self.gather(context, coverage, ask).await?;
        Ok(answers.into_iter().fold(Estimate::default(), Estimate::and))
    }

    /// As [`ReplicatedSource::select`], on the calling thread; `None` unless the one replica of the
    /// cluster is in this process and takes it at once.
    pub fn select_here(
        &self,
        context: &Arc<Context>,
        selection: &Selection,
    ) -> Option<Result<Vec<SeriesColumns>, SourceError>> {
        let answer = self.only()?.select_here(context, selection)?;
        Some(answer.map_err(of_only).and_then(|series| within(selection.bounds, series)))
    }

    /// As [`ReplicatedSource::estimate`], as [`ReplicatedSource::select_here`] does it.
    pub fn estimate_here(
        &self,
        context: &Arc<Context>,
        selection: &Selection,
    ) -> Option<Result<Estimate, SourceError>> {
        Some(self.only()?.estimate_here(context, selection)?.map_err(of_only))
    }

    /// The replica in this process, if it is the only one.
    fn only(&self) -> Option<&Arc<dyn Replica>> {
        let local = self.replicas.get(&self.local?);
        local.filter(|_| self.replicas.len() == 1)
    }

    /// What the cluster knows about labels, ascending and unique, cut to the query's limit.
    ///
    /// # Errors
    /// As [`ReplicatedSource::select`].
    pub async fn labels(
        &self,
        context: &Arc<Context>,
        query: &LabelQuery,
    ) -> Result<LabelAnswer, SourceError> {
        let sets = query.matcher_sets.iter().map(Vec::as_slice);
        let coverage = if query.matcher_sets.is_empty() {
            self.cover_ring()
        } else {
            self.cover(context, sets, query.range)
        };
        let ask =
            |replica: &Arc<dyn Replica>, _: &Ask| replica.labels(context.clone(), query.clone());
        let answers = self.gather(context, coverage, ask).await?;
        let limit = query.limit;
        let joined = off_the_async_threads(move || join_labels(answers, limit)).await?;
        Ok(joined.unwrap_or_else(|| match query.want {
            LabelWant::Series | LabelWant::SeriesPart(_) => LabelAnswer::Series(Vec::new()),
            LabelWant::Names | LabelWant::Values(_) => LabelAnswer::Texts(Vec::new()),
        }))
    }

    /// The exemplars of series, ascending by labels, each series' by time.
    ///
    /// # Errors
    /// As [`ReplicatedSource::select`].
    pub async fn exemplars(
        &self,
        context: &Arc<Context>,
        query: &ExemplarQuery,
    ) -> Result<Vec<SeriesExemplars>, SourceError> {
        let sets = query.matcher_sets.iter().map(Vec::as_slice);
        let coverage = self.cover(context, sets, query.range);
        let ask =
            |replica: &Arc<dyn Replica>, _: &Ask| replica.exemplars(context.clone(), query.clone());
        let answers = self.gather(context, coverage, ask).await?;
        let joined = off_the_async_threads(move || join_exemplars(answers)).await?;
        let count: u64 = joined.iter().map(|series| series.exemplars.len() as u64).sum();
        if count > query.exemplars_max {
            let message = format!("there are more than {} exemplars", query.exemplars_max);
            return Err(SourceError { kind: Kind::Unexecutable, message });
        }
        Ok(joined)
    }

    /// What metrics mean, ascending by metric.
    ///
    /// # Errors
    /// As [`ReplicatedSource::select`].
    pub async fn metadata(
        &self,
        context: &Arc<Context>,
        query: &MetadataQuery,
    ) -> Result<MetadataAnswer, SourceError> {
        let ask =
            |replica: &Arc<dyn Replica>, _: &Ask| replica.metadata(context.clone(), query.clone());
        let answers = self.gather(context, self.cover_ring(), ask).await?;
        Ok(join_metadata(answers))
    }

    pub(crate) fn cover<'a>(
        &self,
        context: &Context,
        matcher_sets: impl IntoIterator<Item = &'a [Matcher]>,
        range: TimeRange,
    ) -> Coverage {
        match partitions_of(matcher_sets, range) {
            Some(partitions) => Coverage::of_partitions(
                &self.topology.placement,
                self.topology.read_consistency,
                self.local,
                &context.tenant,
                &partitions,
            ),
            None => self.cover_ring(),
        }
    }

    fn cover_ring(&self) -> Coverage {
        Coverage::of_ring(&self.topology.placement, self.topology.read_consistency, self.local)
    }

    /// Asks until the coverage is complete or cannot be any more.
    async fn gather<T: Send + 'static>(
        &self,
        context: &Context,
        coverage: Coverage,
        ask: impl Fn(&Arc<dyn Replica>, &Ask) -> Answer<T>,
    ) -> Result<Vec<T>, SourceError> {
        let timeout_ms = match context.timeout_ms {
            0 => self.config.timeout_ms,
            given => u64::from(given).min(self.config.timeout_ms),
        };
        let work = self.gather_without_limit(coverage, ask);
        tokio::time::timeout(Duration::from_millis(timeout_ms), work).await.unwrap_or_else(|_| {
            let message = format!("replicas did not answer within {timeout_ms} ms");
            Err(SourceError { kind: Kind::Timeout, message })
        })
    }

    async fn gather_without_limit<T: Send + 'static>(
        &self,
        mut coverage: Coverage,
        ask: impl Fn(&Arc<dyn Replica>, &Ask) -> Answer<T>,
    ) -> Result<Vec<T>, SourceError> {
        let patience = Duration::from_millis(self.config.speculate_after_ms);
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        let mut out = FuturesUnordered::new();
        coverage.avoid(self.suspects.now());
        loop {
            let asks = coverage.plan().map_err(|too_few| unavailable(too_few, &failures))?;
            if coverage.is_complete() {
                return Ok(answers);
            }
            for next in asks {
                out.push(self.send(next, &ask));
            }
            match tokio::time::timeout(patience, out.next()).await {
                Err(_) => self.suspects.suspect(&coverage.slow(), patience * SUSPECT_FACTOR),
                // Every need that is not met has an ask out, or `plan` would have refused.
                Ok(None) => {
                    return Err(unavailable(Unavailable { required: 1, alive: 0 }, &failures));
                }
                Ok(Some((ask, Ok(answer)))) => {
                    self.suspects.clear(ask.node);
                    coverage.answered(&ask);
                    answers.push(answer);
                }
                Ok(Some((ask, Err(error)))) if another_may_do(error.kind) => {
                    note_failure(&error);
                    coverage.failed(&ask);
                    failures.push(error);
                }
                Ok(Some((_, Err(error)))) => return Err(of_replica(error)),
            }
        }
    }

    fn send<T: Send + 'static>(
        &self,
        next: Ask,
        ask: &impl Fn(&Arc<dyn Replica>, &Ask) -> Answer<T>,
    ) -> Sent<T> {
        let answer = self.replicas.get(&next.node).map(|replica| ask(replica, &next));
        let name = self.topology.members.get(next.node).map(|member| member.name.clone());
        Box::pin(async move {
            let answer = match answer {
                Some(answer) => answer.await,
                None => Err(ReplicaError {
                    replica: name.unwrap_or_default(),
                    kind: Kind::Unavailable,
                    message: "this process has no way to it".to_owned(),
                }),
            };
            (next, answer)
        })
    }
}

/// An ask that is out, and what came of it.
type Sent<T> = Pin<Box<dyn Future<Output = (Ask, Result<T, ReplicaError>)> + Send>>;

/// The failure of the only replica.
fn of_only(error: ReplicaError) -> SourceError {
    if !another_may_do(error.kind) {
        return of_replica(error);
    }
    note_failure(&error);
    unavailable(Unavailable { required: 1, alive: 0 }, &[error])
}

fn note_failure(error: &ReplicaError) {
    let (replica, kind) = (&error.replica, error.kind);
    tracing::warn!(%replica, ?kind, "read failed: {}", error.message);
}

/// What a replica finds wrong with the question.
fn of_replica(error: ReplicaError) -> SourceError {
    SourceError { kind: error.kind, message: error.message }
}

/// Whether the fault is the replica's, so that another replica may answer.
fn another_may_do(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Unavailable | Kind::Timeout | Kind::Corrupt | Kind::Internal | Kind::Canceled
    )
}

pub(crate) fn unavailable(too_few: Unavailable, failures: &[ReplicaError]) -> SourceError {
    let reasons: Vec<String> = failures.iter().take(3).map(ToString::to_string).collect();
    let reasons = reasons.join("; ");
    SourceError {
        kind: Kind::Unavailable,
        message: format!("too few replicas answered: {too_few}: {reasons}"),
    }
}

/// Each replica kept to the bounds; all together may still be beyond them.
fn within(
    bounds: SelectBounds,
    series: Vec<SeriesColumns>,
) -> Result<Vec<SeriesColumns>, SourceError> {
    let samples: u64 = series.iter().map(SeriesColumns::samples).sum();
    let over = if series.len() as u64 > bounds.series_max {
        format!("the selection matches more than {} series", bounds.series_max)
    } else if samples > bounds.samples_max {
        format!("the selection holds more than {} samples", bounds.samples_max)
    } else {
        return Ok(series);
    };
    Err(SourceError { kind: Kind::Unexecutable, message: over })
}

/// Does work that takes long where no async thread waits for it.
pub(crate) async fn off_the_async_threads<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SourceError {
        kind: Kind::Internal,
        message: format!("failed to join the answers of replicas: {error}"),
    })
}

#[cfg(test)]
mod tests;
