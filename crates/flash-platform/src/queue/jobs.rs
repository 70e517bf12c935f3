//! All jobs of a queue, and the data that must match their states.
//!
//! Every change of a job's state is made here, so that queues, counts, timers, keys and the store always match.
//! Invariants: `waiting` counts exactly the queued jobs, `delayed` the delayed and `running` the running ones; each job has one timer; the
//! last change of a job with a `record` has been sent to the store.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    time::Duration,
};

use flash_protocol::{catalogue::NanoDollars, wire::job::JobStatus};

use super::{
    clock::Timestamp,
    consumer::LeasedJob,
    delayed::Delayed,
    ended::{Ended, Next, shortened},
    guard::{Guard, MAX_LOSSES, SuspectPermit},
    id::JobId,
    job::{AttemptFailure, Entry, Origin, Retention},
    loss::Loss,
    marks::{Guarded, Marking},
    outbox::JobEnded,
    settings::QueueSettings,
    state::{JobEvent, JobState, Lease, Outcome},
    store::Change,
    stored_job::{end_of, record_of},
    ticket::Ticket,
    wait_queue::{NextJob, Occupancy, WaitQueue},
};
use crate::worker_id::WorkerId;

/// Maximum number of jobs per pass, to keep the lock for at most a millisecond.
const PIECE: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Jobs {
    all: BTreeMap<JobId, Box<Entry>>,
    pub(super) waiting: WaitQueue,
    /// Jobs that are in no queue before their mark is durable.
    pub(super) guarded: Guarded,
    pub(super) delayed: Delayed,
    running: usize,
    /// Of these, how many have low priority.
    running_low: usize,
    /// How many jobs of a fan-out came since none of normal priority waited: at least as many as wait.
    fanned_out: usize,
    /// When to look at a job again: to expire it, or to forget it.
    timers: BTreeSet<(Timestamp, JobId)>,
    /// Ended jobs that a client waited for, oldest first; may contain forgotten ones.
    kept_sync: VecDeque<JobId>,
    dead: BTreeSet<JobId>,
    pub totals: Totals,
}

/// Totals since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub completed: u64,
    pub failed: u64,
    pub retried: u64,
}

impl Jobs {
    pub(super) fn get(&self, id: JobId) -> Option<&Entry> {
        self.all.get(&id).map(Box::as_ref)
    }

    /// For everything but the state, the times and the extras.
    pub(super) fn get_mut(&mut self, id: JobId) -> Option<&mut Entry> {
        self.all.get_mut(&id).map(Box::as_mut)
    }

    /// From the latest before `before` back in time.
    pub(super) fn newest_first(&self, before: Option<JobId>) -> impl Iterator<Item = (JobId, &Entry)> {
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.all.range((Bound::Unbounded, end));
        range.rev().map(|(id, entry)| (*id, entry.as_ref()))
    }

    pub(super) fn dead(&self) -> impl Iterator<Item = JobId> {
        self.dead.iter().rev().copied()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.normal.len()
    }

    /// How many waiting jobs are of a fan-out, at most.
    pub(super) fn fanned_out(&mut self) -> usize {
        if self.waiting() == 0 {
            self.fanned_out = 0;
        }
        self.fanned_out.min(self.waiting())
    }

    pub(super) fn waiting_low(&self) -> usize {
        self.waiting.low.len()
    }

    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.len() > 0
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    pub(super) fn running_low(&self) -> usize {
        self.running_low
    }

    fn starts_running(&mut self, low_priority: bool) {
        self.running += 1;
        self.running_low += usize::from(low_priority);
    }

    fn stops_running(&mut self, low_priority: bool) {
        self.running -= 1;
        self.running_low -= usize::from(low_priority);
    }

    /// Since when the next one of normal priority waits.
    pub(super) fn oldest_wait(&mut self) -> Option<Timestamp> {
        let all = &self.all;
        let fronts = self.waiting.normal.fronts(|id| is_queued(all, id));
        fronts.into_iter().flatten().filter_map(|id| self.get(id)).map(|entry| entry.queued_at).min()
    }

    /// Jobs after `after` up to `last`, in order of submission: a limited number, and where to continue if there may
    /// be more.
    pub(super) fn piece(
        &self,
        after: Option<JobId>,
        last: JobId,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> (Vec<JobId>, Option<JobId>) {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        if after.is_some_and(|after| after >= last) {
            return (Vec::new(), None);
        }
        let (mut ids, mut next) = (Vec::with_capacity(PIECE), None);
        for (looked_at, (id, entry)) in self.all.range((start, Bound::Included(last))).enumerate() {
            if looked_at == PIECE {
                return (ids, next);
            }
            next = Some(*id);
            if is_wanted(entry) {
                ids.push(*id);
            }
        }
        (ids, None)
    }

    /// The latest job.
    pub(super) fn last(&self) -> Option<JobId> {
        self.all.last_key_value().map(|(id, _)| *id)
    }

    /// Waiting jobs that a client waits for. Only IDs with that prefix are looked up, because a million jobs may
    /// wait.
    pub(super) fn waited_ids(&self) -> Vec<JobId> {
        let has_waiter = |id: &JobId| self.get(*id).is_some_and(|entry| !entry.waiters.is_empty());
        self.waiting.ids().filter(|id| id.is_waited() && has_waiter(id)).collect()
    }

    /// Inserts a job that waits or has ended.
    pub(super) fn insert(&mut self, id: JobId, entry: Box<Entry>) {
        match &entry.state {
            JobState::Queued { .. } => self.joins_line(id, &entry),
            JobState::Delayed { until, .. } => self.delayed.insert(*until, id),
            JobState::Running(_) => self.starts_running(entry.low_priority),
            JobState::Done(Outcome::Dead(_)) => {
                self.dead.insert(id);
            }
            JobState::Done(_) => {}
        }
        self.timers.insert((entry.timer, id));
        self.all.insert(id, entry);
    }

    fn joins_line(&mut self, id: JobId, entry: &Entry) {
        let fifo = self.waiting.of(entry.low_priority).of(entry.suspect);
        if entry.guard.is_unmarked() {
            fifo.reserve();
            self.guarded.push(id, entry.losses);
        } else {
            fifo.push_back(id);
        }
        self.fanned_out += usize::from(entry.envelope.fan_out && !entry.low_priority);
    }

    /// Stores a job if it is not stored yet. Returns its last write.
    pub(super) fn store(&mut self, id: JobId, settings: &QueueSettings) -> Option<Ticket> {
        let entry = self.all.get_mut(&id)?;
        if entry.record.is_none() {
            let seq = settings.store.next_seq();
            let record = record_of(seq, settings, id, entry);
            entry.ticket = settings.store.write(Change::Accepted(Box::new(record)));
            entry.record = Some(seq);
            if let Some(end) = end_of(entry, entry.timer) {
                entry.ticket = settings.store.write(Change::Ended { seq, end: Box::new(end) });
            }
        }
        Some(entry.ticket)
    }

    /// Removes a job without a trace.
    pub(super) fn remove(&mut self, id: JobId, settings: &QueueSettings) -> Option<Box<Entry>> {
        let entry = self.take(id)?;
        if let Some(key) = entry.key() {
            settings.keys.lock().forget(key, id);
        }
        if let Some(seq) = entry.record {
            settings.store.write(Change::Forgotten { seq });
        }
        Some(entry)
    }

    /// Removes a job that continues in another queue.
    pub(super) fn take(&mut self, id: JobId) -> Option<Box<Entry>> {
        let entry = self.all.remove(&id)?;
        match &entry.state {
            JobState::Queued { .. } => self.left_line(id, &entry),
            JobState::Delayed { until, .. } => self.delayed.remove(*until, id),
            JobState::Running(_) => self.stops_running(entry.low_priority),
            JobState::Done(_) => {
                self.dead.remove(&id);
            }
        }
        self.timers.remove(&(entry.timer, id));
        Some(entry)
    }

    fn left_line(&mut self, id: JobId, entry: &Entry) {
        let all = &self.all;
        let fifo = self.waiting.of(entry.low_priority).of(entry.suspect);
        fifo.dequeued_early(id);
        fifo.sweep(|id| is_queued(all, id));
    }

    /// Gives the next waiting job to a worker, if one may run next to the worker's current jobs.
    pub(super) fn lease_next(
        &mut self,
        worker: &WorkerId,
        occupancy: Occupancy,
        now: Timestamp,
    ) -> Option<LeasedJob> {
        let all = &self.all;
        let NextJob::Job(id) = self.waiting.next(worker, occupancy, |id| is_queued(all, id)) else {
            return None;
        };
        let entry = self.all.get_mut(&id)?;
        let taken = entry.lease(id, worker, now)?;
        let (low_priority, suspect) = (entry.low_priority, entry.suspect);
        self.waiting.of(low_priority).of(suspect).dequeued();
        self.starts_running(low_priority);
        Some(taken)
    }

    /// A worker takes no more jobs.
    pub(super) fn lost_worker(&mut self, worker: &WorkerId) {
        self.waiting.lost(worker);
    }

    /// Takes back a lease that its worker never received.
    pub(super) fn unlease(&mut self, id: JobId) {
        let Some(entry) = self.all.get_mut(&id).filter(|entry| entry.is_running()) else { return };
        entry.unlease();
        let (low_priority, suspect) = (entry.low_priority, entry.suspect);
        self.waiting.of(low_priority).of(suspect).push_front(id);
        self.stops_running(low_priority);
    }

    /// The worker of a running job has ended, so the job waits again, at the front of its queue. A job that may have
    /// killed its worker waits separately.
    pub(super) fn requeue_lost(&mut self, id: JobId, loss: Loss, settings: &QueueSettings) {
        let now = settings.clock.now();
        let Some(entry) = self.all.get_mut(&id) else { return };
        if entry.step(JobEvent::Lost, now).is_err() {
            return;
        }
        entry.attempts_before += u32::from(!loss.counts());
        entry.suspect |= loss.is_suspicious();
        entry.forget_attempt();
        store_requeued(entry, settings);
        let (low_priority, suspect) = (entry.low_priority, entry.suspect);
        let fifo = self.waiting.of(low_priority).of(suspect);
        // Suspects take turns, so that innocent ones wait for at most one crash of each other suspect.
        if suspect {
            fifo.push_back(id);
        } else {
            fifo.push_front(id);
        }
        self.stops_running(low_priority);
        self.totals.retried += 1;
    }

    /// An attempt failed with a retryable error, so the job waits for the time of the next one. `None` if the lease is
    /// not the current one. Unlike a lost attempt, it says nothing against the job.
    pub(super) fn postpone(
        &mut self,
        id: JobId,
        lease: Lease,
        (error, wait): (String, Duration),
        settings: &QueueSettings,
    ) -> Option<Ended> {
        let now = settings.clock.now();
        let until = now.after(wait);
        let entry = self.all.get_mut(&id)?;
        entry.step(JobEvent::Postponed { lease, until }, now).ok()?;
        // Not one of those that its workers may die of.
        entry.attempts_before += 1;
        entry.failures += 1;
        let ran = entry.run_mut().ran_until(now);
        let error = shortened(error);
        let next = Next { attempt: entry.attempts + 1, wait };
        let ended = Ended {
            // Of this attempt; the job waits.
            status: JobStatus::Failed,
            ran,
            error: Some(error.clone()),
            next: Some(next),
            ..Ended::of(id, entry, settings)
        };
        entry.forget_attempt();
        entry.run_mut().failure = Some(AttemptFailure { error, wait });
        entry.weigh();
        if entry.has_survived()
            && let Some(seq) = entry.record
        {
            settings.store.write(Change::Cleared { seq });
        }
        store_requeued(entry, settings);
        let low_priority = entry.low_priority;
        self.delayed.insert(until, id);
        self.stops_running(low_priority);
        self.totals.retried += 1;
        Some(ended)
    }

    /// Jobs whose next attempt is due go to the end of their lines. Whether there were any.
    pub(super) fn wake_due(&mut self, now: Timestamp) -> bool {
        let mut any = false;
        while let Some(id) = self.delayed.pop_due(now) {
            let Some(mut entry) = self.all.remove(&id) else { continue };
            if entry.step(JobEvent::Due, now).is_ok() {
                self.joins_line(id, &entry);
                any = true;
            }
            self.all.insert(id, entry);
        }
        any
    }

    /// Puts a failed job back. `false` when it has not failed.
    pub(super) fn retry(&mut self, id: JobId, settings: &QueueSettings) -> bool {
        let now = settings.clock.now();
        let Some(entry) = self.all.get_mut(&id) else { return false };
        let had_losses = entry.losses > 0;
        if entry.retry(now).is_err() {
            return false;
        }
        if had_losses && let Some(seq) = entry.record {
            settings.store.write(Change::Cleared { seq });
        }
        self.timers.remove(&(entry.timer, id));
        // It gets its full time again.
        entry.expires_at = now.after(entry.ttl);
        entry.timer = entry.expires_at;
        self.timers.insert((entry.timer, id));
        store_requeued(entry, settings);
        let is_call = entry.origin == Origin::Call;
        self.waiting.of(entry.low_priority).of(entry.suspect).push_back(id);
        self.dead.remove(&id);
        self.totals.retried += 1;
        if !is_call {
            // Nobody waits for it any more, so from now on it is like a job of `run`.
            self.store(id, settings);
        }
        true
    }

    /// Ends a job, notifies waiting clients, and keeps the result for its time. `None` if the event does not apply:
    /// the job has ended, or another attempt runs.
    pub(super) fn end(&mut self, id: JobId, event: JobEvent, settings: &QueueSettings) -> Option<Ended> {
        let now = settings.clock.now();
        let entry = self.all.get_mut(&id)?;
        let (was_queued, delayed_until) = (entry.is_queued(), entry.delayed_until());
        entry.step(event, now).ok()?;
        let keep = entry.ended(id, now);
        let forget_at = entry.forget_at(now, &settings.limits);
        if let Some(seq) = entry.record
            && let Some(end) = end_of(entry, forget_at)
        {
            entry.ticket = settings.store.write(Change::Ended { seq, end: Box::new(end) });
        }
        notify_webhook(id, entry, settings);
        entry.drop_input(&settings.budget);
        self.timers.remove(&(entry.timer, id));
        entry.timer = forget_at;
        self.timers.insert((forget_at, id));
        let ended = Ended::of(id, entry, settings);
        let (is_dead, low_priority, suspect) =
            (matches!(entry.state, JobState::Done(Outcome::Dead(_))), entry.low_priority, entry.suspect);
        if was_queued {
            let all = &self.all;
            let fifo = self.waiting.of(low_priority).of(suspect);
            fifo.dequeued_early(id);
            fifo.sweep(|id| is_queued(all, id));
        } else if let Some(until) = delayed_until {
            self.delayed.remove(until, id);
        } else {
            self.stops_running(low_priority);
        }
        match ended.status {
            JobStatus::Completed => self.totals.completed += 1,
            // Its client wanted no result: as in `flash status`, it counts in neither.
            JobStatus::Cancelled => {}
            _ => self.totals.failed += 1,
        }
        self.keep(id, keep, is_dead, settings);
        Some(ended)
    }

    fn keep(&mut self, id: JobId, retention: Retention, is_dead: bool, settings: &QueueSettings) {
        if is_dead {
            self.dead.insert(id);
            if self.dead.len() > settings.limits.max_dead
                && let Some(oldest) = self.dead.first().copied()
            {
                self.remove(oldest, settings);
            }
            return;
        }
        match retention {
            Retention::Drop => {
                self.remove(id, settings);
            }
            Retention::Bounded => {
                self.kept_sync.push_back(id);
                if self.kept_sync.len() > settings.limits.max_kept_sync {
                    self.forget_oldest_kept(settings);
                }
            }
            Retention::Timed => {}
        }
    }

    /// Forgets the oldest result that its client has received, unless the job was made durable since. `false` if
    /// there is none.
    fn forget_oldest_kept(&mut self, settings: &QueueSettings) -> bool {
        let Some(oldest) = self.kept_sync.pop_front() else { return false };
        if self.get(oldest).is_some_and(|entry| entry.status().is_final() && entry.record.is_none()) {
            self.remove(oldest, settings);
        }
        true
    }

    /// While the platform's jobs use too much memory, forgets what was not promised, oldest first: results that their
    /// client has received, then jobs that killed their workers. Results that a client may ask for later stay.
    pub(super) fn make_room(&mut self, settings: &QueueSettings) {
        while settings.budget.is_short() {
            if self.forget_oldest_kept(settings) {
                continue;
            }
            let Some(oldest) = self.dead.first().copied() else { return };
            if self.remove(oldest, settings).is_none() {
                return;
            }
        }
    }

    /// Whether the time of a job has come.
    pub(super) fn has_due(&self, now: Timestamp) -> bool {
        self.timers.first().is_some_and(|(due, _)| *due <= now)
    }

    /// The next job whose time has come, taken out: it has expired, or its result was kept long enough.
    pub(super) fn pop_due(
        &mut self,
        now: Timestamp,
        settings: &QueueSettings,
    ) -> Option<(JobId, Box<Entry>)> {
        let (due, id) = *self.timers.first()?;
        if due > now {
            return None;
        }
        self.remove(id, settings).map(|entry| (id, entry))
    }

    /// Adds to a job's cost. A job that continues is stored with its next change.
    pub(super) fn charge(&mut self, id: JobId, share: NanoDollars, settings: &QueueSettings) {
        let Some(entry) = self.get_mut(id).filter(|_| share.0 > 0) else { return };
        entry.add_cost(share);
        if entry.status().is_final()
            && let Some(seq) = entry.record
        {
            entry.ticket = settings.store.write(Change::Charged { seq, cost: entry.cost });
        }
    }

    /// Writes marks for as many jobs as may run soon.
    pub(super) fn mark(&mut self, slots: usize, settings: &QueueSettings) {
        while let Some(id) = self.guarded.lone.front().copied() {
            let is_waiting = |entry: &&Entry| entry.is_queued() && entry.guard.is_unmarked();
            let Some(losses) = self.get(id).filter(is_waiting).map(|entry| entry.losses) else {
                self.guarded.lone.pop_front();
                continue;
            };
            let Some(permit) = settings.store.suspect_lock().try_acquire() else { break };
            self.guarded.lone.pop_front();
            self.write_mark(id, losses, Some(permit), settings);
        }
        while self.guarded.marking.len() + self.waiting.ahead() < slots
            && let Some(id) = self.guarded.unmarked.pop_front()
        {
            let waits = |entry: &&Entry| entry.is_queued() && entry.guard.is_unmarked();
            if let Some(losses) = self.get(id).filter(waits).map(|entry| entry.losses) {
                self.write_mark(id, losses, None, settings);
            }
        }
    }

    fn write_mark(
        &mut self,
        job: JobId,
        losses: u32,
        permit: Option<SuspectPermit>,
        settings: &QueueSettings,
    ) {
        if let Some(seq) = self.get(job).and_then(|entry| entry.record) {
            let ticket = settings.store.write(Change::Marked { seq, losses });
            self.guarded.marking.push_back(Marking { job, ticket, permit });
        }
    }

    /// Moves jobs with durable marks to their queues.
    pub(super) fn marked(&mut self, settings: &QueueSettings) {
        while self.guarded.next_ticket().is_some_and(|ticket| settings.store.is_committed(ticket))
            && let Some(Marking { job, permit, .. }) = self.guarded.marking.pop_front()
        {
            let waits = |entry: &&mut Entry| entry.is_queued() && entry.guard.is_unmarked();
            let Some(entry) = self.get_mut(job).filter(waits) else { continue };
            entry.guard = Guard::Marked { _permit: permit };
            let (low_priority, suspect) = (entry.low_priority, entry.suspect);
            self.waiting.of(low_priority).of(suspect).insert_reserved(job);
        }
    }

    /// Jobs with too many deaths of the platform.
    pub(super) fn deadly(&self, ids: impl Iterator<Item = JobId>) -> Vec<(JobId, u32)> {
        let losses = |id| Some((id, self.get(id)?)).filter(|(_, entry): &(JobId, &Entry)| entry.is_waiting());
        let of = ids.filter_map(losses).map(|(id, entry)| (id, entry.losses));
        of.filter(|(_, losses)| *losses >= MAX_LOSSES).collect()
    }
}

fn is_queued(all: &BTreeMap<JobId, Box<Entry>>, id: JobId) -> bool {
    all.get(&id).is_some_and(|entry| entry.is_queued())
}

fn store_requeued(entry: &mut Entry, settings: &QueueSettings) {
    if let Some(seq) = entry.record {
        let Entry { attempts, attempts_before, failures, expires_at, cost, .. } = *entry;
        let not_before = entry.delayed_until();
        let requeued =
            Change::Requeued { seq, attempts, attempts_before, failures, not_before, expires_at, cost };
        entry.ticket = settings.store.write(requeued);
    }
}

/// Passes an ended job on to its webhook, if it has one.
pub(super) fn notify_webhook(id: JobId, entry: &Entry, settings: &QueueSettings) {
    let Some(url) = entry.extras.as_ref().and_then(|extras| extras.webhook.clone()) else { return };
    settings.outbox.push(JobEnded {
        url,
        event: event_of(id, entry),
        job: entry.object(id),
        input: entry.input.to_json().into_owned(),
        record: entry.record,
        ticket: entry.ticket,
        // A copy of the current job.
        _held: settings.budget.hold(entry.weight()),
    });
}

/// A client's retry gives a job a new expiry, so each of its ends has a different ID. All parts of the ID are stored,
/// so it stays the same if the end is sent again after a restart.
fn event_of(id: JobId, entry: &Entry) -> String {
    format!("{id}_{:x}", entry.expires_at.0)
}

/// Jobs created by calls of workers are never listed.
pub(super) fn is_listed(entry: &Entry) -> bool {
    entry.origin != Origin::Call
}
