//! A process whose storage is a Cassandra: an ingester is a member of the ring, with threads that drive it, any
//! other process a guest; and how processes reach each other.
//!
//! # Invariants
//! - A member listens for its peers before it is a member: whoever learns of it finds it.
//! - It leaves before it stops to listen.

use cluster::ownership::Incarnation;
use cluster::{Member as Peer, Roles};
use ingester::cassandra::fleet::{Fleet, Peers};
use ingester::cassandra::guest::Guest;
use ingester::cassandra::member::{Driver, Member, MemberParts, Places};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::peer::{PeerClient, PeerParts, PeerServer};
use wire::replica::Replica;

/// How long a process may take to hand over what it has.
const LEAVE_MAX: Duration = Duration::from_secs(30);
/// How often new members are looked for.
const MEET_EVERY: Duration = Duration::from_millis(500);

/// A process over a database that runs.
#[derive(Debug)]
pub(crate) struct OverDatabase {
    /// All processes, as this one knows them.
    pub(crate) fleet: Fleet,
    /// The places of a member.
    pub(crate) places: Option<Places>,
    serving: Option<Serving>,
    neighbours: Arc<Neighbours>,
    meeting: JoinHandle<()>,
}

/// What a member has and a guest has not.
#[derive(Debug)]
struct Serving {
    driver: Driver,
    stop: CancellationToken,
    listening: JoinHandle<()>,
}

impl OverDatabase {
    /// Begins: creates what is missing in the database, listens, and becomes a member soon.
    ///
    /// # Errors
    /// What the database says, or the system.
    pub(crate) async fn member(
        parts: MemberParts,
        peer_parts: PeerParts,
        listener: TcpListener,
    ) -> Result<Self, ingester::Error> {
        let member = tokio::task::spawn_blocking(move || Member::new(parts)).await;
        let member = member.unwrap_or(Err(ingester::Error::Panicked { name: "member" }))?;
        let peer_parts = of_ring(peer_parts, member.ring_number());
        let places = Places::new(Arc::clone(&member));
        let server = PeerServer::new(peer_parts.clone(), Arc::new(places.clone()));
        let stop = CancellationToken::new();
        let listening = tokio::spawn(server.run(listener, stop.clone()));
        let neighbours = Neighbours::new(peer_parts, &[]);
        let fleet = Fleet::new(Arc::clone(&member), Arc::clone(&neighbours) as Arc<dyn Peers>);
        let driver = Driver::start(member)?;
        let serving = Some(Serving { driver, stop, listening });
        let meeting = tokio::spawn(meet(fleet.clone()));
        Ok(Self { fleet, places: Some(places), serving, neighbours, meeting })
    }

    /// Begins to learn from processes that listen at `ingesters`, and from those that they name.
    pub(crate) fn guest(peer_parts: PeerParts, ingesters: &[String]) -> Self {
        let neighbours = Neighbours::new(peer_parts, ingesters);
        let guest = Arc::new(Guest::new(neighbours.seeds()));
        let peers = Arc::clone(&neighbours) as Arc<dyn Peers>;
        let fleet = Fleet::of_guest(guest, peers);
        let meeting = tokio::spawn(meet(fleet.clone()));
        Self { fleet, places: None, serving: None, neighbours, meeting }
    }

    /// Hands over all places, if there are any, and ends.
    pub(crate) async fn stop(self) {
        if let Some(Serving { driver, stop, listening }) = self.serving {
            let left = tokio::task::spawn_blocking(move || driver.leave(LEAVE_MAX)).await;
            if let Err(error) = left {
                tracing::error!(%error, "the hand-over died");
            }
            stop.cancel();
            if let Err(error) = listening.await {
                tracing::error!(%error, "the listener for peers died");
            }
        }
        self.meeting.abort();
        self.neighbours.close().await;
    }
}

/// Connects to who is new, until its task is aborted.
async fn meet(fleet: Fleet) {
    loop {
        fleet.meet().await;
        tokio::time::sleep(MEET_EVERY).await;
    }
}

/// How members of a ring talk to each other: those of two databases may have keyspaces of one name. Guests, who
/// do not reach the database, know no more than that name.
fn of_ring(parts: PeerParts, number: u128) -> PeerParts {
    let mut config = (*parts.config).clone();
    config.cluster_name_of_guests.clone_from(&config.cluster_name);
    config.cluster_name = format!("{}, ring {number:032x}", config.cluster_name);
    PeerParts { config: Arc::new(config), ..parts }
}

/// A process over a database: its name is where it listens.
fn peer_at(address: &str) -> Peer {
    let (name, address) = (address.to_owned(), address.to_owned());
    Peer { name, address, roles: Roles::ALL, rack: String::new() }
}

/// The other processes: a client for each address, whoever is found there. Who was restarted is another member
/// at the same address, and who is asked for the ring first may be a member.
#[derive(Debug)]
struct Neighbours {
    parts: PeerParts,
    seeds: Vec<String>,
    // A leaf.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    clients: BTreeMap<String, Arc<PeerClient>>,
    addresses: BTreeMap<Incarnation, String>,
}

impl Neighbours {
    fn new(parts: PeerParts, seeds: &[String]) -> Arc<Self> {
        Arc::new(Self { parts, seeds: seeds.to_vec(), known: Mutex::default() })
    }

    fn client(&self, known: &mut Known, address: &str) -> Arc<PeerClient> {
        let client = known.clients.entry(address.to_owned());
        Arc::clone(
            client.or_insert_with(|| PeerClient::start(self.parts.clone(), peer_at(address))),
        )
    }

    /// Those that may know the ring.
    fn seeds(&self) -> Vec<Arc<dyn Replica>> {
        let mut known = self.known.lock();
        let seeds = self.seeds.iter();
        seeds.map(|address| self.client(&mut known, address) as Arc<dyn Replica>).collect()
    }

    async fn close(&self) {
        let clients = std::mem::take(&mut self.known.lock().clients);
        for client in clients.into_values() {
            client.close().await;
        }
    }
}

impl Peers for Neighbours {
    fn replica(&self, who: Incarnation, address: &str) -> Arc<dyn Replica> {
        let mut known = self.known.lock();
        if known.addresses.get(&who).is_none_or(|before| before != address) {
            known.addresses.insert(who, address.to_owned());
        }
        self.client(&mut known, address)
    }

    fn keep_only(&self, members: &BTreeSet<Incarnation>) {
        let mut known = self.known.lock();
        let Known { clients, addresses } = &mut *known;
        addresses.retain(|who, _| members.contains(who));
        let is_used = |at: &String| self.seeds.contains(at) || addresses.values().any(|a| a == at);
        let gone: Vec<String> = clients.keys().filter(|at| !is_used(at)).cloned().collect();
        for client in gone.iter().filter_map(|at| clients.remove(at)) {
            // What is out fails; nobody waits for it.
            tokio::spawn(async move { client.close().await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use cluster::{Topology, TopologyConfig};
    use wire::peer::handshake::{self, Identity};
    use wire::peer::{Entropy, PeerConfig, Secret};

    fn parts() -> PeerParts {
        PeerParts {
            config: Arc::new(PeerConfig::new("c", "here", Secret::new(""))),
            topology: Arc::new(Topology::new(TopologyConfig::alone("cassandra")).unwrap()),
            entropy: Arc::new(Entropy::new([7; 32])),
        }
    }

    /// What two processes say of each other: the first one connects.
    async fn meet(client: PeerParts, server: PeerParts) -> Result<(), String> {
        let topology = Arc::clone(&server.topology);
        let who = |config| Identity {
            config,
            members: &topology.members,
            topology_hash: topology.hash(),
        };
        let (mut near, mut far) = tokio::io::duplex(8_192);
        let (there, here) = tokio::join!(
            handshake::accept(&mut far, who(&server.config), [1; 32], |_| Ok(())),
            handshake::connect(&mut near, who(&client.config), "here", [2; 32]),
        );
        assert_eq!(there.is_ok(), here.is_ok());
        here.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn processes_over_another_keyspace_or_database_are_refused_by_name() {
        let over = |keyspace: &str| {
            let mut config = Config::default();
            keyspace.clone_into(&mut config.cassandra.keyspace);
            crate::roles::database::as_peer(&parts(), &config, "here")
        };
        let of = |keyspace: &str, number| of_ring(over(keyspace), number);
        assert_eq!(meet(of("a", 1), of("a", 1)).await, Ok(()));
        assert_eq!(meet(over("a"), of("a", 1)).await, Ok(()), "a guest");
        let error = meet(of("a", 1), of("b", 1)).await.unwrap_err();
        assert!(error.contains("over keyspace a") && error.contains("over keyspace b"), "{error}");
        let error = meet(over("a"), of("b", 1)).await.unwrap_err();
        assert!(
            error.contains("over keyspace a\"") && error.contains("over keyspace b"),
            "{error}"
        );
        let error = meet(of("a", 1), of("a", 2)).await.unwrap_err();
        assert!(error.contains("ring 0") && error.contains("1\" there"), "{error}");
    }

    #[tokio::test]
    async fn who_is_restarted_or_asked_for_the_ring_first_is_reached_by_the_same_connections() {
        let neighbours = Neighbours::new(parts(), &["127.0.0.1:9".to_owned()]);
        let seed = Arc::clone(&neighbours.seeds()[0]);
        let [before, now, other] = [1, 2, 3].map(Incarnation);
        let at = |who, port: u16| neighbours.replica(who, &format!("127.0.0.1:{port}"));
        assert!(Arc::ptr_eq(&seed, &at(before, 9)));
        assert!(Arc::ptr_eq(&seed, &at(now, 9)));
        let first = at(other, 19);
        neighbours.keep_only(&BTreeSet::from([now, other]));
        assert!(Arc::ptr_eq(&first, &at(other, 19)), "a member is kept");
        neighbours.keep_only(&BTreeSet::from([now]));
        assert!(!Arc::ptr_eq(&first, &at(other, 19)), "who is none any more is let go of");
        neighbours.keep_only(&BTreeSet::new());
        assert!(Arc::ptr_eq(&seed, &at(before, 9)), "a seed stays");
        neighbours.close().await;
    }
}
