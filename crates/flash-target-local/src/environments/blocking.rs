//! Work that blocks, away from the tasks that wait.
use flash_target::{Problem, TargetError};

/// Runs blocking work on a thread for it.
pub(super) async fn blocking<T: Send + 'static, E: Into<TargetError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, TargetError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(TargetError::new(Problem::Failed, "the service failed during the request")
            .hint("see service.log in the service's data directory")),
    }
}
