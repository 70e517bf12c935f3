//! Calls over the exchange: numbered, with many at once on one connection.
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use flash_protocol::{
    Error, ErrorKind, Result,
    wire::{
        Payload,
        envelope::Envelope,
        exchange::{CallFrame, MAX_RESULT_BYTES, ReplyFrame, ReplyResult, ToPlatform, Writer},
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
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<ReplyFrame>>>>,
}

impl Shared {
    fn with_waiting<T>(
        &self,
        with: impl FnOnce(&mut Option<HashMap<u64, oneshot::Sender<ReplyFrame>>>) -> T,
    ) -> T {
        with(&mut self.waiting.lock())
    }
}

/// Notifies the platform when the caller stops waiting because its future was dropped, by a deadline or a cancel.
struct Abandon<'a> {
    shared: &'a Shared,
    call: u64,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        let was_waiting = self.shared.with_waiting(|waiting| {
            waiting.as_mut().and_then(|waiting| waiting.remove(&self.call)).is_some()
        });
        if was_waiting {
            self.shared.frames.send(ToPlatform::Abandon(self.call));
        }
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
        let length = input.json_len();
        if length > MAX_RESULT_BYTES {
            let message =
                format!("the arguments are {length} bytes of JSON, the limit is {MAX_RESULT_BYTES}");
            return Err(Error::new(ErrorKind::Encode, message));
        }
        let call = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (reply, replied) = oneshot::channel();
        self.shared
            .with_waiting(|waiting| waiting.as_mut().map(|waiting| waiting.insert(call, reply)))
            .ok_or_else(lost)?;
        let _abandon = Abandon { shared: &self.shared, call };
        let frame = CallFrame { call, worker: worker.to_owned(), envelope, input, policy };
        if !self.shared.frames.send(ToPlatform::Call(frame)) {
            return Err(lost());
        }
        let ReplyFrame { result, attached, .. } = replied.await.map_err(|_| lost())?;
        match result {
            ReplyResult::Job(job) => {
                let output = job.into_output()?;
                Ok(attached.unwrap_or_else(|| output.into()))
            }
            ReplyResult::Refused(error) => Err(error.into()),
        }
    }

    /// Handles a reply.
    pub(crate) fn complete(&self, reply: ReplyFrame) {
        let waiting = self
            .shared
            .with_waiting(|waiting| waiting.as_mut().and_then(|waiting| waiting.remove(&reply.call)));
        if let Some(waiting) = waiting {
            // If the caller has just given up, its receiver is gone and the reply is not needed.
            let _ = waiting.send(reply);
        }
    }

    /// Handles the end of the connection: all current and later calls fail.
    pub(crate) fn close(&self) {
        self.shared.with_waiting(Option::take);
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Transport, "lost the connection to the platform")
}
