//! The handshake: who are you, of which cluster, and do you know the secret?
//!
//! ```text
//! server -> client   challenge: magic, version, nonce
//! client -> server   hello: magic, version, cluster, hash of the member list, its name and node id,
//!                    the name it wants to reach, nonce; proof over both nonces and the hello
//! server -> client   welcome: its name; proof over both nonces and the welcome
//!                    or refused: why
//! ```
//! A proof is a BLAKE3 keyed hash under the secret, with the side's name in it, so that neither
//! side's words can be sent back to it.
//!
//! # Invariants
//! - Whoever does not know the secret learns nothing but that: names and hashes are compared after
//!   the proof.
//! - Both sides name the mismatch.
//!
//! Not here: encryption, and the frames after it (`frame.rs`).

use crate::peer::codec::{DecodeError, Reader, Writer, bad};
use crate::peer::config::PeerConfig;
use crate::peer::frame::{read_hello, write_hello};
use cluster::Members;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// How long the whole handshake may take.
pub const LIMIT: Duration = Duration::from_secs(5);

/// The version of this protocol: handshake, frames and messages.
pub const VERSION: u8 = 2;

const MAGIC: &[u8; 8] = b"CUMAEPR\0";

/// What a node says about itself and its cluster.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Cluster, name and secret.
    pub config: &'a PeerConfig,
    /// Who may be a peer.
    pub members: &'a Members,
    /// [`cluster::Topology::hash`].
    pub topology_hash: u64,
}

/// Who connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name in the member list.
    pub name: String,
    /// The id in its data directory; empty if it keeps no data.
    pub node_id: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum HandshakeError {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("no handshake within {} s", LIMIT.as_secs())]
    Timeout,
    /// It speaks something else.
    #[error("it does not speak the peer protocol: {0}")]
    Decode(#[from] DecodeError),
    /// Another version.
    #[error("protocol version {theirs} there, {VERSION} here")]
    Version { theirs: u8 },
    /// The proof is wrong.
    #[error("cluster.secret differs")]
    Secret,
    /// Another cluster.
    #[error("cluster.name is {theirs:?} there, {ours:?} here")]
    Cluster { theirs: String, ours: String },
    /// Another member list.
    #[error(
        "cluster.members or replication_factor differ: hash {theirs:016x} there, {ours:016x} here"
    )]
    Members { theirs: u64, ours: u64 },
    /// Nobody we know.
    #[error("node {name:?} is not in cluster.members")]
    Stranger { name: String },
    /// It wanted somebody else.
    #[error("it wants to reach node {wanted:?}, this is {ours:?}")]
    WrongNode { wanted: String, ours: String },
    /// It has enough connections.
    #[error("node {name:?} has {connections} connections already")]
    Crowded { name: String, connections: usize },
    /// Another data directory under the same name.
    #[error(
        "node {name:?} is connected with node id {here:?}, this one has {theirs:?}: two processes have one name"
    )]
    NodeId { name: String, here: String, theirs: String },
    /// The other side said no, and why.
    #[error("refused by the peer: {reason}")]
    Refused { reason: String },
}

struct Hello<'a> {
    version: u8,
    cluster: &'a str,
    topology_hash: u64,
    node: &'a str,
    node_id: &'a str,
    wanted: &'a str,
    nonce: [u8; 32],
}

impl<'a> Hello<'a> {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.out.extend_from_slice(MAGIC);
        out.u8(self.version);
        out.text(self.cluster);
        out.u64_fixed(self.topology_hash);
        out.text(self.node);
        out.text(self.node_id);
        out.text(self.wanted);
        out.out.extend_from_slice(&self.nonce);
        out.out
    }

    fn decode(bytes: &'a [u8]) -> Result<Self, HandshakeError> {
        let mut from = Reader::new(bytes);
        if from.array()? != *MAGIC {
            bad("another magic number")?;
        }
        let version = from.u8()?;
        if version != VERSION {
            return Err(HandshakeError::Version { theirs: version });
        }
        let (cluster, topology_hash) = (from.text()?, from.u64_fixed()?);
        let (node, node_id) = (from.text()?, from.text()?);
        let (wanted, nonce) = (from.text()?, from.array()?);
        from.end()?;
        Ok(Self { version, cluster, topology_hash, node, node_id, wanted, nonce })
    }
}

/// The client's side: reaches the node called `wanted`.
///
/// # Errors
/// [`HandshakeError`] says why not.
pub async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    who: Identity<'_>,
    wanted: &str,
    nonce: [u8; 32],
) -> Result<(), HandshakeError> {
    let work = connect_without_limit(stream, who, wanted, nonce);
    tokio::time::timeout(LIMIT, work).await.unwrap_or(Err(HandshakeError::Timeout))
}

async fn connect_without_limit(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    who: Identity<'_>,
    wanted: &str,
    nonce: [u8; 32],
) -> Result<(), HandshakeError> {
    let challenge = read_hello(stream).await?;
    let mut from = Reader::new(&challenge);
    if from.array()? != *MAGIC {
        bad("another magic number")?;
    }
    let version = from.u8()?;
    if version != VERSION {
        return Err(HandshakeError::Version { theirs: version });
    }
    let server_nonce: [u8; 32] = from.array()?;
    let hello = Hello {
        version: VERSION,
        cluster: &who.config.cluster_name,
        topology_hash: who.topology_hash,
        node: &who.config.node,
        node_id: &who.config.node_id,
        wanted,
        nonce,
    };
    let mut said = hello.encode();
    let proof = who.config.secret.proof(&[b"client", &server_nonce, &nonce, &said]);
    said.extend_from_slice(proof.as_bytes());
    write_hello(stream, &said).await?;

    let answer = read_hello(stream).await?;
    let mut from = Reader::new(&answer);
    if from.u8()? != 1 {
        // Not proved: shown as a text of bounded length, never acted upon.
        let reason: String = from.text()?.chars().filter(|c| !c.is_control()).take(256).collect();
        return Err(HandshakeError::Refused { reason });
    }
    let name = from.text()?;
    let proof = who.config.secret.proof(&[b"server", &server_nonce, &nonce, name.as_bytes()]);
    if proof != blake3::Hash::from_bytes(from.array()?) {
        return Err(HandshakeError::Secret);
    }
    if name != wanted {
        let (wanted, ours) = (wanted.to_owned(), name.to_owned());
        return Err(HandshakeError::WrongNode { wanted, ours });
    }
    Ok(())
}

/// The server's side: the node that connected. `admit` has the last word, once all else
/// is right.
///
/// # Errors
/// [`HandshakeError`] says why not; the client has been told.
pub async fn accept(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    who: Identity<'_>,
    nonce: [u8; 32],
    admit: impl FnOnce(&Peer) -> Result<(), HandshakeError>,
) -> Result<Peer, HandshakeError> {
    let work = accept_without_limit(stream, who, nonce, admit);
    tokio::time::timeout(LIMIT, work).await.unwrap_or(Err(HandshakeError::Timeout))
}

async fn accept_without_limit(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    who: Identity<'_>,
    nonce: [u8; 32],
    admit: impl FnOnce(&Peer) -> Result<(), HandshakeError>,
) -> Result<Peer, HandshakeError> {
    let mut challenge = MAGIC.to_vec();
    challenge.push(VERSION);
    challenge.extend_from_slice(&nonce);
    write_hello(stream, &challenge).await?;
    let said = read_hello(stream).await?;
    let judged = judge(&said, who, &nonce).and_then(|(peer, client_nonce)| {
        admit(&peer)?;
        Ok((peer, client_nonce))
    });
    let mut out = Writer::default();
    match judged {
        Ok((peer, client_nonce)) => {
            let ours = &who.config.node;
            let proof =
                who.config.secret.proof(&[b"server", &nonce, &client_nonce, ours.as_bytes()]);
            out.u8(1);
            out.text(ours);
            out.out.extend_from_slice(proof.as_bytes());
            write_hello(stream, &out.out).await?;
            Ok(peer)
        }
        Err(error) => {
            out.u8(0);
            out.text(&error.to_string());
            write_hello(stream, &out.out).await?;
            Err(error)
        }
    }
}

/// The proof first: who does not know the secret is told nothing else.
fn judge(
    said: &[u8],
    who: Identity<'_>,
    nonce: &[u8; 32],
) -> Result<(Peer, [u8; 32]), HandshakeError> {
    let Some((hello_bytes, proof)) = said.split_last_chunk::<32>() else {
        return Err(DecodeError { what: "cut short" }.into());
    };
    let hello = Hello::decode(hello_bytes)?;
    let want = who.config.secret.proof(&[b"client", nonce, &hello.nonce, hello_bytes]);
    if want != blake3::Hash::from_bytes(*proof) {
        return Err(HandshakeError::Secret);
    }
    let of_guests = Some(&who.config.cluster_name_of_guests).filter(|name| !name.is_empty());
    if hello.cluster != who.config.cluster_name
        && of_guests.is_none_or(|name| name != hello.cluster)
    {
        let (theirs, ours) = (hello.cluster.to_owned(), who.config.cluster_name.clone());
        return Err(HandshakeError::Cluster { theirs, ours });
    }
    if hello.wanted != who.config.node {
        let (wanted, ours) = (hello.wanted.to_owned(), who.config.node.clone());
        return Err(HandshakeError::WrongNode { wanted, ours });
    }
    if !who.config.takes_any_name && who.members.find(hello.node).is_none() {
        return Err(HandshakeError::Stranger { name: hello.node.to_owned() });
    }
    if hello.topology_hash != who.topology_hash {
        let (theirs, ours) = (hello.topology_hash, who.topology_hash);
        return Err(HandshakeError::Members { theirs, ours });
    }
    let peer = Peer { name: hello.node.to_owned(), node_id: hello.node_id.to_owned() };
    Ok((peer, hello.nonce))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::config::Secret;
    use cluster::{Member, Roles};

    fn members() -> Members {
        let member = |i: u16| Member {
            name: format!("n{i}"),
            address: format!("127.0.0.1:{}", 1000 + i),
            roles: Roles::ALL,
            rack: String::new(),
        };
        Members::new((0..3).map(member).collect()).unwrap()
    }

    /// What both sides say when the client is changed by `edit`.
    async fn shake(edit: impl FnOnce(&mut PeerConfig, &mut u64, &mut &str)) -> (String, String) {
        let members = members();
        let server = PeerConfig::new("c", "n0", Secret::new("s"));
        let (mut client, mut hash, mut wanted) =
            (PeerConfig::new("c", "n1", Secret::new("s")), 7, "n0");
        edit(&mut client, &mut hash, &mut wanted);
        let (mut near, mut far) = tokio::io::duplex(8192);
        let server = Identity { config: &server, members: &members, topology_hash: 7 };
        let client = Identity { config: &client, members: &members, topology_hash: hash };
        let (there, here) = tokio::join!(
            accept(&mut far, server, [1; 32], |_| Ok(())),
            connect(&mut near, client, wanted, [2; 32]),
        );
        let text = |error: HandshakeError| error.to_string();
        (here.map_or_else(text, |()| "in".into()), there.map_or_else(text, |peer| peer.name))
    }

    #[tokio::test]
    async fn peers_that_agree_know_each_other_by_name() {
        assert_eq!(shake(|_, _, _| {}).await, ("in".into(), "n1".into()));
    }

    #[tokio::test]
    async fn each_mismatch_is_refused_by_name_on_both_sides() {
        let cases = [
            (shake(|c, _, _| c.secret = Secret::new("x")).await, "cluster.secret differs"),
            (shake(|c, _, _| c.cluster_name = "d".into()).await, "cluster.name is \"d\" there"),
            (shake(|c, _, _| c.node = "n9".into()).await, "node \"n9\" is not in cluster.members"),
            (shake(|_, hash, _| *hash = 8).await, "cluster.members or replication_factor differ"),
            (shake(|_, _, wanted| *wanted = "n2").await, "it wants to reach node \"n2\""),
        ];
        for ((client, server), want) in cases {
            assert!(server.contains(want), "{server}");
            assert!(client.contains(want) && client.contains("refused by the peer"), "{client}");
        }
    }

    #[tokio::test]
    async fn who_does_not_know_all_of_the_clusters_name_is_let_in_where_that_is_allowed() {
        let members = members();
        let enter = async |allowed: &str, said: &str| {
            let mut server = PeerConfig::new("c, ring 7", "n0", Secret::new("s"));
            allowed.clone_into(&mut server.cluster_name_of_guests);
            let client = PeerConfig::new(said, "n1", Secret::new("s"));
            let (mut near, mut far) = tokio::io::duplex(8192);
            let of = |config| Identity { config, members: &members, topology_hash: 7 };
            let (there, here) = tokio::join!(
                accept(&mut far, of(&server), [1; 32], |_| Ok(())),
                connect(&mut near, of(&client), "n0", [2; 32]),
            );
            assert_eq!(there.is_ok(), here.is_ok());
            here.is_ok()
        };
        assert!(enter("c", "c").await && enter("c", "c, ring 7").await);
        assert!(!enter("", "c").await && !enter("", "").await && !enter("c", "").await);
        assert!(!enter("c", "d").await && !enter("c", "c, ring 8").await);
    }

    #[tokio::test]
    async fn a_stranger_with_wrong_names_and_no_secret_learns_only_about_the_secret() {
        let (client, _) = shake(|c, hash, wanted| {
            (c.secret, c.node, *hash, *wanted) = (Secret::new(""), "n9".into(), 1, "n5");
        })
        .await;
        assert_eq!(client, "refused by the peer: cluster.secret differs");
    }

    #[tokio::test]
    async fn a_server_that_does_not_know_the_secret_is_refused_by_the_client() {
        let members = members();
        let config = PeerConfig::new("c", "n1", Secret::new("s"));
        let who = Identity { config: &config, members: &members, topology_hash: 7 };
        let (mut near, mut far) = tokio::io::duplex(8192);
        let impostor = async {
            let mut challenge = MAGIC.to_vec();
            challenge.push(VERSION);
            challenge.extend_from_slice(&[1; 32]);
            write_hello(&mut far, &challenge).await.unwrap();
            read_hello(&mut far).await.unwrap();
            let mut out = Writer::default();
            out.u8(1);
            out.text("n0");
            out.out.extend_from_slice(&[3; 32]);
            write_hello(&mut far, &out.out).await.unwrap();
        };
        let (here, ()) = tokio::join!(connect(&mut near, who, "n0", [2; 32]), impostor);
        assert!(matches!(here, Err(HandshakeError::Secret)), "{here:?}");
    }

    #[tokio::test]
    async fn another_version_and_another_protocol_are_told_apart() {
        let members = members();
        let config = PeerConfig::new("c", "n1", Secret::new("s"));
        let who = Identity { config: &config, members: &members, topology_hash: 7 };
        for (greeting, want) in [
            (b"HTTP/1.1 400 Bad Request".to_vec(), "does not speak"),
            ([MAGIC.as_slice(), &[VERSION + 1]].concat(), "protocol version 3 there, 2 here"),
        ] {
            let (mut near, mut far) = tokio::io::duplex(8192);
            let greet = write_hello(&mut far, &greeting);
            let (here, sent) = tokio::join!(connect(&mut near, who, "n0", [2; 32]), greet);
            sent.unwrap();
            let text = here.unwrap_err().to_string();
            assert!(text.contains(want), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_left_after_five_seconds() {
        let members = members();
        let config = PeerConfig::new("c", "n1", Secret::new("s"));
        let who = Identity { config: &config, members: &members, topology_hash: 7 };
        let (_near, mut far) = tokio::io::duplex(8192);
        let there = accept(&mut far, who, [1; 32], |_| Ok(())).await;
        assert!(matches!(there, Err(HandshakeError::Timeout)), "{there:?}");
    }
}
