//! The HTTP server: connections, the fixed paths, and what is done to every request.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONNECTION};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, service::Service as _};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    access, costs, dashboard, docs,
    error::{Shape, rendered},
    framing, functions, metrics, openai, queue_api, readable,
    request_id::{REQUEST_ID, RequestId},
    state::GatewayState,
};
use crate::{
    listener::{self, ConnectionShare, Received},
    traces::RequestSpan,
};

/// Bounds of [`discard`].
const MAX_DISCARDED_BYTES: usize = 64_000_000;
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// When an idle connection is probed, how often, and how many probes may fail.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// Serves until `served`.
pub(crate) async fn serve(
    listener: TcpListener,
    share: ConnectionShare,
    state: Arc<GatewayState>,
    served: CancellationToken,
) {
    let router = TowerToHyperService::new(router(state));
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

fn router(state: Arc<GatewayState>) -> Router {
    Router::new()
        .route("/ping", get(|| async { axum::Json(serde_json::json!({ "status": "healthy" })) }))
        .route("/docs", get(docs::page))
        .route("/docs/{file}", get(docs::file))
        .route("/openapi.json", get(docs::openapi))
        .route("/_flash/manifest", get(readable::manifest))
        .route("/_flash/bill", get(costs::bill))
        .route("/_flash/metrics", get(metrics::all))
        .merge(dashboard::router())
        .merge(queue_api::router())
        .route("/v2/{endpoint}/openai/{*path}", any(openai::of_endpoint))
        .fallback(functions::dispatch)
        .method_not_allowed_fallback(queue_api::wrong_method)
        .layer(middleware::from_fn_with_state(state.clone(), with_request_id))
        .with_state(state)
}

/// Refuses a request with an invalid head, and ends its connection. Access to all others is checked.
async fn checked(state: &GatewayState, mut request: Request, next: Next) -> Response {
    match framing::check(&mut request) {
        Ok(()) => access::check(state, request, next).await,
        Err(refusal) => {
            let mut response = refusal.into_response();
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

/// Sets the request ID, from the client if it is valid, and returns it in the answer. The one layer of all paths: each
/// would copy the router for each request.
async fn with_request_id(
    State(state): State<Arc<GatewayState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(request.headers());
    let uri = request.uri().clone();
    let value = HeaderValue::from_str(id.as_str()).expect("a request id is visible ASCII");
    request.extensions_mut().insert(id.clone());
    let span = state.traces.as_ref().and_then(|traces| RequestSpan::begin(traces, &mut request, id.as_str()));
    let shape = || match openai::speaks_at(&state, uri.path()) {
        true => Shape::OpenAi,
        false => Shape::Flash,
    };
    let mut response = rendered(checked(&state, request, next).await, id.as_str(), shape);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    match span {
        Some(span) => span.answered(response),
        None => response,
    }
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
