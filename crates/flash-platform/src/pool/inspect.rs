//! Read access to the workers of a pool: counts by state, and whether they are ready.
use std::{collections::HashMap, sync::Arc};

use super::{Phase, Pool};
use crate::{tally::Tally, worker_id::WorkerId};

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
}

/// Why a worker is not ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NotReady {
    pub reason: String,
    /// Of its stderr, oldest first.
    pub last_lines: Vec<String>,
}

impl Pool {
    /// Workers by phase.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        self.lock().all.values().map(|worker| worker.phase).collect()
    }

    /// Workers that are down because of repeated crashes: those that the load requires, and at least one.
    pub(crate) fn unhealthy(&self) -> usize {
        let workers = self.lock();
        if workers.crashes.is_loop() { workers.held_back.max(1) } else { 0 }
    }

    /// Workers that the load requires and that wait for the end of a pause, without a crash loop.
    pub(crate) fn throttled(&self) -> usize {
        let workers = self.lock();
        if workers.crashes.is_loop() { 0 } else { workers.held_back }
    }

    /// Number of workers by state.
    pub(crate) fn counts(&self) -> Counts {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let load = self.load();
        let idle_consumers: HashMap<&WorkerId, bool> =
            load.consumers.iter().map(|(worker, _, idle)| (worker, idle.is_some())).collect();
        let mut counts = Counts {
            unhealthy: number(self.unhealthy()),
            throttled: number(self.throttled()),
            ..Counts::default()
        };
        for (id, worker) in &self.lock().all {
            match (worker.phase, idle_consumers.get(id)) {
                (Phase::Starting, _) => counts.starting += 1,
                (Phase::Stopping, _) => counts.stopping += 1,
                (Phase::Ready, Some(false)) => counts.busy += 1,
                (Phase::Ready, _) => counts.idle += 1,
            }
        }
        counts
    }

    /// The last lines of an existing worker, for the error if it is not ready in time.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        let outputs: Vec<_> = self.lock().all.values().filter_map(|worker| worker.output.clone()).collect();
        outputs.iter().map(|output| output.last_lines()).find(|lines| !lines.is_empty()).unwrap_or_default()
    }

    /// The statistics of its type, in all releases.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        self.meter.tally()
    }

    /// Waits until `count` workers are ready.
    ///
    /// # Errors
    /// Why a worker that was starting is not.
    pub(crate) async fn wait_ready(&self, count: usize) -> Result<(), NotReady> {
        loop {
            let changed = self.phases.notified();
            {
                let workers = self.lock();
                if workers.all.values().filter(|worker| worker.phase == Phase::Ready).count() >= count {
                    return Ok(());
                }
                if workers.crashes.any() {
                    return Err(workers.last_crash.clone().unwrap_or_default());
                }
            }
            changed.await;
        }
    }
}
