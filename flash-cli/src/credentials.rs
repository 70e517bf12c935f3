//! The user's credential file, as written by `flash`, and the header files beside it.
//!
//! ```text
//! credentials.json      keys and addresses of environments; see `flash_protocol::credentials`
//! headers/APP/NAME      `Authorization: Bearer KEY`, for `curl -H @FILE`: a key in no command line
//! .lock                 held while the file is changed
//! ```
//!
//! Directories have mode 0700 and files 0600 from their creation on. Files are replaced atomically.
use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use flash_protocol::credentials::{self, Credentials, CredentialsError, EnvironmentCredentials, VERSION};
use flash_target::{EnvironmentId, SecretValue};

use crate::exit::{Failure, FailureCode};

const PRIVATE_DIRECTORY: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// The location of the user's credentials.
#[derive(Debug, Clone)]
pub(crate) struct CredentialStore {
    directory: PathBuf,
}

/// Why credentials cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    File(#[from] CredentialsError),
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::of(FailureCode::Failed, &error)
    }
}

impl CredentialStore {
    /// This user's credentials.
    ///
    /// # Errors
    /// Without a home directory and FLASH_CONFIG_DIR.
    pub(crate) fn of_user() -> Result<Self, StoreError> {
        let directory = credentials::directory().ok_or(CredentialsError::NoDirectory)?;
        Ok(Self { directory })
    }

    /// The credentials for an environment, if there are any.
    ///
    /// # Errors
    /// When the file exists and cannot be used.
    pub(crate) fn environment(
        &self,
        id: &EnvironmentId,
    ) -> Result<Option<EnvironmentCredentials>, StoreError> {
        let all = Credentials::load_from(&Credentials::path(&self.directory))?;
        Ok(all.environment(&id.app, &id.name).cloned())
    }

    /// The header file of an environment.
    pub(crate) fn header_file(&self, id: &EnvironmentId) -> PathBuf {
        self.directory.join("headers").join(&id.app).join(&id.name)
    }

    /// Stores a key and its header file.
    ///
    /// # Errors
    /// When it cannot be written; the file is then unchanged.
    pub(crate) fn set_key(&self, id: &EnvironmentId, key: &SecretValue) -> Result<(), StoreError> {
        let header = format!("Authorization: Bearer {}\n", key.expose());
        self.change(
            // First: if it cannot be written, nothing is stored. A missing header file is restored.
            || self.replace(&self.header_file(id), header.as_bytes()),
            |all| {
                let of_app = all.environments.entry(id.app.clone()).or_default();
                of_app.entry(id.name.clone()).or_default().key = key.expose().to_owned();
            },
        )
    }

    /// Stores the addresses of an environment. Does nothing without a key for it.
    ///
    /// # Errors
    /// As for [`CredentialStore::set_key`].
    pub(crate) fn set_addresses(
        &self,
        id: &EnvironmentId,
        url: Option<&str>,
        endpoints: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), StoreError> {
        let change = |all: &mut Credentials| {
            let own = all.environments.get_mut(&id.app).and_then(|of_app| of_app.get_mut(&id.name));
            if let Some(own) = own {
                own.url = url.map(str::to_owned);
                own.endpoints = endpoints.into_iter().collect();
            }
        };
        self.change(|| Ok(()), change)
    }

    /// Deletes an environment's credentials.
    ///
    /// # Errors
    /// As for [`CredentialStore::set_key`].
    pub(crate) fn forget(&self, id: &EnvironmentId) -> Result<(), StoreError> {
        let forget = |all: &mut Credentials| {
            if let Some(of_app) = all.environments.get_mut(&id.app) {
                of_app.remove(&id.name);
                if of_app.is_empty() {
                    all.environments.remove(&id.app);
                }
            }
        };
        self.change(|| self.remove_header(id), forget)
    }

    fn remove_header(&self, id: &EnvironmentId) -> Result<(), StoreError> {
        let header = self.header_file(id);
        match std::fs::remove_file(&header) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Write { path: header, source });
            }
            _ => {}
        }
        // Removed with its last file.
        let _ = header.parent().map(std::fs::remove_dir);
        Ok(())
    }

    /// Writes the header file, then reads, changes and replaces the file, one process at a time.
    fn change(
        &self,
        beside: impl FnOnce() -> Result<(), StoreError>,
        change: impl FnOnce(&mut Credentials),
    ) -> Result<(), StoreError> {
        make_private(&self.directory)?;
        let _lock = self.lock()?;
        let path = Credentials::path(&self.directory);
        let mut all = Credentials::load_from(&path)?;
        beside()?;
        let before = all.clone();
        change(&mut all);
        if all == before {
            return Ok(());
        }
        all.version = VERSION;
        let text = serde_json::to_vec_pretty(&all)
            .map_err(|error| StoreError::Write { path: path.clone(), source: error.into() })?;
        self.replace(&path, &text)
    }

    /// Held until it is dropped. Waits for another process, which holds it for the time of one write.
    fn lock(&self) -> Result<File, StoreError> {
        let path = self.directory.join(".lock");
        let open = OpenOptions::new().create(true).append(true).mode(PRIVATE_FILE).open(&path);
        let locked = open.and_then(|file| file.lock().map(|()| file));
        locked.map_err(|source| StoreError::Write { path, source })
    }

    fn replace(&self, path: &Path, text: &[u8]) -> Result<(), StoreError> {
        let parent = path.parent().unwrap_or(&self.directory);
        make_private(parent)?;
        let write = || {
            // Already created with 0600; set explicitly because it matters.
            let permissions = Permissions::from_mode(PRIVATE_FILE);
            let mut new =
                tempfile::Builder::new().prefix(".new-").permissions(permissions).tempfile_in(parent)?;
            new.write_all(text)?;
            new.as_file().sync_all()?;
            new.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|source| StoreError::Write { path: path.to_owned(), source })
    }
}

fn make_private(directory: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(directory);
    made.map_err(|source| StoreError::Write { path: directory.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, CredentialStore) {
        let directory = tempfile::TempDir::new().unwrap();
        let store = CredentialStore { directory: directory.path().join("flash") };
        (directory, store)
    }

    fn id(name: &str) -> EnvironmentId {
        EnvironmentId::new("app", name).unwrap()
    }

    fn key(text: &str) -> SecretValue {
        SecretValue::new(text.to_owned())
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_for_the_user_alone() {
        let (_directory, store) = store();
        store.set_key(&id("a"), &key("secret")).unwrap();
        let header = store.header_file(&id("a"));
        assert_eq!(std::fs::read_to_string(&header).unwrap(), "Authorization: Bearer secret\n");
        for file in [&header, &Credentials::path(&store.directory)] {
            assert_eq!(mode(file), 0o600, "{}", file.display());
        }
        for directory in
            [&store.directory, &store.directory.join("headers"), &store.directory.join("headers/app")]
        {
            assert_eq!(mode(directory), 0o700, "{}", directory.display());
        }
        assert!(!format!("{:?}", store.environment(&id("a")).unwrap()).contains("secret"));
    }

    #[test]
    fn a_change_keeps_what_is_there_of_others() {
        let (_directory, store) = store();
        store.set_key(&id("a"), &key("1")).unwrap();
        store.set_key(&id("b"), &key("2")).unwrap();
        store
            .set_addresses(&id("a"), Some("http://here"), [("w".to_owned(), "http://w".to_owned())])
            .unwrap();
        // This one has no key.
        store.set_addresses(&id("c"), Some("http://here"), []).unwrap();
        store.set_key(&id("a"), &key("3")).unwrap();
        let a = store.environment(&id("a")).unwrap().unwrap();
        assert_eq!((a.key.as_str(), a.url.as_deref(), a.endpoints.len()), ("3", Some("http://here"), 1));
        store.forget(&id("a")).unwrap();
        store.forget(&id("a")).unwrap();
        assert!(store.environment(&id("a")).unwrap().is_none() && !store.header_file(&id("a")).exists());
        assert_eq!(store.environment(&id("b")).unwrap().unwrap().key, "2");
        assert!(store.environment(&id("c")).unwrap().is_none());
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        let (_directory, store) = store();
        std::thread::scope(|scope| {
            for number in 0..16 {
                let store = &store;
                scope.spawn(move || store.set_key(&id(&format!("e{number}")), &key("k")).unwrap());
            }
        });
        let all = Credentials::load_from(&Credentials::path(&store.directory)).unwrap();
        assert_eq!(all.environments["app"].len(), 16);
    }

    #[test]
    fn a_damaged_file_is_not_written_over() {
        let (_directory, store) = store();
        make_private(&store.directory).unwrap();
        let path = Credentials::path(&store.directory);
        std::fs::write(&path, "{").unwrap();
        assert!(store.set_key(&id("a"), &key("1")).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{");
    }
}
