//! The workers of one worker type in one release, and the queue or balancer that brings them work.
//!
//! What happens to a worker is decided elsewhere; here is what everything that acts on a pool shares.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use flash_logs::{LogLine, Sink, SpanIds};
use flash_protocol::{
    CommandWorker, Lifetime, Retries,
    manifest::{EndpointKind, WorkerType},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    liveness::Pulse,
    supervision::Supervision,
    worker::{Phase, Stop},
    workers::{Counts, NotReady, Workers},
};
use crate::{
    balancer::{Balancer, Exchange},
    launch::Launch,
    meter::{Account, Billing, Meter},
    queue::{DeliveryMode, JobId, Limits, Load, OnEnd, Queue, QueueContext, Stuck},
    supervisor::{Isolation, Lifeline, Pods},
    tally::Tally,
    traces::Traces,
    worker_id::WorkerId,
};

/// How often a release looks at its workers while they start.
const LOOK: Duration = Duration::from_secs(1);
/// How long a worker in a cluster may take until it has its place and its image.
const PLACEMENT: Duration = Duration::from_secs(20 * 60);
/// The longest reason that a worker gives and the log repeats.
const MAX_REASON_CHARS: usize = 256;

/// How work reaches the workers.
pub(crate) enum WorkSource {
    Queue(Arc<Queue>),
    Balanced(Arc<Balancer>),
}

/// Limits of a worker type's workers that a person has set beside the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerLimits {
    /// The number of workers that run even without work.
    pub min: u32,
    /// The largest number of workers, at least `min`.
    pub max: u32,
    /// When those of the release are back; `None`: never in this release.
    pub until: Option<SystemTime>,
}

/// What the functions of a worker type say about their jobs.
pub(crate) struct JobRules {
    /// How often each runs again after a retryable error.
    pub retries: Arc<BTreeMap<String, Retries>>,
    /// The size of the largest batch.
    pub largest_batch: Option<usize>,
    /// Functions whose jobs share the time of their batch by cost.
    pub weighed: Arc<BTreeSet<String>>,
}

/// What all pools of a platform share.
#[derive(Clone)]
pub(crate) struct PoolContext {
    pub log: Sink,
    pub lifeline: Lifeline,
    pub isolation: Isolation,
    /// Those that may join.
    pub pods: Pods,
    pub drain_time: Duration,
    pub supervision: Supervision,
    pub tasks: TaskTracker,
    pub closing: CancellationToken,
    pub queues: QueueContext,
    pub billing: Billing,
}

/// See the module.
pub(crate) struct Pool {
    pub worker_type: WorkerType,
    pub source: WorkSource,
    pub(super) launch: Launch,
    pub(super) meter: Meter,
    pub(super) workers: Mutex<Workers>,
    /// Those that a person has set beside the release.
    limits: Mutex<Option<WorkerLimits>>,
    /// A worker's phase changed.
    pub(super) phases: Notify,
    pub(super) log: Sink,
    pub(super) lifeline: Lifeline,
    pub(super) isolation: Isolation,
    pub(super) drain_time: Duration,
    pub(super) supervision: Supervision,
    /// Stops the loop; workers are stopped by `close`.
    pub(super) closed: CancellationToken,
    /// The platform ends, and with it everything that would not end by itself.
    pub(super) closing: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// Where spans go, if anywhere.
    pub traces: Option<Traces>,
}

impl Pool {
    /// Creates a pool without workers; [`run`](super::run) starts it.
    pub(crate) fn new(
        worker_type: WorkerType,
        rules: JobRules,
        release: u64,
        launch: Launch,
        context: &PoolContext,
        meter: Meter,
        on_end: OnEnd,
    ) -> Arc<Self> {
        let limits = Limits {
            execution_timeout: Duration::from_secs(worker_type.execution_timeout_seconds.into()),
            stop_grace: context.supervision.stop_grace / 2,
            retries: rules.retries,
            batch: rules.largest_batch,
            weighed: rules.weighed,
            lifetime: worker_type.lifetime,
            ttl: ttl(&worker_type),
            ..Limits::default()
        };
        let source = match worker_type.kind {
            EndpointKind::Queue => {
                let queue = Queue::new(&worker_type.name, release, limits, &context.queues, on_end);
                WorkSource::Queue(Arc::new(queue))
            }
            EndpointKind::LoadBalanced => {
                WorkSource::Balanced(Balancer::new(rules.largest_batch, worker_type.serves_models()))
            }
        };
        let PoolContext { log, lifeline, isolation, drain_time, supervision, tasks, closing, .. } =
            context.clone();
        Arc::new(Self {
            worker_type,
            source,
            launch,
            meter,
            workers: Mutex::default(),
            limits: Mutex::default(),
            phases: Notify::new(),
            log,
            lifeline,
            isolation,
            drain_time,
            supervision,
            closed: CancellationToken::new(),
            closing,
            tasks,
            traces: context.queues.traces.clone(),
        })
    }

    /// How few and how many workers run: as the release says, or as a person has set since.
    pub(crate) fn limits(&self) -> (u32, u32) {
        let of_release = (self.worker_type.workers_min, self.worker_type.workers_max);
        let mut limits = self.limits.lock();
        match *limits {
            Some(WorkerLimits { until: Some(until), .. }) if SystemTime::now() >= until => {
                *limits = None;
                let (min, max) = of_release;
                self.say(None, format!("the time of flash scale is over: {min}..={max} workers again"));
                of_release
            }
            Some(WorkerLimits { min, max, .. }) => (min, max),
            None => of_release,
        }
    }

    /// Sets limits beside those of the release; `None` ends that.
    pub(crate) fn set_limits(&self, limits: Option<WorkerLimits>) {
        *self.limits.lock() = limits;
        let (min, max) = self.limits();
        self.say(None, format!("scaled to {min}..={max} workers"));
    }

    /// Whether each of its workers takes one job.
    pub(crate) fn is_task(&self) -> bool {
        self.worker_type.lifetime == Lifetime::OneJob
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

    pub(super) fn lock(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock()
    }

    pub(super) async fn changed(&self) {
        match &self.source {
            WorkSource::Queue(queue) => queue.changed().await,
            WorkSource::Balanced(balancer) => balancer.changed().await,
        }
    }

    /// Waits until jobs that needed a mark can be dispatched.
    pub(super) async fn fed(&self) {
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

    pub(super) fn active(&self) -> usize {
        self.lock().active()
    }

    /// Workers that hold jobs or requests that have been stopped.
    pub(super) fn stuck(&self, now: Instant) -> Vec<Stuck> {
        match &self.source {
            WorkSource::Queue(queue) => queue.stuck(now),
            WorkSource::Balanced(balancer) => {
                let limit = Duration::from_secs(self.worker_type.execution_timeout_seconds.into());
                balancer.stuck(now, limit, self.supervision.stop_grace / 2)
            }
        }
    }

    pub(super) fn terminated_at(&self, id: &WorkerId) -> Option<Instant> {
        self.lock().all.get(id).and_then(|worker| worker.terminated_at)
    }

    /// A worker gets nothing more.
    pub(super) fn drain(&self, id: &WorkerId) {
        match &self.source {
            WorkSource::Queue(queue) => queue.drain(id),
            WorkSource::Balanced(balancer) => balancer.drain(id),
        }
    }

    pub(super) fn phase(&self, id: &WorkerId) -> Option<Phase> {
        self.lock().phase(id)
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

    /// How much longer than on this machine it may take until a worker has its place and its image: a node may have to come
    /// first. Where an image cannot be pulled, the cluster says so long before.
    pub(crate) fn placement_allowance(&self) -> Duration {
        if self.is_in_cluster() { PLACEMENT } else { Duration::ZERO }
    }

    /// Whether its workers run on other machines.
    pub(crate) fn is_in_cluster(&self) -> bool {
        self.launch.is_in_cluster()
    }

    /// A load-balanced worker is ready for requests.
    pub(crate) fn ready_for_requests(
        &self,
        id: &WorkerId,
        address: SocketAddr,
        slots: u32,
        exchange: Option<Exchange>,
    ) {
        if let WorkSource::Balanced(balancer) = &self.source
            && let Some(account) = self.became_ready(id)
        {
            balancer.attach(id, address, slots, account, exchange);
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
        let (account, took) = (worker.account.clone(), worker.started_at.elapsed());
        account.ready();
        drop(workers);
        self.tally().worker_started(took);
        if let Some(traces) = &self.traces {
            traces.worker_started(id, took);
        }
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
        let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
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

    /// A worker has reported the end of a job. That of a task ends with it.
    pub(crate) fn job_ended(&self, id: &WorkerId) {
        if self.is_task() {
            self.replace(id);
        }
    }

    /// A worker found that it is not healthy: it gets no more work, ends what it has, and another takes its place.
    pub(crate) fn replace_unhealthy(&self, id: &WorkerId, reason: &str) {
        let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
        self.say(Some(id), format!("unhealthy, replacing it: {reason}"));
        self.replace(id);
    }

    /// A worker asks to be replaced, or must be.
    pub(crate) fn replace(&self, id: &WorkerId) {
        self.drain(id);
        self.stop(id, Stop::Drain);
    }

    /// `true` if this is stronger than what the worker was asked before.
    pub(super) fn stop(&self, id: &WorkerId, how: Stop) -> bool {
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

    /// Why a worker that took longer than its start timeout is not ready.
    pub(crate) fn not_ready_in_time(&self) -> String {
        format!("not ready within {} s, its `start_timeout`", self.worker_type.start_timeout().as_secs())
    }

    pub(super) fn say(&self, worker: Option<&WorkerId>, text: String) {
        (self.log)(LogLine::system(&self.worker_type.name, worker, text));
    }

    /// Workers by phase.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        self.lock().all.values().map(|worker| worker.phase).collect()
    }

    /// Workers that are down because of repeated crashes: those that the load requires, and at least one.
    pub(crate) fn unhealthy(&self) -> usize {
        self.lock().unhealthy()
    }

    /// Workers that the load requires and that wait for the end of a pause, without a crash loop.
    pub(crate) fn throttled(&self) -> usize {
        self.lock().throttled()
    }

    /// What a worker that starts waits for: a GPU, a place in the cluster.
    pub(crate) fn waits_for(&self) -> Option<String> {
        self.lock().waits_for().map(str::to_owned)
    }

    /// Number of workers by state.
    pub(crate) fn counts(&self) -> Counts {
        let load = self.load();
        self.lock().counts(&load)
    }

    /// The last lines of an existing worker, for the error if it is not ready in time.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        let outputs = self.lock().outputs();
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
            if let Some(decided) = self.lock().readiness(count) {
                return decided;
            }
            // Time alone may decide: a worker that waits in vain.
            let _ = tokio::time::timeout(LOOK, changed).await;
        }
    }

    /// Whether this is the key of this worker. A request with it is a sign of life.
    pub(crate) fn admits(&self, id: &WorkerId, key: &str) -> bool {
        self.lock().with_key(id, key).map(|worker| worker.pulse.heard()).is_some()
    }

    /// Whether this is the key of one of its workers.
    pub(crate) fn has_key(&self, key: &str) -> bool {
        self.lock().has_key(key)
    }

    /// Whether this is the key of a recently ended worker, some child of which may still run.
    pub(crate) fn remembers(&self, id: &WorkerId, key: &str) -> bool {
        self.lock().remembers(id, key)
    }

    /// How a worker ended, if it has ended or ends within `limit`.
    pub(crate) async fn end_of(&self, id: &WorkerId, limit: Duration) -> Option<String> {
        let ended = async {
            loop {
                let changed = self.phases.notified();
                if let Some(reason) = self.lock().ended.reason(id) {
                    return reason;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, ended).await.ok()
    }

    /// A worker that was ready no longer listens: it ends by itself, or is broken and gets replaced.
    pub(crate) fn stopped_listening(&self, id: &WorkerId) {
        if let WorkSource::Balanced(balancer) = &self.source {
            balancer.drain(id);
        }
        self.stop(id, Stop::HungUp);
    }

    /// Runs what belongs to a connection of one of its workers, until it ends or the pool does.
    pub(crate) fn carry(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let (closed, closing) = (self.closed.clone(), self.closing.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = closed.cancelled() => {}
                () = closing.cancelled() => {}
            }
        });
    }

    /// Logs a line of the platform about a request and its worker.
    pub(crate) fn say_of_request(&self, worker: Option<&WorkerId>, request_id: &str, text: String) {
        self.say_end_of_request(worker, request_id, None, text);
    }

    /// Logs the line of a request that has ended, with its span if it has one.
    pub(crate) fn say_end_of_request(
        &self,
        worker: Option<&WorkerId>,
        request_id: &str,
        span: Option<SpanIds>,
        text: String,
    ) {
        let mut line = LogLine::system(&self.worker_type.name, worker, text);
        line.request_id = Some(request_id.to_owned());
        line.span = span;
        (self.log)(line);
    }

    /// See [`Workers::said_before`].
    pub(super) fn said_before(&self, id: &WorkerId, text: &str) -> bool {
        self.lock().said_before(id, text)
    }
}

/// How long a job may take by default. One of a task may wait for a day, however long it runs.
fn ttl(worker_type: &WorkerType) -> Duration {
    let Limits { ttl, .. } = Limits::default();
    match worker_type.lifetime {
        Lifetime::ManyJobs => ttl,
        Lifetime::OneJob => ttl + Duration::from_secs(worker_type.execution_timeout_seconds.into()),
    }
}
