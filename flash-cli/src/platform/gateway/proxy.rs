//! Requests to load-balanced workers: bodies stream both ways.
use std::{
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use flash_sdk::{ErrorKind, WireError};
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Frame, SizeHint};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use super::{
    error::Refusal,
    server::{REQUEST_ID, discard},
};
use crate::platform::{
    balancer::{Balancer, NoBackend, Slot},
    pool::Pool,
};

/// Limits of load-balanced endpoints, as the provider documents them.
const MAX_BODY_BYTES: usize = 30_000_000;
const HOLD: Duration = Duration::from_secs(120);
const PROCESSING: Duration = Duration::from_secs(330);

/// Headers that belong to one connection and not to the message.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

type HttpClient = Client<HttpConnector, Body>;

static CLIENT: LazyLock<HttpClient> = LazyLock::new(|| {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    // A worker's port is on this machine: it answers at once or not at all.
    connector.set_connect_timeout(Some(Duration::from_secs(2)));
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(256).build(connector)
});

/// Sends a request to the least loaded worker and streams its answer back. Errors name `stage`.
///
/// # Errors
/// 413 for a body over the limit, 503 without a worker, 502 for one that breaks off, 504 for a late one.
pub(super) async fn forward(
    pool: &Arc<Pool>,
    balancer: &Arc<Balancer>,
    stage: &str,
    request_id: &str,
    path: &str,
    request: Request,
) -> Result<Response, Refusal> {
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > MAX_BODY_BYTES) {
        discard(request.into_body()).await;
        return Err(Refusal::too_large(MAX_BODY_BYTES));
    }
    let stage = || stage.to_owned();
    let slot = balancer
        .acquire(HOLD, request_id)
        .await
        .map_err(|none| no_worker(&none, &pool.worker_type.name).at_stage(stage()))?;
    let worker = slot.worker.to_string();
    let request = rewritten(request, &slot, request_id, path)?;
    let answer = tokio::time::timeout(PROCESSING, CLIENT.request(request)).await;
    let failed = |status, kind, message: String| {
        let mut error = WireError::new(kind, message);
        error.worker_id = Some(worker.clone());
        Refusal::of(status, error).at_stage(stage())
    };
    match answer {
        Ok(Ok(response)) => Ok(streamed(response, Serving { pool: pool.clone(), slot })),
        Ok(Err(error)) if is_too_long(&error) => Err(Refusal::too_large(MAX_BODY_BYTES)),
        Ok(Err(error)) => {
            let message = format!("worker `{worker}` broke off: {}", chain(&error));
            Err(failed(StatusCode::BAD_GATEWAY, ErrorKind::Transport, message))
        }
        Err(_) => {
            let message = format!("worker `{worker}` gave no answer within {} s", PROCESSING.as_secs());
            Err(failed(StatusCode::GATEWAY_TIMEOUT, ErrorKind::Timeout, message))
        }
    }
}

fn no_worker(none: &NoBackend, worker_type: &str) -> Refusal {
    let message = format!("worker type `{worker_type}`: {none}");
    match none {
        NoBackend::Full(_) => Refusal::too_many(message),
        NoBackend::TimedOut(_) | NoBackend::Broken(_) => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::NoWorker, message)
        }
    }
}

/// The request as the worker gets it.
fn rewritten(request: Request, slot: &Slot, request_id: &str, path: &str) -> Result<Request, Refusal> {
    let (mut parts, body) = request.into_parts();
    let query = parts.uri.query().map_or(String::new(), |query| format!("?{query}"));
    parts.uri = format!("http://{}{path}{query}", slot.address)
        .parse::<Uri>()
        .map_err(|error| Refusal::bad_request(format!("the path is unusable: {error}")))?;
    parts.version = http::Version::HTTP_11;
    for name in &HOP_BY_HOP {
        parts.headers.remove(name);
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        parts.headers.insert(REQUEST_ID, value);
    }
    // Extensions hold this connection's own things, such as its upgrade.
    parts.extensions.clear();
    Ok(Request::from_parts(parts, Body::new(Limited::new(body, MAX_BODY_BYTES))))
}

/// The answer, holding the slot until its last byte.
fn streamed(response: http::Response<hyper::body::Incoming>, serving: Serving) -> Response {
    let (mut parts, body) = response.into_parts();
    for name in &HOP_BY_HOP {
        parts.headers.remove(name);
    }
    Response::from_parts(
        parts,
        Body::new(Held { body: body.map_err(axum::Error::new).boxed_unsync(), _serving: serving }),
    )
}

/// A body that keeps its worker's slot.
struct Held {
    body: http_body_util::combinators::UnsyncBoxBody<Bytes, axum::Error>,
    _serving: Serving,
}

/// A request that a worker serves.
struct Serving {
    pool: Arc<Pool>,
    slot: Slot,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // What was printed before the answer's end belongs to this request; the slot goes after it.
        self.pool.drain_output(&self.slot.worker);
        if let Some(pulse) = self.pool.pulse(&self.slot.worker) {
            self.pool.served(&pulse);
        }
    }
}

impl hyper::body::Body for Held {
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

fn is_too_long(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        next = error.source();
    }
    false
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    line
}
