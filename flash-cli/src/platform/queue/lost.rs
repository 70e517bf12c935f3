//! Jobs that their worker has lost: what it says by running nothing, and what such jobs end with.
//!
//! Workers that went away are the queue's own concern; here are those that are still there.
use flash_sdk::{ErrorKind, WireError, wire::job::ErrorText};

use super::{
    JobId, Outcome, Queue, WorkerId,
    state::{JobEvent, Lease},
};

impl Queue {
    /// A polling worker says that it runs nothing: it has let go of the jobs that it was asked to stop. It
    /// posts nothing for them. Any other job that it holds is lost, for it could not deliver its result or
    /// never got the job: that one gets another attempt, or fails when it was its last.
    pub(crate) fn runs_nothing(&self, worker: &WorkerId) {
        let mut inner = self.lock();
        let Some(taker) = inner.takers.get_mut(worker) else { return };
        let freed = taker.let_go(usize::MAX);
        let unreported: Vec<JobId> = taker.leased().collect();
        inner.settle_all(freed, &self.setting);
        let mut ended = Vec::new();
        for id in unreported {
            inner.release(worker, id, None, &self.setting);
            let Some(entry) = inner.jobs.get(id).filter(|entry| entry.is_run_by(worker)) else { continue };
            let (attempt, attempts) = (entry.attempts, entry.attempts_now());
            if attempts < self.setting.limits.max_attempts {
                inner.jobs.requeue_lost(id, true, &self.setting);
            } else {
                let lease = Lease { worker: worker.clone(), attempt };
                let outcome = Outcome::Failed(went_on(worker, attempts));
                ended.extend(inner.jobs.end(id, JobEvent::Finished { lease, outcome }, &self.setting));
            }
        }
        inner.dispatch(&self.setting);
        drop(inner);
        self.tell(ended);
    }
}

/// For a job whose workers died, each with it.
pub(super) fn worker_died(worker: &WorkerId, attempts: u32, reason: &str) -> String {
    let message = format!("the worker died on each of {attempts} attempts; the last one: {reason}");
    let mut error = WireError::new(ErrorKind::NoWorker, message);
    error.worker_id = Some(worker.to_string());
    ErrorText::of(&error, "platform").to_text()
}

/// For a job that its worker holds no more and said nothing of.
fn went_on(worker: &WorkerId, attempts: u32) -> String {
    let message = format!(
        "on each of {attempts} attempts the worker went on without a result of this job: its log says why; a \
         result that cannot be written as JSON is never sent"
    );
    let mut error = WireError::new(ErrorKind::Handler, message);
    error.worker_id = Some(worker.to_string());
    ErrorText::of(&error, "platform").to_text()
}
