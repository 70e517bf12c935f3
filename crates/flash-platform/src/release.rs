//! One build of an app, live or draining: its manifest, its pools, its routes.
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flash_logs::{LogLine, Sink, of_release};
use flash_protocol::{
    BatchRun, CommandWorker,
    catalogue::PriceList,
    manifest::{FunctionEntry, Manifest, WorkerType},
    wire::job::JobStatus,
};

use super::{
    hops::{Hop, now_ms},
    interface::{InputSchemas, RouteTable, render_openapi},
    launch::{Artifact, Images, Launch},
    meter::Meter,
    pool::{JobRules, Pool, PoolContext},
    queue::{Ended, Next, OnEnd},
    tally::{Ending, Tally},
    traces::{JobEnd, JobTrace, Traces, ids_of},
};

/// The interval of checks whether a draining release is idle.
const IDLE_POLL: Duration = Duration::from_millis(20);

/// A release to start.
pub struct NewRelease {
    /// The release number; if `None`, the platform counts.
    pub number: Option<u64>,
    /// What the app says about itself: its worker types and functions.
    pub manifest: Manifest,
    /// Worker types in addition to those of the manifest, with different names.
    pub commands: Vec<CommandWorker>,
    /// What the app's workers run.
    pub artifact: Artifact,
    /// The images of `commands` that are images.
    pub programs: Option<Arc<Images>>,
    /// The working directory of workers that are processes.
    pub directory: PathBuf,
    /// Variables for all workers, secrets included; of several with the same name, the last one counts.
    pub environment: Vec<(String, String)>,
    /// What hardware costs per second.
    pub prices: PriceList,
    /// The directory of the model, by worker type, of workers that are processes. Images have theirs.
    pub models: BTreeMap<String, PathBuf>,
}

/// See the module.
pub(crate) struct Release {
    pub number: u64,
    pub manifest: Manifest,
    pub routes: RouteTable,
    pub schemas: InputSchemas,
    /// The API description, rendered when it is first asked for.
    openapi: OnceLock<String>,
    /// When this process took it up, in seconds since 1970.
    pub created: u64,
    pools: BTreeMap<String, Arc<Pool>>,
}

impl Release {
    pub(crate) fn new(
        number: u64,
        manifest: Manifest,
        launch: &Launch,
        context: &PoolContext,
        prices: &PriceList,
    ) -> Self {
        let log = of_release(context.log.clone(), number);
        let context = &PoolContext { log, ..context.clone() };
        let pool = |worker: &WorkerType| {
            let meter = context.billing.meter(&worker.name, worker.compute.price_per_second(prices));
            let own = manifest.functions.iter().filter(|function| function.worker == worker.name);
            meter.tally().name(own.map(|function| (function.call_name(), shown(function))));
            let on_end = on_end(worker, context.log.clone(), &meter, context.queues.traces.clone());
            let rules = rules_of(&manifest, worker);
            let pool = Pool::new(worker.clone(), rules, number, launch.clone(), context, meter, on_end);
            (worker.name.clone(), pool)
        };
        Self {
            number,
            routes: RouteTable::new(&manifest),
            schemas: InputSchemas::new(&manifest),
            openapi: OnceLock::new(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            pools: manifest.workers.iter().map(pool).collect(),
            manifest,
        }
    }

    /// The API description. Whether a key is required is the platform's and never changes.
    pub(crate) fn openapi(&self, requires_key: bool) -> &str {
        self.openapi.get_or_init(|| render_openapi(&self.manifest, self.number, requires_key))
    }

    /// The pool of this worker type.
    pub(crate) fn pool(&self, worker_type: &str) -> Option<&Arc<Pool>> {
        self.pools.get(worker_type)
    }

    /// All pools.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values()
    }

    /// The function at this place in the manifest.
    pub(crate) fn function(&self, index: usize) -> &FunctionEntry {
        &self.manifest.functions[index]
    }

    /// Waits until nothing waits or runs in any pool.
    ///
    /// Two checks in a row must agree, because a job of one pool may be about to create one in another.
    pub(crate) async fn idle(&self) {
        let mut quiet = 0;
        while quiet < 2 {
            tokio::time::sleep(IDLE_POLL).await;
            quiet = if self.pools().all(|pool| pool.is_idle()) { quiet + 1 } else { 0 };
        }
    }

    /// Whether it was closed and has no workers any more.
    pub(crate) fn is_over(&self) -> bool {
        self.pools().all(|pool| pool.is_over())
    }

    /// Whether any job is kept in it.
    pub(crate) fn has_jobs(&self) -> bool {
        self.pools().any(|pool| pool.queue().is_some_and(|queue| queue.has_jobs()))
    }

    /// Waits until it has no workers any more.
    pub(crate) async fn ended(&self) {
        for pool in self.pools() {
            pool.ended().await;
        }
    }

    /// The longest that a job or request of it may run.
    pub(crate) fn longest_run(&self) -> Duration {
        let seconds = self.manifest.workers.iter().map(|worker| worker.execution_timeout_seconds).max();
        Duration::from_secs(seconds.unwrap_or(0).into())
    }

    /// Stops scaling and all workers; those with work get the drain time.
    pub(crate) fn close(&self) {
        self.pools().for_each(|pool| pool.close());
    }

    /// Kills all workers that are left.
    pub(crate) fn kill(&self) {
        self.pools().for_each(|pool| pool.kill());
    }
}

/// What the functions of a worker type say about their jobs.
fn rules_of(manifest: &Manifest, worker: &WorkerType) -> JobRules {
    let own: Vec<_> = manifest.functions_of(&worker.name).collect();
    let limits = || own.iter().filter_map(|function| Some((function, function.settings.batch?)));
    let weighed = limits().filter(|(_, limits)| limits.weighed).map(|(function, _)| function.call_name());
    let retries =
        own.iter().filter_map(|function| Some((function.call_name(), function.settings.retries?))).collect();
    JobRules {
        retries: Arc::new(retries),
        largest_batch: limits().map(|(_, limits)| limits.max as usize).max(),
        weighed: Arc::new(weighed.collect()),
    }
}

/// How a function is displayed: as code calls it, or `METHOD /path` for a route.
pub(crate) fn shown(function: &FunctionEntry) -> String {
    match &function.route {
        Some(route) => format!("{} {}", route.method, route.path),
        None => function.call_name(),
    }
}

/// Counts each end of a job, and logs it and each failed attempt before it as a line of its worker, with time and, if
/// there is a price, cost.
fn on_end(worker: &WorkerType, log: Sink, meter: &Meter, traces: Option<Traces>) -> OnEnd {
    let (name, is_priced, tally) = (worker.name.clone(), meter.price().is_some(), meter.tally().clone());
    Box::new(move |ended: Ended| {
        if let (Some(traces), Some(trace)) = (&traces, &ended.trace) {
            trace_end(traces, trace, &name, &ended);
        }
        if ended.next.is_none() {
            count(&tally, &ended);
        }
        let Ended {
            job,
            request_id,
            function,
            worker,
            status,
            ran,
            batch,
            generated,
            cost,
            error,
            next,
            trace,
            ..
        } = ended;
        let batch = batch.map_or_else(String::new, in_batch);
        let models: String =
            generated.iter().map(|(model, of)| format!(", {model}: {}", of.line())).collect();
        let function = function.unwrap_or_else(|| "job".to_owned());
        let cost = if is_priced { format!(", {cost}") } else { String::new() };
        let error = error.map_or(String::new(), |error| format!(": {error}"));
        let time = ran.as_secs_f64() * 1000.0;
        let text = match next {
            None => format!("{function} {} in {time:.2} ms{batch}{models}{cost}{error}", status.as_str()),
            Some(Next { attempt, wait }) => {
                let (failed, wait) = (attempt - 1, wait.as_secs_f64());
                format!(
                    "{function}: attempt {failed} failed in {time:.2} ms{cost}{error}; the next one follows in \
                     {wait:.1} s"
                )
            }
        };
        let mut line = LogLine::system(&name, worker.as_ref(), text);
        line.request_id = Some(request_id.unwrap_or_else(|| job.to_string()));
        line.job_id = Some(job.to_string());
        line.span = trace.map(|trace| ids_of(&trace.own()));
        log(line);
    })
}

/// Makes the spans of an attempt, and of its job if that has ended too.
fn trace_end(traces: &Traces, trace: &JobTrace, worker_type: &str, ended: &Ended) {
    let job = ended.job.to_string();
    traces.job_ended(&JobEnd {
        trace,
        job: &job,
        request_id: ended.request_id.as_deref().unwrap_or(&job),
        worker_type,
        function: ended.function.as_deref(),
        worker: ended.worker.as_ref(),
        status: ended.status,
        waited: ended.waited,
        ran: ended.ran,
        cost_nano_dollars: ended.cost.0,
        error: ended.error.as_deref(),
        goes_on: ended.next.is_some(),
    });
}

/// `, in a batch of 4 (cost 12 of 30): prepared in 0.20 ms, waited 5.00 ms, ran 7.00 ms`
fn in_batch(batch: BatchRun) -> String {
    let BatchRun { size, cost, total_cost, leads: _, prepare_us, wait_us, run_us } = batch;
    let [prepare, wait, run] = [prepare_us, wait_us, run_us].map(|micros| micros as f64 / 1000.0);
    format!(
        ", in a batch of {size} (cost {cost} of {total_cost}): prepared in {prepare:.2} ms, waited {wait:.2} ms, ran \
         {run:.2} ms"
    )
}

fn count(tally: &Tally, ended: &Ended) {
    let ending = match ended.status {
        JobStatus::Completed => Ending::Completed,
        JobStatus::Cancelled => Ending::Cancelled,
        JobStatus::TimedOut => Ending::TimedOut,
        _ => Ending::Failed,
    };
    tally.ended(ended.function.as_deref(), ending, ended.waited, ended.ran);
    if let Some(batch) = &ended.batch {
        tally.ran_in_batch(ended.function.as_deref(), batch);
    }
    let id = ended.job.to_string();
    if matches!(ending, Ending::Failed | Ending::TimedOut) {
        let request_id = ended.request_id.as_deref().unwrap_or(&id);
        let message = ended.error.as_deref().unwrap_or_else(|| ended.status.as_str());
        tally.record_problem(message, Some(request_id), ended.worker.as_deref());
    }
    tally.hops.add(Hop {
        request_id: ended.request_id.clone().unwrap_or_else(|| id.clone()),
        job: Some(id),
        function: ended.function.clone(),
        worker: ended.worker.clone(),
        status: ended.status,
        ended_ms: now_ms(),
        waited: ended.waited,
        ran: ended.ran,
        cost: ended.cost,
        error: ended.error.clone(),
        answered: None,
    });
}
