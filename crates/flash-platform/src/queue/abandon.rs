//! Jobs whose client disconnected before it received their ID.
use super::{endpoint_queue::Queue, id::JobId, job::Origin, state::JobEvent};

/// What happens to a running job when its client disconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abandoned {
    /// It continues, as on the provider.
    RunsOn,
    /// It is cancelled, like a call whose caller is gone.
    Stops,
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
        let is_abandoned = entry.is_waiting() || (entry.is_running() && running == Abandoned::Stops);
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
