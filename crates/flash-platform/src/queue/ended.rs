//! What is logged when an attempt or a job ends.
use std::time::Duration;

use flash_protocol::{
    BatchRun, GenerationsByModel,
    catalogue::NanoDollars,
    wire::job::{ErrorText, JobStatus},
};

use super::{
    id::JobId,
    job::{Entry, Origin},
    settings::QueueSettings,
    state::JobState,
};
use crate::{
    traces::{JobTrace, key_of},
    worker_id::WorkerId,
};

/// Longest text of an error in the log.
const MAX_LOGGED_ERROR: usize = 4096;

/// What is logged when a job ends, or when an attempt has failed and another follows.
#[derive(Debug)]
pub(crate) struct Ended {
    pub job: JobId,
    pub request_id: Option<String>,
    pub function: Option<String>,
    pub worker: Option<WorkerId>,
    pub status: JobStatus,
    pub ran: Duration,
    /// From submission, or from the end of the attempt before, until the last attempt began.
    pub waited: Duration,
    /// The batch that its last attempt ran in.
    pub batch: Option<BatchRun>,
    /// What models did in its last attempt.
    pub generated: GenerationsByModel,
    /// Of all its attempts.
    pub cost: NanoDollars,
    pub error: Option<String>,
    /// Only this attempt has ended, and failed.
    pub next: Option<Next>,
    /// If its trace is sampled.
    pub trace: Option<Box<JobTrace>>,
}

/// The attempt after one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    /// From 2.
    pub attempt: u32,
    pub wait: Duration,
}

impl Ended {
    pub(super) fn of(job: JobId, entry: &Entry, settings: &QueueSettings) -> Self {
        let error = match &entry.state {
            JobState::Done(outcome) => outcome.error().map(|text| shortened(ErrorText::parse(text).chain())),
            _ => None,
        };
        Self {
            job,
            request_id: entry.envelope.request_id.clone().map(String::from),
            function: entry.envelope.function.clone().map(String::from),
            worker: entry.worker().cloned(),
            status: entry.status(),
            ran: entry.run.as_ref().and_then(|run| run.ran).unwrap_or_default(),
            waited: entry.run.as_ref().map(|run| run.delay).unwrap_or_default(),
            batch: entry.run.as_ref().and_then(|run| run.batch.as_deref().copied()),
            generated: entry
                .run
                .as_ref()
                .and_then(|run| run.generated.as_deref().cloned())
                .unwrap_or_default(),
            cost: entry.cost,
            error,
            next: None,
            trace: settings.traces.as_ref().and_then(|_| trace_of(job, entry, settings)),
        }
    }
}

fn trace_of(job: JobId, entry: &Entry, settings: &QueueSettings) -> Option<Box<JobTrace>> {
    let parent = entry.envelope.traceparent.clone().filter(|parent| parent.is_sampled())?;
    Some(Box::new(JobTrace {
        job: key_of(&job),
        parent,
        run: entry.trace_run(),
        attempt: entry.attempts,
        age: settings.clock.now().since(entry.submitted_at),
        is_spawned: entry.origin == Origin::Run,
    }))
}

/// A worker's error may be as long as a result.
pub(super) fn shortened(mut text: String) -> String {
    let bytes = text.len();
    if bytes > MAX_LOGGED_ERROR {
        text.truncate(text.floor_char_boundary(MAX_LOGGED_ERROR));
        text.push_str(&format!("… ({bytes} bytes; `status` has all of it)"));
    }
    text
}

/// Called at each end of a job, and at each failed attempt that another one follows, under no lock.
pub(crate) type OnEnd = Box<dyn Fn(Ended) + Send + Sync>;
