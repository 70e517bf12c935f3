//! Jobs as the dashboard shows them: with their request, their times, and those that workers create for each other.
use std::time::Duration;

use flash_protocol::wire::{
    RawJson,
    job::{ErrorText, JobStatus},
};

use super::{
    ended::shortened,
    endpoint_queue::{Inner, Queue},
    id::JobId,
    job::Entry,
    state::{JobState, Outcome},
};
use crate::worker_id::WorkerId;

/// Jobs that one look at a queue visits, at most: the lock is not held for longer.
const MAX_LOOKED_AT: usize = 20_000;

/// Which jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Those that wait or run.
    Open,
    /// Those that ended with an error or took too long, except dead ones.
    Failed,
    /// Those that killed their workers.
    Dead,
}

impl Shown {
    fn admits(self, entry: &Entry) -> bool {
        match &entry.state {
            JobState::Done(Outcome::Dead(_)) => self == Self::Dead,
            _ => match entry.status() {
                JobStatus::InQueue | JobStatus::InProgress => self == Self::Open,
                JobStatus::Failed | JobStatus::TimedOut => self == Self::Failed,
                JobStatus::Completed | JobStatus::Cancelled => false,
            },
        }
    }
}

/// A job at this moment.
#[derive(Debug, Clone)]
pub(crate) struct ShownJob {
    pub id: JobId,
    /// Its own ID if it is of no request.
    pub request_id: String,
    pub function: Option<String>,
    pub worker: Option<WorkerId>,
    pub status: JobStatus,
    /// How long ago it was submitted.
    pub age: Duration,
    /// Until its last attempt began, or until now.
    pub waited: Duration,
    /// Of its last attempt, until now if that still runs.
    pub ran: Duration,
    /// In billionths of a dollar.
    pub cost: u64,
    pub attempts: u32,
    /// In one line. Of a job that waits for its next attempt, that of the last one.
    pub error: Option<String>,
}

impl Queue {
    /// Some of these jobs, the latest first, up to `limit`.
    pub(crate) fn shown(&self, which: Shown, limit: usize) -> Vec<ShownJob> {
        let inner = self.lock();
        let jobs = inner.jobs.newest_first(None).take(MAX_LOOKED_AT);
        let jobs = jobs.filter(|(_, entry)| which.admits(entry)).take(limit);
        jobs.map(|(id, entry)| self.show(&inner, id, entry)).collect()
    }

    /// The input of a job; `None` if it is not kept any more.
    pub(crate) fn input(&self, job: JobId) -> Option<RawJson> {
        let inner = self.lock();
        let entry = inner.jobs.get(job)?;
        (!entry.input_dropped).then(|| entry.input.clone().into_json())
    }

    fn show(&self, inner: &Inner, id: JobId, entry: &Entry) -> ShownJob {
        let now = self.settings.clock.now();
        let object = inner.with_so_far(id, entry, entry.object_without_output(id));
        let run = entry.run.as_ref().filter(|run| run.worker.is_some());
        let is_running = entry.is_running();
        let error = object.error.map(|text| shortened(ErrorText::parse(&text).chain()));
        ShownJob {
            id,
            request_id: entry.envelope.request_id.clone().map_or_else(|| id.to_string(), String::from),
            function: entry.envelope.function.clone().map(String::from),
            worker: run.and_then(|run| run.worker.clone()).filter(|_| !entry.is_waiting()),
            status: object.status,
            age: now.since(entry.submitted_at),
            waited: match run {
                Some(run) if !entry.is_waiting() => run.delay,
                _ => now.since(entry.queued_at),
            },
            ran: match run {
                Some(run) if is_running => run.leased_at.map_or(Duration::ZERO, |leased| now.since(leased)),
                Some(run) => run.ran.unwrap_or_default(),
                None => Duration::ZERO,
            },
            cost: object.cost_nano_dollars.unwrap_or_default(),
            attempts: entry.attempts,
            error: error.or(object.next_attempt.map(|next| next.last_error)),
        }
    }
}
