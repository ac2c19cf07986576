//! The command line of `cumae cassandra`.

use clap::{Args, Subcommand};

/// `cumae cassandra …`. Which Cassandra, the section `cassandra` of the configuration says.
#[derive(Debug, Subcommand)]
pub enum CassandraCommand {
    /// Make the keyspace and the tables, or bring them up to this version; a newer schema is left alone
    #[command(after_help = INIT)]
    Init(InitFlags),
    /// Show the schema's version, what the nodes say of their commit logs, who serves what, how old
    /// journals are, and each table with its size
    Status,
    /// Show how long samples are kept by all processes: what the first one said, or the last `--apply`;
    /// and where this configuration says something else
    Retention {
        /// From now on what this configuration says holds for all processes; those that run see it
        /// within a minute
        #[arg(long)]
        apply: bool,
    },
    /// Read every piece of every live file against its hash, and name files that nothing names any
    /// more; exit status 1 if something is missing or damaged
    Check {
        /// Delete the files that nothing names: what a process that died while it wrote left behind.
        /// A query that runs meanwhile may fail if its files were merged away just before
        #[arg(long)]
        remove_orphans: bool,
    },
}

/// Flags of `cumae cassandra init`.
#[derive(Debug, Args)]
pub struct InitFlags {
    /// Print the CQL, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How the keyspace is replicated, as CQL has it; needed when there is no such keyspace yet
    #[arg(long, value_name = "MAP", value_parser = replication)]
    pub replication: Option<String>,
    /// For so many seconds every table remembers what was deleted, instead of its own time; 0 only on
    /// one node: a node that was down brings back what was deleted meanwhile
    #[arg(long, value_name = "SECONDS")]
    pub gc_grace: Option<u32>,
}

/// What is said at the end of `cumae cassandra init --help`.
const INIT: &str = "\
Example:
  cumae cassandra init --replication \"{'class': 'NetworkTopologyStrategy', 'dc1': 3}\"

The role needs CREATE on all keyspaces, or on the keyspace if it is there; a process that serves needs
SELECT, MODIFY, CREATE and DROP on the keyspace, and SELECT on the keyspace system_views.";

/// A map of CQL and nothing else: it becomes part of a statement.
fn replication(text: &str) -> Result<String, &'static str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-.:,' ".contains(c);
    let inside = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match inside.is_some_and(|inside| inside.contains("'class'") && inside.chars().all(is_part)) {
        true => Ok(text.trim().to_owned()),
        false => Err("wanted a map such as {'class': 'NetworkTopologyStrategy', 'dc1': 3}"),
    }
}
