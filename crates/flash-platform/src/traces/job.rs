//! One hop by the queue: the job from its arrival to its end, its waits, and its attempts.
//!
//! The IDs of their spans follow from the job's: a worker is given that of its attempt when it gets the job, and the
//! spans are made when the attempt or the job has ended, without anything in between.
use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    time::{Duration, SystemTime},
};

use flash_protocol::wire::{identity::TraceParent, job::JobStatus};
use flash_traces::opentelemetry::{KeyValue, trace::SpanKind};

use super::{
    hop::cost,
    span::{Ended, before, link},
    tracer::Traces,
};
use crate::worker_id::WorkerId;

/// What the trace of a job needs beside what is logged at its end.
#[derive(Debug)]
pub(crate) struct JobTrace {
    /// Tells its job from all others: [`key_of`] its ID.
    pub job: u64,
    /// Where the job came from.
    pub parent: TraceParent,
    /// Tells one run of the job from those that a client has asked for again.
    pub run: u64,
    /// From 1.
    pub attempt: u32,
    /// Since it arrived.
    pub age: Duration,
    /// Nobody waits for it.
    pub is_spawned: bool,
}

impl JobTrace {
    /// The span of the job in this run.
    pub(crate) fn own(&self) -> TraceParent {
        self.parent.with_span(span_of(self.job, &Part::Job { run: self.run }))
    }
}

/// An attempt that has ended, and perhaps its job with it.
pub(crate) struct JobEnd<'a> {
    pub trace: &'a JobTrace,
    pub job: &'a str,
    pub request_id: &'a str,
    pub worker_type: &'a str,
    pub function: Option<&'a str>,
    /// `None` if no worker had the job.
    pub worker: Option<&'a WorkerId>,
    pub status: JobStatus,
    pub waited: Duration,
    pub ran: Duration,
    pub cost_nano_dollars: u64,
    pub error: Option<&'a str>,
    /// Whether another attempt follows.
    pub goes_on: bool,
}

/// Which span of a job.
#[derive(Hash)]
enum Part {
    /// All of it, in one run.
    Job {
        run: u64,
    },
    Attempt {
        number: u32,
    },
}

/// A number for the ID of a job, the same each time.
pub(crate) fn key_of(job: &impl Hash) -> u64 {
    hashed(job)
}

fn hashed(what: &impl Hash) -> u64 {
    // Its keys are fixed.
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The ID of a span.
fn span_of(job: u64, part: &Part) -> u64 {
    hashed(&(job, part)).max(1)
}

/// The span of an attempt, for its worker.
pub(crate) fn attempt_of(job: u64, number: u32, parent: &TraceParent) -> TraceParent {
    parent.with_span(span_of(job, &Part::Attempt { number }))
}

impl Traces {
    /// The trace of a job that has none yet. Its parent is the job's own span, which has none.
    pub(crate) fn root_of(&self, job: u64, run: u64) -> TraceParent {
        self.begin("job", None).with_span(span_of(job, &Part::Job { run }))
    }

    /// An attempt has ended.
    pub(crate) fn job_ended(&self, end: &JobEnd<'_>) {
        let JobTrace { job, parent, run: _, attempt: number, age, is_spawned } = end.trace;
        let now = SystemTime::now();
        let own = end.trace.own();
        let began = before(now, end.ran);
        let waited = match end.worker {
            None => (before(now, *age), now),
            Some(_) => (before(began, end.waited), began),
        };
        self.wait(&own, waited, end.worker);
        let id = || KeyValue::new("flash.job.id", end.job.to_owned());
        if let Some(worker) = end.worker {
            let attempt = attempt_of(*job, *number, &own);
            let mut span = Ended::new("attempt", attempt, Some(own.clone()), began, now);
            span.attributes = vec![
                id(),
                KeyValue::new("flash.attempt", i64::from(*number)),
                KeyValue::new("flash.worker", worker.to_string()),
            ];
            if *number > 1 {
                span.links = vec![link(&attempt_of(*job, number - 1, &own), "retry of")];
            }
            span.error = failure(end);
            self.ended(span);
        }
        if end.goes_on {
            return;
        }
        // One of a schedule has no request above it.
        let parent = Some(parent).filter(|parent| **parent != own);
        let name = format!("job {}", end.function.unwrap_or(end.worker_type));
        let mut span = Ended::new(name, own, parent.cloned(), before(now, *age), now);
        if *is_spawned {
            span.kind = SpanKind::Consumer;
            // The request that made it has ended long ago.
            span.links = parent.map(|parent| link(parent, "spawned by")).into_iter().collect();
        }
        span.attributes = vec![
            id(),
            KeyValue::new("flash.request.id", end.request_id.to_owned()),
            KeyValue::new("flash.worker_type", end.worker_type.to_owned()),
            KeyValue::new("flash.status", end.status.as_str()),
        ];
        span.attributes.extend(end.function.map(|own| KeyValue::new("flash.function", own.to_owned())));
        span.attributes.extend(cost(end.cost_nano_dollars));
        span.error = failure(end);
        self.ended(span);
    }
}

fn failure(end: &JobEnd<'_>) -> Option<String> {
    let is_failed = !matches!(end.status, JobStatus::Completed | JobStatus::Cancelled);
    is_failed.then(|| end.error.unwrap_or_else(|| end.status.as_str()).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_jobs_spans_follow_from_the_job_and_differ() {
        let (job, other) = (key_of(&"one"), key_of(&"two"));
        let parts = |job| {
            [
                span_of(job, &Part::Job { run: 1 }),
                span_of(job, &Part::Job { run: 2 }),
                span_of(job, &Part::Attempt { number: 1 }),
                span_of(job, &Part::Attempt { number: 2 }),
            ]
        };
        assert_eq!(parts(job), parts(job));
        let mut all: Vec<u64> = parts(job).into_iter().chain(parts(other)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8);
    }
}
