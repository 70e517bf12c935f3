//! The order of waiting jobs: low priority after all others, and jobs that may have killed a worker separate from the
//! rest.
use std::collections::VecDeque;

use super::id::JobId;
use crate::worker_id::WorkerId;

/// How many invalid entries, in addition to the valid ones, are allowed before they are removed.
const SLACK: usize = 1024;

/// Waiting jobs, first come, first served.
///
/// A job that leaves from the middle (cancelled, expired) stays in `ids` until it is reached or removed, so that
/// leaving is cheap in a long queue. `waiting` counts jobs that are really waiting, and reserved ones, which may not
/// be taken yet.
#[derive(Default)]
pub(super) struct Fifo {
    ids: VecDeque<JobId>,
    waiting: usize,
    /// How many reserved places are at the front.
    ahead: usize,
}

impl Fifo {
    pub(super) fn push_back(&mut self, id: JobId) {
        self.ids.push_back(id);
        self.waiting += 1;
    }

    /// For a job that has waited before.
    pub(super) fn push_front(&mut self, id: JobId) {
        self.ids.push_front(id);
        self.waiting += 1;
        self.ahead += usize::from(self.ahead > 0);
    }

    /// Reserves a place for a job that [`Fifo::insert_reserved`] will add, before all that arrive meanwhile.
    pub(super) fn reserve(&mut self) {
        self.waiting += 1;
    }

    /// A reserved job may be taken.
    pub(super) fn insert_reserved(&mut self, id: JobId) {
        self.ids.insert(self.ahead, id);
        self.ahead += 1;
    }

    fn drop_front(&mut self) -> Option<JobId> {
        let id = self.ids.pop_front()?;
        self.ahead = self.ahead.saturating_sub(1);
        Some(id)
    }

    /// The next job. `is_waiting` returns whether a job still waits; [`Fifo::dequeued`] must be called for the returned
    /// job.
    pub(super) fn pop(&mut self, is_waiting: impl Fn(JobId) -> bool) -> Option<JobId> {
        loop {
            let id = self.drop_front()?;
            if is_waiting(id) {
                return Some(id);
            }
        }
    }

    /// The next one, which stays.
    pub(super) fn front(&mut self, is_waiting: impl Fn(JobId) -> bool) -> Option<JobId> {
        loop {
            let id = *self.ids.front()?;
            if is_waiting(id) {
                return Some(id);
            }
            self.drop_front();
        }
    }

    /// One of its jobs waits no longer.
    pub(super) fn dequeued(&mut self) {
        self.waiting -= 1;
    }

    /// Like [`Fifo::dequeued`], for a job that was not next. At the front it is removed at once, so jobs that leave in
    /// order leave nothing behind.
    pub(super) fn dequeued_early(&mut self, id: JobId) {
        self.dequeued();
        if self.ids.front() == Some(&id) {
            self.drop_front();
        }
    }

    /// Sweeps out those that left, when they are too many.
    pub(super) fn sweep(&mut self, is_waiting: impl Fn(JobId) -> bool) {
        if self.ids.len() > 2 * self.waiting + SLACK {
            self.ahead = self.ids.iter().take(self.ahead).filter(|id| is_waiting(**id)).count();
            self.ids.retain(|id| is_waiting(*id));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Whether one may be there that can be taken.
    fn has_next(&self) -> bool {
        self.waiting > 0 && !self.ids.is_empty()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = JobId> {
        self.ids.iter().copied()
    }
}

/// How many unsuspected jobs run before each suspect while both wait: many suspects, each costing a worker, must not
/// block all other jobs, and a full queue must not block suspects forever.
const YIELDS: u32 = 64;

/// The current jobs of a worker that asks for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occupancy {
    /// Nothing: it may have a job that must be alone.
    Empty,
    /// Other jobs.
    Shared,
}

/// What a priority class offers a worker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextJob {
    Job(JobId),
    /// The next one must be alone: nothing for this worker until it is empty.
    OnceEmpty,
    Nothing,
}

/// The waiting jobs of one priority.
#[derive(Default)]
pub(super) struct PriorityClass {
    /// Jobs above suspicion.
    clear: Fifo,
    /// Suspects: jobs that ran when a worker died. Each runs alone, so that the next death identifies the cause.
    suspects: Fifo,
    /// Jobs of `clear` that have run before the first suspect.
    passed: u32,
    /// The worker that gets nothing more until it is empty, for a suspect whose turn has come.
    emptying: Option<WorkerId>,
}

impl PriorityClass {
    pub(super) fn of(&mut self, suspect: bool) -> &mut Fifo {
        if suspect { &mut self.suspects } else { &mut self.clear }
    }

    pub(super) fn len(&self) -> usize {
        self.clear.len() + self.suspects.len()
    }

    /// The next job for this worker, taken out. [`Fifo::dequeued`] must be called for it.
    pub(super) fn next(
        &mut self,
        worker: &WorkerId,
        occupancy: Occupancy,
        is_waiting: impl Fn(JobId) -> bool,
    ) -> NextJob {
        let (clear, suspects) = (self.clear.has_next(), self.suspects.has_next());
        let is_due = suspects && (!clear || self.passed >= YIELDS);
        match occupancy {
            Occupancy::Empty if is_due => {
                (self.passed, self.emptying) = (0, None);
                if let Some(suspect) = self.suspects.pop(&is_waiting) {
                    return NextJob::Job(suspect);
                }
            }
            // One worker is enough for suspects; the others continue.
            Occupancy::Shared if is_due && self.emptying.get_or_insert_with(|| worker.clone()) == worker => {
                return NextJob::OnceEmpty;
            }
            Occupancy::Empty | Occupancy::Shared => {}
        }
        if !clear {
            return NextJob::Nothing;
        }
        self.passed = if suspects { self.passed.saturating_add(1) } else { 0 };
        self.clear.pop(is_waiting).map_or(NextJob::Nothing, NextJob::Job)
    }

    /// This worker will not take a suspect, because it has ended or is stopping.
    pub(super) fn lost(&mut self, worker: &WorkerId) {
        if self.emptying.as_ref() == Some(worker) {
            self.emptying = None;
        }
    }

    /// The first of either kind, which stay.
    pub(super) fn fronts(&mut self, is_waiting: impl Fn(JobId) -> bool + Copy) -> [Option<JobId>; 2] {
        [self.clear.front(is_waiting), self.suspects.front(is_waiting)]
    }

    fn ids(&self) -> impl Iterator<Item = JobId> {
        self.clear.ids().chain(self.suspects.ids())
    }
}

/// Both priorities.
#[derive(Default)]
pub(super) struct WaitQueue {
    pub normal: PriorityClass,
    pub low: PriorityClass,
}

impl WaitQueue {
    pub(super) fn of(&mut self, low_priority: bool) -> &mut PriorityClass {
        if low_priority { &mut self.low } else { &mut self.normal }
    }

    pub(super) fn len(&self) -> usize {
        self.normal.len() + self.low.len()
    }

    /// The next job for this worker, normal priority first. See [`PriorityClass::next`].
    pub(super) fn next(
        &mut self,
        worker: &WorkerId,
        occupancy: Occupancy,
        is_waiting: impl Fn(JobId) -> bool + Copy,
    ) -> NextJob {
        match self.normal.next(worker, occupancy, is_waiting) {
            NextJob::Nothing => self.low.next(worker, occupancy, is_waiting),
            next => next,
        }
    }

    /// Expected jobs that have arrived and were not taken.
    pub(super) fn ahead(&self) -> usize {
        self.normal.clear.ahead + self.low.clear.ahead
    }

    /// See [`PriorityClass::lost`].
    pub(super) fn lost(&mut self, worker: &WorkerId) {
        self.normal.lost(worker);
        self.low.lost(worker);
    }

    /// All, those of normal priority first; may hold some that left.
    pub(super) fn ids(&self) -> impl Iterator<Item = JobId> {
        self.normal.ids().chain(self.low.ids())
    }
}
