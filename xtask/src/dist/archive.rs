//! The archive of a release: a folder with files, as `tar.gz`.
//!
//! The same files give the same bytes: sorted by path, owned by nobody in particular, from the beginning of 1970.
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

/// What may be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Read.
    Data,
    /// Read, and started.
    Program,
}

/// The files of an archive, by their paths in its folder.
pub(super) struct Archive {
    folder: String,
    files: BTreeMap<String, (Mode, Vec<u8>)>,
}

impl Archive {
    /// An archive that unpacks to this folder.
    pub(super) fn new(folder: impl Into<String>) -> Self {
        Self { folder: folder.into(), files: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, path: impl Into<String>, mode: Mode, bytes: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), (mode, bytes.into()));
    }

    /// Its bytes.
    ///
    /// # Errors
    /// For a path that is too long for the format.
    pub(super) fn packed(&self) -> io::Result<Vec<u8>> {
        // The header says neither when nor where the archive was made.
        let gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
        let mut tar = tar::Builder::new(gzip);
        for (path, (mode, bytes)) in &self.files {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(u64::try_from(bytes.len()).map_err(io::Error::other)?);
            header.set_mode(match mode {
                Mode::Data => 0o644,
                Mode::Program => 0o755,
            });
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            tar.append_data(&mut header, format!("{}/{path}", self.folder), bytes.as_slice())?;
        }
        let mut gzip = tar.into_inner()?;
        gzip.flush()?;
        gzip.finish()
    }
}

/// The lines of `SHA256SUMS`, as `sha256sum` writes and checks them.
pub(super) fn sums<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut lines: Vec<String> =
        files.into_iter().map(|(name, bytes)| format!("{}  {name}\n", digest(bytes))).collect();
    lines.sort_by(|one, other| one.split("  ").last().cmp(&other.split("  ").last()));
    lines.concat()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn archive(order: &[&str]) -> Archive {
        let mut archive = Archive::new("flash-t");
        for path in order {
            let mode = if *path == "flash" { Mode::Program } else { Mode::Data };
            archive.add(*path, mode, format!("this is {path}"));
        }
        archive
    }

    #[test]
    fn the_same_files_give_the_same_bytes_in_whatever_order_they_came() {
        let one = archive(&["flash", "man/flash.1", "README.md"]).packed().unwrap();
        let other = archive(&["README.md", "man/flash.1", "flash"]).packed().unwrap();
        assert_eq!(one, other);
        let changed = archive(&["flash", "man/flash.2", "README.md"]).packed().unwrap();
        assert_ne!(one, changed);
    }

    #[test]
    fn an_archive_has_its_files_in_order_without_anything_of_this_machine() {
        let packed = archive(&["flash", "man/flash.1", "README.md"]).packed().unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let mut seen = Vec::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let header = entry.header();
            assert_eq!(
                (header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()),
                (0, 0, 0),
                "{text}"
            );
            assert_eq!((header.username().unwrap(), header.groupname().unwrap()), (Some(""), Some("")));
            seen.push((entry.path().unwrap().display().to_string(), header.mode().unwrap(), text));
        }
        let expected = [("README.md", 0o644), ("flash", 0o755), ("man/flash.1", 0o644)]
            .map(|(path, mode)| (format!("flash-t/{path}"), mode, format!("this is {path}")));
        assert_eq!(seen, expected);
        // Bytes 4 to 9 of the head: the time, and the system.
        assert_eq!((&packed[4..8], packed[9]), (&[0; 4][..], 255));
    }

    #[test]
    fn sums_are_lines_that_sha256sum_reads() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sums([("b", &b""[..]), ("a", &b""[..])]), format!("{empty}  a\n{empty}  b\n"));
    }
}
