//! Whether what is there is what is locked.
use std::{fs, io, path::Path};

use flash_protocol::HubModel;

use super::{blob_lock::RepoLock, error::DownloadError, pull::read};
use crate::{
    cache::HubCache,
    lock::{LockedFile, LockedModel},
};

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// It is not there.
    Missing,
    /// It has another content.
    Different,
}

/// Reads every file of a locked model, and returns those that are not as locked. Never uses the network.
///
/// # Errors
/// When a file is there and cannot be read, and when one is missing or different while a process pulls the model: it may be
/// about to come.
pub async fn verify(
    cache: &HubCache,
    model: &HubModel,
    locked: &LockedModel,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<(String, Damage)>, DownloadError> {
    let directory = cache.snapshot(model, &locked.commit);
    let mut suspects = Vec::new();
    let mut done = 0;
    for (name, file) in &locked.files {
        if damage(&directory.join(name), file).await?.is_some() {
            suspects.push((name, file));
        }
        done += file.size;
        progress(done);
    }
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    // A pull may have ended since they were read: only what is wrong while none runs is damaged.
    let _lock = match RepoLock::exclusive(cache, model) {
        Err(pulled @ DownloadError::BeingFetched { .. }) => return Err(pulled),
        // Nobody pulls into a cache where no lock can be made.
        lock => lock.ok(),
    };
    let mut damaged = Vec::new();
    for (name, file) in suspects {
        damaged.extend(damage(&directory.join(name), file).await?.map(|damage| (name.clone(), damage)));
    }
    Ok(damaged)
}

async fn damage(path: &Path, file: &LockedFile) -> Result<Option<Damage>, DownloadError> {
    match read(path).await {
        Ok(content) if content.size == file.size && content.sha256 == file.sha256 => Ok(None),
        Ok(_) => Ok(Some(Damage::Different)),
        Err(DownloadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(Some(Damage::Missing))
        }
        Err(other) => Err(other),
    }
}

/// Removes a file of a commit, with its content, so that the next pull fetches it again.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn discard(cache: &HubCache, model: &HubModel, commit: &str, file: &str) -> Result<(), DownloadError> {
    let link = cache.snapshot(model, commit).join(file);
    let content = fs::canonicalize(&link);
    let is_own = content.as_ref().is_ok_and(|content| {
        fs::canonicalize(cache.repo(model).join("blobs")).is_ok_and(|blobs| content.starts_with(blobs))
    });
    for path in content.ok().filter(|_| is_own).into_iter().chain([link]) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(DownloadError::io(&path))?,
        }
    }
    Ok(())
}
