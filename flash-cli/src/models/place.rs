//! Where models come from and where they are kept: the Hub, the cache, and the lock file of a crate.
use std::path::{Path, PathBuf};

use flash_weights::{
    HubCache, LOCK_FILE, ModelLock,
    download::{Hub, HubSettings},
};

use super::failure::{download_failure, lock_failure};
use crate::exit::Failure;

/// See the module.
pub(crate) struct ModelPlace {
    /// The crate's directory.
    pub directory: PathBuf,
    pub cache: HubCache,
    pub hub: Hub,
    /// `None` if the crate has no lock file.
    pub lock: Option<ModelLock>,
}

impl ModelPlace {
    /// As the environment says, and below it `variables`, which are those of `.env`.
    ///
    /// # Errors
    /// If a variable or the lock file is not valid, and without a home directory.
    pub(crate) fn open(directory: &Path, variables: &[(String, String)]) -> Result<Self, Failure> {
        let get = |name: &str| {
            let own = std::env::var(name).ok().filter(|value| !value.is_empty());
            let of_project = || variables.iter().rev().find(|(known, _)| known == name);
            own.or_else(|| of_project().map(|(_, value)| value.clone()))
        };
        let cache = HubCache::from_variables(get)
            .ok_or_else(|| Failure::unusable("there is no place for models").hint("set HF_HUB_CACHE"))?;
        let hub = Hub::new(HubSettings::from_variables(get)).map_err(|error| download_failure(&error))?;
        let lock = ModelLock::load(directory).map_err(|error| lock_failure(&error))?;
        // Workers have another directory than this command.
        let root = std::path::absolute(cache.root()).map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self { directory: directory.to_owned(), cache: HubCache::at(root), hub, lock })
    }

    /// The lock file.
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.directory.join(LOCK_FILE)
    }
}
