//! Ended workers, for late results, for requests that failed with them, for resuming them, and for display.
use std::collections::VecDeque;

use super::{
    life::{Doing, WorkerLife, wall_ms},
    worker::Worker,
};
use crate::{hops::now_ms, worker_id::WorkerId};

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
    /// Milliseconds since 1970.
    started_ms: u64,
    ready_ms: Option<u64>,
    ended_ms: u64,
}

impl EndedWorkers {
    /// `wanted`: it was asked to stop and did not crash.
    pub(super) fn add(&mut self, id: &WorkerId, worker: &Worker, reason: &str, wanted: bool) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(EndedWorker {
            worker: id.clone(),
            key: worker.key.clone(),
            reason: reason.to_owned(),
            wanted,
            started_ms: wall_ms(worker.started_at),
            ready_ms: worker.ready_at.map(wall_ms),
            ended_ms: now_ms(),
        });
    }

    /// What they did, the latest end first.
    pub(super) fn lives(&self) -> impl Iterator<Item = WorkerLife> {
        self.0.iter().rev().map(|ended| WorkerLife {
            id: ended.worker.clone(),
            doing: if ended.wanted { Doing::Ended } else { Doing::Crashed },
            started_ms: ended.started_ms,
            ready_ms: ended.ready_ms,
            ended: Some((ended.ended_ms, ended.reason.clone())),
            running: 0,
            loading: None,
            usage: None,
            last_lines: Vec::new(),
        })
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
