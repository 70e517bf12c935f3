//! One job and everything kept with it.
use std::{
    borrow::Borrow,
    collections::VecDeque,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use flash_sdk::wire::{
    RawJson,
    envelope::Envelope,
    exchange::{ReplyFrame, ReplyResult, ToWorker, Writer},
    job::{ErrorText, JobObject, JobStatus},
};
use tokio::sync::{Notify, oneshot};

use super::{
    Ended, Limits, Submission, Taken, WorkerId,
    state::{IllegalTransition, JobEvent, JobState, Lease, Outcome, step},
    stream::Stream,
};

/// A job's id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct JobId(Arc<str>);

impl JobId {
    /// A new one; that of a job that a client waits for says so, as the provider's do.
    pub(super) fn new(sync: bool) -> Self {
        let mut buffer = [0; 36];
        let uuid = uuid::Uuid::new_v4();
        let text: &str = uuid.as_hyphenated().encode_lower(&mut buffer);
        Self(if sync { format!("sync-{text}").into() } else { text.into() })
    }
}

impl From<&str> for JobId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl Borrow<str> for JobId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who is told of a job's end.
pub(crate) enum Waiter {
    /// An HTTP client.
    Client(oneshot::Sender<JobObject>),
    /// A call of another worker, answered on its exchange.
    Call { call: u64, frames: Writer<ToWorker> },
}

/// For how long an ended job stays.
pub(super) enum Keep {
    /// Its only reader, a calling worker, has it.
    Not,
    /// Its reader has it: for a while, and while there is room.
    Bounded,
    /// Until its time is over.
    Timed,
}

/// Chunks kept for `stream`, at most: a client that never asks must not fill the memory.
const MAX_CHUNKS: usize = 10_000;

pub(super) struct Entry {
    pub state: JobState,
    pub envelope: Envelope,
    pub waiters: Vec<Waiter>,
    pub progress: Option<RawJson>,
    pub queued_at: Instant,
    /// What the worker says that it ran; foreign ones do not say.
    pub reported_run: Option<Duration>,
    input: RawJson,
    sync: bool,
    execution_timeout: Duration,
    leased_at: Option<Instant>,
    last_worker: Option<WorkerId>,
    attempts: u32,
    /// Attempts before the last retry by a client: each retry gets the full number anew.
    attempts_before: u32,
    delay: Option<Duration>,
    ran: Option<Duration>,
    forget_at: Option<Instant>,
    chunks: VecDeque<RawJson>,
    arrivals: Option<Arc<Notify>>,
}

impl Entry {
    pub(super) fn new(submission: Submission, limits: &Limits) -> Self {
        let Submission { input, envelope, execution_timeout, waiter, sync } = submission;
        Self {
            state: JobState::Queued { attempts: 0 },
            envelope,
            waiters: Vec::from_iter(waiter),
            progress: None,
            queued_at: Instant::now(),
            reported_run: None,
            input,
            sync,
            execution_timeout: execution_timeout.unwrap_or(limits.execution_timeout),
            leased_at: None,
            last_worker: None,
            attempts: 0,
            attempts_before: 0,
            delay: None,
            ran: None,
            forget_at: None,
            chunks: VecDeque::new(),
            arrivals: None,
        }
    }

    /// The only place where the state changes.
    pub(super) fn step(&mut self, event: JobEvent) -> Result<(), IllegalTransition> {
        let state = std::mem::replace(&mut self.state, JobState::Done(Outcome::Cancelled));
        match step(state, event) {
            Ok(next) => {
                if matches!(next, JobState::Queued { .. }) {
                    self.queued_at = Instant::now();
                }
                self.state = next;
                Ok(())
            }
            Err((unchanged, illegal)) => {
                self.state = unchanged;
                Err(illegal)
            }
        }
    }

    /// Gives the job to a worker.
    pub(super) fn lease(&mut self, id: &JobId, worker: &WorkerId) -> Option<Taken> {
        let JobState::Queued { attempts } = self.state else { return None };
        let attempt = attempts + 1;
        self.step(JobEvent::Leased(Lease { worker: worker.clone(), attempt })).ok()?;
        let now = Instant::now();
        self.leased_at = Some(now);
        self.last_worker = Some(worker.clone());
        self.attempts = attempt;
        self.delay = Some(now.saturating_duration_since(self.queued_at));
        Some(Taken {
            id: id.clone(),
            attempt,
            execution_timeout: self.execution_timeout,
            envelope: self.envelope.clone(),
            input: self.input.clone(),
        })
    }

    /// Takes a lease back that its worker never saw.
    pub(super) fn unlease(&mut self) {
        if let JobState::Running(lease) = &self.state {
            self.state = JobState::Queued { attempts: lease.attempt - 1 };
        }
    }

    pub(super) fn retry(&mut self) -> Result<(), IllegalTransition> {
        self.step(JobEvent::Retried { attempts: self.attempts })?;
        self.attempts_before = self.attempts;
        self.forget_at = None;
        self.ran = None;
        self.chunks.clear();
        self.progress = None;
        Ok(())
    }

    /// The current attempt does not count: its worker was ended for another reason.
    pub(super) fn forgive_attempt(&mut self) {
        self.attempts_before += 1;
    }

    /// Attempts since the submission or the last retry.
    pub(super) fn attempts_now(&self) -> u32 {
        self.attempts - self.attempts_before
    }

    pub(super) fn is_run_by(&self, worker: &WorkerId) -> bool {
        matches!(&self.state, JobState::Running(lease) if lease.worker == *worker)
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        matches!(self.state, JobState::Running(_))
            && self
                .leased_at
                .is_some_and(|leased| now.saturating_duration_since(leased) > self.execution_timeout)
    }

    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        self.forget_at.is_some_and(|forget| now >= forget)
    }

    /// Tells who waits, and what the log wants to know.
    pub(super) fn ended(&mut self, id: &JobId, limits: &Limits) -> (Ended, Keep) {
        let now = Instant::now();
        let ran = self.leased_at.map_or(Duration::ZERO, |leased| now.saturating_duration_since(leased));
        self.ran = Some(self.reported_run.unwrap_or(ran));
        let waiters = std::mem::take(&mut self.waiters);
        let told = !waiters.is_empty();
        let only_calls = told && waiters.iter().all(|waiter| matches!(waiter, Waiter::Call { .. }));
        for waiter in waiters {
            self.tell(id, waiter, only_calls);
        }
        let keep = if only_calls {
            Keep::Not
        } else if self.sync {
            Keep::Bounded
        } else {
            Keep::Timed
        };
        self.forget_at = Some(now + if self.sync { limits.keep_sync } else { limits.keep_async });
        // The input is only needed for another try, which a completed job does not get.
        if matches!(self.state, JobState::Done(Outcome::Completed(_) | Outcome::Cancelled)) {
            self.input = flash_sdk::wire::null();
        }
        if let Some(arrivals) = &self.arrivals {
            arrivals.notify_waiters();
        }
        let error = match &self.state {
            JobState::Done(Outcome::Failed(text) | Outcome::TimedOut(text)) => {
                Some(ErrorText::parse(text).chain())
            }
            _ => None,
        };
        let ended = Ended {
            job: id.clone(),
            request_id: self.envelope.request_id.clone(),
            function: self.envelope.function.clone(),
            worker: self.last_worker.clone(),
            status: self.status(),
            ran: self.ran.unwrap_or_default(),
            error,
        };
        (ended, keep)
    }

    fn tell(&mut self, id: &JobId, waiter: Waiter, last_reader: bool) {
        match waiter {
            // A client that went away reads nothing, now or later.
            Waiter::Client(end) => {
                let _ = end.send(self.object(id));
            }
            Waiter::Call { call, frames } => {
                let mut object = self.object_without_output(id);
                object.output = match &mut self.state {
                    // The job is dropped after this: its output moves instead of being copied.
                    JobState::Done(Outcome::Completed(output)) if last_reader => {
                        Some(std::mem::replace(output, flash_sdk::wire::null()))
                    }
                    JobState::Done(Outcome::Completed(output)) => Some(output.clone()),
                    _ => None,
                };
                super::send(&frames, ToWorker::Reply(ReplyFrame { call, result: ReplyResult::Job(object) }));
            }
        }
    }

    pub(super) fn status(&self) -> JobStatus {
        match &self.state {
            JobState::Queued { .. } => JobStatus::InQueue,
            JobState::Running(_) => JobStatus::InProgress,
            JobState::Done(Outcome::Completed(_)) => JobStatus::Completed,
            JobState::Done(Outcome::Failed(_)) => JobStatus::Failed,
            JobState::Done(Outcome::Cancelled) => JobStatus::Cancelled,
            JobState::Done(Outcome::TimedOut(_)) => JobStatus::TimedOut,
        }
    }

    /// The job as clients see it. A final one always has worker and times: the strictest client wants them.
    pub(super) fn object(&self, id: &JobId) -> JobObject {
        let mut object = self.object_without_output(id);
        object.output = match &self.state {
            JobState::Running(_) => self.progress.clone(),
            JobState::Done(Outcome::Completed(output)) => Some(output.clone()),
            _ => None,
        };
        object
    }

    fn object_without_output(&self, id: &JobId) -> JobObject {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let status = self.status();
        let (ended, started) = (status.is_final(), status != JobStatus::InQueue);
        JobObject {
            delay_time: if ended {
                Some(self.delay.map_or(0, millis))
            } else {
                self.delay.filter(|_| started).map(millis)
            },
            error: match &self.state {
                JobState::Done(Outcome::Failed(text) | Outcome::TimedOut(text)) => Some(text.clone()),
                _ => None,
            },
            execution_time: ended.then(|| self.ran.map_or(0, millis)),
            id: id.to_string(),
            output: None,
            retries: (self.attempts > 1).then(|| self.attempts - 1),
            status,
            worker_id: match (&self.last_worker, ended) {
                (Some(worker), _) if started => Some(worker.to_string()),
                (None, true) => Some(String::new()),
                _ => None,
            },
        }
    }

    pub(super) fn push_chunk(&mut self, chunk: RawJson) {
        if self.chunks.len() < MAX_CHUNKS {
            self.chunks.push_back(chunk);
        }
        if let Some(arrivals) = &self.arrivals {
            arrivals.notify_waiters();
        }
    }

    pub(super) fn take_chunks(&mut self) -> Stream {
        Stream { status: self.status(), chunks: self.chunks.drain(..).collect() }
    }

    pub(super) fn arrivals(&mut self) -> Arc<Notify> {
        self.arrivals.get_or_insert_with(Arc::default).clone()
    }
}
