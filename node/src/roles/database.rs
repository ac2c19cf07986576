//! A process whose data lies in a database: an ingester is a member of the ring over it, any other process
//! learns from ingesters who has what. What distributor and querier see is one replica, either way.

use super::{Assembly, Error, Roles};
use crate::config::{Config, Role};
use crate::parts::{SleeplessClock, SystemChance};
use crate::places::OverDatabase;
use crate::routes::Keeper;
use ingester::cassandra::Rows;
use ingester::cassandra::member::MemberParts;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::net::TcpListener;
use wire::peer::PeerParts;
use wire::replica::Replica;

impl Assembly<'_> {
    /// Starts as one of many over a database.
    pub(super) async fn over_database(&self) -> Result<Roles, Error> {
        let over = match self.config.has(Role::Ingester) {
            true => self.member().await?,
            false => self.guest(),
        };
        let all: Arc<dyn Replica> = Arc::new(over.fleet.clone());
        let keeper = over.places.clone().map(Keeper::Places);
        let (router, distributor) = self.router(BTreeMap::from([(self.local, all)]), keeper)?;
        let self_metrics = self.config.self_metrics.then(|| self.self_metrics(distributor).start());
        Ok(Roles {
            router,
            ingester: None,
            over: Some(over),
            peers: BTreeMap::new(),
            peer_server: None,
            self_metrics,
            exchange: None,
            topology: Arc::clone(&self.topology),
        })
    }

    async fn member(&self) -> Result<OverDatabase, Error> {
        let rows = self.rows().await?;
        let address = self.config.cluster.listen;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| Error::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| Error::Listen { address, source })?;
        let address = address.to_string();
        tracing::info!(peers = %address, "peers can connect");
        let peer_parts = self.peer_parts_as(&address);
        let settings = &self.config.cassandra;
        let parts = MemberParts {
            name: address.clone(),
            address,
            rows,
            places: u16::try_from(settings.places).unwrap_or(u16::MAX),
            accept_periodic: settings.accept_periodic_commitlog,
            cache_bytes: usize::try_from(settings.cache_bytes).unwrap_or(usize::MAX),
            cluster_name: self.config.cluster.name.clone(),
            clock: Arc::clone(&self.clock),
            boot: Arc::new(SleeplessClock),
            chance: Arc::new(SystemChance),
            limits: Arc::clone(&self.limits),
            registry: self.registry.clone(),
            config: self.ingester_config(),
        };
        Ok(OverDatabase::member(parts, peer_parts, listener).await?)
    }

    /// It reaches no database, and nobody connects to it.
    fn guest(&self) -> OverDatabase {
        let name = format!("guest-{}", self.data_dir.node_id());
        OverDatabase::guest(self.peer_parts_as(&name), &self.config.cluster.ingesters)
    }

    fn peer_parts_as(&self, name: &str) -> PeerParts {
        as_peer(&self.peer_parts, self.config, name)
    }

    #[cfg(feature = "cassandra")]
    async fn rows(&self) -> Result<Arc<dyn Rows>, Error> {
        let settings = self.config.cassandra.clone();
        let connect = move || crate::cassandra::connect(&settings);
        let driver = tokio::task::spawn_blocking(connect).await.map_err(Error::Died)??;
        Ok(Arc::new(driver))
    }

    #[cfg(not(feature = "cassandra"))]
    async fn rows(&self) -> Result<Arc<dyn Rows>, Error> {
        Err(crate::cassandra::Error::NotBuilt.into())
    }
}

/// How a process talks to its peers, by a name of its own. Processes over another keyspace are another cluster,
/// whatever address they are met at.
pub(crate) fn as_peer(parts: &PeerParts, config: &Config, name: &str) -> PeerParts {
    let mut peer_config = (*parts.config).clone();
    name.clone_into(&mut peer_config.node);
    peer_config.takes_any_name = true;
    let keyspace = &config.cassandra.keyspace;
    peer_config.cluster_name = format!("{} over keyspace {keyspace}", peer_config.cluster_name);
    PeerParts { config: Arc::new(peer_config), ..parts.clone() }
}
