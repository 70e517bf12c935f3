//! Removes what nothing needs any more of a model: other commits, content without a name, and unfinished files.
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use flash_protocol::HubModel;

use super::{blob_lock::RepoLock, error::DownloadError};
use crate::{cache::HubCache, patterns::files_below};

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Commits.
    pub commits: Vec<String>,
    /// Blobs, and unfinished ones.
    pub blobs: usize,
    /// Bytes.
    pub bytes: u64,
}

/// Removes all of a model but these commits. `dry_run` removes nothing. A file that a client of the Hub
/// other than ours fetches now is kept.
///
/// # Errors
/// When a process pulls the model, or the cache cannot be read or changed.
pub fn prune(
    cache: &HubCache,
    model: &HubModel,
    keep: &BTreeSet<String>,
    dry_run: bool,
) -> Result<Pruned, DownloadError> {
    let repo = cache.repo(model);
    if !repo.is_dir() {
        return Ok(Pruned::default());
    }
    let _lock = RepoLock::exclusive(cache, model)?;
    let mut pruned = Pruned::default();
    let mut used = BTreeSet::new();
    for snapshot in entries(&repo.join("snapshots"))? {
        let commit = name(&snapshot);
        if keep.contains(&commit) {
            used.extend(blobs_of(&snapshot)?);
            continue;
        }
        if !dry_run {
            fs::remove_dir_all(&snapshot).map_err(DownloadError::io(&snapshot))?;
        }
        pruned.commits.push(commit);
    }
    for blob in entries(&repo.join("blobs"))? {
        let file = name(&blob);
        if used.contains(&file) || is_fetched_now(&cache.locks(model), &file) {
            continue;
        }
        pruned.blobs += 1;
        pruned.bytes += fs::metadata(&blob).map_or(0, |blob| blob.len());
        if !dry_run {
            fs::remove_file(&blob).map_err(DownloadError::io(&blob))?;
        }
    }
    Ok(pruned)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, DownloadError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(DownloadError::io(directory))?,
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The names of the blobs that a snapshot links to.
///
/// # Errors
/// When it cannot be read whole: what it links to would be removed.
fn blobs_of(snapshot: &Path) -> Result<Vec<String>, DownloadError> {
    let links = files_below(snapshot).map_err(DownloadError::io(snapshot))?.into_iter();
    Ok(links.filter_map(|file| fs::read_link(snapshot.join(file)).ok()).map(|target| name(&target)).collect())
}

/// Whether a process holds the lock of a blob.
fn is_fetched_now(locks: &Path, blob: &str) -> bool {
    let blob = blob.strip_suffix(".incomplete").unwrap_or(blob);
    fs::File::open(locks.join(format!("{blob}.lock")))
        .is_ok_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)))
}
