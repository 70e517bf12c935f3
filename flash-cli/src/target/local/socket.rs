//! How the control socket is reached, however long the name of its directory.
use std::{
    fs::File,
    io,
    os::{
        fd::AsRawFd as _,
        unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use super::directory::DataDirectory;

/// The kernel takes 107 bytes for the path of a socket.
const LONGEST: usize = 100;

/// A path to the socket that is short enough. Good as long as this is there.
pub(super) struct Reach {
    path: PathBuf,
    _directory: Option<File>,
}

impl Reach {
    /// To the socket in this directory, which must be there; the socket need not.
    pub(super) fn new(directory: &DataDirectory) -> io::Result<Self> {
        let path = directory.socket();
        if path.as_os_str().as_bytes().len() <= LONGEST {
            return Ok(Self { path, _directory: None });
        }
        // By way of an open handle: no link in a directory that others write to.
        let handle = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(nix::fcntl::OFlag::O_DIRECTORY.bits())
            .open(directory.path())?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));
        if !short.exists() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidFilename,
                format!("{} is too long for a socket: set FLASH_DATA_DIR to a shorter path", path.display()),
            ));
        }
        let name = path.file_name().map(PathBuf::from).unwrap_or_default();
        Ok(Self { path: short.join(name), _directory: Some(handle) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
