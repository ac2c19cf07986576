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
    /// Who tells a guest the ring first.
    seeds: Vec<Arc<PeerClient>>,
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
        let places = Places::new(Arc::clone(&member));
        let server = PeerServer::new(peer_parts.clone(), Arc::new(places.clone()));
        let stop = CancellationToken::new();
        let listening = tokio::spawn(server.run(listener, stop.clone()));
        let neighbours = Arc::new(Neighbours { parts: peer_parts, clients: Mutex::default() });
        let fleet = Fleet::new(Arc::clone(&member), Arc::clone(&neighbours) as Arc<dyn Peers>);
        let driver = Driver::start(member)?;
        let serving = Some(Serving { driver, stop, listening });
        let meeting = tokio::spawn(meet(fleet.clone()));
        Ok(Self { fleet, places: Some(places), serving, seeds: Vec::new(), neighbours, meeting })
    }

    /// Begins to learn from processes that listen at `ingesters`, and from those that they name.
    pub(crate) fn guest(peer_parts: PeerParts, ingesters: &[String]) -> Self {
        let seeds = ingesters.iter().map(|at| PeerClient::start(peer_parts.clone(), peer_at(at)));
        let seeds: Vec<Arc<PeerClient>> = seeds.collect();
        let asked = seeds.iter().map(|seed| Arc::clone(seed) as Arc<dyn Replica>).collect();
        let neighbours = Arc::new(Neighbours { parts: peer_parts, clients: Mutex::default() });
        let peers = Arc::clone(&neighbours) as Arc<dyn Peers>;
        let fleet = Fleet::of_guest(Arc::new(Guest::new(asked)), peers);
        let meeting = tokio::spawn(meet(fleet.clone()));
        Self { fleet, places: None, serving: None, seeds, neighbours, meeting }
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
        let clients = std::mem::take(&mut *self.neighbours.clients.lock());
        for client in clients.into_values().chain(self.seeds) {
            client.close().await;
        }
    }
}

/// Connects to who is new, until its task is aborted.
async fn meet(fleet: Fleet) {
    loop {
        fleet.meet().await;
        tokio::time::sleep(MEET_EVERY).await;
    }
}

/// A process over a database: its name is where it listens.
fn peer_at(address: &str) -> Peer {
    let (name, address) = (address.to_owned(), address.to_owned());
    Peer { name, address, roles: Roles::ALL, rack: String::new() }
}

/// The other processes, each by a client of its own.
#[derive(Debug)]
struct Neighbours {
    parts: PeerParts,
    // A leaf.
    clients: Mutex<BTreeMap<Incarnation, Arc<PeerClient>>>,
}

impl Peers for Neighbours {
    fn replica(&self, who: Incarnation, address: &str) -> Arc<dyn Replica> {
        let mut clients = self.clients.lock();
        let client = clients
            .entry(who)
            .or_insert_with(|| PeerClient::start(self.parts.clone(), peer_at(address)));
        Arc::clone(client) as Arc<dyn Replica>
    }

    fn keep_only(&self, members: &BTreeSet<Incarnation>) {
        let mut clients = self.clients.lock();
        let gone: Vec<Incarnation> =
            clients.keys().filter(|who| !members.contains(who)).copied().collect();
        for client in gone.iter().filter_map(|who| clients.remove(who)) {
            // What is out fails; nobody waits for it.
            tokio::spawn(async move { client.close().await });
        }
    }
}
