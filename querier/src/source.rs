//! Where a querier gets series from: many replicas, or one.

use crate::select::ReplicatedSource;
use model::exemplar::SeriesExemplars;
use model::read::{
    Activity, Estimate, ExemplarQuery, LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery,
    Selection,
};
use model::{Context, DeleteRequest, Kind, Matcher, SeriesColumns, TimeRange};
use promql::SourceError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use wire::replica::{Answer, Replica};

/// A source's answer, to be awaited. Dropping it gives the work up.
pub type SourceAnswer<T> = Pin<Box<dyn Future<Output = Result<T, SourceError>> + Send>>;

/// What a version is asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionAsk {
    /// Which series: all of them have to match.
    pub matchers: Vec<Matcher>,
    /// Which samples of them.
    pub range: TimeRange,
}

/// Answers for a tenant: everything that is stored, or an error that says why not.
pub trait Source: Send + Sync + fmt::Debug {
    /// The series that match and their samples in the range, ascending by labels.
    fn select(
        &self,
        context: Arc<Context>,
        selection: Selection,
    ) -> SourceAnswer<Vec<SeriesColumns>>;
    /// What a selection is likely to return: of all replicas that are asked, together.
    fn estimate(&self, context: Arc<Context>, selection: Selection) -> SourceAnswer<Estimate> {
        let _ = (context, selection);
        Box::pin(async { Ok(Estimate::default()) })
    }
    /// As [`Source::select`], at once and on the calling thread, which may block. `None` from a
    /// source whose answer comes from elsewhere: it is to be awaited.
    fn select_here(
        &self,
        context: &Arc<Context>,
        selection: &Selection,
    ) -> Option<Result<Vec<SeriesColumns>, SourceError>> {
        let _ = (context, selection);
        None
    }
    /// As [`Source::estimate`], as [`Source::select_here`] does it.
    fn estimate_here(
        &self,
        context: &Arc<Context>,
        selection: &Selection,
    ) -> Option<Result<Estimate, SourceError>> {
        let _ = (context, selection);
        None
    }
    /// The version of each: as long as it is the same, every selection of these matchers in this
    /// range gives the same, whichever replicas are asked. 0 is one whose answers must not be kept.
    ///
    /// `Unsupported` where no versions are kept, `Unavailable` if a replica does not tell at once.
    fn versions(&self, context: Arc<Context>, asks: Vec<VersionAsk>) -> SourceAnswer<Vec<u64>> {
        drop((context, asks));
        let message = "no versions are kept here".to_owned();
        let error = SourceError { kind: Kind::Unsupported, message };
        Box::pin(std::future::ready(Err(error)))
    }
    /// Names, values or label sets, ascending and unique.
    fn labels(&self, context: Arc<Context>, query: LabelQuery) -> SourceAnswer<LabelAnswer>;
    /// What metrics mean, ascending by metric.
    fn metadata(&self, context: Arc<Context>, query: MetadataQuery)
    -> SourceAnswer<MetadataAnswer>;
    /// Exemplars of the series that match, ascending by labels, each series' by time.
    fn exemplars(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> SourceAnswer<Vec<SeriesExemplars>>;
    /// What there is of the tenant just now: every series and sample once, however many keep it.
    fn activity(&self, context: Arc<Context>) -> SourceAnswer<Activity> {
        drop(context);
        Box::pin(std::future::ready(Ok(Activity::default())))
    }
    /// How many replicas keep a series.
    fn replication_factor(&self) -> usize {
        1
    }
    /// Deletes samples: no answer shows them when it is done, now and later. The end of the range
    /// is not later than now.
    fn delete(&self, context: Arc<Context>, request: DeleteRequest) -> SourceAnswer<()>;
    /// Asks for deleted bytes to leave the disks soon.
    fn purge(&self, context: Arc<Context>) -> SourceAnswer<()>;
}

/// One replica that holds everything.
#[derive(Clone, Debug)]
pub struct SingleReplica(pub Arc<dyn Replica>);

impl Source for SingleReplica {
    fn select(
        &self,
        context: Arc<Context>,
        selection: Selection,
    ) -> SourceAnswer<Vec<SeriesColumns>> {
        answer(self.0.select(context, selection))
    }

    fn estimate(&self, context: Arc<Context>, selection: Selection) -> SourceAnswer<Estimate> {
        answer(self.0.estimate(context, selection))
    }

    fn versions(&self, context: Arc<Context>, asks: Vec<VersionAsk>) -> SourceAnswer<Vec<u64>> {
        answer(self.0.versions(context, asks.into_iter().map(|ask| ask.range).collect()))
    }

    fn labels(&self, context: Arc<Context>, query: LabelQuery) -> SourceAnswer<LabelAnswer> {
        answer(self.0.labels(context, query))
    }

    fn metadata(
        &self,
        context: Arc<Context>,
        query: MetadataQuery,
    ) -> SourceAnswer<MetadataAnswer> {
        answer(self.0.metadata(context, query))
    }

    fn exemplars(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> SourceAnswer<Vec<SeriesExemplars>> {
        answer(self.0.exemplars(context, query))
    }

    fn activity(&self, context: Arc<Context>) -> SourceAnswer<Activity> {
        answer(self.0.activity(context))
    }

    fn delete(&self, context: Arc<Context>, request: DeleteRequest) -> SourceAnswer<()> {
        let deleted = answer(self.0.delete(context, request));
        Box::pin(async move { deleted.await.map(drop) })
    }

    fn purge(&self, context: Arc<Context>) -> SourceAnswer<()> {
        answer(self.0.purge(context))
    }
}

fn answer<T: 'static>(asked: Answer<T>) -> SourceAnswer<T> {
    Box::pin(async move {
        asked.await.map_err(|error| SourceError { kind: error.kind, message: error.to_string() })
    })
}

/// All replicas of a cluster.
#[derive(Clone, Debug)]
pub struct AllReplicas(pub Arc<ReplicatedSource>);

impl Source for AllReplicas {
    fn select(
        &self,
        context: Arc<Context>,
        selection: Selection,
    ) -> SourceAnswer<Vec<SeriesColumns>> {
        let source = Arc::clone(&self.0);
        Box::pin(async move { source.select(&context, &selection).await })
    }

    fn estimate(&self, context: Arc<Context>, selection: Selection) -> SourceAnswer<Estimate> {
        let source = Arc::clone(&self.0);
        Box::pin(async move { source.estimate(&context, &selection).await })
    }

    fn select_here(
        &self,
        context: &Arc<Context>,
        selection: &Selection,
    ) -> Option<Result<Vec<SeriesColumns>, SourceError>> {
        self.0.select_here(context, selection)
    }

    fn estimate_here(
        &self,
        context: &Arc<Context>,
        selection: &Selection,
    ) -> Option<Result<Estimate, SourceError>> {
        self.0.estimate_here(context, selection)
    }

    fn versions(&self, context: Arc<Context>, asks: Vec<VersionAsk>) -> SourceAnswer<Vec<u64>> {
        let source = Arc::clone(&self.0);
        Box::pin(async move { source.versions(&context, &asks).await })
    }

    fn labels(&self, context: Arc<Context>, query: LabelQuery) -> SourceAnswer<LabelAnswer> {
        let source = Arc::clone(&self.0);
        Box::pin(async move { source.labels(&context, &query).await })
    }

    fn metadata(
        &self,
        context: Arc<Context>,
        query: MetadataQuery,
    ) -> SourceAnswer<MetadataAnswer> {
        let source = Arc::clone(&self.0);
        Box::pin(async move { source.metadata(&context, &query).await })
    }

    fn exemplars(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> SourceAnswer<Vec<SeriesExemplars>> {
        let source = Arc::clone(&self.0);
        Box::pin(async move { source.exemplars(&context, &query).await })
    }

    fn activity(&self, context: Arc<Context>) -> SourceAnswer<Activity> {
        let source = Arc::clone(&self.0);
        Box::pin(async move { source.activity(&context).await })
    }

    fn replication_factor(&self) -> usize {
        self.0.topology.placement.replication_factor()
    }

    fn delete(&self, context: Arc<Context>, request: DeleteRequest) -> SourceAnswer<()> {
        let source = Arc::clone(&self.0);
        Box::pin(async move { source.delete(&context, &request).await })
    }

    fn purge(&self, context: Arc<Context>) -> SourceAnswer<()> {
        let source = Arc::clone(&self.0);
        Box::pin(async move { source.purge(&context).await })
    }
}
