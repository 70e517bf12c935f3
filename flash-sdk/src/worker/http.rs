//! A load-balanced worker: serves the app's routes over HTTP, and `/ping` for the load balancer.
//!
//! The port opens immediately. `/ping` answers 204 until the worker is initialised, then 200. Requests that arrive
//! before wait. Requests for no route go to the app's own router, if it has one (`router`).
mod input;
mod router;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, RawPathParams, Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{self, MethodFilter},
};
use flash_protocol::{
    Error, ErrorKind, Result, WireError,
    wire::{
        Payload,
        envelope::Envelope,
        error_body,
        events::KeptId,
        exchange::{GENERATED_HEADER, HELD_HEADER, WORKER_KEY_HEADER},
        identity::{RequestId, TraceParent},
        unsupported_coding,
    },
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use subtle::ConstantTimeEq as _;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    framed_requests::FramedRequests,
    job::Functions,
    replay::Replays,
    requests::{Requests, Running},
    sent_events::{self, Chunks, Ids},
    settings::{HttpSettings, Settings},
    shutdown::Shutdown,
};
use crate::{
    bytes::Bytes,
    context::{Context, Setup},
    descriptor::{Answered, Function, Handler, Head, Value},
    panic,
    stream::{Call, Guarded},
    traces::Called,
};

/// Larger request bodies are refused with 413, unless the worker type sets a limit of its own: the provider's limit
/// for load-balanced endpoints.
const MAX_BODY_MIB: u32 = 30;

/// Where a load balancer asks whether the worker is ready.
const PING: &str = "/ping";

/// The listening worker.
pub(super) struct Server {
    listener: TcpListener,
    health: Option<TcpListener>,
    address: SocketAddr,
    ready: watch::Sender<bool>,
    requests: Requests,
    framed: FramedRequests,
    router: Router,
}

/// The state that all requests share.
struct Shared {
    ready: watch::Receiver<bool>,
    worker_id: HeaderValue,
    execution_timeout: Duration,
    max_body_mib: u32,
    requests: Requests,
    replays: Replays,
    functions: Arc<Functions>,
}

impl Shared {
    /// Waits until the worker is initialised.
    async fn until_ready(&self) {
        // The sender lives as long as the server.
        let _ = self.ready.clone().wait_for(|ready| *ready).await;
    }
}

impl Server {
    /// Opens the port, which then answers `/ping`.
    pub(super) async fn bind(settings: &Settings, functions: Arc<Functions>) -> Result<Self, String> {
        let HttpSettings { host, port, health_port } = &settings.http;
        let listener = listen(host, *port).await?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let health = if health_port == port { None } else { Some(listen(host, *health_port).await?) };
        let (ready, is_ready) = watch::channel(false);
        let requests = Requests::default();
        let shared = Arc::new(Shared {
            ready: is_ready,
            worker_id: HeaderValue::from_str(&settings.worker_id)
                .unwrap_or(HeaderValue::from_static("unknown")),
            execution_timeout: Duration::from_secs(functions.worker_type().execution_timeout_seconds.into()),
            max_body_mib: functions.worker_type().max_body_mib.unwrap_or(MAX_BODY_MIB),
            requests: requests.clone(),
            replays: Replays::default(),
            functions,
        });
        let (framed, router) = FramedRequests::new(routes(shared)?, &settings.worker_id);
        Ok(Self { listener, health, address, ready, requests, framed, router })
    }

    /// Those that come as frames.
    pub(super) fn framed_requests(&self) -> FramedRequests {
        self.framed.clone()
    }

    /// The requests that it serves.
    pub(super) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// From now on, requests over HTTP need this key, which the platform sends. Pings do not.
    pub(super) fn ask_for(&mut self, key: &str) {
        self.router = asking_for(std::mem::take(&mut self.router), key);
    }

    /// The port that it listens on.
    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address of that port for the platform, which reaches this machine at `own`; `None` for the loopback address.
    pub(super) fn host_seen_from(&self, own: IpAddr) -> Option<IpAddr> {
        let bound = self.address.ip();
        let host = if bound.is_unspecified() { own } else { bound };
        Some(host).filter(|host| !host.is_loopback())
    }

    /// Serves until the shutdown. Running requests then get the drain time.
    pub(super) async fn run(
        self,
        initialised: impl Future<Output = Result<(), String>>,
        shutdown: Shutdown,
    ) -> Result<(), String> {
        let Self { listener, health, ready, framed, router, .. } = self;
        let stop = |shutdown: Shutdown| async move {
            shutdown.requested().await;
            // Their answers may be fetched here.
            framed.ended().await;
        };
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            // Small answers should not wait for the client's acknowledgement.
            let _ = stream.set_nodelay(true);
        });
        let serving = axum::serve(listener, router.clone()).with_graceful_shutdown(stop(shutdown.clone()));
        let serving = tokio::spawn(serving.into_future());
        // Ends with the process; it only answers pings.
        if let Some(health) = health {
            tokio::spawn(axum::serve(health, router).into_future());
        }
        initialised.await?;
        ready.send_replace(true);
        shutdown.requested().await;
        match tokio::time::timeout(shutdown.drain(), serving).await {
            Ok(Ok(served)) => served.map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => {
                Err(format!("requests still running {} s after the signal", shutdown.drain().as_secs()))
            }
        }
    }
}

async fn listen(host: &str, port: u16) -> Result<TcpListener, String> {
    TcpListener::bind((host, port))
        .await
        .map_err(|error| format!("could not listen on {host}:{port}: {error}"))
}

/// Everything that this worker answers.
fn routes(shared: Arc<Shared>) -> Result<Router, String> {
    let mut router = Router::new().route(PING, routing::get(ping));
    for function in shared.functions.iter() {
        let Some(route) = function.route else { continue };
        let method = http::Method::from_bytes(route.method.as_bytes()).map_err(|error| error.to_string())?;
        let filter = MethodFilter::try_from(method).map_err(|error| error.to_string())?;
        let handler = move |State(shared): State<Arc<Shared>>, path: RawPathParams, request: Request| {
            serve(function, shared, path, request)
        };
        router = router.route(route.path, routing::on(filter, handler));
    }
    if shared.functions.worker_type().http.is_some() {
        router = router.fallback(router::serve);
    }
    let limit = DefaultBodyLimit::max(shared.max_body_mib as usize * 1024 * 1024);
    Ok(router.layer(limit).with_state(shared))
}

fn asking_for(router: Router, key: &str) -> Router {
    let key: Arc<str> = key.into();
    router.layer(middleware::from_fn(move |request, next| with_key(key.clone(), request, next)))
}

/// Passes a request on that has the key of the port, without it. Others would get past the keys and limits of the platform.
async fn with_key(key: Arc<str>, mut request: Request, next: Next) -> Response {
    let given = request.headers_mut().remove(WORKER_KEY_HEADER);
    let is_same = given.is_some_and(|given| given.as_bytes().ct_eq(key.as_bytes()).into());
    if is_same || request.uri().path() == PING {
        return next.run(request).await;
    }
    let error = WireError::new(
        ErrorKind::Refused,
        "this port is for the Flash platform only: send the request to the platform's address",
    );
    (StatusCode::UNAUTHORIZED, [(header::CONTENT_TYPE, "application/json")], error_body(&error, None, None))
        .into_response()
}

async fn ping(State(shared): State<Arc<Shared>>) -> StatusCode {
    if *shared.ready.borrow() { StatusCode::OK } else { StatusCode::NO_CONTENT }
}

async fn serve(
    function: &'static Function,
    shared: Arc<Shared>,
    path: RawPathParams,
    request: Request,
) -> Response {
    shared.until_ready().await;
    let mut call = Serving::begin(&shared, request.headers(), Some(function), Some(shared.execution_timeout));
    let answer = answer(function, &mut call, path, request).await;
    call.end(answer)
}

/// A request that is being served. If the client disconnects, it is dropped, and threads of the call are notified.
struct Serving {
    shared: Arc<Shared>,
    context: Context,
    /// The deadline of the caller, without the limit of this worker.
    callers_deadline: Option<u64>,
    cancel: Option<DropGuard>,
    /// `None` once the body of the answer has it.
    running: Option<Running>,
}

impl Serving {
    /// A request begins: to a function, or to the router. `limit` is the time that this worker gives it.
    fn begin(
        shared: &Arc<Shared>,
        headers: &HeaderMap,
        function: Option<&'static Function>,
        limit: Option<Duration>,
    ) -> Self {
        let envelope = envelope_of(headers);
        let callers_deadline = envelope.deadline_ms;
        let own = limit.map(deadline_in);
        let deadline_ms = callers_deadline.into_iter().chain(own).min();
        let envelope = Envelope { deadline_ms, ..envelope };
        let last_event_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let cancelled = CancellationToken::new();
        let called = Some(Called::Route(function));
        let context = Context::new(Setup { envelope, called, cancelled, last_event_id, ..Setup::default() });
        Self {
            running: Some(shared.requests.begin(headers, &context)),
            cancel: Some(context.cancel_on_drop()),
            shared: shared.clone(),
            context,
            callers_deadline,
        }
    }

    /// The head of the answer is there.
    fn end(self, answer: Result<Response, Refused>) -> Response {
        let Self { shared, context, cancel, running, .. } = self;
        if let Some(cancel) = cancel {
            cancel.disarm();
        }
        let (request_id, has_generated) = (context.request_id().to_owned(), context.has_generated());
        let mut response = match answer {
            Ok(response) => response,
            // Within the call, so that the log line contains the request ID.
            Err(Refused { status, error }) => {
                if status.is_server_error() {
                    context.failed(&Error::from((*error).clone()));
                }
                context.sync_scope(|| refuse(status, *error, &shared, &request_id))
            }
        };
        let headers = response.headers_mut();
        if has_generated {
            headers.insert(GENERATED_HEADER, HeaderValue::from_static("1"));
        }
        if running.is_some_and(|running| running.holds_its_slot()) {
            headers.insert(HELD_HEADER, HeaderValue::from_static("1"));
        }
        headers.insert("x-runpod-worker-id", shared.worker_id.clone());
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            headers.insert("x-request-id", value);
        }
        response
    }
}

/// This long from now, in milliseconds since the epoch.
fn deadline_in(limit: Duration) -> u64 {
    let at = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + limit;
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

/// What a request's headers say about its call.
fn envelope_of(headers: &HeaderMap) -> Envelope {
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    Envelope {
        request_id: text("x-request-id").and_then(|id| RequestId::parse(&id)),
        traceparent: text("traceparent").and_then(|trace| TraceParent::parse(&trace)),
        deadline_ms: text("x-flash-deadline-ms").and_then(|deadline| deadline.parse().ok()),
        depth: text("x-flash-depth").and_then(|depth| depth.parse().ok()).unwrap_or(0),
        ..Envelope::default()
    }
}

/// A request that gets an error. Boxed, to keep the type of successful results small.
struct Refused {
    status: StatusCode,
    error: Box<WireError>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let error = Box::new(error.into_wire());
        let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, error }
    }
}

async fn answer(
    function: &'static Function,
    call: &mut Serving,
    path: RawPathParams,
    request: Request,
) -> Result<Response, Refused> {
    let mut text: Vec<(String, String)> =
        path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    text.extend(query_of(request.uri().query().unwrap_or_default()));
    check_coding(request.headers())?;
    // Its stream is dropped at once.
    let is_head = request.method() == http::Method::HEAD;
    if let Some(resumed) = resumed(function, call).filter(|_| !is_head) {
        return Ok(resumed);
    }
    let input = input::input_of(function, text, request, call.shared.max_body_mib).await?;
    let context = call.context.clone();
    let deadline = context.deadline();
    match function.handler {
        Handler::Once(handle) => {
            let running = context.scope(panic::catch_async(handle(input)));
            let output = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline.into(), running).await.map_err(|_| {
                    Error::new(
                        ErrorKind::Timeout,
                        format!("`{}` exceeded its time limit", function.call_name()),
                    )
                })?,
                None => running.await,
            };
            Ok(answer_of(output.and_then(|output| output)?)?)
        }
        Handler::Stream(handle) => {
            let chunks = Guarded::open(context.clone(), Call::Own, function, || {
                Ok(handle(input)?.map_ok(Payload::into_json).boxed())
            })?;
            let kind = if function.binding().streams_events { Chunks::Named } else { Chunks::Plain };
            let shared = call.shared.clone();
            let failed = move |error: Error, context: &Context| failed(error.into_wire(), &shared, context);
            let running = call.running.take();
            let capacity = function.settings.replay.filter(|_| !is_head);
            let (Some(capacity), Some(route)) = (capacity, function.route) else {
                let texts = sent_events::texts(chunks, kind, Ids::Numbers, context, failed);
                return Ok(sent_events::answer(texts, running));
            };
            let ends = deadline.map(tokio::time::Instant::from_std);
            let worker: Arc<str> = call.shared.worker_id.to_str().unwrap_or_default().into();
            let events = call.shared.replays.begin(route, capacity, running, ends, move |stream| {
                sent_events::texts(chunks, kind, Ids::Kept { stream, worker }, context, failed)
            });
            Ok(sent_events::answer(events, None))
        }
    }
}

/// The rest of a stream for a client that reconnects.
fn resumed(function: &'static Function, call: &mut Serving) -> Option<Response> {
    function.settings.replay?;
    let last = KeptId::parse(call.context.last_event_id()?)?;
    let events = call.shared.replays.resume(function.route?, &last)?;
    Some(sent_events::answer(events, call.running.take()))
}

/// A result as JSON or raw bytes, with the status and headers of a reply.
fn answer_of(Answered { value, head }: Answered) -> Result<Response> {
    let mut response = match value {
        Value::Json(output) => {
            let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            (json, Box::<str>::from(output.into_json()).into_string()).into_response()
        }
        Value::Raw(bytes) => raw(bytes)?,
    };
    let Some(Head { status, mut headers }) = head else { return Ok(response) };
    if status.is_informational() {
        let message =
            format!("a route cannot answer with status {}: it is no end of a request", status.as_u16());
        return Err(Error::new(ErrorKind::Encode, message));
    }
    // The server writes these, about the body as it sends it.
    for of_connection in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
        headers.remove(of_connection);
    }
    // These have no body.
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
        response = Response::default();
    }
    *response.status_mut() = status;
    response.headers_mut().extend(headers);
    Ok(response)
}

/// An answer of raw bytes.
fn raw(bytes: Bytes) -> Result<Response> {
    let content_type = match bytes.content_type() {
        None => HeaderValue::from_static("application/octet-stream"),
        Some(kind) => HeaderValue::from_str(kind).map_err(|_| {
            let message = format!("the content type of the result is not a header value: {kind:?}");
            Error::new(ErrorKind::Encode, message)
        })?,
    };
    Ok(([(header::CONTENT_TYPE, content_type)], bytes.into_inner()).into_response())
}

fn check_coding(headers: &HeaderMap) -> Result<(), Refused> {
    let values = headers.get_all(header::CONTENT_ENCODING);
    match unsupported_coding(values.iter().map(HeaderValue::as_bytes)) {
        None => Ok(()),
        Some(message) => Err(Refused {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            error: Box::new(WireError::new(ErrorKind::InvalidInput, message)),
        }),
    }
}

/// The parameters of a query, decoded.
fn query_of(query: &str) -> Vec<(String, String)> {
    let uri: http::Uri = match format!("/?{query}").parse() {
        Ok(uri) => uri,
        Err(_) => return Vec::new(),
    };
    axum::extract::Query::try_from_uri(&uri).map(|axum::extract::Query(pairs)| pairs).unwrap_or_default()
}

/// An error after the head of the answer, with its location.
fn failed(mut error: WireError, shared: &Shared, context: &Context) -> WireError {
    log(&error);
    error.worker_id = error.worker_id.or_else(|| shared.worker_id.to_str().ok().map(str::to_owned));
    error.request_id.get_or_insert_with(|| context.request_id().to_owned());
    error
}

fn log(error: &WireError) {
    let stage = error.stage.as_deref().unwrap_or("this function");
    tracing::error!("{} {stage} failed: {}", error.kind, error.chain());
}

fn refuse(status: StatusCode, error: WireError, shared: &Shared, request_id: &str) -> Response {
    if status.is_server_error() {
        log(&error);
    }
    let body = error_body(&error, shared.worker_id.to_str().ok(), Some(request_id));
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use tower_service::Service as _;

    use super::*;

    #[tokio::test]
    async fn the_port_answers_the_platform_and_pings_alone() {
        let seen = |headers: HeaderMap| async move { headers.contains_key(WORKER_KEY_HEADER).to_string() };
        let router = Router::new().route("/own", routing::get(seen)).route(PING, routing::get(seen));
        let mut router = asking_for(router, "secret");
        let mut answer = async |path: &str, key: Option<&str>| {
            let mut request = http::Request::get(path);
            if let Some(key) = key {
                request = request.header(WORKER_KEY_HEADER, key);
            }
            let request = request.body(axum::body::Body::empty()).unwrap();
            let response = router.call(request).await.unwrap();
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        assert_eq!(
            answer("/own", Some("secret")).await,
            (200, "false".to_owned()),
            "the app does not see it"
        );
        assert_eq!(answer(PING, None).await.0, 200);
        for (path, key) in [("/own", None), ("/own", Some("secre")), ("/own", Some("")), ("/none", None)] {
            let (status, body) = answer(path, key).await;
            assert_eq!(status, 401, "{path} {key:?}");
            assert!(body.contains("the platform's address") && !body.contains("secret"), "{body}");
        }
    }
}
