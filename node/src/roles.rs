//! Puts the parts of each role together: one role, or all of them in one process.
//!
//! Who keeps data is a table (`cluster::Topology`). A replica in this process is called in memory,
//! one in another process through `wire::peer`; distributor and querier cannot tell the difference.
//! Alone, the table has one line and no socket is opened.
//!
//! Not here: processes over a database (`roles/database.rs`).
//!
//! # Invariants
//! - Whatever was started is ended, in the order: own metrics, peers, replica. So the replica's
//!   flush comes last and sees everything that was accepted.

pub(crate) mod database;

use crate::config::{Config, Role, Storage};
use crate::data_dir::{self, DataDir};
use crate::parts::{random_bytes, random_u64};
use crate::places::OverDatabase;
use crate::routes::{Keeper, Peers};
use crate::self_metrics::SelfMetrics;
use crate::{machine, operators};
use axum::Router;
use cluster::{Layout, NodeIndex, Topology, TopologyConfig};
use distributor::Distributor;
use guard::LimitTable;
use ingester::{Embedded, EmbeddedParts, Exchange};
use model::Clock;
use prometheus::Registry;
use querier::{AllReplicas, Querier, ReplicatedSource};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::peer::{Entropy, PeerClient, PeerConfig, PeerParts, PeerServer, Secret};
use wire::replica::Replica;

/// Why the roles cannot be put together, or not be ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Two parts have a metric of the same name.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The operating system gives no chance.
    #[error("no random bits from the operating system: {0}")]
    Random(io::Error),
    /// The layout is not one; `config check` would have said so.
    #[error("cluster: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Topology(Vec<cluster::Fault>),
    /// Nobody can listen there for peers.
    #[error("cannot listen for peers on {address} (cluster.listen): {source}")]
    Listen { address: SocketAddr, source: io::Error },
    /// The replica does not start, or does not end well.
    #[error("ingester: {0}")]
    Ingester(#[from] ingester::Error),
    /// What is in the data directory does not fit the layout, or that cannot be kept.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The store's directory cannot be used.
    #[error("store: {0}")]
    Store(#[from] store::Error),
    /// A task of ours panicked.
    #[error("a task died: {0}")]
    Died(tokio::task::JoinError),
    /// The database cannot be used.
    #[error("cassandra: {0}")]
    Cassandra(#[from] crate::cassandra::Error),
    /// The distributor does not start.
    #[error("distributor: {0}")]
    Distributor(#[from] distributor::Error),
}

/// The running roles of this process.
#[derive(Debug)]
pub(crate) struct Roles {
    router: Router,
    ingester: Option<Arc<Embedded>>,
    /// Of a process over a database instead.
    over: Option<OverDatabase>,
    peers: BTreeMap<NodeIndex, Arc<PeerClient>>,
    peer_server: Option<(CancellationToken, JoinHandle<()>)>,
    self_metrics: Option<JoinHandle<()>>,
    /// Learns from the peers what is deleted.
    exchange: Option<JoinHandle<()>>,
    topology: Arc<Topology>,
}

impl Roles {
    /// Opens what is stored and starts every role that the configuration names.
    pub(crate) async fn start(
        config: &Config,
        data_dir: &DataDir,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, Error> {
        let assembly = Assembly::new(config, data_dir, clock, registry)?;
        if config.storage == Storage::Cassandra {
            return assembly.over_database().await;
        }
        let ingester = match config.has(Role::Ingester) {
            true => Some(assembly.ingester().await?),
            false => None,
        };
        let peers = assembly.peers()?;
        let peer_server = match &ingester {
            Some(ingester) => assembly.peer_server(ingester).await?,
            None => None,
        };
        let mut replicas: BTreeMap<NodeIndex, Arc<dyn Replica>> = BTreeMap::new();
        for (node, client) in &peers {
            replicas.insert(*node, Arc::clone(client) as Arc<dyn Replica>);
        }
        if let Some(ingester) = &ingester {
            replicas.insert(assembly.local, Arc::clone(ingester) as Arc<dyn Replica>);
        }
        let keeper = ingester.clone().map(Keeper::Embedded);
        let (router, distributor) = assembly.router(replicas, keeper)?;
        let exchange = ingester.as_ref().filter(|_| !peers.is_empty()).map(|ingester| {
            let clients = peers.values().map(|client| Arc::clone(client) as Arc<dyn Replica>);
            tokio::spawn(Exchange::new(Arc::clone(ingester), clients.collect()).run())
        });
        let self_metrics = config.self_metrics.then(|| assembly.self_metrics(distributor).start());
        let topology = assembly.topology;
        let over = None;
        Ok(Self { router, ingester, over, peers, peer_server, self_metrics, exchange, topology })
    }

    /// The routes of all roles.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Which peers can be reached, for readiness.
    pub(crate) fn peers(&self) -> Peers {
        if let Some(over) = &self.over {
            return Peers::over_database(over.fleet.clone());
        }
        let clients = self.peers.values().cloned().collect();
        Peers::new(&self.topology, clients)
    }

    /// What the pages for operators tell about.
    pub(crate) fn told(&self, config: &Config, clock: Arc<dyn Clock>) -> operators::Parts {
        operators::Parts {
            topology: Arc::clone(&self.topology),
            peers: self.peers.clone(),
            config: config.clone(),
            started: clock.now(),
            clock,
        }
    }

    /// Ends the roles: what was accepted is on disk afterwards.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        for task in [self.self_metrics, self.exchange].into_iter().flatten() {
            task.abort();
            // Aborted is what we asked for.
            let _ = task.await;
        }
        if let Some(over) = self.over {
            over.stop().await;
        }
        if let Some((stop, task)) = self.peer_server {
            stop.cancel();
            if let Err(error) = task.await {
                tracing::error!(%error, "the listener for peers died");
            }
        }
        for client in self.peers.values() {
            client.close().await;
        }
        if let Some(ingester) = self.ingester {
            ingester.shutdown().await?;
        }
        Ok(())
    }
}

/// What every part is made of.
struct Assembly<'a> {
    config: &'a Config,
    data_dir: &'a DataDir,
    clock: Arc<dyn Clock>,
    registry: &'a Registry,
    limits: Arc<LimitTable>,
    topology: Arc<Topology>,
    /// This process in the topology.
    local: NodeIndex,
    /// How peers talk.
    peer_parts: PeerParts,
}

impl<'a> Assembly<'a> {
    fn new(
        config: &'a Config,
        data_dir: &'a DataDir,
        clock: Arc<dyn Clock>,
        registry: &'a Registry,
    ) -> Result<Self, Error> {
        let settings = &config.cluster;
        let alone = settings.members.is_empty();
        let name = if alone { data_dir.node_id() } else { &settings.node };
        // Processes over a database have the same, whatever their names.
        let name = if config.storage == Storage::Cassandra { "cassandra" } else { name };
        let layout = if alone { TopologyConfig::alone(name) } else { config.topology() };
        let topology = Arc::new(Topology::new(layout).map_err(Error::Topology)?);
        let local = topology.members.find(name).unwrap_or(NodeIndex(0));
        let secret = Secret::new(&settings.secret);
        let mut peer_config = PeerConfig::new(&settings.name, name, secret);
        peer_config.node_id = data_dir.node_id().to_owned();
        let peer_parts = PeerParts {
            config: Arc::new(peer_config),
            topology: Arc::clone(&topology),
            entropy: Arc::new(Entropy::new(random_bytes().map_err(Error::Random)?)),
        };
        let limits = Arc::new(config.limit_table());
        Ok(Self { config, data_dir, clock, registry, limits, topology, local, peer_parts })
    }

    /// The routes of this process's roles, and the distributor.
    fn router(
        &self,
        replicas: BTreeMap<NodeIndex, Arc<dyn Replica>>,
        keeper: Option<Keeper>,
    ) -> Result<(Router, Distributor), Error> {
        // Every role writes its own metrics, so every process can fan out; it holds no state.
        let distributor = self.distributor(replicas.clone())?;
        let mut router = Router::new();
        if self.config.has(Role::Distributor) {
            router = router.merge(distributor::router(distributor.clone()));
            let (limits, tenancy) = (Arc::clone(&self.limits), self.config.tenancy.clone());
            router = router.merge(crate::gates::router(distributor.clone(), limits, tenancy));
        }
        let local = keeper.is_some().then_some(self.local);
        if let Some(keeper) = keeper {
            router = router.merge(crate::routes::ingester_router(keeper));
        }
        if self.config.has(Role::Querier) {
            router = router.merge(self.querier(replicas, local)?.router());
        }
        Ok((router, distributor))
    }

    /// Opens the replica. Replay takes its time, so it runs off the async threads.
    async fn ingester(&self) -> Result<Arc<Embedded>, Error> {
        let disk = store::disk::FileDisk::open(self.data_dir.path().join("store"))?;
        let parts = EmbeddedParts {
            name: self.peer_parts.config.node.clone(),
            store: store::engine::Parts {
                disk: Arc::new(disk),
                cluster_name: self.config.cluster.name.clone(),
                generation_seed: random_u64().map_err(Error::Random)?,
            },
            clock: Arc::clone(&self.clock),
            limits: Arc::clone(&self.limits),
            share: Arc::clone(&self.topology) as Arc<dyn ingester::SeriesShare>,
            registry: self.registry.clone(),
        };
        let began_ns = self.clock.monotonic_ns();
        allow_open_files();
        let config = self.ingester_config();
        let open = move || Embedded::open(parts, &config);
        let (ingester, report) = tokio::task::spawn_blocking(open).await.map_err(Error::Died)??;
        let millis = self.clock.monotonic_ns().saturating_sub(began_ns) / 1_000_000;
        tracing::info!(
            series = report.series,
            samples = report.samples,
            sstables = report.sstables,
            millis,
            "store opened"
        );
        ingester::embedded::say_damage(&report, None);
        let layout = Layout::of(&self.topology, self.local);
        let has_data = holds_any(&report) || !ingester.tenants().is_empty();
        let accepted = &self.config.cluster.accept_layout;
        if let Err(error) = self.data_dir.keep_layout(&layout, has_data, accepted) {
            ingester.shutdown().await?;
            return Err(error.into());
        }
        Ok(ingester)
    }

    /// The settings of what keeps data.
    fn ingester_config(&self) -> ingester::Config {
        let cache_bytes = self.config.store.cache_bytes;
        let mut config = ingester::Config::default();
        config.store.cache_bytes_max = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
        config.compaction_bytes_per_second = self.config.store.compaction_throughput;
        let cycle_ms = self.config.store.scrub_cycle.as_millis();
        config.scrub_cycle_ms = u64::try_from(cycle_ms).unwrap_or(u64::MAX);
        let reserve = self.config.disk.reserve;
        config.store.disk_reserve_bytes = (reserve > 0).then_some(reserve);
        config.tenants_max = self.config.write.tenants_max;
        config.store.compaction = self.config.compaction.clone();
        config
    }

    /// A client for each ingester but ourselves.
    fn peers(&self) -> Result<BTreeMap<NodeIndex, Arc<PeerClient>>, Error> {
        let others = self.topology.members.ingesters().filter(|(node, _)| *node != self.local);
        Ok(others
            .map(|(node, member)| {
                (node, PeerClient::start(self.peer_parts.clone(), member.clone()))
            })
            .collect())
    }

    async fn peer_server(
        &self,
        ingester: &Arc<Embedded>,
    ) -> Result<Option<(CancellationToken, JoinHandle<()>)>, Error> {
        if self.config.cluster.members.len() < 2 {
            return Ok(None);
        }
        let address = self.config.cluster.listen;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| Error::Listen { address, source })?;
        tracing::info!(peers = %address, members = self.config.cluster.members.len(), "peers can connect");
        let replica = Arc::clone(ingester) as Arc<dyn Replica>;
        let server = PeerServer::new(self.peer_parts.clone(), replica);
        let stop = CancellationToken::new();
        Ok(Some((stop.clone(), tokio::spawn(server.run(listener, stop)))))
    }

    fn distributor(
        &self,
        replicas: BTreeMap<NodeIndex, Arc<dyn Replica>>,
    ) -> Result<Distributor, Error> {
        let parts = distributor::Parts {
            topology: Arc::clone(&self.topology),
            replicas,
            limits: Arc::clone(&self.limits),
            tenancy: self.config.tenancy.clone(),
            clock: Arc::clone(&self.clock),
            seed: random_u64().map_err(Error::Random)?,
            registry: self.registry.clone(),
        };
        let mut config = distributor::Config::default();
        config.inflight_bytes_max = match self.config.write.memory_bytes {
            0 => machine::memory_bytes().map_or(config.inflight_bytes_max, |bytes| {
                config.inflight_bytes_max.min(bytes / 4)
            }),
            given => given,
        };
        config.tenants_max = self.config.write.tenants_max;
        config.new_tenants_per_second = self.config.write.new_tenants_per_second;
        Ok(Distributor::new(config, parts)?)
    }

    fn querier(
        &self,
        replicas: BTreeMap<NodeIndex, Arc<dyn Replica>>,
        local: Option<NodeIndex>,
    ) -> Result<Querier, Error> {
        let topology = Arc::clone(&self.topology);
        let settings = querier::select::ReadConfig::default();
        let source = ReplicatedSource::new(topology, replicas, local, settings);
        Ok(Querier::new(querier::Parts {
            source: Arc::new(AllReplicas(Arc::new(source))),
            clock: Arc::clone(&self.clock),
            tenancy: self.config.tenancy.clone(),
            limits: self.config.limit_table(),
            settings: self.query_settings(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_yaml: self.config.print(),
            registry: self.registry.clone(),
        })?)
    }

    fn query_settings(&self) -> querier::Settings {
        let query = &self.config.query;
        let slow_query_ms = u64::try_from(query.slow_query.as_millis()).unwrap_or(u64::MAX);
        let (features, cache_bytes) = (query.features, query.cache_bytes);
        let memory_bytes = match query.memory_bytes {
            0 => machine::memory_bytes().map_or(u64::MAX, |bytes| bytes / 5 * 2),
            given => given,
        };
        let evaluation_interval_ms =
            i64::try_from(query.evaluation_interval.as_millis()).unwrap_or(i64::MAX);
        querier::Settings {
            slow_query_ms,
            cache_bytes,
            memory_bytes,
            features,
            evaluation_interval_ms,
            ..querier::Settings::default()
        }
    }

    fn self_metrics(&self, distributor: Distributor) -> SelfMetrics {
        SelfMetrics {
            distributor,
            registry: self.registry.clone(),
            tenancy: self.config.tenancy.clone(),
            node_id: self.data_dir.node_id().to_owned(),
            clock: Arc::clone(&self.clock),
        }
    }
}

/// Whether a store that was opened holds anything, or held what is lost.
fn holds_any(report: &store::engine::OpenReport) -> bool {
    let lost = report.samples_without_series + report.records_damaged;
    let damaged = report.sstables_damaged.len() + report.replay.damage.len();
    report.sstables + report.series + report.samples + lost > 0 || damaged > 0
}

/// Lets this process open as many files as it may: each sstable stays open while it is live.
fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit on open files stays low; see `ulimit -n`");
    }
}
