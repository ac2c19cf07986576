//! Flags of `cumae bench`.

use bench::protocol::Protocol;
use bench::workload::Workload;
use clap::{Args, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `cumae bench …`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Send what a fleet of node exporters sends; report speed, latency, CPU time and memory
    Write(BenchWrite),
    /// Ask queries over and over; report latencies, CPU time and memory
    Read(BenchRead),
    /// Prove that what a server acknowledged is there: once, and unchanged
    #[command(subcommand)]
    Verify(BenchVerify),
}

/// A workload of docs/BENCHMARKS.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WorkloadName {
    /// An hour of 100,000 series
    A,
    /// Five minutes of a million series
    B,
    /// A day of 12,000 series, 20 samples of a series together, over one connection
    C,
    /// As A, each target replaced once
    E,
}

impl WorkloadName {
    /// What it is to the load generator.
    #[must_use]
    pub fn workload(self) -> Workload {
        match self {
            Self::A => Workload::A,
            Self::B => Workload::B,
            Self::C => Workload::C,
            Self::E => Workload::E,
        }
    }
}

/// How samples are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    /// Remote write 1.0
    Rw1,
    /// Remote write 2.0
    Rw2,
    /// OTLP, protobuf
    Otlp,
}

impl ProtocolName {
    /// What it is to the load generator.
    #[must_use]
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Rw1 => Protocol::RemoteWrite1,
            Self::Rw2 => Protocol::RemoteWrite2,
            Self::Otlp => Protocol::Otlp,
        }
    }
}

/// Flags of `cumae bench write`.
#[derive(Debug, Args)]
pub struct BenchWrite {
    /// Where the server serves HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9009")]
    pub target: SocketAddr,
    /// How samples are sent
    #[arg(long, value_enum, default_value = "rw1")]
    pub protocol: ProtocolName,
    /// The path that takes it [default: /api/v1/write, or /otlp/v1/metrics]
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// What to send; the flags below change parts of it
    #[arg(long, value_enum, ignore_case = true, default_value = "a")]
    pub workload: WorkloadName,
    /// Series at a time; a target has 1,000 of them
    #[arg(long)]
    pub series: Option<u32>,
    /// Scrapes of each target, 15 s apart
    #[arg(long)]
    pub rounds: Option<u32>,
    /// Connections; each sends the targets that are its own, in order
    #[arg(long)]
    pub connections: Option<u32>,
    /// Samples in one request
    #[arg(long, default_value_t = 2_000)]
    pub samples_per_request: u32,
    /// Scrapes of a target that are sent together: so many samples of a series in one request
    #[arg(long, value_name = "N")]
    pub samples_per_series: Option<u32>,
    /// Samples a second over all connections; 0 is as fast as it goes
    #[arg(long, default_value_t = 0)]
    pub rate: u32,
    /// Time of the last scrape in milliseconds since 1970 [default: now]
    #[arg(long, value_name = "MS")]
    pub end_ms: Option<i64>,
    /// The server's process id: its CPU time and memory are measured
    #[arg(long)]
    pub pid: Option<u32>,
    /// Seconds of background work after the last request that still count as CPU time
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub settle: u32,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `cumae bench read`.
#[derive(Debug, Args)]
pub struct BenchRead {
    /// Where the server serves HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9009")]
    pub target: SocketAddr,
    /// What is before /api/v1, as /prometheus
    #[arg(long, value_name = "PATH", default_value = "")]
    pub prefix: String,
    /// A query; may be given more than once [default: a dashboard's, over what `bench write` sends]
    #[arg(long, value_name = "PROMQL")]
    pub query: Vec<String>,
    /// Seconds of the range that is asked for; 0 asks at a moment
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    pub range: u32,
    /// The range's step in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub step: u32,
    /// The range's end in milliseconds since 1970 [default: now]
    #[arg(long, value_name = "MS")]
    pub end_ms: Option<i64>,
    /// A parameter of each request besides, as nocache=1
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub parameter: Vec<(String, String)>,
    /// Connections
    #[arg(long, default_value_t = 2)]
    pub connections: u32,
    /// How many seconds to go on
    #[arg(long, default_value_t = 10)]
    pub seconds: u32,
    /// The server's process id: its CPU time and memory are measured
    #[arg(long)]
    pub pid: Option<u32>,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

/// `cumae bench verify …`.
#[derive(Debug, Subcommand)]
pub enum BenchVerify {
    /// Write samples that describe themselves, and note each attempt; what fails is sent again
    Write(VerifyWrite),
    /// Read them back; exit status 1 if one is missing, wrong, there twice or was never sent
    Read(VerifyRead),
    /// Read the newest while they are written: exit status 1 if an answer is short or wrong; an error is none
    Watch(VerifyWatch),
}

/// Flags of `cumae bench verify write`.
#[derive(Debug, Args)]
pub struct VerifyWrite {
    /// Where a server serves HTTP; may be given more than once: what one does not take the next is sent
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9009")]
    pub target: Vec<SocketAddr>,
    /// The path that takes remote write 1.0
    #[arg(long, value_name = "PATH", default_value = "/api/v1/write")]
    pub path: String,
    /// Where attempts are noted; a new file
    #[arg(long, value_name = "FILE")]
    pub ledger: PathBuf,
    /// Series, in whole batches
    #[arg(long, default_value_t = 1_000)]
    pub series: u32,
    /// Series of one request
    #[arg(long, value_name = "SERIES", default_value_t = 100)]
    pub batch: u32,
    /// Metrics that the series are of
    #[arg(long, default_value_t = 1)]
    pub metrics: u32,
    /// Connections, each with batches of its own
    #[arg(long, default_value_t = 1)]
    pub connections: u32,
    /// How many seconds to go on
    #[arg(long, default_value_t = 60)]
    pub seconds: u32,
    /// At least so many milliseconds between two samples of a series
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    pub interval: u32,
    /// Milliseconds that are added to the samples' times
    #[arg(long, value_name = "MS", default_value_t = 0, allow_negative_numbers = true)]
    pub shift: i64,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `cumae bench verify watch`.
#[derive(Debug, Args)]
pub struct VerifyWatch {
    /// Where a server serves HTTP; may be given more than once: they are asked in turn
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9009")]
    pub target: Vec<SocketAddr>,
    /// What is before /api/v1, as /prometheus
    #[arg(long, value_name = "PATH", default_value = "")]
    pub prefix: String,
    /// What is being written
    #[arg(long, value_name = "FILE")]
    pub ledger: PathBuf,
    /// A line for each question: when it ended, milliseconds that it took, status, faults so far, who was asked; a new file
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How many seconds to go on
    #[arg(long, default_value_t = 60)]
    pub seconds: u32,
    /// At least so many milliseconds between two questions
    #[arg(long, value_name = "MS", default_value_t = 200)]
    pub interval: u32,
    /// Seconds of the past that are asked for
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub past: u32,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `cumae bench verify read`.
#[derive(Debug, Args)]
pub struct VerifyRead {
    /// Where the server serves HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9009")]
    pub target: SocketAddr,
    /// What is before /api/v1, as /prometheus
    #[arg(long, value_name = "PATH", default_value = "")]
    pub prefix: String,
    /// What was written
    #[arg(long, value_name = "FILE")]
    pub ledger: PathBuf,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

/// `name=value`.
fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or_else(|| format!("{text}: want NAME=VALUE"))?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}
