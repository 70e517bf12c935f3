//! Names in the cache: links to content, and which commit a branch is.
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use flash_protocol::HubModel;

use super::error::DownloadError;
use crate::cache::HubCache;

/// Makes `snapshots/COMMIT/NAME` a link to a blob, in one step.
pub(super) fn link(
    cache: &HubCache,
    model: &HubModel,
    commit: &str,
    name: &str,
    blob: &str,
) -> Result<(), DownloadError> {
    let path = cache.snapshot(model, commit).join(name);
    let upwards = "../".repeat(name.split('/').count() + 1);
    let target = PathBuf::from(format!("{upwards}blobs/{blob}"));
    if fs::read_link(&path).is_ok_and(|known| known == target) {
        return Ok(());
    }
    let make = || {
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let beside = directory.join(format!(".{blob}.{}.link", std::process::id()));
        let _ = fs::remove_file(&beside);
        symlink(&target, &beside)?;
        fs::rename(&beside, &path)
    };
    make().map_err(DownloadError::io(&path))
}

/// Writes which commit a branch or tag is, in one step. A commit needs no name.
pub(super) fn name_commit(cache: &HubCache, model: &HubModel, commit: &str) -> Result<(), DownloadError> {
    if model.is_pinned() || cache.commit(model).as_deref() == Some(commit) {
        return Ok(());
    }
    let path = cache.reference(model);
    let write = || {
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let beside = directory.join(format!(".{}.{}", commit, std::process::id()));
        fs::write(&beside, commit)?;
        fs::rename(&beside, &path)
    };
    write().map_err(DownloadError::io(&path))
}

/// Puts a file's content and its name on the disk: fsync, rename, fsync of the directory. Blocks.
pub(super) fn settle(from: &Path, to: &Path) -> io::Result<()> {
    fs::File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    fs::File::open(to.parent().unwrap_or(Path::new(".")))?.sync_all()
}
