//! Releases as stored, and what the platform needs to run one.
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use flash_platform::{Artifact, NewRelease, Platform, PodImages};
use flash_protocol::{CommandWorker, catalogue::PriceList};
use flash_target::{ArtifactSpec, CommandSpec, ModelDelivery, ModelSpec, Problem, ReleaseSpec, TargetError};

use super::{blocking::blocking, host::Host, running::Running, secrets};
use crate::{artifact, programs};

/// The spec of a release.
pub(super) async fn stored_spec(
    host: &Host,
    running: &Running,
    number: u64,
) -> Result<ReleaseSpec, TargetError> {
    let key = running.stored.key;
    host.ask(move |database| database.spec(key, number)).await?.ok_or_else(|| {
        TargetError::new(Problem::NotFound, format!("{} has no release {number}", running.stored.id))
            .hint(format!("to list them: flash deploy history {}", running.stored.id.name))
    })
}

/// Whether everything that a release consists of is on the disk.
pub(super) async fn check_artifact(
    host: &Host,
    running: &Arc<Running>,
    spec: &ReleaseSpec,
) -> Result<(), TargetError> {
    if host.cluster.is_some() && matches!(spec.artifact, ArtifactSpec::Images { .. }) {
        // They are in a registry, where nodes pull them.
        return Ok(());
    }
    let (directory, artifact) = (running.directory.clone(), spec.artifact.clone());
    blocking(move || artifact::check(&directory, &artifact)).await
}

/// Has all releases with jobs left finish them, except the one that is, or will be, live.
pub(super) async fn resume_stored(
    host: &Host,
    running: &Arc<Running>,
    platform: &Platform,
    live: Option<u64>,
) {
    for number in platform.stored_releases().into_iter().filter(|number| Some(*number) != live) {
        if let Err(error) = resume(host, running, platform, number).await {
            // Its jobs go to the live release, once there is one.
            let id = &running.stored.id;
            host.report.warning(&format!("{id}: release {number} cannot finish its jobs: {}", error.text()));
        }
    }
}

async fn resume(
    host: &Host,
    running: &Arc<Running>,
    platform: &Platform,
    number: u64,
) -> Result<(), TargetError> {
    let spec = stored_spec(host, running, number).await?;
    check_artifact(host, running, &spec).await?;
    let old = prepare(host, running, number, &spec).await?;
    platform.resume(old).await;
    Ok(())
}

/// What the platform needs to run a release.
pub(super) async fn prepare(
    host: &Host,
    running: &Arc<Running>,
    number: u64,
    spec: &ReleaseSpec,
) -> Result<NewRelease, TargetError> {
    let programs = programs::fetch(&running.directory.work(), spec).await?;
    let (of, spec) = (running.clone(), spec.clone());
    let (database, cipher, cluster) = (host.database.clone(), host.cipher.clone(), host.cluster.clone());
    blocking(move || {
        let secrets = secrets::open(&database, &cipher, &of, &spec.secrets)?;
        let directory = artifact::work_directory(&of.directory, number, &spec.artifact)?;
        let prices = spec.prices.iter().map(|(name, price)| (name.as_str(), *price));
        let prices =
            PriceList::with_overrides(prices).map_err(|error| TargetError::of(Problem::Refused, error))?;
        let mut manifest = spec.manifest.clone();
        let is_command = |name: &str| spec.commands.iter().any(|own| own.worker_type.name == name);
        // The platform adds them itself.
        manifest.workers.retain(|worker| !is_command(&worker.name));
        Ok::<_, TargetError>(NewRelease {
            number: Some(number),
            manifest,
            commands: commands(&spec.commands),
            artifact: match &spec.artifact {
                ArtifactSpec::Binaries { .. } => {
                    Artifact::Binaries(Arc::new(artifact::programs(&of.directory, &spec.artifact)))
                }
                ArtifactSpec::Images { images, .. } if let Some(cluster) = cluster => {
                    Artifact::Pods(Arc::new(PodImages { cluster, images: images.clone() }))
                }
                ArtifactSpec::Images { .. } => {
                    let message = "the local target runs binaries, not images";
                    return Err(TargetError::new(Problem::Refused, message));
                }
            },
            programs,
            directory,
            environment: spec.variables.clone().into_iter().chain(secrets).collect(),
            prices,
            models: directories(&spec.models),
        })
    })
    .await
}

/// The directories of models that lie on this machine.
fn directories(models: &BTreeMap<String, ModelSpec>) -> BTreeMap<String, PathBuf> {
    let directory = |(worker, model): (&String, &ModelSpec)| match &model.delivery {
        ModelDelivery::Directory { path } => Some((worker.clone(), path.clone())),
        ModelDelivery::Layer | ModelDelivery::Volume => None,
    };
    models.iter().filter_map(directory).collect()
}

/// In the platform's form.
fn commands(commands: &[CommandSpec]) -> Vec<CommandWorker> {
    let command = |command: &CommandSpec| CommandWorker {
        worker_type: command.worker_type.clone(),
        program: command.program.clone(),
        environment: command.environment.clone().into_iter().collect(),
        health_path: command.health_path.clone(),
    };
    commands.iter().map(command).collect()
}
