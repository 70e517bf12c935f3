//! An OCI image layout: blobs by digest in a directory, and an index of its images.
//!
//! A blob is written atomically: beside its final path, and renamed when its digest is known. The index is replaced
//! atomically too, after the blobs that it names.
use std::{
    collections::HashSet,
    fmt::Write as _,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use oci_spec::image::{
    Descriptor, Digest, ImageIndex, ImageIndexBuilder, MediaType, OciLayoutBuilder, Sha256Digest,
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// The version of the layout's format.
pub(super) const LAYOUT_VERSION: &str = "1.0.0";
const INDEX: &str = "index.json";

/// A directory that holds images.
#[derive(Debug, Clone)]
pub struct Layout {
    directory: PathBuf,
}

/// Why a layout cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum LayoutError {
    #[error("cannot write to {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
}

impl Layout {
    /// The layout in this directory, created if there is none.
    ///
    /// # Errors
    /// When the directory cannot be created or written.
    pub fn create(directory: &Path) -> Result<Self, LayoutError> {
        let layout = Self { directory: directory.to_owned() };
        std::fs::create_dir_all(layout.blobs()).map_err(|source| layout.unwritable(source))?;
        let version = OciLayoutBuilder::default().image_layout_version(LAYOUT_VERSION).build();
        let version = version.and_then(|version| version.to_string()).map_err(|error| {
            // It cannot be invalid, but the library returns an error type.
            layout.unwritable(io::Error::other(error))
        })?;
        layout.replace("oci-layout", version.as_bytes())?;
        if !layout.directory.join(INDEX).exists() {
            layout.set_index(&[])?;
        }
        Ok(layout)
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn blobs(&self) -> PathBuf {
        self.directory.join("blobs").join("sha256")
    }

    /// The path of the blob with this digest, if it exists.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs").join(digest.algorithm().as_ref()).join(digest.digest())
    }

    /// Whether the blob exists with its full length.
    pub fn has(&self, descriptor: &Descriptor) -> bool {
        let blob = std::fs::metadata(self.blob(descriptor.digest()));
        blob.is_ok_and(|blob| blob.is_file() && blob.len() == descriptor.size())
    }

    /// Starts a blob.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn writer(&self) -> Result<BlobWriter, LayoutError> {
        let file = NamedTempFile::new_in(self.blobs()).map_err(|source| self.unwritable(source))?;
        Ok(BlobWriter { layout: self.clone(), file, hash: Sha256::new(), size: 0 })
    }

    /// Adds a blob.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, media_type: MediaType, bytes: &[u8]) -> Result<Descriptor, LayoutError> {
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(|source| self.unwritable(source))?;
        writer.finish(media_type)
    }

    /// Adds a JSON blob. The same value gives the same bytes, whatever order its maps have.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_json<T: Serialize>(
        &self,
        media_type: MediaType,
        value: &T,
    ) -> Result<Descriptor, LayoutError> {
        let bytes = canonical_json(value).map_err(|source| self.unwritable(source))?;
        self.put(media_type, &bytes)
    }

    /// The content of a blob.
    ///
    /// # Errors
    /// When it is missing, or does not match its digest.
    pub fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob(descriptor.digest());
        let bytes =
            std::fs::read(&path).map_err(|source| LayoutError::Read { path: path.clone(), source })?;
        let (found, wanted) = (hex(&Sha256::digest(&bytes)), descriptor.digest().digest());
        match found == wanted {
            true => Ok(bytes),
            false => Err(LayoutError::Damaged { path, reason: format!("its digest is sha256:{found}") }),
        }
    }

    /// The content of a JSON blob.
    ///
    /// # Errors
    /// As for [`Layout::read`], and when it has another structure.
    pub fn read_json<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<T, LayoutError> {
        let bytes = self.read(descriptor)?;
        serde_json::from_slice(&bytes).map_err(|error| LayoutError::Damaged {
            path: self.blob(descriptor.digest()),
            reason: error.to_string(),
        })
    }

    /// The unpacked size of a layer, read from its end: exact below 4 GiB. For other compression formats, its size
    /// as it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn unpacked_size(&self, layer: &Descriptor) -> Result<u64, LayoutError> {
        if *layer.media_type() != MediaType::ImageLayerGzip {
            return Ok(layer.size());
        }
        let path = self.blob(layer.digest());
        let read = || {
            let mut blob = File::open(&path)?;
            // The last four bytes of a gzip file are the uncompressed length.
            blob.seek(SeekFrom::End(-4))?;
            let mut length = [0; 4];
            blob.read_exact(&mut length)?;
            Ok(u64::from(u32::from_le_bytes(length)))
        };
        read().map_err(|source| LayoutError::Read { path: path.clone(), source })
    }

    /// The index.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn index(&self) -> Result<ImageIndex, LayoutError> {
        let path = self.directory.join(INDEX);
        let bytes =
            std::fs::read(&path).map_err(|source| LayoutError::Read { path: path.clone(), source })?;
        serde_json::from_slice(&bytes)
            .map_err(|error| LayoutError::Damaged { path, reason: error.to_string() })
    }

    /// Replaces the index.
    ///
    /// # Errors
    /// When the index cannot be written; the old one is then kept.
    pub fn set_index(&self, manifests: &[Descriptor]) -> Result<(), LayoutError> {
        let index = ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageIndex)
            .manifests(manifests)
            .build()
            .map_err(|error| self.unwritable(io::Error::other(error)))?;
        let index = canonical_json(&index).map_err(|source| self.unwritable(source))?;
        self.replace(INDEX, &index)
    }

    /// Removes all other blobs, and what an interrupted writer left.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn keep_only<'a>(&self, kept: impl IntoIterator<Item = &'a Digest>) -> Result<(), LayoutError> {
        let kept: HashSet<&str> = kept.into_iter().map(Digest::digest).collect();
        let unreadable = |source| LayoutError::Read { path: self.blobs(), source };
        for entry in std::fs::read_dir(self.blobs()).map_err(unreadable)?.flatten() {
            if !entry.file_name().to_str().is_some_and(|name| kept.contains(name)) {
                // It only takes disk space; the next build tries again.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// Writes a file beside the blobs, atomically.
    ///
    /// # Errors
    /// When it cannot be written; the old one is then kept.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> Result<(), LayoutError> {
        let replace = || {
            let mut file = NamedTempFile::new_in(&self.directory)?;
            file.write_all(content)?;
            readable_by_all(&file)?;
            file.persist(self.directory.join(name))?;
            Ok(())
        };
        replace().map_err(|source| self.unwritable(source))
    }

    /// A failed write below this directory.
    pub(super) fn unwritable(&self, source: io::Error) -> LayoutError {
        LayoutError::Write { path: self.directory.clone(), source }
    }
}

/// A blob being written. If dropped unfinished, it leaves nothing.
pub struct BlobWriter {
    layout: Layout,
    file: NamedTempFile,
    hash: Sha256,
    size: u64,
}

impl BlobWriter {
    /// The digest of what was written so far.
    pub fn digest(&self) -> Digest {
        sha256(&self.hash.clone().finalize())
    }

    /// Moves it to its final path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self, media_type: MediaType) -> Result<Descriptor, LayoutError> {
        let Self { layout, file, hash, size } = self;
        let digest: Digest = sha256(&hash.finalize());
        let descriptor = Descriptor::new(media_type, size, digest);
        readable_by_all(&file).map_err(|source| layout.unwritable(source))?;
        // Replaces an existing one, which may be damaged.
        let place = layout.blob(descriptor.digest());
        file.persist(place).map_err(|error| layout.unwritable(error.error))?;
        Ok(descriptor)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += u64::try_from(written).unwrap_or(u64::MAX);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Temporary files are private to their owner; a layout is for any tool.
pub(super) fn readable_by_all(file: &NamedTempFile) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))
}

/// JSON with sorted keys: maps of the image formats have no fixed order, and digests need one.
pub(super) fn canonical_json<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut value = serde_json::to_value(value)?;
    value.sort_all_objects();
    Ok(serde_json::to_vec(&value)?)
}

/// A SHA-256 as a digest.
pub(super) fn sha256(hash: &[u8]) -> Digest {
    hex(hash).parse::<Sha256Digest>().expect("a SHA-256 in hex is a digest").into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let directory = tempfile::TempDir::new().unwrap();
        let layout = Layout::create(&directory.path().join("image")).unwrap();
        (directory, layout)
    }

    #[test]
    fn a_blob_is_found_by_its_digest_and_a_damaged_one_is_told() {
        let (_directory, layout) = layout();
        let blob = layout.put(MediaType::ImageLayerGzip, b"abc").unwrap();
        assert_eq!(
            blob.digest().to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(layout.has(&blob));
        assert_eq!(layout.read(&blob).unwrap(), b"abc");
        std::fs::write(layout.blob(blob.digest()), b"abd").unwrap();
        assert!(matches!(layout.read(&blob), Err(LayoutError::Damaged { .. })));
    }

    #[test]
    fn an_unfinished_blob_leaves_nothing() {
        let (_directory, layout) = layout();
        let mut writer = layout.writer().unwrap();
        writer.write_all(b"half").unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(layout.blobs()).unwrap().count(), 0);
    }

    #[test]
    fn only_what_is_kept_stays() {
        let (_directory, layout) = layout();
        let kept = layout.put(MediaType::ImageConfig, b"{}").unwrap();
        let gone = layout.put(MediaType::ImageConfig, b"[]").unwrap();
        layout.set_index(std::slice::from_ref(&kept)).unwrap();
        layout.keep_only([kept.digest()]).unwrap();
        assert!(layout.has(&kept) && !layout.has(&gone));
        assert_eq!(layout.index().unwrap().manifests(), std::slice::from_ref(&kept));
    }
}
