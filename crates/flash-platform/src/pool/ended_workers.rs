//! Ended workers, for late results, for requests that failed with them, and for resuming them.
use std::collections::VecDeque;

use crate::worker_id::WorkerId;

/// Number of ended workers to remember, for late results, for requests that failed with them, and for resuming them.
const REMEMBERED: usize = 64;

/// Ended workers, the latest last.
#[derive(Default)]
pub(super) struct EndedWorkers(VecDeque<EndedWorker>);

/// The end of a worker.
struct EndedWorker {
    worker: WorkerId,
    /// Distinguishes its late results from other requests with a wrong key.
    key: String,
    reason: String,
    /// It was scaled down, so it may be resumed.
    wanted: bool,
}

impl EndedWorkers {
    /// `wanted`: it was asked to stop and did not crash.
    pub(super) fn add(&mut self, worker: &WorkerId, key: &str, reason: &str, wanted: bool) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        let (key, reason) = (key.to_owned(), reason.to_owned());
        self.0.push_back(EndedWorker { worker: worker.clone(), key, reason, wanted });
    }

    fn of(&self, worker: &WorkerId) -> Option<&EndedWorker> {
        self.0.iter().rfind(|ended| ended.worker == *worker)
    }

    /// The key that it had.
    pub(super) fn key(&self, worker: &WorkerId) -> Option<&str> {
        self.of(worker).map(|ended| ended.key.as_str())
    }

    pub(super) fn reason(&self, worker: &WorkerId) -> Option<String> {
        self.of(worker).map(|ended| ended.reason.clone())
    }

    pub(super) fn was_wanted(&self, worker: &WorkerId) -> bool {
        self.of(worker).is_some_and(|ended| ended.wanted)
    }

    pub(super) fn forget(&mut self, worker: &WorkerId) {
        self.0.retain(|ended| ended.worker != *worker);
    }
}
