//! The HTTP server: our own accept loop.
//!
//! # Invariants
//! - A connection takes a permit before it is served: so many in all, so many of one address. At
//!   the cap it is closed at once, which a sender sees and retries.
//! - Nobody holds a connection by being slow: a header, the wait for the next request, a body, and an
//!   answer that is not read each have a time (`paced.rs`).
//! - A request that two servers could take for different ones is refused, or is the last of its
//!   connection.
//! - After the stop signal no connection is accepted, requests in flight are finished, idle
//!   connections are closed, and after `drain_timeout` the rest is dropped.
//!
//! Not here: routes, TLS (a proxy in front ends it), HTTP/2.

mod paced;

use crate::config;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{BoxError, Router};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, Version, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use paced::{Paced, Phase, Times};
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge, Registry};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::{DeadlineBody, TimeoutError};

/// Header fields of one request.
const HEADERS_MAX: usize = 100;
/// Bytes of a request's line and header fields.
const HEADER_BYTES_MAX: usize = 64 << 10;

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
    pub(crate) async fn serve(self, routes: Routes, stop: impl Future<Output = ()>) -> usize {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.settings.idle_timeout)
            .max_header_size(HEADER_BYTES_MAX)
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
                Ok((stream, peer)) => self.take(stream, peer, &routes, &http, &graceful),
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
        routes: &Routes,
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
        let (routes, phase) = (routes.current(), Phase::default());
        let times =
            Times { header: self.settings.header_timeout, stall: self.settings.stall_timeout };
        let stream = TokioIo::new(Paced::new(stream, phase.clone(), times));
        let service = service_fn(move |request| answer(routes.clone(), phase.clone(), request));
        let connection = graceful.watch(http.serve_connection(stream, service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %peer, "connection ended");
            }
            drop(permit);
        });
    }
}

/// Answers one request.
async fn answer<B>(
    routes: Current,
    phase: Phase,
    request: Request<B>,
) -> Result<Response, Infallible>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    phase.begin();
    // A length beside it would have been ignored, and somebody in front may have gone by that.
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = match ambiguity(&request) {
        Some(what) => {
            let close = [(header::CONNECTION, "close")];
            (StatusCode::BAD_REQUEST, close, format!("{what}\n")).into_response()
        }
        None => {
            let timeout = (!distributor::takes_any_length(request.uri().path()))
                .then_some(routes.body_timeout);
            routes.router.oneshot(request.map(|body| timed(body, timeout))).await?
        }
    };
    if is_chunked {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Body::new(UntilRead { body, phase })))
}

/// The body of a request, all of which has to come in time if it has one.
fn timed<B>(body: B, timeout: Option<Duration>) -> Body
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let Some(timeout) = timeout else { return Body::new(body) };
    Body::new(DeadlineBody::new(timeout, body).map_err(|error| match error.is::<TimeoutError>() {
        // Its reader tells by the kind that the sender may come again.
        true => io::Error::new(io::ErrorKind::TimedOut, "it took too long to come").into(),
        false => error,
    }))
}

/// The body of an answer: its request is over when all of it is written, or nobody wants it.
struct UntilRead {
    body: Body,
    phase: Phase,
}

impl hyper::body::Body for UntilRead {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for UntilRead {
    fn drop(&mut self) {
        self.phase.end();
    }
}

/// What may mean something else to somebody else.
fn ambiguity<B>(request: &Request<B>) -> Option<&'static str> {
    let fields = |name| request.headers().get_all(name).iter();
    if fields(header::AUTHORIZATION).count() > 1 {
        return Some("header Authorization occurs more than once");
    }
    let mut hosts = fields(header::HOST);
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Some("header Host occurs more than once");
    }
    let differs = |authority: &str| host.is_some_and(|host| *host != *authority);
    let authority = Uri::authority(request.uri());
    if host.is_none() && authority.is_none() && request.version() == Version::HTTP_11 {
        return Some("header Host is missing");
    }
    if authority.is_some_and(|authority| differs(authority.as_str())) {
        return Some("header Host is another one than that of the request line");
    }
    None
}

/// The routes that new connections get. While a process starts they are those of [`starting`].
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    // Guards the router only; nothing else is locked under it.
    router: Arc<Mutex<Router>>,
    body_timeout: Duration,
}

impl Routes {
    /// These routes; a body may take so long to come, but for those that may have any length.
    pub(crate) fn new(router: Router, body_timeout: Duration) -> Self {
        let routes = Self { router: Arc::default(), body_timeout };
        routes.set(router);
        routes
    }

    /// Connections from now on get these.
    pub(crate) fn set(&self, router: Router) {
        *self.router.lock() = router.layer(CatchPanicLayer::new());
    }

    fn current(&self) -> Current {
        Current { router: self.router.lock().clone(), body_timeout: self.body_timeout }
    }
}

/// What one connection is served with.
#[derive(Clone, Debug)]
struct Current {
    router: Router,
    body_timeout: Duration,
}

/// The routes while the store is opened: alive, and nothing else yet. Each answer closes its
/// connection, so that the next one finds the real routes.
pub(crate) fn starting() -> Router {
    let alive = async || ([(header::CONNECTION, "close")], "Cumae is healthy.\n");
    let later = async || {
        let headers = [(header::CONNECTION, "close"), (header::RETRY_AFTER, "1")];
        (StatusCode::SERVICE_UNAVAILABLE, headers, "starting: the store is being opened\n")
    };
    Router::new().route("/-/healthy", get(alive)).fallback(later)
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

    #[tokio::test(flavor = "multi_thread")]
    async fn while_it_starts_it_is_alive_and_says_503_and_then_the_same_port_serves() {
        let mut settings = config::Config::default().server;
        settings.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(&settings, &Registry::new()).await.unwrap();
        let address = server.address();
        let routes = Routes::new(starting(), settings.body_timeout);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(routes.clone(), async { drop(stopped.await) }));
        let ask = move |path: &'static str| {
            let get = move || bench::http::request(address, "GET", path, &[], b"").unwrap();
            tokio::task::spawn_blocking(get)
        };
        assert_eq!(ask("/-/healthy").await.unwrap().status, 200);
        let early = ask("/-/ready").await.unwrap();
        assert_eq!((early.status, early.header("retry-after")), (503, Some("1")));
        assert_eq!(early.header("connection"), Some("close"));

        routes.set(Router::new().route("/-/ready", get(async || "ready")));
        assert_eq!(ask("/-/ready").await.unwrap().status, 200);
        stop.send(()).unwrap();
        assert_eq!(serving.await.unwrap(), 0);
    }

    /// So many frames are left of it, one every 400 ms.
    struct Trickle(u32, Pin<Box<tokio::time::Sleep>>);

    impl Trickle {
        fn of(frames: u32) -> Self {
            Self(frames, Box::pin(tokio::time::sleep(Duration::from_millis(400))))
        }
    }

    impl hyper::body::Body for Trickle {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            std::task::ready!(self.1.as_mut().poll(cx));
            *self = Self::of(self.0);
            let is_left = self.0.checked_sub(1).inspect(|left| self.0 = *left).is_some();
            Poll::Ready(is_left.then(|| Ok(Frame::data(Bytes::from_static(b"up 1\n")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_import_may_take_as_long_as_it_is_long_and_what_else_is_slow_may_come_again() {
        let read = async |body: Body| match body.collect().await {
            Ok(_) => StatusCode::NO_CONTENT,
            Err(error) => wire::http_error::status(wire::http_error::unreadable_body(&error)),
        };
        let routes = Routes::new(Router::new().fallback(read), Duration::from_secs(1));
        let status = async |path: &str| {
            let request =
                Request::post(path).header(header::HOST, "x").body(Trickle::of(8)).unwrap();
            answer(routes.current(), Phase::default(), request).await.unwrap().status()
        };
        for import in ["/api/v1/import", "/api/v1/import/prometheus", "/write", "/api/v2/write"] {
            assert_eq!(status(import).await, 204, "{import}");
        }
        for other in ["/api/v1/push", "/api/v1/query", "/otlp/v1/metrics"] {
            assert_eq!(status(other).await, 503, "{other}");
        }
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
