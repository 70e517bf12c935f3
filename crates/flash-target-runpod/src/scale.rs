//! Limits of workers that a person sets beside the release: the endpoint's own. The next send finds them different from
//! its release, shows that, and sets them back.
use flash_protocol::manifest::WorkerType;
use flash_target::{EnvironmentId, ManualScale, Problem, ReleaseSpec, ScaleChange, TargetError, now_ms};
use flash_text::nearest;

use super::{
    names::of_environment,
    releases,
    rest::{Endpoint, Rest, UpdateEndpoint, WorkerRange},
};

/// Sets the limits of an endpoint.
pub(super) async fn set(
    rest: &Rest,
    id: &EnvironmentId,
    worker: &str,
    change: ScaleChange,
) -> Result<ManualScale, TargetError> {
    if let ScaleChange::Limits { for_seconds: Some(_), .. } = change {
        return Err(TargetError::new(Problem::Refused, "nothing at Runpod would end this after a time")
            .hint(format!("leave --for out, and later: flash scale {} {worker} --reset", id.name)));
    }
    let spec = releases::spec(rest, id, None).await?;
    let ours = of_environment(id, &rest.endpoints().await?);
    let found = spec.manifest.worker(worker).zip(ours.by_worker.get(worker));
    let (worker_type, there) = found.ok_or_else(|| unknown(id, worker, &spec.manifest.workers))?;
    let refused = |message: String| TargetError::new(Problem::Refused, format!("`{worker}`: {message}"));
    let of_release = (worker_type.workers_min, worker_type.workers_max);
    let (min, max) = change.limits(limits(there, worker_type), of_release).map_err(refused)?;
    let workers = WorkerRange { min: Some(min), max: Some(max), idle_timeout: there.workers.idle_timeout };
    let update = UpdateEndpoint { workers: Some(workers), ..UpdateEndpoint::default() };
    rest.update_endpoint(&there.id, &update).await?;
    Ok(ManualScale {
        worker: worker.to_owned(),
        workers_min: min,
        workers_max: max,
        set_ms: now_ms(),
        until_ms: None,
    })
}

/// The endpoints whose limits are not those of the live release.
pub(super) async fn list(rest: &Rest, id: &EnvironmentId) -> Result<Vec<ManualScale>, TargetError> {
    let spec: ReleaseSpec = match releases::spec(rest, id, None).await {
        Ok(spec) => spec,
        Err(error) if error.problem == Problem::NothingLive => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let ours = of_environment(id, &rest.endpoints().await?);
    let scaled = spec.manifest.workers.iter().filter_map(|worker| {
        let (min, max) = limits(ours.by_worker.get(&worker.name)?, worker);
        ((min, max) != (worker.workers_min, worker.workers_max)).then(|| ManualScale {
            worker: worker.name.clone(),
            workers_min: min,
            workers_max: max,
            set_ms: 0,
            until_ms: None,
        })
    });
    Ok(scaled.collect())
}

fn limits(there: &Endpoint, worker: &WorkerType) -> (u32, u32) {
    (there.workers.min.unwrap_or(0), there.workers.max.unwrap_or(worker.workers_max))
}

fn unknown(id: &EnvironmentId, worker: &str, workers: &[WorkerType]) -> TargetError {
    let names = || workers.iter().map(|worker| worker.name.as_str());
    let near = nearest(worker, names());
    TargetError::new(Problem::NotFound, format!("{id} has no endpoint `{worker}`{near}"))
        .hint(format!("endpoints: {}", names().collect::<Vec<_>>().join(", ")))
}
