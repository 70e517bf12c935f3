//! Jobs that wait for their mark to be durable. What marks are for is in [`guard`](super::guard).
use std::collections::VecDeque;

use super::{
    guard::{LONE_FROM, SuspectPermit},
    id::JobId,
    ticket::Ticket,
};

/// Jobs whose mark is being written.
#[derive(Default)]
pub(super) struct Guarded {
    /// In the order in which they come. May hold some that left.
    pub(super) unmarked: VecDeque<JobId>,
    /// The same for those with losses.
    pub(super) lone: VecDeque<JobId>,
    /// Their marks are being written.
    pub(super) marking: VecDeque<Marking>,
}

pub(super) struct Marking {
    pub(super) job: JobId,
    pub(super) ticket: Ticket,
    pub(super) permit: Option<SuspectPermit>,
}

impl Guarded {
    pub(super) fn push(&mut self, id: JobId, losses: u32) {
        if losses >= LONE_FROM { &mut self.lone } else { &mut self.unmarked }.push_back(id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unmarked.is_empty() && self.lone.is_empty() && self.marking.is_empty()
    }

    /// When the next mark is durable.
    pub(super) fn next_ticket(&self) -> Option<Ticket> {
        self.marking.front().map(|marking| marking.ticket)
    }
}
