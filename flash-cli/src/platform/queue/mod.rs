//! The jobs of one worker type in one release: from submission to a final state, in memory.
//!
//! Owns jobs, leases and who waits for what. Knows workers only as takers with a number of slots; how
//! many of them run is the autoscaler's decision, keeping them alive the supervisor's work. Invariants:
//! a job is in `waiting` exactly when it is queued; a taker's `leased` names exactly the jobs that run on
//! it, plus stopped ones that it has not let go of yet.
mod job;

mod state;
mod stream;
mod taker;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use flash_sdk::{
    ErrorKind, WireError,
    wire::{
        RawJson,
        envelope::Envelope,
        exchange::ToWorker,
        job::{ErrorText, JobObject},
    },
};
use tokio::sync::{Notify, oneshot};

use job::Entry;
pub(crate) use job::{JobId, Waiter};
pub(crate) use state::Outcome;
use state::{JobEvent, JobState, Lease};
pub(crate) use stream::Stream;
use taker::Taker;
pub(crate) use taker::{Link, Taken};

/// A worker's id, as everything outside of its process knows it.
pub(crate) type WorkerId = Arc<str>;

/// What a queue is bounded by.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Jobs that may wait; more are refused.
    pub max_waiting: usize,
    /// How long one attempt may run, unless the job says otherwise.
    pub execution_timeout: Duration,
    /// Attempts that a job gets when its workers die.
    pub max_attempts: u32,
    /// For how long the result of `run` is kept.
    pub keep_async: Duration,
    /// For how long a result that a client waited for is kept.
    pub keep_sync: Duration,
    /// How many results that a client waited for are kept at most; the oldest go first.
    pub max_kept_sync: usize,
    /// For how long a stopped job may hold its worker before the worker is killed.
    pub stop_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_waiting: 100_000,
            execution_timeout: Duration::from_secs(600),
            max_attempts: 3,
            keep_async: Duration::from_secs(30 * 60),
            keep_sync: Duration::from_secs(60),
            max_kept_sync: 10_000,
            stop_grace: Duration::from_secs(5),
        }
    }
}

/// A job to be.
pub(crate) struct Submission {
    pub input: RawJson,
    pub envelope: Envelope,
    /// How long one attempt may run; the worker type's limit otherwise.
    pub execution_timeout: Option<Duration>,
    /// Who is told of the end; nobody for `run`.
    pub waiter: Option<Waiter>,
    /// Marks the id of a job that a client waits for, as the provider does.
    pub sync: bool,
}

/// The queue is full: try again later.
#[derive(Debug, thiserror::Error)]
#[error("{waiting} jobs wait already")]
pub(crate) struct QueueFull {
    pub waiting: usize,
}

/// Why a job cannot be changed as a client wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("there is no such job")]
    Unknown,
    #[error("the job has ended")]
    Ended,
    #[error("only a failed or timed-out job can be retried")]
    NotFailed,
}

/// A worker holds a job that was asked to stop longer than the grace ago.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub worker: WorkerId,
    /// Since the job was asked to stop.
    pub stopping_for: Duration,
}

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reported {
    /// The job ended by it.
    Accepted,
    /// The job had ended before, as its worker was told: the worker only lets go of it.
    LetGo,
    /// The worker had lost the attempt.
    Late,
}

/// How busy the queue is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub waiting: usize,
    pub oldest_wait: Duration,
    pub running: usize,
    /// Jobs on each taker, and since when one without jobs has had none.
    pub takers: Vec<(WorkerId, usize, Option<Instant>)>,
}

/// Totals since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub completed: u64,
    pub failed: u64,
    pub retried: u64,
}

/// What the log is told when a job ends.
#[derive(Debug)]
pub(crate) struct Ended {
    pub job: JobId,
    pub request_id: Option<String>,
    pub function: Option<String>,
    pub worker: Option<WorkerId>,
    pub status: flash_sdk::wire::job::JobStatus,
    pub ran: Duration,
    pub error: Option<String>,
}

/// Called at each end of a job, under no lock.
pub(crate) type OnEnd = Box<dyn Fn(Ended) + Send + Sync>;

/// The queue of one worker type in one release. Cheap to share.
pub(crate) struct Queue {
    limits: Limits,
    inner: Mutex<Inner>,
    /// Jobs wait, or workers came or went: the autoscaler looks sooner.
    changed: Notify,
    on_end: OnEnd,
}

#[derive(Default)]
struct Inner {
    jobs: HashMap<JobId, Entry>,
    waiting: VecDeque<JobId>,
    takers: HashMap<WorkerId, Taker>,
    /// Takers with a free slot, the last used one last: load stays together and the rest can go idle.
    free: Vec<WorkerId>,
    running: usize,
    /// Ended jobs that a client waited for, oldest first.
    kept_sync: VecDeque<JobId>,
    totals: Totals,
}

impl Queue {
    pub(crate) fn new(limits: Limits, on_end: OnEnd) -> Self {
        Self { limits, inner: Mutex::default(), changed: Notify::new(), on_end }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock would be a bug of ours; the data is still what the last full step left.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until jobs wait or workers came or went.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Accepts a job; a taker with a free slot has it before this returns.
    pub(crate) fn submit(&self, submission: Submission) -> Result<JobId, QueueFull> {
        let id = JobId::new(submission.sync);
        let mut inner = self.lock();
        if inner.waiting.len() >= self.limits.max_waiting {
            return Err(QueueFull { waiting: inner.waiting.len() });
        }
        inner.jobs.insert(id.clone(), Entry::new(submission, &self.limits));
        inner.waiting.push_back(id.clone());
        inner.dispatch();
        let left_waiting = !inner.waiting.is_empty();
        drop(inner);
        if left_waiting {
            self.changed.notify_one();
        }
        Ok(id)
    }

    /// A worker is ready for jobs.
    pub(crate) fn attach(&self, worker: &WorkerId, link: Link, slots: u32) {
        let mut inner = self.lock();
        inner.takers.insert(worker.clone(), Taker::new(link, slots));
        inner.free.push(worker.clone());
        inner.dispatch();
        drop(inner);
        self.changed.notify_one();
    }

    /// A worker gets no more jobs. Those it runs it may finish.
    pub(crate) fn drain(&self, worker: &WorkerId) {
        let mut inner = self.lock();
        inner.free.retain(|free| free != worker);
        if let Some(taker) = inner.takers.get_mut(worker) {
            taker.drain();
        }
    }

    /// Takes a worker off if it runs nothing, so that it can be stopped without a race for the next job.
    pub(crate) fn drain_if_idle(&self, worker: &WorkerId) -> bool {
        let mut inner = self.lock();
        let idle = inner.takers.get(worker).is_some_and(Taker::is_idle);
        if idle {
            inner.free.retain(|free| free != worker);
            if let Some(taker) = inner.takers.get_mut(worker) {
                taker.drain();
            }
        }
        idle
    }

    /// As [`Queue::detach`], for a worker that was ended on purpose: the attempts of its jobs do not count
    /// against them.
    pub(crate) fn detach_stopped(&self, worker: &WorkerId, reason: &str) {
        let mut inner = self.lock();
        let leased: Vec<JobId> =
            inner.takers.get(worker).map(|taker| taker.leased().cloned().collect()).unwrap_or_default();
        for id in leased {
            if let Some(entry) = inner.jobs.get_mut(&id).filter(|entry| entry.is_run_by(worker)) {
                entry.forgive_attempt();
            }
        }
        drop(inner);
        self.detach(worker, reason);
    }

    /// A worker is gone: its jobs get another attempt, or fail with `reason` when it was their last.
    pub(crate) fn detach(&self, worker: &WorkerId, reason: &str) {
        let mut inner = self.lock();
        inner.free.retain(|free| free != worker);
        let Some(taker) = inner.takers.remove(worker) else { return };
        let mut ended = Vec::new();
        for id in taker.into_leased() {
            let Some(entry) = inner.jobs.get(&id) else { continue };
            // A stopped attempt may be the last thing of a job that ended or waits anew.
            if !matches!(&entry.state, JobState::Running(lease) if lease.worker == *worker) {
                continue;
            }
            let attempts = entry.attempts_now();
            if attempts < self.limits.max_attempts {
                inner.apply(&id, JobEvent::Lost);
                inner.totals.retried += 1;
                // In front: it has waited longest.
                inner.waiting.push_front(id);
            } else {
                let error = worker_died(worker, attempts, reason);
                ended.extend(inner.end(&id, JobEvent::GivenUp(error), &self.limits));
            }
        }
        inner.dispatch();
        drop(inner);
        self.tell(ended);
        self.changed.notify_one();
    }

    /// No worker starts: those who wait for an answer get `error` now. Jobs that nobody waits for stay.
    pub(crate) fn fail_waiting(&self, error: &WireError) {
        let mut inner = self.lock();
        let waited: Vec<JobId> = inner.waiting.iter().filter(|id| inner.has_waiter(id)).cloned().collect();
        let text = ErrorText::of(error, "platform").to_text();
        let mut ended = Vec::new();
        for id in waited {
            inner.waiting.retain(|waiting| *waiting != id);
            ended.extend(inner.end(&id, JobEvent::GivenUp(text.clone()), &self.limits));
        }
        drop(inner);
        self.tell(ended);
    }

    /// The end of a job, from the worker that ran it.
    ///
    /// `attempt` is `None` from foreign workers, which do not know it: then their current lease counts.
    pub(crate) fn finish(
        &self,
        worker: &WorkerId,
        job: &JobId,
        attempt: Option<u32>,
        outcome: Outcome,
        ran: Option<Duration>,
    ) -> Reported {
        let mut inner = self.lock();
        let held = inner.release(worker, job, attempt);
        let current = inner.jobs.get(job).and_then(|entry| match &entry.state {
            JobState::Running(lease) if lease.worker == *worker => Some(lease.attempt),
            _ => None,
        });
        let mut ended = Vec::new();
        if let Some(attempt) = attempt.or(current) {
            if let Some(entry) = inner.jobs.get_mut(job) {
                entry.reported_run = ran;
            }
            let lease = Lease { worker: worker.clone(), attempt };
            ended.extend(inner.end(job, JobEvent::Finished { lease, outcome }, &self.limits));
        }
        inner.dispatch();
        drop(inner);
        let reported = match (ended.is_empty(), held) {
            (false, _) => Reported::Accepted,
            (true, true) => Reported::LetGo,
            (true, false) => Reported::Late,
        };
        self.tell(ended);
        reported
    }

    /// A polling worker says that it runs nothing: it has let go of the jobs that it was asked to stop. It
    /// posts nothing for them.
    pub(crate) fn runs_nothing(&self, worker: &WorkerId) {
        let mut inner = self.lock();
        if let Some(taker) = inner.takers.get_mut(worker) {
            taker.let_go(usize::MAX);
        }
    }

    /// Progress of a running job: shown as its output until it ends.
    pub(crate) fn progress(&self, worker: &WorkerId, job: &JobId, output: RawJson) {
        if let Some(entry) = self.lock().jobs.get_mut(job)
            && entry.is_run_by(worker)
        {
            entry.progress = Some(output);
        }
    }

    /// One chunk of a job that streams.
    pub(crate) fn chunk(&self, worker: &WorkerId, job: &JobId, output: RawJson) {
        if let Some(entry) = self.lock().jobs.get_mut(job)
            && entry.is_run_by(worker)
        {
            entry.push_chunk(output);
        }
    }

    /// The job as clients see it.
    pub(crate) fn status(&self, job: &JobId) -> Option<JobObject> {
        let inner = self.lock();
        inner.jobs.get(job).map(|entry| entry.object(job))
    }

    /// Chunks that were not fetched yet, with the status at this moment.
    pub(crate) async fn stream(&self, job: &JobId, hold: Duration) -> Option<Stream> {
        let until = tokio::time::Instant::now() + hold;
        loop {
            let arrived = {
                let mut inner = self.lock();
                let entry = inner.jobs.get_mut(job)?;
                let stream = entry.take_chunks();
                if !stream.chunks.is_empty() || stream.status.is_final() {
                    return Some(stream);
                }
                entry.arrivals()
            };
            if tokio::time::timeout_at(until, arrived.notified()).await.is_err() {
                let mut inner = self.lock();
                return inner.jobs.get_mut(job).map(Entry::take_chunks);
            }
        }
    }

    /// Cancels a job; the worker that runs it is told.
    pub(crate) fn cancel(&self, job: &JobId) -> Result<(), ChangeError> {
        self.stop(job, JobEvent::Cancelled)
    }

    fn stop(&self, job: &JobId, event: JobEvent) -> Result<(), ChangeError> {
        let mut inner = self.lock();
        let entry = inner.jobs.get(job).ok_or(ChangeError::Unknown)?;
        match &entry.state {
            JobState::Done(_) => return Err(ChangeError::Ended),
            JobState::Queued { .. } => inner.waiting.retain(|waiting| waiting != job),
            JobState::Running(lease) => {
                let Lease { worker, attempt } = lease.clone();
                if let Some(taker) = inner.takers.get_mut(&worker) {
                    taker.stop(job, attempt);
                }
            }
        }
        let ended = inner.end(job, event, &self.limits);
        drop(inner);
        self.tell(ended);
        Ok(())
    }

    /// Puts a failed or timed-out job back, with its id and input.
    pub(crate) fn retry(&self, job: &JobId) -> Result<(), ChangeError> {
        let mut inner = self.lock();
        let entry = inner.jobs.get_mut(job).ok_or(ChangeError::Unknown)?;
        entry.retry().map_err(|_| ChangeError::NotFailed)?;
        inner.waiting.push_back(job.clone());
        inner.kept_sync.retain(|kept| kept != job);
        inner.totals.retried += 1;
        inner.dispatch();
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Removes the jobs that wait. Their callers are told.
    pub(crate) fn purge(&self) -> usize {
        let mut inner = self.lock();
        let waiting = std::mem::take(&mut inner.waiting);
        let ended: Vec<Ended> =
            waiting.iter().filter_map(|id| inner.end(id, JobEvent::Cancelled, &self.limits)).collect();
        drop(inner);
        self.tell(ended);
        waiting.len()
    }

    /// Long poll of a worker with Runpod's protocol: up to `wanted` jobs, none when the hold ran out.
    pub(crate) async fn take(&self, worker: &WorkerId, wanted: u32, hold: Duration) -> Vec<Taken> {
        let (poll, taken) = oneshot::channel();
        {
            let mut inner = self.lock();
            let Some(taker) = inner.takers.get_mut(worker) else { return Vec::new() };
            if !taker.poll(wanted, poll) {
                return Vec::new();
            }
            if !inner.free.contains(worker) {
                inner.free.push(worker.clone());
            }
            inner.dispatch();
        }
        // A poll that is dropped here or by its client leaves a closed sender, which dispatch skips.
        tokio::time::timeout(hold, taken).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Long poll for jobs to stop.
    pub(crate) async fn stops(&self, worker: &WorkerId, hold: Duration) -> Vec<JobId> {
        let (poll, stopped) = oneshot::channel();
        match self.lock().takers.get_mut(worker) {
            Some(taker) => taker.poll_stops(poll),
            None => return Vec::new(),
        }
        tokio::time::timeout(hold, stopped).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Forgets results past their time. Walks all jobs: for every few seconds.
    pub(crate) fn forget_expired(&self, now: Instant) {
        self.lock().jobs.retain(|_, entry| !entry.is_forgotten(now));
    }

    /// Ends jobs that ran too long, and names workers that must go.
    pub(crate) fn end_overdue(&self, now: Instant) -> Vec<Stuck> {
        let mut inner = self.lock();
        let overdue: Vec<JobId> = inner
            .takers
            .values()
            .flat_map(Taker::leased)
            .filter(|id| inner.jobs.get(*id).is_some_and(|entry| entry.is_overdue(now)))
            .cloned()
            .collect();
        let stuck = inner
            .takers
            .iter_mut()
            .filter_map(|(worker, taker)| {
                let stopping_for = taker.stuck_for(now, self.limits.stop_grace)?;
                Some(Stuck { worker: worker.clone(), stopping_for })
            })
            .collect();
        drop(inner);
        for id in overdue {
            let error = WireError::new(ErrorKind::Timeout, "the job ran longer than its execution timeout");
            // It may have ended in between, which is as good.
            let _ = self.stop(&id, JobEvent::TimedOut(ErrorText::of(&error, "platform").to_text()));
        }
        stuck
    }

    /// How busy it is.
    pub(crate) fn load(&self, now: Instant) -> Load {
        let inner = self.lock();
        let oldest = inner.waiting.front().and_then(|id| inner.jobs.get(id));
        Load {
            waiting: inner.waiting.len(),
            oldest_wait: oldest
                .map_or(Duration::ZERO, |entry| now.saturating_duration_since(entry.queued_at)),
            running: inner.running,
            takers: inner
                .takers
                .iter()
                .map(|(worker, taker)| (worker.clone(), taker.busy(), taker.idle_since()))
                .collect(),
        }
    }

    /// Totals since the start.
    pub(crate) fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// Whether no job waits or runs.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.waiting.is_empty() && inner.running == 0
    }

    /// The request that a worker serves, if it serves exactly one: its output belongs to it.
    pub(crate) fn only_request(&self, worker: &WorkerId) -> Option<String> {
        let inner = self.lock();
        let id = inner.takers.get(worker)?.only_leased()?;
        let entry = inner.jobs.get(id)?;
        Some(entry.envelope.request_id.clone().unwrap_or_else(|| id.to_string()))
    }

    fn tell(&self, ended: impl IntoIterator<Item = Ended>) {
        for ended in ended {
            (self.on_end)(ended);
        }
    }
}

impl Inner {
    fn has_waiter(&self, id: &JobId) -> bool {
        self.jobs.get(id).is_some_and(|entry| !entry.waiters.is_empty())
    }

    /// Moves a job along; `false` when the event does not fit.
    fn apply(&mut self, id: &JobId, event: JobEvent) -> bool {
        let Some(entry) = self.jobs.get_mut(id) else { return false };
        let was_running = matches!(entry.state, JobState::Running(_));
        let moved = entry.step(event).is_ok();
        let runs = matches!(entry.state, JobState::Running(_));
        self.running = self.running + usize::from(runs) - usize::from(was_running);
        moved
    }

    /// Moves a job to its end, tells who waits for it, and keeps the result for as long as is due.
    fn end(&mut self, id: &JobId, event: JobEvent, limits: &Limits) -> Option<Ended> {
        if !self.apply(id, event) {
            return None;
        }
        let entry = self.jobs.get_mut(id)?;
        let (ended, keep) = entry.ended(id, limits);
        match ended.status {
            flash_sdk::wire::job::JobStatus::Completed => self.totals.completed += 1,
            _ => self.totals.failed += 1,
        }
        match keep {
            job::Keep::Not => {
                self.jobs.remove(id);
            }
            job::Keep::Bounded => {
                self.kept_sync.push_back(id.clone());
                if self.kept_sync.len() > limits.max_kept_sync
                    && let Some(oldest) = self.kept_sync.pop_front()
                {
                    self.jobs.remove(&oldest);
                }
            }
            job::Keep::Timed => {}
        }
        Some(ended)
    }

    /// A worker no longer works on an attempt; on any of the job where it does not say which. `true` when it
    /// had it.
    fn release(&mut self, worker: &WorkerId, job: &JobId, attempt: Option<u32>) -> bool {
        let Some(taker) = self.takers.get_mut(worker) else { return false };
        let held = taker.release(job, attempt);
        if held && taker.has_free_slot() && !self.free.contains(worker) {
            self.free.push(worker.clone());
        }
        held
    }

    /// Hands waiting jobs to free slots.
    fn dispatch(&mut self) {
        while !self.waiting.is_empty() {
            let Some(worker) = self.free.last().cloned() else { return };
            let Some(taker) = self.takers.get_mut(&worker).filter(|taker| taker.has_free_slot()) else {
                self.free.pop();
                continue;
            };
            let wanted = taker.wanted();
            let mut jobs = Vec::with_capacity(1);
            while jobs.len() < wanted {
                let Some(id) = self.waiting.pop_front() else { break };
                let Some(entry) = self.jobs.get_mut(&id) else { continue };
                if let Some(taken) = entry.lease(&id, &worker) {
                    self.running += 1;
                    jobs.push(taken);
                }
            }
            if let Err(refused) = taker.give(jobs) {
                // The worker went away a moment ago: as if it had never had them.
                for taken in refused.into_iter().rev() {
                    if let Some(entry) = self.jobs.get_mut(&taken.id) {
                        entry.unlease();
                        self.running -= 1;
                    }
                    self.waiting.push_front(taken.id);
                }
                self.free.pop();
            }
        }
    }
}

fn worker_died(worker: &WorkerId, attempts: u32, reason: &str) -> String {
    let message = format!("the worker died on each of {attempts} attempts; the last one: {reason}");
    let mut error = WireError::new(ErrorKind::NoWorker, message);
    error.worker_id = Some(worker.to_string());
    ErrorText::of(&error, "platform").to_text()
}

/// Sends a frame to a worker of ours; `false` when its connection is gone.
fn send(frames: &flash_sdk::wire::exchange::Writer<ToWorker>, frame: ToWorker) -> bool {
    frames.send(frame)
}
