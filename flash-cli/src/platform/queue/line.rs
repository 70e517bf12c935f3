//! Who is next: jobs that wait, in order, those of low priority behind all others.
use std::collections::VecDeque;

use super::id::JobId;

/// Entries that are no longer valid, beyond the valid ones, before they are swept out.
const SLACK: usize = 1024;

/// The waiting jobs of one priority.
///
/// A job that leaves from the middle (cancelled, expired) stays in `ids` until it is met or swept, so that
/// leaving costs nothing however long the line is. `waiting` counts those that are really there.
#[derive(Default)]
pub(super) struct Line {
    ids: VecDeque<JobId>,
    waiting: usize,
}

impl Line {
    pub(super) fn push_back(&mut self, id: JobId) {
        self.ids.push_back(id);
        self.waiting += 1;
    }

    /// For a job that has waited before.
    pub(super) fn push_front(&mut self, id: JobId) {
        self.ids.push_front(id);
        self.waiting += 1;
    }

    /// The next one. `is_waiting` tells whether a job still is; [`Line::left`] must be called for it.
    pub(super) fn pop(&mut self, is_waiting: impl Fn(JobId) -> bool) -> Option<JobId> {
        loop {
            let id = self.ids.pop_front()?;
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
            self.ids.pop_front();
        }
    }

    /// One of its jobs waits no longer.
    pub(super) fn left(&mut self) {
        self.waiting -= 1;
    }

    /// Sweeps out those that left, when they are too many.
    pub(super) fn sweep(&mut self, is_waiting: impl Fn(JobId) -> bool) {
        if self.ids.len() > 2 * self.waiting + SLACK {
            self.ids.retain(|id| is_waiting(*id));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = JobId> {
        self.ids.iter().copied()
    }
}

/// Both priorities.
#[derive(Default)]
pub(super) struct Lines {
    pub normal: Line,
    pub low: Line,
}

impl Lines {
    pub(super) fn of(&mut self, low_priority: bool) -> &mut Line {
        if low_priority { &mut self.low } else { &mut self.normal }
    }

    pub(super) fn len(&self) -> usize {
        self.normal.len() + self.low.len()
    }

    /// All, those of normal priority first; may hold some that left.
    pub(super) fn ids(&self) -> impl Iterator<Item = JobId> {
        self.normal.ids().chain(self.low.ids())
    }
}
