//! How the control socket is reached, however long its directory's name is.
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

/// The kernel accepts 107 bytes for the path of a socket.
const LONGEST: usize = 100;

/// A path to the socket that is short enough. Valid as long as this value lives.
pub(super) struct SocketPath {
    path: PathBuf,
    _directory: Option<File>,
}

impl SocketPath {
    /// For the socket in this directory, which must exist; the socket need not.
    pub(super) fn new(directory: &DataDirectory) -> io::Result<Self> {
        let path = directory.socket();
        if path.as_os_str().as_bytes().len() <= LONGEST {
            return Ok(Self { path, _directory: None });
        }
        // Through an open handle, so that no link in a directory writable by others is followed.
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
