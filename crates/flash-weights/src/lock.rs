//! `flash.models.lock`: which commit of each model an app uses, and the size and hash of each file.
//!
//! JSON, so that an app can read it without another parser. It is checked into git: a deployment uses what it says.
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use flash_protocol::ModelEntry;
use serde::{Deserialize, Serialize};

use crate::patterns::Patterns;

/// The name of the file, beside `Cargo.toml`.
pub const LOCK_FILE: &str = "flash.models.lock";

/// The format that is written and read.
const VERSION: u32 = 1;

/// The models of an app, by reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelLock {
    version: u32,
    /// By reference, as the code writes it.
    pub models: BTreeMap<String, LockedModel>,
}

/// A model at the commit that an app uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedModel {
    /// The commit.
    pub commit: String,
    /// The patterns of files that were asked for; empty for all.
    #[serde(default)]
    pub patterns: Vec<String>,
    /// The files, by name.
    pub files: BTreeMap<String, LockedFile>,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// Bytes.
    pub size: u64,
    /// SHA-256, in lower-case hex.
    pub sha256: String,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what Flash writes.
    #[error("{} is not a lock file that this version of Flash can read", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// It is of a later format.
    #[error("{} has format {found}, and this version of Flash reads format 1: update Flash", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format.
        found: u32,
    },
}

impl Default for ModelLock {
    fn default() -> Self {
        Self { version: VERSION, models: BTreeMap::new() }
    }
}

impl LockedModel {
    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }

    /// Whether these patterns are those that were locked.
    pub fn has_patterns(&self, patterns: &Patterns) -> bool {
        patterns.texts().eq(self.patterns.iter().map(String::as_str))
    }
}

impl ModelLock {
    /// Reads the lock file of a crate; `None` if it has none.
    ///
    /// # Errors
    /// If there is one that cannot be read, or that holds names that lead out of a model's directory.
    pub fn load(crate_directory: &Path) -> Result<Option<Self>, LockError> {
        let path = crate_directory.join(LOCK_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LockError::Io { path, source }),
        };
        #[derive(Deserialize)]
        struct Format {
            version: u32,
        }
        let invalid = |source| LockError::Invalid { path: path.clone(), source };
        let Format { version } = serde_json::from_str(&text).map_err(invalid)?;
        if version > VERSION {
            return Err(LockError::Newer { path, found: version });
        }
        let lock: Self = serde_json::from_str(&text).map_err(invalid)?;
        let unsafe_name = |model: &LockedModel| {
            !flash_protocol::is_commit(&model.commit) || !model.files.keys().all(|name| is_safe_name(name))
        };
        if lock.models.values().any(unsafe_name) {
            let problem = "a commit or the name of a file is not valid";
            return Err(invalid(serde::de::Error::custom(problem)));
        }
        Ok(Some(lock))
    }

    /// Writes the lock file of a crate, unless it is there with the same content. Whether it was written.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, crate_directory: &Path) -> Result<bool, LockError> {
        let path = crate_directory.join(LOCK_FILE);
        let failed = |source| LockError::Io { path: path.clone(), source };
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(error.into()))? + "\n";
        if std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
            return Ok(false);
        }
        let beside = crate_directory.join(format!(".{LOCK_FILE}.{}", std::process::id()));
        std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &path)).map_err(failed)?;
        Ok(true)
    }

    /// What is locked for this model: only the files that it needs. `None` if the lock has none, or was made for
    /// other patterns.
    pub fn of(&self, model: &ModelEntry) -> Option<LockedModel> {
        let LockedModel { commit, patterns, files } = self.models.get(&model.reference)?;
        let is_locked = |pattern: &String| patterns.contains(pattern);
        let covers = match model.files.is_empty() {
            true => patterns.is_empty(),
            false => patterns.is_empty() || model.files.iter().all(is_locked),
        };
        let needed = Patterns::new(&model.files);
        let files = files.iter().filter(|(name, _)| needed.matches(name));
        let files = files.map(|(name, file)| (name.clone(), file.clone())).collect();
        covers.then(|| LockedModel { commit: commit.clone(), patterns: model.files.clone(), files })
    }
}

/// Whether a file's name stays below its directory.
pub(crate) fn is_safe_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 1024
        && !name.contains(['\\', '\0', '\n'])
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> ModelLock {
        let file = LockedFile { size: 3, sha256: "ab".repeat(32) };
        let model = LockedModel {
            commit: "0".repeat(40),
            patterns: vec!["*.bin".into()],
            files: BTreeMap::from([("a/model.bin".to_owned(), file)]),
        };
        ModelLock { models: BTreeMap::from([("org/name".to_owned(), model)]), ..ModelLock::default() }
    }

    #[test]
    fn a_lock_is_read_as_it_was_written_and_written_only_when_it_differs() {
        let directory = tempfile::TempDir::new().unwrap();
        assert!(ModelLock::load(directory.path()).unwrap().is_none());
        assert!(lock().save(directory.path()).unwrap());
        assert!(!lock().save(directory.path()).unwrap());
        assert_eq!(ModelLock::load(directory.path()).unwrap(), Some(lock()));
    }

    #[test]
    fn a_lock_with_a_name_that_leads_elsewhere_or_of_a_later_format_is_refused() {
        let directory = tempfile::TempDir::new().unwrap();
        let refused = |text: String| {
            std::fs::write(directory.path().join(LOCK_FILE), text).unwrap();
            ModelLock::load(directory.path()).unwrap_err()
        };
        let text = serde_json::to_string(&lock()).unwrap();
        assert!(matches!(refused(text.replace("a/model", "../model")), LockError::Invalid { .. }));
        assert!(matches!(refused(text.replace(&"0".repeat(40), "../..")), LockError::Invalid { .. }));
        assert!(matches!(
            refused(text.replace("\"version\":1", "\"version\":2")),
            LockError::Newer { found: 2, .. }
        ));
        assert!(matches!(refused("<<<<".to_owned()), LockError::Invalid { .. }));
    }

    #[test]
    fn a_lock_has_what_a_model_needs_of_its_files_and_nothing_for_other_patterns() {
        let entry = |reference: &str, file: &str| ModelEntry {
            reference: reference.into(),
            files: vec![file.into()],
        };
        assert!(lock().of(&entry("org/name", "*.bin")).is_some());
        let mut wide = lock();
        let model = wide.models.get_mut("org/name").unwrap();
        model.patterns.push("*.json".to_owned());
        model.files.insert("config.json".to_owned(), LockedFile { size: 1, sha256: String::new() });
        let of_one: Vec<String> = wide.of(&entry("org/name", "*.json")).unwrap().files.into_keys().collect();
        assert_eq!(of_one, ["config.json"]);
        assert!(lock().of(&entry("org/name", "*.gguf")).is_none());
        assert!(lock().of(&entry("org/other", "*.bin")).is_none());
    }
}
