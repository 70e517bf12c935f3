//! The workers of a pool at one moment: which there are, in which state, and what their keys admit. No I/O.
use std::{collections::HashMap, time::Instant};

use super::{
    crash::Crashes,
    ended_workers::EndedWorkers,
    worker::{Phase, Waiting, Worker},
};
use crate::{queue::Load, supervisor::Output, worker_id::WorkerId};

/// Number of workers by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Started, and not ready yet.
    pub starting: u32,
    /// Ready and without work.
    pub idle: u32,
    /// Ready and with at least one job or request.
    pub busy: u32,
    /// Ending; they may still finish work.
    pub stopping: u32,
    /// Down because of repeated crashes.
    pub unhealthy: u32,
    /// Required by the load, but delayed for a moment after a crash.
    pub throttled: u32,
    /// Seconds since the start of the one that has been starting the longest.
    pub loading_seconds: Option<u64>,
}

/// Why a worker is not ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NotReady {
    pub reason: String,
    /// Of its stderr, oldest first.
    pub last_lines: Vec<String>,
}

/// The workers of a pool, and what it remembers of those that ended.
#[derive(Default)]
pub(super) struct Workers {
    pub all: HashMap<WorkerId, Worker>,
    pub last_start: Option<Instant>,
    pub crashes: Crashes,
    pub last_crash: Option<NotReady>,
    /// Workers that the load requires but that crashes delay.
    pub held_back: usize,
    pub ended: EndedWorkers,
}

impl Workers {
    /// The phase of a worker; `None` for one that has ended or never was.
    pub(super) fn phase(&self, id: &WorkerId) -> Option<Phase> {
        self.all.get(id).map(|worker| worker.phase)
    }

    /// How many there are that were not asked to stop.
    pub(super) fn active(&self) -> usize {
        self.all.values().filter(|worker| worker.phase != Phase::Stopping).count()
    }

    /// Workers that are down because of repeated crashes: those that the load requires, and at least one.
    pub(super) fn unhealthy(&self) -> usize {
        if self.crashes.is_loop() { self.held_back.max(1) } else { 0 }
    }

    /// Workers that the load requires and that wait for the end of a pause, without a crash loop.
    pub(super) fn throttled(&self) -> usize {
        if self.crashes.is_loop() { 0 } else { self.held_back }
    }

    /// Number of workers by state.
    pub(super) fn counts(&self, load: &Load) -> Counts {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let idle_consumers: HashMap<&WorkerId, bool> =
            load.consumers.iter().map(|(worker, _, idle)| (worker, idle.is_some())).collect();
        let mut counts = Counts {
            unhealthy: number(self.unhealthy()),
            throttled: number(self.throttled()),
            ..Counts::default()
        };
        for (id, worker) in &self.all {
            match (worker.phase, idle_consumers.get(id)) {
                (Phase::Starting, _) => {
                    counts.starting += 1;
                    let seconds = worker.started_at.elapsed().as_secs();
                    counts.loading_seconds = counts.loading_seconds.max(Some(seconds));
                }
                (Phase::Stopping, _) => counts.stopping += 1,
                (Phase::Ready, Some(false)) => counts.busy += 1,
                (Phase::Ready, _) => counts.idle += 1,
            }
        }
        counts
    }

    /// Their outputs, of those that have a process.
    pub(super) fn outputs(&self) -> Vec<Output> {
        self.all.values().filter_map(|worker| worker.output.clone()).collect()
    }

    /// What those that start wait for, of one of them.
    pub(super) fn waits_for(&self) -> Option<&str> {
        self.all.values().find_map(|worker| worker.waits_for.as_ref()).map(|waiting| waiting.wait.reason())
    }

    /// Whether `count` of them are ready, or why one that was starting is not; `None` while that is open. One that waits
    /// for a GPU or a place counts as ready: it may be that of the workers which these replace.
    pub(super) fn readiness(&self, count: usize) -> Option<Result<(), NotReady>> {
        let is_done = |worker: &&Worker| {
            worker.phase == Phase::Ready
                || (worker.phase == Phase::Starting
                    && worker.waits_for.as_ref().is_some_and(Waiting::is_for_a_place))
        };
        if self.all.values().filter(is_done).count() >= count {
            return Some(Ok(()));
        }
        let mut waiting = self.all.values().filter_map(|worker| worker.waits_for.as_ref());
        if let Some(waiting) = waiting.find(|waiting| waiting.is_in_vain()) {
            let reason = waiting.wait.reason().to_owned();
            return Some(Err(NotReady { reason, last_lines: Vec::new() }));
        }
        self.crashes.any().then(|| Err(self.last_crash.clone().unwrap_or_default()))
    }

    /// Whether one of them has lived long enough since it was ready that its end would not count as a failed start.
    pub(super) fn any_has_long_life(&self, now: Instant) -> bool {
        self.all.values().any(|worker| worker.has_long_life(now))
    }

    /// The worker with this id, if this is its key.
    pub(super) fn with_key(&self, id: &WorkerId, key: &str) -> Option<&Worker> {
        self.all.get(id).filter(|worker| is_same(&worker.key, key))
    }

    /// Whether this is the key of one of them.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.all.values().any(|worker| is_same(&worker.key, key))
    }

    /// Whether this is the key of a recently ended worker.
    pub(super) fn remembers(&self, id: &WorkerId, key: &str) -> bool {
        self.ended.key(id).is_some_and(|own| is_same(own, key))
    }

    /// Whether a starting worker repeats a line of the last crashed one, so that the reason for failing starts is
    /// logged only once.
    pub(super) fn said_before(&self, id: &WorkerId, text: &str) -> bool {
        let is_starting = self.all.get(id).is_some_and(|worker| worker.phase == Phase::Starting);
        let last = self.last_crash.as_ref().filter(|_| is_starting && self.crashes.any());
        last.is_some_and(|last| last.last_lines.iter().any(|line| line == text))
    }
}

/// In constant time.
fn is_same(own: &str, given: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    own.as_bytes().ct_eq(given.as_bytes()).into()
}
