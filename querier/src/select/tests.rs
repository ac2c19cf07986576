use super::*;
use cluster::{Consistency, Member, Roles, TopologyConfig};
use model::mutation::{Mutation, WriteAnswer};
use model::{
    Column, DeleteAnswer, DeleteRequest, LabelSet, METRIC_NAME, Principal, RequestId, TenantId,
    TimestampMs, Tombstone,
};
use std::sync::atomic::{AtomicU32, Ordering};

/// Answers with one sample of its own, an error, or never.
#[derive(Debug)]
struct Scripted {
    reply: Result<f64, Kind>,
    silent: bool,
    /// How long it needs for a selection.
    select_ms: u64,
    asked: AtomicU32,
}

impl Scripted {
    fn new(reply: Result<f64, Kind>) -> Arc<Self> {
        Arc::new(Self { reply, silent: false, select_ms: 0, asked: AtomicU32::new(0) })
    }

    fn silent() -> Arc<Self> {
        Arc::new(Self { reply: Ok(0.0), silent: true, select_ms: 0, asked: AtomicU32::new(0) })
    }

    fn late(select_ms: u64) -> Arc<Self> {
        Arc::new(Self { reply: Ok(1.0), silent: false, select_ms, asked: AtomicU32::new(0) })
    }

    fn answer<T: Send + 'static>(&self, make: impl FnOnce(f64) -> T) -> Answer<T> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.silent {
            return Box::pin(std::future::pending());
        }
        let error = |kind| ReplicaError { replica: "r".into(), kind, message: "told to".into() };
        let answer = self.reply.map(make).map_err(error);
        Box::pin(async move { answer })
    }
}

impl Replica for Scripted {
    fn write(&self, _: Mutation) -> Answer<WriteAnswer> {
        self.answer(|_| WriteAnswer::NeedLabels)
    }
    fn select(&self, _: Arc<Context>, selection: Selection) -> Answer<Vec<SeriesColumns>> {
        let needs = Duration::from_millis(self.select_ms);
        let answer = self.answer(|value| {
            let mut labels = LabelSet::from_pairs([(METRIC_NAME, "up")]).unwrap();
            if let Some(names) = selection.wanted.labels {
                labels.retain(|name| names.iter().any(|wanted| **wanted == *name));
            }
            let floats =
                Column { timestamps_ms: vec![1].into(), values: vec![value], ..Column::default() };
            vec![SeriesColumns { labels, floats, ..SeriesColumns::default() }]
        });
        Box::pin(async move {
            tokio::time::sleep(needs).await;
            answer.await
        })
    }
    fn labels(&self, _: Arc<Context>, _: LabelQuery) -> Answer<LabelAnswer> {
        self.answer(|value| LabelAnswer::Texts(vec![value.to_string().into()]))
    }
    fn metadata(&self, _: Arc<Context>, _: MetadataQuery) -> Answer<MetadataAnswer> {
        self.answer(|_| Vec::new())
    }
    fn exemplars(
        &self,
        _: Arc<Context>,
        _: model::read::ExemplarQuery,
    ) -> Answer<Vec<model::exemplar::SeriesExemplars>> {
        unreachable!("nobody reads exemplars here")
    }

    fn versions(&self, _: Arc<Context>, ranges: Vec<TimeRange>) -> Answer<Vec<u64>> {
        self.answer(|value| vec![value.to_bits(); ranges.len()])
    }
    fn delete(&self, _: Arc<Context>, _: DeleteRequest) -> Answer<DeleteAnswer> {
        unreachable!("nobody deletes here")
    }
    fn tombstones(&self, _: Arc<Context>) -> Answer<Vec<Tombstone>> {
        unreachable!("nobody asks here")
    }
    fn purge(&self, _: Arc<Context>) -> Answer<()> {
        unreachable!("nobody deletes here")
    }
}

fn source(replicas: &[Arc<Scripted>]) -> Arc<ReplicatedSource> {
    let member = |(i, _): (usize, &Arc<Scripted>)| Member {
        name: format!("n{i}"),
        address: format!("127.0.0.1:{}", 1000 + i),
        roles: Roles::ALL,
        rack: String::new(),
    };
    let topology = Topology::new(TopologyConfig {
        members: replicas.iter().enumerate().map(member).collect(),
        replication_factor: replicas.len(),
        write_consistency: Consistency::Quorum,
        read_consistency: Consistency::Quorum,
    });
    let by_node = (0..).map(NodeIndex).zip(replicas.iter().map(|r| r.clone() as Arc<dyn Replica>));
    let config = ReadConfig { speculate_after_ms: 10, timeout_ms: 5_000 };
    let topology = Arc::new(topology.unwrap());
    Arc::new(ReplicatedSource::new(topology, by_node.collect(), None, config))
}

fn context(timeout_ms: u32) -> Arc<Context> {
    Arc::new(Context {
        tenant: TenantId::parse("t").unwrap(),
        principal: Principal::Anonymous,
        request_id: RequestId(1),
        timeout_ms,
        now: model::TimestampMs(0),
        ring_version: 0,
    })
}

fn selection() -> Selection {
    Selection {
        matchers: vec![Matcher::equal(METRIC_NAME, "up")],
        range: TimeRange { start: TimestampMs(0), end: TimestampMs(10) },
        days: None,
        shard: model::QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: Wanted::ALL,
    }
}

fn values(answer: Result<Vec<SeriesColumns>, SourceError>) -> Vec<f64> {
    answer.unwrap().into_iter().flat_map(|s| s.floats.values).collect()
}

#[tokio::test]
async fn what_is_joined_is_asked_for_with_all_labels_and_nothing_more() {
    let source = source(&[Scripted::new(Ok(1.0)), Scripted::new(Ok(1.0))]);
    let wanted = Wanted { presence: true, labels: Some(Vec::new()), ..Wanted::ALL };
    let answer = source.select(&context(0), &Selection { wanted, ..selection() }).await.unwrap();
    assert_eq!(answer[0].labels.metric_name(), "up");
}

#[tokio::test]
async fn a_dead_replica_is_replaced_and_two_dead_ones_are_503() {
    let dead = || Scripted::new(Err(Kind::Unavailable));
    for position in 0..3 {
        let mut replicas = vec![Scripted::new(Ok(1.0)), Scripted::new(Ok(2.0))];
        replicas.insert(position, dead());
        let answer = source(&replicas).select(&context(0), &selection()).await;
        assert_eq!(values(answer), [2.0], "dead at {position}");
    }
    let two_dead = source(&[dead(), Scripted::new(Ok(1.0)), dead()]);
    let error = two_dead.select(&context(0), &selection()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    let query = LabelQuery {
        want: LabelWant::Names,
        matcher_sets: Vec::new(),
        range: TimeRange::ALL,
        limit: 0,
        tombstones_max: u64::MAX,
    };
    let error = two_dead.labels(&context(0), &query).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    let error = two_dead.metadata(&context(0), &MetadataQuery::default()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
}

#[tokio::test]
async fn a_silent_replica_is_doubled_and_two_silent_ones_are_a_timeout() {
    let one = source(&[Scripted::silent(), Scripted::new(Ok(1.0)), Scripted::new(Ok(2.0))]);
    assert_eq!(values(one.select(&context(0), &selection()).await), [2.0]);
    let two = source(&[Scripted::silent(), Scripted::new(Ok(1.0)), Scripted::silent()]);
    let error = two.select(&context(50), &selection()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Timeout);
}

#[tokio::test]
async fn a_bad_question_is_told_at_once_and_asked_of_nobody_else() {
    let replicas = [0; 3].map(|_| Scripted::new(Err(Kind::Unexecutable)));
    let error = source(&replicas).select(&context(0), &selection()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unexecutable);
    let asked: u32 = replicas.iter().map(|r| r.asked.load(Ordering::Relaxed)).sum();
    assert_eq!(asked, 2, "a quorum was asked, and nobody after the answer");
}

#[tokio::test]
async fn a_version_is_of_all_replicas_and_none_without_one_of_them() {
    let versions = async |replies: [Result<f64, Kind>; 3]| {
        let asks = [TimeRange { start: TimestampMs(0), end: TimestampMs(10) }; 2]
            .map(|range| crate::VersionAsk { matchers: selection().matchers, range });
        source(&replies.map(Scripted::new)).versions(&context(0), &asks).await
    };
    let before = versions([Ok(1.0), Ok(2.0), Ok(3.0)]).await.unwrap();
    assert!(before.len() == 2 && !before.contains(&0));
    assert_eq!(versions([Ok(1.0), Ok(2.0), Ok(3.0)]).await.unwrap(), before);
    for changed in [[4.0, 2.0, 3.0], [1.0, 4.0, 3.0], [1.0, 2.0, 4.0], [2.0, 1.0, 3.0]] {
        let after = versions(changed.map(Ok)).await.unwrap();
        assert!(after[0] != before[0] && after[1] != before[1], "{changed:?}");
    }
    assert_eq!(versions([Ok(1.0), Ok(0.0), Ok(3.0)]).await.unwrap(), [0, 0], "0 has none");
    let error = versions([Ok(1.0), Ok(2.0), Err(Kind::Unavailable)]).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_long_for_a_version() {
    let source = source(&[Scripted::new(Ok(1.0)), Scripted::new(Ok(1.0)), Scripted::silent()]);
    let began = tokio::time::Instant::now();
    let range = TimeRange { start: TimestampMs(0), end: TimestampMs(10) };
    let ask = crate::VersionAsk { matchers: selection().matchers, range };
    let error = source.versions(&context(0), &[ask]).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(began.elapsed() <= Duration::from_millis(51));
}

#[tokio::test]
async fn bounds_hold_for_all_replicas_together() {
    let source = source(&[Scripted::new(Ok(1.0))]);
    let bounds = SelectBounds { series_max: 0, samples_max: 9, ..SelectBounds::NONE };
    let selection = Selection { bounds, ..selection() };
    let error = source.select(&context(0), &selection).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unexecutable);
}

/// The versions of what [`selection`] reads.
async fn versions(source: &ReplicatedSource) -> Result<Vec<u64>, SourceError> {
    let Selection { matchers, range, .. } = selection();
    source.versions(&context(0), &[crate::source::VersionAsk { matchers, range }]).await
}

#[tokio::test(start_paused = true)]
async fn replicas_that_are_slow_and_answer_tell_their_versions_right_after() {
    for count in [1, 3] {
        // Longer than the patience of a read; those that are asked first answer before another one does.
        let replicas: Vec<Arc<Scripted>> = (0..count).map(|_| Scripted::late(15)).collect();
        let source = source(&replicas);
        assert_eq!(source.select(&context(0), &selection()).await.unwrap().len(), 1);
        assert!(versions(&source).await.is_ok(), "{count}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_only_replica_tells_its_versions_although_it_is_slow_to_read() {
    let source = source(&[Scripted::late(150)]);
    let error = source.select(&context(100), &selection()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Timeout);
    assert_eq!(source.suspects.now().len(), 1);
    assert!(versions(&source).await.is_ok());
}
