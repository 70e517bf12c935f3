//! What a worker reports about a job that it ran: its end, or an error after which the job runs again.
use std::time::Duration;

use flash_protocol::WireError;

use super::{
    answers::Reported,
    chunks::whole_stream,
    ended::Ended,
    endpoint_queue::{Inner, Queue, QueueState},
    id::JobId,
    job::Entry,
    retrying::{retryable, wait_before_next},
    settings::QueueSettings,
    state::{JobEvent, JobState, Lease, Outcome},
};
use crate::worker_id::WorkerId;

impl Queue {
    /// The end of a job, from the worker that ran it. If it is an error after which the job may run again, the job
    /// waits for its next attempt.
    ///
    /// `attempt` is `None` from foreign workers, which do not know it: then their current lease counts.
    pub(crate) fn finish(
        &self,
        worker: &WorkerId,
        job: JobId,
        attempt: Option<u32>,
        outcome: Outcome,
        ran: Option<Duration>,
    ) -> Reported {
        // Under no lock, because an error may be as long as a result.
        let error = retryable(&outcome);
        let mut inner = self.lock();
        let running = inner.jobs.get(job).filter(|entry| entry.is_run_by(worker));
        let (outcome, rest) = match running.and_then(Entry::taken_before_refusal) {
            None => (outcome, Vec::new()),
            Some(taken) => {
                drop(inner);
                let whole = whole_stream(worker, taken, outcome);
                inner = self.lock();
                whole
            }
        };
        let held = inner.release(worker, job, attempt, &self.settings);
        let current = inner.jobs.get(job).and_then(|entry| match &entry.state {
            JobState::Running(lease) if lease.worker == *worker => Some(lease.attempt),
            _ => None,
        });
        let mut ended = None;
        // Only from the holder of the lease, so that times reported by others are not used either.
        if let Some(current) = current
            && attempt.is_none_or(|attempt| attempt == current)
        {
            if let Some(entry) = inner.jobs.get_mut(job) {
                entry.run_mut().reported_run = ran;
                entry.append_chunks(rest);
            }
            let lease = Lease { worker: worker.clone(), attempt: current };
            ended = inner.end_attempt(job, lease, outcome, error, &self.settings);
        }
        inner.dispatch(&self.settings);
        let feeds = !inner.jobs.guarded.is_empty();
        drop(inner);
        if feeds || ended.as_ref().is_some_and(|ended| ended.next.is_some()) {
            self.changed.notify_one();
        }
        let reported = match (&ended, held) {
            (Some(_), _) => Reported::Accepted,
            (None, true) => Reported::Released,
            (None, false) => Reported::Late,
        };
        self.report_ends(ended);
        reported
    }
}

impl Inner {
    /// Ends the job, or has it wait for its next attempt if `error` allows one and there is time for it.
    fn end_attempt(
        &mut self,
        job: JobId,
        lease: Lease,
        outcome: Outcome,
        error: Option<WireError>,
        settings: &QueueSettings,
    ) -> Option<Ended> {
        let entry = self.jobs.get(job)?;
        let again = match &self.state {
            // Nothing would ever run it.
            QueueState::Ended => None,
            QueueState::Live => error.zip(wait_before_next(job, entry, settings)),
            QueueState::ReplacedBy(next) => error.zip(wait_before_next(job, entry, &next.settings)),
        };
        let Some((error, wait)) = again else {
            return self.jobs.end(job, JobEvent::Finished { lease, outcome }, settings);
        };
        let ended = self.jobs.postpone(job, lease, (error.chain(), wait), settings)?;
        if let Some(successor) = self.successor()
            && let Some(entry) = self.jobs.take(job)
        {
            // Like all that waited when its release was replaced. Locks are taken from the older queue to the newer.
            successor.lock().jobs.insert(job, entry);
            successor.changed.notify_one();
        }
        Some(ended)
    }
}
