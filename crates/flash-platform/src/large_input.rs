//! Work on texts of megabytes, which would hold up everything else on its thread.
use tokio::runtime::{Handle, RuntimeFlavor};

/// Work on fewer bytes takes less time than to move the other tasks to another thread.
const LARGE_BYTES: usize = 256 * 1024;

/// Does CPU work that grows with so many bytes. If they are many, the other tasks of this thread go on meanwhile on
/// another one.
pub(crate) fn work_on<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    // A runtime of one thread, as tests have, has no other.
    let has_others =
        || Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes >= LARGE_BYTES && has_others() { tokio::task::block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// The text is only done with once another task of the same thread has run.
    fn waits_for_another_task(bytes: usize) -> impl Future<Output = ()> {
        let (send, receive) = mpsc::channel();
        async move {
            let other = tokio::spawn(async move { send.send(()).unwrap() });
            work_on(bytes, || receive.recv().unwrap());
            other.await.unwrap();
        }
    }

    #[test]
    fn other_tasks_go_on_while_a_large_text_is_worked_on() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async { tokio::spawn(waits_for_another_task(LARGE_BYTES)).await.unwrap() });
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_works_on_it_in_place() {
        assert_eq!(work_on(LARGE_BYTES, || 7), 7);
    }
}
