//! Worker types whose image was built elsewhere: fetched and run by this machine's container engine.
use std::{collections::BTreeMap, path::Path, sync::Arc};

use flash_containers::{Engine, EngineError, PullProblem, Wanted};
use flash_platform::Images;
use flash_target::{CommandSpec, Finding, Problem, ReleaseSpec, TargetError};
use flash_text::error_chain;

/// The images of a release by worker type.
fn images<'s>(spec: &'s ReleaseSpec) -> BTreeMap<&'s str, &'s str> {
    let image = |own: &'s CommandSpec| Some((own.worker_type.name.as_str(), own.program.image()?));
    spec.commands.iter().filter_map(image).collect()
}

/// What would keep this machine from running the images of a release: no usable engine.
pub(super) async fn problems(spec: &ReleaseSpec) -> Vec<Finding> {
    let Some((worker, _)) = images(spec).pop_first() else { return Vec::new() };
    match flash_containers::find(&Wanted::default()).await {
        Ok(_) => Vec::new(),
        Err(error) => vec![Finding {
            message: format!("worker type `{worker}` is an image: {}", error_chain(&error)),
            fix: fix(&error),
        }],
    }
}

/// Fetches the images of a release that the engine does not have; `None` if it has none. The files of their containers
/// are written below the directory.
///
/// # Errors
/// When there is no engine, and when an image cannot be fetched or does not run here.
pub(super) async fn fetch(directory: &Path, spec: &ReleaseSpec) -> Result<Option<Arc<Images>>, TargetError> {
    let images = images(spec);
    if images.is_empty() {
        return Ok(None);
    }
    let engine = flash_containers::find(&Wanted::default()).await.map_err(refused)?;
    let ids = obtain(&engine, images).await.map_err(refused)?;
    let directory = directory.join("programs");
    Ok(Some(Arc::new(Images { engine: Arc::new(engine), ids, directory })))
}

/// Their IDs in the engine's store.
async fn obtain(
    engine: &Engine,
    images: BTreeMap<&str, &str>,
) -> Result<BTreeMap<String, String>, EngineError> {
    let mut ids = BTreeMap::new();
    for (worker, image) in images {
        let id = flash_containers::obtain(engine, image, || ()).await?;
        ids.insert(worker.to_owned(), id);
    }
    Ok(ids)
}

fn refused(error: EngineError) -> TargetError {
    TargetError::new(Problem::Refused, error_chain(&error)).hint(fix(&error))
}

/// What to do about an engine or an image.
fn fix(error: &EngineError) -> String {
    match error {
        EngineError::None | EngineError::Missing(_) => {
            "install the package `podman`, or `docker` (`docker.io` on Debian)".to_owned()
        }
        EngineError::Pull { problem: PullProblem::Denied, image, .. } => {
            let registry = image.split('/').next().unwrap_or(image);
            format!("log in where it is: podman login {registry} or docker login {registry}")
        }
        EngineError::Pull { problem: PullProblem::NotFound, .. } => {
            "push the image again, or name another one in flash.toml".to_owned()
        }
        EngineError::Pull { problem: PullProblem::Other, .. } => {
            "check that its registry can be reached from here, and send again".to_owned()
        }
        EngineError::Platform { wanted, .. } => {
            format!("name an image in flash.toml that was built for {wanted}")
        }
        _ => "check that `podman info` or `docker info` succeeds on this machine".to_owned(),
    }
}
