//! The traits that the macro implements for each function, and the code that is generic over them.
//!
//! The macro generates little code; everything that is the same for all functions is here.
use std::sync::Arc;

use flash_protocol::{Error, Result, Retries, wire::Payload};
use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tokio::sync::OnceCell;

use crate::{
    answer::Answer,
    arguments::{Args, Wire},
    attempts,
    bytes::Bytes,
    call::{self, CallSettings, JobEnd, JobHandle},
    context::{Context, Setup},
    deadline::within,
    descriptor::{Answered, Function, Handler, Input, Value},
    json,
    located::located,
    panic,
    stream::{Call, Guarded},
    substitutes::{FakeResult, FakeStream},
};

/// A function with one result.
pub trait RemoteFunction: Send + Sync + 'static {
    /// Its arguments as a tuple.
    type Args: Args;
    /// Its result.
    type Output: Answer;

    /// Its description.
    fn descriptor() -> &'static Function;

    /// The user's code. Boxed, so that a function can call itself by its public name.
    fn run(args: Self::Args) -> BoxFuture<'static, Result<Self::Output>>;
}

/// A streaming function.
pub trait RemoteStream: Send + Sync + 'static {
    /// Its arguments as a tuple.
    type Args: Args;
    /// One chunk.
    type Item: Wire;

    /// Its description.
    fn descriptor() -> &'static Function;

    /// The user's code.
    fn run(args: Self::Args) -> BoxStream<'static, Result<Self::Item>>;
}

/// Runs a function on a request's input.
pub const fn once<F: RemoteFunction>() -> Handler {
    fn handle<F: RemoteFunction>(input: Input) -> BoxFuture<'static, Result<Answered>> {
        Box::pin(async move {
            let args = F::Args::decode(input, F::descriptor())?;
            let output = F::run(args).await?;
            let value = match Bytes::of(output.value()) {
                Some(bytes) => Value::Raw(bytes.clone()),
                None => Value::Json(json::encode_payload(output.value(), RESULT, 0)?),
            };
            Ok(Answered { value, head: output.head() })
        })
    }
    Handler::Once(handle::<F>)
}

/// Runs a streaming function on a request's input.
pub const fn streaming<F: RemoteStream>() -> Handler {
    fn handle<F: RemoteStream>(input: Input) -> Result<BoxStream<'static, Result<Payload>>> {
        let args = F::Args::decode(input, F::descriptor())?;
        Ok(F::run(args).map(|chunk| json::encode_payload(&chunk?, CHUNK, CHUNK_DEPTH)).boxed())
    }
    Handler::Stream(handle::<F>)
}

pub(crate) const RESULT: &str = "the result";
const CHUNK: &str = "a chunk of the result";
/// The chunks of a job are also read as one list.
const CHUNK_DEPTH: u8 = 1;

/// Calls a function where it is deployed.
///
/// # Errors
/// The function's error, or why it could not be reached.
pub async fn call<F: RemoteFunction>(args: F::Args) -> Result<F::Output> {
    call_with::<F>(args, CallSettings::default()).await
}

/// Calls a function with these settings.
pub(crate) async fn call_with<F: RemoteFunction>(args: F::Args, settings: CallSettings) -> Result<F::Output> {
    let function = F::descriptor();
    match call::peers_for(function, &settings)? {
        // Boxed, as it would make the future of each call to another worker larger.
        None => Box::pin(in_process::<F>(args, &settings)).await,
        Some(peers) => {
            let answered = peers.call(function, call::encode(function, &args)?, &settings).await?;
            let value = call::decode(function, answered.value)?;
            Ok(F::Output::received(answered.head, value))
        }
    }
}

/// Calls a function in this process as a separate call: one level deeper, with its own stage in errors.
async fn in_process<F: RemoteFunction>(args: F::Args, settings: &CallSettings) -> Result<F::Output> {
    let current = Context::current();
    let envelope = Context::envelope_for(current.as_ref(), F::descriptor().call_name())?;
    let envelope = settings.of_direct(envelope);
    let retries = Retries::chosen(F::descriptor().settings.retries, envelope.retries);
    let inside = Context::nested(current.as_ref(), envelope);
    match within(inside.deadline(), run_again::<F>(inside, args, retries)).await {
        Ok(outcome) => outcome,
        Err(passed) => Err(staged(F::descriptor(), passed.into_error())),
    }
}

/// Runs a function within this call, and again after an error that allows it, as the platform would.
async fn run_again<F: RemoteFunction>(
    inside: Context,
    args: F::Args,
    retries: Option<Retries>,
) -> Result<F::Output> {
    let Some(retries) = retries else { return run_within::<F>(inside, args).await };
    let function = F::descriptor();
    // The arguments of later attempts: the first one takes them.
    let input = args.encode(function).and_then(|input| input.into_payload("an argument"));
    let input = input.map_err(|error| staged(function, error))?;
    let mut outcome = run_within::<F>(inside.clone(), args).await;
    for failed in 1.. {
        let Err(error) = &outcome else { break };
        let Some(wait) = attempts::wait_after(error, retries, failed, inside.deadline()) else { break };
        tracing::warn!(
            "{}: attempt {failed} failed: {error:#}; the next one follows in {:.1} s",
            function.call_name(),
            wait.as_secs_f64()
        );
        tokio::time::sleep(wait).await;
        let args = F::Args::decode(Input::job(Some(input.clone())), function)?;
        inside.begin_attempt(failed + 1);
        outcome = run_within::<F>(inside.clone(), args).await;
    }
    outcome
}

/// Runs a function within this call. It ends as it would over the wire: a panic is an error, and so is a value that
/// could not be sent.
async fn run_within<F: RemoteFunction>(inside: Context, args: F::Args) -> Result<F::Output> {
    // Tells synchronous code when its call was dropped.
    let cancel = inside.cancel_on_drop();
    let call = inside.clone();
    let run = async {
        args.check(F::descriptor())?;
        let output = run::<F>(args).await?;
        json::check(output.value(), RESULT, 0)?;
        output.refusal().map_or(Ok(output), Err)
    };
    let outcome = panic::catch_async(inside.scope(run)).await.and_then(|outcome| outcome);
    cancel.disarm();
    outcome.map_err(|error| staged(F::descriptor(), error)).inspect_err(|error| call.failed(error))
}

/// The user's code or, in a test, its fake.
fn run<F: RemoteFunction>(args: F::Args) -> BoxFuture<'static, Result<F::Output>> {
    let substitutes = Context::substitutes();
    match substitutes.and_then(|own| own.fake::<FakeResult<F::Args, F::Output>>(F::descriptor())) {
        Some(fake) => fake.0(args),
        None => F::run(args),
    }
}

/// The user's stream or, in a test, its fake.
fn run_stream<F: RemoteStream>(args: F::Args) -> BoxStream<'static, Result<F::Item>> {
    let substitutes = Context::substitutes();
    match substitutes.and_then(|own| own.fake::<FakeStream<F::Args, F::Item>>(F::descriptor())) {
        Some(fake) => fake.0(args),
        None => F::run(args),
    }
}

/// Adds the function to the error as its stage, unless one is set.
fn staged(function: &Function, error: Error) -> Error {
    located(error, function.stage(), None)
}

/// The chunks of a streaming function, with errors converted.
pub fn chunks<S, T>(stream: S, convert: fn(S::Item) -> Result<T>) -> impl Stream<Item = Result<T>> + Send
where
    S: Stream + Send,
{
    stream.map(convert)
}

/// Submits a call as a job and returns a handle.
///
/// # Errors
/// If the job could not be submitted.
pub async fn spawn<F: RemoteFunction>(args: F::Args) -> Result<JobHandle<F::Output>> {
    spawn_with::<F>(args, CallSettings::default()).await
}

/// Submits a call as a job with these settings.
pub(crate) async fn spawn_with<F: RemoteFunction>(
    args: F::Args,
    settings: CallSettings,
) -> Result<JobHandle<F::Output>> {
    let function = F::descriptor();
    match call::peers_for(function, &settings)? {
        None => {
            let current = Context::current();
            let envelope = Context::envelope_for(current.as_ref(), function.call_name())?;
            let envelope = settings.of_direct(envelope);
            // As over the wire, invalid arguments are reported now and not by the job.
            args.check(function)?;
            let retries = Retries::chosen(function.settings.retries, envelope.retries);
            let id = JobHandle::<F::Output>::new_id();
            // A separate job: its caller may end before it.
            let substitutes = Context::substitutes();
            let inside =
                Context::new(Setup { job_id: Some(id.clone()), envelope, substitutes, ..Setup::default() });
            let deadline = inside.deadline();
            let job = async move {
                match within(deadline, run_again::<F>(inside, args, retries)).await {
                    Ok(outcome) => JobEnd::of(outcome),
                    Err(passed) => JobEnd::timed_out(staged(F::descriptor(), passed.into_error())),
                }
            };
            Ok(JobHandle::in_process(id, job))
        }
        Some(peers) => peers.spawn(function, call::encode(function, &args)?, &settings).await,
    }
}

/// Calls a function once per item, at most `concurrency` at a time. Results arrive as they are ready, each with the
/// index of its item.
pub fn map<F, I>(items: I, concurrency: usize) -> impl Stream<Item = (usize, Result<F::Output>)> + Send
where
    F: RemoteFunction,
    I: IntoIterator<Item = F::Args>,
    I::IntoIter: Send,
{
    let context = Context::current();
    let settings = CallSettings::default();
    let calls = items.into_iter().enumerate().map(move |(index, args)| {
        let call = call_with::<F>(args, settings.of_many(index));
        let scoped = match context.clone() {
            Some(context) => context.scope(call).left_future(),
            None => call.right_future(),
        };
        scoped.map(move |result| (index, result))
    });
    stream::iter(calls).buffer_unordered(concurrency.max(1))
}

/// How many calls of a `map` run at a time by default.
pub const MAP_CONCURRENCY: usize = 16;

/// Calls a streaming function where it is deployed. The stream can be read without being pinned.
pub fn stream<F: RemoteStream>(args: F::Args) -> impl Stream<Item = Result<F::Item>> + Send + Unpin {
    stream_with::<F>(args, CallSettings::default())
}

/// Calls a streaming function with these settings.
pub(crate) fn stream_with<F: RemoteStream>(
    args: F::Args,
    settings: CallSettings,
) -> impl Stream<Item = Result<F::Item>> + Send + Unpin + use<F> {
    let function = F::descriptor();
    match call::peers_for(function, &settings) {
        Err(refused) => stream::once(std::future::ready(Err(refused))).left_stream(),
        Ok(None) => opened(stream_in_process::<F>(args, &settings)).left_stream().right_stream(),
        Ok(Some(peers)) => {
            let encoded = call::encode(function, &args);
            let chunks = stream::once(async move { peers.stream(function, encoded?, &settings).await });
            let chunks = chunks.map(opened).flatten();
            let chunks = chunks.map(|chunk| call::decode_chunk(F::descriptor(), &chunk?)).boxed();
            match Context::current() {
                Some(caller) => {
                    opened(Guarded::open(caller, Call::Callers, function, || Ok(chunks))).left_stream()
                }
                None => chunks.right_stream(),
            }
            .right_stream()
            .right_stream()
        }
    }
}

/// The stream, or a stream with only the error.
fn opened<T, S: Stream<Item = Result<T>>>(opened: Result<S>) -> impl Stream<Item = Result<T>> {
    match opened {
        Ok(chunks) => chunks.left_stream(),
        Err(error) => stream::once(std::future::ready(Err(error))).right_stream(),
    }
}

/// Calls a streaming function in this process; see [`in_process`].
fn stream_in_process<F: RemoteStream>(
    args: F::Args,
    settings: &CallSettings,
) -> Result<impl Stream<Item = Result<F::Item>> + use<F>> {
    let function = F::descriptor();
    let current = Context::current();
    let envelope = Context::envelope_for(current.as_ref(), function.call_name())?;
    let inside = Context::nested(current.as_ref(), settings.of_direct(envelope));
    let run = || {
        args.check(function)?;
        Ok(run_stream::<F>(args).map(checked_chunk).boxed())
    };
    let chunks = Guarded::open(inside, Call::Own, function, run).map_err(|error| staged(function, error))?;
    Ok(chunks.map(move |chunk| chunk.map_err(|error| staged(function, error))))
}

fn checked_chunk<T: Wire>(chunk: Result<T>) -> Result<T> {
    let chunk = chunk?;
    json::check(&chunk, CHUNK, CHUNK_DEPTH)?;
    Ok(chunk)
}

/// The single value of a `#[remote] impl` in this process, created at first use.
pub struct Instance<T> {
    cell: OnceCell<Arc<T>>,
}

impl<T> Instance<T> {
    /// Creates a cell without a value.
    #[expect(clippy::new_without_default, reason = "made by the macro in a static, where Default is no use")]
    pub const fn new() -> Self {
        Self { cell: OnceCell::const_new() }
    }

    /// The value, if it has been created.
    pub fn made(&self) -> Option<Arc<T>> {
        self.cell.get().cloned()
    }

    /// The value, created by `init` at first use. If `init` fails, it runs again at the next use.
    ///
    /// # Errors
    /// The error of `init`.
    pub async fn get<F, Fut>(&self, init: F) -> Result<Arc<T>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        self.cell.get_or_try_init(|| async { Ok(Arc::new(init().await?)) }).await.cloned()
    }
}
