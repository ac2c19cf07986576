//! What a node's side of the peer protocol is made of: settings, the secret, chance.

use parking_lot::Mutex;
use std::fmt;
use std::net::SocketAddr;

/// How peers talk. The settings are the same for both sides of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The cluster's name; peers of another cluster are refused.
    pub cluster_name: String,
    /// What a peer may say instead that does not know all of [`Self::cluster_name`]; empty if nobody may.
    pub cluster_name_of_guests: String,
    /// This node's name in the member list.
    pub node: String,
    /// The id in this node's data directory, if it keeps data: two directories under one name would
    /// be two halves of a replica, and peers refuse the second.
    pub node_id: String,
    /// Whether peers may have names that are in no list: processes over one database come and go, and each
    /// is named by its address. Default `false`.
    pub takes_any_name: bool,
    /// What all nodes of the cluster know and nobody else.
    pub secret: Secret,
    /// Requests on one connection without an answer yet. Default 256.
    pub in_flight_max: usize,
    /// Bytes of requests on one connection without an answer yet. Default 64 MiB; at least as much
    /// as the largest request.
    pub in_flight_bytes_max: usize,
    /// The most bytes of one whole answer. Default 1 GiB.
    pub answer_bytes_max: usize,
    /// The time limit of a request that brings none, in milliseconds. Default 30,000.
    pub timeout_ms: u64,
    /// A connection that is silent for so long is asked for a sign of life. Default 2,000.
    pub ping_ms: u64,
    /// A connection that is silent for so long is dead. Default 10,000; a stopped peer is felt for
    /// that long.
    pub silence_max_ms: u64,
    /// The longest pause between two attempts to connect, ten times that after a refusal by name.
    /// Default 250: so long after its start a node may still be away for its peers.
    pub backoff_max_ms: u64,
}

impl PeerConfig {
    /// The defaults for this node.
    #[must_use]
    pub fn new(cluster_name: impl Into<String>, node: impl Into<String>, secret: Secret) -> Self {
        Self {
            cluster_name: cluster_name.into(),
            cluster_name_of_guests: String::new(),
            node: node.into(),
            node_id: String::new(),
            takes_any_name: false,
            secret,
            in_flight_max: 256,
            in_flight_bytes_max: 64 << 20,
            answer_bytes_max: 1 << 30,
            timeout_ms: 30_000,
            ping_ms: 2_000,
            silence_max_ms: 10_000,
            backoff_max_ms: 250,
        }
    }

    /// Every fault at once.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.cluster_name.is_empty() || self.cluster_name.len() > 128 {
            faults.push("cluster.name: want 1 to 128 bytes".to_owned());
        }
        if self.in_flight_max == 0 || self.in_flight_bytes_max < 1 << 20 {
            faults.push("cluster: in_flight_max at least 1, in_flight_bytes_max 1 MiB".to_owned());
        }
        if self.in_flight_bytes_max > super::frame::FRAME_BYTES_MAX {
            faults.push("cluster: in_flight_bytes_max is larger than a frame".to_owned());
        }
        if self.timeout_ms == 0 || self.ping_ms == 0 || self.backoff_max_ms == 0 {
            faults.push("cluster: timeout_ms, ping_ms, backoff_max_ms: at least 1".to_owned());
        }
        if self.silence_max_ms < self.ping_ms.saturating_mul(2) {
            faults.push("cluster: silence_max_ms is less than two pings apart".to_owned());
        }
        faults
    }
}

/// The cluster's secret. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    key: [u8; 32],
    is_empty: bool,
}

impl Secret {
    /// The key that stands for the secret's text. No text is a secret that everybody knows.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let key = blake3::derive_key("cumae 2026 peer handshake", text.as_bytes());
        Self { key, is_empty: text.is_empty() }
    }

    /// Proves that whoever says `parts` knows the secret.
    pub(crate) fn proof(&self, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Whether peers may be let in at `listen` with this secret.
///
/// # Errors
/// What to change: off loopback anybody could be a peer without a secret.
pub fn check_listen(listen: SocketAddr, secret: &Secret) -> Result<(), String> {
    if secret.is_empty && !listen.ip().is_loopback() {
        return Err(format!(
            "cluster.listen {listen} is not loopback and cluster.secret is empty: anybody could \
             join; set the same secret on every node"
        ));
    }
    Ok(())
}

/// Chance, drawn from one seed: nonces that never repeat within it and that nobody can guess.
pub struct Entropy {
    seed: [u8; 32],
    // Guards the number of the next draw; no other lock is taken while it is held.
    drawn: Mutex<u64>,
}

impl Entropy {
    /// From 32 bytes of the operating system's chance, drawn anew at each start.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: Mutex::new(0) }
    }

    /// 32 bytes that were never given before.
    #[must_use]
    pub fn nonce(&self) -> [u8; 32] {
        let mut drawn = self.drawn.lock();
        *drawn += 1;
        *blake3::keyed_hash(&self.seed, &drawn.to_le_bytes()).as_bytes()
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_loopback_a_secret_is_needed() {
        let (none, some) = (Secret::new(""), Secret::new("correct horse"));
        let (inside, outside) = ("127.0.0.1:9010", "0.0.0.0:9010");
        assert!(check_listen(inside.parse().unwrap(), &none).is_ok());
        assert!(check_listen("[::1]:9010".parse().unwrap(), &none).is_ok());
        assert!(check_listen(outside.parse().unwrap(), &some).is_ok());
        assert!(check_listen(outside.parse().unwrap(), &none).unwrap_err().contains("secret"));
    }

    #[test]
    fn the_secret_is_never_printed_and_no_nonce_comes_twice() {
        let config = PeerConfig::new("c", "n", Secret::new("correct horse"));
        assert!(!format!("{config:?}").contains("horse"));
        assert_eq!(config.validate(), Vec::<String>::new());
        let entropy = Entropy::new([7; 32]);
        assert_ne!(entropy.nonce(), entropy.nonce());
    }
}
