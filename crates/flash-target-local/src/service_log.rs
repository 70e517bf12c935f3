//! `service.log`: the output of the service and its supervisor, limited in size while they run.
//!
//! Panics of any thread go there too, so there can be no writer of ours in between: both processes write directly
//! to the descriptors they were started with. When the file is full, the service renames it and redirects its
//! descriptors to a new one; the supervisor follows. Libraries that rotate files own the file they write, so none
//! is used.
use std::{
    fs::{File, Metadata},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    time::Duration,
};

use super::directory::DataDirectory;

/// A file of this size is replaced by a new one.
pub(super) const LIMIT: u64 = 10 << 20;
/// The interval between checks of its size.
const LOOK: Duration = Duration::from_secs(1);

/// What a process does about a full file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Starts a new file. Only one process does that.
    Rotates,
    /// Continues in the new file.
    Follows,
}

/// Watches this process's output until it is dropped. Does nothing if the output does not go to the log.
pub(super) struct Rotation {
    #[expect(dead_code, reason = "its end tells the thread to end")]
    stop: Sender<()>,
}

impl Rotation {
    /// Starts a thread that checks every second.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(directory: &DataDirectory, role: Role) -> io::Result<Self> {
        let path = directory.log();
        let (stop, stopped) = channel();
        let check = move || {
            let mut streams = [Stream::Stdout, Stream::Stderr].map(|stream| (stream, stream.goes_to(&path)));
            loop {
                for (stream, is_ours) in &mut streams {
                    if *is_ours {
                        // If the disk refuses, try again: until then nothing can be written anyway.
                        let _ = stream.rotate_if_full(&path, role);
                    }
                }
                if stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("flash-service-log".to_owned()).spawn(check)?;
        Ok(Self { stop })
    }
}

/// Opens it for appending. Only its owner may read it.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// Starts a new file if the current one is full; returns the length of the file to write to.
pub(super) fn prepare(path: &Path) -> io::Result<u64> {
    let length = open(path)?.metadata()?.len();
    if length < LIMIT {
        return Ok(length);
    }
    std::fs::rename(path, older(path))?;
    open(path)?;
    Ok(0)
}

/// The previous file. There is only one: its content is replaced.
fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

#[derive(Debug, Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn metadata(self) -> io::Result<Metadata> {
        let of = |fd: BorrowedFd<'_>| File::from(fd.try_clone_to_owned()?).metadata();
        match self {
            Self::Stdout => of(io::stdout().as_fd()),
            Self::Stderr => of(io::stderr().as_fd()),
        }
    }

    /// Whether the output goes to the log, or to what was the log before.
    fn goes_to(self, path: &Path) -> bool {
        let Ok(own) = self.metadata() else { return false };
        [path, &older(path)].iter().any(|path| std::fs::metadata(path).is_ok_and(|file| is_same(&file, &own)))
    }

    fn rotate_if_full(self, path: &Path, role: Role) -> io::Result<()> {
        if let Some(next) = next(path, &self.metadata()?, role, LIMIT)? {
            match self {
                Self::Stdout => nix::unistd::dup2_stdout(next)?,
                Self::Stderr => nix::unistd::dup2_stderr(next)?,
            }
        }
        Ok(())
    }
}

/// The file to write to from now on, if it is not `current`.
fn next(path: &Path, current: &Metadata, role: Role, limit: u64) -> io::Result<Option<File>> {
    match std::fs::metadata(path) {
        Ok(file) if !is_same(&file, current) => open(path).map(Some),
        Ok(file) if role == Role::Rotates && file.len() >= limit => {
            std::fs::rename(path, older(path))?;
            open(path).map(Some)
        }
        Ok(_) => Ok(None),
        // The file was removed, or the disk was full when it was to be created.
        Err(error) if error.kind() == io::ErrorKind::NotFound => open(path).map(Some),
        Err(error) => Err(error),
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_a_process_prints_without_end_takes_two_files_of_bounded_size() {
        const LIMIT: u64 = 1000;
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("service.log");
        let mut service = open(&path).unwrap();
        let mut supervisor = open(&path).unwrap();
        for number in 0..1000 {
            writeln!(service, "line {number:03}").unwrap();
            if let Some(file) = next(&path, &service.metadata().unwrap(), Role::Rotates, LIMIT).unwrap() {
                service = file;
            }
            if let Some(file) = next(&path, &supervisor.metadata().unwrap(), Role::Follows, LIMIT).unwrap() {
                supervisor = file;
            }
            assert!(is_same(&service.metadata().unwrap(), &supervisor.metadata().unwrap()));
        }
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let (before, now) = (read(&older(&path)), read(&path));
        assert!(before.len() as u64 <= LIMIT + 9 && now.len() as u64 <= LIMIT + 9);
        assert!(format!("{before}{now}").ends_with("line 998\nline 999\n"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_log_that_was_taken_away_is_made_again() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("service.log");
        let log = open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let next = next(&path, &log.metadata().unwrap(), Role::Rotates, LIMIT).unwrap();
        assert!(next.is_some() && path.exists());
    }
}
