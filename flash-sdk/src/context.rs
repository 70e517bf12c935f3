//! What a running function knows about its call: request, deadline, depth, cancellation, progress.
//!
//! It is a task-local, set around each job or request and around calls in the same process. Tasks that user code
//! spawns do not inherit it; use [`Context::scope`].
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::Instrument as _;

use flash_protocol::{
    BatchRun, Error, ErrorKind, GenerationsByModel, Result,
    wire::{
        RawJson,
        envelope::Envelope,
        exchange::BatchedJob,
        identity::{RequestId, TraceParent},
    },
};

use crate::{
    substitutes::Substitutes,
    traces::{self, Called, Described},
};

/// Calls nested deeper than this are refused, because they are probably a loop.
pub const MAX_DEPTH: u32 = 16;

tokio::task_local! {
    static CURRENT: Context;
}

/// The call that the current task serves.
#[derive(Clone, Debug)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    job_id: Option<String>,
    attempt: AtomicU32,
    started: Instant,
    request_id: RequestId,
    traceparent: TraceParent,
    /// None of its own: without traces, and for what is not a call.
    span: tracing::Span,
    deadline: Option<Instant>,
    depth: u32,
    cancelled: CancellationToken,
    progress: Option<ProgressSink>,
    /// Synchronous functions that run for this call. They cannot be interrupted.
    blocking: TaskTracker,
    /// What answers calls instead of functions; only in a test.
    substitutes: Option<Arc<Substitutes>>,
    last_event_id: Option<String>,
    batch_sink: Option<BatchSink>,
    /// What the call was in its last batch, and its share of that time.
    batch: Mutex<Option<(BatchRun, Duration)>>,
    /// What models did for it. The call that a nested one belongs to has all of it.
    generated: Mutex<GenerationsByModel>,
    /// The call that a nested one belongs to.
    #[cfg(feature = "openai")]
    outer: Option<Context>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("job_id", &self.job_id)
            .field("request_id", &&*self.request_id)
            .field("deadline", &self.deadline)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

/// Sends progress updates to the platform.
pub(crate) type ProgressSink = Arc<dyn Fn(RawJson) + Send + Sync>;

/// Tells the platform which jobs run together.
pub(crate) type BatchSink = Arc<dyn Fn(Vec<BatchedJob>) + Send + Sync>;

/// The parts of a context that a worker sets for a job or request.
#[derive(Default)]
pub(crate) struct Setup {
    pub job_id: Option<String>,
    /// From 1; 0 if it is not known.
    pub attempt: u32,
    pub envelope: Envelope,
    /// What gets a span; `None` for what is no call.
    pub called: Option<Called>,
    pub cancelled: CancellationToken,
    pub progress: Option<ProgressSink>,
    pub substitutes: Option<Arc<Substitutes>>,
    pub last_event_id: Option<String>,
    /// If the platform wants to know what the job weighs in its batch. Calls below it have none.
    pub batch_sink: Option<BatchSink>,
}

impl Context {
    pub(crate) fn new(setup: Setup) -> Self {
        let Setup {
            job_id,
            attempt,
            envelope,
            called,
            cancelled,
            progress,
            substitutes,
            last_event_id,
            batch_sink,
        } = setup;
        let request_id = envelope
            .request_id
            .or_else(|| RequestId::parse(job_id.as_deref()?))
            .unwrap_or_else(RequestId::random);
        let begun = called.and_then(|called| {
            traces::begin(&Described {
                called,
                function: envelope.function.as_deref(),
                parent: envelope.traceparent.as_ref(),
                request_id: &request_id,
                job_id: job_id.as_deref(),
                attempt: attempt.max(1),
            })
        });
        let (span, own) = begun.map_or((tracing::Span::none(), None), |(span, own)| (span, Some(own)));
        let inner = Inner {
            job_id,
            attempt: AtomicU32::new(attempt.max(1)),
            started: Instant::now(),
            request_id,
            traceparent: own.or(envelope.traceparent).unwrap_or_else(TraceParent::random),
            span,
            deadline: envelope.deadline_ms.map(instant_of),
            depth: envelope.depth,
            cancelled,
            progress,
            blocking: TaskTracker::new(),
            substitutes,
            last_event_id,
            batch_sink,
            batch: Mutex::default(),
            generated: Mutex::default(),
            #[cfg(feature = "openai")]
            outer: None,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The call that the current task serves; `None` outside a call. In a test it is there too: it carries the test's
    /// [fakes](crate::testing).
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs a future as part of this call. Use it in tasks that you spawn.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        let span = self.inner.span.clone();
        CURRENT.scope(self, future.instrument(span))
    }

    /// Runs a closure as part of this call. Use it in threads that you start.
    pub fn sync_scope<T>(self, run: impl FnOnce() -> T) -> T {
        let span = self.inner.span.clone();
        CURRENT.sync_scope(self, || span.in_scope(run))
    }

    /// Its span says so, if it has one.
    pub(crate) fn failed(&self, error: &Error) {
        traces::failed(&self.inner.span, error);
    }

    /// The job ID; `None` for a route, and for a call in this process outside a worker.
    pub fn job_id(&self) -> Option<&str> {
        self.inner.job_id.as_deref()
    }

    /// The attempt of the job, from 1. It also counts attempts that were lost with their worker, except on Runpod, which
    /// does not say it, and in process, where none are lost. Always 1 for a route.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt.load(Ordering::Relaxed)
    }

    /// The same call runs again.
    pub(crate) fn begin_attempt(&self, attempt: u32) {
        self.inner.attempt.store(attempt, Ordering::Relaxed);
    }

    /// The ID of this worker, as in logs and job objects; `None` if this process is no worker.
    pub fn worker_id(&self) -> Option<&'static str> {
        THIS_WORKER.get().map(|worker| worker.id.as_str())
    }

    /// What this attempt has cost so far, in billionths of a dollar: the price of the worker for the time that it has
    /// run. The bill is less if the worker runs other jobs at the same time, because they share its price.
    ///
    /// `None` where the price is not known: in process, and on Runpod.
    pub fn cost_nano_dollars(&self) -> Option<u64> {
        let price = THIS_WORKER.get()?.nano_dollars_per_second?;
        Some(cost(price, self.inner.started.elapsed()))
    }

    /// The request ID, shared by all calls below the first.
    pub fn request_id(&self) -> &str {
        &self.inner.request_id
    }

    /// W3C trace context, to pass to other services.
    pub fn traceparent(&self) -> &str {
        &self.inner.traceparent
    }

    /// What a client that reconnects to a route of server-sent events had last: the ID of the event, from its header
    /// `Last-Event-ID`. `None` on the first connection.
    pub fn last_event_id(&self) -> Option<&str> {
        self.inner.last_event_id.as_deref()
    }

    /// The time when the caller stops waiting.
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.deadline
    }

    /// Time until the deadline; zero once it has passed, `None` without a deadline.
    pub fn time_left(&self) -> Option<Duration> {
        self.inner.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether the job was cancelled or its caller gave up. Check it in loops of synchronous functions, which cannot
    /// be interrupted. An async function is dropped at its next `.await`.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.is_cancelled() || self.time_left() == Some(Duration::ZERO)
    }

    /// Cancelled with the job, or when its caller gave up.
    pub(crate) fn cancellation(&self) -> &CancellationToken {
        &self.inner.cancelled
    }

    /// Waits until [`Context::is_cancelled`]. Use it in tasks that you spawn, which are not dropped with the call.
    pub async fn cancelled(&self) {
        let deadline = async {
            match self.inner.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.inner.cancelled.cancelled() => {}
            () = deadline => {}
        }
    }

    /// Cancels this call and every call below it in this process.
    pub(crate) fn cancel(&self) {
        self.inner.cancelled.cancel();
    }

    /// Cancels the call on drop, unless the guard is disarmed first.
    pub(crate) fn cancel_on_drop(&self) -> DropGuard {
        self.inner.cancelled.clone().drop_guard()
    }

    /// Tracks the running synchronous functions of this call.
    pub(crate) fn blocking(&self) -> &TaskTracker {
        &self.inner.blocking
    }

    /// When it began.
    pub(crate) fn started(&self) -> Instant {
        self.inner.started
    }

    /// What takes the batches that the job runs in; `None` for a call below a job.
    pub(crate) fn batch_sink(&self) -> Option<&BatchSink> {
        self.inner.batch_sink.as_ref()
    }

    /// The call ran in this batch, and this is its share of the time.
    pub(crate) fn ran_in_batch(&self, run: BatchRun, share: Duration) {
        *self.inner.batch.lock() = Some((run, share));
    }

    /// The last batch that the call ran in, and its share of that time.
    pub(crate) fn batch(&self) -> Option<(BatchRun, Duration)> {
        *self.inner.batch.lock()
    }

    /// Counts what a model does for this call, or for the one that it belongs to.
    #[cfg(feature = "openai")]
    pub(crate) fn count_generation(&self, model: &str, count: impl FnOnce(&mut flash_protocol::Generations)) {
        let outermost = std::iter::successors(Some(self), |context| context.inner.outer.as_ref()).last();
        let mut generated = outermost.unwrap_or(self).inner.generated.lock();
        if !generated.contains_key(model) {
            generated.insert(model.to_owned(), flash_protocol::Generations::default());
        }
        generated.get_mut(model).map(count);
    }

    /// Whether a model works or has worked for this call.
    pub(crate) fn has_generated(&self) -> bool {
        !self.inner.generated.lock().is_empty()
    }

    /// What models have done for this call since it was asked last.
    pub(crate) fn take_generated(&self) -> GenerationsByModel {
        std::mem::take(&mut *self.inner.generated.lock())
    }

    pub(crate) fn progress_sink(&self) -> Option<&ProgressSink> {
        self.inner.progress.as_ref()
    }

    /// What answers calls of the current task instead of functions; `None` outside a test.
    pub(crate) fn substitutes() -> Option<Arc<Substitutes>> {
        CURRENT.try_with(|current| current.inner.substitutes.clone()).ok().flatten()
    }

    /// A call below `current` in this process: it has the cancellation and progress of `current`, and the depth and
    /// deadline of the envelope.
    pub(crate) fn nested(current: Option<&Self>, envelope: Envelope) -> Self {
        let cancelled =
            current.map_or_else(CancellationToken::new, |outer| outer.inner.cancelled.child_token());
        let job_id = current.and_then(|outer| outer.inner.job_id.clone());
        let attempt = current.map_or(0, Self::attempt);
        let substitutes = current.and_then(|outer| outer.inner.substitutes.clone());
        let called = envelope.function.is_some().then_some(Called::InProcess);
        let setup = Setup { job_id, attempt, envelope, called, cancelled, substitutes, ..Setup::default() };
        let mut nested = Self::new(setup);
        if let (Some(outer), Some(inner)) = (current, Arc::get_mut(&mut nested.inner)) {
            inner.blocking = outer.inner.blocking.clone();
            if called.is_none() {
                inner.span = outer.inner.span.clone();
            }
            #[cfg(feature = "openai")]
            inner.outer.replace(outer.clone());
        }
        nested
    }

    /// The same call without the limit of this worker: for a stream, which may last longer.
    pub(crate) fn without_own_deadline(&self, callers_deadline_ms: Option<u64>) -> Self {
        let inner = &self.inner;
        let envelope = Envelope {
            request_id: Some(inner.request_id.clone()),
            traceparent: Some(inner.traceparent.clone()),
            deadline_ms: callers_deadline_ms,
            depth: inner.depth,
            ..Envelope::default()
        };
        Self::nested(Some(self), envelope)
    }

    /// What a call from here to `function` inherits.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] beyond [`MAX_DEPTH`], [`ErrorKind::Timeout`] when no time is left.
    pub(crate) fn envelope_for(current: Option<&Self>, function: String) -> Result<Envelope> {
        let Some(context) = current else {
            let traceparent = traces::current();
            return Ok(Envelope {
                function: Some(function.into()),
                traceparent,
                depth: 1,
                ..Envelope::default()
            });
        };
        if context.inner.depth >= MAX_DEPTH {
            return Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "call to `{function}` refused: the chain of calls is {MAX_DEPTH} deep, which looks like a loop"
                ),
            ));
        }
        if context.time_left() == Some(Duration::ZERO) {
            return Err(Error::new(ErrorKind::Timeout, format!("no time left to call `{function}`")));
        }
        Ok(Envelope {
            function: Some(function.into()),
            request_id: Some(context.inner.request_id.clone()),
            traceparent: Some(traces::current().unwrap_or_else(|| context.inner.traceparent.clone())),
            deadline_ms: context.inner.deadline.map(epoch_ms),
            depth: context.inner.depth + 1,
            fan_out: false,
            retries: None,
        })
    }
}

/// What this process is, if it is a worker.
pub(crate) struct ThisWorker {
    pub id: String,
    /// The price of a second, if the platform says it.
    pub nano_dollars_per_second: Option<u64>,
}

static THIS_WORKER: OnceLock<ThisWorker> = OnceLock::new();

/// From now on this process is this worker. Only the first call has an effect.
pub(crate) fn become_worker(worker: ThisWorker) {
    let _ = THIS_WORKER.set(worker);
}

/// The cost of this time at a price per second.
fn cost(nano_dollars_per_second: u64, time: Duration) -> u64 {
    let cost = u128::from(nano_dollars_per_second) * time.as_nanos() / 1_000_000_000;
    u64::try_from(cost).unwrap_or(u64::MAX)
}

/// Reports progress of the current job. Clients see it as `output` while the job runs.
///
/// In `#[init]`, it says how far the worker's start is, such as `"loading weights: 40 %"`: `flash run` prints it, and
/// `flash status` shows it until the worker is ready. Elsewhere, it has no effect.
///
/// # Errors
/// [`ErrorKind::Encode`] for a value that cannot be written as JSON.
pub fn progress(value: impl serde::Serialize) -> Result<()> {
    let context = Context::current();
    match context.as_ref().and_then(Context::progress_sink) {
        Some(sink) => sink(crate::json::encode(&value, "progress", 0)?),
        None => crate::json::check(&value, "progress", 0)?,
    }
    Ok(())
}

/// Converts a deadline from the wire to this process's clock.
fn instant_of(epoch_ms: u64) -> Instant {
    let left = Duration::from_millis(epoch_ms).saturating_sub(since_epoch());
    // The clock may not be able to represent a very distant deadline; a year is as good.
    Instant::now().checked_add(left).unwrap_or_else(|| Instant::now() + Duration::from_secs(365 * 24 * 3600))
}

/// A deadline for the wire.
pub(crate) fn epoch_ms(deadline: Instant) -> u64 {
    let at = since_epoch() + deadline.saturating_duration_since(Instant::now());
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_depth(depth: u32) -> Context {
        Context::new(Setup { envelope: Envelope { depth, ..Envelope::default() }, ..Setup::default() })
    }

    #[test]
    fn a_call_inherits_request_trace_and_deadline() {
        let deadline = epoch_ms(Instant::now() + Duration::from_secs(60));
        let envelope = Envelope {
            request_id: RequestId::parse("r1"),
            deadline_ms: Some(deadline),
            depth: 2,
            ..Envelope::default()
        };
        let context = Context::new(Setup { envelope, ..Setup::default() });
        let call = Context::envelope_for(Some(&context), "f".into()).unwrap();
        assert_eq!((call.request_id.as_deref(), call.depth), (Some("r1"), 3));
        assert!(call.deadline_ms.unwrap().abs_diff(deadline) <= 1);
        let trace = |text: &str| text.split('-').nth(1).map(str::to_owned);
        assert_eq!(trace(call.traceparent.as_deref().unwrap()), trace(context.traceparent()));
    }

    #[test]
    fn the_cost_is_the_price_of_the_time() {
        assert_eq!(cost(300_000, Duration::from_millis(1500)), 450_000);
        assert_eq!(cost(1, Duration::from_millis(999)), 0);
        assert_eq!(cost(u64::MAX, Duration::from_secs(9)), u64::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancel_and_the_deadline_both_end_the_wait_for_it() {
        let running = at_depth(0);
        let mut waiting = std::pin::pin!(running.cancelled());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        running.cancel();
        waiting.await;
        let envelope = Envelope { deadline_ms: Some(1), ..Envelope::default() };
        Context::new(Setup { envelope, ..Setup::default() }).cancelled().await;
    }

    #[test]
    fn a_loop_of_calls_is_refused() {
        assert!(Context::envelope_for(Some(&at_depth(15)), "f".into()).is_ok());
        let error = Context::envelope_for(Some(&at_depth(16)), "f".into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.message().contains("16 deep"), "{error}");
    }

    #[test]
    fn without_time_left_no_call_is_made() {
        let envelope = Envelope { deadline_ms: Some(1), ..Envelope::default() };
        let context = Context::new(Setup { envelope, ..Setup::default() });
        assert!(context.is_cancelled());
        let error = Context::envelope_for(Some(&context), "f".into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
}
