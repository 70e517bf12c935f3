//! What an app reported about itself when it was last built: `.flash/manifest.json`.
//!
//! Names on a command line and in `flash.toml` are checked against it before the next build, which may take
//! minutes. It is exact while no source has changed; after a change it is only a guess.
use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use flash_protocol::manifest::Manifest;
use flash_weights::LOCK_FILE;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use walkdir::{DirEntry, WalkDir};

use super::Package;

/// With more files than this, none are examined and the record is not trusted.
const MAX_FILES: usize = 50_000;
const FILE: &str = "manifest.json";
/// Files that Flash writes, or reads at each start: they do not change the app's contents.
const NOT_SOURCES: [&str; 3] = ["flash.toml", ".env", LOCK_FILE];

/// The sources of a crate at one moment: names, lengths and times of files. Contents are not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceState(String);

impl SourceState {
    /// The current sources. `None` if there are too many files, or one cannot be examined.
    pub(crate) async fn of(package: &Package) -> Option<Self> {
        let package = package.clone();
        tokio::task::spawn_blocking(move || Self::read(&package)).await.ok().flatten()
    }

    fn read(package: &Package) -> Option<Self> {
        let mut files = BTreeMap::new();
        for root in package.sources.iter().chain([&package.workspace]) {
            // Of a workspace elsewhere, only the two files count that cargo reads there.
            let depth = if package.sources.contains(root) { usize::MAX } else { 1 };
            let is_source = |entry: &DirEntry| entry.depth() == 0 || is_source(package, entry);
            for entry in WalkDir::new(root).max_depth(depth).into_iter().filter_entry(is_source) {
                let entry = entry.ok()?;
                let is_cargos = || entry.file_name() == "Cargo.toml" || entry.file_name() == "Cargo.lock";
                if entry.file_type().is_dir() || (depth == 1 && !is_cargos()) {
                    continue;
                }
                let metadata = entry.metadata().ok()?;
                let time = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
                files.insert(entry.into_path(), (metadata.len(), time.as_nanos()));
                if files.len() > MAX_FILES {
                    return None;
                }
            }
        }
        let mut hash = Sha256::new();
        for (path, (length, time)) in files {
            hash.update(format!("{length} {time} "));
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update(b"\n");
        }
        Some(Self(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

/// Whether cargo may read a file or directory below a crate.
fn is_source(package: &Package, entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let is_hidden = name.as_encoded_bytes().starts_with(b".") && name != ".cargo";
    let is_output =
        [&package.target_directory, &package.build_directory].iter().any(|own| entry.path() == *own);
    !is_hidden && !is_output && !NOT_SOURCES.iter().any(|other| name == *other)
}

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LastManifest {
    /// The version of flash that wrote it: another version may mean something else by the same words.
    flash: String,
    sources: Option<SourceState>,
    pub manifest: Manifest,
}

impl LastManifest {
    /// The record of the crate in this directory. `None` if there is no readable one: it is a record, not a
    /// setting.
    pub(crate) fn load(directory: &Path) -> Option<Self> {
        let last: Self = serde_json::from_slice(&std::fs::read(path(directory)).ok()?).ok()?;
        (last.flash == env!("CARGO_PKG_VERSION")).then_some(last)
    }

    /// Stores what an app built from these sources reported. Without the record, the next build is only checked
    /// later, so errors are ignored.
    pub(crate) fn keep(directory: &Path, sources: Option<SourceState>, manifest: &Manifest) {
        let flash = env!("CARGO_PKG_VERSION").to_owned();
        let last = Self { flash, sources, manifest: manifest.clone() };
        let write = || -> std::io::Result<()> {
            let path = path(directory);
            let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(directory))?;
            file.write_all(&serde_json::to_vec(&last)?)?;
            file.persist(path)?;
            Ok(())
        };
        let _ = write();
    }

    /// Whether the next build would report the same.
    pub(crate) async fn is_current(&self, package: &Package) -> bool {
        self.is_of(SourceState::of(package).await.as_ref())
    }

    /// Like [`LastManifest::is_current`], for sources that were already examined.
    pub(crate) fn is_of(&self, sources: Option<&SourceState>) -> bool {
        sources.is_some() && self.sources.as_ref() == sources
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join(".flash").join(FILE)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::deploy::fixtures::manifest;

    fn package(directory: &Path) -> Package {
        Package {
            name: "app".to_owned(),
            directory: directory.to_owned(),
            binary: "app".to_owned(),
            sources: vec![directory.to_owned()],
            workspace: directory.to_owned(),
            target_directory: directory.join("target"),
            build_directory: directory.join("target"),
            profiles: Vec::new(),
            features: Vec::new(),
            has_build_script: false,
            leaves_models_slow: false,
            inputs: BTreeMap::new(),
        }
    }

    fn write(directory: &Path, file: &str, text: &str) {
        let path = directory.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[tokio::test]
    async fn a_record_speaks_for_the_next_build_until_a_source_changes() {
        let place = TempDir::new().unwrap();
        let (directory, package) = (place.path(), package(place.path()));
        write(directory, "src/main.rs", "fn main() {}");
        write(directory, ".flash/.gitignore", "*\n");
        assert!(LastManifest::load(directory).is_none());
        let keep = async || {
            LastManifest::keep(directory, SourceState::of(&package).await, &manifest());
            LastManifest::load(directory).unwrap()
        };
        let last = keep().await;
        assert_eq!(last.manifest, manifest());
        for (file, text) in [("flash.toml", "[run]"), (".env", "A=1"), ("target/debug/app", "binary")] {
            write(directory, file, text);
            assert!(last.is_current(&package).await, "{file} is no source");
        }
        for file in ["src/main.rs", "src/new.rs", "Cargo.lock", ".cargo/config.toml", "data/prompt.txt"] {
            let last = keep().await;
            write(directory, file, &format!("another text than before: {file}"));
            assert!(!last.is_current(&package).await, "{file} is a source");
        }
    }

    #[test]
    fn a_damaged_record_is_as_good_as_none() {
        let place = TempDir::new().unwrap();
        for text in ["", "{", "[]", "{\"flash\":\"0.0.0\"}"] {
            write(place.path(), ".flash/manifest.json", text);
            assert!(LastManifest::load(place.path()).is_none(), "{text}");
        }
    }
}
