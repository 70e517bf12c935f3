//! Reports about environments.
use std::collections::BTreeMap;

use flash_platform::{BatchSums, Counts, TypeOverview};
use flash_protocol::{
    Generations, Latencies, ModelLoad,
    catalogue::NanoDollars,
    manifest::{EndpointKind, WorkerType},
};
use flash_target::{
    DeployedEndpoint, Environment, EnvironmentId, FunctionBatches, JobMemory, LastError, ModelStatus,
    Problem, ReleaseRecord, ReleaseSpec, Serving, Status, TargetError, TargetKind, WorkerCounts,
    WorkerStatus, WorkerUsage,
};

use super::{
    costs,
    host::Host,
    release,
    running::{RunState, Running},
};
use crate::{database::StoredRelease, wire::HostedEnvironment};

/// All environments, by app and name.
pub(super) async fn environments(host: &Host) -> Result<Vec<Environment>, TargetError> {
    let mut environments = Vec::new();
    for running in host.all() {
        environments.push(view_of(host, &running).await?);
    }
    Ok(environments)
}

/// One environment.
pub(super) async fn environment(host: &Host, id: &EnvironmentId) -> Result<Environment, TargetError> {
    let running = host.find(id)?;
    view_of(host, &running).await
}

async fn view_of(host: &Host, running: &Running) -> Result<Environment, TargetError> {
    let key = running.stored.key;
    let (live, spec, secrets) = host
        .ask(move |database| {
            let live = database.live(key)?;
            // If it is damaged, the status says so.
            let spec = live.as_ref().and_then(|live| database.spec(key, live.record.number).ok()?);
            Ok((live, spec, database.secrets(key)?))
        })
        .await?;
    let url = running.url();
    let endpoint = |worker: &WorkerType| DeployedEndpoint {
        worker: worker.name.clone(),
        kind: worker.kind,
        id: worker.name.clone(),
        url: match worker.kind {
            EndpointKind::Queue => format!("{url}/v2/{}", worker.name),
            EndpointKind::LoadBalanced => format!("{url}/{}", worker.name),
        },
        health: None,
    };
    Ok(Environment {
        id: running.stored.id.clone(),
        target: TargetKind::Local,
        created_ms: running.stored.created_ms,
        endpoints: spec.map(|spec| spec.manifest.workers.iter().map(endpoint).collect()).unwrap_or_default(),
        live: live.map(|live| record(host, running, live)),
        secrets: secrets.into_iter().map(|secret| (secret.name, secret.version)).collect(),
        url: Some(url),
    })
}

/// The spec of a release; `None`: the live one.
pub(super) async fn spec(
    host: &Host,
    id: &EnvironmentId,
    release: Option<u64>,
) -> Result<ReleaseSpec, TargetError> {
    let running = host.find(id)?;
    let key = running.stored.key;
    let number = match release {
        Some(number) => number,
        None => {
            let live = host.ask(move |database| database.live_number(key)).await?;
            live.ok_or_else(|| {
                TargetError::new(Problem::NothingLive, format!("nothing is deployed to {id}"))
                    .hint(format!("deploy first: flash deploy send {}", id.name))
            })?
        }
    };
    release::stored_spec(host, &running, number).await
}

/// All releases, newest first.
pub(super) async fn history(host: &Host, id: &EnvironmentId) -> Result<Vec<ReleaseRecord>, TargetError> {
    let running = host.find(id)?;
    let key = running.stored.key;
    let releases = host.ask(move |database| database.releases(key)).await?;
    Ok(releases.into_iter().map(|release| record(host, &running, release)).collect())
}

/// The current state.
pub(super) async fn status(host: &Host, id: &EnvironmentId) -> Result<Status, TargetError> {
    let running = host.find(id)?;
    costs::record(host, &running).await;
    let key = running.stored.key;
    let (live, bills, mut damaged) = host
        .ask(move |database| {
            let (live, bills) = (database.live_number(key)?, database.bills(key)?);
            Ok((live, bills, database.damaged(Some(key))))
        })
        .await?;
    let (overview, trouble) = match running.state() {
        RunState::Down { reason } => (None, Some(reason)),
        RunState::Up { platform, trouble, .. } => (Some(platform.overview_with_gpus().await), trouble),
    };
    let overview = overview.unwrap_or_default();
    if overview.set_aside > 0 {
        let file = running.directory.jobs().join("jobs.sqlite");
        damaged.push(format!(
            "cannot read {} stored jobs, which will not run: they are in the table `damaged` of {}",
            overview.set_aside,
            file.display()
        ));
    }
    let serving = match live {
        None => Serving::Empty,
        Some(release) if overview.live == Some(release) => Serving::Live { release },
        Some(release) => {
            Serving::Down { release, reason: trouble.unwrap_or_else(|| "it is starting".to_owned()) }
        }
    };
    let total = bills.values().fold(0_u64, |sum, bill| sum.saturating_add(bill.0));
    Ok(Status {
        id: id.clone(),
        url: Some(running.url()),
        serving,
        workers: overview
            .workers
            .into_iter()
            .map(|worker| {
                let cost = bills.get(&worker.name).copied().unwrap_or_default();
                worker_status(worker, cost)
            })
            .collect(),
        draining: overview.draining,
        damaged,
        cost: Some(NanoDollars(total)),
        job_memory: overview
            .job_memory
            .map(|memory| JobMemory { held_bytes: memory.held_bytes, limit_bytes: memory.limit_bytes }),
        gpus: overview.gpus,
    })
}

/// For the service's own status: name, address, live release.
pub(super) async fn hosted(host: &Host) -> Result<Vec<HostedEnvironment>, TargetError> {
    let mut hosted = Vec::new();
    for running in host.all() {
        let status = status(host, &running.stored.id).await?;
        hosted.push(HostedEnvironment { id: status.id, url: status.url, serving: status.serving });
    }
    Ok(hosted)
}

fn record(host: &Host, running: &Running, release: StoredRelease) -> ReleaseRecord {
    let kept = host.keeps(running, &release.record.digest);
    ReleaseRecord { kept, ..release.record }
}

fn batches_of((function, sums): (String, BatchSums)) -> FunctionBatches {
    let BatchSums { batches, calls, cost, prepare, wait, run } = sums;
    FunctionBatches {
        function,
        batches,
        calls,
        cost,
        prepare_seconds: prepare.as_secs_f64(),
        wait_seconds: wait.as_secs_f64(),
        run_seconds: run.as_secs_f64(),
    }
}

fn usage_of((worker, usage): (String, flash_platform::WorkerUsage)) -> WorkerUsage {
    WorkerUsage { worker, cores: usage.cores, memory_bytes: usage.memory_bytes }
}

/// What the models of a worker type did, and what they have to do.
fn models_of(did: Vec<(String, Generations)>, mut have: BTreeMap<String, ModelLoad>) -> Vec<ModelStatus> {
    let mut all: Vec<ModelStatus> =
        did.into_iter().map(|(model, sums)| model_status(have.remove(&model), model, &sums)).collect();
    let busy = have.into_iter().filter(|(_, load)| *load != ModelLoad::default());
    all.extend(busy.map(|(model, load)| model_status(Some(load), model, &Generations::default())));
    all
}

fn model_status(load: Option<ModelLoad>, model: String, sums: &Generations) -> ModelStatus {
    let ModelLoad { running, waiting } = load.unwrap_or_default();
    let mean = |latencies: &Latencies| latencies.mean().map(|mean| mean.as_secs_f64());
    let ends = sums.ends().into_iter().filter(|(_, count)| *count > 0);
    ModelStatus {
        model,
        running: running.into(),
        waiting: waiting.into(),
        answers: ends.map(|(end, count)| (end.as_str().to_owned(), count)).collect(),
        prompt_tokens: sums.prompt_tokens,
        cached_tokens: sums.cached_tokens,
        generated_tokens: sums.completion_tokens,
        queue_seconds: mean(&sums.queue),
        first_token_seconds: mean(&sums.first_token),
        between_tokens_seconds: mean(&sums.between_tokens),
        answer_seconds: mean(&sums.total),
    }
}

fn worker_status(worker: TypeOverview, cost: NanoDollars) -> WorkerStatus {
    let Counts { starting, idle, busy, stopping, unhealthy, throttled, loading_seconds } = worker.counts;
    let error = |problem: flash_platform::Problem| LastError {
        time_ms: problem
            .time
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        message: problem.message,
        request_id: problem.request_id,
        worker: problem.worker,
    };
    WorkerStatus {
        name: worker.name,
        kind: worker.kind,
        compute: worker.compute,
        workers_min: worker.workers_min,
        workers_max: worker.workers_max,
        workers: WorkerCounts { starting, idle, busy, stopping, unhealthy, throttled, loading_seconds },
        waits_for: worker.waits_for,
        waiting: worker.waiting,
        running: worker.running,
        completed: worker.completed,
        failed: worker.failed,
        last_errors: worker.last_errors.into_iter().map(error).collect(),
        batches: worker.batches.into_iter().map(batches_of).collect(),
        models: models_of(worker.models, worker.model_loads),
        loading: worker.loading,
        usage: worker.usages.into_iter().map(usage_of).collect(),
        cost: Some(cost),
    }
}
