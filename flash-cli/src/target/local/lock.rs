//! Locks that say which process is the one, and who that is.
use std::{
    fs::{File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// Between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Held as long as this is there; the kernel lets go when the process ends, in whatever way.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock within this time; `None` when somebody else holds it. Blocks.
    pub(super) fn take(path: &Path, patience: Duration) -> io::Result<Option<Self>> {
        let file = open(path)?;
        let until = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self { _file: file })),
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

/// Whether anybody holds it.
pub(super) fn is_held(path: &Path) -> io::Result<bool> {
    // Shared, and for a moment: who wants to have it tries for longer than that.
    match open(path)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Leaves this process's id where `flash service stop` finds it.
pub(super) fn write_pid(path: &Path) -> io::Result<()> {
    let part = path.with_extension("pid.part");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    writeln!(file, "{}", std::process::id())?;
    std::fs::rename(&part, path)
}

/// The process of [`write_pid`]. Only meaningful while its lock is held: ids are used again.
pub(super) fn read_pid(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok().filter(|pid| *pid > 1)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_lock_is_held_by_one_until_it_lets_go() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("lock");
        assert!(!is_held(&path).unwrap());
        let lock = Lock::take(&path, Duration::ZERO).unwrap().unwrap();
        assert!(is_held(&path).unwrap());
        assert!(Lock::take(&path, Duration::from_millis(30)).unwrap().is_none());
        drop(lock);
        assert!(!is_held(&path).unwrap());
        assert!(Lock::take(&path, Duration::ZERO).unwrap().is_some());
    }
}
