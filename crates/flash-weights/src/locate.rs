//! Where a process finds the files of its model.
use std::path::{Path, PathBuf};

use flash_protocol::{HubModel, InvalidModel, ModelEntry, ModelReference};

use crate::{
    LockError,
    cache::HubCache,
    lock::ModelLock,
    patterns::{Patterns, files_below},
};

/// Where Runpod keeps models that it has cached on a host: `ORG/NAME/REVISION` below it. Change it here when the
/// provider moves it.
const PROVIDER_CACHE: &str = "/runpod/model-store/huggingface";

/// Where Runpod mounts the network volume of an endpoint.
const PROVIDER_VOLUME: &str = "/runpod-volume";

/// Where a process looks for a model.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The model's directory, if the platform or the image says so: [`flash_protocol::variables::MODEL_DIR`].
    pub given: Option<PathBuf>,
    /// The crate's directory: relative directories and the lock file are there.
    pub crate_directory: PathBuf,
    /// The Hub's cache.
    pub cache: Option<HubCache>,
}

/// Why the files of a model are not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotLocated {
    /// The reference is not valid.
    #[error(transparent)]
    Invalid(#[from] InvalidModel),
    /// There is a lock file, and it cannot be read.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The directory is not there.
    #[error("the directory of the model `{model}` is not there: {}", directory.display())]
    NoDirectory {
        /// The reference.
        model: String,
        /// Where it was expected.
        directory: PathBuf,
    },
    /// Files are missing.
    #[error("the model `{model}` has no file `{pattern}` in {}", directory.display())]
    NoFile {
        /// The reference.
        model: String,
        /// The pattern that matches nothing, or the name of the file.
        pattern: String,
        /// Where it was expected.
        directory: PathBuf,
    },
    /// It was never fetched.
    #[error("the model `{model}` is not on this machine: run `flash models pull` in the crate's directory")]
    NotFetched {
        /// The reference.
        model: String,
    },
}

/// The directory with the files of a model. Looks at the directory that the platform gives, then at what the
/// provider has cached, then where the reference points; never at the network.
///
/// # Errors
/// What is missing.
pub fn locate(model: &ModelEntry, place: &Place) -> Result<PathBuf, NotLocated> {
    let reference = ModelReference::parse(&model.reference)?;
    let files = Patterns::new(&model.files);
    if let Some(given) = &place.given {
        return complete(given.clone(), model, &files);
    }
    if let ModelReference::Hub(hub) = &reference
        && let Some(cached) = provider_cached(Path::new(PROVIDER_CACHE), hub, &files)
    {
        return Ok(cached);
    }
    match reference {
        ModelReference::Hub(hub) => in_cache(&hub, model, &files, place),
        other => complete(directory_of(&other, &place.crate_directory).unwrap_or_default(), model, &files),
    }
}

/// The directory of a `path:` or `volume:` reference; `None` for a model of the Hub. A volume is where the provider
/// mounts it, and on other machines a directory below `.flash/volumes` of the crate.
pub fn directory_of(reference: &ModelReference, crate_directory: &Path) -> Option<PathBuf> {
    match reference {
        ModelReference::Hub(_) => None,
        ModelReference::Path(directory) => Some(crate_directory.join(directory)),
        ModelReference::Volume { name, directory } => {
            let mounted = Path::new(PROVIDER_VOLUME);
            Some(match mounted.is_dir() {
                true => mounted.join(directory),
                false => crate_directory.join(".flash/volumes").join(name).join(directory),
            })
        }
    }
}

/// A model that the provider has put on the host. Only by its commit: what a host has by the name of a branch may be of
/// another day.
fn provider_cached(root: &Path, model: &HubModel, files: &Patterns) -> Option<PathBuf> {
    if !model.is_pinned() {
        return None;
    }
    let directory = root.join(&model.repo).join(&model.revision);
    let names = files_below(&directory).ok()?;
    files.unmatched(&names).is_empty().then_some(directory)
}

fn complete(directory: PathBuf, model: &ModelEntry, files: &Patterns) -> Result<PathBuf, NotLocated> {
    let name = || model.reference.clone();
    let names = files_below(&directory)
        .map_err(|_| NotLocated::NoDirectory { model: name(), directory: directory.clone() })?;
    match files.unmatched(&names).first() {
        Some(pattern) => Err(NotLocated::NoFile { model: name(), pattern: (*pattern).to_owned(), directory }),
        None => Ok(directory),
    }
}

/// By the lock file if there is one, which knows every file.
fn in_cache(
    hub: &HubModel,
    model: &ModelEntry,
    files: &Patterns,
    place: &Place,
) -> Result<PathBuf, NotLocated> {
    let missing = || NotLocated::NotFetched { model: model.reference.clone() };
    let cache = place.cache.as_ref().ok_or_else(missing)?;
    let lock = ModelLock::load(&place.crate_directory)?;
    let Some(locked) = lock.and_then(|lock| lock.of(model)) else {
        return cache.find(hub, files).map(|found| found.directory).ok_or_else(missing);
    };
    let directory = cache.snapshot(hub, &locked.commit);
    if !directory.is_dir() {
        return Err(missing());
    }
    let is_there = |name: &str, size| {
        std::fs::metadata(directory.join(name)).is_ok_and(|file| file.is_file() && file.len() == size)
    };
    match locked.files.iter().find(|(name, file)| !is_there(name, file.size)) {
        Some((name, _)) => {
            Err(NotLocated::NoFile { model: model.reference.clone(), pattern: name.clone(), directory })
        }
        None => Ok(directory),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::lock::{LockedFile, LockedModel};

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn entry(reference: &str, files: &[&str]) -> ModelEntry {
        ModelEntry { reference: reference.into(), files: files.iter().map(|&file| file.into()).collect() }
    }

    fn place(directory: &TempDir) -> Place {
        Place {
            given: None,
            crate_directory: directory.path().join("crate"),
            cache: Some(HubCache::at(directory.path().join("cache"))),
        }
    }

    fn write(directory: &Path, name: &str, content: &str) {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    #[test]
    fn a_model_that_was_never_fetched_is_named_with_the_command_that_fetches_it() {
        let directory = TempDir::new().unwrap();
        let error = locate(&entry("org/name", &[]), &place(&directory)).unwrap_err().to_string();
        assert!(error.contains("`org/name`") && error.contains("flash models pull"), "{error}");
    }

    #[test]
    fn the_lock_decides_the_commit_and_misses_a_file_that_the_patterns_do_not() {
        let directory = TempDir::new().unwrap();
        let place = place(&directory);
        let snapshot = directory.path().join("cache/models--org--name/snapshots").join(COMMIT);
        write(&snapshot, "a-1.bin", "abc");
        let file = LockedFile { size: 3, sha256: String::new() };
        let locked = LockedModel {
            commit: COMMIT.into(),
            patterns: vec!["*.bin".into()],
            files: [("a-1.bin".to_owned(), file.clone()), ("a-2.bin".to_owned(), file)].into(),
        };
        let mut lock = ModelLock::default();
        lock.models.insert("org/name".to_owned(), locked);
        std::fs::create_dir_all(&place.crate_directory).unwrap();
        lock.save(&place.crate_directory).unwrap();
        let model = entry("org/name", &["*.bin"]);
        let error = locate(&model, &place).unwrap_err();
        assert!(matches!(&error, NotLocated::NoFile { pattern, .. } if pattern == "a-2.bin"), "{error}");
        write(&snapshot, "a-2.bin", "ab");
        assert!(locate(&model, &place).is_err(), "too short");
        write(&snapshot, "a-2.bin", "abc");
        assert_eq!(locate(&model, &place).unwrap(), snapshot);
    }

    #[test]
    fn the_directory_that_the_platform_gives_comes_before_the_cache_and_must_have_the_files() {
        let directory = TempDir::new().unwrap();
        let given = directory.path().join("given");
        let place = Place { given: Some(given.clone()), ..place(&directory) };
        let model = entry("org/name", &["*.bin"]);
        assert!(matches!(locate(&model, &place), Err(NotLocated::NoDirectory { .. })));
        write(&given, "other.txt", "");
        assert!(
            matches!(locate(&model, &place), Err(NotLocated::NoFile { pattern, .. }) if pattern == "*.bin")
        );
        write(&given, "a.bin", "");
        assert_eq!(locate(&model, &place).unwrap(), given);
    }

    #[test]
    fn a_directory_is_relative_to_the_crate_and_a_volume_is_below_it_on_this_machine() {
        let directory = TempDir::new().unwrap();
        let place = place(&directory);
        write(&place.crate_directory, "models/mine/a.bin", "");
        write(&place.crate_directory, ".flash/volumes/weights/b/c.bin", "");
        let found = |reference: &str| locate(&entry(reference, &["*.bin"]), &place).unwrap();
        assert_eq!(found("path:models/mine"), place.crate_directory.join("models/mine"));
        assert_eq!(found("volume:weights/b"), place.crate_directory.join(".flash/volumes/weights/b"));
        assert!(locate(&entry("path:none", &[]), &place).is_err());
    }

    #[test]
    fn what_the_provider_has_cached_is_used_when_it_is_whole() {
        let directory = TempDir::new().unwrap();
        let commit = "0a".repeat(20);
        let at = |revision: &str| HubModel { repo: "org/name".into(), revision: revision.into() };
        let files = Patterns::new(["*.bin", "config.json"]);
        write(directory.path(), &format!("org/name/{commit}/a.bin"), "");
        assert_eq!(provider_cached(directory.path(), &at(&commit), &files), None);
        for revision in [&commit, "main"] {
            write(directory.path(), &format!("org/name/{revision}/a.bin"), "");
            write(directory.path(), &format!("org/name/{revision}/config.json"), "");
        }
        let whole = directory.path().join("org/name").join(&commit);
        assert_eq!(provider_cached(directory.path(), &at(&commit), &files), Some(whole));
        assert_eq!(provider_cached(directory.path(), &at("main"), &files), None, "of which day?");
    }
}
