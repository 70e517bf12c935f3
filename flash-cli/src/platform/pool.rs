//! The workers of one worker type in one release: observes, has the autoscaler decide, carries out.
//!
//! Owns the worker processes of its type, their keys and phases. Jobs are the queue's, requests the
//! balancer's.
use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use flash_sdk::{
    ErrorKind, WireError,
    manifest::{EndpointKind, WorkerType},
};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    autoscaler::{self, Observation, WorkerView, decide},
    balancer::Balancer,
    health::HealthCheck,
    launch::{CommandWorker, Launch},
    log::{LogLine, Sink},
    queue::{Limits, Link, Load, OnEnd, Queue, QueueContext, Stuck, WorkerId},
    supervisor::{Exit, Lifeline, Output, Process},
};

/// Between two looks when nothing calls for a sooner one.
const PERIOD: Duration = Duration::from_millis(100);
/// Between two looks at least, so that a busy queue does not keep the loop busy.
const REST: Duration = Duration::from_millis(10);
/// For how long a worker may take to become ready: the provider's limit for a cold start.
const START_LIMIT: Duration = Duration::from_secs(7 * 60);
/// How long a worker that closed its connection may take to end.
const HUNG_UP_GRACE: Duration = Duration::from_secs(2);
/// After this many starts in a row that never became ready, those who wait are told.
const CRASHES_UNTIL_UNHEALTHY: u32 = 3;
/// Longest pause between starts of a worker type that crashes.
const MAX_BACK_OFF: Duration = Duration::from_secs(30);

/// How work reaches the workers.
pub(crate) enum Intake {
    Queue(Arc<Queue>),
    Balanced(Arc<Balancer>),
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Ready,
    Stopping,
}

/// How a worker is asked to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Stop {
    No,
    /// Wanted: finish what runs, within the drain time.
    Drain,
    /// Not wanted: it hung up, so it is ending by itself or broken.
    HungUp,
    Now,
}

struct Worker {
    phase: Phase,
    key: String,
    stop: watch::Sender<Stop>,
    output: Option<Arc<Output>>,
}

#[derive(Default)]
struct Workers {
    all: HashMap<WorkerId, Worker>,
    last_start: Option<Instant>,
    /// Starts in a row that never became ready.
    crashes: u32,
    start_again_at: Option<Instant>,
    last_crash: Option<String>,
}

/// See the module.
pub(crate) struct Pool {
    pub worker_type: WorkerType,
    pub intake: Intake,
    launch: Launch,
    workers: Mutex<Workers>,
    /// A worker's phase changed.
    phases: Notify,
    log: Sink,
    lifeline: Lifeline,
    drain_time: Duration,
    /// Stops the loop; workers are stopped by `close`.
    closed: CancellationToken,
    tasks: TaskTracker,
}

/// What all pools of a platform share.
#[derive(Clone)]
pub(crate) struct PoolContext {
    pub log: Sink,
    pub lifeline: Lifeline,
    pub drain_time: Duration,
    pub tasks: TaskTracker,
    pub queues: QueueContext,
}

impl Pool {
    /// A pool without workers; [`Pool::run`] brings it to life.
    pub(crate) fn new(
        worker_type: WorkerType,
        launch: Launch,
        context: &PoolContext,
        on_end: OnEnd,
    ) -> Arc<Self> {
        let limits = Limits {
            execution_timeout: Duration::from_secs(worker_type.execution_timeout_seconds.into()),
            ..Limits::default()
        };
        let intake = match worker_type.kind {
            EndpointKind::Queue => {
                let queue = Queue::new(&worker_type.name, limits, &context.queues, on_end);
                Intake::Queue(Arc::new(queue))
            }
            EndpointKind::LoadBalanced => Intake::Balanced(Arc::default()),
        };
        let PoolContext { log, lifeline, drain_time, tasks, queues: _ } = context.clone();
        Arc::new(Self {
            worker_type,
            intake,
            launch,
            workers: Mutex::default(),
            phases: Notify::new(),
            log,
            lifeline,
            drain_time,
            closed: CancellationToken::new(),
            tasks,
        })
    }

    /// The queue; `None` for a load-balanced worker type.
    pub(crate) fn queue(&self) -> Option<&Arc<Queue>> {
        match &self.intake {
            Intake::Queue(queue) => Some(queue),
            Intake::Balanced(_) => None,
        }
    }

    /// The program that its workers are; `None` when they are the app's own.
    pub(crate) fn command(&self) -> Option<&CommandWorker> {
        self.launch.command(&self.worker_type.name)
    }

    fn lock(&self) -> MutexGuard<'_, Workers> {
        // As in the queue: the data is what the last full step left.
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scales until the pool is closed.
    pub(crate) async fn run(self: Arc<Self>) {
        while !self.closed.is_cancelled() {
            let now = Instant::now();
            self.scale(now);
            if let Some(queue) = self.queue() {
                for Stuck { worker, .. } in queue.end_overdue() {
                    self.say(Some(&worker), "does not let go of a stopped job: killed".to_owned());
                    self.stop(&worker, Stop::Now);
                }
            }
            tokio::select! {
                () = self.closed.cancelled() => {}
                () = tokio::time::sleep(PERIOD) => {}
                () = self.changed() => {
                    if self.active() > 0 {
                        tokio::time::sleep(REST).await;
                    }
                }
            }
        }
    }

    async fn changed(&self) {
        match &self.intake {
            Intake::Queue(queue) => queue.changed().await,
            Intake::Balanced(balancer) => balancer.changed().await,
        }
    }

    /// How busy it is.
    pub(crate) fn load(&self) -> Load {
        match &self.intake {
            Intake::Queue(queue) => queue.load(),
            Intake::Balanced(balancer) => balancer.load(Instant::now()),
        }
    }

    /// Whether nothing waits or runs.
    pub(crate) fn is_idle(&self) -> bool {
        match &self.intake {
            Intake::Queue(queue) => queue.is_idle(),
            Intake::Balanced(balancer) => balancer.is_idle(),
        }
    }

    fn active(&self) -> usize {
        self.lock().all.values().filter(|worker| worker.phase != Phase::Stopping).count()
    }

    fn observe(&self, now: Instant) -> Observation {
        let load = self.load();
        let idle: HashMap<&WorkerId, Instant> =
            load.takers.iter().filter_map(|(worker, _, idle)| Some((worker, (*idle)?))).collect();
        let workers = self.lock();
        let view = |(id, worker): (&WorkerId, &Worker)| match (worker.phase, idle.get(id)) {
            (Phase::Stopping, _) => None,
            (Phase::Starting, _) => Some(WorkerView::Starting),
            (Phase::Ready, None) => Some(WorkerView::Busy),
            (Phase::Ready, Some(since)) => {
                Some(WorkerView::Idle { id: id.clone(), idle_for: now.saturating_duration_since(*since) })
            }
        };
        Observation {
            waiting: load.waiting,
            oldest_wait: load.oldest_wait,
            running: load.running,
            since_last_start: workers.last_start.map(|last| now.saturating_duration_since(last)),
            backing_off: workers.start_again_at.is_some_and(|again| now < again),
            workers: workers.all.iter().filter_map(view).collect(),
        }
    }

    fn scale(self: &Arc<Self>, now: Instant) {
        let limits = autoscaler::Limits {
            min: self.worker_type.workers_min as usize,
            max: self.worker_type.workers_max as usize,
            idle_timeout: Duration::from_secs(self.worker_type.idle_timeout_seconds.into()),
            scaler: self.worker_type.scaler,
        };
        let decision = decide(&limits, &self.observe(now));
        for _ in 0..decision.start {
            self.start();
        }
        for worker in decision.stop {
            let idle = match &self.intake {
                Intake::Queue(queue) => queue.drain_if_idle(&worker),
                Intake::Balanced(balancer) => balancer.drain_if_idle(&worker),
            };
            // One that got work in this moment stays.
            if idle {
                self.stop(&worker, Stop::Drain);
            }
        }
    }

    /// Starts a worker, whatever the autoscaler would say.
    pub(crate) fn start(self: &Arc<Self>) {
        let short = uuid::Uuid::new_v4().simple().to_string();
        let id: WorkerId = format!("{}-{}", self.worker_type.name, &short[..6]).into();
        let key = uuid::Uuid::new_v4().simple().to_string();
        let (stop, stopped) = watch::channel(Stop::No);
        let mut workers = self.lock();
        workers.last_start = Some(Instant::now());
        workers
            .all
            .insert(id.clone(), Worker { phase: Phase::Starting, key: key.clone(), stop, output: None });
        drop(workers);
        let pool = self.clone();
        self.tasks.spawn(async move {
            let ended = pool.live(&id, &key, stopped).await;
            pool.bury(&id, ended);
        });
    }

    /// The life of one worker, from spawn to its end. An error text when it never ran.
    async fn live(
        self: &Arc<Self>,
        id: &WorkerId,
        key: &str,
        mut stopped: watch::Receiver<Stop>,
    ) -> Result<Exit, String> {
        let check = self.health_check()?;
        let mut process = self.spawn(id, key, check.as_ref().map(HealthCheck::port))?;
        if let Some(worker) = self.lock().all.get_mut(id) {
            worker.output = Some(process.output());
        }
        let start_limit = tokio::time::sleep(START_LIMIT);
        let watched = self.watch_health(id, check);
        tokio::pin!(start_limit, watched);
        let mut kill_at = None;
        loop {
            let drained = async {
                match kill_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                exit = process.wait() => return exit.map_err(|error| error.to_string()),
                never = &mut watched => match never {},
                _ = stopped.changed() => match *stopped.borrow_and_update() {
                    Stop::No => {}
                    Stop::Drain => {
                        process.terminate();
                        kill_at = Some(tokio::time::Instant::now() + self.drain_time);
                    }
                    Stop::HungUp => kill_at = Some(tokio::time::Instant::now() + HUNG_UP_GRACE),
                    Stop::Now => process.kill(),
                },
                () = drained => {
                    self.say(Some(id), "still runs after the time it was given to end: killed".to_owned());
                    process.kill();
                    kill_at = None;
                }
                () = &mut start_limit, if self.phase(id) == Some(Phase::Starting) => {
                    self.say(Some(id), format!("not ready after {} s: killed", START_LIMIT.as_secs()));
                    process.kill();
                }
            }
        }
    }

    /// How a load-balanced command is found and looked after; a worker of the app says itself when it is
    /// ready, and a queue worker is by asking for its first job.
    fn health_check(&self) -> Result<Option<HealthCheck>, String> {
        match (self.command(), &self.intake) {
            (Some(command), Intake::Balanced(_)) => HealthCheck::on_a_free_port(&command.health_path)
                .map(Some)
                .map_err(|error| format!("no port is free for it: {error}")),
            _ => Ok(None),
        }
    }

    /// Brings requests to a worker once it is healthy, and replaces it when it stays unhealthy.
    async fn watch_health(&self, id: &WorkerId, check: Option<HealthCheck>) -> Infallible {
        if let Some(check) = check {
            check.until_ready(|problem| self.say(Some(id), format!("not ready yet: {problem}"))).await;
            self.ready_for_requests(id, check.address, self.worker_type.max_concurrency);
            let problem = check.until_broken().await;
            self.say(Some(id), format!("unhealthy, so it is replaced: {problem}"));
            self.replace(id);
        }
        std::future::pending().await
    }

    fn spawn(self: &Arc<Self>, id: &WorkerId, key: &str, port: Option<u16>) -> Result<Process, String> {
        let spec = self.launch.spec(&self.worker_type, id, key, port);
        let (log, worker_type, worker) = (self.log.clone(), self.worker_type.name.clone(), id.clone());
        let on_line = Arc::new(move |line| log(LogLine::of_worker(&worker_type, &worker, line)));
        // Weak: the worker's output must not keep its pool alive.
        let (pool, worker) = (Arc::downgrade(self), id.clone());
        let current = Arc::new(move || match &pool.upgrade()?.intake {
            Intake::Queue(queue) => queue.only_request(&worker),
            Intake::Balanced(balancer) => balancer.only_request(&worker),
        });
        Process::spawn(&spec, &self.lifeline, current, on_line).map_err(|error| {
            use std::error::Error as _;
            error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        })
    }

    fn phase(&self, id: &WorkerId) -> Option<Phase> {
        self.lock().all.get(id).map(|worker| worker.phase)
    }

    /// A worker has ended: its jobs go on elsewhere, and a crash slows down the next start.
    fn bury(&self, id: &WorkerId, ended: Result<Exit, String>) {
        let reason = match &ended {
            Ok(exit) => exit.to_string(),
            Err(problem) => problem.clone(),
        };
        match &self.intake {
            Intake::Queue(queue) => queue.detach(id, &reason),
            Intake::Balanced(balancer) => balancer.detach(id),
        }
        let mut workers = self.lock();
        let Some(worker) = workers.all.remove(id) else { return };
        if worker.phase == Phase::Stopping {
            drop(workers);
            self.phases.notify_waiters();
            return;
        }
        if worker.phase == Phase::Starting {
            workers.crashes += 1;
        }
        let unhealthy = workers.crashes >= CRASHES_UNTIL_UNHEALTHY;
        let pause = Duration::from_millis(250 << workers.crashes.min(7)).min(MAX_BACK_OFF);
        if !ended.as_ref().is_ok_and(Exit::is_clean) || worker.phase == Phase::Starting {
            workers.start_again_at = Some(Instant::now() + pause);
            workers.last_crash = Some(reason.clone());
        }
        drop(workers);
        let before = if worker.phase == Phase::Starting { "ended before it was ready" } else { "ended" };
        self.say(Some(id), format!("{before}: {reason}"));
        if unhealthy {
            self.fail_waiting(&reason);
        }
        self.phases.notify_waiters();
    }

    fn fail_waiting(&self, reason: &str) {
        let message = format!("no worker of type `{}` starts: {reason}", self.worker_type.name);
        match &self.intake {
            Intake::Queue(queue) => queue.fail_waiting(&WireError::new(ErrorKind::NoWorker, message)),
            Intake::Balanced(balancer) => balancer.fail_waiting(reason),
        }
    }

    /// Whether this key is that of this worker. In constant time.
    pub(crate) fn admits(&self, id: &WorkerId, key: &str) -> bool {
        use subtle::ConstantTimeEq as _;
        self.lock().all.get(id).is_some_and(|worker| worker.key.as_bytes().ct_eq(key.as_bytes()).into())
    }

    /// A queue worker is ready for jobs.
    pub(crate) fn ready_for_jobs(&self, id: &WorkerId, link: Link, slots: u32) {
        if let Some(queue) = self.queue()
            && self.became_ready(id)
        {
            queue.attach(id, link, slots);
        }
    }

    /// A load-balanced worker is ready for requests.
    pub(crate) fn ready_for_requests(&self, id: &WorkerId, address: SocketAddr, slots: u32) {
        if let Intake::Balanced(balancer) = &self.intake
            && self.became_ready(id)
        {
            balancer.attach(id, address, slots);
        }
    }

    /// `false` for a worker that is ready already, stops, or is unknown.
    fn became_ready(&self, id: &WorkerId) -> bool {
        let mut workers = self.lock();
        workers.crashes = 0;
        workers.start_again_at = None;
        let Some(worker) = workers.all.get_mut(id).filter(|worker| worker.phase == Phase::Starting) else {
            return false;
        };
        worker.phase = Phase::Ready;
        drop(workers);
        self.phases.notify_waiters();
        true
    }

    /// Reads what a worker has printed up to now, before its job ends.
    pub(crate) fn drain_output(&self, id: &WorkerId) {
        let output = self.lock().all.get(id).and_then(|worker| worker.output.clone());
        if let Some(output) = output {
            output.drain();
        }
    }

    /// The connection of a worker is gone; so is the worker, or soon. Its exit says why.
    pub(crate) fn lost_connection(&self, id: &WorkerId) {
        self.stop(id, Stop::HungUp);
    }

    /// A worker asks to be replaced, or must be.
    pub(crate) fn replace(&self, id: &WorkerId) {
        match &self.intake {
            Intake::Queue(queue) => queue.drain(id),
            Intake::Balanced(balancer) => balancer.drain(id),
        }
        self.stop(id, Stop::Drain);
    }

    fn stop(&self, id: &WorkerId, how: Stop) {
        let mut workers = self.lock();
        if let Some(worker) = workers.all.get_mut(id) {
            // A kill must look like a crash to the queue, so only a drain counts as wanted.
            if how == Stop::Drain {
                worker.phase = Phase::Stopping;
            }
            worker.stop.send_if_modified(|stop| {
                let stronger = *stop < how;
                *stop = if stronger { how } else { *stop };
                stronger
            });
        }
    }

    /// Workers by phase.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        self.lock().all.values().map(|worker| worker.phase).collect()
    }

    /// Whether starts crash in a row.
    pub(crate) fn is_unhealthy(&self) -> bool {
        self.lock().crashes >= CRASHES_UNTIL_UNHEALTHY
    }

    /// Waits until `count` workers are ready.
    ///
    /// # Errors
    /// Why a worker that was starting is not.
    pub(crate) async fn wait_ready(&self, count: usize) -> Result<(), String> {
        loop {
            let changed = self.phases.notified();
            {
                let workers = self.lock();
                if workers.all.values().filter(|worker| worker.phase == Phase::Ready).count() >= count {
                    return Ok(());
                }
                if workers.crashes > 0 {
                    return Err(workers.last_crash.clone().unwrap_or_default());
                }
            }
            changed.await;
        }
    }

    /// Waits until no worker is left.
    pub(crate) async fn ended(&self) {
        loop {
            let changed = self.phases.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
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
            match &self.intake {
                Intake::Queue(queue) => queue.drain(&worker),
                Intake::Balanced(balancer) => balancer.drain(&worker),
            }
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
