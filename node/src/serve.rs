//! A process from its start to its end.
//!
//! Start: lock the directory, listen (503 until the rest is done), put the roles together (replay),
//! say `ready`.
//! End, on SIGTERM or SIGINT: not ready any more, accept no connection, finish what is in flight,
//! flush, exit 0.

use crate::config::{Config, Storage};
use crate::data_dir::{self, DataDir};
use crate::parts::SystemClock;
use crate::roles::{self, Roles};
use crate::routes::{self, Readiness};
use crate::server::{self, Routes, Server};
use crate::{cli, machine, operators, telemetry};
use model::Clock;
use std::io;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Why the process ends with a failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The data directory is in use, or cannot be used.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The roles could not be put together, or not be ended.
    #[error(transparent)]
    Roles(#[from] roles::Error),
    /// Nobody can listen there.
    #[error("cannot listen on {address} (server.listen, --listen): {source}")]
    Listen { address: std::net::SocketAddr, source: io::Error },
    /// The operating system refused.
    #[error("cannot {action}: {source}")]
    Io { action: &'static str, source: io::Error },
    /// The HTTP server panicked.
    #[error("the HTTP server died: {0}")]
    Died(tokio::task::JoinError),
    /// Two parts have a metric of the same name.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Serves until a signal ends it.
pub(crate) fn serve(config: &Config) -> Result<(), Error> {
    telemetry::start_logs(&config.log);
    machine::keep_what_is_freed();
    let data_dir = match config.storage {
        Storage::Embedded => DataDir::open(&config.data.dir)?,
        Storage::Cassandra => DataDir::none()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Io { action: "start threads", source })?;
    runtime.block_on(run(config, &data_dir))
}

async fn run(config: &Config, data_dir: &DataDir) -> Result<(), Error> {
    let stop = Stop::listen()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let registry = telemetry::registry(clock.now(), env!("CARGO_PKG_VERSION"))?;
    let server = Server::bind(&config.server, &registry);
    let listen = config.server.listen;
    let server = server.await.map_err(|source| Error::Listen { address: listen, source })?;
    for warning in config.topology().warnings() {
        tracing::warn!("{warning}");
    }

    let address = server.address();
    let routes = Routes::new(server::starting(), config.server.body_timeout);
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(routes.clone(), async { drop(ended.await) }));

    let readiness = Readiness::ready();
    let roles = Roles::start(config, data_dir, Arc::clone(&clock), &registry).await?;
    let router = roles.router().merge(routes::router(readiness.clone(), roles.peers(), registry));
    let router = router.merge(operators::router(roles.told(config, clock)));
    routes.set(querier::dress(router, querier::Origins::default()));
    let names: Vec<&str> = config.roles.iter().map(|role| role.as_str()).collect();
    tracing::info!(
        listen = %address,
        version = cli::VERSION,
        roles = names.join(","),
        node = data_dir.node_id(),
        data = %data_dir.path().display(),
        "ready"
    );

    let signal = stop.wait().await;
    tracing::info!(signal, "ending: requests in flight are finished");
    readiness.set_draining();
    // The server listens for as long as it lives, and it lives until it is told.
    let _ = end.send(());
    let dropped = serving.await.map_err(Error::Died)?;
    if dropped > 0 {
        tracing::warn!(dropped, "connections were dropped after drain_timeout");
    }
    roles.stop().await?;
    tracing::info!("ended: everything is on disk");
    Ok(())
}

/// The signals that end us.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|source| Error::Io { action: "listen for signals", source })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn wait(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
