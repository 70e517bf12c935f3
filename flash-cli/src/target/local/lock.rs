//! Locks that say which process is the one, and who that is.
use std::{
    fs::{File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
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
    /// Takes the lock within this time, and leaves this process's id in its file; `None` when somebody else holds it.
    /// Blocks.
    pub(super) fn take(path: &Path, patience: Duration) -> io::Result<Option<Self>> {
        let file = open(path)?;
        let until = Instant::now() + patience;
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

/// Leaves this process's id in the file of a lock that it holds.
fn sign(file: &File) {
    // On a full disk the lock serves without an id: only a process that hangs is then not found.
    let _ = file.set_len(0);
    let _ = file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0);
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

/// The process of [`write_pid`], or who took the lock of this file. Only meaningful while the lock is held: ids are
/// used again.
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
