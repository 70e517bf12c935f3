//! Copies of app binaries, one per version: cargo overwrites its own while workers of the old version still start.
//!
//! They are in `.flash/run/PID` and are removed with the process; the next one removes what a killed process left.
use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use flash_protocol::{CommandWorker, catalogue::PriceList};
use parking_lot::{Mutex, MutexGuard};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

/// The number of versions kept on disk: the live one, one that starts, and those that drain.
const KEPT: u64 = 8;

/// See the module.
pub(super) struct Versions {
    directory: PathBuf,
    next: AtomicU64,
    /// The inputs of the latest version.
    latest: Mutex<Option<Origin>>,
}

/// The inputs of a version. A newly linked binary has a new time; its content is not read.
#[derive(PartialEq)]
struct Origin {
    modified: SystemTime,
    length: u64,
    settings: Settings,
}

/// The settings of a version, apart from its binary.
#[derive(Clone, PartialEq)]
pub(super) struct Settings {
    pub environment: Vec<(String, String)>,
    pub prices: PriceList,
    pub commands: Vec<CommandWorker>,
    /// Files named by the commands, with their times.
    pub files: Vec<(PathBuf, SystemTime)>,
}

impl Versions {
    pub(super) fn new(package: &Path) -> io::Result<Self> {
        let all = package.join(".flash").join("run");
        std::fs::create_dir_all(&all)?;
        // What is written here is not a source.
        std::fs::write(package.join(".flash").join(".gitignore"), "*\n")?;
        for entry in std::fs::read_dir(&all)?.flatten() {
            let owner = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            let is_gone = |owner| kill(Pid::from_raw(owner), None) == Err(Errno::ESRCH);
            if owner.is_none_or(is_gone) {
                // At worst it belongs to another process; then it stays.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let directory = all.join(std::process::id().to_string());
        std::fs::create_dir_all(&directory)?;
        Ok(Self { directory, next: AtomicU64::new(1), latest: Mutex::default() })
    }

    /// The directory of the copies; removed with this process.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Copies a binary; `None` if the latest version has the same binary and settings.
    pub(super) async fn keep(&self, built: &Path, settings: &Settings) -> io::Result<Option<PathBuf>> {
        let metadata = tokio::fs::metadata(built).await?;
        let origin =
            Origin { modified: metadata.modified()?, length: metadata.len(), settings: settings.clone() };
        if self.latest().as_ref() == Some(&origin) {
            return Ok(None);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.join(number.to_string());
        tokio::fs::create_dir_all(&directory).await?;
        let program = directory.join(built.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        tokio::fs::copy(built, &program).await?;
        *self.latest() = Some(origin);
        if let Some(old) = number.checked_sub(KEPT) {
            // Workers that still run it keep their open file.
            let _ = tokio::fs::remove_dir_all(self.directory.join(old.to_string())).await;
        }
        Ok(Some(program))
    }

    fn latest(&self) -> MutexGuard<'_, Option<Origin>> {
        self.latest.lock()
    }

    /// The latest version was unusable: the same content is examined again.
    pub(super) fn forget_latest(&self) {
        *self.latest() = None;
    }
}

impl Drop for Versions {
    fn drop(&mut self) {
        // The next `flash run` removes what cannot be removed now.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
