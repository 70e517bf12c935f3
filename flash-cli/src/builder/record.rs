//! `.flash/build/`: the output of the last build.
//!
//! ```text
//! .flash/build/manifest.json   the record: the app's manifest, images by digest, commit, versions
//! .flash/build/images/         all images, one OCI layout: they share most of their blobs
//! .flash/build/sbom/           the bill of materials of each image's binary
//! ```
use std::{
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use flash_protocol::{catalogue::ComputeCapability, manifest::Manifest};
use serde::{Deserialize, Serialize};

use super::git::Commit;

/// The format version that this flash writes and reads.
const VERSION: u32 = 1;
const FILE: &str = "manifest.json";

/// The output of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub version: u32,
    /// The app's own manifest.
    pub app: Manifest,
    pub images: Vec<BuiltImage>,
    /// Images of worker types that were built elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external: Vec<ExternalImage>,
    /// What the names of base images stand for, also of those that this build did not need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<ResolvedBase>,
    /// `None` outside a git repository.
    pub git: Option<Commit>,
    /// Version of flash.
    pub flash: String,
    /// Version of the compiler.
    pub rustc: String,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuiltImage {
    pub worker: String,
    /// The digest of its manifest.
    pub digest: String,
    /// Such as `linux/amd64`.
    pub platform: String,
    /// Bytes to transfer: config and layers.
    pub compressed: u64,
    /// Bytes on disk when unpacked.
    pub unpacked: u64,
    pub functions: Vec<String>,
    pub binary: BuiltBinary,
    /// `None` for an image without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ResolvedBase>,
    /// Where it was pushed to, with tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// The image of a worker type in `flash.toml`, which was built elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExternalImage {
    pub worker: String,
    /// As in `flash.toml`, in full: `ghcr.io/me/worker:1`.
    pub name: String,
    /// The same by digest: `ghcr.io/me/worker@sha256:…`.
    pub image: String,
}

/// A base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResolvedBase {
    /// In full, such as `docker.io/library/debian:12-slim`.
    pub name: String,
    /// Of what it names: an index if the image is for several platforms.
    pub digest: String,
}

/// How an image's binary was compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuiltBinary {
    pub target: String,
    pub profile: String,
    pub features: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_cpu: Option<String>,
    /// Compute capabilities; empty for a binary without GPU code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<Vec<ComputeCapability>>,
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("no build found in {}", .0.display())]
    NotBuilt(PathBuf),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is damaged", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("{} has version {version}; this flash reads version {VERSION}", path.display())]
    Version { path: PathBuf, version: u64 },
}

/// The directory of a crate's builds.
#[derive(Debug, Clone)]
pub(crate) struct BuildDirectory(PathBuf);

impl BuildDirectory {
    /// The directory of this crate's builds.
    pub(crate) fn of(package: &Path) -> Self {
        Self(package.join(".flash").join("build"))
    }

    /// Creates it.
    ///
    /// # Errors
    /// When it cannot be created.
    pub(crate) fn create(&self) -> Result<(), RecordError> {
        let write = |source| RecordError::Write { path: self.0.clone(), source };
        std::fs::create_dir_all(&self.0).map_err(write)?;
        // What is written here is not a source.
        let ignore = self.0.with_file_name(".gitignore");
        std::fs::write(ignore, "*\n").map_err(write)
    }

    /// The path of the record.
    pub(crate) fn record(&self) -> PathBuf {
        self.0.join(FILE)
    }

    /// The OCI layout.
    pub(crate) fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// Bills of materials.
    pub(crate) fn sboms(&self) -> PathBuf {
        self.0.join("sbom")
    }

    /// The bills of materials of an unfinished build.
    pub(crate) fn new_sboms(&self) -> PathBuf {
        self.0.join("sbom.new")
    }

    /// Replaces the old bills of materials with the new ones.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub(crate) fn take_new_sboms(&self) -> Result<(), RecordError> {
        let (place, new) = (self.sboms(), self.new_sboms());
        // Removes those of the previous build; if that fails, the next line fails too.
        let _ = std::fs::remove_dir_all(&place);
        std::fs::rename(new, &place).map_err(|source| RecordError::Write { path: place.clone(), source })
    }

    /// Removes what interrupted builds left. The caller must hold the lock.
    pub(crate) fn sweep(&self) {
        for directory in [self.0.clone(), self.images()] {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            let left = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".tmp"));
            // What is left takes disk space and does no other harm.
            left.for_each(|entry| drop(std::fs::remove_file(entry.path())));
        }
    }

    /// The bill of materials of one worker type, in CycloneDX's JSON.
    pub(crate) fn sbom(&self, worker: &str) -> PathBuf {
        self.sboms().join(format!("{worker}.cdx.json"))
    }

    /// The file that one build at a time locks.
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join(".lock")
    }

    /// Binaries before they are put into images.
    pub(crate) fn binaries(&self) -> PathBuf {
        self.0.join("bin")
    }
}

impl Record {
    /// A record of this version.
    pub(crate) fn new(app: Manifest, git: Option<Commit>, rustc: String) -> Self {
        let flash = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            version: VERSION,
            app,
            images: Vec::new(),
            external: Vec::new(),
            bases: Vec::new(),
            git,
            flash,
            rustc,
        }
    }

    /// Reads the record of the last build.
    ///
    /// # Errors
    /// When there is none, or when it cannot be parsed.
    pub(crate) fn load(directory: &BuildDirectory) -> Result<Self, RecordError> {
        let path = directory.record();
        let bytes = std::fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => RecordError::NotBuilt(directory.0.clone()),
            _ => RecordError::Read { path: path.clone(), source },
        })?;
        let damaged = |source| RecordError::Damaged { path: path.clone(), source };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        // Read before the rest: another version may have another structure.
        match value["version"].as_u64() {
            Some(version) if version != u64::from(VERSION) => {
                Err(RecordError::Version { path: path.clone(), version })
            }
            _ => serde_json::from_value(value).map_err(damaged),
        }
    }

    /// Writes it atomically.
    ///
    /// # Errors
    /// When the directory cannot be written; the old one is then kept.
    pub(crate) fn save(&self, directory: &BuildDirectory) -> Result<(), RecordError> {
        let path = directory.record();
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&directory.0)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            // Temporary files are private to their owner; this one is for any tool.
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|source| RecordError::Write { path: path.clone(), source })
    }

    /// The image of this worker type.
    pub(crate) fn image(&self, worker: &str) -> Option<&BuiltImage> {
        self.images.iter().find(|image| image.worker == worker)
    }
}
