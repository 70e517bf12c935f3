//! The life of one worker: its process from spawn to clean-up.
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use flash_logs::LogLine;
use flash_protocol::{ErrorKind, WireError};
use flash_text::error_chain;
use parking_lot::MutexGuard;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    crash::Verdict,
    usage::Measured,
    worker::{Phase, Stop, Waiting, Worker},
    worker_line::{about, line_of_worker},
    worker_pool::{Pool, WorkSource},
    workers::{NotReady, Workers},
};
use crate::{
    health::HealthCheck,
    queue::JobId,
    supervisor::{
        Exit, ForeignListener, Handlers, Lease, Lookup, Running, Wait, Work, foreign_listener_on, last_output,
    },
    worker_id::WorkerId,
};

/// How long a worker that closed its connection may take to end.
const HUNG_UP_GRACE: Duration = Duration::from_secs(2);

/// Why a worker ended that was asked to and did so in order: it was idle, or its release was replaced.
const NOT_NEEDED: &str = "it was no longer needed";

/// Starts a worker, regardless of the autoscaler.
pub(crate) fn start(pool: &Arc<Pool>) {
    let short = uuid::Uuid::new_v4().simple().to_string();
    let id: WorkerId = format!("{}-{}", pool.worker_type.name, &short[..6]).into();
    start_as(pool, id, pool.lock());
}

pub(super) fn start_as(pool: &Arc<Pool>, id: WorkerId, mut workers: MutexGuard<'_, Workers>) {
    // Under the lock, because `close` stops all workers that it finds, and nothing would stop a later one.
    if pool.closed.is_cancelled() {
        return;
    }
    let key = uuid::Uuid::new_v4().simple().to_string();
    let (worker, stopped) = Worker::new(key.clone(), pool.meter.open(&id));
    workers.last_start = Some(Instant::now());
    workers.all.insert(id.clone(), worker);
    drop(workers);
    if let WorkSource::Balanced(balancer) = &pool.source {
        balancer.expect(&id);
    }
    let own = pool.clone();
    pool.tasks.spawn(async move {
        let ended = run_worker(&own, &id, &key, stopped).await;
        record_exit(&own, &id, ended);
    });
}

/// The life of one worker, from spawn to its end. An error text when it never ran.
async fn run_worker(
    pool: &Arc<Pool>,
    id: &WorkerId,
    key: &str,
    mut stopped: watch::Receiver<Stop>,
) -> Result<Exit, String> {
    let check = health_check(pool)?;
    let gpus = tokio::select! {
        gpus = gpus_of(pool, id) => gpus?,
        _ = stopped.wait_for(|stop| *stop != Stop::No) => return Err("stopped before it had a GPU".to_owned()),
    };
    let mut process = spawn(pool, id, key, check.as_ref().map(HealthCheck::port), gpus).await?;
    let spawned = Instant::now();
    // One in a cluster costs nothing while it has no place.
    let placed = process.placed().filter(|_| pool.launch.is_in_cluster());
    if let Some(worker) = pool.lock().all.get_mut(id) {
        if placed.is_none() {
            worker.account.spawned(spawned);
        }
        worker.output = Some(process.output());
        worker.measured = process.group().map(|group| Measured::new(group, spawned));
    }
    let start_limit = start_limit(pool, id, placed);
    let watched = watch_health(pool, id, check, process.group());
    let found = find_processes(pool, id, process.lookup(), spawned);
    tokio::pin!(start_limit, watched, found);
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
            never = &mut found => match never {},
            _ = stopped.changed() => match *stopped.borrow_and_update() {
                Stop::No => {}
                Stop::Drain | Stop::Terminate => {
                    process.terminate();
                    kill_at = Some(tokio::time::Instant::now() + pool.drain_time);
                }
                Stop::HungUp => kill_at = Some(tokio::time::Instant::now() + HUNG_UP_GRACE),
                Stop::Now => process.kill(),
            },
            () = drained => {
                pool.say(Some(id), "still running after the drain time: killed".to_owned());
                process.kill();
                kill_at = None;
            }
            () = &mut start_limit, if !start_is_over => {
                start_is_over = true;
                // Checked here, because a condition of the branch would be evaluated when the wait began.
                if pool.phase(id) == Some(Phase::Starting) && kill_at.is_none() {
                    pool.say(Some(id), format!("{}: killed", pool.not_ready_in_time()));
                    pool.lock().all.get_mut(id).into_iter().for_each(|worker| worker.is_late = true);
                    process.kill();
                }
            }
        }
    }
}

/// Over when the worker should be ready. Counts from when it runs: a node for it may take minutes to come.
async fn start_limit(pool: &Pool, id: &WorkerId, placed: Option<CancellationToken>) {
    if let Some(placed) = placed {
        placed.cancelled().await;
        if let Some(worker) = pool.lock().all.get_mut(id) {
            worker.account.spawned(Instant::now());
        }
    }
    tokio::time::sleep(pool.worker_type.start_timeout()).await;
}

/// The GPUs of a worker, once their memory is free. A cluster gives them itself.
async fn gpus_of(pool: &Arc<Pool>, id: &WorkerId) -> Result<Option<Lease>, String> {
    if pool.launch.is_in_cluster() {
        return Ok(None);
    }
    let model = pool.launch.model_size(&pool.worker_type).await;
    let on_wait = |reason: String| waits(pool, id, Some(Wait::Place(format!("waits for a GPU: {reason}"))));
    let gpus = pool.isolation.gpus_for(&pool.worker_type, model, on_wait).await;
    waits(pool, id, None);
    gpus
}

/// Records what a worker waits for before it can start, and says it; `None`: for nothing any more.
fn waits(pool: &Pool, id: &WorkerId, wait: Option<Wait>) {
    let is_new = {
        let mut workers = pool.lock();
        let Some(worker) = workers.all.get_mut(id) else { return };
        let now = worker.waits_for.take();
        let is_new = now.as_ref().map(|now| &now.wait) != wait.as_ref();
        worker.waits_for = wait.clone().map(|wait| Waiting::after(now.as_ref(), wait));
        is_new
    };
    if let Some(wait) = wait.filter(|_| is_new) {
        pool.say(Some(id), wait.reason().to_owned());
        pool.phases.notify_waiters();
    }
}

/// How to check a load-balanced command. A worker of the app reports when it is ready, and a polling worker is
/// ready when it asks for its first job.
fn health_check(pool: &Pool) -> Result<Option<HealthCheck>, String> {
    match (pool.command(), &pool.source) {
        (Some(command), WorkSource::Balanced(_)) => HealthCheck::on_a_free_port(&command.health_path)
            .map(Some)
            .map_err(|error| format!("no free port: {error}")),
        _ => Ok(None),
    }
}

/// Brings requests to a worker once it is healthy, and replaces it when it stays unhealthy.
async fn watch_health(
    pool: &Pool,
    id: &WorkerId,
    check: Option<HealthCheck>,
    group: Option<i32>,
) -> Infallible {
    if let Some(check) = check {
        check.until_ready(|problem| pool.say(Some(id), format!("not ready yet: {problem}"))).await;
        if let Some(foreign) = foreign_listener(check.port(), group).await {
            let port = check.port();
            let text =
                format!("its port {port} is taken by {foreign}: killed; restarting it on another port");
            pool.say(Some(id), text);
            pool.stop(id, Stop::Now);
            return std::future::pending().await;
        }
        pool.ready_for_requests(id, check.address, pool.worker_type.max_concurrency, None);
        let problem = check.until_broken().await;
        pool.say(Some(id), format!("unhealthy, replacing it: {problem}"));
        pool.replace(id);
    }
    std::future::pending().await
}

/// Finds the processes of a worker that is a container once it is ready, so that what they take can be measured.
async fn find_processes(pool: &Pool, id: &WorkerId, lookup: Option<Lookup>, spawned: Instant) -> Infallible {
    if let Some(lookup) = lookup {
        loop {
            let changed = pool.phases.notified();
            match pool.phase(id) {
                Some(Phase::Starting) => changed.await,
                Some(Phase::Ready) => break,
                // It will not be there for long enough.
                Some(Phase::Stopping) | None => return std::future::pending().await,
            }
        }
        // Where the engine does not say, nothing is shown.
        let group = lookup.group().await;
        let mut workers = pool.lock();
        if let (Some(group), Some(worker)) = (group, workers.all.get_mut(id)) {
            worker.measured = Some(Measured::new(group, spawned));
        }
    }
    std::future::pending().await
}

/// Another process that listens on a worker's port.
async fn foreign_listener(port: u16, group: Option<i32>) -> Option<ForeignListener> {
    let group = group?;
    // It reads `/proc`. If no thread is available, nothing is found.
    tokio::task::spawn_blocking(move || foreign_listener_on(port, group)).await.ok().flatten()
}

async fn spawn(
    pool: &Arc<Pool>,
    id: &WorkerId,
    key: &str,
    port: Option<u16>,
    gpus: Option<Lease>,
) -> Result<Running, String> {
    let start = pool.launch.start(&pool.worker_type, id, key, port, pool.meter.price())?;
    let (log, worker_type, worker) = (pool.log.clone(), pool.worker_type.name.clone(), id.clone());
    // Weak: the worker's output must not keep its pool alive.
    let weak = Arc::downgrade(pool);
    let own = weak.clone();
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
    let (waiting, of) = (weak.clone(), id.clone());
    let on_wait = Arc::new(move |wait| {
        if let Some(pool) = waiting.upgrade() {
            waits(&pool, &of, wait);
        }
    });
    let worker = id.clone();
    let current_work = Arc::new(move || match &weak.upgrade()?.source {
        WorkSource::Queue(queue) => queue.only_job(&worker).map(work_of_job),
        WorkSource::Balanced(balancer) => balancer.only_request(&worker).map(work_of_request),
    });
    let handlers = Handlers { current_work, on_line, on_wait };
    Running::start(start, &pool.worker_type, id, gpus, &pool.isolation, &pool.lifeline, handlers)
        .await
        .map_err(|error| error_chain(&error))
}

/// Handles the end of a worker: its jobs continue elsewhere, and a crash delays the next start.
fn record_exit(pool: &Pool, id: &WorkerId, ended: Result<Exit, String>) {
    let is_late = pool.lock().all.get(id).is_some_and(|worker| worker.is_late);
    let (reason, report, cause) = match &ended {
        Ok(exit) if is_late => {
            let cause = pool.not_ready_in_time();
            let report = format!("{cause}{}", last_output(exit.last_lines()));
            (report.clone(), report, cause)
        }
        Ok(exit) => (exit.to_string(), exit.report(), exit.cause()),
        Err(problem) => (problem.clone(), problem.clone(), problem.clone()),
    };
    if let Some(worker) = pool.lock().all.get(id) {
        worker.account.gone();
    }
    let at_work = is_at_work(pool, id);
    // Read before it is detached, because it has none afterwards.
    let work = match &pool.source {
        WorkSource::Queue(queue) => queue.jobs_on(id).into_iter().map(work_of_job).collect(),
        WorkSource::Balanced(balancer) => balancer.requests_on(id).into_iter().map(work_of_request).collect(),
    };
    let wanted = pool.phase(id).is_none_or(|phase| phase == Phase::Stopping);
    match &pool.source {
        WorkSource::Queue(queue) if wanted => queue.detach_stopped(id, &report),
        WorkSource::Queue(queue) => queue.detach(id, &report),
        WorkSource::Balanced(balancer) => balancer.detach(id),
    }
    let mut workers = pool.lock();
    let Some(worker) = workers.all.remove(id) else { return };
    let in_order = wanted && ended.as_ref().is_ok_and(Exit::is_success);
    workers.ended.add(id, &worker, if in_order { NOT_NEEDED } else { &reason }, wanted);
    if wanted {
        drop(workers);
        pool.phases.notify_waiters();
        return;
    }
    let verdict = workers.crashes.died(worker.death(at_work), Instant::now());
    workers.last_crash = Some(match &ended {
        Ok(exit) => NotReady { reason: cause.clone(), last_lines: exit.last_lines().to_vec() },
        Err(problem) => NotReady { reason: problem.clone(), last_lines: Vec::new() },
    });
    drop(workers);
    pool.tally().worker_crashed();
    pool.tally().record_problem(&format!("worker ended: {report}"), None, Some(id));
    // Output of a worker before it was ready is already in the log above as its own lines, so it is not repeated.
    let reason = if worker.phase == Phase::Starting { &cause } else { &reason };
    say_end(pool, id, worker.phase, verdict, reason, work, &report);
    report_loop(pool, verdict, &cause, &report);
    pool.phases.notify_waiters();
}

fn is_at_work(pool: &Pool, id: &WorkerId) -> bool {
    let consumers = pool.load().consumers;
    consumers.iter().any(|(worker, _, idle)| worker == id && idle.is_none())
}

/// Logs the end of a worker. It is also logged for each request that the worker was running, with the last
/// output.
fn say_end(
    pool: &Pool,
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
    let line = |text| LogLine::system(&pool.worker_type.name, Some(id), text);
    let end = line(format!("{before}: {reason}{next}"));
    if work.len() > 1 {
        (pool.log)(end);
        work.drain(..).for_each(|work| {
            (pool.log)(about(line(format!("ended while working on this: {report}")), work));
        });
        return;
    }
    (pool.log)(match work.pop() {
        Some(only) => about(end, only),
        None => end,
    });
}

/// Reports a crash loop, and fails requests and jobs for which waiting is useless.
fn report_loop(pool: &Pool, verdict: Verdict, cause: &str, report: &str) {
    let Verdict::Loop { pause, began } = verdict else { return };
    if began {
        let name = &pool.worker_type.name;
        let text = format!(
            "crash loop: workers of type `{name}` keep ending before they do any work; restarting in \
             {pause:?}, growing to 30 s; last cause: {cause}"
        );
        pool.say(None, text);
    }
    fail_waiting(pool, &format!("{report}; retrying in {pause:?}"));
}

fn fail_waiting(pool: &Pool, reason: &str) {
    let message = format!("no worker of type `{}` could start: {reason}", pool.worker_type.name);
    match &pool.source {
        WorkSource::Queue(queue) => queue.fail_waiting(&WireError::new(ErrorKind::NoWorker, message)),
        WorkSource::Balanced(balancer) => balancer.fail_waiting(reason),
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
