//! The command line.

pub mod cassandra;
pub mod load;

use crate::config::{Bytes, Config, Fault, Role, Setting};
use clap::{Args, Parser, Subcommand, value_parser};
use std::net::SocketAddr;
use std::path::PathBuf;
use store::compaction::scaling::{Scaling, Strategy};

/// What is said at the end of `--help`.
const EXAMPLES: &str = "\
Examples:
  cumae                                    everything in one process, data in ./cumae-data
  cumae --data-dir /var/lib/cumae --listen 127.0.0.1:9009
  cumae --config cumae.yaml --role ingester
  cumae config print                       every setting, its default and its meaning
  cumae config check --config cumae.yaml   every fault of a file at once
  cumae snapshot create                    then: list, verify, copy, restore, delete
  cumae store verify                       every byte against its checksum; then: inspect, dump
  cumae store simulate --flush-size 6MiB   what each compaction strategy would write and hold
  cumae cassandra init --dry-run           the tables in a Cassandra; then: status, check, retention
  cumae import prometheus /var/lib/prometheus
  cumae query 'sum by (job) (rate(http_requests_total[5m]))' --start -6h --format chart
  cumae promql lint 'rate(up[5m])'         also: fmt, parse
  cumae test alerts.test                   queries against series that a script loads
  cumae relabel test --rules rules.yaml 'up{job=\"a\"}'
  cumae bench write --target 127.0.0.1:9009      then: read, verify

Prometheus sends to it with
  remote_write:
    - url: http://127.0.0.1:9009/api/v1/push
and Grafana asks it as a Prometheus datasource at http://127.0.0.1:9009.";

/// A multi-tenant, Prometheus-compatible metrics backend.
///
/// Takes Prometheus remote write, acknowledges what is on disk, and answers PromQL. Without a
/// command it serves; SIGTERM or Ctrl-C ends it: requests are finished, the data is flushed.
#[derive(Debug, Parser)]
#[command(name = "cumae", version = VERSION, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What overrides the configuration.
    #[command(flatten)]
    pub flags: Flags,
}

/// What `--version` says after the name.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (answers like Prometheus 3.14.0; remote write 1.0 and 2.0, OTLP)"
);

/// Flags, and variables of the environment, over the configuration file.
#[derive(Debug, Args)]
pub struct Flags {
    /// The configuration, in YAML; `cumae config print` shows every key
    #[arg(long, global = true, value_name = "FILE", env = "CUMAE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where the data lies; one process at a time [default: cumae-data]
    #[arg(long, global = true, value_name = "DIR", env = "CUMAE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address and port of HTTP; port 0 takes a free one [default: 127.0.0.1:9009]
    #[arg(long, global = true, value_name = "ADDRESS", env = "CUMAE_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// What this process does; may repeat, or be a list with commas [default: all of them]
    #[arg(long = "role", global = true, value_delimiter = ',', env = "CUMAE_ROLE")]
    pub roles: Vec<Role>,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show or check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Take snapshots of the data, copy them elsewhere, restore them
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Look into the files of a data directory, and for damage; a server may work on it
    #[command(subcommand)]
    Store(StoreCommand),
    /// Make the tables in an Apache Cassandra, look at them, check every byte of them
    #[command(subcommand)]
    Cassandra(cassandra::CassandraCommand),
    /// Load what others wrote into a data directory that no server works on
    #[command(subcommand)]
    Import(ImportCommand),
    /// Ask a server, and print the answer as a table, JSON, CSV or a chart
    Query(QueryFlags),
    /// Lay out, check or take apart a query, without a server
    #[command(subcommand)]
    Promql(PromqlCommand),
    /// Run scripts of queries and expected answers; exit status 1 if one differs
    #[command(after_help = SCRIPT)]
    Test {
        /// The scripts
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// See what rules of relabelling do to series
    #[command(subcommand)]
    Relabel(RelabelCommand),
    /// Measure a server from outside
    #[command(subcommand)]
    Bench(load::BenchCommand),
}

/// `cumae config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the configuration in force as YAML, each key with its meaning; secrets left out
    Print,
    /// Tell every fault of the configuration; exit status 1 if there is one
    Check,
}

/// `cumae snapshot …`. Without `--from` it is about the data directory (`--data-dir`).
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Take one, and print its name: of the server that runs on the data directory, or of the
    /// directory itself if none does
    Create,
    /// List them: name, files, bytes, and how many of these only snapshots keep
    List {
        /// A backup to list instead of the data directory
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
    /// Check every byte of one; exit status 1, and each damaged file and offset, if it is not what
    /// it was
    Verify {
        /// The snapshot's name
        name: String,
        /// A backup that holds it
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
    /// Copy one into a backup: each file once, by its hash, and only what is not there yet
    Copy {
        /// The snapshot's name
        name: String,
        /// The backup; it is made if there is none
        #[arg(value_name = "DIR")]
        into: PathBuf,
    },
    /// Make a new data directory of one; the directory must be empty or not there
    Restore {
        /// The snapshot's name
        name: String,
        /// The new data directory
        #[arg(value_name = "DIR")]
        into: PathBuf,
        /// A backup that holds the snapshot
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
    /// Delete one: space that only it kept is given back
    Delete {
        /// The snapshot's name
        name: String,
        /// A backup to delete it from; its objects stay
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
}

/// `cumae store …`. It takes no lock, writes nothing, and believes no byte.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Check every byte of a data directory or of one file; each fault with its file and offset,
    /// and exit status 1 if there is one
    Verify {
        /// A data directory, or a file of one [default: the data directory of the configuration]
        #[arg(value_name = "PATH")]
        path: Option<PathBuf>,
    },
    /// Say what a file is and holds, in a few lines: manifest, commit-log segment, checkpoint,
    /// sstable, list of a snapshot
    Inspect {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print everything that a file holds: samples, definitions, live files
    Dump {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Stop after so many lines; 0 prints all
        #[arg(long, value_name = "LINES", default_value_t = 0)]
        limit: u64,
    },
    /// Say what the compaction strategies would cost for a load: bytes written for each byte flushed,
    /// sstables that a read opens, space. It plays the settings in force, and touches no file
    #[command(after_help = SIMULATE)]
    Simulate(SimulateFlags),
}

/// Flags of `cumae store simulate`: what is flushed into one window of a day.
#[derive(Debug, Args)]
pub struct SimulateFlags {
    /// Flushes while the window is open
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = value_parser!(u64).range(1..=10_000))]
    pub flushes: u64,
    /// The size of each
    #[arg(long, value_name = "BYTES", default_value = "100MiB", value_parser = bytes)]
    pub flush_size: Bytes,
    /// Flushes of late data, an hour apart, after the window was closed and sealed
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = value_parser!(u64).range(0..=10_000))]
    pub late_flushes: u64,
    /// The size of each
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = bytes)]
    pub late_size: Bytes,
    /// Leave the window open, without a seal; late data is then more of the same
    #[arg(long)]
    pub open: bool,
    /// ucs, stcs, lcs, twcs, or scaling parameters of ucs such as T8; may repeat [default: several]
    #[arg(long = "strategy", value_name = "NAME")]
    pub strategies: Vec<Simulated>,
}

/// A strategy that is simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Simulated {
    /// By its name; `ucs` has the scaling parameters of the configuration.
    Named(Strategy),
    /// `ucs` with these.
    Scaled(Scaling),
}

/// Bytes as the configuration has them, from 1 B to 1 TiB.
fn bytes(text: &str) -> Result<Bytes, String> {
    let value = text.parse::<u64>().map_or_else(|_| text.into(), serde_json::Value::from);
    let bytes = Bytes::read(&value)?;
    let is_sound = (1..=1 << 40).contains(&bytes.0);
    is_sound.then_some(bytes).ok_or_else(|| "wanted 1 byte to 1024GiB".to_owned())
}

/// `cumae import …`. Once more changes nothing; the samples are seen all at once, at the end.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// A Prometheus data directory: its blocks, its log, and the chunks of its head
    Prometheus {
        /// The directory that its --storage.tsdb.path names; Prometheus must be stopped
        #[arg(value_name = "DIR")]
        source: PathBuf,
        /// Whose they are, and how they are taken
        #[command(flatten)]
        into: ImportInto,
    },
    /// An OpenMetrics text in which every sample has a timestamp
    Openmetrics {
        /// The text; its last line is # EOF
        #[arg(value_name = "FILE")]
        source: PathBuf,
        /// Whose they are, and how they are taken
        #[command(flatten)]
        into: ImportInto,
    },
}

/// Flags of `cumae import`.
#[derive(Debug, Args)]
pub struct ImportInto {
    /// Whose the samples are
    #[arg(long, default_value = "default")]
    pub tenant: String,
    /// Of samples at one time the one with the highest revision wins, and a delete hides all up to the
    /// highest of its moment. A number, or `auto`: the lowest that no delete hides
    #[arg(long, default_value = "0", value_name = "N|auto")]
    pub revision: Revision,
    /// Leave out what is damaged, and count it, instead of giving up at once
    #[arg(long)]
    pub skip_damaged: bool,
}

/// The revision of imported samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// This one.
    Fixed(u32),
    /// The lowest that no delete hides.
    Auto,
}

impl std::str::FromStr for Revision {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            number => number.parse().map(Self::Fixed).map_err(|_| "a number or `auto`"),
        }
    }
}

/// Flags of `cumae query`.
#[derive(Debug, Args)]
pub struct QueryFlags {
    /// The query, in PromQL; `-` reads it from stdin
    #[arg(value_name = "QUERY", allow_hyphen_values = true)]
    pub query: String,
    /// Where a server serves the query API: http://host:port, and a path before /api/v1 if it has one
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9009", env = "CUMAE_SERVER")]
    pub server: String,
    /// Whose data; it is sent as X-Scope-OrgID
    #[arg(long)]
    pub tenant: Option<String>,
    /// Of an instant query, its moment: seconds since 1970, RFC 3339, `now`, `-1h` [default: now]
    #[arg(long, allow_hyphen_values = true, conflicts_with_all = ["start", "end", "step"])]
    pub time: Option<String>,
    /// Of a range query, its begin [default: an hour before its end]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub start: Option<String>,
    /// Of a range query, its end [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub end: Option<String>,
    /// Of a range query, its step: 30s, 5m [default: 250 steps at most, of whole seconds]
    #[arg(long, value_name = "DURATION")]
    pub step: Option<String>,
    /// How the answer is printed
    #[arg(long, short, value_enum, default_value_t = QueryFormat::Table)]
    pub format: QueryFormat,
    /// When the server is to give up
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// A header to send, such as `Authorization: Bearer …`; may repeat
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
}

/// How `cumae query` prints an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum QueryFormat {
    /// For people
    Table,
    /// As the server answers
    Json,
    /// A column for each label, then timestamp and value
    Csv,
    /// Lines over a range, bars at an instant
    Chart,
}

/// `cumae promql …`. Every feature of the language is switched on.
#[derive(Debug, Subcommand)]
pub enum PromqlCommand {
    /// Print the query laid out
    Fmt(QueryText),
    /// Tell what is legal and mostly a mistake, each with line, column and a caret; exit status 1 if
    /// there is something
    Lint(QueryText),
    /// Print the syntax tree as JSON
    Parse(QueryText),
}

/// The query that `cumae promql` works on.
#[derive(Debug, Args)]
pub struct QueryText {
    /// The query; `-`, or none, reads it from stdin
    #[arg(value_name = "QUERY", allow_hyphen_values = true)]
    pub query: Option<String>,
}

/// `cumae relabel …`.
#[derive(Debug, Subcommand)]
pub enum RelabelCommand {
    /// Show what each rule makes of a series, and what would be written in the end
    #[command(after_help = RELABEL)]
    Test(RelabelTest),
}

/// Flags of `cumae relabel test`.
#[derive(Debug, Args)]
pub struct RelabelTest {
    /// The series, such as `up{job="a"}`; without one they are read from stdin, one a line
    #[arg(value_name = "SERIES")]
    pub series: Vec<String>,
    /// The rules, in YAML: a list, alone or under `metric_relabel_configs`, `write_relabel_configs` or
    /// `relabel_configs` [default: those that the configuration has for --tenant]
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Whose rules
    #[arg(long, default_value = "default")]
    pub tenant: String,
    /// Exit with status 1 if a series would not be written
    #[arg(long)]
    pub strict: bool,
}

/// What is said at the end of `cumae relabel test --help`.
const RELABEL: &str = "\
Example: rules.yaml holds
  - {action: labeldrop, regex: pod_.*}
  - {action: drop, source_labels: [__name__], regex: go_.*}
and
  cumae relabel test --rules rules.yaml 'up{job=\"a\",pod_id=\"x\"}' 'go_goroutines{job=\"a\"}'
A running server tells the same of the rules that are in force there:
  curl -G http://127.0.0.1:9009/distributor/relabel_steps --data-urlencode 'series=up{job=\"a\"}'";

/// What is said at the end of `cumae store simulate --help`.
const SIMULATE: &str = "\
Example: a day that is flushed 145 times by 6 MiB, with the strategy of the configuration and T4
  cumae store simulate --flushes 145 --flush-size 6MiB --strategy ucs --strategy T4

WA is bytes written for each byte flushed, the flush itself included; `read opens` how many sstables
a read of one partition opens at most; space the most bytes on disk at once; compacted what was
written until the seal, and late what was written for late data.";

/// What is said at the end of `cumae test --help`.
const SCRIPT: &str = "\
A script loads series and asks queries, as the tests of Prometheus do:

  load 1m
    http_requests_total{job=\"a\"} 0+60x10

  eval instant at 10m sum by (job) (rate(http_requests_total[5m]))
    {job=\"a\"} 1

  eval range from 0 to 2m step 1m http_requests_total
    http_requests_total{job=\"a\"} 0 60 120

  eval instant at 0 rate(http_requests_total)
    expect fail

`clear` forgets the series. `expect warn`, `expect info`, `expect no_warn`, `expect no_info` and
`expect ordered` may stand below an eval; `msg:` or `regex:` behind them gives the text.";

impl Flags {
    /// The configuration in force, and its faults.
    #[must_use]
    pub fn load(&self) -> (Config, Vec<Fault>) {
        let (mut config, mut faults) = Config::load(self.config.as_deref());
        if let Some(dir) = &self.data_dir {
            config.data.dir.clone_from(dir);
        }
        if let Some(listen) = self.listen {
            config.server.listen = listen;
        }
        if !self.roles.is_empty() {
            config.roles.clone_from(&self.roles);
        }
        faults.extend(config.check());
        (config, faults)
    }
}
