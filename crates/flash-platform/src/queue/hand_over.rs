//! Moves jobs from one queue to the next: from a platform that died, or from a replaced release. Also ends all that
//! wait, where there is no next one.
use std::sync::Arc;

use flash_protocol::{ErrorKind, WireError, wire::job::ErrorText};
use parking_lot::MutexGuard;

use super::{
    backlog::{Backlog, Claim},
    ended::Ended,
    endpoint_queue::{Queue, QueueState},
    guard::platform_died,
    id::JobId,
    job::Entry,
    jobs::notify_webhook,
    marks::Guarded,
    state::JobEvent,
    store::Change,
    stored_job::Stored,
};

impl Queue {
    /// Takes in jobs that an earlier platform left to this endpoint.
    pub(crate) fn adopt(&self, backlog: &mut Backlog, claim: Claim) {
        let own = self.settings.release;
        let mut inner = self.lock();
        let mut open = Vec::new();
        for Stored { release, id, mut entry, .. } in backlog.claim(&self.settings.endpoint, own, claim) {
            if release != own
                && !entry.status().is_final()
                && let Some(seq) = entry.record
            {
                self.settings.store.write(Change::Moved { seq, release: own });
            }
            if entry.status().is_final() && !entry.delivered {
                // A client that waits for this job may not have been notified; notifying it twice is allowed, never is
                // not.
                notify_webhook(id, &entry, &self.settings);
            }
            entry.drop_input();
            entry.join(&self.settings.budget);
            if entry.is_queued() {
                open.push(id);
            }
            inner.jobs.insert(id, entry);
        }
        // Their time may have come while there was no platform.
        let mut ended = inner.delete_due(self.settings.clock.now(), usize::MAX, &self.settings);
        for (id, losses) in inner.jobs.deadly(open.into_iter()) {
            ended.extend(inner.jobs.end(id, platform_died(losses), &self.settings));
        }
        inner.dispatch(&self.settings);
        drop(inner);
        self.report_ends(ended);
        self.changed.notify_one();
    }

    /// Moves everything that does not run to the queue of the release that replaced this one; late jobs follow. It
    /// works in small steps: each job is in one of the two at any time, and requests do not wait for the whole move.
    pub(crate) async fn hand_over(&self, successor: &Arc<Self>) {
        let last = {
            let mut own = self.lock();
            own.state = QueueState::ReplacedBy(successor.clone());
            // This queue is not fed any more; the next one handles them.
            own.jobs.guarded = Guarded::default();
            own.jobs.last()
        };
        let mut after = None;
        while let Some(last) = last {
            after = self.hand_over_piece(successor, after, last);
            if after.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        successor.changed.notify_one();
    }

    /// Moves some of the jobs up to `last`, and returns where to continue.
    fn hand_over_piece(&self, successor: &Arc<Self>, after: Option<JobId>, last: JobId) -> Option<JobId> {
        // Takes both locks, always the older first, so that a job is always in one of the two.
        let mut own = self.lock();
        let mut others = successor.lock();
        let (ids, next) = own.jobs.piece(after, last, |entry| !entry.is_running());
        for id in ids {
            if let Some(entry) = own.jobs.take(id) {
                others.jobs.insert(id, entry);
            }
        }
        others.dispatch(&successor.settings);
        // Who waits has its turn now: without it, the next piece may take the locks again before a waiting thread wakes.
        MutexGuard::unlock_fair(others);
        MutexGuard::unlock_fair(own);
        next
    }

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
        let (ids, next) = inner.jobs.piece(after, last, Entry::is_queued);
        let ended = ids.into_iter().filter_map(|id| inner.jobs.end(id, event(), &self.settings)).collect();
        MutexGuard::unlock_fair(inner);
        (ended, next)
    }
}
