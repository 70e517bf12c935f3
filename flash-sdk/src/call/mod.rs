//! Calls between functions: where a function runs, and how to reach it.
//!
//! A call runs in this process if the process is a worker of the function's type, or if no platform is configured
//! (plain `cargo test` or `cargo run`). Otherwise it goes over the exchange if the platform has one, and over HTTP if
//! not. URLs come from `FLASH_ENDPOINTS` or, with `FLASH_ENV`, from the user's credential file.
mod directory;
mod exchange;
mod handle;
pub(crate) mod http;
mod worker;

use std::{collections::HashMap, sync::OnceLock, time::Instant};

use flash_protocol::{
    Error, ErrorKind, Result, WireError,
    credentials::Credentials,
    wire::{
        RawJson,
        envelope::Envelope,
        identity::RequestId,
        job::{ErrorText, JobObject, JobStatus},
    },
};
use futures_util::stream::BoxStream;

pub(crate) use directory::Process;
pub(crate) use exchange::Calls;
pub(crate) use handle::JobEnd;
pub use handle::JobHandle;
pub(crate) use http::http_client;
pub use worker::call_worker;

use crate::{arguments::Args, context::Context, descriptor::Function};

/// Whether a call is one of many.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fanout {
    Single,
    /// One of many calls made at once, as by `map`.
    Many,
}

/// The encoded arguments of a call.
pub(crate) struct EncodedCall {
    body: RawJson,
    text: Vec<(&'static str, String)>,
}

pub(crate) fn encode<A: Args>(function: &Function, args: &A) -> Result<EncodedCall> {
    let text = if function.route.is_some() { args.encode_text(function)? } else { Vec::new() };
    Ok(EncodedCall { body: args.encode(function)?, text })
}

/// How this process reaches the app's other worker types.
pub(crate) struct Peers {
    /// The worker type of this process.
    own: Option<String>,
    /// Worker type to base URL, or why they are not known.
    endpoints: Result<HashMap<String, String>, directory::Problem>,
    /// The end of the message "no endpoint for …".
    source: String,
    /// Calls over the exchange; set once connected.
    exchange: OnceLock<Calls>,
    client: http::Client,
}

/// `None` if no platform is configured.
static PEERS: OnceLock<Option<Peers>> = OnceLock::new();

/// Sets what this process is, and so where functions run. Only the first call has an effect.
pub(crate) fn settle(process: Process) -> Option<&'static Peers> {
    PEERS.get_or_init(|| Peers::from_env(process)).as_ref()
}

/// How to reach this function; `None` if it runs in this process.
pub(crate) fn peers_of(function: &Function) -> Option<&'static Peers> {
    let peers = settle(Process::Other)?;
    (peers.own.as_deref() != Some(function.worker())).then_some(peers)
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
            endpoints: directory.endpoints,
            source: directory.source,
            exchange: OnceLock::new(),
            client: http::Client::new(directory.key),
        })
    }

    /// The key for the other worker types.
    pub(crate) fn key(&self) -> Option<&str> {
        self.client.key()
    }

    /// Sends calls over this connection from now on.
    pub(crate) fn use_exchange(&self, calls: Calls) {
        // A worker connects once, so the first connection stays.
        let _ = self.exchange.set(calls);
    }

    /// The base URL of a worker type.
    pub(crate) fn url_of(&self, worker: &str) -> Result<&str> {
        let endpoints = self.endpoints.as_ref().map_err(|problem| Error::from(WireError::clone(problem)))?;
        endpoints.get(worker).map(String::as_str).ok_or_else(|| {
            let message = format!("no endpoint for worker type `{worker}`: {}", self.source);
            Error::new(ErrorKind::NotFound, message)
        })
    }

    /// Calls a function and waits for its result, at most until the caller's deadline.
    pub(crate) async fn call(
        &self,
        function: &Function,
        call: EncodedCall,
        fanout: Fanout,
    ) -> Result<RawJson> {
        let envelope = Envelope { fan_out: fanout == Fanout::Many, ..self.envelope(function)? };
        let request_id = envelope.request_id.clone();
        let deadline = Context::current().and_then(|context| context.deadline());
        let outcome = within(deadline, self.send(function, envelope, call)).await;
        outcome.map_err(|error| located(error, function, request_id))
    }

    async fn send(&self, function: &Function, envelope: Envelope, call: EncodedCall) -> Result<RawJson> {
        if function.route.is_some() {
            return self
                .client
                .request_route(self.url_of(function.worker())?, function, &envelope, call)
                .await;
        }
        self.run(function.worker(), envelope, call.body).await
    }

    /// Runs a job on a worker type and waits for its end.
    async fn run(&self, worker: &str, envelope: Envelope, input: RawJson) -> Result<RawJson> {
        let job = match self.exchange.get() {
            Some(calls) => calls.call(worker, envelope, input).await?,
            None => self.client.run_sync(self.url_of(worker)?, &envelope, &input).await?,
        };
        output_of(job)
    }

    /// Submits a job without waiting for its end.
    pub(crate) async fn spawn<T>(
        &'static self,
        function: &'static Function,
        call: EncodedCall,
    ) -> Result<JobHandle<T>> {
        let envelope = self.envelope(function)?;
        if function.route.is_some() {
            let message = format!(
                "`{}` is a route: routes answer directly and do not create jobs",
                function.call_name()
            );
            return Err(Error::new(ErrorKind::Refused, message));
        }
        let url = self.url_of(function.worker())?;
        let id = self.client.run(url, &envelope, &call.body).await;
        let id = id.map_err(|error| located(error, function, envelope.request_id))?;
        Ok(JobHandle::remote(&self.client, url, id, function))
    }

    /// Opens a function's stream of chunks.
    pub(crate) async fn stream(
        &'static self,
        function: &'static Function,
        call: EncodedCall,
    ) -> Result<BoxStream<'static, Result<RawJson>>> {
        let envelope = self.envelope(function)?;
        let url = self.url_of(function.worker())?;
        let request_id = envelope.request_id.clone();
        let opened = match function.route {
            Some(_) => self.client.stream_route(url, function, &envelope, call).await,
            None => {
                let id = self.client.run(url, &envelope, &call.body).await;
                id.map(|id| self.client.stream(url, id, function, request_id.clone()))
            }
        };
        opened.map_err(|error| located(error, function, request_id))
    }

    fn envelope(&self, function: &Function) -> Result<Envelope> {
        Context::envelope_for(Context::current().as_ref(), function.call_name())
    }
}

pub(crate) async fn within<T>(deadline: Option<Instant>, call: impl Future<Output = Result<T>>) -> Result<T> {
    match deadline {
        None => call.await,
        Some(deadline) => match tokio::time::timeout_at(deadline.into(), call).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(ErrorKind::Timeout, "the caller's deadline passed")),
        },
    }
}

/// Adds stage and request to the error, unless they are already set.
fn located(error: Error, function: &Function, request_id: Option<RequestId>) -> Error {
    located_at(error, function.stage(), request_id)
}

pub(crate) fn located_at(error: Error, stage: String, request_id: Option<RequestId>) -> Error {
    let mut wire = error.into_wire();
    wire.stage.get_or_insert(stage);
    wire.request_id = wire.request_id.or(request_id.map(String::from));
    wire.into()
}

/// The result of a job in its final state.
pub(crate) fn output_of(job: JobObject) -> Result<RawJson> {
    let mut wire = match job.status {
        JobStatus::Completed => return Ok(job.output.unwrap_or_else(flash_protocol::wire::null)),
        JobStatus::TimedOut => {
            let message = job.error.unwrap_or_else(|| "the job timed out".to_owned());
            let mut wire = ErrorText::parse(&message);
            wire.kind = ErrorKind::Timeout;
            wire
        }
        JobStatus::Cancelled => Error::new(ErrorKind::Cancelled, "the job was cancelled").into_wire(),
        JobStatus::Failed => ErrorText::parse(&job.error.unwrap_or_default()),
        JobStatus::InQueue | JobStatus::InProgress => {
            Error::new(ErrorKind::Transport, format!("job `{}` has not ended", job.id)).into_wire()
        }
    };
    wire.worker_id = wire.worker_id.or(job.worker_id);
    Err(wire.into())
}
