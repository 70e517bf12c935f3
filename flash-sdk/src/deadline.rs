//! Waiting no longer than a call may take.
use std::time::Instant;

use flash_protocol::{Error, ErrorKind, Result};

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
pub(crate) async fn within<T>(
    deadline: Option<Instant>,
    run: impl Future<Output = T>,
) -> Result<T, DeadlinePassed> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), run).await.map_err(|_| DeadlinePassed),
        None => Ok(run.await),
    }
}

/// Waits until the deadline of the current call, if there is one.
pub(crate) async fn within_current_call<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    let deadline = Context::current().and_then(|context| context.deadline());
    within(deadline, call).await.unwrap_or_else(|passed| Err(passed.into_error()))
}
