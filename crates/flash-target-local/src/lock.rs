//! Locks that allow one process at a time, and tell which process it is.
use std::{
    fs::{File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    time::{Duration, Instant},
};

/// The pause between tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Held as long as this value lives; the kernel releases it when the process ends, however it ends.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock within this time and writes this process's ID to its file; `None` if another process holds
    /// it. Blocks.
    pub(super) fn take(path: &Path, timeout: Duration) -> io::Result<Option<Self>> {
        let file = open(path)?;
        let until = Instant::now() + timeout;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    sign(&file);
                    return Ok(Some(Self { _file: file }));
                }
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

/// Writes this process's ID to the file of a lock that it holds.
fn sign(file: &File) {
    // On a full disk the lock works without an ID: only a hung process cannot be found then.
    let _ = file.set_len(0);
    let _ = file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0);
}

/// Whether any process holds it.
pub(super) fn is_held(path: &Path) -> io::Result<bool> {
    // Shared and only for a moment: a process that wants the lock retries for longer.
    match open(path)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Writes this process's ID to where `flash service stop` finds it.
pub(super) fn write_pid(path: &Path) -> io::Result<()> {
    let part = path.with_extension("pid.part");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    writeln!(file, "{}", std::process::id())?;
    std::fs::rename(&part, path)
}

/// The process of [`write_pid`], or the one that locked this file. Only valid while the lock is held: IDs are
/// reused.
pub(super) fn read_pid(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok().filter(|pid| *pid > 1)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_lock_is_held_by_one_until_it_lets_go_and_says_by_whom() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("lock");
        assert!(!is_held(&path).unwrap());
        std::fs::write(&path, "1234567890\n").unwrap();
        let lock = Lock::take(&path, Duration::ZERO).unwrap().unwrap();
        assert_eq!(read_pid(&path), i32::try_from(std::process::id()).ok());
        assert!(is_held(&path).unwrap());
        assert!(Lock::take(&path, Duration::from_millis(30)).unwrap().is_none());
        drop(lock);
        assert!(!is_held(&path).unwrap());
        assert!(Lock::take(&path, Duration::ZERO).unwrap().is_some());
    }
}
