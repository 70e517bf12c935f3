//! Jobs that their worker has lost, because it died or polls without running them: what happens to them, and their
//! final error.
use flash_protocol::{ErrorKind, WireError, wire::job::ErrorText};

use super::{
    endpoint_queue::Queue,
    id::JobId,
    loss::Loss,
    state::{JobEvent, Lease, Outcome},
};
use crate::worker_id::WorkerId;

/// Whether the death of a worker counts against the jobs that it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    Jobs,
    Nobody,
}

impl Queue {
    /// A worker has ended: its jobs get another attempt, or end with `reason` if it was their last.
    ///
    /// If one of its jobs was being stopped, the worker died because of that, and the others are not suspects. If it
    /// had several jobs, each may be the cause: they run again one by one, and none is dead before it has crashed a
    /// worker alone.
    pub(crate) fn detach(&self, worker: &WorkerId, reason: &str) {
        self.detach_with(worker, reason, Blame::Jobs);
    }

    /// Like [`Queue::detach`], for a worker that was stopped on purpose, so its jobs are not suspects.
    pub(crate) fn detach_stopped(&self, worker: &WorkerId, reason: &str) {
        self.detach_with(worker, reason, Blame::Nobody);
    }

    fn detach_with(&self, worker: &WorkerId, reason: &str, blame: Blame) {
        let mut inner = self.lock();
        inner.free.retain(|free| free != worker);
        inner.jobs.lost_worker(worker);
        let Some(consumer) = inner.consumers.remove(worker) else { return };
        let counts = blame == Blame::Jobs && !consumer.is_stopping();
        let mut ended = Vec::new();
        let mut leased = consumer.into_leased();
        let in_company = leased.len() > 1;
        if !counts {
            // These wait in front: the first of them ends up first.
            leased.reverse();
        }
        for (id, cost_share) in leased {
            inner.settle(id, cost_share, &self.settings);
            let Some(entry) = inner.jobs.get(id) else { continue };
            // A stopped attempt may belong to a job that has ended or waits again.
            if !entry.is_run_by(worker) {
                continue;
            }
            let attempts = entry.attempts_now();
            let was_last = attempts >= self.settings.limits.max_attempts;
            match (counts, was_last, in_company) {
                (false, ..) => inner.jobs.requeue_lost(id, Loss::Spared, &self.settings),
                (true, false, _) => inner.jobs.requeue_lost(id, Loss::Suspect, &self.settings),
                (true, true, true) => inner.jobs.requeue_lost(id, Loss::Unclear, &self.settings),
                (true, true, false) => {
                    let error = worker_died(worker, attempts, reason);
                    ended.extend(inner.jobs.end(id, JobEvent::Died(error), &self.settings));
                }
            }
        }
        inner.dispatch(&self.settings);
        drop(inner);
        self.report_ends(ended);
        self.changed.notify_one();
    }

    /// A polling worker reports that it runs nothing: it has released the jobs that it was asked to stop, for which
    /// it posts nothing. Any other job that it holds is lost, because it could not deliver the result or never
    /// received the job. That job gets another attempt, or fails if it was the last.
    pub(crate) fn runs_nothing(&self, worker: &WorkerId) {
        let mut inner = self.lock();
        let Some(consumer) = inner.consumers.get_mut(worker) else { return };
        let freed = consumer.release_stopped(usize::MAX);
        let unreported: Vec<JobId> = consumer.leased().collect();
        inner.settle_all(freed, &self.settings);
        let mut ended = Vec::new();
        for id in unreported {
            inner.release(worker, id, None, &self.settings);
            let Some(entry) = inner.jobs.get(id).filter(|entry| entry.is_run_by(worker)) else { continue };
            let (attempt, attempts) = (entry.attempts, entry.attempts_now());
            if attempts < self.settings.limits.max_attempts {
                inner.jobs.requeue_lost(id, Loss::Forgotten, &self.settings);
            } else {
                let lease = Lease { worker: worker.clone(), attempt };
                let outcome = Outcome::Failed(went_on(worker, attempts));
                ended.extend(inner.jobs.end(id, JobEvent::Finished { lease, outcome }, &self.settings));
            }
        }
        inner.dispatch(&self.settings);
        drop(inner);
        self.report_ends(ended);
    }
}

/// The error of a job whose worker died at each attempt.
fn worker_died(worker: &WorkerId, attempts: u32, reason: &str) -> String {
    let message = format!("the worker died on each of {attempts} attempts; the last time: {reason}");
    let mut error = WireError::new(ErrorKind::NoWorker, message);
    error.worker_id = Some(worker.to_string());
    ErrorText::of(&error, "platform").to_text()
}

/// The error of a job that its worker dropped without a result.
fn went_on(worker: &WorkerId, attempts: u32) -> String {
    let message = format!(
        "on each of {attempts} attempts, the worker did not send a result for this job; see its log; a result \
         that cannot be written as JSON is never sent"
    );
    let mut error = WireError::new(ErrorKind::Handler, message);
    error.worker_id = Some(worker.to_string());
    ErrorText::of(&error, "platform").to_text()
}
