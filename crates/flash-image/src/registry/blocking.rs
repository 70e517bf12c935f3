//! Work on the files of a layout, on a thread where it may block.
use crate::LayoutError;

/// Work on files, away from the tasks that wait for the network.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LayoutError> + Send + 'static,
) -> Result<T, LayoutError> {
    tokio::task::spawn_blocking(work).await.expect("work with a layout does not panic")
}
