//! Ends all jobs that wait: because a client purges the queue, or because nothing will ever run them.
use flash_protocol::{ErrorKind, WireError, wire::job::ErrorText};
use parking_lot::MutexGuard;

use super::{
    ended::Ended,
    endpoint_queue::{Queue, QueueState},
    id::JobId,
    job::Entry,
    state::JobEvent,
};

impl Queue {
    /// Ends waiting jobs and refuses late ones, because nothing will ever run them.
    pub(crate) async fn give_up_waiting(&self) {
        let message = format!("the app no longer has a worker type `{}`", self.settings.endpoint);
        let text = ErrorText::of(&WireError::new(ErrorKind::NoWorker, message), "platform").to_text();
        self.lock().state = QueueState::Ended;
        self.end_waiting(|| JobEvent::GivenUp(text.clone())).await;
    }

    /// Removes waiting jobs and notifies their callers.
    pub(crate) async fn purge(&self) -> usize {
        self.end_waiting(|| JobEvent::Cancelled).await
    }

    /// Ends the jobs that wait at this moment, in pieces; how many they were.
    async fn end_waiting(&self, event: impl Fn() -> JobEvent) -> usize {
        let Some(last) = self.lock().jobs.last() else { return 0 };
        let (mut after, mut count) = (None, 0);
        loop {
            let (ended, next) = self.end_waiting_piece(&event, after, last);
            count += ended.len();
            self.report_ends(ended);
            after = match next {
                Some(next) => Some(next),
                None => return count,
            };
            tokio::task::yield_now().await;
        }
    }

    fn end_waiting_piece(
        &self,
        event: &impl Fn() -> JobEvent,
        after: Option<JobId>,
        last: JobId,
    ) -> (Vec<Ended>, Option<JobId>) {
        let mut inner = self.lock();
        let (ids, next) = inner.jobs.piece(after, last, Entry::is_waiting);
        let ended = ids.into_iter().filter_map(|id| inner.jobs.end(id, event(), &self.settings)).collect();
        MutexGuard::unlock_fair(inner);
        (ended, next)
    }
}
