//! Jobs between two attempts, by the time of the next one.
use std::collections::BTreeSet;

use super::{clock::Timestamp, id::JobId};

/// Jobs whose next attempt is not due yet. They are in no line, so they start no worker and keep none busy.
#[derive(Default)]
pub(super) struct Delayed(BTreeSet<(Timestamp, JobId)>);

impl Delayed {
    pub(super) fn insert(&mut self, until: Timestamp, id: JobId) {
        self.0.insert((until, id));
    }

    pub(super) fn remove(&mut self, until: Timestamp, id: JobId) {
        self.0.remove(&(until, id));
    }

    /// The next job that is due, taken out.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<JobId> {
        let (until, id) = *self.0.first()?;
        (until <= now).then(|| self.0.pop_first()).map(|_| id)
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.first().map(|(until, _)| *until)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
