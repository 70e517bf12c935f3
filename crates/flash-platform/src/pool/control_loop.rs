//! The loop of a pool: observes, lets the autoscaler decide, and acts.
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    liveness::SilenceWatch,
    worker::{Phase, Stop, Worker},
    worker_life::start,
    worker_pool::{Pool, WorkSource},
};
use crate::{
    autoscaler::{self, Observation, WorkerView, decide},
    queue::{Due, Stuck},
    worker_id::WorkerId,
};

/// The normal interval between two checks.
const PERIOD: Duration = Duration::from_millis(100);
/// The interval of checks while a worker holds a stopped job.
const QUICK_PERIOD: Duration = Duration::from_millis(20);
/// The minimum interval between two checks, so that a busy queue does not keep the loop busy.
const REST: Duration = Duration::from_millis(10);

/// Scales until the pool is closed.
pub(crate) async fn run(pool: Arc<Pool>) {
    let mut watch = SilenceWatch::new(pool.supervision.ping_timeout, Instant::now());
    while !pool.closed.is_cancelled() {
        let now = Instant::now();
        scale(&pool, now);
        kill_silent(&pool, &mut watch, now);
        let mut period = PERIOD;
        if let Some(queue) = pool.queue() {
            queue.feed();
            if queue.end_overdue() == Due::More {
                period = Duration::ZERO;
            }
            period = period.min(queue.next_attempt_in().unwrap_or(period));
        }
        let stuck = pool.stuck(now);
        if !stuck.is_empty() {
            period = period.min(QUICK_PERIOD);
            stop_stuck(&pool, stuck, now);
        }
        tokio::select! {
            () = pool.closed.cancelled() => {}
            () = tokio::time::sleep(period) => {}
            () = pool.changed() => {
                if pool.active() > 0 {
                    tokio::time::sleep(REST).await;
                }
            }
            () = pool.fed() => {}
        }
    }
}

fn scale(pool: &Arc<Pool>, now: Instant) {
    let (min, max) = pool.limits();
    let idle_timeout = match pool.is_task() {
        // Its job was cancelled while it started.
        true => Duration::ZERO,
        false => Duration::from_secs(pool.worker_type.idle_timeout_seconds.into()),
    };
    let limits = autoscaler::Limits {
        min: min as usize,
        max: max as usize,
        slots: pool.worker_type.max_concurrency as usize,
        idle_timeout,
        scaler: pool.worker_type.scaler,
        buffer: pool.worker_type.buffer as usize,
    };
    let decision = decide(&limits, &observe(pool, now));
    pool.lock().held_back = decision.held_back;
    for _ in 0..decision.start {
        start(pool);
    }
    for worker in decision.stop {
        let idle = match &pool.source {
            WorkSource::Queue(queue) => queue.drain_if_idle(&worker),
            WorkSource::Balanced(balancer) => balancer.drain_if_idle(&worker),
        };
        // One that got work in this moment stays.
        if idle {
            pool.stop(&worker, Stop::Drain);
        }
    }
}

fn observe(pool: &Pool, now: Instant) -> Observation {
    let mut load = pool.load();
    if pool.is_task() {
        // No worker runs that low-priority jobs could wait for: their priority is only their place.
        load.waiting += std::mem::take(&mut load.low_priority);
        load.low_priority_running = 0;
    }
    let idle: HashMap<&WorkerId, Instant> =
        load.consumers.iter().filter_map(|(worker, _, idle)| Some((worker, (*idle)?))).collect();
    let workers = pool.lock();
    let view = |(id, worker): (&WorkerId, &Worker)| match (worker.phase, idle.get(id)) {
        (Phase::Stopping, _) => None,
        (Phase::Starting, _) => Some(WorkerView::Starting),
        (Phase::Ready, None) => Some(WorkerView::Busy),
        (Phase::Ready, Some(since)) => {
            Some(WorkerView::Idle { id: id.clone(), idle_for: now.saturating_duration_since(*since) })
        }
    };
    let views: Vec<WorkerView> = workers.all.iter().filter_map(view).collect();
    Observation {
        waiting: load.waiting,
        oldest_wait: load.oldest_wait,
        fanned_out: load.fanned_out,
        low_priority: load.low_priority,
        running: load.running,
        low_priority_running: load.low_priority_running,
        stopping: workers.all.len() - views.len(),
        workers: views,
        since_last_start: workers.last_start.map(|last| now.saturating_duration_since(last)),
        backing_off: workers.crashes.backing_off(now),
    }
}

/// Kills workers whose pings have stopped: their process exists but does nothing. Their jobs continue elsewhere.
fn kill_silent(pool: &Pool, watch: &mut SilenceWatch, now: Instant) {
    watch.check(now);
    let mut workers = pool.lock();
    if workers.crashes.any() && workers.any_has_long_life(now) {
        workers.crashes.proven();
    }
    let silent = |(id, worker): (&WorkerId, &Worker)| {
        Some((id.clone(), watch.too_silent(&worker.pulse).filter(|_| !worker.is_being_killed())?))
    };
    let silent: Vec<(WorkerId, Duration)> = workers.all.iter().filter_map(silent).collect();
    drop(workers);
    for (id, silence) in silent {
        pool.say(Some(&id), format!("has not pinged for {} s: killed", silence.as_secs()));
        pool.drain(&id);
        pool.stop(&id, Stop::Now);
    }
}

/// Stops workers that hold stopped work: SIGTERM first, then SIGKILL.
fn stop_stuck(pool: &Pool, stuck: Vec<Stuck>, now: Instant) {
    let (work, ended) = match &pool.source {
        WorkSource::Queue(_) => ("a stopped job", "a job that was stopped"),
        WorkSource::Balanced(_) => ("an ended request", "a request that ended"),
    };
    for Stuck { worker, stopping_for } in stuck {
        let Some(terminated) = pool.terminated_at(&worker) else {
            let held = stopping_for.as_millis();
            pool.say(Some(&worker), format!("still working on {ended} {held} ms ago: sent SIGTERM"));
            pool.drain(&worker);
            pool.stop(&worker, Stop::Terminate);
            continue;
        };
        if now.saturating_duration_since(terminated) >= pool.supervision.stop_grace / 2
            && pool.stop(&worker, Stop::Now)
        {
            pool.say(Some(&worker), format!("still working on {work}: killed"));
        }
    }
}
