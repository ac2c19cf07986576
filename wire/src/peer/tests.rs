//! Client and server together, over real sockets on loopback.

mod cancel;
mod crowded;

use crate::peer::client::{PeerClient, PeerParts};
use crate::peer::config::{Entropy, PeerConfig, Secret};
use crate::peer::frame::{FRAME_BYTES_MAX, Frame, FrameKind, read_frame, write_frame};
use crate::peer::handshake::{self, Identity};
use crate::peer::message::{Request, Response};
use crate::peer::server::PeerServer;
use crate::replica::{Answer, Replica, ReplicaError};
use cluster::{Member, Roles, Topology, TopologyConfig};
use model::exemplar::SeriesExemplars;
use model::mutation::{Mutation, WriteAnswer, Written};
use model::read::{
    Estimate, ExemplarQuery, LabelAnswer, LabelQuery, LabelWant, MetadataAnswer, MetadataQuery,
    SelectBounds, Selection,
};
use model::{
    Column, Context, DeleteAnswer, DeleteRequest, Exemplar, Kind, LabelSet, Principal, RequestId,
    SeriesColumns, SeriesRef, TenantId, TimeRange, Tombstone,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Answers from what it is asked; a write, and an estimate, wait for a permit of `gate`.
#[derive(Debug)]
struct Echo {
    gate: Arc<Semaphore>,
    samples: usize,
    /// Each write and estimate that is in work has one.
    in_work: Arc<()>,
    written: Arc<AtomicUsize>,
}

impl Echo {
    fn open() -> Self {
        Self::behind(Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)))
    }

    fn behind(gate: Arc<Semaphore>) -> Self {
        Self { gate, samples: 1, in_work: Arc::default(), written: Arc::default() }
    }
}

impl Replica for Echo {
    fn write(&self, mutation: Mutation) -> Answer<WriteAnswer> {
        let (gate, in_work) = (self.gate.clone(), self.in_work.clone());
        let written = self.written.clone();
        Box::pin(async move {
            drop(gate.acquire().await);
            drop(in_work);
            written.fetch_add(1, Ordering::Relaxed);
            let numbers = vec![(0, u32::try_from(mutation.values.len()).unwrap())];
            let generation = mutation.context.request_id.0;
            Ok(WriteAnswer::Written(Written { generation, numbers, refused: Vec::new() }))
        })
    }

    fn select(&self, context: Arc<Context>, selection: Selection) -> Answer<Vec<SeriesColumns>> {
        let labels = LabelSet::from_pairs([("tenant", context.tenant.as_str())]).unwrap();
        let (from, count) = (selection.range.start.0, self.samples);
        Box::pin(async move {
            let timestamps_ms = (from..).take(count).collect();
            let floats = Column { timestamps_ms, values: vec![0.5; count], ..Column::default() };
            Ok(vec![SeriesColumns { labels, floats, ..SeriesColumns::default() }])
        })
    }

    fn labels(&self, context: Arc<Context>, _: LabelQuery) -> Answer<LabelAnswer> {
        let who = format!("{:?}", context.principal);
        Box::pin(async move { Ok(LabelAnswer::Texts(vec![who.into()])) })
    }

    fn estimate(&self, _: Arc<Context>, selection: Selection) -> Answer<Estimate> {
        let samples = u64::from(selection.shard.count);
        let (gate, in_work) = (self.gate.clone(), self.in_work.clone());
        Box::pin(async move {
            drop(gate.acquire().await);
            drop(in_work);
            Ok(Estimate { partitions: 1, series: 2, samples })
        })
    }

    fn metadata(&self, _: Arc<Context>, _: MetadataQuery) -> Answer<MetadataAnswer> {
        let error = ReplicaError {
            replica: "n0".into(),
            kind: Kind::Corrupt,
            message: "block 7 does not match its checksum".into(),
        };
        Box::pin(async move { Err(error) })
    }

    fn exemplars(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> Answer<Vec<SeriesExemplars>> {
        let labels = LabelSet::from_pairs([("tenant", context.tenant.as_str())]).unwrap();
        let (timestamp_ms, value) = (query.range.start.0, 0.5);
        let exemplars = vec![Exemplar { timestamp_ms, value, labels: LabelSet::default() }];
        Box::pin(async move { Ok(vec![SeriesExemplars { labels, exemplars }]) })
    }

    fn versions(&self, context: Arc<Context>, ranges: Vec<TimeRange>) -> Answer<Vec<u64>> {
        assert_eq!(context.tenant.as_str(), "t");
        let ends = ranges.iter().map(|range| range.end.0.unsigned_abs()).collect();
        Box::pin(async move { Ok(ends) })
    }

    fn delete(&self, _: Arc<Context>, request: DeleteRequest) -> Answer<DeleteAnswer> {
        Box::pin(async move { Ok(DeleteAnswer { revision_max: request.revision_max + 1 }) })
    }

    fn tombstones(&self, context: Arc<Context>) -> Answer<Vec<Tombstone>> {
        let stone = Tombstone {
            tenant: context.tenant.clone(),
            matchers: vec![],
            range: TimeRange::ALL,
            revision_max: 0,
            created: model::TimestampMs(0),
        };
        Box::pin(async move { Ok(vec![stone]) })
    }

    fn purge(&self, _: Arc<Context>) -> Answer<()> {
        Box::pin(async { Ok(()) })
    }
}

fn context(timeout_ms: u32) -> Arc<Context> {
    Arc::new(Context {
        tenant: TenantId::parse("t").unwrap(),
        principal: Principal::Named("ada".into()),
        request_id: RequestId(0xfeed),
        timeout_ms,
        now: model::TimestampMs(0),
        ring_version: 3,
    })
}

fn mutation(timeout_ms: u32) -> Mutation {
    let mut mutation = Mutation::empty(context(timeout_ms));
    let labels = LabelSet::from_pairs([("__name__", "up")]).unwrap();
    mutation.push(SeriesRef::Labels(labels), [(1, 1.0), (2, 2.0)]);
    mutation
}

fn selection() -> Selection {
    Selection {
        matchers: Vec::new(),
        range: TimeRange { start: model::TimestampMs(5), end: model::TimestampMs(9) },
        days: None,
        shard: model::QueryShard::ALL,
        bounds: SelectBounds::NONE,
        wanted: model::read::Wanted::ALL,
    }
}

fn parts(node: &str, secret: &str, address: SocketAddr) -> PeerParts {
    let member = |(name, address): (&str, String)| Member {
        name: name.into(),
        address,
        roles: Roles::ALL,
        rack: String::new(),
    };
    let members = [("n0", address.to_string()), ("n1", "127.0.0.1:1".into())].map(member).to_vec();
    let topology = TopologyConfig { members, ..TopologyConfig::alone("") };
    let mut config = PeerConfig::new("c", node, Secret::new(secret));
    (config.backoff_max_ms, config.in_flight_max) = (50, 8);
    PeerParts {
        config: Arc::new(config),
        topology: Arc::new(Topology::new(topology).unwrap()),
        entropy: Arc::new(Entropy::new([node.len().try_into().unwrap(); 32])),
    }
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn serve(listener: TcpListener, replica: Echo) -> Running {
    let parts = parts("n0", "s", listener.local_addr().unwrap());
    serve_as(parts, listener, replica)
}

fn serve_as(parts: PeerParts, listener: TcpListener, replica: Echo) -> Running {
    let server = PeerServer::new(parts, Arc::new(replica));
    let stop = CancellationToken::new();
    Running { task: tokio::spawn(server.run(listener, stop.clone())), stop }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn client(secret: &str, address: SocketAddr) -> Arc<PeerClient> {
    client_as(parts("n1", secret, address))
}

fn client_as(parts: PeerParts) -> Arc<PeerClient> {
    let member = parts.topology.members.as_slice()[0].clone();
    PeerClient::start(parts, member)
}

/// A connection on which anything may be said.
async fn connect(address: SocketAddr) -> TcpStream {
    let PeerParts { config, topology, entropy } = parts("n1", "s", address);
    let who =
        Identity { config: &config, members: &topology.members, topology_hash: topology.hash() };
    let mut stream = TcpStream::connect(address).await.unwrap();
    handshake::connect(&mut stream, who, "n0", entropy.nonce()).await.unwrap();
    stream
}

async fn write_until_up(client: &PeerClient) -> WriteAnswer {
    for _ in 0..1_000 {
        match client.write(mutation(5_000)).await {
            Ok(answer) => return answer,
            Err(error) => assert_eq!(error.kind, Kind::Unavailable, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never came up");
}

#[tokio::test]
async fn every_question_reaches_the_replica_with_its_context_and_its_answer_comes_back() {
    let (listener, address) = listen().await;
    let server = serve(listener, Echo::open());
    let client = client("s", address);
    let written = Written { generation: 0xfeed, numbers: vec![(0, 2)], refused: Vec::new() };
    assert_eq!(client.write(mutation(0)).await, Ok(WriteAnswer::Written(written)));
    let series = client.select(context(0), selection()).await.unwrap();
    assert_eq!(series[0].labels.value("tenant"), "t");
    assert_eq!(series[0].floats.timestamps_ms, [5]);
    let query = LabelQuery {
        want: LabelWant::Names,
        matcher_sets: Vec::new(),
        range: TimeRange::ALL,
        limit: 0,
        tombstones_max: u64::MAX,
    };
    let answer = client.labels(context(0), query).await.unwrap();
    assert_eq!(answer, LabelAnswer::Texts(vec!["Named(\"ada\")".into()]));
    let query = ExemplarQuery {
        matcher_sets: vec![],
        range: TimeRange::ALL,
        exemplars_max: u64::MAX,
        tombstones_max: u64::MAX,
    };
    let estimate = client.estimate(context(0), selection()).await.unwrap();
    assert_eq!(estimate, Estimate { partitions: 1, series: 2, samples: 1 });
    let series = client.exemplars(context(0), query).await.unwrap();
    assert_eq!((series.len(), series[0].labels.get("tenant").unwrap().as_ref()), (1, "t"));
    assert_eq!(series[0].exemplars[0].timestamp_ms, TimeRange::ALL.start.0);
    let range = |end| TimeRange { start: model::TimestampMs(0), end: model::TimestampMs(end) };
    let versions = client.versions(context(0), vec![range(7), range(9)]).await.unwrap();
    assert_eq!(versions, [7, 9]);
    let request = DeleteRequest { matcher_sets: vec![], range: TimeRange::ALL, revision_max: 4 };
    let deleted = client.delete(context(0), request).await.unwrap();
    assert_eq!(deleted, DeleteAnswer { revision_max: 5 });
    let stones = client.tombstones(context(0)).await.unwrap();
    assert_eq!(stones.iter().map(|stone| stone.tenant.as_str()).collect::<Vec<_>>(), ["t"]);
    assert_eq!(client.purge(context(0)).await, Ok(()));
    let error = client.metadata(context(0), MetadataQuery::default()).await.unwrap_err();
    assert_eq!((error.replica.as_str(), error.kind), ("n0", Kind::Corrupt));
    assert!(error.message.contains("block 7"));
    assert!(client.is_up());
    client.close().await;
    server.end().await;
}

#[tokio::test]
async fn a_large_answer_comes_in_parts_and_arrives_whole() {
    let (listener, address) = listen().await;
    let server = serve(listener, Echo { samples: 1_000_000, ..Echo::open() });
    let client = client("s", address);
    let series = client.select(context(0), selection()).await.unwrap();
    assert_eq!(series[0].floats.len(), 1_000_000);
    client.close().await;
    server.end().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_a_fault_of_ours_and_of_no_asker() {
    let (listener, address) = listen().await;
    let server = serve(listener, Echo::open());
    let mut stream = connect(address).await;
    let ask = Frame { kind: FrameKind::Request, number: 1, payload: vec![0xff; 3] };
    write_frame(&mut stream, &ask).await.unwrap();
    let answer = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
    let Response::Failed(kind, message) = Response::decode(&[answer.payload]).unwrap() else {
        panic!("nobody can answer that");
    };
    assert_eq!(kind, Kind::Internal, "{message}");
    drop(stream);
    server.end().await;
}

#[tokio::test]
async fn many_requests_at_once_are_all_answered_though_only_eight_are_out() {
    let (listener, address) = listen().await;
    let server = serve(listener, Echo::open());
    let client = client("s", address);
    let writes: Vec<_> = (0..200).map(|_| tokio::spawn(client.write(mutation(0)))).collect();
    for write in writes {
        assert!(write.await.unwrap().is_ok());
    }
    client.close().await;
    server.end().await;
}

#[tokio::test]
async fn a_replica_that_does_not_answer_is_a_timeout_and_the_next_request_goes_through() {
    let gate = Arc::new(Semaphore::new(0));
    let (listener, address) = listen().await;
    let server = serve(listener, Echo::behind(gate.clone()));
    let client = client("s", address);
    let error = client.write(mutation(30)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Timeout);
    gate.add_permits(1);
    assert!(client.write(mutation(0)).await.is_ok());
    client.close().await;
    server.end().await;
}

#[tokio::test]
async fn while_the_peer_is_away_requests_fail_at_once_and_afterwards_they_go_through_again() {
    let (listener, address) = listen().await;
    let server = serve(listener, Echo::open());
    let client = client("s", address);
    write_until_up(&client).await;
    server.end().await;
    let error = client.write(mutation(0)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
    let server = serve(TcpListener::bind(address).await.unwrap(), Echo::open());
    write_until_up(&client).await;
    client.close().await;
    server.end().await;
}

#[tokio::test]
async fn a_server_that_stops_answers_what_is_in_work_first() {
    let gate = Arc::new(Semaphore::new(0));
    let (listener, address) = listen().await;
    let server = serve(listener, Echo::behind(gate.clone()));
    let client = client("s", address);
    // The other lane tells when the server is there; the write is sent before its answer is asked.
    assert!(client.select(context(0), selection()).await.is_ok());
    let write = tokio::spawn(client.write(mutation(0)));
    while gate.available_permits() == 0 && !write.is_finished() {
        tokio::task::yield_now().await;
        if client.select(context(0), selection()).await.is_ok() {
            break;
        }
    }
    gate.add_permits(1);
    assert!(write.await.unwrap().is_ok());
    server.end().await;
    client.close().await;
}

#[tokio::test]
async fn a_wrong_secret_is_named_in_the_error_of_a_request() {
    let (listener, address) = listen().await;
    let server = serve(listener, Echo::open());
    let client = client("other", address);
    let first = client.write(mutation(0)).await.unwrap_err();
    assert_eq!(first.kind, Kind::Unavailable);
    assert!(first.message.contains("cluster.secret differs"), "{first}");
    client.close().await;
    server.end().await;
}

#[tokio::test]
async fn junk_from_strangers_and_more_of_them_than_fit_do_not_stop_a_peer() {
    let (listener, address) = listen().await;
    let server = serve(listener, Echo::open());
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 9_000], &[0; 64], b""] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may hang up while we still talk.
        let _ = stream.write_all(junk).await;
        let _ = stream.shutdown().await;
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        assert!(said.len() < 4_096, "a stranger is told little");
    }
    let client = client("s", address);
    write_until_up(&client).await;
    client.close().await;
    server.end().await;
}

#[tokio::test]
async fn a_fourth_connection_of_one_peer_is_refused_by_name() {
    let (listener, address) = listen().await;
    let server = serve(listener, Echo::open());
    let first = client("s", address);
    assert!(first.write(mutation(0)).await.is_ok());
    assert!(first.select(context(0), selection()).await.is_ok());
    let second = client("s", address);
    let errors =
        [second.write(mutation(0)).await.err(), second.select(context(0), selection()).await.err()];
    let refused: Vec<_> = errors.into_iter().flatten().collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].message.contains("has 3 connections already"), "{}", refused[0]);
    first.close().await;
    second.close().await;
    server.end().await;
}

#[tokio::test]
async fn two_processes_under_one_name_are_told_apart_by_their_node_ids() {
    let (listener, address) = listen().await;
    let server = serve(listener, Echo::open());
    let with_id = |id: &str| {
        let mut parts = parts("n1", "s", address);
        let mut config = (*parts.config).clone();
        config.node_id = id.into();
        parts.config = Arc::new(config);
        let member = parts.topology.members.as_slice()[0].clone();
        PeerClient::start(parts, member)
    };
    let first = with_id("aa");
    write_until_up(&first).await;
    let second = with_id("bb");
    let error = second.write(mutation(0)).await.unwrap_err();
    assert!(error.message.contains("two processes have one name"), "{error}");
    first.close().await;
    write_until_up(&second).await;
    second.close().await;
    server.end().await;
}

#[tokio::test]
async fn where_any_name_is_let_in_who_has_left_is_forgotten() {
    let (listener, address) = listen().await;
    let named = |node: &str| {
        let mut parts = parts("n0", "s", address);
        let mut config = (*parts.config).clone();
        (config.node, config.takes_any_name) = (node.into(), true);
        parts.config = Arc::new(config);
        parts
    };
    let server = PeerServer::new(named("n0"), Arc::new(Echo::open()));
    let stop = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&server).run(listener, stop.clone()));
    for life in 0..5 {
        let parts = named(&format!("guest-{life}"));
        let member = parts.topology.members.as_slice()[0].clone();
        let guest = PeerClient::start(parts, member);
        write_until_up(&guest).await;
        assert!(server.known().contains(&format!("guest-{life}")));
        guest.close().await;
    }
    stop.cancel();
    task.await.unwrap();
    assert_eq!(server.known(), Vec::<String>::new());
}
