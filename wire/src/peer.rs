//! Node to node: replicas of other processes behind the trait of those in this one.
//!
//! A node keeps two connections to each peer, one for writes and one for reads, so that a large
//! answer does not hold up an acknowledgement. Requests are multiplexed by number; answers come in
//! parts. Both sides prove that they know the cluster's secret before anything else is said.
//!
//! # Invariants
//! - Before the proof no peer makes us hold more than [`frame::HELLO_BYTES_MAX`] bytes, nor longer
//!   than [`handshake::LIMIT`]; after it, no more than the budgets of [`PeerConfig`].
//! - Every queue has a bound; a request beyond it waits for its own time limit and fails.
//! - A peer that is not connected fails a request at once: the caller asks another replica.
//!
//! Not here: encryption. The secret keeps strangers out; who can read or change the traffic between
//! the nodes needs a private network in between.

pub mod client;
pub mod codec;
mod columns;
pub mod config;
mod delete;
mod exemplars;
pub mod frame;
pub mod handshake;
mod lane;
pub mod message;
mod mutation;
mod query;
pub mod server;

pub use client::{PeerClient, PeerParts};
pub use config::{Entropy, PeerConfig, Secret, check_listen};
pub use server::PeerServer;

#[cfg(test)]
mod tests;
