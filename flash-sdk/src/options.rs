//! Options of a call: how long, how urgent, under which key, and where.
use std::{fmt, time::Duration};

use flash_protocol::Result;
use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use crate::{
    arguments::Args,
    call::{self, CallSettings, JobHandle},
    context::Context,
    descriptor::Function,
    function::{MAP_CONCURRENCY, RemoteFunction, RemoteStream, call_with, spawn_with, stream_with},
};

/// Options of a call, from `f::options()`, or `T::f_options()` for a method.
///
/// ```no_run
/// use std::time::Duration;
/// use flash_sdk::{Priority, Result, remote};
///
/// #[remote(cpu = Cpu3c_1_2)]
/// pub async fn render(scene: String, frame: u32) -> Result<Vec<u8>> {
///     todo!()
/// }
///
/// # async fn example() -> Result<()> {
/// let options = render::options().timeout(Duration::from_secs(60)).priority(Priority::Low);
/// let frame = options.clone().call(("intro".to_owned(), 1)).await?;
/// let job = options.idempotency_key("intro-2").spawn(("intro".to_owned(), 2)).await?;
/// # Ok(())
/// # }
/// # fn main() {}
/// ```
///
/// A function with one argument takes it as it is, as `map` does: `hello::options().call(name)`. Several arguments are
/// a tuple, and no argument is `()`.
#[must_use = "options do nothing until a call is made with them"]
#[derive(Clone)]
pub struct CallOptions<K> {
    kind: K,
    settings: CallSettings,
    concurrency: usize,
}

/// How urgent a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Priority {
    /// In the order of arrival.
    #[default]
    Normal,
    /// After all jobs of normal priority, and without starting a worker: it waits for one that runs anyway. On Runpod
    /// it only starts no worker.
    Low,
}

/// A function that runs as a job: `A` is what a call takes, `T` what it returns.
pub struct Job<A, T>(Once<A, T>);

/// A function that is a route.
pub struct DirectCall<A, T>(Once<A, T>);

/// A streaming function that runs as a job: `A` is what a call takes, `T` one chunk.
pub struct StreamingJob<A, T>(Streams<A, T>);

/// A streaming function that is a route.
pub struct StreamingRoute<A, T>(Streams<A, T>);

struct Once<A, T> {
    function: &'static Function,
    call: fn(A, CallSettings) -> BoxFuture<'static, Result<T>>,
    spawn: fn(A, CallSettings) -> BoxFuture<'static, Result<JobHandle<T>>>,
}

struct Streams<A, T> {
    function: &'static Function,
    stream: fn(A, CallSettings) -> BoxStream<'static, Result<T>>,
}

/// The kinds are pointers to code, so they can be copied whatever they take and return.
macro_rules! copied {
    ($($kind:ident),*) => {$(
        impl<A, T> Clone for $kind<A, T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<A, T> Copy for $kind<A, T> {}
    )*};
}

copied!(Job, DirectCall, StreamingJob, StreamingRoute, Once, Streams);

/// A function, as its options name it.
pub trait Named {
    /// Its description.
    #[doc(hidden)]
    fn function(&self) -> &'static Function;
}

/// A function that runs as a job.
#[diagnostic::on_unimplemented(
    message = "a route answers directly and makes no job, so it has no such option",
    label = "only for functions without `method` and `path`"
)]
pub trait Queued: Named {}

/// A function with one result.
#[diagnostic::on_unimplemented(
    message = "a streaming function has many results: use `.stream(…)`",
    label = "only for functions with one result"
)]
pub trait Single: Named {
    /// What one call takes.
    type Item: Send + 'static;
    /// Its result.
    type Output: Send + 'static;

    /// Makes a call.
    #[doc(hidden)]
    fn call(&self, item: Self::Item, settings: CallSettings) -> BoxFuture<'static, Result<Self::Output>>;

    /// Submits a job.
    #[doc(hidden)]
    fn spawn(
        &self,
        item: Self::Item,
        settings: CallSettings,
    ) -> BoxFuture<'static, Result<JobHandle<Self::Output>>>;
}

/// A streaming function.
#[diagnostic::on_unimplemented(
    message = "this function does not stream: use `.call(…)`",
    label = "only for functions that return `impl Stream`"
)]
pub trait Streaming: Named {
    /// What one call takes.
    type Item: Send + 'static;
    /// One chunk.
    type Chunk: Send + 'static;

    /// Makes a call.
    #[doc(hidden)]
    fn stream(&self, item: Self::Item, settings: CallSettings) -> BoxStream<'static, Result<Self::Chunk>>;
}

macro_rules! kinds {
    ($($kind:ident: $trait:ident),*) => {$(
        impl<A, T> Named for $kind<A, T> {
            fn function(&self) -> &'static Function {
                self.0.function
            }
        }
        kinds!(@ $kind $trait);
    )*};
    (@ $kind:ident Single) => {
        impl<A: Send + 'static, T: Send + 'static> Single for $kind<A, T> {
            type Item = A;
            type Output = T;

            fn call(&self, item: A, settings: CallSettings) -> BoxFuture<'static, Result<T>> {
                (self.0.call)(item, settings)
            }

            fn spawn(&self, item: A, settings: CallSettings) -> BoxFuture<'static, Result<JobHandle<T>>> {
                (self.0.spawn)(item, settings)
            }
        }
    };
    (@ $kind:ident Streaming) => {
        impl<A: Send + 'static, T: Send + 'static> Streaming for $kind<A, T> {
            type Item = A;
            type Chunk = T;

            fn stream(&self, item: A, settings: CallSettings) -> BoxStream<'static, Result<T>> {
                (self.0.stream)(item, settings)
            }
        }
    };
}

kinds!(Job: Single, DirectCall: Single, StreamingJob: Streaming, StreamingRoute: Streaming);

impl<A, T> Queued for Job<A, T> {}
impl<A, T> Queued for StreamingJob<A, T> {}

type ItemOf<F> = <<F as RemoteFunction>::Args as Args>::Item;
type StreamItemOf<F> = <<F as RemoteStream>::Args as Args>::Item;

fn once<F: RemoteFunction>() -> Once<ItemOf<F>, F::Output> {
    Once {
        function: F::descriptor(),
        call: |item, settings| Box::pin(call_with::<F>(F::Args::of(item), settings)),
        spawn: |item, settings| Box::pin(spawn_with::<F>(F::Args::of(item), settings)),
    }
}

fn streams<F: RemoteStream>() -> Streams<StreamItemOf<F>, F::Item> {
    Streams {
        function: F::descriptor(),
        stream: |item, settings| stream_with::<F>(F::Args::of(item), settings).boxed(),
    }
}

/// The options of a function that runs as a job.
pub fn job<F: RemoteFunction>() -> CallOptions<Job<ItemOf<F>, F::Output>> {
    CallOptions::of(Job(once::<F>()))
}

/// The options of a route.
pub fn direct_call<F: RemoteFunction>() -> CallOptions<DirectCall<ItemOf<F>, F::Output>> {
    CallOptions::of(DirectCall(once::<F>()))
}

/// The options of a streaming function that runs as a job.
pub fn streaming_job<F: RemoteStream>() -> CallOptions<StreamingJob<StreamItemOf<F>, F::Item>> {
    CallOptions::of(StreamingJob(streams::<F>()))
}

/// The options of a streaming function that is a route.
pub fn streaming_route<F: RemoteStream>() -> CallOptions<StreamingRoute<StreamItemOf<F>, F::Item>> {
    CallOptions::of(StreamingRoute(streams::<F>()))
}

impl<K: Named> fmt::Debug for CallOptions<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallOptions")
            .field("function", &self.kind.function().call_name())
            .field("settings", &self.settings)
            .field("concurrency", &self.concurrency)
            .finish()
    }
}

impl<K> CallOptions<K> {
    fn of(kind: K) -> Self {
        Self { kind, settings: CallSettings::default(), concurrency: MAP_CONCURRENCY }
    }

    /// Sets how long the function may run, from 5 s to 7 days, instead of the `execution_timeout` of its worker type.
    /// With several attempts, it is the time of each.
    ///
    /// For a route, and for a call in this process, it is the time until the caller gives up.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.settings.policy.execution_timeout = Some(milliseconds(limit));
        self
    }

    /// Sets how long the job may take from its submission to its end, with all waiting and all attempts, from 10 s to
    /// 7 days (default: a day). After that it is deleted, even while it runs; a caller that waits gets
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout).
    pub fn ttl(mut self, limit: Duration) -> Self
    where
        K: Queued,
    {
        self.settings.policy.ttl = Some(milliseconds(limit));
        self
    }

    /// Sets how urgent the job is. Without a platform it has no effect.
    pub fn priority(mut self, priority: Priority) -> Self
    where
        K: Queued,
    {
        self.settings.policy.low_priority = priority == Priority::Low;
        self
    }

    /// Sets how often the function runs again after an error that says that it is retryable, instead of the `retries`
    /// of the function; 0 for never, 100 at most. The waits between are the function's `backoff`.
    pub fn retries(mut self, count: u32) -> Self
    where
        K: Single + Queued,
    {
        self.settings.retries = Some(count);
        self
    }

    /// Sets a key for the job, of 1 to 255 visible ASCII characters. While the platform knows the job, a second call
    /// with the same key and input gets the same job, and one with another input is refused. With `map`, the index of
    /// the item is appended: `KEY-0`, `KEY-1`.
    ///
    /// A call with a key does not end its job when it is dropped, because others may wait for the job.
    ///
    /// Runpod ignores keys, and without a platform they have no effect.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self
    where
        K: Queued,
    {
        self.settings.idempotency_key = Some(key.into());
        self
    }

    /// Calls another environment, which has the function with the same types: its name, `APP/NAME` for one of another
    /// app, or the URL of a Flash service.
    ///
    /// Its address and key are looked up at the call, once per process: in `FLASH_ENVIRONMENT_NAME_URL` (or
    /// `…_ENDPOINTS`) and `…_KEY`, otherwise in the credential file that `flash deploy` writes. A URL gets the key in
    /// `FLASH_API_KEY`. If it is not known, the call fails with [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).
    pub fn at(mut self, environment: impl Into<String>) -> Self {
        self.settings.environment = Some(environment.into());
        self
    }

    /// Sets how many calls of [`CallOptions::map`] run at a time (default 16).
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls.max(1);
        self
    }
}

impl<K> CallOptions<K> {
    /// Calls the function and waits for its result.
    ///
    /// # Errors
    /// The function's error, or why it could not be reached; [`ErrorKind::Refused`](crate::ErrorKind::Refused) for an
    /// option outside its limits.
    pub async fn call(self, item: K::Item) -> Result<K::Output>
    where
        K: Single,
    {
        self.kind.call(item, self.settings).await
    }

    /// Submits the call as a job and returns without waiting for its result.
    ///
    /// # Errors
    /// If the job could not be submitted, or an option is outside its limits.
    pub async fn spawn(self, item: K::Item) -> Result<JobHandle<K::Output>>
    where
        K: Single + Queued,
    {
        self.kind.spawn(item, self.settings).await
    }

    /// Calls the function once per item. Results arrive as they are ready, each with the index of its item.
    pub fn map<I>(self, items: I) -> impl Stream<Item = (usize, Result<K::Output>)> + Send
    where
        K: Single + Send,
        I: IntoIterator<Item = K::Item, IntoIter: Send>,
    {
        let concurrency = self.concurrency;
        let calls = self.calls(items).enumerate();
        let indexed = calls.map(|(index, call)| call.map(move |result| (index, result)));
        stream::iter(indexed).buffer_unordered(concurrency)
    }

    /// Calls the function once per item. Results arrive in the order of the items.
    ///
    /// A slow item delays the results after it: at most [`CallOptions::concurrency`] results wait for it.
    pub fn map_ordered<I>(self, items: I) -> impl Stream<Item = Result<K::Output>> + Send
    where
        K: Single + Send,
        I: IntoIterator<Item = K::Item, IntoIter: Send>,
    {
        let concurrency = self.concurrency;
        stream::iter(self.calls(items)).buffered(concurrency)
    }

    fn calls<I>(self, items: I) -> impl Iterator<Item = BoxFuture<'static, Result<K::Output>>> + Send
    where
        K: Single + Send,
        I: IntoIterator<Item = K::Item, IntoIter: Send>,
    {
        let (context, Self { kind, settings, .. }) = (Context::current(), self);
        items.into_iter().enumerate().map(move |(index, item)| {
            let call = kind.call(item, settings.of_many(index));
            match context.clone() {
                Some(context) => context.scope(call).boxed(),
                None => call,
            }
        })
    }

    /// A job that was submitted before, by its ID, for example one that another program submitted. Whether the platform
    /// has it is asked by the first method of the handle.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) without a platform, and if the worker type's address is not
    /// known.
    pub fn handle(self, id: impl Into<String>) -> Result<JobHandle<K::Output>>
    where
        K: Single + Queued,
    {
        call::handle(self.kind.function(), id.into(), &self.settings)
    }
}

impl<K> CallOptions<K> {
    /// Calls the function. Its chunks arrive as they are made; an error is the last item.
    pub fn stream(self, item: K::Item) -> impl Stream<Item = Result<K::Chunk>> + Send + Unpin + use<K>
    where
        K: Streaming,
    {
        self.kind.stream(item, self.settings)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
