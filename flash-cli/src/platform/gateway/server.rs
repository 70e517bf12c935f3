//! The HTTP server: connections, the fixed paths, and what every request has.
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::net::TcpListener;

use super::{
    client_api, docs,
    error::{Refusal, rendered},
    exchange, functions, worker_api,
};
use crate::platform::{Platform, release::Release};

/// The id that a request and everything it causes share.
#[derive(Clone)]
pub(super) struct RequestId(pub String);

/// The header that carries it.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// Serves until the platform closes.
pub(crate) async fn serve(listener: TcpListener, platform: Platform) {
    let closing = platform.shared.closing.clone();
    let router = router(platform);
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Small answers must not wait for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
    });
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move { closing.cancelled().await });
    // Its errors are those of single connections, which it handles itself.
    let _ = serving.await;
}

fn router(platform: Platform) -> Router {
    Router::new()
        .route("/", get(docs::index))
        .route("/ping", get(|| async { axum::Json(serde_json::json!({ "status": "healthy" })) }))
        .route("/docs", get(docs::page))
        .route("/docs/{file}", get(docs::file))
        .route("/openapi.json", get(docs::openapi))
        .route("/v2/{endpoint}/run", post(client_api::run))
        .route("/v2/{endpoint}/runsync", post(client_api::runsync))
        .route("/v2/{endpoint}/status/{job}", get(client_api::status).post(client_api::status))
        .route("/v2/{endpoint}/stream/{job}", get(client_api::stream).post(client_api::stream))
        .route("/v2/{endpoint}/cancel/{job}", post(client_api::cancel))
        .route("/v2/{endpoint}/retry/{job}", post(client_api::retry))
        .route("/v2/{endpoint}/purge-queue", post(client_api::purge))
        .route("/v2/{endpoint}/health", get(client_api::health))
        .route("/v2/{endpoint}/exchange/{worker}", get(exchange::open))
        .route("/v2/{endpoint}/job-take/{worker}", get(worker_api::take))
        .route("/v2/{endpoint}/job-take-batch/{worker}", get(worker_api::take_batch))
        .route("/v2/{endpoint}/job-stop/{worker}", get(worker_api::stops))
        .route("/v2/{endpoint}/job-done/{worker}/{job}", post(worker_api::done))
        .route("/v2/{endpoint}/job-stream/{worker}/{job}", post(worker_api::chunk))
        .route("/v2/{endpoint}/ping/{worker}", get(worker_api::ping))
        .fallback(functions::dispatch)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(with_request_id))
        .with_state(platform)
}

async fn wrong_method(request: Request) -> Refusal {
    let path = request.uri().path();
    // The third segment of a queue API path is its operation; all other fixed paths are read.
    let allowed = match path.split('/').nth(3).filter(|_| path.starts_with("/v2/")) {
        Some("run" | "runsync" | "cancel" | "retry" | "purge-queue" | "job-done" | "job-stream") => "POST",
        Some("status" | "stream") => "GET, HEAD, POST",
        _ => "GET, HEAD",
    };
    Refusal::method_not_allowed(request.method(), path, allowed.to_owned())
}

/// Gives every request its id, taken from the client where it is sensible, and says it in the answer.
async fn with_request_id(mut request: Request, next: Next) -> Response {
    let id = given_id(request.headers()).unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let value = HeaderValue::from_str(&id).expect("checked to be visible ASCII, or a UUID");
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = rendered(next.run(request).await, &id);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let sensible = (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    sensible.then(|| id.to_owned())
}

/// The live release, or 503 while there is none.
pub(super) fn live(State(platform): &State<Platform>) -> Result<std::sync::Arc<Release>, Refusal> {
    platform.current().ok_or_else(|| {
        let message = "the app is not up yet";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, flash_sdk::ErrorKind::NoWorker, message)
    })
}

/// A body up to `limit` bytes.
///
/// # Errors
/// 413 beyond it, 400 for a body that breaks off.
pub(super) async fn read_body(body: Body, limit: usize) -> Result<bytes::Bytes, Refusal> {
    match axum::body::to_bytes(body, limit).await {
        Ok(bytes) => Ok(bytes),
        Err(error) if is_too_long(&error) => Err(Refusal::too_large(limit)),
        Err(error) => Err(Refusal::bad_request(format!("the body broke off: {error}"))),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    use std::error::Error as _;
    error.source().is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

/// A JSON answer from text that is JSON already.
pub(super) fn json_text(text: String) -> Response {
    ([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}
