//! Limits of workers that a person sets beside the release. They are stored, and end with the next release or in time.
use std::time::{Duration, UNIX_EPOCH};

use flash_platform::{Platform, WorkerLimits};
use flash_protocol::manifest::WorkerType;
use flash_target::{EnvironmentId, ManualScale, Problem, ScaleChange, TargetError, now_ms};
use flash_text::nearest;

use super::{host::Host, release, running::Running};

/// The limits that a person has set and that still count.
pub(super) async fn list(host: &Host, id: &EnvironmentId) -> Result<Vec<ManualScale>, TargetError> {
    let running = host.find(id)?;
    stored(host, &running).await
}

/// Sets the limits of a worker type of the live release.
pub(super) async fn set(
    host: &Host,
    id: &EnvironmentId,
    worker: &str,
    change: ScaleChange,
) -> Result<ManualScale, TargetError> {
    let running = host.find(id)?;
    // A release that goes live meanwhile would take them back without saying so.
    let _change = running.begin().await?;
    let key = running.stored.key;
    let live = host.ask(move |database| database.live_number(key)).await?;
    let (Some(live), Some(platform)) = (live, running.platform()) else {
        return Err(TargetError::new(Problem::NothingLive, format!("nothing is live in {id}"))
            .hint(format!("deploy first: flash deploy send {}", id.name)));
    };
    let spec = release::stored_spec(host, &running, live).await?;
    let worker_type =
        spec.manifest.worker(worker).ok_or_else(|| unknown(id, worker, &spec.manifest.workers))?;
    let of_release = (worker_type.workers_min, worker_type.workers_max);
    let scales = stored(host, &running).await?;
    let current = scales.iter().find(|scale| scale.worker == worker);
    let current = current.map_or(of_release, |scale| (scale.workers_min, scale.workers_max));
    let refused = |message: String| TargetError::new(Problem::Refused, format!("`{worker}`: {message}"));
    let (workers_min, workers_max) = change.limits(current, of_release).map_err(refused)?;
    let set_ms = now_ms();
    let until_ms = match change {
        ScaleChange::Limits { for_seconds: Some(seconds), .. } => {
            Some(set_ms.saturating_add(seconds.saturating_mul(1000)))
        }
        _ => None,
    };
    let scale = ManualScale { worker: worker.to_owned(), workers_min, workers_max, set_ms, until_ms };
    let row = scale.clone();
    // First, so that a crash does not undo what was seen.
    host.ask(move |database| match change {
        ScaleChange::Limits { .. } => database.set_scale(key, &row),
        ScaleChange::Release => database.forget_scale(key, &row.worker),
    })
    .await?;
    let limits = match change {
        ScaleChange::Limits { .. } => Some(limits(&scale)),
        ScaleChange::Release => None,
    };
    platform.set_limits(worker, limits);
    Ok(scale)
}

/// Gives a platform that has just started what a person has set before.
pub(super) async fn restore(host: &Host, running: &Running, platform: &Platform) -> Result<(), TargetError> {
    for scale in stored(host, running).await? {
        platform.set_limits(&scale.worker, Some(limits(&scale)));
    }
    Ok(())
}

async fn stored(host: &Host, running: &Running) -> Result<Vec<ManualScale>, TargetError> {
    let key = running.stored.key;
    let now = now_ms();
    let scales = host.ask(move |database| database.scales(key)).await?;
    Ok(scales.into_iter().filter(|scale| scale.until_ms.is_none_or(|until| until > now)).collect())
}

fn limits(scale: &ManualScale) -> WorkerLimits {
    let until = scale.until_ms.map(|until| UNIX_EPOCH + Duration::from_millis(until));
    WorkerLimits { min: scale.workers_min, max: scale.workers_max, until }
}

fn unknown(id: &EnvironmentId, worker: &str, workers: &[WorkerType]) -> TargetError {
    let names = || workers.iter().map(|worker| worker.name.as_str());
    let near = nearest(worker, names());
    TargetError::new(Problem::NotFound, format!("{id} has no worker type `{worker}`{near}"))
        .hint(format!("worker types: {}", names().collect::<Vec<_>>().join(", ")))
}
