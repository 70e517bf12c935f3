//! The HTTP server: connections, fixed paths, and the parts that all requests share.
use std::{error::Error, net::SocketAddr, sync::atomic::Ordering, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, FromRequestParts, Path, Query, Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::{Bytes, BytesMut};
use flash_protocol::wire::identity;
use http::{HeaderMap, HeaderValue, StatusCode, header::CONNECTION, request::Parts};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body as _, Incoming},
    service::Service as _,
};
use hyper_util::service::TowerToHyperService;
use serde::de::DeserializeOwned;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout_at},
};

use super::{
    access, client_api, costs, docs,
    error::{Refusal, rendered},
    exchange, framing, functions, worker_api,
};
use crate::{
    Platform,
    listener::{self, ConnectionShare, Received, Stalled},
    release::Release,
};

/// The id that a request and everything it causes share.
#[derive(Clone)]
pub(super) enum RequestId {
    /// By the client, in the header.
    Given(identity::RequestId),
    /// Here, because the header was missing or cannot be an id.
    Made(identity::RequestId),
}

impl RequestId {
    pub(super) fn as_str(&self) -> &str {
        let (Self::Given(id) | Self::Made(id)) = self;
        id
    }

    /// The request ID of a job whose body contains one too: the header takes precedence.
    pub(super) fn or_of_body(self, body: Option<identity::RequestId>) -> identity::RequestId {
        match self {
            Self::Given(id) => id,
            Self::Made(id) => body.unwrap_or(id),
        }
    }
}

/// Bounds of [`discard`].
const MAX_DISCARDED_BYTES: usize = 64_000_000;
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// A buffered body may take this long, plus the time for its bytes at this rate.
const BODY_GRACE: Duration = Duration::from_secs(30);
const LEAST_BYTES_PER_SECOND: u32 = 16_000;

/// When an idle connection is probed, how often, and how many probes may fail.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// The header that carries it.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// Serves until the platform closes.
pub(crate) async fn serve(listener: TcpListener, share: ConnectionShare, platform: Platform) {
    let served = platform.shared.served.clone();
    let router = TowerToHyperService::new(router(platform));
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Small answers must not wait for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
        // Detects clients that vanished without closing; an upgraded connection has no other limit.
        let probes =
            TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL).with_retries(PROBES);
        let _ = SockRef::from(&*stream).set_tcp_keepalive(&probes);
    });
    let respond = move |request, client| respond(router.clone(), request, client);
    listener::serve(listener, share, served, respond).await;
}

/// Answers a request. If its body is too large or there is no room for it, the rest is read first, because many
/// clients do not read the answer before they have sent everything. A client that waits for `100 Continue` gets the
/// answer without sending the body.
async fn respond(
    router: TowerToHyperService<Router>,
    request: http::Request<Incoming>,
    client: SocketAddr,
) -> Response {
    let (mut head, body) = request.into_parts();
    head.extensions.insert(ConnectInfo(client));
    let waits = framing::waits_to_send(&head.headers);
    let (body, rest) = Received::new(body);
    let Ok(response) = router.call(Request::from_parts(head, Body::new(body))).await;
    let is_to_be_read = match response.status() {
        StatusCode::PAYLOAD_TOO_LARGE => !waits || rest.is_asked_for(),
        StatusCode::TOO_MANY_REQUESTS => rest.is_asked_for(),
        _ => false,
    };
    if is_to_be_read {
        discard(rest.into_body()).await;
    }
    response
}

fn router(platform: Platform) -> Router {
    Router::new()
        .route("/", get(docs::index))
        .route("/ping", get(|| async { axum::Json(serde_json::json!({ "status": "healthy" })) }))
        .route("/docs", get(docs::page))
        .route("/docs/{file}", get(docs::file))
        .route("/openapi.json", get(docs::openapi))
        .route("/_flash/bill", get(costs::bill))
        .route("/_flash/requests/{request_id}", get(costs::request))
        .merge(client_api::router())
        .route("/v2/{endpoint}/exchange/{worker}", get(exchange::open))
        .route("/v2/{endpoint}/job-take/{worker}", get(worker_api::take))
        .route("/v2/{endpoint}/job-take-batch/{worker}", get(worker_api::take_batch))
        .route("/v2/{endpoint}/job-stop/{worker}", get(worker_api::stops))
        .route("/v2/{endpoint}/job-done/{worker}/{job}", post(worker_api::done))
        .route("/v2/{endpoint}/job-stream/{worker}/{job}", post(worker_api::chunk))
        .route("/v2/{endpoint}/ping/{worker}", get(worker_api::ping))
        .fallback(functions::dispatch)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(platform.clone(), access::check))
        .layer(middleware::from_fn(with_sound_head))
        .layer(middleware::from_fn(with_request_id))
        .with_state(platform)
}

async fn wrong_method(request: Request) -> Refusal {
    let path = request.uri().path();
    // The third segment of a queue API path is its operation; all other fixed paths are read.
    let allowed = match path.split('/').nth(3).filter(|_| path.starts_with("/v2/")) {
        Some("job-done" | "job-stream") => "POST",
        Some("dead") if path.ends_with("/requeue") => "POST",
        Some(operation) => client_api::allowed_methods(operation).unwrap_or("GET, HEAD"),
        None => "GET, HEAD",
    };
    Refusal::method_not_allowed(request.method(), path, allowed.to_owned())
}

/// Refuses a request with an invalid head, and ends its connection.
async fn with_sound_head(mut request: Request, next: Next) -> Response {
    match framing::check(&mut request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let mut response = refusal.into_response();
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

/// Sets the request ID, from the client if it is valid, and returns it in the answer.
async fn with_request_id(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let value = HeaderValue::from_str(id.as_str()).expect("a request id is visible ASCII");
    request.extensions_mut().insert(id.clone());
    let mut response = rendered(next.run(request).await, id.as_str());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers.get(REQUEST_ID).and_then(|id| identity::RequestId::parse(id.to_str().ok()?));
    given.map(RequestId::Given).unwrap_or_else(|| {
        let made = identity::RequestId::parse(&uuid::Uuid::new_v4().to_string());
        RequestId::Made(made.expect("a UUID is a request id"))
    })
}

/// The trace from the client's header.
pub(super) fn trace_parent(headers: &HeaderMap) -> Option<identity::TraceParent> {
    identity::TraceParent::parse(headers.get("traceparent")?.to_str().ok()?)
}

/// Path segments, like axum's `Path`, with Flash's error bodies.
pub(super) struct Segments<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let segments = Path::<T>::from_request_parts(parts, state).await;
        segments
            .map(|Path(segments)| Self(segments))
            .map_err(|refused| Refusal::bad_request(refused.body_text()))
    }
}

/// Query parameters, like axum's `Query`, with Flash's error bodies.
pub(super) struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let parameters = Query::<T>::try_from_uri(&parts.uri);
        parameters
            .map(|Query(given)| Self(given))
            .map_err(|refused| Refusal::bad_request(refused.body_text()))
    }
}

/// The live release; 503 if there is none or the platform is stopping.
pub(super) fn live(State(platform): &State<Platform>) -> Result<std::sync::Arc<Release>, Refusal> {
    if platform.is_stopping() {
        let message = "flash is stopping and accepts no new work";
        return Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            flash_protocol::ErrorKind::NoWorker,
            message,
        ));
    }
    platform.current().ok_or_else(|| nothing_live(platform))
}

/// The answer while no release is live.
pub(super) fn nothing_live(platform: &Platform) -> Refusal {
    if platform.shared.is_expecting.load(Ordering::Relaxed) {
        let message = "the environment is being restored; try again";
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, flash_protocol::ErrorKind::NoWorker, message)
            .after(1);
    }
    let is_empty = platform.shared.access_control.is_of_environment() && !platform.is_deploying();
    let message = match is_empty {
        true => "nothing is deployed in this environment",
        false => "the app has not started yet",
    };
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, flash_protocol::ErrorKind::NoWorker, message)
}

/// How long this much of a body may take: slow connections are accepted, trickling clients are not.
fn time_for(bytes: usize) -> Duration {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    BODY_GRACE + Duration::from_secs(1) * bytes / LEAST_BYTES_PER_SECOND
}

/// A body up to `limit` bytes.
///
/// # Errors
/// 413 over the limit, 408 for a body that arrives too slowly, 400 for one that ends early.
pub(super) async fn read_body(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    read_allowed(body, limit, |_| Ok(())).await
}

/// Like [`read_body`], and each new length must be allowed by `allow`.
///
/// # Errors
/// As in [`read_body`], and the error of `allow`.
pub(super) async fn read_allowed(
    mut body: Body,
    limit: usize,
    mut allow: impl FnMut(usize) -> Result<(), Refusal>,
) -> Result<Bytes, Refusal> {
    // Its declared length, where it has one.
    if usize::try_from(body.size_hint().lower()).is_ok_and(|least| least > limit) {
        return Err(Refusal::too_large(limit));
    }
    let began = Instant::now();
    let mut whole = BytesMut::new();
    while let Ok(frame) = timeout_at(began + time_for(whole.len()), body.frame()).await {
        let Some(frame) = frame else { return Ok(whole.freeze()) };
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = whole.len() + data.len();
        if length > limit {
            return Err(Refusal::too_large(limit));
        }
        allow(length)?;
        whole.extend_from_slice(&data);
    }
    Err(too_slow(&format!("{} bytes received in {} s", whole.len(), began.elapsed().as_secs())))
}

/// The answer to an incomplete body.
pub(super) fn broken(error: &(dyn Error + 'static)) -> Refusal {
    match std::iter::successors(Some(error), |error| (*error).source()).find(|cause| cause.is::<Stalled>()) {
        Some(stalled) => too_slow(&stalled.to_string()),
        None => Refusal::bad_request(format!("the request body ended early: {error}")),
    }
}

fn too_slow(what: &str) -> Refusal {
    let message = format!("the request body arrives too slowly: {what}");
    Refusal::new(StatusCode::REQUEST_TIMEOUT, flash_protocol::ErrorKind::Timeout, message)
}

/// Reads the rest of a body that was refused. Bounded in bytes and time; beyond that the connection breaks.
async fn discard(mut body: Received<Incoming>) {
    let reading = async {
        let mut left = MAX_DISCARDED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    // Too slow counts as too much.
    let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
}

/// A JSON answer from text that is JSON already.
pub(super) fn json_text(text: String) -> Response {
    ([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    const CHUNK: usize = 100_000;

    /// A body of this many chunks, each of which takes this long.
    fn body(chunks: usize, pause: Duration) -> Body {
        let chunks = stream::iter(0..chunks).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::convert::Infallible>(Bytes::from(vec![b'x'; CHUNK]))
        });
        Body::from_stream(chunks)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_upload_arrives_and_a_trickle_is_refused() {
        // 20 kB/s for 25 minutes.
        let read = read_body(body(300, Duration::from_secs(5)), 300 * CHUNK).await;
        assert_eq!(read.unwrap().len(), 300 * CHUNK);
        // 1 kB/s.
        let began = Instant::now();
        let refusal = read_body(body(300, Duration::from_secs(100)), 300 * CHUNK).await.unwrap_err();
        assert_eq!(refusal.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(began.elapsed(), BODY_GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_over_the_limit_is_refused_and_a_declared_length_before_any_of_it_is_read() {
        let refusal = read_body(body(2, Duration::from_secs(1)), CHUNK).await.unwrap_err();
        assert_eq!(refusal.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let refusal = read_body(Body::from(vec![b'x'; 11]), 10).await.unwrap_err();
        assert_eq!(refusal.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
