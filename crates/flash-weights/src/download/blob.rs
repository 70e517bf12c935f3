//! One file: fetched from where an earlier try ended, verified, and given its name.
use std::{
    io::SeekFrom,
    path::{Path, PathBuf},
};

use flash_protocol::HubModel;
use reqwest::{
    StatusCode,
    header::{CONTENT_RANGE, HeaderMap},
};
use tokio::{
    fs::File,
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
    task::spawn_blocking,
};

use super::{
    blob_lock,
    content::Content,
    error::DownloadError,
    hub::Hub,
    link::settle,
    listing::{RemoteFile, address},
    retry::Attempts,
};
use crate::cache::HubCache;

/// Where a blob is, and where it is while it is fetched.
#[derive(Debug)]
pub(super) struct BlobPaths {
    pub(super) whole: PathBuf,
    pub(super) incomplete: PathBuf,
    lock: PathBuf,
}

impl BlobPaths {
    pub(super) fn of(cache: &HubCache, model: &HubModel, blob: &str) -> Self {
        let repo = cache.repo(model);
        let blobs = repo.join("blobs");
        Self {
            whole: blobs.join(blob),
            incomplete: blobs.join(format!("{blob}.incomplete")),
            lock: cache.locks(model).join(format!("{blob}.lock")),
        }
    }

    /// Whether the blob is there, with its whole size.
    pub(super) fn is_there(&self, size: u64) -> bool {
        std::fs::metadata(&self.whole).is_ok_and(|file| file.is_file() && file.len() == size)
    }

    /// The bytes of it that are there.
    pub(super) fn arrived(&self, size: u64) -> u64 {
        match self.is_there(size) {
            true => size,
            false => std::fs::metadata(&self.incomplete).map_or(0, |file| file.len()).min(size),
        }
    }
}

/// Fetches a file unless it is there. `at_commit` is the model at the commit of the file; `progress` is told how many
/// bytes of it are there.
///
/// # Errors
/// Why it could not be fetched. What has arrived is kept, unless its hash is wrong.
pub(super) async fn fetch(
    hub: &Hub,
    at_commit: &HubModel,
    file: &RemoteFile,
    paths: &BlobPaths,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), DownloadError> {
    let blobs = paths.whole.parent().unwrap_or(Path::new("."));
    tokio::fs::create_dir_all(blobs).await.map_err(DownloadError::io(blobs))?;
    let _lock = blob_lock::acquire(&paths.lock, &paths.incomplete, &file.name).await?;
    // Another process may have fetched it meanwhile.
    if paths.is_there(file.size) {
        progress(file.size);
        return Ok(());
    }
    let mut is_second = false;
    loop {
        fill(hub, at_commit, file, paths, progress).await?;
        if finish(file, paths).await? {
            return Ok(());
        }
        // What an earlier try left may have been damaged, so all of it is fetched once more.
        if is_second {
            let expected = file.hash.as_str().to_owned();
            return Err(DownloadError::Damaged { file: file.name.clone(), expected });
        }
        is_second = true;
    }
}

/// Gives the file its name, if its content is right, and removes it if not.
async fn finish(file: &RemoteFile, paths: &BlobPaths) -> Result<bool, DownloadError> {
    let (incomplete, whole, hash) = (paths.incomplete.clone(), paths.whole.clone(), file.hash.clone());
    let size = file.size;
    let finished = spawn_blocking(move || {
        let content = Content::read(&incomplete)?;
        let is_right = content.size == size && content.is(&hash);
        match is_right {
            true => settle(&incomplete, &whole)?,
            false => std::fs::remove_file(&incomplete)?,
        }
        Ok(is_right)
    });
    finished.await.map_err(std::io::Error::other).flatten().map_err(DownloadError::io(&paths.incomplete))
}

/// Fetches until as many bytes are there as the file has.
async fn fill(
    hub: &Hub,
    at_commit: &HubModel,
    file: &RemoteFile,
    paths: &BlobPaths,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), DownloadError> {
    let mut attempts = Attempts::new(hub.retry);
    loop {
        let before = paths.arrived(file.size);
        progress(before);
        if before == file.size && paths.incomplete.exists() {
            return Ok(());
        }
        match receive(hub, at_commit, file, paths, before, progress).await {
            Ok(()) if paths.arrived(file.size) == file.size => return Ok(()),
            // An answer that ended early without an error is a failure like one with it.
            Ok(()) if paths.arrived(file.size) > before => attempts.progressed(),
            Ok(()) => {
                let status = StatusCode::SERVICE_UNAVAILABLE.as_u16();
                let failure = DownloadError::Status { endpoint: hub.name(), status, retry_after: None };
                attempts.wait_after(failure).await?;
            }
            Err(failure) => {
                if paths.arrived(file.size) > before {
                    attempts.progressed();
                }
                attempts.wait_after(failure).await?;
            }
        }
    }
}

/// One request. Its bytes are appended as they come.
async fn receive(
    hub: &Hub,
    at_commit: &HubModel,
    file: &RemoteFile,
    paths: &BlobPaths,
    from: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), DownloadError> {
    let url = address(hub, at_commit, &file.name);
    let response = hub.get(url, (from > 0).then_some(from), at_commit).await;
    let failed = || DownloadError::io(&paths.incomplete);
    let mut response = match response {
        // The server has fewer bytes than are here: they are of something else.
        Err(DownloadError::Status { status: 416, .. }) if from > 0 => {
            tokio::fs::remove_file(&paths.incomplete).await.map_err(failed())?;
            return Ok(());
        }
        response => response?,
    };
    let continues = response.status() == StatusCode::PARTIAL_CONTENT
        && starts_at(response.headers()).is_none_or(|start| start == from);
    let mut to = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&paths.incomplete)
        .await
        .map_err(failed())?;
    // A server that does not know ranges sends everything.
    let mut done = if continues { from } else { 0 };
    to.set_len(done).await.map_err(failed())?;
    to.seek(SeekFrom::Start(done)).await.map_err(failed())?;
    let cut = |source: reqwest::Error| DownloadError::Transport {
        endpoint: hub.name(),
        source: source.without_url(),
    };
    let ended = loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break Ok(()),
            Err(error) => break Err(cut(error)),
        };
        // Never more than the file has: the rest would be of something else.
        let room = usize::try_from(file.size - done).unwrap_or(usize::MAX).min(chunk.len());
        to.write_all(&chunk[..room]).await.map_err(failed())?;
        done += room as u64;
        progress(done);
        if room < chunk.len() {
            break Ok(());
        }
    };
    // What has arrived counts, however it ended.
    to.flush().await.map_err(failed())?;
    ended
}

/// The first byte of a part.
fn starts_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
