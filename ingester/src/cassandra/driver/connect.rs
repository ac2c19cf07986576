//! How a session comes to be, and what is said when it does not.

use scylla::authentication::{
    AuthError, AuthenticatorProvider, AuthenticatorSession, PlainTextAuthenticator,
};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::NewSessionError;
use scylla::frame::types::{Consistency, SerialConsistency};
use scylla::policies::load_balancing::{DefaultPolicy, LatencyAwarenessBuilder};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Which cluster, and how it is asked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Nodes that are asked first, as `host:port`; the others are learned from them.
    pub contact_points: Vec<String>,
    /// The keyspace.
    pub keyspace: String,
    /// The data centre whose nodes acknowledge; empty if there is only one.
    pub local_dc: String,
    /// Who logs in; empty without a login.
    pub username: String,
    /// The file that holds the password, read anew for each connection.
    pub password_file: Option<PathBuf>,
    /// TLS; none is plain TCP.
    pub tls: Option<TlsFiles>,
    /// A request that has no answer by then has an unknown outcome.
    pub request_timeout: Duration,
    /// So many requests are in flight.
    pub requests_in_flight_max: usize,
    /// So many bytes of rows are on their way to the database.
    pub bytes_in_flight_max: usize,
}

impl Config {
    /// A keyspace that anybody may use, without TLS.
    #[must_use]
    pub fn new(contact_points: Vec<String>, keyspace: String) -> Self {
        Self {
            contact_points,
            keyspace,
            local_dc: String::new(),
            username: String::new(),
            password_file: None,
            tls: None,
            request_timeout: Duration::from_secs(5),
            requests_in_flight_max: 32,
            bytes_in_flight_max: 8 << 20,
        }
    }
}

/// The files of TLS, all PEM. The nodes' certificates have to name their addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who signs the nodes' certificates.
    pub ca_file: PathBuf,
    /// Our certificate and its key, for nodes that ask for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Why there is no session. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum ConnectError {
    #[error(
        "no node of Cassandra answers at {points}: {why}; see whether it runs, and \
         cassandra.contact_points{more}"
    )]
    Unreachable { points: String, why: String, more: &'static str },
    #[error(
        "Cassandra does not let `{username}` in: {why}; see cassandra.username and the file of \
         cassandra.password_file"
    )]
    Login { username: String, why: String },
    #[error("Cassandra has no data centre `{wanted}`; set cassandra.local_dc to one of: {found}")]
    Datacenter { wanted: String, found: String },
    #[error("cannot use `{}` (cassandra): {why}", .path.display())]
    File { path: PathBuf, why: String },
    #[error("the driver's threads do not start: {0}")]
    Runtime(io::Error),
}

/// How often a connection is asked whether its node lives, and how long the node may take to say so: a
/// node that is stopped holds up nobody for longer.
const KEEPALIVE: Duration = Duration::from_secs(1);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node may take to let somebody in: one that hangs is done without.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A node that takes so many times as long as the fastest one is asked only if no other can be. Requests of
/// all kinds count together and each takes its own time, so nodes that are well differ by some.
const SLOW_TIMES: f64 = 4.0;
/// How often a node that was slow is tried again; those that are asked meanwhile wait for it.
const SLOW_AGAIN: Duration = Duration::from_secs(60);
/// So many answers are waited for before one is called slow.
const SLOW_ANSWERS: usize = 20;

/// Connects, and finds the data centre. Whoever names none gets the only one there is, and stays in it
/// when others come: two of them would agree each by itself.
pub(super) async fn session(config: &Config) -> Result<(Session, String), ConnectError> {
    let session = session_in(config, &config.local_dc).await?;
    let local_dc = local_dc(config, &session)?;
    let session = match config.local_dc.is_empty() {
        true => session_in(config, &local_dc).await?,
        false => session,
    };
    Ok((session, local_dc))
}

/// Connects, to the nodes of one data centre if one is named.
async fn session_in(config: &Config, local_dc: &str) -> Result<Session, ConnectError> {
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(config.request_timeout));
    let slow = LatencyAwarenessBuilder::new()
        .exclusion_threshold(SLOW_TIMES)
        .retry_period(SLOW_AGAIN)
        .minimum_measurements(SLOW_ANSWERS);
    let mut policy = DefaultPolicy::builder().token_aware(true).latency_awareness(slow);
    if !local_dc.is_empty() {
        policy = policy.prefer_datacenter(local_dc.to_owned()).permit_dc_failover(false);
    }
    let profile = profile.load_balancing_policy(policy.build()).build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.contact_points)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(config.request_timeout.min(CONNECT_TIMEOUT))
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE_TIMEOUT)
        .schema_agreement_timeout(super::SCHEMA_TIMEOUT)
        .schema_agreement_interval(Duration::from_millis(100))
        .keyspaces_to_fetch([&config.keyspace])
        .fetch_full_schema_metadata(false)
        .refresh_metadata_on_auto_schema_agreement(false);
    if !config.username.is_empty() {
        builder = builder.authenticator_provider(Arc::new(Login {
            username: config.username.clone(),
            password_file: config.password_file.clone(),
        }));
    }
    if let Some(tls) = &config.tls {
        builder = builder.tls_context(Some(Arc::new(tls.client()?)));
    }
    builder.build().await.map_err(|error| why_not(config, &error))
}

/// The data centre whose quorum acknowledges: all coordinators are in it.
fn local_dc(config: &Config, session: &Session) -> Result<String, ConnectError> {
    let cluster = session.get_cluster_state();
    let found: BTreeSet<String> =
        cluster.get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect();
    let only = (found.len() == 1).then(|| found.first()).flatten();
    match only.filter(|_| config.local_dc.is_empty()) {
        Some(only) => Ok(only.clone()),
        None if found.contains(&config.local_dc) => Ok(config.local_dc.clone()),
        None => Err(ConnectError::Datacenter {
            wanted: config.local_dc.clone(),
            found: found.into_iter().collect::<Vec<_>>().join(", "),
        }),
    }
}

fn why_not(config: &Config, error: &NewSessionError) -> ConnectError {
    let why = error.to_string();
    // It is deep inside, in one of several shapes; its text is the same in all.
    match why.contains("uthentication") || why.contains("auth session") {
        true => ConnectError::Login { username: config.username.clone(), why },
        false => {
            let more = about_tls(config.tls.as_ref(), &why);
            ConnectError::Unreachable { points: config.contact_points.join(", "), why, more }
        }
    }
}

/// What an error says to who sets up TLS, if anything.
fn about_tls(tls: Option<&TlsFiles>, why: &str) -> &'static str {
    match tls {
        // So hangs up who waits for something else than CQL.
        None if why.contains("frame header") => "; if it wants TLS, cassandra.tls_ca_file",
        Some(_) if why.contains("peer certificate") => {
            "; cassandra.tls_ca_file has to have signed it"
        }
        Some(_) if why.contains("fatal alert") => {
            "; it asks for a certificate that it knows: cassandra.tls_cert_file and tls_key_file"
        }
        Some(_) if why.contains("corrupt message") => {
            "; if it has no TLS, leave cassandra.tls_ca_file out"
        }
        _ => "",
    }
}

/// A user whose password may change while the process runs.
struct Login {
    username: String,
    password_file: Option<PathBuf>,
}

type Started = Result<(Option<Vec<u8>>, Box<dyn AuthenticatorSession>), AuthError>;

impl AuthenticatorProvider for Login {
    fn start_authentication_session<'s, 'n, 'a>(
        &'s self,
        authenticator_name: &'n str,
    ) -> Pin<Box<dyn Future<Output = Started> + Send + 'a>>
    where
        's: 'a,
        'n: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            // A few bytes, once a connection.
            let password = self.password_file.as_deref().map_or(Ok(String::new()), password);
            let plain = PlainTextAuthenticator::new(self.username.clone(), password?);
            plain.start_authentication_session(authenticator_name).await
        })
    }
}

/// What is in the file, without the end of its line.
fn password(path: &Path) -> Result<String, String> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

impl TlsFiles {
    fn client(&self) -> Result<rustls::ClientConfig, ConnectError> {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, ConnectError> {
            let file = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, &error))?;
            file.collect::<Result<_, _>>().map_err(|error| wrong(path, &error))
        };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(&self.ca_file)? {
            roots.add(certificate).map_err(|error| wrong(&self.ca_file, &error))?;
        }
        if roots.is_empty() {
            return Err(wrong(&self.ca_file, &"no certificate in it"));
        }
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let Some((certificate, key)) = &self.own else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(certificate)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
        builder.with_client_auth_cert(chain, private).map_err(|error| wrong(certificate, &error))
    }
}

fn wrong(path: &Path, why: &dyn std::fmt::Display) -> ConnectError {
    ConnectError::File { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassandra::driver::Driver;
    use std::net::TcpListener;
    use std::time::Instant;

    /// The system takes the connection, and nobody ever reads from it: a process that was stopped.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is asked")]
    fn a_node_that_hangs_holds_up_a_start_for_a_few_seconds_at_most() {
        let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
        let points = vec![hangs.local_addr().unwrap().to_string()];
        let config = Config {
            request_timeout: Duration::from_secs(30),
            ..Config::new(points, "cumae".to_owned())
        };
        let began = Instant::now();
        let error = Driver::connect(&config).unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}
