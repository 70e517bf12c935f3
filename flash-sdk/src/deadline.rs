//! Waiting no longer than a call may take, and the end of calls that were stopped.
use std::time::{Duration, Instant};

use flash_protocol::{Error, ErrorKind, Result};
use futures_util::future::{FutureExt as _, lazy};

use crate::context::Context;

/// The deadline has passed.
pub(crate) struct DeadlinePassed;

impl DeadlinePassed {
    /// The error of the call.
    pub(crate) fn into_error(self) -> Error {
        Error::new(ErrorKind::Timeout, "the caller's deadline passed")
    }
}

/// Waits until the deadline, if there is one.
// Not an `async fn`, which would hold the future twice: as its argument, and where it awaits it.
pub(crate) fn within<F: Future>(
    deadline: Option<Instant>,
    run: F,
) -> impl Future<Output = Result<F::Output, DeadlinePassed>> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), run)
            .map(|outcome| outcome.map_err(|_| DeadlinePassed))
            .left_future(),
        None => run.map(Ok).right_future(),
    }
}

/// Waits until the deadline of the current call, if there is one. Which call that is, is decided when it is first polled.
pub(crate) fn within_current_call<T>(
    call: impl Future<Output = Result<T>>,
) -> impl Future<Output = Result<T>> {
    let deadline = lazy(|_| Context::current().and_then(|context| context.deadline()));
    let outcome = deadline.then(|deadline| within(deadline, call));
    outcome.map(|outcome| outcome.unwrap_or_else(|passed| Err(passed.into_error())))
}

impl Context {
    /// Why this call must end, if it must.
    pub(crate) fn stopped_by(&self) -> Option<Error> {
        if self.cancellation().is_cancelled() {
            return Some(cancelled());
        }
        (self.time_left() == Some(Duration::ZERO)).then(|| DeadlinePassed.into_error())
    }

    /// Completes when this call must end, because it was cancelled or its deadline passed.
    pub(crate) async fn stopped(&self) -> Error {
        match within(self.deadline(), self.cancellation().cancelled()).await {
            Ok(()) => cancelled(),
            Err(passed) => passed.into_error(),
        }
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the job was cancelled")
}
