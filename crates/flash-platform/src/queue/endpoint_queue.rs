//! The queue itself: its jobs, its workers, and what brings the two together.
//!
//! Submitting, reading, polling, streaming, losing and moving jobs are in files of their own above this one; none of
//! them uses another. An attempt costs until its worker releases it, so the cost of a stopped job can still grow after
//! its end.
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use flash_protocol::{
    BatchRun, ErrorKind, GenerationsByModel, WireError,
    catalogue::NanoDollars,
    wire::{
        RawJson,
        job::{ErrorText, JobObject},
    },
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{
    answers::{ChangeError, Due},
    budget::{BudgetExceeded, Held, Purpose},
    clock::Timestamp,
    consumer::{Consumer, DeliveryMode},
    ended::{Ended, OnEnd},
    id::JobId,
    job::Entry,
    jobs::{Jobs, Totals},
    limits::Limits,
    load::{Load, Stuck},
    settings::{QueueContext, QueueSettings},
    state::{JobEvent, JobState, Lease},
    wait_queue::Occupancy,
};
use crate::{
    meter::{Account, CostShare},
    worker_id::WorkerId,
};

/// Maximum number of jobs deleted per pass, to keep the lock only briefly.
const DELETED_AT_ONCE: usize = 256;

/// The queue of one worker type in one release.
pub(crate) struct Queue {
    pub(super) settings: QueueSettings,
    inner: Mutex<Inner>,
    /// Jobs wait, or workers came or went: the autoscaler looks sooner.
    pub(super) changed: Notify,
    on_end: OnEnd,
}

/// What the lock guards: jobs, and the workers that take them.
#[derive(Default)]
pub(super) struct Inner {
    pub(super) jobs: Jobs,
    pub(super) consumers: HashMap<WorkerId, Consumer>,
    /// Consumers with a free slot, the last used one last, so that load stays on few workers and the rest can become
    /// idle.
    pub(super) free: Vec<WorkerId>,
    pub(super) state: QueueState,
}

/// What happens to late jobs when their release has been replaced.
#[derive(Default)]
pub(super) enum QueueState {
    /// They run here.
    #[default]
    Live,
    /// The queue of the next release has taken over.
    ReplacedBy(Arc<Queue>),
    /// The next release has no such queue.
    Ended,
}

impl Inner {
    pub(super) fn successor(&self) -> Option<Arc<Queue>> {
        match &self.state {
            QueueState::ReplacedBy(successor) => Some(successor.clone()),
            QueueState::Live | QueueState::Ended => None,
        }
    }
}

impl Queue {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// A queue without jobs.
    pub(crate) fn new(
        endpoint: &str,
        release: u64,
        limits: Limits,
        context: &QueueContext,
        on_end: OnEnd,
    ) -> Self {
        let QueueContext { clock, store, outbox, budget, traces } = context.clone();
        let endpoint = endpoint.into();
        let keys = store.keys(&endpoint);
        Self {
            settings: QueueSettings { endpoint, release, limits, clock, store, keys, outbox, budget, traces },
            inner: Mutex::default(),
            changed: Notify::new(),
            on_end,
        }
    }

    /// Waits until jobs wait or workers came or went.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A worker is ready for jobs. Their cost goes to its account.
    pub(crate) fn attach(&self, worker: &WorkerId, mode: DeliveryMode, slots: u32, account: Account) {
        let mut inner = self.lock();
        inner.consumers.insert(worker.clone(), Consumer::new(mode, slots, account, &self.settings.limits));
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

    /// Ends jobs that ran too long, deletes expired ones, up to a limit, and queues those whose next attempt is due.
    /// Returns whether there are more.
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
            let mut error =
                WireError::new(ErrorKind::Timeout, "the job ran longer than its execution timeout");
            error.worker_id = inner.jobs.get(id).and_then(Entry::worker).map(ToString::to_string);
            let event = JobEvent::TimedOut(ErrorText::of(&error, "platform").to_text());
            if inner.stop_attempt(id, &self.settings).is_ok() {
                ended.extend(inner.jobs.end(id, event, &self.settings));
            }
        }
        ended.extend(inner.delete_due(now, DELETED_AT_ONCE, &self.settings));
        inner.jobs.make_room(&self.settings);
        let next_attempts = inner.jobs.wake_due(now);
        if next_attempts {
            inner.dispatch(&self.settings);
        }
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
            delayed: inner.jobs.delayed.len(),
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

    /// Whether no job waits, for a worker or for its next attempt, and none runs.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.lock();
        !inner.jobs.has_waiting() && inner.jobs.delayed.len() == 0 && inner.jobs.running() == 0
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

    /// A batch of these jobs begins on a worker, each an attempt with its cost: from now on they share by cost what the
    /// worker costs. Costs of zero: they wait again.
    pub(crate) fn weigh(&self, worker: &WorkerId, batch: &HashMap<(JobId, u32), u64>) {
        if let Some(consumer) = self.lock().consumers.get_mut(worker) {
            consumer.weigh(batch);
        }
    }

    /// An attempt that ends now ran in this batch.
    pub(crate) fn ran_in_batch(&self, worker: &WorkerId, job: JobId, attempt: u32, batch: BatchRun) {
        if let Some(entry) = self.lock().jobs.get_mut(job)
            && let JobState::Running(lease) = &entry.state
            && lease.worker == *worker
            && lease.attempt == attempt
        {
            entry.run_mut().batch = Some(Box::new(batch));
        }
    }

    /// Models did this for an attempt that ends now.
    pub(crate) fn generated(&self, worker: &WorkerId, job: JobId, attempt: u32, models: GenerationsByModel) {
        if let Some(entry) = self.lock().jobs.get_mut(job)
            && let JobState::Running(lease) = &entry.state
            && lease.worker == *worker
            && lease.attempt == attempt
        {
            entry.run_mut().generated = Some(Box::new(models));
        }
    }

    /// The request that a job belongs to.
    pub(crate) fn request_of(&self, job: JobId) -> Option<String> {
        self.lock().jobs.get(job)?.envelope.request_id.clone().map(String::from)
    }

    /// Looks for a job in this queue, then in the one that took over.
    pub(super) fn home_of<T>(&self, ask: impl Fn(&Self) -> Option<T>) -> Option<T> {
        ask(self).or_else(|| {
            let successor = self.lock().successor()?;
            successor.home_of(ask)
        })
    }

    pub(super) fn report_ends(&self, ended: impl IntoIterator<Item = Ended>) {
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
    pub(super) fn delete_due(
        &mut self,
        now: Timestamp,
        limit: usize,
        settings: &QueueSettings,
    ) -> Vec<Ended> {
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
            let mut error = WireError::new(ErrorKind::Timeout, "the job's ttl expired, so it was deleted");
            error.worker_id = entry.worker().map(ToString::to_string);
            let event = JobEvent::TimedOut(ErrorText::of(&error, "platform").to_text());
            if entry.step(event, now).is_ok() {
                entry.ended(id, now);
                ended.push(Ended::of(id, &entry, settings));
            }
        }
        ended
    }

    /// Gives waiting jobs to free slots, starting with the worker used last. Workers with batches get one batch each
    /// before they get the next.
    pub(super) fn dispatch(&mut self, settings: &QueueSettings) {
        if let Some(batch) = settings.limits.batch {
            self.dispatch_up_to(batch, settings);
        }
        self.dispatch_up_to(usize::MAX, settings);
    }

    /// The same, until each worker has this many.
    fn dispatch_up_to(&mut self, most: usize, settings: &QueueSettings) {
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
            let wanted = consumer.wanted().min(most.saturating_sub(consumer.busy()));
            let mut occupancy = consumer.occupancy();
            let mut taken = Vec::with_capacity(1);
            while taken.len() < wanted
                && let Some(mut job) = self.jobs.lease_next(&worker, occupancy, now)
            {
                if settings.traces.is_some() {
                    job.begin_span();
                }
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

    /// Makes room for a new job, if necessary by dropping results that were kept longer than promised.
    pub(super) fn room_for(
        &mut self,
        bytes: usize,
        purpose: Purpose,
        settings: &QueueSettings,
    ) -> Result<Held, BudgetExceeded> {
        settings.budget.try_hold(bytes, purpose).or_else(|_| {
            self.jobs.make_room(settings);
            settings.budget.try_hold(bytes, purpose)
        })
    }

    /// Asks the worker of a running job to stop it.
    pub(super) fn stop_attempt(&mut self, job: JobId, settings: &QueueSettings) -> Result<(), ChangeError> {
        let entry = self.jobs.get(job).ok_or(ChangeError::Unknown)?;
        match &entry.state {
            JobState::Done(_) => return Err(ChangeError::Ended),
            JobState::Queued { .. } | JobState::Delayed { .. } => {}
            JobState::Running(lease) => {
                let Lease { worker, attempt } = lease;
                if let Some(consumer) = self.consumers.get_mut(worker) {
                    let share = consumer.stop(job, *attempt, &entry.charged_to(job));
                    self.charge(job, share, settings);
                }
            }
        }
        Ok(())
    }

    /// A worker no longer works on an attempt, or on any attempt of the job if it does not say which. `true` if it
    /// had it.
    pub(super) fn release(
        &mut self,
        worker: &WorkerId,
        job: JobId,
        attempt: Option<u32>,
        settings: &QueueSettings,
    ) -> bool {
        let Some(consumer) = self.consumers.get_mut(worker) else { return false };
        let charged_to = self.jobs.get(job).map(|entry| entry.charged_to(job));
        let Some(share) = consumer.release(job, attempt, charged_to.as_ref()) else { return false };
        if consumer.has_free_slot() && !self.free.contains(worker) {
            self.free.push(worker.clone());
        }
        self.charge(job, share, settings);
        true
    }

    /// Adds to a job's cost, also if the queue of the next release has the job now.
    fn charge(&mut self, id: JobId, share: NanoDollars, settings: &QueueSettings) {
        match self.successor() {
            // Locks are taken from the older queue to the newer, as at the hand-over.
            Some(successor) if self.jobs.get(id).is_none() => {
                successor.lock().charge(id, share, &successor.settings);
            }
            _ => self.jobs.charge(id, share, settings),
        }
    }

    /// An attempt is over.
    pub(super) fn settle(&mut self, id: JobId, mut cost_share: CostShare, settings: &QueueSettings) {
        let charged_to = self.jobs.get(id).map(|entry| entry.charged_to(id));
        let share = cost_share.end(charged_to.as_ref());
        self.charge(id, share, settings);
    }

    /// Like [`Inner::settle`], for several.
    pub(super) fn settle_all(&mut self, cost_shares: Vec<(JobId, CostShare)>, settings: &QueueSettings) {
        for (id, cost_share) in cost_shares {
            self.settle(id, cost_share, settings);
        }
    }

    /// The job as clients see it, including the current cost of its attempt.
    pub(super) fn object(&self, id: JobId) -> Option<JobObject> {
        let entry = self.jobs.get(id)?;
        Some(self.with_so_far(id, entry, entry.object(id)))
    }

    /// Adds the current cost of a running attempt.
    pub(super) fn with_so_far(&self, id: JobId, entry: &Entry, mut object: JobObject) -> JobObject {
        if let JobState::Running(Lease { worker, attempt }) = &entry.state
            && let Some(cost) = &mut object.cost_nano_dollars
            && let Some(so_far) =
                self.consumers.get(worker).and_then(|consumer| consumer.so_far(id, *attempt))
        {
            *cost = cost.saturating_add(so_far.0);
        }
        object
    }
}

impl Drop for Queue {
    /// Nobody can ask for its jobs any more, so their keys may be used for others.
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        let mut keys = self.settings.keys.lock();
        for (id, entry) in inner.jobs.newest_first(None) {
            if let Some(key) = entry.key() {
                keys.forget(key, id);
            }
        }
    }
}
