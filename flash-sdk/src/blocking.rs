//! Synchronous code of a call, on the blocking pool.
//!
//! It cannot be interrupted, so the call counts it until its thread has ended.
use std::panic::AssertUnwindSafe;

use flash_protocol::{Error, ErrorKind, Result};

use crate::{context::Context, panic};

/// Runs a synchronous function on the blocking pool, within the current call.
///
/// # Errors
/// The function's error. A panic is resumed on the caller's task.
pub async fn run<T, E>(run: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    E: Into<Error>,
{
    let context = Context::current();
    // Held by the thread, not by this future, which may be dropped while the thread runs.
    let token = context.as_ref().map(|context| context.blocking().token());
    let task = tokio::task::spawn_blocking(move || {
        let _token = token;
        let caught = AssertUnwindSafe(|| run().map_err(Into::into));
        let run = || panic::catch(caught);
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
