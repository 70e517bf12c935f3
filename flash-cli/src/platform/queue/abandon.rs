//! Jobs whose client disconnected before it received their ID.
use super::{
    JobId, Queue,
    job::{Entry, Origin},
    state::JobEvent,
};

/// What becomes of a job that runs when its client goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abandoned {
    /// It goes on, as the provider has it.
    RunsOn,
    /// It is cancelled, like the call of a function whose caller is gone.
    Stops,
}

impl Entry {
    /// Whether what comes of it reaches somebody though its client has gone: told by webhook, or left in a
    /// bucket.
    fn has_other_reader(&self) -> bool {
        let extras = self.extras.as_ref();
        extras.is_some_and(|extras| extras.webhook.is_some() || extras.s3_config.is_some())
    }
}

impl Queue {
    /// The client of a job has gone, and was never told the job's id: nobody can ask for it. It is let go
    /// before its start; one that runs as `running` says.
    pub(crate) fn abandon(&self, job: JobId, running: Abandoned) {
        let mut inner = self.lock();
        let Some(entry) = inner.jobs.get(job) else {
            let successor = inner.successor();
            drop(inner);
            return successor.map_or((), |successor| successor.abandon(job, running));
        };
        let is_let_go = entry.is_queued() || (entry.is_running() && running == Abandoned::Stops);
        if !is_let_go || entry.origin != Origin::RunSync || entry.has_other_reader() {
            return;
        }
        // It is there and has not ended.
        let _ = inner.stop_attempt(job, &self.setting);
        let ended = inner.jobs.end(job, JobEvent::Cancelled, &self.setting);
        drop(inner);
        self.tell(ended);
    }
}
