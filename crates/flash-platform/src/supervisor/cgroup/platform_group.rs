//! The group of a platform in one hierarchy: its name, its lock, its weight.
use std::{
    fs::{self, File},
    io,
    num::NonZeroUsize,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::{
    controller::{Controller, Version},
    files::{make_directory, write},
};

/// The groups of a platform are named `flash-PID`.
pub(super) const PREFIX: &str = "flash-";
/// The group for processes of `flash` that must move: on v2, a group that delegates controllers cannot have
/// processes.
pub(super) const OWN_GROUP: &str = "platform";

/// The platform's group in one hierarchy.
#[derive(Debug)]
pub(super) struct PlatformGroup {
    pub directory: PathBuf,
    pub version: Version,
    /// The limiting controllers; none in the v2 part of a hybrid layout, which is still useful for killing.
    pub controllers: Vec<Controller>,
    /// Held while this process lives, so that another platform knows whose groups are left over.
    _lock: Flock<File>,
}

impl PlatformGroup {
    /// Creates it in `base` for the platform with this process id. It limits nothing yet.
    pub(super) fn create(base: &Path, id: u32, version: Version) -> io::Result<Self> {
        let (directory, lock) = make_home(base, id)?;
        Ok(Self { directory, version, controllers: Vec::new(), _lock: lock })
    }

    /// If CPU time is short, a group counts as one process, regardless of its workers: next to a build on all cores
    /// they would hardly run. So it gets the weight of one process per core.
    pub(super) fn weigh(&self) {
        if !self.controllers.contains(&Controller::Cpu) {
            return;
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(100);
        let (file, one_process) = match self.version {
            Version::One => ("cpu.shares", 1024),
            Version::Two => ("cpu.weight", 100),
        };
        // Best effort: if it is refused, everything else still applies.
        let _ = write(&self.directory, file, &(one_process * cores).to_string());
    }
}

/// Makes `flash-PID` and locks it. The same id may be in use in another container: then with a number.
fn make_home(base: &Path, id: u32) -> io::Result<(PathBuf, Flock<File>)> {
    for attempt in 0..8 {
        let name = match attempt {
            0 => format!("{PREFIX}{id}"),
            _ => format!("{PREFIX}{id}-{attempt}"),
        };
        let directory = base.join(name);
        make_directory(&directory)?;
        match Flock::lock(File::open(&directory)?, FlockArg::LockExclusiveNonblock) {
            // Another platform's sweep may have removed it before it was locked.
            Ok(lock) if is_at(&lock, &directory) => return Ok((directory, lock)),
            Ok(_) | Err((_, Errno::EAGAIN)) => {}
            Err((_, error)) => return Err(error.into()),
        }
    }
    Err(io::Error::other(format!("{PREFIX}{id} is in use")))
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
