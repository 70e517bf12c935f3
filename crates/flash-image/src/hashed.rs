//! Hashes and counts bytes that are read or written.
use std::io::{self, Read, Write};

use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

use super::layout::sha256;

/// Passes bytes on, and computes their digest and number.
pub(super) struct Hashed<T> {
    inner: T,
    hash: Sha256,
    size: u64,
}

impl<T> Hashed<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, hash: Sha256::new(), size: 0 }
    }

    /// The inner reader or writer, the digest and the number of bytes.
    pub(super) fn finish(self) -> (T, Digest, u64) {
        (self.inner, sha256(&self.hash.finalize()), self.size)
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.add(&buffer[..read]);
        Ok(read)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.add(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
