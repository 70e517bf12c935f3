//! The lives of all workers of a pool, for display: those that exist, and those that have ended lately.
use std::{collections::HashMap, time::Instant};

use super::{
    life::{Doing, WorkerLife, wall_ms},
    usage::WorkerUsage,
    worker::Phase,
    worker_pool::{Pool, WorkSource},
};
use crate::{supervisor::GroupUsage, worker_id::WorkerId};

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
            let waits = worker.waits_for.as_ref().map(|waiting| waiting.wait.reason().to_owned());
            let life = WorkerLife {
                id: id.clone(),
                doing,
                started_ms: wall_ms(worker.started_at),
                ready_ms: worker.ready_at.map(wall_ms),
                ended: None,
                running,
                loading: loading.or(waits).filter(|_| worker.phase == Phase::Starting),
                usage: worker.measured.and_then(|own| own.usage()),
                last_lines: worker.output.as_ref().map(|output| output.last_lines()).unwrap_or_default(),
            };
            living.push((worker.started_at, life));
        }
        living.sort_by_key(|(started, _)| *started);
        let living = living.into_iter().map(|(_, life)| life);
        living.chain(workers.ended.lives()).collect()
    }

    /// Takes the measurements of its workers out of those of all process groups.
    pub(crate) fn measure(&self, groups: &HashMap<i32, GroupUsage>, now: Instant) {
        let mut workers = self.lock();
        let measured = workers.all.values_mut().filter_map(|worker| worker.measured.as_mut());
        measured.for_each(|own| own.update(groups, now));
    }

    /// What its workers take, by ID. Those that were not measured yet are left out.
    pub(crate) fn usages(&self) -> Vec<(String, WorkerUsage)> {
        let workers = self.lock();
        let usages = workers.all.iter().filter_map(|(id, worker)| Some((id, worker.measured?.usage()?)));
        let mut usages: Vec<_> = usages.map(|(id, usage)| (id.to_string(), usage)).collect();
        usages.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        usages
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
