//! Moves jobs from one queue to the next: from a platform that died, or from a replaced release. Where there is no next
//! one, [`purge`](super::purge) ends them.
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{
    backlog::{Backlog, Claim},
    endpoint_queue::{Queue, QueueState},
    guard::platform_died,
    id::JobId,
    jobs::notify_webhook,
    marks::Guarded,
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
            entry.drop_input(&self.settings.budget);
            entry.join(&self.settings.budget);
            if entry.is_waiting() {
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
}
