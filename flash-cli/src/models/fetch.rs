//! Makes sure that the files of models are on this machine.
use std::path::{Path, PathBuf};

use flash_protocol::{HubModel, ModelReference, manifest::Manifest};
use flash_weights::{
    LOCK_FILE, LockedModel, ModelLock, Place, directory_of,
    download::{Progress, Request, pull},
    locate,
};

use super::{
    failure::{download_failure, lock_failure},
    place::ModelPlace,
    room::too_large,
    wanted::{WantedModel, wanted},
};
use crate::{
    exit::{Failure, FailureCode},
    output::Output,
};

/// What the lock file is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockPolicy {
    /// What is locked is fetched; what is not is fetched too, and then locked.
    Extend,
    /// Everything is looked up again on the Hub, and locked.
    Renew,
    /// Everything must be locked, as for a deployment.
    Demand,
}

/// A model whose files are here.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub model: WantedModel,
    /// Where its files are.
    pub directory: PathBuf,
    /// Of a model of the Hub.
    pub locked: Option<LockedModel>,
    /// Bytes that came over the network.
    pub bytes: u64,
}

/// Fetches the models of an app that are not here. Whether the lock file was written, and each model.
///
/// # Errors
/// The first model that is not here, in one line with what to do next.
pub(crate) async fn fetch(
    manifest: &Manifest,
    place: &mut ModelPlace,
    policy: LockPolicy,
    output: &Output,
) -> Result<(bool, Vec<Fetched>), Failure> {
    let models = wanted(manifest).map_err(|error| Failure::of(FailureCode::Unusable, &error))?;
    if policy == LockPolicy::Demand {
        check_locked(&models, place)?;
    }
    let mut next = ModelLock::default();
    let mut fetched = Vec::new();
    for model in models {
        let one = match &model.reference {
            ModelReference::Hub(hub) => {
                let hub = hub.clone();
                from_hub(model, &hub, place, policy, output).await?
            }
            ModelReference::Path(_) | ModelReference::Volume { .. } => on_disk(model, &place.directory)?,
        };
        if let Some(locked) = &one.locked {
            let of_model =
                manifest.workers.iter().filter(|worker| one.model.workers.contains_key(&worker.name));
            let reference = &one.model.entry.reference;
            of_model
                .filter_map(|worker| too_large(reference, locked.size(), worker))
                .for_each(|warning| output.warning(&warning));
            next.models.insert(one.model.entry.reference.clone(), locked.clone());
        }
        fetched.push(one);
    }
    let is_needed = place.lock.is_some() || !next.models.is_empty();
    let written = match policy {
        LockPolicy::Demand => false,
        LockPolicy::Extend | LockPolicy::Renew => {
            is_needed && next.save(&place.directory).map_err(|error| lock_failure(&error))?
        }
    };
    if written {
        place.lock = Some(next);
    }
    Ok((written, fetched))
}

/// Whether the lock file has everything that a deployment needs, and nothing that its author did not mean.
///
/// # Errors
/// The first difference.
pub(super) fn check_locked(models: &[WantedModel], place: &ModelPlace) -> Result<(), Failure> {
    let next = "run `flash models pull`, and check the file into git";
    let none = ModelLock::default();
    let lock = place.lock.as_ref().unwrap_or(&none);
    for model in models.iter().filter(|model| matches!(model.reference, ModelReference::Hub(_))) {
        let (reference, workers) = (&model.entry.reference, model.of_workers());
        let message = match lock.models.get(reference) {
            None if place.lock.is_none() => {
                format!("there is no {LOCK_FILE}: which commit of `{reference}`, of {workers}, is deployed?")
            }
            None => format!("the model `{reference}` of {workers} is not in {LOCK_FILE}"),
            Some(locked) if !locked.has_patterns(&model.patterns()) => format!(
                "{LOCK_FILE} differs from the code: for `{reference}` it has {}, and {workers} asks for {}",
                flash_weights::Patterns::new(&locked.patterns),
                model.patterns()
            ),
            Some(_) => continue,
        };
        return Err(Failure::unusable(message).hint(next));
    }
    let is_used = |reference: &String| models.iter().any(|model| model.entry.reference == *reference);
    match lock.models.keys().find(|reference| !is_used(reference)) {
        Some(unused) => {
            let message =
                format!("{LOCK_FILE} differs from the code: no worker type has the model `{unused}`");
            Err(Failure::unusable(message).hint(next))
        }
        None => Ok(()),
    }
}

async fn from_hub(
    model: WantedModel,
    hub: &HubModel,
    place: &ModelPlace,
    policy: LockPolicy,
    output: &Output,
) -> Result<Fetched, Failure> {
    let patterns = model.patterns();
    let locked = place.lock.as_ref().and_then(|lock| lock.models.get(&model.entry.reference));
    let locked = locked.filter(|_| policy != LockPolicy::Renew);
    // Other files of the same commit, whatever has become of the branch.
    let revision = locked.map_or(&hub.revision, |locked| &locked.commit).clone();
    let at_commit = HubModel { repo: hub.repo.clone(), revision };
    let request = match locked.filter(|locked| locked.has_patterns(&patterns)) {
        Some(locked) => Request { model: hub, patterns: &patterns, locked: Some(locked) },
        None => Request { model: &at_commit, patterns: &patterns, locked: None },
    };
    let bar = output.progress("Fetching", &hub.to_string());
    let show = |Progress { done, total }: Progress| {
        bar.set_total(total);
        bar.set(done);
    };
    let pulled = pull(&place.hub, &place.cache, &request, &show).await;
    drop(bar);
    let pulled = pulled.map_err(|error| download_failure(&error))?;
    Ok(Fetched { model, directory: pulled.directory, locked: Some(pulled.locked), bytes: pulled.fetched })
}

/// A directory of this machine, with the files that each of its worker types needs.
///
/// # Errors
/// What is missing.
pub(super) fn on_disk(model: WantedModel, crate_directory: &Path) -> Result<Fetched, Failure> {
    let place = Place { crate_directory: crate_directory.to_owned(), ..Place::default() };
    for entry in model.workers.values() {
        locate(entry, &place).map_err(|error| {
            let hint = match model.reference {
                ModelReference::Volume { .. } => {
                    "on this machine, a volume is a directory of the crate: put the files there"
                }
                _ => "put the files there, or correct `model` in `#[remote]`",
            };
            Failure::of(FailureCode::Unusable, &error).hint(hint)
        })?;
    }
    let directory = directory_of(&model.reference, crate_directory).unwrap_or_default();
    let directory = directory.canonicalize().unwrap_or(directory);
    Ok(Fetched { model, directory, locked: None, bytes: 0 })
}
