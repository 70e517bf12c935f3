//! The life of one worker: its process from spawn to clean-up.
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use flash_protocol::{ErrorKind, WireError};
use flash_text::error_chain;
use tokio::sync::watch;

use super::{
    NotReady, Phase, Pool, WorkSource,
    crash::{Death, LONG_LIFE, Verdict},
    liveness::Pulse,
    worker_line::{about, line_of_worker},
};
use crate::{
    health::HealthCheck,
    logs::LogLine,
    meter::Account,
    queue::JobId,
    supervisor::{Exit, ForeignListener, Output, OutputHandlers, Running, Work, foreign_listener_on},
    worker_id::WorkerId,
};

/// For how long a worker may take to become ready: the provider's limit for a cold start.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(7 * 60);
/// How long a worker that closed its connection may take to end.
const HUNG_UP_GRACE: Duration = Duration::from_secs(2);

/// How a worker is asked to stop. Later variants are stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Stop {
    No,
    /// A normal stop: finish running work within the drain time.
    Drain,
    /// It holds a stopped job: as `Drain`, and if that does not help, `Now` follows soon.
    Terminate,
    /// Not requested: it closed its connection, so it is ending by itself or broken.
    HungUp,
    Now,
}

/// One worker, as the pool keeps it.
pub(super) struct Worker {
    pub phase: Phase,
    pub account: Account,
    pub key: String,
    pub pulse: Arc<Pulse>,
    pub output: Option<Arc<Output>>,
    pub ready_at: Option<Instant>,
    /// When it got SIGTERM for holding a stopped job.
    pub terminated_at: Option<Instant>,
    stop: watch::Sender<Stop>,
}

impl Worker {
    /// A starting worker, and the channel that tells its process to stop.
    pub(super) fn new(key: String, account: Account) -> (Self, watch::Receiver<Stop>) {
        let (stop, stopped) = watch::channel(Stop::No);
        let worker = Self {
            phase: Phase::Starting,
            account,
            key,
            pulse: Arc::new(Pulse::new()),
            output: None,
            ready_at: None,
            terminated_at: None,
            stop,
        };
        (worker, stopped)
    }

    /// `true` if this is stronger than what it was asked before.
    pub(super) fn ask_to_stop(&mut self, how: Stop) -> bool {
        // For queue and back-off, all other ends are crashes; these are requested.
        if matches!(how, Stop::Drain | Stop::Terminate) {
            self.phase = Phase::Stopping;
        }
        if how == Stop::Terminate {
            self.terminated_at.get_or_insert_with(Instant::now);
        }
        self.stop.send_if_modified(|stop| {
            let stronger = *stop < how;
            *stop = if stronger { how } else { *stop };
            stronger
        })
    }

    pub(super) fn is_being_killed(&self) -> bool {
        *self.stop.borrow() == Stop::Now
    }

    /// Whether it has been ready for long enough that its end would not count as a failed start.
    pub(super) fn has_long_life(&self, now: Instant) -> bool {
        self.ready_at.is_some_and(|ready| now.saturating_duration_since(ready) >= LONG_LIFE)
    }

    fn death(&self, at_work: bool) -> Death {
        match self.ready_at {
            None => Death::Starting,
            Some(_) if self.pulse.has_served() || self.has_long_life(Instant::now()) => Death::Proven,
            Some(_) if at_work => Death::AtFirstWork,
            Some(_) => Death::Idle,
        }
    }
}

impl Pool {
    /// The life of one worker, from spawn to its end. An error text when it never ran.
    pub(super) async fn run_worker(
        self: &Arc<Self>,
        id: &WorkerId,
        key: &str,
        mut stopped: watch::Receiver<Stop>,
    ) -> Result<Exit, String> {
        let check = self.health_check()?;
        let mut process = self.spawn(id, key, check.as_ref().map(HealthCheck::port)).await?;
        let spawned = Instant::now();
        if let Some(worker) = self.lock().all.get_mut(id) {
            worker.account.spawned(spawned);
            worker.output = Some(process.output());
        }
        let start_limit = tokio::time::sleep(START_LIMIT);
        let watched = self.watch_health(id, check, process.group());
        tokio::pin!(start_limit, watched);
        let mut start_is_over = false;
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
                    Stop::Drain | Stop::Terminate => {
                        process.terminate();
                        kill_at = Some(tokio::time::Instant::now() + self.drain_time);
                    }
                    Stop::HungUp => kill_at = Some(tokio::time::Instant::now() + HUNG_UP_GRACE),
                    Stop::Now => process.kill(),
                },
                () = drained => {
                    self.say(Some(id), "still running after the drain time: killed".to_owned());
                    process.kill();
                    kill_at = None;
                }
                () = &mut start_limit, if !start_is_over => {
                    start_is_over = true;
                    // Checked here, because a condition of the branch would be evaluated when the wait began.
                    if self.phase(id) == Some(Phase::Starting) && kill_at.is_none() {
                        self.say(Some(id), format!("not ready after {} s: killed", START_LIMIT.as_secs()));
                        process.kill();
                    }
                }
            }
        }
    }

    /// How to check a load-balanced command. A worker of the app reports when it is ready, and a polling worker is
    /// ready when it asks for its first job.
    fn health_check(&self) -> Result<Option<HealthCheck>, String> {
        match (self.command(), &self.source) {
            (Some(command), WorkSource::Balanced(_)) => HealthCheck::on_a_free_port(&command.health_path)
                .map(Some)
                .map_err(|error| format!("no free port: {error}")),
            _ => Ok(None),
        }
    }

    /// Brings requests to a worker once it is healthy, and replaces it when it stays unhealthy.
    async fn watch_health(
        &self,
        id: &WorkerId,
        check: Option<HealthCheck>,
        group: Option<i32>,
    ) -> Infallible {
        if let Some(check) = check {
            check.until_ready(|problem| self.say(Some(id), format!("not ready yet: {problem}"))).await;
            if let Some(foreign) = self.foreign_listener_on(check.port(), group).await {
                let port = check.port();
                let text =
                    format!("its port {port} is taken by {foreign}: killed; restarting it on another port");
                self.say(Some(id), text);
                self.stop(id, Stop::Now);
                return std::future::pending().await;
            }
            self.ready_for_requests(id, check.address, self.worker_type.max_concurrency, None);
            let problem = check.until_broken().await;
            self.say(Some(id), format!("unhealthy, replacing it: {problem}"));
            self.replace(id);
        }
        std::future::pending().await
    }

    /// Another process that listens on a worker's port.
    async fn foreign_listener_on(&self, port: u16, group: Option<i32>) -> Option<ForeignListener> {
        let group = group?;
        // It reads `/proc`. If no thread is available, nothing is found.
        tokio::task::spawn_blocking(move || foreign_listener_on(port, group)).await.ok().flatten()
    }

    async fn spawn(self: &Arc<Self>, id: &WorkerId, key: &str, port: Option<u16>) -> Result<Running, String> {
        let start = self.launch.start(&self.worker_type, id, key, port)?;
        let (log, worker_type, worker) = (self.log.clone(), self.worker_type.name.clone(), id.clone());
        // Weak: the worker's output must not keep its pool alive.
        let pool = Arc::downgrade(self);
        let own = pool.clone();
        let on_line = Arc::new(move |line| {
            let line = line_of_worker(&worker_type, &worker, line);
            if own.upgrade().is_some_and(|pool| pool.said_before(&worker, &line.text)) {
                return;
            }
            // The official worker's own lines name the job, where everybody else names the request.
            let job = line.request_id.as_deref().and_then(JobId::parse);
            let request = job.and_then(|job| own.upgrade()?.queue()?.request_of(job));
            match (request, job) {
                (Some(request_id), Some(job)) => log(about(line, work_of_job((job, request_id)))),
                _ => log(line),
            }
        });
        let worker = id.clone();
        let current_work = Arc::new(move || match &pool.upgrade()?.source {
            WorkSource::Queue(queue) => queue.only_job(&worker).map(work_of_job),
            WorkSource::Balanced(balancer) => balancer.only_request(&worker).map(work_of_request),
        });
        let handlers = OutputHandlers { current_work, on_line };
        Running::start(start, &self.worker_type, id, &self.isolation, &self.lifeline, handlers)
            .await
            .map_err(|error| error_chain(&error))
    }

    /// Handles the end of a worker: its jobs continue elsewhere, and a crash delays the next start.
    pub(super) fn record_exit(&self, id: &WorkerId, ended: Result<Exit, String>) {
        let (reason, report, cause) = match &ended {
            Ok(exit) => (exit.to_string(), exit.report(), exit.cause()),
            Err(problem) => (problem.clone(), problem.clone(), problem.clone()),
        };
        if let Some(worker) = self.lock().all.get(id) {
            worker.account.gone();
        }
        let at_work = self.is_at_work(id);
        // Read before it is detached, because it has none afterwards.
        let work = match &self.source {
            WorkSource::Queue(queue) => queue.jobs_on(id).into_iter().map(work_of_job).collect(),
            WorkSource::Balanced(balancer) => {
                balancer.requests_on(id).into_iter().map(work_of_request).collect()
            }
        };
        let wanted = self.phase(id).is_none_or(|phase| phase == Phase::Stopping);
        match &self.source {
            WorkSource::Queue(queue) if wanted => queue.detach_stopped(id, &report),
            WorkSource::Queue(queue) => queue.detach(id, &report),
            WorkSource::Balanced(balancer) => balancer.detach(id),
        }
        let mut workers = self.lock();
        let Some(worker) = workers.all.remove(id) else { return };
        workers.ended.add(id, &worker.key, &reason, wanted);
        if wanted {
            drop(workers);
            self.phases.notify_waiters();
            return;
        }
        let verdict = workers.crashes.died(worker.death(at_work), Instant::now());
        workers.last_crash = Some(match &ended {
            Ok(exit) => NotReady { reason: exit.cause(), last_lines: exit.last_lines().to_vec() },
            Err(problem) => NotReady { reason: problem.clone(), last_lines: Vec::new() },
        });
        drop(workers);
        self.tally().record_problem(&format!("worker ended: {report}"), None, Some(id));
        // Output of a worker before it was ready is already in the log above as its own lines, so it is not repeated.
        let reason = if worker.phase == Phase::Starting { &cause } else { &reason };
        self.say_end(id, worker.phase, verdict, reason, work, &report);
        self.report(verdict, &cause, &report);
        self.phases.notify_waiters();
    }

    /// Whether a starting worker repeats a line of the last crashed one, so that the reason for failing starts is
    /// logged only once.
    fn said_before(&self, id: &WorkerId, text: &str) -> bool {
        let workers = self.lock();
        let is_starting = workers.all.get(id).is_some_and(|worker| worker.phase == Phase::Starting);
        let last = workers.last_crash.as_ref().filter(|_| is_starting && workers.crashes.any());
        last.is_some_and(|last| last.last_lines.iter().any(|line| line == text))
    }

    fn is_at_work(&self, id: &WorkerId) -> bool {
        let consumers = self.load().consumers;
        consumers.iter().any(|(worker, _, idle)| worker == id && idle.is_none())
    }

    /// Logs the end of a worker. It is also logged for each request that the worker was running, with the last
    /// output.
    fn say_end(
        &self,
        id: &WorkerId,
        phase: Phase,
        verdict: Verdict,
        reason: &str,
        mut work: Vec<Work>,
        report: &str,
    ) {
        let before = if phase == Phase::Starting { "ended before it was ready" } else { "ended" };
        let next = match verdict {
            Verdict::AtOnce => String::new(),
            Verdict::Pause(pause) | Verdict::Loop { pause, .. } => format!("; restarting in {pause:?}"),
        };
        let line = |text| LogLine::system(&self.worker_type.name, Some(id), text);
        let end = line(format!("{before}: {reason}{next}"));
        if work.len() > 1 {
            (self.log)(end);
            work.drain(..).for_each(|work| {
                (self.log)(about(line(format!("ended while working on this: {report}")), work));
            });
            return;
        }
        (self.log)(match work.pop() {
            Some(only) => about(end, only),
            None => end,
        });
    }

    /// Reports a crash loop, and fails requests and jobs for which waiting is useless.
    fn report(&self, verdict: Verdict, cause: &str, report: &str) {
        let Verdict::Loop { pause, began } = verdict else { return };
        if began {
            let name = &self.worker_type.name;
            let text = format!(
                "crash loop: workers of type `{name}` keep ending before they do any work; restarting in \
                 {pause:?}, growing to 30 s; last cause: {cause}"
            );
            self.say(None, text);
        }
        self.fail_waiting(&format!("{report}; retrying in {pause:?}"));
    }

    fn fail_waiting(&self, reason: &str) {
        let message = format!("no worker of type `{}` could start: {reason}", self.worker_type.name);
        match &self.source {
            WorkSource::Queue(queue) => queue.fail_waiting(&WireError::new(ErrorKind::NoWorker, message)),
            WorkSource::Balanced(balancer) => balancer.fail_waiting(reason),
        }
    }
}

/// The current work of a queue-based worker.
fn work_of_job((job, request_id): (JobId, String)) -> Work {
    Work { request_id, job_id: Some(job.to_string()) }
}

/// The current work of a load-balanced worker.
fn work_of_request(request_id: String) -> Work {
    Work { request_id, job_id: None }
}
