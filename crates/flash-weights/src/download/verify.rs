//! Whether what is there is what is locked.
use std::{fs, io};

use flash_protocol::HubModel;

use super::{error::DownloadError, pull::read};
use crate::{cache::HubCache, lock::LockedModel};

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
/// When a file is there and cannot be read.
pub async fn verify(
    cache: &HubCache,
    model: &HubModel,
    locked: &LockedModel,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<(String, Damage)>, DownloadError> {
    let directory = cache.snapshot(model, &locked.commit);
    let mut damaged = Vec::new();
    let mut done = 0;
    for (name, file) in &locked.files {
        match read(&directory.join(name)).await {
            Ok(content) if content.size == file.size && content.sha256 == file.sha256 => {}
            Ok(_) => damaged.push((name.clone(), Damage::Different)),
            Err(DownloadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                damaged.push((name.clone(), Damage::Missing));
            }
            Err(other) => return Err(other),
        }
        done += file.size;
        progress(done);
    }
    Ok(damaged)
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
