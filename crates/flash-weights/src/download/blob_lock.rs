//! One process fetches a blob at a time: the same lock as the Hub's own client takes. And nothing is removed from a
//! repository while a process pulls it: a lock of ours, as what a pull has fetched has no name yet.
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use flash_protocol::HubModel;
use tokio::time::Instant;

use super::error::DownloadError;
use crate::cache::HubCache;

/// How often a lock that is held is tried.
const TRY_EVERY: Duration = Duration::from_millis(200);
/// For how long the holder may make no progress.
const PATIENCE: Duration = Duration::from_secs(300);

/// Held until dropped. The file stays: removing it could let two processes hold two locks.
#[derive(Debug)]
pub(super) struct BlobLock(#[expect(dead_code, reason = "the lock ends when the file is closed")] File);

/// Takes the lock, and waits as long as its holder makes progress with `incomplete`.
///
/// # Errors
/// When the lock cannot be made, or its holder does nothing for 5 minutes.
pub(super) async fn acquire(lock: &Path, incomplete: &Path, file: &str) -> Result<BlobLock, DownloadError> {
    let opened = open(lock).map_err(DownloadError::io(lock))?;
    let (mut seen, mut since) = (size(incomplete), Instant::now());
    loop {
        match opened.try_lock() {
            Ok(()) => return Ok(BlobLock(opened)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => {
                return Err(DownloadError::Io { path: lock.to_owned(), source });
            }
        }
        let now = size(incomplete);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        let waited = since.elapsed();
        if waited >= PATIENCE {
            return Err(DownloadError::Locked { file: file.to_owned(), lock: lock.to_owned(), waited });
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Held while a repository is pulled, by any number of processes, or while it is pruned, by one.
#[derive(Debug)]
pub(super) struct RepoLock(#[expect(dead_code, reason = "the lock ends when the file is closed")] File);

impl RepoLock {
    /// For a pull. Waits for a process that prunes, which takes moments.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub(super) async fn shared(cache: &HubCache, model: &HubModel) -> Result<Self, DownloadError> {
        let path = Self::path(cache, model);
        let taken = path.clone();
        let lock = tokio::task::spawn_blocking(move || {
            let file = open(&taken)?;
            file.lock_shared()?;
            Ok(Self(file))
        });
        lock.await.map_err(std::io::Error::other).flatten().map_err(DownloadError::io(path))
    }

    /// To remove what no pull needs.
    ///
    /// # Errors
    /// When a process pulls the repository, or the lock cannot be made.
    pub(super) fn exclusive(cache: &HubCache, model: &HubModel) -> Result<Self, DownloadError> {
        let path = Self::path(cache, model);
        let file = open(&path).map_err(DownloadError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(DownloadError::BeingFetched { model: model.repo.clone() }),
            Err(TryLockError::Error(source)) => Err(DownloadError::Io { path, source }),
        }
    }

    /// Beside the locks of blobs. No blob has this name, because theirs are hashes.
    fn path(cache: &HubCache, model: &HubModel) -> PathBuf {
        cache.locks(model).join("pull.lock")
    }
}

fn open(lock: &Path) -> std::io::Result<File> {
    fs::create_dir_all(lock.parent().unwrap_or(Path::new(".")))?;
    File::options().create(true).truncate(false).write(true).open(lock)
}

fn size(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|file| file.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lock_is_waited_for_as_long_as_its_holder_makes_progress() {
        let directory = tempfile::TempDir::new().unwrap();
        let (lock, incomplete) =
            (directory.path().join(".locks/a.lock"), directory.path().join("a.incomplete"));
        let held = acquire(&lock, &incomplete, "a").await.unwrap();
        let started = Instant::now();
        let writes = async {
            tokio::time::sleep(Duration::from_secs(200)).await;
            fs::write(&incomplete, "more").unwrap();
        };
        let (error, ()) = tokio::join!(acquire(&lock, &incomplete, "a"), writes);
        assert!(matches!(error.unwrap_err(), DownloadError::Locked { .. }));
        assert!(started.elapsed() >= Duration::from_secs(500), "{:?}", started.elapsed());
        let release = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            drop(held);
        };
        let (second, ()) = tokio::join!(acquire(&lock, &incomplete, "a"), release);
        second.unwrap();
    }
}
