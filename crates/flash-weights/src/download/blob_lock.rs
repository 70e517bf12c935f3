//! One process fetches a blob at a time: the same lock as the Hub's own client takes.
use std::{
    fs::{self, File, TryLockError},
    path::Path,
    time::Duration,
};

use tokio::time::Instant;

use super::error::DownloadError;

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
    let open = || {
        fs::create_dir_all(lock.parent().unwrap_or(Path::new(".")))?;
        File::options().create(true).truncate(false).write(true).open(lock)
    };
    let opened = open().map_err(DownloadError::io(lock))?;
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
