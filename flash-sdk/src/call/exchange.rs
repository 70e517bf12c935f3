//! Calls over the exchange: numbered, with many at once on one connection.
use std::{
    borrow::Borrow,
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use flash_protocol::{
    Error, ErrorKind, Result,
    wire::{
        Payload,
        envelope::Envelope,
        exchange::{
            CallChunkFrame, CallFrame, ChunksReadFrame, MAX_RESULT_BYTES, ReplyFrame, ReplyResult,
            ToPlatform, Writer,
        },
        job::Policy,
    },
};

/// A cheap handle to make calls with.
#[derive(Clone)]
pub(crate) struct Calls {
    shared: Arc<Shared>,
}

struct Shared {
    frames: Writer<ToPlatform>,
    next: AtomicU64,
    /// Callers that wait for a reply; `None` once the connection is closed.
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
}

/// A caller that waits.
enum Waiting {
    /// For the end.
    Once(oneshot::Sender<ReplyFrame>),
    /// For chunks and the end. The platform sends no more than the window before some are read, which bounds the channel.
    Chunks(mpsc::UnboundedSender<Arrival>),
}

/// What arrives of a call whose chunks are read as they come.
pub(super) enum Arrival {
    Chunk(Payload),
    End(ReplyResult),
}

impl Shared {
    fn with_waiting<T>(&self, with: impl FnOnce(&mut Option<HashMap<u64, Waiting>>) -> T) -> T {
        with(&mut self.waiting.lock())
    }

    /// Numbers a call and sends it.
    fn send(&self, waiting: Waiting, call: Outgoing<'_>, window: Option<u32>) -> Result<u64> {
        let Outgoing { worker, envelope, input, policy } = call;
        let length = input.json_len();
        if length > MAX_RESULT_BYTES {
            let message =
                format!("the arguments are {length} bytes of JSON, the limit is {MAX_RESULT_BYTES}");
            return Err(Error::new(ErrorKind::Encode, message));
        }
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        self.with_waiting(|all| all.as_mut().map(|all| all.insert(call, waiting))).ok_or_else(lost)?;
        let worker = worker.to_owned();
        let attached_chunks = window.is_some();
        let frame = CallFrame { call, worker, envelope, input, policy, window, attached_chunks };
        if !self.frames.send(ToPlatform::Call(frame)) {
            self.with_waiting(|all| all.as_mut().and_then(|all| all.remove(&call)));
            return Err(lost());
        }
        Ok(call)
    }
}

/// A call to send.
pub(super) struct Outgoing<'a> {
    pub worker: &'a str,
    pub envelope: Envelope,
    pub input: Payload,
    pub policy: Policy,
}

/// Notifies the platform when the caller stops waiting: its future or stream was dropped, by a deadline, a cancel or
/// the user.
struct Abandon<S: Borrow<Shared>> {
    shared: S,
    call: u64,
}

impl<S: Borrow<Shared>> Drop for Abandon<S> {
    fn drop(&mut self) {
        let shared = self.shared.borrow();
        let was_waiting =
            shared.with_waiting(|all| all.as_mut().and_then(|all| all.remove(&self.call)).is_some());
        if was_waiting {
            shared.frames.send(ToPlatform::Abandon(self.call));
        }
    }
}

/// What arrives of one call. Dropping it abandons the call.
pub(super) struct Arrivals {
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    abandon: Abandon<Arc<Shared>>,
}

impl Arrivals {
    /// The next chunk, or the end.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(super) async fn next(&mut self) -> Result<Arrival> {
        self.arrivals.recv().await.ok_or_else(lost)
    }

    /// Chunks were read, which take this much of the window.
    pub(super) fn read(&self, share: u32) {
        let frame = ChunksReadFrame { call: self.abandon.call, share };
        self.abandon.shared.frames.send(ToPlatform::ChunksRead(frame));
    }
}

impl Calls {
    pub(crate) fn new(frames: Writer<ToPlatform>) -> Self {
        let waiting = Mutex::new(Some(HashMap::new()));
        Self { shared: Arc::new(Shared { frames, next: AtomicU64::new(1), waiting }) }
    }

    /// Calls a function and waits for its output. Dropping the future abandons the job.
    pub(crate) async fn call(
        &self,
        worker: &str,
        envelope: Envelope,
        input: Payload,
        policy: Policy,
    ) -> Result<Payload> {
        let (reply, replied) = oneshot::channel();
        let outgoing = Outgoing { worker, envelope, input, policy };
        let call = self.shared.send(Waiting::Once(reply), outgoing, None)?;
        let _abandon = Abandon { shared: &*self.shared, call };
        let ReplyFrame { result, attached, .. } = replied.await.map_err(|_| lost())?;
        match result {
            ReplyResult::Job(job) => {
                let output = job.into_output()?;
                Ok(attached.unwrap_or_else(|| output.into()))
            }
            ReplyResult::Refused(error) => Err(error.into()),
        }
    }

    /// Calls a function whose chunks arrive as they come, not more than the window before some are read.
    pub(super) fn open(&self, call: Outgoing<'_>, window: u32) -> Result<Arrivals> {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let call = self.shared.send(Waiting::Chunks(arrived), call, Some(window))?;
        Ok(Arrivals { arrivals, abandon: Abandon { shared: self.shared.clone(), call } })
    }

    /// Handles a reply.
    pub(crate) fn complete(&self, reply: ReplyFrame) {
        let waiting = self.shared.with_waiting(|all| all.as_mut().and_then(|all| all.remove(&reply.call)));
        // If the caller has just given up, its receiver is gone and the reply is not needed.
        match waiting {
            Some(Waiting::Once(reply_to)) => drop(reply_to.send(reply)),
            Some(Waiting::Chunks(arrived)) => drop(arrived.send(Arrival::End(reply.result))),
            None => {}
        }
    }

    /// Handles a chunk of a call.
    pub(crate) fn chunk(&self, frame: CallChunkFrame) {
        self.shared.with_waiting(|all| {
            if let Some(Waiting::Chunks(arrived)) = all.as_ref().and_then(|all| all.get(&frame.call)) {
                // As above.
                drop(arrived.send(Arrival::Chunk(frame.chunk)));
            }
        });
    }

    /// Handles the end of the connection: all current and later calls fail.
    pub(crate) fn close(&self) {
        self.shared.with_waiting(Option::take);
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Transport, "lost the connection to the platform")
}
