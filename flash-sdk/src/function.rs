//! A function as a type: what the macro implements, and everything generic over it.
//!
//! The macro's code stays thin; whatever can be written once for all functions is here.
use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tokio::sync::OnceCell;

use crate::{
    Context, Error, ErrorKind, Result,
    arguments::{Args, Input, Wire},
    call::{self, Company, JobHandle},
    registry::{Function, Handler},
    wire::RawJson,
};

/// A function with one result.
pub trait RemoteFunction: Send + Sync + 'static {
    /// Its arguments as a tuple.
    type Args: Args;
    /// Its result.
    type Output: Wire;

    /// Its description.
    fn descriptor() -> &'static Function;

    /// The user's own code. Boxed, so that a function may call itself by its public name.
    fn run(args: Self::Args) -> BoxFuture<'static, Result<Self::Output>>;
}

/// A function that streams.
pub trait RemoteStream: Send + Sync + 'static {
    /// Its arguments as a tuple.
    type Args: Args;
    /// One chunk.
    type Item: Wire;

    /// Its description.
    fn descriptor() -> &'static Function;

    /// The user's own code.
    fn run(args: Self::Args) -> BoxStream<'static, Result<Self::Item>>;
}

/// Runs a function on a request's input.
pub const fn once<F: RemoteFunction>() -> Handler {
    fn handle<F: RemoteFunction>(input: Input) -> BoxFuture<'static, Result<RawJson>> {
        Box::pin(async move {
            let args = F::Args::decode(input, F::descriptor())?;
            let output = F::run(args).await?;
            encode_output(&output)
        })
    }
    Handler::Once(handle::<F>)
}

/// Runs a function that streams on a request's input.
pub const fn streaming<F: RemoteStream>() -> Handler {
    fn handle<F: RemoteStream>(input: Input) -> BoxStream<'static, Result<RawJson>> {
        match F::Args::decode(input, F::descriptor()) {
            Ok(args) => F::run(args).map(|chunk| encode_output(&chunk?)).boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }
    Handler::Stream(handle::<F>)
}

fn encode_output<T: serde::Serialize>(output: &T) -> Result<RawJson> {
    serde_json::value::to_raw_value(output)
        .map_err(|error| Error::new(ErrorKind::Encode, format!("the result has no JSON form: {error}")))
}

/// Calls a function where it lives.
///
/// # Errors
/// What the function fails with, or why it could not be reached.
pub async fn call<F: RemoteFunction>(args: F::Args) -> Result<F::Output> {
    call_as::<F>(args, Company::Alone).await
}

async fn call_as<F: RemoteFunction>(args: F::Args, company: Company) -> Result<F::Output> {
    let function = F::descriptor();
    match call::peers_of(function) {
        None => in_process::<F>(args).await,
        Some(peers) => {
            let output = peers.call(function, call::encode(function, &args)?, company).await?;
            decode_output(function, &output)
        }
    }
}

fn decode_output<T: serde::de::DeserializeOwned>(function: &Function, output: &RawJson) -> Result<T> {
    serde_json::from_str(output.get()).map_err(|error| {
        Error::new(
            ErrorKind::Decode,
            format!(
                "the result of `{}` is of another type: {}",
                function.stage(),
                crate::wire::fault(&error)
            ),
        )
    })
}

/// Calls a function in this process, as a call of its own: deeper by one, its failures named as a stage.
async fn in_process<F: RemoteFunction>(args: F::Args) -> Result<F::Output> {
    let function = F::descriptor();
    let current = Context::current();
    let envelope = Context::envelope_for(current.as_ref(), function.call_name())?;
    let inside = Context::nested(current.as_ref(), envelope);
    let outcome = match inside.deadline() {
        Some(deadline) => {
            let run = tokio::time::timeout_at(deadline.into(), inside.scope(F::run(args)));
            run.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "the caller's deadline passed")))
        }
        None => inside.scope(F::run(args)).await,
    };
    outcome.map_err(|error| match error.stage() {
        Some(_) => error,
        None => {
            let mut wire = error.into_wire();
            wire.stage = Some(function.stage());
            wire.into()
        }
    })
}

/// The chunks of a function that streams, with errors of ours.
pub fn chunks<S: Stream, T>(stream: S, convert: fn(S::Item) -> Result<T>) -> impl Stream<Item = Result<T>> {
    stream.map(convert)
}

/// Calls a function and does not wait: the handle asks after the job.
///
/// # Errors
/// When the job could not be handed over.
pub async fn spawn<F: RemoteFunction>(args: F::Args) -> Result<JobHandle<F::Output>> {
    let function = F::descriptor();
    match call::peers_of(function) {
        None => Ok(JobHandle::in_process(tokio::spawn(in_process::<F>(args)))),
        Some(peers) => peers.spawn(function, call::encode(function, &args)?).await,
    }
}

/// Calls a function once per item, at most `concurrency` at a time. Each result comes when it is there,
/// with the index of its item.
pub fn map<F, I>(items: I, concurrency: usize) -> impl Stream<Item = (usize, Result<F::Output>)> + Send
where
    F: RemoteFunction,
    I: IntoIterator<Item = F::Args>,
    I::IntoIter: Send,
{
    let context = Context::current();
    let calls = items.into_iter().enumerate().map(move |(index, args)| {
        let call = call_as::<F>(args, Company::Many);
        let scoped = match context.clone() {
            Some(context) => context.scope(call).left_future(),
            None => call.right_future(),
        };
        scoped.map(move |result| (index, result))
    });
    stream::iter(calls).buffer_unordered(concurrency.max(1))
}

/// How many calls of a `map` run at a time when nothing else is said.
pub const MAP_CONCURRENCY: usize = 16;

/// Calls a function that streams, where it lives.
pub fn stream<F: RemoteStream>(args: F::Args) -> impl Stream<Item = Result<F::Item>> + Send {
    let function = F::descriptor();
    match call::peers_of(function) {
        None => F::run(args).left_stream(),
        Some(peers) => {
            let encoded = call::encode(function, &args);
            let chunks = stream::once(async move { peers.stream(function, encoded?).await });
            chunks
                .map(|opened| match opened {
                    Ok(chunks) => chunks.left_stream(),
                    Err(error) => stream::once(async { Err(error) }).right_stream(),
                })
                .flatten()
                .map(|chunk| decode_output(F::descriptor(), &chunk?))
                .right_stream()
        }
    }
}

/// Runs a synchronous function on the blocking pool, within the current call.
///
/// # Errors
/// What the function fails with; a panic is resumed on the caller's task.
pub async fn blocking<T, E>(run: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    E: Into<Error>,
{
    let context = Context::current();
    // Held by the thread, not by this future: the future may be dropped while the thread runs on.
    let token = context.as_ref().map(|context| context.blocking().token());
    let task = tokio::task::spawn_blocking(move || {
        let _token = token;
        let caught = AssertUnwindSafe(|| run().map_err(Into::into));
        let run = || crate::panic::catch(caught);
        match context {
            Some(context) => context.sync_scope(run),
            None => run(),
        }
    });
    match task.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panicked)) => Err(panicked),
        Err(error) => {
            Err(Error::new(ErrorKind::Cancelled, format!("the blocking task ended early: {error}")))
        }
    }
}

/// The one value of a `#[remote] impl` in this process, made at the first need.
pub struct Instance<T> {
    cell: OnceCell<Arc<T>>,
}

impl<T> Instance<T> {
    /// Not made yet.
    #[expect(clippy::new_without_default, reason = "made by the macro in a static, where Default is no use")]
    pub const fn new() -> Self {
        Self { cell: OnceCell::const_new() }
    }

    /// The value, made by `init` if this is the first need. A failed `init` is tried again at the next.
    ///
    /// # Errors
    /// What `init` fails with.
    pub async fn get<F, Fut>(&self, init: F) -> Result<Arc<T>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        self.cell.get_or_try_init(|| async { Ok(Arc::new(init().await?)) }).await.cloned()
    }
}
