//! Guards against jobs that may have killed the previous platform, for example by using all memory of the machine.
//!
//! The store does not record which jobs run, so after an unclean end every stored waiting job may be the cause. Each
//! gets a durable mark before it goes to a worker. If the next platform finds the mark, the job was running when the
//! platform died. A job with such a loss then runs only while no other job runs in any queue of the platform, so that
//! the next death is certainly its own. After [`MAX_LOSSES`] it is dead. Later jobs need no mark, and after a clean
//! end none do.
//!
//! A job without its mark waits and counts in its queue, but cannot be taken from it. The owner of the queue has marks
//! written with [`Queue::feed`], for as many jobs as the workers have slots.
use std::collections::VecDeque;

use flash_protocol::{ErrorKind, WireError, wire::job::ErrorText};

use super::{
    Consumer, Failing, JobId, Queue,
    job::Entry,
    jobs::{Jobs, QueueSettings},
    state::JobEvent,
    store::{Change, SuspectPermit, Ticket},
};

/// How many deaths of the platform a job may be running at, in addition to the first one, which nobody observed. For
/// three of them no other suspect ran; a single one may be a `kill -9`.
pub(super) const MAX_LOSSES: u32 = LONE_FROM + 3;
/// From this many on, no other such job runs at the same time.
const LONE_FROM: u32 = 2;

/// Whether a job may be handed out.
#[derive(Debug, Default)]
pub(super) enum Guard {
    /// The platform never died of it.
    #[default]
    Free,
    /// It may have, and its mark is not durable.
    Unmarked,
    /// It has its mark. Where it must be the only one that runs, it is its turn.
    Marked { _permit: Option<SuspectPermit> },
}

impl Guard {
    pub(super) fn is_unmarked(&self) -> bool {
        matches!(self, Self::Unmarked)
    }
}

/// Jobs whose mark is being written.
#[derive(Default)]
pub(super) struct Guarded {
    /// In the order in which they come. May hold some that left.
    unmarked: VecDeque<JobId>,
    /// The same for those with losses.
    lone: VecDeque<JobId>,
    /// Their marks are being written.
    marking: VecDeque<Marking>,
}

struct Marking {
    job: JobId,
    ticket: Ticket,
    permit: Option<SuspectPermit>,
}

impl Guarded {
    pub(super) fn push(&mut self, id: JobId, entry: &Entry) {
        if entry.losses >= LONE_FROM { &mut self.lone } else { &mut self.unmarked }.push_back(id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unmarked.is_empty() && self.lone.is_empty() && self.marking.is_empty()
    }

    /// When the next mark is durable.
    pub(super) fn next_ticket(&self) -> Option<Ticket> {
        self.marking.front().map(|marking| marking.ticket)
    }
}

impl Jobs {
    /// Writes marks for as many jobs as may run soon.
    fn mark(&mut self, slots: usize, settings: &QueueSettings) {
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
    fn marked(&mut self, settings: &QueueSettings) {
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
        let losses = |id| Some((id, self.get(id)?)).filter(|(_, entry): &(JobId, &Entry)| entry.is_queued());
        let of = ids.filter_map(losses).map(|(id, entry)| (id, entry.losses));
        of.filter(|(_, losses)| *losses >= MAX_LOSSES).collect()
    }
}

impl Queue {
    /// Handles jobs that need a mark before they go to a worker: has marks written, and dispatches jobs that have
    /// theirs.
    pub(crate) fn feed(&self) {
        let mut inner = self.lock();
        if inner.jobs.guarded.is_empty() {
            return;
        }
        inner.jobs.marked(&self.settings);
        let slots =
            inner.consumers.values().filter(|consumer| consumer.takes_jobs()).map(Consumer::slots).sum();
        inner.jobs.mark(slots, &self.settings);
        inner.dispatch(&self.settings);
    }

    /// Waits until [`Queue::feed`] has something to do: a mark has become durable.
    ///
    /// # Errors
    /// If it cannot be written now.
    pub(crate) async fn fed(&self) -> Result<(), Failing> {
        let next = self.lock().jobs.guarded.next_ticket();
        match next {
            Some(ticket) => self.settings.store.committed(ticket).await,
            None => std::future::pending().await,
        }
    }
}

/// The end of a job that was running each time the platform died.
pub(super) fn platform_died(losses: u32) -> JobEvent {
    let message = format!(
        "the platform died {losses} times while this job was running, the last 3 times with no other job that \
         could be the cause: the job probably needs more memory than the machine has; run it where worker \
         limits apply (check with `flash doctor`) or on a larger machine, then requeue it"
    );
    let error = WireError::new(ErrorKind::NoWorker, message);
    JobEvent::Died(ErrorText::of(&error, "platform").to_text())
}
