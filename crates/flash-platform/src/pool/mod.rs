//! The workers of one worker type in one release: observes, lets the autoscaler decide, and acts.
//!
//! It holds the worker processes of its type with their keys and phases. Jobs are in the queue, requests in the
//! balancer. This file contains the pool and its loop. `worker` is the life of one worker, `crash` decides when the
//! next one may start, `liveness` detects silent workers, and `inspect` provides read access.
mod crash;
mod inspect;
mod liveness;
mod requests;
mod worker;
mod worker_line;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use flash_protocol::{
    manifest::{EndpointKind, WorkerType},
    wire::exchange::{ToWorker, Writer},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    autoscaler::{self, Observation, WorkerView, decide},
    balancer::Balancer,
    launch::{CommandWorker, Launch},
    logs::{LogLine, Sink},
    meter::{Account, Billing, Meter},
    queue::{DeliveryMode, Due, JobId, Limits, Load, OnEnd, Queue, QueueContext, Stuck, WorkerId},
    supervisor::{Isolation, Lifeline},
};
pub(crate) use crash::Crashes;
#[cfg(test)]
pub(crate) use crash::Death;
pub use inspect::Counts;
pub(crate) use inspect::NotReady;
pub(crate) use liveness::Pulse;
use liveness::SilenceWatch;
#[cfg(test)]
pub(super) use worker::START_LIMIT;
use worker::{Stop, Worker};

use requests::EndedWorkers;
pub(crate) use requests::Resumed;

/// The normal interval between two checks.
const PERIOD: Duration = Duration::from_millis(100);
/// The interval of checks while a worker holds a stopped job.
const QUICK_PERIOD: Duration = Duration::from_millis(20);
/// The minimum interval between two checks, so that a busy queue does not keep the loop busy.
const REST: Duration = Duration::from_millis(10);

/// How work reaches the workers.
pub(crate) enum WorkSource {
    Queue(Arc<Queue>),
    Balanced(Arc<Balancer>),
}

/// The state of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Ready,
    Stopping,
}

#[derive(Default)]
struct Workers {
    all: HashMap<WorkerId, Worker>,
    last_start: Option<Instant>,
    crashes: Crashes,
    last_crash: Option<NotReady>,
    /// Workers that the load requires but that crashes delay.
    held_back: usize,
    ended: EndedWorkers,
}

/// Limits for workers that do not respond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supervision {
    /// How long a worker that pings may be silent before it is killed; `None` for no limit.
    pub ping_timeout: Option<Duration>,
    /// How long a stopped job may hold its worker: SIGTERM is sent after half of it, SIGKILL at its end.
    pub stop_grace: Duration,
}

impl Supervision {
    /// How often workers should ping: three times within the limit. In whole seconds, because the official worker
    /// rounds down, and would ping without a pause below one.
    pub fn ping_interval(&self) -> Duration {
        let third = self.ping_timeout.map_or(u64::MAX, |timeout| timeout.as_secs() / 3);
        Duration::from_secs(third.clamp(1, 4))
    }
}

impl Default for Supervision {
    fn default() -> Self {
        Self { ping_timeout: Some(Duration::from_secs(15)), stop_grace: Duration::from_millis(500) }
    }
}

/// See the module.
pub(crate) struct Pool {
    pub worker_type: WorkerType,
    pub source: WorkSource,
    launch: Launch,
    meter: Meter,
    workers: Mutex<Workers>,
    /// A worker's phase changed.
    phases: Notify,
    log: Sink,
    lifeline: Lifeline,
    isolation: Isolation,
    drain_time: Duration,
    supervision: Supervision,
    /// Stops the loop; workers are stopped by `close`.
    closed: CancellationToken,
    /// The platform ends, and with it everything that would not end by itself.
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// What all pools of a platform share.
#[derive(Clone)]
pub(crate) struct PoolContext {
    pub log: Sink,
    pub lifeline: Lifeline,
    pub isolation: Isolation,
    pub drain_time: Duration,
    pub supervision: Supervision,
    pub tasks: TaskTracker,
    pub closing: CancellationToken,
    pub queues: QueueContext,
    pub billing: Billing,
}

impl Pool {
    /// Creates a pool without workers; [`Pool::run`] starts it.
    pub(crate) fn new(
        worker_type: WorkerType,
        release: u64,
        launch: Launch,
        context: &PoolContext,
        meter: Meter,
        on_end: OnEnd,
    ) -> Arc<Self> {
        let limits = Limits {
            execution_timeout: Duration::from_secs(worker_type.execution_timeout_seconds.into()),
            stop_grace: context.supervision.stop_grace / 2,
            ..Limits::default()
        };
        let source = match worker_type.kind {
            EndpointKind::Queue => {
                let queue = Queue::new(&worker_type.name, release, limits, &context.queues, on_end);
                WorkSource::Queue(Arc::new(queue))
            }
            EndpointKind::LoadBalanced => WorkSource::Balanced(Arc::default()),
        };
        let PoolContext { log, lifeline, isolation, drain_time, supervision, tasks, closing, .. } =
            context.clone();
        Arc::new(Self {
            worker_type,
            source,
            launch,
            meter,
            workers: Mutex::default(),
            phases: Notify::new(),
            log,
            lifeline,
            isolation,
            drain_time,
            supervision,
            closed: CancellationToken::new(),
            closing,
            tasks,
        })
    }

    /// The queue; `None` for a load-balanced worker type.
    pub(crate) fn queue(&self) -> Option<&Arc<Queue>> {
        match &self.source {
            WorkSource::Queue(queue) => Some(queue),
            WorkSource::Balanced(_) => None,
        }
    }

    /// The program that its workers are; `None` when they are the app's own.
    pub(crate) fn command(&self) -> Option<&CommandWorker> {
        self.launch.command(&self.worker_type.name)
    }

    fn lock(&self) -> MutexGuard<'_, Workers> {
        // As in the queue: the data is consistent after the last complete step.
        self.workers.lock()
    }

    /// Scales until the pool is closed.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut watch = SilenceWatch::new(self.supervision.ping_timeout, Instant::now());
        while !self.closed.is_cancelled() {
            let now = Instant::now();
            self.scale(now);
            self.kill_silent(&mut watch, now);
            let mut period = PERIOD;
            if let Some(queue) = self.queue() {
                queue.feed();
                if queue.end_overdue() == Due::More {
                    period = Duration::ZERO;
                }
            }
            let stuck = self.stuck(now);
            if !stuck.is_empty() {
                period = period.min(QUICK_PERIOD);
                self.stop_stuck(stuck, now);
            }
            tokio::select! {
                () = self.closed.cancelled() => {}
                () = tokio::time::sleep(period) => {}
                () = self.changed() => {
                    if self.active() > 0 {
                        tokio::time::sleep(REST).await;
                    }
                }
                () = self.fed() => {}
            }
        }
    }

    async fn changed(&self) {
        match &self.source {
            WorkSource::Queue(queue) => queue.changed().await,
            WorkSource::Balanced(balancer) => balancer.changed().await,
        }
    }

    /// Waits until jobs that needed a mark can be dispatched.
    async fn fed(&self) {
        if let Some(queue) = self.queue()
            && queue.fed().await.is_ok()
        {
            return;
        }
        // Failed writes are retried at the next check.
        std::future::pending().await
    }

    /// How busy it is.
    pub(crate) fn load(&self) -> Load {
        match &self.source {
            WorkSource::Queue(queue) => queue.load(),
            WorkSource::Balanced(balancer) => balancer.load(Instant::now()),
        }
    }

    /// Whether nothing waits or runs.
    pub(crate) fn is_idle(&self) -> bool {
        match &self.source {
            WorkSource::Queue(queue) => queue.is_idle(),
            WorkSource::Balanced(balancer) => balancer.is_idle(),
        }
    }

    fn active(&self) -> usize {
        self.lock().all.values().filter(|worker| worker.phase != Phase::Stopping).count()
    }

    fn observe(&self, now: Instant) -> Observation {
        let load = self.load();
        let idle: HashMap<&WorkerId, Instant> =
            load.consumers.iter().filter_map(|(worker, _, idle)| Some((worker, (*idle)?))).collect();
        let workers = self.lock();
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

    fn scale(self: &Arc<Self>, now: Instant) {
        let limits = autoscaler::Limits {
            min: self.worker_type.workers_min as usize,
            max: self.worker_type.workers_max as usize,
            slots: self.worker_type.max_concurrency as usize,
            idle_timeout: Duration::from_secs(self.worker_type.idle_timeout_seconds.into()),
            scaler: self.worker_type.scaler,
        };
        let decision = decide(&limits, &self.observe(now));
        self.lock().held_back = decision.held_back;
        for _ in 0..decision.start {
            self.start();
        }
        for worker in decision.stop {
            let idle = match &self.source {
                WorkSource::Queue(queue) => queue.drain_if_idle(&worker),
                WorkSource::Balanced(balancer) => balancer.drain_if_idle(&worker),
            };
            // One that got work in this moment stays.
            if idle {
                self.stop(&worker, Stop::Drain);
            }
        }
    }

    /// Kills workers whose pings have stopped: their process exists but does nothing. Their jobs continue elsewhere.
    fn kill_silent(&self, watch: &mut SilenceWatch, now: Instant) {
        watch.check(now);
        let mut workers = self.lock();
        if workers.crashes.any() && workers.all.values().any(|worker| worker.has_long_life(now)) {
            workers.crashes.proven();
        }
        let silent = |(id, worker): (&WorkerId, &Worker)| {
            Some((id.clone(), watch.too_silent(&worker.pulse).filter(|_| !worker.is_being_killed())?))
        };
        let silent: Vec<(WorkerId, Duration)> = workers.all.iter().filter_map(silent).collect();
        drop(workers);
        for (id, silence) in silent {
            self.say(Some(&id), format!("has not pinged for {} s: killed", silence.as_secs()));
            self.drain(&id);
            self.stop(&id, Stop::Now);
        }
    }

    /// Workers that hold jobs or requests that have been stopped.
    fn stuck(&self, now: Instant) -> Vec<Stuck> {
        match &self.source {
            WorkSource::Queue(queue) => queue.stuck(now),
            WorkSource::Balanced(balancer) => {
                let limit = Duration::from_secs(self.worker_type.execution_timeout_seconds.into());
                balancer.stuck(now, limit, self.supervision.stop_grace / 2)
            }
        }
    }

    /// Stops workers that hold stopped work: SIGTERM first, then SIGKILL.
    fn stop_stuck(&self, stuck: Vec<Stuck>, now: Instant) {
        let (work, ended) = match &self.source {
            WorkSource::Queue(_) => ("a stopped job", "a job that was stopped"),
            WorkSource::Balanced(_) => ("an ended request", "a request that ended"),
        };
        for Stuck { worker, stopping_for } in stuck {
            let Some(terminated) = self.terminated_at(&worker) else {
                let held = stopping_for.as_millis();
                self.say(Some(&worker), format!("still working on {ended} {held} ms ago: sent SIGTERM"));
                self.drain(&worker);
                self.stop(&worker, Stop::Terminate);
                continue;
            };
            if now.saturating_duration_since(terminated) >= self.supervision.stop_grace / 2
                && self.stop(&worker, Stop::Now)
            {
                self.say(Some(&worker), format!("still working on {work}: killed"));
            }
        }
    }

    fn terminated_at(&self, id: &WorkerId) -> Option<Instant> {
        self.lock().all.get(id).and_then(|worker| worker.terminated_at)
    }

    /// A worker gets nothing more.
    fn drain(&self, id: &WorkerId) {
        match &self.source {
            WorkSource::Queue(queue) => queue.drain(id),
            WorkSource::Balanced(balancer) => balancer.drain(id),
        }
    }

    /// Starts a worker, regardless of the autoscaler.
    pub(crate) fn start(self: &Arc<Self>) {
        let short = uuid::Uuid::new_v4().simple().to_string();
        let id: WorkerId = format!("{}-{}", self.worker_type.name, &short[..6]).into();
        self.start_as(id, self.lock());
    }

    fn start_as(self: &Arc<Self>, id: WorkerId, mut workers: MutexGuard<'_, Workers>) {
        // Under the lock, because `close` stops all workers that it finds, and nothing would stop a later one.
        if self.closed.is_cancelled() {
            return;
        }
        let key = uuid::Uuid::new_v4().simple().to_string();
        let (worker, stopped) = Worker::new(key.clone(), self.meter.open(&id));
        workers.last_start = Some(Instant::now());
        workers.all.insert(id.clone(), worker);
        drop(workers);
        if let WorkSource::Balanced(balancer) = &self.source {
            balancer.expect(&id);
        }
        let pool = self.clone();
        self.tasks.spawn(async move {
            let ended = pool.run_worker(&id, &key, stopped).await;
            pool.record_exit(&id, ended);
        });
    }

    fn phase(&self, id: &WorkerId) -> Option<Phase> {
        self.lock().all.get(id).map(|worker| worker.phase)
    }

    /// Whether this is the key of this worker. A request with it is a sign of life.
    pub(crate) fn admits(&self, id: &WorkerId, key: &str) -> bool {
        let workers = self.lock();
        let Some(worker) = workers.all.get(id).filter(|worker| is_same(&worker.key, key)) else {
            return false;
        };
        worker.pulse.heard();
        true
    }

    /// Whether this is the key of one of its workers.
    pub(crate) fn has_key(&self, key: &str) -> bool {
        self.lock().all.values().any(|worker| is_same(&worker.key, key))
    }

    /// Whether this is the key of a recently ended worker, some child of which may still run.
    pub(crate) fn remembers(&self, id: &WorkerId, key: &str) -> bool {
        self.lock().ended.key(id).is_some_and(|own| is_same(own, key))
    }

    /// A queue worker is ready for jobs.
    pub(crate) fn ready_for_jobs(&self, id: &WorkerId, mode: DeliveryMode, slots: u32) {
        if let Some(queue) = self.queue()
            && let Some(account) = self.became_ready(id)
        {
            queue.attach(id, mode, slots, account);
            if self.phase(id).is_none() {
                // It ended at this moment, so it must be detached here.
                queue.detach_stopped(id, "ended just as it became ready");
            }
        }
    }

    /// A load-balanced worker is ready for requests.
    pub(crate) fn ready_for_requests(
        &self,
        id: &WorkerId,
        address: SocketAddr,
        slots: u32,
        frames: Option<Writer<ToWorker>>,
    ) {
        if let WorkSource::Balanced(balancer) = &self.source
            && let Some(account) = self.became_ready(id)
        {
            balancer.attach(id, address, slots, account, frames);
        }
    }

    /// A worker has released a request that nobody waited for.
    pub(crate) fn released(&self, id: &WorkerId, slot: u64) {
        if let WorkSource::Balanced(balancer) = &self.source {
            balancer.released(id, slot);
        }
    }

    /// The account for its work; `None` for a worker that is already ready, stopping or unknown.
    fn became_ready(&self, id: &WorkerId) -> Option<Account> {
        let mut workers = self.lock();
        let worker = workers.all.get_mut(id).filter(|worker| worker.phase == Phase::Starting)?;
        worker.phase = Phase::Ready;
        worker.ready_at = Some(Instant::now());
        let account = worker.account.clone();
        account.ready();
        drop(workers);
        self.phases.notify_waiters();
        Some(account)
    }

    /// The signs of life of a worker, for code that reads its messages.
    pub(crate) fn pulse(&self, id: &WorkerId) -> Option<Arc<Pulse>> {
        self.lock().all.get(id).map(|worker| worker.pulse.clone())
    }

    /// A worker pinged.
    pub(crate) fn pinged(&self, id: &WorkerId) {
        if let Some(pulse) = self.pulse(id) {
            pulse.pings();
        }
    }

    /// A worker finished a job or request, so this worker type works despite earlier crashes.
    pub(crate) fn served(&self, pulse: &Pulse) {
        if pulse.served() {
            self.lock().crashes.proven();
        }
    }

    /// A worker reports that one of its checks failed. It then ends by itself.
    pub(crate) fn say_unhealthy(&self, id: &WorkerId, check: &str, reason: &str) {
        let reason: String = reason.chars().take(256).collect();
        self.say(Some(id), format!("reports itself unhealthy: {check}: {reason}"));
    }

    /// Logs a result that arrived too late: the attempt was lost, so it must not end the job.
    pub(crate) fn say_late(&self, id: &WorkerId, job: JobId, attempt: Option<u32>) {
        let attempt = attempt.map_or(String::new(), |attempt| format!(", attempt {attempt}"));
        let mut line = LogLine::system(
            &self.worker_type.name,
            Some(id),
            format!("refused a late result of job {job}{attempt}: the worker no longer has the job"),
        );
        line.request_id = Some(job.to_string());
        line.job_id = Some(job.to_string());
        (self.log)(line);
    }

    /// The current job or request of a worker ends now: output so far belongs to it.
    pub(crate) fn work_ends(&self, id: &WorkerId) {
        let output = self.lock().all.get(id).and_then(|worker| worker.output.clone());
        if let Some(output) = output {
            output.work_ends();
        }
    }

    /// The connection of a worker has ended, and the worker has ended or soon will. Its exit shows why.
    pub(crate) fn lost_connection(&self, id: &WorkerId) {
        self.stop(id, Stop::HungUp);
    }

    /// A worker asks to be replaced, or must be.
    pub(crate) fn replace(&self, id: &WorkerId) {
        self.drain(id);
        self.stop(id, Stop::Drain);
    }

    /// `true` if this is stronger than what the worker was asked before.
    fn stop(&self, id: &WorkerId, how: Stop) -> bool {
        self.lock().all.get_mut(id).is_some_and(|worker| worker.ask_to_stop(how))
    }

    /// Whether it was closed and no worker is left.
    pub(crate) fn is_over(&self) -> bool {
        self.closed.is_cancelled() && self.lock().all.is_empty()
    }

    /// Waits until no worker is left.
    pub(crate) async fn ended(&self) {
        loop {
            let changed = self.phases.notified();
            if self.lock().all.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Stops scaling and every worker: those with work get the drain time.
    pub(crate) fn close(&self) {
        self.closed.cancel();
        let all: Vec<WorkerId> = self.lock().all.keys().cloned().collect();
        for worker in all {
            self.drain(&worker);
            self.stop(&worker, Stop::Drain);
        }
    }

    /// Kills every worker that is left.
    pub(crate) fn kill(&self) {
        let all: Vec<WorkerId> = self.lock().all.keys().cloned().collect();
        for worker in all {
            self.stop(&worker, Stop::Now);
        }
    }

    fn say(&self, worker: Option<&WorkerId>, text: String) {
        (self.log)(LogLine::system(&self.worker_type.name, worker, text));
    }
}

/// In constant time.
fn is_same(own: &str, given: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    own.as_bytes().ct_eq(given.as_bytes()).into()
}
