//! Gives jobs that need a mark before they run to workers. See [`guard`](super::guard).
use super::{consumer::Consumer, endpoint_queue::Queue, store::Failing};

impl Queue {
    /// Handles jobs that need a mark before they go to a worker: has marks written, and dispatches jobs that have
    /// theirs.
    pub(crate) fn feed(&self) {
        let mut inner = self.lock();
        if inner.jobs.guarded.is_empty() {
            return;
        }
        inner.jobs.marked(&self.settings);
        let slots =
            inner.consumers.values().filter(|consumer| consumer.takes_jobs()).map(Consumer::slots).sum();
        inner.jobs.mark(slots, &self.settings);
        inner.dispatch(&self.settings);
    }

    /// Waits until [`Queue::feed`] has something to do: a mark has become durable.
    ///
    /// # Errors
    /// If it cannot be written now.
    pub(crate) async fn fed(&self) -> Result<(), Failing> {
        let next = self.lock().jobs.guarded.next_ticket();
        match next {
            Some(ticket) => self.settings.store.committed(ticket).await,
            None => std::future::pending().await,
        }
    }
}
