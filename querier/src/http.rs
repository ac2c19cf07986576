//! What every route of the server shares: answers to wrong paths and methods, CORS, compression,
//! and what is said when a handler breaks.
//!
//! # Invariants
//! - An unknown path is 404 `404 page not found`; a known one with a wrong method is 405 with
//!   `Allow`; `OPTIONS` is 204 everywhere, without authentication.
//! - Every answer says `Vary: Origin`.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use std::any::Any;
use std::sync::Arc;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

/// The media type of remote read's frames.
const FRAMES: &str = "application/x-streamed-protobuf";

/// Which origins a browser may call from.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Exact origins, as a browser sends them; `*` is every origin. None by default.
    pub allowed: Vec<String>,
}

impl Origins {
    fn allows(&self, origin: &HeaderValue) -> bool {
        self.allowed.iter().any(|one| one == "*" || one.as_bytes() == origin.as_bytes())
    }
}

/// Puts the shared behaviour around all routes of a server. Call it once, after the routers of the
/// roles have been merged.
pub fn dress(router: Router, origins: Origins) -> Router {
    router
        .method_not_allowed_fallback(wrong_method)
        .fallback(not_found)
        .layer(CatchPanicLayer::custom(broken))
        .layer(compression())
        .layer(middleware::from_fn_with_state(Arc::new(origins), cross_origin))
}

fn compression() -> CompressionLayer<impl Predicate> {
    // Chunks are compressed, and their readers know no encoding around the frames.
    let worth = DefaultPredicate::new().and(NotForContentType::const_new(FRAMES));
    CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest).compress_when(worth)
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

async fn wrong_method() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n").into_response()
}

/// A bug of ours ends one request, not its connection.
fn broken(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n").into_response()
}

async fn cross_origin(
    State(origins): State<Arc<Origins>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        push_cors(headers, origin, &origins);
    }
    response
}

fn push_cors(headers: &mut HeaderMap, origin: HeaderValue, origins: &Origins) {
    let fixed: [(HeaderName, &str); 3] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Accept, Authorization, Content-Type, Origin, X-Scope-OrgID",
        ),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date, Retry-After"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if origins.allows(&origin) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn a_handler_that_panics_answers_500() {
        async fn panics() -> &'static str {
            panic!("a bug")
        }
        let router = dress(Router::new().route("/", get(panics)), Origins::default());
        let response = router.oneshot(Request::get("/").body(Body::empty()).unwrap()).await;
        assert_eq!(response.unwrap().status(), 500);
    }
}
