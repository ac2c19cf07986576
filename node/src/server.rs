//! The HTTP server: our own accept loop.
//!
//! # Invariants
//! - A connection takes a permit before it is served: so many in all, so many of one address. At
//!   the cap it is closed at once, which a sender sees and retries.
//! - Nobody holds a connection by being slow: a header, the wait for the next request, and a body
//!   each have a time.
//! - After the stop signal no connection is accepted, requests in flight are finished, idle
//!   connections are closed, and after `drain_timeout` the rest is dropped.
//!
//! Not here: routes, TLS (a proxy in front ends it), HTTP/2.

use crate::config;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge, Registry};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::RequestBodyDeadlineLayer;

/// Header fields of one request.
const HEADERS_MAX: usize = 100;

/// A listener that does not serve yet.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    settings: config::Server,
    admission: Arc<Admission>,
    refused: IntCounter,
}

impl Server {
    /// Listens; connections wait in the backlog until [`Server::serve`].
    ///
    /// # Errors
    /// The address is taken or not ours, or the registry has these metrics already.
    pub(crate) async fn bind(settings: &config::Server, registry: &Registry) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let open = IntGauge::new("cumae_http_connections", "Open HTTP connections.");
        let refused = IntCounter::new(
            "cumae_http_connections_refused_total",
            "Connections closed at accept because there were too many.",
        );
        let (open, refused) = (open.map_err(io::Error::other)?, refused.map_err(io::Error::other)?);
        registry.register(Box::new(open.clone())).map_err(io::Error::other)?;
        registry.register(Box::new(refused.clone())).map_err(io::Error::other)?;
        let admission = Arc::new(Admission {
            open_max: settings.connections_max,
            per_address_max: settings.connections_per_address_max,
            counts: Mutex::default(),
            open,
        });
        Ok(Self { listener, address, settings: settings.clone(), admission, refused })
    }

    /// Where it listens, the port that was taken included.
    #[must_use]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is done, then drains. Returns how many connections had to be dropped.
    pub(crate) async fn serve(self, router: Router, stop: impl Future<Output = ()>) -> usize {
        let router = router
            .layer(RequestBodyDeadlineLayer::new(self.settings.body_timeout))
            .layer(CatchPanicLayer::new());
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.settings.header_timeout)
            .max_headers(HEADERS_MAX);
        let graceful = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer, &router, &http, &graceful),
                Err(error) => {
                    // Out of file descriptors, or a connection that died in the backlog. Waiting
                    // lets others close.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        let drained = tokio::time::timeout(self.settings.drain_timeout, graceful.shutdown()).await;
        if drained.is_ok() { 0 } else { self.admission.counts.lock().open }
    }

    fn take(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        router: &Router,
        http: &http1::Builder,
        graceful: &GracefulShutdown,
    ) {
        let Some(permit) = Permit::take(&self.admission, peer.ip()) else {
            self.refused.inc();
            return;
        };
        // Answers are written whole; waiting to fill a packet only adds delay.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch off Nagle's algorithm");
        }
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %peer, "connection ended");
            }
            drop(permit);
        });
    }
}

/// How many connections there are, and may be.
#[derive(Debug)]
struct Admission {
    open_max: usize,
    per_address_max: usize,
    // Guards the counts only; nothing else is locked under it.
    counts: Mutex<Counts>,
    open: IntGauge,
}

#[derive(Debug, Default)]
struct Counts {
    open: usize,
    per_address: HashMap<IpAddr, usize>,
}

/// The right to be served; given back when dropped.
#[derive(Debug)]
struct Permit {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Permit {
    fn take(admission: &Arc<Admission>, address: IpAddr) -> Option<Self> {
        let mut counts = admission.counts.lock();
        let of_address = counts.per_address.get(&address).copied().unwrap_or(0);
        if counts.open >= admission.open_max || of_address >= admission.per_address_max {
            return None;
        }
        counts.open += 1;
        counts.per_address.insert(address, of_address + 1);
        admission.open.inc();
        Some(Self { admission: Arc::clone(admission), address })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.admission.counts.lock();
        counts.open -= 1;
        match counts.per_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.per_address.remove(&self.address)),
        }
        self.admission.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(open_max: usize, per_address_max: usize) -> Arc<Admission> {
        let open = IntGauge::new("open", "open").unwrap();
        Arc::new(Admission { open_max, per_address_max, counts: Mutex::default(), open })
    }

    #[test]
    fn a_connection_beyond_a_cap_is_refused_until_one_is_closed() {
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let admission = admission(3, 2);
        let first = Permit::take(&admission, a).unwrap();
        let _second = Permit::take(&admission, a).unwrap();
        assert!(Permit::take(&admission, a).is_none(), "one address has its cap");
        let _third = Permit::take(&admission, b).unwrap();
        assert!(Permit::take(&admission, b).is_none(), "all together have theirs");
        drop(first);
        assert!(Permit::take(&admission, a).is_some());
        assert_eq!(admission.counts.lock().per_address.len(), 2);
    }
}
