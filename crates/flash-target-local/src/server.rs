//! The control API: HTTP on a Unix socket that only this user can reach.
//!
//! Workers are processes of this user too. They can connect, but their requests are rejected: each needs the key in
//! a file that they cannot read.
use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    sync::Arc,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use flash_platform::{ConnectionShare, Received, serve_connections};
use flash_target::{Problem, ReleaseRecord, TargetError};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};
use hyper::{body::Incoming, service::Service as _};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::{
    net::{UnixListener, UnixStream, unix::SocketAddr},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{
    directory::DataDirectory,
    environments::Environments,
    socket::SocketPath,
    wire::{
        ASK, ChangeRequest, HELLO, Hello, LOGS, LogRequest, LogResponse, Manager, ORDER, Progress, Query,
        ServiceStatus,
    },
};

/// Many times the size of a manifest with large schemas.
const BODY_LIMIT: usize = 64 << 20;

/// The state for answering requests.
#[derive(Clone)]
pub(super) struct ServiceState {
    pub environments: Environments,
    pub directory: DataDirectory,
    pub started_ms: u64,
    pub manager: Manager,
    /// `None` where only those can connect who may control it.
    pub key: Option<ControlKey>,
}

/// The key to the control API. A new one at each start.
#[derive(Clone)]
pub(super) struct ControlKey(Arc<str>);

impl ControlKey {
    /// Makes a key, and writes it where this user's commands find it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn make(directory: &DataDirectory) -> io::Result<Self> {
        let key = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(|half| half.simple().to_string()).concat();
        let path = directory.control_key();
        let new = path.with_extension("key.new");
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(key.as_bytes())?;
        // Atomically: a command may be reading it.
        std::fs::rename(new, path)?;
        Ok(Self(key.into()))
    }

    fn opens(&self, headers: &HeaderMap) -> bool {
        use subtle::ConstantTimeEq as _;
        let given = headers.get(header::AUTHORIZATION).map(|given| given.as_bytes()).unwrap_or_default();
        let given = given.strip_prefix(b"Bearer ").unwrap_or(given);
        self.0.as_bytes().ct_eq(given).into()
    }
}

async fn keyed(State(state): State<Arc<ServiceState>>, request: Request, next: Next) -> Response {
    if state.key.as_ref().is_none_or(|key| key.opens(request.headers())) {
        return next.run(request).await;
    }
    let message = "this process may not control the background service: its control key is wrong";
    let error = TargetError::new(Problem::Refused, message).hint(
        "run the command outside a worker, as the user who runs the service, with the same FLASH_DATA_DIR",
    );
    (StatusCode::UNAUTHORIZED, Json(error)).into_response()
}

/// The socket, only for this user's processes: its mode enforces that, and each peer is checked.
pub(super) struct ControlListener {
    listener: UnixListener,
    owner: u32,
}

impl ControlListener {
    /// Opens the socket. The caller holds the service's lock, so an existing socket is unused.
    pub(super) fn open(directory: &DataDirectory) -> io::Result<Self> {
        let path = directory.socket();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = SocketPath::new(directory)?;
        let listener = UnixListener::bind(socket.path())?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let owner = std::fs::metadata(&path)?.uid();
        Ok(Self { listener, owner })
    }
}

impl axum::serve::Listener for ControlListener {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
            if stream.peer_cred().is_ok_and(|peer| peer.uid() == self.owner) {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves until `closing`, with the timeouts of the environments' listeners.
pub(super) async fn serve<L>(
    listener: L,
    share: ConnectionShare,
    closing: CancellationToken,
    state: ServiceState,
) where
    L: axum::serve::Listener<Addr: Clone + Sync + fmt::Debug>,
{
    let router = TowerToHyperService::new(router(state));
    let respond = move |request: http::Request<Incoming>, _| {
        let router = router.clone();
        async move {
            let Ok(response) = router.call(request.map(|body| Body::new(Received::new(body).0))).await;
            response
        }
    };
    serve_connections(listener, share, closing, respond).await;
}

/// All paths.
fn router(state: ServiceState) -> Router {
    let state = Arc::new(state);
    Router::new()
        .route(ASK, post(ask))
        .route(ORDER, post(order))
        .route(LOGS, post(logs))
        .layer(from_fn_with_state(state.clone(), keyed))
        // Commands of any version may ask which service runs.
        .route(HELLO, get(hello))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(state)
}

impl ServiceState {
    async fn hello(&self) -> Hello {
        Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_ms: self.started_ms,
            manager: self.manager,
            is_idle: self.environments.has_nothing_to_lose().await,
        }
    }

    async fn answer(&self, question: Query) -> Result<Response, TargetError> {
        let environments = &self.environments;
        Ok(match question {
            Query::Service => json(ServiceStatus {
                hello: self.hello().await,
                data: self.directory.path().to_owned(),
                environments: environments.hosted().await?,
                damaged: environments.damaged(),
            }),
            Query::Environments => json(environments.environments().await?),
            Query::Create(new) => json(environments.create(new).await?),
            Query::Environment { id } => json(environments.environment(&id).await?),
            Query::Spec { id, release } => json(environments.spec(&id, release).await?),
            Query::History { id } => json(environments.history(&id).await?),
            Query::Remove { id } => json(environments.remove(&id).await?),
            Query::Status { id } => json(environments.status(&id).await?),
            Query::Costs { id, query } => json(environments.costs(&id, query).await?),
            Query::Keys { id } => json(environments.keys(&id).await?),
            Query::NewKey { id, label } => json(environments.new_key(&id, &label).await?),
            Query::RevokeKey { id, prefix } => json(environments.revoke_key(&id, &prefix).await?),
            Query::Secrets { id } => json(environments.secrets(&id).await?),
            Query::SetSecret { id, name, value } => json(environments.set_secret(&id, &name, value).await?),
            Query::RemoveSecret { id, name } => json(environments.remove_secret(&id, &name).await?),
            Query::Scale { id, worker, change } => json(environments.scale(&id, &worker, change).await?),
            Query::Scales { id } => json(environments.scales(&id).await?),
            Query::Schedules { id } => json(environments.schedules(&id)?),
            Query::RunSchedule { id, function } => json(environments.run_schedule(&id, &function).await?),
            Query::PauseSchedule { id, function, paused } => {
                json(environments.pause_schedule(&id, &function, paused)?)
            }
        })
    }
}

fn json(answer: impl Serialize) -> Response {
    Json(answer).into_response()
}

fn refused(error: TargetError) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(error)).into_response()
}

async fn hello(State(state): State<Arc<ServiceState>>) -> Response {
    json(state.hello().await)
}

/// A change that has begun is completed, whether its requester waits for it or not.
async fn ask(State(state): State<Arc<ServiceState>>, Json(question): Json<Query>) -> Response {
    let answer = tokio::spawn(async move { state.answer(question).await });
    match answer.await {
        Ok(answer) => answer.unwrap_or_else(refused),
        Err(_) => refused(TargetError::new(Problem::Failed, "the service failed during the request")),
    }
}

/// Like [`ask`], with a line for each step.
async fn order(State(state): State<Arc<ServiceState>>, Json(order): Json<ChangeRequest>) -> Response {
    let (steps, received) = mpsc::unbounded_channel();
    let done = tokio::spawn(async move { carry_out(&state.environments, order, &steps).await });
    let steps =
        stream::unfold(received, |mut received| async move { Some((received.recv().await?, received)) });
    let last = stream::once(async move {
        match done.await {
            Ok(Ok(record)) => Progress::Done(record),
            Ok(Err(error)) => Progress::Failed(error),
            Err(_) => {
                Progress::Failed(TargetError::new(Problem::Failed, "the service failed during the request"))
            }
        }
    });
    lines(steps.map(Progress::Step).chain(last))
}

async fn carry_out(
    environments: &Environments,
    order: ChangeRequest,
    steps: &super::environments::Steps,
) -> Result<Option<ReleaseRecord>, TargetError> {
    match order {
        ChangeRequest::Send { id, base, spec, notes } => {
            environments.send(&id, base, *spec, notes, steps).await.map(Some)
        }
        ChangeRequest::Rollback { id, base, to } => {
            environments.rollback(&id, base, to, None, steps).await.map(Some)
        }
        ChangeRequest::Undeploy { id, worker } => environments.undeploy(&id, worker.as_deref(), steps).await,
    }
}

async fn logs(State(state): State<Arc<ServiceState>>, Json(question): Json<LogRequest>) -> Response {
    match state.environments.logs(&question.id, &question.query) {
        Err(error) => refused(error),
        Ok(found) => {
            let found = found.map(|line| line.map_or_else(LogResponse::Failed, LogResponse::Line));
            lines(found.chain(stream::once(async { LogResponse::End })))
        }
    }
}

/// One JSON value per line. Lines that are waiting are sent together.
fn lines<T: Serialize + Send + 'static>(items: impl stream::Stream<Item = T> + Send + 'static) -> Response {
    let chunks = items.ready_chunks(256).map(|items| {
        let mut text = Vec::new();
        for item in &items {
            serde_json::to_writer(&mut text, item).map_err(io::Error::from)?;
            text.push(b'\n');
        }
        Ok::<_, io::Error>(Bytes::from(text))
    });
    Response::new(Body::from_stream(chunks))
}
