//! A job and everything stored with it.
use std::{borrow::Cow, sync::Arc, time::Duration};

use flash_protocol::{
    BatchRun, GenerationsByModel,
    catalogue::NanoDollars,
    wire::{
        Payload, RawJson,
        envelope::Envelope,
        exchange::{ReplyFrame, ReplyResult, ToWorker, Writer},
        job::{JobObject, JobStatus, NextAttempt},
    },
};
use tokio::sync::{Notify, oneshot};

use super::{
    budget::{Budget, Held},
    chunks::{Chunks, Stream, StreamEnd},
    clock::Timestamp,
    consumer::LeasedJob,
    extras::{Extras, IdempotencyKey},
    guard::Guard,
    id::JobId,
    limits::Limits,
    state::{Attempt, IllegalTransition, JobEvent, JobState, Lease, Outcome, step},
    ticket::{Seq, Ticket},
};
use crate::{meter::ChargedTo, worker_id::WorkerId};

/// Who is notified of a job's end.
pub(crate) enum Waiter {
    /// An HTTP client.
    Client(oneshot::Sender<JobObject>),
    /// A call of another worker, answered on its exchange.
    Call { call: u64, frames: Writer<ToWorker> },
    /// A call of another worker that reads the chunks as they come.
    Stream {
        end: oneshot::Sender<StreamEnd>,
        /// Whether it reads chunks with attachments.
        reads_attachments: bool,
    },
}

/// The origin of a job, which decides what is promised about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client that asks for the result later. Stored before it has the id.
    Run,
    /// A client that waits. Stored when its wait runs out.
    RunSync,
    /// A worker that waits on its exchange. The job ends with its caller, because nobody else knows its ID.
    Call,
}

/// For how long an ended job stays.
pub(super) enum Retention {
    /// Its only reader, a calling worker, has it.
    Drop,
    /// Its client has received it: kept for a while, and while there is room.
    Bounded,
    /// Until its time is over.
    Timed,
}

/// A job. Small while it waits: a million may.
pub(super) struct Entry {
    pub(super) state: JobState,
    /// Null once it is dropped.
    pub(super) input: Payload,
    pub(super) input_dropped: bool,
    pub(super) envelope: Envelope,
    pub(super) origin: Origin,
    pub(super) low_priority: bool,
    /// It was aboard when a worker died, and may be the cause: it runs alone on a worker until it ends.
    pub(super) suspect: bool,
    /// How often the platform died while it was running.
    pub(super) losses: u32,
    pub(super) guard: Guard,
    pub(super) execution_timeout: Duration,
    /// How long it may take from submission, or from a client's retry, to its end.
    pub(super) ttl: Duration,
    pub(super) submitted_at: Timestamp,
    pub(super) queued_at: Timestamp,
    /// When it is deleted, run or not.
    pub(super) expires_at: Timestamp,
    pub(super) attempts: Attempt,
    /// Attempts that do not count: those before the last retry by a client, and those that did not end because of the
    /// job.
    pub(super) attempts_before: Attempt,
    /// Attempts that failed with a retryable error, since submission or the last retry by a client.
    pub(super) failures: u32,
    /// What its attempts were charged.
    pub(super) cost: NanoDollars,
    /// Its position in the store, once stored.
    pub(super) record: Option<Seq>,
    /// Its last write.
    pub(super) ticket: Ticket,
    /// Its key in the queue's timers.
    pub(super) timer: Timestamp,
    /// Its webhook was delivered.
    pub(super) delivered: bool,
    pub(super) waiters: Vec<Waiter>,
    pub(super) extras: Option<Box<Extras>>,
    /// Present once a worker has had it or a client streams it.
    pub(super) run: Option<Box<Run>>,
    /// Its part of the memory budget: always its [`Entry::weight`].
    pub(super) held: Held,
}

/// Bytes of an input or output that are shown. An input that is longer is not kept after its job has completed.
pub(crate) const MAX_SHOWN_INPUT: usize = 8_000;

/// The size of a job without its data: its entry, and its places in queues, timers and tables.
const OVERHEAD: usize = size_of::<Entry>() + 200;

/// The data of a job that has run.
#[derive(Default)]
pub(super) struct Run {
    pub leased_at: Option<Timestamp>,
    pub worker: Option<WorkerId>,
    pub delay: Duration,
    /// How long the last attempt ran, once the job has ended.
    pub ran: Option<Duration>,
    /// The run time reported by the worker; other programs do not report it.
    pub reported_run: Option<Duration>,
    /// The batch that the last attempt ran in, once it has ended.
    pub batch: Option<Box<BatchRun>>,
    /// What models did in the last attempt, once it has ended and if there were any.
    pub generated: Option<Box<GenerationsByModel>>,
    pub progress: Option<RawJson>,
    pub chunks: Chunks,
    pub arrivals: Option<Arc<Notify>>,
    /// The last attempt, from its failure until the next one begins.
    pub failure: Option<AttemptFailure>,
}

/// An attempt that failed with a retryable error.
pub(super) struct AttemptFailure {
    /// In one line, shortened.
    pub error: String,
    /// Until the next attempt.
    pub wait: Duration,
}

impl Run {
    /// How long the attempt ran that ends now.
    pub(super) fn ran_until(&self, now: Timestamp) -> Duration {
        let had = self.leased_at.map_or(Duration::ZERO, |leased| now.since(leased));
        // A worker cannot have run for longer than it had the job.
        self.reported_run.map_or(had, |reported| reported.min(had))
    }
}

impl Entry {
    /// The only place where the state changes.
    pub(super) fn step(&mut self, event: JobEvent, now: Timestamp) -> Result<(), IllegalTransition> {
        let state = std::mem::replace(&mut self.state, JobState::Done(Outcome::Cancelled));
        match step(state, event) {
            Ok(next) => {
                if matches!(next, JobState::Queued { .. }) {
                    self.queued_at = now;
                }
                self.state = next;
                self.weigh();
                Ok(())
            }
            Err((unchanged, illegal)) => {
                self.state = unchanged;
                Err(illegal)
            }
        }
    }

    /// Updates the memory that it uses. Every change of its data ends with this.
    pub(super) fn weigh(&mut self) {
        self.held.set(self.weight());
    }

    /// Starts counting its memory.
    pub(super) fn join(&mut self, budget: &Budget) {
        self.held.join(budget);
    }

    /// Its memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let envelope = &self.envelope;
        let envelope = envelope.function.as_deref().map_or(0, str::len)
            + envelope.request_id.as_deref().map_or(0, str::len)
            + envelope.traceparent.as_deref().map_or(0, str::len);
        let extras = self.extras.as_ref().map_or(0, |extras| {
            let key = extras.idempotency.as_ref().map_or(0, |key| key.key.len());
            size_of::<Extras>() + text(&extras.webhook) + text(&extras.s3_config) + key
        });
        let outcome = match &self.state {
            JobState::Done(outcome) => outcome.weight(),
            JobState::Queued { .. } | JobState::Delayed { .. } | JobState::Running(_) => 0,
        };
        let run = self.run.as_ref().map_or(0, |run| {
            let progress = run.progress.as_ref().map_or(0, |progress| progress.get().len());
            let failure = run.failure.as_ref().map_or(0, |failure| failure.error.len());
            size_of::<Run>() + progress + failure + run.chunks.weight()
        });
        OVERHEAD + self.input.weight() + envelope + extras + outcome + run
    }

    /// Its times and worker, which weigh the same whatever they are.
    pub(super) fn run_mut(&mut self) -> &mut Run {
        if self.run.is_none() {
            self.run = Some(Box::default());
            self.weigh();
        }
        self.run.as_mut().expect("made above")
    }

    pub(super) fn set_progress(&mut self, output: RawJson) {
        self.run_mut().progress = Some(output);
        self.weigh();
    }

    /// Gives the job to a worker.
    pub(super) fn lease(&mut self, id: JobId, worker: &WorkerId, now: Timestamp) -> Option<LeasedJob> {
        let JobState::Queued { attempts } = self.state else { return None };
        let attempt = attempts + 1;
        self.step(JobEvent::Leased(Lease { worker: worker.clone(), attempt }), now).ok()?;
        self.attempts = attempt;
        let delay = now.since(self.queued_at);
        let run = self.run_mut();
        run.leased_at = Some(now);
        run.worker = Some(worker.clone());
        run.delay = delay;
        if run.failure.take().is_some() {
            self.weigh();
        }
        Some(LeasedJob {
            id,
            attempt,
            alone: self.suspect,
            execution_timeout: self.execution_timeout,
            envelope: self.envelope.clone(),
            takes_attachments: self.takes_attachments(),
            input: self.input.clone(),
            s3_config: self.extras.as_ref().and_then(|extras| extras.s3_config.clone()),
        })
    }

    /// Whether its only reader is a worker that reads attachments.
    fn takes_attachments(&self) -> bool {
        let reads = |waiter: &Waiter| match waiter {
            Waiter::Client(_) => false,
            Waiter::Stream { reads_attachments, .. } => *reads_attachments,
            Waiter::Call { frames, .. } => frames.format().has_attachments(),
        };
        self.origin == Origin::Call && !self.waiters.is_empty() && self.waiters.iter().all(reads)
    }

    /// Tells this run of the job from those after a client's retry, which gives it a new expiry.
    pub(super) fn trace_run(&self) -> u64 {
        self.expires_at.0
    }

    /// Takes back a lease that its worker never received.
    pub(super) fn unlease(&mut self) {
        if let JobState::Running(lease) = &self.state {
            self.attempts = lease.attempt - 1;
            self.state = JobState::Queued { attempts: self.attempts };
        }
    }

    pub(super) fn retry(&mut self, now: Timestamp) -> Result<(), IllegalTransition> {
        self.step(JobEvent::Retried { attempts: self.attempts }, now)?;
        self.attempts_before = self.attempts;
        self.failures = 0;
        self.suspect = false;
        (self.losses, self.guard) = (0, Guard::Free);
        self.delivered = false;
        self.forget_attempt();
        Ok(())
    }

    /// An attempt has ended by itself, so neither it nor those before it killed the platform. `true` if one was
    /// suspected of that.
    pub(super) fn has_survived(&mut self) -> bool {
        let was_suspected = self.losses > 0 || !matches!(self.guard, Guard::Free);
        (self.losses, self.guard) = (0, Guard::Free);
        was_suspected
    }

    /// Drops the data of the last attempt, before the next one.
    pub(super) fn forget_attempt(&mut self) {
        if let Some(run) = &mut self.run {
            run.ran = None;
            run.reported_run = None;
            run.batch = None;
            run.progress = None;
            run.chunks.begin_anew();
        }
        self.weigh();
    }

    /// Counted attempts since submission or the last retry.
    pub(super) fn attempts_now(&self) -> Attempt {
        self.attempts - self.attempts_before
    }

    /// Its client's name for it.
    pub(super) fn key(&self) -> Option<&IdempotencyKey> {
        self.extras.as_ref()?.idempotency.as_ref()
    }

    pub(super) fn is_queued(&self) -> bool {
        matches!(self.state, JobState::Queued { .. })
    }

    /// When its next attempt may begin, if it waits for that.
    pub(super) fn delayed_until(&self) -> Option<Timestamp> {
        match self.state {
            JobState::Delayed { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Whether it waits: for a worker, or for the time of its next attempt.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, JobState::Queued { .. } | JobState::Delayed { .. })
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, JobState::Running(_))
    }

    pub(super) fn is_run_by(&self, worker: &WorkerId) -> bool {
        matches!(&self.state, JobState::Running(lease) if lease.worker == *worker)
    }

    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        let leased_at = self.run.as_ref().and_then(|run| run.leased_at);
        self.is_running() && leased_at.is_some_and(|leased| now.since(leased) > self.execution_timeout)
    }

    /// When it is forgotten, having ended now.
    pub(super) fn forget_at(&self, now: Timestamp, limits: &Limits) -> Timestamp {
        now.after(match (&self.state, self.origin) {
            (JobState::Done(Outcome::Dead(_)), _) => limits.keep_dead,
            (_, Origin::Run) => limits.keep_async,
            // Its client did not wait until the end: it asks like that of `run`.
            (_, Origin::RunSync) if self.record.is_some() => limits.keep_async,
            (_, Origin::RunSync | Origin::Call) => limits.keep_sync,
        })
    }

    /// Notifies waiting clients of its end, and returns how long to keep it.
    pub(super) fn ended(&mut self, id: JobId, now: Timestamp) -> Retention {
        self.guard = Guard::Free;
        let run = self.run_mut();
        run.ran = Some(run.ran_until(now));
        run.failure = None;
        if let Some(arrivals) = &run.arrivals {
            arrivals.notify_waiters();
        }
        let waiters = std::mem::take(&mut self.waiters);
        let keep = match self.origin {
            Origin::Call if !waiters.is_empty() => Retention::Drop,
            // Its client stopped waiting, and asks like that of `run`.
            Origin::RunSync if self.record.is_some() => Retention::Timed,
            Origin::Call | Origin::RunSync => Retention::Bounded,
            Origin::Run => Retention::Timed,
        };
        for waiter in waiters {
            self.reply(id, waiter);
        }
        self.weigh();
        keep
    }

    fn reply(&mut self, id: JobId, waiter: Waiter) {
        match waiter {
            Waiter::Client(end) => {
                // A client that disconnected does not need it.
                let _ = end.send(self.object(id));
            }
            Waiter::Stream { end, .. } => {
                let Stream { attempt, chunks, .. } = self.fetch_chunks(usize::MAX);
                // As above.
                let _ = end.send(StreamEnd { job: self.object_without_output(id), attempt, chunks });
            }
            Waiter::Call { call, frames } => {
                let mut object = self.object_without_output(id);
                let mut attached = None;
                // Its only reader has it then: no copy.
                if let JobState::Done(Outcome::Completed(output)) = &mut self.state {
                    let output = std::mem::replace(output, Payload::null());
                    match output.has_attachments() && frames.format().has_attachments() {
                        true => attached = Some(output),
                        false => object.output = Some(output.into_json()),
                    }
                }
                let result = ReplyResult::Job(object);
                // A caller that is gone does not need it.
                let _ = frames.send(ToWorker::Reply(ReplyFrame { call, result, attached }));
            }
        }
    }

    /// Drops what only another attempt would need. A small input stays for those who look at the job, as long as the
    /// memory of all jobs is far from its limit.
    pub(super) fn drop_input(&mut self, budget: &Budget) {
        if matches!(self.state, JobState::Done(Outcome::Completed(_) | Outcome::Cancelled)) {
            if self.input.weight() > MAX_SHOWN_INPUT || budget.is_half_used() {
                self.input = Payload::null();
                self.input_dropped = true;
            }
            if let Some(extras) = &mut self.extras {
                extras.s3_config = None;
            }
            self.weigh();
        }
    }

    pub(super) fn status(&self) -> JobStatus {
        match &self.state {
            JobState::Queued { .. } | JobState::Delayed { .. } => JobStatus::InQueue,
            JobState::Running(_) => JobStatus::InProgress,
            JobState::Done(outcome) => outcome.status(),
        }
    }

    pub(super) fn worker(&self) -> Option<&WorkerId> {
        self.run.as_ref().and_then(|run| run.worker.as_ref())
    }

    /// The job as clients see it. A final job always has worker and times, because strict clients require them.
    pub(super) fn object(&self, id: JobId) -> JobObject {
        let mut object = self.object_without_output(id);
        object.output = match &self.state {
            JobState::Running(_) => self.run.as_ref().and_then(|run| run.progress.clone()),
            JobState::Done(outcome) => outcome.output().map(Cow::into_owned),
            JobState::Queued { .. } | JobState::Delayed { .. } => None,
        };
        object
    }

    pub(super) fn object_without_output(&self, id: JobId) -> JobObject {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let status = self.status();
        let (ended, started) = (status.is_final(), status != JobStatus::InQueue);
        let run = self.run.as_ref().filter(|run| run.worker.is_some());
        let delay = run.map(|run| millis(run.delay));
        let mut object = JobObject::new(id.to_string(), status);
        object.cost_nano_dollars = (started || self.cost.0 > 0).then_some(self.cost.0);
        object.delay_time = if ended { Some(delay.unwrap_or(0)) } else { delay.filter(|_| started) };
        object.error = match &self.state {
            JobState::Done(outcome) => outcome.error().map(str::to_owned),
            _ => None,
        };
        object.execution_time = ended.then(|| run.and_then(|run| run.ran).map_or(0, millis));
        object.next_attempt = self.next_attempt();
        object.retries = (self.attempts > 1).then(|| self.attempts - 1);
        object.worker_id = match (run.and_then(|run| run.worker.as_ref()), ended) {
            (Some(worker), _) if started => Some(worker.to_string()),
            (None, true) => Some(String::new()),
            _ => None,
        };
        object
    }

    fn next_attempt(&self) -> Option<NextAttempt> {
        let AttemptFailure { error, wait } = self.run.as_ref()?.failure.as_ref()?;
        self.is_waiting().then(|| NextAttempt {
            attempt: self.attempts + 1,
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            last_error: error.clone(),
        })
    }

    /// Notified when a chunk arrives or is fetched, and when the job ends.
    pub(super) fn arrivals(&mut self) -> Arc<Notify> {
        self.run_mut().arrivals.get_or_insert_default().clone()
    }

    /// Who is charged its shares: its request, or else itself.
    pub(super) fn charged_to(&self, id: JobId) -> ChargedTo<'_> {
        ChargedTo {
            request_id: match &self.envelope.request_id {
                Some(request) => Cow::Borrowed(request),
                None => Cow::Owned(id.to_string()),
            },
            function: self.envelope.function.as_deref(),
        }
    }

    pub(super) fn add_cost(&mut self, share: NanoDollars) {
        self.cost.0 = self.cost.0.saturating_add(share.0);
    }

    /// Whether its result is still delivered although its client has disconnected: by webhook, or in a bucket.
    pub(super) fn has_other_reader(&self) -> bool {
        let extras = self.extras.as_ref();
        extras.is_some_and(|extras| extras.webhook.is_some() || extras.s3_config.is_some())
    }

    /// Stores a chunk; returns it if there is no room.
    pub(super) fn take_chunk(&mut self, chunk: Payload, budget: &Budget) -> Result<(), Payload> {
        let run = self.run_mut();
        if !run.chunks.has_room(budget, chunk.weight()) {
            return Err(chunk);
        }
        run.chunks.push(chunk);
        self.chunks_changed();
        Ok(())
    }

    fn chunks_changed(&mut self) {
        self.weigh();
        if let Some(arrivals) = self.run.as_ref().and_then(|run| run.arrivals.as_ref()) {
            arrivals.notify_waiters();
        }
    }

    /// The waiting chunks, for a client: the first one and those after it, up to this many bytes together.
    pub(super) fn fetch_chunks(&mut self, most: usize) -> Stream {
        let chunks = self.run.as_mut().map(|run| run.chunks.drain(most)).unwrap_or_default();
        if !chunks.is_empty() {
            // A worker may wait for the room.
            self.chunks_changed();
        }
        Stream { status: self.status(), attempt: self.attempts, chunks }
    }

    pub(super) fn has_chunks(&self) -> bool {
        self.run.as_ref().is_some_and(|run| !run.chunks.is_empty())
    }

    /// A client asks for chunks.
    pub(super) fn set_has_reader(&mut self) {
        self.run_mut().chunks.set_has_reader();
    }

    /// How many chunks were taken before one was refused; `None` where none was.
    pub(super) fn taken_before_refusal(&self) -> Option<usize> {
        let chunks = &self.run.as_ref()?.chunks;
        chunks.is_closed().then_some(chunks.taken())
    }

    /// The chunks that were refused, now that they are known.
    pub(super) fn append_chunks(&mut self, rest: Vec<Payload>) {
        let chunks = &mut self.run_mut().chunks;
        rest.into_iter().for_each(|chunk| chunks.push(chunk));
        self.weigh();
    }
}
