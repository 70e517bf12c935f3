//! Reports what exists: environments and their status.
use std::collections::BTreeMap;

use flash_protocol::{
    catalogue::NanoDollars,
    manifest::{EndpointKind, Manifest},
};
use flash_target::{
    Created, DeployedEndpoint, Environment, EnvironmentId, LastError, NewEnvironment, Problem, Serving,
    Status, TargetError, TargetKind, WorkerCounts, WorkerStatus, now_ms,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    costs, ledger,
    names::{environments_in, of_environment},
    rest::{Endpoint, EndpointType, Rest, RestError, Template, WorkerState},
    urls,
};

/// The number of endpoints queried at the same time.
const AT_ONCE: usize = 8;

/// An environment exists at the provider only once something is sent to it: this checks that there is none yet.
pub(super) async fn create(rest: &Rest, new: &NewEnvironment) -> Result<Created, TargetError> {
    let environment = environment(rest, &new.id).await?;
    if environment.live.is_some() || !environment.endpoints.is_empty() {
        return Err(TargetError::new(Problem::Exists, format!("{} already exists", new.id))
            .hint(format!("send a release to it: flash deploy send {}", new.id.name)));
    }
    Ok(Created { environment: Environment { created_ms: now_ms(), ..environment }, key: None })
}

/// All environments of the account.
pub(super) async fn environments(rest: &Rest) -> Result<Vec<Environment>, TargetError> {
    let (endpoints, templates) = tokio::try_join!(rest.endpoints(), rest.templates())?;
    let ids = environments_in(&endpoints, &templates);
    Ok(ids.iter().map(|id| environment_of(rest, id, &endpoints, &templates)).collect())
}

/// One environment.
pub(super) async fn environment(rest: &Rest, id: &EnvironmentId) -> Result<Environment, TargetError> {
    let (endpoints, templates) = tokio::try_join!(rest.endpoints(), rest.templates())?;
    Ok(environment_of(rest, id, &endpoints, &templates))
}

fn environment_of(
    rest: &Rest,
    id: &EnvironmentId,
    endpoints: &[Endpoint],
    templates: &[Template],
) -> Environment {
    let ours = of_environment(id, endpoints);
    // A damaged record is reported where it matters; the others are listed anyway.
    let entries = ledger::entries(id, templates).unwrap_or_default();
    let live = ledger::live(&entries);
    let endpoint = |(worker, endpoint): (String, Endpoint)| DeployedEndpoint {
        kind: kind(&endpoint),
        url: urls::base(rest, &endpoint),
        health: Some(urls::health(rest, &endpoint)),
        id: endpoint.id,
        worker,
    };
    Environment {
        id: id.clone(),
        target: TargetKind::Runpod,
        created_ms: entries.last().map_or(0, |first| first.entry.created_ms),
        url: None,
        live: live.map(|kept| kept.entry.record(now_ms())),
        endpoints: ours.by_worker.into_iter().map(endpoint).collect(),
        secrets: BTreeMap::new(),
    }
}

/// The current state.
pub(super) async fn status(rest: &Rest, id: &EnvironmentId) -> Result<Status, TargetError> {
    let (endpoints, templates) = tokio::try_join!(rest.endpoints(), rest.templates())?;
    let ours = of_environment(id, &endpoints);
    let entries = ledger::entries(id, &templates)?;
    let live = ledger::live(&entries).map(|kept| &kept.entry);
    let spec = live.map(|entry| &entry.spec);
    // A key may be allowed to read endpoints but not bills.
    let costs = costs::totals(rest, &ours.by_worker).await.ok();
    let mut asked = Vec::new();
    for (worker, endpoint) in &ours.by_worker {
        let manifest = spec.map(|spec| &spec.manifest);
        let cost = costs.as_ref().map(|costs| costs.get(worker).copied().unwrap_or_default());
        asked.push(worker_status(rest, worker, endpoint, manifest, cost));
    }
    let workers: Vec<WorkerStatus> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
    let missing = spec.iter().flat_map(|spec| &spec.manifest.workers);
    let missing: Vec<&str> = missing
        .map(|worker| worker.name.as_str())
        .filter(|name| !ours.by_worker.contains_key(*name))
        .collect();
    let serving = match live.map(|entry| entry.number) {
        None => Serving::Empty,
        Some(release) if missing.is_empty() => Serving::Live { release },
        Some(release) => {
            let reason = format!("the endpoints of {} no longer exist", missing.join(", "));
            Serving::Down { release, reason }
        }
    };
    let cost = costs.map(|costs| NanoDollars(costs.values().map(|cost| cost.0).sum()));
    Ok(Status {
        id: id.clone(),
        url: None,
        serving,
        workers,
        draining: Vec::new(),
        damaged: Vec::new(),
        cost,
        job_memory: None,
        gpus: Vec::new(),
    })
}

async fn worker_status(
    rest: &Rest,
    worker: &str,
    endpoint: &Endpoint,
    manifest: Option<&Manifest>,
    cost: Option<NanoDollars>,
) -> Result<WorkerStatus, RestError> {
    let url = urls::health(rest, endpoint);
    let (there, health) = tokio::try_join!(rest.workers(&endpoint.id), rest.health(&url))?;
    let mut counts = WorkerCounts::default();
    let mut last_errors = Vec::new();
    for one in &there.workers {
        match one.status {
            // A worker about to be replaced ends with its work.
            WorkerState::Running | WorkerState::Idle if one.is_stale => counts.stopping += 1,
            WorkerState::Running => counts.busy += 1,
            WorkerState::Idle => counts.idle += 1,
            WorkerState::Initializing => counts.starting += 1,
            WorkerState::Throttled => counts.throttled += 1,
            WorkerState::Unhealthy => {
                counts.unhealthy += 1;
                last_errors.push(LastError {
                    time_ms: now_ms(),
                    message: "it is unhealthy: it crashed, or its image cannot be started".to_owned(),
                    request_id: None,
                    worker: Some(one.id.clone()),
                });
            }
            WorkerState::Unknown => {}
        }
    }
    last_errors.truncate(5);
    let entry = manifest.and_then(|manifest| manifest.worker(worker));
    Ok(WorkerStatus {
        waits_for: None,
        name: worker.to_owned(),
        kind: kind(endpoint),
        compute: entry.map_or_else(|| hardware(endpoint), |entry| entry.compute.label()),
        workers_min: endpoint.workers.min.unwrap_or(0),
        workers_max: endpoint.workers.max.unwrap_or(0),
        workers: counts,
        waiting: health.jobs.in_queue,
        running: health.jobs.in_progress,
        completed: health.jobs.completed,
        failed: health.jobs.failed,
        last_errors,
        batches: Vec::new(),
        models: Vec::new(),
        loading: None,
        usage: Vec::new(),
        cost,
    })
}

fn kind(endpoint: &Endpoint) -> EndpointKind {
    match endpoint.kind {
        Some(EndpointType::LoadBalancer) => EndpointKind::LoadBalanced,
        Some(EndpointType::Queue) | None => EndpointKind::Queue,
    }
}

/// From the endpoint, if no release tells.
fn hardware(endpoint: &Endpoint) -> String {
    match (&endpoint.gpu, &endpoint.cpu) {
        (Some(gpu), _) => format!("GPU {}", gpu.pools.join("|")),
        (None, Some(cpu)) => {
            let names = cpu.iter().map(|cpu| format!("{}-{}", cpu.id, cpu.vcpu_count));
            format!("CPU {}", names.collect::<Vec<_>>().join("|"))
        }
        (None, None) => "unknown".to_owned(),
    }
}
