//! A load-balanced worker: serves the app's routes over HTTP, and `/ping` for the load balancer.
//!
//! The port opens immediately. `/ping` answers 204 until the worker is initialised, then 200. Requests that arrive
//! before wait.
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequest as _, RawPathParams, Request, State, rejection::BytesRejection},
    response::{IntoResponse as _, Response},
    routing::{self, MethodFilter},
};
use flash_protocol::{
    Error, ErrorKind, FieldError, Result, WireError,
    wire::{
        RawJson,
        envelope::Envelope,
        exchange::HELD_HEADER,
        identity::{RequestId, TraceParent},
        refusal_text, unsupported_coding,
    },
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{
    job::Functions,
    requests::{Requests, Running},
    sent_events::{self, Chunks},
    settings::{HttpSettings, Settings},
    shutdown::Shutdown,
};
use crate::{
    bytes::Bytes,
    context::{Context, Setup},
    descriptor::{Function, Handler, Input, Value},
    panic,
    stream::{Call, Guarded},
};

/// Larger request bodies are refused with 413: the provider's limit for load-balanced endpoints.
const MAX_BODY_BYTES: usize = 30 * 1024 * 1024;

/// The listening worker.
pub(super) struct Server {
    listener: TcpListener,
    health: Option<TcpListener>,
    port: u16,
    ready: watch::Sender<bool>,
    requests: Requests,
    router: Router,
}

/// The state that all requests share.
struct Shared {
    ready: watch::Receiver<bool>,
    worker_id: HeaderValue,
    execution_timeout: Duration,
    requests: Requests,
}

impl Server {
    /// Opens the port, which then answers `/ping`.
    pub(super) async fn bind(settings: &Settings, functions: Arc<Functions>) -> Result<Self, String> {
        let HttpSettings { host, port, health_port } = &settings.http;
        let listener = listen(host, *port).await?;
        let bound = listener.local_addr().map_err(|error| error.to_string())?.port();
        let health = if health_port == port { None } else { Some(listen(host, *health_port).await?) };
        let (ready, is_ready) = watch::channel(false);
        let requests = Requests::default();
        let shared = Arc::new(Shared {
            ready: is_ready,
            worker_id: HeaderValue::from_str(&settings.worker_id)
                .unwrap_or(HeaderValue::from_static("unknown")),
            execution_timeout: Duration::from_secs(functions.worker_type().execution_timeout_seconds.into()),
            requests: requests.clone(),
        });
        let router = router(&functions, shared)?;
        Ok(Self { listener, health, port: bound, ready, requests, router })
    }

    /// The requests that it serves.
    pub(super) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// The port that it listens on.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Serves until the shutdown. Running requests then get the drain time.
    pub(super) async fn run(
        self,
        initialised: impl Future<Output = Result<(), String>>,
        shutdown: Shutdown,
    ) -> Result<(), String> {
        let Self { listener, health, ready, router, .. } = self;
        let stop = |shutdown: Shutdown| async move { shutdown.requested().await };
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

fn router(functions: &Functions, shared: Arc<Shared>) -> Result<Router, String> {
    let mut router = Router::new().route("/ping", routing::get(ping));
    for function in functions.iter() {
        let Some(route) = function.route else { continue };
        let method = http::Method::from_bytes(route.method.as_bytes()).map_err(|error| error.to_string())?;
        let filter = MethodFilter::try_from(method).map_err(|error| error.to_string())?;
        let handler = move |State(shared): State<Arc<Shared>>, path: RawPathParams, request: Request| {
            serve(function, shared, path, request)
        };
        router = router.route(route.path, routing::on(filter, handler));
    }
    Ok(router.layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(shared))
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
    // Waits until initialised. The sender lives as long as the server.
    let _ = shared.ready.clone().wait_for(|ready| *ready).await;
    let context = context_of(request.headers(), shared.execution_timeout);
    let request_id = context.request_id().to_owned();
    let mut running = Some(shared.requests.begin(request.headers(), &context));
    // If the client disconnects, all of this is dropped and threads of the call are notified.
    let cancel = context.cancel_on_drop();
    let answer = answer(function, &shared, &context, &mut running, path, request).await;
    cancel.disarm();
    let mut response = match answer {
        Ok(response) => response,
        // Within the call, so that the log line contains the request ID.
        Err(Refused { status, error }) => context.sync_scope(|| refuse(status, *error, &shared, &request_id)),
    };
    let headers = response.headers_mut();
    if running.is_some_and(|running| running.holds_its_slot()) {
        headers.insert(HELD_HEADER, HeaderValue::from_static("1"));
    }
    headers.insert("x-runpod-worker-id", shared.worker_id.clone());
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert("x-request-id", value);
    }
    response
}

/// The context from the request's headers, within the limits of this worker type.
fn context_of(headers: &HeaderMap, execution_timeout: Duration) -> Context {
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    let own = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + execution_timeout;
    let own = u64::try_from(own.as_millis()).unwrap_or(u64::MAX);
    let callers = text("x-flash-deadline-ms").and_then(|deadline| deadline.parse().ok());
    let envelope = Envelope {
        request_id: text("x-request-id").and_then(|id| RequestId::parse(&id)),
        traceparent: text("traceparent").and_then(|trace| TraceParent::parse(&trace)),
        deadline_ms: Some(callers.map_or(own, |callers: u64| callers.min(own))),
        depth: text("x-flash-depth").and_then(|depth| depth.parse().ok()).unwrap_or(0),
        ..Envelope::default()
    };
    let last_event_id = text("last-event-id");
    Context::new(Setup { envelope, cancelled: CancellationToken::new(), last_event_id, ..Setup::default() })
}

/// A request that gets an error. Boxed, to keep the type of successful results small.
struct Refused {
    status: StatusCode,
    error: Box<WireError>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { status: status_of(&error), error: Box::new(error.into_wire()) }
    }
}

/// The status for an error. If a stage below refuses a call, that is a failure of this route, not of its caller.
fn status_of(error: &Error) -> StatusCode {
    match (error.kind(), error.stage()) {
        (ErrorKind::InvalidInput, None) => StatusCode::UNPROCESSABLE_ENTITY,
        (ErrorKind::Timeout, _) => StatusCode::GATEWAY_TIMEOUT,
        (ErrorKind::NoWorker, _) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn answer(
    function: &'static Function,
    shared: &Arc<Shared>,
    context: &Context,
    running: &mut Option<Running>,
    path: RawPathParams,
    request: Request,
) -> Result<Response, Refused> {
    let mut text: Vec<(String, String)> =
        path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    text.extend(query_of(request.uri().query().unwrap_or_default()));
    check_coding(request.headers())?;
    let input = input_of(function, text, request).await?;
    let deadline = context.deadline();
    match function.handler {
        Handler::Once(handle) => {
            let running = context.clone().scope(panic::catch_async(handle(input)));
            let output = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline.into(), running).await.map_err(|_| {
                    Error::new(
                        ErrorKind::Timeout,
                        format!("`{}` exceeded its time limit", function.call_name()),
                    )
                })?,
                None => running.await,
            };
            match output.and_then(|output| output)? {
                Value::Json(output) => {
                    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
                    Ok((json, Box::<str>::from(output.into_json()).into_string()).into_response())
                }
                Value::Raw(bytes) => raw(bytes).map_err(Refused::from),
            }
        }
        Handler::Stream(handle) => {
            let chunks = Guarded::open(context.clone(), Call::Own, function, || handle(input))?;
            let kind = if function.binding().streams_events { Chunks::Named } else { Chunks::Plain };
            let shared = shared.clone();
            let failed = move |error: Error, context: &Context| failed(error.into_wire(), &shared, context);
            Ok(sent_events::answer(chunks, kind, context.clone(), failed, running.take()))
        }
    }
}

/// Reads the body: raw for a function that takes it so, otherwise JSON.
async fn input_of(
    function: &Function,
    text: Vec<(String, String)>,
    request: Request,
) -> Result<Input, Refused> {
    let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
    let body =
        bytes::Bytes::from_request(request, &()).await.map_err(|rejection| body_refused(&rejection))?;
    if function.binding().raw_body {
        let raw = match content_type.as_ref().and_then(|kind| kind.to_str().ok()) {
            Some(kind) => Bytes::with_content_type(kind, body),
            None => body.into(),
        };
        return Ok(Input { raw: Some(raw), text, ..Input::default() });
    }
    if body.is_empty() {
        return Ok(Input { text, ..Input::default() });
    }
    let body: RawJson = serde_json::from_slice(&body).map_err(|error| Refused {
        status: StatusCode::BAD_REQUEST,
        error: Box::new(WireError::new(
            ErrorKind::InvalidInput,
            format!("the body is not valid JSON: {}", flash_protocol::wire::fault(&error)),
        )),
    })?;
    Ok(Input { body: Some(body.into()), text, ..Input::default() })
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

fn body_refused(rejection: &BytesRejection) -> Refused {
    let status = rejection.status();
    let message = match status {
        StatusCode::PAYLOAD_TOO_LARGE => format!("the body is over {} MiB", MAX_BODY_BYTES / 1024 / 1024),
        _ => rejection.body_text(),
    };
    Refused { status, error: Box::new(WireError::new(ErrorKind::InvalidInput, message)) }
}

/// The parameters of a query, decoded.
fn query_of(query: &str) -> Vec<(String, String)> {
    let uri: http::Uri = match format!("/?{query}").parse() {
        Ok(uri) => uri,
        Err(_) => return Vec::new(),
    };
    axum::extract::Query::try_from_uri(&uri).map(|axum::extract::Query(pairs)| pairs).unwrap_or_default()
}

/// The error body of all routes and of the gateway.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: String,
    kind: ErrorKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_id: Option<&'a str>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    fields: &'a [FieldError],
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
    let body = ErrorBody {
        error: refusal_text(&error),
        kind: error.kind,
        stage: error.stage.as_deref(),
        worker_id: error.worker_id.as_deref().or(shared.worker_id.to_str().ok()),
        request_id,
        fields: &error.fields,
    };
    (status, axum::Json(serde_json::to_value(&body).unwrap_or_default())).into_response()
}
