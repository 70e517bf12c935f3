//! The models of a release: which commit, and how its workers get the files.
use std::collections::BTreeMap;

use flash_protocol::{ModelReference, manifest::Manifest};
use flash_target::{ModelDelivery, ModelSpec, TargetKind};
use flash_weights::directory_of;

use super::{
    fetch::{check_locked, on_disk},
    place::ModelPlace,
    wanted::{WantedModel, wanted},
};
use crate::exit::{Failure, FailureCode};

/// The models of a release on a target, by worker type. Nothing is fetched: the lock file says it all.
///
/// # Errors
/// When the lock file does not have them, in one line with what to do next, and when a directory is not there.
pub(crate) fn deployed(
    manifest: &Manifest,
    place: &ModelPlace,
    target: TargetKind,
    network_volumes: &[String],
) -> Result<BTreeMap<String, ModelSpec>, Failure> {
    let models = wanted(manifest).map_err(|error| Failure::of(FailureCode::Unusable, &error))?;
    check_locked(&models, place)?;
    let mut specs = BTreeMap::new();
    for model in models {
        let spec = spec(&model, place, target, network_volumes)?;
        specs.extend(model.workers.into_keys().map(|worker| (worker, spec.clone())));
    }
    Ok(specs)
}

/// Whether everything is locked that this app needs, before it is built.
///
/// # Errors
/// What is not.
pub(crate) fn check_lock(manifest: &Manifest, place: &ModelPlace) -> Result<(), Failure> {
    let models = wanted(manifest).map_err(|error| Failure::of(FailureCode::Unusable, &error))?;
    check_locked(&models, place)
}

fn spec(
    model: &WantedModel,
    place: &ModelPlace,
    target: TargetKind,
    network_volumes: &[String],
) -> Result<ModelSpec, Failure> {
    let reference = model.entry.reference.clone();
    let locked = place.lock.as_ref().and_then(|lock| lock.models.get(&reference));
    let commit = locked.map(|locked| locked.commit.clone());
    let is_local = target == TargetKind::Local;
    let delivery = match &model.reference {
        ModelReference::Volume { name, .. } if !is_local && network_volumes.is_empty() => {
            let message = format!(
                "the model `{reference}` of {} is on the volume `{name}`, but the environment has no volume",
                model.of_workers()
            );
            return Err(Failure::unusable(message).hint(
                "set network_volumes = [\"ID\"] under [environments.NAME] in flash.toml, and put the files on it",
            ));
        }
        ModelReference::Volume { .. } if !is_local => ModelDelivery::Volume,
        ModelReference::Hub(_) | ModelReference::Path(_) if !is_local => {
            if let ModelReference::Path(_) = model.reference {
                on_disk(model.clone(), &place.directory)?;
            }
            ModelDelivery::Layer
        }
        ModelReference::Hub(hub) => {
            let commit = commit.as_deref().unwrap_or_default();
            ModelDelivery::Directory { path: place.cache.snapshot(hub, commit) }
        }
        ModelReference::Path(_) | ModelReference::Volume { .. } => {
            let path = directory_of(&model.reference, &place.directory).unwrap_or_default();
            on_disk(model.clone(), &place.directory)?;
            ModelDelivery::Directory { path: path.canonicalize().unwrap_or(path) }
        }
    };
    Ok(ModelSpec { reference, commit, delivery })
}
