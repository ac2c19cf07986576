//! All replicas of the cluster as one node reaches them.

use crate::peer::client::{PeerClient, PeerParts};
use crate::replica::Replica;
use cluster::NodeIndex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A way to each ingester of the topology: in this process, or over a socket.
#[derive(Debug)]
pub struct Peers {
    replicas: BTreeMap<NodeIndex, Arc<dyn Replica>>,
    clients: Vec<Arc<PeerClient>>,
}

impl Peers {
    /// Starts to connect to every ingester but this node. `local` is this node's own replica, if it
    /// keeps data. Has to be called within a tokio runtime.
    #[must_use]
    pub fn start(parts: &PeerParts, local: Option<Arc<dyn Replica>>) -> Self {
        let (mut replicas, mut clients) = (BTreeMap::new(), Vec::new());
        for (node, member) in parts.topology.members.ingesters() {
            if member.name == parts.config.node {
                replicas.extend(local.clone().map(|local| (node, local)));
                continue;
            }
            let client = PeerClient::start(parts.clone(), member.clone());
            replicas.insert(node, client.clone() as Arc<dyn Replica>);
            clients.push(client);
        }
        Self { replicas, clients }
    }

    /// The replicas by their place in the member list.
    #[must_use]
    pub fn replicas(&self) -> BTreeMap<NodeIndex, Arc<dyn Replica>> {
        self.replicas.clone()
    }

    /// The ingesters that are not connected at the moment, by name.
    #[must_use]
    pub fn away(&self) -> Vec<String> {
        let away = self.clients.iter().filter(|client| !client.is_up());
        away.map(|client| client.member().name.clone()).collect()
    }

    /// Closes all connections and waits for their end.
    pub async fn close(&self) {
        for client in &self.clients {
            client.close().await;
        }
    }
}
