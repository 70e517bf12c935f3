//! The lives of all workers of a pool, for display: those that exist, and those that have ended lately.
use std::time::Instant;

use super::{
    life::{Doing, WorkerLife, wall_ms},
    worker::Phase,
    worker_pool::{Pool, WorkSource},
};
use crate::worker_id::WorkerId;

impl Pool {
    /// Those that exist, the oldest first, then those that have ended, the latest first.
    pub(crate) fn lives(&self) -> Vec<WorkerLife> {
        let consumers = self.load().consumers;
        let workers = self.lock();
        let mut living: Vec<(Instant, WorkerLife)> = Vec::with_capacity(workers.all.len());
        for (id, worker) in &workers.all {
            let running =
                consumers.iter().find(|(own, _, _)| own == id).map_or(0, |(_, running, _)| *running);
            let doing = match worker.phase {
                Phase::Starting => Doing::Starting,
                Phase::Stopping => Doing::Stopping,
                Phase::Ready if running > 0 => Doing::Busy,
                Phase::Ready => Doing::Idle,
            };
            let loading = worker.loading.as_ref().map(|loading| loading.text.clone());
            let waits = worker.waits_for_gpu.as_ref().map(|reason| format!("waits for a GPU: {reason}"));
            let life = WorkerLife {
                id: id.clone(),
                doing,
                started_ms: wall_ms(worker.started_at),
                ready_ms: worker.ready_at.map(wall_ms),
                ended: None,
                running,
                loading: loading.or(waits).filter(|_| worker.phase == Phase::Starting),
                last_lines: worker.output.as_ref().map(|output| output.last_lines()).unwrap_or_default(),
            };
            living.push((worker.started_at, life));
        }
        living.sort_by_key(|(started, _)| *started);
        let living = living.into_iter().map(|(_, life)| life);
        living.chain(workers.ended.lives()).collect()
    }

    /// The price of one of its workers; `None` if it is not known.
    pub(crate) fn price_per_second(&self) -> Option<u64> {
        self.meter.price().map(|price| price.0)
    }

    /// The requests that its workers have, each with its worker, where requests are balanced.
    pub(crate) fn balanced_requests(&self) -> Vec<(WorkerId, String)> {
        let WorkSource::Balanced(balancer) = &self.source else { return Vec::new() };
        let workers: Vec<WorkerId> = self.lock().all.keys().cloned().collect();
        let of_worker =
            |id: WorkerId| balancer.requests_on(&id).into_iter().map(move |own| (id.clone(), own));
        workers.into_iter().flat_map(of_worker).collect()
    }
}
