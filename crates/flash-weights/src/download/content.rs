//! Hashes of files, as the Hub names them.
use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The number of bytes read at once.
const CHUNK: usize = 1 << 16;

/// The hash by which the Hub names a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ContentHash {
    /// Of a large file.
    Sha256(String),
    /// Of a small one, as git computes it: over a head with the size, and the content.
    GitBlob(String),
}

impl ContentHash {
    /// Reads an etag, with or without quotes; `None` if it is no hash that can be checked.
    pub(super) fn of_etag(etag: &str) -> Option<Self> {
        let text = etag.trim().trim_start_matches("W/").trim_matches('"');
        let is_hex = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        match text.len() {
            64 if is_hex => Some(Self::Sha256(text.to_owned())),
            40 if is_hex => Some(Self::GitBlob(text.to_owned())),
            _ => None,
        }
    }

    /// In hex: the name of its blob.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Sha256(hash) | Self::GitBlob(hash) => hash,
        }
    }
}

/// What a file on this disk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// Bytes.
    pub(super) size: u64,
    /// SHA-256.
    pub(super) sha256: String,
    git_blob: String,
}

impl Content {
    /// Reads a file. Blocks.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let (mut sha256, mut git) = (Sha256::new(), Sha1::new());
        git.update(format!("blob {size}\0"));
        let mut chunk = vec![0; CHUNK];
        let mut read = 0u64;
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                bytes => {
                    sha256.update(&chunk[..bytes]);
                    git.update(&chunk[..bytes]);
                    read += bytes as u64;
                }
            }
        }
        Ok(Self { size: read, sha256: hex(&sha256.finalize()), git_blob: hex(&git.finalize()) })
    }

    /// Whether it has this hash.
    pub(super) fn is(&self, hash: &ContentHash) -> bool {
        match hash {
            ContentHash::Sha256(hash) => *hash == self.sha256,
            ContentHash::GitBlob(hash) => *hash == self.git_blob,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_hashes_that_the_tools_compute() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "hello\n").unwrap();
        let content = Content::read(&path).unwrap();
        // `sha256sum` and `git hash-object`.
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let blob = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!((content.size, content.sha256.as_str()), (6, sha256));
        assert!(content.is(&ContentHash::of_etag(&format!("\"{sha256}\"")).unwrap()));
        assert!(content.is(&ContentHash::of_etag(&format!("W/\"{blob}\"")).unwrap()));
        assert!(!content.is(&ContentHash::GitBlob("0".repeat(40))));
        for etag in ["", "\"abc\"", "../../etc/passwd", &"g".repeat(40)] {
            assert_eq!(ContentHash::of_etag(etag), None, "{etag}");
        }
    }
}
