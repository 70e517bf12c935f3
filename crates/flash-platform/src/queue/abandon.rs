//! Jobs whose client disconnected before it received their ID.
use super::{
    JobId, Queue,
    job::{Entry, Origin},
    state::JobEvent,
};

/// What happens to a running job when its client disconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abandoned {
    /// It continues, as on the provider.
    RunsOn,
    /// It is cancelled, like a call whose caller is gone.
    Stops,
}

impl Entry {
    /// Whether its result is still delivered although its client has disconnected: by webhook, or in a bucket.
    fn has_other_reader(&self) -> bool {
        let extras = self.extras.as_ref();
        extras.is_some_and(|extras| extras.webhook.is_some() || extras.s3_config.is_some())
    }
}

impl Queue {
    /// The client of a job has disconnected before it received the ID, so nobody can ask for the job. A waiting job
    /// is dropped; a running one is handled according to `running`.
    pub(crate) fn abandon(&self, job: JobId, running: Abandoned) {
        let mut inner = self.lock();
        let Some(entry) = inner.jobs.get(job) else {
            let successor = inner.successor();
            drop(inner);
            return successor.map_or((), |successor| successor.abandon(job, running));
        };
        let is_abandoned = entry.is_queued() || (entry.is_running() && running == Abandoned::Stops);
        if !is_abandoned || entry.origin != Origin::RunSync || entry.has_other_reader() {
            return;
        }
        // It exists and has not ended.
        let _ = inner.stop_attempt(job, &self.settings);
        let ended = inner.jobs.end(job, JobEvent::Cancelled, &self.settings);
        drop(inner);
        self.report_ends(ended);
    }
}
