//! `cumae cassandra`, and the way to a Cassandra that a process has.
//!
//! A binary that was built without the feature `cassandra` says so.
//!
//! Not here: what is done to the tables (`ingester::cassandra::upkeep`).

#[cfg(feature = "cassandra")]
mod command;

#[cfg(feature = "cassandra")]
pub(crate) use command::{connect, run};

/// Why a command, or a start, failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// This binary has no driver.
    #[cfg(not(feature = "cassandra"))]
    #[error(
        "this binary was built without Cassandra; build it with `cargo build --release --package node \
         --features cassandra`"
    )]
    NotBuilt,
    /// No session.
    #[cfg(feature = "cassandra")]
    #[error(transparent)]
    Connect(#[from] ingester::cassandra::driver::ConnectError),
    /// What the database says.
    #[cfg(feature = "cassandra")]
    #[error("{0}")]
    Rows(String),
    /// What the store says.
    #[cfg(feature = "cassandra")]
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is no keyspace.
    #[cfg(feature = "cassandra")]
    #[error(
        "Cassandra has no keyspace `{0}` (cassandra.keyspace); run `cumae cassandra init --replication \
         MAP`"
    )]
    NoKeyspace(String),
    /// A new keyspace without a word on its copies.
    #[cfg(feature = "cassandra")]
    #[error(
        "Cassandra has no keyspace `{0}` yet: say how it is replicated, such as --replication \
         \"{{'class': 'NetworkTopologyStrategy', 'dc1': 3}}\""
    )]
    NoReplication(String),
    /// Nodes that answer before they sync.
    #[cfg(feature = "cassandra")]
    #[error(
        "node {0} has `commitlog_sync: periodic`: it answers up to 10 s before what it answers for is \
         on disk; set `commitlog_sync: batch` or `group` in its cassandra.yaml, or \
         cassandra.accept_periodic_commitlog: true"
    )]
    Periodic(String),
    /// More tables than nodes bear.
    #[cfg(feature = "cassandra")]
    #[error(
        "keyspace `{0}` has {1} tables: above {max} they cost the nodes much memory; drop what is not of Cumae, \
         or take a keyspace of its own",
        max = ingester::cassandra::upkeep::TABLES_MAX
    )]
    TooManyTables(String, usize),
    /// What was looked for, was found.
    #[cfg(feature = "cassandra")]
    #[error("{0} faults: what they name is missing or damaged")]
    Damaged(usize),
}

/// There is nothing to reach one with.
#[cfg(not(feature = "cassandra"))]
pub(crate) fn run(
    _: &crate::config::Config,
    _: &crate::cli::cassandra::CassandraCommand,
) -> Result<(), Error> {
    Err(Error::NotBuilt)
}
