//! The ingester of a process whose storage is a Cassandra: a member of the ring, its threads, and how it
//! and its peers reach each other.
//!
//! # Invariants
//! - It listens for its peers before it is a member: whoever learns of it finds it.
//! - It leaves before it stops to listen.

use cluster::ownership::Incarnation;
use cluster::{Member as Peer, Roles};
use ingester::cassandra::fleet::{Fleet, Peers};
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

/// A member that runs.
#[derive(Debug)]
pub(crate) struct OverDatabase {
    pub(crate) member: Arc<Member>,
    pub(crate) places: Places,
    pub(crate) fleet: Fleet,
    driver: Driver,
    neighbours: Arc<Neighbours>,
    stop: CancellationToken,
    listening: JoinHandle<()>,
    meeting: JoinHandle<()>,
}

impl OverDatabase {
    /// Begins: creates what is missing in the database, listens, and becomes a member soon.
    ///
    /// # Errors
    /// What the database says, or the system.
    pub(crate) async fn start(
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
        let driver = Driver::start(Arc::clone(&member))?;
        let meeting = tokio::spawn(meet(fleet.clone()));
        Ok(Self { member, places, fleet, driver, neighbours, stop, listening, meeting })
    }

    /// Hands over all places, and ends.
    pub(crate) async fn stop(self) {
        let driver = self.driver;
        let left = tokio::task::spawn_blocking(move || driver.leave(LEAVE_MAX)).await;
        if let Err(error) = left {
            tracing::error!(%error, "the hand-over died");
        }
        self.meeting.abort();
        self.stop.cancel();
        if let Err(error) = self.listening.await {
            tracing::error!(%error, "the listener for peers died");
        }
        let clients = std::mem::take(&mut *self.neighbours.clients.lock());
        for client in clients.into_values() {
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
        let client = clients.entry(who).or_insert_with(|| {
            let (name, address) = (address.to_owned(), address.to_owned());
            let peer = Peer { name, address, roles: Roles::ALL, rack: String::new() };
            PeerClient::start(self.parts.clone(), peer)
        });
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
