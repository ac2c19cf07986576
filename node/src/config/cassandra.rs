//! Where data lies, and how an Apache Cassandra is reached.

use super::Fault;
use super::settings::Visitor;
use super::value::{Setting, wanted};
use ingester::cassandra::cql;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Where data lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the data directory.
    Embedded,
    /// In rows of a Cassandra.
    Cassandra,
}

impl Setting for Storage {
    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("embedded") => Ok(Self::Embedded),
            Some("cassandra") => Ok(Self::Cassandra),
            _ => Err(wanted("one of embedded cassandra", value)),
        }
    }
    fn write(&self) -> String {
        match self {
            Self::Embedded => "embedded".to_owned(),
            Self::Cassandra => "cassandra".to_owned(),
        }
    }
}

/// How a Cassandra is reached.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "`walk` documents each key")]
pub struct Cassandra {
    pub contact_points: Vec<String>,
    pub keyspace: String,
    pub local_dc: String,
    pub username: String,
    pub password_file: PathBuf,
    pub tls_ca_file: PathBuf,
    pub tls_cert_file: PathBuf,
    pub tls_key_file: PathBuf,
    pub request_timeout: Duration,
    pub accept_periodic_commitlog: bool,
    pub cache_bytes: u64,
    pub places: usize,
}

impl Default for Cassandra {
    fn default() -> Self {
        Self {
            contact_points: vec!["127.0.0.1:9042".to_owned()],
            keyspace: "cumae".to_owned(),
            local_dc: String::new(),
            username: String::new(),
            password_file: PathBuf::new(),
            tls_ca_file: PathBuf::new(),
            tls_cert_file: PathBuf::new(),
            tls_key_file: PathBuf::new(),
            request_timeout: Duration::from_secs(5),
            accept_periodic_commitlog: false,
            cache_bytes: ingester::cassandra::CACHE_BYTES as u64,
            places: 16,
        }
    }
}

/// Walks the section.
pub(super) fn walk(v: &mut impl Visitor, settings: &mut Cassandra) {
    let meaning = "Nodes that are asked first, host:port; the others are learned from them.";
    v.setting("contact_points", meaning, &mut settings.contact_points);
    v.setting("keyspace", "Made by `cumae cassandra init`.", &mut settings.keyspace);
    let meaning = "The data centre whose quorum acknowledges; empty if there is only one. The same \
                   for every process.";
    v.setting("local_dc", meaning, &mut settings.local_dc);
    v.setting("username", "Who logs in; empty without a login.", &mut settings.username);
    let meaning = "Holds the password; read anew for each connection.";
    v.setting("password_file", meaning, &mut settings.password_file);
    let meaning = "TLS: who signs the nodes' certificates, PEM; empty is plain TCP. A certificate has \
                   to name its node's address.";
    v.setting("tls_ca_file", meaning, &mut settings.tls_ca_file);
    v.setting("tls_cert_file", "TLS: our certificate, if asked for.", &mut settings.tls_cert_file);
    v.setting("tls_key_file", "TLS: its key.", &mut settings.tls_key_file);
    let meaning = "A request without an answer by then has an unknown outcome.";
    v.setting("request_timeout", meaning, &mut settings.request_timeout);
    v.setting(
        "accept_periodic_commitlog",
        "Start although nodes answer up to 10 s before what they answer for is on disk.",
        &mut settings.accept_periodic_commitlog,
    );
    let meaning = "Pieces of sstables kept in memory as they came, of 256 KiB each.";
    super::settings::size(v, "cache_bytes", meaning, &mut settings.cache_bytes);
    let meaning = "Parts of the data that processes share out; never changes once data is there.";
    v.setting("places", meaning, &mut settings.places);
}

impl Cassandra {
    /// What it cannot be started with.
    pub(super) fn check(&self, faults: &mut Vec<Fault>) {
        let mut fault = |key: &str, message: &str| {
            faults.push(Fault::new(format!("cassandra.{key}"), message));
        };
        if self.contact_points.iter().all(String::is_empty) {
            fault("contact_points", "none given; say host:port of a node or two");
        }
        if !cql::is_keyspace(&self.keyspace) {
            fault("keyspace", "wanted lower case, digits and _, at most 48 of them");
        }
        if self.username.is_empty() != self.password_file.as_os_str().is_empty() {
            fault("username", "username and password_file go together");
        }
        let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
        if is_set(&self.tls_cert_file) != is_set(&self.tls_key_file) {
            fault("tls_cert_file", "tls_cert_file and tls_key_file go together");
        }
        if is_set(&self.tls_cert_file) && !is_set(&self.tls_ca_file) {
            fault("tls_ca_file", "is needed with tls_cert_file");
        }
        if self.request_timeout.is_zero() {
            fault("request_timeout", "0 would wait for nothing; say 5s");
        }
        if self.places == 0 || self.places > 1_024 {
            fault("places", "wanted 1 to 1024");
        }
    }
}
