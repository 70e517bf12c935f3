//! Runs a job on this worker: finds the function, runs it within its call, and turns the outcome into the job's end.
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use axum::Router;
use flash_protocol::{
    Error, ErrorKind, Result, Retries, cut,
    manifest::WorkerType,
    variables,
    wire::{Payload, PayloadList, envelope::Envelope, exchange::MAX_RESULT_BYTES},
};
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{lifecycles::Lifecycles, output_marks, shutdown::Shutdown};
use crate::{
    attempts,
    context::{BatchSink, Context, ProgressSink, Setup},
    descriptor::{Function, Handler, Input, RouterFunction},
    function::RESULT,
    panic,
    registry::Registry,
    traces::Called,
};

/// The functions of this worker's type.
pub(super) struct Functions {
    worker_type: WorkerType,
    functions: Vec<&'static Function>,
    lifecycles: Lifecycles,
    router_function: Option<&'static RouterFunction>,
    /// Set by [`Functions::init`].
    router: OnceLock<Router>,
}

impl Functions {
    /// The functions of the named worker type or, without a name, of the only one.
    pub(super) fn of(registry: &Registry, name: Option<&str>) -> Result<Self, String> {
        let known: Vec<&str> = registry.workers().collect();
        let list = || known.join("`, `");
        let name = match (name, known.as_slice()) {
            (Some(name), _) => name,
            (None, [only]) => only,
            (None, []) => return Err("this app has no `#[remote]` functions".to_owned()),
            (None, _) => {
                return Err(format!("{} is not set; known worker types: `{}`", variables::WORKER, list()));
            }
        };
        let worker_type = registry
            .worker_type(name)
            .ok_or_else(|| format!("this app has no worker type `{name}`; known: `{}`", list()))?;
        let functions: Vec<_> = registry.functions_of(name).collect();
        let router_function = registry.router_of(name);
        Ok(Self {
            lifecycles: Lifecycles::of(&functions, router_function),
            functions,
            router_function,
            router: OnceLock::new(),
            worker_type,
        })
    }

    pub(super) fn worker_type(&self) -> &WorkerType {
        &self.worker_type
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Function> {
        self.functions.iter().copied()
    }

    /// The values whose methods they are.
    pub(super) fn lifecycles(&self) -> &Lifecycles {
        &self.lifecycles
    }

    /// The app's own router; `None` before [`Functions::init`], and if it has none.
    pub(super) fn router(&self) -> Option<&Router> {
        self.router.get()
    }

    /// Runs every `#[init]` once and makes the router, before the worker takes work.
    ///
    /// # Errors
    /// The first error, as text.
    pub(super) async fn init(&self) -> Result<(), String> {
        let text = |error: Error| format!("{error:#}");
        self.lifecycles.init().await.map_err(text)?;
        if let Some(function) = self.router_function {
            let models = self.worker_type.http.as_ref().map(|http| http.models.clone()).unwrap_or_default();
            let router = initialised(function.stage(), (function.make)(models)).await.map_err(text)?;
            // A worker is initialised once, so the first router stays.
            let _ = self.router.set(router);
        }
        Ok(())
    }

    /// Runs every `#[exit]` once, after the last work, within what is left of the drain time.
    pub(super) async fn exit(&self, shutdown: &Shutdown) {
        for failed in self.lifecycles.exit(shutdown.left()).await {
            tracing::error!("{failed}");
        }
    }

    fn find(&self, name: Option<&str>) -> Result<&'static Function> {
        let names =
            || self.functions.iter().map(|function| function.call_name()).collect::<Vec<_>>().join("`, `");
        match (name, self.functions.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "worker type `{}` has several functions: choose one with {{\"__flash\": {{\"function\": \
                     …}}}} in the input; known: `{}`",
                    self.worker_type.name,
                    names(),
                ),
            )),
            (Some(name), functions) => {
                functions.iter().copied().find(|function| function.is_named(name)).ok_or_else(|| {
                    let worker = &self.worker_type.name;
                    let name = cut(name.to_owned());
                    let message =
                        format!("worker type `{worker}` has no function `{name}`; known: `{}`", names());
                    Error::new(ErrorKind::NotFound, message)
                })
            }
        }
    }
}

/// Runs a part of the initialisation within a call of its own.
async fn initialised<T>(stage: String, init: impl Future<Output = Result<T>>) -> Result<T> {
    let context = Context::new(Setup::default());
    let outcome = panic::catch_async(context.scope(init)).await.and_then(|outcome| outcome);
    outcome.map_err(|error| error.context(format!("`{stage}` could not be initialised")))
}

/// A job, from the exchange or from polling.
#[derive(Clone)]
pub(super) struct Job {
    pub id: String,
    /// From 1; 0 if the platform does not say it.
    pub attempt: u32,
    pub envelope: Envelope,
    pub input: Option<Payload>,
    pub cancelled: CancellationToken,
    pub progress: Option<ProgressSink>,
    pub batch_sink: Option<BatchSink>,
}

/// How a job ended.
pub(super) struct Finished {
    pub outcome: Result<Payload>,
    pub ran: Duration,
    /// Whether chunks were sent.
    pub streamed: bool,
    /// The name that callers use; `None` if there is no such function.
    pub function: Option<String>,
    /// The context of the call, for further messages.
    pub context: Context,
}

/// Runs a job to its end. `chunk` is called for each chunk of a streaming function.
pub(super) async fn run(
    functions: &Functions,
    worker_id: &str,
    job: Job,
    chunk: impl FnMut(Payload),
) -> Finished {
    let started = Instant::now();
    let Job { id, attempt, envelope, input, cancelled, progress, batch_sink } = job;
    let found = functions.find(envelope.function.as_deref());
    let function = found.as_ref().ok().map(|function| function.call_name());
    let streamed = matches!(&found, Ok(function) if matches!(function.handler, Handler::Stream(_)));
    let setup = Setup {
        job_id: Some(id.clone()),
        attempt,
        envelope,
        called: found.as_ref().ok().copied().map(Called::Job),
        cancelled: cancelled.clone(),
        progress,
        batch_sink,
        ..Setup::default()
    };
    let context = Context::new(setup);
    let request_id = context.request_id().to_owned();
    // Until all of its output is written.
    let _printing = output_marks::begin(&request_id, Some(&id));
    let deadline = context.deadline();
    let blocking = context.blocking().clone();
    let running = context.clone().scope(panic::catch_async(async {
        match found?.handler {
            Handler::Once(handle) => handle(Input::job(input)).await?.value.into_payload(RESULT),
            Handler::Stream(handle) => collect(handle(Input::job(input))?, chunk).await,
        }
    }));
    let outcome = tokio::select! {
        outcome = running => outcome.and_then(|outcome| outcome),
        () = cancelled.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the job was cancelled")),
        () = until(deadline) => Err(Error::new(ErrorKind::Timeout, "the caller's deadline passed")),
    };
    // A synchronous function cannot be dropped: the job holds its slot until its thread has ended. A platform that
    // does not want to wait ends the process.
    blocking.close();
    blocking.wait().await;
    let outcome = outcome.map_err(|error: Error| -> Error {
        context.failed(&error);
        let mut wire = error.into_wire();
        wire.worker_id.get_or_insert_with(|| worker_id.to_owned());
        wire.request_id.get_or_insert(request_id);
        wire.into()
    });
    Finished { outcome, ran: started.elapsed(), streamed, function, context }
}

/// Like [`run`], and again after an error that allows it, for a provider that runs each job once. The job holds its slot
/// between two attempts. All of them must begin within the execution timeout of the worker type.
pub(super) async fn run_again(
    functions: &Functions,
    worker_id: &str,
    job: Job,
    mut chunk: impl FnMut(Payload),
) -> Finished {
    let function = functions.find(job.envelope.function.as_deref()).ok();
    let own = function.and_then(|function| function.settings.retries);
    let Some(retries) = Retries::chosen(own, job.envelope.retries) else {
        return run(functions, worker_id, job, chunk).await;
    };
    let started = Instant::now();
    let limit = started + Duration::from_secs(functions.worker_type.execution_timeout_seconds.into());
    let mut failed = 0;
    loop {
        let mut is_read = false;
        let again = Job { attempt: failed + 1, ..job.clone() };
        let attempt = run(functions, worker_id, again, |output| {
            is_read = true;
            chunk(output);
        });
        let mut finished = attempt.await;
        // What the provider charges for, waits included.
        finished.ran = started.elapsed();
        let Err(error) = &finished.outcome else { return finished };
        failed += 1;
        let until = finished.context.deadline().map_or(limit, |deadline| deadline.min(limit));
        let wait = attempts::wait_after(error, retries, failed, Some(until));
        // A client may have read the chunks already.
        let Some(wait) = wait.filter(|_| !is_read) else { return finished };
        finished.context.clone().sync_scope(|| {
            let function = finished.function.as_deref().unwrap_or("job");
            let seconds = wait.as_secs_f64();
            tracing::warn!(
                "{function}: attempt {failed} failed: {error:#}; the next one follows in {seconds:.1} s"
            );
        });
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = job.cancelled.cancelled() => return finished,
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Sends each chunk. The list of all chunks is the job's result, for callers that do not stream.
async fn collect(
    mut chunks: futures_util::stream::BoxStream<'static, Result<Payload>>,
    mut send: impl FnMut(Payload),
) -> Result<Payload> {
    let mut all = PayloadList::default();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        all.push(&chunk);
        if all.json_len() > MAX_RESULT_BYTES {
            let message = format!(
                "the chunks together are over {MAX_RESULT_BYTES} bytes of JSON, the limit of a result"
            );
            return Err(Error::new(ErrorKind::Encode, message));
        }
        send(chunk);
    }
    Ok(all.finish())
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[tokio::test]
    async fn a_stream_without_end_is_gathered_up_to_the_limit_of_a_result() {
        let text = format!("\"{}\"", "x".repeat(1_000_000));
        let chunk = || Ok(RawValue::from_string(text.clone()).unwrap().into());
        let chunks: Vec<Result<Payload>> = std::iter::repeat_with(chunk).take(30).collect();
        let mut sent = 0;
        let ended = collect(futures_util::stream::iter(chunks).boxed(), |_| sent += 1).await;
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Encode);
        assert_eq!(sent, 19, "those that fit were sent on their way");
    }

    #[tokio::test]
    async fn chunks_and_their_list_have_bytes_beside_their_text() {
        let chunk = |byte| {
            let chunk = crate::Bytes::from(vec![byte; 1_000]);
            crate::json::encode_payload(&chunk, "a chunk", 1)
        };
        let mut sent = Vec::new();
        let chunks = futures_util::stream::iter([chunk(1), chunk(2)]).boxed();
        let all = collect(chunks, |chunk| sent.push(chunk)).await.unwrap();
        assert!(sent.iter().all(Payload::has_attachments) && all.has_attachments());
        let read: Vec<crate::Bytes> = crate::json::decode_payload(&all, || "the list".to_owned()).unwrap();
        assert_eq!(read, [vec![1; 1_000].into(), vec![2; 1_000].into()]);
    }
}
