//! Tar archives that are the same wherever they are written.
//!
//! Everything is owned by root and dated 1970. A file is stored with the length it had when it was opened, because
//! the length precedes the bytes: if it grows or shrinks while it is read, that is an error and not a damaged
//! archive.
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use tar::{EntryType, Header};

/// Why a file cannot be put into an archive.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum SourceError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    #[error("{} changed while it was read: it had {expected} bytes", path.display())]
    Changed { path: PathBuf, expected: u64 },
}

/// The source or the destination that failed.
pub(super) enum AppendError {
    Source(SourceError),
    Write(io::Error),
}

/// Writes an entry with these bytes.
pub(super) fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    kind: EntryType,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    tar.append_data(&mut header(kind, mode, size), path, bytes)
}

/// Writes a file from disk.
pub(super) fn append_file<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    mode: u32,
    source: &Path,
) -> Result<(), AppendError> {
    let mut file = SourceFile::open(source).map_err(AppendError::Source)?;
    let mut header = header(EntryType::Regular, mode, file.length);
    let appended = tar.append_data(&mut header, path, &mut file);
    // A failed read comes out of the same call as a failed write.
    match file.failure {
        Some(failure) => Err(AppendError::Source(failure)),
        None => appended.map_err(AppendError::Write),
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A file read to exactly the length that it had when it was opened.
struct SourceFile<'a> {
    path: &'a Path,
    file: File,
    length: u64,
    left: u64,
    failure: Option<SourceError>,
}

impl<'a> SourceFile<'a> {
    fn open(path: &'a Path) -> Result<Self, SourceError> {
        let unreadable = |source| SourceError::Read { path: path.to_owned(), source };
        // Checked before it is opened: opening a pipe waits for its other end.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(SourceError::NotRegular(path.to_owned()));
        }
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        Ok(Self { path, file, length, left: length, failure: None })
    }

    fn changed(&mut self) -> io::Error {
        self.failure = Some(SourceError::Changed { path: self.path.to_owned(), expected: self.length });
        io::ErrorKind::UnexpectedEof.into()
    }
}

impl Read for SourceFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buffer) {
            Ok(0) if self.left > 0 && !buffer.is_empty() => Err(self.changed()),
            Ok(read) => match self.left.checked_sub(u64::try_from(read).unwrap_or(u64::MAX)) {
                Some(left) => {
                    self.left = left;
                    Ok(read)
                }
                None => Err(self.changed()),
            },
            // The caller reads again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(SourceError::Read { path: self.path.to_owned(), source: error });
                Err(kind.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens a file of 10,000 bytes, changes it, and reads it.
    fn read_after(change: impl FnOnce(&Path)) -> Result<u64, Option<SourceError>> {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("model");
        std::fs::write(&path, vec![7; 10_000]).unwrap();
        let mut file = SourceFile::open(&path).unwrap();
        change(&path);
        io::copy(&mut file, &mut io::sink()).map_err(|_| file.failure)
    }

    #[test]
    fn a_file_that_grows_or_shrinks_while_it_is_read_is_an_error() {
        assert_eq!(read_after(|_| ()).unwrap(), 10_000);
        for length in [0, 9_999, 10_001, 50_000] {
            let failure = read_after(|path| {
                File::options().write(true).open(path).unwrap().set_len(length).unwrap();
            });
            assert!(
                matches!(failure, Err(Some(SourceError::Changed { expected: 10_000, .. }))),
                "{length}: {failure:?}"
            );
        }
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let directory = tempfile::TempDir::new().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [directory.path(), &pipe] {
            assert!(matches!(SourceFile::open(path), Err(SourceError::NotRegular(_))));
        }
        assert!(matches!(SourceFile::open(&directory.path().join("none")), Err(SourceError::Read { .. })));
    }
}
