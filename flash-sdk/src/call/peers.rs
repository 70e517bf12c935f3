//! How this process reaches the other worker types of its app.
use std::{
    borrow::Cow,
    collections::HashMap,
    ops::Deref,
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use flash_protocol::{
    Error, ErrorKind, Result, WireError,
    credentials::Credentials,
    variables,
    wire::{Payload, RawJson, envelope::Envelope, job::Policy},
};
use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;

use super::{
    coding::EncodedCall,
    directory::{self, Endpoints, Process},
    environments::{Found, find_environment},
    exchange::{Calls, Outgoing},
    handle::JobHandle,
    route,
    settings::CallSettings,
};
use crate::{
    context::Context,
    deadline::within_current_call,
    descriptor::{Answered, Function, Value},
    http_client::HttpClient,
    located::located,
    queue_client::{LONGEST_HOLD, QueueClient, RemoteJob, RetryPolicy, Submission},
};

/// A call is sent once, because its caller decides about retries. Waiting for a job survives a few lost polls.
const RETRY_POLICY: RetryPolicy =
    RetryPolicy { request_timeout: Duration::from_secs(30), retries: 0, lost_polls: 5 };

/// How many environments one process may call. Each has connections of its own.
const MAX_ENVIRONMENTS: usize = 64;

/// How this process reaches the app's other worker types.
pub(crate) struct Peers {
    /// The worker type of this process.
    own: Option<String>,
    /// Worker type to base URL, or why they are not known.
    endpoints: Result<Endpoints, directory::Problem>,
    /// The end of the message "no endpoint for …".
    source: String,
    /// Calls over the exchange; set once connected.
    exchange: OnceLock<Calls>,
    http: Arc<HttpClient>,
}

/// `None` if no platform is configured.
static PEERS: OnceLock<Option<Peers>> = OnceLock::new();

/// Sets what this process is, and so where functions run. Only the first call has an effect.
pub(crate) fn settle(process: Process) -> Option<&'static Peers> {
    PEERS.get_or_init(|| Peers::from_env(process)).as_ref()
}

/// How to reach this function; `None` if it runs in this process.
fn peers_of(function: &Function) -> Option<PeersHandle> {
    if let Some(substitutes) = Context::substitutes() {
        if substitutes.has_fake(function) {
            return None;
        }
        if let Some(platform) = substitutes.platform() {
            return Some(PeersHandle::OfTest(platform));
        }
    }
    let peers = settle(Process::Other)?;
    (peers.own.as_deref() != Some(function.worker())).then_some(PeersHandle::OfProcess(peers))
}

/// How to reach worker types by name; `None` without a platform.
pub(crate) fn peers() -> Option<PeersHandle> {
    match Context::substitutes().and_then(|substitutes| substitutes.platform()) {
        Some(platform) => Some(PeersHandle::OfTest(platform)),
        None => settle(Process::Other).map(PeersHandle::OfProcess),
    }
}

/// The peers that a call goes to.
pub(crate) enum PeersHandle {
    /// Those of this process, as its environment variables say, or of an environment that it named.
    OfProcess(&'static Peers),
    /// Those of the platform that the current test started.
    OfTest(Arc<Peers>),
}

impl Deref for PeersHandle {
    type Target = Peers;

    fn deref(&self) -> &Peers {
        match self {
            Self::OfProcess(peers) => peers,
            Self::OfTest(peers) => peers,
        }
    }
}

/// Whether a test has replaced it.
fn is_faked(function: &Function) -> bool {
    Context::substitutes().is_some_and(|substitutes| substitutes.has_fake(function))
}

/// How to reach this function with these settings; `None` if it runs in this process.
///
/// # Errors
/// If the settings name an environment that is not known.
pub(crate) fn peers_for(function: &Function, settings: &CallSettings) -> Result<Option<PeersHandle>> {
    settings.check(|| function.call_name())?;
    match &settings.environment {
        Some(_) if is_faked(function) => Ok(None),
        Some(name) => found_at(name).map(Some).map_err(|error| located(error, function.stage(), None)),
        None => Ok(peers_of(function)),
    }
}

fn found_at(environment: &str) -> Result<PeersHandle> {
    peers_at(environment).map(PeersHandle::OfProcess)
}

/// How to reach this environment. What was found stays valid as long as the process.
fn peers_at(name: &str) -> Result<&'static Peers> {
    static KNOWN: LazyLock<Mutex<HashMap<String, &'static Peers>>> = LazyLock::new(Mutex::default);
    if let Some(known) = KNOWN.lock().get(name) {
        return Ok(*known);
    }
    let found = find_environment(name)?;
    let mut known = KNOWN.lock();
    if known.len() >= MAX_ENVIRONMENTS {
        let message = format!("call to environment `{name}` refused: {MAX_ENVIRONMENTS} others are in use");
        return Err(Error::new(ErrorKind::Refused, message));
    }
    // Never freed, like the app's own: their number is limited.
    Ok(*known.entry(name.to_owned()).or_insert_with(|| Box::leak(Box::new(Peers::elsewhere(found)))))
}

/// A job of this function that was submitted before, by its ID.
///
/// # Errors
/// [`ErrorKind::NotFound`] if the function runs in this process, or its worker type's address is not known.
pub(crate) fn handle<T>(
    function: &'static Function,
    id: String,
    settings: &CallSettings,
) -> Result<JobHandle<T>> {
    let Some(peers) = peers_for(function, settings)? else {
        let message = format!(
            "`{}` runs in this process, where a job is known only by the handle that `spawn` returned: set {}=NAME \
             to find job `{id}` in an environment",
            function.call_name(),
            variables::ENV,
        );
        return Err(Error::new(ErrorKind::NotFound, message));
    };
    let queue = peers.queue_of(function.worker())?;
    Ok(JobHandle::remote(RemoteJob { queue, id, stage: function.stage(), request_id: None }, function))
}

impl Peers {
    fn from_env(process: Process) -> Option<Self> {
        let directory = directory::directory_of(&process, directory::Variables::read(), Credentials::load)?;
        let own = match process {
            Process::Worker(own) => Some(own),
            Process::Main { .. } | Process::Other => None,
        };
        Some(Self {
            own,
            endpoints: directory.endpoints.map(Endpoints::Listed),
            source: directory.source,
            exchange: OnceLock::new(),
            http: Arc::new(HttpClient::new(directory.key)),
        })
    }

    /// The worker types of a platform that this process started.
    pub(crate) fn of_platform(endpoints: HashMap<String, String>, source: String) -> Self {
        Self::elsewhere(Found { endpoints: Endpoints::Listed(endpoints), key: None, source })
    }

    /// The worker types of another environment.
    pub(super) fn elsewhere(Found { endpoints, key, source }: Found) -> Self {
        Self {
            own: None,
            endpoints: Ok(endpoints),
            source,
            exchange: OnceLock::new(),
            http: Arc::new(HttpClient::new(key)),
        }
    }

    /// The key for the other worker types.
    pub(crate) fn key(&self) -> Option<&str> {
        self.http.key()
    }

    /// Sends calls over this connection from now on.
    pub(crate) fn use_exchange(&self, calls: Calls) {
        // A worker connects once, so the first connection stays.
        let _ = self.exchange.set(calls);
    }

    /// The URL where a worker type takes jobs.
    pub(crate) fn url_of(&self, worker: &str) -> Result<Cow<'_, str>> {
        self.endpoints()?.jobs(worker).ok_or_else(|| self.no_endpoint(worker))
    }

    /// The URL of the routes of a worker type.
    fn routes_of(&self, worker: &str) -> Result<Cow<'_, str>> {
        self.endpoints()?.routes(worker).ok_or_else(|| self.no_endpoint(worker))
    }

    fn endpoints(&self) -> Result<&Endpoints> {
        self.endpoints.as_ref().map_err(|problem| Error::from(WireError::clone(problem)))
    }

    fn no_endpoint(&self, worker: &str) -> Error {
        let message = format!("no endpoint for worker type `{worker}`: {}", self.source);
        Error::new(ErrorKind::NotFound, message)
    }

    /// Calls a function and waits for its result, at most until the caller's deadline.
    pub(crate) async fn call(
        &self,
        function: &Function,
        call: EncodedCall,
        settings: &CallSettings,
    ) -> Result<Answered> {
        let envelope = self.envelope(function)?;
        let request_id = envelope.request_id.clone();
        let outcome = within_current_call(self.send(function, envelope, call, settings)).await;
        outcome.map_err(|error| located(error, function.stage(), request_id))
    }

    /// The ways over HTTP are boxed: their futures are kilobytes, and would be a part of the future of every call, which
    /// is copied before it runs.
    async fn send(
        &self,
        function: &Function,
        envelope: Envelope,
        call: EncodedCall,
        settings: &CallSettings,
    ) -> Result<Answered> {
        if function.route.is_some() {
            let (url, envelope) = (self.routes_of(function.worker())?, settings.of_direct(envelope));
            return Box::pin(route::call(&self.http, &url, function, &envelope, call)).await;
        }
        let (envelope, input) = (settings.of_job(envelope), call.into_input()?);
        if settings.idempotency_key.is_some() {
            // Only `run` takes a key. Its job outlives this call, because others with the key may wait for it.
            let job = Box::pin(self.submit(function, envelope, &input.into_json(), settings)).await?;
            let output = Box::pin(job.output()).await?;
            return Ok(Answered::of(Value::Json(output.into())));
        }
        let output = self.run(function.worker(), envelope, input, settings.policy).await?;
        Ok(Answered::of(Value::Json(output)))
    }

    /// Runs a job on a worker type and waits for its output.
    pub(super) async fn run(
        &self,
        worker: &str,
        envelope: Envelope,
        input: Payload,
        policy: Policy,
    ) -> Result<Payload> {
        if let Some(calls) = self.exchange.get() {
            return calls.call(worker, envelope, input, policy).await;
        }
        // Boxed as in `send`.
        Box::pin(self.run_over_http(worker, envelope, input, policy)).await
    }

    async fn run_over_http(
        &self,
        worker: &str,
        envelope: Envelope,
        input: Payload,
        policy: Policy,
    ) -> Result<Payload> {
        let input = input.into_json();
        let queue = self.queue_of(worker)?;
        let hold = Context::current().and_then(|context| context.time_left()).unwrap_or(LONGEST_HOLD);
        let submission = Submission { policy, ..Submission::new(&envelope, &input) };
        let job = queue.run_sync(&submission, hold).await?;
        if job.status.is_final() {
            return job.into_output().map(Payload::from);
        }
        let stage = stage_of(worker, &envelope);
        let job = RemoteJob { queue, id: job.id, stage, request_id: envelope.request_id };
        job.output().await.map(Payload::from)
    }

    /// Submits a job without waiting for its end.
    pub(crate) async fn spawn<T>(
        &self,
        function: &'static Function,
        call: EncodedCall,
        settings: &CallSettings,
    ) -> Result<JobHandle<T>> {
        let envelope = self.envelope(function)?;
        if function.route.is_some() {
            let message = format!(
                "`{}` is a route: routes answer directly and do not create jobs",
                function.call_name()
            );
            return Err(Error::new(ErrorKind::Refused, message));
        }
        let input = call.into_input()?.into_json();
        Ok(JobHandle::remote(self.submit(function, envelope, &input, settings).await?, function))
    }

    /// Opens a function's stream of chunks.
    pub(crate) async fn stream(
        &self,
        function: &'static Function,
        call: EncodedCall,
        settings: &CallSettings,
    ) -> Result<BoxStream<'static, Result<Payload>>> {
        let envelope = self.envelope(function)?;
        let request_id = envelope.request_id.clone();
        if function.route.is_some() {
            let envelope = settings.of_direct(envelope);
            let opened =
                route::stream(&self.http, &self.routes_of(function.worker())?, function, &envelope, call)
                    .await;
            let chunks = opened.map_err(|error| located(error, function.stage(), request_id))?;
            return Ok(chunks.map_ok(Payload::from).boxed());
        }
        let input = call.into_input()?;
        let Some(calls) = self.exchange.get() else {
            let job = self.submit(function, envelope, &input.into_json(), settings).await?;
            return Ok(job.chunks().map_ok(Payload::from).boxed());
        };
        let locate = move |error| located(error, function.stage(), request_id.clone());
        let outgoing = Outgoing { worker: function.worker(), envelope, input, policy: settings.policy };
        let chunks = calls.stream(outgoing).map_err(&locate)?;
        Ok(chunks.map(move |chunk| chunk.map_err(&locate)).boxed())
    }

    async fn submit(
        &self,
        function: &Function,
        envelope: Envelope,
        input: &RawJson,
        settings: &CallSettings,
    ) -> Result<RemoteJob> {
        let queue = self.queue_of(function.worker())?;
        let submission = Submission {
            policy: settings.policy,
            idempotency_key: settings.idempotency_key.as_deref(),
            ..Submission::new(&envelope, input)
        };
        let submitted = queue.run(&submission).await;
        let (stage, request_id) = (function.stage(), envelope.request_id);
        match submitted {
            Ok(job) => Ok(RemoteJob { queue, id: job.id, stage, request_id }),
            Err(error) => Err(located(error, stage, request_id)),
        }
    }

    fn queue_of(&self, worker: &str) -> Result<QueueClient> {
        let url = self.url_of(worker)?.into_owned();
        Ok(QueueClient { http: self.http.clone(), url, retry_policy: RETRY_POLICY })
    }

    fn envelope(&self, function: &Function) -> Result<Envelope> {
        Context::envelope_for(Context::current().as_ref(), function.call_name())
    }
}

/// What errors name: as [`Function::stage`] for a function, the worker type for a program.
fn stage_of(worker: &str, envelope: &Envelope) -> String {
    match &envelope.function {
        Some(function) => format!("{worker}/{}", &**function),
        None => worker.to_owned(),
    }
}
