//! `service.log`: what the service and its supervisor print, bounded while they run.
//!
//! Panics of any thread go there too, so the file cannot be behind a writer of ours: both processes write through the
//! descriptors that they were started with. When the file is full, the service renames it and has its own descriptors
//! lead to a new one; the supervisor's follow. Libraries that rotate files own the file they write, which is why none
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

/// A file that has reached it is followed by a new one.
pub(super) const LIMIT: u64 = 10 << 20;
/// Between two looks at its size.
const LOOK: Duration = Duration::from_secs(1);

/// What a process does about a full file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Begins a new one. One process alone does that.
    Rotates,
    /// Goes on in the new one.
    Follows,
}

/// Looks after the output of this process until it is dropped. Does nothing where that does not go to the log.
pub(super) struct Rotation {
    #[expect(dead_code, reason = "its end tells the thread to end")]
    stop: Sender<()>,
}

impl Rotation {
    /// Starts a thread that looks every second.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(directory: &DataDirectory, role: Role) -> io::Result<Self> {
        let path = directory.log();
        let (stop, stopped) = channel();
        let look = move || {
            let mut streams = [Stream::Stdout, Stream::Stderr].map(|stream| (stream, stream.goes_to(&path)));
            loop {
                for (stream, is_ours) in &mut streams {
                    if *is_ours {
                        // A disk that refuses is asked again: until it gives, nothing is written either.
                        let _ = stream.look(&path, role);
                    }
                }
                if stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("flash-service-log".to_owned()).spawn(look)?;
        Ok(Self { stop })
    }
}

/// Opens it to write at its end. Nobody else's to read.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// Begins a new file where the present one is full, and says how long the one to write to is.
pub(super) fn prepare(path: &Path) -> io::Result<u64> {
    let length = open(path)?.metadata()?.len();
    if length < LIMIT {
        return Ok(length);
    }
    std::fs::rename(path, older(path))?;
    open(path)?;
    Ok(0)
}

/// The one before. There is one: what was in it is replaced.
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

    /// Whether it goes to the log, or to what was the log before.
    fn goes_to(self, path: &Path) -> bool {
        let Ok(own) = self.metadata() else { return false };
        [path, &older(path)].iter().any(|path| std::fs::metadata(path).is_ok_and(|file| is_same(&file, &own)))
    }

    fn look(self, path: &Path, role: Role) -> io::Result<()> {
        if let Some(next) = next(path, &self.metadata()?, role, LIMIT)? {
            match self {
                Self::Stdout => nix::unistd::dup2_stdout(next)?,
                Self::Stderr => nix::unistd::dup2_stderr(next)?,
            }
        }
        Ok(())
    }
}

/// The file to write to from now on, where that is another one than `current`.
fn next(path: &Path, current: &Metadata, role: Role, limit: u64) -> io::Result<Option<File>> {
    match std::fs::metadata(path) {
        Ok(file) if !is_same(&file, current) => open(path).map(Some),
        Ok(file) if role == Role::Rotates && file.len() >= limit => {
            std::fs::rename(path, older(path))?;
            open(path).map(Some)
        }
        Ok(_) => Ok(None),
        // Somebody took it away, or the disk was full when it was to be made.
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
