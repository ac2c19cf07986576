//! The configuration: what a user may set, its defaults, and what is refused at the start.
//!
//! Every key has one home, [`settings`]: reading, printing and the reference text all walk that
//! list. Defaults come first, then the file, then the environment and the command line.
//!
//! # Invariants
//! - All faults are told at once, each with its key.
//! - An unknown key is a fault, so a typo never switches a limit off.
//!
//! Not here: what a limit means (`guard::limits`), how the cluster is laid out
//! (`cluster::topology`).

pub mod cassandra;
mod print;
mod read;
mod relabel;
mod settings;
mod value;

use cluster::consistency::Consistency;
use guard::Limits;
use model::TenantId;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use cassandra::Storage;
pub(crate) use relabel::{rule_json, rules_of};
pub use settings::Visitor;
pub use value::{Bytes, Setting};

/// A fault of the configuration: which key, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct Fault {
    /// The key, sections joined by dots.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Fault {
    /// A fault of `key`.
    #[must_use]
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Role {
    /// Takes writes in.
    Distributor,
    /// Keeps data.
    Ingester,
    /// Answers queries.
    Querier,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Distributor, Self::Ingester, Self::Querier];

    /// The role as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Distributor => "distributor",
            Self::Ingester => "ingester",
            Self::Querier => "querier",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything a user may set.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "`settings` documents each key")]
pub struct Config {
    pub roles: Vec<Role>,
    pub tenancy: guard::Tenancy,
    pub self_metrics: bool,
    pub server: Server,
    pub data: Data,
    pub disk: Disk,
    pub storage: Storage,
    pub cassandra: cassandra::Cassandra,
    pub store: Store,
    pub compaction: store::config::CompactionConfig,
    pub write: Write,
    pub query: Query,
    pub limits: Limits,
    pub overrides: Vec<(TenantId, Limits)>,
    pub cluster: Cluster,
    pub log: Log,
}

/// The HTTP server.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "`settings` documents each key")]
pub struct Server {
    pub listen: SocketAddr,
    pub allow_unauthenticated: bool,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
    pub body_timeout: Duration,
    pub stall_timeout: Duration,
    pub drain_timeout: Duration,
}

/// Where data lies.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "`settings` documents each key")]
pub struct Data {
    pub dir: PathBuf,
}

/// The disk that data lies on.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "`settings` documents each key")]
pub struct Disk {
    pub reserve: u64,
}

/// What queries of all tenants share; the bounds of their texts are in `limits`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "`settings` documents each key")]
pub struct Query {
    pub slow_query: Duration,
    pub cache_bytes: u64,
    pub memory_bytes: u64,
    pub evaluation_interval: Duration,
    pub features: promql::Features,
}

/// What writes of all tenants share.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "`settings` documents each key")]
pub struct Write {
    pub memory_bytes: u64,
    pub new_tenants_per_second: u64,
    pub tenants_max: u64,
}

/// The store of this process.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "`settings` documents each key")]
pub struct Store {
    pub cache_bytes: u64,
    pub compaction_throughput: u64,
    pub scrub_cycle: Duration,
}

/// Who belongs together.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "`settings` documents each key")]
pub struct Cluster {
    pub name: String,
    pub node: String,
    pub listen: SocketAddr,
    pub secret: String,
    pub members: Vec<MemberSettings>,
    pub ingesters: Vec<String>,
    pub accept_layout: String,
    pub replication_factor: usize,
    pub write_consistency: Consistency,
    pub read_consistency: Consistency,
}

/// One line of the member list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSettings {
    /// The member's name: its `cluster.node`.
    pub node: String,
    /// Where its peers reach it, `host:port`.
    pub address: String,
    /// What it does; every role if the list does not say.
    pub roles: Vec<Role>,
    /// What it shares its fate with.
    pub rack: String,
}

/// Logs.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "`settings` documents each key")]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            roles: Role::ALL.to_vec(),
            tenancy: value::single_tenancy(),
            self_metrics: true,
            server: Server {
                listen: SocketAddr::from(([127, 0, 0, 1], 9009)),
                allow_unauthenticated: false,
                connections_max: 10_000,
                connections_per_address_max: 1_000,
                header_timeout: Duration::from_secs(10),
                idle_timeout: Duration::from_secs(90),
                stall_timeout: Duration::from_secs(60),
                body_timeout: Duration::from_secs(30),
                drain_timeout: Duration::from_secs(20),
            },
            data: Data { dir: "cumae-data".into() },
            disk: Disk { reserve: 0 },
            storage: Storage::Embedded,
            cassandra: cassandra::Cassandra::default(),
            store: Store {
                cache_bytes: 64 << 20,
                compaction_throughput: 64 << 20,
                scrub_cycle: Duration::from_secs(7 * 24 * 3600),
            },
            compaction: store::config::CompactionConfig::default(),
            write: Write { memory_bytes: 0, new_tenants_per_second: 100, tenants_max: 100_000 },
            query: Query {
                slow_query: Duration::from_secs(10),
                cache_bytes: 256 << 20,
                memory_bytes: 0,
                evaluation_interval: Duration::from_secs(60),
                features: promql::Features::default(),
            },
            limits: Limits::default(),
            overrides: Vec::new(),
            cluster: Cluster {
                name: "cumae".to_owned(),
                node: String::new(),
                listen: SocketAddr::from(([127, 0, 0, 1], 9010)),
                secret: String::new(),
                members: Vec::new(),
                ingesters: Vec::new(),
                accept_layout: String::new(),
                replication_factor: 0,
                write_consistency: Consistency::default(),
                read_consistency: Consistency::default(),
            },
            log: Log { level: "info".to_owned(), format: LogFormat::Text },
        }
    }
}

impl Config {
    /// Reads `file` over the defaults. What can be read is kept, so that checks of the whole can
    /// tell their faults too.
    #[must_use]
    pub fn load(file: Option<&Path>) -> (Self, Vec<Fault>) {
        let Some(path) = file else { return (Self::default(), Vec::new()) };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) => {
                (Self::default(), vec![Fault::new(path.display().to_string(), error.to_string())])
            }
        }
    }

    /// Reads YAML over the defaults.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<Fault>) {
        let mut config = Self::default();
        let faults = read::read(text, &mut config);
        (config, faults)
    }

    /// The whole configuration in force as YAML, each key with its meaning; secrets hidden.
    #[must_use]
    pub fn print(&self) -> String {
        print::print(self)
    }

    /// Whether this process has the role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// What cannot be started with, all of it.
    #[must_use]
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let server = &self.server;
        if !server.listen.ip().is_loopback() && !server.allow_unauthenticated {
            faults.push(Fault::new(
                "server.listen",
                format!(
                    "{} can be reached from other machines, and requests are not authenticated; \
                     listen on 127.0.0.1 behind a proxy that authenticates, or say \
                     `server.allow_unauthenticated: true` if this network is trusted",
                    server.listen
                ),
            ));
        }
        if self.roles.is_empty() {
            faults.push(Fault::new("roles", "none given; leave the key out for all of them"));
        }
        if tracing_subscriber::EnvFilter::try_new(&self.log.level).is_err() {
            let message = format!("`{}` is no level and no filter; say info", self.log.level);
            faults.push(Fault::new("log.level", message));
        }
        if self.store.compaction_throughput == 0 {
            let message = "0 would never compact; say how many bytes per second";
            faults.push(Fault::new("store.compaction_throughput", message));
        }
        if self.query.evaluation_interval.as_millis() == 0 {
            let message = "a subquery without a step needs one; say 1m";
            faults.push(Fault::new("query.evaluation_interval", message));
        }
        for fault in self.compaction.validate() {
            faults.push(Fault::new("store", fault));
        }
        for fault in self.limit_table().validate() {
            let key = match fault.key.split_once('.') {
                None => format!("limits.{}", fault.key),
                Some(_) => fault.key,
            };
            faults.push(Fault::new(key, fault.reason));
        }
        self.check_cluster(&mut faults);
        if self.storage == Storage::Cassandra {
            self.cassandra.check(&mut faults);
        }
        faults
    }

    /// The limits of every tenant.
    #[must_use]
    pub fn limit_table(&self) -> guard::LimitTable {
        let table = guard::LimitTable::new(self.limits.clone());
        self.overrides
            .iter()
            .fold(table, |table, (tenant, limits)| table.with(tenant.clone(), limits.clone()))
    }

    /// What many processes over one database cannot be started with.
    fn check_over_database(&self, faults: &mut Vec<Fault>) {
        let cluster = &self.cluster;
        if !cluster.members.is_empty() {
            let message = "has to be empty with storage: cassandra: processes learn each other \
                           from there";
            faults.push(Fault::new("cluster.members", message));
        }
        if !self.has(Role::Ingester) {
            self.check_guest(faults);
            return;
        }
        if cluster.listen.ip().is_unspecified() {
            let message = "has to be an address that other processes reach: they learn it from \
                           Cassandra";
            faults.push(Fault::new("cluster.listen", message));
        }
        let secret = wire::peer::Secret::new(&cluster.secret);
        if let Err(message) = wire::peer::check_listen(cluster.listen, &secret) {
            faults.push(Fault::new("cluster.secret", message));
        }
    }

    /// What a process that keeps no data, of many over one database, cannot be started with.
    fn check_guest(&self, faults: &mut Vec<Fault>) {
        let ingesters = &self.cluster.ingesters;
        if ingesters.is_empty() {
            let message = "none given; with storage: cassandra a process without the role ingester learns \
                           from them who has what: say cluster.listen of one or two";
            faults.push(Fault::new("cluster.ingesters", message));
        }
        let secret = wire::peer::Secret::new(&self.cluster.secret);
        for ingester in ingesters {
            let checked = match ingester.parse() {
                Ok(address) => wire::peer::check_listen(address, &secret),
                Err(_) => Err(format!("`{ingester}` is no address and port, as 10.0.0.1:9010")),
            };
            if let Err(message) = checked {
                faults.push(Fault::new("cluster.ingesters", message));
            }
        }
    }

    fn check_cluster(&self, faults: &mut Vec<Fault>) {
        let cluster = &self.cluster;
        if self.storage == Storage::Cassandra {
            self.check_over_database(faults);
            return;
        }
        if cluster.members.is_empty() {
            if self.roles.len() < Role::ALL.len() {
                let message = "is needed when a process does not have every role: it says where \
                               the other roles are";
                faults.push(Fault::new("cluster.members", message));
            }
            if cluster.replication_factor > 1 {
                let message = "more than one copy needs members to keep them";
                faults.push(Fault::new("cluster.replication_factor", message));
            }
            return;
        }
        if !cluster.listen.ip().is_loopback() && cluster.secret.is_empty() {
            faults.push(Fault::new(
                "cluster.secret",
                format!(
                    "is needed because peers are listened for on {}, which other machines can \
                     reach; set the same long random text on every member",
                    cluster.listen
                ),
            ));
        }
        match cluster.members.iter().find(|member| member.node == cluster.node) {
            None => {
                let message = format!("`{}` is not in cluster.members", cluster.node);
                faults.push(Fault::new("cluster.node", message));
            }
            Some(member) if !same_roles(&member.roles, &self.roles) => faults.push(Fault::new(
                "roles",
                format!(
                    "this process has other roles than cluster.members says of `{}`",
                    member.node
                ),
            )),
            Some(_) => {}
        }
        if let Err(more) = cluster::topology::Topology::new(self.topology()) {
            for fault in more {
                // The message begins with the key below `cluster`.
                let text = fault.to_string();
                let (key, message) = text.split_once(": ").unwrap_or(("members", &text));
                faults.push(Fault::new(format!("cluster.{key}"), message));
            }
        }
    }

    /// The layout of the cluster, unchecked.
    #[must_use]
    pub fn topology(&self) -> cluster::topology::TopologyConfig {
        let settings = &self.cluster;
        let ingesters =
            settings.members.iter().filter(|member| member.roles.contains(&Role::Ingester)).count();
        let replication_factor = match settings.replication_factor {
            0 => ingesters.clamp(1, 3),
            given => given,
        };
        let members = settings.members.iter().map(|member| cluster::members::Member {
            name: member.node.clone(),
            address: member.address.clone(),
            roles: cluster::members::Roles {
                distributor: member.roles.contains(&Role::Distributor),
                ingester: member.roles.contains(&Role::Ingester),
                querier: member.roles.contains(&Role::Querier),
            },
            rack: member.rack.clone(),
        });
        cluster::topology::TopologyConfig {
            members: members.collect(),
            replication_factor,
            write_consistency: settings.write_consistency,
            read_consistency: settings.read_consistency,
        }
    }
}

fn same_roles(a: &[Role], b: &[Role]) -> bool {
    Role::ALL.iter().all(|role| a.contains(role) == b.contains(role))
}

#[cfg(test)]
mod tests;
