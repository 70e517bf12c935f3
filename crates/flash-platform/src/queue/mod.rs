//! The jobs of one worker type in one release, from submission to a final state.
//!
//! It holds jobs, leases and waiting clients. Workers are only consumers with a number of slots; the autoscaler decides
//! how many run, and the supervisor keeps them alive. The current state is in memory ([`jobs`]); what was promised to
//! clients is also in the [`store`]. Invariant: a consumer's leases are exactly the jobs that run on it, plus stopped
//! jobs that it has not released yet.
mod abandon;
mod budget;
mod charge;
mod clock;
mod consumer;
mod guard;
mod id;
mod intake;
mod job;
mod jobs;
mod keys;
mod limits;
mod listing;
mod lost;
#[cfg(test)]
mod model;
mod outbox;
mod polling;
mod recovery;
mod state;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod wait_queue;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use flash_protocol::{
    ErrorKind, WireError,
    catalogue::NanoDollars,
    wire::{
        RawJson,
        job::{ErrorText, JobStatus},
    },
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

pub(crate) use abandon::Abandoned;
pub(crate) use budget::{Arriving, Budget};
pub(crate) use clock::{Clock, Timestamp};
use consumer::Consumer;
pub(crate) use consumer::{DeliveryMode, LeasedJob};
pub(crate) use id::JobId;
pub(crate) use intake::{Idempotency, Submission, SubmitError};
use job::Entry;
pub(crate) use job::{Origin, Waiter};
use jobs::{Jobs, QueueSettings};
pub(crate) use limits::Limits;
pub(crate) use listing::Filter;
pub(crate) use outbox::{JobEnded, MAX_UNDELIVERED, WebhookOutbox};
pub(crate) use recovery::{Backlog, Claim, QueueContext};
pub(crate) use state::Outcome;
use state::{JobEvent, JobState, Lease};
pub use store::{Durability, OpenError};
pub(crate) use store::{Failing, SetAside, Store};
use stream::whole_stream;
pub(crate) use stream::{Offered, Stream};
use wait_queue::Occupancy;

use super::meter::Account;
pub(crate) use crate::worker_id::WorkerId;

/// Why a job cannot be changed as a client wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("no such job")]
    Unknown,
    #[error("the job has ended")]
    Ended,
    #[error("only a failed or timed-out job can be retried")]
    NotFailed,
}

/// A worker that holds a stopped job and does not release it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub worker: WorkerId,
    /// Since it was asked to stop.
    pub stopping_for: Duration,
}

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reported {
    /// The job ended by it.
    Accepted,
    /// The job had ended before, and its worker was notified; the worker only releases it.
    Released,
    /// The worker had lost the attempt.
    Late,
}

/// Whether more jobs are due than one look has dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Done,
    More,
}

/// Maximum number of jobs deleted per pass, to keep the lock only briefly.
const DELETED_AT_ONCE: usize = 256;

/// How busy the queue is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Jobs of normal priority that wait.
    pub waiting: usize,
    /// Jobs of low priority that wait: no reason to start a worker.
    pub low_priority: usize,
    pub oldest_wait: Duration,
    /// How many of `waiting` are of a fan-out, at most.
    pub fanned_out: usize,
    pub running: usize,
    /// Of these, how many have low priority.
    pub low_priority_running: usize,
    /// Jobs on each consumer, and since when one without jobs has had none.
    pub consumers: Vec<(WorkerId, usize, Option<Instant>)>,
}

/// Totals since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub completed: u64,
    pub failed: u64,
    pub retried: u64,
}

/// Longest text of an error in the log.
const MAX_LOGGED_ERROR: usize = 4096;

/// What is logged when a job ends.
#[derive(Debug)]
pub(crate) struct Ended {
    pub job: JobId,
    pub request_id: Option<String>,
    pub function: Option<String>,
    pub worker: Option<WorkerId>,
    pub status: JobStatus,
    pub ran: Duration,
    /// Of all its attempts.
    pub cost: NanoDollars,
    pub error: Option<String>,
}

impl Ended {
    fn of(job: JobId, entry: &Entry) -> Self {
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
            cost: entry.cost,
            error,
        }
    }
}

/// A worker's error may be as long as a result.
fn shortened(mut text: String) -> String {
    let bytes = text.len();
    if bytes > MAX_LOGGED_ERROR {
        text.truncate(text.floor_char_boundary(MAX_LOGGED_ERROR));
        text.push_str(&format!("… ({bytes} bytes; `status` has all of it)"));
    }
    text
}

/// Called at each end of a job, under no lock.
pub(crate) type OnEnd = Box<dyn Fn(Ended) + Send + Sync>;

/// The queue of one worker type in one release.
pub(crate) struct Queue {
    settings: QueueSettings,
    inner: Mutex<Inner>,
    /// Jobs wait, or workers came or went: the autoscaler looks sooner.
    changed: Notify,
    on_end: OnEnd,
}

#[derive(Default)]
struct Inner {
    jobs: Jobs,
    consumers: HashMap<WorkerId, Consumer>,
    /// Consumers with a free slot, the last used one last, so that load stays on few workers and the rest can become
    /// idle.
    free: Vec<WorkerId>,
    state: QueueState,
}

/// What happens to late jobs when their release has been replaced.
#[derive(Default)]
enum QueueState {
    /// They run here.
    #[default]
    Live,
    /// The queue of the next release has taken over.
    ReplacedBy(Arc<Queue>),
    /// The next release has no such queue.
    Ended,
}

impl Inner {
    fn successor(&self) -> Option<Arc<Queue>> {
        match &self.state {
            QueueState::ReplacedBy(successor) => Some(successor.clone()),
            QueueState::Live | QueueState::Ended => None,
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock would be a bug; the data is still consistent after the last complete step.
        self.inner.lock()
    }

    /// Waits until jobs wait or workers came or went.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A worker is ready for jobs. Their cost goes to its account.
    pub(crate) fn attach(&self, worker: &WorkerId, mode: DeliveryMode, slots: u32, account: Account) {
        let mut inner = self.lock();
        inner.consumers.insert(worker.clone(), Consumer::new(mode, slots, account));
        inner.free.push(worker.clone());
        inner.dispatch(&self.settings);
        drop(inner);
        self.changed.notify_one();
    }

    /// A worker gets no more jobs. Those it runs it may finish.
    pub(crate) fn drain(&self, worker: &WorkerId) {
        let mut inner = self.lock();
        inner.free.retain(|free| free != worker);
        inner.jobs.lost_worker(worker);
        if let Some(consumer) = inner.consumers.get_mut(worker) {
            consumer.drain();
        }
    }

    /// Takes a worker off if it runs nothing, so that it can be stopped without a race for the next job.
    pub(crate) fn drain_if_idle(&self, worker: &WorkerId) -> bool {
        let mut inner = self.lock();
        let idle = inner.consumers.get(worker).is_some_and(Consumer::is_idle);
        if idle {
            inner.free.retain(|free| free != worker);
            inner.jobs.lost_worker(worker);
            if let Some(consumer) = inner.consumers.get_mut(worker) {
                consumer.drain();
            }
        }
        idle
    }

    /// No worker can start: clients that wait for an answer get `error` now. Jobs that nobody waits for stay.
    pub(crate) fn fail_waiting(&self, error: &WireError) {
        let text = ErrorText::of(error, "platform").to_text();
        let mut inner = self.lock();
        if inner.consumers.values().any(Consumer::takes_jobs) {
            // One working worker is enough: waiting clients will get an answer.
            return;
        }
        let waited = inner.jobs.waited_ids();
        let given_up = || JobEvent::GivenUp(text.clone());
        let ended: Vec<Ended> =
            waited.into_iter().filter_map(|id| inner.jobs.end(id, given_up(), &self.settings)).collect();
        drop(inner);
        self.report_ends(ended);
    }

    /// The end of a job, from the worker that ran it.
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
            ended = inner.jobs.end(job, JobEvent::Finished { lease, outcome }, &self.settings);
        }
        inner.dispatch(&self.settings);
        let feeds = !inner.jobs.guarded.is_empty();
        drop(inner);
        if feeds {
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

    /// Progress of a running job: shown as its output until it ends.
    pub(crate) fn progress(&self, worker: &WorkerId, job: JobId, output: RawJson) {
        if let Some(entry) = self.lock().jobs.get_mut(job)
            && entry.is_run_by(worker)
        {
            entry.set_progress(output);
        }
    }

    /// Cancels a job and notifies its worker.
    pub(crate) fn cancel(&self, job: JobId) -> Result<(), ChangeError> {
        self.stop(job, JobEvent::Cancelled)
    }

    fn stop(&self, job: JobId, event: JobEvent) -> Result<(), ChangeError> {
        let mut inner = self.lock();
        if inner.jobs.get(job).is_none()
            && let Some(successor) = inner.successor()
        {
            drop(inner);
            return successor.stop(job, event);
        }
        inner.stop_attempt(job, &self.settings)?;
        let ended = inner.jobs.end(job, event, &self.settings);
        drop(inner);
        self.report_ends(ended);
        Ok(())
    }

    /// Puts a failed or timed-out job back, with its id and input.
    pub(crate) fn retry(&self, job: JobId) -> Result<(), ChangeError> {
        let mut inner = self.lock();
        if inner.jobs.get(job).is_none() {
            let successor = inner.successor().ok_or(ChangeError::Unknown)?;
            drop(inner);
            return successor.retry(job);
        }
        if !inner.jobs.retry(job, &self.settings) {
            return Err(ChangeError::NotFailed);
        }
        inner.dispatch(&self.settings);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Removes waiting jobs and notifies their callers.
    pub(crate) async fn purge(&self) -> usize {
        self.end_waiting(|| JobEvent::Cancelled).await
    }

    /// Ends jobs that ran too long and deletes expired ones, up to a limit. Returns whether there are more.
    pub(crate) fn end_overdue(&self) -> Due {
        let now = self.settings.clock.now();
        let mut inner = self.lock();
        let overdue: Vec<JobId> = inner
            .consumers
            .values()
            .flat_map(Consumer::leased)
            .filter(|id| inner.jobs.get(*id).is_some_and(|entry| entry.is_overdue(now)))
            .collect();
        let mut ended = Vec::new();
        for id in overdue {
            let error = WireError::new(ErrorKind::Timeout, "the job ran longer than its execution timeout");
            let event = JobEvent::TimedOut(ErrorText::of(&error, "platform").to_text());
            if inner.stop_attempt(id, &self.settings).is_ok() {
                ended.extend(inner.jobs.end(id, event, &self.settings));
            }
        }
        ended.extend(inner.delete_due(now, DELETED_AT_ONCE, &self.settings));
        inner.jobs.make_room(&self.settings);
        let due = if inner.jobs.has_due(now) { Due::More } else { Due::Done };
        drop(inner);
        self.report_ends(ended);
        due
    }

    /// Workers that hold a stopped job for longer than the grace time.
    pub(crate) fn stuck(&self, now: Instant) -> Vec<Stuck> {
        let grace = self.settings.limits.stop_grace;
        let mut inner = self.lock();
        let stuck = |(worker, consumer): (&WorkerId, &mut Consumer)| {
            let stopping_for = consumer.stuck_for(now, grace)?;
            Some(Stuck { worker: worker.clone(), stopping_for })
        };
        inner.consumers.iter_mut().filter_map(stuck).collect()
    }

    /// How busy it is.
    pub(crate) fn load(&self) -> Load {
        let now = self.settings.clock.now();
        let mut inner = self.lock();
        let oldest = inner.jobs.oldest_wait();
        Load {
            waiting: inner.jobs.waiting(),
            low_priority: inner.jobs.waiting_low(),
            oldest_wait: oldest.map_or(Duration::ZERO, |since| now.since(since)),
            fanned_out: inner.jobs.fanned_out(),
            running: inner.jobs.running(),
            low_priority_running: inner.jobs.running_low(),
            consumers: inner
                .consumers
                .iter()
                .map(|(worker, consumer)| (worker.clone(), consumer.busy(), consumer.idle_since()))
                .collect(),
        }
    }

    /// Totals since the start.
    pub(crate) fn totals(&self) -> Totals {
        self.lock().jobs.totals
    }

    /// Whether no job waits or runs.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.lock();
        !inner.jobs.has_waiting() && inner.jobs.running() == 0
    }

    /// The job that a worker runs, if it runs exactly one, and its request: its output belongs to it.
    pub(crate) fn only_job(&self, worker: &WorkerId) -> Option<(JobId, String)> {
        let inner = self.lock();
        inner.job_and_request(inner.consumers.get(worker)?.only_leased()?)
    }

    /// All jobs that a worker runs, and their requests.
    pub(crate) fn jobs_on(&self, worker: &WorkerId) -> Vec<(JobId, String)> {
        let inner = self.lock();
        let leased = inner.consumers.get(worker).into_iter().flat_map(|consumer| consumer.leased());
        leased.filter_map(|job| inner.job_and_request(job)).collect()
    }

    /// The request that a job belongs to.
    pub(crate) fn request_of(&self, job: JobId) -> Option<String> {
        self.lock().jobs.get(job)?.envelope.request_id.clone().map(String::from)
    }

    fn report_ends(&self, ended: impl IntoIterator<Item = Ended>) {
        for ended in ended {
            (self.on_end)(ended);
        }
    }
}

impl Inner {
    /// The job and its request ID; without one, the job is its own request.
    fn job_and_request(&self, job: JobId) -> Option<(JobId, String)> {
        let request = self.jobs.get(job)?.envelope.request_id.clone();
        Some((job, request.map_or_else(|| job.to_string(), String::from)))
    }

    /// Deletes expired jobs and results, up to `limit`. Clients that wait for an expired job are notified.
    fn delete_due(&mut self, now: Timestamp, limit: usize, settings: &QueueSettings) -> Vec<Ended> {
        let mut ended = Vec::new();
        for _ in 0..limit {
            let Some((id, mut entry)) = self.jobs.pop_due(now, settings) else { break };
            if entry.status().is_final() {
                continue;
            }
            if let JobState::Running(Lease { worker, attempt }) = &entry.state
                && let Some(consumer) = self.consumers.get_mut(worker)
            {
                let share = consumer.stop(id, *attempt, &entry.charged_to(id));
                entry.add_cost(share);
            }
            let error = WireError::new(ErrorKind::Timeout, "the job's ttl expired, so it was deleted");
            let event = JobEvent::TimedOut(ErrorText::of(&error, "platform").to_text());
            if entry.step(event, now).is_ok() {
                entry.ended(id, now);
                ended.push(Ended::of(id, &entry));
            }
        }
        ended
    }

    /// Gives waiting jobs to free slots, starting with the worker used last.
    fn dispatch(&mut self, settings: &QueueSettings) {
        let now = settings.clock.now();
        let mut place = self.free.len();
        while self.jobs.has_waiting() && place > 0 {
            let worker = self.free[place - 1].clone();
            let Some(consumer) = self.consumers.get_mut(&worker).filter(|consumer| consumer.has_free_slot())
            else {
                place -= 1;
                self.free.remove(place);
                continue;
            };
            let (wanted, mut occupancy) = (consumer.wanted(), consumer.occupancy());
            let mut taken = Vec::with_capacity(1);
            while taken.len() < wanted
                && let Some(job) = self.jobs.lease_next(&worker, occupancy, now)
            {
                let alone = job.alone;
                taken.push(job);
                occupancy = Occupancy::Shared;
                if alone {
                    break;
                }
            }
            if taken.is_empty() {
                // Nothing for this worker while it runs other jobs; its slot stays free for new ones.
                place -= 1;
                continue;
            }
            if let Err(refused) = consumer.give(taken) {
                // The worker went away a moment ago: as if it had never had them.
                for taken in refused.into_iter().rev() {
                    self.jobs.unlease(taken.id);
                }
                place -= 1;
                self.free.remove(place);
            }
        }
    }
}
